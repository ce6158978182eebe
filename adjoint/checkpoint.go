package adjoint

import (
	"context"

	"github.com/ebb-go/ebb/ode"
)

// Checkpoint keeps the states at which the network was evaluated and runs each evaluation once more on the way back, when
// it is pulled: the exact discrete adjoint, for the memory of those states and the activations of one evaluation. It is
// the recursion of the transposed plan; for Runge–Kutta methods that is also called the symplectic adjoint (Matsubara,
// Miyatake, Yaguchi 2021, arXiv 2102.09750).
type Checkpoint struct{}

func (Checkpoint) strategy()      {}
func (Checkpoint) String() string { return "checkpoint" }

type checkpoint[T Float] struct {
	plan      *ode.Plan
	field     ode.Differentiable[T]
	wanted    wanted
	forward   *ode.Runner[T]
	backward  *ode.Runner[T]
	transpose *ode.Plan
	steps     int

	now, cot States[T]
	ports    map[string][]T // cotangents, by port of the transposed plan
	params   map[string][]T
	table    []float64
}

func newCheckpoint[T Float](p *Problem[T], w wanted) (*checkpoint[T], error) {
	t, err := p.Plan.Transpose(p.Knots...)
	if err != nil {
		return nil, err
	}
	outputs := w.outputs
	if len(outputs) == 0 { // a plan has at least one output
		outputs = []string{p.Plan.Inputs[0].Name}
	}
	if t, err = t.Only(outputs...); err != nil {
		return nil, err
	}
	c := &checkpoint[T]{plan: p.Plan, field: p.Field, wanted: w, transpose: t, steps: len(p.Plan.Knots) - 1}
	keep := t.Needs(len(w.plan) > 0)
	for _, k := range p.Knots {
		keep = append(keep, p.Plan.Knots[k].Reg)
	}
	if c.forward, err = ode.NewRunner[T](p.Plan, p.Batch, p.Dim, keep...); err != nil {
		return nil, err
	}
	if c.backward, err = ode.NewRunner[T](t, p.Batch, p.Dim); err != nil {
		return nil, err
	}
	if len(w.plan) > 0 {
		c.table = make([]float64, len(p.Plan.Table()))
	}
	if len(w.field) > 0 {
		c.params = map[string][]T{}
	}
	c.ports = map[string][]T{}
	c.now = States[T]{Outputs: map[string][]T{}, Knots: make([][]T, len(p.Knots))}
	c.cot = States[T]{Outputs: map[string][]T{}, Knots: make([][]T, len(p.Knots))}
	for i, k := range p.Knots {
		c.now.Knots[i] = c.forward.Reg(p.Plan.Knots[k].Reg)
		c.cot.Knots[i] = make([]T, p.Batch*p.Dim)
		c.ports[knotPort(k)] = c.cot.Knots[i]
	}
	return c, nil
}

func (c *checkpoint[T]) solve(ctx context.Context, in *Inputs[T]) error {
	run := ode.Inputs[T]{Ports: in.Ports, Noise: in.Noise}
	if in.Observe != nil {
		run.Observe = func(s ode.Step[T]) error {
			return in.Observe(Progress{Step: s.Index, Steps: c.steps, T: s.T})
		}
	}
	if err := c.forward.Run(ctx, c.field, run); err != nil {
		return err
	}
	for _, out := range c.plan.Outputs {
		x := c.forward.Output(out.Name)
		c.now.Outputs[out.Name] = x
		if len(c.cot.Outputs[out.Name]) != len(x) {
			c.cot.Outputs[out.Name] = make([]T, len(x))
			c.ports[out.Name] = c.cot.Outputs[out.Name]
		}
	}
	for i := range c.now.Knots {
		if c.now.Knots[i] == nil {
			panic("adjoint: the runner did not keep a knot")
		}
	}
	return nil
}

func (c *checkpoint[T]) states() States[T]     { return c.now }
func (c *checkpoint[T]) cotangents() States[T] { return c.cot }

func (c *checkpoint[T]) pull(ctx context.Context, in *Inputs[T], r *Result[T]) error {
	clear(c.table)
	for _, q := range c.wanted.field {
		c.params[q.Name] = r.Gradients[q.Name]
	}
	run := ode.Inputs[T]{Ports: c.ports, Forward: c.forward.Reg, Params: c.params, Table: c.table}
	run.Observe = func(s ode.Step[T]) error {
		r.VJP = s.NFE
		if in.Observe == nil {
			return nil
		}
		return in.Observe(Progress{Backward: true, Step: s.Index, Steps: c.steps})
	}
	if err := c.backward.Run(ctx, c.field, run); err != nil {
		return err
	}
	for _, name := range c.wanted.outputs {
		r.Gradients[name] = c.backward.Output(name)
	}
	for _, name := range c.wanted.plan {
		g, err := c.plan.PullTable(name, c.table)
		if err != nil {
			return err
		}
		r.Params[name] = g
	}
	return nil
}

func (c *checkpoint[T]) bytes() int64 {
	n := int64(c.forward.Bytes()+c.backward.Bytes()) + 8*int64(len(c.table))
	for _, g := range c.ports {
		n += int64(len(g)) * sizeof[T]()
	}
	return n
}
