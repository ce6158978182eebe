package graph_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// compute runs nodes of a graph whose inputs are bound by name.
func compute(t *testing.T, values map[string][]float64, outs ...*graph.Node) [][]float64 {
	t.Helper()
	p, err := graph.Compile[float64](outs...)
	require.NoError(t, err)
	for _, name := range p.Inputs() {
		require.NoError(t, p.Bind(name, values[name]))
	}
	require.NoError(t, p.Run())
	res := make([][]float64, len(outs))
	for i := range outs {
		res[i] = p.Output(i)
	}
	return res
}

// A threshold that is a quantile moves with the sample, unless it is stopped: then the gradient is that of a clamp at
// the same place, scaled. Both are known in closed form here.
func TestGradientOfDynamicClipping(t *testing.T) {
	// |x| sorted is 0.5 1 2 4 in both samples, so the quantile 2/3 is 2, taken by one element; Max 1 scales by a half.
	values := map[string][]float64{"x": {1, -2, .5, 4, 4, .5, 2, -1}, "u": {1, 10, 100, 1000, 1, 10, 100, 1000}}
	for _, c := range []struct {
		stop bool
		want []float64
	}{
		{true, []float64{.5, 0, 50, 0, 0, 5, 0, 500}},
		// The quantile's own gradient is −Σ u x Max/q² over what is inside, with the sign of the element it is.
		{false, []float64{.5, (1*1 + 100*.5) / 4, 50, 0, 0, 5, (1000*1 - 10*.5) / 4, 500}},
	} {
		b := graph.NewBuilder[float64]()
		x, u := b.Input("x", 2, 4), b.Input("u", 2, 4)
		y := b.Clip(ode.Clipping{Max: 1, Quantile: 2. / 3, Stop: c.stop}, x)
		g := b.Gradient([]*graph.Node{y}, []*graph.Node{u}, []*graph.Node{x})
		require.NoError(t, b.Err())
		got := compute(t, values, y, g[0])
		require.InDeltaSlice(t, []float64{.5, -1, .25, 1, 1, .25, 1, -.5}, got[0], 1e-15)
		require.InDeltaSlice(t, c.want, got[1], 1e-12, "stop %t", c.stop)
	}
}

// With a fixed threshold, and with one that is held constant, the derivative is diagonal: forward mode is reverse mode,
// and the derivative of the gradient by its cotangent is itself.
func TestDerivativesOfClippingAtAFixedThreshold(t *testing.T) {
	values := map[string][]float64{"x": {1, -2, .5, 4, 4, .5, 2, -1}, "u": {1, 2, 3, 4, 5, 6, 7, 8}, "d": {2, 3, 5, 7, 11, 13, 17, 19}}
	for _, clip := range []ode.Clipping{{Max: 1.5}, {Max: 1, Quantile: .5, Stop: true}} {
		b := graph.NewBuilder[float64]()
		x, u, d := b.Input("x", 2, 4), b.Input("u", 2, 4), b.Input("d", 2, 4)
		y := b.Clip(clip, x)
		g := b.Gradient([]*graph.Node{y}, []*graph.Node{u}, []*graph.Node{x})
		forward := b.Tangent([]*graph.Node{y}, []*graph.Node{x}, []*graph.Node{d})
		again := b.Gradient(g, []*graph.Node{d}, []*graph.Node{u, x})
		tangent := b.Tangent(g, []*graph.Node{u}, []*graph.Node{d})
		constant := b.Tangent(g, []*graph.Node{x}, []*graph.Node{d})
		require.NoError(t, b.Err())
		require.Nil(t, again[1], "piecewise linear: no second derivative")
		require.Nil(t, constant[0], "piecewise linear: no second derivative")
		got := compute(t, values, g[0], forward[0], again[0], tangent[0])
		for i, v := range values["u"] {
			slope := got[0][i] / v
			require.InDelta(t, slope*values["d"][i], got[1][i], 1e-14)
		}
		require.Equal(t, got[1], got[2])
		require.Equal(t, got[1], got[3])
	}
}

// What is not there says so, and what to use instead.
func TestWhatClippingRefuses(t *testing.T) {
	clip := ode.Clipping{Max: 1, Quantile: .5}
	for want, f := range map[string]func(b *graph.Builder, x, u *graph.Node){
		"use reverse mode, or set Stop": func(b *graph.Builder, x, u *graph.Node) {
			b.Tangent([]*graph.Node{b.Clip(clip, x)}, []*graph.Node{x}, []*graph.Node{u})
		},
		"not available; set Stop": func(b *graph.Builder, x, u *graph.Node) {
			b.Gradient(b.Gradient([]*graph.Node{b.Clip(clip, x)}, []*graph.Node{u}, []*graph.Node{x}), []*graph.Node{u}, []*graph.Node{u})
		},
		"Max must be positive": func(b *graph.Builder, x, u *graph.Node) { b.Clip(ode.Clipping{}, x) },
	} {
		b := graph.NewBuilder[float64]()
		f(b, b.Input("x", 2, 4), b.Input("u", 2, 4))
		require.ErrorContains(t, b.Err(), want)
	}
}
