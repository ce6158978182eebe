package ode

import "fmt"

// Start says how [PNDM] takes the steps for which it has no history yet.
type Start int

// The starts. Each has the name of the method it makes.
const (
	IPNDM Start = iota // lower orders: n evaluations
	SPNDM              // the first step with the mean of the predictions at both ends: one evaluation more. With Order 4, PLMS
	FPNDM              // the first Order−1 steps by four evaluations each, as the classical Runge–Kutta method
)

// PNDM makes first-order steps with a mean of the latest noise predictions in place of the last one:
//
//	x_t = (α_t/α_s) x_s + α_t (ρ_t−ρ_s) Σ_j b_j ε̂_{i−j},   ρ = σ/α
//
// with the weights of the Adams–Bashforth method for equal steps: (1), (3, −1)/2, (23, −16, 5)/12, (55, −59, 37, −9)/24. So Start
// FPNDM is F-PNDM, SPNDM is S-PNDM with Order 2 and PLMS with Order 4, and IPNDM is iPNDM.
//
// Order 2, as the weights suppose equal steps and the step a constant ε̂, and 1 with Order 1. The knots should be uniform in time,
// or in something smooth. NFE n, with SPNDM n+1, with FPNDM n+3(Order−1). Steps from α = 0 and to σ = 0 are first order and cost one
// evaluation.
//
// Errors: Order outside 1 to 4; a Start for Order 1, which needs none; a network that predicts noise or a score from α = 0.
//
// Source: Liu et al. 2022, arXiv 2202.09778; Rombach et al. 2022, arXiv 2112.10752, for PLMS; Zhang, Chen
// 2022, arXiv 2204.13902, appendix, for iPNDM.
//
// Differs from reference: the middle of a step is not rounded to a whole level; the release's levels are off by one.
type PNDM struct {
	Order int // how many predictions are averaged; 0 means 4
	Start Start
}

// Plan implements [Solver].
func (c PNDM) Plan(p Problem) (*Plan, error) {
	if c.Order == 0 {
		c.Order = 4
	}
	name := fmt.Sprintf("%s-PNDM(%d)", [...]string{"i", "S", "F"}[min(max(0, c.Start), FPNDM)], c.Order)
	return Assemble(p, name, min(c.Order, 2), func(a *Assembler) {
		if c.Order < 1 || c.Order > 4 {
			a.Fail("Order is %d; 1 to 4 exist", c.Order)
		}
		if c.Start < IPNDM || c.Start > FPNDM || c.Start != IPNDM && c.Order == 1 {
			a.Fail("Start is %d at Order %d; IPNDM exists, and from Order 2 on SPNDM and FPNDM", c.Start, c.Order)
		}
		x := a.Input("x")
		a.State(0, x)
		var es []Estimate
		for i := range a.Steps() {
			s, t := a.Node(i), a.Node(i+1)
			e := a.Predict(x, s, Noise)
			es = a.Remember(e, es, c.Order)
			order, most := a.Order(len(es), c.Order), a.Order(c.Order, c.Order)
			use, weights := es[:order], adamsBashforth(order)
			switch {
			case !s.Inside() || !t.Inside():
				use, weights = es[:1], adamsBashforth(1)
			case len(es) == 1 && c.Start == SPNDM && most > 1:
				use, weights = []Estimate{e, pseudo(a, x, s, e, t)}, []float64{1. / 2, 1. / 2}
			case len(es) < c.Order && c.Start == FPNDM && most == c.Order:
				mid := a.At((s.T + t.T) / 2)
				e2 := pseudo(a, x, s, e, mid)
				e3 := pseudo(a, x, s, e2, mid)
				use, weights = []Estimate{e, e2, e3, pseudo(a, x, s, e3, t)}, []float64{1. / 6, 1. / 3, 1. / 3, 1. / 6}
			}
			terms := a.First(x, e, t)
			c := terms[1].C
			terms = terms[:1]
			for j, w := range weights {
				terms = append(terms, Term{Reg: use[j].Reg, C: c * w})
			}
			x = a.Combine(terms...)
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}

// pseudo predicts at a node that is reached from s with a prediction made elsewhere.
func pseudo(a *Assembler, x Reg, s Node, e Estimate, to Node) Estimate {
	e.At = s
	return a.Predict(a.Combine(a.First(x, e, to)...), to, Noise)
}

// adamsBashforth are the weights for equal steps, the newest first.
func adamsBashforth(order int) []float64 {
	return [][]float64{{1}, {3. / 2, -1. / 2}, {23. / 12, -16. / 12, 5. / 12}, {55. / 24, -59. / 24, 37. / 24, -9. / 24}}[order-1]
}
