package graph

import (
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/internal/kernels"
)

// normalize is x̂ = (x − mean)/√(variance + eps) over the last axis, or x/√(mean square + eps) with rms set. Its Jacobian
// is symmetric; normalizeGrad is the product with it.
type (
	normalize struct {
		eps float64
		rms bool
	}
	normalizeGrad normalize
)

// LayerNorm normalises the last axis to mean 0 and variance 1 (Ba, Kiros, Hinton 2016, arXiv 1607.06450), without an
// affine part: see [Builder.Modulate].
func (b *Builder) LayerNorm(eps float64, x *Node) *Node { return b.Apply(normalize{eps: eps}, x) }

// RMSNorm divides the last axis by its root mean square (Zhang, Sennrich 2019, arXiv 1910.07467).
func (b *Builder) RMSNorm(eps float64, x *Node) *Node { return b.Apply(normalize{eps, true}, x) }

func (o normalize) name() string {
	if o.rms {
		return "rmsNorm"
	}
	return "layerNorm"
}
func (o normalize) String() string { return fmt.Sprintf("%s[%g]", o.name(), o.eps) }
func (o normalize) Shape(in []Shape) (Shape, error) {
	if !(o.eps > 0) {
		return nil, fmt.Errorf("eps %g; it must be positive, 1e-6 is usual", o.eps)
	}
	return in[0].Clone(), nil
}
func (o normalize) Bind(in []Shape) Kernel {
	rows, cols := rowsOf(in[0])
	return Kernel{
		F32: func(dst []float32, src [][]float32, _ []float32) {
			kernels.Normalize(dst, src[0], rows, cols, float32(o.eps), o.rms, nil)
		},
		F64: func(dst []float64, src [][]float64, _ []float64) {
			kernels.Normalize(dst, src[0], rows, cols, o.eps, o.rms, nil)
		}}
}
func (o normalize) VJP(b *Builder, _ []bool, in []*Node, _, ct *Node) []*Node {
	return []*Node{b.Apply(normalizeGrad(o), in[0], ct)}
}
func (o normalize) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return b.Apply(normalizeGrad(o), in[0], d[0])
}

func (o normalizeGrad) String() string                  { return normalize(o).String() + "Grad" }
func (o normalizeGrad) Shape(in []Shape) (Shape, error) { return sameShape(in) }
func (o normalizeGrad) Bind(in []Shape) Kernel {
	rows, cols := rowsOf(in[0])
	return Kernel{
		F32: func(dst []float32, src [][]float32, _ []float32) {
			kernels.NormalizeGrad(dst, src[0], src[1], rows, cols, float32(o.eps), o.rms)
		},
		F64: func(dst []float64, src [][]float64, _ []float64) {
			kernels.NormalizeGrad(dst, src[0], src[1], rows, cols, o.eps, o.rms)
		}}
}
func (o normalizeGrad) decompose(b *Builder, in []*Node) *Node {
	x, g := in[0], in[1]
	if !o.rms {
		x = b.Sub(x, b.meanLast(x))
		g = b.Sub(g, b.meanLast(g))
	}
	inv := b.Map(Inverse, b.Map(Sqrt, b.Shift(o.eps, b.meanLast(b.Map(Square, x)))))
	hat := b.Mul(x, inv)
	return b.Mul(inv, b.Sub(g, b.Mul(hat, b.meanLast(b.Mul(g, hat)))))
}
func (o normalizeGrad) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := simpleVJP(b, o, []bool{want[0], false}, in, ct) // of both places, if one node stands in both
	if want[1] && in[0] != in[1] {
		res[1] = b.Apply(o, in[0], ct)
	}
	return res
}
func (o normalizeGrad) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return simpleJVP(b, o, in, d)
}

// gate is x ⊙ s, or x ⊙ (1 + s) with one set: x (batch, …, width), s (batch, width). modulate adds a shift of the shape of s; gatedAdd is
// h + x ⊙ s; tokenDot is the sum of x ⊙ y over the axes between, which is what the gradient to s is.
type (
	gate     struct{ one bool }
	modulate struct{}
	gatedAdd struct{}
	tokenDot struct{}
)

// Gate returns x ⊙ s: x (batch, …, width), s (batch, width).
func (b *Builder) Gate(x, s *Node) *Node { return b.Apply(gate{}, x, s) }

// Modulate returns x ⊙ (1 + scale) + shift, the modulation of adaLN (Peebles, Xie 2023, arXiv 2212.09748): x (batch, …,
// width), scale and shift (batch, width).
func (b *Builder) Modulate(x, scale, shift *Node) *Node { return b.Apply(modulate{}, x, scale, shift) }

// GatedAdd returns h + x ⊙ s, the gated residual of adaLN-Zero: h and x (batch, …, width), s (batch, width).
func (b *Builder) GatedAdd(h, x, s *Node) *Node { return b.Apply(gatedAdd{}, h, x, s) }

func gateShape(x Shape, s ...Shape) (Shape, error) {
	for _, v := range s {
		if len(x) < 2 || len(v) != 2 || v[0] != x[0] || v[1] != x[len(x)-1] {
			return nil, fmt.Errorf("shapes %v and %v: x (batch, …, width) needs a second input (batch, width)", x, v)
		}
	}
	return x.Clone(), nil
}

// gateDims are the batch, the number of tokens between, and the width.
func gateDims(x Shape) (batch, tokens, width int) {
	batch, width = x[0], x[len(x)-1]
	return batch, x.TotalSize() / (batch * width), width
}

func (o gate) String() string {
	if o.one {
		return "gate[1+]"
	}
	return "gate"
}
func (o gate) Shape(in []Shape) (Shape, error) { return gateShape(in[0], in[1]) }
func (o gate) Bind(in []Shape) Kernel {
	return Kernel{F32: gateKernel[float32](in[0], o.one), F64: gateKernel[float64](in[0], o.one), InPlace: []int{0}}
}
func gateKernel[T Float](x Shape, one bool) func(dst []T, src [][]T, _ []T) {
	batch, tokens, width := gateDims(x)
	return func(dst []T, src [][]T, _ []T) {
		for i, n := 0, tokens*width; i < batch; i++ {
			d, x, s := dst[i*n:][:n], src[0][i*n:][:n], src[1][i*width:][:width]
			if one {
				kernels.GateAdd(d, x, x, s)
			} else {
				kernels.Gate(d, x, s)
			}
		}
	}
}

func (o gate) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, 2)
	if want[0] {
		res[0] = b.Apply(o, ct, in[1])
	}
	if want[1] {
		res[1] = b.Apply(tokenDot{}, in[0], ct)
	}
	return res
}
func (o gate) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	var parts []*Node
	if d[0] != nil {
		parts = append(parts, b.Apply(o, d[0], in[1]))
	}
	if d[1] != nil {
		parts = append(parts, b.Gate(in[0], d[1]))
	}
	return b.sum(parts)
}

func (modulate) String() string                  { return "modulate" }
func (modulate) Shape(in []Shape) (Shape, error) { return gateShape(in[0], in[1], in[2]) }
func (modulate) Bind(in []Shape) Kernel {
	return Kernel{F32: modulateKernel[float32](in[0]), F64: modulateKernel[float64](in[0]), InPlace: []int{0}}
}
func modulateKernel[T Float](x Shape) func(dst []T, src [][]T, _ []T) {
	batch, tokens, width := gateDims(x)
	return func(dst []T, src [][]T, _ []T) {
		for i, n := 0, tokens*width; i < batch; i++ {
			kernels.Modulate(dst[i*n:][:n], src[0][i*n:][:n], src[1][i*width:][:width], src[2][i*width:][:width])
		}
	}
}

func (modulate) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, 3)
	if want[0] {
		res[0] = b.Apply(gate{one: true}, ct, in[1])
	}
	if want[1] {
		res[1] = b.Apply(tokenDot{}, in[0], ct)
	}
	if want[2] {
		res[2] = b.tokenSum(ct)
	}
	return res
}
func (modulate) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	var parts []*Node
	if d[0] != nil {
		parts = append(parts, b.Apply(gate{one: true}, d[0], in[1]))
	}
	if d[1] != nil {
		parts = append(parts, b.Gate(in[0], d[1]))
	}
	if d[2] != nil {
		parts = append(parts, b.spread(d[2], in[0].Shape()))
	}
	return b.sum(parts)
}

// tokenSum sums (batch, …, width) to (batch, width); spread is its transpose.
func (b *Builder) tokenSum(x *Node) *Node {
	batch, tokens, width := gateDims(x.Shape())
	return b.Reshape(b.Sum(b.Reshape(x, batch, tokens, width), 1), batch, width)
}

func (b *Builder) spread(s *Node, x Shape) *Node {
	batch, tokens, width := gateDims(x)
	return b.Reshape(b.Expand(b.Reshape(s, batch, 1, width), 1, tokens), x...)
}

func (gatedAdd) String() string { return "gatedAdd" }
func (gatedAdd) Shape(in []Shape) (Shape, error) {
	if !slices.Equal(in[0], in[1]) {
		return nil, fmt.Errorf("shapes %v and %v differ", in[0], in[1])
	}
	return gateShape(in[0], in[2])
}
func (gatedAdd) Bind(in []Shape) Kernel {
	return Kernel{F32: gatedAddKernel[float32](in[0]), F64: gatedAddKernel[float64](in[0]), InPlace: []int{0}}
}
func gatedAddKernel[T Float](x Shape) func(dst []T, src [][]T, _ []T) {
	batch, tokens, width := gateDims(x)
	return func(dst []T, src [][]T, _ []T) {
		for i, n := 0, tokens*width; i < batch; i++ {
			kernels.GateAdd(dst[i*n:][:n], src[0][i*n:][:n], src[1][i*n:][:n], src[2][i*width:][:width])
		}
	}
}

func (gatedAdd) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, 3)
	if want[0] {
		res[0] = ct
	}
	if want[1] {
		res[1] = b.Gate(ct, in[2])
	}
	if want[2] {
		res[2] = b.Apply(tokenDot{}, in[1], ct)
	}
	return res
}
func (gatedAdd) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	var parts []*Node
	if d[0] != nil {
		parts = append(parts, d[0])
	}
	if d[1] != nil {
		parts = append(parts, b.Gate(d[1], in[2]))
	}
	if d[2] != nil {
		parts = append(parts, b.Gate(in[1], d[2]))
	}
	return b.sum(parts)
}

func (tokenDot) String() string { return "tokenDot" }
func (tokenDot) Shape(in []Shape) (Shape, error) {
	if !slices.Equal(in[0], in[1]) || len(in[0]) < 2 {
		return nil, fmt.Errorf("shapes %v and %v: two equal ones of at least two axes are needed", in[0], in[1])
	}
	return Shape{in[0][0], in[0][len(in[0])-1]}, nil
}
func (tokenDot) Bind(in []Shape) Kernel {
	return Kernel{F32: tokenDotKernel[float32](in[0]), F64: tokenDotKernel[float64](in[0])}
}
func tokenDotKernel[T Float](x Shape) func(dst []T, src [][]T, _ []T) {
	batch, tokens, width := gateDims(x)
	return func(dst []T, src [][]T, _ []T) {
		clear(dst)
		for i := range batch * tokens {
			kernels.MulAdd(dst[i/tokens*width:][:width], src[0][i*width:][:width], src[1][i*width:][:width])
		}
	}
}
func (tokenDot) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, 2)
	if want[0] {
		res[0] = b.Gate(in[1], ct)
	}
	if want[1] {
		res[1] = b.Gate(in[0], ct)
	}
	return res
}
func (o tokenDot) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return b.productRule(o, in, d)
}
