package ode_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/ebb-go/ebb/ode"
)

// B cancels wherever an equation is solved: with order 3 it is left in the second step's predictor and the first step's corrector alone.
func TestBMattersOnlyForASingleSlope(t *testing.T) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Data, Steps: 6}
	a, b := compile(t, ode.UniPC{Order: 3}, p), compile(t, ode.UniPC{Order: 3, B: ode.B1}, p)
	var differ []int // steps
	for i, in := range a.Code {
		if in.Op == ode.Combine && fmt.Sprint(in.Terms) != fmt.Sprint(b.Code[i].Terms) {
			differ = append(differ, in.Step)
		}
	}
	require.Equal(t, []int{0, 1}, differ)
	require.NotEqual(t, a.Name, b.Name)
}

func TestUniPCRefuses(t *testing.T) {
	for _, c := range []struct {
		want   string
		solver ode.UniPC
	}{{"Published differs in the corrector of B Vary", ode.UniPC{Published: true}}, {"Published differs", ode.UniPC{B: ode.Vary, Order: 1, Published: true}},
		{"Published differs", ode.UniPC{B: ode.Vary, NoCorrector: true, Published: true}},
		{"Uncorrected is [2]; the steps that are corrected are 0 to 1", ode.UniPC{Uncorrected: []int{2}}}, {"Uncorrected is [-1]", ode.UniPC{Uncorrected: []int{-1}}},
		{"each to be named once", ode.UniPC{Uncorrected: []int{1, 1}}}, {"with NoCorrector all are", ode.UniPC{NoCorrector: true, Uncorrected: []int{0}}},
		{"Order is 5; 1 to 4 exist", ode.UniPC{Order: 5}}, {"Order is -2", ode.UniPC{Order: -2}}, {"B is 3", ode.UniPC{B: 3}},
		{"no slope for B", ode.UniPC{Order: 1, NoCorrector: true, B: ode.B1}}} {
		_, err := c.solver.Plan(ode.Problem{Schedule: ode.VPLinear{}, Steps: 3})
		require.ErrorContains(t, err, c.want)
	}
}

// Steps that are not corrected are those of UniP, and the others those of UniPC.
func TestUncorrectedStepsAreThoseOfThePredictor(t *testing.T) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Data, Steps: 6}
	combines := func(c ode.UniPC) (n [6]int) {
		for _, in := range compile(t, c, p).Code {
			if in.Op == ode.Combine {
				n[in.Step]++
			}
		}
		return n
	}
	require.Equal(t, [6]int{2, 2, 2, 2, 2, 1}, combines(ode.UniPC{Order: 3}))
	require.Equal(t, [6]int{1, 2, 2, 1, 2, 1}, combines(ode.UniPC{Order: 3, Uncorrected: []int{3, 0}}))
	all := compile(t, ode.UniPC{Order: 3, Uncorrected: []int{0, 1, 2, 3, 4}}, p)
	require.Equal(t, compile(t, ode.UniPC{Order: 3, NoCorrector: true}, p).Table(), all.Table())
	_, err := ode.UniPC{Uncorrected: []int{0}}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 4})
	require.ErrorContains(t, err, "steps from α = 0 and to σ = 0 never are corrected")
}

// The corrector of the release's vary_coeff, written as it is there, next to ours, which above order 1 is that of every other B.
func TestTheCorrectorOfVaryIsWholeUnlessPublished(t *testing.T) {
	s := ode.VPLinear{}
	knots := []float64{.8, .65, .5, .3}
	for _, noise := range []bool{false, true} {
		raw := ode.Data
		if noise {
			raw = ode.Noise
		}
		published := compile(t, ode.UniPC{Order: 3, B: ode.Vary, Noise: noise, Published: true}, ode.Problem{Schedule: s, Raw: raw, Knots: append(knots, .2)})
		whole := compile(t, ode.UniPC{Order: 3, B: ode.Vary, Noise: noise}, ode.Problem{Schedule: s, Raw: raw, Knots: append(knots, .2)})
		right := compile(t, ode.UniPC{Order: 3, Noise: noise}, ode.Problem{Schedule: s, Raw: raw, Knots: append(knots, .2)})
		var at [4]float64
		for i, k := range knots {
			at[i] = s.At(k).Lambda()
		}
		h := at[3] - at[2]
		hh, scale := h, s.At(.3).Sigma
		if !noise {
			hh, scale = -h, s.At(.3).Alpha
		}
		r := []float64{(at[1] - at[2]) / h, (at[0] - at[2]) / h, 1}
		c := mat.NewDense(3, 3, nil)
		for j, v := range r {
			for k, factorial := range []float64{1, 2, 6} {
				c.Set(j, k, math.Pow(v, float64(k))/factorial)
			}
		}
		var a mat.Dense
		require.NoError(t, a.Inverse(c))
		var phis []float64 // hh φ_1, hh φ_2, …
		for k, last := 0, math.Expm1(hh); k < 4; k++ {
			phis = append(phis, last)
			last = last/hh - []float64{1, 1. / 2, 1. / 6, 1. / 24}[k]
		}
		for _, v := range []struct {
			plan *ode.Plan
			d    [3]float64 // of D_1, D_2 and D_t
		}{
			{published, [3]float64{phis[1]*a.At(0, 0) + phis[2]*a.At(1, 0), phis[1]*a.At(0, 1) + phis[2]*a.At(1, 1), phis[3] * a.At(1, 2)}},
			{whole, [3]float64{
				phis[1]*a.At(0, 0) + phis[2]*a.At(1, 0) + phis[3]*a.At(2, 0), phis[1]*a.At(0, 1) + phis[2]*a.At(1, 1) + phis[3]*a.At(2, 1),
				phis[1]*a.At(0, 2) + phis[2]*a.At(1, 2) + phis[3]*a.At(2, 2)}},
		} {
			var corrected ode.Instr // the last of step 2
			for _, in := range v.plan.Code {
				if in.Step == 2 && in.Op == ode.Combine {
					corrected = in
				}
			}
			terms := map[ode.Reg]float64{}
			for _, term := range corrected.Terms {
				terms[term.Reg] = term.C
			}
			var ms []ode.Reg // predictions, oldest first
			for _, in := range v.plan.Code {
				if in.Op == ode.Evaluate {
					ms = append(ms, in.Dst)
				}
			}
			require.InDelta(t, -scale*v.d[0]/r[0], terms[ms[1]], 1e-13, v.plan.Name)
			require.InDelta(t, -scale*v.d[1]/r[1], terms[ms[0]], 1e-13, v.plan.Name)
			require.InDelta(t, -scale*v.d[2], terms[ms[3]], 1e-13, v.plan.Name)
		}
		for i, in := range whole.Code {
			if in.Step >= 2 && in.Op == ode.Combine {
				require.Equal(t, right.Code[i].Terms, in.Terms, "from order 3 on nothing depends on B")
			}
		}
		// Two-step runs have a corrector of order 1 alone, which is right.
		two := func(published bool) []float64 {
			return compile(t, ode.UniPC{B: ode.Vary, Noise: noise, Published: published}, ode.Problem{Schedule: s, Raw: raw, Knots: knots[:3]}).Table()
		}
		require.Equal(t, two(false), two(true))
	}
}

func ExampleUniPC() {
	p, err := ode.UniPC{Order: 2}.Plan(ode.Problem{Schedule: ode.EDM{}, Raw: ode.Data, Knots: []float64{10, 5, 2}})
	if err != nil {
		panic(err)
	}
	fmt.Print(p)
	// Output:
	// UniPC-2: order 3, 2 evaluations and 0 draws, network predicts Data
	// in  x=x0
	// out x=x2
	// of  knots[3]
	//   m0 = net(x0, t=10)  #0
	//   v2 = 0.5·x0 + 0.5·m0
	//   m1 = net(v2, t=5)  #1
	//   x1 = 0.5·x0 + 0.25·m0 + 0.25·m1
	//   x2 = 0.4·x1 + 0.9966·m1 − 0.3966·m0
}
