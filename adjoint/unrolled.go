package adjoint

import (
	"context"
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// Unrolled writes the whole run as one graph and differentiates that: exact, without evaluating anything twice, for the
// memory of all activations of all evaluations at once. It needs a field that can be emitted ([graph.Emittable]): a
// network, or one under guidance. Its graph can be differentiated again, see [graph.Emit]; in tests it is what the other
// strategies are measured against.
type Unrolled struct{}

func (Unrolled) strategy()      {}
func (Unrolled) String() string { return "unrolled" }

type unrolled[T Float] struct {
	problem  *Problem[T]
	wanted   wanted
	field    graph.Emittable[T]
	program  *graph.Program[T]
	outs     int // outputs of the program that are states
	bound    []bound[T]
	now, cot States[T]
	table    []T
	tableOut int
	zero     map[string]bool // names whose gradient is exactly zero
	nodes    []string        // names of the gradients, in the order of the outputs
	drawn    [][]T
	size     int64
}

// bound is an input of the program and where it comes from.
type bound[T Float] struct {
	port  string // of the plan
	param string // of the field
	data  []T    // fixed or filled in place
	i     int    // position in the program
}

func newUnrolled[T Float](p *Problem[T], w wanted) (*unrolled[T], error) {
	f, ok := p.Field.(graph.Emittable[T])
	if !ok {
		return nil, fmt.Errorf("adjoint: Unrolled needs a field that can be written as a graph, such as graph.Field; %T cannot; use Checkpoint", p.Field)
	}
	problem := *p
	u := &unrolled[T]{problem: &problem, wanted: w, field: f, tableOut: -1, zero: map[string]bool{}}
	b := graph.NewBuilder[T]()
	e, err := graph.Emit(b, p.Plan, f, p.Batch, p.Dim, len(w.plan) > 0)
	if err != nil {
		return nil, err
	}
	// States and their cotangents. Two names of one node get a cotangent each.
	var outs, cots []*graph.Node
	u.now.Outputs, u.cot.Outputs = map[string][]T{}, map[string][]T{}
	state := func(name string, n *graph.Node) (now, cot []T) {
		c := b.Input("cotangent "+name, n.Shape()...)
		now, cot = u.make(n.Shape().TotalSize()), u.make(n.Shape().TotalSize())
		u.bound = append(u.bound, bound[T]{data: cot, i: len(cots)})
		outs, cots = append(outs, n), append(cots, c)
		return now, cot
	}
	states := make([][]T, 0, len(p.Plan.Outputs)+len(p.Knots))
	for _, o := range p.Plan.Outputs {
		now, cot := state(o.Name, e.Outputs[o.Name])
		u.now.Outputs[o.Name], u.cot.Outputs[o.Name] = now, cot
		states = append(states, now)
	}
	for i, k := range p.Knots {
		if k < 0 || k >= len(e.Knots) || slices.Contains(p.Knots[:i], k) {
			return nil, fmt.Errorf("adjoint: knot %d is listed twice or is not one of the %d", k, len(e.Knots))
		}
		now, cot := state(knotPort(k), e.Knots[k])
		u.now.Knots, u.cot.Knots = append(u.now.Knots, now), append(u.cot.Knots, cot)
		states = append(states, now)
	}
	u.outs = len(outs)

	var wrt []*graph.Node
	for _, name := range w.outputs {
		u.nodes = append(u.nodes, name)
		if n := e.Ports[name]; n != nil {
			wrt = append(wrt, n)
			continue
		}
		var k int
		if _, err := fmt.Sscanf(name, Noise+"[%d]", &k); err != nil {
			return nil, fmt.Errorf("adjoint: no input %q", name)
		}
		wrt = append(wrt, e.Noise[k])
	}
	for _, q := range w.field {
		u.nodes, wrt = append(u.nodes, q.Name), append(wrt, e.Params[q.Name])
	}
	if len(w.plan) > 0 {
		wrt = append(wrt, e.Table)
	}
	grads := b.Gradient(outs, cots, wrt)
	if err := b.Err(); err != nil {
		return nil, err
	}
	all := slices.Clone(outs)
	kept := u.nodes[:0:0]
	for i, g := range grads {
		switch {
		case i == len(u.nodes) && g != nil:
			u.tableOut = len(all)
			all = append(all, g)
		case i < len(u.nodes) && g == nil:
			u.zero[u.nodes[i]] = true
		case g != nil:
			kept, all = append(kept, u.nodes[i]), append(all, g)
		}
	}
	u.nodes = kept
	if u.program, err = graph.Compile[T](all...); err != nil {
		return nil, err
	}
	for i, s := range states {
		if err := u.program.BindOutput(i, s); err != nil {
			return nil, err
		}
	}
	return u, u.bind(e, cots)
}

func (u *unrolled[T]) make(n int) []T {
	u.size += int64(n) * sizeof[T]()
	return make([]T, n)
}

// bind gives every input of the program its memory; what the program does not use is left out.
func (u *unrolled[T]) bind(e *graph.Emission, cots []*graph.Node) error {
	index := map[string]int{}
	for i, name := range u.program.Inputs() {
		index[name] = i
	}
	var list []bound[T]
	add := func(n *graph.Node, x bound[T]) error {
		i, used := index[n.Name()]
		if !used {
			return nil
		}
		if x.data == nil {
			x.data = u.make(n.Shape().TotalSize())
		}
		x.i = i
		list = append(list, x)
		return u.program.BindAt(i, x.data)
	}
	for k, c := range cots {
		if err := add(c, u.bound[k]); err != nil {
			return err
		}
	}
	for name, n := range e.Ports {
		if err := add(n, bound[T]{port: name}); err != nil {
			return err
		}
	}
	for name, n := range e.Params {
		if err := add(n, bound[T]{param: name}); err != nil {
			return err
		}
	}
	u.drawn = make([][]T, len(e.Noise))
	for k, n := range e.Noise {
		u.drawn[k] = u.make(n.Shape().TotalSize())
		if err := add(n, bound[T]{data: u.drawn[k]}); err != nil {
			return err
		}
	}
	for _, c := range e.Constants {
		x := u.make(len(c.Value))
		for i, v := range c.Value {
			x[i] = T(v)
		}
		if err := add(c.Node, bound[T]{data: x}); err != nil {
			return err
		}
	}
	u.table = u.make(e.Table.Shape().TotalSize())
	for i, v := range u.problem.Plan.Table() {
		u.table[i] = T(v)
	}
	if err := add(e.Table, bound[T]{data: u.table}); err != nil {
		return err
	}
	u.bound = list
	return nil
}

func (u *unrolled[T]) solve(ctx context.Context, in *Inputs[T]) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := u.problem.Plan
	for _, port := range p.Inputs {
		if len(in.Ports[port.Name]) == 0 {
			return fmt.Errorf("adjoint: input %q of the plan is missing", port.Name)
		}
	}
	for _, b := range u.bound {
		switch {
		case b.port != "":
			if x := in.Ports[b.port]; len(x) != len(b.data) {
				return fmt.Errorf("adjoint: input %q has %d elements, want %d", b.port, len(x), len(b.data))
			}
			copy(b.data, in.Ports[b.port])
		case b.param != "":
			if err := u.field.Load(b.param, b.data); err != nil {
				return err
			}
		}
	}
	for i := range p.Code {
		if d := &p.Code[i]; d.Op == ode.Draw {
			if in.Noise == nil {
				return fmt.Errorf("adjoint: plan %q draws noise: set Inputs.Noise, for example to an ode.Seed", p.Name)
			}
			if err := in.Noise.Draw(u.drawn[d.Index], ode.DrawCall{Index: d.Index, Batch: u.problem.Batch, From: d.From, To: d.To}); err != nil {
				return err
			}
		}
	}
	if err := u.program.RunTo(u.outs); err != nil {
		return err
	}
	return u.report(in, false)
}

// report tells the observer that a whole direction is done: one graph has no steps.
func (u *unrolled[T]) report(in *Inputs[T], back bool) error {
	if in.Observe == nil {
		return nil
	}
	n := len(u.problem.Plan.Knots) - 1
	p := Progress{Backward: back, Steps: n}
	if !back {
		p.Step, p.T = n-1, u.problem.Plan.Knots[n].T
	}
	return in.Observe(p)
}

func (u *unrolled[T]) states() States[T]     { return u.now }
func (u *unrolled[T]) cotangents() States[T] { return u.cot }

func (u *unrolled[T]) pull(ctx context.Context, in *Inputs[T], r *Result[T]) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := u.program.RunFrom(u.outs); err != nil {
		return err
	}
	for i, name := range u.nodes {
		r.Gradients[name] = u.program.Output(u.outs + i)
	}
	for _, name := range u.wanted.outputs {
		if u.zero[name] && r.Gradients[name] == nil {
			r.Gradients[name] = make([]T, u.problem.Batch*u.problem.Dim)
		}
	}
	table := make([]float64, len(u.problem.Plan.Table()))
	if u.tableOut >= 0 {
		for i, v := range u.program.Output(u.tableOut)[:len(table)] {
			table[i] = float64(v)
		}
	}
	for _, name := range u.wanted.plan {
		g, err := u.problem.Plan.PullTable(name, table)
		if err != nil {
			return err
		}
		r.Params[name] = g
	}
	r.VJP = u.problem.Plan.NFE()
	return u.report(in, true)
}

func (u *unrolled[T]) bytes() int64 { return u.size + u.program.Stats().Bytes }
