package ode_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// curves are statistics of two elements at n+1 points.
func curves(from, to float64, n int, at func(lambda float64, d int) (l, s, b float64)) (m ode.Statistics) {
	for i := range n + 1 {
		lambda := from + (to-from)*float64(i)/float64(n)
		l, s, b := make([]float64, 2), make([]float64, 2), make([]float64, 2)
		for d := range l {
			l[d], s[d], b[d] = at(lambda, d)
		}
		m.Lambda, m.L, m.S, m.B = append(m.Lambda, lambda), append(m.L, l), append(m.S, s), append(m.B, b)
	}
	return m
}

// constant turns the solver into one that predicts data, (1, 0), or noise, (0, −1).
func constant(from, to float64, n int, l, s float64) ode.Statistics {
	return curves(from, to, n, func(float64, int) (float64, float64, float64) { return l, s, 0 })
}

// curved are statistics of no model: the method is right with any.
func curved(from, to float64, n int) ode.Statistics {
	return curves(from, to, n, func(x float64, d int) (l, s, b float64) {
		return 1/(1+math.Exp(x)) + .1*float64(d), .5 - .4*math.Tanh(x), .3*math.Sin(x+float64(d)) + .2
	})
}

// between are the ends in λ of the knots where it is finite, made rising.
func between(s ode.Schedule, knots []ode.Knot) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, k := range knots {
		if l := s.At(k.T).Lambda(); !math.IsInf(l, 0) {
			lo, hi = min(lo, l), max(hi, l)
		}
	}
	return lo, hi
}

func v3Variants(m ode.Statistics) []ode.DPMv3 {
	return []ode.DPMv3{
		{Statistics: m, Order: 1}, {Statistics: m, Order: 2}, {Statistics: m}, {Statistics: m, Pseudo: true},
		{Statistics: m, Order: 1, PseudoCorrector: true}, {Statistics: m, Order: 2, Corrector: true}, {Statistics: m, Corrector: true},
		{Statistics: m, PseudoCorrector: true}, {Statistics: m, Pseudo: true, Corrector: true},
	}
}

func TestV3OfConstantStatistics(t *testing.T) {
	s := ode.VPLinear{}
	p := ode.Problem{Schedule: s, Raw: ode.Noise, From: .8, To: .05, Steps: 10, Grid: ode.LogSNR{}}
	lo, hi := s.At(.8).Lambda(), s.At(.05).Lambda()
	for _, c := range []struct {
		reason string
		l, s   float64
		order  int
		same   ode.Solver
	}{
		{"data, order 1", 1, 0, 1, ode.DDIM{}},
		{"noise, order 1", 0, -1, 1, ode.DDIM{}},
		{"data", 1, 0, 2, ode.DPMpp{Correction: ode.Taylor}},
		{"data, order 3", 1, 0, 3, ode.DPMpp{Order: 3, Correction: ode.Taylor}},
		{"noise, order 3", 0, -1, 3, ode.DPM{Order: 3, Correction: ode.Taylor}},
	} {
		want := compile(t, c.same, p)
		f := field(t, goldenMixture(t), want)
		x := slices.Clone(run(t, want, f, 4, map[string][]float64{"x": latents}))
		var errs []float64
		for _, n := range []int{1000, 2000} {
			got := compile(t, ode.DPMv3{Statistics: constant(lo, hi, n, c.l, c.s), Order: c.order}, p)
			errs = append(errs, distance(x, run(t, got, f, 4, map[string][]float64{"x": latents})))
		}
		// The trapezoidal rule is left, of second order in the distance h of the points: h²/12 = 1e-6 here, of which a run multiplies some.
		require.Less(t, errs[0], 1e-5, c.reason)
		require.InDelta(t, 4, errs[0]/errs[1], .1, c.reason)
	}
}

// A single Gaussian has f = −μ l + 0·x with l = σ²/(σ² + α²v), so that with b = f' − s f the affine model is all there is.
func TestV3SolvesAGaussianInOneStep(t *testing.T) {
	s, g := ode.VPLinear{}, gaussian()
	from, to := s.TimeOf(-3), s.TimeOf(2)
	for _, slope := range []float64{0, -.7} {
		m := curves(-3, 2, 4000, func(x float64, d int) (float64, float64, float64) {
			l := 1 / (1 + math.Exp(2*x)*g.Variance[d])
			return l, slope, g.Mean[d] * (2*l*(1-l) + slope*l)
		})
		p := compile(t, ode.DPMv3{Statistics: m, Order: 1}, ode.Problem{Schedule: s, Raw: ode.Noise, From: from, To: to, Steps: 1})
		want := make([]float64, len(latents))
		require.NoError(t, g.Flow(want, latents, s, from, to))
		require.Less(t, distance(want, run(t, p, field(t, g, p), 4, map[string][]float64{"x": latents})), 2e-6) // (5/4000)²/12 of the trapezoidal rule, times 10
		for i := range p.Code {
			for d := range p.Code[i].Bias {
				p.Code[i].Bias[d] *= 1.01
			}
		}
		require.Greater(t, distance(want, run(t, p, field(t, g, p), 4, map[string][]float64{"x": latents})), 1e-4, "the bias counts")
		ddim := compile(t, ode.DDIM{}, ode.Problem{Schedule: s, Raw: ode.Noise, From: from, To: to, Steps: 1})
		require.Greater(t, distance(want, run(t, ddim, field(t, g, ddim), 4, map[string][]float64{"x": latents})), .1)
	}
}

func TestV3Order(t *testing.T) {
	s := ode.VPLinear{}
	for _, c := range []struct{ from, to float64 }{{.5, .05}, {.05, .5}} {
		lo, hi := s.At(math.Max(c.from, c.to)).Lambda(), s.At(math.Min(c.from, c.to)).Lambda()
		m := curved(lo, hi, 6400)
		path := mixturePath(t, s, latents)
		for _, v := range v3Variants(m) {
			p := ode.Problem{Schedule: s, Raw: ode.Data, From: c.from, To: c.to, Grid: ode.LogSNR{}}
			plan := func(n int) *ode.Plan { p.Steps = n; return compile(t, v, p) }
			if c.from < c.to && v.Corrector { // settles later than this upwards
				continue
			}
			history := max(v.Order, 1) - 1
			if v.Order == 0 {
				history = 2
			}
			order := plan(8).Order
			got := slope(t, plan, goldenMixture(t), 80, history, path)
			t.Logf("%s from %v: order %d, measured %.2f", plan(8).Name, c.from, order, got)
			require.Greater(t, got, float64(order)-.15, plan(8).Name)
		}
	}
}

func TestV3SweepOverEndsPredictionsAndSchedules(t *testing.T) {
	mix := exact.Mixture{Weights: []float64{.4, .6}, Means: [][]float64{{1, 0}, {-.5, .8}}, Variances: []float64{.2, .1}}
	for name, s := range schedules(t) {
		for _, raw := range predictions {
			f, err := exact.NewField[float64](mix, s, raw)
			require.NoError(t, err)
			for _, zero := range []bool{false, true} {
				for n := 1; n <= 25; n++ {
					if testing.Short() && n > 4 && n < 25 {
						continue
					}
					p := ode.Problem{Schedule: s, Raw: raw, Steps: n, AppendZero: zero}
					if name == "Flow" && zero {
						p = ode.Problem{Schedule: s, Raw: raw, Steps: n, From: .98, To: 0}
					}
					knots, err := ode.DDIM{}.Plan(p)
					if err != nil { // noise and scores at α = 0
						_, err = ode.DPMv3{Statistics: curved(-1, 1, 10)}.Plan(p)
						require.Error(t, err)
						continue
					}
					lo, hi := between(s, knots.Knots)
					for k, v := range []ode.DPMv3{{}, {Corrector: true, Pseudo: true}, {Order: 2, PseudoCorrector: true}} {
						if k > 0 && n > 6 && n < 25 {
							continue
						}
						v.Statistics = curved(lo, hi, 400)
						what := fmt.Sprintf("%s, %v, %+v, %d steps, zero %t", name, raw, v.Order, n, zero)
						p.LowerFinal = k == 0
						plan, err := v.Plan(p)
						if lo >= hi { // nothing between the ends is left for statistics to be of
							require.Error(t, err, what)
							continue
						}
						require.NoError(t, err, what)
						require.Equal(t, n, plan.NFE(), what)
						sigma := s.At(plan.Knots[0].T).Sigma
						out, grad, evals := gradient(t, plan, f, 1, map[string][]float64{"x": {.6 * sigma, -sigma}}, map[string][]float64{"x": {1, .5}}, nil)
						require.Equal(t, n, evals, what)
						for _, x := range append(out["x"], grad["x"]...) {
							require.False(t, math.IsNaN(x) || math.IsInf(x, 0), what)
						}
					}
				}
			}
		}
	}
}

// One number of the code, wrong by a hundredth in every step, loses the order. A bias is of the size of the error itself: see the Gaussian.
func TestV3MutationsAreCaught(t *testing.T) {
	s := ode.VPLinear{}
	path := mixturePath(t, s, latents)
	m := curved(s.At(.5).Lambda(), s.At(.05).Lambda(), 2560)
	p := ode.Problem{Schedule: s, Raw: ode.Noise, From: .5, To: .05, Grid: ode.LogSNR{}}
	for _, v := range []ode.DPMv3{{Statistics: m}, {Statistics: m, Order: 2, Corrector: true}} {
		plan := func(n int) *ode.Plan { p.Steps = n; return compile(t, v, p) }
		for slot := range slots(plan(8)) {
			got := slope(t, func(n int) *ode.Plan { return mutated(plan(n), slot) }, goldenMixture(t), 320, 2, path)
			require.Less(t, got, float64(plan(8).Order)-.3, "slot %d", slot)
		}
	}
}

func TestV3MovesKnotsToItsPoints(t *testing.T) {
	s := ode.EDM{}
	m := curved(-2, 2, 8) // points at −2, −1.5, …
	knots := func(lambdas ...float64) (ks []float64) {
		for _, l := range lambdas {
			ks = append(ks, s.TimeOf(l))
		}
		return ks
	}
	p := compile(t, ode.DPMv3{Statistics: m, Order: 2}, ode.Problem{Schedule: s, Raw: ode.Data, Knots: knots(-2, -1.25, .25, .8, 2)})
	for i, want := range []float64{-2, -1, 0, 1, 2} { // −1.25 and 0.25 lie in the middle: points 2 and 4 are even
		require.InDelta(t, want, s.At(p.Knots[i].T).Lambda(), 1e-14)
	}
	_, ok := p.Param("knots")
	require.False(t, ok)
	require.False(t, p.Exact)

	zero := compile(t, ode.DPMv3{Statistics: m, Order: 1}, ode.Problem{Schedule: s, Raw: ode.Data, Knots: append(knots(-2, .8, 2), 0)})
	require.Zero(t, zero.Knots[3].T)
	r, err := ode.NewRunner[float64](zero, 4, 2, zero.Knots[2].Reg)
	require.NoError(t, err)
	require.NoError(t, r.Run(t.Context(), field(t, goldenMixture(t), zero), ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}}))
	want := make([]float64, 8)
	require.NoError(t, goldenMixture(t).Predict(want, r.Reg(zero.Knots[2].Reg), s.At(s.TimeOf(2)), ode.Data))
	require.Less(t, distance(want, r.Output("x")), 1e-13, "the step to σ = 0 is the data prediction")
}

// The release corrects in the other half of time than the paper says; both together are the corrector everywhere.
func TestV3HalfCorrector(t *testing.T) {
	s := ode.VPLinear{}
	p := ode.Problem{Schedule: s, Raw: ode.Noise, Knots: []float64{1, .8, .6, .4, .2, .1}}
	m := curved(s.At(1).Lambda(), s.At(.1).Lambda(), 4000)
	corrected := func(v ode.DPMv3) (times []float64) {
		v.Statistics, v.Order, v.PseudoCorrector = m, 2, true
		q := compile(t, v, p)
		for _, k := range q.Knots[1:5] {
			for _, in := range q.Code {
				if in.Op == ode.Evaluate && in.T == k.T && in.Src != k.Reg {
					times = append(times, math.Round(10*k.T)/10)
				}
			}
		}
		return times
	}
	require.Equal(t, []float64{.8, .6, .4, .2}, corrected(ode.DPMv3{}))
	require.Equal(t, []float64{.4, .2}, corrected(ode.DPMv3{Half: true}))
	require.Equal(t, []float64{.8, .6}, corrected(ode.DPMv3{Half: true, Published: true}))
}

func TestV3Refuses(t *testing.T) {
	s := ode.VPLinear{}
	p := ode.Problem{Schedule: s, Raw: ode.Noise, From: .8, To: .05, Steps: 10, Grid: ode.LogSNR{}}
	lo, hi := s.At(.8).Lambda(), s.At(.05).Lambda()
	good := func() ode.Statistics { return curved(lo, hi, 100) }
	broken := func(f func(m *ode.Statistics)) ode.DPMv3 { m := good(); f(&m); return ode.DPMv3{Statistics: m} }
	for _, c := range []struct {
		want   string
		solver ode.DPMv3
	}{
		{"use DPMpp", ode.DPMv3{}},
		{"Order is 4", ode.DPMv3{Statistics: good(), Order: 4}},
		{"Pseudo at Order 2", ode.DPMv3{Statistics: good(), Order: 2, Pseudo: true}},
		{"choose one", ode.DPMv3{Statistics: good(), Corrector: true, PseudoCorrector: true}},
		{"use PseudoCorrector", ode.DPMv3{Statistics: good(), Order: 1, Corrector: true}},
		{"Half without a corrector", ode.DPMv3{Statistics: good(), Half: true}},
		{"Published differs with Half", ode.DPMv3{Statistics: good(), Corrector: true, Published: true}},
		{"Lambda[50] is", broken(func(m *ode.Statistics) { m.Lambda[50] += 1e-3 })},
		{"must rise", broken(func(m *ode.Statistics) { slices.Reverse(m.Lambda) })},
		{"Statistics.S has 100 rows for 101", broken(func(m *ode.Statistics) { m.S = m.S[1:] })},
		{"Statistics.B[3] has 1 elements", broken(func(m *ode.Statistics) { m.B[3] = m.B[3][:1] })},
		{"Statistics.L[0] has 0 elements", broken(func(m *ode.Statistics) { m.L[0] = nil })},
		{"Statistics.L[7][1] is NaN", broken(func(m *ode.Statistics) { m.L[7][1] = math.NaN() })},
		{"the Statistics are for λ from", ode.DPMv3{Statistics: curved(lo, hi+.01, 100)}},
		{"the Statistics are for λ from", ode.DPMv3{Statistics: curved(lo+.01, hi, 100)}},
		{"both move to Statistics.Lambda", ode.DPMv3{Statistics: curved(lo, hi, 6)}},
		{"element factor +Inf", broken(func(m *ode.Statistics) { m.L[40][0] = -1e9 })},
	} {
		_, err := c.solver.Plan(p)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "DPM-Solver-v3(")
	}
	_, err := ode.DPMv3{Statistics: good()}.Plan(ode.Problem{Schedule: s, Knots: []float64{.8, .3, .05}, Grid: ode.LogSNR{}})
	require.ErrorContains(t, err, "Problem.Knots stands instead of Grid")
	_, err = ode.DPMv3{Statistics: good()}.Plan(ode.Problem{Schedule: s, Knots: []float64{.8, .9, .05}})
	require.ErrorContains(t, err, "strictly monotone")
	_, err = ode.DPMv3{Statistics: good()}.Plan(ode.Problem{})
	require.ErrorContains(t, err, "Schedule is nil")
}

// Options of the problem reach the solver through its moved knots.
func TestV3HeedsOptionsOfTheProblem(t *testing.T) {
	s := ode.VPLinear{}
	p := ode.Problem{Schedule: s, Raw: ode.Noise, From: .8, To: .1, Steps: 6, Grid: ode.LogSNR{}}
	m := curved(s.At(.8).Lambda(), s.At(.1).Lambda(), 600)
	sample := func(p ode.Problem) []float64 {
		plan := compile(t, ode.DPMv3{Statistics: m, Order: 2}, p)
		return slices.Clone(run(t, plan, field(t, goldenMixture(t), plan), 4, map[string][]float64{"x": latents}))
	}
	plain, denoised, scaled := p, p, p
	denoised.Denoise, scaled.Scale = true, ode.NoiseScale{First: 1.01}
	x := sample(plain)
	want := make([]float64, len(x))
	for i := range 4 {
		require.NoError(t, goldenMixture(t).Predict(want[2*i:2*i+2], x[2*i:2*i+2], s.At(.1), ode.Data))
	}
	require.InDeltaSlice(t, want, sample(denoised), 1e-12)
	require.Greater(t, distance(x, sample(scaled)), 1e-3)
	for _, c := range []struct {
		want string
		set  func(*ode.Problem)
	}{
		{"Problem.SingleStart is set", func(p *ode.Problem) { p.SingleStart = true }},
		{"Problem.Clip thresholds data predictions", func(p *ode.Problem) { p.Clip = ode.Clipping{Max: 1} }},
		{"History is 2, and then the state at the first knot", func(p *ode.Problem) { p.History = 2 }},
	} {
		q := p
		c.set(&q)
		_, err := ode.DPMv3{Statistics: m, Order: 2}.Plan(q)
		require.ErrorContains(t, err, c.want)
	}
}

// Every other knot of 16 steps on 120 intervals is halfway between two points. Rounding may not decide which one it is: it is the even one.
func TestKnotsHalfwayGoToTheEvenPoint(t *testing.T) {
	s := ode.VPLinear{}
	for _, from := range []float64{.8, .83, .91, .97} {
		p := ode.Problem{Schedule: s, Raw: ode.Noise, From: from, To: .1, Steps: 16, Grid: ode.LogSNR{}}
		lo, hi := s.At(from).Lambda(), s.At(.1).Lambda()
		plan := compile(t, ode.DPMv3{Statistics: curved(lo, hi, 120), Order: 2}, p)
		for i, k := range plan.Knots {
			at := s.At(k.T).Lambda()
			require.InDelta(t, math.RoundToEven(7.5*float64(i)), 120*(at-lo)/(hi-lo), 1e-6, "knot %d from %v", i, from)
		}
	}
}
