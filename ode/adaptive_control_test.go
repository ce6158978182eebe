package ode

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// The control of the length of steps, by its formula.
func TestLengthOfTheNextStep(t *testing.T) {
	r := adaptiveRun[float64]{e: &embedded{order: 3}}
	for _, c := range []struct {
		reason     string
		last, size float64
		good       bool
		want       float64
	}{
		{"proportional and integral", .1, .5, true, .9 * math.Pow(.5, -.7/3) * math.Pow(.1, .4/3)},
		{"an error that grows shortens more", .01, .5, true, .9 * math.Pow(.5, -.7/3) * math.Pow(.01, .4/3)},
		{"no longer just after a rejection", 2, .01, true, 1},
		{"but shorter if need be", 2, .99, true, .9 * math.Pow(.99, -.7/3)},
		{"no error", 1, 0, true, 5},
		{"rejected", .1, 2, false, .9 * math.Pow(2, -1./3)},
		{"rejected by far", .1, 1e9, false, .2},
	} {
		r.last = c.last
		require.InDelta(t, c.want, r.factor(c.size, c.good), 1e-14, c.reason)
	}
	r.Published = true
	require.Equal(t, .9*float64(float32(math.Pow(.5, -1./3))), r.factor(.5, true))
	require.Equal(t, .9*float64(float32(math.Pow(2, -1./3))), r.factor(2, false))
}
