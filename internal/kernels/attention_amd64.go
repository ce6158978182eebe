package kernels

import (
	"math"
	"unsafe"
)

// strip sets some whole vectors of columns of c = op(a)·b, in high tiles of rows and low tiles of one row fewer.
type strip[T Float] func(high, low, k int, a *T, sa int, b *T, sb int, c *T, ldc int)

// strips are what a head of attention is made of. Weights are held transposed, a row a key and a column a query, so that softmax
// goes down whole vectors; what fills up the last of them are copies of the last query.
type strips[T Float] struct {
	path        path
	lanes       int
	row2, row3  strip[T] // of two and of three vectors of columns; a is read by rows
	col2        strip[T] // the same by columns
	high2       int      // rows of the high tiles of two vectors
	high3       int      // and of three
	transpose   func(k int, src *T, ld, rows int, dst *T, pitch int, mask uint32)
	softmax     func(rows, vectors, ld int, x *T, base2 T, ahead *T)
	softmaxGrad func(rows, vectors, ld int, y, grad *T, scale T, ahead *T)
}

var (
	strips32avx512 = strips[float32]{
		path: pathAVX512, lanes: 16, high2: 7, high3: 7,
		row2: stripRow32avx512x7x2, row3: stripRow32avx512x7x3, col2: stripCol32avx512x7x2,
		transpose: transpose32avx512, softmax: softmaxColumns32avx512, softmaxGrad: softmaxGradColumns32avx512,
	}
	strips64avx512 = strips[float64]{
		path: pathAVX512, lanes: 8, high2: 7, high3: 7,
		row2: stripRow64avx512x7x2, row3: stripRow64avx512x7x3, col2: stripCol64avx512x7x2,
		transpose: transpose64avx512, softmax: softmaxColumns64avx512, softmaxGrad: softmaxGradColumns64avx512,
	}
	strips32avx2 = strips[float32]{
		path: pathAVX2, lanes: 8, high2: 6, high3: 4,
		row2: stripRow32avx2x6x2, row3: stripRow32avx2x4x3, col2: stripCol32avx2x6x2,
		transpose: transpose32avx2, softmax: softmaxColumns32avx2, softmaxGrad: softmaxGradColumns32avx2,
	}
	strips64avx2 = strips[float64]{
		path: pathAVX2, lanes: 4, high2: 6, high3: 4,
		row2: stripRow64avx2x6x2, row3: stripRow64avx2x4x3, col2: stripCol64avx2x6x2,
		transpose: transpose64avx2, softmax: softmaxColumns64avx2, softmaxGrad: softmaxGradColumns64avx2,
	}
)

// stripsFor returns those that do these heads, or nil.
func stripsFor[T Float](h Heads) *strips[T] {
	for _, s := range [...]any{&strips32avx512, &strips32avx2, &strips64avx512, &strips64avx2} {
		if s, ok := s.(*strips[T]); ok && s.takes(h) {
			return s
		}
	}
	return nil
}

// takes tells whether strips do these heads: with tiles of r and r−1 rows any number of tokens from (r−1)·(r−2) on is a sum of
// those, matrices of more than 256 belong in blocks, and a width has to be one of whole strips. Tokens a multiple of 4096 bytes
// apart share sets of the cache: with AVX-512 the arithmetic no longer hides that, and products that copy them are faster.
func (s *strips[T]) takes(h Heads) bool {
	var zero T
	shared := 3*h.row()*int(unsafe.Sizeof(zero))%4096 == 0
	return active == s.path && !(shared && active == pathAVX512) &&
		h.Tokens >= (s.high2-1)*(s.high2-2) && h.Tokens <= 256 && h.Width%(2*s.lanes) == 0
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
	if s := stripsFor[T](h); s != nil {
		return s.scratch(h), true
	}
	return 0, false
}

func attentionFast[T Float](h Heads, dst, qkv []T, scale T, scratch []T) bool {
	s := stripsFor[T](h)
	if s != nil {
		s.attention(h, dst, qkv, scale, scratch)
	}
	return s != nil
}

func attentionGradFast[T Float](h Heads, dst, qkv, g []T, scale T, scratch []T) bool {
	s := stripsFor[T](h)
	if s != nil {
		s.grad(h, dst, qkv, g, scale, scratch)
	}
	return s != nil
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
			one.product(s.col2, one.p, x[2*row:], 3*row, y, row)
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
			one.product(s.row2, one.p, g, row, dx[2*row:], 3*row)
			one.scores(one.ds, g, row, x[2*row:], 3*row)
			one.softmaxGrad(h.Tokens, one.vectors, one.pitch, &one.p[0], &one.ds[0], scale, &dst[h.ahead(i, j, 3*row)])
			one.product(s.col2, one.ds, x[row:], 3*row, dx, 3*row)
			one.product(s.row2, one.ds, x, 3*row, dx[row:], 3*row)
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
		strip, rows, n := h.row2, h.high2, 2
		if h.vectors-v == 3 {
			strip, rows, n = h.row3, h.high3, 3
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
	high, low := split(h.tokens, h.high2)
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
