package ode

import (
	"fmt"
	"math"

	"gonum.org/v1/gonum/integrate/quad"
)

// DEIS lets the noise prediction be a polynomial in t and solves the rest of the ODE exactly:
//
//	x_t = α_t (x_s/α_s + ∫ ε̂(τ) dρ(τ))   over the step,  ρ = σ/α
//
// where ε̂(τ) goes through the latest Order predictions. This is tAB; with a polynomial in ρ instead it is [LMS], which is the paper's
// ρAB, and its ρRK is [RK] with In: Ratio, for which the paper's tableaux are [Ralston3], [Heun3], [VanDerHouwen3] and [SSPRK3].
// Order 1 is [DDIM].
//
// Order 1 to 4. NFE n. Steps from α = 0 and to σ = 0 are first order. A run starts with lower orders.
//
// Errors: Order outside 1 to 4; a network that predicts noise or a score from α = 0.
//
// Source: Zhang, Chen 2022, arXiv 2204.13902; Order is r+1 there.
//
// Differs from reference: the integrals are by Gauss–Legendre quadrature in λ, right to 1e-13, where the release has a sum of 10000
// rectangles in single precision, right to 1e-4. On a [Discrete] schedule, whose t(λ) has kinks, about 1e-5 are left.
type DEIS struct {
	Order int // 0 means 4
}

// Plan implements [Solver].
func (d DEIS) Plan(p Problem) (*Plan, error) {
	if d.Order == 0 {
		d.Order = 4
	}
	m := adams{Order: d.Order, Kind: Noise, Clock: byTime, Moments: timeMoments()}
	return Assemble(p, fmt.Sprintf("DEIS tAB(%d)", d.Order), d.Order, m.emit)
}

// timeMoments are α_t ∫ u^k dρ over a step, with u = (τ−s)/(t−s), as ∫ u^k (−e^{−λ}) dλ.
func timeMoments() func(a *Assembler, s, t Node, n int) []float64 {
	var at, weight [32]float64 // of the quadrature on [0, 1], which all steps share
	quad.Legendre{}.FixedLocations(at[:], weight[:], 0, 1)
	return func(a *Assembler, s, t Node, n int) []float64 {
		h, w := t.Lambda-s.Lambda, make([]float64, n)
		for i := range at {
			// e^{λ_t−λ} is of the way that is left, so that nothing cancels.
			u, c := (a.Problem().Schedule.TimeOf(s.Lambda+at[i]*h)-s.T)/(t.T-s.T), -weight[i]*h*t.Sigma*math.Exp((1-at[i])*h)
			for k := range w {
				c *= u
				w[k] += c
			}
		}
		return w
	}
}

// Ralston3 is the third-order method with the least bound on its error (Ralston 1962).
func Ralston3() Tableau {
	return Tableau{Name: "Ralston3", Order: 3, A: [][]float64{{}, {1. / 2}, {0, 3. / 4}}, B: []float64{2. / 9, 1. / 3, 4. / 9}, C: []float64{0, 1. / 2, 3. / 4}}
}

// Heun3 is Heun's third-order method (Heun 1900).
func Heun3() Tableau {
	return Tableau{Name: "Heun3", Order: 3, A: [][]float64{{}, {1. / 3}, {0, 2. / 3}}, B: []float64{1. / 4, 0, 3. / 4}, C: []float64{0, 1. / 3, 2. / 3}}
}

// VanDerHouwen3 is van der Houwen's and Wray's third-order method, which needs two registers (van der Houwen 1972).
func VanDerHouwen3() Tableau {
	return Tableau{Name: "van der Houwen3", Order: 3, A: [][]float64{{}, {8. / 15}, {1. / 4, 5. / 12}}, B: []float64{1. / 4, 0, 3. / 4}, C: []float64{0, 8. / 15, 2. / 3}}
}

// SSPRK3 is the third-order method that preserves strong stability (Shu, Osher 1988).
func SSPRK3() Tableau {
	return Tableau{Name: "SSPRK3", Order: 3, A: [][]float64{{}, {1}, {1. / 4, 1. / 4}}, B: []float64{1. / 6, 1. / 6, 2. / 3}, C: []float64{0, 1, 1. / 2}}
}
