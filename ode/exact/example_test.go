package exact_test

import (
	"context"
	"fmt"
	"log"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// Sampling a mixture: four in five end near −2, one in five near 2.
func ExampleMixture() {
	mixture := exact.Mixture{
		Weights:   []float64{4, 1},
		Means:     [][]float64{{-2}, {2}},
		Variances: []float64{.01, .01},
	}
	field, err := exact.NewField[float64](mixture, ode.VPLinear{}, ode.Noise)
	if err != nil {
		log.Fatal(err)
	}
	plan, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 50})
	if err != nil {
		log.Fatal(err)
	}
	const batch = 4000
	noise, err := ode.Latent(plan, ode.Seed[float64]{Key: 1}, batch, mixture.Dim())
	if err != nil {
		log.Fatal(err)
	}
	samples, err := ode.Sample(context.Background(), plan, field, noise, batch)
	if err != nil {
		log.Fatal(err)
	}
	var left, near int
	for _, x := range samples {
		if x < 0 {
			left++
		}
		if (x > -2.5 && x < -1.5) || (x > 1.5 && x < 2.5) {
			near++
		}
	}
	fmt.Printf("left %.1f, within five deviations %.1f\n", float64(left)/batch, float64(near)/batch)
	// Output: left 0.8, within five deviations 1.0
}

// What a denoiser between two points of data believes, and how sure it is.
func ExampleMixture_PosteriorVariance() {
	points := exact.Mixture{
		Weights:   []float64{1, 1},
		Means:     [][]float64{{-1}, {1}},
		Variances: []float64{0, 0},
	}
	x := []float64{-.5, 0, .5}
	data, variance := make([]float64, 3), make([]float64, 3)
	for _, sigma := range []float64{1, .3} {
		at := ode.EDM{}.At(sigma)
		if err := points.Predict(data, x, at, ode.Data); err != nil {
			log.Fatal(err)
		}
		if err := points.PosteriorVariance(variance, x, at); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("σ = %.1f: %.3f, variance %.3f\n", sigma, data, variance)
	}
	// Output:
	// σ = 1.0: [-0.462 0.000 0.462], variance [0.786 1.000 0.786]
	// σ = 0.3: [-1.000 0.000 1.000], variance [0.000 1.000 0.000]
}
