package kernels

var (
	gemm32avx512 = tiling[float32]{
		blocking:  blocking{width: 32, block: 112, depth: 512, depthTN: 512, few: 60, some: 1024, near: 768, inPlaceTN: true},
		transpose: transpose32avx512, panelB: panels32avx512x2,
		byRow: []tile[float32]{
			nil, tileRow32avx512x1, tileRow32avx512x2, tileRow32avx512x3, tileRow32avx512x4, tileRow32avx512x5,
			tileRow32avx512x6, tileRow32avx512x7, tileRow32avx512x8, tileRow32avx512x9, tileRow32avx512x10,
			tileRow32avx512x11, tileRow32avx512x12, tileRow32avx512x13, tileRow32avx512x14,
		},
		byCol: []tile[float32]{
			nil, tileCol32avx512x1, tileCol32avx512x2, tileCol32avx512x3, tileCol32avx512x4, tileCol32avx512x5,
			tileCol32avx512x6, tileCol32avx512x7, tileCol32avx512x8, tileCol32avx512x9, tileCol32avx512x10,
			tileCol32avx512x11, tileCol32avx512x12, tileCol32avx512x13, tileCol32avx512x14,
		},
	}
	gemm64avx512 = tiling[float64]{
		blocking:  blocking{width: 16, block: 112, depth: 256, depthTN: 512, few: 60, some: 1024, near: 768, inPlaceTN: true},
		transpose: transpose64avx512, panelB: panels64avx512x2,
		byRow: []tile[float64]{
			nil, tileRow64avx512x1, tileRow64avx512x2, tileRow64avx512x3, tileRow64avx512x4, tileRow64avx512x5,
			tileRow64avx512x6, tileRow64avx512x7, tileRow64avx512x8, tileRow64avx512x9, tileRow64avx512x10,
			tileRow64avx512x11, tileRow64avx512x12, tileRow64avx512x13, tileRow64avx512x14,
		},
		byCol: []tile[float64]{
			nil, tileCol64avx512x1, tileCol64avx512x2, tileCol64avx512x3, tileCol64avx512x4, tileCol64avx512x5,
			tileCol64avx512x6, tileCol64avx512x7, tileCol64avx512x8, tileCol64avx512x9, tileCol64avx512x10,
			tileCol64avx512x11, tileCol64avx512x12, tileCol64avx512x13, tileCol64avx512x14,
		},
	}
	gemm32avx2 = tiling[float32]{
		blocking:  blocking{width: 16, block: 96, depth: 256, depthTN: 256, few: 12},
		transpose: transpose32avx2, panelA: panels32avx2x1, panelB: panels32avx2x2,
		byRow: []tile[float32]{
			nil, tileRow32avx2x1, tileRow32avx2x2, tileRow32avx2x3, tileRow32avx2x4, tileRow32avx2x5, tileRow32avx2x6,
		},
		byCol: []tile[float32]{
			nil, tileCol32avx2x1, tileCol32avx2x2, tileCol32avx2x3, tileCol32avx2x4, tileCol32avx2x5, tileCol32avx2x6,
		},
	}
	gemm64avx2 = tiling[float64]{
		blocking:  blocking{width: 8, block: 96, depth: 256, depthTN: 256, few: 12},
		transpose: transpose64avx2, panelA: panels64avx2x2, panelB: panels64avx2x2,
		byRow: []tile[float64]{
			nil, tileRow64avx2x1, tileRow64avx2x2, tileRow64avx2x3, tileRow64avx2x4, tileRow64avx2x5, tileRow64avx2x6,
		},
		byCol: []tile[float64]{
			nil, tileCol64avx2x1, tileCol64avx2x2, tileCol64avx2x3, tileCol64avx2x4, tileCol64avx2x5, tileCol64avx2x6,
		},
	}
)

// tiling32 and tiling64 are those of the active path, which has one.
func tiling32() *tiling[float32] {
	if active == pathAVX2 {
		return &gemm32avx2
	}
	return &gemm32avx512
}

func tiling64() *tiling[float64] {
	if active == pathAVX2 {
		return &gemm64avx2
	}
	return &gemm64avx512
}
