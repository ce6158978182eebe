package customize_test

import (
	"context"
	"fmt"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
	"github.com/ebb-go/ebb/train/customize"
)

// A latent is moved until the sample it becomes lies where it is wanted. The optimum is run again with more evaluations
// before it is believed.
func ExampleLatent() {
	model := exact.Mixture{Weights: []float64{1, 1}, Means: [][]float64{{-1, 0}, {1, 0}}, Variances: []float64{0.2, 0.2}}
	field, err := exact.NewField[float64](model, ode.Flow{}, ode.FlowVelocity)
	if err != nil {
		fmt.Println(err)
		return
	}
	plan := func(steps int) *ode.Plan {
		p, err := ode.RK{Tableau: ode.MidpointRule()}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: steps})
		if err != nil {
			panic(err)
		}
		return p
	}
	toTheRight := func(s, g adjoint.States[float64]) (float64, error) { // mean squared distance to (1, 0.5)
		x, gx := s.Outputs["x"], g.Outputs["x"]
		dx, dy := x[0]-1, x[1]-0.5
		gx[0], gx[1] = 2*dx, 2*dy
		return dx*dx + dy*dy, nil
	}
	sampler := customize.Sampler[float64]{Field: field, Plan: plan(4), Replay: plan(12), Batch: 1, Dim: 2}
	r, err := customize.Latent(context.Background(), sampler, []float64{-0.5, 0.3}, toTheRight, customize.Options[float64]{Iterations: 80, LearningRate: 0.1})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: loss %.2f before; below 0.01 after: %t, and under three times the evaluations: %t\n", r.Verdict, r.Before, r.After < 0.01, r.Replayed < 0.02)
	// Output: improved: loss 3.66 before; below 0.01 after: true, and under three times the evaluations: true
}
