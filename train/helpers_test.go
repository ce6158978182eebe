package train_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
	"github.com/ebb-go/ebb/train"
	"github.com/ebb-go/ebb/train/data"
)

// mixture is three clusters in the plane.
var mixture = exact.Mixture{
	Weights: []float64{1, 1, 2}, Means: [][]float64{{1.5, 0}, {-1, 1}, {0, -1.5}}, Variances: []float64{0.02, 0.05, 0.1},
}

// clusters are n samples of mixture as images of 1×2, labelled at random with one of two classes.
func clusters(t testing.TB, n int) *data.Images {
	t.Helper()
	d, err := clustersOf(n)
	require.NoError(t, err)
	return d
}

func clustersOf(n int) (*data.Images, error) {
	x := make([]float64, 2*n)
	if err := mixture.Sample(x, ode.Flow{}.At(0), 5); err != nil {
		return nil, err
	}
	d := &data.Images{N: n, Height: 1, Width: 2, Channels: 1, Pixels: make([]float32, 2*n), Labels: make([]int, n), Classes: 2}
	for i, v := range x {
		d.Pixels[i] = float32(v)
	}
	for i := range d.Labels {
		d.Labels[i] = i % 2
	}
	return d, nil
}

// flowNet is a network of the plane with two hidden layers.
func flowNet(s ode.Schedule, p ode.Prediction) graph.Model {
	const features, width = 8, 48
	spec := graph.Spec{
		Inputs:  []graph.Port{{Name: graph.X, Shape: []int{2}}, {Name: graph.Time}},
		Outputs: []graph.Port{{Name: "prediction", Shape: []int{2}}},
		Weights: []graph.Weight{
			{Name: "in.weight", Shape: []int{2 + 2*features, width}, Std: 0.3}, {Name: "in.bias", Shape: []int{width}},
			{Name: "mid.weight", Shape: []int{width, width}, Std: 0.2}, {Name: "mid.bias", Shape: []int{width}},
			{Name: "out.weight", Shape: []int{width, 2}, Std: 0.01}, {Name: "out.bias", Shape: []int{2}},
		},
		Prediction: p, Schedule: s, Shard: 32,
	}
	freqs := make([]float64, features)
	for i := range freqs {
		freqs[i] = float64(i + 1)
	}
	return graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		h := b.Concat(1, in.Input(graph.X), b.Sinusoid(in.Input(graph.Time), freqs))
		h = b.Map(graph.SiLU, b.Linear(h, in.Weight("in.weight"), in.Weight("in.bias")))
		h = b.Map(graph.SiLU, b.Linear(h, in.Weight("mid.weight"), in.Weight("mid.bias")))
		return []*graph.Node{b.Linear(h, in.Weight("out.weight"), in.Weight("out.bias"))}
	}}
}

// losses compares, on the same fresh draws, the loss of the closed form, of weights before training and of given ones.
func losses(t testing.TB, task *train.Task, w *graph.Weights[float32]) (best, start, got float64) {
	t.Helper()
	const n = 2048
	spec := task.Loss.Spec()
	indices := make([]int, n)
	for i := range indices {
		indices[i] = i
	}
	wide := inputs(t, task, batch{Seed: 99, Indices: indices})
	u := make([]float64, 2)
	for i := range n {
		require.NoError(t, mixture.Predict(u, wide[0][2*i:2*i+2], spec.Schedule.At(wide[1][i]), spec.Prediction))
		for j, v := range u {
			r := v - wide[2][2*i+j]
			best += r * r / (2 * n)
		}
	}
	eval := func(w *graph.Weights[float32]) (mean float64) {
		c, err := graph.NewCell(task.Loss, w)
		require.NoError(t, err)
		defer c.Close()
		loss := make([]float32, n)
		require.NoError(t, c.Eval(n, &graph.Values[float32]{Inputs: [][]float32{narrow(wide[0]), narrow(wide[1]), narrow(wide[2])}, Outputs: [][]float32{loss}}))
		for _, v := range loss {
			mean += float64(v) / n
		}
		return mean
	}
	fresh, err := graph.NewWeights[float32](spec.Weights, 1)
	require.NoError(t, err)
	return best, eval(fresh), eval(w)
}

func narrow(x []float64) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = float32(v)
	}
	return y
}
