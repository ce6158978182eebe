// Command solve runs any solver of ebb on a Gaussian mixture, whose answers are exact: for scripts in any language, for teaching, and to hold
// other libraries against ebb. It reads problems as JSON, one a line, and writes one line of JSON for each, in their order.
//
//	go run ./examples/solve < problems.jsonl
//	go run ./examples/solve -in problems.jsonl
//	go run ./examples/solve -list                the solvers, their fields and what these mean; the grids
//	go run ./examples/solve -orders              the measured order of every solver, and what finds a wrong number in it, as Markdown
//
// A problem, here in several lines, is
//
//	{"model":    {"type": "gaussian-mixture", "weights": [0.4, 0.6], "means": [[1, 0], [-1, 2]], "variances": [0.1, 0.03]},
//	 "schedule": {"type": "vp-linear", "beta0": 0.1, "beta1": 20},
//	 "knots":    {"grid": "log-snr", "steps": 12, "from": 1, "to": 0.02},
//	 "solver":   {"name": "unipc", "order": 3},
//	 "x":         [[0.5, -1], [1.3, 0.2]],
//	 "cotangent": [[1, 0], [0, 1]]}
//
// and its answer
//
//	{"x0": [[…], […]], "gradient": {"latent": [[…], […]], "means": [[…], […]]}, "nfe": 12, "vjp": 12}
//
// or {"error": "…"}, after which the other lines are still done and the exit code is 1.
//
//   - model: gaussian-mixture, or pfgm, a data set in PFGM++: weights, means (the points) and d extra dimensions.
//   - schedule: vp-linear, vp-cosine (offset), edm (α = 1, σ = t), flow, or discrete (betas), whose times are t_i = (i+1)/N.
//   - knots: a list of times from noise to data, or a grid; its steps count intervals, and "append-zero": true adds a last 0 and one step.
//   - solver: a name of -list, in an object with fields if need be, or {"published": NAME} with a case of testdata/golden/official_solvers_gradients.json.
//   - statistics: those of dpmv3, {"lambda": […], "l": [[…]], "s": [[…]], "b": [[…]]}.
//   - noise: what stochastic solvers draw, draws × batch × dimension, zero when absent; seed draws it instead.
//   - start: what makes the state at the first knot out of x, such as {"name": "transport", "targets": [[…], …]}; -list has its fields.
//   - x: the batch at the first knot. cotangent: of the loss ⟨cotangent, x0⟩; without it there is no gradient.
//   - gradient: a strategy of package adjoint, checkpoint or unrolled. dtype: float64 or float32.
//
// The gradient to the means is summed over the batch. nfe counts network evaluations, vjp products with the network's Jacobian.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/ebb-go/ebb/internal/command"
)

func main() {
	command.Main("solve", "", func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.Stdin, os.Stdout)
	})
}

// run is the whole program.
func run(ctx context.Context, args []string, in io.Reader, out io.Writer) error {
	f := flag.NewFlagSet("solve", flag.ContinueOnError)
	path := f.String("in", "", "file of problems, one a line; without it standard input")
	listed := f.Bool("list", false, "print all solvers with their fields, and the grids")
	measured := f.Bool("orders", false, "measure the order of all solvers, and print tables; takes some ten seconds")
	if err := command.Parse(f, args, out, "solve reads problems as JSON, one a line, and writes the solution of each; go doc ./examples/solve has the fields."); err != nil {
		return err
	}
	switch {
	case f.NArg() > 0:
		return command.Usage(fmt.Errorf("%q is left over; every argument is a flag, and a file is given with -in", f.Args()))
	case (*listed || *measured) && *path != "" || *listed && *measured:
		return command.Usage(errors.New("-in, -list and -orders are different things to do; give one of them"))
	case *listed:
		return list(out)
	case *measured:
		return orders(ctx, out)
	case *path != "":
		file, err := os.Open(*path)
		if err != nil {
			return err
		}
		defer file.Close()
		in = file
	}
	failed, lines, err := stream(ctx, in, out)
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d problems could not be solved; their lines say why", failed, lines)
	}
	return err
}
