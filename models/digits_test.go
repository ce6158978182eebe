package models

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// The derivative of the shipped flow with respect to time is the slope of its values, not noise of the time embedding:
// knots, statistics and solvers of high order rest on it. With frequencies up to 1000 radians per unit of time the
// cosine falls to 0.7 and below.
func TestTimeDerivativeOfTheDigits(t *testing.T) {
	const batch, h = 40, 0.01
	m, w, _, err := Load[float64]("../testdata/digits/flow.safetensors")
	require.NoError(t, err)
	labels := make([]int, batch)
	for i := range labels {
		labels[i] = i % 10
	}
	condition, err := Lookup(w, labels)
	require.NoError(t, err)
	f := newField(t, m, w, condition)
	data, noise := make([]float64, batch*64), normal[float64](batch*64, 1)
	plan, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 10})
	require.NoError(t, err)
	require.NoError(t, sample(data, noise, plan, f, batch))
	x, up, down, rate := make([]float64, batch*64), make([]float64, batch*64), make([]float64, batch*64), make([]float64, batch*64)
	for _, at := range []float64{0.1, 0.3, 0.5, 0.7, 0.9} {
		for i := range x {
			x[i] = (1-at)*data[i] + at*noise[i]
		}
		ones := make([]float64, batch)
		for i := range ones {
			ones[i] = 1
		}
		require.NoError(t, f.Eval(up, x, ode.Call[float64]{Batch: batch, T: []float64{at + h}}))
		require.NoError(t, f.Eval(down, x, ode.Call[float64]{Batch: batch, T: []float64{at - h}}))
		require.NoError(t, f.JVP(rate, x, ode.Call[float64]{Batch: batch, T: []float64{at}}, &ode.Tangent[float64]{T: ones}))
		for i := range up {
			up[i] -= down[i]
		}
		cosine := dot(up, rate) / math.Sqrt(dot(up, up)*dot(rate, rate))
		require.Greater(t, cosine, 0.98, "t = %v", at)
	}
}

// The trained network is where gradients are used: they agree with differences there too.
func TestDerivativesOfTheDigits(t *testing.T) {
	const batch = 2
	m, w, _, err := Load[float64]("../testdata/digits/flow.safetensors")
	require.NoError(t, err)
	condition, err := Lookup(w, []int{3, 8})
	require.NoError(t, err)
	null, err := Lookup(w, []int{-1})
	require.NoError(t, err)
	g, err := NewGuided(newField(t, m, w, condition), condition, null, 1.5)
	require.NoError(t, err)
	checkDerivatives(t, g, normal[float64](batch*64, 1), ode.Call[float64]{Batch: batch, T: []float64{0.3, 0.8}})
}

func sample(dst, x []float64, plan *ode.Plan, f *graph.Field[float64], batch int) error {
	y, err := ode.Sample(context.Background(), plan, f, x, batch)
	copy(dst, y)
	return err
}
