package ode_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// The gradient to the knots of a discrete schedule is that of the piece a knot lies in, and at a level that of the cleaner
// piece: it agrees with differences that stay inside.
func TestKnotGradientOfDiscreteSchedule(t *testing.T) {
	betas := make([]float64, 50)
	for i := range betas {
		betas[i] = 0.01 + 0.1*float64(i)/50
	}
	s, err := ode.DiscreteFromBetas(betas)
	require.NoError(t, err)
	knots := []float64{1, 0.813, 0.6, 0.391, 0.02} // 1, 0.6 and 0.02 are levels
	f, err := exact.NewField[float64](exact.Mixture{Weights: []float64{1, 2}, Means: [][]float64{{1, 0}, {-1, .5}}, Variances: []float64{.3, .2}}, s, ode.Noise)
	require.NoError(t, err)
	solve := func(knots []float64) *ode.Plan {
		p, err := ode.DDIM{}.Plan(ode.Problem{Schedule: s, Raw: ode.Noise, Knots: knots})
		require.NoError(t, err)
		return p
	}
	x, ct := []float64{.4, -1.1}, []float64{1, -.5}
	value := func(knots []float64) float64 {
		y, err := ode.Sample(context.Background(), solve(knots), f, x, 1)
		require.NoError(t, err)
		return ct[0]*y[0] + ct[1]*y[1]
	}
	p := solve(knots)
	back, err := p.Transpose()
	require.NoError(t, err)
	forward, err := ode.NewRunner[float64](p, 1, 2, back.Needs(true)...)
	require.NoError(t, err)
	require.NoError(t, forward.Run(context.Background(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}}))
	pull, err := ode.NewRunner[float64](back, 1, 2)
	require.NoError(t, err)
	table := make([]float64, len(p.Table()))
	require.NoError(t, pull.Run(context.Background(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": ct}, Forward: forward.Reg, Table: table}))
	g, err := p.PullTable("knots", table)
	require.NoError(t, err)
	for i := range knots {
		const h = 1e-4 // pieces are 0.02 long
		at := func(k float64) float64 {
			moved := append([]float64(nil), knots...)
			moved[i] += k * h
			return value(moved)
		}
		fd := (-25*at(0) + 48*at(-1) - 36*at(-2) + 16*at(-3) - 3*at(-4)) / (-12 * h)
		// A one-sided difference of fourth order at h = 1e-4 loses 1e-16·50/h of values near 1.
		require.InDelta(t, fd, g[i], 1e-7, "knot %d", i)
	}
}

// A knot that rounding has put beside a level is at it: the gradient is that of the cleaner piece, as where rounding has not.
func TestKnotGradientsBesideALevel(t *testing.T) {
	for _, n := range []int{5, 10, 20} {
		p := compile(t, ode.DDIM{}, ode.Problem{Schedule: discrete(t), From: 1, To: 0, Steps: n, Grid: ode.UniformTime{}})
		g, err := p.PullTable("knots", slices.Repeat([]float64{1}, len(p.Table())))
		require.NoError(t, err)
		for i, v := range g {
			require.False(t, math.IsNaN(v), "knot %d of %d", i, n)
		}
	}
	gradient := func(at float64) float64 {
		p := compile(t, ode.DDIM{}, ode.Problem{Schedule: discrete(t), Knots: []float64{.9, at, .05}})
		g, err := p.PullTable("knots", slices.Repeat([]float64{1}, len(p.Table())))
		require.NoError(t, err)
		return g[1]
	}
	want := gradient(.2 - 1e-6) // in the piece below, which is .001 long
	for _, beside := range []float64{math.Nextafter(.2, 0), .2, math.Nextafter(.2, 1), .2 - 1e-15, .2 - 1e-13, .2 - 1e-11, .2 + 1e-15, .2 + 1e-13, .2 + 1e-11} {
		require.InEpsilon(t, want, gradient(beside), 1e-3, "%v", beside-.2)
	}
}

// A stage of a step that lies at a level stays, with its knots, in the cleaner piece.
func TestKnotGradientsOfStagesAtALevel(t *testing.T) {
	for _, raw := range []ode.Prediction{ode.Velocity, ode.Noise} {
		gradient := func(off float64) float64 { // the stage between 1/3 and 1/6 is at 1/4, which is a level
			knots := []float64{1, 5. / 6, 2. / 3, .5, 1./3 + off, 1. / 6, .01}
			p := compile(t, ode.RK{Tableau: ode.MidpointRule(), In: ode.Time}, ode.Problem{Schedule: discrete(t), Raw: raw, Knots: knots})
			g, err := p.PullTable("knots", slices.Repeat([]float64{1}, len(p.Table())))
			require.NoError(t, err)
			return g[4]
		}
		require.InEpsilon(t, gradient(-2e-5), gradient(0), 0.01, raw)
	}
}
