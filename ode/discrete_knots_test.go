package ode_test

import (
	"context"
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
