package kernels

// Heads are the dimensions of an attention: samples of tokens of heads, and how wide each of those is.
type Heads struct{ Batch, Tokens, Heads, Width int }

// row is that of a token in the result; in qkv it is three times as long.
func (h Heads) row() int { return h.Heads * h.Width }

func (h Heads) size() int { return h.Batch * h.Tokens * h.row() }

// stride is that of a matrix of weights: a whole number of cache lines, which spares the softmax waits.
func (h Heads) stride() int { return (h.Tokens + 15) / 16 * 16 }

// AttentionScratch is the number of elements of scratch that [Attention] and [AttentionGrad] need.
func AttentionScratch[T Float](h Heads) int {
	if need, ok := attentionFastScratch[T](h); ok {
		return need
	}
	t, d := h.Tokens, h.Width
	return 2*t*h.stride() + max(
		GemmScratch[T](false, true, t, t, d), GemmScratch[T](false, false, t, d, t), GemmScratch[T](true, false, t, d, t))
}

// Attention sets dst (batch, tokens, heads, width) to softmax(scale·q·kᵀ)·v, head by head, of qkv (batch, tokens, 3, heads, width),
// whose third axis is q, k and v. scale is positive. The weights of a query whose largest product is infinite are NaN.
func Attention[T Float](h Heads, dst, qkv []T, scale T, scratch []T) {
	if h.size() == 0 {
		return
	}
	dst, qkv, scratch = fit(dst, h.size()), fit(qkv, 3*h.size()), fit(scratch, AttentionScratch[T](h))
	if attentionFast(h, dst, qkv, scale, scratch) {
		return
	}
	t, d, row := h.Tokens, h.Width, h.row()
	for i := range h.Batch {
		for j := range h.Heads {
			x, y := qkv[i*t*3*row+j*d:(i+1)*t*3*row], dst[i*t*row+j*d:(i+1)*t*row]
			p, scratch := attentionWeights(h, x, scale, scratch)
			Gemm(false, false, t, d, t, p, h.stride(), x[2*row:], 3*row, y, row, false, scratch)
		}
	}
}

// AttentionGrad sets dst to the gradient of [Attention] to qkv when g is that to its result.
func AttentionGrad[T Float](h Heads, dst, qkv, g []T, scale T, scratch []T) {
	if h.size() == 0 {
		return
	}
	dst, qkv, g, scratch = fit(dst, 3*h.size()), fit(qkv, 3*h.size()), fit(g, h.size()), fit(scratch, AttentionScratch[T](h))
	if attentionGradFast(h, dst, qkv, g, scale, scratch) {
		return
	}
	t, d, row, s := h.Tokens, h.Width, h.row(), h.stride()
	for i := range h.Batch {
		for j := range h.Heads {
			at := i*t*3*row + j*d
			x, dx, g := qkv[at:(i+1)*t*3*row], dst[at:(i+1)*t*3*row], g[i*t*row+j*d:(i+1)*t*row]
			p, scratch := attentionWeights(h, x, scale, scratch)
			ds, scratch := scratch[:t*s], scratch[t*s:]
			Gemm(true, false, t, d, t, p, s, g, row, dx[2*row:], 3*row, false, scratch)
			Gemm(false, true, t, t, d, g, row, x[2*row:], 3*row, ds, s, false, scratch)
			SoftmaxGrad(ds, p, ds, t, t, s, scale)
			Gemm(false, false, t, d, t, ds, s, x[row:], 3*row, dx, 3*row, false, scratch)
			Gemm(true, false, t, d, t, ds, s, x, 3*row, dx[row:], 3*row, false, scratch)
		}
	}
}

// attentionWeights returns softmax(scale·q·kᵀ) of the head whose q begins at x[0], in a part of scratch, and the rest of that.
func attentionWeights[T Float](h Heads, x []T, scale T, scratch []T) (p, rest []T) {
	t, s, ld := h.Tokens, h.stride(), 3*h.row()
	p, rest = scratch[:t*s], scratch[t*s:]
	Gemm(false, true, t, t, h.Width, x, ld, x[h.row():], ld, p, s, false, rest)
	Softmax(p, p, t, t, s, scale)
	return p, rest
}
