package ode

import (
	"fmt"
	"math"
	"slices"
)

// Statistics are what [DPMv3] knows of a model: three curves over λ for every element of a sample, which turn the linear
// part of the ODE and straighten what is left of it. Any will do; the better they fit, the less is left.
//
// Shapes: the points of λ are N+1, equispaced and rising. L, S and B have a row for each, and a row has a number for each
// element of a sample. The rows of all λ are an affine model of the network along trajectories: with f = (σ ε̂ − l x)/α,
//
//	df/dλ ≈ s f + b
//
// Source: Zheng et al. 2023, arXiv 2310.13268, there empirical model statistics.
type Statistics struct {
	Lambda []float64   `json:"lambda"`
	L      [][]float64 `json:"l"`
	S      [][]float64 `json:"s"`
	B      [][]float64 `json:"b"`
}

func (m Statistics) check() error {
	n := len(m.Lambda)
	if n < 2 {
		return fmt.Errorf("option Statistics has %d points of λ; at least 2 are needed. Estimate them for the model, or use DPMpp, which needs none", n)
	}
	span := m.Lambda[n-1] - m.Lambda[0]
	for i, l := range m.Lambda {
		if want := m.Lambda[0] + span*float64(i)/float64(n-1); !(span > 0 && math.Abs(l-want) <= 1e-9*span) {
			return fmt.Errorf("option Statistics.Lambda[%d] is %v; the points must rise and be equispaced, and this one should be %v", i, l, want)
		}
	}
	for _, c := range []struct {
		name string
		rows [][]float64
	}{{"L", m.L}, {"S", m.S}, {"B", m.B}} {
		if len(c.rows) != n {
			return fmt.Errorf("option Statistics.%s has %d rows for %d points of λ", c.name, len(c.rows), n)
		}
		for i, row := range c.rows {
			if len(row) == 0 || len(row) != len(m.L[0]) {
				return fmt.Errorf("option Statistics.%s[%d] has %d elements, and L[0] has %d; all rows need as many as a sample has", c.name, i, len(row), len(m.L[0]))
			}
			for d, v := range row {
				if math.IsNaN(v) || math.IsInf(v, 0) {
					return fmt.Errorf("option Statistics.%s[%d][%d] is %v; it must be finite", c.name, i, d, v)
				}
			}
		}
	}
	return nil
}

// snap moves the problem's knots to the nearest points, ties to the even one, but for knots at α = 0 and σ = 0. It
// returns the problem with these knots, and the number of the point by knot, −1 at those ends. The first and the last of
// the other knots must be the ends of Lambda.
func (m Statistics) snap(p Problem) (Problem, []int, error) {
	if err := m.check(); err != nil {
		return p, nil, err
	}
	ks, err := p.resolve()
	if err == nil {
		err = checkKnots(p.Schedule, ks)
	}
	if err != nil {
		return p, nil, err
	}
	n := len(m.Lambda) - 1
	first, span := m.Lambda[0], m.Lambda[n]-m.Lambda[0]
	at := make([]int, len(ks))
	lowest, highest := math.Inf(1), math.Inf(-1)
	for i, t := range ks {
		lambda := p.Schedule.At(t).Lambda()
		if math.IsInf(lambda, 0) {
			at[i] = -1
			continue
		}
		lowest, highest = min(lowest, lambda), max(highest, lambda)
		at[i] = nearest(float64(n) * (lambda - first) / span)
		if at[i] >= 0 && at[i] <= n && math.Abs(lambda-m.Lambda[at[i]]) > 1e-9*span {
			ks[i] = p.Schedule.TimeOf(m.Lambda[at[i]])
		}
		if i > 0 && at[i] == at[i-1] {
			return p, nil, fmt.Errorf("knots %d and %d both move to Statistics.Lambda[%d] = %v; take fewer steps, or statistics at more points", i-1, i, at[i], m.Lambda[at[i]])
		}
	}
	if !(math.Abs(lowest-first) <= 1e-9*span && math.Abs(highest-m.Lambda[n]) <= 1e-9*span) {
		return p, nil, fmt.Errorf("the Statistics are for λ from %v to %v, and the knots are from %v to %v; give From and To (or knots) with these ends", first, m.Lambda[n], lowest, highest)
	}
	q := p.at(ks)
	if p.Knots != nil {
		q.Grid = p.Grid // which Assemble refuses
	}
	return q, at, nil
}

// nearest rounds to a whole number, and to the even one what is halfway but for rounding, as every other knot of a grid uniform in λ may be.
func nearest(v float64) int {
	if half := math.Floor(v) + .5; math.Abs(v-half) < 1e-9 {
		v = half
	}
	return int(math.RoundToEven(v))
}

// curves are integrals over λ from point i to point j, for one element, by the trapezoidal rule: all that a step needs.
// They start at 0 in each step, so that nothing cancels that a whole run has added up.
type curves struct {
	l, s    float64   // ∫ l, ∫ s
	b       float64   // ∫ e^{−∫s} b
	moments []float64 // ∫ e^{∫(l+s)} u^k, with u from 0 at i to 1 at j
	rest    float64   // ∫ e^{∫(l+s)} ∫ e^{−∫s} b
}

func (m Statistics) integrate(c *curves, i, j, d int) {
	c.l, c.s, c.b, c.rest = 0, 0, 0, 0
	clear(c.moments)
	step := 1
	if j < i {
		step = -1
	}
	span := m.Lambda[j] - m.Lambda[i]
	for q := i; q != j; q += step {
		half := (m.Lambda[q+step] - m.Lambda[q]) / 2
		before := *c
		c.l += half * (m.L[q][d] + m.L[q+step][d])
		c.s += half * (m.S[q][d] + m.S[q+step][d])
		c.b += half * (math.Exp(-before.s)*m.B[q][d] + math.Exp(-c.s)*m.B[q+step][d])
		e0, e1 := half*math.Exp(before.l+before.s), half*math.Exp(c.l+c.s)
		c.rest += e0*before.b + e1*c.b
		for k := range c.moments {
			c.moments[k] += e0 + e1
			e0 *= (m.Lambda[q] - m.Lambda[i]) / span
			e1 *= (m.Lambda[q+step] - m.Lambda[i]) / span
		}
	}
}

// A fit is what is known at a knot: the state, and f there, which is that of the state the network was asked at.
type fit struct {
	point int // of the statistics
	at    Node
	x, f  Reg
}

// fit asks the network.
func (m Statistics) fit(a *Assembler, x Reg, point int, at Node) fit {
	return m.fitTo(a, x, a.Predict(x, at, Noise).Reg, point, at)
}

// fitTo is fit with the noise prediction known.
func (m Statistics) fitTo(a *Assembler, x, noise Reg, point int, at Node) fit {
	f := a.Combine(Term{Reg: noise, C: at.Ratio()}, Term{Reg: x, C: -1 / at.Alpha, Elements: slices.Clone(m.L[point])})
	return fit{point, at, x, f}
}

// first is the step to σ = 0: α x̂_0, by the state and f.
func (m Statistics) first(f fit, to Node) []Term {
	c := to.Alpha / f.at.Alpha
	return []Term{{Reg: f.x, C: c}, {Reg: f.x, C: -c, Elements: slices.Clone(m.L[f.point])}, {Reg: f.f, C: -to.Alpha}}
}

// step goes from the first fit to a node. Row k of the weights makes the coefficient c_k of u^k, u = (λ−λ_s)/h, in the
// polynomial Σ c_k u^k for
//
//	g(λ) = e^{−∫s} f(λ) − ∫ e^{−∫s} b,   ∫ from λ_s
//
// out of the values at the fits. With E = e^{∫(l+s)} it is
//
//	x_t = α_t e^{−∫l} (x_s/α_s − Σ_k c_k ∫ E u^k dλ − ∫ E ∫ e^{−∫s} b)
func (m Statistics) step(a *Assembler, fits []fit, point int, to Node, weights [][]float64) Reg {
	if a.err != nil {
		return noReg
	}
	from, dim := fits[0], len(m.L[0])
	var terms []Term
	bias := make([]float64, dim)
	term := func(r Reg, c float64) {
		terms = append(terms, Term{Reg: r, C: c, Elements: make([]float64, dim)})
	}
	term(from.x, to.Alpha/from.at.Alpha)
	for _, f := range fits {
		term(f.f, -to.Alpha)
	}
	all, past, biased := curves{moments: make([]float64, len(weights))}, curves{}, false
	for d := range dim {
		m.integrate(&all, from.point, point, d)
		decay, rest := math.Exp(-all.l), all.rest
		terms[0].Elements[d] = decay
		for j, f := range fits {
			w := 0.
			for k, moment := range all.moments {
				w += moment * weights[k][j]
			}
			m.integrate(&past, from.point, f.point, d)
			terms[1+j].Elements[d] = decay * w * math.Exp(-past.s)
			rest -= w * past.b
		}
		bias[d] = -to.Alpha * decay * rest
		biased = biased || bias[d] != 0
	}
	if !biased {
		bias = nil
	}
	in := a.emit(Combine)
	in.Terms, in.Bias = terms, bias
	return in.Dst
}
