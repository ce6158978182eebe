package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/ode"
)

// run is the whole program: out gets the short answer, log the progress.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	return compare(ctx, o, out, log)
}

func compare(ctx context.Context, o options, out, log io.Writer) error {
	n, err := openNetwork(o.model, o.set["model"])
	if err != nil {
		return err
	}
	defer n.cell.Close()
	if err := command.Writable(o.out + ".md"); err != nil {
		return err
	}
	defer n.cell.Hold()()
	var j judge
	if o.quality {
		if j, err = n.judge(o); err != nil {
			return err
		}
		defer j.close()
	}
	mixture, err := mixtureCourse(o.samplesOfMixture, o.seed)
	if err != nil {
		return err
	}
	images, err := n.course(o.images, n.labels(o.images), o.seed)
	if err != nil {
		return err
	}
	ks := o.contestants
	work := 4 * o.reference * 2
	for _, k := range ks {
		laps := len(mixture.rules) + len(images.rules)
		if k.adaptive {
			laps = 2
		}
		work += total(o.budgets) * laps
	}
	if o.quality {
		work += total(o.qualityBudgets) * (len(ks) + len(stochastic())) * o.samples / o.images
	}
	p := command.NewProgress(log, work)
	defer p.End()

	r := report{options: o}
	if err := mixture.finish(ctx, ode.LogSNR{}, o.reference, p); err != nil {
		return fmt.Errorf("solving the mixture for reference: %w", err)
	}
	if r.mixture, err = mixture.race(ctx, ks, o.budgets, true, p); err != nil {
		return err
	}
	if err := images.finish(ctx, images.rules[0].grid, o.reference, p); err != nil {
		return fmt.Errorf("solving the images for reference: %w", err)
	}
	if r.images, err = images.race(ctx, ks, o.budgets, false, p); err != nil {
		return err
	}
	if o.quality {
		if r.quality, err = n.quality(ctx, o, j, r.images, p); err != nil {
			return err
		}
	}
	if err := drawPlot(o.out, r); err != nil {
		return err
	}
	text := r.markdown()
	if err := os.WriteFile(o.out+".md", []byte(text), 0o666); err != nil {
		return err
	}
	p.End()
	_, err = fmt.Fprintf(out, "%s\n%s.png, %s.svg and %s.md have all of it.\n", r.short(), o.out, o.out, o.out)
	return err
}
