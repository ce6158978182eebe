package ode

import "fmt"

// FlowAB is the Adams–Bashforth method on the velocity of a rectified flow, for knots of any spacing:
//
//	x_t = x_s + ∫ u(τ) dτ   over the step;   Order 2:  x_s + (t−s) ((1 + r/2) u_s − r/2 u_p),  r = (t−s)/(s−p)
//
// where u(τ) is the polynomial in time through the latest Order velocities. Both ends, t = 1 and t = 0, are steps like the others.
// RF-Solver, the other solver of second order in use for flows, is [RK] with [MidpointRule].
//
// Order 1 to 4. NFE n. A run starts with lower orders.
//
// Errors: a schedule other than [Flow]; Order outside 1 to 4; a network that predicts noise or a score from t = 1, or data from t = 0.
//
// Source: Bashforth, Adams 1883; Liu et al. 2022, arXiv 2209.03003, for the ODE.
type FlowAB struct {
	Order int // 0 means 2
}

// Plan implements [Solver].
func (f FlowAB) Plan(p Problem) (*Plan, error) {
	if f.Order == 0 {
		f.Order = 2
	}
	return Assemble(p, fmt.Sprintf("flow AB(%d)", f.Order), f.Order, func(a *Assembler) {
		if _, ok := p.Schedule.(Flow); !ok {
			a.Fail("the schedule is %v, on which the velocity is not what is smooth; FlowAB is for Flow, DEIS and LMS are for all", describe(p.Schedule))
		}
		if f.Order < 1 || f.Order > 4 {
			a.Fail("Order is %d; 1 to 4 exist", f.Order)
		}
		x := a.Input("x")
		a.State(0, x)
		var us []Estimate
		for i := range a.Steps() {
			s, t := a.Node(i), a.Node(i+1)
			us = append([]Estimate{a.Predict(x, s, FlowVelocity)}, us[:min(len(us), f.Order-1)]...)
			order := a.Order(len(us), f.Order)
			x = a.multistep(x, byTime, t, us[:order], powers(t.T-s.T, order-1))
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}
