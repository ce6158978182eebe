package models

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/ode"
)

func normal[T graph.Float](n int, stream uint64) []T {
	x := make([]T, n)
	rng.Normal(x, 11, stream, 0)
	return x
}

func dot(a, b []float64) (s float64) {
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// perturbed returns weights away from their zeros, where most gradients vanish.
func perturbed(t testing.TB, m graph.Model) *graph.Weights[float64] {
	t.Helper()
	w, err := graph.NewWeights[float64](m.Spec().Weights, 3)
	require.NoError(t, err)
	i := uint64(100)
	require.NoError(t, w.Update(func(_ string, data []float64) {
		for j, v := range normal[float64](len(data), i) {
			data[j] += 0.2 * v
		}
		i++
	}))
	return w
}

func newCell[T graph.Float](t testing.TB, m graph.Model, w *graph.Weights[T]) *graph.Cell[T] {
	t.Helper()
	c, err := graph.NewCell(m, w, graph.Workers(2))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func newField[T graph.Float](t testing.TB, m graph.Model, w *graph.Weights[T], condition []T) *graph.Field[T] {
	t.Helper()
	f, err := graph.NewField(newCell(t, m, w), condition)
	require.NoError(t, err)
	return f
}

// difference is the fourth-order difference of f in v.
func difference(v *float64, h float64, f func() float64) float64 {
	old := *v
	at := func(d float64) float64 {
		*v = old + d
		return f()
	}
	fd := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
	*v = old
	return fd
}

// checkDerivatives compares every product with the Jacobian of a field with finite differences: to x, to t, to every
// parameter by name, in reverse mode; and forward with reverse mode by a dot product. Taps of the call that are replaced
// take part.
func checkDerivatives(t *testing.T, f ode.Differentiable[float64], x []float64, call ode.Call[float64]) {
	t.Helper()
	n := len(x)
	ct := normal[float64](n, 31)
	y := make([]float64, n)
	value := func() float64 {
		require.NoError(t, f.Eval(y, x, call))
		return dot(y, ct)
	}
	g := ode.Tangent[float64]{X: make([]float64, n), T: make([]float64, call.Batch), Params: map[string][]float64{}, Value: make([]float64, n)}
	d := ode.Tangent[float64]{X: normal[float64](n, 32), T: normal[float64](call.Batch, 33), Params: map[string][]float64{}, Value: make([]float64, n)}
	for i, tap := range call.In {
		g.In = append(g.In, ode.Tap[float64]{Name: tap.Name, Data: make([]float64, len(tap.Data))})
		d.In = append(d.In, ode.Tap[float64]{Name: tap.Name, Data: normal[float64](len(tap.Data), 40+uint64(i))})
	}
	for i, p := range f.Parameters(call.Batch) {
		g.Params[p.Name] = make([]float64, p.Len())
		d.Params[p.Name] = normal[float64](p.Len(), 50+uint64(i))
	}
	require.NoError(t, f.VJP(&g, ct, x, call))
	value()
	require.Equal(t, y, g.Value, "the value beside the gradient")
	plain := slices.Clone(y)

	check := func(name string, v, grad []float64, set func()) {
		t.Helper()
		require.False(t, math.IsNaN(grad[0]))
		for i := 0; i < len(v); i += 1 + len(v)/3 {
			const h = 2e-4
			fd := difference(&v[i], h, func() float64 { set(); return value() })
			set()
			// Fourth-order differences err by h⁴/30 = 5e-17 times a fifth derivative (time enters with up to 50 radians per
			// unit: 3e8 of it, 2e-8 in all), and by 1e-15/h = 5e-12 times values near 100.
			require.InDelta(t, fd, grad[i], 2e-7*(1+math.Abs(fd)), "%s[%d]", name, i)
		}
	}
	check("x", x, g.X, func() {})
	if len(call.T) == call.Batch {
		check("t", call.T, g.T, func() {})
	}
	for i, tap := range call.In {
		check(tap.Name, tap.Data, g.In[i].Data, func() {})
	}
	for _, p := range f.Parameters(call.Batch) {
		v := make([]float64, p.Len())
		require.NoError(t, f.Load(p.Name, v))
		check(p.Name, v, g.Params[p.Name], func() { require.NoError(t, f.Store(p.Name, v)) })
	}

	right := dot(g.X, d.X) + dot(g.T, d.T)
	for i := range g.In {
		right += dot(g.In[i].Data, d.In[i].Data)
	}
	for name, grad := range g.Params {
		right += dot(grad, d.Params[name])
	}
	dy := make([]float64, n)
	require.NoError(t, f.JVP(dy, x, call, &d))
	require.InDelta(t, right, dot(ct, dy), 1e-11*(1+math.Abs(right)))
	require.Equal(t, plain, d.Value, "the value beside the direction")

	// Each direction alone, and their sum.
	sum := make([]float64, n)
	part := func(one ode.Tangent[float64]) {
		single := make([]float64, n)
		require.NoError(t, f.JVP(single, x, call, &one))
		for i, v := range single {
			sum[i] += v
		}
	}
	part(ode.Tangent[float64]{X: d.X, In: d.In})
	part(ode.Tangent[float64]{T: d.T})
	for name, p := range d.Params {
		part(ode.Tangent[float64]{Params: map[string][]float64{name: p}})
	}
	require.InDeltaSlice(t, dy, sum, 1e-10*(1+math.Sqrt(dot(dy, dy))))
}
