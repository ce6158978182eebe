package ode_test

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

func clips(p *ode.Plan) (n int) {
	for _, in := range p.Code {
		if in.Op == ode.Clip {
			n++
		}
	}
	return n
}

// Every evaluation of a solver for data is clipped, and every other solver says that it cannot: no plan leaves the option out.
func TestClipIsHeededOrRefused(t *testing.T) {
	heeded := map[string]bool{}
	for _, m := range swept() {
		for _, raw := range []ode.Prediction{ode.Noise, ode.Data} {
			problem := ode.Problem{Schedule: ode.VPLinear{}, Raw: raw, Steps: 7}
			plain, err := m.solver.Plan(problem)
			if err != nil {
				continue
			}
			problem.Clip = ode.Clipping{Max: .9}
			p, err := m.solver.Plan(problem)
			if err != nil {
				require.ErrorContains(t, err, "Problem.Clip thresholds data predictions", m.name)
				continue
			}
			heeded[m.name] = true
			require.Equal(t, p.NFE(), clips(p), m.name)
			require.Equal(t, plain.NFE(), p.NFE(), m.name)
			require.Zero(t, clips(plain), m.name)
		}
	}
	for _, name := range []string{"DDIM", "DDIM η = 1", "DPM++ 2M", "DPM++ 3S", "DPM++ 3M, lower final", "DPM++ 2S, fast", "UniPC-3", "O-BELM"} {
		require.True(t, heeded[name], name)
	}
	for name := range heeded {
		require.False(t, strings.HasPrefix(name, "DPM ") || strings.Contains(name, "noise") || strings.HasSuffix(name, "in σ/α"), "%s predicts noise", name)
	}
	_, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Steps: 3, Clip: ode.Clipping{Quantile: .9}})
	require.ErrorContains(t, err, "Problem.Clip clips to Max 0")
	_, err = ode.DDIM{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Velocity, From: 0, To: 1, Grid: ode.UniformTime{}, Steps: 3, Clip: ode.Clipping{Max: 1}})
	require.ErrorContains(t, err, "but Noise is wanted at t = 0")
}

// A run that ends on a data prediction ends inside the threshold; one so wide that nothing is clipped changes nothing.
func TestClipBoundsTheSample(t *testing.T) {
	for _, s := range []ode.Solver{ode.DDIM{}, ode.DPMpp{Order: 3}, ode.UniPC{}} {
		problem := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 9, AppendZero: true}
		sample := func(c ode.Clipping) []float64 {
			problem.Clip = c
			p := compile(t, s, problem)
			return slices.Clone(run(t, p, field(t, goldenMixture(t), p), 4, map[string][]float64{"x": latents}))
		}
		free, wide, narrow := sample(ode.Clipping{}), sample(ode.Clipping{Max: 1e9}), sample(ode.Clipping{Max: .9})
		require.InDeltaSlice(t, free, wide, 1e-12)
		require.Greater(t, slices.Max(free), 1.5)
		require.Equal(t, .9, slices.Max(narrow))
		for _, v := range sample(ode.Clipping{Max: .5, Quantile: .4}) {
			require.LessOrEqual(t, math.Abs(v), .5)
		}
	}
}

// The gradient of a run with clipping on the way, against differences: to the latent and to the knots. No data prediction is so near its
// threshold that a difference would cross it, else they would differ in the first digits.
func TestGradientThroughClipping(t *testing.T) {
	for _, c := range []ode.Clipping{{Max: 1.3}, {Max: .6, Quantile: .3}, {Max: .6, Quantile: 1}} {
		for _, s := range []ode.Solver{ode.DDIM{}, ode.DPMpp{}, ode.UniPC{}} {
			p := compile(t, s, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.8, .6, .4, .2}, Clip: c})
			f := field(t, goldenMixture(t), p)
			checkGradient(t, p, f)
		}
	}
}

// checkGradient holds the gradients to the latent and the knots to fourth-order differences.
func checkGradient(t *testing.T, p *ode.Plan, f ode.Differentiable[float64]) {
	t.Helper()
	cot := []float64{1, -.5, .3, .8, -1, .2, .6, -.4}
	loss := func(p *ode.Plan, x []float64) (sum float64) {
		for i, v := range run(t, p, f, 4, map[string][]float64{"x": x}) {
			sum += cot[i] * v
		}
		return sum
	}
	_, grad, _ := gradient(t, p, f, 4, map[string][]float64{"x": latents}, map[string][]float64{"x": cot}, nil)
	for i := range latents {
		want := difference(func(h float64) float64 { x := slices.Clone(latents); x[i] += h; return loss(p, x) })
		require.InDelta(t, want, grad["x"][i], 1e-9*(1+math.Abs(want)), "%s: latent %d", p.Name, i)
	}
	if _, ok := p.Param("knots"); ok {
		checkKnots(t, p, knotGradient(t, p, f, map[string][]float64{"x": latents}, cot), func(p *ode.Plan) float64 { return loss(p, latents) })
	}
}

// checkKnots holds a gradient to the knots to fourth-order differences of a loss.
func checkKnots(t *testing.T, p *ode.Plan, got []float64, loss func(p *ode.Plan) float64) {
	t.Helper()
	param, ok := p.Param("knots")
	require.True(t, ok)
	require.Len(t, got, len(param.Value))
	for i := range param.Value {
		want := difference(func(h float64) float64 {
			knots := slices.Clone(param.Value)
			knots[i] += h
			q, err := param.Rebuild(knots)
			require.NoError(t, err)
			return loss(q)
		})
		require.InDelta(t, want, got[i], 1e-8*(1+math.Abs(want)), "%s: knot %d", p.Name, i)
	}
}

// difference is a derivative at 0 of fourth order.
func difference(at func(h float64) float64) float64 {
	const h = 1e-4
	return (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
}

// Denoising at the end is the step to σ = 0, wherever a solver's own step there is of first order; and one more evaluation with others.
func TestDenoiseReturnsTheDataPrediction(t *testing.T) {
	knots := []float64{.9, .6, .4, .2, .1}
	for _, c := range []struct {
		s      ode.Schedule
		raw    ode.Prediction
		solver ode.Solver
		same   bool
	}{
		{ode.VPLinear{}, ode.Noise, ode.DDIM{}, true},
		{ode.VPLinear{}, ode.Velocity, ode.DPMpp{Order: 3}, true},
		{ode.VPLinear{}, ode.Data, ode.UniPC{}, false}, // it corrects a step that is not the last
		{ode.VPLinear{}, ode.Noise, ode.RK{}, true},
		{ode.EDM{}, ode.Denoiser, ode.DPM{Single: true}, true},
		{ode.Flow{}, ode.FlowVelocity, ode.RK{}, false}, // Heun goes on to t = 0
		{ode.Flow{}, ode.FlowVelocity, ode.FlowAB{}, false},
	} {
		p := compile(t, c.solver, ode.Problem{Schedule: c.s, Raw: c.raw, Knots: knots, Denoise: true})
		plain := compile(t, c.solver, ode.Problem{Schedule: c.s, Raw: c.raw, Knots: knots})
		require.Equal(t, plain.NFE()+1, p.NFE(), p.Name)
		require.Len(t, p.Knots, 6)
		require.Zero(t, p.Knots[5].T)
		f := field(t, goldenMixture(t), p)
		in := map[string][]float64{"x": latents}
		got := slices.Clone(run(t, p, f, 4, in))

		want, before, at := make([]float64, 8), run(t, plain, f, 4, in), c.s.At(.1)
		for i := range 4 {
			require.NoError(t, goldenMixture(t).Predict(want[2*i:2*i+2], before[2*i:2*i+2], at, ode.Data))
		}
		require.InDeltaSlice(t, want, got, 1e-12, "%s: the mean of the data given the state", p.Name)
		if c.same {
			zero := compile(t, c.solver, ode.Problem{Schedule: c.s, Raw: c.raw, Knots: append(slices.Clone(knots), 0)})
			require.InDeltaSlice(t, run(t, zero, f, 4, in), got, 1e-14, p.Name)
		}
		checkGradient(t, p, f)
	}
	for _, c := range []struct {
		want   string
		solver ode.Solver
		p      ode.Problem
	}{
		{"ends in [x partner", ode.BDIA{}, ode.Problem{Schedule: ode.VPLinear{}, Knots: knots}},
		{"goes up to t = 0.9", ode.DDIM{}, ode.Problem{Schedule: ode.VPLinear{}, From: .1, To: .9, Steps: 3}},
		{"must be positive and 0", ode.DDIM{}, ode.Problem{Schedule: ode.VPLinear{}, Steps: 3, AppendZero: true}},
	} {
		c.p.Denoise = true
		_, err := c.solver.Plan(c.p)
		require.ErrorContains(t, err, c.want)
	}
}

// A run that starts with single steps keeps its order; one that starts with lower orders falls to the second, which the start leaves.
func TestSingleStartKeepsTheOrder(t *testing.T) {
	s := ode.VPLinear{}
	path := mixturePath(t, s, latents)
	for _, c := range []struct {
		solver ode.Solver
		order  float64
		extra  int // evaluations of the start
	}{
		{ode.DPMpp{Order: 3, Correction: ode.Taylor}, 3, 4},
		{ode.DPM{Order: 3}, 3, 4},
		{ode.UniPC{Order: 2}, 3, 1},
		{ode.UniPC{Order: 3, Noise: true, NoCorrector: true}, 3, 4},
		{ode.LMS{Order: 3}, 3, 4},
		{ode.DEIS{Order: 4}, 4, 6},
	} {
		var errs []float64
		for _, n := range []int{160, 320} {
			p := compile(t, c.solver, ode.Problem{Schedule: s, Raw: ode.Noise, From: .5, To: .05, Steps: n, Grid: ode.LogSNR{}, SingleStart: true})
			require.Equal(t, n+c.extra, p.NFE(), p.Name)
			errs = append(errs, distance(last(p, path), run(t, p, field(t, goldenMixture(t), p), 4, map[string][]float64{"x": latents})))
		}
		order := math.Log2(errs[0] / errs[1])
		t.Logf("%v: %.2f", c.solver, order)
		require.Greater(t, order, c.order-.15, "%v", c.solver)
	}
	lower := func(n int) float64 {
		p := compile(t, ode.DPMpp{Order: 3, Correction: ode.Taylor}, ode.Problem{Schedule: s, Raw: ode.Noise, From: .5, To: .05, Steps: n, Grid: ode.LogSNR{}})
		return distance(last(p, path), run(t, p, field(t, goldenMixture(t), p), 4, map[string][]float64{"x": latents}))
	}
	require.Less(t, math.Log2(lower(160)/lower(320)), 2.6)

	// The first step from α = 0 has no history to be of higher order with: single steps come after it.
	p := compile(t, ode.DPMpp{}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 5, SingleStart: true})
	require.Equal(t, 6, p.NFE())
	p = compile(t, ode.UniPC{}, ode.Problem{Schedule: s, Raw: ode.Noise, Knots: []float64{.8, .6, .4, .2}, SingleStart: true})
	checkGradient(t, p, field(t, goldenMixture(t), p))

	for _, refused := range []ode.Solver{ode.DDIM{}, ode.RK{}, ode.DPMpp{Single: true}, ode.DPMpp{Order: 1}, ode.UniPC{Order: 1}, ode.BDIA{}} {
		_, err := refused.Plan(ode.Problem{Schedule: s, Raw: ode.Noise, Steps: 5, SingleStart: true})
		require.ErrorContains(t, err, "Problem.SingleStart is set", fmt.Sprint(refused))
	}
}

// The last two steps go through two predictions and through one, whatever the order was; what comes before them is left alone.
func TestLowerFinalLowersTheLastSteps(t *testing.T) {
	s := ode.VPLinear{}
	statistics := curved(s.At(.8).Lambda(), s.At(.05).Lambda(), 480)
	for _, solver := range []ode.Solver{
		ode.DPMpp{}, ode.DPMpp{Order: 3}, ode.DPM{Order: 3}, ode.UniPC{Order: 4, NoCorrector: true}, ode.DC{UniPC: ode.UniPC{Order: 3, NoCorrector: true}},
		ode.DPMv3{Statistics: statistics}, ode.DEIS{}, ode.LMS{}, ode.PNDM{}, ode.PNDM{Start: ode.SPNDM}, ode.PNDM{Start: ode.FPNDM}, ode.FlowAB{Order: 4},
		ode.DPMSDE{}, ode.DPMppSDE{Order: 3},
	} {
		p := ode.Problem{Schedule: s, Raw: ode.Noise, From: .8, To: .05, Steps: 8, Grid: ode.LogSNR{}}
		if _, flow := solver.(ode.FlowAB); flow {
			p.Schedule, p.Raw, p.Grid = ode.Flow{}, ode.FlowVelocity, nil
		}
		whole := compile(t, solver, p)
		p.LowerFinal = true
		low := compile(t, solver, p)
		name := fmt.Sprintf("%s, %T", low.Name, solver)
		require.Equal(t, whole.NFE(), low.NFE(), name)
		require.Equal(t, min(2, whole.Order), low.Order, name)
		// A step is of the state, the predictions and the noise.
		terms := func(p *ode.Plan, step int) int {
			end := p.Knots[step+1].Reg
			in := p.Code[slices.IndexFunc(p.Code, func(in ode.Instr) bool { return in.Dst == end })]
			return len(in.Terms) - min(1, low.Draws())
		}
		require.Equal(t, 2, terms(low, 7), name)
		require.Equal(t, 3, terms(low, 6), name)
		require.Greater(t, terms(whole, 7), 2, name)
		for step := range 5 {
			require.Equal(t, terms(whole, step), terms(low, step), name)
		}
	}
	for _, refused := range []ode.Solver{
		ode.DDIM{}, ode.RK{}, ode.BDIA{}, ode.DPMpp{Single: true}, ode.DPM{Fast: true}, ode.DPMpp{Order: 1}, ode.UniPC{Order: 1}, ode.DC{UniPC: ode.UniPC{Order: 1}},
		ode.DPMv3{Statistics: statistics, Order: 1}, ode.DEIS{Order: 1}, ode.LMS{Order: 1}, ode.PNDM{Order: 1}, ode.DPMppSDE{Order: 1}, ode.DPMppSDE{Single: true},
		ode.PredictorCorrector{}, usfOf(t, ode.DPMpp{}, 8),
	} {
		_, err := refused.Plan(ode.Problem{Schedule: s, Raw: ode.Noise, From: .8, To: .05, Steps: 8, LowerFinal: true})
		require.ErrorContains(t, err, "Problem.LowerFinal is set, but this solver has no order to lower", fmt.Sprint(refused))
	}
	low := compile(t, ode.DEIS{}, ode.Problem{Schedule: s, Raw: ode.Noise, From: .8, To: .05, Steps: 5, LowerFinal: true})
	checkGradient(t, low, field(t, goldenMixture(t), low))
}
