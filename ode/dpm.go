package ode

import (
	"fmt"
	"math"
	"slices"
)

// Correction says how a second-order term of [DPM] and [DPMpp] is weighted. Both are right to second order.
type Correction int

const (
	// Midpoint holds the prediction in the middle of the step over all of it: ½ h φ_1. It is the published default,
	// there called dpmsolver.
	Midpoint Correction = iota
	// Taylor lets the prediction run on linearly in λ: h φ_2. Diffusers call it heun.
	Taylor
)

// DPMpp is DPM-Solver++: the linear part of the ODE is solved exactly, and the data prediction is a polynomial in λ. With
// h = λ_t − λ_s and u = (λ−λ_s)/h,
//
//	x_t = (σ_t/σ_s) x_s + α_t Σ_k k! h φ_{k+1}(−h) c_k,   x̂_0(u) = Σ_k c_k u^k, k < Order
//
// where the polynomial goes through the latest predictions (multistep: 2M, 3M), or through predictions at points inside
// the step (singlestep: 2S, 3S), which the problem's grid places; without a grid they are uniform in λ.
//
// Order 1 to 3. NFE: n multistep, Order·n singlestep, exactly n with Fast. Steps from α = 0 and to σ = 0 are first order
// and cost one evaluation. A multistep run starts with lower orders.
//
// Errors: options that have no effect on each other, as said at each field.
//
// Source: Lu et al. 2022, arXiv 2211.01095, algorithms 1 and 2; singlestep third order and Fast after Lu et al. 2022,
// arXiv 2206.00927, algorithm 2 and appendix D.
//
// Differs from reference: the third-order multistep of the release halves the second derivative, which leaves it second
// order; here it is whole unless Published. Lower orders at the end are asked for, by [Problem].LowerFinal, and no matter of the number of steps.
type DPMpp struct {
	Order      int // 0 means 2
	Correction Correction

	// Single evaluates at points inside each step instead of looking back.
	Single bool
	// Fast is Single where Steps counts evaluations: steps of the given order, and lower ones for the remainder, the last of
	// which leaves an order of one more than its own. Orders 1 to 3 are then laid over a grid of their own, so knots cannot be
	// given and are no parameter.
	Fast bool

	// Published reproduces the release: order 3 multistep with half the second derivative. Its order is 2.
	Published bool
}

// DPM is DPM-Solver: as [DPMpp], with the noise prediction in place of the data prediction,
//
//	x_t = (α_t/α_s) x_s − σ_t Σ_k k! h φ_{k+1}(h) c_k,   ε̂(u) = Σ_k c_k u^k, k < Order
//
// Source: Lu et al. 2022, arXiv 2206.00927, algorithms 1 and 2; the multistep form is that of the authors' release.
//
// Differs from reference: as for [DPMpp].
type DPM DPMpp

// Plan implements [Solver].
func (d DPM) Plan(p Problem) (*Plan, error) {
	return exponential{DPMpp(d), Noise, "DPM-Solver"}.plan(p)
}

// Plan implements [Solver].
func (d DPMpp) Plan(p Problem) (*Plan, error) {
	return exponential{d, Data, "DPM-Solver++"}.plan(p)
}

type exponential struct {
	DPMpp
	kind   Prediction
	family string
}

func (e exponential) plan(p Problem) (*Plan, error) {
	if e.Order == 0 {
		e.Order = 2
	}
	name, order := e.name(), e.Order
	if e.Published {
		order = min(order, 2)
	}
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("ode: %s: %w", name, err)
	}
	if e.Fast {
		knots, orders, err := e.budget(p)
		if err != nil {
			return nil, fmt.Errorf("%w (for %s)", err, name)
		}
		order = min(order, slices.Min(orders)+1) // what one shorter step at the end leaves
		return assemble(p, knots, name, order, func(a *Assembler) { a.FixKnots(); e.single(a, orders) }, nil)
	}
	return Assemble(p, name, order, func(a *Assembler) {
		if e.Single {
			e.single(a, nil)
		} else {
			e.multi(a)
		}
	})
}

func (e exponential) name() string {
	driver, options := "M", ""
	if e.Fast {
		driver = "S, fast"
	} else if e.Single {
		driver = "S"
	}
	for _, o := range []struct {
		set  bool
		text string
	}{{e.Correction == Taylor, ", taylor"}, {e.Published, ", published"}} {
		if o.set {
			options += o.text
		}
	}
	return fmt.Sprintf("%s(%d%s%s)", e.family, e.Order, driver, options)
}

func (e exponential) check() error {
	multi := !e.Single && !e.Fast
	switch {
	case e.Order < 1 || e.Order > 3:
		return fmt.Errorf("option Order is %d; 1, 2 and 3 exist (UniPC and DEIS go higher)", e.Order)
	case e.Correction != Midpoint && e.Correction != Taylor:
		return fmt.Errorf("option Correction is %d; Midpoint and Taylor exist", e.Correction)
	case e.Correction == Taylor && e.Order == 1:
		return fmt.Errorf("option Correction is Taylor at Order 1, which has nothing to correct; leave it Midpoint")
	case e.Published && !(multi && e.Order == 3):
		return fmt.Errorf("option Published differs in multistep order 3 alone; leave it out")
	}
	return nil
}

// weights are those of the slopes in a step of the given order.
func (e exponential) weights(s, t Node, order int) []float64 {
	switch {
	case order == 1:
		return nil
	case order == 2 && e.Correction == Midpoint:
		return []float64{Weight(e.kind, s, t, 0) / 2}
	}
	w := taylor(e.kind, s, t, order-1)
	if e.Published && order == 3 {
		w[1] /= 2
	}
	return w
}

func (e exponential) multi(a *Assembler) {
	x := a.Input("x")
	a.State(0, x)
	var ms []Estimate
	for i := range a.Steps() {
		s, t := a.Node(i), a.Node(i+1)
		ms = a.Remember(a.Predict(x, s, e.kind), ms, e.Order)
		order := a.Order(len(ms), e.Order)
		if !t.Inside() {
			order = 1
		}
		if start, ok := a.SingleStart(x, ms[0], t, len(ms), e.Order); ok {
			x = start
		} else {
			x = a.multistep(x, byLambda, t, ms[:order], e.weights(s, t, order))
		}
		a.State(i+1, x)
	}
	a.Output("x", x)
}

// single takes the given order in each step; nil is the solver's own.
func (e exponential) single(a *Assembler, orders []int) {
	x := a.Input("x")
	a.State(0, x)
	for i := range a.Steps() {
		s, t, order := a.Node(i), a.Node(i+1), e.Order
		if orders != nil {
			order = orders[i]
		}
		if !s.Inside() || !t.Inside() {
			order = 1
		}
		x, _ = e.step(a, x, a.Predict(x, s, e.kind), t, order)
		a.State(i+1, x)
	}
	a.Output("x", x)
}

// step is a single step from an estimate. It returns where it ends and the estimates that were made on the way, the given one first.
func (e exponential) step(a *Assembler, x Reg, m Estimate, t Node, order int) (Reg, []Estimate) {
	s, ms := m.At, []Estimate{m}
	for j, r := range a.Divide(s, t, order) {
		u := a.multistep(x, byLambda, r, ms, taylor(e.kind, s, r, j))
		ms = append(ms, a.Predict(u, r, e.kind))
	}
	if len(ms) < order { // Divide has failed
		return noReg, ms
	}
	used, w := ms, e.weights(s, t, order)
	if order == 3 && e.Correction == Midpoint {
		used, w = []Estimate{m, ms[2]}, w[:1]
	}
	return a.multistep(x, byLambda, t, used, w), ms
}

// taylor are the weights of the first n slopes.
func taylor(kind Prediction, s, t Node, n int) []float64 {
	w := make([]float64, n)
	h, scale, sign := t.Lambda-s.Lambda, -t.Sigma, 1.
	if kind == Data {
		scale, sign = t.Alpha, -1
	}
	phis(w, 2, sign*h)
	for k := range w {
		w[k] *= scale * factorial(k+1) * h
	}
	return w
}

// budget returns the knots and orders of a run of exactly Steps evaluations. On a grid uniform in λ the steps are of
// equal length whatever their order; on others a step is as many intervals of the grid as it has evaluations.
func (e exponential) budget(p Problem) (knots []float64, orders []int, err error) {
	if p.Knots != nil {
		return nil, nil, fmt.Errorf("ode: Fast lays its own knots, so Problem.Knots cannot be given; give Grid and Steps, or use Single")
	}
	ks, err := p.resolve()
	if err != nil {
		return nil, nil, err
	}
	n, head, tail := len(ks)-1, 0, 0
	if n == 1 {
		return ks, []int{1}, nil
	}
	if math.IsInf(p.Schedule.At(ks[0]).Lambda(), 0) {
		head = 1
	}
	if math.IsInf(p.Schedule.At(ks[n]).Lambda(), 0) {
		tail = 1
	}
	inner := ks[head : n+1-tail]
	from, to := inner[0], inner[len(inner)-1]
	orders = fast(len(inner)-1, e.Order)

	outer := []float64{from}
	if uniform(p, ks) && len(orders) > 0 {
		if outer, err = (LogSNR{}).Knots(p.Schedule, from, to, len(orders)); err != nil {
			return nil, nil, err
		}
	} else {
		at := 0
		for _, o := range orders {
			at += o
			outer = append(outer, inner[at])
		}
	}
	ends := func(n int) []int { return slices.Repeat([]int{1}, n) }
	return slices.Concat(ks[:head], outer, ks[n+1-tail:]), slices.Concat(ends(head), orders, ends(tail)), nil
}

// uniform says that the problem's own knots are uniform in λ, but for an appended zero.
func uniform(p Problem, ks []float64) bool {
	if p.Grid == nil {
		return p.AppendZero || !math.IsInf(p.Schedule.At(ks[0]).Lambda(), 0) && !math.IsInf(p.Schedule.At(ks[len(ks)-1]).Lambda(), 0)
	}
	_, is := p.Grid.(LogSNR)
	return is
}

// fast splits n evaluations into steps of at most the given order, as the release does.
func fast(n, order int) []int {
	var orders []int
	for n > 0 {
		o := min(n, order)
		if n == 3 && order == 3 { // never end on a third-order step
			o = 2
		}
		orders = append(orders, o)
		n -= o
	}
	return orders
}
