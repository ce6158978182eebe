package train_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train"
	"github.com/ebb-go/ebb/train/data"
)

// A training step of the digits flow: DiT of width 64 and 4 blocks, batch 64.
func BenchmarkDigitsStep(b *testing.B) {
	d, err := data.Digits("../testdata/digits/digits.csv.gz")
	require.NoError(b, err)
	net, err := models.NewDiT(models.DiTConfig{Channels: 1, Height: 8, Width: 8, Patch: 2, Hidden: 64, Depth: 4, Heads: 4, Condition: 64, Classes: 10,
		TimeFeatures: 64, Schedule: ode.Flow{}, Prediction: ode.FlowVelocity})
	require.NoError(b, err)
	w, err := graph.NewWeights[float32](net.Spec().Weights, 1)
	require.NoError(b, err)
	task, err := train.Diffusion{Dropout: 0.1}.Task(models.Labelled(net), d)
	require.NoError(b, err)
	tr, err := train.New(task, w, train.Config{Steps: 1 << 40, Batch: 64, Optimizer: train.AdamW{Clip: 1}})
	require.NoError(b, err)
	defer tr.Close()
	require.NoError(b, tr.Run(context.Background(), 2))
	b.ReportAllocs()
	b.ResetTimer()
	require.NoError(b, tr.Run(context.Background(), b.N))
	b.ReportMetric(64*float64(b.N)/b.Elapsed().Seconds(), "images/s")
}
