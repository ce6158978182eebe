package models

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

const guidedBatch, guidedDim = 3, 48

func newGuided(t testing.TB, scale ...float64) *Guided[float64] {
	t.Helper()
	m := smallDiT(t, 5)
	inner := newField(t, m, perturbed(t, m), normal[float64](5, 1))
	g, err := NewGuided(inner, normal[float64](guidedBatch*5, 21), normal[float64](5, 24), scale...)
	require.NoError(t, err)
	return g
}

func TestGuidanceIsTheFormula(t *testing.T) {
	x := normal[float64](guidedBatch*guidedDim, 22)
	call := ode.Call[float64]{Batch: guidedBatch, T: []float64{0.1, 0.4, 0.9}}
	m := smallDiT(t, 5)
	field := newField(t, m, perturbed(t, m), normal[float64](guidedBatch*5, 21))
	c, u := make([]float64, len(x)), make([]float64, len(x))
	require.NoError(t, field.Eval(c, x, call))
	null := normal[float64](5, 24)
	require.NoError(t, field.SetCondition(append(append(append([]float64{}, null...), null...), null...)))
	require.NoError(t, field.Eval(u, x, call))
	for _, w := range []float64{0, 1, 2.5, -0.5} {
		y := make([]float64, len(x))
		require.NoError(t, newGuided(t, w).Eval(y, x, call))
		for i := range y {
			require.Equal(t, u[i]+w*(c[i]-u[i]), y[i])
		}
	}
}

func TestGuidanceDerivatives(t *testing.T) {
	x := normal[float64](guidedBatch*guidedDim, 22)
	times := []float64{0.1, 0.4, 0.9}
	t.Run("one scale", func(t *testing.T) {
		checkDerivatives(t, newGuided(t, 2.5), x, ode.Call[float64]{Batch: guidedBatch, T: times})
	})
	t.Run("a scale for each evaluation", func(t *testing.T) {
		g := newGuided(t, 1.5, 3, 0.5)
		call := ode.Call[float64]{Index: 1, Batch: guidedBatch, T: times}
		checkDerivatives(t, g, x, call)
		d := ode.Tangent[float64]{Params: map[string][]float64{Guidance: make([]float64, 3)}}
		require.NoError(t, g.VJP(&d, x, x, call))
		require.NotZero(t, d.Params[Guidance][1])
		require.Zero(t, d.Params[Guidance][0])
		require.Zero(t, d.Params[Guidance][2])
	})
	t.Run("taps", func(t *testing.T) {
		g := newGuided(t, 2.5)
		n, ok := g.TapLen("value1")
		require.True(t, ok)
		require.Equal(t, 2*6*8, n)
		checkDerivatives(t, g, x, ode.Call[float64]{Batch: guidedBatch, T: times, In: []ode.Tap[float64]{{Name: "value1", Data: normal[float64](guidedBatch*n, 25)}}})
	})
	t.Run("a tap put back", func(t *testing.T) {
		g := newGuided(t, 2.5)
		tap := []ode.Tap[float64]{{Name: "value1", Data: make([]float64, guidedBatch*96)}}
		y, z := make([]float64, len(x)), make([]float64, len(x))
		require.NoError(t, g.Eval(y, x, ode.Call[float64]{Batch: guidedBatch, T: times, Out: tap}))
		require.NoError(t, g.Eval(z, x, ode.Call[float64]{Batch: guidedBatch, T: times, In: tap}))
		require.Equal(t, y, z)
	})
}

// conditioned is a field with a condition that is not a graph.Field and takes one batch only.
type conditioned struct {
	*graph.Field[float64]
}

func (c conditioned) SetCondition() {}

func TestGuidanceOfAnyField(t *testing.T) {
	m := smallMLP(t)
	inner := newField(t, m, perturbed(t, m), normal[float64](2*guidedBatch*4, 1))
	g, err := NewGuided(conditioned{inner}, normal[float64](guidedBatch*4, 21), normal[float64](4, 24), 3)
	require.NoError(t, err)
	checkDerivatives(t, g, normal[float64](guidedBatch*6, 22), ode.Call[float64]{Batch: guidedBatch, T: []float64{0.1, 0.4, 0.9}})
}

func TestGuidanceFollowsItsCondition(t *testing.T) {
	g := newGuided(t, 2)
	x := normal[float64](guidedBatch*guidedDim, 22)
	call := ode.Call[float64]{Batch: guidedBatch, T: []float64{0.4}}
	y, z := make([]float64, len(x)), make([]float64, len(x))
	require.NoError(t, g.Eval(y, x, call))
	require.NoError(t, g.SetCondition(normal[float64](guidedBatch*5, 26)))
	require.NoError(t, g.Eval(z, x, call))
	require.NotEqual(t, y, z)

	require.NoError(t, g.SetCondition(normal[float64](guidedBatch*5, 21)[:5]))
	call.Batch = 1
	require.NoError(t, g.Eval(z[:guidedDim], x[:guidedDim], call))
	require.Equal(t, y[:guidedDim], z[:guidedDim], "a sample alone is what it was in a batch")
}

func TestGuidanceAddsToParameters(t *testing.T) {
	g := newGuided(t, 2)
	x := normal[float64](guidedBatch*guidedDim, 22)
	gradient := func(times int) map[string][]float64 {
		d := ode.Tangent[float64]{Params: map[string][]float64{}}
		for _, p := range g.Parameters(guidedBatch) {
			d.Params[p.Name] = make([]float64, p.Len())
		}
		for range times {
			require.NoError(t, g.VJP(&d, x, x, ode.Call[float64]{Batch: guidedBatch, T: []float64{0.4}}))
		}
		return d.Params
	}
	once, twice := gradient(1), gradient(2)
	for name := range once {
		for i, v := range once[name] {
			require.InDelta(t, 2*v, twice[name][i], 1e-12*(1+math.Abs(v)), name)
		}
	}
}

func TestGuidanceDoesNotAllocate(t *testing.T) {
	g := newGuided(t, 1.5, 2)
	x := normal[float64](guidedBatch*guidedDim, 22)
	y := make([]float64, len(x))
	call := ode.Call[float64]{Index: 1, Batch: guidedBatch, T: []float64{0.1, 0.4, 0.9}}
	d := ode.Tangent[float64]{X: make([]float64, len(x)), T: make([]float64, guidedBatch), Value: make([]float64, len(x)), Params: map[string][]float64{}}
	for _, p := range g.Parameters(guidedBatch) {
		d.Params[p.Name] = make([]float64, p.Len())
	}
	require.Zero(t, testing.AllocsPerRun(50, func() {
		if g.Eval(y, x, call) != nil || g.VJP(&d, y, x, call) != nil || g.JVP(y, x, call, &d) != nil {
			t.Fail()
		}
	}))
}

// A whole sampling run with a scale for each evaluation, its gradient with respect to the scales from the transposed
// plan against differences.
func TestGuidanceScalesThroughASampler(t *testing.T) {
	g := newGuided(t, 1, 1.5, 2, 2.5)
	plan, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.VPCosine{}, Raw: ode.Noise, From: 0.9, To: 0.1, Steps: 4})
	require.NoError(t, err)
	require.Equal(t, 4, plan.NFE())
	x, ct := normal[float64](guidedBatch*guidedDim, 22), normal[float64](guidedBatch*guidedDim, 27)
	value := func() float64 {
		y, err := ode.Sample(context.Background(), plan, g, x, guidedBatch)
		require.NoError(t, err)
		return dot(y, ct)
	}
	back, err := plan.Transpose()
	require.NoError(t, err)
	forward, err := ode.NewRunner[float64](plan, guidedBatch, guidedDim, back.Needs(false)...)
	require.NoError(t, err)
	backward, err := ode.NewRunner[float64](back, guidedBatch, guidedDim)
	require.NoError(t, err)
	require.NoError(t, forward.Run(context.Background(), g, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}}))
	grad := make([]float64, 4)
	require.NoError(t, backward.Run(context.Background(), g, ode.Inputs[float64]{Ports: map[string][]float64{"x": ct}, Forward: forward.Reg, Params: map[string][]float64{Guidance: grad}}))
	scale := []float64{1, 1.5, 2, 2.5}
	for i := range scale {
		fd := difference(&scale[i], 1e-3, func() float64 {
			require.NoError(t, g.Store(Guidance, scale))
			return value()
		})
		require.InDelta(t, fd, grad[i], 1e-7*(1+math.Abs(fd)))
	}
}

// A field, and the guidance round it, refuse plans for what the network was not trained for, run or emitted.
func TestFieldsTellWhatTheirNetworkWasTrainedFor(t *testing.T) {
	m := smallDiT(t, 5)
	cond, null := normal[float64](5, 1), normal[float64](5, 2)
	alone := newField(t, m, perturbed(t, m), cond)
	guided, err := NewGuided(newField(t, m, perturbed(t, m), cond), cond, null, 2)
	require.NoError(t, err)
	dim := m.Spec().Inputs[0].Len()
	plan := func(s ode.Schedule, raw ode.Prediction) *ode.Plan {
		p, err := ode.DDIM{}.Plan(ode.Problem{Schedule: s, Raw: raw, From: 0.9, To: 0.1, Steps: 2})
		require.NoError(t, err)
		return p
	}
	for want, p := range map[string]*ode.Plan{
		"": plan(ode.VPCosine{}, ode.Noise),
		"predicts Velocity, and this one predicts Noise": plan(ode.VPCosine{}, ode.Velocity),
		"was trained on ode.VPCosine":                    plan(ode.VPLinear{}, ode.Noise),
	} {
		for _, f := range []graph.Emittable[float64]{alone, guided} {
			_, err := ode.Sample(t.Context(), p, f, normal[float64](dim, 3), 1)
			_, emitted := graph.Emit(graph.NewBuilder[float64](), p, f, 1, dim, false)
			if want == "" {
				require.NoError(t, err)
				require.NoError(t, emitted)
				continue
			}
			require.ErrorContains(t, err, want, "%T", f)
			require.ErrorContains(t, emitted, want, "%T", f)
		}
	}
}

func TestGuidanceErrors(t *testing.T) {
	m := smallDiT(t, 5)
	w := perturbed(t, m)
	inner := newField(t, m, w, normal[float64](5, 1))
	cond, null := normal[float64](10, 1), normal[float64](5, 2)
	plain := smallDiT(t, 0)
	unconditional := newField(t, plain, perturbed(t, plain), nil)
	known, err := exact.NewField[float64](exact.Gaussian{Mean: []float64{0}, Variance: []float64{1}}, ode.Flow{}, ode.Noise)
	require.NoError(t, err)
	g, err := NewGuided(inner, cond, null, 2, 3)
	require.NoError(t, err)
	require.ErrorContains(t, g.VJP(nil, nil, nil, ode.Call[float64]{Batch: 2}), "without a Tangent")
	require.ErrorContains(t, g.JVP(nil, nil, ode.Call[float64]{Batch: 2}, nil), "without a Tangent")

	for _, row := range []struct {
		want       string
		inner      ode.Differentiable[float64]
		cond, null []float64
		scale      []float64
	}{
		{"without a scale", inner, cond, null, nil},
		{"without a null vector", inner, cond, nil, []float64{1}},
		{"null vector of 4 elements for a network whose condition has 5", inner, cond, null[:4], []float64{1}},
		{"condition of 9 elements; 5 a sample", inner, cond[:9], null, []float64{1}},
		{"condition of 0 elements", inner, nil, null, []float64{1}},
		{"scale 1 is NaN", inner, cond, null, []float64{1, math.NaN()}},
		{`no parameter "condition"`, unconditional, cond, null, []float64{1}},
		{`no parameter "condition"`, known, cond, null, []float64{1}},
		{"guided already", g, cond, null, []float64{1}},
	} {
		_, err := NewGuided(row.inner, row.cond, row.null, row.scale...)
		require.ErrorContains(t, err, row.want)
	}

	x := make([]float64, 2*guidedDim)
	call := ode.Call[float64]{Batch: 2, T: []float64{0.5}}
	require.ErrorContains(t, g.Eval(x, x[:guidedDim], ode.Call[float64]{Batch: 1, T: call.T}), "the condition is for 2 samples, the state for 1")
	require.ErrorContains(t, g.Eval(x, x[1:], call), "95 elements for 2 samples")
	require.ErrorContains(t, g.Eval(x[2:], x, call), "94 elements for a state of 96")
	require.ErrorContains(t, g.Eval(x, x, ode.Call[float64]{Batch: 2, T: []float64{1, 2, 3}}), "3 times for 2 samples")
	require.ErrorContains(t, g.Eval(x, x, ode.Call[float64]{Index: 2, Batch: 2, T: call.T}), "evaluation 2 has no guidance scale: 2 are given")
	d := ode.Tangent[float64]{Params: map[string][]float64{Null: x}}
	require.ErrorContains(t, g.VJP(&d, x, x, call), `parameter "null" has 5 elements, got 96`)
	require.ErrorContains(t, g.JVP(x, x, call, &d), `parameter "null" has 5 elements, got 96`)
	require.ErrorContains(t, g.Store(Guidance, []float64{1, math.Inf(1)}), "must be finite")
	require.ErrorContains(t, g.Store(Null, x), "has 5 elements, got 96")
	require.ErrorContains(t, g.Load(graph.Condition, x), "has 10 elements, got 96")
	require.ErrorContains(t, g.Load("nothing", x), `no parameter "nothing"`)
	_, ok := g.TapLen("nothing")
	require.False(t, ok)
}
