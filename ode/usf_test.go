package ode_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

func usfOf(t testing.TB, s ode.Solver, n int) ode.USF {
	t.Helper()
	p := ode.Problem{Steps: n}
	if l, ok := s.(lowered); ok {
		s, p.LowerFinal = l.Solver, true
	}
	u, err := ode.USFOf(s, p)
	require.NoError(t, err)
	return u
}

// The solvers that USF unifies, as it runs them: the same knots, inner ones included, give the same result and count.
func TestUSFHasOtherSolversAsSpecialCases(t *testing.T) {
	s := ode.VPLinear{}
	problem := func(n int, zero bool) ode.Problem {
		return ode.Problem{Schedule: s, Raw: ode.Velocity, From: .8, To: .05, Steps: n, Grid: ode.LogSNR{}, AppendZero: zero}
	}
	solvers := []ode.Solver{ode.DDIM{}, lowered{ode.DPMpp{}}, lowered{ode.DPM{Order: 3}}, lowered{ode.DPMpp{Order: 3}}, lowered{ode.UniPC{Order: 3}}}
	for _, d := range []ode.DPMpp{
		{Order: 1}, {}, {Correction: ode.Taylor}, {Order: 3}, {Order: 3, Correction: ode.Taylor},
		{Order: 1, Single: true}, {Single: true}, {Single: true, Correction: ode.Taylor}, {Order: 3, Single: true}, {Order: 3, Single: true, Correction: ode.Taylor},
	} {
		solvers = append(solvers, d, ode.DPM(d))
	}
	for _, c := range []ode.UniPC{
		{Order: 1}, {Order: 1, B: ode.B1}, {}, {B: ode.B1}, {Noise: true}, {Order: 3}, {Order: 3, Noise: true, B: ode.B1}, {Order: 4},
		{NoCorrector: true}, {B: ode.B1, NoCorrector: true}, {Order: 4, NoCorrector: true}, {Order: 1, NoCorrector: true},
		{B: ode.Vary}, {Order: 3, B: ode.Vary, Noise: true}, {Order: 3, Uncorrected: []int{0, 4}},
	} {
		solvers = append(solvers, c)
	}
	for _, v := range v3Variants(curved(s.At(.8).Lambda(), s.At(.05).Lambda(), 480)) {
		solvers = append(solvers, v)
		if v.Order != 1 {
			solvers = append(solvers, lowered{v})
		}
	}
	for _, zero := range []bool{false, true} {
		for _, solver := range solvers {
			n, per := 12, 1 // evaluations, and those of a step
			switch d := solver.(type) {
			case ode.DPM:
				per = perStep(ode.DPMpp(d))
			case ode.DPMpp:
				per = perStep(d)
			}
			p, q := problem(n/per, false), problem(n, false)
			if zero {
				if per > 1 {
					continue // the last step would be one evaluation, whatever the order
				}
				p, q = problem(n, true), problem(n, true)
			}
			want, got := compile(t, solver, p), compile(t, usfOf(t, solver, n), q)
			f := field(t, goldenMixture(t), want)
			x := slices.Clone(run(t, want, f, 4, map[string][]float64{"x": latents}))
			require.Less(t, distance(x, run(t, got, f, 4, map[string][]float64{"x": latents})), 1e-13, "%s, zero %t", want.Name, zero)
			require.Equal(t, want.NFE(), got.NFE(), want.Name)
			require.Equal(t, want.Exact, got.Exact, want.Name)
		}
	}
}

func perStep(d ode.DPMpp) int {
	switch {
	case !d.Single:
		return 1
	case d.Order == 0:
		return 2
	}
	return d.Order
}

// With statistics that mean data, FormV3 is FormData, relaxed or not, beside other forms in a run.
func TestFormV3AmongOtherForms(t *testing.T) {
	plain := []ode.Decision{
		{Form: ode.FormData}, {Form: ode.FormNoise, Update: ode.Update{Derivatives: []ode.Derivative{{Points: []int{1}}}}},
		{Form: ode.FormData, Update: ode.Update{Derivatives: []ode.Derivative{{Points: []int{1, 2}, Relaxation: ode.RelaxLinear, Coefficient: .4}, {Points: []int{1, 2}}}}},
		{Form: ode.FormNoise}, {Form: ode.FormData, Update: ode.Update{Start: 1, Derivatives: []ode.Derivative{{Points: []int{0}}}}},
	}
	plain[1].Correct, plain[1].Corrector = ode.ImplicitCorrected, &ode.Update{Start: 1, Derivatives: []ode.Derivative{{Points: []int{0}}}}
	fitted := slices.Clone(plain)
	for i := range fitted {
		if fitted[i].Form == ode.FormData {
			fitted[i].Form = ode.FormV3
		}
	}
	s := ode.VPLinear{}
	p := ode.Problem{Schedule: s, Raw: ode.Velocity, From: .8, To: .1, Steps: 5, Grid: ode.LogSNR{}}
	want := compile(t, ode.USF{Decisions: ode.Decisions{Steps: plain}}, p)
	got := compile(t, ode.USF{Decisions: ode.Decisions{Steps: fitted}, Statistics: constant(s.At(.8).Lambda(), s.At(.1).Lambda(), 5000, 1, 0)}, p)
	f := field(t, goldenMixture(t), want)
	x := slices.Clone(run(t, want, f, 4, map[string][]float64{"x": latents}))
	require.Less(t, distance(x, run(t, got, f, 4, map[string][]float64{"x": latents})), 1e-6) // (3/5000)²/12 of the trapezoidal rule, times 30
	for _, name := range []string{"relaxation", "knots"} {                                    // the coefficient is in the fields, which are data, and the knots are on points
		_, ok := got.Param(name)
		require.False(t, ok, name)
		_, ok = want.Param(name)
		require.True(t, ok, name)
	}
}

// mixed uses everything there is: forms, starts, estimates from fewer and more points, relaxations, both correctors.
func mixed() ode.Decisions {
	pts := func(ps ...int) ode.Derivative { return ode.Derivative{Points: ps} }
	relaxed := func(r ode.Relaxation, c float64, ps ...int) ode.Derivative {
		return ode.Derivative{Points: ps, Relaxation: r, Coefficient: c}
	}
	step := func(f ode.Form, start int, ds ...ode.Derivative) ode.Decision {
		return ode.Decision{Form: f, Update: ode.Update{Start: start, Derivatives: ds}}
	}
	corrected := func(d ode.Decision, c ode.Correcting, start int, ds ...ode.Derivative) ode.Decision {
		d.Correct, d.Corrector = c, &ode.Update{Start: start, Derivatives: ds}
		return d
	}
	return ode.Decisions{
		Times: []float64{.9, .8, .7, .55, .45, .35, .25, .18, .1},
		Steps: []ode.Decision{
			corrected(step(ode.FormNoise, 0), ode.PseudoCorrected, 1, relaxed(ode.RelaxMidpoint, 0, 0)),
			step(ode.FormData, 0, relaxed(ode.RelaxLinear, .3, 1)),
			corrected(step(ode.FormData, 0, relaxed(ode.RelaxB1, 0, 1)), ode.ImplicitCorrected, 1, relaxed(ode.RelaxLinear, -.2, 0, 2), pts(0, 2)),
			step(ode.FormNoise, 1, relaxed(ode.RelaxHalf, 0, 0)),
			step(ode.FormNoise, 0, pts(1, 2, 3), pts(1, 3)),
			corrected(step(ode.FormData, 0, relaxed(ode.RelaxMinusHalf, 0, 2)), ode.PseudoCorrected, 1, pts(0), pts(0, 2)),
			step(ode.FormNoise, 0, pts(1, 2, 3), pts(1, 2, 3), pts(1, 2, 3)),
			step(ode.FormData, 2, pts(0, 1)),
		},
	}
}

var vpNoise = ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise}

func TestDecisionsRoundTripAsJSON(t *testing.T) {
	want := mixed()
	want.AFS, want.Mean = ode.MeanAFS, []float64{.5, -.25}
	data, err := json.Marshal(want)
	require.NoError(t, err)
	require.Contains(t, string(data), `{"form":"data","derivatives":[{"points":[1],"relaxation":"linear","coefficient":0.3}]}`)
	var got ode.Decisions
	require.NoError(t, json.Unmarshal(data, &got))
	require.Equal(t, want, got)
	require.Equal(t, compile(t, ode.USF{Decisions: want}, vpNoise).String(), compile(t, ode.USF{Decisions: got}, vpNoise).String())

	for text, message := range map[string]string{
		`{"steps":[{"form":"velocity"}]}`:                              `"velocity" is no form; there are data, noise, v3`,
		`{"steps":[{"form":"data","correct":"yes"}]}`:                  `"yes" is no corrector`,
		`{"steps":[],"afs":"ones"}`:                                    `"ones" is no analytical first step`,
		`{"steps":[{"derivatives":[{"relaxation":"x"}]}]}`:             `"x" is no relaxation`,
		`{"steps":[{"form":"data"}],"skip":[1]}`:                       `unknown field "skip"`,
		`{"steps":[{"form":"data","order":2}]}`:                        `unknown field "order"`,
		`{"steps":[{"form":"data","derivatives":[{"points":[0.5]}]}]}`: "cannot unmarshal",
	} {
		require.ErrorContains(t, json.Unmarshal([]byte(text), new(ode.Decisions)), message)
	}
	_, err = json.Marshal(ode.Decisions{Steps: []ode.Decision{{Form: 7}}})
	require.ErrorContains(t, err, "7 is no form")
}

func TestDecisionsAreChecked(t *testing.T) {
	for _, c := range []struct {
		want  string
		spoil func(d *ode.Decisions)
	}{
		{"there are no Steps", func(d *ode.Decisions) { d.Steps = nil }},
		{"9 Times for 7 steps", func(d *ode.Decisions) { d.Steps = d.Steps[:7] }},
		{"9 is no analytical", func(d *ode.Decisions) { d.AFS = 9 }},
		{"Mean has 0 elements", func(d *ode.Decisions) { d.AFS = ode.MeanAFS }},
		{"Mean has 2 elements", func(d *ode.Decisions) { d.Mean = []float64{1, 2} }},
		{"step 3: -1 is no form", func(d *ode.Decisions) { d.Steps[3].Form = -1 }},
		{"step 3: 3 is no corrector", func(d *ode.Decisions) { d.Steps[3].Correct = 3 }},
		{"step 3: 6 is no relaxation", func(d *ode.Decisions) { d.Steps[3].Derivatives[0].Relaxation = 6 }},
		{"step 0: option Start is 1; it must be from 0 to 0", func(d *ode.Decisions) { d.Steps[0].Start = 1 }},
		{"step 4: option Start is -1", func(d *ode.Decisions) { d.Steps[4].Start = -1 }},
		{"step 2: corrector: option Start is 0; it must be from 1 to 3", func(d *ode.Decisions) { d.Steps[2].Corrector.Start = 0 }},
		{"step 6: 4 Derivatives; at most 3", func(d *ode.Decisions) {
			d.Steps[6].Derivatives = append(d.Steps[6].Derivatives, ode.Derivative{Points: []int{1, 2, 3, 4}})
		}},
		{"derivative 2 has 1 Points; it needs at least 2", func(d *ode.Decisions) { d.Steps[4].Derivatives[1].Points = []int{1} }},
		{`derivative 2 has relaxation "0.5exp"; only the first`, func(d *ode.Decisions) { d.Steps[4].Derivatives[1].Relaxation = ode.RelaxHalf }},
		{`form v3 has relaxation "unipc-bh1"`, func(d *ode.Decisions) { d.Steps[2].Form = ode.FormV3 }},
		{"has Coefficient 1", func(d *ode.Decisions) { d.Steps[2].Derivatives[0].Coefficient = 1 }},
		{"has Coefficient NaN", func(d *ode.Decisions) { d.Steps[1].Derivatives[0].Coefficient = math.NaN() }},
		{"has Points [2]; they must differ", func(d *ode.Decisions) { d.Steps[1].Derivatives[0].Points = []int{2} }},
		{"has Points [0]; they must differ", func(d *ode.Decisions) { d.Steps[1].Derivatives[0].Points = []int{0} }},
		{"has Points [1 1]; they must differ", func(d *ode.Decisions) { d.Steps[1].Derivatives[0].Points = []int{1, 1} }},
		{"has Points [-1]; they must differ", func(d *ode.Decisions) { d.Steps[1].Derivatives[0].Points = []int{-1} }},
		{"step 2: option Correct is \"none\", and Corrector is given: true", func(d *ode.Decisions) { d.Steps[2].Correct = ode.Uncorrected }},
		{"step 2: option Correct is \"implicit\", and Corrector is given: false", func(d *ode.Decisions) { d.Steps[2].Corrector = nil }},
		{"step 7: the last step cannot be corrected", func(d *ode.Decisions) {
			d.Steps[7].Correct, d.Steps[7].Corrector = ode.PseudoCorrected, &ode.Update{Start: 1}
		}},
	} {
		d := mixed()
		require.NoError(t, d.Check())
		c.spoil(&d)
		require.ErrorContains(t, d.Check(), c.want)
		_, err := ode.USF{Decisions: d}.Plan(vpNoise)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "ode: USF(")
	}
}

func TestUSFRefusesProblemsThatDoNotFit(t *testing.T) {
	timeless := mixed()
	timeless.Times = nil
	v3 := usfOf(t, ode.DPMv3{Statistics: curved(-1, 1, 50)}, 4)
	for _, c := range []struct {
		want string
		usf  ode.USF
		p    ode.Problem
	}{
		{"have Times, and the Problem knots of its own", ode.USF{Decisions: mixed()}, ode.Problem{Schedule: ode.VPLinear{}, Steps: 8}},
		{"have Times, and the Problem knots of its own", ode.USF{Decisions: mixed()}, ode.Problem{Schedule: ode.VPLinear{}, Grid: ode.LogSNR{}}},
		{"there are 9 steps, and Decisions for 8", ode.USF{Decisions: timeless}, ode.Problem{Schedule: ode.VPLinear{}, Steps: 9}},
		{"no step has FormV3", ode.USF{Decisions: mixed(), Statistics: curved(-1, 1, 5)}, vpNoise},
		{"Statistics has 0 points", ode.USF{Decisions: v3.Decisions}, ode.Problem{Schedule: ode.VPLinear{}, Steps: 4}},
		{"the Statistics are for λ from -1 to 1", v3, ode.Problem{Schedule: ode.VPLinear{}, Steps: 4}},
		{"AFS is for runs that start at noise", ode.USF{Decisions: ode.Decisions{AFS: ode.ZeroAFS, Steps: make([]ode.Decision, 3)}}, ode.Problem{Schedule: ode.VPLinear{}, From: .1, To: .9, Steps: 3}},
		{"takes part in no output", ode.USF{Decisions: ode.Decisions{Steps: []ode.Decision{{}, {Update: ode.Update{Start: 1}}}}}, ode.Problem{Schedule: ode.VPLinear{}, Steps: 2}},
	} {
		_, err := c.usf.Plan(c.p)
		require.ErrorContains(t, err, c.want)
	}
	for _, c := range []struct {
		want   string
		solver ode.Solver
		n      int
		lower  bool
	}{
		{"0 steps", ode.DPMpp{}, 0, false},
		{"ode.LMS is none of", ode.LMS{}, 4, false},
		{"option Eta of DDIM is 0.5", ode.DDIM{Eta: .5}, 4, false},
		{"option Published mixes up derivatives", ode.UniPC{B: ode.Vary, Published: true}, 4, false},
		{"option Fast", ode.DPMpp{Fast: true}, 4, false},
		{"option Published", ode.DPM{Order: 3, Published: true}, 4, false},
		{"4 steps are no multiple of Order 3", ode.DPM{Order: 3, Single: true}, 4, false},
		{"Order is 5", ode.DPMpp{Order: 5}, 4, false},
		{"Order is 5", ode.UniPC{Order: 5}, 4, false},
		{"Order is 5", ode.DPMv3{Order: 5}, 4, false},
		{"option Half", ode.DPMv3{Half: true, Corrector: true}, 4, false},
		{"no order to lower", ode.DDIM{}, 4, true},
		{"no order to lower", ode.DPM{Order: 1}, 4, true},
		{"no order to lower", ode.DPMpp{Single: true}, 4, true},
		{"no order to lower", ode.UniPC{Order: 1}, 4, true},
		{"no order to lower", ode.DPMv3{Order: 1}, 4, true},
	} {
		_, err := ode.USFOf(c.solver, ode.Problem{Steps: c.n, LowerFinal: c.lower})
		require.ErrorContains(t, err, c.want)
	}
}

// NFE is n, one less with an analytical first step, one more for each implicit corrector, and that is what is counted.
func TestUSFCounts(t *testing.T) {
	for _, afs := range []ode.AFS{ode.NoAFS, ode.ZeroAFS, ode.MeanAFS, ode.PublishedAFS} {
		d, want := mixed(), 8+1
		if d.AFS = afs; afs != ode.NoAFS {
			want--
		}
		if afs == ode.MeanAFS {
			d.Mean = []float64{.1, -.2}
		}
		p := compile(t, ode.USF{Decisions: d}, vpNoise)
		require.Equal(t, want, p.NFE())
		require.Equal(t, afs == ode.NoAFS, p.Exact)
		_, _, evals := gradient(t, p, field(t, goldenMixture(t), p), 4, map[string][]float64{"x": latents}, map[string][]float64{"x": latents}, nil)
		require.Equal(t, want, evals)
	}
}

// An analytical first step is what a network would make of a prediction: the released one is right at σ = 1 alone.
func TestAnalyticalFirstSteps(t *testing.T) {
	s, mean := ode.VPLinear{}, []float64{.5, -.25}
	stand := func(at ode.Point, x float64, d int, afs ode.AFS, form ode.Form) (x0, eps float64) {
		switch {
		case afs == ode.ZeroAFS, afs == ode.PublishedAFS && form == ode.FormNoise:
			return 0, x / at.Sigma
		case afs == ode.MeanAFS:
			return mean[d], (x - at.Alpha*mean[d]) / at.Sigma
		}
		return (x - at.Sigma*x) / at.Alpha, x
	}
	for _, afs := range []ode.AFS{ode.ZeroAFS, ode.MeanAFS, ode.PublishedAFS} {
		for _, form := range []ode.Form{ode.FormData, ode.FormNoise, ode.FormV3} {
			d := ode.Decisions{AFS: afs, Steps: []ode.Decision{{Form: form}}, Times: []float64{.6, .3}}
			if afs == ode.MeanAFS {
				d.Mean = mean
			}
			u := ode.USF{Decisions: d}
			a, b := s.At(.6), s.At(.3)
			if form == ode.FormV3 { // constant statistics of 4000 points: DDIM up to 1e-7 of the trapezoidal rule
				u.Statistics = constant(a.Lambda(), b.Lambda(), 4000, 1, 0)
			}
			p := compile(t, u, ode.Problem{Schedule: s, Raw: ode.Noise})
			require.Zero(t, p.NFE())
			got := run(t, p, field(t, goldenMixture(t), p), 4, map[string][]float64{"x": latents})
			want := make([]float64, 8)
			for j, x := range latents {
				x0, eps := stand(a, x, j%2, afs, form)
				want[j] = b.Alpha*x0 + b.Sigma*eps
				if form == ode.FormNoise {
					want[j] = b.Alpha/a.Alpha*(x-a.Sigma*eps) + b.Sigma*eps
				} else {
					want[j] = b.Sigma/a.Sigma*(x-a.Alpha*x0) + b.Alpha*x0
				}
			}
			tolerance := 1e-13
			if form == ode.FormV3 {
				tolerance = 1e-6
			}
			require.Less(t, distance(want, got), tolerance, "%v, %v", afs, form)
		}
	}
}

// The implicit corrector asks again, at the corrected state; the pseudo one keeps what was predicted at the other.
func TestImplicitCorrectorAsksAgain(t *testing.T) {
	d := func(c ode.Correcting) ode.USF {
		u := usfOf(t, ode.UniPC{}, 4)
		u.Decisions.Steps[1].Correct = c
		return u
	}
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Data, Steps: 4}
	pseudo, implicit := compile(t, d(ode.PseudoCorrected), p), compile(t, d(ode.ImplicitCorrected), p)
	asked := func(q *ode.Plan) (n int) { // evaluations at the state that knot 2 has in the end
		for _, in := range q.Code {
			if in.Op == ode.Evaluate && in.Src == q.Knots[2].Reg {
				n++
			}
		}
		return n
	}
	require.Equal(t, 0, asked(pseudo))
	require.Equal(t, 1, asked(implicit))
	require.Equal(t, pseudo.NFE()+1, implicit.NFE())
	f := field(t, goldenMixture(t), pseudo)
	x := slices.Clone(run(t, pseudo, f, 4, map[string][]float64{"x": latents}))
	require.Greater(t, distance(x, run(t, implicit, f, 4, map[string][]float64{"x": latents})), 1e-6)
}

// patterned repeats one decision, at the steps before with as much of it as has a history.
func patterned(d ode.Decision, n int) ode.USF {
	u := ode.USF{}
	for i := range n {
		s := d
		s.Derivatives = nil
		for _, e := range d.Derivatives {
			if slices.Max(e.Points) > i {
				break
			}
			s.Derivatives = append(s.Derivatives, e)
		}
		if d.Corrector != nil {
			if i+1 == n || slices.ContainsFunc(d.Corrector.Derivatives, func(e ode.Derivative) bool { return slices.Max(e.Points) > i+1 }) {
				s.Correct, s.Corrector = ode.Uncorrected, nil
			}
		}
		u.Decisions.Steps = append(u.Decisions.Steps, s)
	}
	return u
}

type pattern struct {
	reason  string
	history int
	order   float64
	degree  int // of the polynomial in λ that a step is exact for
	ode.Decision
}

func patterns() []pattern {
	all := func(n int, points ...int) (ds []ode.Derivative) {
		for range n {
			ds = append(ds, ode.Derivative{Points: points})
		}
		return ds
	}
	relaxed := func(r ode.Relaxation, c float64) []ode.Derivative {
		return []ode.Derivative{{Points: []int{1}, Relaxation: r, Coefficient: c}}
	}
	return []pattern{
		{"Taylor 1", 0, 1, 0, ode.Decision{}},
		{"Taylor 2", 1, 2, 1, ode.Decision{Update: ode.Update{Derivatives: all(1, 1)}}},
		{"Taylor 3", 2, 3, 2, ode.Decision{Update: ode.Update{Derivatives: all(2, 1, 2)}}},
		{"Taylor 4", 3, 4, 3, ode.Decision{Update: ode.Update{Derivatives: all(3, 1, 2, 3)}}},
		{"the first derivative of three points: one more would be too", 2, 2, 1, ode.Decision{Update: ode.Update{Derivatives: all(1, 1, 2)}}},
		{"divided differences", 2, 2, 1, ode.Decision{Update: ode.Update{Derivatives: []ode.Derivative{{Points: []int{1}}, {Points: []int{1, 2}}}}}},
		{"midpoint relaxation", 1, 2, 0, ode.Decision{Update: ode.Update{Derivatives: relaxed(ode.RelaxMidpoint, 0)}}},
		{"B1 relaxation", 1, 2, 0, ode.Decision{Update: ode.Update{Derivatives: relaxed(ode.RelaxB1, 0)}}},
		{"half relaxation", 1, 2, 0, ode.Decision{Update: ode.Update{Derivatives: relaxed(ode.RelaxHalf, 0)}}},
		{"minus half relaxation", 1, 2, 0, ode.Decision{Update: ode.Update{Derivatives: relaxed(ode.RelaxMinusHalf, 0)}}},
		{"linear relaxation", 1, 2, 0, ode.Decision{Update: ode.Update{Derivatives: relaxed(ode.RelaxLinear, .5)}}},
		{"pseudo corrector", 1, 3, 1, ode.Decision{Update: ode.Update{Derivatives: all(1, 1)}, Correct: ode.PseudoCorrected, Corrector: &ode.Update{Start: 1, Derivatives: all(2, 0, 2)}}},
		{"implicit corrector", 1, 3, 1, ode.Decision{Update: ode.Update{Derivatives: all(1, 1)}, Correct: ode.ImplicitCorrected, Corrector: &ode.Update{Start: 1, Derivatives: all(2, 0, 2)}}},
	}
}

// The factors of the first derivative, as their formulas are printed: the weight of the older prediction of two is made of nothing else.
func TestRelaxationFactors(t *testing.T) {
	s := ode.VPLinear{}
	knots := []float64{.7, .5, .2}
	h := s.At(.2).Lambda() - s.At(.5).Lambda()
	for _, c := range []struct {
		relaxation ode.Relaxation
		factor     func(z float64) float64
	}{
		{ode.RelaxMidpoint, func(z float64) float64 { return .5 * z * (math.Exp(z) - 1) / (math.Exp(z) - 1 - z) }},
		{ode.RelaxB1, func(z float64) float64 { return .5 * z * z / (math.Exp(z) - 1 - z) }},
		{ode.RelaxHalf, func(z float64) float64 { return 1 + .5*(math.Exp(z)-1) }},
		{ode.RelaxMinusHalf, func(z float64) float64 { return 1 - .5*(math.Exp(z)-1) }},
		{ode.RelaxLinear, func(z float64) float64 { return 1 + .7*h }},
	} {
		for form, z := range map[ode.Form]float64{ode.FormNoise: h, ode.FormData: -h} {
			older := func(r ode.Relaxation, coefficient float64) float64 {
				d := ode.Decision{Form: form, Update: ode.Update{Derivatives: []ode.Derivative{{Points: []int{1}, Relaxation: r, Coefficient: coefficient}}}}
				raw := map[ode.Form]ode.Prediction{ode.FormData: ode.Data, ode.FormNoise: ode.Noise}[form]
				table := compile(t, ode.USF{Decisions: ode.Decisions{Times: knots, Steps: []ode.Decision{{Form: form}, d}}}, ode.Problem{Schedule: s, Raw: raw}).Table()
				return table[len(table)-1]
			}
			coefficient := 0.
			if c.relaxation == ode.RelaxLinear {
				coefficient = .7
			}
			require.InDelta(t, c.factor(z), older(c.relaxation, coefficient)/older(ode.RelaxNot, 0), 1e-12, "relaxation %d, form %d", c.relaxation, form)
		}
	}
}

func TestUSFOrders(t *testing.T) {
	s := ode.VPLinear{}
	bumped := exact.Bumped{Gaussian: exact.Gaussian{Mean: []float64{.7, -1.2}, Variance: []float64{.3}}, Amplitude: .4, Frequency: 1.5}
	path := flowPath(t, bumped, s, latents)
	for _, c := range patterns() {
		for _, form := range []ode.Form{ode.FormData, ode.FormNoise} {
			d := c.Decision
			d.Form = form
			plan := func(n int) *ode.Plan {
				return compile(t, patterned(d, n), ode.Problem{Schedule: s, Raw: ode.Noise, From: .5, To: .05, Steps: n, Grid: ode.LogSNR{}})
			}
			got := slope(t, plan, bumped, 80, c.history, path)
			t.Logf("%s, form %d: %.2f", c.reason, form, got)
			require.Greater(t, got, c.order-.15, "%s, form %d", c.reason, form)
			require.Less(t, got, c.order+.6, "%s, form %d", c.reason, form)
		}
	}
}

func TestUSFIsExactForPolynomials(t *testing.T) {
	s := ode.VPLinear{}
	for _, c := range patterns() {
		for _, form := range []ode.Form{ode.FormData, ode.FormNoise} {
			raw := map[ode.Form]ode.Prediction{ode.FormData: ode.Data, ode.FormNoise: ode.Noise}[form]
			var knots []float64
			for _, l := range []float64{-.9, -.4, .1, .45, .9}[3-c.history:] {
				knots = append(knots, s.TimeOf(l))
			}
			d := c.Decision
			d.Form = form
			p := startExactly(compile(t, patterned(d, len(knots)-1), ode.Problem{Schedule: s, Raw: raw, Knots: knots}), c.history)
			for k := range c.degree + 2 {
				exactly := func(times []float64) (xs [][]float64) {
					a := s.At(times[0])
					for _, at := range times {
						b := s.At(at)
						x := b.Alpha * (1/a.Alpha - area(-1, k, a.Lambda(), b.Lambda()))
						if form == ode.FormData {
							x = b.Sigma * (1/a.Sigma + area(1, k, a.Lambda(), b.Lambda()))
						}
						xs = append(xs, []float64{x})
					}
					return xs
				}
				got := distance(last(p, exactly), run(t, p, ramp{s, k, false}, 1, states(p, c.history, exactly)))
				if k <= c.degree {
					require.Less(t, got, 1e-13, "%s at degree %d", c.reason, k)
				} else {
					require.Greater(t, got, 1e-6, "%s at degree %d", c.reason, k)
				}
			}
		}
	}
}

func TestGradientToRelaxationsAndKnotsOfUSF(t *testing.T) {
	p := compile(t, ode.USF{Decisions: mixed()}, vpNoise)
	q, ok := p.Param("relaxation")
	require.True(t, ok)
	require.Equal(t, []float64{.3, -.2}, q.Value)
	agreesWithDifferences(t, p, "relaxation", 1e-3)
	agreesWithDifferences(t, p, "knots", 1e-4)
	_, err := q.Rebuild([]float64{1})
	require.ErrorContains(t, err, "1 coefficients of relaxation given to rebuild a plan of 2")
	moved, err := q.Rebuild([]float64{.4, 0})
	require.NoError(t, err)
	k, _ := moved.Param("relaxation")
	require.Equal(t, []float64{.4, 0}, k.Value)
	require.Equal(t, []float64{.3, -.2}, q.Value)
	_, ok = compile(t, usfOf(t, ode.DPMpp{}, 3), ode.Problem{Schedule: ode.VPLinear{}, Steps: 3}).Param("relaxation")
	require.False(t, ok)
}

// What is given to a solver may be changed once there is a plan: it has its own.
func TestPlansKeepTheirOwnDecisions(t *testing.T) {
	d := mixed()
	p := compile(t, ode.USF{Decisions: d}, vpNoise)
	q, _ := p.Param("knots")
	d.Times[1], d.Steps[1].Derivatives[0].Coefficient, d.Steps[2].Corrector.Start, d.Steps[4].Derivatives[1].Points[0] = .85, 5, 2, 2
	again, err := q.Rebuild(q.Value)
	require.NoError(t, err)
	require.Equal(t, p.Table(), again.Table())

	ratios := []float64{1, 1, 1.2, .9}
	p = compile(t, ode.DC{Ratios: ratios}, ode.Problem{Schedule: ode.VPLinear{}, Steps: 4})
	q, _ = p.Param("knots")
	ratios[2] = 7
	again, err = q.Rebuild(q.Value)
	require.NoError(t, err)
	require.Equal(t, p.Table(), again.Table())

	m := curved(-1, 1, 20)
	s := ode.VPLinear{}
	p = compile(t, ode.DPMv3{Statistics: m}, ode.Problem{Schedule: s, From: s.TimeOf(-1), To: s.TimeOf(1), Steps: 4})
	want := fmt.Sprint(p.Code)
	for i := range m.L {
		m.L[i][0], m.S[i][0], m.B[i][0] = 9, 9, 9
	}
	require.Equal(t, want, fmt.Sprint(p.Code))
}

func TestUSFSweep(t *testing.T) {
	mix := exact.Mixture{Weights: []float64{.4, .6}, Means: [][]float64{{1, 0}, {-.5, .8}}, Variances: []float64{.2, .1}}
	for name, s := range schedules(t) {
		_, hi := s.Range()
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
					corrected := usfOf(t, ode.UniPC{Order: 3}, n)
					for i := range corrected.Decisions.Steps { // forms take turns
						corrected.Decisions.Steps[i].Form = ode.Form(i % 2)
						if d := &corrected.Decisions.Steps[i]; d.Correct != ode.Uncorrected {
							d.Correct = ode.Correcting(1 + i%2)
						}
					}
					afs := usfOf(t, ode.DPM{Order: 3}, n)
					afs.Decisions.AFS = ode.ZeroAFS
					for k, u := range []ode.USF{corrected, afs} {
						if k > 0 && n > 5 && n < 25 {
							continue
						}
						what := fmt.Sprintf("%s, %v, %d steps, zero %t, afs %d", name, raw, n, zero, k)
						plan, err := u.Plan(p)
						if k == 0 && p.From == 0 && s.At(hi).Alpha == 0 && (raw == ode.Noise || raw == ode.Score || raw == ode.Denoiser) {
							require.Error(t, err, what) // with AFS, the network is not asked at α = 0
							continue
						}
						require.NoError(t, err, what)
						sigma := s.At(plan.Knots[0].T).Sigma
						out, grad, evals := gradient(t, plan, f, 1, map[string][]float64{"x": {.6 * sigma, -sigma}}, map[string][]float64{"x": {1, .5}}, nil)
						require.Equal(t, plan.NFE(), evals, what)
						for _, x := range append(out["x"], grad["x"]...) {
							require.False(t, math.IsNaN(x) || math.IsInf(x, 0), what)
						}
					}
				}
			}
		}
	}
}

// One number of the code, wrong by a hundredth in every step, is found by the knot check or by a lost order.
func TestUSFMutationsAreCaught(t *testing.T) {
	s := ode.VPLinear{}
	m, path := goldenMixture(t), mixturePath(t, s, latents)
	for _, c := range patterns() {
		if c.order > 3 {
			continue
		}
		plan := func(n int) *ode.Plan {
			return compile(t, patterned(c.Decision, n), ode.Problem{Schedule: s, Raw: ode.Noise, From: .5, To: .05, Steps: n, Grid: ode.LogSNR{}})
		}
		for slot := range slots(plan(8)) {
			if empty(plan(8), slot) || mutated(plan(8), slot).KnotError() != nil {
				continue
			}
			caught := false
			for _, n := range []int{40, 160, 640} {
				caught = caught || slope(t, func(n int) *ode.Plan { return mutated(plan(n), slot) }, m, n, c.history, path) < c.order-.3
			}
			require.True(t, caught, "%s: slot %d", c.reason, slot)
		}
	}
}

// From α = 0, the default of Flow, the first prediction is no history: USF then raises its order as late as the solver does.
func TestUSFOfFromPureNoise(t *testing.T) {
	p := ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 6}
	for _, s := range []ode.Solver{ode.DPMpp{Order: 3}, ode.DPM{Order: 3}, ode.UniPC{}, ode.UniPC{Order: 3}, ode.UniPC{Order: 4}} {
		u, err := ode.USFOf(s, p)
		require.NoError(t, err)
		a, b := compile(t, s, p), compile(t, u, p)
		in := map[string][]float64{"x": latents}
		require.Less(t, distance(run(t, a, field(t, goldenMixture(t), a), 4, in), run(t, b, field(t, goldenMixture(t), b), 4, in)), 1e-11, a.Name)
	}
}

func ExampleUSF() {
	var d ode.Decisions
	err := json.Unmarshal([]byte(`{
		"times": [10, 5, 2, 1],
		"steps": [
			{"form": "data"},
			{"form": "data", "derivatives": [{"points": [1], "relaxation": "linear", "coefficient": -0.1}]},
			{"form": "noise", "derivatives": [{"points": [1]}]}
		]
	}`), &d)
	if err != nil {
		panic(err)
	}
	p, err := ode.USF{Decisions: d}.Plan(ode.Problem{Schedule: ode.EDM{}, Raw: ode.Data})
	if err != nil {
		panic(err)
	}
	fmt.Print(p)
	// Output:
	// USF(3): order 1, 3 evaluations and 0 draws, network predicts Data
	// in  x=x0
	// out x=x3
	// of  relaxation[1], knots[4]
	//   m0 = net(x0, t=10)  #0
	//   x1 = 0.5·x0 + 0.5·m0
	//   m1 = net(x1, t=5)  #1
	//   x2 = 0.4·x1 + 1.014·m1 − 0.4145·m0
	//   m2 = net(x2, t=2)  #2
	//   v6 = 0.5·x2 − 0.5·m2
	//   v7 = 0.2·x1 − 0.2·m1
	//   x3 = x2 − 1.335·v6 + 0.3349·v7
}
