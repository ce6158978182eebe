package ode

import (
	"fmt"
	"slices"
	"strconv"
)

// B is the function B(h) of [UniPC]. It matters only where a single slope is fitted to one equation: in a predictor of
// order 2 and a corrector of order 1. Elsewhere it cancels.
type B int

// The two functions of the paper, for the data prediction; the noise prediction has the other sign of h. The third is the
// variant with varying coefficients.
const (
	B2   B = iota // 1 − e^{−h}
	B1            // h
	Vary          // none: a single slope too has the weight that integrates it exactly, h φ_2
)

// UniPC predicts the state with the latest Order predictions, asks the network there, and corrects the state with the
// answer, which also serves the next step:
//
//	x_t = (σ_t/σ_s) x_s + α_t Σ_k k! h φ_{k+1}(−h) c_k,   x̂_0(u) = Σ_k c_k u^k
//
// where the polynomial goes through Order predictions in the predictor, and through one more, that at t, in the
// corrector. With Noise it is the noise prediction and the form of [DPM].
//
// Order p + 1, and p without the corrector, be it in a share of the steps. NFE n: the last step is not corrected, nor are
// steps from α = 0 and to σ = 0, which are first order. A run starts with lower orders.
//
// Errors: Order outside 1 to 4; options that have no effect on each other, as said at each field.
//
// Source: Zhao et al. 2023, arXiv 2302.04867, algorithms 1 and 2.
//
// Differs from reference: orders are lowered at the end only with [Problem].LowerFinal, which the release does by default. The
// corrector of the release's vary_coeff takes the new prediction in once, with the coefficient of another derivative, and
// the highest derivative not at all, which leaves order 1; here it is whole unless Published.
type UniPC struct {
	Order int // p; 0 means 2
	B     B
	Noise bool // predict noise instead of data

	// NoCorrector leaves the predictor alone: UniP.
	NoCorrector bool
	// Uncorrected are the numbers of steps, from 0, that only the predictor takes. With strong guidance the first ones do
	// better so.
	Uncorrected []int
	// Published reproduces the release's corrector of Vary from order 2 on. Its order is 1.
	Published bool
}

// Plan implements [Solver].
func (c UniPC) Plan(p Problem) (*Plan, error) {
	if c.Order == 0 {
		c.Order = 2
	}
	c.Uncorrected = slices.Clone(c.Uncorrected)
	return Assemble(p, c.name(), c.order(), func(a *Assembler) { c.emit(a, c.Order, func(int, []Estimate) {}) })
}

// emit keeps a number of predictions, which are shown, the newest first, before a step uses them.
func (c UniPC) emit(a *Assembler, keep int, prepare func(step int, ms []Estimate)) {
	c.check(a)
	kind := Data
	if c.Noise {
		kind = Noise
	}
	x := a.Input("x")
	a.State(0, x)
	ms := []Estimate{a.Predict(x, a.Node(0), kind)}
	for i := range a.Steps() {
		s, t := a.Node(i), a.Node(i+1)
		prepare(i, ms)
		order := a.Order(len(ms), c.Order)
		if !t.Inside() {
			order = 1
		}
		last := i+1 == a.Len()
		if start, ok := a.SingleStart(x, ms[0], t, len(ms), c.Order); ok {
			x = start
			if !last {
				ms = a.Remember(a.Predict(x, t, kind), ms, keep)
			}
			a.State(i+1, x)
			continue
		}
		correct := !last && s.Inside() && t.Inside() && c.corrects(i)
		slopes := order - 1
		if correct {
			slopes = order
		}
		weights := taylor(kind, s, t, slopes)
		from := x
		x = a.multistep(from, byLambda, t, ms[:order], c.weights(weights[:order-1], kind, s, t))
		if !last {
			m := a.Predict(x, t, kind)
			if correct {
				x = c.correct(a, from, t, append(append(make([]Estimate, 0, 5), ms[:order]...), m), weights)
			}
			ms = a.Remember(m, ms, keep)
		}
		a.State(i+1, x)
	}
	a.Output("x", x)
}

func (c UniPC) order() int {
	order := c.Order + 1
	switch {
	case c.Published:
		return 1
	case c.NoCorrector || len(c.Uncorrected) > 0:
		order = c.Order
	}
	return order
}

func (c UniPC) check(a *Assembler) {
	switch {
	case c.Order < 1 || c.Order > 4:
		a.Fail("Order is %d; 1 to 4 exist", c.Order)
	case c.B < B2 || c.B > Vary:
		a.Fail("B is %d; B1, B2 and Vary exist", c.B)
	case c.Order == 1 && c.NoCorrector && c.B != B2:
		a.Fail("at Order 1 without the corrector there is no slope for B; leave it out")
	case c.Published && (c.B != Vary || c.NoCorrector || c.Order == 1):
		a.Fail("Published differs in the corrector of B Vary from Order 2 on; leave it out")
	case c.NoCorrector && c.Uncorrected != nil:
		a.Fail("steps %v are Uncorrected, but with NoCorrector all are; leave one of them out", c.Uncorrected)
	}
	for k, i := range c.Uncorrected {
		if i < 0 || i >= a.Len()-1 || slices.Contains(c.Uncorrected[:k], i) {
			a.Fail("Uncorrected is %v; the steps that are corrected are 0 to %d, each to be named once", c.Uncorrected, a.Len()-2)
		} else if !a.Node(i).Inside() || !a.Node(i+1).Inside() {
			a.Fail("step %d is among Uncorrected, but steps from α = 0 and to σ = 0 never are corrected; leave it out", i)
		}
	}
}

func (c UniPC) corrects(step int) bool {
	return !c.NoCorrector && !slices.Contains(c.Uncorrected, step)
}

// correct goes the step again with the predictions used, the last of which is at the end of the step, and Taylor's weights.
func (c UniPC) correct(a *Assembler, x Reg, t Node, used []Estimate, taylor []float64) Reg {
	p, kind, s := len(used)-1, used[0].Kind, used[0].At
	if !c.Published || p == 1 {
		return a.multistep(x, byLambda, t, used, c.weights(taylor, kind, s, t))
	}
	// The loop over derivatives stops one short of the p-th, and the new prediction is left with the coefficient of the
	// last one in the loop, by the weight of the p-th.
	terms := a.Slopes(t, used, taylor[:p-1]...)
	share := a.Slopes(t, used, append(make([]float64, p-2), taylor[p-1]/float64(p))...)[p].C
	terms[0].C += terms[p].C - share
	terms[p].C = share
	return a.Combine(append(a.First(x, used[0], t), terms...)...)
}

// weights are Taylor's, but for a single slope, which is weighted with ½ B, whether the second prediction is an old one or that at t.
func (c UniPC) weights(taylor []float64, kind Prediction, s, t Node) []float64 {
	switch {
	case len(taylor) != 1 || c.B == Vary:
		return taylor
	case c.B == B2:
		return []float64{Weight(kind, s, t, 0) / 2}
	case kind == Data:
		return []float64{t.Alpha * (t.Lambda - s.Lambda) / 2}
	}
	return []float64{-t.Sigma * (t.Lambda - s.Lambda) / 2}
}

func (c UniPC) name() string {
	name := "UniPC-"
	if c.NoCorrector {
		name = "UniP-"
	}
	name += strconv.Itoa(c.Order)
	for _, o := range []struct {
		set  bool
		text string
	}{{c.B == B1, ", B1"}, {c.B == Vary, ", vary"}, {c.Noise, ", noise"}, {c.Published, ", published"}} {
		if o.set {
			name += o.text
		}
	}
	if c.Uncorrected != nil {
		name += fmt.Sprintf(", uncorrected %v", c.Uncorrected)
	}
	return name
}
