package ode

import (
	"fmt"
	"math"
	"slices"
)

// USF runs a schedule of decisions, step by step: times, what is predicted, order, how derivatives are estimated,
// where a step starts, correctors, and an analytical first step. With h = λ_t − λ_s and u = (λ−λ_s)/h,
//
//	x_t = First(x_s) + Σ_k Weight(k) r_k c_k
//
// where c_k is the coefficient of u^k in a polynomial through predictions, a different one for each k if so decided, and r_1 is the
// relaxation. [Weight] and [Assembler.First] tell the rest; for FormV3, [DPMv3] does.
//
// A step is one evaluation. A singlestep method is one with some steps that start further back, and its inner points are knots.
//
// Order: that of the decisions; the plan says 1, which is all that any of them have. NFE n, one less with AFS, one more for each
// ImplicitCorrected. Steps from α = 0 and to σ = 0 are first order and uncorrected; points at α = 0 or σ = 0 are left out of
// estimates, and derivatives for which too few remain, with all after them.
//
// Shapes: Mean and rows of the statistics have an element for each of a sample's.
//
// With FormV3 the knots are moved as by DPMv3 and are no parameter. Without, the coefficients of RelaxLinear are the parameter
// "relaxation", in the order of the steps, that of the step before that of its corrector. With AFS or FormV3 the plan is not Exact.
//
// Errors: what [Decisions.Check] refuses; Times beside knots of the problem; a number of steps that is not that of the knots;
// FormV3 without statistics that fit, or the other way round; AFS in runs away from data; an evaluation that nothing uses.
//
// Source: Liu et al. 2023, arXiv 2312.07243, section 3.
//
// Differs from reference: ImplicitCorrected asks the network again, which the release counts and does not do. ZeroAFS is right, see
// PublishedAFS. The last step cannot be corrected. The factors of skip connections belong to the network and are left out.
type USF struct {
	Decisions  Decisions
	Statistics Statistics // for FormV3
}

// Plan implements [Solver].
func (u USF) Plan(p Problem) (*Plan, error) {
	d := u.Decisions.clone()
	name, at, err := fmt.Sprintf("USF(%d)", len(d.Steps)), []int(nil), d.Check()
	fits := slices.ContainsFunc(d.Steps, func(s Decision) bool { return s.Form == FormV3 })
	if d.Times != nil {
		if p.Knots != nil || p.Grid != nil || p.Steps != 0 || p.From != 0 || p.To != 0 || p.AppendZero {
			err = fmt.Errorf("the Decisions have Times, and the Problem knots of its own; leave one of them out")
		}
		p.Knots = d.Times
	}
	switch {
	case err != nil:
	case fits:
		p, at, err = u.Statistics.snap(p)
	case u.Statistics.Lambda != nil:
		err = fmt.Errorf("option Statistics is given, and no step has FormV3; leave them out")
	}
	if err != nil {
		return nil, fmt.Errorf("ode: %s: %w", name, err)
	}
	u.Decisions = d
	return Assemble(p, name, 1, func(a *Assembler) { u.emit(a, at) })
}

// A known is what is left of an evaluation.
type known struct {
	x     Reg // the state
	asked Reg // the state before it was corrected
	m     Estimate
	forms [3]Reg // of m, as far as they have been needed; noReg for others
	point int    // of the statistics
}

// emit writes the steps; at are the numbers of the knots in the statistics.
func (u USF) emit(a *Assembler, at []int) {
	d := u.Decisions
	if a.Len() != len(d.Steps) {
		a.Fail("there are %d steps, and Decisions for %d", a.Len(), len(d.Steps))
		return
	}
	if at != nil {
		a.FixKnots()
		a.Inexact()
	} else {
		a.relaxations(u)
		at = make([]int, a.Len()+1)
	}
	x := a.Input("x")
	a.State(0, x)
	past := []*known{u.begin(a, x, at[0])} // newest first
	for i := range a.Steps() {
		s, t := d.Steps[i], a.Node(i+1)
		start := past[s.Start].m.At
		x = u.step(a, s.Form, s.Update, past, t, at[i+1])
		if i+1 < a.Len() {
			k := u.ask(a, x, t, d.Steps[i+1].Form, at[i+1])
			past = append([]*known{k}, past...)
			if s.Correct != Uncorrected && start.Inside() && t.Inside() {
				x = u.step(a, s.Form, *s.Corrector, past, t, at[i+1])
				k.x = x
				if s.Correct == ImplicitCorrected {
					past[0] = u.ask(a, x, t, d.Steps[i+1].Form, at[i+1])
				}
			}
		}
		a.State(i+1, x)
	}
	a.Output("x", x)
}

func (u USF) ask(a *Assembler, x Reg, at Node, form Form, point int) *known {
	want := Noise
	if form == FormData {
		want = Data
	}
	return &known{x: x, asked: x, m: a.Predict(x, at, want), forms: [3]Reg{noReg, noReg, noReg}, point: point}
}

// begin is the first evaluation, or what stands for it.
func (u USF) begin(a *Assembler, x Reg, point int) *known {
	s, d := a.Node(0), u.Decisions
	if d.AFS == NoAFS {
		return u.ask(a, x, s, d.Steps[0].Form, point)
	}
	if !a.Ahead(0) {
		a.Fail("AFS is for runs that start at noise, not at t = %v; leave it out", s.T)
		return nil
	}
	a.Inexact()
	zero := a.emit(Combine)
	zero.Terms, zero.Bias = []Term{{Reg: x}}, d.Mean
	k := &known{x: x, asked: x, m: Estimate{Reg: zero.Dst, Kind: Data, At: s}, forms: [3]Reg{noReg, noReg, noReg}, point: point}
	if d.AFS == PublishedAFS && s.Inside() {
		k.forms[FormNoise] = k.in(a, FormNoise, u.Statistics)
		k.m = Estimate{Reg: x, Kind: Noise, At: s}
	}
	return k
}

// in is a form of the prediction.
func (k *known) in(a *Assembler, form Form, m Statistics) Reg {
	if k.forms[form] != noReg {
		return k.forms[form]
	}
	r := k.m.Reg
	switch {
	case form == FormV3 && k.m.Kind == Noise:
		r = m.fitTo(a, k.asked, r, k.point, k.m.At).f
	case form == FormV3:
		r = m.fitTo(a, k.asked, k.in(a, FormNoise, m), k.point, k.m.At).f
	case form == FormNoise && k.m.Kind != Noise:
		r = a.Combine(a.Toward(k.asked, k.m, 0, 1)...)
	case form == FormData && k.m.Kind != Data:
		r = a.Combine(a.Toward(k.asked, k.m, 1, 0)...)
	}
	k.forms[form] = r
	return r
}

// step is one update.
func (u USF) step(a *Assembler, form Form, d Update, past []*known, t Node, point int) Reg {
	start := past[d.Start]
	s := start.m.At
	if !s.Inside() {
		return a.Combine(a.First(start.x, start.m, t)...)
	}
	used, weights := []*known{start}, [][]float64{{1}}
	if t.Inside() {
		used, weights = d.expand(form, past, t)
	}
	if form == FormV3 {
		var fits []fit
		for _, k := range used {
			fits = append(fits, fit{k.point, k.m.At, start.x, k.in(a, form, u.Statistics)})
		}
		if !t.Inside() {
			return a.Combine(u.Statistics.first(fits[0], t)...)
		}
		return u.Statistics.step(a, fits, point, t, weights)
	}
	kind := Data
	if form == FormNoise {
		kind = Noise
	}
	terms := a.First(start.x, Estimate{start.in(a, form, u.Statistics), kind, s}, t)
	for j, k := range used {
		c := 0.
		for order := 1; order < len(weights); order++ {
			c += Weight(kind, s, t, order) * weights[order][j]
		}
		terms = append(terms, Term{Reg: k.in(a, form, u.Statistics), C: c})
	}
	return a.Combine(terms...)
}

// expand returns the evaluations that an update uses, and for each power of u how its coefficient is made of them.
func (d Update) expand(form Form, past []*known, t Node) (used []*known, weights [][]float64) {
	start := past[d.Start]
	h := t.Lambda - start.m.At.Lambda
	used, weights = []*known{start}, [][]float64{{1}}
	for j, e := range d.Derivatives {
		at, u := []int{0}, []float64{0} // among those used
		for _, p := range e.Points {
			k := past[p]
			if !k.m.At.Inside() {
				continue
			}
			if !slices.Contains(used, k) {
				used = append(used, k)
			}
			at, u = append(at, slices.Index(used, k)), append(u, (k.m.At.Lambda-start.m.At.Lambda)/h)
		}
		if len(u) < j+2 {
			break
		}
		row := make([]float64, len(past))
		for n, w := range monomials(u)[j+1] {
			row[at[n]] = w * e.relax(form, h)
		}
		weights = append(weights, row)
	}
	for k := range weights {
		weights[k] = append(weights[k], make([]float64, len(past))...)[:len(used)]
	}
	return used, weights
}

// relax is the factor of the relaxation.
func (e Derivative) relax(form Form, h float64) float64 {
	z := h
	if form == FormData {
		z = -h
	}
	switch e.Relaxation {
	case RelaxMidpoint:
		return phi(1, z) / phi(2, z) / 2
	case RelaxB1:
		return 1 / phi(2, z) / 2
	case RelaxHalf:
		return 1 + math.Expm1(z)/2
	case RelaxMinusHalf:
		return 1 - math.Expm1(z)/2
	case RelaxLinear:
		return 1 + e.Coefficient*h
	}
	return 1
}

// relaxations makes the coefficients of linear relaxations a parameter.
func (a *Assembler) relaxations(u USF) {
	p := Param{Name: "relaxation"}
	for c := range u.Decisions.linear() {
		p.Value = append(p.Value, *c)
	}
	if p.Value == nil {
		return
	}
	p.Rebuild = func(value []float64) (*Plan, error) {
		if len(value) != len(p.Value) {
			return nil, fmt.Errorf("ode: %s: %d coefficients of relaxation given to rebuild a plan of %d", a.plan.Name, len(value), len(p.Value))
		}
		moved, i := USF{Decisions: u.Decisions.clone()}, 0
		for c := range moved.Decisions.linear() {
			*c = value[i]
			i++
		}
		return assemble(a.problem, slices.Clone(a.knots), a.plan.Name, a.plan.Order, func(a *Assembler) { moved.emit(a, nil) }, a.decisions)
	}
	a.plan.params = append(a.plan.params, p)
}
