package ode_test

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// moments are mean and variance of what a plan makes of the Gaussian's state at the first knot and of its noise, and memory is how much of
// that state is left, which tells the covariance of both. With an exact model the plan is affine in all of them, so that they are found by
// running it on unit vectors: no chance is involved.
func moments(t testing.TB, p *ode.Plan, g exact.Gaussian) (mean, variance, memory float64) {
	t.Helper()
	n := 2 + p.Draws() // the origin, x, and every draw
	r, err := ode.NewRunner[float64](p, n, 1)
	require.NoError(t, err)
	x, noise := make([]float64, n), make(ode.Given[float64], p.Draws())
	x[1] = 1
	for k := range noise {
		noise[k] = make([]float64, n)
		noise[k][2+k] = 1
	}
	require.NoError(t, r.Run(context.Background(), field(t, g, p), ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: noise}))
	start := p.Schedule.At(p.Knots[0].T)
	out := r.Output("x")
	gain := func(i int) float64 { return out[i] - out[0] }
	mean = out[0] + gain(1)*start.Alpha*g.Mean[0]
	variance = gain(1) * gain(1) * (start.Alpha*start.Alpha*g.Variance[0] + start.Sigma*start.Sigma)
	for k := range noise {
		variance += gain(2+k) * gain(2+k)
	}
	return mean, variance, gain(1)
}

// truth is what the SDE with η times the noise of the reverse process leaves: dy = (1+η) ρ/(c+ρ²) (y−μ) dρ + noise has the solution
// below, and the marginals of the ODE.
func truth(g exact.Gaussian, from, to ode.Point, eta float64) (mean, variance, memory float64) {
	v := func(p ode.Point) float64 { return g.Variance[0] + math.Pow(p.Sigma/p.Alpha, 2) }
	return to.Alpha * g.Mean[0], to.Alpha * to.Alpha * v(to), to.Alpha / from.Alpha * math.Pow(v(to)/v(from), (1+eta)/2)
}

func TestMomentsOfStochasticSolversConverge(t *testing.T) {
	g, s := exact.Gaussian{Mean: []float64{.7}, Variance: []float64{.3}}, ode.VPLinear{}
	from, to := s.At(.9), s.At(.05)
	for _, c := range []struct {
		solver ode.Solver
		eta    float64 // of the SDE
		memory float64 // order of the covariance with the start; 0 if it is exact
		mean   float64 // order of the mean; 0 if it is exact
	}{
		{ode.DDIM{Eta: 1}, 1, 0, 0},
		{ode.DDIM{Eta: .5}, .25, 1, 0},
		{ode.ChurnRK{Churn: 5}, 5 / (to.Lambda() - from.Lambda()), 1, 0},
		{ode.Ancestral{}, 1, 1, 0},
		{ode.Ancestral{Eta: .5}, .25, 1, 0},
		{ode.Ancestral{Noise: true}, 1, 1, 0},
		{ode.Ancestral{Noise: true, Eta: .5}, .25, 1, 0},
		{ode.DPMppSDE{Order: 1}, 1, 0, 0}, // given the start, the data prediction at η = 1 is a martingale: in the mean it stays what it is
		{ode.DPMppSDE{}, 1, 0, 0},
		{ode.DPMppSDE{Correction: ode.Taylor}, 1, 0, 0},
		{ode.DPMppSDE{Eta: .5}, .5, 2, 0},
		{ode.DPMppSDE{Order: 3, Eta: .5}, .5, 3, 0},
		{ode.DPMppSDE{Order: 3, Eta: 2, Published: true}, 2, 2, 0},
		{ode.DPMppSDE{Single: true}, 1, 0, 0},
		{ode.DPMppSDE{Single: true, Eta: .5}, .5, 2, 0},
		{ode.DPMppSDE{Single: true, Correction: ode.Taylor, Eta: 2}, 2, 2, 0},
		{ode.DPMSDE{Order: 1}, 1, 1, 0},
		{ode.DPMSDE{}, 1, 2, 0},
		{ode.DPMSDE{Eta: .5, Correction: ode.Taylor}, .5, 2, 0},
		{ode.EulerMaruyama{}, 1, 1, 1},
		{ode.EulerMaruyama{Eta: .5}, .5, 1, 1},
	} {
		m0, v0, c0 := truth(g, from, to, c.eta)
		var center, spread, memory []float64
		name, order := "", 0.
		for _, n := range []int{160, 320} {
			p := compile(t, c.solver, ode.Problem{Schedule: s, Raw: ode.Noise, From: .9, To: .05, Steps: n, Grid: ode.LogSNR{}})
			name, order = p.Name, float64(p.Order)
			mean, variance, left := moments(t, p, g)
			if c.mean == 0 {
				require.InDelta(t, m0, mean, 1e-12, "%s: the mean is that of the model at every number of steps", name)
			}
			center = append(center, math.Abs(mean-m0))
			spread, memory = append(spread, math.Abs(variance/v0-1)), append(memory, math.Abs(left/c0-1))
		}
		got := math.Log2(spread[0] / spread[1])
		t.Logf("%-36s variance %.1e, order %.2f; memory %.1e, order %.2f", name, spread[1], got, memory[1], math.Log2(memory[0]/memory[1]))
		require.Greater(t, got, order-.15, name)
		require.Less(t, spread[1], .02, name)
		if c.mean != 0 {
			require.Greater(t, math.Log2(center[0]/center[1]), c.mean-.15, name)
		}
		if c.memory == 0 {
			require.Less(t, memory[1], 1e-11, name)
		} else {
			require.Greater(t, math.Log2(memory[0]/memory[1]), c.memory-.15, name)
		}
	}
}

// One number of the code, wrong by a hundredth in every step, is found by the knot check or by moments that do not converge.
func TestMutationsOfStochasticSolversAreCaught(t *testing.T) {
	g, s := exact.Gaussian{Mean: []float64{.7}, Variance: []float64{.3}}, ode.VPLinear{}
	for _, c := range stochastics() {
		plan := func(n int) *ode.Plan {
			return compile(t, c.solver, ode.Problem{Schedule: s, Raw: ode.Noise, From: .9, To: .05, Steps: n, Grid: ode.LogSNR{}})
		}
		p := plan(12)
		mean0, variance0, _ := truth(g, s.At(.9), s.At(.05), 1)
		for slot := range slots(p) {
			if empty(plan(12), slot) || mutated(plan(12), slot).KnotError() != nil {
				continue
			}
			caught := false
			for _, n := range []int{40, 160, 640} {
				var errs []float64
				for _, n := range []int{n, 2 * n} {
					mean, variance, _ := moments(t, mutated(plan(n), slot), g)
					errs = append(errs, math.Abs(mean-mean0)+math.Abs(variance-variance0))
				}
				if caught = math.Log2(errs[0]/errs[1]) < float64(p.Order)-.3; caught {
					break
				}
			}
			require.True(t, caught, "%s: slot %d of each step", c.name, slot)
		}
	}
}
