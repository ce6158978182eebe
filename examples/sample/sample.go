package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/examples/internal/solvers"
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
	s, err := open(o, log)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := command.Writable(o.out); err != nil {
		return err
	}
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
	if s.plan, err = plan(s.spec, o); err != nil {
		return nil, err
	}
	s.cell, err = graph.NewCell(m, w)
	return s, err
}

// plan is that of the solver asked for, or of the one that README.md advises for flows.
func plan(spec graph.Spec, o options) (*ode.Plan, error) {
	p := ode.Problem{Schedule: spec.Schedule, Raw: spec.Prediction, Steps: o.steps}
	name := "dpmpp"
	if _, flow := spec.Schedule.(ode.Flow); flow {
		p.Grid = ode.Beta{}
		if name = "ab2"; o.steps > 8 {
			name = "ab3"
		}
	}
	solver, err := solvers.Named(cmp.Or(o.solver, name))
	if err != nil {
		return nil, err
	}
	return solver.Plan(p)
}

// artifact loads a file that must have the part a flag is for.
func artifact(path, flag string, spec graph.Spec, has func(models.Artifact[float32]) bool) (models.Artifact[float32], error) {
	a, _, err := models.LoadArtifact[float32](path, spec)
	switch {
	case errors.Is(err, models.ErrOtherNetwork):
		err = fmt.Errorf("-%s: %w; give that network with -model", flag, err)
	case err == nil && !has(a):
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
	start     string // what the latents are, in words
}

func (s *sampler) rows(o options) (r rows, err error) {
	var a models.Artifact[float32]
	if o.latent != "" {
		if a, err = artifact(o.latent, "latent", s.spec, func(a models.Artifact[float32]) bool { return a.Latent != nil }); err != nil {
			return r, err
		}
	}
	if a.Condition != nil && !o.set["class"] && o.condition == "" {
		return s.found(o.latent, a)
	}
	perRow, err := s.conditions(o, &r)
	if err != nil {
		return r, err
	}
	r.n, r.start = o.n, fmt.Sprintf("seed %d", o.seed)
	switch {
	case o.latent == "":
		if r.latent, err = s.noise(r.n*len(r.names), o.seed); err != nil {
			return r, err
		}
	case a.Condition != nil:
		r.start = fmt.Sprintf("latents of %s, not its conditions", filepath.Base(o.latent))
	default:
		r.start = "latents of " + filepath.Base(o.latent)
	}
	if o.latent != "" {
		r.n, r.latent = len(a.Latent)/s.spec.Inputs[0].Len(), slices.Repeat(a.Latent, len(r.names))
	}
	size := len(perRow) / len(r.names)
	for i := range r.names {
		r.condition = append(r.condition, slices.Repeat(perRow[i*size:(i+1)*size], r.n)...)
	}
	return r, nil
}

// found is one row of latents, each under the condition that the file has for it.
func (s *sampler) found(path string, a models.Artifact[float32]) (rows, error) {
	port, _ := s.spec.Input(graph.Condition)
	latents, conditions := len(a.Latent)/s.spec.Inputs[0].Len(), len(a.Condition)/port.Len()
	if latents != conditions {
		return rows{}, fmt.Errorf("-latent: %s has %d latents and %d conditions; say with -class or -condition what to draw them under", path, latents, conditions)
	}
	return rows{n: latents, names: []string{""}, condition: a.Condition, latent: a.Latent,
		start: "latents and conditions of " + filepath.Base(path)}, nil
}

// conditions are the vectors of all rows, and what these are called; none of an unconditional network.
func (s *sampler) conditions(o options, r *rows) (perRow []float32, err error) {
	port, conditional := s.spec.Input(graph.Condition)
	switch {
	case o.condition != "":
		a, err := artifact(o.condition, "condition", s.spec, func(a models.Artifact[float32]) bool { return a.Condition != nil })
		for i := range len(a.Condition) / port.Len() {
			r.names = append(r.names, fmt.Sprint("found ", i))
		}
		return a.Condition, err
	case !conditional && o.set["class"]:
		return nil, misuse("-class has no effect: the network is unconditional")
	case !conditional:
		r.names = []string{""}
		return nil, nil
	}
	labels, err := s.labels(o.classes)
	if err != nil {
		return nil, err
	}
	for _, l := range labels {
		r.names = append(r.names, fmt.Sprint(l))
	}
	return models.Lookup(s.weights, labels)
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
	note := fmt.Sprintf("%s, %d steps, %d evaluations; guidance %v; %s.", s.plan.Name, o.steps, s.plan.NFE(), o.guidance, r.start)
	images := tiles(x, shape)
	sheet := picture.Sheet{Title: "Samples of " + filepath.Base(o.model), Note: note, Height: shape[1], Width: shape[2], Channels: shape[0]}
	sheet.Tiles, sheet.Across, sheet.Rows = lines(images, r.n, r.names)
	if err := picture.Write(o.out, sheet); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: %d images\n%s\n", o.out, len(images), note)
	return nil
}

const widest = 12 // images in a line of the sheet

// lines breaks rows of n images into lines of at most the widest, of which the first has the row's name.
func lines(images [][]float32, n int, names []string) (placed [][]float32, across int, captions []string) {
	across = min(n, widest)
	each := (n + across - 1) / across
	for i, name := range names {
		placed = append(placed, images[i*n:(i+1)*n]...)
		placed = append(placed, make([][]float32, each*across-n)...)
		captions = append(append(captions, name), make([]string, each-1)...)
	}
	if names[0] == "" {
		captions = nil
	}
	return placed, across, captions
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
