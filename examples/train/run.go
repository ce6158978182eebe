package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/ebb-go/ebb/internal/command"
)

// run is the whole program.
func run(ctx context.Context, args []string, out io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	set, err := load(o, out)
	if err != nil {
		return err
	}
	net, task, err := network(o, set)
	if err != nil {
		return err
	}
	var judge *judge
	if o.judge != "" {
		if judge, err = openJudge(o.judge, set); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(o.out, 0o777); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	_, err = os.Stat(o.file(checkpointFile))
	switch exists := err == nil; {
	case o.resume && !exists:
		return fmt.Errorf("-resume: %s has no %s", o.out, checkpointFile)
	case !o.resume && exists:
		return fmt.Errorf("%s has a %s already; -resume goes on with it, another -out begins anew", o.out, checkpointFile)
	}
	job, err := newJob(o, set, net, task, judge, out)
	if err != nil {
		return err
	}
	defer job.trainer.Close()
	if o.resume {
		if err := job.resume(); err != nil {
			return err
		}
		fmt.Fprintf(out, "going on after step %d\n", job.trainer.Step())
	}
	if err = job.train(ctx); err == nil {
		err = job.finish(ctx)
	}
	if _, missing := os.Stat(o.file(checkpointFile)); ctx.Err() != nil && missing == nil {
		err = command.Stopped(err, "; go on with\n\n\t"+command.Again(resuming(args, o)...)+"\n")
	}
	return err
}

// resuming are the arguments that go on.
func resuming(args []string, o options) []string {
	if o.resume {
		return args
	}
	return append(slices.Clone(args), "-resume")
}
