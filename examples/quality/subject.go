package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/examples/internal/solvers"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/customize"
	"github.com/ebb-go/ebb/train/data"
	"github.com/ebb-go/ebb/train/measure"
)

// A subject is the network that is measured, and the images and the judge it is measured by.
type subject struct {
	options
	spec        graph.Spec
	weights     *graph.Weights[float32]
	cell, eyes  *graph.Cell[float32] // of the network and of the judge
	train, held *data.Images
	names       []string // of the classes
	reference   *measure.Reference
}

func (s *subject) Close() {
	for _, c := range []*graph.Cell[float32]{s.cell, s.eyes} {
		if c != nil {
			c.Close()
		}
	}
}

// open loads what the flags name. What it opened until an error is closed.
func open(o options) (*subject, error) {
	s := &subject{options: o}
	err := s.open()
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *subject) open() error {
	if err := s.openImages(); err != nil {
		return command.Missing(err, "data", s.set["data"])
	}
	m, w, _, err := models.Load[float32](s.model)
	if err != nil {
		return command.Missing(err, "model", s.set["model"])
	}
	s.spec, s.weights = m.Spec(), w
	if s.spec.Schedule == nil || !slices.Equal(s.spec.Inputs[0].Shape, []int{1, s.held.Height, s.held.Width}) {
		return fmt.Errorf("-model %s is a %s of %v; a flow or a diffusion of images like those of -data, [1 %d %d] (channels, height, width), is needed",
			s.model, strings.TrimPrefix(fmt.Sprintf("%T", m), "*models."), s.spec.Inputs[0].Shape, s.held.Height, s.held.Width)
	}
	i := slices.IndexFunc(s.spec.Weights, func(w graph.Weight) bool { return w.Name == models.Labels })
	if i < 0 || s.spec.Weights[i].Shape[0]-1 != s.held.Classes {
		return fmt.Errorf("-model %s does not know the %d classes of -data, which the judge is to see", s.model, s.held.Classes)
	}
	if _, flow := s.spec.Schedule.(ode.Flow); !flow && !slices.Equal(s.shift, []float64{1}) {
		return misuse("-shift is for flows, and -model %s has the schedule %T", s.model, s.spec.Schedule)
	}
	if s.cell, err = graph.NewCell(m, w); err != nil {
		return err
	}
	return s.openJudge()
}

// openImages reads the digits or a folder of IDX files, and chooses the network that goes with them.
func (s *subject) openImages() (err error) {
	folder, digits := "testdata/fashion", s.data
	if info, err := os.Stat(s.data); err != nil {
		return err
	} else if info.IsDir() {
		digits = filepath.Join(s.data, "digits.csv.gz")
	}
	s.train, s.held, err = data.DigitsSets(digits)
	switch {
	case err == nil:
		folder = "testdata/digits"
	case digits == s.data || !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		if s.train, s.held, err = data.Fashion(s.data); err == nil {
			s.names = data.FashionClasses()
		} else if s.train, s.held, err = data.IDXFolder(s.data); errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("-data %s is neither the folder of the digits, testdata/digits, nor %s", s.data, command.Fashion)
		} else if err != nil {
			return err
		}
	}
	if s.names == nil {
		for c := range s.held.Classes {
			s.names = append(s.names, fmt.Sprint(c))
		}
	}
	if !s.set["model"] {
		s.model = folder + "/flow.safetensors"
	}
	if !s.set["judge"] {
		s.judge = folder + "/classifier-b.safetensors"
	}
	return nil
}

func (s *subject) openJudge() error {
	m, w, _, err := models.Load[float32](s.judge)
	if err != nil {
		return command.Missing(err, "judge", s.set["judge"])
	}
	if s.eyes, err = graph.NewCell(m, w); err != nil {
		return err
	}
	critic, err := customize.NewCritic(s.eyes)
	if err != nil {
		return fmt.Errorf("-judge %s: %w", s.judge, err)
	}
	if got := m.Spec().Inputs[0].Len(); got != s.held.Size() || critic.Classes() != s.held.Classes {
		return fmt.Errorf("-judge %s tells %d classes of images of %d pixels; those of -data are %d, of %d", s.judge, critic.Classes(), got, s.held.Classes, s.held.Size())
	}
	s.reference, err = measure.NewReference(critic, s.held.Size(), labelled(s.train), labelled(s.held))
	return err
}

// labelled are grey images, which are the same whether channels come first or last.
func labelled(d *data.Images) measure.Labelled {
	return measure.Labelled{Pixels: d.Pixels, Labels: d.Labels}
}

// A setting is one way to sample.
type setting struct {
	Solver      string  `json:"solver"`
	Shift       float64 `json:"shift"`
	Guidance    float64 `json:"guidance"`
	Evaluations int     `json:"evaluations"`
	plan        *ode.Plan
}

func (t setting) String() string {
	return fmt.Sprintf("%s, %d evaluations, guidance %v, shift %v", t.Solver, t.Evaluations, t.Guidance, t.Shift)
}

// work is how many predictions of the network a sample takes.
func (t setting) work() int {
	if t.Guidance != 1 {
		return 2 * t.Evaluations
	}
	return t.Evaluations
}

// settings are all combinations that the flags ask for.
func (s *subject) settings() (all []setting, err error) {
	for _, name := range s.solvers {
		solver, err := solvers.Named(name)
		if err != nil {
			return nil, err
		}
		for _, shift := range s.shift {
			plans := make([]*ode.Plan, len(s.evaluations))
			for i, n := range s.evaluations {
				if plans[i], err = s.plan(name, solver, shift, n); err != nil {
					return nil, err
				}
			}
			for _, w := range s.guidance {
				for i, n := range s.evaluations {
					all = append(all, setting{name, shift, w, n, plans[i]})
				}
			}
		}
	}
	return all, nil
}

// plan has exactly so many evaluations.
func (s *subject) plan(name string, solver ode.Solver, shift float64, evaluations int) (*ode.Plan, error) {
	p := ode.Problem{Schedule: s.spec.Schedule, Raw: s.spec.Prediction}
	if shift != 1 {
		p.Grid = ode.Shift{By: shift}
	}
	var near []string
	for p.Steps = 1; p.Steps <= evaluations+1; p.Steps++ {
		plan, err := solver.Plan(p)
		if err != nil {
			return nil, fmt.Errorf("-solver %s: %w", name, err)
		}
		switch nfe := plan.NFE(); {
		case nfe == evaluations:
			return plan, nil
		case nfe < evaluations:
			near = []string{fmt.Sprint(nfe)}
			continue
		default:
			near = append(near, fmt.Sprint(nfe))
		}
		break
	}
	return nil, misuse("-evaluations %d: -solver %s cannot make so many; the nearest it can are %s", evaluations, name, strings.Join(near, " and "))
}

// labels asks for classes in the shares of the held-out images.
func (s *subject) labels(n int) []int {
	labels := make([]int, n)
	for i := range labels {
		labels[i] = s.held.Labels[i%s.held.N]
	}
	return labels
}

// batch is how many samples run together: enough for all cores, few enough that an interrupt need not wait.
const batch = 512

// sample draws an image of each label. Sample i starts from the same noise in every setting.
func (s *subject) sample(ctx context.Context, t setting, labels []int, p *command.Progress, what string) ([]float32, error) {
	defer s.cell.Hold()()
	dim := s.spec.Inputs[0].Len()
	x, err := ode.Latent(t.plan, ode.Seed[float32]{Key: s.seed}, len(labels), dim)
	if err != nil {
		return nil, err
	}
	for at := 0; at < len(labels); at += batch {
		some := labels[at:min(at+batch, len(labels))]
		field, err := s.field(t, some)
		if err != nil {
			return nil, err
		}
		r, err := ode.NewRunner[float32](t.plan, len(some), dim)
		if err != nil {
			return nil, err
		}
		steps, done := len(t.plan.Knots)-1, 0
		part := x[at*dim : (at+len(some))*dim]
		err = r.Run(ctx, field, ode.Inputs[float32]{Ports: map[string][]float32{"x": part}, Observe: func(step ode.Step[float32]) error {
			now := t.work() * len(some) * (step.Index + 1) / steps
			p.Add(now-done, what)
			done = now
			return nil
		}})
		if err != nil {
			return nil, err
		}
		copy(part, r.Output("x"))
	}
	return x, nil
}

// field is the network under classes, guided if need be.
func (s *subject) field(t setting, labels []int) (ode.Field[float32], error) {
	condition, err := models.Lookup(s.weights, labels)
	if err != nil {
		return nil, err
	}
	f, err := graph.NewField(s.cell, condition)
	if err != nil || t.Guidance == 1 {
		return f, err
	}
	null, err := models.Lookup(s.weights, []int{-1})
	if err != nil {
		return nil, err
	}
	return models.NewGuided(f, condition, null, s.scales(t)...)
}

// scales are the scale of guidance, or that of each evaluation.
func (s *subject) scales(t setting) []float32 {
	if s.interval == nil {
		return []float32{float32(t.Guidance)}
	}
	var all []float32
	for _, in := range t.plan.Code {
		if in.Op == ode.Evaluate {
			w := 1.
			if s.interval[0] <= in.T && in.T <= s.interval[1] {
				w = t.Guidance
			}
			all = append(all, float32(w))
		}
	}
	return all
}
