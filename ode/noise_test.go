package ode

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A sample has its noise whatever batch it is in, every draw and the latent have their own, and asking again gives the
// same.
func TestSeededNoiseBelongsToTheSample(t *testing.T) {
	draw := func(s Seed[float64], index, batch int) []float64 {
		z := make([]float64, 3*batch)
		require.NoError(t, s.Draw(z, DrawCall{Index: index, Batch: batch}))
		return z
	}
	whole := draw(Seed[float64]{Key: 9}, 2, 4)
	require.Equal(t, whole, draw(Seed[float64]{Key: 9}, 2, 4))
	require.Equal(t, whole[6:], draw(Seed[float64]{Key: 9, First: 2}, 2, 2))
	require.NotEqual(t, whole, draw(Seed[float64]{Key: 9}, 1, 4))
	require.NotEqual(t, whole, draw(Seed[float64]{Key: 8}, 2, 4))
	require.NotEqual(t, whole[:3], whole[3:6])

	latent, err := Latent[float64](euler(), Seed[float64]{Key: 9}, 4, 3)
	require.NoError(t, err)
	for i, z := range draw(Seed[float64]{Key: 9}, -1, 4) {
		require.Equal(t, .9*z, latent[i], "σ of the first knot is 0.9")
	}
}

func TestMisuseOfNoiseIsNamed(t *testing.T) {
	require.ErrorContains(t, Seed[float64]{}.Draw(make([]float64, 3), DrawCall{Batch: 2}), "in 3 values")
	require.ErrorContains(t, Seed[float64]{First: -1}.Draw(make([]float64, 2), DrawCall{Batch: 2}), "from -1 on")
	require.ErrorContains(t, Given[float64]{}.Draw(nil, DrawCall{Index: -1}), "asks for draw -1")
	_, err := Latent[float64](euler(), Seed[float64]{}, 0, 3)
	require.ErrorContains(t, err, "batch 0")
	_, err = Latent[float64](&Plan{Name: "empty"}, Seed[float64]{}, 1, 3)
	require.ErrorContains(t, err, "has no knots")
}
