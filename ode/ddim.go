package ode

import (
	"fmt"
	"math"
)

// DDIM holds the prediction over a step, and with Eta > 0 puts back noise:
//
//	x_t = α_t x̂_0 + √(σ_t² − s²) ε̂ + s z,  s = η σ_t √(1 − e^{−2h})
//
// Eta 0 is the first-order member of every family of solvers, and runs in both directions. Eta 1 is ancestral sampling:
// s² is then the variance of x_t given x_0 and the noisier state.
//
// Order 1, NFE n. Draws: one a step if Eta > 0, none in a step to σ = 0.
//
// Errors: Eta outside [0, 1]; Eta > 0 away from data, where there is no noise to put back; a network that predicts noise
// or a score from α = 0.
//
// Source: Song, Meng, Ermon 2021, arXiv 2010.02502, equations 12 and 16.
//
// Differs from reference: written in λ, so that it holds for every schedule and not for variance-preserving ones alone.
type DDIM struct{ Eta float64 }

// Plan implements [Solver].
func (d DDIM) Plan(p Problem) (*Plan, error) {
	name := "DDIM"
	if d.Eta != 0 {
		name = fmt.Sprintf("DDIM(η=%g)", d.Eta)
	}
	return Assemble(p, name, 1, func(a *Assembler) {
		if !(d.Eta >= 0 && d.Eta <= 1) {
			a.Fail("Eta is %v; it lies between 0 (no noise) and 1 (ancestral)", d.Eta)
		}
		x := a.Input("x")
		a.State(0, x)
		for i := range a.Steps() {
			s, t := a.Node(i), a.Node(i+1)
			m := a.Predict(x, s, a.Any())
			if d.Eta == 0 || t.end > 0 {
				x = a.Combine(a.First(x, m, t)...)
			} else {
				if !a.Ahead(i) {
					a.Fail("Eta is %v, but step %d goes from t = %v up to %v, away from data; only Eta 0 inverts", d.Eta, i, s.T, t.T)
				}
				fresh := d.Eta * d.Eta
				if s.Inside() {
					fresh *= -math.Expm1(2 * (s.Lambda - t.Lambda))
				}
				terms := a.Toward(x, m, t.Alpha, t.Sigma*math.Sqrt(1-fresh))
				x = a.Combine(append(terms, Term{Reg: a.Draw(s, t), C: t.Sigma * math.Sqrt(fresh)})...)
			}
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}
