package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/internal/picture"
	"github.com/ebb-go/ebb/train/measure"
)

// run is the whole program: out gets the results, log the progress.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	for _, path := range []string{o.json, o.sheet} {
		if path != "" {
			if err := command.Writable(path); err != nil {
				return err
			}
		}
	}
	s, err := open(o)
	if err != nil {
		return err
	}
	defer s.Close()
	settings, err := s.settings()
	if err != nil {
		return err
	}
	r := s.report()
	failed := s.measure(ctx, settings, &r, log)
	r.Interrupted = failed != nil
	if err := r.print(out, o.markdown); err != nil {
		return err
	}
	if o.json != "" {
		failed = errors.Join(failed, r.write(o.json))
	}
	return failed
}

// measure fills the report, and leaves in it what was measured until an error.
func (s *subject) measure(ctx context.Context, settings []setting, r *report, log io.Writer) error {
	work := 0
	for _, t := range settings {
		work += t.work() * s.samples
	}
	if s.sheet != "" {
		work += settings[0].work() * across * s.held.Classes
	}
	p := command.NewProgress(log, work)
	defer p.End()
	if s.sheet != "" {
		if err := s.draw(ctx, settings[0], p); err != nil {
			return err
		}
	}
	for _, g := range s.ladder() {
		if err := ctx.Err(); err != nil {
			return err
		}
		p.Add(0, "real images: "+g.name)
		line, err := s.rung(g)
		if err != nil {
			return err
		}
		r.Real = append(r.Real, line)
	}
	for i, t := range settings {
		line, err := s.line(ctx, t, p, fmt.Sprintf("%d of %d: %v", i+1, len(settings), t))
		if err != nil {
			return err
		}
		r.Samples = append(r.Samples, line)
	}
	return nil
}

func (s *subject) rung(g rung) (l line, err error) {
	of := s.reference.Look
	if g.whole {
		of = s.reference.Score
	}
	score, err := of(g.made())
	return s.lineOf(g.name, score), err
}

// line measures samples. It is the time of sampling that it tells.
func (s *subject) line(ctx context.Context, t setting, p *command.Progress, what string) (l line, err error) {
	labels := s.labels(s.samples)
	start := time.Now()
	x, err := s.sample(ctx, t, labels, p, what)
	if err != nil {
		return l, err
	}
	took := time.Since(start)
	p.Add(0, what+", measuring")
	score, err := s.reference.Score(measure.Labelled{Pixels: x, Labels: labels})
	if err != nil {
		return l, err
	}
	l = s.lineOf("", score)
	l.Setting, l.Seconds = &t, math.Round(took.Seconds()*100)/100
	return l, ctx.Err()
}

const across = 12 // samples of a class on the sheet

// draw writes the sheet: a row a class.
func (s *subject) draw(ctx context.Context, t setting, p *command.Progress) error {
	var labels []int
	for c := range s.held.Classes {
		for range across {
			labels = append(labels, c)
		}
	}
	x, err := s.sample(ctx, t, labels, p, "the sheet")
	if err != nil {
		return err
	}
	return picture.Write(s.sheet, picture.Sheet{Title: "Samples", Note: fmt.Sprintf("%v; seed %d.", t, s.seed),
		Tiles: picture.Tiles(x, s.held.Size()), Height: s.held.Height, Width: s.held.Width, Across: across, Rows: s.names})
}
