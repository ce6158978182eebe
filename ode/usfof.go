package ode

import (
	"errors"
	"fmt"
)

// USFOf writes another solver as decisions on the steps of a problem, its LowerFinal among them: [DDIM], [DPM] and [DPMpp], whose singlestep runs have
// Order steps of USF for each of theirs, [UniPC] and [DPMv3]. On the same knots, inner ones included, the results are the
// same.
//
// It is an error if the solver is none of these, has an option that its Plan refuses, or one that USF cannot express:
// Eta, Fast, Published, Half; or a LowerFinal that changes nothing.
func USFOf(s Solver, p Problem) (USF, error) {
	steps := p.Steps
	if p.Knots != nil {
		steps = len(p.Knots) - 1
	}
	if steps < 1 {
		return USF{}, fmt.Errorf("ode: USFOf: %d steps; at least 1 is needed", steps)
	}
	u, head, err := USF{}, 0, error(nil)
	if p.Schedule != nil {
		knots, err := p.resolve()
		if err != nil {
			return USF{}, fmt.Errorf("%w (for USFOf)", err)
		}
		if p.Schedule.At(knots[0]).Alpha == 0 { // that prediction is no history
			head = 1
		}
	}
	switch s := s.(type) {
	case DDIM:
		switch {
		case s.Eta != 0:
			err = fmt.Errorf("option Eta of DDIM is %v, and USF draws no noise; leave it out", s.Eta)
		case p.LowerFinal:
			err = errors.New(nothingToLower)
		}
		u.Decisions.Steps = make([]Decision, steps)
	case DPM:
		u.Decisions.Steps, err = exponential{DPMpp(s), Noise, ""}.decisions(FormNoise, head, steps, p.LowerFinal)
	case DPMpp:
		u.Decisions.Steps, err = exponential{s, Data, ""}.decisions(FormData, head, steps, p.LowerFinal)
	case UniPC:
		u.Decisions.Steps, err = s.decisions(head, steps, p.LowerFinal)
	case DPMv3:
		u.Statistics = s.Statistics
		u.Decisions.Steps, err = s.decisions(head, steps, p.LowerFinal)
	default:
		err = fmt.Errorf("%T is none of DDIM, DPM, DPMpp, UniPC and DPMv3", s)
	}
	if err != nil {
		return USF{}, fmt.Errorf("ode: USFOf: %w", err)
	}
	return u, nil
}

// through are the first n derivatives, each through all the points.
func through(n int, relaxation Relaxation, points ...int) []Derivative {
	ds := make([]Derivative, n)
	for k := range ds {
		ds[k].Points = points
	}
	if n == 1 {
		ds[0].Relaxation = relaxation
	}
	return ds
}

// divided are derivatives by divided differences.
func divided(points ...int) []Derivative {
	ds := make([]Derivative, len(points))
	for k := range ds {
		ds[k].Points = points[:k+1]
	}
	return ds
}

// back counts n−1 evaluations back from the newest.
func back(n int) (points []int) {
	for p := 1; p < n; p++ {
		points = append(points, p)
	}
	return points
}

// around are the points of a corrector of a step with n predictions: the new one, and those before the start.
func around(n int) []int {
	points := []int{0}
	for p := 2; p <= n; p++ {
		points = append(points, p)
	}
	return points
}

func (e exponential) decisions(form Form, head, steps int, lower bool) ([]Decision, error) {
	if e.Order == 0 {
		e.Order = 2
	}
	if err := e.check(); err != nil {
		return nil, err
	}
	relaxation := RelaxNot
	if e.Correction == Midpoint {
		relaxation = RelaxMidpoint
	}
	switch {
	case e.Fast:
		return nil, fmt.Errorf("option Fast lays its own knots; use Single")
	case e.Published:
		return nil, fmt.Errorf("option Published halves the second derivative, and only the first is relaxed; leave it out")
	case e.Single && steps%e.Order != 0:
		return nil, fmt.Errorf("%d steps are no multiple of Order %d, of which each singlestep has that many", steps, e.Order)
	case lower && (e.Single || e.Order == 1):
		return nil, errors.New(nothingToLower)
	}
	all := make([]Decision, steps)
	for i := range all {
		d := Decision{Form: form}
		switch order := max(1, min(i+1-head, e.Order)); {
		case !e.Single:
			if lower {
				order = min(order, steps-i)
			}
			d.Derivatives = through(order-1, relaxation, back(order)...)
		case i%e.Order == 1:
			if e.Order == 3 {
				relaxation = RelaxNot // of the inner point
			}
			d.Start, d.Derivatives = 1, through(1, relaxation, 0)
		case i%e.Order == 2 && e.Correction == Midpoint:
			d.Start, d.Derivatives = 2, through(1, RelaxNot, 0)
		case i%e.Order == 2:
			d.Start, d.Derivatives = 2, through(2, RelaxNot, 1, 0)
		}
		all[i] = d
	}
	return all, nil
}

func (c UniPC) decisions(head, steps int, lower bool) ([]Decision, error) {
	if c.Order == 0 {
		c.Order = 2
	}
	if _, err := c.Plan(Problem{Schedule: VPLinear{}, Steps: steps, LowerFinal: lower}); err != nil {
		return nil, err
	}
	if c.Published {
		return nil, fmt.Errorf("option Published mixes up derivatives, which decisions cannot; leave it out")
	}
	d, relaxation := Decision{Form: FormData}, map[B]Relaxation{B1: RelaxB1, B2: RelaxMidpoint, Vary: RelaxNot}[c.B]
	if c.Noise {
		d.Form = FormNoise
	}
	all := make([]Decision, steps)
	for i := range all {
		order := max(1, min(i+1-head, c.Order))
		if lower {
			order = min(order, steps-i)
		}
		d.Derivatives = through(order-1, relaxation, back(order)...)
		d.Correct, d.Corrector = Uncorrected, nil
		if c.corrects(i) && i+1 < steps {
			d.Correct, d.Corrector = PseudoCorrected, &Update{1, through(order, relaxation, around(order)...)}
		}
		all[i] = d
	}
	return all, nil
}

func (v DPMv3) decisions(head, steps int, lower bool) ([]Decision, error) {
	if v.Order == 0 {
		v.Order = 3
	}
	if err := v.check(); err != nil {
		return nil, err
	}
	switch {
	case v.Half:
		return nil, fmt.Errorf("option Half depends on times; leave it out, and take away correctors")
	case lower && v.Order == 1:
		return nil, errors.New(nothingToLower)
	}
	all := make([]Decision, steps)
	for i := range all {
		d, order := Decision{Form: FormV3}, max(1, min(i+1-head, v.Order))
		if lower {
			order = min(order, steps-i)
		}
		if d.Derivatives = through(order-1, RelaxNot, back(order)...); v.Pseudo {
			d.Derivatives = divided(back(order)...)
		}
		switch {
		case i+1 == steps:
		case v.PseudoCorrector:
			d.Correct, d.Corrector = PseudoCorrected, &Update{1, divided(around(order)...)}
		case v.Corrector && order > 1:
			d.Correct, d.Corrector = PseudoCorrected, &Update{1, through(order-1, RelaxNot, around(order-1)...)}
		}
		all[i] = d
	}
	return all, nil
}
