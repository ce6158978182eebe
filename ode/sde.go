package ode

import (
	"fmt"
	"math"
)

// DPMppSDE is [DPMpp] for the diffusion SDE whose noise is η times that of the reverse process. With h = λ_t − λ_s, h' = (1+η) h and
// u = (λ−λ_s)/h,
//
//	x_t = (σ_t/σ_s) e^{−ηh} x_s + α_t Σ_k k! h' φ_{k+1}(−h') c_k + σ_t √(1 − e^{−2ηh}) z,   x̂_0(u) = Σ_k c_k u^k, k < Order
//
// where the polynomial goes through the latest predictions (2M SDE, 3M SDE). With Single it goes through one at a point inside the step
// instead, to which a first-order step of the same kind leads (DPM-Solver++ SDE); the noise of that step is part of the noise of the whole.
//
// Order 1 or 2, of the moments of x; Order 3 is 2 too, and reaches 3 as Eta tends to 0. NFE n, with Single 2n. Draws:
// one a step, two with Single. A step to σ = 0 is α x̂_0, and one from α = 0 is α_t x̂_0 + σ_t z; both have one evaluation. A multistep
// run starts with lower orders.
//
// Errors: Eta that is negative or infinite; steps away from data; options that have no effect on each other, as for DPMpp.
//
// Source: Lu et al. 2022, arXiv 2211.01095; η, the third order and Single after Crowson's release of Karras et al. 2022, arXiv
// 2206.00364, there sample_dpmpp_2m_sde, sample_dpmpp_3m_sde and sample_dpmpp_sde.
//
// Differs from reference: order 3 in the release has half the second derivative, and so it does with Published. With Single and η < 1 the
// release splits the noise as [Ancestral] does. It takes the noise inside a step from a Brownian path in σ; here it is the integral that
// the SDE has there.
type DPMppSDE struct {
	Order      int // 1 to 3, 0 means 2
	Correction Correction
	Eta        float64 // η; 0 means 1. For none, use DPMpp

	// Single evaluates at a point inside each step instead of looking back; Order is 2.
	Single bool
	// Published reproduces the release: order 3 with half the second derivative.
	Published bool
}

// DPMSDE is [DPM] for the diffusion SDE whose noise is η times that of the reverse process:
//
//	x_t = (α_t/α_s) x_s − (1+η) σ_t Σ_k k! h φ_{k+1}(h) c_k + σ_t √(η (e^{2h} − 1)) z,   ε̂(u) = Σ_k c_k u^k, k < Order
//
// A step does not see its own noise in ε̂, so that it keeps the marginals only up to an error that shrinks with the step, and the plan is not
// Exact. [DPMppSDE] is better in nearly all cases.
//
// Order 1 or 2, of the moments of x. NFE n. Draws: one a step. A step to σ = 0 is α x̂_0, and one from α = 0 is α_t x̂_0 + σ_t z.
//
// Errors: Order outside 1 and 2, Eta that is negative or infinite, steps away from data, a Correction at Order 1.
//
// Source: Lu et al. 2022, arXiv 2211.01095.
//
// Differs from reference: η other than 1.
type DPMSDE struct {
	Order      int // 1 or 2, 0 means 2
	Correction Correction
	Eta        float64 // η; 0 means 1. For none, use DPM
}

// Plan implements [Solver].
func (d DPMSDE) Plan(p Problem) (*Plan, error) {
	return stochastic{DPMppSDE{Order: d.Order, Correction: d.Correction, Eta: d.Eta}, Noise, "SDE-DPM-Solver"}.plan(p)
}

// Plan implements [Solver].
func (d DPMppSDE) Plan(p Problem) (*Plan, error) {
	return stochastic{d, Data, "SDE-DPM-Solver++"}.plan(p)
}

type stochastic struct {
	DPMppSDE
	kind   Prediction
	family string
}

func (d stochastic) plan(p Problem) (*Plan, error) {
	if d.Order == 0 {
		d.Order = 2
	}
	if d.Eta == 0 {
		d.Eta = 1
	}
	e := exponential{DPMpp{Order: d.Order, Correction: d.Correction, Single: d.Single, Published: d.Published}, d.kind, d.family}
	name := fmt.Sprintf("%s, η=%g", e.name(), d.Eta)
	switch err := e.check(); {
	case err != nil:
		return nil, fmt.Errorf("ode: %s: %w", name, err)
	case !(d.Eta > 0) || math.IsInf(d.Eta, 0):
		return nil, fmt.Errorf("ode: %s: Eta is %v; it is positive and finite (for 0 use DPMpp or DPM)", name, d.Eta)
	case d.kind == Noise && d.Order == 3:
		return nil, fmt.Errorf("ode: %s: Order is 3; 1 and 2 exist (DPMppSDE goes to 3)", name)
	case d.Single && d.Order != 2:
		return nil, fmt.Errorf("ode: %s: Single at Order %d; it is of order 2", name, d.Order)
	}
	return Assemble(p, name, min(d.Order, 2), func(a *Assembler) {
		if d.kind == Noise {
			a.Inexact()
		}
		x := a.Input("x")
		a.State(0, x)
		var ms []Estimate
		for i := range a.Steps() {
			s, t := a.Node(i), a.Node(i+1)
			if !a.Ahead(i) {
				a.Fail("step %d goes from t = %v up to %v, away from data, where there is no noise to put back; use DPMpp or DPM", i, s.T, t.T)
			}
			m := a.Predict(x, s, d.kind)
			switch {
			case t.end > 0:
				x = a.Combine(a.First(x, m, t)...)
			case s.end < 0:
				x = a.Combine(append(a.Toward(x, m, t.Alpha, 0), d.noise(a, s, t))...)
			case d.Single:
				x = d.inner(a, x, m, s, t)
			default:
				ms = a.Remember(m, ms, d.Order)
				order := a.Order(len(ms), d.Order)
				terms := append(d.first(a, x, m, t), a.Slopes(t, ms[:order], d.weights(e, s, t, order)...)...)
				x = a.Combine(append(terms, d.noise(a, s, t))...)
			}
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}

// first is the step, noise aside, if the prediction stayed what it is.
func (d stochastic) first(a *Assembler, x Reg, m Estimate, t Node) []Term {
	s := m.At
	if d.kind == Data {
		return a.Toward(x, m, t.Alpha, t.Sigma*math.Exp(-d.Eta*(t.Lambda-s.Lambda)))
	}
	return []Term{{Reg: x, C: t.Alpha / s.Alpha}, {Reg: m.Reg, C: (1 + d.Eta) * Weight(Noise, s, t, 0)}}
}

// weights are those of the slopes: what they are without noise, at 1+η times the length of the step or 1+η times as great.
func (d stochastic) weights(e exponential, s, t Node, order int) []float64 {
	if d.kind == Data {
		s.Lambda = t.Lambda - (1+d.Eta)*(t.Lambda-s.Lambda)
		return e.weights(s, t, order)
	}
	w := e.weights(s, t, order)
	for k := range w {
		w[k] *= 1 + d.Eta
	}
	return w
}

func (d stochastic) noise(a *Assembler, s, t Node) Term {
	return Term{Reg: a.Draw(s, t), C: d.deviation(s, t)}
}

func (d stochastic) deviation(s, t Node) float64 {
	switch h := t.Lambda - s.Lambda; {
	case s.end < 0:
		return t.Sigma
	case d.kind == Data:
		return t.Sigma * math.Sqrt(-math.Expm1(-2*d.Eta*h))
	default:
		return t.Sigma * math.Sqrt(d.Eta*math.Expm1(2*h))
	}
}

// inner is a step with one point inside. What the noise up to there has become at the end fades like the state does.
func (d stochastic) inner(a *Assembler, x Reg, m Estimate, s, t Node) Reg {
	mids := a.Divide(s, t, 2)
	if len(mids) == 0 {
		return x
	}
	mid := mids[0]
	early := d.noise(a, s, mid)
	m2 := a.Predict(a.Combine(append(d.first(a, x, m, mid), early)...), mid, d.kind)
	e := exponential{DPMpp{Order: 2, Correction: d.Correction}, d.kind, d.family}
	terms := append(d.first(a, x, m, t), a.Slopes(t, []Estimate{m, m2}, d.weights(e, s, t, 2)...)...)
	early.C *= t.Sigma / mid.Sigma * math.Exp(-d.Eta*(t.Lambda-mid.Lambda))
	return a.Combine(append(terms, early, d.noise(a, mid, t))...)
}
