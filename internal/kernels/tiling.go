//go:build amd64 || arm64

package kernels

import (
	"math"
	"unsafe"
)

//go:generate go -C gen run . -group gemm -out ../zgemm_amd64.s -stubs ../zgemm_amd64.go -pkg kernels
//go:generate go -C gen run ./neon -group gemm -out ../zgemm_arm64.s -stubs ../zgemm_arm64.go

// tile computes some rows of c in the columns of mask, and adds those of from in the columns of add: the same or none. Strides are in
// bytes.
type tile[T Float] func(k int, a *T, sa int, b *T, sb int, c *T, ldc int, mask, add uint32, from *T, ldd int)

// tiling is a family of tiles of one width in columns, by height; a is read in place, by rows or (if transposed) by
// columns, b from panels of that width.
type tiling[T Float] struct {
	blocking
	byRow, byCol []tile[T]
	transpose    func(k int, src *T, ld, rows int, dst *T, pitch int, mask uint32)        // half the width of a panel
	panelA       func(k int, src *T, ld int, dst *T, pitch, count, step int, mask uint32) // nil if a is never packed
	panelB       func(k int, src *T, ld int, dst *T, pitch, count, step int, mask uint32)
}

// blocking is how a tiling goes about its operands.
type blocking struct {
	width int // columns of a panel of b
	block int // rows of a that stay in the second-level cache while the panels of b go by

	// Depths of a block of k. A packed panel fills half or two thirds of the first-level cache; where b is read in place, or its
	// panels come from the second level as fast as the tiles need them (AVX-512, float32), longer blocks save passes over c.
	depth, depthTN int

	// Copying b is not worth it for few rows of c. Nor is it for many, as long as its rows are short: reading it in place
	// is then as fast in the tiles. Rows that are far apart share sets of the cache.
	few, some int // rows of c
	near      int // elements from one row of b to the next
	inPlaceTN bool
}

// gemmFast takes a b with ldb = 0 for one that gemmPack has written.
func gemmFast[T Float](ta, tb bool, m, n, k int, a []T, lda int, b []T, ldb int, d []T, ldd int, c []T, ldc int, scratch []T) bool {
	switch {
	case active == pathGo:
		return false
	case is32[T]():
		tiling32().multiply(ta, tb, m, n, k, as32(a), lda, as32(b), ldb, as32(d), ldd, as32(c), ldc, as32(scratch))
	default:
		tiling64().multiply(ta, tb, m, n, k, as64(a), lda, as64(b), ldb, as64(d), ldd, as64(c), ldc, as64(scratch))
	}
	return true
}

func gemmFastScratch[T Float](ta, tb bool, m, n, k int) (need int, ok bool) {
	switch {
	case active == pathGo:
		return 0, false
	case is32[T]():
		return tiling32().scratch(ta, tb, m, n, k), true
	}
	return tiling64().scratch(ta, tb, m, n, k), true
}

func gemmPackedSize[T Float](n, k int) int {
	switch {
	case active == pathGo:
		return 0
	case is32[T]():
		return tiling32().packedSize(n, k)
	}
	return tiling64().packedSize(n, k)
}

func gemmPack[T Float](dst []T, tb bool, n, k int, b []T, ldb int) {
	if is32[T]() {
		tiling32().packAll(as32(dst), tb, n, k, as32(b), ldb)
	} else {
		tiling64().packAll(as64(dst), tb, n, k, as64(b), ldb)
	}
}

// line is the number of elements in a line of the cache.
func line[T Float]() int {
	var zero T
	return 64 / int(unsafe.Sizeof(zero))
}

// aligned is what of a slice begins with a line.
func aligned[T Float](x []T) []T {
	var zero T
	if off := int(uintptr(unsafe.Pointer(unsafe.SliceData(x))) % 64); off > 0 {
		return x[(64-off)/int(unsafe.Sizeof(zero)):]
	}
	return x
}

// padded is the columns of whole panels.
func (b *blocking) padded(n int) int { return (n + b.width - 1) / b.width * b.width }

func (t *tiling[T]) packedSize(n, k int) int { return line[T]() + k*t.padded(n) }

// packAll packs every block of k, one after the other.
func (t *tiling[T]) packAll(dst []T, tb bool, n, k int, b []T, ldb int) {
	dst = aligned(dst)
	for p := 0; p < k; p += t.depth {
		t.pack(dst[p*t.padded(n):], tb, n, min(t.depth, k-p), b, ldb, p, 0)
	}
}

// spare is a number of elements after each row of a packed block of a, without which rows would share sets of the cache, or
// after each tile, for what its last column writes past its end.
const spare = 16

func (t *tiling[T]) scratch(ta, tb bool, m, n, k int) int {
	need := line[T]()
	if t.panelsInPlace(ta, tb, m, math.MaxInt) {
		n = 1 // the last panel may be packed
	}
	depth := min(k, t.depthOf(ta, tb))
	need += depth * t.padded(n)
	if t.panelA != nil {
		need += min(m, t.block) * (depth + spare)
	}
	return need
}

// panelsInPlace tells whether whole panels of b are read where they are, which is better when packing costs more than it
// saves. What is left over is packed, so that nothing is read past the end of b.
func (b *blocking) panelsInPlace(ta, tb bool, m, ldb int) bool {
	return !tb && (ta && b.inPlaceTN || m <= b.few || m <= b.some && ldb <= b.near)
}

// depthOf depends on the form alone, so that the order of summation does.
func (b *blocking) depthOf(ta, tb bool) int {
	if ta && !tb {
		return b.depthTN
	}
	return b.depth
}

// blockInPlace tells whether the tiles read a where it is.
func (t *tiling[T]) blockInPlace(ta bool, n, lda int) bool {
	var zero T
	apart := lda * int(unsafe.Sizeof(zero))
	return t.panelA == nil || n < 64 || !ta && apart%4096 != 0 || ta && apart < 256
}

func (t *tiling[T]) multiply(ta, tb bool, m, n, k int, a []T, lda int, b []T, ldb int, d []T, ldd int, c []T, ldc int, scratch []T) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	scratch = aligned(scratch)
	ready := ldb == 0
	if ready {
		b = aligned(b)
	}
	tiles, si, sk := t.byRow, lda, 1
	if ta {
		tiles, si, sk = t.byCol, 1, lda
	}
	packed := 0 // the first packed column
	if !ready && t.panelsInPlace(ta, tb, m, ldb) {
		packed = n / t.width * t.width
	}
	inPlace := t.blockInPlace(ta, n, lda)
	for p := 0; p < k; p += t.depthOf(ta, tb) {
		depth := min(t.depthOf(ta, tb), k-p)
		accumulate := ^uint32(0)
		switch {
		case p > 0:
			d, ldd = c, ldc
		case d == nil:
			accumulate, d, ldd = 0, c, ldc
		}
		panels, block := scratch, scratch
		if ready {
			panels = b[p*t.padded(n):]
		} else {
			t.pack(scratch, tb, n, depth, b, ldb, p, packed)
			block = scratch[t.padded(n-packed)*depth:]
		}
		for i0 := 0; i0 < m; i0 += t.block {
			rows := min(t.block, m-i0)
			high := len(tiles) - 1
			count := (rows + high - 1) / high // their heights differ by at most one, so no row is wasted
			if !inPlace {
				t.packBlock(block, ta, rows, count, depth, a, lda, i0, p)
			}
			for j := 0; j < n; j += t.width {
				var panel *T
				sb := ldb * size
				if j < packed {
					panel = &b[p*ldb+j]
				} else {
					panel, sb = &panels[(j-packed)*depth], t.width*size
				}
				mask := uint32(1<<min(t.width, n-j) - 1)
				for q, i, at := 0, i0, 0; q < count; q++ {
					h := (rows + q) / count
					from, sa := &a[i*si+p*sk], lda*size
					switch {
					case inPlace:
					case ta:
						from, sa = &block[at], h*size
						at += h*depth + spare
					default:
						from, sa = &block[at], (depth+spare)*size
						at += h * (depth + spare)
					}
					tiles[h](depth, from, sa, panel, sb, &c[i*ldc+j], ldc*size, mask, accumulate&mask, &d[i*ldd+j], ldd*size)
					i += h
				}
			}
		}
	}
}

// packBlock copies depth columns of rows rows of op(a) from (i0, p) on: rows with something spare between them, or if
// transposed the columns of one tile after the other, with something spare between the tiles.
func (t *tiling[T]) packBlock(dst []T, transposed bool, rows, count, depth int, a []T, lda, i0, p int) {
	if !transposed {
		for i := range rows {
			copy(dst[i*(depth+spare):][:depth], a[(i0+i)*lda+p:])
		}
		return
	}
	var zero T
	size := int(unsafe.Sizeof(zero))
	h, highs := rows/count, rows%count
	lows := count - highs
	panel, after := h*depth+spare, lows*(h*depth+spare)
	for l := 0; l < depth; {
		n := 1
		if l+4 <= depth {
			n = 4
		}
		src := (p+l)*lda + i0
		t.panelA(n, &a[src], lda*size, &dst[l*h], h*size, lows, panel*size, 1<<h-1)
		if highs > 0 {
			t.panelA(n, &a[src+lows*h], lda*size, &dst[after+l*(h+1)], (h+1)*size, highs, (panel+depth)*size, 2<<h-1)
		}
		l += n
	}
}

// pack copies depth rows of the columns of op(b) from (p, j0) to n into panels. Lanes past the last column keep what they hold, or
// hold anything: the mask never stores what comes of them.
func (t *tiling[T]) pack(dst []T, transposed bool, n, depth int, b []T, ldb, p, j0 int) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	if !transposed {
		whole, left := (n-j0)/t.width, (n-j0)%t.width
		for l := 0; l < depth && j0 < n; {
			rows := 1
			if l+4 <= depth {
				rows = 4
			}
			if whole > 0 {
				t.panelB(rows, &b[(p+l)*ldb+j0], ldb*size, &dst[l*t.width], t.width*size, whole, depth*t.width*size, 1<<t.width-1)
			}
			if left > 0 {
				t.panelB(rows, &b[(p+l)*ldb+n-left], ldb*size, &dst[whole*depth*t.width+l*t.width], t.width*size, 1, 0, 1<<left-1)
			}
			l += rows
		}
		return
	}
	lanes := t.width / 2
	for j := j0; j < n; j += t.width {
		dst, w := dst[(j-j0)*depth:], min(t.width, n-j)
		for h := 0; h < w; h += lanes {
			t.transpose(depth, &b[(j+h)*ldb+p], ldb*size, min(lanes, w-h), &dst[h], t.width*size, 1<<(depth%lanes)-1)
		}
	}
}
