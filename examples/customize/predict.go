package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/customize"
)

// A cost is a piece of work that a target does so many times.
type cost struct {
	name  string
	times int
	work  func(ctx context.Context) error
}

// A trial is a run of a sampler with a loss, of which the time is taken in place of that of a target.
type trial[T customize.Float] struct {
	adjoint *adjoint.Adjoint[T]
	plan    *ode.Plan
	field   ode.Differentiable[T]
	weights []string // that move
	x       []T
	loss    adjoint.Loss[T]
	bytes   int64 // of a gradient
}

// predict takes the time of what the targets do many times, and multiplies.
func (s *study[T]) predict(ctx context.Context, targets []string, out io.Writer) error {
	total := 0.0
	for _, target := range targets {
		main, costs, err := s.costs(target)
		if err != nil {
			return err
		}
		seconds := 0.0
		for _, c := range costs {
			one, err := timed(ctx, c.work)
			if err != nil {
				return err
			}
			seconds += float64(c.times) * one.Seconds()
		}
		total += seconds
		fmt.Fprintf(out, "%-10s about %.0f s, %.1f MiB for a gradient (%d evaluations inside, batch %d)\n", target, seconds,
			float64(main.bytes)/(1<<20), main.plan.NFE(), len(main.x)/s.dim)
	}
	fmt.Fprintf(out, "in all about %.0f s\n", total)
	return nil
}

// timed is how long work takes that has been done before: the first time compiles, the second makes room for activations. What
// is short is done some more, for the mean.
func timed(ctx context.Context, work func(context.Context) error) (time.Duration, error) {
	for range 2 {
		if err := work(ctx); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	for n := 1; ; n++ {
		if err := work(ctx); err != nil {
			return 0, err
		}
		if gone := time.Since(began); gone > time.Second/5 {
			return gone / time.Duration(n), nil
		}
	}
}

// costs are what takes the time of a target: its gradients, those of its baselines, the runs that certify, and the samples
// of the report.
func (s *study[T]) costs(target string) (main *trial[T], costs []cost, err error) {
	add := func(name string, times int, work func(context.Context) error) {
		costs = append(costs, cost{name, times, work})
	}
	evaluate := func(name string, times, batch int) error {
		work, err := s.evaluation(batch)
		add(name, times, work)
		return err
	}
	// optimize is an optimization by main, and the runs of its losses: one in ten iterations, and at the end with more evaluations.
	optimize := func(n int) {
		add("gradients", n, main.gradient)
		add("runs", n/10+5, main.value)
	}
	switch target {
	case "latent":
		batch, n := len(s.edit.pairs)*s.edit.each, s.times(s.edit.runs)
		if s.mine {
			batch = s.held.N
		}
		if main, err = s.trial(batch, s.edit.inside, []string{"x"}); err != nil {
			return nil, nil, err
		}
		optimize(n)
		add("certificate", s.certifying(2), main.value)
		add("baseline: pixels", n, main.judged)
		if err := evaluate("samples", 4*reported, batch); err != nil {
			return nil, nil, err
		}
	case "condition":
		c := s.concept
		n := s.times(c.runs)
		if main, err = s.trial(c.batch, c.inside, []string{"condition"}); err != nil {
			return nil, nil, err
		}
		optimize(n)
		add("certificate", s.certifying(1), main.value)
		shown := c.shown
		if s.mine {
			shown = s.pictures.N
		}
		inversion, err := s.trial(shown*max(1, c.batch/shown), 1, []string{"condition"})
		if err != nil {
			return nil, nil, err
		}
		add("baseline: textual inversion", n*c.inside, inversion.gradient)
		if err := evaluate("samples", 3*reported, c.test); err != nil {
			return nil, nil, err
		}
	case "weights", "hacked":
		c, names := s.bold, matrices(s.model.Spec())
		if main, err = s.trial(c.batch, c.inside, names); err != nil {
			return nil, nil, err
		}
		optimize(s.times(c.runs))
		drawings, test, certified := 2, c.test/2, names[:2]
		small := main
		if target == "weights" {
			last, err := s.lastStep(main)
			if err != nil {
				return nil, nil, err
			}
			n := s.times(c.last)
			add("baseline: last step only", n, last.gradient)
			if err := evaluate("baseline: steps before the last", n*(c.inside/2-1)*2, c.batch); err != nil {
				return nil, nil, err
			}
			drawings, test, certified = 3, c.test, names
			if small, err = s.trial(few, c.inside, names); err != nil {
				return nil, nil, err
			}
		}
		add("certificate", s.certifying(len(certified)), small.value)
		if err := evaluate("samples", drawings*reported, test); err != nil {
			return nil, nil, err
		}
	case "audit":
		c := s.audit
		n := s.times(c.runs)
		if main, err = s.trial(c.samples, c.inside, []string{"x"}); err != nil {
			return nil, nil, err
		}
		optimize(n)
		add("certificate", s.certifying(1), main.value)
		one, err := s.trial(c.samples, 1, []string{"x"})
		if err != nil {
			return nil, nil, err
		}
		add("baseline: one-step gradient", s.times(3*c.runs), one.gradient)
		if err := evaluate("samples", 4*reported, c.samples); err != nil {
			return nil, nil, err
		}
	}
	return main, costs, nil
}

// certifying is how many runs certify gradients with respect to so many tensors: two a level and tensor, of which there are
// fewer levels in float32, where the knots are left out as well.
func (s *study[T]) certifying(tensors int) int {
	if single[T]() {
		return 2 * 4 * tensors
	}
	return 2 * 7 * (tensors + 1)
}

// evaluation asks the field of a batch once, as sampling does.
func (s *study[T]) evaluation(batch int) (func(context.Context) error, error) {
	field, err := s.field(make([]int, batch))
	if err != nil {
		return nil, err
	}
	x := s.noise(batch, 3)
	y, clean := make([]T, len(x)), make([]T, batch)
	return func(context.Context) error { return field.Eval(y, x, ode.Call[T]{Batch: batch, T: clean}) }, nil
}

// trial is a run of a batch with so many evaluations inside. The loss is like those of the targets: one of what the critic says.
func (s *study[T]) trial(batch, inside int, wrt []string) (*trial[T], error) {
	labels := make([]int, batch)
	sm, field, err := s.sampler(labels, inside)
	if err != nil {
		return nil, err
	}
	t := &trial[T]{plan: sm.Plan, field: field, x: s.noise(batch, 3), loss: customize.CrossEntropy(s.critic, labels)}
	if wrt[0] != "x" && wrt[0] != "condition" {
		t.weights = wrt
	}
	t.adjoint, err = adjoint.New(adjoint.Problem[T]{Plan: t.plan, Field: field, Batch: batch, Dim: s.dim, Wrt: wrt})
	return t, err
}

// lastStep is the trial of the same field in the last step alone.
func (s *study[T]) lastStep(of *trial[T]) (*trial[T], error) {
	_, tail, _, err := s.cut(of.plan.NFE())
	if err != nil {
		return nil, err
	}
	t := *of
	t.plan = tail
	t.adjoint, err = adjoint.New(adjoint.Problem[T]{Plan: tail, Field: t.field, Batch: len(t.x) / s.dim, Dim: s.dim, Wrt: t.weights})
	return &t, err
}

func (t *trial[T]) gradient(ctx context.Context) error {
	if err := t.move(t.weights); err != nil {
		return err
	}
	r, err := t.adjoint.Gradient(ctx, adjoint.From(t.x), t.loss)
	if err == nil {
		t.bytes = r.Bytes
	}
	return err
}

// value runs with one weight moved, as a certificate does.
func (t *trial[T]) value(ctx context.Context) error {
	if err := t.move(t.weights[:min(1, len(t.weights))]); err != nil {
		return err
	}
	_, _, err := t.adjoint.Value(ctx, adjoint.From(t.x), t.loss)
	return err
}

// move stores weights anew: as they are, which takes as long.
func (t *trial[T]) move(names []string) error {
	for _, p := range t.field.Parameters(1) {
		for _, name := range names {
			if p.Name != name {
				continue
			}
			v := make([]T, p.Len())
			if err := t.field.Load(name, v); err != nil {
				return err
			}
			if err := t.field.Store(name, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *trial[T]) judged(context.Context) error {
	_, err := value(t.loss, t.x)
	return err
}
