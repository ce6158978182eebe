package ode_test

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// swept are the solvers of the sweep: all methods, and the options that matter where runs are short. Those that differ from another in
// weights alone are swept at fewer numbers of steps.
func swept() []method {
	ms := methods()
	for i := range ms {
		switch ms[i].name {
		case "DPM 1M", "DPM++ 1M", "DPM 2M Taylor", "DPM++ 2M Taylor", "DPM++ 3M published", "DPM 2S Taylor", "DPM++ 2S Taylor", "DPM 3S Taylor",
			"DPM++ 3S Taylor", "Euler in σ/α", "Ralston in σ/α", "UniPC-1 B1", "UniPC-2 noise", "UniPC-3 noise", "UniP-2 B1":
			ms[i].weightsOnly = true
		}
	}
	return append(append(ms, stochastics()...),
		method{name: "DDIM η = 0.6", solver: ode.DDIM{Eta: .6}},
		method{name: "DDIM η = 1", solver: ode.DDIM{Eta: 1}},
		method{name: "DDIM, corrected", solver: ode.PredictorCorrector{Of: ode.DDIM{}}},
		method{name: "DPM++ 3M, lower final", solver: lowered{ode.DPMpp{Order: 3}}},
		method{name: "UniPC-3, lower final", solver: lowered{ode.UniPC{Order: 3}}},
		method{name: "DPM 3S, fast", solver: ode.DPM{Order: 3, Fast: true}},
		method{name: "DPM++ 2S, fast", solver: ode.DPMpp{Fast: true}},
	)
}

// Every solver, number of steps, last knot, prediction and schedule: values and gradients are finite, and NFE is what is counted, or
// the plan is refused. Refused is exactly what has no answer: a network that predicts noise or a score, or is called with σ/α, at α = 0.
func TestSweep(t *testing.T) {
	steps := []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25}
	if testing.Short() {
		steps = []int{1, 2, 3, 4, 25}
	}
	// 40 000 small runs: most of their time would go to the garbage collector.
	percent := debug.SetGCPercent(800)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	m := exact.Mixture{Weights: []float64{.4, .6}, Means: [][]float64{{1, 0}, {-.5, .8}}, Variances: []float64{.2, .1}}
	for name, s := range schedules(t) {
		for _, raw := range predictions {
			t.Run(fmt.Sprint(name, "/", raw), func(t *testing.T) {
				t.Parallel()
				f, err := exact.NewField[float64](m, s, raw)
				require.NoError(t, err)
				_, hi := s.Range()
				for _, c := range swept() {
					for _, zero := range []bool{false, true} {
						for _, n := range steps {
							if c.weightsOnly && n > 4 && n < 25 {
								continue
							}
							p := ode.Problem{Schedule: s, Raw: raw, Steps: n, AppendZero: zero}
							if name == "Flow" && zero { // its own range ends there; sweep both, and a start inside
								p = ode.Problem{Schedule: s, Raw: raw, Steps: n, From: .98, To: 0}
							}
							plan, err := c.solver.Plan(p)
							what := fmt.Sprintf("%s, %d steps, zero %t", c.name, n, zero)
							if p.From == 0 && s.At(hi).Alpha == 0 && (raw == ode.Noise || raw == ode.Score || raw == ode.Denoiser) {
								require.Error(t, err, what)
								continue
							}
							require.NoError(t, err, what)
							sigma := s.At(plan.Knots[0].T).Sigma
							out, grad, evals := gradient(t, plan, f, 1, map[string][]float64{"x": {.6 * sigma, -sigma}},
								map[string][]float64{"x": {1, .5}, "partner": {.2, 0}}, nil)
							require.Equal(t, plan.NFE(), evals, what)
							for _, v := range append(out["x"], grad["x"]...) {
								require.False(t, math.IsNaN(v) || math.IsInf(v, 0), what)
							}
						}
					}
				}
			})
		}
	}
}

// NFE as documented at each solver.
func TestNFE(t *testing.T) {
	for _, c := range []struct {
		solver ode.Solver
		nfe    func(n int) int
	}{
		{ode.DDIM{}, func(n int) int { return n }},
		{ode.DPMpp{Order: 3}, func(n int) int { return n }},
		{ode.DPMpp{Order: 3, Single: true}, func(n int) int { return 3 * n }},
		{ode.DPM{Order: 3, Fast: true}, func(n int) int { return n }},
		{ode.DPM{Order: 2, Fast: true}, func(n int) int { return n }},
		{ode.DPM{Order: 1, Fast: true}, func(n int) int { return n }},
		{ode.RK{Tableau: ode.RK4()}, func(n int) int { return 4 * n }},
		{ode.OBELM{}, func(n int) int { return n }},
		{ode.UniPC{Order: 3}, func(n int) int { return n }},
	} {
		for n := 1; n <= 30; n++ {
			p := compile(t, c.solver, ode.Problem{Schedule: ode.VPLinear{}, Steps: n})
			require.Equal(t, c.nfe(n), p.NFE(), "%s, %d steps", p.Name, n)
		}
		zero := compile(t, c.solver, ode.Problem{Schedule: ode.VPLinear{}, Steps: 10, AppendZero: true})
		require.Equal(t, c.nfe(9)+1, zero.NFE(), "%s: one more to σ = 0", zero.Name)
	}
}

func TestOneSolverServesManyGoroutines(t *testing.T) {
	for _, m := range swept() {
		want := compile(t, m.solver, ode.Problem{Schedule: ode.VPLinear{}, Steps: 7}).Table()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				p, err := m.solver.Plan(ode.Problem{Schedule: ode.VPLinear{}, Steps: 7})
				if err != nil || fmt.Sprint(p.Table()) != fmt.Sprint(want) {
					t.Errorf("%s: another plan, %v", m.name, err)
				}
			})
		}
		wg.Wait()
	}
}

// One number of the code, wrong by a hundredth in every step, is found by the knot check or by a lost order.
func TestMutationsAreCaught(t *testing.T) {
	s := ode.VPLinear{}
	m, path := goldenMixture(t), mixturePath(t, s, latents)
	for _, c := range methods() {
		problem := ode.Problem{Schedule: s, Raw: ode.Noise, From: .5, To: .05, Grid: ode.LogSNR{}}
		plan := func(n int) *ode.Plan { problem.Steps = n; return compile(t, c.solver, problem) }
		for slot := range slots(plan(8)) {
			if empty(plan(8), slot) {
				continue
			}
			caught := mutated(plan(8), slot).KnotError() != nil
			if !caught {
				at := func(n int) *ode.Plan { return mutated(plan(n), slot) }
				// A hundredth of an inner stage shows only once the right part of the error has become smaller.
				for _, n := range []int{40, 160, 640} {
					caught = caught || slope(t, at, m, n, c.history, path) < float64(plan(8).Order)-.3
				}
			}
			require.True(t, caught, "%s: slot %d of each step", c.name, slot)
		}
	}
}

// stepSlots calls f with each number of the middle step's code, and with the same place in each step of the same shape: first and last steps may
// have another.
func stepSlots(p *ode.Plan, f func(slot int, c *float64)) {
	byStep := map[int][]*float64{}
	for i := range p.Code {
		in := &p.Code[i]
		for k := range in.Terms {
			byStep[in.Step] = append(byStep[in.Step], &in.Terms[k].C)
		}
		if in.Op == ode.Evaluate {
			byStep[in.Step] = append(byStep[in.Step], &in.T)
		}
	}
	middle := len(byStep[len(p.Knots)/2])
	for _, cs := range byStep {
		for slot, c := range cs {
			if len(cs) == middle {
				f(slot, c)
			}
		}
	}
}

func slots(p *ode.Plan) (n int) {
	stepSlots(p, func(slot int, _ *float64) { n = max(n, slot+1) })
	return n
}

// empty says that the coefficients in a slot are nothing but rounding, such as that of the first prediction in 2S at r = ½.
func empty(p *ode.Plan, slot int) bool {
	size := 0.
	stepSlots(p, func(s int, c *float64) {
		if s == slot {
			size = math.Max(size, math.Abs(*c))
		}
	})
	return size < 1e-14
}

func mutated(p *ode.Plan, slot int) *ode.Plan {
	stepSlots(p, func(s int, c *float64) {
		if s == slot {
			*c *= 1.01
		}
	})
	return p
}

// The gradient to every knot, through coefficients and times of evaluation, against differences of whole runs. The ends of the
// schedule are included, where differences are one-sided.
func TestGradientToTheKnots(t *testing.T) {
	for _, c := range []struct {
		s     ode.Schedule
		raw   ode.Prediction
		knots []float64
	}{
		{ode.VPLinear{}, ode.Noise, []float64{.8, .6, .45, .3, .2}},
		{ode.EDM{}, ode.Denoiser, []float64{3, 1.2, .5, .2, 0}},
		{ode.Flow{}, ode.FlowVelocity, []float64{1, .8, .5, .2, 0}},
	} {
		for _, m := range methods() {
			p := compile(t, m.solver, ode.Problem{Schedule: c.s, Raw: c.raw, Knots: c.knots})
			f := field(t, goldenMixture(t), p)
			in := map[string][]float64{"x": latents}
			cot := []float64{1, -.5, .3, .8, -1, .2, .6, -.4}
			loss := func(knots []float64) (sum float64) {
				param, ok := p.Param("knots")
				require.True(t, ok)
				q, err := param.Rebuild(knots)
				require.NoError(t, err)
				for i, v := range run(t, q, f, 4, in) {
					sum += cot[i] * v
				}
				return sum
			}
			got := knotGradient(t, p, f, in, cot)
			for i, k := range c.knots {
				knots := append([]float64(nil), c.knots...)
				at := func(h float64) float64 { knots[i] = k + h; return loss(knots) }
				h, want := 2e-4, 0.
				switch lo, hi := c.s.Domain(); {
				case k == lo || k == hi: // fourth order, inwards
					if k == hi {
						h = -h
					}
					want = (48*(at(h)-at(0)) - 36*(at(2*h)-at(0)) + 16*(at(3*h)-at(0)) - 3*(at(4*h)-at(0))) / (12 * h)
				default:
					want = (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
				}
				// rounding of the difference: 1e-15/h times the size of the loss
				require.InDelta(t, want, got[i], 1e-7*(1+math.Abs(want)), "%s on %T: knot %d", m.name, c.s, i)
			}
		}
	}
}

func knotGradient(t *testing.T, p *ode.Plan, f ode.Differentiable[float64], in map[string][]float64, cot []float64) []float64 {
	t.Helper()
	back, err := p.Transpose()
	require.NoError(t, err)
	r, err := ode.NewRunner[float64](p, 4, 2, back.Needs(true)...)
	require.NoError(t, err)
	require.NoError(t, r.Run(context.Background(), f, ode.Inputs[float64]{Ports: in}))
	ports := map[string][]float64{}
	for _, port := range p.Outputs {
		ports[port.Name] = make([]float64, 8)
	}
	ports["x"] = cot
	rev, err := ode.NewRunner[float64](back, 4, 2)
	require.NoError(t, err)
	table := make([]float64, len(p.Table()))
	require.NoError(t, rev.Run(context.Background(), f, ode.Inputs[float64]{Ports: ports, Forward: r.Reg, Table: table}))
	g, err := p.PullTable("knots", table)
	require.NoError(t, err)
	return g
}

// LMS as published keeps its order to σ = 0, not to α = 0, where it would be infinite.
func TestPublishedLMSUpToPureNoise(t *testing.T) {
	p := compile(t, ode.LMS{Published: true}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, From: .2, To: 1, Steps: 4})
	for _, c := range p.Table() {
		require.False(t, math.IsNaN(c) || math.IsInf(c, 0))
	}
}

// A rule for whole runs would put points inside steps at a fortieth of them.
func TestPointsInsideStepsOnLinearQuadratic(t *testing.T) {
	plan := func(g ode.Grid) *ode.Plan {
		return compile(t, ode.DPMpp{Single: true}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, From: .9, To: .1, Steps: 6, Grid: g})
	}
	times := func(p *ode.Plan) (ts []float64) {
		for _, in := range p.Code {
			if in.Op == ode.Evaluate {
				ts = append(ts, in.T)
			}
		}
		return ts
	}
	p := plan(ode.LinearQuadratic{Linear: 3})
	ts := times(p)
	require.Len(t, ts, 12)
	for i := range 6 {
		require.InDelta(t, (p.Knots[i].T+p.Knots[i+1].T)/2, ts[2*i+1], 1e-12)
	}
}

// A scale that begins and ends at one number is that number in every step, to the bit.
func TestAConstantScaleIsOneNumber(t *testing.T) {
	plan := func(scale ode.NoiseScale) *ode.Plan {
		return compile(t, ode.DPMpp{}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 4, Scale: scale})
	}
	require.Equal(t, plan(ode.NoiseScale{First: 1.01}).Table(), plan(ode.NoiseScale{First: 1.01, Last: 1.01}).Table())
}
