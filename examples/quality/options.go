package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ebb-go/ebb/examples/internal/solvers"
	"github.com/ebb-go/ebb/internal/command"
)

// options are the flags, checked as far as they can be without a network.
type options struct {
	data, model, judge string
	json, sheet        string
	evaluations        []int
	guidance, shift    []float64
	solvers            []string
	interval           []float64 // nil: all times
	samples            int
	seed               uint64
	markdown           bool
	set                map[string]bool // the flags that were given
}

func misuse(format string, v ...any) error { return command.Usage(fmt.Errorf(format, v...)) }

// parse reads the command line. Help goes to help.
func parse(args []string, help io.Writer) (options, error) {
	o := options{set: map[string]bool{}}
	var evaluations, guidance, shift, solver, interval string
	f := flag.NewFlagSet("quality", flag.ContinueOnError)
	f.StringVar(&o.data, "data", "testdata/digits", "real images: the folder of the digits, or "+command.Fashion)
	f.StringVar(&o.model, "model", "", "network, a file of models.Save (default the one that ships for the data, in testdata)")
	f.StringVar(&o.judge, "judge", "", "classifier that the network was not trained with (default the one that ships for the data, in testdata)")
	f.StringVar(&evaluations, "evaluations", "4,10,20,50", "evaluations of the network, several with commas between")
	f.StringVar(&guidance, "guidance", "1,2,3", "scales w of u + w(c-u): 1 is none, more exaggerates the class")
	f.StringVar(&solver, "solver", "midpoint", strings.Join(solvers.Names(), ", ")+"; several with commas between")
	f.StringVar(&shift, "shift", "1", "shifts of a flow's knots, uniform in t: above 1 more of them lie in noise")
	f.StringVar(&interval, "interval", "", "guide at times from LO to HI only, written LO,HI; noise is at 1")
	f.IntVar(&o.samples, "samples", 2000, "samples for each line of the table, of classes as in the held-out images")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the noise that sampling starts from, the same for all lines")
	f.StringVar(&o.json, "json", "", "write all that was measured to this file too")
	f.StringVar(&o.sheet, "sheet", "", "write samples of the first line to this picture, 12 of each class")
	f.BoolVar(&o.markdown, "markdown", false, "print the tables in Markdown")
	if err := command.Parse(f, args, help, "quality measures samples of a flow by how many evaluations, at which guidance, with which solver."); err != nil {
		return o, err
	}
	f.Visit(func(f *flag.Flag) { o.set[f.Name] = true })
	if f.NArg() > 0 {
		return o, misuse("%q is left over; every argument is a flag", f.Args())
	}
	o.solvers = strings.Split(solver, ",")
	for i, name := range o.solvers {
		o.solvers[i] = strings.TrimSpace(name)
		if _, err := solvers.Named(o.solvers[i]); err != nil {
			return o, command.Usage(err)
		}
	}
	real := func(s string) (float64, error) { return strconv.ParseFloat(s, 64) }
	var errs [4]error
	o.evaluations, errs[0] = list("evaluations", evaluations, "from 1 to 1000", strconv.Atoi, func(n int) bool { return n >= 1 && n <= 1000 })
	o.guidance, errs[1] = list("guidance", guidance, "finite", real, func(w float64) bool { return !math.IsNaN(w) && !math.IsInf(w, 0) })
	o.shift, errs[2] = list("shift", shift, "from 0.01 to 100", real, func(s float64) bool { return s >= 0.01 && s <= 100 })
	if interval != "" {
		o.interval, errs[3] = list("interval", interval, "finite", real, func(t float64) bool { return !math.IsNaN(t) && !math.IsInf(t, 0) })
	}
	return o, cmp.Or(errs[0], errs[1], errs[2], errs[3], o.check())
}

// list reads numbers with commas between.
func list[T any](flag, text, allowed string, parse func(string) (T, error), ok func(T) bool) (all []T, err error) {
	for _, item := range strings.Split(text, ",") {
		v, err := parse(strings.TrimSpace(item))
		if err != nil || !ok(v) {
			return nil, misuse("-%s %s: %q is none; give numbers %s, with commas between", flag, text, item, allowed)
		}
		all = append(all, v)
	}
	return all, nil
}

func (o options) check() error {
	switch {
	case o.samples < 10 || o.samples > 10_000:
		return misuse("-samples is %d; 10 to 10000 are possible", o.samples)
	case o.interval != nil && (len(o.interval) != 2 || o.interval[0] >= o.interval[1]):
		return misuse("-interval has %v; a lower and a higher time are needed, such as 0.2,0.8", o.interval)
	case o.interval != nil && !slices.ContainsFunc(o.guidance, func(w float64) bool { return w != 1 }):
		return misuse("-interval has no effect without guidance; add -guidance 2")
	case o.sheet != "":
		return command.PNG("sheet", o.sheet)
	}
	return nil
}
