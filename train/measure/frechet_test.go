package measure

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
)

func frechet(t *testing.T, a, b Features) float64 {
	t.Helper()
	d, err := Frechet(a, b)
	require.NoError(t, err)
	return d
}

func TestFrechetOfGaussiansWithCommutingCovariances(t *testing.T) {
	a := mapped(white(50, 3, 1), mat.NewDiagDense(3, []float64{1, 2, 3}))
	b := moved(mapped(white(41, 3, 2), mat.NewDiagDense(3, []float64{4, 0.5, 3})), []float64{1, -2, 0.5})
	want := 1 + 4 + 0.25 + 9 + 2.25 + 0.0 // |Δμ|² + Σ(σ_a − σ_b)²
	require.InEpsilon(t, want, frechet(t, a, b), 1e-12)
}

func TestFrechetOfGaussiansInThePlane(t *testing.T) {
	// For 2×2 matrices tr √M = √(tr M + 2 √det M), whatever their axes.
	la, lb := mat.NewDense(2, 2, []float64{2, 0, 1, 0.3}), mat.NewDense(2, 2, []float64{1, 0, -0.7, 1.5})
	var ca, cb, m mat.Dense
	ca.Mul(la, la.T())
	cb.Mul(lb, lb.T())
	m.Mul(&ca, &cb)
	want := mat.Trace(&ca) + mat.Trace(&cb) - 2*math.Sqrt(mat.Trace(&m)+2*math.Sqrt(mat.Det(&m)))
	require.InEpsilon(t, want, frechet(t, mapped(white(30, 2, 3), la), mapped(white(30, 2, 4), lb)), 1e-12)
}

func TestFrechetOfCovariancesOfRankOne(t *testing.T) {
	// Two samples m ± a have covariance 2aaᵀ, and tr (aaᵀbbᵀ)^½ = |a·b|.
	a := Features{Data: []float64{1, 2, 0, 1, -1, -2, 0, -1}, N: 2, D: 4}
	b := Features{Data: []float64{3, 1, 1, 0, -3, -1, -1, 0}, N: 2, D: 4}
	require.InEpsilon(t, 2*6+2*11-4*5.0, frechet(t, a, b), 1e-12)
	b = moved(b, []float64{0, 0, 0, 2})
	require.InEpsilon(t, 4+2*6+2*11-4*5.0, frechet(t, a, b), 1e-12)
}

func TestFrechetIsZeroForEqualSetsAtAnyRank(t *testing.T) {
	for _, shape := range [][2]int{{200, 8}, {9, 8}, {8, 8}, {3, 8}, {2, 1}} {
		a := normal(shape[0], shape[1], 5)
		require.InDelta(t, 0, frechet(t, a, reversed(a)), 1e-12, "%v", shape)
	}
	// A dead feature, as classifiers have.
	a := mapped(normal(50, 3, 5), mat.NewDiagDense(3, []float64{1, 0, 1e-9}))
	require.InDelta(t, 0, frechet(t, a, a), 1e-12)
}

func TestFrechetInvariances(t *testing.T) {
	a, b := normal(60, 5, 1), scaled(moved(normal(50, 5, 2), []float64{1, 0, 0, 0, 2}), 1.5)
	d := frechet(t, a, b)
	require.InEpsilon(t, d, frechet(t, b, a), 1e-12)
	r, s := rotation(5, 9), []float64{3, -1, 4, -1, 5}
	require.InEpsilon(t, d, frechet(t, moved(mapped(a, r), s), moved(mapped(b, r), s)), 1e-12)
	require.InEpsilon(t, 4*d, frechet(t, scaled(a, 2), scaled(b, 2)), 1e-12)
	_, err := Frechet(normal(1, 5, 1), b)
	require.ErrorContains(t, err, "first set has 1 samples, at least 2 are needed")
	_, err = Frechet(scaled(a, 1e200), b)
	require.Error(t, err)
}

// Moments stand in for their set, and broken ones are refused.
func TestMomentsStandInForTheirSet(t *testing.T) {
	for _, n := range []int{2, 5, 40} { // fewer samples than dimensions, and more
		a, b := normal(n, 6, 1), scaled(normal(30, 6, 2), 2)
		ma, err := MomentsOf(a)
		require.NoError(t, err)
		mb, err := MomentsOf(b)
		require.NoError(t, err)
		require.Equal(t, []int{n, 6}, []int{ma.N, ma.D})
		require.Len(t, ma.Root, 6*min(n, 6))
		d, err := ma.Frechet(mb)
		require.NoError(t, err)
		require.Equal(t, frechet(t, a, b), d)
	}
	_, err := MomentsOf(normal(1, 3, 1))
	require.Error(t, err)
	good, err := MomentsOf(normal(5, 2, 1))
	require.NoError(t, err)
	for want, bad := range map[string]Moments{
		"of 2 and of 1 dimensions":               {N: 2, D: 1, Mean: []float64{0}, Root: []float64{1}},
		"a mean of 1 and a root of 4":            {N: 2, D: 2, Mean: []float64{0}, Root: make([]float64, 4)},
		"a mean of 2 and a root of 3":            {N: 2, D: 2, Mean: make([]float64, 2), Root: make([]float64, 3)},
		"moments of 0 dimensions":                {},
		"with the value NaN":                     {N: 2, D: 2, Mean: []float64{0, math.NaN()}, Root: make([]float64, 4)},
		"the features are too large for float64": {N: 2, D: 2, Mean: []float64{0, 1e200}, Root: make([]float64, 4)},
	} {
		_, err := good.Frechet(bad)
		require.ErrorContains(t, err, want)
	}
}
