package graph

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/internal/kernels"
)

// combine is Σ c_k x_k of inputs of one shape, and by that also their sum, difference, negation and scaling.
type combine struct{ c []float64 }

// Combine returns Σ c[k]·x[k] of nodes of one shape.
func (b *Builder) Combine(c []float64, x ...*Node) *Node {
	if len(c) != len(x) {
		return b.Fail("combine: %d coefficients for %d nodes", len(c), len(x))
	}
	return b.Apply(combine{slices.Clone(c)}, x...)
}

// Add returns the sum of nodes of one shape.
func (b *Builder) Add(x ...*Node) *Node {
	return b.Apply(combine{slices.Repeat([]float64{1}, len(x))}, x...)
}

// Sub returns x − y.
func (b *Builder) Sub(x, y *Node) *Node { return b.Apply(combine{[]float64{1, -1}}, x, y) }

// Scale returns c·x.
func (b *Builder) Scale(c float64, x *Node) *Node { return b.Apply(combine{[]float64{c}}, x) }

func (o combine) String() string {
	if len(o.c) > 4 {
		return fmt.Sprintf("combine of %d", len(o.c))
	}
	return "combine" + strings.ReplaceAll(fmt.Sprint(o.c), " ", ",")
}

func (o combine) Shape(in []Shape) (Shape, error) {
	for _, s := range in[1:] {
		if !slices.Equal(s, in[0]) {
			return nil, fmt.Errorf("shapes %v and %v differ", in[0], s)
		}
	}
	return in[0].Clone(), nil
}

func (o combine) Bind(in []Shape) Kernel {
	k := Kernel{F32: combineKernel[float32](o.c), F64: combineKernel[float64](o.c), FLOPs: int64(2 * len(o.c) * in[0].TotalSize())}
	for i := range in {
		k.InPlace = append(k.InPlace, i)
	}
	return k
}

func combineKernel[T Float](coefs []float64) func(dst []T, src [][]T, _ []T) {
	c := make([]T, len(coefs))
	for i, v := range coefs {
		c[i] = T(v)
	}
	return func(dst []T, src [][]T, _ []T) { kernels.Combine(dst, c, src) }
}

func (o combine) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, len(in))
	for i := range in {
		switch {
		case !want[i] || o.c[i] == 0:
		case o.c[i] == 1:
			res[i] = ct
		default:
			res[i] = b.Scale(o.c[i], ct)
		}
	}
	return res
}

func (o combine) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	var c []float64
	var x []*Node
	for i, v := range d {
		if v != nil {
			c, x = append(c, o.c[i]), append(x, v)
		}
	}
	return b.Combine(c, x...)
}

// shift is x + c.
type shift struct{ c float64 }

// Shift returns x + c.
func (b *Builder) Shift(c float64, x *Node) *Node { return b.Apply(shift{c}, x) }

func (o shift) String() string                  { return fmt.Sprintf("shift[%g]", o.c) }
func (o shift) Shape(in []Shape) (Shape, error) { return in[0].Clone(), nil }
func (o shift) Bind([]Shape) Kernel {
	return Kernel{F32: shiftKernel[float32](o.c), F64: shiftKernel[float64](o.c), InPlace: []int{0}}
}

func shiftKernel[T Float](c float64) func(dst []T, src [][]T, _ []T) {
	return func(dst []T, src [][]T, _ []T) {
		for i, v := range src[0] {
			dst[i] = v + T(c)
		}
	}
}

func (o shift) VJP(_ *Builder, _ []bool, _ []*Node, _, ct *Node) []*Node { return []*Node{ct} }
func (o shift) JVP(_ *Builder, _ []*Node, _ *Node, d []*Node) *Node      { return d[0] }

// zero is a tensor of zeros of the shape of its input, whose value it does not read.
type zero struct{}

// zeros returns zeros of the shape of x.
func (b *Builder) zeros(x *Node) *Node {
	if s := x.Shape(); len(s) == 0 {
		return b.Reshape(b.Apply(zero{}, b.Reshape(x, 1)))
	}
	return b.Apply(zero{}, x)
}

func (zero) String() string                  { return "zeros" }
func (zero) Shape(in []Shape) (Shape, error) { return in[0].Clone(), nil }
func (zero) Bind([]Shape) Kernel {
	return Kernel{
		F32: func(dst []float32, _ [][]float32, _ []float32) { clear(dst) },
		F64: func(dst []float64, _ [][]float64, _ []float64) { clear(dst) }}
}
func (zero) VJP(*Builder, []bool, []*Node, *Node, *Node) []*Node { return make([]*Node, 1) }
func (zero) JVP(*Builder, []*Node, *Node, []*Node) *Node         { return nil }

// product is the elementwise product, quotient the elementwise quotient, of two nodes of one shape.
type (
	product  struct{}
	quotient struct{}
)

// Mul returns the elementwise product x ⊙ y.
func (b *Builder) Mul(x, y *Node) *Node { return b.Apply(product{}, x, y) }

// Div returns the elementwise quotient x ⊘ y.
func (b *Builder) Div(x, y *Node) *Node { return b.Apply(quotient{}, x, y) }

func sameShape(in []Shape) (Shape, error) {
	if !slices.Equal(in[0], in[1]) {
		return nil, fmt.Errorf("shapes %v and %v differ", in[0], in[1])
	}
	return in[0].Clone(), nil
}

func (product) String() string                  { return "mul" }
func (product) Shape(in []Shape) (Shape, error) { return sameShape(in) }
func (product) Bind([]Shape) Kernel {
	return Kernel{InPlace: []int{0, 1},
		F32: func(dst []float32, src [][]float32, _ []float32) { kernels.Mul(dst, src[0], src[1]) },
		F64: func(dst []float64, src [][]float64, _ []float64) { kernels.Mul(dst, src[0], src[1]) }}
}

func (product) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, 2)
	if want[0] {
		res[0] = b.Mul(ct, in[1])
	}
	if want[1] {
		res[1] = b.Mul(ct, in[0])
	}
	return res
}

func (o product) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return b.productRule(o, in, d)
}

func (quotient) String() string                  { return "div" }
func (quotient) Shape(in []Shape) (Shape, error) { return sameShape(in) }
func (quotient) Bind([]Shape) Kernel {
	return Kernel{InPlace: []int{0, 1},
		F32: func(dst []float32, src [][]float32, _ []float32) { kernels.Div(dst, src[0], src[1]) },
		F64: func(dst []float64, src [][]float64, _ []float64) { kernels.Div(dst, src[0], src[1]) }}
}

func (quotient) VJP(b *Builder, want []bool, in []*Node, out, ct *Node) []*Node {
	res := make([]*Node, 2)
	q := b.Div(ct, in[1])
	if want[0] {
		res[0] = q
	}
	if want[1] {
		res[1] = b.Scale(-1, b.Mul(q, out))
	}
	return res
}

func (quotient) JVP(b *Builder, in []*Node, out *Node, d []*Node) *Node {
	var parts []*Node
	if d[0] != nil {
		parts = append(parts, b.Div(d[0], in[1]))
	}
	if d[1] != nil {
		parts = append(parts, b.Scale(-1, b.Mul(out, b.Div(d[1], in[1]))))
	}
	return b.sum(parts)
}
