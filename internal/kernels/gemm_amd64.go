package kernels

import (
	"math"
	"unsafe"
)

//go:generate go -C gen run . -group gemm -out ../zgemm_amd64.s -stubs ../zgemm_amd64.go -pkg kernels

// tile computes some rows of c in the columns of mask, and adds those of from in the columns of add; strides are in bytes.
type tile[T Float] func(k int, a *T, sa int, b *T, sb int, c *T, ldc int, mask, add uint32, from *T, ldd int)

// tiling is a family of tiles of one width in columns, by height; a is read in place, by rows or (if transposed) by
// columns, b from panels of that width.
type tiling[T Float] struct {
	width        int
	block        int // rows of a that stay in the second-level cache while the panels of b go by
	byRow, byCol []tile[T]
	transpose    func(k int, src *T, ld, rows int, dst *T, mask uint32) // one vector of a panel, or nil
}

var (
	gemm32avx512 = tiling[float32]{
		width: 32, block: 210, transpose: transpose32avx512,
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
		width: 16, block: 112, transpose: transpose64avx512,
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
		width: 16, block: 210,
		byRow: []tile[float32]{
			nil, tileRow32avx2x1, tileRow32avx2x2, tileRow32avx2x3, tileRow32avx2x4, tileRow32avx2x5, tileRow32avx2x6,
		},
		byCol: []tile[float32]{
			nil, tileCol32avx2x1, tileCol32avx2x2, tileCol32avx2x3, tileCol32avx2x4, tileCol32avx2x5, tileCol32avx2x6,
		},
	}
	gemm64avx2 = tiling[float64]{
		width: 8, block: 120,
		byRow: []tile[float64]{
			nil, tileRow64avx2x1, tileRow64avx2x2, tileRow64avx2x3, tileRow64avx2x4, tileRow64avx2x5, tileRow64avx2x6,
		},
		byCol: []tile[float64]{
			nil, tileCol64avx2x1, tileCol64avx2x2, tileCol64avx2x3, tileCol64avx2x4, tileCol64avx2x5, tileCol64avx2x6,
		},
	}
)

// Depths of a block of k. A packed panel of 256 fills two thirds of the first-level cache; where b is read in place,
// longer blocks save passes over c.
const (
	depthPacked  = 256
	depthInPlace = 512
)

// Copying b is not worth it for few rows of c. Nor is it for many, as long as its rows are short: reading it in place
// is then as fast in the tiles. Rows that are far apart share sets of the cache.
const (
	fewRows  = 60
	someRows = 1024
	nearRows = 768 // elements from one row of b to the next
)

func gemmFast[T Float](ta, tb bool, m, n, k int, a []T, lda int, b []T, ldb int, d []T, ldd int, c []T, ldc int, scratch []T) bool {
	switch {
	case active == pathGo:
		return false
	case is32[T]():
		t := &gemm32avx512
		if active == pathAVX2 {
			t = &gemm32avx2
		}
		t.multiply(ta, tb, m, n, k, as32(a), lda, as32(b), ldb, as32(d), ldd, as32(c), ldc, as32(scratch))
	default:
		t := &gemm64avx512
		if active == pathAVX2 {
			t = &gemm64avx2
		}
		t.multiply(ta, tb, m, n, k, as64(a), lda, as64(b), ldb, as64(d), ldd, as64(c), ldc, as64(scratch))
	}
	return true
}

func gemmFastScratch[T Float](ta, tb bool, m, n, k int) (need int, ok bool) {
	if active == pathGo {
		return 0, false
	}
	var zero T
	size := int(unsafe.Sizeof(zero))
	line, width := 64/size, 128/size // the widest tiling's
	if panelsInPlace(ta, tb, m, math.MaxInt) {
		n = 1 // the last panel may be packed
	}
	return min(k, depth(ta, tb))*((n+width-1)/width*width) + line, true
}

// panelsInPlace tells whether whole panels of b are read where they are, which is better when packing costs more than it
// saves; for the product of two activations over a long k it is always. What is left over is packed, so that nothing is
// read past the end of b.
func panelsInPlace(ta, tb bool, m, ldb int) bool {
	return !tb && (ta || m <= fewRows || m <= someRows && ldb <= nearRows)
}

// depth depends on the form alone, so that the order of summation does.
func depth(ta, tb bool) int {
	if ta && !tb {
		return depthInPlace
	}
	return depthPacked
}

func (t *tiling[T]) multiply(ta, tb bool, m, n, k int, a []T, lda int, b []T, ldb int, d []T, ldd int, c []T, ldc int, scratch []T) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	if off := int(uintptr(unsafe.Pointer(unsafe.SliceData(scratch))) % 64); off > 0 {
		scratch = scratch[(64-off)/size:]
	}
	tiles, si, sk := t.byRow, lda, 1
	if ta {
		tiles, si, sk = t.byCol, 1, lda
	}
	packed := 0 // the first packed column
	if panelsInPlace(ta, tb, m, ldb) {
		packed = n / t.width * t.width
	}
	for p := 0; p < k; p += depth(ta, tb) {
		depth := min(depth(ta, tb), k-p)
		accumulate := ^uint32(0)
		switch {
		case p > 0:
			d, ldd = c, ldc
		case d == nil:
			accumulate, d, ldd = 0, c, ldc
		}
		for j := packed; j < n; j += t.width {
			t.pack(scratch[(j-packed)*depth:], tb, min(t.width, n-j), depth, b, ldb, p, j)
		}
		for i0 := 0; i0 < m; i0 += t.block {
			rows := min(t.block, m-i0)
			high := len(tiles) - 1
			count := (rows + high - 1) / high // their heights differ by at most one, so no row is wasted
			for j := 0; j < n; j += t.width {
				var panel *T
				sb := ldb * size
				if j < packed {
					panel = &b[p*ldb+j]
				} else {
					panel, sb = &scratch[(j-packed)*depth], t.width*size
				}
				mask := uint32(1<<min(t.width, n-j) - 1)
				for q, i := 0, i0; q < count; q++ {
					h := (rows + q) / count
					tiles[h](depth, &a[i*si+p*sk], lda*size, panel, sb, &c[i*ldc+j], ldc*size, mask, accumulate&mask, &d[i*ldd+j], ldd*size)
					i += h
				}
			}
		}
	}
}

// pack copies depth rows of w columns of op(b) from (p, j) on into a panel. Lanes from w on keep what they hold: the
// mask never stores what comes of them.
func (t *tiling[T]) pack(dst []T, transposed bool, w, depth int, b []T, ldb, p, j int) {
	switch {
	case !transposed:
		for l := range depth {
			copy(dst[l*t.width:l*t.width+w], b[(p+l)*ldb+j:])
		}
	case t.transpose != nil:
		lanes := t.width / 2
		var zero T
		for l := 0; l < depth; l += lanes {
			q := min(lanes, depth-l)
			for h := 0; h < w; h += lanes {
				t.transpose(q, &b[(j+h)*ldb+p+l], ldb*int(unsafe.Sizeof(zero)), min(lanes, w-h), &dst[l*t.width+h], 1<<q-1)
			}
		}
	default:
		for h := range w {
			at := h
			for _, v := range b[(j+h)*ldb+p:][:depth] {
				dst[at] = v
				at += t.width
			}
		}
	}
}
