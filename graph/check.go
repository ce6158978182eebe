package graph

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"gorgonia.org/tensor"
)

// CheckGradient compares the gradient of ⟨cotangent, out⟩ with finite differences, for every input in values, and
// returns for each the largest error of an element, relative to the largest element of that gradient. For a graph that
// is right and smooth between the points tried, expect below 1e-9; a wrong term shows as 1e-3 or more.
//
// The graph must be of float64. A nil cotangent is ones. Inputs that are not in values keep what gorgonia.Let gave them.
// The gradient to an input that out does not depend on is zero. The gradient nodes, and an input for the cotangent, are
// added to the graph.
//
// Differences are central and of fourth order, at steps from 3e-2 to 1e-4 (times the element, where it is above one);
// for each element the step is used from which the next smaller one differs least. Keep inputs away from kinks (ReLU at
// 0) by 0.1. A gradient that is less than 1e-5 of Σ|cotangent·out| cannot be measured to 1e-9 by differences, so its
// error is taken relative to that instead.
func CheckGradient(b *Builder, out *Node, cotangent []float64, values map[string][]float64) (map[string]float64, error) {
	if b.err != nil {
		return nil, b.err
	}
	if b.dt != tensor.Float64 {
		return nil, fmt.Errorf("graph: check of a graph of %v; differences need float64: build it with NewBuilder[float64]", b.dt)
	}
	if why := b.unusable(out); why != "" {
		return nil, fmt.Errorf("graph: the output to check %s", why)
	}
	size := out.Shape().TotalSize()
	if cotangent == nil {
		cotangent = slices.Repeat([]float64{1}, size)
	}
	if len(cotangent) != size {
		return nil, fmt.Errorf("graph: a cotangent of %d elements for an output of shape %v", len(cotangent), out.Shape())
	}
	value, err := Compile[float64](out)
	if err != nil {
		return nil, err
	}
	names := slices.Sorted(maps.Keys(values))
	var wrt []*Node
	for _, name := range names {
		n := b.Named(name)
		if n == nil {
			return nil, fmt.Errorf("graph: a value for input %q, which the graph does not have", name)
		}
		if n.Shape().TotalSize() != len(values[name]) {
			return nil, fmt.Errorf("graph: a value of %d elements for input %q of shape %v", len(values[name]), name, n.Shape())
		}
		wrt = append(wrt, n)
	}
	exact, err := b.gradientValues(out, cotangent, wrt, values)
	if err != nil {
		return nil, err
	}
	point := make(map[string][]float64, len(values))
	for name, v := range values {
		point[name] = slices.Clone(v)
	}
	for _, name := range value.Inputs() {
		if v, ok := point[name]; ok {
			if err := value.Bind(name, v); err != nil {
				return nil, err
			}
		}
	}
	// Differences are summed per output before they are weighted, so that equal terms cancel exactly.
	eval := func(dst []float64) error {
		if err := value.Run(); err != nil {
			return err
		}
		copy(dst, value.Output(0))
		return nil
	}
	at := make([]float64, size)
	if err := eval(at); err != nil {
		return nil, err
	}
	floor := 0.0
	for k, v := range at {
		floor += math.Abs(cotangent[k] * v)
	}
	worst := make(map[string]float64, len(names))
	for i, name := range names {
		largest, off := 1e-5*floor, 0.0
		for j := range point[name] {
			d, err := differentiate(&point[name][j], cotangent, eval)
			if err != nil {
				return nil, err
			}
			largest = max(largest, math.Abs(d), math.Abs(exact[i][j]))
			off = max(off, math.Abs(d-exact[i][j]))
		}
		if largest > 0 || math.IsNaN(off) {
			worst[name] = off / largest
		} else {
			worst[name] = 0
		}
	}
	return worst, nil
}

// gradientValues is the gradient of ⟨cotangent, out⟩ by reverse mode, zeros where there is none.
func (b *Builder) gradientValues(out *Node, cotangent []float64, wrt []*Node, values map[string][]float64) ([][]float64, error) {
	res := make([][]float64, len(wrt))
	for i, n := range wrt {
		res[i] = make([]float64, n.Shape().TotalSize())
	}
	flat := b.Reshape(out, len(cotangent))
	name := "cotangent"
	for b.Named(name) != nil {
		name += "'"
	}
	grads := b.Gradient([]*Node{flat}, []*Node{b.Input(name, len(cotangent))}, wrt)
	if b.err != nil {
		return nil, b.err
	}
	var outs []*Node
	var at []int
	for i, g := range grads {
		if g != nil {
			outs, at = append(outs, g), append(at, i)
		}
	}
	if len(outs) == 0 {
		return res, nil
	}
	p, err := Compile[float64](outs...)
	if err != nil {
		return nil, err
	}
	for _, in := range p.Inputs() {
		v, ok := values[in]
		if in == name {
			v, ok = cotangent, true
		}
		if !ok {
			continue
		}
		if err := p.Bind(in, v); err != nil {
			return nil, err
		}
	}
	if err := p.Run(); err != nil {
		return nil, err
	}
	for k, i := range at {
		copy(res[i], p.Output(k))
	}
	return res, nil
}

// differentiate is ∂⟨weights, f⟩/∂x by differences of fourth order, at the step from which the next differs least.
func differentiate(x *float64, weights []float64, f func(dst []float64) error) (float64, error) {
	var points [4][]float64
	for i := range points {
		points[i] = make([]float64, len(weights))
	}
	was := *x
	defer func() { *x = was }()
	best, least, last := math.NaN(), math.Inf(1), math.NaN()
	for _, step := range [...]float64{3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4} {
		h := step * max(1, math.Abs(was))
		for i, k := range [...]float64{-2, -1, 1, 2} {
			*x = was + k*h
			if err := f(points[i]); err != nil {
				return 0, err
			}
		}
		d := 0.0
		for k, w := range weights {
			d += w * ((points[0][k] - points[3][k]) + 8*(points[2][k]-points[1][k])) / (12 * h)
		}
		// A step that left the domain gives NaN, and no comparison with it holds.
		if diff := math.Abs(d - last); diff < least {
			best, least = d, diff
		}
		last = d
	}
	return best, nil
}
