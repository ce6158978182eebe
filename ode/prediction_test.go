package ode_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

var predictions = []ode.Prediction{ode.Noise, ode.Data, ode.Velocity, ode.FlowVelocity, ode.Score, ode.Denoiser}

func TestConvertJoinsAllPairs(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, s := range schedules(t) {
		lo, hi := s.Range()
		for range 50 {
			at := s.At(lo + (hi-lo)*(.001+.998*random.Float64()))
			x0, eps := random.NormFloat64(), random.NormFloat64()
			x := at.Alpha*x0 + at.Sigma*eps
			for _, raw := range predictions {
				for _, target := range predictions {
					r0, r1, err := raw.Of(at)
					require.NoError(t, err)
					t0, t1, err := target.Of(at)
					require.NoError(t, err)
					u, v, err := ode.Convert(raw, target, at)
					require.NoError(t, err)
					// what cancels is as large as the two summands
					size := 1 + math.Abs(u*x) + math.Abs(v*(r0*x0+r1*eps))
					require.InDelta(t, t0*x0+t1*eps, u*x+v*(r0*x0+r1*eps), 1e-12*size, "%s: %v to %v at %+v", name, raw, target, at)
					if raw == target {
						require.Equal(t, [2]float64{0, 1}, [2]float64{u, v}, "%v to itself", raw)
					}
				}
			}
		}
	}
}

func TestPredictionsAreWhatTheySay(t *testing.T) {
	at := ode.Flow{}.At(.25)
	a, b, err := ode.FlowVelocity.Of(at)
	require.NoError(t, err)
	require.Equal(t, [2]float64{-1, 1}, [2]float64{a, b}, "ε − x_0")
	a, b, err = ode.Velocity.Of(ode.VPLinear{}.At(.5))
	require.NoError(t, err)
	require.InDelta(t, 1, a*a+b*b, 1e-15, "v is a rotation of (x_0, ε)")
	a, b, err = ode.Score.Of(at)
	require.NoError(t, err)
	require.Equal(t, [2]float64{0, -4}, [2]float64{a, b}, "−ε/σ")
}

func TestConversionsThatSayNothingAreErrors(t *testing.T) {
	noise, data := ode.Flow{}.At(1), ode.Flow{}.At(0)
	for _, c := range []struct {
		raw, target ode.Prediction
		at          ode.Point
		want        string
	}{
		{ode.Noise, ode.Data, noise, "Noise does not determine x_0 and ε at t = 1"},
		{ode.Score, ode.Data, noise, "Score does not determine"},
		{ode.Data, ode.Noise, data, "Data does not determine x_0 and ε at t = 0"},
		{ode.Denoiser, ode.FlowVelocity, data, "Denoiser does not determine"},
		{ode.Data, ode.Score, data, "Score is infinite at t = 0"},
		{ode.Score, ode.Data, data, "Score is infinite at t = 0"},
		{ode.FlowVelocity, ode.Data, ode.VPLinear{}.At(0), "FlowVelocity is infinite at t = 0"},
		{ode.Prediction(9), ode.Data, noise, "Prediction(9) is not a prediction"},
		{ode.Data, ode.Prediction(-1), noise, "Prediction(-1) is not a prediction"},
	} {
		_, _, err := ode.Convert(c.raw, c.target, c.at)
		require.ErrorContains(t, err, c.want)
	}
	for _, raw := range []ode.Prediction{ode.Data, ode.Velocity, ode.FlowVelocity} {
		_, _, err := ode.Convert(raw, ode.Noise, noise)
		require.NoError(t, err, "%v at α = 0", raw)
	}
	for _, raw := range []ode.Prediction{ode.Noise, ode.Velocity, ode.FlowVelocity} {
		_, _, err := ode.Convert(raw, ode.Data, data)
		require.NoError(t, err, "%v at σ = 0", raw)
	}
}

func ExampleConvert() {
	u, v, _ := ode.Convert(ode.FlowVelocity, ode.Data, ode.Flow{}.At(0.25))
	fmt.Printf("x_0 = %v·x + %v·u\n", u, v)
	// Output: x_0 = 1·x + -0.25·u
}
