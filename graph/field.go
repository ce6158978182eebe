package graph

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/ebb-go/ebb/ode"
)

// A Field is a diffusion network with a condition, as solvers and gradients see it. Its parameters are "condition", one
// vector a sample, and every weight by its name. Like the [Cell] it runs on, it is not safe for concurrent use.
type Field[T Float] struct {
	cell      *Cell[T]
	dim       int // elements of a state
	condition []T // nil for an unconditional network

	v, d    Values[T]
	t       []T
	pulled  []T // gradient to the condition of one evaluation
	weights map[string][]T

	limit, kept int64 // bytes, of what is remembered
	memories    []*memory[T]
}

var (
	_ ode.Differentiable[float32] = (*Field[float32])(nil)
	_ ode.Tapped                  = (*Field[float32])(nil)
	_ ode.Trained                 = (*Field[float32])(nil)
)

// NewField returns the Field of a diffusion network: its Spec's inputs are X, Time and, if it has one, Condition.
// condition holds one vector a sample and is copied; it is nil for an unconditional network.
func NewField[T Float](c *Cell[T], condition []T) (*Field[T], error) {
	s := c.spec
	if len(s.Inputs) < 2 || s.Inputs[0].Name != X || s.Inputs[1].Name != Time || s.Inputs[1].Len() != 1 ||
		len(s.Inputs) > 3 || len(s.Inputs) == 3 && s.Inputs[2].Name != Condition {
		return nil, fmt.Errorf("graph: a field needs a network of the inputs %q, %q and possibly %q; this one has %v", X, Time, Condition, s.Inputs)
	}
	if len(s.Outputs) != 1 || s.Outputs[0].Len() != s.Inputs[0].Len() {
		return nil, fmt.Errorf("graph: a field needs a network with one output like x; this one has %v", s.Outputs)
	}
	f := &Field[T]{cell: c, dim: s.Inputs[0].Len(), weights: map[string][]T{}}
	f.v.Inputs, f.d.Inputs = make([][]T, len(s.Inputs)), make([][]T, len(s.Inputs))
	f.v.Outputs, f.d.Outputs = make([][]T, 1), make([][]T, 1)
	switch {
	case len(s.Inputs) == 2 && condition != nil:
		return nil, fmt.Errorf("graph: a condition of %d elements for a network that takes none", len(condition))
	case len(s.Inputs) == 3 && (len(condition) == 0 || len(condition)%s.Inputs[2].Len() != 0):
		return nil, fmt.Errorf("graph: a condition of %d elements; %d a sample are needed", len(condition), s.Inputs[2].Len())
	}
	f.condition = slices.Clone(condition)
	return f, nil
}

// Bytes is the memory that the field and its Cell own, weights not counted.
func (f *Field[T]) Bytes() int64 {
	var x T
	return f.cell.Bytes() + f.kept + int64(len(f.condition)+len(f.t)+len(f.pulled))*int64(unsafe.Sizeof(x))
}

// Cell is what the field runs on.
func (f *Field[T]) Cell() *Cell[T] { return f.cell }

// SetCondition replaces the condition, and with it the batch that the field is for.
func (f *Field[T]) SetCondition(condition []T) error {
	if f.condition == nil {
		return fmt.Errorf("graph: this network takes no condition")
	}
	if n := f.cell.spec.Inputs[2].Len(); len(condition) == 0 || len(condition)%n != 0 {
		return fmt.Errorf("graph: a condition of %d elements; %d a sample are needed", len(condition), n)
	}
	if len(condition) == len(f.condition) {
		copy(f.condition, condition)
	} else {
		f.condition = slices.Clone(condition)
	}
	return nil
}

// point sets the inputs of an evaluation.
func (f *Field[T]) point(x []T, c ode.Call[T]) error {
	if c.Batch < 1 || len(x) != c.Batch*f.dim {
		return fmt.Errorf("graph: %d elements for %d samples of %d", len(x), c.Batch, f.dim)
	}
	if len(c.T) != 1 && len(c.T) != c.Batch {
		return fmt.Errorf("graph: %d times for %d samples; one, or one a sample, is needed", len(c.T), c.Batch)
	}
	if f.condition != nil && len(f.condition) != c.Batch*f.cell.spec.Inputs[2].Len() {
		return fmt.Errorf("graph: the condition is for %d samples, the state for %d", len(f.condition)/f.cell.spec.Inputs[2].Len(), c.Batch)
	}
	if len(f.t) != c.Batch {
		f.t = make([]T, c.Batch)
	}
	for i := range f.t {
		f.t[i] = c.T[min(i, len(c.T)-1)]
	}
	f.v.Inputs[0], f.v.Inputs[1] = x, f.t
	if f.condition != nil {
		f.v.Inputs[2] = f.condition
	}
	f.v.In, f.v.Out = c.In, c.Out
	return nil
}

// Eval implements ode.Field.
func (f *Field[T]) Eval(dst, x []T, c ode.Call[T]) error {
	if err := f.point(x, c); err != nil {
		return err
	}
	if m := f.memory(&c); m != nil {
		if done, err := f.begin(m, c.Batch, dst); done {
			return err
		}
	}
	f.v.Outputs[0] = dst
	return f.cell.Eval(c.Batch, &f.v)
}

// sort splits what a Tangent names into the condition and the weights.
func (f *Field[T]) sort(params map[string][]T) (condition []T, err error) {
	clear(f.weights)
	for name, x := range params {
		switch {
		case name != Condition:
			f.weights[name] = x
		case f.condition == nil:
			return nil, fmt.Errorf("graph: this network takes no condition")
		case x == nil: // not wanted
		case len(x) != len(f.condition):
			return nil, fmt.Errorf("graph: the condition has %d elements, got %d", len(f.condition), len(x))
		default:
			condition = x
		}
	}
	return condition, nil
}

// VJP implements ode.Differentiable.
func (f *Field[T]) VJP(g *ode.Tangent[T], cotangent, x []T, c ode.Call[T]) error {
	if g == nil {
		return errors.New("graph: a VJP without a Tangent, which says what gradients are wanted")
	}
	if err := f.point(x, c); err != nil {
		return err
	}
	condition, err := f.sort(g.Params)
	if err != nil {
		return err
	}
	f.v.Outputs[0] = g.Value
	f.d.Outputs[0], f.d.Out = cotangent, g.Out
	f.d.Inputs[0], f.d.Inputs[1], f.d.In, f.d.Weights = g.X, g.T, g.In, f.weights
	if f.condition != nil {
		f.d.Inputs[2] = nil
		if condition != nil {
			if len(f.pulled) != len(condition) {
				f.pulled = make([]T, len(condition))
			}
			f.d.Inputs[2] = f.pulled
		}
	}
	done := false
	if m := f.memory(&c); m != nil {
		if done, err = f.finish(m, c.Batch, g.Value); err != nil {
			return err
		}
	}
	if !done {
		if err := f.cell.VJP(c.Batch, &f.v, &f.d); err != nil {
			return err
		}
		if err := f.learn(&c); err != nil {
			return err
		}
	}
	if condition != nil {
		kernels.Axpy(condition, 1, f.pulled)
	}
	return nil
}

// JVP implements ode.Differentiable.
func (f *Field[T]) JVP(dst, x []T, c ode.Call[T], d *ode.Tangent[T]) error {
	if d == nil {
		return errors.New("graph: a JVP without a Tangent, which says the direction")
	}
	if err := f.point(x, c); err != nil {
		return err
	}
	condition, err := f.sort(d.Params)
	if err != nil {
		return err
	}
	f.v.Outputs[0] = d.Value
	f.d.Outputs[0], f.d.Out = dst, d.Out
	f.d.Inputs[0], f.d.Inputs[1], f.d.In, f.d.Weights = d.X, d.T, d.In, f.weights
	if f.condition != nil {
		f.d.Inputs[2] = condition
	}
	return f.cell.JVP(c.Batch, &f.v, &f.d)
}

// Parameters implements ode.Differentiable.
func (f *Field[T]) Parameters(batch int) []ode.Parameter {
	var list []ode.Parameter
	if f.condition != nil {
		list = append(list, ode.Parameter{Name: Condition, Shape: []int{batch, f.cell.spec.Inputs[2].Len()}})
	}
	for _, w := range f.cell.spec.Weights {
		list = append(list, ode.Parameter{Name: w.Name, Shape: slices.Clone(w.Shape)})
	}
	return list
}

// Load implements ode.Differentiable.
func (f *Field[T]) Load(name string, dst []T) error {
	src := f.condition
	if name != Condition {
		w := f.cell.weights
		w.copying.RLock()
		defer w.copying.RUnlock()
		src = w.data[name]
	}
	if src == nil {
		return fmt.Errorf("graph: no parameter %q", name)
	}
	if len(src) != len(dst) {
		return fmt.Errorf("graph: parameter %q has %d elements, got %d", name, len(src), len(dst))
	}
	copy(dst, src)
	return nil
}

// Store implements ode.Differentiable. Storing a weight changes the Weights that the Cell shares.
func (f *Field[T]) Store(name string, src []T) error {
	if name == Condition {
		if len(src) != len(f.condition) {
			return fmt.Errorf("graph: the condition has %d elements, got %d", len(f.condition), len(src))
		}
		return f.SetCondition(src)
	}
	return f.cell.weights.Set(name, src)
}

// Trained implements ode.Trained, by the Spec of the network.
func (f *Field[T]) Trained() (ode.Schedule, ode.Prediction) {
	return f.cell.spec.Schedule, f.cell.spec.Prediction
}

// TapLen implements ode.Tapped.
func (f *Field[T]) TapLen(name string) (int, bool) {
	p, ok := port(f.cell.spec.Taps, name)
	return p.Len(), ok
}
