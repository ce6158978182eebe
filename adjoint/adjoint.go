package adjoint

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/ebb-go/ebb/ode"
)

// Float is the element type of states and gradients.
type Float interface{ float32 | float64 }

// Noise names all draws of a plan in [Problem.Wrt]; a single one is "noise[k]".
const Noise = "noise"

// A Problem is a function to be differentiated: a plan run with a field, then a loss of the states it stops at.
type Problem[T Float] struct {
	Plan       *ode.Plan
	Field      ode.Differentiable[T]
	Batch, Dim int // samples, and elements of one

	// Wrt lists by name what the gradient is taken with respect to: inputs of the plan ("x"), its draws ("noise",
	// "noise[3]"), its parameters ("knots"), and parameters of the field ("condition", "guidance", a weight).
	Wrt []string

	// Knots are the numbers of further states that the loss looks at, beside the plan's outputs.
	Knots []int

	Strategy Strategy // nil is Checkpoint{}
}

// States are what a loss looks at, or the gradient with respect to it: the outputs of the plan by name, and the states at
// [Problem.Knots] in their order. Each holds the samples one after the other.
type States[T Float] struct {
	Outputs map[string][]T
	Knots   [][]T
}

// X is the output "x": the samples.
func (s States[T]) X() []T { return s.Outputs["x"] }

// A Loss returns its value for the states of a batch and adds the gradient with respect to them to grad, which is zero
// when it is called. The states must not be changed or kept.
type Loss[T Float] func(states, grad States[T]) (float64, error)

// Inputs are what one run starts from.
type Inputs[T Float] struct {
	Ports   map[string][]T         // inputs of the plan, by name
	Noise   ode.NoiseSource[T]     // for plans with draws; asked again it must answer the same
	Observe func(p Progress) error // called after every step forward and back; an error ends the run
}

// From are the inputs of a plan that starts from x alone.
func From[T Float](x []T) Inputs[T] { return Inputs[T]{Ports: map[string][]T{"x": x}} }

// Progress says how far a gradient is.
type Progress struct {
	Backward bool
	Step     int // the step that is over; counts down when going back
	Steps    int
	T        float64 // time of the knot, when going forward
}

// A Result is a value with its gradient. It is overwritten by the next run of the [Adjoint] it came from.
type Result[T Float] struct {
	Loss      float64
	States    States[T]
	Gradients map[string][]T       // by the names of Wrt; each draw under "noise[k]"
	Params    map[string][]float64 // gradients to parameters of the plan

	NFE int // network evaluations of the solve
	VJP int // products with the network's Jacobian; each evaluates the network once more, except when Unrolled or remembered

	// Bytes is the memory for numbers that the run owns: states, activations, cotangents, gradients. The activations
	// are those the field reports by a method Bytes() int64. Weights and the caller's inputs are not counted.
	Bytes int64

	Certificate *Certificate // nil unless asked for by [Adjoint.Certify]
}

// A Strategy is how a gradient is computed. The strategies are [Checkpoint] and [Unrolled].
type Strategy interface {
	fmt.Stringer
	strategy()
}

// solve is a plan ready to be run for its value.
type solve[T Float] interface {
	// run makes states those of the inputs. Once it has begun, its errors are an *ode.Interrupted.
	run(ctx context.Context, in *Inputs[T]) error
	states() States[T]
	cotangents() States[T] // where the loss puts its gradient; valid after run
}

// engine is a strategy prepared for one Problem.
type engine[T Float] interface {
	solve[T]
	// pull takes the cotangents back and points r at the gradients. Once it has begun, its errors are an *ode.Interrupted.
	pull(ctx context.Context, in *Inputs[T], r *Result[T]) error
	bytes() int64
}

// An Adjoint computes gradients of one Problem again and again, in memory that it allocates once. It is not safe for
// concurrent use, nor is its field: a second call during a first one, also from inside its loss, is [graph.ErrBusy].
type Adjoint[T Float] struct {
	problem Problem[T]
	wanted  wanted
	engine  engine[T]
	in      Inputs[T] // of the present run; a field so that a run does not allocate
	result  Result[T]
	busy    atomic.Bool
}

// New prepares the gradient of a problem. Everything that cannot be had is an error here: an unknown or ambiguous name, a
// parameter that the plan does not have (knots of a solver that places its own), a strategy that does not fit.
func New[T Float](p Problem[T]) (*Adjoint[T], error) {
	if p.Plan == nil || p.Field == nil {
		return nil, errors.New("adjoint: a problem needs a plan and a field")
	}
	if err := p.Plan.Verify(); err != nil {
		return nil, err
	}
	if err := ode.Fits[T](p.Plan, p.Field); err != nil {
		return nil, fmt.Errorf("adjoint: %w", err)
	}
	if p.Batch < 1 || p.Dim < 1 {
		return nil, fmt.Errorf("adjoint: batch %d of %d elements; both must be at least 1", p.Batch, p.Dim)
	}
	if len(p.Wrt) == 0 {
		return nil, errors.New("adjoint: Wrt is empty; list what the gradient is wanted for, such as \"x\"")
	}
	if p.Strategy == nil {
		p.Strategy = Checkpoint{}
	}
	a := &Adjoint[T]{problem: p}
	var err error
	if a.wanted, err = sort(&p); err != nil {
		return nil, err
	}
	switch p.Strategy.(type) {
	case Checkpoint:
		a.engine, err = newCheckpoint(&p, a.wanted)
	case Unrolled:
		a.engine, err = newUnrolled(&p, a.wanted)
	default:
		return nil, fmt.Errorf("adjoint: unknown strategy %T; use Checkpoint or Unrolled", p.Strategy)
	}
	if err != nil {
		return nil, err
	}
	a.result.Gradients, a.result.Params = map[string][]T{}, map[string][]float64{}
	return a, nil
}

// begin claims the Adjoint for one call.
func (a *Adjoint[T]) begin() error {
	if !a.busy.CompareAndSwap(false, true) {
		return fmt.Errorf("adjoint: %w", graph.ErrBusy)
	}
	return nil
}

func (a *Adjoint[T]) end() {
	a.in = Inputs[T]{}
	a.busy.Store(false)
}

// Gradient runs the plan, asks the loss, and pulls its gradient back. After the first call it does not allocate with
// [Checkpoint], unless a parameter of the plan is in Wrt, or the field or the loss allocates.
//
// Once the run has begun, its errors, forward and back, are an [Interrupted]; that of the loss comes back as it is, wrapped. Numbers
// that went bad are an ode.NumericError or [ErrNotFinite]. The Adjoint can be used again.
func (a *Adjoint[T]) Gradient(ctx context.Context, in Inputs[T], loss Loss[T]) (*Result[T], error) {
	if err := a.begin(); err != nil {
		return nil, err
	}
	defer a.end()
	return a.gradient(ctx, in, loss)
}

func (a *Adjoint[T]) gradient(ctx context.Context, in Inputs[T], loss Loss[T]) (*Result[T], error) {
	a.in = in
	r := &a.result
	var err error
	if r.Loss, err = value(ctx, a.engine, &a.in, loss); err != nil {
		return nil, err
	}
	r.NFE, r.Certificate, r.States = a.problem.Plan.NFE(), nil, a.engine.states()
	if err := a.engine.pull(ctx, &a.in, r); err != nil {
		return nil, a.interruptedBackward(err)
	}
	for name, g := range r.Gradients {
		if firstBad(g) >= 0 {
			return nil, fmt.Errorf("adjoint: the gradient to %q is %w", name, ErrNotFinite)
		}
	}
	for name, g := range r.Params {
		if firstBad(g) >= 0 {
			return nil, fmt.Errorf("adjoint: the gradient to %q is %w", name, ErrNotFinite)
		}
	}
	r.Bytes = a.engine.bytes()
	return r, nil
}

// Value runs the plan and asks the loss, without a gradient. The states are valid until the next run.
func (a *Adjoint[T]) Value(ctx context.Context, in Inputs[T], loss Loss[T]) (float64, States[T], error) {
	if err := a.begin(); err != nil {
		return 0, States[T]{}, err
	}
	defer a.end()
	a.in = in
	v, err := value(ctx, a.engine, &a.in, loss)
	if err != nil {
		return 0, States[T]{}, err
	}
	return v, a.engine.states(), nil
}

// value runs a plan and asks the loss, whose gradient it leaves in the cotangents.
func value[T Float](ctx context.Context, s solve[T], in *Inputs[T], loss Loss[T]) (float64, error) {
	if loss == nil {
		return 0, errors.New("adjoint: the loss is nil")
	}
	if err := s.run(ctx, in); err != nil {
		var stopped *ode.Interrupted[T]
		if errors.As(err, &stopped) {
			err = &Interrupted[T]{Step: stopped.Step, NFE: stopped.NFE, Err: err}
		}
		return 0, err
	}
	grad := s.cotangents()
	for _, g := range grad.Outputs {
		clear(g)
	}
	for _, g := range grad.Knots {
		clear(g)
	}
	v, err := loss(s.states(), grad)
	if err != nil {
		return 0, fmt.Errorf("adjoint: loss: %w", err)
	}
	if v-v != 0 {
		return 0, fmt.Errorf("adjoint: the loss is %v: %w", v, ErrNotFinite)
	}
	for name, g := range grad.Outputs {
		if i := firstBad(g); i >= 0 {
			return 0, fmt.Errorf("adjoint: the loss's gradient to element %d of output %q is %w", i, name, ErrNotFinite)
		}
	}
	for k, g := range grad.Knots {
		if i := firstBad(g); i >= 0 {
			return 0, fmt.Errorf("adjoint: the loss's gradient to element %d of States.Knots[%d] is %w", i, k, ErrNotFinite)
		}
	}
	return v, nil
}

func (a *Adjoint[T]) interruptedBackward(err error) error {
	var stopped *ode.Interrupted[T]
	if !errors.As(err, &stopped) {
		return err
	}
	r := &a.result
	return &Interrupted[T]{Backward: true, Step: stopped.Step, NFE: r.NFE, VJP: stopped.NFE, Loss: r.Loss, States: r.States, Err: stopped.Err}
}

// firstBad is the index of the first element that is not finite, or −1.
func firstBad[T Float](x []T) int {
	if s := kernels.Sum(x); s-s == 0 {
		return -1
	}
	for i, v := range x {
		if v-v != 0 {
			return i
		}
	}
	return -1 // the sum alone went past the largest number
}

// Gradient is New and one [Adjoint.Gradient], for a gradient that is wanted once.
func Gradient[T Float](ctx context.Context, p Problem[T], in Inputs[T], loss Loss[T]) (*Result[T], error) {
	a, err := New(p)
	if err != nil {
		return nil, err
	}
	return a.Gradient(ctx, in, loss)
}

func sizeof[T Float]() int64 {
	var x T
	return int64(unsafe.Sizeof(x))
}
