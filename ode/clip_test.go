package ode

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClipping(t *testing.T) {
	x := []float64{-4, 1, .5, 2, -3}
	for _, c := range []struct {
		reason string
		clip   Clipping
		want   []float64
	}{
		{"static clamps", Clipping{Max: 1.5}, []float64{-1.5, 1, .5, 1.5, -1.5}},
		{"the median of |x| is 2, so 2 becomes 1", Clipping{Max: 1, Quantile: .5}, []float64{-1, .5, .25, 1, -1}},
		{"between the 2nd and 3rd of |x|: 1.75", Clipping{Max: 1, Quantile: .4375}, []float64{-1, 1 / 1.75, .5 / 1.75, 1, -1}},
		{"the largest value decides", Clipping{Max: 2, Quantile: 1}, []float64{-2, .5, .25, 1, -1.5}},
		{"a quantile below Max is raised to it", Clipping{Max: 3.5, Quantile: .5}, []float64{-3.5, 1, .5, 2, -3}},
	} {
		got := make([]float64, len(x))
		ClipSample(c.clip, got, x, make([]float64, len(x)))
		require.InDeltaSlice(t, c.want, got, 1e-15, c.reason)
	}
}

func TestClipGradientAgreesWithDifferences(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	const n = 9
	for _, c := range []Clipping{{Max: .8}, {Max: .5, Quantile: .7}, {Max: .5, Quantile: .75}, {Max: .5, Quantile: 1}, {Max: 4, Quantile: .9}, {Max: .5, Quantile: .01}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			x, g, got, scratch := make([]float64, n), make([]float64, n), make([]float64, n), make([]float64, n)
			for i := range x {
				x[i], g[i] = r.NormFloat64(), r.NormFloat64()
			}
			PullClipSample(c, got, g, x, scratch)
			y := make([]float64, n)
			at := func(i int, d float64) float64 {
				v := x[i]
				x[i] += d
				ClipSample(c, y, x, scratch)
				x[i] = v
				s := 0.0
				for k := range y {
					s += g[k] * y[k]
				}
				return s
			}
			for i := range x {
				const h = 1e-4
				require.InDelta(t, (8*(at(i, h)-at(i, -h))-(at(i, 2*h)-at(i, -2*h)))/(12*h), got[i], 1e-10, "element %d of %v", i, x)
			}
		})
	}
}

func TestStopHoldsTheQuantile(t *testing.T) {
	x, g := []float64{-4, 1, .5, 2, -3}, []float64{1, 1, 1, 1, 1}
	got := make([]float64, len(x))
	PullClipSample(Clipping{Max: 1, Quantile: .5, Stop: true}, got, g, x, make([]float64, len(x)))
	require.Equal(t, []float64{0, .5, .5, 0, 0}, got)
	PullClipSample(Clipping{Max: 1, Quantile: .5}, got, g, x, make([]float64, len(x)))
	require.Equal(t, []float64{0, .5, .5, -.375, 0}, got, "the median 2 scales 1 and 0.5: −(1+0.5)/2²")
}

// Elements of equal size share a place in the order; the gradient of the quantile then goes to one of each.
func TestClipOfTiesAndInfinities(t *testing.T) {
	x := []float64{2, -2, 2, .5}
	got, g := make([]float64, 4), []float64{1, 1, 1, 1}
	PullClipSample(Clipping{Max: 1, Quantile: .5}, got, g, x, make([]float64, 4))
	require.InDeltaSlice(t, []float64{-.0625, .0625, 0, .5}, got, 1e-15, "half of −0.5/2² to element 0, the other half with the sign of element 1")
	ClipSample(Clipping{Max: 1, Quantile: .9}, got, []float64{math.NaN(), math.Inf(1), 1, 0}, make([]float64, 4))
}
