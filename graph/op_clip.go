package graph

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/ode"
)

// clip is the thresholding of a data prediction, sample by sample; clipGrad its VJP at the first input.
type (
	clip     struct{ ode.Clipping }
	clipGrad struct{ ode.Clipping }
)

// Clip thresholds each sample of x (batch, …); see [ode.Clipping] for the rule and its gradient.
func (b *Builder) Clip(c ode.Clipping, x *Node) *Node { return b.Apply(clip{c}, x) }

// diagonal says whether the Jacobian is: each element of the result depends on its own alone.
func (o clip) diagonal() bool { return o.Quantile == 0 || o.Stop }

func (o clip) String() string { return fmt.Sprintf("clip[%g, quantile %g]", o.Max, o.Quantile) }
func (o clip) Shape(in []Shape) (Shape, error) {
	if !(o.Max > 0) || math.IsInf(o.Max, 0) || !(o.Quantile >= 0 && o.Quantile <= 1) {
		return nil, fmt.Errorf("clips to Max %g at Quantile %g; Max must be positive and finite, Quantile from 0 (static) to 1", o.Max, o.Quantile)
	}
	return in[0].Clone(), nil
}
func (o clip) Bind(in []Shape) Kernel {
	n := in[0].TotalSize() / in[0][0]
	return Kernel{F32: clipKernel[float32](o.Clipping, n), F64: clipKernel[float64](o.Clipping, n), Scratch: n}
}
func clipKernel[T Float](c ode.Clipping, n int) func(dst []T, src [][]T, scratch []T) {
	return func(dst []T, src [][]T, scratch []T) {
		for i := 0; i < len(dst); i += n {
			ode.ClipSample(c, dst[i:i+n], src[0][i:i+n], scratch[:n])
		}
	}
}
func (o clip) VJP(b *Builder, _ []bool, in []*Node, _, ct *Node) []*Node {
	return []*Node{b.Apply(clipGrad(o), in[0], ct)}
}
func (o clip) JVP(b *Builder, in []*Node, out *Node, d []*Node) *Node {
	if o.diagonal() { // and so its own transpose
		return b.Apply(clipGrad(o), in[0], d[0])
	}
	return b.Fail("%s: forward mode through a quantile is not available; use reverse mode, or set Stop", o)
}

func (o clipGrad) String() string                  { return clip(o).String() + "Grad" }
func (o clipGrad) Shape(in []Shape) (Shape, error) { return sameShape(in) }
func (o clipGrad) Bind(in []Shape) Kernel {
	n := in[0].TotalSize() / in[0][0]
	return Kernel{F32: clipGradKernel[float32](o.Clipping, n), F64: clipGradKernel[float64](o.Clipping, n), Scratch: n}
}
func clipGradKernel[T Float](c ode.Clipping, n int) func(dst []T, src [][]T, scratch []T) {
	return func(dst []T, src [][]T, scratch []T) {
		for i := 0; i < len(dst); i += n {
			ode.PullClipSample(c, dst[i:i+n], src[1][i:i+n], src[0][i:i+n], scratch[:n])
		}
	}
}
func (o clipGrad) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	if !clip(o).diagonal() {
		b.Fail("%s: the second derivative through a quantile is not available; set Stop", o)
		return nil
	}
	res := make([]*Node, 2) // piecewise linear: no second derivative by x
	if want[1] {
		res[1] = b.Apply(o, in[0], ct)
	}
	return res
}
func (o clipGrad) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	if !clip(o).diagonal() {
		return b.Fail("%s: the second derivative through a quantile is not available; set Stop", o)
	}
	if d[1] == nil {
		return nil
	}
	return b.Apply(o, in[0], d[1])
}
