package main

import (
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/internal/command"
)

// options are the flags.
type options struct {
	out, model string
	images     int
	seed       uint64
	set        map[string]bool // the flags that were given

	quality     bool
	samples     int
	judge, data string

	// No flags: tests make less do.
	contestants                 []contestant
	samplesOfMixture, reference int
	budgets, qualityBudgets     []int
}

// gradedBy is the budget that images are sorted by, the middle one: with few evaluations solvers fail, and with many they agree.
func (o options) gradedBy() int { return len(o.qualityBudgets) / 2 }

func misuse(format string, v ...any) error { return command.Usage(fmt.Errorf(format, v...)) }

// parse reads the command line. Help goes to help.
func parse(args []string, help io.Writer) (options, error) {
	o := options{set: map[string]bool{}, contestants: contestants(), samplesOfMixture: 256, reference: 1000,
		budgets: []int{5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50}, qualityBudgets: []int{5, 10, 20}}
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.StringVar(&o.out, "out", "out/compare/compare", "what the results are called: .png, .svg and .md are put behind it; the folder is made if need be")
	f.StringVar(&o.model, "model", "testdata/digits/flow.safetensors", "network that makes images, a file of models.Save")
	f.IntVar(&o.images, "images", 16, "images that are solved; the time is proportional to it")
	f.Uint64Var(&o.seed, "seed", 1, "seed of the mixture and of the noise that sampling starts from")
	f.BoolVar(&o.quality, "quality", false, "also measure how good the images are; takes minutes")
	f.IntVar(&o.samples, "samples", 300, "images to measure, with -quality")
	f.StringVar(&o.judge, "judge", "testdata/digits/classifier-b.safetensors", "classifier that the network was not trained with, for -quality")
	f.StringVar(&o.data, "data", "testdata/digits/digits.csv.gz", "the digits, for -quality")
	if err := command.Parse(f, args, help, "compare runs all solvers with 5 to 50 evaluations, and draws how far they end from the solution of the ODE."); err != nil {
		return o, err
	}
	f.Visit(func(f *flag.Flag) { o.set[f.Name] = true })
	switch {
	case f.NArg() > 0:
		return o, misuse("%q is left over; every argument is a flag", f.Args())
	case o.out == "":
		return o, misuse("-out is empty; give the name of a file without its ending")
	case slices.Contains([]string{".png", ".svg", ".md"}, strings.ToLower(filepath.Ext(o.out))):
		return o, misuse("-out is %q; give the name without its ending: .png, .svg and .md are put behind it", o.out)
	case o.images < 1 || o.images > 10_000:
		return o, misuse("-images is %d; 1 to 10000 are possible", o.images)
	case o.samples < 20 || o.samples > 360:
		return o, misuse("-samples is %d; 20 to 360 are possible, since there are 360 held-out images to compare with", o.samples)
	}
	for _, name := range []string{"samples", "judge", "data"} {
		if o.set[name] && !o.quality {
			return o, misuse("-%s has an effect with -quality only", name)
		}
	}
	return o, nil
}
