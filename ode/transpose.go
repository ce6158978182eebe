package ode

import (
	"fmt"
	"slices"
	"strconv"
)

// product is the inner product of the value of a forward register with the cotangents of what it is a term of: the
// gradient with respect to those terms' coefficients. It is taken just before the instruction at pos.
type product struct {
	pos    int
	reg    Reg  // of the forward plan
	pulled bool // reg is the result of the evaluation that the instruction before pos pulls, which can give its value
	terms  []productTerm
}

type productTerm struct {
	slot              int // in the forward plan's Table
	cot               Reg
	elements, samples []float64
}

// contribution is one summand of a register's cotangent.
type contribution struct {
	Term
	slot int // of the forward coefficient it came through, −1 if through none
}

// Transpose returns the plan of the exact discrete adjoint: run with the cotangents of the outputs, it gives those of
// the inputs. Up to the evaluations it is the transposed linear map, so biases drop out and the bias's gradient is the
// cotangent of the Combine's result summed over the batch.
//
// Inputs: the forward outputs by name, and knot[i] for each of the given knots: a cotangent of the state there, for a
// loss that looks at the trajectory. Outputs: the forward inputs by name, and noise[k] for draw k; what takes no part
// gets zeros. [Plan.Only] drops what is not wanted. The values of forward registers that a run asks for are listed by
// [Plan.Needs]. An evaluation whose result takes no part is not pulled.
//
// It is an error to name a knot that does not exist or one twice, and to transpose a transposed plan.
func (p *Plan) Transpose(knots ...int) (*Plan, error) {
	t := &transposer{
		from:   p,
		plan:   &Plan{Name: p.Name + ", transposed", Schedule: p.Schedule, Raw: p.Raw, Order: p.Order, of: p, Code: make([]Instr, 0, len(p.Code)+len(p.Knots))},
		gather: make([][]contribution, p.Regs),
	}
	t.plan.cot = make([]Reg, p.Regs)
	for r := range t.plan.cot {
		t.plan.cot[r] = noReg
	}
	for _, out := range p.Outputs {
		t.input(out.Name, out.Reg)
	}
	for _, k := range knots {
		name := "knot[" + strconv.Itoa(k) + "]"
		if k < 0 || k >= len(p.Knots) {
			return nil, fmt.Errorf("ode: Transpose of %q: knot %d is not one of the %d", p.Name, k, len(p.Knots))
		}
		if _, twice := t.plan.Input(name); twice {
			return nil, fmt.Errorf("ode: Transpose of %q: knot %d is given twice", p.Name, k)
		}
		t.input(name, p.Knots[k].Reg)
	}
	if err := t.code(); err != nil {
		return nil, fmt.Errorf("ode: Transpose of %q: %w", p.Name, err)
	}
	return t.plan, nil
}

type transposer struct {
	from, plan *Plan
	gather     [][]contribution // by forward register
	kept       []Term           // room for the terms of the plan
}

func (t *transposer) input(name string, forward Reg) {
	r := t.plan.register()
	t.plan.Inputs = append(t.plan.Inputs, Port{name, r})
	t.add(forward, Term{Reg: r, C: 1}, -1)
}

func (t *transposer) add(forward Reg, term Term, slot int) {
	t.gather[forward] = append(t.gather[forward], contribution{term, slot})
}

func (t *transposer) emit(in Instr) { t.plan.Code = append(t.plan.Code, in) }

func (t *transposer) code() error {
	p, q := t.from, t.plan
	slot := p.tableLen()
	noise := make([]Reg, p.Draws())
	for i := len(p.Code) - 1; i >= 0; i-- {
		in := &p.Code[i]
		slot -= in.slots()
		if in.Op != Evaluate {
			t.products(in.Dst, false)
		}
		c := t.settle(in.Dst, in.Step)
		switch in.Op {
		case Combine:
			if c == noReg {
				continue
			}
			for k, term := range in.Terms {
				forward := term.Reg
				term.Reg = c
				t.add(forward, term, slot+k)
			}
		case Evaluate:
			if !t.pull(in, c) {
				continue
			}
			t.products(in.Dst, true)
		case Draw:
			noise[in.Index] = t.orZero(c, in.Step)
		case Clip:
			if c == noReg {
				continue
			}
			r := q.register()
			t.emit(Instr{Op: PullClip, Dst: r, Step: in.Step, Src: c, At: in.Src, Clip: in.Clip})
			t.add(in.Src, Term{Reg: r, C: 1}, -1)
		default:
			return fmt.Errorf("instruction %d is %v, which has no transpose", i, in.Op)
		}
	}
	for _, port := range p.Inputs {
		t.products(port.Reg, false)
		q.Outputs = append(q.Outputs, Port{port.Name, t.orZero(t.settle(port.Reg, 0), 0)})
	}
	for k, r := range noise {
		q.Outputs = append(q.Outputs, Port{"noise[" + strconv.Itoa(k) + "]", r})
	}
	return nil
}

// settle gives the register of a forward register's cotangent when everything that reads it has been walked, or noReg
// if nothing does.
func (t *transposer) settle(forward Reg, step int) Reg {
	g := t.gather[forward]
	switch {
	case len(g) == 0:
		return noReg
	case len(g) == 1 && g[0].C == 1 && g[0].Elements == nil && g[0].Samples == nil:
		t.plan.cot[forward] = g[0].Reg
	default:
		terms := room(&t.kept, len(g))
		for i := range g {
			terms = append(terms, g[i].Term)
		}
		t.kept = t.kept[len(terms):]
		r := t.plan.register()
		t.emit(Instr{Op: Combine, Dst: r, Step: step, Terms: terms})
		t.plan.cot[forward] = r
	}
	return t.plan.cot[forward]
}

func (t *transposer) orZero(r Reg, step int) Reg {
	if r == noReg {
		r = t.plan.register()
		t.emit(Instr{Op: Combine, Dst: r, Step: step})
	}
	return r
}

// pull transposes an evaluation, c being the cotangent of its result, and says whether it takes part.
func (t *transposer) pull(in *Instr, c Reg) bool {
	var out []Port
	for _, port := range in.Out {
		t.products(port.Reg, false)
		if r := t.settle(port.Reg, in.Step); r != noReg {
			out = append(out, Port{port.Name, r})
		}
	}
	if c == noReg && len(out) == 0 {
		return false
	}
	pull := Instr{Op: Pull, Step: in.Step, Src: t.orZero(c, in.Step), At: in.Src, AtIn: slices.Clone(in.In),
		T: in.T, Times: in.Times, Index: in.Index, Out: out, Dst: t.plan.register()}
	t.add(in.Src, Term{Reg: pull.Dst, C: 1}, -1)
	for _, port := range in.In {
		r := t.plan.register()
		pull.In = append(pull.In, Port{port.Name, r})
		t.add(port.Reg, Term{Reg: r, C: 1}, -1)
	}
	t.emit(pull)
	return true
}

// products records the products with a forward register that is about to be left behind.
func (t *transposer) products(forward Reg, pulled bool) {
	var terms []productTerm
	for _, g := range t.gather[forward] {
		if g.slot >= 0 {
			terms = append(terms, productTerm{g.slot, g.Reg, g.Elements, g.Samples})
		}
	}
	if terms != nil {
		t.plan.products = append(t.plan.products, product{len(t.plan.Code), forward, pulled, terms})
	}
}

// Cotangent returns the register of a transposed plan that holds the cotangent of a register of the forward plan, and
// false if that takes no part or the plan is no transposed one.
func (p *Plan) Cotangent(forward Reg) (Reg, bool) {
	if forward < 0 || int(forward) >= len(p.cot) || p.cot[forward] == noReg {
		return noReg, false
	}
	return p.cot[forward], true
}

// Needs returns, for a transposed plan, the forward registers whose values a run asks for, in the order it first does:
// the arguments of the evaluations and clips it pulls and, if the gradient of the table is wanted, every term whose
// value it does not get from a pulled evaluation.
func (p *Plan) Needs(table bool) []Reg {
	var needs []Reg
	seen := map[Reg]bool{}
	need := func(r Reg) {
		if !seen[r] {
			seen[r] = true
			needs = append(needs, r)
		}
	}
	products := p.products
	for i := 0; i <= len(p.Code); i++ {
		for ; len(products) > 0 && products[0].pos == i; products = products[1:] {
			if table && !products[0].pulled {
				need(products[0].reg)
			}
		}
		if i == len(p.Code) {
			break
		}
		if in := &p.Code[i]; in.Op == Pull || in.Op == PullClip {
			need(in.At)
			for _, port := range in.AtIn {
				need(port.Reg)
			}
		}
	}
	return needs
}

// Only returns a transposed plan with just the named outputs, in the order given, without the instructions and buffers
// that only served the others, such as a noise[k] nobody looks at. Pulls stay: they give the gradients of parameters too.
// It is an error to name an output that does not exist, and to ask it of a forward plan.
func (p *Plan) Only(outputs ...string) (*Plan, error) {
	if p.of == nil {
		return nil, fmt.Errorf("ode: Only of %q: it is not a transposed plan", p.Name)
	}
	q := *p
	q.Outputs, q.Code, q.products = nil, nil, slices.Clone(p.products)
	needed := make([]bool, p.Regs)
	for _, name := range outputs {
		r, ok := p.Output(name)
		if !ok {
			return nil, fmt.Errorf("ode: Only of %q: there is no output %q", p.Name, name)
		}
		q.Outputs = append(q.Outputs, Port{name, r})
		needed[r] = true
	}
	for _, k := range p.products {
		for _, t := range k.terms {
			needed[t.cot] = true
		}
	}
	keep := make([]bool, len(p.Code))
	for i := len(p.Code) - 1; i >= 0; i-- {
		in := &p.Code[i]
		if keep[i] = in.Op == Pull || needed[in.Dst]; keep[i] {
			in.reads(func(r Reg) { needed[r] = true })
		}
	}
	kept := make([]int, len(p.Code)+1) // how many instructions before each position stay
	for i := range p.Code {
		kept[i+1] = kept[i]
		if keep[i] {
			kept[i+1]++
			q.Code = append(q.Code, p.Code[i])
		}
	}
	for i := range q.products {
		q.products[i].pos = kept[q.products[i].pos]
	}
	q.cot = slices.Clone(p.cot)
	for forward, r := range q.cot {
		if r != noReg && !needed[r] {
			q.cot[forward] = noReg
		}
	}
	return &q, nil
}
