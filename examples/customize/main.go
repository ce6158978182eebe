// Command customize changes real images, a concept, and a whole population of samples by exact gradients through the
// sampler of a trained rectified flow, audits the flow with them, and shows what each is worth beside simpler ways.
//
//	go run ./examples/customize                        all four targets on garments of 28×28
//	go run ./examples/customize -data digits           on digits of 8×8, in seconds
//	go run ./examples/customize -target latent         one of latent, condition, weights, audit
//	go run ./examples/customize -target hacked         what the weights do without a target: a warning
//	go run ./examples/customize -images my/pictures    edits your pictures, and learns them as a concept
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
	images  string
	to      string
	prepare string
	out     string
	dtype   string
	seed    uint64
	scale   float64
	dry     bool
	change  func(*subject) // what tests ask for less with
}

// known are the targets, all but the last of which are done by default. Pictures of one's own are for the first two.
var known = []string{"latent", "condition", "weights", "audit", "hacked"}

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
	target := f.String("target", "all", "what to customize: latent, condition, weights, audit, several with commas, or all of these; or hacked, a warning")
	f.StringVar(&s.data, "data", "fashion", "images and networks: fashion, digits, or a folder made like testdata/fashion or testdata/digits")
	f.StringVar(&s.images, "images", "", "folder of PNG pictures of your own, to edit and to learn as a concept; subfolders may name the classes")
	f.StringVar(&s.to, "to", "", "class that the images of -images are to become (default: one that resembles theirs)")
	f.StringVar(&s.prepare, "prepare", "", "make the files of -data beside its networks from this folder of Fashion-MNIST, and stop")
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
	switch {
	case *target == "all" && s.images != "":
		s.targets = known[:2]
	case *target == "all":
		s.targets = known[:4]
	default:
		for _, t := range strings.Split(*target, ",") {
			if !slices.Contains(known, t) {
				return s, fmt.Errorf("-target %q: it is one of %s, several with commas, or all", t, strings.Join(known, ", "))
			}
			if s.images != "" && !slices.Contains(known[:2], t) {
				return s, fmt.Errorf("-images has no effect on -target %s, which works on samples; leave one of them out", t)
			}
			s.targets = append(s.targets, t)
		}
	}
	if s.to != "" && s.images == "" {
		return s, fmt.Errorf("-to %s has an effect with -images only", s.to)
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
	return s.command(ctx, stdout, stderr)
}

func (s settings) command(ctx context.Context, stdout, stderr io.Writer) error {
	if s.prepare != "" {
		return prepare(ctx, s.prepare, folder(s.data), stdout)
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
	if set.change != nil {
		set.change(st.subject)
	}
	if set.images != "" {
		fit, err := st.own(set.images)
		if err != nil {
			return err
		}
		fmt.Fprintln(stdout, fit)
		if set.to != "" {
			if st.asked, err = st.class(set.to); err != nil {
				return fmt.Errorf("-to %w", err)
			}
		}
	}
	if set.dry {
		return st.predict(ctx, set.targets, stdout)
	}
	var outcomes []*outcome[T]
	for _, t := range set.targets {
		o, err := map[string]func(context.Context) (*outcome[T], error){
			"latent": st.latent, "condition": st.learn, "weights": st.embolden, "audit": st.attackStart, "hacked": st.runaway}[t](ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", t, err)
		}
		fmt.Fprintln(stdout, o.line())
		outcomes = append(outcomes, o)
	}
	files, err := write(set.out, st.things, st.model.Spec(), outcomes)
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
		inside, batch, runs, wrt := s.edit.inside, len(s.edit.pairs)*s.edit.each, 2*s.edit.runs, []string{"x"}
		switch t {
		case "condition":
			inside, batch, runs, wrt = s.concept.inside, s.concept.batch, 2*s.concept.runs, []string{"condition"}
		case "weights", "hacked":
			inside, batch, runs, wrt = s.bold.inside, s.bold.batch, 2*s.bold.runs, matrices(s.model.Spec())
		case "audit":
			inside, batch, runs = s.subject.audit.inside, s.subject.audit.samples, 2*s.subject.audit.runs
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
		for range 3 { // the first compiles, the second makes room for activations
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
