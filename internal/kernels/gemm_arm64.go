package kernels

// The blocking is that of AVX2, whose tiles have the same sizes: it has not been tuned on a machine of this kind. a is never packed,
// since caches here have lines and sets enough for six rows.
var (
	gemm32neon = tiling[float32]{
		blocking:  blocking{width: 16, block: 96, depth: 256, depthTN: 256, few: 12},
		transpose: transpose32neon, panelB: panels32neon,
		byRow: []tile[float32]{
			nil, tileRow32neonx1, tileRow32neonx2, tileRow32neonx3, tileRow32neonx4, tileRow32neonx5, tileRow32neonx6,
		},
		byCol: []tile[float32]{
			nil, tileCol32neonx1, tileCol32neonx2, tileCol32neonx3, tileCol32neonx4, tileCol32neonx5, tileCol32neonx6,
		},
	}
	gemm64neon = tiling[float64]{
		blocking:  blocking{width: 8, block: 96, depth: 256, depthTN: 256, few: 12},
		transpose: transpose64neon, panelB: panels64neon,
		byRow: []tile[float64]{
			nil, tileRow64neonx1, tileRow64neonx2, tileRow64neonx3, tileRow64neonx4, tileRow64neonx5, tileRow64neonx6,
		},
		byCol: []tile[float64]{
			nil, tileCol64neonx1, tileCol64neonx2, tileCol64neonx3, tileCol64neonx4, tileCol64neonx5, tileCol64neonx6,
		},
	}
)

// tiling32 and tiling64 are those of the only path that has one.
func tiling32() *tiling[float32] { return &gemm32neon }
func tiling64() *tiling[float64] { return &gemm64neon }
