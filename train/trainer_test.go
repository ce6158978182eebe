package train_test

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train"
)

// Training brings the loss of a flow on a mixture near that of the closed form, below which no network can go.
func TestLearnsMixture(t *testing.T) {
	const batch, steps = 64, 1500
	d := clusters(t, 4096)
	task, err := train.Diffusion{}.Task(flowNet(ode.Flow{}, ode.FlowVelocity), d)
	require.NoError(t, err)
	w, err := graph.NewWeights[float32](task.Loss.Spec().Weights, 1)
	require.NoError(t, err)
	var curve []float64
	tr, err := train.New(task, w, train.Config{Steps: steps, Batch: batch, Seed: 3, Optimizer: train.AdamW{Rate: 5e-3, Warmup: 50, Clip: 1},
		Progress: func(p train.Progress) { curve = append(curve, p.Loss) }})
	require.NoError(t, err)
	defer tr.Close()
	require.NoError(t, tr.Run(context.Background(), steps))
	require.True(t, tr.Done())
	require.Len(t, curve, steps)

	average, err := tr.Average()
	require.NoError(t, err)
	best, start, got := losses(t, task, d, average)
	t.Logf("closed form %.4f, untrained %.4f, trained %.4f", best, start, got)
	require.Greater(t, start, 1.5)
	require.Less(t, got-best, 0.05*(start-best))
	require.False(t, math.IsNaN(got))
}
