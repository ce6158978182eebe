package ode

import (
	"fmt"
	"math"
)

// ChurnRK is [RK] in σ/α that goes back towards noise before each step: EDM's stochastic sampler. With ρ = σ/α and n steps,
//
//	ρ̂ = ρ_s (1+γ),  γ = min(Churn/n, √2 − 1) if Min ≤ ρ_s ≤ Max, else 0
//	x̂/α̂ = x_s/α_s + √(ρ̂² − ρ_s²) Noise z
//
// and the step is from there. Churn 0 is RK.
//
// Order: that of the tableau, of the distribution of x: noise is added along the marginals exactly. NFE as RK: one evaluation in a step
// from α = 0, which is without churn, or to σ = 0. Draws: one a step with γ > 0.
//
// Units: Min and Max are noise levels σ/α. Noise other than 1 widens the marginals, so that the plan is not Exact.
//
// Errors: a negative option, or Min, Max and Noise without Churn; a noise level above those of the schedule's domain; churn away
// from data; what RK refuses.
//
// Source: Karras et al. 2022, arXiv 2206.00364, algorithm 2.
//
// Differs from reference: for every schedule.
type ChurnRK struct {
	Tableau Tableau // without stages: Heun
	Churn   float64 // S_churn
	Min     float64 // S_tmin
	Max     float64 // S_tmax; 0 means no bound
	Noise   float64 // S_noise; 0 means 1
}

// Plan implements [Solver].
func (c ChurnRK) Plan(p Problem) (*Plan, error) {
	b := c.Tableau
	if len(b.B) == 0 && len(b.A) == 0 {
		b = Heun()
	}
	noise, top := c.Noise, c.Max
	if noise == 0 {
		noise = 1
	}
	if top == 0 {
		top = math.Inf(1)
	}
	return Assemble(p, fmt.Sprintf("%s in σ/α, churn %g", b.Name, c.Churn), b.Order, func(a *Assembler) {
		if err := b.check(); err != nil {
			a.Fail("%w", err)
			return
		}
		if !(c.Churn >= 0 && c.Min >= 0 && c.Max >= 0 && c.Noise >= 0) || c.Churn == 0 && (c.Min != 0 || c.Max != 0 || c.Noise != 0) {
			a.Fail("Churn, Min, Max and Noise are %v, %v, %v and %v; none may be negative, and without Churn the others are of no use", c.Churn, c.Min, c.Max, c.Noise)
		}
		gamma := math.Min(c.Churn/float64(a.Len()), math.Sqrt2-1)
		x := a.Input("x")
		a.State(0, x)
		for i := range a.Steps() {
			s, t := a.Node(i), a.Node(i+1)
			if a.Decide(s.Inside() && gamma > 0 && s.Ratio() >= c.Min && s.Ratio() <= top) {
				x, s = c.churn(a, i, x, gamma, noise)
			}
			if s.Inside() && t.Inside() {
				x = b.step(a, x, s, t, Noise, b.ratios(a, s, t))
			} else {
				x = a.Combine(a.First(x, a.Predict(x, s, p.Raw), t)...)
			}
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}

// churn adds the noise of step i.
func (c ChurnRK) churn(a *Assembler, i int, x Reg, gamma, noise float64) (Reg, Node) {
	s := a.Node(i)
	if !a.Ahead(i) {
		a.Fail("Churn is %v, but step %d goes away from data; only Churn 0 inverts", c.Churn, i)
	}
	at := a.Problem().Schedule.TimeOf(s.Lambda - math.Log1p(gamma))
	if _, hi := a.Problem().Schedule.Domain(); at > hi {
		a.Fail("Churn %v lifts the noise level %.4g of knot %d to %.4g, above those of the schedule; start lower, or set Max below it",
			c.Churn, s.Ratio(), i, s.Ratio()*(1+gamma))
		return x, s
	}
	if noise != 1 {
		a.Inexact()
	}
	up := a.At(at)
	scale := s.Alpha * math.Sqrt(gamma*(2+gamma)) * s.Ratio() * noise
	z := a.Draw(s, up)
	return a.Combine(Term{Reg: x, C: up.Alpha / s.Alpha}, Term{Reg: z, C: scale * up.Alpha / s.Alpha}), up
}
