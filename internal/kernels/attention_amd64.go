package kernels

import (
	"math"
	"unsafe"
)

// strip sets some whole vectors of columns of c = op(a)·b, in high tiles of rows and low tiles of one row fewer.
type strip[T Float] func(high, low, k int, a *T, sa int, b *T, sb int, c *T, ldc int)

// strips are what a head of attention is made of with AVX2, where masked stores are slow. Weights are held transposed, a row a key
// and a column a query, so that softmax goes down whole vectors; what fills up the last of them are copies of the last query.
type strips[T Float] struct {
	lanes          int
	row6x2, row4x3 strip[T] // by height and vectors of columns; a is read by rows
	col6x2         strip[T] // the same by columns
	transpose      func(k int, src *T, ld, rows int, dst *T, pitch int, mask uint32)
	softmax        func(rows, vectors, ld int, x *T, base2 T, ahead *T)
	softmaxGrad    func(rows, vectors, ld int, y, grad *T, scale T, ahead *T)
}

var (
	strips32avx2 = strips[float32]{
		lanes: 8, row6x2: stripRow32avx2x6x2, row4x3: stripRow32avx2x4x3, col6x2: stripCol32avx2x6x2,
		transpose: transpose32avx2, softmax: softmaxColumns32avx2, softmaxGrad: softmaxGradColumns32avx2,
	}
	strips64avx2 = strips[float64]{
		lanes: 4, row6x2: stripRow64avx2x6x2, row4x3: stripRow64avx2x4x3, col6x2: stripCol64avx2x6x2,
		transpose: transpose64avx2, softmax: softmaxColumns64avx2, softmaxGrad: softmaxGradColumns64avx2,
	}
)

// takes tells whether strips do these heads: from 20 on any number of tokens is a sum of fives and sixes, matrices of more than 256
// belong in blocks, and a width has to be one of whole strips.
func (s *strips[T]) takes(h Heads) bool {
	return active == pathAVX2 && h.Tokens >= 20 && h.Tokens <= 256 && h.Width%(2*s.lanes) == 0
}

// vectors is the number of them in a row of weights that weights fill.
func (s *strips[T]) vectors(h Heads) int { return (h.Tokens + s.lanes - 1) / s.lanes }

// apart is the number of elements from a row of weights to the next: an odd number of vectors, or rows would share sets of the cache.
func (s *strips[T]) apart(h Heads) int { return (s.vectors(h) | 1) * s.lanes }

// scratch is that of two matrices of weights and one transposed operand.
func (s *strips[T]) scratch(h Heads) int {
	return line[T]() + (2*h.Tokens+h.Width)*s.apart(h)
}

func attentionFastScratch[T Float](h Heads) (need int, ok bool) {
	if is32[T]() {
		return strips32avx2.scratch(h), strips32avx2.takes(h)
	}
	return strips64avx2.scratch(h), strips64avx2.takes(h)
}

func attentionFast[T Float](h Heads, dst, qkv []T, scale T, scratch []T) bool {
	switch {
	case is32[T]() && strips32avx2.takes(h):
		strips32avx2.attention(h, as32(dst), as32(qkv), float32(scale), as32(scratch))
	case !is32[T]() && strips64avx2.takes(h):
		strips64avx2.attention(h, as64(dst), as64(qkv), float64(scale), as64(scratch))
	default:
		return false
	}
	return true
}

func attentionGradFast[T Float](h Heads, dst, qkv, g []T, scale T, scratch []T) bool {
	switch {
	case is32[T]() && strips32avx2.takes(h):
		strips32avx2.grad(h, as32(dst), as32(qkv), as32(g), float32(scale), as32(scratch))
	case !is32[T]() && strips64avx2.takes(h):
		strips64avx2.grad(h, as64(dst), as64(qkv), as64(g), float64(scale), as64(scratch))
	default:
		return false
	}
	return true
}

// head is one of an attention. Strides are in elements, but for the pitch of its weights, which is in bytes as assembly has it.
type head[T Float] struct {
	*strips[T]
	tokens, width, vectors int
	pitch                  int
	p, ds, turned          []T
}

func (s *strips[T]) head(h Heads, scratch []T) head[T] {
	var zero T
	n := s.apart(h)
	scratch = aligned(scratch)
	return head[T]{
		strips: s, tokens: h.Tokens, width: h.Width, vectors: s.vectors(h), pitch: n * int(unsafe.Sizeof(zero)),
		p: scratch[:h.Tokens*n], ds: scratch[h.Tokens*n : 2*h.Tokens*n], turned: scratch[2*h.Tokens*n:],
	}
}

// ahead is the share of a head in the same matrix of the next sample.
func (h Heads) ahead(i, j, row int) int {
	return min(i+1, h.Batch-1)*h.Tokens*row + h.Tokens*row/h.Heads*j
}

func (s *strips[T]) attention(h Heads, dst, qkv []T, scale T, scratch []T) {
	one, row := s.head(h, scratch), h.row()
	for i := range h.Batch {
		for j := range h.Heads {
			x, y := qkv[i*h.Tokens*3*row+j*h.Width:], dst[i*h.Tokens*row+j*h.Width:]
			one.scores(one.p, x, 3*row, x[row:], 3*row)
			one.softmax(h.Tokens, one.vectors, one.pitch, &one.p[0], scale*math.Log2E, &qkv[h.ahead(i, j, 3*row)])
			one.product(s.col6x2, one.p, x[2*row:], 3*row, y, row)
		}
	}
}

func (s *strips[T]) grad(h Heads, dst, qkv, g []T, scale T, scratch []T) {
	one, row := s.head(h, scratch), h.row()
	for i := range h.Batch {
		for j := range h.Heads {
			at := i*h.Tokens*3*row + j*h.Width
			x, dx, g := qkv[at:], dst[at:], g[i*h.Tokens*row+j*h.Width:]
			one.scores(one.p, x, 3*row, x[row:], 3*row)
			one.softmax(h.Tokens, one.vectors, one.pitch, &one.p[0], scale*math.Log2E, &qkv[h.ahead(i, j, 3*row)])
			one.product(s.row6x2, one.p, g, row, dx[2*row:], 3*row)
			one.scores(one.ds, g, row, x[2*row:], 3*row)
			one.softmaxGrad(h.Tokens, one.vectors, one.pitch, &one.p[0], &one.ds[0], scale, &dst[h.ahead(i, j, 3*row)])
			one.product(s.col6x2, one.ds, x[row:], 3*row, dx, 3*row)
			one.product(s.row6x2, one.ds, x, 3*row, dx[row:], 3*row)
		}
	}
}

// scores sets p = b·aᵀ.
func (h *head[T]) scores(p, a []T, lda int, b []T, ldb int) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	for i := 0; i < h.tokens; i += h.lanes {
		h.transpose(h.width, &a[i*lda], lda*size, min(h.lanes, h.tokens-i), &h.turned[i], h.pitch, 0)
	}
	for v := 0; v < h.vectors; {
		strip, rows, n := h.row6x2, 6, 2
		if h.vectors-v == 3 {
			strip, rows, n = h.row4x3, 4, 3
		}
		high, low := split(h.tokens, rows)
		strip(high, low, h.width, &b[0], ldb*size, &h.turned[v*h.lanes], h.pitch, &p[v*h.lanes], h.pitch)
		v += n
	}
}

// product sets c = p·b, or with strips by columns pᵀ·b.
func (h *head[T]) product(strip strip[T], p, b []T, ldb int, c []T, ldc int) {
	var zero T
	size := int(unsafe.Sizeof(zero))
	high, low := split(h.tokens, 6)
	for j := 0; j < h.width; j += 2 * h.lanes {
		strip(high, low, h.tokens, &p[0], h.pitch, &b[j], ldb*size, &c[j], ldc*size)
	}
}

// split makes n of tiles of so many rows and tiles of one row fewer.
func split(n, rows int) (high, low int) {
	count := (n + rows - 1) / rows
	low = count*rows - n
	return count - low, low
}
