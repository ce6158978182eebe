// Command customize changes real digits, a concept, and a whole population of samples by exact gradients through the
// sampler of a trained rectified flow, and shows what each is worth beside simpler ways.
//
//	go run ./examples/customize                        all three targets, a minute at most
//	go run ./examples/customize -target latent         one of latent, condition, weights
//	go run ./examples/customize -dtype float64         certificates to 1e-8
//	go run ./examples/customize -dry-run               predicted seconds and bytes
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/train/customize"
)

type settings struct {
	targets []string
	data    string
	out     string
	dtype   string
	seed    uint64
	scale   float64
	dry     bool
}

var known = []string{"latent", "condition", "weights"}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := command(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			os.Exit(2)
		}
		fmt.Fprintln(os.Stderr, "customize:", err)
		os.Exit(1)
	}
}

func parse(args []string, stderr io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("customize", flag.ContinueOnError)
	f.SetOutput(stderr)
	target := f.String("target", "all", "what to customize: latent, condition, weights, several with commas, or all")
	f.StringVar(&s.data, "data", "testdata/digits", "folder of digits.csv.gz, flow.safetensors, classifier-a.safetensors and classifier-b.safetensors")
	f.StringVar(&s.out, "out", "out/customize", "folder for the picture, the artifacts and the report")
	f.StringVar(&s.dtype, "dtype", "float32", "arithmetic: float32 or float64")
	f.Uint64Var(&s.seed, "seed", 1, "seed of all noise")
	f.Float64Var(&s.scale, "effort", 1, "multiplies every number of iterations")
	f.BoolVar(&s.dry, "dry-run", false, "print the predicted seconds and bytes and stop")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, fmt.Errorf("unexpected argument %q; all settings are flags", f.Arg(0))
	}
	if *target == "all" {
		s.targets = known
	} else {
		for _, t := range strings.Split(*target, ",") {
			if !slices.Contains(known, t) {
				return s, fmt.Errorf("-target %q: it is one of %s, several with commas, or all", t, strings.Join(known, ", "))
			}
			s.targets = append(s.targets, t)
		}
	}
	if s.dtype != "float32" && s.dtype != "float64" {
		return s, fmt.Errorf("-dtype %q: it is float32 or float64", s.dtype)
	}
	if !(s.scale > 0 && s.scale <= 100) {
		return s, fmt.Errorf("-effort %g: it is above 0 and at most 100", s.scale)
	}
	return s, nil
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	s, err := parse(args, stderr)
	if err != nil {
		return err
	}
	if s.dtype == "float64" {
		return run[float64](ctx, s, stdout, stderr)
	}
	return run[float32](ctx, s, stdout, stderr)
}

func run[T customize.Float](ctx context.Context, set settings, stdout, stderr io.Writer) error {
	if !set.dry { // what cannot be written is said before anything is computed
		if err := os.MkdirAll(set.out, 0o755); err != nil {
			return err
		}
		probe, err := os.CreateTemp(set.out, ".writable-*")
		if err != nil {
			return fmt.Errorf("-out %s cannot be written to: %w", set.out, err)
		}
		probe.Close()
		os.Remove(probe.Name())
	}
	began := time.Now()
	st, err := open[T](set.data, set.seed, stderr)
	if err != nil {
		return err
	}
	defer st.Close()
	st.quick = set.scale
	if set.dry {
		return st.predict(ctx, set.targets, stdout)
	}
	var outcomes []*outcome[T]
	for _, t := range set.targets {
		o, err := map[string]func(context.Context) (*outcome[T], error){"latent": st.latent, "condition": st.concept, "weights": st.bold}[t](ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		fmt.Fprintln(stdout, o.line())
		outcomes = append(outcomes, o)
	}
	files, err := write(set.out, st.model.Spec(), outcomes)
	if err != nil {
		return err
	}
	for _, f := range files {
		fmt.Fprintln(stdout, "wrote", f)
	}
	fmt.Fprintf(stdout, "%.1f s in all\n", time.Since(began).Seconds())
	return nil
}

// predict times one gradient of each target and multiplies.
func (s *study[T]) predict(ctx context.Context, targets []string, stdout io.Writer) error {
	total := 0.0
	for _, t := range targets {
		inside, batch, runs, wrt := insideLatent, len(pairs)*eachPair, 2*latentRuns, []string{"x"}
		switch t {
		case "condition":
			inside, batch, runs, wrt = insideCondition, conceptBatch, 2*conceptRuns, []string{"condition"}
		case "weights":
			inside, batch, runs, wrt = insideWeights, boldBatch, 2*boldRuns, matrices(s.model.Spec())
		}
		sm, _, err := s.sampler(make([]int, batch), inside)
		if err != nil {
			return err
		}
		a, err := adjoint.New(adjoint.Problem[T]{Plan: sm.Plan, Field: sm.Field, Batch: batch, Dim: s.dim, Wrt: wrt})
		if err != nil {
			return err
		}
		x := s.noise(batch, 3)
		var bytes int64
		var each time.Duration
		for range 2 { // the first compiles
			began := time.Now()
			r, err := a.Gradient(ctx, adjoint.From(x), customize.Stay(x))
			if err != nil {
				return err
			}
			each, bytes = time.Since(began), r.Bytes
		}
		seconds := each.Seconds()*float64(s.times(runs)) + 1
		total += seconds
		fmt.Fprintf(stdout, "%-10s about %.0f s, %.1f MiB for a gradient (%d evaluations inside, batch %d)\n", t, seconds, float64(bytes)/(1<<20), inside, batch)
	}
	fmt.Fprintf(stdout, "in all about %.0f s\n", total)
	return nil
}
