package ode_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

func TestUniPIsAMultistepOfDPM(t *testing.T) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 9}
	for _, c := range []struct {
		reason string
		a, b   ode.Solver
	}{
		{"UniP-2 with B2 is 2M", ode.UniPC{NoCorrector: true}, ode.DPMpp{}},
		{"the same for noise", ode.UniPC{NoCorrector: true, Noise: true}, ode.DPM{}},
		{"UniP-3 is 3M with a whole second derivative", ode.UniPC{Order: 3, NoCorrector: true}, ode.DPMpp{Order: 3}},
		{"the same for noise", ode.UniPC{Order: 3, NoCorrector: true, Noise: true}, ode.DPM{Order: 3}},
		{"UniP-1 is DDIM", ode.UniPC{Order: 1, NoCorrector: true}, ode.DPMpp{Order: 1}},
		{"lower orders at the end", lowered{ode.UniPC{Order: 3, NoCorrector: true}}, lowered{ode.DPMpp{Order: 3}}},
	} {
		a, b := compile(t, c.a, p), compile(t, c.b, p)
		require.InDeltaSlice(t, b.Table(), a.Table(), 1e-15, c.reason)
		require.Equal(t, b.Order, a.Order, c.reason)
	}
}

func TestFirstOrderMembersAreDDIM(t *testing.T) {
	for name, s := range schedules(t) {
		p := ode.Problem{Schedule: s, Raw: ode.Velocity, Steps: 9}
		want := compile(t, ode.DDIM{}, p)
		for _, solver := range []ode.Solver{
			ode.DPM{Order: 1}, ode.DPMpp{Order: 1}, ode.DPM{Order: 1, Single: true}, ode.DPMpp{Order: 1, Fast: true},
			ode.RK{Tableau: ode.Euler(), In: ode.Ratio},
		} {
			got := compile(t, solver, p)
			x := run(t, want, field(t, goldenMixture(t), want), 4, map[string][]float64{"x": latents})
			y := run(t, got, field(t, goldenMixture(t), got), 4, map[string][]float64{"x": latents})
			require.Less(t, distance(x, y), 1e-12, "%s: %s", name, got.Name)
		}
	}
	p := ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 9}
	want, got := compile(t, ode.DDIM{}, p), compile(t, ode.RK{Tableau: ode.Euler()}, p)
	x := run(t, want, field(t, goldenMixture(t), want), 4, map[string][]float64{"x": latents})
	require.Less(t, distance(x, run(t, got, field(t, goldenMixture(t), got), 4, map[string][]float64{"x": latents})), 1e-13)
}

// What a network predicts is a choice of coordinates: it changes nothing but the last digits.
func TestAllPredictionsGiveOneTrajectory(t *testing.T) {
	for name, s := range schedules(t) {
		_, hi := s.Range()
		for _, m := range methods() {
			var want []float64
			for _, raw := range predictions {
				p := compile(t, m.solver, ode.Problem{Schedule: s, Raw: raw, From: .9 * hi, To: .01, Steps: 5, Grid: ode.LogSNR{}})
				x := slices.Clone(latents)
				for i := range x {
					x[i] *= s.At(.9 * hi).Sigma
				}
				got := run(t, p, field(t, goldenMixture(t), p), 4, map[string][]float64{"x": x})
				if want == nil {
					want = slices.Clone(got)
				}
				// ε from x̂_0 loses σ/α in digits, at most 72 here; steps of a network's ε lose as many
				require.Less(t, distance(want, got), 1e-10, "%s: %s, %v", name, m.name, raw)
			}
		}
	}
}

// Solvers in λ see only x/α and λ: on any schedule they take the same way.
func TestScheduleInvariance(t *testing.T) {
	for _, m := range methods() {
		if !m.lambda {
			continue
		}
		var want []float64
		for _, s := range []ode.Schedule{ode.EDM{}, ode.VPLinear{}, ode.VPCosine{}, ode.Flow{}} {
			var knots []float64
			for _, l := range []float64{-3, -2.2, -1, -.3, .8, 1.5, 2} {
				knots = append(knots, s.TimeOf(l))
			}
			p := compile(t, m.solver, ode.Problem{Schedule: s, Raw: ode.FlowVelocity, Knots: knots})
			first, end := s.At(knots[0]).Alpha, s.At(knots[6]).Alpha
			x := slices.Clone(latents)
			for i := range x {
				x[i] *= 20 * first
			}
			got := slices.Clone(run(t, p, field(t, goldenMixture(t), p), 4, map[string][]float64{"x": x}))
			for i := range got {
				got[i] /= end
			}
			if want == nil {
				want = got
			}
			require.Less(t, distance(want, got), 1e-11, "%s on %T", m.name, s)
		}
	}
}

// RF-Solver as its authors write it: a Taylor step with the difference quotient of the velocity.
func TestMidpointIsRFSolver(t *testing.T) {
	p := compile(t, ode.RK{Tableau: ode.MidpointRule()}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 8})
	f := field(t, goldenMixture(t), p)
	got := run(t, p, f, 4, map[string][]float64{"x": latents})

	x, y, v, vm := slices.Clone(latents), make([]float64, 8), make([]float64, 8), make([]float64, 8)
	for i := range 8 {
		at, d := 1-float64(i)/8, -1./8
		require.NoError(t, f.Eval(v, x, ode.Call[float64]{Batch: 4, T: []float64{at}}))
		for j := range x {
			y[j] = x[j] + d/2*v[j]
		}
		require.NoError(t, f.Eval(vm, y, ode.Call[float64]{Batch: 4, T: []float64{at + d/2}}))
		for j := range x {
			x[j] += d*v[j] + d*d/2*(vm[j]-v[j])/(d/2)
		}
	}
	require.Less(t, distance(x, got), 1e-13)
}

// Data that are one point leave nothing to approximate: every solver lands on the exact line x = αμ + σε in every step.
func TestAPointIsSolvedExactly(t *testing.T) {
	m := exact.Mixture{Weights: []float64{1}, Means: [][]float64{{.6, -1.1}}, Variances: []float64{0}}
	for name, s := range schedules(t) {
		for _, c := range methods() {
			for _, zero := range []bool{false, true} {
				problem := ode.Problem{Schedule: s, Raw: ode.Velocity, Steps: 5, AppendZero: zero}
				if !c.lambda && (name == "Flow" || name == "EDM") { // these evaluate at σ = 0, where a point has no velocity
					problem.From, problem.To, problem.AppendZero = .9, .01, false
				} else if name == "Flow" {
					problem.AppendZero = false
				}
				p, err := c.solver.Plan(problem)
				require.NoError(t, err)
				if !p.Exact {
					continue
				}
				x := []float64{.4, -.7}
				from, to := s.At(p.Knots[0].T), s.At(p.Knots[5].T)
				var want []float64
				for i, mu := range m.Means[0] {
					want = append(want, to.Alpha*mu+to.Sigma*(x[i]*math.Max(1, from.Sigma)-from.Alpha*mu)/from.Sigma)
					x[i] *= math.Max(1, from.Sigma)
				}
				got := run(t, p, field(t, m, p), 1, map[string][]float64{"x": x})
				// ε̂ is (x − αμ)/σ: at σ = 0.002 it has lost three digits
				require.Less(t, distance(want, got), 1e-11, "%s: %s", name, c.name)
			}
		}
	}
}

// Upwards and downwards again by a method of even order leaves an error one order smaller than either way, since the defects of a
// step and of the same step back cancel.
func TestInversionByRunningUpwards(t *testing.T) {
	for _, c := range []struct {
		solver ode.Solver
		order  float64
		reason string
	}{
		{ode.DDIM{}, 1, "the two defects differ in sign only"},
		{ode.RK{Tableau: ode.MidpointRule()}, 3, "those of a second-order method cancel"},
		{ode.RK{}, 3, "those of a second-order method cancel"},
	} {
		var errs []float64
		for _, n := range []int{64, 128} {
			up := compile(t, c.solver, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, From: .05, To: .6, Steps: n, Grid: ode.UniformTime{}})
			down := compile(t, c.solver, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, From: .6, To: .05, Steps: n, Grid: ode.UniformTime{}})
			f := field(t, goldenMixture(t), up)
			z := slices.Clone(run(t, up, f, 4, map[string][]float64{"x": latents}))
			errs = append(errs, distance(latents, run(t, down, f, 4, map[string][]float64{"x": z})))
		}
		require.Greater(t, math.Log2(errs[0]/errs[1]), c.order-.15, c.reason)
	}
}

// The step to σ = 0 is the network's own data prediction.
func TestTheStepToZeroReturnsTheDataPrediction(t *testing.T) {
	for _, s := range []ode.Schedule{ode.VPLinear{}, ode.EDM{}, ode.Flow{}} {
		for _, m := range methods() {
			if _, ok := m.solver.(ode.BDIA); ok || m.name == "O-BELM" || (s != ode.VPLinear{} && !m.lambda) { // these stay of full order
				continue
			}
			if c, ok := m.solver.(ode.UniPC); ok && !c.NoCorrector { // its data prediction is made at the predicted state
				continue
			}
			p := compile(t, m.solver, ode.Problem{Schedule: s, Raw: ode.Velocity, From: .8, To: .02, Steps: 4, AppendZero: true, Grid: ode.LogSNR{}})
			f := field(t, goldenMixture(t), p)
			r, err := ode.NewRunner[float64](p, 4, 2, p.Knots[3].Reg)
			require.NoError(t, err)
			require.NoError(t, r.Run(context.Background(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}}))
			want := make([]float64, 8)
			require.NoError(t, goldenMixture(t).Predict(want, r.Reg(p.Knots[3].Reg), s.At(.02), ode.Data))
			require.Less(t, distance(want, r.Output("x")), 1e-12, "%s on %T", m.name, s)
		}
	}
}
