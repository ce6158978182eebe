package graph

import (
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/internal/kernels"
)

// attention is multi-head softmax attention of interleaved q|k|v, attentionGrad its VJP; both compute one head at a time
// and never hold more than the weights of one.
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
	h, n := newHeads(in[0], o.heads)
	return Kernel{F32: attentionKernel[float32](h), F64: attentionKernel[float64](h), Scratch: attentionScratch(h), FLOPs: 4 * n}
}

// newHeads returns the dimensions, and the number of products of one element of q and one of k.
func newHeads(s Shape, n int) (h kernels.Heads, products int64) {
	h = kernels.Heads{Batch: s[0], Tokens: s[1], Heads: n, Width: s[2] / 3 / n}
	return h, int64(s[0]) * int64(s[1]) * int64(s[1]) * int64(s[2]/3)
}

func attentionScale(h kernels.Heads) float64 { return 1 / math.Sqrt(float64(h.Width)) }

func attentionScratch(h kernels.Heads) int {
	return max(kernels.AttentionScratch[float32](h), kernels.AttentionScratch[float64](h))
}

func attentionKernel[T Float](h kernels.Heads) func(dst []T, src [][]T, scratch []T) {
	scale := T(attentionScale(h))
	return func(dst []T, src [][]T, scratch []T) { kernels.Attention(h, dst, src[0], scale, scratch) }
}

func (o attention) decompose(b *Builder, in []*Node) *Node {
	s := in[0].Shape()
	h, _ := newHeads(s, o.heads)
	// (batch, tokens, 3, heads, width) → (3, batch, heads, tokens, width)
	x := b.Permute(b.Reshape(in[0], h.Batch, h.Tokens, 3, h.Heads, h.Width), 2, 0, 3, 1, 4)
	part := func(i int) *Node { return b.Reshape(b.Slice(x, 0, i, i+1), h.Batch*h.Heads, h.Tokens, h.Width) }
	p := b.Softmax(attentionScale(h), b.MatMul(part(0), part(1), false, true))
	y := b.Reshape(b.MatMul(p, part(2), false, false), h.Batch, h.Heads, h.Tokens, h.Width)
	return b.Reshape(b.Permute(y, 0, 2, 1, 3), h.Batch, h.Tokens, h.Heads*h.Width)
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
	h, n := newHeads(in[0], o.heads)
	return Kernel{F32: attentionGradKernel[float32](h), F64: attentionGradKernel[float64](h), Scratch: attentionScratch(h), FLOPs: 10 * n}
}

func attentionGradKernel[T Float](h kernels.Heads) func(dst []T, src [][]T, scratch []T) {
	scale := T(attentionScale(h))
	return func(dst []T, src [][]T, scratch []T) { kernels.AttentionGrad(h, dst, src[0], src[1], scale, scratch) }
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
