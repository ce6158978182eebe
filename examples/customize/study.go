package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/customize"
	"github.com/ebb-go/ebb/train/data"
	"github.com/ebb-go/ebb/train/measure"
)

// flowFile is the network in the folder of a subject.
const flowFile = "flow.safetensors"

// reported is the number of evaluations of every report.
const reported = 20

// activations is how many bytes of them a gradient may keep, so as not to compute them twice.
const activations = 1 << 30

// A study is all that the targets share: the images, the sampler, a critic that losses may use, and a judge that they
// may not.
type study[T customize.Float] struct {
	*subject
	refs    references
	model   graph.Model
	weights *graph.Weights[T]
	cell    *graph.Cell[T]
	critic  *customize.Critic[T]
	judge   *customize.Critic[T]
	dim     int
	width   int // of a condition
	seed    uint64
	quick   float64 // iterations are multiplied with this
	log     io.Writer
	stage   *command.Progress // of what is being done
	close   []func()
}

// open loads images, the flow and both classifiers from a folder.
func open[T customize.Float](dir string, seed uint64, log io.Writer) (*study[T], error) {
	dir = folder(dir)
	of, err := openSubject(dir)
	if err != nil {
		return nil, err
	}
	s := &study[T]{subject: of, seed: seed, quick: 1, log: log, stage: command.NewProgress(log, 0)}
	if err = s.networks(dir); err == nil {
		if s.train != nil {
			s.refs, err = reference(s.subject, s.train, s.judge)
		} else {
			s.refs, err = readReferences(filepath.Join(dir, referencesFile))
		}
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// networks loads the flow, the critic and the judge.
func (s *study[T]) networks(dir string) (err error) {
	if s.model, s.weights, _, err = models.Load[T](filepath.Join(dir, flowFile)); err != nil {
		return err
	}
	if s.cell, err = graph.NewCell(s.model, s.weights); err != nil {
		return err
	}
	s.close = append(s.close, s.cell.Close)
	spec := s.model.Spec()
	condition, ok := spec.Input(graph.Condition)
	x, _ := spec.Input(graph.X)
	if !ok || x.Len() != s.held.Size() {
		return fmt.Errorf("the network in %s is not a conditional one for images of %d×%d", dir, s.held.Height, s.held.Width)
	}
	s.dim, s.width = x.Len(), condition.Len()
	for name, critic := range map[string]**customize.Critic[T]{"classifier-a.safetensors": &s.critic, "classifier-b.safetensors": &s.judge} {
		m, w, _, err := models.Load[T](filepath.Join(dir, name))
		if err != nil {
			return err
		}
		c, err := graph.NewCell(m, w)
		if err != nil {
			return err
		}
		s.close = append(s.close, c.Close)
		if *critic, err = customize.NewCritic(c); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if got := (*critic).Classes(); got != len(s.classes) {
			return fmt.Errorf("%s knows %d classes; there are %d", name, got, len(s.classes))
		}
	}
	return nil
}

// Close ends the workers.
func (s *study[T]) Close() {
	for _, f := range s.close {
		f()
	}
}

// plan takes noise to data in so many evaluations, one a step: with as few as a gradient affords, steps that are finer near the
// noise do much for a flow of images.
func (s *study[T]) plan(evaluations int) (*ode.Plan, error) {
	spec := s.model.Spec()
	return ode.FlowAB{Order: 2}.Plan(ode.Problem{Schedule: spec.Schedule, Raw: spec.Prediction, Grid: ode.Shift{Grid: ode.UniformTime{}, By: 1.5}, Steps: evaluations})
}

// midpoint is the rule of that name between given times; an evaluation on each, and one half-way to the next.
func (s *study[T]) midpoint(knots ...float64) (*ode.Plan, error) {
	spec := s.model.Spec()
	return ode.RK{Tableau: ode.MidpointRule()}.Plan(ode.Problem{Schedule: spec.Schedule, Raw: spec.Prediction, Knots: knots})
}

// even are the ends of so many equal steps from noise to data.
func (s *study[T]) even(steps int) []float64 {
	clean, noisy := s.model.Spec().Schedule.Range()
	knots := make([]float64, steps+1)
	for i := range knots {
		knots[i] = noisy + (clean-noisy)*float64(i)/float64(steps)
	}
	return knots
}

// invert takes data to noise in so many evaluations, by the rule that brings them back best.
func (s *study[T]) invert(evaluations int) (*ode.Plan, error) {
	knots := s.even(evaluations / 2)
	slices.Reverse(knots)
	return s.midpoint(knots...)
}

// sampler is the field under the given labels with plans for inside and for the replay.
func (s *study[T]) sampler(labels []int, inside int) (customize.Sampler[T], *graph.Field[T], error) {
	none := customize.Sampler[T]{}
	field, err := s.field(labels)
	if err != nil {
		return none, nil, err
	}
	field.Remember(activations)
	plan, err := s.plan(inside)
	if err != nil {
		return none, nil, err
	}
	replay, err := s.plan(3 * inside)
	return customize.Sampler[T]{Field: field, Plan: plan, Replay: replay, Batch: len(labels), Dim: s.dim}, field, err
}

func (s *study[T]) field(labels []int) (*graph.Field[T], error) {
	condition, err := models.Lookup(s.weights, labels)
	if err != nil {
		return nil, err
	}
	return graph.NewField(s.cell, condition)
}

// sample runs the field for a report.
func (s *study[T]) sample(ctx context.Context, f ode.Field[T], x []T) ([]T, error) {
	plan, err := s.plan(reported)
	if err != nil {
		return nil, err
	}
	y, err := ode.Sample(ctx, plan, f, x, len(x)/s.dim)
	return slices.Clone(y), err
}

// noise is a batch of latents.
func (s *study[T]) noise(n int, stream uint64) []T {
	x := make([]T, n*s.dim)
	for i := range n {
		rng.Normal(x[i*s.dim:(i+1)*s.dim], s.seed+1, stream, uint64(i))
	}
	return x
}

// pixels are images as the network has them.
func pixels[T customize.Float](m *data.Images, indices ...int) ([]T, error) {
	if indices == nil {
		for i := range m.N {
			indices = append(indices, i)
		}
	}
	x := make([]T, len(indices)*m.Size())
	return x, data.Gather(x, m, indices)
}

// times scales a number of iterations, at least 2.
func (s *study[T]) times(n int) int { return max(2, int(math.Round(s.quick*float64(n)))) }

// options are those all targets share, of an optimization that begins now.
func (s *study[T]) options(name string, iterations int, rate float64) customize.Options[T] {
	n := s.times(iterations)
	s.begin(n)
	return customize.Options[T]{Iterations: n, LearningRate: rate, Seed: s.seed, Observe: func(p customize.Progress) error {
		s.stage.Add(1, fmt.Sprintf("%s: iteration %d of %d, loss %.4f", name, p.Iteration, n, p.Loss))
		return nil
	}}
}

// begin ends a stage and begins the next one.
func (s *study[T]) begin(work int) {
	s.stage.End()
	s.stage = command.NewProgress(s.log, work)
}

// certify takes one more gradient at a point and compares it with differences; it returns the worst error of the tensors
// and that of the knots.
func (s *study[T]) certify(ctx context.Context, sm customize.Sampler[T], wrt []string, x []T, loss adjoint.Loss[T]) (tensors, knots float64, err error) {
	if !single[T]() {
		wrt = append(slices.Clone(wrt), "knots")
	}
	a, err := adjoint.New(adjoint.Problem[T]{Plan: sm.Plan, Field: sm.Field, Batch: sm.Batch, Dim: sm.Dim, Wrt: wrt})
	if err != nil {
		return 0, 0, err
	}
	r, err := a.Certify(ctx, adjoint.From(x), loss, adjoint.Certification{Seed: s.seed})
	if err != nil {
		return 0, 0, err
	}
	for _, k := range r.Certificate.Checks {
		if k.Name == "knots" {
			knots = k.Error
		} else {
			tensors = max(tensors, k.Error)
		}
	}
	return tensors, knots, nil
}

// single says whether arithmetic is in single precision.
func single[T customize.Float]() bool {
	var x T
	_, ok := any(x).(float32)
	return ok
}

// value is a loss at given samples.
func value[T customize.Float](loss adjoint.Loss[T], x []T) (float64, error) {
	return loss(adjoint.States[T]{Outputs: map[string][]T{"x": x}}, adjoint.States[T]{Outputs: map[string][]T{"x": make([]T, len(x))}})
}

// share is the part of the images that the judge puts in the class asked for.
func (s *study[T]) share(x []T, labels []int) (float64, error) {
	seen, err := s.judge.Classify(x)
	if err != nil {
		return 0, err
	}
	a, err := measure.Agreement(seen, labels)
	return a.Overall, err
}

func rms[T customize.Float](a, b []T) float64 {
	sum := 0.0
	for i := range a {
		d := float64(a[i] - b[i])
		sum += d * d
	}
	return math.Sqrt(sum / float64(len(a)))
}

// diversity is the mean distance between samples, relative to that of the base; 0 of a single one, which has none.
func (s *study[T]) diversity(x, base []T) (float64, error) {
	if len(x) == s.dim || len(base) == s.dim {
		return 0, nil
	}
	a, err := measure.Rows(x, len(x)/s.dim, s.dim)
	if err != nil {
		return 0, err
	}
	b, err := measure.Rows(base, len(base)/s.dim, s.dim)
	if err != nil {
		return 0, err
	}
	return measure.DiversityRatio(a, b)
}

// still is the field that does not move: sampling with it is optimizing the pixels themselves.
type still[T customize.Float] struct{}

func (still[T]) Eval(dst, _ []T, _ ode.Call[T]) error { clear(dst); return nil }
func (still[T]) VJP(g *ode.Tangent[T], _, _ []T, _ ode.Call[T]) error {
	clear(g.X)
	clear(g.T)
	clear(g.Value)
	return nil
}
func (still[T]) JVP(dst, _ []T, _ ode.Call[T], _ *ode.Tangent[T]) error { clear(dst); return nil }
func (still[T]) Parameters(int) []ode.Parameter                         { return nil }
func (still[T]) Load(name string, _ []T) error                          { return errors.New("no parameter " + name) }
func (still[T]) Store(name string, _ []T) error                         { return errors.New("no parameter " + name) }

// matrices are the weights of attention and MLP of every block: embeddings, norms and modulation are held.
func matrices(spec graph.Spec) []string {
	var names []string
	for _, w := range spec.Weights {
		if strings.HasPrefix(w.Name, "blocks.") && strings.HasSuffix(w.Name, ".weight") && !strings.Contains(w.Name, "modulation") {
			names = append(names, w.Name)
		}
	}
	return names
}
