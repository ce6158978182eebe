package adjoint

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// Unrolled writes the whole run as one graph and differentiates that: exact, without evaluating anything twice, for the
// memory of all activations of all evaluations at once. It needs a field that can be written as a graph
// ([graph.Emittable]), such as a [graph.Field]. Its graph can be differentiated again, see [graph.Emit]; in tests it is
// what the other strategies are measured against. A context is looked at only between the two directions.
type Unrolled struct{}

func (Unrolled) strategy()      {}
func (Unrolled) String() string { return "unrolled" }

type unrolled[T Float] struct {
	plan        *ode.Plan
	batch       int
	wanted      wanted
	field       graph.Emittable[T]
	program     *graph.Program[T]
	outs        int // outputs of the program that are states
	now, cot    States[T]
	ports       map[string][]T // what inputs of the program are filled with, by name
	params      map[string][]T
	drawn       [][]T
	gradients   map[string][]T
	zero        [][]T // of them, those that the program does not write
	tableGrad   []T   // what the program writes
	tableGrad64 []float64
	size        int64
}

func newUnrolled[T Float](p *Problem[T], w wanted) (*unrolled[T], error) {
	f, ok := p.Field.(graph.Emittable[T])
	if !ok {
		return nil, fmt.Errorf("adjoint: Unrolled needs a field that can be written as a graph, such as graph.Field; %T cannot; use Checkpoint", p.Field)
	}
	u := &unrolled[T]{plan: p.Plan, batch: p.Batch, wanted: w, field: f, ports: map[string][]T{}, params: map[string][]T{}, gradients: map[string][]T{}}
	b := graph.NewBuilder[T]()
	e, err := graph.Emit(b, p.Plan, f, p.Batch, p.Dim, len(w.plan) > 0)
	if err != nil {
		return nil, err
	}
	bind := map[string][]T{} // memory of the program's inputs

	// States and their cotangents. Two names of one node get a cotangent each.
	var outs, cots []*graph.Node
	var results [][]T
	state := func(name string, n *graph.Node) (now, cot []T) {
		c := b.Input("cotangent "+name, n.Shape()...)
		now, cot = u.make(n.Shape().TotalSize()), u.make(n.Shape().TotalSize())
		outs, cots, results = append(outs, n), append(cots, c), append(results, now)
		bind[nameOf(c)] = cot
		return now, cot
	}
	u.now.Outputs, u.cot.Outputs = map[string][]T{}, map[string][]T{}
	for _, o := range p.Plan.Outputs {
		u.now.Outputs[o.Name], u.cot.Outputs[o.Name] = state(o.Name, e.Outputs[o.Name])
	}
	for i, k := range p.Knots {
		if k < 0 || k >= len(e.Knots) || slices.Contains(p.Knots[:i], k) {
			return nil, fmt.Errorf("adjoint: knot %d is listed twice or is not one of the %d", k, len(e.Knots))
		}
		now, cot := state(knotPort(k), e.Knots[k])
		u.now.Knots, u.cot.Knots = append(u.now.Knots, now), append(u.cot.Knots, cot)
	}
	u.outs = len(outs)

	// What is wanted, and the memory for it. Gradients that are exactly zero have no node.
	var wrt []*graph.Node
	var grads [][]T
	want := func(n *graph.Node) []T {
		g := u.make(n.Shape().TotalSize())
		wrt, grads = append(wrt, n), append(grads, g)
		return g
	}
	for _, name := range w.outputs {
		n := e.Ports[name]
		if n == nil {
			n = e.Noise[drawIndex(name)]
		}
		u.gradients[name] = want(n)
	}
	for _, q := range w.field {
		u.gradients[q.Name] = want(e.Params[q.Name])
	}
	if len(w.plan) > 0 {
		u.tableGrad = want(e.Table)
		u.tableGrad64 = make([]float64, len(p.Plan.Table()))
	}
	for i, g := range b.Gradient(outs, cots, wrt) {
		if g != nil {
			outs, results = append(outs, g), append(results, grads[i])
		} else {
			u.zero = append(u.zero, grads[i])
		}
	}
	if err := b.Err(); err != nil {
		return nil, err
	}
	if u.program, err = graph.Compile[T](outs...); err != nil {
		return nil, err
	}
	for i, x := range results {
		if err := u.program.BindOutput(i, x); err != nil {
			return nil, err
		}
	}
	return u, u.bind(e, bind)
}

// nameOf is the name of an input as its Program has it: a Builder puts spaces behind names whose hashes collide.
func nameOf(n *graph.Node) string { return strings.TrimRight(n.Name(), " ") }

func (u *unrolled[T]) make(n int) []T {
	u.size += int64(n) * sizeof[T]()
	return make([]T, n)
}

// bind gives every input of the program its memory; what the program does not use gets none.
func (u *unrolled[T]) bind(e *graph.Emission, data map[string][]T) error {
	index := map[string]int{}
	for i, name := range u.program.Inputs() {
		index[name] = i
	}
	input := func(n *graph.Node) []T {
		if _, used := index[nameOf(n)]; !used {
			return nil
		}
		data[nameOf(n)] = u.make(n.Shape().TotalSize())
		return data[nameOf(n)]
	}
	fill := func(n *graph.Node, value []float64) {
		if dst := input(n); dst != nil {
			for i, v := range value {
				dst[i] = T(v)
			}
		}
	}
	for name, n := range e.Ports {
		u.ports[name] = input(n)
	}
	for name, n := range e.Params {
		if x := input(n); x != nil {
			u.params[name] = x
		}
	}
	for _, n := range e.Noise {
		x := input(n)
		if x == nil { // drawn all the same, so that the other draws stay as they are
			x = u.make(n.Shape().TotalSize())
		}
		u.drawn = append(u.drawn, x)
	}
	for _, c := range e.Constants {
		fill(c.Node, c.Value)
	}
	fill(e.Table, u.plan.Table())
	for name, i := range index {
		if err := u.program.BindAt(i, data[name]); err != nil {
			return err
		}
	}
	return nil
}

func (u *unrolled[T]) run(ctx context.Context, in *Inputs[T]) error {
	if err := u.load(in); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return &ode.Interrupted[T]{Err: err}
	}
	for i := range u.plan.Code {
		if d := &u.plan.Code[i]; d.Op == ode.Draw {
			if err := in.Noise.Draw(u.drawn[d.Index], ode.DrawCall{Index: d.Index, Batch: u.batch, From: d.From, To: d.To}); err != nil {
				return &ode.Interrupted[T]{Err: err}
			}
		}
	}
	if err := u.program.RunTo(u.outs); err != nil {
		return &ode.Interrupted[T]{Err: err}
	}
	return u.report(in, Progress{Step: len(u.plan.Knots) - 2, T: u.plan.Knots[len(u.plan.Knots)-1].T}, u.plan.NFE())
}

// load checks and copies the inputs and the present parameters of the field.
func (u *unrolled[T]) load(in *Inputs[T]) error {
	for name := range in.Ports {
		if _, ok := u.plan.Input(name); !ok {
			return fmt.Errorf("adjoint: Ports has %q, which is no input of plan %q", name, u.plan.Name)
		}
	}
	for _, port := range u.plan.Inputs {
		x, ok := in.Ports[port.Name]
		if !ok {
			return fmt.Errorf("adjoint: Ports has no %q, an input of plan %q", port.Name, u.plan.Name)
		}
		dst := u.ports[port.Name]
		if dst == nil {
			continue
		}
		if len(x) != len(dst) {
			return fmt.Errorf("adjoint: input %q has %d elements, want %d", port.Name, len(x), len(dst))
		}
		if i := firstBad(x); i >= 0 {
			return fmt.Errorf("adjoint: element %d of input %q is %w", i, port.Name, ErrNotFinite)
		}
		copy(dst, x)
	}
	if in.Noise == nil && len(u.drawn) > 0 {
		return fmt.Errorf("adjoint: plan %q draws noise: set Inputs.Noise, for example to an ode.Seed", u.plan.Name)
	}
	for name, dst := range u.params {
		if err := u.field.Load(name, dst); err != nil {
			return err
		}
	}
	return nil
}

// report tells the observer that a whole direction is done: one graph has no steps.
func (u *unrolled[T]) report(in *Inputs[T], p Progress, nfe int) error {
	if in.Observe == nil {
		return nil
	}
	p.Steps = len(u.plan.Knots) - 1
	if err := in.Observe(p); err != nil {
		return &ode.Interrupted[T]{Step: p.Step, NFE: nfe, Err: err}
	}
	return nil
}

func (u *unrolled[T]) states() States[T]     { return u.now }
func (u *unrolled[T]) cotangents() States[T] { return u.cot }

func (u *unrolled[T]) pull(ctx context.Context, in *Inputs[T], r *Result[T]) error {
	if err := ctx.Err(); err != nil {
		return &ode.Interrupted[T]{Err: err}
	}
	if err := u.program.RunFrom(u.outs); err != nil {
		return &ode.Interrupted[T]{Err: err}
	}
	r.VJP = u.plan.NFE()
	for _, g := range u.zero {
		clear(g) // the caller may have changed the last result
	}
	for name, g := range u.gradients {
		r.Gradients[name] = g
	}
	for i := range u.tableGrad64 {
		u.tableGrad64[i] = float64(u.tableGrad[i])
	}
	if err := pullTable(u.plan, u.wanted.plan, u.tableGrad64, r.Params); err != nil {
		return err
	}
	return u.report(in, Progress{Backward: true}, r.VJP)
}

func (u *unrolled[T]) bytes() int64 {
	return u.size + 8*int64(len(u.tableGrad64)) + u.program.Stats().Bytes
}
