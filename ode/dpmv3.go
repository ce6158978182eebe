package ode

import "fmt"

// DPMv3 is DPM-Solver-v3: a multistep exponential integrator whose linear part, scale and drift are taken from
// [Statistics] of the model, an element at a time. With f = (σ ε̂ − l x)/α and g = e^{−∫s} f − ∫ e^{−∫s} b, integrals from
// λ_s,
//
//	x_t = α_t e^{−∫l} (x_s/α_s − ∫ e^{∫(l+s)} (g + ∫ e^{−∫s} b) dλ),   g = Σ_k c_k u^k, k < Order,   u = (λ−λ_s)/h
//
// where the polynomial goes through the latest Order values of g. The corrector takes the step again once the network has
// been asked at its end, with a polynomial through the value there too, and keeps f there.
//
// Order 1 to 3; 2 if differences are Pseudo, from predictor or corrector; 2 at Order 1 with a Pseudo corrector that is not Half. The
// integrals over the points of the statistics leave an error of order 2 in the distance of the points, whatever the number of
// steps. NFE n: the last step is not corrected. Steps from α = 0 and to σ = 0 are first order. A run starts with lower orders.
//
// Shapes: samples have as many elements as a row of the statistics.
//
// The knots are moved to the nearest points of the statistics and so are no parameter of the plan. Nor are the statistics: they
// are data of the plan, not of its [Plan.Table]. As the coefficients are those of an affine model, the plan is not Exact.
//
// Errors: statistics that are empty, ragged, not finite or not equispaced, or whose ends are not those of the knots (but for
// knots at α = 0 and σ = 0); two knots moved to one point; Order outside 1 to 3; options that have no effect.
//
// Source: Zheng et al. 2023, arXiv 2310.13268.
//
// Differs from reference: with Half the release corrects where the paper says not to, see there.
type DPMv3 struct {
	Statistics Statistics
	Order      int // 0 means 3; with guidance, 2 is steadier

	// Pseudo takes the k-th derivative from the k+1 latest values alone, by divided differences. It matters at Order 3.
	Pseudo bool

	// Corrector corrects all states but the last, with as many values as the step had.
	Corrector bool
	// PseudoCorrector is Corrector with one value more, and divided differences.
	PseudoCorrector bool
	// Half corrects only in the half of time near data, t at most half the noisy end of the schedule's range, as the paper
	// advises for strong guidance.
	Half bool
	// Published is Half as released: in the other half.
	Published bool
}

// order is the order of the states that later steps build on: the corrector gains one over a predictor, where there is one. A last step of
// first order leaves order 2.
func (v DPMv3) order() int {
	order, corrected := v.Order, v.Order
	if v.Pseudo {
		order = min(order, 2)
	}
	if v.PseudoCorrector {
		corrected = min(v.Order+1, 2)
	}
	switch {
	case v.Half:
		order = min(order, corrected)
	case v.Corrector || v.PseudoCorrector:
		order = min(order+1, corrected)
	}
	return order
}

func (v DPMv3) name() string {
	name := fmt.Sprintf("DPM-Solver-v3(%d", v.Order)
	for _, o := range []struct {
		set  bool
		text string
	}{{v.Pseudo, ", pseudo"}, {v.Corrector, ", corrector"}, {v.PseudoCorrector, ", pseudo corrector"}, {v.Half, ", half"}, {v.Published, ", published"}} {
		if o.set {
			name += o.text
		}
	}
	return name + ")"
}

func (v DPMv3) check() error {
	switch {
	case v.Order < 1 || v.Order > 3:
		return fmt.Errorf("option Order is %d; 1, 2 and 3 exist", v.Order)
	case v.Pseudo && v.Order < 3:
		return fmt.Errorf("option Pseudo at Order %d changes nothing; leave it out, or take Order 3", v.Order)
	case v.Corrector && v.PseudoCorrector:
		return fmt.Errorf("options Corrector and PseudoCorrector are both set; choose one")
	case v.Corrector && v.Order == 1:
		return fmt.Errorf("option Corrector at Order 1 changes nothing; use PseudoCorrector")
	case v.Half && !v.Corrector && !v.PseudoCorrector:
		return fmt.Errorf("option Half without a corrector; set Corrector or PseudoCorrector, or leave it out")
	case v.Published && !v.Half:
		return fmt.Errorf("option Published differs with Half alone; leave it out")
	}
	return nil
}

// corrects says whether the state at a time is corrected.
func (v DPMv3) corrects(s Schedule, t float64) bool {
	_, noise := s.Range()
	return (v.Corrector || v.PseudoCorrector) && (!v.Half || (t <= noise/2) != v.Published)
}

// Plan implements [Solver].
func (v DPMv3) Plan(p Problem) (*Plan, error) {
	if v.Order == 0 {
		v.Order = 3
	}
	q, at, err := p, []int(nil), v.check()
	if err == nil {
		q, at, err = v.Statistics.snap(p)
	}
	if err != nil {
		return nil, fmt.Errorf("ode: %s: %w", v.name(), err)
	}
	return Assemble(q, v.name(), v.order(), func(a *Assembler) {
		a.FixKnots()
		a.Inexact()
		v.emit(a, at)
	})
}

func (v DPMv3) emit(a *Assembler, at []int) {
	m, x := v.Statistics, a.Input("x")
	a.State(0, x)
	var fits []fit // latest first
	if a.Node(0).Inside() {
		fits = append(fits, m.fit(a, x, at[0], a.Node(0)))
	}
	for i := range a.Steps() {
		s, t := a.Node(i), a.Node(i+1)
		order := a.Order(len(fits), v.Order)
		inside := s.Inside() && t.Inside()
		switch {
		case inside:
			x = m.step(a, fits[:order], at[i+1], t, differences(fits[:order], t, v.Pseudo))
		case t.Inside():
			x = a.Combine(a.First(x, a.Predict(x, s, Noise), t)...)
		default:
			x = a.Combine(m.first(fits[0], t)...)
		}
		if i+1 < a.Len() {
			f := m.fit(a, x, at[i+1], t)
			if v.PseudoCorrector {
				order++
			}
			if inside && order > 1 && v.corrects(a.Problem().Schedule, t.T) {
				used := append([]fit{fits[0], f}, fits[1:]...)[:order]
				x = m.step(a, used, at[i+1], t, differences(used, t, v.PseudoCorrector))
				f.x = x
			}
			fits = append([]fit{f}, fits[:min(len(fits), v.Order-1)]...)
		}
		a.State(i+1, x)
	}
	a.Output("x", x)
}

// differences are the weights of the polynomial in u = (λ−λ_s)/h through the fits, the first of which is at s. Divided
// differences take its k-th coefficient from the first k+1.
func differences(fits []fit, to Node, divided bool) [][]float64 {
	u := make([]float64, len(fits))
	for j, f := range fits {
		u[j] = (f.at.Lambda - fits[0].at.Lambda) / (to.Lambda - fits[0].at.Lambda)
	}
	w := monomials(u)
	if divided {
		for k := range w {
			w[k] = append(monomials(u[:k+1])[k], make([]float64, len(u)-k-1)...)
		}
	}
	return w
}
