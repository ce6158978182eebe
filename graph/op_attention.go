package graph

import (
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/internal/kernels"
)

// attention is multi-head softmax attention of interleaved q|k|v, attentionGrad its VJP; both compute one head at a time
// and never hold more than one matrix of weights.
type (
	attention     struct{ heads int }
	attentionGrad struct{ heads int }
)

// Attention returns multi-head self-attention (Vaswani et al. 2017, arXiv 1706.03762) of qkv (batch, tokens, 3·width),
// whose last axis is q, k and v one after the other, each the heads one after the other. The result is (batch, tokens,
// width).
func (b *Builder) Attention(qkv *Node, heads int) *Node { return b.Apply(attention{heads}, qkv) }

func (o attention) String() string { return fmt.Sprintf("attention[%d heads]", o.heads) }
func (o attention) Shape(in []Shape) (Shape, error) {
	s := in[0]
	if len(s) != 3 || o.heads < 1 || s[2]%(3*o.heads) != 0 {
		return nil, fmt.Errorf("shape %v with %d heads: (batch, tokens, 3·heads·n) is needed", s, o.heads)
	}
	return Shape{s[0], s[1], s[2] / 3}, nil
}

func (o attention) Bind(in []Shape) Kernel {
	k := newHeads(in[0], o.heads)
	return Kernel{F32: attentionKernel[float32](k), F64: attentionKernel[float64](k), Scratch: k.tokens*k.stride + k.gemm,
		FLOPs: 4 * int64(k.batch) * int64(k.tokens) * int64(k.tokens) * int64(k.width)}
}

// heads are the dimensions of an attention.
type heads struct {
	batch, tokens, width, n, head int // head: width of one of n heads
	stride                        int // of a matrix of weights: a whole number of cache lines, which spares the softmax waits
	gemm                          int // scratch of its products
	scale                         float64
}

func newHeads(s Shape, n int) heads {
	k := heads{batch: s[0], tokens: s[1], width: s[2] / 3, n: n, head: s[2] / 3 / n}
	k.scale = 1 / math.Sqrt(float64(k.head))
	t, d := k.tokens, k.head
	k.stride = (t + 15) / 16 * 16
	k.gemm = max(
		kernels.GemmScratch[float32](false, true, t, t, d), kernels.GemmScratch[float64](false, true, t, t, d),
		kernels.GemmScratch[float32](false, false, t, d, t), kernels.GemmScratch[float64](false, false, t, d, t),
		kernels.GemmScratch[float32](true, false, t, d, t), kernels.GemmScratch[float64](true, false, t, d, t))
	return k
}

// weights computes P = softmax(q kᵀ · scale) of one head, whose q begins at qkv[0].
func weights[T Float](k heads, p, qkv, scratch []T) {
	t, ld := k.tokens, 3*k.width
	kernels.Gemm(false, true, t, t, k.head, qkv, ld, qkv[k.width:], ld, p, k.stride, false, scratch)
	kernels.Softmax(p, p, t, t, k.stride, T(k.scale))
}

func attentionKernel[T Float](k heads) func(dst []T, src [][]T, scratch []T) {
	return func(dst []T, src [][]T, scratch []T) {
		t, ld := k.tokens, 3*k.width
		s := t * k.stride
		p, scratch := scratch[:s], scratch[s:]
		for i := range k.batch {
			for h := range k.n {
				qkv := src[0][i*t*ld+h*k.head : (i+1)*t*ld]
				weights(k, p, qkv, scratch)
				kernels.Gemm(false, false, t, k.head, t, p, k.stride, qkv[2*k.width:], ld, dst[i*t*k.width+h*k.head:(i+1)*t*k.width], k.width, false, scratch)
			}
		}
	}
}

func (o attention) decompose(b *Builder, in []*Node) *Node {
	s := in[0].Shape()
	k := newHeads(s, o.heads)
	// (batch, tokens, 3, heads, head) → (3, batch, heads, tokens, head)
	x := b.Permute(b.Reshape(in[0], k.batch, k.tokens, 3, k.n, k.head), 2, 0, 3, 1, 4)
	part := func(i int) *Node { return b.Reshape(b.Slice(x, 0, i, i+1), k.batch*k.n, k.tokens, k.head) }
	p := b.Softmax(k.scale, b.MatMul(part(0), part(1), false, true))
	y := b.Reshape(b.MatMul(p, part(2), false, false), k.batch, k.n, k.tokens, k.head)
	return b.Reshape(b.Permute(y, 0, 2, 1, 3), k.batch, k.tokens, k.width)
}

func (o attention) VJP(b *Builder, _ []bool, in []*Node, _, ct *Node) []*Node {
	return []*Node{b.Apply(attentionGrad(o), in[0], ct)}
}

func (o attention) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return simpleJVP(b, o, in, d)
}

func (o attentionGrad) String() string { return fmt.Sprintf("attentionGrad[%d heads]", o.heads) }
func (o attentionGrad) Shape(in []Shape) (Shape, error) {
	out, err := attention(o).Shape(in[:1])
	if err == nil && !slices.Equal(out, in[1]) {
		err = fmt.Errorf("cotangent of shape %v for a result of shape %v", in[1], out)
	}
	return in[0].Clone(), err
}

func (o attentionGrad) Bind(in []Shape) Kernel {
	k := newHeads(in[0], o.heads)
	return Kernel{F32: attentionGradKernel[float32](k), F64: attentionGradKernel[float64](k), Scratch: 2*k.tokens*k.stride + k.gemm,
		FLOPs: 10 * int64(k.batch) * int64(k.tokens) * int64(k.tokens) * int64(k.width)}
}

func attentionGradKernel[T Float](k heads) func(dst []T, src [][]T, scratch []T) {
	return func(dst []T, src [][]T, scratch []T) {
		t, ld := k.tokens, 3*k.width
		s := t * k.stride
		p, ds, scratch := scratch[:s], scratch[s:2*s], scratch[2*s:]
		for i := range k.batch {
			for h := range k.n {
				qkv := src[0][i*t*ld+h*k.head : (i+1)*t*ld]
				dqkv := dst[i*t*ld+h*k.head : (i+1)*t*ld]
				do := src[1][i*t*k.width+h*k.head : (i+1)*t*k.width]
				weights(k, p, qkv, scratch)
				kernels.Gemm(true, false, t, k.head, t, p, k.stride, do, k.width, dqkv[2*k.width:], ld, false, scratch)
				kernels.Gemm(false, true, t, t, k.head, do, k.width, qkv[2*k.width:], ld, ds, k.stride, false, scratch)
				kernels.SoftmaxGrad(ds, p, ds, t, t, k.stride, T(k.scale))
				kernels.Gemm(false, false, t, k.head, t, ds, k.stride, qkv[k.width:], ld, dqkv, ld, false, scratch)
				kernels.Gemm(true, false, t, k.head, t, ds, k.stride, qkv, ld, dqkv[k.width:], ld, false, scratch)
			}
		}
	}
}

func (o attentionGrad) decompose(b *Builder, in []*Node) *Node {
	y := attention(o).decompose(b, in[:1])
	return b.gradient([]*Node{y}, in[1:], in[:1], leafSet(in[:1]))[0]
}

func (o attentionGrad) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	return simpleVJP(b, o, want, in, ct)
}

func (o attentionGrad) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return simpleJVP(b, o, in, d)
}
