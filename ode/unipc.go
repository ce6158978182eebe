package ode

import "fmt"

// B is the function B(h) of [UniPC]. It matters only where a single slope is fitted to one equation: in a predictor of
// order 2 and a corrector of order 1. Elsewhere it cancels.
type B int

// The two functions of the paper, for the data prediction; the noise prediction has the other sign of h.
const (
	B2 B = iota // 1 − e^{−h}
	B1          // h
)

// UniPC predicts the state with the latest Order predictions, asks the network there, and corrects the state with the
// answer, which also serves the next step:
//
//	x_t = (σ_t/σ_s) x_s + α_t Σ_k k! h φ_{k+1}(−h) c_k,   x̂_0(u) = Σ_k c_k u^k
//
// where the polynomial goes through Order predictions in the predictor, and through one more, that at t, in the
// corrector. With Noise it is the noise prediction and the form of [DPM].
//
// Order p + 1, and p without the corrector. NFE n: the last step is not corrected, nor are steps from α = 0 and to σ =
// 0, which are first order. A run starts with lower orders.
//
// Errors: Order outside 1 to 4.
//
// Source: Zhao et al. 2023, arXiv 2302.04867, algorithms 1 and 2.
//
// Differs from reference: orders are lowered at the end only with LowerFinal, which the release does by default. The
// variant with varying coefficients is left out, since above order 1 its predictor is the above, and the release's
// corrector is wrong.
type UniPC struct {
	Order int // p; 0 means 2
	B     B
	Noise bool // predict noise instead of data

	// NoCorrector leaves the predictor alone: UniP.
	NoCorrector bool
	// LowerFinal lowers p in the last steps to 2 and 1, which steadies very short runs.
	LowerFinal bool
}

// Plan implements [Solver].
func (c UniPC) Plan(p Problem) (*Plan, error) {
	if c.Order == 0 {
		c.Order = 2
	}
	order := c.Order + 1
	if c.NoCorrector {
		order--
	}
	return Assemble(p, c.name(), order, func(a *Assembler) {
		if c.Order < 1 || c.Order > 4 {
			a.Fail("Order is %d; 1 to 4 exist", c.Order)
		}
		if c.B != B1 && c.B != B2 {
			a.Fail("B is %d; B1 and B2 exist", c.B)
		}
		if c.Order == 1 && (c.LowerFinal || c.NoCorrector && c.B != B2) {
			a.Fail("at Order 1 there is nothing for LowerFinal to lower, and without the corrector no slope for B; leave them out")
		}
		kind := Data
		if c.Noise {
			kind = Noise
		}
		x := a.Input("x")
		a.State(0, x)
		ms := []Estimate{a.Predict(x, a.Node(0), kind)}
		for i := range a.Steps() {
			s, t := a.Node(i), a.Node(i+1)
			order := min(len(ms), c.Order)
			if c.LowerFinal {
				order = min(order, a.Len()-i)
			}
			if !t.Inside() {
				order = 1
			}
			first := a.First(x, ms[0], t)
			used := ms[:order]
			if start, ok := a.SingleStart(x, ms[0], t, len(ms), c.Order); ok {
				x = start
				if i+1 < a.Len() {
					ms = a.Remember(a.Predict(x, t, kind), ms, c.Order)
				}
				a.State(i+1, x)
				continue
			}
			x = a.Combine(append(first, a.Slopes(t, used, c.weights(kind, s, t, order)...)...)...)
			if i+1 < a.Len() {
				m := a.Predict(x, t, kind)
				if s.Inside() && t.Inside() && !c.NoCorrector {
					used = append(used[:order:order], m)
					x = a.Combine(append(first, a.Slopes(t, used, c.weights(kind, s, t, order+1)...)...)...)
				}
				ms = a.Remember(m, ms, c.Order)
			}
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}

// weights are those of the n−1 slopes of a polynomial through n predictions. A single slope is weighted with ½ B,
// whether the second prediction is an old one or that at t.
func (c UniPC) weights(kind Prediction, s, t Node, n int) []float64 {
	switch {
	case n != 2:
		return taylor(kind, s, t, n-1)
	case c.B == B2:
		return []float64{Weight(kind, s, t, 0) / 2}
	case kind == Data:
		return []float64{t.Alpha * (t.Lambda - s.Lambda) / 2}
	}
	return []float64{-t.Sigma * (t.Lambda - s.Lambda) / 2}
}

func (c UniPC) name() string {
	name := fmt.Sprintf("UniPC-%d", c.Order)
	if c.NoCorrector {
		name = fmt.Sprintf("UniP-%d", c.Order)
	}
	for _, o := range []struct {
		set  bool
		text string
	}{{c.B == B1, ", B1"}, {c.Noise, ", noise"}, {c.LowerFinal, ", lower final"}} {
		if o.set {
			name += o.text
		}
	}
	return name
}
