package graph_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/ode"
)

// attentive is a small conditional network with every kind of port: a state of 3 tokens, a time, a condition and a tap.
func attentive() graph.Model {
	const tokens, width, cond = 3, 4, 2
	spec := graph.Spec{
		Inputs:  []graph.Port{{Name: graph.X, Shape: []int{tokens, width}}, {Name: graph.Time}, {Name: graph.Condition, Shape: []int{cond}}},
		Outputs: []graph.Port{{Name: "u", Shape: []int{tokens, width}}},
		Taps:    []graph.Port{{Name: "inner", Shape: []int{tokens, width}}},
		Weights: []graph.Weight{
			{Name: "qkv", Shape: []int{width, 3 * width}, Std: 0.5}, {Name: "bias", Shape: []int{3 * width}, Std: 0.5},
			{Name: "time", Shape: []int{4, width}, Std: 0.5}, {Name: "cond", Shape: []int{cond, width}, Std: 0.5},
			{Name: "unused", Shape: []int{3}, Std: 1},
		},
		Shard: 4,
	}
	return graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		scale := b.Linear(b.Sinusoid(in.Input(graph.Time), []float64{1, 3}), in.Weight("time"), nil)
		shift := b.Linear(in.Input(graph.Condition), in.Weight("cond"), nil)
		h := b.Modulate(b.LayerNorm(1e-2, in.Input(graph.X)), scale, shift)
		h = in.Tap("inner", b.Map(graph.SiLU, h))
		return []*graph.Node{b.Add(in.Input(graph.X), b.Attention(b.Linear(h, in.Weight("qkv"), in.Weight("bias")), 2))}
	}}
}

func normal[T graph.Float](n int, stream uint64) []T {
	x := make([]T, n)
	rng.Normal(x, 7, stream, 0)
	return x
}

func newField[T graph.Float](t *testing.T, batch, workers int) *graph.Field[T] {
	t.Helper()
	m := attentive()
	w, err := graph.NewWeights[float64](m.Spec().Weights, 1)
	require.NoError(t, err)
	c, err := graph.NewCell(m, graph.ConvertWeights[T](w), graph.Workers(workers))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	f, err := graph.NewField(c, normal[T](2*batch, 1))
	require.NoError(t, err)
	return f
}

// Every product with the Jacobian of a cell agrees with finite differences: state, time, condition, weights and taps.
func TestCellDerivatives(t *testing.T) {
	const batch, dim = 7, 12
	f := newField[float64](t, batch, 2)
	x := normal[float64](batch*dim, 2)
	times := normal[float64](batch, 3)
	inner := normal[float64](batch*dim, 4)
	for _, replaced := range []bool{false, true} {
		t.Run(fmt.Sprint("tap replaced ", replaced), func(t *testing.T) {
			call := ode.Call[float64]{Batch: batch, T: times, Out: []ode.Tap[float64]{{Name: "inner", Data: make([]float64, batch*dim)}}}
			if replaced {
				call.In = []ode.Tap[float64]{{Name: "inner", Data: inner}}
			}
			ct, ctTap := normal[float64](batch*dim, 5), normal[float64](batch*dim, 6)
			value := func() float64 {
				y := make([]float64, batch*dim)
				require.NoError(t, f.Eval(y, x, call))
				s := 0.0
				for i := range y {
					s += y[i]*ct[i] + call.Out[0].Data[i]*ctTap[i]
				}
				return s
			}
			g := ode.Tangent[float64]{X: make([]float64, batch*dim), T: make([]float64, batch), Params: map[string][]float64{},
				Out: []ode.Tap[float64]{{Name: "inner", Data: ctTap}}, Value: make([]float64, batch*dim)}
			if replaced {
				g.In = []ode.Tap[float64]{{Name: "inner", Data: make([]float64, batch*dim)}}
			}
			for _, p := range f.Parameters(batch) {
				g.Params[p.Name] = make([]float64, p.Len())
			}
			require.NoError(t, f.VJP(&g, ct, x, call))
			y := make([]float64, batch*dim)
			require.NoError(t, f.Eval(y, x, call))
			require.Equal(t, y, g.Value)

			check := func(name string, v, grad []float64, set func()) {
				for i := 0; i < len(v); i += 1 + len(v)/5 {
					const h = 1e-4
					at := func(d float64) float64 {
						old := v[i]
						v[i] = old + d
						set()
						r := value()
						v[i] = old
						set()
						return r
					}
					fd := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
					// Fourth-order differences at h=1e-4 err by about 1e-12/h of values near 10.
					require.InDelta(t, fd, grad[i], 1e-8*(1+math.Abs(fd)), "%s[%d]", name, i)
				}
			}
			check("x", x, g.X, func() {})
			check("t", times, g.T, func() {})
			if replaced {
				check("inner", inner, g.In[0].Data, func() {})
			}
			for _, p := range f.Parameters(batch) {
				v := make([]float64, p.Len())
				require.NoError(t, f.Load(p.Name, v))
				check(p.Name, v, g.Params[p.Name], func() { require.NoError(t, f.Store(p.Name, v)) })
			}
			require.Equal(t, make([]float64, 3), g.Params["unused"])

			// ⟨cotangent, J d⟩ = ⟨Jᵀ cotangent, d⟩ joins forward to reverse mode.
			d := ode.Tangent[float64]{X: normal[float64](batch*dim, 8), T: normal[float64](batch, 9), Params: map[string][]float64{},
				Out: []ode.Tap[float64]{{Name: "inner", Data: make([]float64, batch*dim)}}}
			right := dot(g.X, d.X) + dot(g.T, d.T)
			if replaced {
				d.In = []ode.Tap[float64]{{Name: "inner", Data: normal[float64](batch*dim, 10)}}
				right += dot(g.In[0].Data, d.In[0].Data)
			}
			for i, p := range f.Parameters(batch) {
				d.Params[p.Name] = normal[float64](p.Len(), 20+uint64(i))
				right += dot(g.Params[p.Name], d.Params[p.Name])
			}
			dy := make([]float64, batch*dim)
			require.NoError(t, f.JVP(dy, x, call, &d))
			require.InDelta(t, right, dot(ct, dy)+dot(ctTap, d.Out[0].Data), 1e-11*(1+math.Abs(right)))
		})
	}
}

func dot(a, b []float64) (s float64) {
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// Results do not depend on the number of workers, and those of a sample not on its batch: the same bits.
func TestCellSameBits(t *testing.T) {
	const batch, dim = 23, 12
	type result struct{ y, gx, gw []float32 }
	run := func(workers, n int) result {
		f := newField[float32](t, batch, workers)
		cond := make([]float32, 2*batch)
		require.NoError(t, f.Load(graph.Condition, cond))
		require.NoError(t, f.SetCondition(cond[:2*n]))
		r := result{make([]float32, n*dim), make([]float32, n*dim), make([]float32, 48)}
		c := ode.Call[float32]{Batch: n, T: []float32{0.3}}
		x := normal[float32](batch*dim, 2)[:n*dim]
		require.NoError(t, f.Eval(r.y, x, c))
		g := ode.Tangent[float32]{X: r.gx, Params: map[string][]float32{"qkv": r.gw}}
		require.NoError(t, f.VJP(&g, normal[float32](batch*dim, 5)[:n*dim], x, c))
		return r
	}
	want := run(1, batch)
	for _, workers := range []int{1, 2, 8} {
		require.Equal(t, want, run(workers, batch), "%d workers", workers)
	}
	for _, n := range []int{1, 3, 4, 5, 17} {
		got := run(2, n)
		require.Equal(t, want.y[:n*dim], got.y, "batch %d", n)
		require.Equal(t, want.gx[:n*dim], got.gx, "batch %d", n)
	}
}

// What a Tangent lists as nil is not wanted, and is as if it were not listed.
func TestNilParametersAreNotWanted(t *testing.T) {
	const batch, dim = 5, 12
	f := newField[float64](t, batch, 1)
	x, ct := normal[float64](batch*dim, 2), normal[float64](batch*dim, 3)
	call := ode.Call[float64]{Batch: batch, T: []float64{0.3}}
	run := func(g, d ode.Tangent[float64]) (gradient, y []float64) {
		y = make([]float64, batch*dim)
		require.NoError(t, f.VJP(&g, ct, x, call))
		require.NoError(t, f.JVP(y, x, call, &d))
		return g.X, y
	}
	nothing := map[string][]float64{graph.Condition: nil, "qkv": nil}
	gradient, y := run(ode.Tangent[float64]{X: make([]float64, batch*dim)}, ode.Tangent[float64]{X: ct})
	again, z := run(ode.Tangent[float64]{X: make([]float64, batch*dim), Params: nothing}, ode.Tangent[float64]{X: ct, Params: nothing})
	require.Equal(t, gradient, again)
	require.Equal(t, y, z)
}

func TestCellDoesNotAllocate(t *testing.T) {
	const batch, dim = 11, 12
	f := newField[float32](t, batch, 2)
	x, y := normal[float32](batch*dim, 2), make([]float32, batch*dim)
	c := ode.Call[float32]{Batch: batch, T: []float32{0.3}}
	g := ode.Tangent[float32]{X: make([]float32, batch*dim), Params: map[string][]float32{"qkv": make([]float32, 48), graph.Condition: make([]float32, 2*batch)}}
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if f.Eval(y, x, c) != nil || f.VJP(&g, y, x, c) != nil {
			t.Fail()
		}
	}))
}

func TestReleasingTwiceIsHarmless(t *testing.T) {
	release := newField[float64](t, 2, 2).Cell().Hold()
	release()
	require.NotPanics(t, release)
}

func TestFieldProductsNeedATangent(t *testing.T) {
	f := newField[float64](t, 2, 1)
	x, c := normal[float64](24, 1), ode.Call[float64]{Batch: 2, T: []float64{0.5}}
	require.ErrorContains(t, f.VJP(nil, x, x, c), "without a Tangent")
	require.ErrorContains(t, f.JVP(make([]float64, 24), x, c, nil), "without a Tangent")
}

func TestCellErrors(t *testing.T) {
	m := attentive()
	w, err := graph.NewWeights[float64](m.Spec().Weights, 1)
	require.NoError(t, err)

	_, err = graph.NewCell(m, &graph.Weights[float64]{})
	require.ErrorContains(t, err, `missing "qkv" [4 12]`)

	hidden := m.(graph.ModelFunc)
	inside := hidden.Network
	hidden.Network = func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		return []*graph.Node{b.Add(inside(b, in)[0], b.Input("secret", in.Batch(), 3, 4))}
	}
	_, err = graph.NewCell(hidden, w)
	require.ErrorContains(t, err, `depends on input "secret", which its Spec does not list`)

	hidden.Network = func(*graph.Builder, *graph.Inputs) []*graph.Node { return []*graph.Node{nil} }
	_, err = graph.NewCell(hidden, w)
	require.ErrorContains(t, err, `output "u" of the network is nil`)

	hidden.Network = func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		return []*graph.Node{b.Linear(in.Input(graph.X), in.Weight("nothing"), nil)}
	}
	_, err = graph.NewCell(hidden, w)
	require.ErrorContains(t, err, `no weight "nothing"`)
	require.ErrorContains(t, err, "cell_test.go:")

	f := newField[float64](t, 2, 1)
	y := make([]float64, 24)
	require.ErrorContains(t, f.Eval(y, y[:23], ode.Call[float64]{Batch: 2, T: []float64{1}}), "23 elements for 2 samples of 12")
	require.ErrorContains(t, f.Eval(y[:12], y[:12], ode.Call[float64]{Batch: 1, T: []float64{1}}), "the condition is for 2 samples, the state for 1")
	require.ErrorContains(t, f.Eval(y, y, ode.Call[float64]{Batch: 2, T: []float64{1, 2, 3}}), "3 times for 2 samples")
	g := ode.Tangent[float64]{Params: map[string][]float64{"other": y}}
	require.ErrorContains(t, f.VJP(&g, y, y, ode.Call[float64]{Batch: 2, T: []float64{1}}), `no weight "other"`)

	c := f.Cell()
	v := &graph.Values[float64]{Inputs: [][]float64{y, y[:2], y[:4]}}
	for _, err := range []error{c.Eval(2, nil), c.VJP(2, v, nil), c.JVP(2, v, nil), c.VJP(2, nil, v)} {
		require.ErrorContains(t, err, "nil Values")
	}
	call := ode.Call[float64]{Batch: 2, T: []float64{1}}
	inner := []ode.Tap[float64]{{Name: "inner", Data: make([]float64, 24)}}
	twice := []ode.Tap[float64]{inner[0], {Name: "inner"}}
	for _, taps := range []ode.Call[float64]{{In: twice}, {Out: twice}} {
		taps.Batch, taps.T = call.Batch, call.T
		require.ErrorContains(t, f.Eval(y, y, taps), `tap "inner" is listed twice`)
	}
	for _, g := range []ode.Tangent[float64]{{In: twice}, {Out: twice}} {
		require.ErrorContains(t, f.VJP(&g, y, y, ode.Call[float64]{Batch: 2, T: call.T, In: inner}), `tap "inner" is listed twice`)
	}
	g = ode.Tangent[float64]{In: inner}
	require.ErrorContains(t, f.VJP(&g, y, y, call), `a gradient to tap "inner"`)
	require.ErrorContains(t, f.JVP(make([]float64, 24), y, call, &g), `nothing replaces the network's own there`)

	require.NoError(t, w.Update(func(string, []float64) {
		require.ErrorIs(t, w.Set("bias", make([]float64, 12)), graph.ErrBusy)
	}))
}
