package graph

import (
	"errors"
	"fmt"

	"github.com/ebb-go/ebb/ode"
)

// An Evaluation is one use of a network inside a larger graph.
type Evaluation struct {
	Index   int
	X, T    *Node            // (batch, elements) and (batch)
	Use     map[string]*Node // inner values, (batch, elements), that replace the network's own
	Offer   []string         // inner values to be handed out
	Offered map[string]*Node // filled by Emit: (batch, elements)
}

// Emittable is a field that can be written into a graph: a network, or something made of one.
type Emittable[T Float] interface {
	ode.Differentiable[T]
	// Emit adds one evaluation. params has a node for every parameter of the field, by name; the result is shaped like X.
	Emit(b *Builder, params map[string]*Node, e *Evaluation) *Node
}

var _ Emittable[float64] = (*Field[float64])(nil)

// Emit implements [Emittable].
func (f *Field[T]) Emit(b *Builder, params map[string]*Node, e *Evaluation) *Node {
	spec := f.cell.spec
	batch := e.X.Shape()[0]
	in := &Inputs{b: b, batch: batch, nodes: map[string]*Node{}, weights: map[string]*Node{}, use: e.Use, tapped: map[string]*Node{}}
	in.nodes[X] = b.Reshape(e.X, append([]int{batch}, spec.Inputs[0].Shape...)...)
	in.nodes[Time] = b.Reshape(e.T, append([]int{batch}, spec.Inputs[1].Shape...)...)
	if f.condition != nil {
		in.nodes[Condition] = b.Reshape(params[Condition], append([]int{batch}, spec.Inputs[2].Shape...)...)
	}
	for _, w := range spec.Weights {
		in.weights[w.Name] = params[w.Name]
	}
	for _, name := range e.Offer {
		p, ok := port(spec.Taps, name)
		if !ok {
			return b.Fail("the network has no tap %q", name)
		}
		in.offer = append(in.offer, p)
	}
	var out *Node
	if b.guard(func() { out = b.Reshape(f.cell.model.Build(b, in)[0], e.X.Shape()...) }) != nil {
		return b.harmless()
	}
	for _, name := range e.Offer {
		n := in.tapped[name]
		if n == nil {
			return b.Fail("the network offers no tap %q", name)
		}
		e.Offered[name] = b.Reshape(n, batch, n.Shape().TotalSize()/batch)
	}
	return out
}

// An Emission is a whole plan with its network as one graph. Every node but Outputs and Knots is an input of the graph,
// to be bound. States and taps have the shape (batch, elements).
type Emission struct {
	Ports   map[string]*Node // inputs of the plan
	Params  map[string]*Node // parameters of the field, in their own shapes
	Noise   []*Node          // draws, by number
	Table   *Node            // the numbers of [ode.Plan.Table]
	Outputs map[string]*Node // outputs of the plan
	Knots   []*Node          // states at the knots

	// Constants are the plan's fields of coefficients, with the values to bind.
	Constants []Constant
}

// A Constant is an input with the value it stands for.
type Constant struct {
	Node  *Node
	Value []float64
}

// Emit writes a plan with its network into b, for batch samples of dim elements. With table set, all coefficients and
// times are read from the input Table, and can be differentiated by it; otherwise coefficients are fixed in the graph,
// which makes fewer nodes, and only the times are read.
//
// It is an error if the plan does not pass [ode.Plan.Verify], does not fit ([ode.Fits]), is a transposed one, has a field of
// coefficients that is not of batch samples or dim elements, or passes a tap that the field does not have.
func Emit[T Float](b *Builder, p *ode.Plan, f Emittable[T], batch, dim int, table bool) (*Emission, error) {
	if p == nil || f == nil {
		return nil, errors.New("graph: emission needs a plan and a field")
	}
	if err := p.Verify(); err != nil {
		return nil, err
	}
	if err := ode.Fits[T](p, f); err != nil {
		return nil, fmt.Errorf("graph: %w", err)
	}
	if batch < 1 || dim < 1 {
		return nil, fmt.Errorf("graph: emitting for %d samples of %d elements; both must be at least 1", batch, dim)
	}
	if err := checkFields(p, batch, dim); err != nil {
		return nil, fmt.Errorf("graph: plan %q: %w", p.Name, err)
	}
	w := &emitter{b: b, e: &Emission{Ports: map[string]*Node{}, Params: map[string]*Node{}, Outputs: map[string]*Node{}, Noise: make([]*Node, p.Draws())},
		batch: batch, regs: make([]*Node, p.Regs), fields: map[coefficients]*Node{}}
	e := w.e
	for _, port := range p.Inputs {
		n := dim
		if name := ode.TapOfPort(port.Name); name != "" {
			taps, ok := f.(ode.Tapped)
			if !ok {
				return nil, fmt.Errorf("graph: the plan uses tap %q and the field offers none", name)
			}
			if n, ok = taps.TapLen(name); !ok {
				return nil, fmt.Errorf("graph: the field has no tap %q", name)
			}
		}
		e.Ports[port.Name] = b.Input("input "+port.Name, batch, n)
		w.regs[port.Reg] = e.Ports[port.Name]
	}
	for _, q := range f.Parameters(batch) {
		e.Params[q.Name] = b.Input("parameter "+q.Name, q.Shape...)
	}
	e.Table = b.Input("table", max(1, len(p.Table())))
	for i := range p.Code {
		in := &p.Code[i]
		switch in.Op {
		case ode.Combine:
			w.combine(in, dim, table)
		case ode.Evaluate:
			call := &Evaluation{Index: in.Index, X: w.regs[in.Src], T: w.time(in), Use: map[string]*Node{}, Offered: map[string]*Node{}}
			for _, port := range in.In {
				call.Use[port.Name] = w.regs[port.Reg]
			}
			for _, port := range in.Out {
				call.Offer = append(call.Offer, port.Name)
			}
			w.regs[in.Dst] = f.Emit(b, e.Params, call)
			for _, port := range in.Out {
				w.regs[port.Reg] = call.Offered[port.Name]
			}
		case ode.Draw:
			e.Noise[in.Index] = b.Input(fmt.Sprint("noise ", in.Index), batch, dim)
			w.regs[in.Dst] = e.Noise[in.Index]
		case ode.Clip:
			w.regs[in.Dst] = b.Clip(in.Clip, w.regs[in.Src])
		default:
			return nil, fmt.Errorf("graph: a plan with instruction %d cannot be emitted; transposed plans are run, not emitted", in.Op)
		}
		if b.err != nil {
			return nil, b.err
		}
	}
	for _, port := range p.Outputs {
		e.Outputs[port.Name] = w.regs[port.Reg]
	}
	for _, k := range p.Knots {
		e.Knots = append(e.Knots, w.regs[k.Reg])
	}
	return e, b.err
}

// emitter is an Emit under way.
type emitter struct {
	b      *Builder
	e      *Emission
	batch  int
	regs   []*Node
	slot   int                    // numbers of the table that are behind
	fields map[coefficients]*Node // constants: terms share them
}

// coefficients are a field of them in one shape.
type coefficients struct {
	first *float64
	shape string
}

// checkFields reports a field of coefficients that was made for another batch or other samples.
func checkFields(p *ode.Plan, batch, dim int) error {
	for i := range p.Code {
		in := &p.Code[i]
		var err error
		check := func(what string, v []float64, n int) {
			if v != nil && len(v) != n && err == nil {
				err = fmt.Errorf("instruction %d has %d %s, the graph needs %d", i, len(v), what, n)
			}
		}
		for _, t := range in.Terms {
			check("element factors", t.Elements, dim)
			check("sample factors", t.Samples, batch)
		}
		check("bias values", in.Bias, dim)
		check("times", in.Times, batch)
		if err != nil {
			return err
		}
	}
	return nil
}

// number is the next number of the table, of shape (1).
func (w *emitter) number() *Node {
	w.slot++
	return w.b.Slice(w.e.Table, 0, w.slot-1, w.slot)
}

func (w *emitter) constant(v []float64, shape ...int) *Node {
	k := coefficients{&v[0], fmt.Sprint(shape)}
	if w.fields[k] == nil {
		n := w.b.Input(fmt.Sprint("constant ", len(w.e.Constants)), shape...)
		w.e.Constants = append(w.e.Constants, Constant{n, v})
		w.fields[k] = n
	}
	return w.fields[k]
}

// time is that of an evaluation, one a sample.
func (w *emitter) time(in *ode.Instr) *Node {
	if in.Times != nil {
		w.slot++
		return w.constant(in.Times, w.batch)
	}
	return w.b.Expand(w.number(), 0, w.batch)
}

func (w *emitter) combine(in *ode.Instr, dim int, table bool) {
	b := w.b
	var c []float64
	var terms []*Node
	add := func(k float64, x *Node) { c, terms = append(c, k), append(terms, x) }
	for _, t := range in.Terms {
		x := w.regs[t.Reg]
		n := x.Shape()[1]
		if t.Elements != nil {
			x = b.Mul(x, b.Expand(w.constant(t.Elements, 1, n), 0, w.batch))
		}
		if t.Samples != nil {
			x = b.Mul(x, b.Expand(w.constant(t.Samples, w.batch, 1), 1, n))
		}
		if !table {
			w.slot++
			add(t.C, x)
			continue
		}
		add(1, b.Mul(x, b.Expand(b.Expand(b.Reshape(w.number(), 1, 1), 0, w.batch), 1, n)))
	}
	if in.Bias != nil {
		add(1, b.Expand(w.constant(in.Bias, 1, dim), 0, w.batch))
	}
	if len(terms) == 0 {
		add(1, w.constant(make([]float64, w.batch*dim), w.batch, dim))
	}
	w.regs[in.Dst] = b.Combine(c, terms...)
}
