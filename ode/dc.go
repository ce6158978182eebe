package ode

import (
	"fmt"
	"math"
	"slices"
)

// DC is DC-Solver: [UniPC] whose newest prediction is moved in time before each step, by a ratio found for the step. With
// ρ the ratio of the step from t_i, and the prediction m as a polynomial in t through the latest Points predictions,
//
//	m_i ← m(ρ t_i + (1−ρ) t_{i−1})
//
// and later steps see the moved prediction too. So ρ = 1 is UniPC, and more looks ahead, to cleaner times. The ratios
// that bring a few steps near to many are searched, or learned by their gradient.
//
// Order that of UniPC if all ratios are 1, else 1. NFE n. A step is compensated once Points predictions are there, none of
// them from α = 0.
//
// The ratios are the parameter "ratios" of the plan; those of steps that are not compensated are bound to 1.
//
// Errors: as UniPC; Points outside 2 to 4; a number of ratios that is not that of the steps; ratios that are not finite, or not 1 in
// steps that are not compensated.
//
// Source: Zhao et al. 2024, arXiv 2409.03755, there dynamic compensation.
//
// Differs from reference: predictions are kept for the polynomial whatever the order is; one of the two releases keeps as many as
// the order only, and does nothing below order 3.
type DC struct {
	UniPC
	Points int       // through which the polynomial goes; 0 means 3
	Ratios []float64 // ρ, one a step; nil means 1 everywhere
}

// Plan implements [Solver].
func (d DC) Plan(p Problem) (*Plan, error) {
	if d.Points == 0 {
		d.Points = 3
	}
	plain, err := d.UniPC.Plan(p)
	if err != nil {
		return nil, fmt.Errorf("%w (for DC-Solver)", err)
	}
	if d.Order == 0 {
		d.Order = 2
	}
	d.Ratios = slices.Clone(d.Ratios)
	return Assemble(p, fmt.Sprintf("DC-Solver(%s, %d points)", plain.Name, d.Points), d.order(), d.emit)
}

func (d DC) order() int {
	if slices.ContainsFunc(d.Ratios, func(r float64) bool { return r != 1 }) {
		return 1
	}
	return d.UniPC.order()
}

func (d DC) emit(a *Assembler) {
	if d.Points < 2 || d.Points > 4 {
		a.Fail("option Points is %d; 2, 3 and 4 exist", d.Points)
	}
	if d.Ratios == nil {
		d.Ratios = slices.Repeat([]float64{1}, a.Len())
	}
	if len(d.Ratios) != a.Len() {
		a.Fail("there are %d Ratios for %d steps; give one a step", len(d.Ratios), a.Len())
		return
	}
	moved := make([]bool, a.Len())
	d.UniPC.emit(a, max(d.Order, d.Points), func(i int, ms []Estimate) {
		moved[i] = len(ms) >= d.Points
		if r := d.Ratios[i]; math.IsNaN(r) || math.IsInf(r, 0) || r != 1 && !moved[i] {
			a.Fail("Ratios[%d] is %v; it must be finite, and 1 as long as there are not %d predictions yet", i, r, d.Points)
		}
		if moved[i] {
			ms[0].Reg = d.compensate(a, ms[:d.Points], d.Ratios[i])
		}
	})
	a.plan.params = append(a.plan.params, d.param(a, moved))
}

// compensate is the newest prediction moved by a ratio.
func (d DC) compensate(a *Assembler, ms []Estimate, ratio float64) Reg {
	at := ratio*ms[0].At.T + (1-ratio)*ms[1].At.T
	terms := make([]Term, len(ms))
	for j, m := range ms {
		terms[j] = Term{Reg: m.Reg, C: 1}
		for l, other := range ms {
			if l != j {
				terms[j].C *= (at - other.At.T) / (m.At.T - other.At.T)
			}
		}
	}
	return a.Combine(terms...)
}

// param makes the ratios a parameter.
func (d DC) param(a *Assembler, moved []bool) Param {
	p := Param{Name: "ratios", Value: slices.Clone(d.Ratios)}
	for _, free := range moved {
		lower, upper := 1., 1.
		if free {
			lower, upper = math.Inf(-1), math.Inf(1)
		}
		p.Lower, p.Upper = append(p.Lower, lower), append(p.Upper, upper)
	}
	p.Rebuild = func(value []float64) (*Plan, error) {
		d := d
		d.Ratios = append([]float64{}, value...)
		return assemble(a.problem, slices.Clone(a.knots), a.plan.Name, d.order(), d.emit, a.decisions)
	}
	return p
}
