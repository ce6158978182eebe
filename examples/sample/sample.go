package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/internal/picture"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
)

// run is the whole program: out gets the results, log the progress.
func run(ctx context.Context, args []string, out, log io.Writer) error {
	o, err := parse(args, out)
	if err != nil {
		return err
	}
	if err := command.Writable(o.out); err != nil {
		return err
	}
	s, err := open(o, log)
	if err != nil {
		return err
	}
	defer s.Close()
	return draw(ctx, s, o, out)
}

// A sampler is a loaded network and the plan that samples it.
type sampler struct {
	spec     graph.Spec
	weights  *graph.Weights[float32]
	cell     *graph.Cell[float32]
	plan     *ode.Plan
	guidance float32
	log      io.Writer
}

func (s *sampler) Close() { s.cell.Close() }

// open loads what the flags name.
func open(o options, log io.Writer) (*sampler, error) {
	m, w, _, err := models.Load[float32](o.model)
	if err != nil {
		return nil, command.Missing(err, "model", o.set["model"])
	}
	s := &sampler{spec: m.Spec(), weights: w, guidance: float32(o.guidance), log: log}
	if s.spec.Schedule == nil || len(s.spec.Inputs[0].Shape) != 3 {
		return nil, fmt.Errorf("%s is a %s, which makes no images", o.model, strings.TrimPrefix(fmt.Sprintf("%T", m), "*models."))
	}
	if o.delta != "" {
		a, err := artifact(o.delta, "delta", s.spec, func(a models.Artifact[float32]) bool { return len(a.Delta) > 0 })
		if err != nil {
			return nil, err
		}
		if err := a.Apply(w); err != nil {
			return nil, err
		}
	}
	solver, err := solverNamed(o.solver)
	if err != nil {
		return nil, err
	}
	if s.plan, err = solver.Plan(ode.Problem{Schedule: s.spec.Schedule, Raw: s.spec.Prediction, Steps: o.steps}); err != nil {
		return nil, err
	}
	s.cell, err = graph.NewCell(m, w)
	return s, err
}

// artifact loads a file that must have the part a flag is for.
func artifact(path, flag string, spec graph.Spec, has func(models.Artifact[float32]) bool) (models.Artifact[float32], error) {
	a, _, err := models.LoadArtifact[float32](path, spec)
	if err == nil && !has(a) {
		err = fmt.Errorf("-%s: %s has none", flag, path)
	}
	return a, err
}

// sample solves from x, in place of which it returns the images. condition has a vector for each, or is nil.
func (s *sampler) sample(ctx context.Context, x, condition []float32) ([]float32, error) {
	dim := s.spec.Inputs[0].Len()
	batch := len(x) / dim
	field, err := s.field(condition)
	if err != nil {
		return nil, err
	}
	r, err := ode.NewRunner[float32](s.plan, batch, dim)
	if err != nil {
		return nil, err
	}
	defer s.cell.Hold()()
	steps := len(s.plan.Knots) - 1
	p := command.NewProgress(s.log, steps)
	defer p.End()
	err = r.Run(ctx, field, ode.Inputs[float32]{Ports: map[string][]float32{"x": x}, Observe: func(step ode.Step[float32]) error {
		p.Add(1, fmt.Sprintf("sampling: step %d of %d", step.Index+1, steps))
		return nil
	}})
	return r.Output("x"), err
}

// field is the network under a condition, guided if need be.
func (s *sampler) field(condition []float32) (ode.Field[float32], error) {
	f, err := graph.NewField(s.cell, condition)
	if err != nil || s.guidance == 1 {
		return f, err
	}
	if condition == nil {
		return nil, misuse("-guidance %v needs a conditional network; this one has no condition", s.guidance)
	}
	null, err := models.Lookup(s.weights, []int{-1})
	if err != nil {
		return nil, fmt.Errorf("-guidance %v needs the vector of no class: %w", s.guidance, err)
	}
	return models.NewGuided(f, condition, null, s.guidance)
}

// noise is where sampling starts.
func (s *sampler) noise(n int, seed uint64) ([]float32, error) {
	return ode.Latent(s.plan, ode.Seed[float32]{Key: seed}, n, s.spec.Inputs[0].Len())
}

// rows are what is drawn: one row of n images for each label, or for each condition.
type rows struct {
	n         int
	names     []string
	condition []float32 // one vector an image, nil if unconditional
	latent    []float32
}

func (s *sampler) rows(o options) (rows, error) {
	r := rows{n: o.n}
	port, conditional := s.spec.Input(graph.Condition)
	var perRow []float32
	switch {
	case o.condition != "":
		a, err := artifact(o.condition, "condition", s.spec, func(a models.Artifact[float32]) bool { return a.Condition != nil })
		if err != nil {
			return r, err
		}
		perRow = a.Condition
		for i := range len(perRow) / port.Len() {
			r.names = append(r.names, fmt.Sprint("found ", i))
		}
	case !conditional:
		if o.set["class"] {
			return r, misuse("-class has no effect: the network is unconditional")
		}
		r.names = []string{""}
	default:
		labels, err := s.labels(o.classes)
		if err != nil {
			return r, err
		}
		if perRow, err = models.Lookup(s.weights, labels); err != nil {
			return r, err
		}
		for _, l := range labels {
			r.names = append(r.names, fmt.Sprint(l))
		}
	}
	if o.latent != "" {
		a, err := artifact(o.latent, "latent", s.spec, func(a models.Artifact[float32]) bool { return a.Latent != nil })
		if err != nil {
			return r, err
		}
		count := len(a.Latent) / s.spec.Inputs[0].Len()
		if count%len(r.names) != 0 {
			return r, misuse("-latent: %s has %d latents, which do not make %d rows of equal length; choose other classes", o.latent, count, len(r.names))
		}
		r.latent, r.n = a.Latent, count/len(r.names)
	}
	if conditional {
		for i := range r.names {
			r.condition = append(r.condition, slices.Repeat(perRow[i*port.Len():(i+1)*port.Len()], r.n)...)
		}
	}
	if r.latent == nil {
		var err error
		if r.latent, err = s.noise(r.n*len(r.names), o.seed); err != nil {
			return r, err
		}
	}
	return r, nil
}

// labels checks the classes asked for; none means all of them.
func (s *sampler) labels(asked []int) ([]int, error) {
	i := slices.IndexFunc(s.spec.Weights, func(w graph.Weight) bool { return w.Name == models.Labels })
	if i < 0 {
		return nil, errors.New("the network has a condition but no classes; give a vector with -condition")
	}
	classes := s.spec.Weights[i].Shape[0] - 1
	if asked == nil {
		for c := range classes {
			asked = append(asked, c)
		}
	}
	for _, c := range asked {
		if c >= classes {
			return nil, misuse("-class %d: the network's classes are 0 to %d", c, classes-1)
		}
	}
	return asked, nil
}

// draw writes the sheet.
func draw(ctx context.Context, s *sampler, o options, out io.Writer) error {
	r, err := s.rows(o)
	if err != nil {
		return err
	}
	x, err := s.sample(ctx, r.latent, r.condition)
	if err != nil {
		return err
	}
	shape := s.spec.Inputs[0].Shape
	note := fmt.Sprintf("%s, %d steps, %d evaluations; guidance %v; seed %d.", s.plan.Name, o.steps, s.plan.NFE(), o.guidance, o.seed)
	if o.latent != "" {
		note = strings.Replace(note, fmt.Sprintf("seed %d", o.seed), "latents of "+filepath.Base(o.latent), 1)
	}
	sheet := picture.Sheet{
		Title: "Samples of " + filepath.Base(o.model), Note: note,
		Tiles: tiles(x, shape), Height: shape[1], Width: shape[2], Channels: shape[0], Across: r.n,
	}
	if s.conditional() {
		sheet.Rows = r.names
	}
	if err := picture.Write(o.out, sheet); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d images\n%s\n", o.out, len(sheet.Tiles), note)
	return nil
}

func (s *sampler) conditional() bool {
	_, ok := s.spec.Input(graph.Condition)
	return ok
}

// tiles cuts a batch of images whose channels come first into ones whose channels come last.
func tiles(x []float32, shape []int) [][]float32 {
	channels, area := shape[0], shape[1]*shape[2]
	list := picture.Tiles(x, channels*area)
	if channels > 1 {
		for k, t := range list {
			list[k] = make([]float32, len(t))
			for i := range t {
				list[k][i%area*channels+i/area] = t[i]
			}
		}
	}
	return list
}
