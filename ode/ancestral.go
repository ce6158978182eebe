package ode

import (
	"fmt"
	"math"
)

// Ancestral solves the ODE further than the next knot, down to less noise, and puts the rest back as fresh noise. With y = x/α,
// ρ = σ/α and h = λ_t − λ_s,
//
//	ρ_u = η ρ_t √(1 − e^{−2h}),  ρ_d = √(ρ_t² − ρ_u²)
//	y_t = y_d + ρ_u z
//
// where y_d is the step from ρ_s to ρ_d of [DPMpp] with Single, whose inner point is at the mean of λ_s and λ_d; with Noise that of [DPM]. These
// are DPM-Solver++(2S) ancestral, also known as 2S a, and DPM2 ancestral. The same with a first-order step, Euler ancestral, is [DDIM] with
// its Eta.
//
// Order 2 of the distribution of x: noise is added along the marginals exactly. As a solution of the SDE, whose η is then Eta², 1. NFE 2n; a
// step from α = 0 or to σ = 0 is first order and has one evaluation. Draws: one a step, none in a step to σ = 0.
//
// Errors: Eta outside [0, 1]; steps away from data; a schedule whose domain ends above ρ_d; a network that predicts noise or a score
// from α = 0.
//
// Source: Crowson's release of Karras et al. 2022, arXiv 2206.00364, there sample_dpmpp_2s_ancestral and sample_dpm_2_ancestral; the split of
// the noise is that of Song, Meng, Ermon 2021, arXiv 2010.02502, equation 16.
//
// Differs from reference: for every schedule.
type Ancestral struct {
	Eta   float64 // η; 0 means 1. For none, use DPMpp or DPM
	Noise bool    // predict noise instead of data
}

// Plan implements [Solver].
func (c Ancestral) Plan(p Problem) (*Plan, error) {
	name, kind, eta := "DPM-Solver++(2S) ancestral", Data, c.Eta
	if c.Noise {
		name, kind = "DPM2 ancestral", Noise
	}
	if eta == 0 {
		eta = 1
	}
	return Assemble(p, fmt.Sprintf("%s, η=%g", name, eta), 2, func(a *Assembler) {
		if !(eta > 0 && eta <= 1) {
			a.Fail("Eta is %v; it lies between 0 (excluded: use DPMpp or DPM) and 1", c.Eta)
		}
		x := a.Input("x")
		a.State(0, x)
		for i := range a.Steps() {
			s, t := a.Node(i), a.Node(i+1)
			if !a.Ahead(i) {
				a.Fail("step %d goes from t = %v up to %v, away from data, where there is no noise to put back; use DPMpp or DPM", i, s.T, t.T)
			}
			m := a.Predict(x, s, kind)
			if t.end > 0 {
				x = a.Combine(a.First(x, m, t)...)
				a.State(i+1, x)
				continue
			}
			fresh := eta * eta
			if s.Inside() {
				fresh *= -math.Expm1(2 * (s.Lambda - t.Lambda))
				down := t.Lambda - math.Log1p(-fresh)/2
				mid := a.At(p.Schedule.TimeOf((s.Lambda + down) / 2))
				m = a.Predict(a.Combine(a.First(x, m, mid)...), mid, kind)
				m.At = s // the step starts there, whatever the prediction is from
			}
			terms := a.Toward(x, m, t.Alpha, t.Sigma*math.Sqrt(1-fresh))
			x = a.Combine(append(terms, Term{Reg: a.Draw(s, t), C: t.Sigma * math.Sqrt(fresh)})...)
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}
