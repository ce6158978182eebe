package ode_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// louder is a network whose noise is too large by a factor in each evaluation, in any prediction.
type louder struct {
	ode.Field[float64] // of noise
	s                  ode.Schedule
	raw                ode.Prediction
	by                 []float64
}

func (l louder) Eval(dst, x []float64, c ode.Call[float64]) error {
	at := c.T[0]
	if l.raw == ode.Denoiser { // called with x/α at σ/α
		at = l.s.TimeOf(-math.Log(c.T[0]))
	}
	p := l.s.At(at)
	state := slices.Clone(x)
	if l.raw == ode.Denoiser {
		for i := range state {
			state[i] *= p.Alpha
		}
	}
	if err := l.Field.Eval(dst, state, ode.Call[float64]{Batch: c.Batch, T: []float64{at}}); err != nil {
		return err
	}
	x0, eps, err := l.raw.Of(p)
	for i, e := range dst {
		e *= l.by[c.Index]
		dst[i] = x0*(state[i]-p.Sigma*e)/p.Alpha + eps*e
	}
	return err
}

// Dividing the noise by s undoes a network that says s times too much, for every solver and prediction.
func TestScaleUndoesALoudNetwork(t *testing.T) {
	s := ode.VPLinear{}
	for _, solver := range []ode.Solver{ode.DDIM{}, ode.DPMpp{Order: 3}, ode.DPM{}, ode.UniPC{}, ode.LMS{}} {
		for _, raw := range predictions {
			problem := ode.Problem{Schedule: s, Raw: ode.Noise, Knots: []float64{.9, .6, .4, .2, .1}}
			plain := compile(t, solver, problem)
			f := field(t, goldenMixture(t), plain)
			in := map[string][]float64{"x": latents}
			want := slices.Clone(run(t, plain, f, 4, in))
			for _, c := range []struct {
				scale ode.NoiseScale
				by    []float64
			}{
				{ode.NoiseScale{First: 1.02}, []float64{1.02, 1.02, 1.02, 1.02}},
				{ode.NoiseScale{First: 1.01, Last: 1.04}, []float64{1.01, 1.02, 1.03, 1.04}},
			} {
				if _, predicts := solver.(ode.UniPC); predicts && c.scale.Last != 0 {
					continue // it asks for the end of a step in that step
				}
				problem.Raw, problem.Scale = raw, c.scale
				p := compile(t, solver, problem)
				require.False(t, p.Exact)
				got := run(t, p, louder{f, s, raw, c.by}, 4, in)
				require.Less(t, distance(want, got), 1e-12, "%T %v", solver, raw)
				require.Equal(t, plain.NFE(), p.NFE())
			}
		}
	}
}

// No solver leaves the scale out.
func TestEverySolverHeedsScale(t *testing.T) {
	for _, m := range swept() {
		problem := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Velocity, Steps: 6}
		plain, err := m.solver.Plan(problem)
		if err != nil { // FlowAB
			continue
		}
		problem.Scale.First = 1.1
		p := compile(t, m.solver, problem)
		require.NotEqual(t, plain.Table(), p.Table(), m.name)
		require.False(t, p.Exact, m.name)
	}
}

func TestScaleIsDifferentiableAndOff(t *testing.T) {
	for _, raw := range []ode.Prediction{ode.Noise, ode.Data, ode.Velocity} {
		problem := ode.Problem{Schedule: ode.VPLinear{}, Raw: raw, Knots: []float64{.8, .6, .4, .2}}
		plain := compile(t, ode.DPMpp{}, problem)
		problem.Scale.First = 1
		require.Equal(t, plain.Table(), compile(t, ode.DPMpp{}, problem).Table(), "1 is none")
		problem.Scale = ode.NoiseScale{First: 1.1, Last: 1.2}
		p := compile(t, ode.DPMpp{}, problem)
		require.NotEqual(t, plain.Table(), p.Table())
		checkGradient(t, p, field(t, goldenMixture(t), p))
	}
	// At α = 0 the state is the noise.
	flow := ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 4, Scale: ode.NoiseScale{First: 1.1}}
	require.Equal(t, compile(t, ode.DPMpp{}, ode.Problem{Schedule: flow.Schedule, Raw: flow.Raw, Steps: 4}).Code[:3], compile(t, ode.DPMpp{}, flow).Code[:3])
	for _, bad := range []ode.NoiseScale{{First: -1}, {Last: 1}, {First: 1, Last: math.Inf(1)}, {First: math.NaN()}} {
		_, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Steps: 3, Scale: bad})
		require.ErrorContains(t, err, "Problem.Scale is from")
	}
	_, err := ode.Adaptive[float64]{}.Run(t.Context(), ode.Problem{Schedule: ode.VPLinear{}, Scale: ode.NoiseScale{First: 1.1, Last: 1.2}}, rough{}, 4,
		ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}})
	require.ErrorContains(t, err, "leave Last out")
	got, f, _ := adapt(t, ode.Adaptive[float64]{}, 0, ode.Problem{Scale: ode.NoiseScale{First: 1.02}})
	require.Equal(t, run(t, got.Plan, f, 4, map[string][]float64{"x": latents}), got.X)
}
