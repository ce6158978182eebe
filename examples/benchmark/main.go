// Command benchmark measures what ebb's engine takes: products of matrices, a small MLP and a diffusion transformer of 28×28 images,
// forward, backward and in training, and a sampling run with its gradient.
//
//	go run ./examples/benchmark                              all of it, as a table
//	go run ./examples/benchmark -json                        one flat object: what machines read
//	go run ./examples/benchmark -only dit_vjp,sample20 -repeat 20
//	go run ./examples/benchmark -profile dit_train_step      where its time goes, op by op
//	go run ./examples/benchmark -slopes                      how time and memory grow with batch, tokens and steps
//	go run ./examples/benchmark -peers                       beside PyTorch and JAX, as far as Python finds them
//
// The README beside this file says what each key is. Keys that begin with gemm are GFLOP/s, those that end in bytes are bytes, all
// others are seconds. The figure is the best of -repeat, each of about 0.3 s: on a machine that does something else as well it is
// the one that others disturbed least. Progress goes to standard error.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ebb-go/ebb/internal/kernels"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second interrupt does not wait
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return
	case errors.As(err, new(usageError)):
		fmt.Fprintln(os.Stderr, "benchmark:", err)
		fmt.Fprintln(os.Stderr, "-h lists the flags")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, "benchmark:", err)
	os.Exit(1)
}

// usageError is a mistake on the command line.
type usageError struct{ error }

func misuse(format string, v ...any) error { return usageError{fmt.Errorf(format, v...)} }

// options are the flags.
type options struct {
	json, peers bool
	profile     string // key
	slopes      bool
	only        []string // in the order of the table
	threads     int
	repeat      int
	python      string
	scripts     string
	least       time.Duration // of one repetition
	batch       int           // instead of the table's, if any
}

func parse(args []string, help io.Writer) (options, error) {
	o := options{least: 300 * time.Millisecond}
	var only string
	f := flag.NewFlagSet("benchmark", flag.ContinueOnError)
	f.SetOutput(io.Discard) // what is wrong is said once, by main
	f.BoolVar(&o.json, "json", false, "print one flat JSON object")
	f.StringVar(&only, "only", "", "keys to measure, with commas between (default all)")
	f.IntVar(&o.threads, "threads", runtime.NumCPU(), "cores to use")
	f.IntVar(&o.repeat, "repeat", 5, "repetitions, of which the best counts")
	f.StringVar(&o.profile, "profile", "", "print where the time of this key goes, op by op")
	f.BoolVar(&o.slopes, "slopes", false, "print how time and memory grow with batch, tokens and steps, as Markdown")
	f.BoolVar(&o.peers, "peers", false, "measure PyTorch and JAX in turns with ebb, and print the ratios as Markdown")
	f.StringVar(&o.python, "python", "python3", "interpreter for -peers")
	f.StringVar(&o.scripts, "scripts", "examples/benchmark/peers", "folder of the programs of -peers")
	if err := f.Parse(args); err != nil {
		if err == flag.ErrHelp {
			fmt.Fprintln(help, "benchmark measures ebb's engine. Its keys:", strings.Join(keys(), " "))
			f.SetOutput(help)
			f.PrintDefaults()
			return o, err
		}
		return o, usageError{err}
	}
	set := map[string]bool{}
	f.Visit(func(f *flag.Flag) { set[f.Name] = true })
	switch {
	case f.NArg() > 0:
		return o, misuse("%q is left over; every argument is a flag", f.Args())
	case o.threads < 1 || o.threads > runtime.NumCPU():
		return o, misuse("-threads %d; 1 to %d are possible here", o.threads, runtime.NumCPU())
	case o.repeat < 1:
		return o, misuse("-repeat %d; at least 1 is needed", o.repeat)
	case o.json && o.peers:
		return o, misuse("-json has no effect beside -peers, which prints Markdown; leave one of them out")
	case !o.peers && (set["python"] || set["scripts"]):
		return o, misuse("-python and -scripts have no effect without -peers")
	}
	if o.slopes && (o.json || o.peers || set["only"] || set["profile"]) {
		return o, misuse("-json, -peers, -only and -profile have no effect beside -slopes; leave them out")
	}
	if set["profile"] {
		switch {
		case !slices.Contains(watchable(), o.profile):
			return o, misuse("-profile %q; use one of %s", o.profile, strings.Join(watchable(), " "))
		case o.json || o.peers || set["only"] || set["repeat"]:
			return o, misuse("-json, -peers, -only and -repeat have no effect beside -profile; leave them out")
		}
	}
	wanted := map[string]bool{}
	if set["only"] {
		for _, k := range strings.Split(only, ",") {
			k = strings.TrimSpace(k)
			if !slices.Contains(keys(), k) {
				return o, misuse("-only: %q is no key; use some of %s", k, strings.Join(keys(), " "))
			}
			wanted[k] = true
		}
	}
	for _, k := range keys() {
		if wanted[k] || len(wanted) == 0 {
			o.only = append(o.only, k)
		}
	}
	return o, nil
}

// run is the whole program.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	return o.run(ctx, out, log)
}

func (o options) run(ctx context.Context, out, log io.Writer) error {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(o.threads))
	if o.peers {
		return o.compare(ctx, out, log)
	}
	if o.slopes {
		return growth(ctx, o, out)
	}
	if o.profile != "" {
		return profile(ctx, o.profile, o, out)
	}
	results := map[string]float64{}
	for _, key := range o.only {
		v, err := measure(ctx, key, o)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		results[key] = v
		fmt.Fprintf(log, "%s %s\n", key, human(key, v))
	}
	if o.json {
		object := map[string]any{"machine": machine(), "go": runtime.Version(), "threads": o.threads, "kernels": kernels.Path()}
		for k, v := range results {
			object[k] = v
		}
		text, err := json.MarshalIndent(object, "", "\t")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s\n", text)
		return err
	}
	fmt.Fprintf(out, "%s, %s, %d threads, %s kernels\n\n", machine(), runtime.Version(), o.threads, kernels.Path())
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, key := range o.only {
		fmt.Fprintf(t, "%s\t%s\t%s\n", key, human(key, results[key]), work(key))
	}
	return t.Flush()
}

// human is a figure with its unit.
func human(key string, v float64) string {
	switch {
	case strings.HasPrefix(key, "gemm"):
		return fmt.Sprintf("%.0f GFLOP/s", v)
	case strings.HasSuffix(key, "bytes"):
		return fmt.Sprintf("%.1f MiB", v/(1<<20))
	case v < 1e-3:
		return fmt.Sprintf("%.3g µs", v*1e6)
	}
	return fmt.Sprintf("%.3g ms", v*1e3)
}

// machine names the CPU where the system tells.
func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return fmt.Sprintf("%s, %d cores, %s/%s", strings.TrimSpace(value), runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
		}
	}
	return fmt.Sprintf("%d cores, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
}
