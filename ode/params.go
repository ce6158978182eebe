package ode

import (
	"fmt"
	"math"
	"slices"
)

// Params returns what the coefficients of the plan are functions of.
func (p *Plan) Params() []Param {
	params := slices.Clone(p.params)
	for i := range params {
		params[i] = params[i].clone()
	}
	return params
}

// Param returns the named parameter, and false if there is none.
func (p *Plan) Param(name string) (Param, bool) {
	i := slices.IndexFunc(p.params, func(q Param) bool { return q.Name == name })
	if i < 0 {
		return Param{}, false
	}
	return p.params[i].clone(), true
}

func (q Param) clone() Param {
	q.Value, q.Lower, q.Upper = slices.Clone(q.Value), slices.Clone(q.Lower), slices.Clone(q.Upper)
	return q
}

// PullTable returns the gradient of a scalar with respect to the named parameter, from its gradient with respect to the
// numbers of [Plan.Table]: the product with the transposed derivative of the table. A transposed run gives the latter, see
// [Inputs.Table].
//
// The derivative is the parameter's formula, if it has one, else a fourth-order difference of rebuilt tables. Its step is
// a thousandth of the distance to the nearest bound (for a knot, that is a neighbour or an end of the domain) or of the
// value, whichever is less; that leaves about 1e-11 of the derivative of a coefficient with a pole at that distance. At a
// bound the difference is one-sided.
//
// It is an error if there is no such parameter, the cotangent does not fit the table, or the parameter cannot be moved
// without changing the code.
func (p *Plan) PullTable(name string, cotangent []float64) ([]float64, error) {
	q, ok := p.Param(name)
	if !ok {
		names := make([]string, len(p.params))
		for i := range names {
			names[i] = p.params[i].Name
		}
		return nil, fmt.Errorf("ode: PullTable: plan %q has no parameter %q; it has %q", p.Name, name, names)
	}
	if want := p.tableLen(); len(cotangent) != want {
		return nil, fmt.Errorf("ode: PullTable: %d numbers for the table of plan %q, which has %d", len(cotangent), p.Name, want)
	}
	gradient := make([]float64, len(q.Value))
	if q.Pull != nil {
		q.Pull(gradient, cotangent)
		return gradient, nil
	}
	for i, v := range q.Value {
		var err error
		if gradient[i], err = p.difference(q, i, cotangent); err != nil {
			return nil, fmt.Errorf("ode: PullTable of plan %q: %s[%d] = %g: %w", p.Name, name, i, v, err)
		}
	}
	return gradient, nil
}

type weight struct{ at, c float64 }

// Fourth-order differences (Fornberg 1988, table 1 and 3): the derivative is Σ c·(f(v + at·h) − f(v)) / h.
var (
	central  = []weight{{-2, 1. / 12}, {-1, -8. / 12}, {1, 8. / 12}, {2, -1. / 12}}
	oneSided = []weight{{1, 48. / 12}, {2, -36. / 12}, {3, 16. / 12}, {4, -3. / 12}}
)

// difference differentiates ⟨table, cotangent⟩ by value i of the parameter, entry by entry, so that entries that do not
// move add no rounding.
func (p *Plan) difference(q Param, i int, cotangent []float64) (float64, error) {
	v, below, above := q.Value[i], math.Inf(1), math.Inf(1) // distances to the bounds
	if q.Lower != nil {
		below = v - q.Lower[i]
	}
	if q.Upper != nil {
		above = q.Upper[i] - v
	}
	size := math.Abs(v)
	if size == 0 {
		size = 1
	}
	rule, side := central, 1.0
	switch {
	case below <= 0 && above <= 0:
		return 0, nil
	case below <= 0:
		rule, size = oneSided, min(size, above)
	case above <= 0:
		rule, side, size = oneSided, -1, min(size, below)
	default:
		size = min(size, below, above)
	}
	h := v + side*size*1e-3 - v // exactly representable
	here, derivative := p.Table(), make([]float64, len(cotangent))
	for _, w := range rule {

		q.Value[i] = v + w.at*h
		moved, err := q.Rebuild(q.Value)
		if err != nil {
			return 0, err
		}
		if !sameCode(p, moved) {
			return 0, fmt.Errorf("the plan at %g is another code, so there is no derivative; keep this value fixed", q.Value[i])
		}
		for k, c := range moved.Table() {
			derivative[k] += w.c * (c - here[k])
		}
	}
	q.Value[i] = v
	sum := 0.0
	for k, d := range derivative {
		sum += d / h * cotangent[k]
	}
	return sum, nil
}

// sameCode says whether two plans differ in numbers only.
func sameCode(p, q *Plan) bool {
	return slices.EqualFunc(p.Code, q.Code, func(a, b Instr) bool {
		return a.Op == b.Op && a.Dst == b.Dst && a.Src == b.Src && a.Index == b.Index && slices.Equal(a.In, b.In) && slices.Equal(a.Out, b.Out) &&
			slices.EqualFunc(a.Terms, b.Terms, func(s, t Term) bool { return s.Reg == t.Reg })
	})
}
