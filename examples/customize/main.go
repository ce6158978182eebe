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
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/train/customize"
)

type settings struct {
	targets []string // nil: those that are done by default
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
	command.Main("customize", nothing, func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	})
}

// nothing is what an interrupt leaves before the first target is finished.
const nothing = "; nothing was finished"

func misuse(format string, v ...any) error { return command.Usage(fmt.Errorf(format, v...)) }

// parse reads the command line. Help goes to help.
func parse(args []string, help io.Writer) (settings, error) {
	var s settings
	f := flag.NewFlagSet("customize", flag.ContinueOnError)
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
	if err := command.Parse(f, args, help, "customize changes images and samples by exact gradients through a sampler."); err != nil {
		return s, err
	}
	if f.NArg() > 0 {
		return s, misuse("unexpected argument %q; all settings are flags", f.Arg(0))
	}
	if *target != "all" {
		s.targets = strings.Split(*target, ",")
	}
	for i, t := range s.targets {
		switch {
		case !slices.Contains(known, t):
			return s, misuse("-target %q: it is one of %s, several with commas, or all", t, strings.Join(known, ", "))
		case slices.Contains(s.targets[:i], t):
			return s, misuse("-target %s names %s twice", *target, t)
		case s.images != "" && !slices.Contains(known[:2], t):
			return s, misuse("-images has no effect on -target %s, which works on samples; leave one of them out", t)
		}
	}
	if s.to != "" && s.images == "" {
		return s, misuse("-to %s has an effect with -images only", s.to)
	}
	if s.dtype != "float32" && s.dtype != "float64" {
		return s, misuse("-dtype %q: it is float32 or float64", s.dtype)
	}
	if !(s.scale > 0 && s.scale <= 100) {
		return s, misuse("-effort %g: it is above 0 and at most 100", s.scale)
	}
	return s, nil
}

// run is the whole program: out gets the results, log the progress.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	s, err := parse(args, out)
	if err != nil {
		return err
	}
	return s.run(ctx, out, log)
}

func (s settings) run(ctx context.Context, out, log io.Writer) error {
	if s.prepare != "" {
		return prepare(ctx, s.prepare, folder(s.data), out)
	}
	if s.dtype == "float64" {
		return runIn[float64](ctx, s, out, log)
	}
	return runIn[float32](ctx, s, out, log)
}

// chosen are the targets that there are enough pictures for, and a note if one is left out that was not asked for by name.
func (s settings) chosen(pictures int) (targets []string, note string, err error) {
	short := s.images != "" && pictures < fewest
	switch {
	case short && slices.Contains(s.targets, "condition"):
		return nil, "", misuse("-target condition: -images %s holds %s, and a concept is learned from at least %d", s.images, number(pictures, "picture"), fewest)
	case s.targets != nil:
		return s.targets, "", nil
	case short:
		return known[:1], fmt.Sprintf("condition is left out: a concept is learned from at least %d pictures", fewest), nil
	case s.images != "":
		return known[:2], "", nil
	}
	return known[:4], "", nil
}

func number(n int, of string) string {
	if n != 1 {
		of += "s"
	}
	return fmt.Sprint(n, " ", of)
}

func runIn[T customize.Float](ctx context.Context, set settings, out, log io.Writer) error {
	if !set.dry { // what cannot be written is said before anything is computed
		if err := command.Writable(filepath.Join(set.out, reportFile)); err != nil {
			return err
		}
	}
	began := time.Now()
	st, err := open[T](set.data, set.seed, log)
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
		fmt.Fprintln(out, fit)
		if set.to != "" {
			if st.asked, err = st.class(set.to); err != nil {
				return misuse("-to %w", err)
			}
		}
	}
	targets, note, err := set.chosen(st.held.N)
	if err != nil {
		return err
	}
	if note != "" {
		fmt.Fprintln(out, note)
	}
	if set.dry {
		return st.predict(ctx, targets, out)
	}
	var done []*outcome[T]
	state := nothing
	for i, t := range targets {
		o, err := st.reach(ctx, t)
		st.stage.End()
		if err == nil {
			done = append(done, o)
			err = write(set.out, st.things, st.model.Spec(), done)
		}
		if err != nil {
			return command.Stopped(fmt.Errorf("%s: %w", t, err), state)
		}
		state = fmt.Sprintf("; %s finished, in %s", strings.Join(targets[:i+1], ", "), set.out)
		fmt.Fprintf(out, "%s\nwrote %s, to be drawn by\n  %s\n", o.line(), o.file(set.out), o.drawn(set))
	}
	fmt.Fprintf(out, "wrote %s\nwrote %s\n%.1f s in all\n", filepath.Join(set.out, pictureFile), filepath.Join(set.out, reportFile), time.Since(began).Seconds())
	return nil
}

// reach does what a target is.
func (s *study[T]) reach(ctx context.Context, target string) (*outcome[T], error) {
	switch target {
	case "latent":
		return s.latent(ctx)
	case "condition":
		return s.learn(ctx)
	case "weights":
		return s.embolden(ctx)
	case "audit":
		return s.attackStart(ctx)
	}
	return s.runaway(ctx)
}
