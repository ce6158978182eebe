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

func TestDCWithRatioOneIsUniPC(t *testing.T) {
	for name, s := range schedules(t) {
		for _, c := range []ode.UniPC{{}, {Order: 1}, {Order: 3}, {Order: 4}, {Order: 3, B: ode.B1, Noise: true}, {Order: 3, NoCorrector: true}} {
			for _, zero := range []bool{false, true} { // and with lower orders at the end, or as they are
				p := ode.Problem{Schedule: s, Raw: ode.Velocity, Steps: 9, AppendZero: zero && name != "Flow", LowerFinal: zero && c.Order == 3}
				want := compile(t, c, p)
				x := slices.Clone(run(t, want, field(t, goldenMixture(t), want), 4, map[string][]float64{"x": latents}))
				for points := 2; points <= 4; points++ {
					for _, ratios := range [][]float64{nil, slices.Repeat([]float64{1}, 9)} {
						got := compile(t, ode.DC{UniPC: c, Points: points, Ratios: ratios}, p)
						require.Equal(t, want.Order, got.Order)
						require.Equal(t, want.NFE(), got.NFE())
						require.Equal(t, x, run(t, got, field(t, goldenMixture(t), got), 4, map[string][]float64{"x": latents}), "%s: %s", name, got.Name)
					}
				}
			}
		}
	}
}

// The loop of the paper written out for a first-order step: the moved prediction stays in the buffer.
func TestDCMovesPredictionsInTime(t *testing.T) {
	s := ode.VPLinear{}
	knots := []float64{.9, .7, .5, .35, .2, .1}
	ratios := []float64{1, 1, 1.3, .8, 2.1}
	p := compile(t, ode.DC{UniPC: ode.UniPC{Order: 1, NoCorrector: true}, Ratios: ratios}, ode.Problem{Schedule: s, Raw: ode.Data, Knots: knots})
	f := field(t, goldenMixture(t), p)

	x := slices.Clone(latents)
	var ms [][]float64 // oldest first
	for i := range 5 {
		m := make([]float64, 8)
		require.NoError(t, f.Eval(m, x, ode.Call[float64]{Batch: 4, T: knots[i : i+1]}))
		ms = append(ms, m)
		if i >= 2 {
			at := ratios[i]*knots[i] + (1-ratios[i])*knots[i-1]
			t0, t1, t2 := knots[i], knots[i-1], knots[i-2]
			moved := make([]float64, 8)
			for j := range moved {
				moved[j] = m[j]*(at-t1)*(at-t2)/((t0-t1)*(t0-t2)) + ms[i-1][j]*(at-t0)*(at-t2)/((t1-t0)*(t1-t2)) + ms[i-2][j]*(at-t0)*(at-t1)/((t2-t0)*(t2-t1))
			}
			ms[i] = moved
		}
		a, b := s.At(knots[i]), s.At(knots[i+1])
		for j := range x {
			x[j] = b.Sigma/a.Sigma*x[j] + (b.Alpha-b.Sigma/a.Sigma*a.Alpha)*ms[i][j]
		}
	}
	require.Less(t, distance(x, run(t, p, f, 4, map[string][]float64{"x": latents})), 1e-14)
	require.Equal(t, 1, p.Order)
	require.True(t, p.Exact) // weights of predictions add up to 1
}

// paramGradient is the gradient of ⟨cot, x⟩ to a parameter of a plan.
func paramGradient(t *testing.T, p *ode.Plan, name string, f ode.Differentiable[float64], cot []float64) []float64 {
	t.Helper()
	back, err := p.Transpose()
	require.NoError(t, err)
	r, err := ode.NewRunner[float64](p, 4, 2, back.Needs(true)...)
	require.NoError(t, err)
	require.NoError(t, r.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}}))
	rev, err := ode.NewRunner[float64](back, 4, 2)
	require.NoError(t, err)
	table := make([]float64, len(p.Table()))
	require.NoError(t, rev.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": cot}, Forward: r.Reg, Table: table}))
	g, err := p.PullTable(name, table)
	require.NoError(t, err)
	return g
}

// agreesWithDifferences compares the gradient to a parameter with fourth-order differences of whole runs of step h.
func agreesWithDifferences(t *testing.T, p *ode.Plan, name string, h float64) {
	t.Helper()
	f, cot := field(t, goldenMixture(t), p), []float64{1, -.5, .3, .8, -1, .2, .6, -.4}
	q, ok := p.Param(name)
	require.True(t, ok)
	got := paramGradient(t, p, name, f, cot)
	require.Len(t, got, len(q.Value))
	for i := range q.Value {
		if q.Lower != nil && q.Lower[i] == q.Upper[i] {
			require.Zero(t, got[i], "%s[%d] is fixed", name, i)
			continue
		}
		at := func(h float64) (sum float64) {
			value := slices.Clone(q.Value)
			value[i] += h
			moved, err := q.Rebuild(value)
			require.NoError(t, err)
			for j, v := range run(t, moved, f, 4, map[string][]float64{"x": latents}) {
				sum += cot[j] * v
			}
			return sum
		}
		want := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
		require.NotZero(t, got[i])
		require.InDelta(t, want, got[i], 1e-8*(1+math.Abs(want)), "%s: %s[%d]", p.Name, name, i)
	}
}

func TestGradientToTheRatios(t *testing.T) {
	for _, c := range []struct {
		points int
		unipc  ode.UniPC
		ratios []float64
	}{
		{3, ode.UniPC{Order: 3}, []float64{1, 1, 1.3, .8, 1.6, 1}},
		{2, ode.UniPC{Noise: true, B: ode.B1}, []float64{1, 1.2, .9, 1.1, .7, 1.3}},
		{4, ode.UniPC{Order: 4, NoCorrector: true}, nil},
	} {
		p := compile(t, ode.DC{UniPC: c.unipc, Points: c.points, Ratios: c.ratios}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: .8, To: .1, Steps: 6, Grid: ode.LogSNR{}})
		agreesWithDifferences(t, p, "ratios", 1e-3)
		uneven := compile(t, ode.DC{UniPC: c.unipc, Points: c.points, Ratios: c.ratios}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.8, .6, .45, .3, .2, .15, .1}})
		agreesWithDifferences(t, uneven, "knots", 1e-4)
	}
}

// Two parameters of one plan are rebuilt one after the other without losing either.
func TestDCKeepsItsRatiosWhenKnotsMove(t *testing.T) {
	knots, ratios := []float64{.9, .6, .4, .2, .1}, []float64{1, 1, 1.4, .7}
	p := compile(t, ode.DC{}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.9, .7, .5, .3, .1}})
	q, _ := p.Param("ratios")
	p, err := q.Rebuild(ratios)
	require.NoError(t, err)
	k, _ := p.Param("knots")
	p, err = k.Rebuild(knots)
	require.NoError(t, err)
	want := compile(t, ode.DC{Ratios: ratios}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: knots})
	require.Equal(t, want.Table(), p.Table())
	require.Equal(t, want.Order, p.Order)
	got, _ := p.Param("ratios")
	require.Equal(t, ratios, got.Value)
	require.Equal(t, []float64{1, 1, math.Inf(-1), math.Inf(-1)}, got.Lower)
	require.Equal(t, []float64{1, 1, math.Inf(1), math.Inf(1)}, got.Upper)
	_, err = got.Rebuild(ratios[:3])
	require.ErrorContains(t, err, "3 Ratios for 4 steps")
}

func TestDCSweep(t *testing.T) {
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
					plan, err := ode.DC{UniPC: ode.UniPC{Order: 3}}.Plan(p)
					what := fmt.Sprintf("%s, %v, %d steps, zero %t", name, raw, n, zero)
					if p.From == 0 && s.At(hi).Alpha == 0 && (raw == ode.Noise || raw == ode.Score || raw == ode.Denoiser) {
						require.Error(t, err, what)
						continue
					}
					require.NoError(t, err, what)
					require.Equal(t, n, plan.NFE(), what)
					q, _ := plan.Param("ratios")
					for i := range q.Value { // all that are free to be moved
						if q.Lower[i] != q.Upper[i] {
							q.Value[i] = 1.1
						}
					}
					plan, err = q.Rebuild(q.Value)
					require.NoError(t, err, what)
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

func TestDCRefuses(t *testing.T) {
	for _, c := range []struct {
		want   string
		solver ode.DC
	}{
		{"Points is 5", ode.DC{Points: 5}},
		{"Points is 1", ode.DC{Points: 1}},
		{"Points is -3", ode.DC{Points: -3}},
		{"3 Ratios for 4 steps", ode.DC{Ratios: []float64{1, 1, 1}}},
		{"Ratios[1] is 1.2", ode.DC{Ratios: []float64{1, 1.2, 1, 1}}},
		{"Ratios[0] is 0", ode.DC{Ratios: []float64{0, 1, 1, 1}}},
		{"Ratios[3] is NaN", ode.DC{Ratios: []float64{1, 1, 1, math.NaN()}}},
		{"Ratios[2] is +Inf", ode.DC{Ratios: []float64{1, 1, math.Inf(1), 1}}},
		{"Order is 5; 1 to 4 exist", ode.DC{UniPC: ode.UniPC{Order: 5}}},
		{"there are 0 Ratios", ode.DC{Ratios: []float64{}}},
	} {
		_, err := c.solver.Plan(ode.Problem{Schedule: ode.VPLinear{}, Steps: 4})
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "DC-Solver")
	}
}
