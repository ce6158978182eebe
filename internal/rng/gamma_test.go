package rng

import (
	"math"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mathext"
)

// Kolmogorov and Smirnov's distance exceeds 1.95/√n once in a thousand times, shapes below 1, where a power of a uniform value enters, included.
func TestGammaHasItsDistribution(t *testing.T) {
	const n = 40000
	for _, shape := range []float64{.3, .5, 1, 2.5, 64, 4096} {
		x := make([]float64, n)
		for i := range x {
			x[i] = mathext.GammaIncReg(shape, Gamma(shape, 8, 3, uint64(i)))
		}
		sort.Float64s(x)
		worst := 0.0
		for i, v := range x {
			worst = max(worst, math.Abs(v-(float64(i)+.5)/n))
		}
		require.Less(t, worst, 1.95/math.Sqrt(n), "shape %v", shape)
	}
}

func TestGammaDependsOnItsAddressOnly(t *testing.T) {
	g := Gamma(2, 1, 2, 3)
	require.Equal(t, g, Gamma(2, 1, 2, 3))
	for _, other := range []float64{Gamma(3, 1, 2, 3), Gamma(2, 2, 2, 3), Gamma(2, 1, 3, 3), Gamma(2, 1, 2, 4)} {
		require.NotEqual(t, g, other)
	}
	require.Zero(t, testing.AllocsPerRun(10, func() { Gamma(.5, 1, 2, 3) }))
}
