package ode_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// backward is how far a method looks back: the largest History that it takes.
func backward(s ode.Solver, p ode.Problem) (n int) {
	for ; ; n++ {
		p.History = n + 1
		if _, err := s.Plan(p); err != nil {
			return n
		}
	}
}

// A method looks back as far as its order says, and no further; with the states given it computes what it would from an exact start.
func TestHistoryReplacesTheStart(t *testing.T) {
	s := ode.VPLinear{}
	path := flowPath(t, bumped(), s, latents)
	for _, raw := range []ode.Prediction{ode.Noise, ode.Denoiser, ode.Velocity} {
		problem := ode.Problem{Schedule: s, Raw: raw, From: .7, To: .1, Steps: 7, Grid: ode.LogSNR{}}
		for _, m := range methods() {
			require.Equal(t, map[string]int{"F-PNDM": 3, "S-PNDM": 1, "PLMS": 3}[m.name]+m.history, backward(m.solver, problem), "%s, %v", m.name, raw)
			if m.history == 0 {
				continue
			}
			p := problem
			p.History = m.history
			got := compile(t, m.solver, p)
			want := startExactly(compile(t, m.solver, ode.Problem{Schedule: s, Raw: ode.Noise, From: .7, To: .1, Steps: 7, Grid: ode.LogSNR{}}), m.history)
			in := states(want, m.history, path)
			x := slices.Clone(run(t, want, field(t, bumped(), want), 4, in))
			for k := range m.history {
				in[fmt.Sprintf("x%d", k+1)] = in[startName(k+1)]
				delete(in, startName(k+1))
			}
			require.Less(t, distance(x, run(t, got, field(t, bumped(), got), 4, in)), 1e-11, "%s, %v", m.name, raw) // digits that v and x_0 lose near noise
		}
	}
}

// All that a plan has, one with a history has too: gradients to every state, and to the knots.
func TestGradientsOfAHistory(t *testing.T) {
	s := ode.VPLinear{}
	for _, solver := range []ode.Solver{ode.UniPC{Order: 3}, ode.OBELM{}, ode.DPMpp{Order: 3}, ode.DEIS{Order: 3}} {
		p := compile(t, solver, ode.Problem{Schedule: s, Raw: ode.Denoiser, Knots: []float64{.8, .6, .45, .3, .2}, History: backward(solver, ode.Problem{Schedule: s, Steps: 5})})
		f := field(t, goldenMixture(t), p)
		in := map[string][]float64{}
		for k, port := range p.Inputs {
			in[port.Name] = plus(latents, .1*float64(k), []float64{1, 2, 3, 4, 5, 6, 7, 8})
		}
		cot := []float64{1, -.5, .3, .8, -1, .2, .6, -.4}
		loss := func(p *ode.Plan, port string, i int, h float64) float64 {
			moved := map[string][]float64{}
			for name, v := range in {
				moved[name] = slices.Clone(v)
			}
			if port != "" {
				moved[port][i] += h
			}
			return inner(cot, run(t, p, f, 4, moved))
		}
		_, grad, _ := gradient(t, p, f, 4, in, map[string][]float64{"x": cot}, nil)
		for name := range in {
			for i := range latents {
				want := difference(func(h float64) float64 { return loss(p, name, i, h) })
				require.InDelta(t, want, grad[name][i], 1e-8, "%s: %s[%d]", p.Name, name, i)
			}
		}
		checkKnots(t, p, knotGradient(t, p, f, in, cot), func(p *ode.Plan) float64 { return loss(p, "", 0, 0) })
	}
}

func TestHistoryIsRefusedWhereItHasNoPlace(t *testing.T) {
	for _, c := range []struct {
		want   string
		solver ode.Solver
		p      ode.Problem
	}{
		{"Problem.History is -1; with 5 steps it lies between 0 and 4", ode.DPMpp{}, ode.Problem{Steps: 5, History: -1}},
		{"Problem.History is 5", ode.DPMpp{}, ode.Problem{Steps: 5, History: 5}},
		{"History is 2, and then the state at the first knot takes no part", ode.DPMpp{}, ode.Problem{Steps: 5, History: 2}},
		{"takes no part", ode.DDIM{}, ode.Problem{Steps: 5, History: 1}},
		{"takes no part", ode.RK{}, ode.Problem{Steps: 5, History: 1}},
		{"goes on with another, its partner", ode.ALF{}, ode.Problem{Steps: 5, History: 1}},
		{"goes on with another, its partner", ode.EDICT{}, ode.Problem{Steps: 5, History: 1}},
		{"starts from [x partner]", ode.BDIA{Pair: true}, ode.Problem{Steps: 5, History: 1}},
		{"both are ways to start", ode.DPMpp{}, ode.Problem{Steps: 5, History: 1, SingleStart: true}},
	} {
		c.p.Schedule = ode.VPLinear{}
		_, err := c.solver.Plan(c.p)
		require.ErrorContains(t, err, c.want)
	}
	_, err := ode.Adaptive[float64]{}.Run(t.Context(), ode.Problem{Schedule: ode.VPLinear{}, History: 1}, nil, 1, ode.Inputs[float64]{})
	require.ErrorContains(t, err, "LowerFinal and History out")
}
