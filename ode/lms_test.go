package ode_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// power is a network that predicts clock^k whatever the state.
type power struct {
	s     ode.Schedule
	clock func(ode.Point) float64
	k     int
}

func (p power) Eval(dst, _ []float64, c ode.Call[float64]) error {
	for i := range dst {
		dst[i] = math.Pow(p.clock(p.s.At(c.T[0])), float64(p.k))
	}
	return nil
}

// simpson is ∫_a^b f with 6000 intervals.
func simpson(f func(float64) float64, a, b float64) (sum float64) {
	const n = 6000
	for i := range n + 1 {
		w := 2 + 2*float64(i%2)
		if i == 0 || i == n {
			w = 1
		}
		sum += w * f(a+(b-a)*float64(i)/n)
	}
	return sum * (b - a) / (3 * n)
}

// bumped is a model that is not Gaussian and has a flow in closed form.
func bumped() exact.Bumped {
	return exact.Bumped{Gaussian: exact.Gaussian{Mean: []float64{.7, -1.2}, Variance: []float64{.3}}, Amplitude: .4, Frequency: 1.5}
}

func ratio(p ode.Point) float64 { return p.Sigma / p.Alpha }

// Multistep methods on a polynomial in another quantity than λ are exact for degrees below their order, and for no more, whatever the
// steps and in both directions.
func TestAdamsMethodsIntegratePolynomials(t *testing.T) {
	time := func(p ode.Point) float64 { return p.T }
	for _, c := range []struct {
		make  func(order int) ode.Solver
		s     ode.Schedule
		raw   ode.Prediction
		clock func(ode.Point) float64
	}{
		{func(o int) ode.Solver { return ode.LMS{Order: o} }, ode.VPLinear{}, ode.Noise, ratio},
		{func(o int) ode.Solver { return ode.LMS{Order: o} }, ode.EDM{}, ode.Noise, ratio},
		{func(o int) ode.Solver { return ode.DEIS{Order: o} }, ode.VPLinear{}, ode.Noise, time},
		{func(o int) ode.Solver { return ode.DEIS{Order: o} }, ode.VPCosine{}, ode.Noise, time},
		{func(o int) ode.Solver { return ode.FlowAB{Order: o} }, ode.Flow{}, ode.FlowVelocity, time},
	} {
		for i := range 8 {
			order, up := 1+i%4, i > 3
			knots := slices.Clone([]float64{.9, .8, .55, .5, .3}[4-order:]) // as many steps as there are orders
			if up {
				slices.Reverse(knots)
			}
			p := startExactly(compile(t, c.make(order), ode.Problem{Schedule: c.s, Raw: c.raw, Knots: knots}), order-1)
			for k := range order + 1 {
				f := power{c.s, c.clock, k}
				exactly := func(times []float64) (xs [][]float64) {
					a := c.s.At(times[0])
					for _, at := range times {
						b := c.s.At(at)
						x := 1 + (math.Pow(b.T, float64(k+1))-math.Pow(a.T, float64(k+1)))/float64(k+1)
						if c.raw == ode.Noise { // ∫ ε dρ = −∫ ε e^{−λ} dλ
							x = b.Alpha * (1/a.Alpha - simpson(func(l float64) float64 {
								return math.Pow(c.clock(c.s.At(c.s.TimeOf(l))), float64(k)) * math.Exp(-l)
							}, a.Lambda(), b.Lambda()))
						}
						xs = append(xs, []float64{x})
					}
					return xs
				}
				got := distance(last(p, exactly), run(t, p, f, 1, states(p, order-1, exactly)))
				if k < order {
					require.Less(t, got, 1e-12, "%s on %T at degree %d", p.Name, c.s, k)
				} else {
					require.Greater(t, got, 1e-5, "%s on %T at degree %d", p.Name, c.s, k)
				}
			}
		}
	}
}

// The quadrature of DEIS is right in the longest steps there are.
func TestDEISQuadratureInLongSteps(t *testing.T) {
	s := ode.VPLinear{}
	knots := []float64{1, .5, 1e-3}
	p := startExactly(compile(t, ode.DEIS{Order: 2}, ode.Problem{Schedule: s, Raw: ode.Noise, Knots: knots}), 1)
	terms := p.Code[len(p.Code)-1].Terms
	a, b := s.At(.5), s.At(1e-3)
	want := -b.Alpha * simpson(func(l float64) float64 { return (s.TimeOf(l) - 1) / (.5 - 1) * math.Exp(-l) }, a.Lambda(), b.Lambda())
	require.InEpsilon(t, want, terms[1].C, 1e-10) // what Simpson's rule is worth
}

func TestFirstOrdersOfFamiliesAreDDIM(t *testing.T) {
	for name, s := range schedules(t) {
		p := ode.Problem{Schedule: s, Raw: ode.Velocity, Steps: 7}
		want := compile(t, ode.DDIM{}, p)
		for _, solver := range []ode.Solver{ode.LMS{Order: 1}, ode.DEIS{Order: 1}, ode.PNDM{Order: 1}, ode.ChurnRK{Tableau: ode.Euler()}, ode.BDIA{Gamma: 1e-13}} {
			got := compile(t, solver, p)
			f := field(t, goldenMixture(t), want)
			x, y := run(t, want, f, 4, map[string][]float64{"x": latents}), run(t, got, f, 4, map[string][]float64{"x": latents})
			require.Less(t, distance(x, y), 1e-10, "%s on %s", got.Name, name) // ε from v at α = 7e-3 and σ/α from 80 cost digits
		}
	}
	p := ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 7}
	require.InDeltaSlice(t, compile(t, ode.RK{Tableau: ode.Euler()}, p).Table(), compile(t, ode.FlowAB{Order: 1}, p).Table(), 1e-15)
}

// On EDM the velocity is ε̂ and time is σ: LMS is FlowAB's formula with other knots.
func TestLMSAndFlowABAreOneFormula(t *testing.T) {
	knots := []float64{.9, .7, .6, .3, .2}
	for order := 1; order <= 4; order++ {
		a := compile(t, ode.LMS{Order: order}, ode.Problem{Schedule: ode.EDM{}, Raw: ode.Noise, Knots: knots})
		b := compile(t, ode.FlowAB{Order: order}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Knots: knots})
		require.InDeltaSlice(t, a.Table(), b.Table(), 1e-14)
	}
}

func TestFlowABConvergesOverTheWholeOfAFlow(t *testing.T) {
	m := bumped()
	path := flowPath(t, m, ode.Flow{}, latents)
	for order := 1; order <= 4; order++ {
		// from pure noise to data: both ends are steps like the others
		p := ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity}
		plan := func(n int) *ode.Plan { p.Steps = n; return compile(t, ode.FlowAB{Order: order}, p) }
		got := slope(t, plan, m, 160, order-1, path)
		t.Logf("order %d: %.2f", order, got)
		require.Greater(t, got, float64(order)-.15)
	}
}

func TestTableauxOfDEIS(t *testing.T) {
	m, s := bumped(), ode.VPLinear{}
	for _, b := range []ode.Tableau{ode.Ralston3(), ode.Heun3(), ode.VanDerHouwen3(), ode.SSPRK3()} {
		p := ode.Problem{Schedule: s, Raw: ode.Noise, From: .5, To: .05, Grid: ode.LogSNR{}}
		plan := func(n int) *ode.Plan { p.Steps = n; return compile(t, ode.RK{Tableau: b, In: ode.Ratio}, p) }
		got := slope(t, plan, m, 40, 0, flowPath(t, m, s, latents))
		t.Logf("%s: %.2f", b.Name, got)
		require.Greater(t, got, 2.85, b.Name)
		var second, third, nested float64 // the conditions of order 3
		for i, w := range b.B {
			second, third = second+w*b.C[i], third+w*b.C[i]*b.C[i]
			for j, a := range b.A[i] {
				nested += w * a * b.C[j]
			}
		}
		require.InDeltaSlice(t, []float64{1. / 2, 1. / 3, 1. / 6}, []float64{second, third, nested}, 1e-15, b.Name)
	}
}

// Published keeps its order to σ = 0; LMS by itself ends on the data prediction.
func TestLMSAtZero(t *testing.T) {
	p := ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Knots: []float64{4, 2, 1, .5, 0}}
	terms := func(s ode.Solver) int {
		plan := compile(t, s, p)
		return len(plan.Code[len(plan.Code)-1].Terms)
	}
	require.Equal(t, 2, terms(ode.LMS{}))
	require.Equal(t, 5, terms(ode.LMS{Published: true}))
}

// Without history the F-PNDM step is the classical Runge–Kutta method but for its transfer; what it keeps is the first of the four.
func TestStartsOfPNDM(t *testing.T) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: .9, To: .1, Steps: 6, Grid: ode.UniformTime{}}
	evals := func(s ode.Solver) (perStep [6]int) {
		for _, in := range compile(t, s, p).Code {
			if in.Op == ode.Evaluate {
				perStep[in.Step]++
			}
		}
		return perStep
	}
	require.Equal(t, [6]int{1, 1, 1, 1, 1, 1}, evals(ode.PNDM{}))
	require.Equal(t, [6]int{2, 1, 1, 1, 1, 1}, evals(ode.PNDM{Order: 2, Start: ode.SPNDM}))
	require.Equal(t, [6]int{2, 1, 1, 1, 1, 1}, evals(ode.PNDM{Start: ode.SPNDM}))
	require.Equal(t, [6]int{4, 4, 4, 1, 1, 1}, evals(ode.PNDM{Start: ode.FPNDM}))
	require.Equal(t, [6]int{4, 1, 1, 1, 1, 1}, evals(ode.PNDM{Order: 2, Start: ode.FPNDM}))
}

func TestAdamsMethodsRefuse(t *testing.T) {
	vp, flow := ode.Problem{Schedule: ode.VPLinear{}, Steps: 3}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.Noise, Steps: 3}
	for _, c := range []struct {
		solver ode.Solver
		p      ode.Problem
		want   string
	}{
		{ode.LMS{Order: 5}, vp, "Order is 5; 1 to 4 exist"},
		{ode.DEIS{Order: -1}, vp, "Order is -1; 1 to 4 exist"},
		{ode.PNDM{Order: 7}, vp, "Order is 7; 1 to 4 exist"},
		{ode.PNDM{Start: 3}, vp, "Start is 3"},
		{ode.PNDM{Order: 1, Start: ode.FPNDM}, vp, "from Order 2 on"},
		{ode.FlowAB{Order: 9}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 3}, "Order is 9"},
		{ode.FlowAB{}, vp, "FlowAB is for Flow, DEIS and LMS are for all"},
		{ode.LMS{}, flow, "Noise does not determine"},
		{ode.DEIS{}, flow, "Noise does not determine"},
		{ode.FlowAB{}, flow, "Noise does not determine"},
	} {
		_, err := c.solver.Plan(c.p)
		require.ErrorContains(t, err, c.want)
	}
}
