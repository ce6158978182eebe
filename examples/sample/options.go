package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/ebb-go/ebb/examples/internal/solvers"
	"github.com/ebb-go/ebb/internal/command"
)

// options are the flags, checked as far as they can be without a network.
type options struct {
	model, solver, out       string
	latent, condition, delta string
	classes                  []int // empty: all
	n, steps                 int
	seed                     uint64
	guidance                 float64
	set                      map[string]bool // the flags that were given
}

func misuse(format string, v ...any) error { return command.Usage(fmt.Errorf(format, v...)) }

// parse reads the command line. Help goes to help.
func parse(args []string, help io.Writer) (options, error) {
	o := options{set: map[string]bool{}}
	class := ""
	f := flag.NewFlagSet("sample", flag.ContinueOnError)
	f.StringVar(&o.model, "model", "testdata/digits/flow.safetensors", "network, a file of models.Save")
	f.StringVar(&class, "class", "all", "class to draw, several with commas between, or all; a row each")
	f.IntVar(&o.n, "n", 8, "images of each class")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the noise that sampling starts from")
	f.IntVar(&o.steps, "steps", 20, "steps of the solver")
	f.StringVar(&o.solver, "solver", "", strings.Join(solvers.Names(), ", ")+" (default for a flow ab2, and ab3 from 9 steps on; else dpmpp)")
	f.Float64Var(&o.guidance, "guidance", 1, "scale w of u + w(c-u): 1 is none, more exaggerates the class")
	f.StringVar(&o.out, "out", "out/sample/sheet.png", "picture to write; its folder is made if need be")
	f.StringVar(&o.latent, "latent", "", "start from the latents of this file instead of noise, each under its own condition if the file has them, else, or with -class or -condition, all of them in each row")
	f.StringVar(&o.condition, "condition", "", "use the condition vectors of this file instead of classes")
	f.StringVar(&o.delta, "delta", "", "add the changes of weights of this file to the network")
	if err := command.Parse(f, args, help, "sample draws images from a trained network."); err != nil {
		return o, err
	}
	f.Visit(func(f *flag.Flag) { o.set[f.Name] = true })
	if f.NArg() > 0 {
		return o, misuse("%q is left over; every argument is a flag", f.Args())
	}
	var err error
	if o.classes, err = parseClasses(class); err != nil {
		return o, err
	}
	return o, cmp.Or(o.check(), o.conflicts())
}

// parseClasses reads "3", "0,1,2" or "all", which is nil.
func parseClasses(s string) ([]int, error) {
	if s == "all" {
		return nil, nil
	}
	var classes []int
	for _, name := range strings.Split(s, ",") {
		c, err := strconv.Atoi(strings.TrimSpace(name))
		if err != nil || c < 0 {
			return nil, misuse("-class %s: %q is no class; give numbers from 0, with commas between, or all", s, name)
		}
		classes = append(classes, c)
	}
	return classes, nil
}

func (o options) check() error {
	if o.solver != "" {
		if _, err := solvers.Named(o.solver); err != nil {
			return command.Usage(err)
		}
	}
	switch {
	case o.n < 1 || o.n > 10_000:
		return misuse("-n is %d; 1 to 10000 are possible", o.n)
	case o.steps < 1 || o.steps > 100_000:
		return misuse("-steps is %d; 1 to 100000 are possible", o.steps)
	case math.IsNaN(o.guidance) || math.IsInf(o.guidance, 0):
		return misuse("-guidance is %v; it must be finite", o.guidance)
	}
	return command.PNG("out", o.out)
}

// conflicts refuses flags that would have no effect.
func (o options) conflicts() error {
	for _, pair := range [][2]string{{"condition", "class"}, {"latent", "n"}, {"latent", "seed"}} {
		if o.set[pair[0]] && o.set[pair[1]] {
			return misuse("-%s has no effect beside -%s; leave one of them out", pair[1], pair[0])
		}
	}
	return nil
}
