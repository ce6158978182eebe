package exact_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// Levels are as likely as their densities say, of Gaussian noise and of PFGM++, near the data and where densities are too small for a number.
func TestLevelPosterior(t *testing.T) {
	levels, s := []float64{3, 1, .2, .01}, ode.EDM{}
	for _, d := range []float64{0, 5} {
		m := exact.Mixture{Weights: []float64{1, 2}, Means: [][]float64{{0, 1, 2}, {-1, 0, 3}}, Variances: []float64{.1, .02}, D: d}
		x := []float64{.1, .9, 2.2, -3, 1, 1, 50, 60, 70}
		p := make([]float64, 12)
		require.NoError(t, m.LevelPosterior(p, x, s, levels))
		for b := range 3 {
			var logs [4]float64
			sum := 0.
			for l, level := range levels {
				var err error
				logs[l], err = m.LogDensity(x[3*b:3*b+3], s.At(level))
				require.NoError(t, err)
				sum += math.Exp(logs[l] - logs[0])
			}
			for l := range levels {
				require.InDelta(t, math.Exp(logs[l]-logs[0])/sum, p[4*b+l], 1e-12)
			}
		}
	}
	m := exact.Mixture{Weights: []float64{1}, Means: [][]float64{{0, 1}}, Variances: []float64{0}}
	require.ErrorContains(t, m.LevelPosterior(make([]float64, 3), make([]float64, 4), s, levels[:2]), "posterior of 2 levels in 3 values for 4 values of x in samples of 2")
	require.ErrorContains(t, m.LevelPosterior(nil, nil, s, nil), "of 0 levels")
	require.Error(t, m.LevelPosterior(make([]float64, 1), make([]float64, 2), s, []float64{0}), "no density at σ = 0 of points")
}
