package graph

import (
	"fmt"

	"github.com/ebb-go/ebb/ode"
)

// An Evaluation is one use of a network inside a larger graph.
type Evaluation struct {
	Index   int
	X, T    *Node            // (batch, elements) and (batch)
	Use     map[string]*Node // inner values that replace the network's own
	Offer   []string         // inner values to be handed out
	Offered map[string]*Node // filled by Emit
}

// Emittable is a field that can be written into a graph: a network, or one under guidance.
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
		p, _ := port(spec.Taps, name)
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
// to be bound.
type Emission struct {
	Ports   map[string]*Node // inputs of the plan: (batch, elements)
	Params  map[string]*Node // parameters of the field
	Noise   []*Node          // draws, by number
	Table   *Node            // the numbers of [ode.Plan.Table], of which those used are differentiable
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

// Emit writes a plan with its network into b, for batch samples of dim elements. With table set, all coefficients are
// read from the input Table, and can be differentiated by it; otherwise they are fixed in the graph and only the
// times are read from it.
func Emit[T Float](b *Builder, p *ode.Plan, f Emittable[T], batch, dim int, table bool) (*Emission, error) {
	if err := p.Verify(); err != nil {
		return nil, err
	}
	if batch < 1 || dim < 1 {
		return nil, fmt.Errorf("graph: emitting for %d samples of %d elements; both must be at least 1", batch, dim)
	}
	e := &Emission{Ports: map[string]*Node{}, Params: map[string]*Node{}, Outputs: map[string]*Node{}, Noise: make([]*Node, p.Draws())}
	regs := make([]*Node, p.Regs)
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
		regs[port.Reg] = b.Input(port.Name, batch, n)
		e.Ports[port.Name] = regs[port.Reg]
	}
	for _, q := range f.Parameters(batch) {
		e.Params[q.Name] = b.Input("parameter "+q.Name, q.Shape...)
	}
	e.Table = b.Input("table", max(1, len(p.Table())))
	slot := 0
	number := func() *Node { // the next number of the table, as (1)
		slot++
		return b.Slice(e.Table, 0, slot-1, slot)
	}
	constant := func(v []float64, shape ...int) *Node {
		n := b.Input(fmt.Sprint("constant ", len(e.Constants)), shape...)
		e.Constants = append(e.Constants, Constant{n, v})
		return n
	}
	for i := range p.Code {
		in := &p.Code[i]
		switch in.Op {
		case ode.Combine:
			var c []float64
			var terms []*Node
			for _, t := range in.Terms {
				x := regs[t.Reg]
				n := x.Shape()[1]
				if t.Elements != nil {
					x = b.Mul(x, b.Expand(constant(t.Elements, 1, n), 0, batch))
				}
				if t.Samples != nil {
					x = b.Mul(x, b.Expand(constant(t.Samples, batch, 1), 1, n))
				}
				if table {
					k := b.Expand(b.Expand(b.Reshape(number(), 1, 1), 0, batch), 1, n)
					c, terms = append(c, 1), append(terms, b.Mul(x, k))
				} else {
					slot++
					c, terms = append(c, t.C), append(terms, x)
				}
			}
			if in.Bias != nil {
				c, terms = append(c, 1), append(terms, b.Expand(constant(in.Bias, 1, dim), 0, batch))
			}
			if len(terms) == 0 {
				regs[in.Dst] = constant(make([]float64, batch*dim), batch, dim)
				continue
			}
			regs[in.Dst] = b.Combine(c, terms...)
		case ode.Evaluate:
			call := &Evaluation{Index: in.Index, X: regs[in.Src], Use: map[string]*Node{}, Offered: map[string]*Node{}}
			if in.Times != nil {
				slot++
				call.T = constant(in.Times, batch)
			} else {
				call.T = b.Expand(number(), 0, batch)
			}
			for _, port := range in.In {
				call.Use[port.Name] = regs[port.Reg]
			}
			for _, port := range in.Out {
				call.Offer = append(call.Offer, port.Name)
			}
			regs[in.Dst] = f.Emit(b, e.Params, call)
			for _, port := range in.Out {
				regs[port.Reg] = call.Offered[port.Name]
			}
		case ode.Draw:
			regs[in.Dst] = b.Input(fmt.Sprint("noise ", in.Index), batch, dim)
			e.Noise[in.Index] = regs[in.Dst]
		case ode.Clip:
			regs[in.Dst] = b.Clip(in.Clip, regs[in.Src])
		default:
			return nil, fmt.Errorf("graph: a plan with instruction %d cannot be emitted; transposed plans are run, not emitted", in.Op)
		}
		if b.err != nil {
			return nil, b.err
		}
	}
	for _, port := range p.Outputs {
		e.Outputs[port.Name] = regs[port.Reg]
	}
	for _, k := range p.Knots {
		e.Knots = append(e.Knots, regs[k.Reg])
	}
	return e, b.err
}
