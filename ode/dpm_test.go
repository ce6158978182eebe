package ode_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

func TestUselessOptionsAreRefused(t *testing.T) {
	for _, c := range []struct {
		want   string
		solver ode.DPMpp
	}{
		{"Order is 4", ode.DPMpp{Order: 4}},
		{"Order is -1", ode.DPMpp{Order: -1}},
		{"Correction is 2", ode.DPMpp{Correction: 2}},
		{"nothing to correct", ode.DPMpp{Order: 1, Correction: ode.Taylor}},
		{"Published differs in multistep order 3 alone", ode.DPMpp{Published: true}},
		{"Published differs in multistep order 3 alone", ode.DPMpp{Order: 3, Single: true, Published: true}},
	} {
		_, err := c.solver.Plan(ode.Problem{Schedule: ode.VPLinear{}, Steps: 3})
		require.ErrorContains(t, err, c.want)
		_, err = ode.DPM(c.solver).Plan(ode.Problem{Schedule: ode.VPLinear{}, Steps: 3})
		require.ErrorContains(t, err, c.want)
	}
	_, err := ode.DPMpp{Fast: true}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Knots: []float64{1, .5, .1}})
	require.ErrorContains(t, err, "Fast lays its own knots")
}

// An option that changes nothing is a bug: each of them makes another plan with another name.
func TestEveryOptionHasAnEffect(t *testing.T) {
	seen, tables := map[string]bool{}, [][]float64{}
	for _, d := range []ode.DPMpp{
		{Order: 1}, {}, {Order: 3}, {Correction: ode.Taylor}, {Order: 3, Correction: ode.Taylor}, {Single: true}, {Fast: true},
		{Order: 3, Single: true}, {Order: 3, Fast: true}, {Order: 3, Published: true},
	} {
		for _, s := range []ode.Solver{d, ode.DPM(d)} {
			p := compile(t, s, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 6})
			require.False(t, seen[p.Name], p.Name)
			seen[p.Name] = true
			for _, other := range tables {
				require.NotEqual(t, other, p.Table(), p.Name)
			}
			tables = append(tables, p.Table())
		}
	}
	require.Contains(t, seen, "DPM-Solver++(3M, published)")
	require.Contains(t, seen, "DPM-Solver(2S, fast)")
}

// The steps of a fast run by the rule of the release, for every remainder.
func TestFastSplitsTheBudget(t *testing.T) {
	for _, c := range []struct {
		order, steps int
		want         []int // evaluations in each step
	}{
		{3, 1, []int{1}}, {3, 2, []int{2}}, {3, 3, []int{2, 1}}, {3, 4, []int{3, 1}}, {3, 5, []int{3, 2}}, {3, 6, []int{3, 2, 1}},
		{3, 12, []int{3, 3, 3, 2, 1}}, {2, 5, []int{2, 2, 1}}, {2, 4, []int{2, 2}}, {1, 3, []int{1, 1, 1}},
	} {
		for _, grid := range []ode.Grid{nil, ode.LogSNR{}, ode.UniformTime{}, ode.Karras{}} {
			p := compile(t, ode.DPM{Order: c.order, Fast: true}, ode.Problem{Schedule: ode.VPLinear{}, Steps: c.steps, Grid: grid})
			got := make([]int, len(p.Knots)-1)
			for _, in := range p.Code {
				if in.Op == ode.Evaluate {
					got[in.Step]++
				}
			}
			require.Equal(t, c.want, got, "%d steps on %T", c.steps, grid)
			_, has := p.Param("knots")
			require.False(t, has, "its knots are not those of the problem")
		}
	}
	// equal intervals in λ whatever the order, but shares of the grid elsewhere
	p := compile(t, ode.DPM{Order: 3, Fast: true}, ode.Problem{Schedule: ode.VPLinear{}, From: 1, To: .1, Steps: 4, Grid: ode.UniformTime{}})
	require.InDelta(t, .325, p.Knots[1].T, 1e-15)
	flow := compile(t, ode.DPM{Order: 3, Fast: true}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 6})
	require.Equal(t, 6, flow.NFE())
	require.Len(t, flow.Knots, 5) // 1, then 3 + 1, then 1 to σ = 0
}

// Without a grid, points inside a step are uniform in λ; with one, they are where it would put them.
func TestInnerPointsComeFromTheGrid(t *testing.T) {
	s := ode.VPLinear{}
	middle := func(p ode.Problem) float64 { return compile(t, ode.DPM{Single: true}, p).Code[2].T }
	lambda := s.TimeOf((s.At(1).Lambda() + s.At(.1).Lambda()) / 2)
	require.InDelta(t, lambda, middle(ode.Problem{Schedule: s, Knots: []float64{1, .1}}), 1e-15)
	require.InDelta(t, .55, middle(ode.Problem{Schedule: s, From: 1, To: .1, Steps: 1, Grid: ode.UniformTime{}}), 1e-15)
}
