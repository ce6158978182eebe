package customize

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/ode"
)

// Float is the element type of states, conditions and weights.
type Float interface{ float32 | float64 }

// A Sampler is what is optimized through: a field run by a plan from noise to samples.
type Sampler[T Float] struct {
	Field ode.Differentiable[T]
	Plan  *ode.Plan // run inside, once an iteration: few evaluations

	// Replay runs the optimum again with more evaluations, at least three times those of Plan, to tell a sample that
	// solves the task from one that exploits the coarse solver.
	Replay *ode.Plan

	Batch, Dim int
}

// Options say how an optimization runs. The zero value works: what is zero takes the default given.
type Options[T Float] struct {
	Iterations   int     // 25
	LearningRate float64 // of Adam: 0.03
	Fall         bool    // let the rate fall to zero along a cosine in the second half
	Clip         float64 // largest norm of a gradient; 0 does not clip
	Seed         uint64  // of the latents that Condition and Weights draw afresh each iteration, and of the plan's noise

	// Begin is called before the loss is evaluated, to choose what an iteration works on: the condition of the batch, the
	// labels that the loss compares with. It must depend on the number alone; −1 is the fixed batch that iterates are
	// compared on.
	Begin func(iteration int) error

	// Start, if not nil, fills in where an iteration of Condition or Weights starts, instead of noise: states of the plan's
	// first knot. It must depend on the number, the field and nothing else.
	Start func(ctx context.Context, iteration int, x []T) error

	// Constrain is called after each step to put the variable back into its set: a ball, a norm.
	Constrain func(name string, value []T)

	// Observe is called after every iteration. Preview, if not nil, is given the samples of the iteration every
	// PreviewEvery (5) iterations.
	Observe      func(Progress) error
	Preview      func(iteration int, samples []T) error
	PreviewEvery int

	// Checkpoint is a file to which the state is written every CheckpointEvery (10) iterations and when the context ends;
	// with Resume, an optimization that finds it goes on from there, to the same bits. If it is of another optimization, the
	// error lists the differences: in plans, options, the start, and the loss at the start, which is evaluated once more and
	// tells of another loss or field. What Begin, Start and Constrain do in iterations cannot be compared.
	Checkpoint      string
	CheckpointEvery int
	Resume          bool

	Strategy adjoint.Strategy // nil is adjoint.Checkpoint
}

// Progress is what Observe sees.
type Progress struct {
	Iteration, Iterations int
	Loss, Best            float64
	GradientNorm          float64
	Elapsed, Remaining    time.Duration
}

// A Result is the outcome of an optimization. On an error, such as the end of the context, it is what was reached.
type Result[T Float] struct {
	Values map[string][]T // the best iterate: "x", "condition", or weights by name
	Start  map[string][]T // where it began

	Curve  []float64 // loss of every iteration, of a batch drawn afresh unless it is a latent that is optimized
	Best   int       // number of steps after which the best iterate stood
	Before float64   // loss at the start, on the fixed batch
	After  float64   // loss of the best iterate, on the fixed batch

	Replayed float64 // loss of the best iterate under the Replay plan
	Verdict  Verdict

	NFE, VJP int   // all evaluations and products with the Jacobian together
	Bytes    int64 // owned by a gradient
	Elapsed  time.Duration
}

// A Verdict says what an optimum is worth.
type Verdict string

// The verdicts.
const (
	Improved   Verdict = "improved"                 // lower loss, and it stands with more evaluations
	Overfitted Verdict = "exploits the solver"      // with more evaluations, more than a quarter of what was gained is gone
	Unimproved Verdict = "no better than the start" // gained is a hundredth of the loss at the start or less
	Unfinished Verdict = "not finished"             // stopped before the end
)

// Latent optimizes the latents of a batch, one for each sample, with everything else fixed.
func Latent[T Float](ctx context.Context, s Sampler[T], latent []T, loss adjoint.Loss[T], o Options[T]) (*Result[T], error) {
	return run(ctx, &task[T]{Sampler: s, loss: loss, names: []string{"x"}, latent: latent}, o)
}

// Condition optimizes one condition vector that all samples share, over latents drawn afresh for every iteration: a
// concept. It starts from condition.
func Condition[T Float](ctx context.Context, s Sampler[T], condition []T, loss adjoint.Loss[T], o Options[T]) (*Result[T], error) {
	return run(ctx, &task[T]{Sampler: s, loss: loss, names: []string{conditionName}, shared: condition}, o)
}

// Weights optimizes the named weights of the field, over latents drawn afresh for every iteration. The field is left as
// it was found; the result holds the new weights.
func Weights[T Float](ctx context.Context, s Sampler[T], names []string, loss adjoint.Loss[T], o Options[T]) (*Result[T], error) {
	return run(ctx, &task[T]{Sampler: s, loss: loss, names: names}, o)
}

const conditionName = "condition"

// task is one of the three optimizations: names are what varies.
type task[T Float] struct {
	Sampler[T]
	loss   adjoint.Loss[T]
	names  []string
	latent []T // given latents; nil draws them
	shared []T // the condition all samples share; nil leaves the field's

	adjoint *adjoint.Adjoint[T]
	replay  *adjoint.Adjoint[T]
	x       []T
	tile    []T
	values  map[string][]T
	grads   map[string][]T
	seed    uint64
	begin   func(int) error
	from    func(context.Context, int, []T) error
	result  *Result[T]

	total    int // iterations
	compared int // number of steps after which the iterate was last evaluated on the fixed batch
}

func (o *Options[T]) defaults() error {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	set(&o.Iterations, 25)
	set(&o.PreviewEvery, 5)
	set(&o.CheckpointEvery, 10)
	if o.LearningRate == 0 {
		o.LearningRate = 0.03
	}
	switch {
	case o.Iterations < 0 || o.PreviewEvery < 0 || o.CheckpointEvery < 0:
		return fmt.Errorf("customize: Iterations %d, PreviewEvery %d and CheckpointEvery %d must be positive", o.Iterations, o.PreviewEvery, o.CheckpointEvery)
	case !(o.LearningRate > 0) || math.IsInf(o.LearningRate, 0):
		return fmt.Errorf("customize: LearningRate %g must be positive and finite", o.LearningRate)
	case !(o.Clip >= 0):
		return fmt.Errorf("customize: Clip %g must not be negative", o.Clip)
	case o.Resume && o.Checkpoint == "":
		return errors.New("customize: Resume needs Checkpoint, the file to go on from")
	}
	return nil
}

// prepare checks the task and compiles both runs.
func (t *task[T]) prepare(o *Options[T]) (err error) {
	if err := o.defaults(); err != nil {
		return err
	}
	if t.Field == nil || t.Plan == nil || t.Replay == nil {
		return errors.New("customize: a sampler needs a Field, a Plan and a Replay plan")
	}
	if t.Replay.NFE() < 3*t.Plan.NFE() {
		return fmt.Errorf("customize: the Replay plan has %d evaluations and the Plan %d; at least 3 times as many are needed to tell a sample from an artifact of the solver", t.Replay.NFE(), t.Plan.NFE())
	}
	if len(t.Plan.Inputs) != 1 || t.Plan.Inputs[0].Name != "x" || len(t.Replay.Inputs) != 1 || t.Replay.Inputs[0].Name != "x" {
		return errors.New("customize: plans with the one input x are needed")
	}
	if t.latent != nil && len(t.latent) != t.Batch*t.Dim {
		return fmt.Errorf("customize: latents of %d elements for %d samples of %d", len(t.latent), t.Batch, t.Dim)
	}
	if len(t.names) == 0 {
		return errors.New("customize: no names of weights are given")
	}
	t.adjoint, err = adjoint.New(adjoint.Problem[T]{Plan: t.Plan, Field: t.Field, Batch: t.Batch, Dim: t.Dim, Wrt: t.names, Strategy: o.Strategy})
	if err != nil {
		return err
	}
	if t.replay, err = adjoint.New(adjoint.Problem[T]{Plan: t.Replay, Field: t.Field, Batch: t.Batch, Dim: t.Dim, Wrt: []string{"x"}}); err != nil {
		return err
	}
	t.seed, t.begin, t.from, t.total = o.Seed, o.Begin, o.Start, o.Iterations
	t.x = make([]T, t.Batch*t.Dim)
	t.values, t.grads = map[string][]T{}, map[string][]T{}
	for _, name := range t.names {
		v, err := t.start(name)
		if err != nil {
			return err
		}
		for i, e := range v {
			if e-e != 0 {
				return fmt.Errorf("customize: element %d of %q is %v; the start must be finite", i, name, e)
			}
		}
		t.values[name], t.grads[name] = slices.Clone(v), make([]T, len(v))
	}
	return nil
}

func (t *task[T]) start(name string) ([]T, error) {
	switch {
	case t.latent != nil:
		return t.latent, nil
	case t.shared != nil:
		for _, p := range t.Field.Parameters(t.Batch) {
			if p.Name == conditionName && p.Len() == t.Batch*len(t.shared) {
				t.tile = make([]T, p.Len())
				return t.shared, nil
			}
		}
		return nil, fmt.Errorf("customize: the field takes no condition of %d elements a sample", len(t.shared))
	}
	for _, p := range t.Field.Parameters(t.Batch) {
		if p.Name == name && name != conditionName {
			v := make([]T, p.Len())
			return v, t.Field.Load(name, v)
		}
	}
	return nil, fmt.Errorf("customize: the field has no weight %q", name)
}

// point makes the field and the latent those of an iterate and an iteration.
func (t *task[T]) point(ctx context.Context, iteration int) error {
	if t.begin != nil {
		if err := t.begin(iteration); err != nil {
			return fmt.Errorf("customize: Begin(%d): %w", iteration, err)
		}
	}
	switch {
	case t.latent != nil:
		copy(t.x, t.values["x"])
		return nil
	case t.shared != nil:
		for i := 0; i < len(t.tile); i += len(t.shared) {
			copy(t.tile[i:], t.values[conditionName])
		}
		if err := t.Field.Store(conditionName, t.tile); err != nil {
			return err
		}
	default:
		for _, name := range t.names {
			if err := t.Field.Store(name, t.values[name]); err != nil {
				return err
			}
		}
	}
	if t.from != nil {
		return t.from(ctx, iteration, t.x)
	}
	noise := ode.Seed[T]{Key: rng.Uint64(t.seed, 1, uint64(iteration+1))}
	x, err := ode.Latent(t.Plan, noise, t.Batch, t.Dim)
	copy(t.x, x)
	return err
}

// inputs are the latent and the noise of a run of the plan. Noise is drawn afresh for each iteration if latents are; a latent that
// is optimized keeps its path.
func (t *task[T]) inputs(iteration int) adjoint.Inputs[T] {
	key := t.seed
	if t.latent == nil {
		key = rng.Uint64(t.seed, 2, uint64(iteration+1))
	}
	return adjoint.Inputs[T]{Ports: map[string][]T{"x": t.x}, Noise: ode.Seed[T]{Key: key}}
}

// gradient evaluates the loss and its gradient with respect to the variables.
func (t *task[T]) gradient(ctx context.Context, iteration int) (loss, norm float64, samples []T, err error) {
	if err := t.point(ctx, iteration); err != nil {
		return 0, 0, nil, err
	}
	r, err := t.adjoint.Gradient(ctx, t.inputs(iteration), t.loss)
	if err != nil {
		return 0, 0, nil, err
	}
	t.result.NFE += r.NFE
	t.result.VJP += r.VJP
	t.result.Bytes = max(t.result.Bytes, r.Bytes)
	for _, name := range t.names {
		g := t.grads[name]
		clear(g)
		for i, v := range r.Gradients[name] { // samples that share a condition add up
			g[i%len(g)] += v
		}
		for _, v := range g {
			norm += float64(v) * float64(v)
		}
	}
	return r.Loss, math.Sqrt(norm), r.States.Outputs["x"], nil
}

// value is the loss of the present iterate on the fixed batch.
func (t *task[T]) value(ctx context.Context, a *adjoint.Adjoint[T], plan *ode.Plan) (float64, error) {
	if err := t.point(ctx, -1); err != nil {
		return 0, err
	}
	v, _, err := a.Value(ctx, t.inputs(-1), t.loss)
	if err == nil {
		t.result.NFE += plan.NFE()
	}
	return v, err
}

// compare evaluates the iterate after so many steps on the fixed batch, if that is due and not done, and keeps the best.
func (t *task[T]) compare(ctx context.Context, steps int) error {
	due := steps == t.total || t.latent == nil && steps%10 == 0
	if !due || steps <= t.compared {
		return nil
	}
	v, err := t.value(ctx, t.adjoint, t.Plan)
	if err != nil {
		return err
	}
	t.compared = steps
	if v < t.result.After {
		t.best(steps, v)
	}
	return nil
}

func run[T Float](ctx context.Context, t *task[T], o Options[T]) (res *Result[T], err error) {
	if t.loss == nil {
		return nil, errors.New("customize: the loss is nil")
	}
	if err := t.prepare(&o); err != nil {
		return nil, err
	}
	began := time.Now()
	t.result = &Result[T]{Values: map[string][]T{}, Start: map[string][]T{}, Verdict: Unfinished}
	r := t.result
	for name, v := range t.values {
		r.Start[name], r.Values[name] = slices.Clone(v), slices.Clone(v)
	}
	restore, err := t.keep()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	defer func() { r.Elapsed += time.Since(began) }()

	adam := newAdam(t.values)
	first := 0
	if r.Before, err = t.value(ctx, t.adjoint, t.Plan); err != nil {
		return r, err
	}
	r.After = r.Before
	if o.Resume {
		if first, err = t.load(o.Checkpoint, adam, &o); err != nil {
			return r, err
		}
	}
	// stopped is an error after so many steps. If the context has ended, they are saved.
	stopped := func(steps int, err error) error {
		if o.Checkpoint != "" && ctx.Err() != nil {
			err = errors.Join(err, t.save(o.Checkpoint, steps, adam, &o))
		}
		return fmt.Errorf("customize: after %d iterations: %w", steps, err)
	}
	if err := t.compare(ctx, first); err != nil {
		return r, err
	}
	for i := first; i < o.Iterations; i++ {
		loss, norm, samples, err := t.gradient(ctx, i)
		if err != nil {
			return r, stopped(i, err)
		}
		r.Curve = append(r.Curve, loss)
		if o.Preview != nil && (i%o.PreviewEvery == 0 || i == o.Iterations-1) {
			if err := o.Preview(i, samples); err != nil {
				return r, fmt.Errorf("customize: Preview: %w", err)
			}
		}
		if t.latent != nil && loss < r.After { // this loss is that of the iterate itself
			t.best(i, loss)
		}
		rate := o.LearningRate
		if half := o.Iterations / 2; o.Fall && i >= half {
			rate *= 0.5 * (1 + math.Cos(math.Pi*float64(i-half)/float64(o.Iterations-half)))
		}
		clip := 1.0
		if o.Clip > 0 && norm > o.Clip {
			clip = o.Clip / norm
		}
		adam.step(t.values, t.grads, rate, clip)
		if o.Constrain != nil {
			for _, name := range t.names {
				o.Constrain(name, t.values[name])
			}
		}
		if err := t.compare(ctx, i+1); err != nil {
			return r, stopped(i+1, err)
		}
		if o.Checkpoint != "" && (i+1)%o.CheckpointEvery == 0 && i+1 < o.Iterations {
			if err := t.save(o.Checkpoint, i+1, adam, &o); err != nil {
				return r, err
			}
		}
		if o.Observe != nil {
			p := Progress{Iteration: i + 1, Iterations: o.Iterations, Loss: loss, Best: r.After, GradientNorm: norm, Elapsed: time.Since(began)}
			p.Remaining = p.Elapsed / time.Duration(i-first+1) * time.Duration(o.Iterations-i-1)
			if err := o.Observe(p); err != nil {
				return r, fmt.Errorf("customize: Observe: %w", err)
			}
		}
	}
	for name, v := range r.Values {
		copy(t.values[name], v)
	}
	if r.Replayed, err = t.value(ctx, t.replay, t.Replay); err != nil {
		return r, stopped(o.Iterations, err)
	}
	r.Verdict = verdict(r.Before, r.After, r.Replayed)
	return r, nil
}

// verdict compares losses. What the replay loses is measured by what was gained and not by the loss reached, because a loss that
// can be brought to zero under the coarse solver is some small number under any other.
func verdict(before, after, replayed float64) Verdict {
	gain := before - after
	switch {
	case !(gain > 0.01*math.Abs(before)):
		return Unimproved
	case !(replayed-after <= 0.25*gain):
		return Overfitted
	}
	return Improved
}

func (t *task[T]) best(steps int, loss float64) {
	t.result.Best, t.result.After = steps, loss
	for name, v := range t.values {
		copy(t.result.Values[name], v)
	}
}

// keep notes what the task changes in the field and returns how to put it back.
func (t *task[T]) keep() (restore func() error, err error) {
	saved := map[string][]T{}
	for _, p := range t.Field.Parameters(t.Batch) {
		varies := slices.Contains(t.names, p.Name) || p.Name == conditionName
		if !varies {
			continue
		}
		saved[p.Name] = make([]T, p.Len())
		if err := t.Field.Load(p.Name, saved[p.Name]); err != nil {
			return nil, err
		}
	}
	return func() (err error) {
		for name, v := range saved {
			err = errors.Join(err, t.Field.Store(name, v))
		}
		return err
	}, nil
}
