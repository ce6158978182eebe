package graph_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train"
	"github.com/ebb-go/ebb/train/data"
)

// perceptron is a network written with Gorgonia alone: tanh(x·in + t⊗time + bias)·out.
func perceptron(g *gorgonia.ExprGraph, inputs []*graph.Node, w map[string]*graph.Node) (*graph.Node, error) {
	x, t := inputs[0], inputs[1]
	column, err := gorgonia.Reshape(t, []int{t.Shape()[0], 1})
	if err != nil {
		return nil, err
	}
	h, err := gorgonia.Mul(x, w["in"])
	if err != nil {
		return nil, err
	}
	ht, err := gorgonia.Mul(column, w["time"])
	if err != nil {
		return nil, err
	}
	if h, err = gorgonia.Add(h, ht); err != nil {
		return nil, err
	}
	if h, err = gorgonia.BroadcastAdd(h, w["bias"], nil, []byte{0}); err != nil {
		return nil, err
	}
	if h, err = gorgonia.Tanh(h); err != nil {
		return nil, err
	}
	return gorgonia.Mul(h, w["out"])
}

func plain() graph.Model {
	const dim, width = 2, 16
	return graph.Plain(graph.Spec{
		Inputs:  []graph.Port{{Name: graph.X, Shape: []int{dim}}, {Name: graph.Time}},
		Outputs: []graph.Port{{Name: "velocity", Shape: []int{dim}}},
		Weights: []graph.Weight{{Name: "in", Shape: []int{dim, width}, Std: 0.7}, {Name: "time", Shape: []int{1, width}, Std: 0.7},
			{Name: "bias", Shape: []int{1, width}, Std: 0.3}, {Name: "out", Shape: []int{width, dim}, Std: 0.25}},
		Prediction: ode.FlowVelocity, Schedule: ode.Flow{},
	}, perceptron)
}

// A network written with Gorgonia alone is wrapped by one call. Then it samples, and the sampler is differentiated.
func ExamplePlain() {
	m := plain()
	w, err := graph.NewWeights[float64](m.Spec().Weights, 1)
	if err != nil {
		fmt.Println(err)
		return
	}
	cell, err := graph.NewCell(m, w)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer cell.Close()
	field, err := graph.NewField(cell, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	plan, err := ode.RK{Tableau: ode.Heun()}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 5})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	a, err := adjoint.New(adjoint.Problem[float64]{Plan: plan, Field: field, Batch: 1, Dim: 2, Wrt: []string{"x", "in", "bias"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	r, err := a.Certify(ctx, adjoint.From([]float64{0.5, -1}), adjoint.Dot([]float64{1, 2}), adjoint.Certification{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(r.NFE, "evaluations,", r.VJP, "products; certified to 1e-8:", r.Certificate.Worst() < 1e-8)
	// Output: 10 evaluations, 10 products; certified to 1e-8: true
}

// The same network learns: its loss on a ring falls well below that of predicting nothing.
func TestPlainTrains(t *testing.T) {
	d := &data.Images{N: 64, Height: 1, Width: 2, Channels: 1, Pixels: make([]float32, 128)}
	for i := range d.N {
		sin, cos := math.Sincos(float64(i) / 64 * 2 * math.Pi)
		d.Pixels[2*i], d.Pixels[2*i+1] = float32(0.8+0.1*cos), float32(-0.5+0.1*sin)
	}
	m := plain()
	task, err := train.Diffusion{Times: train.Uniform{}}.Task(m, d)
	require.NoError(t, err)
	w, err := graph.NewWeights[float64](m.Spec().Weights, 1)
	require.NoError(t, err)
	var first, last float64
	tr, err := train.New(task, w, train.Config{Steps: 200, Batch: 32, Optimizer: train.AdamW{Rate: 0.02}, Progress: func(p train.Progress) {
		if p.Step <= 20 {
			first += p.Loss / 20
		}
		if p.Step > 180 {
			last += p.Loss / 20
		}
	}})
	require.NoError(t, err)
	defer tr.Close()
	require.NoError(t, tr.Run(context.Background(), 200))
	require.Less(t, last, 0.6*first)
}

// gorgonia.Must panics in the user's function: that is an error, and other networks can be built afterwards.
func TestAPanicOfAPlainNetworkIsAnErrorAndOthersBuild(t *testing.T) {
	spec := plain().Spec()
	w, err := graph.NewWeights[float64](spec.Weights, 1)
	require.NoError(t, err)
	_, err = graph.NewCell(graph.Plain(spec, func(_ *gorgonia.ExprGraph, in []*graph.Node, w map[string]*graph.Node) (*graph.Node, error) {
		return gorgonia.Must(gorgonia.Mul(in[0], w["out"])), nil
	}), w)
	require.ErrorContains(t, err, "panic while building")
	require.ErrorContains(t, err, "example_plain_test.go:")
	built := make(chan error, 1)
	go func() {
		c, err := graph.NewCell(plain(), w)
		if err == nil {
			c.Close()
		}
		built <- err
	}()
	select {
	case err := <-built:
		require.NoError(t, err)
	case <-time.After(10 * time.Second): // it takes a millisecond
		t.Fatal("no network can be built any more")
	}
}
