package ode

import (
	"math"
)

// OBELM is the optimal bidirectional explicit linear multistep method: a sampler of second order that can be run
// backwards exactly. With y = x/α, ρ = σ/α, a step s → t that follows p → s, and r = (ρ_t−ρ_s)/(ρ_s−ρ_p),
//
//	y_t = r² y_p + (1−r²) y_s + (1+r)(ρ_t−ρ_s) ε̂_s
//	y_p = r⁻² (y_t − (1−r²) y_s − (1+r)(ρ_t−ρ_s) ε̂_s)
//
// The first step is [DDIM]. The last is the above even at σ = 0, where y is finite: a first-order step would lose what
// the way back needs.
//
// Outputs: x, and partner, the state at the last knot but one: the way back needs both. From α = 0 there is a third,
// start, which is the input itself: y is infinite there, r = 0 in the step after it, and nothing of it is left to be
// found on the way back. Invert takes what Plan gives.
//
// Order 2. NFE n; Invert n−1.
//
// Errors: a grid on which steps in σ/α grow more than tenfold before σ = 0. The method has a second root, −r², so that
// an error made in one step is (h_b/h_a)² as large after later steps h_b: on a grid uniform in λ it dies out on the way
// to data, and away from data it would explode. So it does not invert by running upwards; Invert does.
//
// The way back has the root −r⁻²: rounding errors grow by (h_first/h_last)², about (ρ_T/ρ_0)².
//
// Source: Wang et al. 2024, arXiv 2410.07273.
type OBELM struct{}

const obelmGrowth = 10

// Plan implements [Solver].
func (OBELM) Plan(p Problem) (*Plan, error) {
	return Assemble(p, "O-BELM", 2, func(a *Assembler) {
		if b, grown := obelmGrows(a); a.Decide(grown) {
			a.Fail("steps in σ/α grow more than %d-fold up to step %d, which makes the method unstable; "+
				"use a LogSNR or Karras grid towards data, and Invert for the way back", obelmGrowth, b)
		}
		start := a.Input("x")
		a.State(0, start)
		last, x := start, start
		for i := range a.Steps() {
			s, t := a.Node(i), a.Node(i+1)
			m := a.Predict(x, s, a.Any())
			next := a.First(x, m, t)
			if i > 0 && a.Node(i-1).end >= 0 {
				next = obelmStep(x, next, a.Node(i-1), s, t)
				next = append(next, Term{Reg: last, C: obelmLast(a.Node(i-1), s, t)})
			}
			last, x = x, a.Combine(next...)
			a.State(i+1, x)
		}
		a.Output("x", x)
		a.Output("partner", last)
		if a.Node(0).end < 0 {
			a.Output("start", start)
		}
	})
}

// Invert implements [Inverter]. The knots of its plan are those of Plan in the other order.
func (OBELM) Invert(p Problem) (*Plan, error) {
	p, err := reversed(p)
	if err != nil {
		return nil, err
	}
	return Assemble(p, "O-BELM inverse", 2, func(a *Assembler) {
		n := a.Len()
		x, partner := a.Input("x"), a.Input("partner")
		a.State(0, x)
		a.State(1, partner)
		found := n
		if a.Node(n).end < 0 {
			a.State(n, a.Input("start"))
			found = n - 1
		}
		next, x := x, partner
		for j := range a.StepsFrom(1) {
			if j >= found {
				break
			}
			t, s, p := a.Node(j-1), a.Node(j), a.Node(j+1)
			m := a.Predict(x, s, a.Any())
			terms := obelmStep(x, a.First(x, m, t), p, s, t)
			c := obelmLast(p, s, t)
			for k := range terms {
				terms[k].C /= -c
			}
			next, x = x, a.Combine(append(terms, Term{Reg: next, C: 1 / c})...)
			a.State(j+1, x)
		}
		a.Output("x", a.plan.Knots[n].Reg)
	})
}

// obelmStep is the step without its term in the state at p: with F = α_t(y_s + (ρ_t−ρ_s) ε̂_s), the first-order step,
// it is (1+r) F − (r+r²)(α_t/α_s) x_s.
func obelmStep(x Reg, first []Term, p, s, t Node) []Term {
	r := obelmRatio(p, s, t)
	terms := []Term{{Reg: x, C: -(r + r*r) * t.Alpha / s.Alpha}}
	for _, f := range first {
		f.C *= 1 + r
		terms = append(terms, f)
	}
	return terms
}

// obelmLast is the coefficient of the state at p.
func obelmLast(p, s, t Node) float64 {
	r := obelmRatio(p, s, t)
	return r * r * t.Alpha / p.Alpha
}

func obelmRatio(p, s, t Node) float64 { return (t.Ratio() - s.Ratio()) / (s.Ratio() - p.Ratio()) }

// obelmGrows finds the first step that is too long for one before it.
func obelmGrows(a *Assembler) (step int, grown bool) {
	least := math.Inf(1)
	for i := range a.Len() {
		s, t := a.Node(i), a.Node(i+1)
		if s.end < 0 || t.end > 0 {
			continue
		}
		h := math.Abs(t.Ratio() - s.Ratio())
		if h > obelmGrowth*least || t.end < 0 {
			return i, true
		}
		least = min(least, h)
	}
	return 0, false
}
