package ode

import (
	"fmt"
	"math"
)

// EulerMaruyama is the plainest solver of the diffusion SDE whose noise is η times that of the reverse process: Euler's step in time. With the
// flow velocity u and the rate g² = dσ²/dt − 2σ² d(ln α)/dt at which the forward process adds variance,
//
//	x_t = x_s + (t−s) (u − ½ η g² ∇log p) + √(η g² (s−t)) z,   ∇log p = −ε̂/σ
//
// so that η = 1 is the reverse SDE, with the drift (dα/dt)/α x − g² ∇log p, and a small η nearly Euler's method for the ODE, which is [RK] in
// time.
//
// Order 1, of the moments of x and, on one path, of x itself; neither is kept at the knots, and the plan is not Exact. NFE n. Draws: one a
// step. A step to σ = 0 is α x̂_0, and one from α = 0 is α_t x̂_0 + σ_t z. [DDIM] with Eta 1 and [DPMppSDE] are better at equal cost: they take
// the linear part of the drift exactly.
//
// Errors: Eta that is negative or infinite; steps away from data; a network that predicts noise or a score from α = 0.
//
// Source: Song et al. 2021, arXiv 2011.13456, equation 6 and appendix D; Maruyama 1955.
//
// Differs from reference: η other than 1; the step to σ = 0.
type EulerMaruyama struct {
	Eta float64 // η; 0 means 1. For none, use RK with Euler in Time
}

// Plan implements [Solver].
func (e EulerMaruyama) Plan(p Problem) (*Plan, error) {
	eta := e.Eta
	if eta == 0 {
		eta = 1
	}
	return Assemble(p, fmt.Sprintf("Euler–Maruyama, η=%g", eta), 1, func(a *Assembler) {
		if !(eta > 0) || math.IsInf(eta, 0) {
			a.Fail("Eta is %v; it is positive and finite (for 0 use RK with Euler in Time)", e.Eta)
			return
		}
		a.Inexact()
		x := a.Input("x")
		a.State(0, x)
		for i := range a.Steps() {
			s, t := a.Node(i), a.Node(i+1)
			if !a.Ahead(i) {
				a.Fail("step %d goes from t = %v up to %v, away from data, where there is no noise to put back; use RK", i, s.T, t.T)
			}
			m := a.Predict(x, s, a.Any())
			switch {
			case t.end > 0:
				x = a.Combine(a.First(x, m, t)...)
			case s.end < 0:
				x = a.Combine(append(a.Toward(x, m, t.Alpha, 0), Term{Reg: a.Draw(s, t), C: t.Sigma})...)
			default:
				length := t.T - s.T
				rate := s.DSigma - s.Sigma*s.DAlpha/s.Alpha // g²/2σ
				terms := a.Toward(x, m, length*s.DAlpha, length*(s.DSigma+eta*rate))
				x = a.Combine(append(terms, Term{Reg: x, C: 1}, Term{Reg: a.Draw(s, t), C: math.Sqrt(-2 * eta * length * rate * s.Sigma)})...)
			}
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}
