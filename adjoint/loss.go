package adjoint

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/kernels"
)

// Dot is the loss ⟨c, x⟩ of the output x, whose gradient is the product of c with the Jacobian of the sampler.
func Dot[T Float](c []T) Loss[T] {
	return func(s, g States[T]) (float64, error) {
		x := s.X()
		if len(x) != len(c) {
			return 0, fmt.Errorf("a cotangent of %d elements for an output x of %d", len(c), len(x))
		}
		kernels.Axpy(g.X(), 1, c)
		return kernels.Dot(c, x), nil
	}
}

// A Weighted loss is a term of [Sum].
type Weighted[T Float] struct {
	Weight float64
	Loss   Loss[T]
}

// Sum is the sum of weighted losses, Σ Weight·Loss. It has memory of its own for the gradient of a term, and so is not
// safe for concurrent use.
func Sum[T Float](terms ...Weighted[T]) Loss[T] {
	var term States[T]
	return func(s, g States[T]) (float64, error) {
		term.like(g)
		sum := 0.0
		for i, t := range terms {
			if t.Loss == nil {
				return 0, fmt.Errorf("term %d of the sum has no loss", i)
			}
			term.clear()
			v, err := t.Loss(s, term)
			if err != nil {
				return 0, fmt.Errorf("term %d of the sum: %w", i, err)
			}
			sum += t.Weight * v
			for name, d := range term.Outputs {
				kernels.Axpy(g.Outputs[name], T(t.Weight), d)
			}
			for k, d := range term.Knots {
				kernels.Axpy(g.Knots[k], T(t.Weight), d)
			}
		}
		return sum, nil
	}
}

// like makes s as large as t.
func (s *States[T]) like(t States[T]) {
	if s.Outputs == nil {
		s.Outputs = map[string][]T{}
	}
	for name := range s.Outputs {
		if _, ok := t.Outputs[name]; !ok {
			delete(s.Outputs, name)
		}
	}
	for name, x := range t.Outputs {
		if len(s.Outputs[name]) != len(x) {
			s.Outputs[name] = make([]T, len(x))
		}
	}
	if len(s.Knots) != len(t.Knots) {
		s.Knots = make([][]T, len(t.Knots))
	}
	for k, x := range t.Knots {
		if len(s.Knots[k]) != len(x) {
			s.Knots[k] = make([]T, len(x))
		}
	}
}

func (s States[T]) clear() {
	for _, x := range s.Outputs {
		clear(x)
	}
	for _, x := range s.Knots {
		clear(x)
	}
}

// A CellLoss is a loss computed by a network: a classifier's cross-entropy, a distance of features. The network's first
// output is one number a sample, and the loss is Σ_i Weights_i·output_i.
type CellLoss[T Float] struct {
	Cell *graph.Cell[T] // with an input [graph.X], which takes the state

	// Inputs are the values of the network's other inputs, by name: targets, labels. They are read at every call, so
	// the caller may change them between runs.
	Inputs map[string][]T

	Of      func(States[T]) []T // the state that is looked at; nil is [States.X]
	Weights []T                 // one a sample, read at every call; nil is the mean, 1/batch each
}

// Loss returns the loss. It does not allocate after the first call, and like the Cell it is not safe for concurrent use.
func (c CellLoss[T]) Loss() (Loss[T], error) {
	if c.Cell == nil {
		return nil, errors.New("adjoint: a CellLoss needs a Cell")
	}
	spec := c.Cell.Spec()
	at := slices.IndexFunc(spec.Inputs, func(p graph.Port) bool { return p.Name == graph.X })
	if at < 0 {
		return nil, fmt.Errorf("adjoint: a CellLoss needs a network with an input %q; this one has %v", graph.X, spec.Inputs)
	}
	if out := spec.Outputs[0]; out.Len() != 1 {
		return nil, fmt.Errorf("adjoint: a CellLoss needs a network whose first output is one number a sample; %q has shape %v", out.Name, out.Shape)
	}
	for name := range c.Inputs {
		if _, ok := spec.Input(name); !ok || name == graph.X {
			return nil, fmt.Errorf("adjoint: a CellLoss with a value for %q; the network has inputs %v, of which %q is the state", name, spec.Inputs, graph.X)
		}
	}
	for _, p := range spec.Inputs {
		if p.Name != graph.X && c.Inputs[p.Name] == nil {
			return nil, fmt.Errorf("adjoint: a CellLoss without a value for the network's input %q", p.Name)
		}
	}
	if c.Of == nil {
		c.Of = States[T].X
	}
	l := &cellLoss[T]{CellLoss: c, spec: spec, at: at}
	l.v.Inputs, l.d.Inputs = make([][]T, len(spec.Inputs)), make([][]T, len(spec.Inputs))
	l.v.Outputs, l.d.Outputs = make([][]T, 1), make([][]T, 1)
	return l.loss, nil
}

type cellLoss[T Float] struct {
	CellLoss[T]
	spec         graph.Spec
	at           int // of the state, among the inputs
	v, d         graph.Values[T]
	value, equal []T // one a sample
	pulled       []T
}

func (l *cellLoss[T]) loss(s, g States[T]) (float64, error) {
	x, n := l.Of(s), l.spec.Inputs[l.at].Len()
	if len(x) == 0 || len(x)%n != 0 {
		return 0, fmt.Errorf("a state of %d elements for a network that takes %d a sample", len(x), n)
	}
	batch := len(x) / n
	if len(l.value) != batch {
		l.value, l.equal, l.pulled = make([]T, batch), make([]T, batch), make([]T, len(x))
		kernels.Fill(l.equal, 1/T(batch))
	}
	weights := l.Weights
	if weights == nil {
		weights = l.equal
	}
	if len(weights) != batch {
		return 0, fmt.Errorf("%d weights for %d samples", len(weights), batch)
	}
	for i, p := range l.spec.Inputs {
		l.v.Inputs[i] = l.Inputs[p.Name]
	}
	l.v.Inputs[l.at], l.d.Inputs[l.at] = x, l.pulled
	l.v.Outputs[0], l.d.Outputs[0] = l.value, weights
	if err := l.Cell.VJP(batch, &l.v, &l.d); err != nil {
		return 0, err
	}
	kernels.Axpy(l.Of(g), 1, l.pulled)
	return kernels.Dot(weights, l.value), nil
}
