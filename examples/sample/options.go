package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/ode"
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

// solvers are the names of -solver.
var solvers = []struct {
	name   string
	solver ode.Solver
}{
	{"ddim", ode.DDIM{}},
	{"dpmpp", ode.DPMpp{}},
	{"dpmpp3", ode.DPMpp{Order: 3}},
	{"unipc", ode.UniPC{}},
	{"euler", ode.RK{Tableau: ode.Euler()}},
	{"heun", ode.RK{}},
	{"midpoint", ode.RK{Tableau: ode.MidpointRule()}},
	{"rk4", ode.RK{Tableau: ode.RK4()}},
}

func solverNamed(name string) (ode.Solver, error) {
	var names []string
	for _, s := range solvers {
		if s.name == name {
			return s.solver, nil
		}
		names = append(names, s.name)
	}
	return nil, misuse("-solver %s is not known; use one of %s", name, strings.Join(names, ", "))
}

// parse reads the command line. Help goes to help.
func parse(args []string, help io.Writer) (options, error) {
	o := options{set: map[string]bool{}}
	class := ""
	f := flag.NewFlagSet("sample", flag.ContinueOnError)
	f.SetOutput(io.Discard) // what is wrong is said once, by main
	f.StringVar(&o.model, "model", "testdata/digits/flow.safetensors", "network, a file of models.Save")
	f.StringVar(&class, "class", "all", "class to draw, several with commas between, or all")
	f.IntVar(&o.n, "n", 8, "images of each class")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the noise that sampling starts from")
	f.IntVar(&o.steps, "steps", 20, "steps of the solver")
	f.StringVar(&o.solver, "solver", "dpmpp", "ddim, dpmpp, dpmpp3, unipc (one evaluation a step), euler, heun, midpoint or rk4")
	f.Float64Var(&o.guidance, "guidance", 1, "scale w of u + w(c-u): 1 is none, more exaggerates the class")
	f.StringVar(&o.out, "out", "sheet.png", "picture to write")
	f.StringVar(&o.latent, "latent", "", "start from the latents of this file instead of noise")
	f.StringVar(&o.condition, "condition", "", "use the condition vectors of this file instead of classes")
	f.StringVar(&o.delta, "delta", "", "add the changes of weights of this file to the network")
	if err := f.Parse(args); err != nil {
		if err == flag.ErrHelp {
			fmt.Fprintln(help, "sample draws images from a trained network.")
			f.SetOutput(help)
			f.PrintDefaults()
			return o, err
		}
		return o, command.Usage(err)
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
	_, err := solverNamed(o.solver)
	switch {
	case err != nil:
		return err
	case o.n < 1 || o.n > 10_000:
		return misuse("-n is %d; 1 to 10000 are possible", o.n)
	case o.steps < 1 || o.steps > 100_000:
		return misuse("-steps is %d; 1 to 100000 are possible", o.steps)
	case math.IsNaN(o.guidance) || math.IsInf(o.guidance, 0):
		return misuse("-guidance is %v; it must be finite", o.guidance)
	case o.out == "":
		return misuse("-out is empty; give the name of a PNG file")
	}
	return nil
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
