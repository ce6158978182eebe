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

// forward runs a plan on host memory.
type forward[T Float] struct {
	plan     *ode.Plan
	field    ode.Differentiable[T]
	runner   *ode.Runner[T]
	now, cot States[T]
	ports    map[string][]T // cotangents, by port of the transposed plan
	in       *Inputs[T]     // of the present run
	observe  func(ode.Step[T]) error
}

// newForward keeps the states of the problem's knots, and what else is to be kept.
func newForward[T Float](p *Problem[T], keep ...ode.Reg) (*forward[T], error) {
	f := &forward[T]{plan: p.Plan, field: p.Field, ports: map[string][]T{}}
	f.now = States[T]{Outputs: map[string][]T{}, Knots: make([][]T, len(p.Knots))}
	f.cot = States[T]{Outputs: map[string][]T{}, Knots: make([][]T, len(p.Knots))}
	for _, k := range p.Knots {
		keep = append(keep, p.Plan.Knots[k].Reg)
	}
	var err error
	if f.runner, err = ode.NewRunner[T](p.Plan, p.Batch, p.Dim, keep...); err != nil {
		return nil, err
	}
	for i, k := range p.Knots {
		f.now.Knots[i] = f.runner.Reg(p.Plan.Knots[k].Reg)
		f.cot.Knots[i] = make([]T, p.Batch*p.Dim)
		f.ports[knotPort(k)] = f.cot.Knots[i]
	}
	f.observe = func(s ode.Step[T]) error {
		return f.in.Observe(Progress{Step: s.Index, Steps: len(f.plan.Knots) - 1, T: s.T})
	}
	return f, nil
}

func (f *forward[T]) run(ctx context.Context, in *Inputs[T]) error {
	run := ode.Inputs[T]{Ports: in.Ports, Noise: in.Noise}
	if f.in = in; in.Observe != nil {
		run.Observe = f.observe
	}
	if err := f.runner.Run(ctx, f.field, run); err != nil {
		return err
	}
	// How long a tap is, is known only now.
	for _, out := range f.plan.Outputs {
		x := f.runner.Output(out.Name)
		f.now.Outputs[out.Name] = x
		if len(f.cot.Outputs[out.Name]) != len(x) {
			f.cot.Outputs[out.Name] = make([]T, len(x))
			f.ports[out.Name] = f.cot.Outputs[out.Name]
		}
	}
	return nil
}

func (f *forward[T]) states() States[T]     { return f.now }
func (f *forward[T]) cotangents() States[T] { return f.cot }

type checkpoint[T Float] struct {
	*forward[T]
	wanted       wanted
	backward     *ode.Runner[T]
	products     int // with the Jacobian, in a run back
	kept         func(ode.Reg) []T
	observePulls func(ode.Step[T]) error

	params map[string][]T // gradients to parameters of the field
	table  []float64      // gradient to the plan's Table; nil if no parameter of the plan is wanted
}

func newCheckpoint[T Float](p *Problem[T], w wanted) (*checkpoint[T], error) {
	t, err := p.Plan.Transpose(p.Knots...)
	if err != nil {
		return nil, err
	}
	if t, err = t.Only(w.outputs...); err != nil {
		return nil, err
	}
	c := &checkpoint[T]{wanted: w}
	if c.forward, err = newForward(p, t.Needs(len(w.plan) > 0)...); err != nil {
		return nil, err
	}
	if c.backward, err = ode.NewRunner[T](t, p.Batch, p.Dim); err != nil {
		return nil, err
	}
	for i := range t.Code {
		if t.Code[i].Op == ode.Pull {
			c.products++
		}
	}
	if len(w.plan) > 0 {
		c.table = make([]float64, len(p.Plan.Table()))
	}
	if len(w.field) > 0 {
		c.params = map[string][]T{}
		for _, q := range w.field {
			c.params[q.Name] = make([]T, q.Len())
		}
	}
	c.kept = c.runner.Reg
	c.observePulls = func(s ode.Step[T]) error {
		return c.in.Observe(Progress{Backward: true, Step: s.Index, Steps: len(c.plan.Knots) - 1})
	}
	return c, nil
}

func (c *checkpoint[T]) pull(ctx context.Context, in *Inputs[T], r *Result[T]) error {
	clear(c.table)
	for _, g := range c.params {
		clear(g)
	}
	run := ode.Inputs[T]{Ports: c.ports, Forward: c.kept, Params: c.params, Table: c.table}
	if in.Observe != nil {
		run.Observe = c.observePulls
	}
	if err := c.backward.Run(ctx, c.field, run); err != nil {
		return err
	}
	r.VJP = c.products
	for _, name := range c.wanted.outputs {
		r.Gradients[name] = c.backward.Output(name)
	}
	for _, q := range c.wanted.field {
		r.Gradients[q.Name] = c.params[q.Name]
	}
	return pullTable(c.plan, c.wanted.plan, c.table, r.Params)
}

// pullTable takes the gradient to a plan's table on to its parameters.
func pullTable(p *ode.Plan, names []string, table []float64, params map[string][]float64) error {
	for _, name := range names {
		g, err := p.PullTable(name, table)
		if err != nil {
			return err
		}
		params[name] = g
	}
	return nil
}

func (c *checkpoint[T]) bytes() int64 {
	n := int64(c.runner.Bytes()+c.backward.Bytes()) + 8*int64(len(c.table))
	if f, ok := c.field.(interface{ Bytes() int64 }); ok {
		n += f.Bytes()
	}
	for _, g := range c.ports {
		n += int64(len(g)) * sizeof[T]()
	}
	for _, g := range c.params {
		n += int64(len(g)) * sizeof[T]()
	}
	return n
}
