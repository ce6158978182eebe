package ode_test

import (
	"context"
	"fmt"
	"log"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// Data is Gaussian with mean 2 and standard deviation 0.5, so the network is known, and so is where a sample must end: at the
// same number of standard deviations from the mean as it started: 1.5, 2 and 2.5.
func Example() {
	schedule := ode.VPLinear{}
	network, err := exact.NewField[float64](exact.Gaussian{Mean: []float64{2}, Variance: []float64{.25}}, schedule, ode.Noise)
	if err != nil {
		log.Fatal(err)
	}
	plan, err := ode.DDIM{}.Plan(ode.Problem{Schedule: schedule, Raw: ode.Noise, Knots: []float64{1, .6, .3, .001}})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(plan)

	noise := []float64{-1, 0, 1}
	for _, steps := range []int{3, 30, 300} {
		plan, err := ode.DDIM{}.Plan(ode.Problem{Schedule: schedule, Raw: ode.Noise, Steps: steps})
		if err != nil {
			log.Fatal(err)
		}
		x, err := ode.Sample(context.Background(), plan, network, noise, len(noise))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%3d steps: %.3f\n", steps, x)
	}
	// Output:
	// DDIM: order 1, 3 evaluations and 0 draws, network predicts Noise
	// in  x=x0
	// out x=x3
	// of  knots[4]
	//   m0 = net(x0, t=1)  #0
	//   x1 = 24.63·x0 − 23.64·m0
	//   m1 = net(x1, t=0.6)  #1
	//   x2 = 3.889·x1 − 3.061·m1
	//   m2 = net(x2, t=0.3)  #2
	//   x3 = 1.588·x2 − 1.224·m2
	//   3 steps: [1.761 1.997 2.232]
	//  30 steps: [1.532 1.994 2.456]
	// 300 steps: [1.497 1.993 2.489]
}
