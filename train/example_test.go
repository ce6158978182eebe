package train_test

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train"
	"github.com/ebb-go/ebb/train/data"
)

// A flow learns two classes of points in the plane, around (1, 1) and (−1, −1), and samples them again.
func Example() {
	points := &data.Images{N: 1000, Height: 1, Width: 2, Channels: 1, Classes: 2}
	random := rand.New(rand.NewPCG(1, 2))
	near := func(centre float64) float32 { return float32(centre + 0.2*random.NormFloat64()) }
	for i := range points.N {
		class := i % 2
		centre := float64(1 - 2*class)
		points.Pixels = append(points.Pixels, near(centre), near(centre))
		points.Labels = append(points.Labels, class)
	}

	net, err := models.NewMLP(models.MLPConfig{Shape: []int{2}, Width: 32, Depth: 2, Condition: 4, Classes: 2, TimeFeatures: 16, MaxFrequency: 6,
		Schedule: ode.Flow{}, Prediction: ode.FlowVelocity, Shard: 32})
	if err != nil {
		log.Fatal(err)
	}
	weights, err := graph.NewWeights[float32](net.Spec().Weights, 1)
	if err != nil {
		log.Fatal(err)
	}
	task, err := train.Diffusion{Dropout: 0.1}.Task(models.Labelled(net), points)
	if err != nil {
		log.Fatal(err)
	}
	trainer, err := train.New(task, weights, train.Config{Steps: 1000, Batch: 64, Seed: 1,
		Optimizer: train.AdamW{Rate: 5e-3, Warmup: 50, Clip: 1, Average: 0.99}})
	if err != nil {
		log.Fatal(err)
	}
	defer trainer.Close()
	if err := trainer.Run(context.Background(), 1000); err != nil {
		log.Fatal(err)
	}
	if weights, err = trainer.Average(); err != nil {
		log.Fatal(err)
	}

	const each = 200
	labels := make([]int, 2*each)
	for i := range each {
		labels[each+i] = 1
	}
	condition, err := models.Lookup(weights, labels)
	if err != nil {
		log.Fatal(err)
	}
	cell, err := graph.NewCell(net, weights)
	if err != nil {
		log.Fatal(err)
	}
	defer cell.Close()
	field, err := graph.NewField(cell, condition)
	if err != nil {
		log.Fatal(err)
	}
	plan, err := ode.RK{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 20})
	if err != nil {
		log.Fatal(err)
	}
	noise, err := ode.Latent(plan, ode.Seed[float32]{Key: 2}, len(labels), 2)
	if err != nil {
		log.Fatal(err)
	}
	x, err := ode.Sample(context.Background(), plan, field, noise, len(labels))
	if err != nil {
		log.Fatal(err)
	}
	for class := range 2 {
		mean := [2]float32{}
		for i := range each {
			mean[0] += x[2*(class*each+i)] / each
			mean[1] += x[2*(class*each+i)+1] / each
		}
		fmt.Printf("class %d: mean %.1f\n", class, mean)
	}
	// Output:
	// class 0: mean [1.0 1.0]
	// class 1: mean [-1.0 -1.0]
}
