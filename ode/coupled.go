package ode

import (
	"fmt"
	"math"
)

// clean is the w = α/σ of the ODE that the solvers of this file step, d(x/σ)/dw = x̂_0. It is 0 at α = 0, and infinite at σ = 0.
func clean(n Node) float64 { return n.Alpha / n.Sigma }

func (a *Assembler) cleanAt(w float64) Node {
	return a.At(a.problem.Schedule.TimeOf(math.Log(w)))
}

// held ends a run at σ = 0, which nothing comes back from: x is then the data prediction, and the state before it, from which
// the way back starts, is handed on as last.
func (a *Assembler) held(i int, x Reg) Reg {
	a.Output("last", x)
	return a.Combine(a.First(x, a.Predict(x, a.Node(i), a.Any()), a.Node(i+1))...)
}

// resume is where the way back starts: the state, the number of its knot, and the partner, unless there is none.
func (a *Assembler) resume(alone bool) (x, partner Reg, from int) {
	x = a.Input("x")
	a.State(0, x)
	partner = noReg
	if !alone {
		partner = a.Input("partner")
	}
	if a.Node(0).end > 0 {
		from = 1
		if alone {
			x = a.Combine(a.First(x, a.Predict(x, a.Node(0), a.Any()), a.Node(1))...)
		} else {
			x = a.Input("last")
			a.Inexact() // the partner is of the time of last, and the knot check takes it for one of that of x
		}
		a.State(1, x)
	}
	return x, partner, from
}

// refuseZero refuses to start at σ = 0.
func (a *Assembler) refuseZero() {
	if a.Node(0).end > 0 {
		a.Fail("the run starts at σ = 0, where x/σ is infinite; start where σ > 0, or use InvertAlone for the way up")
	}
}

// ALF is the asynchronous leapfrog method with a data prediction v beside the state. With z = x/σ, w = α/σ and h = w_t − w_s,
//
//	k = z + ½h v,  u = x̂_0(k) at w + ½h,  v' = v + 2η (u − v),  z' = k + ½h v'
//
// It starts with v = x̂_0(z).
//
// Outputs: x and partner, which is v; if the last knot has σ = 0, x is the data prediction there, and last the state before it, which the way
// back starts from. With Pair, x and partner are the inputs, such as Invert leaves them. If there is only x to go back from, as with a real
// image, InvertAlone starts with v = x̂_0(x), and gives a pair that a Plan with Pair leads back to x.
//
// Order 2, 1 if η < 1. NFE n+1; with Pair, n, as Invert. A step to σ = 0 is first order.
//
// At η = 1 an error in v changes sign in every step and stays. Less damps it by |1−2η| a step, by which the way back multiplies it.
//
// Errors: Eta outside (0, 1], or ½, which cannot be inverted; a run that starts at σ = 0; a network that predicts noise or a score at
// α = 0.
//
// Source: Zhuang et al. 2021, arXiv 2102.04668, with its damping.
//
// Differs from reference: the equation stepped is that of the data prediction, which is the slower of the two to change.
type ALF struct {
	Eta  float64 // η; 0 means 1
	Pair bool
}

func (f ALF) assemble(p Problem, name string, emit func(a *Assembler, fade float64)) (*Plan, error) {
	eta, order := f.Eta, 1
	if eta == 0 {
		eta = 1
	}
	if eta == 1 {
		order = 2
	}
	return Assemble(p, fmt.Sprintf("ALF(η=%g)%s", eta, name), order, func(a *Assembler) {
		if !(eta > 0 && eta <= 1) || eta == .5 {
			a.Fail("Eta is %v; it lies between 0 (excluded) and 1, and is not ½, where v is forgotten", f.Eta)
		}
		emit(a, 1-2*eta)
	})
}

// step keeps a share of v, that of the way back being the inverse of that of the way there.
func (f ALF) step(a *Assembler, x, v Reg, s, t Node, fade float64) (x2, v2 Reg) {
	h := clean(t) - clean(s)
	mid := a.cleanAt((clean(s) + clean(t)) / 2)
	k := a.Combine(Term{Reg: x, C: mid.Sigma / s.Sigma}, Term{Reg: v, C: mid.Sigma * h / 2})
	u := a.Predict(k, mid, Data)
	v2 = a.Combine(Term{Reg: v, C: fade}, Term{Reg: u.Reg, C: 1 - fade})
	return a.Combine(Term{Reg: k, C: t.Sigma / mid.Sigma}, Term{Reg: v2, C: t.Sigma * h / 2}), v2
}

// Plan implements [Solver].
func (f ALF) Plan(p Problem) (*Plan, error) {
	return f.assemble(p, "", func(a *Assembler, fade float64) {
		a.refuseZero()
		x := a.Input("x")
		a.State(0, x)
		var v Reg
		if f.Pair {
			v = a.Input("partner")
			a.Inexact() // v is no state, which the knot check would take it for
		} else {
			v = a.Predict(x, a.Node(0), Data).Reg
		}
		for i := range a.Steps() {
			if s, t := a.Node(i), a.Node(i+1); t.end > 0 {
				x = a.held(i, x)
			} else {
				x, v = f.step(a, x, v, s, t, fade)
			}
			a.State(i+1, x)
		}
		a.Output("x", x)
		a.Output("partner", v)
	})
}

// Invert implements [Inverter].
func (f ALF) Invert(p Problem) (*Plan, error) { return f.invert(p, false) }

// InvertAlone is Invert from x alone.
func (f ALF) InvertAlone(p Problem) (*Plan, error) { return f.invert(p, true) }

func (f ALF) invert(p Problem, alone bool) (*Plan, error) {
	p, err := reversed(p)
	if err != nil {
		return nil, err
	}
	return f.assemble(p, " inverse", func(a *Assembler, fade float64) {
		x, v, from := a.resume(alone)
		if alone {
			v = a.Predict(x, a.Node(from), Data).Reg
		} else {
			a.Inexact()
		}
		for j := range a.StepsFrom(from) {
			x, v = f.step(a, x, v, a.Node(j), a.Node(j+1), 1/fade)
			a.State(j+1, x)
		}
		a.Output("x", x)
		if alone || f.Pair {
			a.Output("partner", v)
		}
	})
}

// Coupled makes any explicit Runge–Kutta method reversible, by a second state that is stepped back from the first. With z = x/σ, w = α/σ and
// Ψ(s→t, z) what a step of the method adds to z under dz/dw = x̂_0,
//
//	z' = ζ z + (1−ζ) y + Ψ(s→t, y)
//	y' = y − Ψ(t→s, z')
//
// It starts with y = z.
//
// Outputs: x, and partner, which is σ y; if the last knot has σ = 0, x is the data prediction there, and last the state before it, which the way
// back starts from. With Pair, x and partner are the inputs, such as Invert leaves them. If there is only x to go back from, as with a real
// image, InvertAlone starts with y = z, and gives a pair that a Plan with Pair leads back to x.
//
// Order: that of the tableau. NFE: 2n times its stages. A step to σ = 0 is first order and has one evaluation.
//
// The difference of the two states fades by ζ in every step, and the way back multiplies rounding errors by 1/ζ: over n steps they stay
// below a relative tolerance of about 1e-16 ζ⁻ⁿ. Over long runs choose ζ near 1.
//
// Errors: Zeta outside (0, 1]; what [RK] refuses; a run that starts at σ = 0; a network that predicts noise or a score at α = 0.
//
// Source: McCallum, Foster 2024, arXiv 2410.11648.
//
// Differs from reference: the equation stepped is that of the data prediction. With that of the noise, along which the states draw together,
// Euler's method is useless.
type Coupled struct {
	Tableau Tableau // without stages: Heun
	Zeta    float64 // ζ; 0 means 0.999
	Pair    bool
}

func (c Coupled) assemble(p Problem, name string, emit func(a *Assembler, b Tableau, zeta float64)) (*Plan, error) {
	b, zeta := c.Tableau, c.Zeta
	if len(b.B) == 0 && len(b.A) == 0 {
		b = Heun()
	}
	if zeta == 0 {
		zeta = .999
	}
	return Assemble(p, fmt.Sprintf("coupled %s(ζ=%g)%s", b.Name, zeta, name), b.Order, func(a *Assembler) {
		if err := b.check(); err != nil {
			a.Fail("%w", err)
			return
		}
		if !(zeta > 0 && zeta <= 1) {
			a.Fail("Zeta is %v; it lies between 0 (excluded) and 1", c.Zeta)
		}
		emit(a, b, zeta)
	})
}

// add is σ_to Ψ(s→t, y), times a factor: terms in the predictions of the stages. y is in terms of the state at s.
func (b Tableau) add(a *Assembler, factor float64, y Reg, s, t Node) []Term {
	h := clean(t) - clean(s)
	var ks []Term
	for i, n := range b.nodes(s, t, func(u float64) Node { return a.cleanAt(clean(s) + u*h) }) {
		stage := y
		if i > 0 {
			stage = a.Combine(append([]Term{{Reg: y, C: n.Sigma / s.Sigma}}, b.weigh(ks, n.Sigma*h, b.A[i])...)...)
		}
		ks = append(ks, Term{Reg: a.Predict(stage, n, Data).Reg})
	}
	return b.weigh(ks, factor*h, b.B)
}

func (Tableau) weigh(ks []Term, length float64, weights []float64) (terms []Term) {
	for j, w := range weights {
		if w != 0 {
			terms = append(terms, Term{Reg: ks[j].Reg, C: length * w})
		}
	}
	return terms
}

// Plan implements [Solver].
func (c Coupled) Plan(p Problem) (*Plan, error) {
	return c.assemble(p, "", func(a *Assembler, b Tableau, zeta float64) {
		a.refuseZero()
		x := a.Input("x")
		a.State(0, x)
		y := x
		if c.Pair {
			y = a.Input("partner")
		}
		for i := range a.Steps() {
			if s, t := a.Node(i), a.Node(i+1); t.end > 0 {
				x = a.held(i, x)
			} else {
				r := t.Sigma / s.Sigma
				x = a.Combine(append([]Term{{Reg: x, C: r * zeta}, {Reg: y, C: r * (1 - zeta)}}, b.add(a, t.Sigma, y, s, t)...)...)
				y = a.Combine(append([]Term{{Reg: y, C: r}}, b.add(a, -t.Sigma, x, t, s)...)...)
			}
			a.State(i+1, x)
		}
		a.Output("x", x)
		a.Output("partner", y)
	})
}

// Invert implements [Inverter].
func (c Coupled) Invert(p Problem) (*Plan, error) { return c.invert(p, false) }

// InvertAlone is Invert from x alone.
func (c Coupled) InvertAlone(p Problem) (*Plan, error) { return c.invert(p, true) }

func (c Coupled) invert(p Problem, alone bool) (*Plan, error) {
	p, err := reversed(p)
	if err != nil {
		return nil, err
	}
	return c.assemble(p, " inverse", func(a *Assembler, b Tableau, zeta float64) {
		x, y, from := a.resume(alone)
		if alone {
			y = x
		}
		for j := range a.StepsFrom(from) {
			t, s := a.Node(j), a.Node(j+1)
			r := s.Sigma / t.Sigma
			y = a.Combine(append([]Term{{Reg: y, C: r}}, b.add(a, s.Sigma, x, t, s)...)...)
			x = a.Combine(append([]Term{{Reg: x, C: r / zeta}, {Reg: y, C: 1 - 1/zeta}}, b.add(a, -s.Sigma/zeta, y, s, t)...)...)
			a.State(j+1, x)
		}
		a.Output("x", x)
		if alone || c.Pair {
			a.Output("partner", y)
		}
	})
}
