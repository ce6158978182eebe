package ode

import "fmt"

// LMS is the Adams–Bashforth method on d(x/α)/dρ = ε̂ with the noise level ρ = σ/α for time, of any spacing:
//
//	x_t = α_t (x_s/α_s + ∫ ε̂(ρ) dρ)   over the step
//
// where ε̂(ρ) is the polynomial through the latest Order noise predictions, integrated exactly.
//
// Order 1 to 4. NFE n. Steps from α = 0 and to σ = 0 are first order. A run starts with lower orders, which costs a long run its order:
// the first step is of first order and leaves an error of second.
//
// Errors: Order outside 1 to 4; a network that predicts noise or a score from α = 0.
//
// Source: Zhang, Chen 2022, arXiv 2204.13902, there ρAB of degree Order−1; known as LMS from the release of Karras et al. 2022,
// arXiv 2206.00364, by Crowson.
//
// Differs from reference: the release keeps its order in a step to σ = 0, which then does not end on the data prediction; so does
// Published.
type LMS struct {
	Order int // 0 means 4

	// Published keeps the order in a step to σ = 0.
	Published bool
}

// Plan implements [Solver].
func (l LMS) Plan(p Problem) (*Plan, error) {
	if l.Order == 0 {
		l.Order = 4
	}
	name := fmt.Sprintf("LMS(%d)", l.Order)
	if l.Published {
		name = fmt.Sprintf("LMS(%d, published)", l.Order)
	}
	m := adams{Order: l.Order, Kind: Noise, Clock: Node.Ratio, Last: l.Published, Moments: func(a *Assembler, s, t Node, n int) []float64 {
		return powers(t.Alpha*(t.Ratio()-s.Ratio()), n)
	}}
	return Assemble(p, name, l.Order, m.emit)
}

// adams is what multistep methods on a polynomial in some other quantity than λ share.
type adams struct {
	Order int
	Kind  Prediction
	Clock func(Node) float64
	// Moments are the weights of the u^k, k = 1 … n, in the state that a step arrives at; u is the clock, 0 at its start and 1 at its
	// end.
	Moments func(a *Assembler, s, t Node, n int) []float64
	Last    bool // the step to σ = 0 is like the others
}

// powers are the moments of u^k for a uniform weight.
func powers(total float64, n int) []float64 {
	w := make([]float64, n)
	for k := range w {
		w[k] = total / float64(k+2)
	}
	return w
}

func (m adams) emit(a *Assembler) {
	if m.Order < 1 || m.Order > 4 {
		a.Fail("Order is %d; 1 to 4 exist", m.Order)
	}
	x := a.Input("x")
	a.State(0, x)
	var es []Estimate
	for i := range a.Steps() {
		s, t := a.Node(i), a.Node(i+1)
		es = a.Remember(a.Predict(x, s, m.Kind), es, m.Order)
		used, weights := es[:a.Order(len(es), m.Order)], []float64(nil)
		if t.end < 0 || t.end > 0 && !m.Last {
			used = es[:1]
		}
		if n := len(used) - 1; n > 0 {
			weights = m.Moments(a, s, t, n)
		}
		if start, ok := a.SingleStart(x, es[0], t, len(es), m.Order); ok {
			x = start
		} else {
			x = a.multistep(x, m.Clock, t, used, weights)
		}
		a.State(i+1, x)
	}
	a.Output("x", x)
}
