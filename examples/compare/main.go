// Command compare answers: which sampler should I use? It runs the solvers of ebb with 5 to 50 evaluations of the network, on a Gaussian
// mixture and on a flow of digits, and measures how far they end from where the ODE does: as a plot, compare.png and compare.svg, and as
// tables, compare.md, in out/compare.
//
//	go run ./examples/compare                     under two minutes on two cores
//	go run ./examples/compare -out out/digits     out/digits.png, out/digits.svg and out/digits.md
//	go run ./examples/compare -quality            also how good the images are, by a judge; for stochastic solvers too
//
// The mixture is solved in float64 against 1000 steps of the classical Runge-Kutta method, right to 1e-9; the digits in float32 against 1000
// steps of it on the same network. -model takes any network that makes images, a file of models.Save.
package main

import (
	"context"
	"os"

	"github.com/ebb-go/ebb/internal/command"
)

func main() {
	command.Main("compare", "; nothing was written", func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	})
}
