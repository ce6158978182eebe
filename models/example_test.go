package models_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// The digits that come with this repository: one of each class, drawn in 20 evaluations, shown to a classifier that took no
// part in the training.
func ExampleLoad() {
	network, weights, _, err := models.Load[float32]("../testdata/digits/flow.safetensors")
	check(err)
	cell, err := graph.NewCell(network, weights)
	check(err)
	defer cell.Close()

	digits := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	condition, err := models.Lookup(weights, digits)
	check(err)
	null, err := models.Lookup(weights, []int{-1})
	check(err)
	field, err := graph.NewField(cell, condition)
	check(err)
	guided, err := models.NewGuided(field, condition, null, 2)
	check(err)
	spec := network.Spec()
	plan, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: spec.Schedule, Raw: spec.Prediction, Steps: 20})
	check(err)
	noise, err := ode.Latent(plan, ode.Seed[float32]{Key: 1}, 10, spec.Inputs[0].Len())
	check(err)
	images, err := ode.Sample(context.Background(), plan, guided, noise, 10)
	check(err)

	judge, judgeWeights, _, err := models.Load[float32]("../testdata/digits/classifier-b.safetensors")
	check(err)
	seen, err := graph.NewCell(judge, judgeWeights)
	check(err)
	defer seen.Close()
	logits := make([]float32, 10*10)
	check(seen.Eval(10, &graph.Values[float32]{Inputs: [][]float32{images}, Outputs: [][]float32{logits}}))
	for i := range digits {
		row := logits[10*i : 10*i+10]
		fmt.Print(slices.Index(row, slices.Max(row)), " ")
	}
	// Output:
	// 0 1 2 3 4 5 6 7 8 9
}

// A network and its weights become one file, and a file becomes a network: nothing has to be known about it.
func ExampleSave() {
	network, err := models.NewDiT(models.DiTConfig{
		Channels: 1, Height: 8, Width: 8, Patch: 2, Hidden: 32, Depth: 2, Heads: 4,
		Condition: 32, Classes: 10, Prediction: ode.FlowVelocity, Schedule: ode.Flow{},
	})
	check(err)
	weights, err := graph.NewWeights[float32](network.Spec().Weights, 1)
	check(err)
	dir, err := os.MkdirTemp("", "ebb")
	check(err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "flow.safetensors")
	check(models.Save(path, network, weights, graph.BF16, map[string]string{"trained": "not at all"}))

	loaded, weights, metadata, err := models.Load[float32](path)
	check(err)
	spec := loaded.Spec()
	fmt.Println(weights.Len(), "numbers, trained", metadata["trained"])
	fmt.Println(spec.Prediction, "of", spec.Inputs[0].Shape)
	condition, err := models.Lookup(weights, []int{7, 7, -1})
	check(err)
	fmt.Println(len(condition), "numbers of condition")
	// Output:
	// 50372 numbers, trained not at all
	// FlowVelocity of [1 8 8]
	// 96 numbers of condition
}

// Two clusters, far apart: the exact mixture as a network, sampled in 20 steps.
func ExampleMixture() {
	data := exact.Mixture{Weights: []float64{1, 1}, Means: [][]float64{{-3, 1}, {3, -1}}, Variances: []float64{0, 0}}
	network, err := models.NewMixture(models.MixtureConfig{Shape: []int{2}, Components: 2, Prediction: ode.FlowVelocity, Schedule: ode.Flow{}})
	check(err)
	weights, err := models.MixtureWeights[float64](data)
	check(err)
	cell, err := graph.NewCell(network, weights)
	check(err)
	defer cell.Close()
	field, err := graph.NewField(cell, nil)
	check(err)
	plan, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 20})
	check(err)
	x, err := ode.Sample(context.Background(), plan, field, []float64{0.5, 0.2, -0.1, 1}, 2)
	check(err)
	fmt.Printf("%.3f\n", x)
	// Output:
	// [3.000 -1.000 -3.000 1.000]
}

// The scale of guidance is a parameter like any other: here one for each evaluation, strong at first.
func ExampleGuided() {
	network, err := models.NewMLP(models.MLPConfig{
		Shape: []int{2}, Width: 16, Depth: 2, Condition: 4, Classes: 3, Prediction: ode.FlowVelocity, Schedule: ode.Flow{},
	})
	check(err)
	weights, err := graph.NewWeights[float32](network.Spec().Weights, 1)
	check(err)
	cell, err := graph.NewCell(network, weights)
	check(err)
	defer cell.Close()
	condition, err := models.Lookup(weights, []int{0, 2})
	check(err)
	null, err := models.Lookup(weights, []int{-1})
	check(err)
	field, err := graph.NewField(cell, condition)
	check(err)
	guided, err := models.NewGuided(field, condition, null, 3, 2, 1)
	check(err)
	for _, p := range guided.Parameters(2)[:3] {
		fmt.Println(p.Name, p.Shape)
	}
	// Output:
	// guidance [3]
	// condition [2 4]
	// null [4]
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
