package ode

import (
	"fmt"
	"slices"
)

// reversed is a problem with the same knots in the other order.
func reversed(p Problem) (Problem, error) {
	knots, err := p.resolve()
	if s := p.Scale; err == nil && s.Last != 0 && s.Last != s.First {
		err = fmt.Errorf("ode: Problem.Scale goes from %v to %v by the number of the step, which the way back counts the other way; leave Last out", s.First, s.Last)
	}
	slices.Reverse(knots)
	return p.at(knots), err
}

// BDIA is bidirectional integration approximation: a step forward from a state, and the difference between the state before it and a step
// back to there,
//
//	x_t = F(s→t) + γ (x_p − F(s→p)),   F the step of [DDIM] from x_s
//
// The first step is F. At γ = 1 this is the leapfrog method.
//
// Outputs: x, and partner, the state at the last knot but one: the way back needs both. With Pair, the inputs are x and partner, the
// states at the first two knots, such as Invert leaves them. If there is only x to go back from, as with a real image, InvertAlone takes
// the state before it from a step of DDIM, and gives a pair that a Plan with Pair leads back to x.
//
// Order 1, 2 at γ = 1. NFE n; with Pair and the ways back one less, and InvertAlone n.
//
// The way back multiplies rounding errors by 1/γ in every step. The way there does not damp them at γ = 1. Steps to σ = 0 and from α = 0 are
// like the others.
//
// Errors: Gamma outside (0, 1]; a network that predicts noise or a score from α = 0.
//
// Source: Zhang, Lewis, Kleijn 2023, arXiv 2307.10829.
type BDIA struct {
	Gamma float64 // γ; 0 means 1
	Pair  bool
}

func (b BDIA) assemble(p Problem, name string, emit func(a *Assembler, gamma float64)) (*Plan, error) {
	gamma, order := b.Gamma, 1
	if gamma == 0 {
		gamma = 1
	}
	if gamma == 1 {
		order = 2
	}
	return Assemble(p, fmt.Sprintf("BDIA(γ=%g)%s", gamma, name), order, func(a *Assembler) {
		if !(gamma > 0 && gamma <= 1) {
			a.Fail("Gamma is %v; it lies between 0 (excluded: use DDIM) and 1", b.Gamma)
		}
		emit(a, gamma)
	})
}

// Plan implements [Solver].
func (b BDIA) Plan(p Problem) (*Plan, error) {
	return b.assemble(p, "", func(a *Assembler, gamma float64) {
		x, first := a.Input("x"), 0
		a.State(0, x)
		last := x
		if b.Pair {
			x, first = a.Input("partner"), 1
			a.State(1, x)
		}
		for i := range a.StepsFrom(first) {
			s, t := a.Node(i), a.Node(i+1)
			m := a.Predict(x, s, a.Any())
			terms := a.First(x, m, t)
			if i > 0 {
				terms = append(append(terms, scaled(-gamma, a.First(x, m, a.Node(i-1)))...), Term{Reg: last, C: gamma})
			}
			last, x = x, a.Combine(terms...)
			a.State(i+1, x)
		}
		a.Output("x", x)
		a.Output("partner", last)
	})
}

// Invert implements [Inverter].
func (b BDIA) Invert(p Problem) (*Plan, error) { return b.invert(p, false) }

// InvertAlone is Invert from x alone.
func (b BDIA) InvertAlone(p Problem) (*Plan, error) { return b.invert(p, true) }

func (b BDIA) invert(p Problem, alone bool) (*Plan, error) {
	p, err := reversed(p)
	if err != nil {
		return nil, err
	}
	return b.assemble(p, " inverse", func(a *Assembler, gamma float64) {
		next := a.Input("x")
		a.State(0, next)
		var x Reg
		if alone {
			x = a.Combine(a.First(next, a.Predict(next, a.Node(0), a.Any()), a.Node(1))...)
		} else {
			x = a.Input("partner")
		}
		a.State(1, x)
		for j := range a.StepsFrom(1) {
			s := a.Node(j)
			m := a.Predict(x, s, a.Any())
			terms := append(scaled(-1/gamma, a.First(x, m, a.Node(j-1))), Term{Reg: next, C: 1 / gamma})
			next, x = x, a.Combine(append(terms, a.First(x, m, a.Node(j+1))...)...)
			a.State(j+1, x)
		}
		a.Output("x", x)
		if alone || b.Pair {
			a.Output("partner", next)
		}
	})
}

func scaled(c float64, terms []Term) []Term {
	for k := range terms {
		terms[k].C *= c
	}
	return terms
}

// EDICT keeps two states, each stepped with the prediction at the other, and then mixes them. With a = α_t/α_s and b = σ_t − a σ_s,
//
//	x ← a x + b ε̂_s(y),  y ← a y + b ε̂_s(x)    in odd steps y before x
//	x ← p x + (1−p) y,  y ← p y + (1−p) x
//
// It starts with y = x.
//
// Outputs: x and partner, which is y. With Pair they are the inputs too, such as Invert leaves them. If there is only x to go back from, as
// with a real image, InvertAlone starts with y = x and gives a pair that a Plan with Pair leads back to x.
//
// Order 1. NFE 2n. It is unstable in long steps: with p = 0.93 it needs some 40 from noise to data. The way back multiplies rounding errors by 1/p² in every step.
// The step to σ = 0 is like the others.
//
// Errors: Mix outside (0, 1]; a run that meets α = 0.
//
// Source: Wallace, Gokul, Naik 2022, arXiv 2211.12446, with the alternation of the release.
type EDICT struct {
	Mix  float64 // p; 0 means 0.93
	Pair bool
}

func (e EDICT) assemble(p Problem, name string, emit func(a *Assembler, mix float64)) (*Plan, error) {
	mix := e.Mix
	if mix == 0 {
		mix = .93
	}
	return Assemble(p, fmt.Sprintf("EDICT(p=%g)%s", mix, name), 1, func(a *Assembler) {
		if !(mix > 0 && mix <= 1) {
			a.Fail("Mix is %v; it lies between 0 (excluded) and 1", e.Mix)
		}
		for i, n := range a.nodes {
			if n.end < 0 {
				a.Fail("knot %d, t = %v, has α = 0, where the two states cannot be stepped apart; start later, or use Coupled", i, n.T)
			}
		}
		if p.Raw != Noise && p.Raw != Score {
			a.Inexact() // half of the predictions are made at a state of the next knot, so that converting them takes in x as well
		}
		emit(a, mix)
	})
}

// Plan implements [Solver].
func (e EDICT) Plan(p Problem) (*Plan, error) {
	return e.assemble(p, "", func(a *Assembler, mix float64) {
		x := a.Input("x")
		a.State(0, x)
		xy := [2]Reg{x, x}
		if e.Pair {
			xy[1] = a.Input("partner")
		}
		for i := range a.Steps() {
			s, t := a.Node(i), a.Node(i+1)
			c, b := t.Alpha/s.Alpha, t.Sigma-t.Alpha/s.Alpha*s.Sigma
			for _, k := range [2]int{i % 2, 1 - i%2} {
				xy[k] = a.Combine(Term{Reg: xy[k], C: c}, Term{Reg: e.noise(a, xy[1-k], s), C: b})
			}
			for k := range xy {
				xy[k] = a.Combine(Term{Reg: xy[k], C: mix}, Term{Reg: xy[1-k], C: 1 - mix})
			}
			a.State(i+1, xy[0])
		}
		a.Output("x", xy[0])
		a.Output("partner", xy[1])
	})
}

// Invert implements [Inverter].
func (e EDICT) Invert(p Problem) (*Plan, error) { return e.invert(p, false) }

// InvertAlone is Invert from x alone.
func (e EDICT) InvertAlone(p Problem) (*Plan, error) { return e.invert(p, true) }

func (e EDICT) invert(p Problem, alone bool) (*Plan, error) {
	p, err := reversed(p)
	if err != nil {
		return nil, err
	}
	return e.assemble(p, " inverse", func(a *Assembler, mix float64) {
		x := a.Input("x")
		a.State(0, x)
		xy := [2]Reg{x, x}
		if !alone {
			xy[1] = a.Input("partner")
		}
		for j := range a.Steps() {
			t, s, i := a.Node(j), a.Node(j+1), a.Len()-1-j
			c, b := t.Alpha/s.Alpha, t.Sigma-t.Alpha/s.Alpha*s.Sigma
			for _, k := range [2]int{1, 0} {
				xy[k] = a.Combine(Term{Reg: xy[k], C: 1 / mix}, Term{Reg: xy[1-k], C: (mix - 1) / mix})
			}
			for _, k := range [2]int{1 - i%2, i % 2} {
				xy[k] = a.Combine(Term{Reg: xy[k], C: 1 / c}, Term{Reg: e.noise(a, xy[1-k], s), C: -b / c})
			}
			a.State(j+1, xy[0])
		}
		a.Output("x", xy[0])
		if alone || e.Pair {
			a.Output("partner", xy[1])
		}
	})
}

// noise is the prediction at a state, in terms of the network's output there.
func (e EDICT) noise(a *Assembler, x Reg, s Node) Reg { return a.Predict(x, s, Noise).Reg }
