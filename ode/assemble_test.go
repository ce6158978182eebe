package ode_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// shape is a plan without its numbers.
func shape(p *ode.Plan) (lines []string) {
	for _, in := range p.Code {
		regs := []ode.Reg{in.Dst, in.Src}
		for _, t := range in.Terms {
			regs = append(regs, t.Reg)
		}
		lines = append(lines, fmt.Sprint(in.Op, in.Step, in.Index, regs))
	}
	return lines
}

// Moved off an end of the schedule, a knot keeps its first-order step and its place outside of the history: else there would be no
// derivative to take there. A plan made for those knots to begin with is another one.
func TestRebuildingKeepsEveryDecision(t *testing.T) {
	for _, c := range []struct {
		s     ode.Schedule
		raw   ode.Prediction
		knots []float64
		moved []float64
	}{
		{ode.Flow{}, ode.FlowVelocity, []float64{1, .8, .6, .3, 0}, []float64{.99, .8, .6, .3, .01}},
		{ode.Flow{}, ode.Data, []float64{1, .8, .6, .3, 0}, []float64{.99, .8, .6, .3, .01}},
		{ode.VPCosine{}, ode.Velocity, []float64{1, .8, .6, .3, 0}, []float64{.99, .8, .6, .3, .01}},
		{ode.EDM{}, ode.Denoiser, []float64{9, 5, 2, 1, 0}, []float64{9, 5, 2, 1, .1}},
	} {
		differ := 0
		for _, m := range swept() {
			if d, ok := m.solver.(ode.DPMpp); ok && d.Fast {
				continue
			}
			if d, ok := m.solver.(ode.DPM); ok && d.Fast {
				continue
			}
			p := compile(t, m.solver, ode.Problem{Schedule: c.s, Raw: c.raw, Knots: c.knots})
			param, ok := p.Param("knots")
			require.True(t, ok, m.name)
			moved, err := param.Rebuild(c.moved)
			require.NoError(t, err, m.name)
			require.Equal(t, shape(p), shape(moved), "%s on %T", m.name, c.s)
			require.NotEqual(t, p.Table(), moved.Table())

			fresh := compile(t, m.solver, ode.Problem{Schedule: c.s, Raw: c.raw, Knots: c.moved})
			if !slices.Equal(shape(p), shape(fresh)) {
				differ++
			}
			back, err := param.Rebuild(c.knots)
			require.NoError(t, err)
			require.Equal(t, p.Table(), back.Table(), m.name)
		}
		require.Greater(t, differ, 10, "the decisions are not idle")
	}
}

func TestRebuildRefusesWhatIsNoGrid(t *testing.T) {
	p := compile(t, ode.DDIM{}, ode.Problem{Schedule: ode.VPLinear{}, Knots: []float64{1, .5, .1}})
	param, _ := p.Param("knots")
	for _, c := range []struct {
		want  string
		knots []float64
	}{
		{"2 knots given to rebuild a plan of 3", []float64{1, .5}},
		{"knot 2 = 0.6", []float64{1, .5, .6}},
		{"knot 0 = 1.2 is outside", []float64{1.2, .5, .1}},
	} {
		_, err := param.Rebuild(c.knots)
		require.ErrorContains(t, err, c.want)
	}
	require.Equal(t, []float64{.5, .1, 0}, param.Lower, "as far as the next knot or the end")
	require.Equal(t, []float64{1, 1, .5}, param.Upper)
}

// assemble writes one step by hand.
func assemble(p ode.Problem, step func(a *ode.Assembler, x ode.Reg) ode.Reg) (*ode.Plan, error) {
	return ode.Assemble(p, "by hand", 1, func(a *ode.Assembler) {
		x := a.Input("x")
		a.State(0, x)
		for i := range a.Steps() {
			x = step(a, x)
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}

func TestTheFirstErrorStaysAndNamesTheSolver(t *testing.T) {
	vp := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 4}
	cause := errors.New("cause")
	for _, c := range []struct {
		want string
		step func(a *ode.Assembler, x ode.Reg) ode.Reg
	}{
		{"a coefficient of step 0, from t = 1 to", func(a *ode.Assembler, x ode.Reg) ode.Reg { return a.Combine(ode.Term{Reg: x, C: math.NaN()}) }},
		{"is +Inf", func(a *ode.Assembler, x ode.Reg) ode.Reg { return a.Combine(ode.Term{Reg: x, C: math.Inf(1)}) }},
		{"time 1.5 in step 0 is outside of the domain [0, 1]", func(a *ode.Assembler, x ode.Reg) ode.Reg { return a.Predict(x, a.At(1.5), ode.Noise).Reg }},
		{"first 3", func(a *ode.Assembler, x ode.Reg) ode.Reg { a.Fail("first %d", 3); a.Fail("second"); return x }},
		{"with a cause", func(a *ode.Assembler, x ode.Reg) ode.Reg { a.Fail("with a %w", cause); return x }},
		{"Score is infinite at t = 0", func(a *ode.Assembler, x ode.Reg) ode.Reg {
			m := a.Predict(x, a.Node(0), ode.Noise)
			m.At, m.Kind = a.At(0), ode.Score
			return a.Combine(a.First(x, m, a.Node(1))...)
		}},
		{"knot check", func(a *ode.Assembler, x ode.Reg) ode.Reg { return a.Combine(ode.Term{Reg: x, C: 1}) }},
	} {
		p, err := assemble(vp, c.step)
		require.Nil(t, p)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, "by hand")
		require.NotContains(t, err.Error(), "second")
	}
	_, err := assemble(vp, func(a *ode.Assembler, x ode.Reg) ode.Reg { a.Fail("%w", cause); return x })
	require.ErrorIs(t, err, cause)
}

func TestCombineAddsUpTermsOfOneRegister(t *testing.T) {
	p, err := assemble(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 1}, func(a *ode.Assembler, x ode.Reg) ode.Reg {
		a.Inexact()
		return a.Combine(ode.Term{Reg: x, C: 1}, ode.Term{Reg: x, C: 2}, ode.Term{Reg: x, C: 1, Elements: []float64{1, 2}})
	})
	require.NoError(t, err)
	require.Equal(t, []ode.Term{{Reg: 0, C: 3}, {Reg: 0, C: 1, Elements: []float64{1, 2}}}, p.Code[0].Terms)
}

// At an end of the schedule the wanted prediction may say nothing; Predict gives one that does, and First goes on from it.
func TestPredictGivesWhatIsDefined(t *testing.T) {
	for _, c := range []struct {
		raw, want, got ode.Prediction
		knots          []float64
	}{
		{ode.FlowVelocity, ode.Noise, ode.Data, []float64{1, .5}},
		{ode.FlowVelocity, ode.Data, ode.Data, []float64{1, .5}},
		{ode.FlowVelocity, ode.Data, ode.Noise, []float64{0, .5}},
		{ode.FlowVelocity, ode.Score, ode.Noise, []float64{0, .5}},
		{ode.FlowVelocity, ode.Score, ode.Score, []float64{.4, .5}},
	} {
		_, err := assemble(ode.Problem{Schedule: ode.Flow{}, Raw: c.raw, Knots: c.knots}, func(a *ode.Assembler, x ode.Reg) ode.Reg {
			m := a.Predict(x, a.Node(0), c.want)
			require.Equal(t, c.got, m.Kind, "%v at %v", c.want, c.knots[0])
			require.Equal(t, c.got == c.want, a.Defined(a.Node(0), c.want))
			return a.Combine(a.First(x, m, a.Node(1))...)
		})
		require.NoError(t, err)
	}
}

// wiggle is a schedule whose λ rises with time in the middle.
type wiggle struct{ ode.Flow }

func (wiggle) At(t float64) ode.Point {
	s := t + .3*math.Sin(2*math.Pi*t)
	return ode.Point{T: t, Alpha: 1 - s, Sigma: s}
}

func TestASchedulesMustFall(t *testing.T) {
	_, err := ode.DDIM{}.Plan(ode.Problem{Schedule: wiggle{}, Raw: ode.Data, From: .9, To: .1, Steps: 10, Grid: ode.UniformTime{}})
	require.ErrorContains(t, err, "λ does not fall with t between knots")
}

// A solver of one's own: the second-order Adams–Bashforth method for d(x/α)/d(σ/α) = ε̂, with a first-order start.
func ExampleAssemble() {
	plan, err := ode.Assemble(ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Knots: []float64{4, 2, 1}}, "AB2", 2, func(a *ode.Assembler) {
		x := a.Input("x")
		a.State(0, x)
		var ms []ode.Estimate
		for i := range a.Steps() {
			s, t := a.Node(i), a.Node(i+1)
			ms = a.Remember(a.Predict(x, s, ode.Noise), ms, 2)
			terms := a.First(x, ms[0], t)
			if len(ms) == 2 {
				h := t.Ratio() - s.Ratio()
				c := t.Alpha * h / 2 * h / (s.Ratio() - ms[1].At.Ratio())
				terms = append(terms, ode.Term{Reg: ms[0].Reg, C: c}, ode.Term{Reg: ms[1].Reg, C: -c})
			}
			x = a.Combine(terms...)
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
	if err != nil {
		panic(err)
	}
	fmt.Print(plan)
	// Output:
	// AB2: order 2, 2 evaluations and 0 draws, network predicts Denoiser
	// in  x=x0
	// out x=x2
	// of  knots[3]
	//   m0 = net(x0, t=4)  #0
	//   v2 = 0.25·x0 − 0.25·m0
	//   x1 = x0 − 2·v2
	//   m1 = net(x1, t=2)  #1
	//   v5 = 0.5·x1 − 0.5·m1
	//   x2 = x1 − 1.25·v5 + 0.25·v2
}
