package ode_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// sampler is what the loops below are written with: a denoiser, and noise that a plan is given too.
type sampler struct {
	t      *testing.T
	x      []float64
	sigmas []float64
	noise  ode.Given[float64]
	drawn  int
	field  ode.Field[float64]
}

func newSampler(t *testing.T) *sampler {
	s := &sampler{t: t, sigmas: []float64{6, 3.5, 2, 1, .5, .3, 0}}
	for _, v := range latents {
		s.x = append(s.x, 6*v)
	}
	for k := range 12 {
		z := make([]float64, len(latents))
		require.NoError(t, ode.Seed[float64]{Key: 3}.Draw(z, ode.DrawCall{Index: k, Batch: 4}))
		s.noise = append(s.noise, z)
	}
	s.field = field(t, goldenMixture(t), &ode.Plan{Schedule: ode.EDM{}, Raw: ode.Denoiser})
	return s
}

func (s *sampler) denoise(x []float64, sigma float64) []float64 {
	y := make([]float64, len(x))
	require.NoError(s.t, s.field.Eval(y, x, ode.Call[float64]{Batch: 4, T: []float64{sigma}}))
	return y
}

func (s *sampler) draw() []float64 { s.drawn++; return s.noise[s.drawn-1] }

// slope is (x − D)/σ.
func (s *sampler) slope(x []float64, sigma float64) []float64 {
	return plus(plus(make([]float64, len(x)), 1/sigma, x), -1/sigma, s.denoise(x, sigma))
}

// agrees runs a solver at the same noise.
func (s *sampler) agrees(solver ode.Solver, want []float64) {
	s.t.Helper()
	p := compile(s.t, solver, ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Knots: s.sigmas})
	require.Equal(s.t, s.drawn, p.Draws(), p.Name)
	x := make([]float64, len(s.x))
	for i, v := range latents {
		x[i] = 6 * v
	}
	r, err := ode.NewRunner[float64](p, 4, 2)
	require.NoError(s.t, err)
	require.NoError(s.t, r.Run(s.t.Context(), s.field, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: s.noise[:s.drawn]}))
	require.Less(s.t, distance(want, r.Output("x")), 1e-13, p.Name)
}

// Algorithm 2 of Karras et al., line by line.
func TestChurnRKIsTheStochasticSampler(t *testing.T) {
	s := newSampler(t)
	x := s.x
	for i := range 6 {
		from, to := s.sigmas[i], s.sigmas[i+1]
		gamma := 0.
		if from >= .4 && from <= 4 {
			gamma = math.Min(2.1/6, math.Sqrt2-1)
		}
		hat := from + gamma*from
		if gamma > 0 {
			x = plus(x, math.Sqrt(hat*hat-from*from)*1.01, s.draw())
		}
		d := s.slope(x, hat)
		next := plus(x, to-hat, d)
		if to > 0 {
			next = plus(plus(x, (to-hat)/2, d), (to-hat)/2, s.slope(next, to))
		}
		x = next
	}
	require.Equal(t, 4, s.drawn)
	s.agrees(ode.ChurnRK{Churn: 2.1, Min: .4, Max: 4, Noise: 1.01}, x)
}

func TestChurnIsBounded(t *testing.T) {
	p := ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Knots: []float64{6, 3, 1}}
	require.Equal(t, compile(t, ode.ChurnRK{Churn: 1e3}, p).Table(), compile(t, ode.ChurnRK{Churn: 2}, p).Table(), "at √2 − 1")
	require.Equal(t, compile(t, ode.RK{}, p).Table(), compile(t, ode.ChurnRK{}, p).Table(), "none: RK")
	require.True(t, compile(t, ode.ChurnRK{Churn: .5}, p).Exact)
	require.False(t, compile(t, ode.ChurnRK{Churn: .5, Noise: 1.003}, p).Exact)
}

// The ancestral samplers as released, at η = 0.7.
func TestAncestralIsAsReleased(t *testing.T) {
	const eta = .7
	split := func(from, to float64) (down, up float64) {
		up = math.Min(to, eta*math.Sqrt(to*to*(from*from-to*to)/(from*from)))
		return math.Sqrt(to*to - up*up), up
	}
	for _, noise := range []bool{false, true} {
		s := newSampler(t)
		x := s.x
		for i := range 6 {
			from, to := s.sigmas[i], s.sigmas[i+1]
			down, up := split(from, to)
			if to == 0 {
				x = plus(x, -from, s.slope(x, from))
				continue
			}
			mid := math.Sqrt(from * down)
			if noise {
				x2 := plus(x, mid-from, s.slope(x, from))
				x = plus(x, down-from, s.slope(x2, mid))
			} else {
				x2 := plus(plus(make([]float64, len(x)), mid/from, x), 1-mid/from, s.denoise(x, from))
				x = plus(plus(make([]float64, len(x)), down/from, x), 1-down/from, s.denoise(x2, mid))
			}
			x = plus(x, up, s.draw())
		}
		s.agrees(ode.Ancestral{Eta: eta, Noise: noise}, x)
	}
	s := newSampler(t)
	x := s.x
	for i := range 6 {
		down, up := split(s.sigmas[i], s.sigmas[i+1])
		x = plus(x, down-s.sigmas[i], s.slope(x, s.sigmas[i]))
		if s.sigmas[i+1] > 0 {
			x = plus(x, up, s.draw())
		}
	}
	s.agrees(ode.DDIM{Eta: eta}, x) // Euler ancestral
}

// The multistep SDE samplers as released, with noise.
func TestMultistepSDEIsAsReleased(t *testing.T) {
	const eta = .8
	for _, c := range []struct {
		solver ode.DPMppSDE
		third  bool
	}{
		{ode.DPMppSDE{Eta: eta}, false},
		{ode.DPMppSDE{Eta: eta, Correction: ode.Taylor}, false},
		{ode.DPMppSDE{Eta: eta, Order: 3, Correction: ode.Taylor, Published: true}, true},
	} {
		s := newSampler(t)
		x := s.x
		zero := make([]float64, len(x))
		var d1, d2 []float64
		var h1, h2 float64
		for i := range 6 {
			from, to := s.sigmas[i], s.sigmas[i+1]
			d := s.denoise(x, from)
			if to == 0 {
				x = d
				continue
			}
			h := math.Log(from / to)
			he := h * (1 + eta)
			phi2 := math.Expm1(-he)/he + 1
			x = plus(plus(zero, math.Exp(-he), x), -math.Expm1(-he), d)
			switch {
			case i == 0:
			case c.third && i >= 2:
				r0, r1 := h1/h, h2/h
				d10, d11 := plus(plus(zero, 1/r0, d), -1/r0, d1), plus(plus(zero, 1/r1, d1), -1/r1, d2)
				curve := plus(plus(zero, 1/(r0+r1), d10), -1/(r0+r1), d11)
				x = plus(plus(x, phi2, plus(d10, r0, curve)), -(phi2/he - .5), curve)
			case c.solver.Correction == ode.Taylor:
				x = plus(plus(x, phi2*h/h1, d), -phi2*h/h1, d1)
			default:
				w := -.5 * math.Expm1(-he) * h / h1
				x = plus(plus(x, w, d), -w, d1)
			}
			x = plus(x, to*math.Sqrt(-math.Expm1(-2*h*eta)), s.draw())
			d1, d2, h1, h2 = d, d1, h, h1
		}
		s.agrees(c.solver, x)
	}
}

// At η = 1 the first-order SDE step of data prediction is ancestral sampling; as η tends to 0 all become solvers of the ODE.
func TestStochasticSolversHaveTheirLimits(t *testing.T) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Data, Steps: 8, AppendZero: true}
	require.InDeltaSlice(t, compile(t, ode.DDIM{Eta: 1}, p).Table(), compile(t, ode.DPMppSDE{Order: 1}, p).Table(), 1e-13)

	const eta = 1e-18 // noise of √(2ηh) ≈ 1e-9
	for _, c := range []struct{ sde, ode ode.Solver }{
		{ode.DPMppSDE{Eta: eta}, ode.DPMpp{}},
		{ode.DPMppSDE{Eta: eta, Correction: ode.Taylor}, ode.DPMpp{Correction: ode.Taylor}},
		{ode.DPMppSDE{Eta: eta, Order: 3}, ode.DPMpp{Order: 3}},
		{ode.DPMppSDE{Eta: eta, Single: true}, ode.DPMpp{Single: true}},
		{ode.DPMSDE{Eta: eta}, ode.DPM{}},
		{ode.DPMSDE{Eta: eta, Correction: ode.Taylor}, ode.DPM{Correction: ode.Taylor}},
		{ode.Ancestral{Eta: 1e-12}, ode.DPMpp{Single: true}},
		{ode.Ancestral{Eta: 1e-12, Noise: true}, ode.DPM{Single: true}},
	} {
		a, b := compile(t, c.sde, p), compile(t, c.ode, p)
		f := field(t, goldenMixture(t), a)
		x, y := run(t, a, f, 4, map[string][]float64{"x": latents}), run(t, b, f, 4, map[string][]float64{"x": latents})
		require.Less(t, distance(y, x), 1e-12, a.Name)
	}
}

// The loop of the reverse SDE as it is written down for β(t): dx = −½β x dt − β ∇log p dt + √β dW on the variance-preserving schedule.
func TestEulerMaruyamaIsThePlainLoop(t *testing.T) {
	const beta0, beta1, steps = .1, 20., 7
	p := compile(t, ode.EulerMaruyama{}, ode.Problem{Schedule: ode.VPLinear{Beta0: beta0, Beta1: beta1}, Raw: ode.Score, From: .9, To: .2, Grid: ode.UniformTime{}, Steps: steps})
	require.Equal(t, steps, p.Draws())
	s := newSampler(t)
	f := field(t, goldenMixture(t), p)
	x, score := slices.Clone(latents), make([]float64, len(latents))
	for i := range steps {
		at := .9 - .1*float64(i)
		beta := beta0 + (beta1-beta0)*at
		require.NoError(t, f.Eval(score, x, ode.Call[float64]{Batch: 4, T: []float64{at}}))
		z := s.draw()
		for k := range x {
			x[k] += .1*(beta*x[k]/2+beta*score[k]) + math.Sqrt(.1*beta)*z[k]
		}
	}
	r, err := ode.NewRunner[float64](p, 4, 2)
	require.NoError(t, err)
	require.NoError(t, r.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}, Noise: s.noise[:steps]}))
	require.Less(t, distance(x, r.Output("x")), 1e-12)

	euler := compile(t, ode.RK{Tableau: ode.Euler(), In: ode.Time}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: .9, To: .2, Steps: steps})
	still := compile(t, ode.EulerMaruyama{Eta: 1e-18}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: .9, To: .2, Steps: steps})
	f = field(t, goldenMixture(t), euler)
	in := map[string][]float64{"x": latents}
	require.Less(t, distance(slices.Clone(run(t, euler, f, 4, in)), run(t, still, f, 4, in)), 1e-12, "as η tends to 0 it is Euler's method")
}

// The noise of a step with a point inside is one path: its two parts have the variance of the whole, and the part that the point sees
// has faded as the state has. The knot check sees the variance; this is the fading.
func TestInnerNoiseIsPartOfTheWhole(t *testing.T) {
	s := ode.VPLinear{}
	for _, eta := range []float64{.5, 1, 2} {
		p := compile(t, ode.DPMppSDE{Single: true, Eta: eta}, ode.Problem{Schedule: s, Raw: ode.Data, Knots: []float64{.6, .3}})
		terms := func(i int) []ode.Term { return p.Code[i].Terms }
		n := len(p.Code)
		var first int // the state at the point inside
		for i, in := range p.Code {
			if in.Op == ode.Evaluate {
				first = i - 1
			}
		}
		drawn, whole := terms(first)[2].C, terms(n-1)
		mid, end := s.At(p.Code[first+1].T), s.At(.3)
		require.InEpsilon(t, math.Exp(-eta*(end.Lambda()-mid.Lambda()))*end.Sigma/mid.Sigma, whole[3].C/drawn, 1e-12)
		h := end.Lambda() - s.At(.6).Lambda()
		require.InEpsilon(t, -end.Sigma*end.Sigma*math.Expm1(-2*eta*h), whole[3].C*whole[3].C+whole[4].C*whole[4].C, 1e-12)
	}
}

func TestStochasticSolversRefuse(t *testing.T) {
	vp := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Data, Steps: 3}
	up := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Data, From: .1, To: .9, Steps: 3}
	for _, c := range []struct {
		solver ode.Solver
		p      ode.Problem
		want   string
	}{
		{ode.ChurnRK{Churn: -1}, vp, "none may be negative"},
		{ode.ChurnRK{Max: 3}, vp, "without Churn the others are of no use"},
		{ode.ChurnRK{Churn: 1}, vp, "above those of the schedule; start lower, or set Max below it"},
		{ode.ChurnRK{Churn: 1, Max: 3}, up, "only Churn 0 inverts"},
		{ode.ChurnRK{Tableau: ode.Tableau{B: []float64{1}}}, vp, "tableau"},
		{ode.Ancestral{Eta: 1.5}, vp, "Eta is 1.5"},
		{ode.Ancestral{Eta: math.NaN()}, vp, "Eta is NaN"},
		{ode.Ancestral{}, up, "away from data"},
		{ode.DPMppSDE{Eta: -1}, vp, "Eta is -1"},
		{ode.DPMppSDE{Eta: math.Inf(1)}, vp, "Eta is +Inf"},
		{ode.DPMppSDE{}, up, "away from data"},
		{ode.DPMppSDE{Order: 4}, vp, "Order is 4"},
		{ode.DPMppSDE{Order: 3, Single: true}, vp, "Single at Order 3"},
		{ode.DPMppSDE{Order: 1, Correction: ode.Taylor}, vp, "nothing to correct"},
		{ode.DPMppSDE{Published: true}, vp, "Published differs"},
		{ode.DPMSDE{Order: 3}, vp, "DPMppSDE goes to 3"},
		{ode.DPMSDE{Eta: -1}, vp, "Eta is -1"},
		{ode.EulerMaruyama{Eta: -1}, vp, "Eta is -1"},
		{ode.EulerMaruyama{Eta: math.Inf(1)}, vp, "Eta is +Inf"},
		{ode.EulerMaruyama{}, up, "away from data"},
	} {
		_, err := c.solver.Plan(c.p)
		require.ErrorContains(t, err, c.want)
	}
}
