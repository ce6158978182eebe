// Package command is the frame of the example programs: interrupts, errors, exit codes, progress and files.
package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// UsageError is a mistake on the command line.
type UsageError struct{ error }

// Unwrap returns what was wrong.
func (e UsageError) Unwrap() error { return e.error }

// Usage makes a UsageError of err.
func Usage(err error) error { return UsageError{err} }

// Parse parses a command line. For -h it writes to help what the program does and its flags, and returns [flag.ErrHelp]; any other
// error is a UsageError, and nothing is written.
func Parse(f *flag.FlagSet, args []string, help io.Writer, about string) error {
	f.SetOutput(io.Discard) // what is wrong is said once, by Main
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		f.SetOutput(help)
		_, _ = fmt.Fprintln(help, about)
		f.PrintDefaults()
		return err
	case err != nil:
		return Usage(err)
	}
	return nil
}

// stopped is an interrupt with what was finished until then.
type stopped struct {
	error
	state string
}

// Unwrap returns what ended the work.
func (e stopped) Unwrap() error { return e.error }

// Stopped adds to an error, if it is that of an interrupt, in what state things were left, for [Main] to say.
func Stopped(err error, state string) error {
	if !errors.Is(err, context.Canceled) {
		return err
	}
	return stopped{err, state}
}

// Main runs a program with a context that ends at the first interrupt, and exits: with 0, also after help; with 130 when
// interrupted, saying so and in what state that leaves things, unless the error is one of [Stopped], which knows better, and what
// else went wrong; with 2 after a [UsageError], else with 1. A second interrupt does not wait.
func Main(name, interrupted string, run func(ctx context.Context) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	err := run(ctx)
	stop()
	if code := report(os.Stderr, name, interrupted, err); code != 0 {
		os.Exit(code)
	}
}

func report(w io.Writer, name, interrupted string, err error) int {
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, context.Canceled):
		if s := new(stopped); errors.As(err, s) {
			interrupted = s.state
		}
		fmt.Fprintf(w, "%s: interrupted%s\n", name, interrupted)
		for _, other := range besides(err) {
			fmt.Fprintf(w, "%s: %v\n", name, other)
		}
		return 130
	}
	fmt.Fprintf(w, "%s: %v\n", name, err)
	if errors.As(err, new(UsageError)) {
		fmt.Fprintln(w, "-h lists the flags")
		return 2
	}
	return 1
}

// besides are the errors that are joined to that of an interrupt.
func besides(err error) (others []error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		return []error{err}
	}
	switch e := err.(type) {
	case interface{ Unwrap() []error }:
		for _, inner := range e.Unwrap() {
			others = append(others, besides(inner)...)
		}
	case interface{ Unwrap() error }:
		return besides(e.Unwrap())
	}
	return others
}
