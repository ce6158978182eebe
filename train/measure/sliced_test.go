package measure

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func slicedW2(t *testing.T, a, b Features, directions int, seed uint64) float64 {
	t.Helper()
	d, err := SlicedW2(a, b, directions, seed)
	require.NoError(t, err)
	return d
}

func TestSlicedW2OfAShiftIsItsLength(t *testing.T) {
	a := normal(40, 1, 1)
	require.InEpsilon(t, 2.5, slicedW2(t, a, moved(a, []float64{-2.5}), 3, 1), 1e-12)

	s := []float64{1, 2, -2, 0}
	want := 0.0
	for k := range 16 {
		dot := 0.0
		for i, v := range direction(4, 7, uint64(k)) {
			dot += v * s[i]
		}
		want += dot * dot / 16
	}
	b := normal(40, 4, 1)
	require.InEpsilon(t, math.Sqrt(want), slicedW2(t, b, moved(b, s), 16, 7), 1e-12)
	// The mean of cos² has standard deviation √(3/(4·6) − 1/16)/√4000 = 0.004 of ¼: five of them are 8 % of it, 4 % of the root.
	require.InEpsilon(t, 3/2.0, slicedW2(t, b, moved(b, s), 4000, 8), 0.04)
}

func TestSlicedW2OfUnequalSizesIsThatOfTheQuantiles(t *testing.T) {
	a := Features{Data: []float64{3, 0}, N: 2, D: 1}
	b := Features{Data: []float64{6, 0, 3}, N: 3, D: 1}
	// Quantile steps at 1/3, 1/2, 2/3: differences 0, −3, 0, −3 on lengths 1/3, 1/6, 1/6, 1/3.
	require.InEpsilon(t, math.Sqrt(9.0/6+9.0/3), slicedW2(t, a, b, 1, 1), 1e-12)
	// Every sample twice is the same distribution.
	x, y := normal(7, 3, 1), normal(5, 3, 2)
	twice := Features{Data: append(clone(x).Data, x.Data...), N: 14, D: 3}
	require.InEpsilon(t, slicedW2(t, x, y, 9, 3), slicedW2(t, twice, y, 9, 3), 1e-12)
	require.InDelta(t, 0, slicedW2(t, x, twice, 9, 3), 1e-12)
}

func TestSlicedW2SymmetryOrderAndSeed(t *testing.T) {
	x, y := normal(30, 6, 1), scaled(normal(30, 6, 2), 2)
	d := slicedW2(t, x, y, 32, 1)
	require.Equal(t, d, slicedW2(t, x, y, 32, 1))
	require.NotEqual(t, d, slicedW2(t, x, y, 32, 2))
	require.InEpsilon(t, d, slicedW2(t, reversed(y), x, 32, 1), 1e-12)
	require.Zero(t, slicedW2(t, x, reversed(x), 32, 1))
	_, err := SlicedW2(x, y, 0, 1)
	require.ErrorContains(t, err, "0 directions")
}
