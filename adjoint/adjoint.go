package adjoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

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

// A Loss returns its value for the states of a batch and adds the gradient with respect to them to grad, which is zero
// when it is called. The states must not be changed or kept.
type Loss[T Float] func(states, grad States[T]) (float64, error)

// Inputs are what one run starts from.
type Inputs[T Float] struct {
	Ports   map[string][]T         // inputs of the plan, by name
	Noise   ode.NoiseSource[T]     // for plans with draws; asked again it must answer the same
	Observe func(p Progress) error // called after every step forward and back; an error ends the run
}

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

	NFE   int   // network evaluations of the solve
	VJP   int   // products with the network's Jacobian
	Bytes int64 // memory owned by the run: states, activations, gradients

	Certificate *Certificate // nil unless asked for by [Adjoint.Certify]
}

// A Strategy is how a gradient is computed. The strategies are [Checkpoint] and [Unrolled].
type Strategy interface {
	fmt.Stringer
	strategy()
}

// engine is a strategy prepared for one Problem.
type engine[T Float] interface {
	// solve runs the plan and points states at the results.
	solve(ctx context.Context, in *Inputs[T]) error
	states() States[T]
	// pull takes the gradient from the cotangents that cotangents() points at.
	pull(ctx context.Context, in *Inputs[T], r *Result[T]) error
	cotangents() States[T]
	bytes() int64
}

// An Adjoint computes gradients of one Problem again and again, in memory that it allocates once. It is not safe for
// concurrent use, nor is its field.
type Adjoint[T Float] struct {
	problem Problem[T]
	wanted  wanted
	engine  engine[T]
	result  Result[T]
	own     int64
}

// wanted is Wrt sorted by kind.
type wanted struct {
	outputs []string // of the transposed plan: inputs and draws
	plan    []string // parameters of the plan
	field   []ode.Parameter
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
	if p.Batch < 1 || p.Dim < 1 {
		return nil, fmt.Errorf("adjoint: batch %d of %d elements; both must be at least 1", p.Batch, p.Dim)
	}
	if len(p.Wrt) == 0 {
		return nil, errors.New("adjoint: Wrt is empty; list what the gradient is wanted for, such as \"x\"")
	}
	a := &Adjoint[T]{problem: p}
	var err error
	if a.wanted, err = sort(&p); err != nil {
		return nil, err
	}
	if p.Strategy == nil {
		p.Strategy = Checkpoint{}
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
	r := &a.result
	r.Gradients, r.Params = map[string][]T{}, map[string][]float64{}
	for _, q := range a.wanted.field {
		r.Gradients[q.Name] = make([]T, q.Len())
		a.own += int64(q.Len()) * sizeof[T]()
	}
	return a, nil
}

// sort finds out what each name of Wrt means.
func sort[T Float](p *Problem[T]) (wanted, error) {
	var w wanted
	params := p.Field.Parameters(p.Batch)
	seen := map[string]bool{}
	for _, name := range p.Wrt {
		if seen[name] {
			return w, fmt.Errorf("adjoint: %q is listed twice in Wrt", name)
		}
		seen[name] = true
		kinds := 0
		if _, ok := p.Plan.Input(name); ok {
			w.outputs = append(w.outputs, name)
			kinds++
		}
		if _, ok := p.Plan.Param(name); ok {
			w.plan = append(w.plan, name)
			kinds++
		}
		if i := slices.IndexFunc(params, func(q ode.Parameter) bool { return q.Name == name }); i >= 0 {
			w.field = append(w.field, params[i])
			kinds++
		}
		if name == Noise || strings.HasPrefix(name, Noise+"[") {
			draws, err := drawNames(name, p.Plan)
			if err != nil {
				return w, err
			}
			for _, d := range draws {
				if !slices.Contains(w.outputs, d) {
					w.outputs = append(w.outputs, d)
				}
			}
			kinds++
		}
		switch {
		case kinds > 1:
			return w, fmt.Errorf("adjoint: %q names more than one thing: an input or parameter of the plan and a parameter of the field; rename the field's", name)
		case kinds == 0:
			return w, unknown(name, p, params)
		}
	}
	return w, nil
}

func drawNames(name string, p *ode.Plan) ([]string, error) {
	if p.Draws() == 0 {
		return nil, fmt.Errorf("adjoint: %q: plan %q draws no noise", name, p.Name)
	}
	var all []string
	for k := range p.Draws() {
		all = append(all, fmt.Sprintf("%s[%d]", Noise, k))
	}
	if name == Noise {
		return all, nil
	}
	if !slices.Contains(all, name) {
		return nil, fmt.Errorf("adjoint: %q: plan %q draws noise[0] to noise[%d]", name, p.Name, p.Draws()-1)
	}
	return []string{name}, nil
}

func unknown[T Float](name string, p *Problem[T], params []ode.Parameter) error {
	var inputs, own, field []string
	for _, q := range p.Plan.Inputs {
		inputs = append(inputs, q.Name)
	}
	for _, q := range p.Plan.Params() {
		own = append(own, q.Name)
	}
	for _, q := range params {
		field = append(field, q.Name)
	}
	if name == "knots" {
		return fmt.Errorf("adjoint: plan %q has no gradient to its knots: the solver places or snaps them itself", p.Plan.Name)
	}
	if len(field) > 12 {
		field = append(field[:12], "…"+strconv.Itoa(len(field)-12)+" more")
	}
	return fmt.Errorf("adjoint: nothing is called %q: plan %q has inputs %q and parameters %q, its field has parameters %q", name, p.Plan.Name, inputs, own, field)
}

// Gradient runs the plan, asks the loss, and pulls its gradient back.
func (a *Adjoint[T]) Gradient(ctx context.Context, in Inputs[T], loss Loss[T]) (*Result[T], error) {
	r := &a.result
	value, err := a.value(ctx, &in, loss)
	if err != nil {
		return nil, err
	}
	r.Loss, r.Certificate = value, nil
	for _, q := range a.wanted.field {
		clear(r.Gradients[q.Name])
	}
	r.NFE, r.VJP = a.problem.Plan.NFE(), 0
	if err := a.engine.pull(ctx, &in, r); err != nil {
		return nil, err
	}
	r.States = a.engine.states()
	r.Bytes = a.own + a.engine.bytes() + fieldBytes(a.problem.Field)
	return r, nil
}

// Value runs the plan and asks the loss, without a gradient. The states are valid until the next run.
func (a *Adjoint[T]) Value(ctx context.Context, in Inputs[T], loss Loss[T]) (float64, States[T], error) {
	v, err := a.value(ctx, &in, loss)
	return v, a.engine.states(), err
}

func (a *Adjoint[T]) value(ctx context.Context, in *Inputs[T], loss Loss[T]) (float64, error) {
	if loss == nil {
		return 0, errors.New("adjoint: the loss is nil")
	}
	if err := a.engine.solve(ctx, in); err != nil {
		return 0, err
	}
	grad := a.engine.cotangents()
	for _, g := range grad.Outputs {
		clear(g)
	}
	for _, g := range grad.Knots {
		clear(g)
	}
	v, err := loss(a.engine.states(), grad)
	if err != nil {
		return 0, fmt.Errorf("adjoint: loss: %w", err)
	}
	if v-v != 0 {
		return 0, fmt.Errorf("adjoint: the loss is %v", v)
	}
	return v, nil
}

// Gradient is New and one [Adjoint.Gradient], for a gradient that is wanted once.
func Gradient[T Float](ctx context.Context, p Problem[T], in Inputs[T], loss Loss[T]) (*Result[T], error) {
	a, err := New(p)
	if err != nil {
		return nil, err
	}
	return a.Gradient(ctx, in, loss)
}

// Dot is the loss ⟨c, x⟩ of the output x, whose gradient is the product of c with the Jacobian of the sampler.
func Dot[T Float](c []T) Loss[T] {
	return func(s, g States[T]) (float64, error) {
		x := s.Outputs["x"]
		if len(x) != len(c) {
			return 0, fmt.Errorf("a cotangent of %d elements for an output of %d", len(c), len(x))
		}
		sum := 0.0
		for i, v := range c {
			sum += float64(v) * float64(x[i])
			g.Outputs["x"][i] += v
		}
		return sum, nil
	}
}

// fieldBytes is the memory a field says it owns.
func fieldBytes(f any) int64 {
	if b, ok := f.(interface{ Bytes() int64 }); ok {
		return b.Bytes()
	}
	return 0
}

func sizeof[T Float]() int64 {
	var x T
	if _, ok := any(x).(float32); ok {
		return 4
	}
	return 8
}

// knotPort is the input of a transposed plan for the cotangent of a knot's state.
func knotPort(i int) string { return fmt.Sprintf("knot[%d]", i) }
