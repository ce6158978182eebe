package graph_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// velocity is a diffusion network of one's own: it takes points of the plane and a time, and gives a velocity.
type velocity struct{}

func (velocity) Spec() graph.Spec {
	return graph.Spec{
		Inputs:  []graph.Port{{Name: graph.X, Shape: []int{2}}, {Name: graph.Time}},
		Outputs: []graph.Port{{Name: "velocity", Shape: []int{2}}},
		Weights: []graph.Weight{
			{Name: "in.weight", Shape: []int{6, 32}, Std: 0.4}, {Name: "in.bias", Shape: []int{32}},
			{Name: "out.weight", Shape: []int{32, 2}, Std: 0.2}, {Name: "out.bias", Shape: []int{2}},
		},
		Prediction: ode.FlowVelocity,
		Schedule:   ode.Flow{},
	}
}

func (velocity) Build(b *graph.Builder, in *graph.Inputs) []*graph.Node {
	time := b.Sinusoid(in.Input(graph.Time), []float64{1, 10}) // two cosines and two sines
	h := b.Concat(1, in.Input(graph.X), time)
	h = b.Map(graph.SiLU, b.Linear(h, in.Weight("in.weight"), in.Weight("in.bias")))
	return []*graph.Node{b.Linear(h, in.Weight("out.weight"), in.Weight("out.bias"))}
}

// From a network of one's own to samples: weights are made, saved and read again, a Cell runs the network, a Field shows it to a
// solver. Package adjoint takes the same Field for gradients, and package train trains the weights.
func ExampleNewField() {
	dir, err := os.MkdirTemp("", "")
	check(err)
	defer func() { check(os.RemoveAll(dir)) }()
	file := filepath.Join(dir, "velocity.safetensors")
	network := velocity{}
	made, err := graph.NewWeights[float64](network.Spec().Weights, 1)
	check(err)
	check(made.Save(file, graph.F32, nil))

	weights, _, err := graph.LoadWeights[float64](file)
	check(err)
	cell, err := graph.NewCell(network, weights)
	check(err)
	defer cell.Close()
	field, err := graph.NewField(cell, nil) // nil: there is no condition
	check(err)
	plan, err := ode.FlowAB{Order: 2}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 8})
	check(err)
	const batch = 3
	noise, err := ode.Latent(plan, ode.Seed[float64]{Key: 1}, batch, 2)
	check(err)
	samples, err := ode.Sample(context.Background(), plan, field, noise, batch)
	check(err)
	for i := range batch {
		fmt.Printf("%.3f → %.3f\n", noise[2*i:2*i+2], samples[2*i:2*i+2])
	}
	// Output:
	// [-0.501 0.556] → [-0.628 0.780]
	// [-0.151 1.566] → [-0.403 1.774]
	// [0.196 0.247] → [0.104 0.533]
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
