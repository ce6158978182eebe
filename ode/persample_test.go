package ode_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// A batch whose samples start at times of their own is as each of them alone, states and gradients, with every kind of solver and network.
func TestPerSampleIsEachAlone(t *testing.T) {
	from := []float64{.9, .5, .7, .5}
	cot := []float64{1, -.5, .3, .8, -1, .2, .6, -.4}
	for name, s := range map[string]ode.Solver{
		"2M": ode.DPMpp{Order: 2}, "UniPC": ode.UniPC{}, "3S": ode.DPMpp{Order: 3, Single: true}, "DEIS": ode.DEIS{}, "PNDM": ode.PNDM{},
		"RK": ode.RK{}, "LMS": ode.LMS{}, "SDE": ode.DPMppSDE{}, "corrected": ode.PredictorCorrector{Of: ode.DDIM{}}, "default": nil,
	} {
		for _, raw := range []ode.Prediction{ode.Noise, ode.Velocity, ode.Denoiser} {
			p := ode.Problem{Schedule: ode.VPLinear{}, Raw: raw, To: .05, Steps: 5, AppendZero: name == "2M" && raw != ode.Noise, Denoise: name == "3S"}
			what := fmt.Sprint(name, " ", raw)
			plan := compile(t, ode.PerSample{Of: s, From: from}, p)
			f, err := exact.NewField[float64](goldenMixture(t), p.Schedule, raw)
			require.NoError(t, err)
			noise := ode.Seed[float64]{Key: 3}
			out, grad, params := pulled(t, plan, f, latents, cot, 4, noise)
			means := make([]float64, len(params))
			if s == nil {
				s = ode.DPMpp{}
			}
			for b := range from {
				q := p
				q.From = from[b]
				alone := compile(t, s, q)
				require.Equal(t, alone.NFE(), plan.NFE())
				require.Equal(t, alone.Order, plan.Order)
				noise.First = b
				x, g, one := pulled(t, alone, f, latents[2*b:2*b+2], cot[2*b:2*b+2], 1, noise)
				require.InDeltaSlice(t, x, out[2*b:2*b+2], 1e-11, "%s, sample %d", what, b)
				require.InDeltaSlice(t, g, grad[2*b:2*b+2], 1e-10, "%s, gradient of sample %d", what, b)
				for i, v := range one {
					means[i] += v
				}
			}
			require.InDeltaSlice(t, means, params, 1e-9, what)
		}
	}
}

// pulled runs a plan with noise, and returns where it ends, and the gradients to x and to the means of the mixture.
func pulled(t testing.TB, p *ode.Plan, f *exact.Field[float64], x, cot []float64, batch int, noise ode.NoiseSource[float64]) (out, grad, means []float64) {
	t.Helper()
	back, err := p.Transpose()
	require.NoError(t, err)
	forward, err := ode.NewRunner[float64](p, batch, len(x)/batch, back.Needs(false)...)
	require.NoError(t, err)
	require.NoError(t, forward.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: noise}))
	reverse, err := ode.NewRunner[float64](back, batch, len(x)/batch)
	require.NoError(t, err)
	ports := map[string][]float64{}
	for _, port := range p.Outputs {
		ports[port.Name] = make([]float64, len(x))
	}
	copy(ports["x"], cot)
	for _, q := range f.Parameters(batch) {
		if q.Name == "means" {
			means = make([]float64, q.Len())
		}
	}
	require.NoError(t, reverse.Run(t.Context(), f, ode.Inputs[float64]{Ports: ports, Forward: forward.Reg, Params: map[string][]float64{"means": means}}))
	return slices.Clone(forward.Output("x")), slices.Clone(reverse.Output("x")), means
}

// From one time for all it is the plan of the solver.
func TestPerSampleFromOneTime(t *testing.T) {
	p := ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, To: .1, Steps: 4}
	plan := compile(t, ode.PerSample{From: []float64{3, 3}}, p)
	p.From = 3
	require.Equal(t, compile(t, ode.DPMpp{}, p).String(), plan.String())
	_, ok := plan.Param("knots")
	require.True(t, ok)
	end := compile(t, ode.PerSample{From: []float64{3, 2}}, ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Steps: 4})
	to, _ := ode.EDM{}.Range()
	require.Equal(t, to, end.Knots[4].T)
}

func TestPerSampleRefuses(t *testing.T) {
	good := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, To: .05, Steps: 5}
	from := []float64{.9, .5}
	for want, c := range map[string]struct {
		s ode.PerSample
		p ode.Problem
	}{
		"0 values of From":             {ode.PerSample{}, good},
		"Problem.From 0.5":             {ode.PerSample{From: from}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: .5, Steps: 5}},
		"and 2 Knots":                  {ode.PerSample{From: from}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: from}},
		"Schedule is nil":              {ode.PerSample{From: from}, ode.Problem{}},
		"for sample 1 of PerSample":    {ode.PerSample{From: []float64{.9, 7}}, good},
		"coefficients an element or a": {ode.PerSample{From: from, Of: fielded{}}, good},
		"is other code than from":      {ode.PerSample{From: []float64{.5, 1}, Of: ode.DPMpp{Order: 3}}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, To: .05, Steps: 5}},
	} {
		_, err := c.s.Plan(c.p)
		require.ErrorContains(t, err, want)
	}
	draws := compile(t, ode.PerSample{Of: ode.DDIM{Eta: 1}, From: from}, good)
	r, err := ode.NewRunner[float64](draws, 2, 2)
	require.NoError(t, err)
	f, err := exact.NewField[float64](gaussian(), good.Schedule, good.Raw)
	require.NoError(t, err)
	err = r.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": latents[:4]}, Noise: ode.Brownian[float64]{}})
	require.ErrorContains(t, err, "use a Seed")
	_, err = ode.NewRunner[float64](draws, 3, 2)
	require.ErrorContains(t, err, "2 times, the runner needs 3")
}

// fielded is a solver with coefficients an element.
type fielded struct{}

func (fielded) Plan(p ode.Problem) (*ode.Plan, error) {
	return ode.Assemble(p, "fielded", 0, func(a *ode.Assembler) {
		a.Inexact()
		x := a.Input("x")
		a.State(0, x)
		for i := range a.Steps() {
			m := a.Predict(x, a.Node(i), ode.Noise)
			x = a.Combine(ode.Term{Reg: x, C: 1, Elements: []float64{1, a.Node(i).Alpha}}, ode.Term{Reg: m.Reg, C: .1})
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}
