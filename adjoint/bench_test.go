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

// A gradient of 8 evaluations to the latent, of a transformer of images in float32, with the evaluations run again and with their
// activations kept.
func BenchmarkGradientRemembered(b *testing.B) {
	const batch, dim = 16, 784
	m, err := models.NewDiT(models.DiTConfig{Channels: 1, Height: 28, Width: 28, Patch: 4, Hidden: 128, Depth: 6, Heads: 4, Condition: 128, Prediction: ode.FlowVelocity, Schedule: ode.Flow{}})
	require.NoError(b, err)
	w, err := graph.NewWeights[float32](m.Spec().Weights, 1)
	require.NoError(b, err)
	cell, err := graph.NewCell(m, w)
	require.NoError(b, err)
	defer cell.Close()
	plan, err := ode.FlowAB{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 8})
	require.NoError(b, err)
	in := adjoint.From(normal[float32](batch*dim, 2))
	loss := adjoint.Dot(normal[float32](batch*dim, 3))
	for name, limit := range map[string]int64{"again": 0, "kept": 1 << 30} {
		b.Run(name, func(b *testing.B) {
			f, err := graph.NewField(cell, normal[float32](batch*128, 1))
			require.NoError(b, err)
			f.Remember(limit)
			a, err := adjoint.New(adjoint.Problem[float32]{Plan: plan, Field: f, Batch: batch, Dim: dim, Wrt: []string{"x"}})
			require.NoError(b, err)
			var r *adjoint.Result[float32]
			for range 2 { // learns, and makes room
				r, err = a.Gradient(context.Background(), in, loss)
				require.NoError(b, err)
			}
			for b.Loop() {
				if r, err = a.Gradient(context.Background(), in, loss); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(r.Bytes)/1e6, "owned-MB")
		})
	}
}
