package graph

import (
	"fmt"

	"github.com/ebb-go/ebb/internal/kernels"
)

// softmax is softmax(scale·x) over the last axis; softmaxGrad its VJP as a function of its value and the cotangent.
type (
	softmax     struct{ scale float64 }
	softmaxGrad struct{ scale float64 }
	logSumExp   struct{}
)

// Softmax returns softmax(scale·x) over the last axis.
func (b *Builder) Softmax(scale float64, x *Node) *Node { return b.Apply(softmax{scale}, x) }

// LogSumExp returns ln Σ exp x over the last axis, which stays with length 1.
func (b *Builder) LogSumExp(x *Node) *Node { return b.Apply(logSumExp{}, x) }

func rowsOf(s Shape) (rows, cols int) {
	cols = s[len(s)-1]
	return s.TotalSize() / cols, cols
}

func (o softmax) String() string                  { return fmt.Sprintf("softmax[%g]", o.scale) }
func (o softmax) Shape(in []Shape) (Shape, error) { return in[0].Clone(), nil }
func (o softmax) Bind(in []Shape) Kernel {
	rows, cols := rowsOf(in[0])
	return Kernel{InPlace: []int{0},
		F32: func(dst []float32, src [][]float32, _ []float32) {
			kernels.Softmax(dst, src[0], rows, cols, cols, float32(o.scale))
		},
		F64: func(dst []float64, src [][]float64, _ []float64) {
			kernels.Softmax(dst, src[0], rows, cols, cols, o.scale)
		}}
}
func (o softmax) VJP(b *Builder, _ []bool, _ []*Node, out, ct *Node) []*Node {
	return []*Node{b.Apply(softmaxGrad(o), out, ct)}
}
func (o softmax) JVP(b *Builder, _ []*Node, out *Node, d []*Node) *Node {
	return b.Apply(softmaxGrad(o), out, d[0]) // the Jacobian is symmetric
}

func (o softmaxGrad) String() string                  { return fmt.Sprintf("softmaxGrad[%g]", o.scale) }
func (o softmaxGrad) Shape(in []Shape) (Shape, error) { return sameShape(in) }
func (o softmaxGrad) Bind(in []Shape) Kernel {
	rows, cols := rowsOf(in[0])
	return Kernel{
		F32: func(dst []float32, src [][]float32, _ []float32) {
			kernels.SoftmaxGrad(dst, src[0], src[1], rows, cols, cols, float32(o.scale))
		},
		F64: func(dst []float64, src [][]float64, _ []float64) {
			kernels.SoftmaxGrad(dst, src[0], src[1], rows, cols, cols, o.scale)
		}}
}
func (o softmaxGrad) decompose(b *Builder, in []*Node) *Node {
	y, g := in[0], in[1]
	yg := b.Mul(y, g)
	return b.Combine([]float64{o.scale, -o.scale}, yg, b.Mul(y, b.sumLast(yg)))
}
func (o softmaxGrad) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	return simpleVJP(b, o, want, in, ct)
}
func (o softmaxGrad) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return simpleJVP(b, o, in, d)
}

// sumLast is the sum over the last axis, repeated along it.
func (b *Builder) sumLast(x *Node) *Node {
	last := x.Dims() - 1
	return b.Expand(b.Sum(x, last), last, x.Shape()[last])
}

// meanLast is the mean over the last axis, repeated along it.
func (b *Builder) meanLast(x *Node) *Node {
	return b.Scale(1/float64(x.Shape()[x.Dims()-1]), b.sumLast(x))
}

func (logSumExp) String() string { return "logSumExp" }
func (logSumExp) Shape(in []Shape) (Shape, error) {
	out := in[0].Clone()
	out[len(out)-1] = 1
	return out, nil
}
func (logSumExp) Bind(in []Shape) Kernel {
	rows, cols := rowsOf(in[0])
	return Kernel{
		F32: func(dst []float32, src [][]float32, _ []float32) { kernels.LogSumExp(dst, src[0], rows, cols) },
		F64: func(dst []float64, src [][]float64, _ []float64) { kernels.LogSumExp(dst, src[0], rows, cols) }}
}
func (logSumExp) VJP(b *Builder, _ []bool, in []*Node, _, ct *Node) []*Node {
	last := in[0].Dims() - 1
	return []*Node{b.Mul(b.Softmax(1, in[0]), b.Expand(ct, last, in[0].Shape()[last]))}
}
func (logSumExp) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return b.Sum(b.Mul(b.Softmax(1, in[0]), d[0]), in[0].Dims()-1)
}
