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

// Three errors in turn, of which the second is rejected and leaves no trace.
func TestPIDLengthOfTheNextStep(t *testing.T) {
	r := adaptiveRun[float64]{e: &embedded{order: 2}}
	var err error
	r.PID, err = PID{P: .2, I: .5, D: .1}.check()
	require.NoError(t, err)
	limit := func(f float64) float64 { return 1 + math.Atan(f-1) }
	next := func(size, want float64, good bool) {
		t.Helper()
		factor, taken := r.control(size)
		require.InEpsilon(t, limit(want), factor, 1e-7) // of the 1e-8 that is added to the errors
		require.Equal(t, good, taken)
	}
	next(.5, math.Pow(.5, -.4+.2-.05), true)
	next(40, math.Pow(40, -.4)*math.Pow(.5, .2-.05), false)
	next(.3, math.Pow(.3, -.4)*math.Pow(.5, .2-.05), true)
	next(.7, math.Pow(.7, -.4)*math.Pow(.3, .2)*math.Pow(.5, -.05), true)
}
