package adjoint_test

import (
	"context"
	"fmt"
	"log"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// A sampler as a function that can be differentiated: how far the sample lies from a point, by where it started, by what
// the model was made of, and by when the solver looked at it.
func Example() {
	mixture := exact.Mixture{Weights: []float64{1, 1}, Means: [][]float64{{1, 0}, {-1, .5}}, Variances: []float64{.1, .2}}
	field, err := exact.NewField[float64](mixture, ode.Flow{}, ode.FlowVelocity)
	if err != nil {
		log.Fatal(err)
	}
	plan, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 10})
	if err != nil {
		log.Fatal(err)
	}

	a, err := adjoint.New(adjoint.Problem[float64]{Plan: plan, Field: field, Batch: 1, Dim: 2, Wrt: []string{"x", "means", "knots"}})
	if err != nil {
		log.Fatal(err)
	}
	target := []float64{.9, .3}
	distance := func(s, grad adjoint.States[float64]) (float64, error) {
		sum := 0.0
		for i, x := range s.X() {
			sum += (x - target[i]) * (x - target[i])
			grad.X()[i] += 2 * (x - target[i])
		}
		return sum, nil
	}
	r, err := a.Certify(context.Background(), adjoint.From([]float64{.4, -.7}), distance, adjoint.Certification{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("sample %.4f, loss %.4f\n", r.States.X(), r.Loss)
	fmt.Printf("by the latent %.4f\n", r.Gradients["x"])
	fmt.Printf("by the means %.4f\n", r.Gradients["means"])
	fmt.Printf("by the third knot %.4f\n", r.Params["knots"][2])
	fmt.Printf("%d evaluations, %d products with the Jacobian, differences agree to 1e-8: %t\n", r.NFE, r.VJP, r.Certificate.Worst() < 1e-8)
	// Output:
	// sample [0.9164 -0.1619], loss 0.2137
	// by the latent [0.0503 -0.2907]
	// by the means [0.0453 -0.8452 -0.0124 -0.0787]
	// by the third knot 0.0029
	// 10 evaluations, 10 products with the Jacobian, differences agree to 1e-8: true
}

// Guidance through a loss of one's own, written as a small network: descend on the latents until the samples lie on the
// unit circle.
func ExampleCellLoss() {
	ctx := context.Background()
	ring := graph.ModelFunc{
		Describe: graph.Spec{
			Inputs:  []graph.Port{{Name: graph.X, Shape: []int{2}}, {Name: "radius", Shape: []int{1}}},
			Outputs: []graph.Port{{Name: "off"}},
		},
		Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
			square := b.Sum(b.Map(graph.Square, in.Input(graph.X)), 1)
			off := b.Sub(square, b.Map(graph.Square, in.Input("radius")))
			return []*graph.Node{b.Reshape(b.Map(graph.Square, off), in.Batch())}
		},
	}
	weights, err := graph.NewWeights[float64](ring.Spec().Weights, 0)
	if err != nil {
		log.Fatal(err)
	}
	cell, err := graph.NewCell(ring, weights)
	if err != nil {
		log.Fatal(err)
	}
	defer cell.Close()
	onRing, err := adjoint.CellLoss[float64]{Cell: cell, Inputs: map[string][]float64{"radius": {1, 1, 1}}}.Loss()
	if err != nil {
		log.Fatal(err)
	}

	mixture := exact.Mixture{Weights: []float64{1, 1}, Means: [][]float64{{1.2, 0}, {-1, .5}}, Variances: []float64{.1, .2}}
	field, err := exact.NewField[float64](mixture, ode.VPLinear{}, ode.Noise)
	if err != nil {
		log.Fatal(err)
	}
	plan, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 8})
	if err != nil {
		log.Fatal(err)
	}
	a, err := adjoint.New(adjoint.Problem[float64]{Plan: plan, Field: field, Batch: 3, Dim: 2, Wrt: []string{"x"}})
	if err != nil {
		log.Fatal(err)
	}
	x, err := ode.Latent(plan, ode.Seed[float64]{Key: 1}, 3, 2)
	if err != nil {
		log.Fatal(err)
	}
	for i := range 11 {
		r, err := a.Gradient(ctx, adjoint.From(x), onRing)
		if err != nil {
			log.Fatal(err)
		}
		if i%5 == 0 {
			fmt.Printf("after %d steps: %.6f\n", i, r.Loss)
		}
		for k, g := range r.Gradients["x"] {
			x[k] -= .2 * g
		}
	}
	// Output:
	// after 0 steps: 0.337030
	// after 5 steps: 0.000044
	// after 10 steps: 0.000000
}
