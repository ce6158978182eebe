package ode_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mathext"

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
		for _, g := range []ode.Grid{ode.LogSNR{}, ode.UniformTime{}, ode.QuadraticTime{}, ode.Karras{}, ode.Karras{Rho: 3},
			ode.LinearQuadratic{}, ode.LinearQuadratic{Threshold: .3}, ode.Beta{}, ode.Beta{A: 2, B: .7}, ode.Sigmoid{}, ode.Sigmoid{Start: -1, End: 5},
			ode.Shift{}, ode.Shift{By: 8, Grid: ode.Karras{}}, ode.Levels(alignedSD15)} {
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

// Align Your Steps' table 3, Stable Diffusion 1.5.
var alignedSD15 = []float64{14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029}

// Written as in Mochi's release: from data up, the quadratic by its coefficients.
func TestLinearQuadraticIsTheReleasedSchedule(t *testing.T) {
	for _, c := range []struct {
		n, linear int
		threshold float64
	}{{40, 0, 0}, {7, 0, .1}, {64, 16, .025}, {2, 0, 0}} {
		l, threshold := float64(c.linear), c.threshold
		if l == 0 {
			l = float64(c.n / 2)
		}
		if threshold == 0 {
			threshold = .025
		}
		n := float64(c.n)
		q, diff := n-l, l-threshold*n
		ks := knots(t, ode.LinearQuadratic{Linear: c.linear, Threshold: c.threshold}, ode.Flow{}, 1, 0, c.n)
		for i, k := range ks {
			j := float64(i)
			want := 1 - j*threshold/l
			if j >= l {
				want = 1 - (diff/(l*q*q)*j*j + (threshold/l-2*diff/(q*q))*j + diff/(l*q*q)*l*l)
			}
			require.InDelta(t, want, k, 1e-13, "%v knot %d", c, i)
		}
	}
}

func TestBetaKnotsAreQuantiles(t *testing.T) {
	for _, g := range []ode.Beta{{A: .6, B: .6}, {A: 2, B: .7}} {
		for i, k := range knots(t, g, ode.Flow{}, .9, .1, 9) {
			require.InDelta(t, 1-float64(i)/9, mathext.RegIncBeta(g.A, g.B, (k-.1)/.8), 1e-9, "%v knot %d; the quantile is by bisection", g, i)
		}
	}
	require.Equal(t, knots(t, ode.Beta{}, ode.Flow{}, 1, 0, 5), knots(t, ode.Beta{A: .6, B: .6}, ode.Flow{}, 1, 0, 5))
	require.InDelta(t, .5, knots(t, ode.Beta{}, ode.Flow{}, 1, 0, 4)[2], 1e-9)
	arc := knots(t, ode.Beta{A: .5, B: .5}, ode.Flow{}, 1, 0, 6)
	for i, k := range arc { // the quantiles of Beta(½, ½) are those of an arcsine
		require.InDelta(t, math.Pow(math.Cos(math.Pi/2*float64(i)/6), 2), k, 1e-9)
	}
}

func TestSigmoidFollowsTheLogisticCurve(t *testing.T) {
	logistic := func(z float64) float64 { return 1 / (1 + math.Exp(-z)) }
	for _, g := range []ode.Sigmoid{{Start: -3, End: 3}, {Start: -1, End: 5}} {
		for i, k := range knots(t, g, ode.Flow{}, 1, 0, 8) {
			z := g.Start + float64(i)/8*(g.End-g.Start)
			require.InDelta(t, (logistic(g.End)-logistic(z))/(logistic(g.End)-logistic(g.Start)), k, 1e-15)
		}
	}
	require.Equal(t, knots(t, ode.Sigmoid{}, ode.Flow{}, 1, 0, 5), knots(t, ode.Sigmoid{Start: -3, End: 3}, ode.Flow{}, 1, 0, 5))
}

func TestShiftOnFlowsIsThePublishedMap(t *testing.T) {
	for _, by := range []float64{3, 1, .2, ode.ShiftForTokens(1024)} {
		for i, k := range knots(t, ode.Shift{By: by}, ode.Flow{}, 1, 0, 10) {
			at := 1 - float64(i)/10
			require.InDelta(t, by*at/(1+(by-1)*at), k, 1e-15)
			if at > 0 { // as FLUX writes it
				require.InDelta(t, by/(by+1/at-1), k, 1e-15)
			}
		}
	}
	require.InDelta(t, math.Exp(.5), ode.ShiftForTokens(256), 1e-15)
	require.InDelta(t, math.Exp(1.15), ode.ShiftForTokens(4096), 1e-14)
	require.InDelta(t, math.Exp(.825), ode.ShiftForTokens((256+4096)/2), 1e-14)
	require.Equal(t, knots(t, ode.Shift{}, ode.Flow{}, 1, 0, 5), knots(t, ode.Shift{By: 3}, ode.Flow{}, 1, 0, 5))

	// A shift moves a grid in λ, so one uniform in λ does not notice it, and two shifts are one by the product.
	s := ode.VPLinear{}
	require.InDeltaSlice(t, knots(t, ode.LogSNR{}, s, .9, .01, 12), knots(t, ode.Shift{By: 4, Grid: ode.LogSNR{}}, s, .9, .01, 12), 1e-14)
	require.InDeltaSlice(t, knots(t, ode.Shift{By: 6}, s, .9, .01, 12), knots(t, ode.Shift{By: 3, Grid: ode.Shift{By: 2}}, s, .9, .01, 12), 1e-14)
	up := knots(t, ode.Shift{By: 3}, s, .9, .01, 12)
	require.Greater(t, up[6], knots(t, ode.UniformTime{}, s, .9, .01, 12)[6], "more steps on noise")
}

// The interpolation as the guide to Align Your Steps has it, from the cleanest level up.
func TestLevelsAreInterpolatedLogLinearly(t *testing.T) {
	s := ode.EDM{}
	list := knots(t, ode.Levels(alignedSD15), s, 14.615, .029, 10)
	require.InDeltaSlice(t, alignedSD15, list, 1e-13)
	for _, n := range []int{1, 5, 24} {
		ks := knots(t, ode.Levels(alignedSD15), s, 14.615, .029, n)
		for i := range ks {
			place := float64(n-i) / float64(n) * 10 // from the clean end
			j := min(int(place), 9)
			clean, noisy := alignedSD15[10-j], alignedSD15[9-j]
			require.InEpsilon(t, clean*math.Pow(noisy/clean, place-float64(j)), ks[i], 1e-13, "n = %d knot %d", n, i)
		}
	}
	// Between other ends the proportions of λ stay.
	vp := ode.VPLinear{}
	ks := knots(t, ode.Levels(alignedSD15), vp, 1, .01, 10)
	lambda := func(at float64) float64 { return vp.At(at).Lambda() }
	for i, k := range ks {
		require.InDelta(t, math.Log(14.615/alignedSD15[i])/math.Log(14.615/.029), (lambda(k)-lambda(1))/(lambda(.01)-lambda(1)), 1e-12)
	}
}

func TestLevelKnotsAreThePublishedLevels(t *testing.T) {
	s := discrete(t)
	require.Equal(t, 1000, s.Levels())
	for _, c := range []struct {
		how    ode.Spacing
		n      int
		levels []float64 // from 0, as networks are trained
	}{
		{ode.Trailing, 10, []float64{999, 899, 799, 699, 599, 499, 399, 299, 199, 99}},
		{ode.Trailing, 3, []float64{999, 666, 332}},
		{ode.Trailing, 1, []float64{999}},
		{ode.Linspace, 5, []float64{999, 749, 500, 250, 0}},
		{ode.Linspace, 10, []float64{999, 888, 777, 666, 555, 444, 333, 222, 111, 0}},
		{ode.Linspace, 1, []float64{999}},
		{ode.Leading, 5, []float64{800, 600, 400, 200, 0}},
		{ode.Leading, 3, []float64{666, 333, 0}},
		{ode.LeadingNext, 5, []float64{801, 601, 401, 201, 1}},
	} {
		ks, err := ode.LevelKnots(s, c.n, c.how)
		require.NoError(t, err)
		require.Len(t, ks, c.n+1)
		require.Zero(t, ks[c.n])
		for i, l := range c.levels {
			require.Equal(t, (l+1)/1000, ks[i], "%v", c)
		}
	}
	for n := 1; n <= 1000; n += 7 {
		for how := ode.Trailing; how <= ode.LeadingNext; how++ {
			if n > 1 || how < ode.Leading {
				ks, err := ode.LevelKnots(s, n, how)
				require.NoError(t, err)
				_, err = ode.DDIM{}.Plan(ode.Problem{Schedule: s, Knots: ks})
				require.NoError(t, err, "n = %d: strictly falling, inside", n)
			}
		}
	}
	for _, c := range []struct {
		want string
		n    int
		how  ode.Spacing
	}{{"0 steps", 0, 0}, {"1001 steps for 1000 levels", 1001, 0}, {"use Trailing", 1, ode.Leading}, {"at most one level less", 1000, ode.LeadingNext}, {"Spacing is 4", 3, 4}} {
		_, err := ode.LevelKnots(s, c.n, c.how)
		require.ErrorContains(t, err, c.want)
	}
	_, err := ode.LevelKnots(nil, 3, 0)
	require.ErrorContains(t, err, "no levels")
}

// A schedule without signal at its end has λ = −∞ there: grids in t start from it, with a first step in closed form, and grids in λ say
// that they cannot.
func TestGridsFromZeroTerminalSNR(t *testing.T) {
	for _, g := range []ode.Grid{nil, ode.UniformTime{}, ode.QuadraticTime{}, ode.LinearQuadratic{}, ode.Beta{}, ode.Sigmoid{}, ode.Shift{}} {
		p, err := ode.DPMpp{Order: 3}.Plan(ode.Problem{Schedule: ode.VPCosine{}, Raw: ode.Velocity, Grid: g, From: 1, To: .01, Steps: 6})
		require.NoError(t, err, "%T", g)
		require.NoError(t, p.KnotError())
		require.Zero(t, p.Schedule.At(p.Knots[0].T).Alpha)
		_, err = ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.VPCosine{}, Raw: ode.Noise, Grid: g, From: 1, To: .01, Steps: 6})
		require.ErrorContains(t, err, "predict Velocity or FlowVelocity", "%T", g)
	}
	for _, g := range []ode.Grid{ode.LogSNR{}, ode.Karras{}, ode.Levels(alignedSD15), ode.Shift{Grid: ode.LogSNR{}}} {
		_, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.VPCosine{}, Raw: ode.Velocity, Grid: g, From: 1, To: .01, Steps: 6})
		require.ErrorContains(t, err, "cannot reach", "%T", g)
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
		{"steps that turn back", "below 0.6666666666666666", vp(ode.Problem{Steps: 8, Grid: ode.LinearQuadratic{Threshold: .7}})},
		{"no threshold", "Threshold is -0.1", vp(ode.Problem{Steps: 8, Grid: ode.LinearQuadratic{Threshold: -.1}})},
		{"all linear", "between 1 and the number of steps less one, 7", vp(ode.Problem{Steps: 8, Grid: ode.LinearQuadratic{Linear: 8}})},
		{"no distribution", "Beta.A and B are -1 and 0", vp(ode.Problem{Steps: 8, Grid: ode.Beta{A: -1}})},
		{"backwards curve", "Start must be below End", vp(ode.Problem{Steps: 8, Grid: ode.Sigmoid{Start: 1, End: -1}})},
		{"flat curve", "within ±30", vp(ode.Problem{Steps: 8, Grid: ode.Sigmoid{Start: -3, End: 40}})},
		{"negative shift", "Shift.By is -1", vp(ode.Problem{Steps: 8, Grid: ode.Shift{By: -1}})},
		{"a shift past the end", "a By above 1", vp(ode.Problem{Steps: 8, Grid: ode.Shift{By: .5}})},
		{"one level", "at least 2", vp(ode.Problem{Steps: 8, Grid: ode.Levels{1}})},
		{"a level of zero", "set Problem.AppendZero", vp(ode.Problem{Steps: 8, Grid: ode.Levels{1, 0}})},
		{"rising levels", "Levels[2] = 3 does not fall below Levels[1] = 2", vp(ode.Problem{Steps: 8, Grid: ode.Levels{4, 2, 3}})},
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
