package ode_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

func knots(t *testing.T, g ode.Grid, s ode.Schedule, from, to float64, n int) []float64 {
	t.Helper()
	ks, err := g.Knots(s, from, to, n)
	require.NoError(t, err)
	return ks
}

func TestGridsAreMonotoneAndEndWhereTheyAreTold(t *testing.T) {
	for name, s := range schedules(t) {
		lo, hi := s.Range()
		lo, hi = math.Max(lo, 1e-3), math.Min(hi, .999*hi)
		for _, g := range []ode.Grid{ode.LogSNR{}, ode.UniformTime{}, ode.QuadraticTime{}, ode.Karras{}, ode.Karras{Rho: 3}} {
			for _, n := range []int{1, 2, 3, 10, 97} {
				down, up := knots(t, g, s, hi, lo, n), knots(t, g, s, lo, hi, n)
				require.Len(t, down, n+1)
				require.Equal(t, [2]float64{hi, lo}, [2]float64{down[0], down[n]}, "%s %T", name, g)
				for i := range n {
					require.Less(t, down[i+1], down[i], "%s %T n = %d", name, g, n)
				}
				slices.Reverse(up)
				require.InDeltaSlice(t, down, up, 1e-12*hi, "%s %T: up and down", name, g)
			}
		}
	}
}

func TestGridsAreWhatTheirNamesSay(t *testing.T) {
	s, n := ode.VPLinear{}, 10
	lambda := func(at float64) float64 { return s.At(at).Lambda() }
	for _, c := range []struct {
		grid ode.Grid
		of   func(float64) float64 // is uniform
	}{
		{ode.LogSNR{}, lambda},
		{ode.UniformTime{}, func(at float64) float64 { return at }},
		{ode.QuadraticTime{}, math.Sqrt},
		{ode.Karras{}, func(at float64) float64 { return math.Exp(-lambda(at) / 7) }},
		{ode.Karras{Rho: 2}, func(at float64) float64 { return math.Exp(-lambda(at) / 2) }},
	} {
		ks := knots(t, c.grid, s, 1, .01, n)
		for i, k := range ks {
			want := c.of(1) + float64(i)/float64(n)*(c.of(.01)-c.of(1))
			require.InDelta(t, want, c.of(k), 1e-12, "%T knot %d", c.grid, i)
		}
	}
}

// The noise levels of EDM: n values by the formula of the paper, then 0.
func TestAppendZeroMakesTheLevelsOfEDM(t *testing.T) {
	p, err := ode.RK{}.Plan(ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Grid: ode.Karras{}, Steps: 18, AppendZero: true})
	require.NoError(t, err)
	require.Len(t, p.Knots, 19)
	for i, k := range p.Knots[:18] {
		want := math.Pow(math.Pow(80, 1./7)+float64(i)/17*(math.Pow(.002, 1./7)-math.Pow(80, 1./7)), 7)
		require.InEpsilon(t, want, k.T, 1e-12)
	}
	require.Zero(t, p.Knots[18].T)
	require.Equal(t, 35, p.NFE())

	up, err := ode.RK{}.Plan(ode.Problem{Schedule: ode.EDM{}, Raw: ode.Noise, From: .002, To: 80, Grid: ode.Karras{}, Steps: 18, AppendZero: true})
	require.NoError(t, err)
	require.Zero(t, up.Knots[0].T)
	require.Equal(t, 80., up.Knots[18].T)

	for _, from := range []float64{80, .002} {
		one, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.EDM{}, Raw: ode.Noise, From: from, To: 80.002 - from, Steps: 1, AppendZero: true})
		require.NoError(t, err)
		ends := []float64{one.Knots[0].T, one.Knots[1].T}
		slices.Sort(ends)
		require.Equal(t, []float64{0, 80}, ends, "the one step goes between noise and zero")
	}
}

func TestBadProblemsAreRefused(t *testing.T) {
	vp := func(p ode.Problem) ode.Problem { p.Schedule = ode.VPLinear{}; return p }
	for _, c := range []struct {
		reason, want string
		p            ode.Problem
	}{
		{"no schedule", "Schedule is nil", ode.Problem{Steps: 3}},
		{"no steps", "Steps is 0", vp(ode.Problem{})},
		{"negative steps", "Steps is -1", vp(ode.Problem{Steps: -1})},
		{"no such prediction", "Prediction(6)", vp(ode.Problem{Steps: 1, Raw: 6})},
		{"repeated knot: a step of length zero", "knot 2 = 0.5 does not follow knot 1 = 0.5", vp(ode.Problem{Knots: []float64{1, .5, .5}})},
		{"turning back", "knot 3 = 0.3 does not follow knot 2 = 0.2", vp(ode.Problem{Knots: []float64{1, .5, .2, .3}})},
		{"not a number", "knot 1 is NaN", vp(ode.Problem{Knots: []float64{1, math.NaN(), 0}})},
		{"infinite", "knot 0 is +Inf", ode.Problem{Schedule: ode.EDM{}, Knots: []float64{math.Inf(1), 1}}},
		{"past the end", "knot 0 = 1.5 is outside of the domain [0, 1]", vp(ode.Problem{Knots: []float64{1.5, 1}})},
		{"before the start", "knot 1 = -0.1 is outside", vp(ode.Problem{From: 1, To: -.1, Steps: 2})},
		{"one knot", "at least 2", vp(ode.Problem{Knots: []float64{1}})},
		{"from is to", "does not follow", vp(ode.Problem{From: .5, To: .5, Steps: 2})},
		{"knots and steps", "leave them zero", vp(ode.Problem{Knots: []float64{1, .5}, Steps: 1})},
		{"knots and grid", "instead of Grid", vp(ode.Problem{Knots: []float64{1, .5}, Grid: ode.LogSNR{}})},
		{"zero behind zero", "already an end", vp(ode.Problem{From: 1, Steps: 3, AppendZero: true})},
		{"a grid in λ to σ = 0", "use UniformTime, or set Problem.AppendZero", vp(ode.Problem{From: 1, To: 0, Steps: 3, Grid: ode.LogSNR{}})},
		{"Karras from α = 0", "cannot reach α = 0", ode.Problem{Schedule: ode.Flow{}, Steps: 3, Grid: ode.Karras{}}},
		{"Karras upside down", "Karras.Rho is -1", vp(ode.Problem{Steps: 3, Grid: ode.Karras{Rho: -1}})},
		{"negative β", "(α, σ)", ode.Problem{Schedule: ode.VPLinear{Beta0: -3, Beta1: -1}, Steps: 3, Grid: ode.UniformTime{}}},
		{"a grid with a bug", "made 1 knots for 3 steps", vp(ode.Problem{Steps: 3, Grid: short{}})},
	} {
		_, err := ode.DDIM{}.Plan(c.p)
		require.ErrorContains(t, err, c.want, c.reason)
		require.ErrorContains(t, err, "DDIM", c.reason)
	}
	_, err := ode.UniformTime{}.Knots(ode.Flow{}, 1, 0, 0)
	require.ErrorContains(t, err, "at least 1 step, not 0")
}

type short struct{}

func (short) Knots(ode.Schedule, float64, float64, int) ([]float64, error) { return []float64{1}, nil }

func ExampleGrid() {
	for _, g := range []ode.Grid{ode.LogSNR{}, ode.UniformTime{}, ode.Karras{}} {
		ks, _ := g.Knots(ode.EDM{}, 80, 0.02, 4)
		fmt.Printf("%.3g\n", ks)
	}
	// Output:
	// [80 10.1 1.26 0.159 0.02]
	// [80 60 40 20 0.02]
	// [80 21.1 4.05 0.465 0.02]
}
