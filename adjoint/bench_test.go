package adjoint_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
)

// A gradient of 20 steps, to the latent and the condition, of a small network in float32.
func BenchmarkGradient(b *testing.B) {
	const batch, cond = 16, 8
	m, err := models.NewMLP(models.MLPConfig{Shape: []int{32}, Condition: cond, Width: 128, Depth: 3, Prediction: ode.FlowVelocity, Schedule: ode.Flow{}})
	require.NoError(b, err)
	w, err := graph.NewWeights[float32](m.Spec().Weights, 1)
	require.NoError(b, err)
	cell, err := graph.NewCell(m, w)
	require.NoError(b, err)
	defer cell.Close()
	f, err := graph.NewField(cell, normal[float32](batch*cond, 1))
	require.NoError(b, err)
	plan, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 20})
	require.NoError(b, err)
	in := adjoint.From(normal[float32](batch*32, 2))
	loss := adjoint.Dot(normal[float32](batch*32, 3))
	for _, wrt := range [][]string{{"x", graph.Condition}, {"x", graph.Condition, "knots"}} {
		for _, strategy := range strategies {
			b.Run(fmt.Sprint(strategy, wrt), func(b *testing.B) {
				a, err := adjoint.New(adjoint.Problem[float32]{Plan: plan, Field: f, Batch: batch, Dim: 32, Wrt: wrt, Strategy: strategy})
				require.NoError(b, err)
				r, err := a.Gradient(context.Background(), in, loss)
				require.NoError(b, err)
				b.ReportAllocs()
				for b.Loop() {
					if r, err = a.Gradient(context.Background(), in, loss); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(r.Bytes)/1e6, "owned-MB")
			})
		}
	}
}
