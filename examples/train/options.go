package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"path/filepath"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/command"
)

// options are the flags.
type options struct {
	data, labels, size string
	white, held        int
	out                string
	steps, batch       int
	every              int
	rate, decay        float64
	dropout, average   float64
	shift              int
	share, noise       float64
	width, depth       int
	heads, patch       int
	features           int
	flip               bool
	seed               uint64
	dtype              string
	classifier         string
	judge              string
	resume             bool
	set                map[string]bool // the flags that were given
}

func misuse(format string, v ...any) error { return command.Usage(fmt.Errorf(format, v...)) }

func parse(args []string, help io.Writer) (options, error) {
	o := options{set: map[string]bool{}}
	f := flag.NewFlagSet("train", flag.ContinueOnError)
	f.StringVar(&o.data, "data", "", "images: a CSV file of one image a line with its label last, an IDX file, a folder of PNG files (a subfolder a class), or "+command.Fashion)
	f.StringVar(&o.labels, "labels", "", "labels of an IDX file of images")
	f.StringVar(&o.size, "size", "", "height x width, as 8x8: of the images of a CSV file, or to fit PNG files to")
	f.IntVar(&o.white, "white", 16, "value of white in a CSV file")
	f.IntVar(&o.held, "held", 0, "images not to train on (default: a fifth; for the UCI digits always their fixed 360, for MNIST's files always the test images)")
	f.StringVar(&o.out, "out", "", "folder to write to; it is made if need be")
	f.IntVar(&o.steps, "steps", 4000, "training steps")
	f.IntVar(&o.batch, "batch", 64, "images a step")
	f.IntVar(&o.every, "every", 1000, "steps between checkpoints and pictures")
	f.Float64Var(&o.rate, "rate", 1e-3, "highest learning rate")
	f.Float64Var(&o.decay, "decay", 0.01, "weight decay")
	f.Float64Var(&o.average, "average", 0.999, "decay of the average of the weights, which is what is saved")
	f.Float64Var(&o.dropout, "dropout", 0.1, "share of labels dropped, for guidance")
	f.IntVar(&o.shift, "shift", 0, "move images by up to so many pixels")
	f.BoolVar(&o.flip, "flip", false, "exchange left and right in half of the images")
	f.Float64Var(&o.share, "share", 0, "share of the images that are moved; 0 is all")
	f.Float64Var(&o.noise, "noise", 0, "standard deviation of noise added to images, whose values go from -1 to 1")
	f.IntVar(&o.width, "width", 0, "width of the network (default 64, and 128 for images of more than 16 pixels a side; classifiers have shapes of their own)")
	f.IntVar(&o.depth, "depth", 0, "blocks of the network (default 4, and 6 for images of more than 16 pixels a side)")
	f.IntVar(&o.heads, "heads", 4, "attention heads")
	f.IntVar(&o.patch, "patch", 0, "side of a patch in pixels (default 2, and 4 for images of more than 16 pixels a side)")
	f.IntVar(&o.features, "features", 0, "sinusoids of the time (default 64, and 256 for images of more than 16 pixels a side)")
	f.Uint64Var(&o.seed, "seed", 1, "of everything random")
	f.StringVar(&o.dtype, "dtype", "f32", "of model.safetensors: f32, f16 or bf16")
	f.StringVar(&o.classifier, "classifier", "", "train a classifier instead: a or b, which differ in shape and learn from different halves")
	f.StringVar(&o.judge, "judge", "", "model.safetensors of a classifier, to report on the samples with")
	f.BoolVar(&o.resume, "resume", false, "go on from the checkpoint in the folder")
	if err := command.Parse(f, args, help, "train trains a small image model from a file or a folder of images."); err != nil {
		return o, err
	}
	f.Visit(func(f *flag.Flag) { o.set[f.Name] = true })
	if f.NArg() > 0 {
		return o, misuse("%q is not a flag; all arguments are flags, such as -data %s", f.Arg(0), f.Arg(0))
	}
	return o, o.check()
}

var dtypes = map[string]graph.Dtype{"f32": graph.F32, "f16": graph.F16, "bf16": graph.BF16}

func (o options) check() error {
	var errs []error
	demand := func(ok bool, format string, v ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, v...))
		}
	}
	demand(o.data != "", "-data is missing: a CSV or IDX file, or a folder of PNG files")
	demand(o.out != "", "-out is missing: the folder to write to")
	for _, f := range []struct {
		name       string
		v, atLeast int
	}{{"white", o.white, 1}, {"held", o.held, 0}, {"steps", o.steps, 1}, {"batch", o.batch, 1}, {"every", o.every, 1}, {"shift", o.shift, 0},
		{"width", o.width, 0}, {"depth", o.depth, 0}, {"heads", o.heads, 1}, {"patch", o.patch, 0}, {"features", o.features, 0}} {
		demand(f.v >= f.atLeast, "-%s is %d; it must be at least %d", f.name, f.v, f.atLeast)
	}
	for _, f := range []struct {
		name    string
		v       float64
		ok      bool
		allowed string
	}{
		{"rate", o.rate, o.rate > 0 && o.rate <= math.MaxFloat64, "above 0 and finite"},
		{"decay", o.decay, o.decay >= 0 && o.decay <= math.MaxFloat64, "at least 0 and finite"},
		{"average", o.average, o.average > 0 && o.average < 1, "between 0 and 1"},
		{"dropout", o.dropout, o.dropout >= 0 && o.dropout <= 1, "from 0 to 1"},
		{"share", o.share, o.share >= 0 && o.share <= 1, "from 0 to 1"},
		{"noise", o.noise, o.noise >= 0 && o.noise <= math.MaxFloat64, "at least 0 and finite"},
	} {
		demand(f.ok, "-%s is %v; it must be %s", f.name, f.v, f.allowed)
	}
	demand(dtypes[o.dtype] != "", "-dtype is %q; f32, f16 and bf16 are possible", o.dtype)
	demand(o.classifier == "" || o.classifier == "a" || o.classifier == "b", "-classifier is %q; a and b are possible", o.classifier)
	demand(!o.set["share"] || o.shift > 0, "-share has no effect without -shift; leave it out")
	if o.classifier != "" {
		errs = append(errs, o.refuse("a classifier", "judge", "dropout", "heads", "features"))
	}
	if err := errors.Join(errs...); err != nil {
		return command.Usage(err)
	}
	return nil
}

// refuse is an error if one of the flags was given, which have no effect on something.
func (o options) refuse(something string, flags ...string) error {
	for _, name := range flags {
		if o.set[name] {
			return misuse("-%s has no effect on %s; leave it out", name, something)
		}
	}
	return nil
}

func (o options) file(name string) string { return filepath.Join(o.out, name) }
