package ode

import (
	"fmt"
	"math"
)

// A Tableau is an explicit Runge–Kutta method as data (Butcher 1964): stage i is evaluated at C[i] of the step, at the
// start plus the step times Σ_j A[i][j] k_j, and the step ends at the start plus the step times Σ_i B[i] k_i. A[i] has i
// entries, so A[0] none.
type Tableau struct {
	Name  string
	Order int
	A     [][]float64
	B, C  []float64

	// Low, if there is one, are the weights of a method of lower order on the same slopes and that at the end of the step, which comes last:
	// what [Adaptive] tells the error from. Plans do without.
	Low []float64
}

// Euler is the first-order method.
func Euler() Tableau {
	return Tableau{Name: "Euler", Order: 1, A: [][]float64{{}}, B: []float64{1}, C: []float64{0}}
}

// Heun is the second-order method with the slopes at both ends.
func Heun() Tableau {
	return Tableau{Name: "Heun", Order: 2, A: [][]float64{{}, {1}}, B: []float64{1. / 2, 1. / 2}, C: []float64{0, 1}}
}

// MidpointRule is the second-order method with the slope in the middle. On [Flow] in time it is RF-Solver (Wang et al.
// 2024, arXiv 2411.04746), which spells it as a Taylor step with a difference quotient.
func MidpointRule() Tableau {
	return Tableau{Name: "midpoint", Order: 2, A: [][]float64{{}, {1. / 2}}, B: []float64{0, 1}, C: []float64{0, 1. / 2}}
}

// Ralston is the second-order method with the least bound on its error (Ralston 1962).
func Ralston() Tableau {
	return Tableau{Name: "Ralston", Order: 2, A: [][]float64{{}, {2. / 3}}, B: []float64{1. / 4, 3. / 4}, C: []float64{0, 2. / 3}}
}

// Kutta is Kutta's third-order method (Kutta 1901).
func Kutta() Tableau {
	return Tableau{Name: "Kutta", Order: 3, A: [][]float64{{}, {1. / 2}, {-1, 2}}, B: []float64{1. / 6, 2. / 3, 1. / 6}, C: []float64{0, 1. / 2, 1}}
}

// RK4 is the classical fourth-order method (Kutta 1901).
func RK4() Tableau {
	return Tableau{Name: "RK4", Order: 4, A: [][]float64{{}, {1. / 2}, {0, 1. / 2}, {0, 0, 1}},
		B: []float64{1. / 6, 1. / 3, 1. / 3, 1. / 6}, C: []float64{0, 1. / 2, 1. / 2, 1}}
}

// check refuses a tableau that is not explicit, not consistent, or whose stages are not at the times they say.
func (b Tableau) check() error {
	n := len(b.B)
	if n == 0 || len(b.A) != n || len(b.C) != n {
		return fmt.Errorf("tableau %q has %d rows A, %d weights B, %d times C; as many of each are needed, one a stage", b.Name, len(b.A), n, len(b.C))
	}
	if b.Order < 1 {
		return fmt.Errorf("tableau %q has Order %d; it is at least 1", b.Name, b.Order)
	}
	near := func(row []float64, want float64) bool {
		sum, size := 0.0, 1.0
		for _, a := range row {
			sum, size = sum+a, size+math.Abs(a)
		}
		return math.Abs(sum-want) <= 1e-14*size
	}
	for i, row := range b.A {
		if len(row) != i {
			return fmt.Errorf("tableau %q: row %d of A has %d entries; it has one for each stage before it", b.Name, i, len(row))
		}
		if !near(row, b.C[i]) {
			return fmt.Errorf("tableau %q: row %d of A, %v, does not sum to C[%d] = %v", b.Name, i, row, i, b.C[i])
		}
	}
	if !near(b.B, 1) {
		return fmt.Errorf("tableau %q: B, %v, does not sum to 1", b.Name, b.B)
	}
	if b.Low != nil && (len(b.Low) != n+1 || !near(b.Low, 1)) {
		return fmt.Errorf("tableau %q: Low, %v, has to be %d weights that sum to 1, one for each stage and one for the end of the step", b.Name, b.Low, n+1)
	}
	return nil
}

// Coordinate says which ODE a Runge–Kutta method is applied to.
type Coordinate int

// The coordinates. Auto is Time on [Flow] and Ratio elsewhere.
const (
	Auto  Coordinate = iota
	Ratio            // d(x/α)/d(σ/α) = ε̂: straight for constant ε̂ on every schedule, as EDM's sampler has it
	Time             // dx/dt = the flow velocity
)

// RK applies an explicit Runge–Kutta method, by default Heun's.
//
//	Ratio:  k_i = ε̂(X_i),   X_i = α_i (x_s/α_s + (ρ_t−ρ_s) Σ_j a_ij k_j),  ρ = σ/α
//	Time:   k_i = dx/dt(X_i),  X_i = x_s + (t−s) Σ_j a_ij k_j
//
// Order: that of the tableau. NFE: stages times n, and less by the following. In Ratio, a step from α = 0 or to σ = 0 is
// first order with one evaluation: Heun on the EDM schedule with a last knot at 0 is EDM's sampler, with 2n−1. In Time
// the same holds, but for Flow and EDM, where the velocity is finite at the ends: there a step is first order only if
// one of its stages needs a velocity that the network's prediction does not determine, such as one from Data at σ = 0.
//
// Errors: a tableau that is not explicit or whose rows do not sum to its times; a network that predicts noise or a score
// from α = 0.
//
// Source: Karras et al. 2022, arXiv 2206.00364, algorithm 1 (Ratio); Liu et al. 2022, arXiv 2209.03003 (Time).
type RK struct {
	Tableau Tableau // without stages: Heun
	In      Coordinate
}

// Plan implements [Solver].
func (r RK) Plan(p Problem) (*Plan, error) {
	b := r.Tableau
	if len(b.B) == 0 && len(b.A) == 0 {
		b = Heun()
	}
	in, affine := r.In, false
	switch p.Schedule.(type) {
	case Flow:
		affine = true
		if in == Auto {
			in = Time
		}
	case EDM:
		affine = true
	}
	name := b.Name + " in σ/α"
	if in == Time {
		name = b.Name + " in t"
	}
	return Assemble(p, name, b.Order, func(a *Assembler) {
		if err := b.check(); err != nil {
			a.Fail("%w", err)
			return
		}
		if in < Auto || in > Time {
			a.Fail("In is %d; Auto, Ratio and Time exist", r.In)
		}
		x := a.Input("x")
		a.State(0, x)
		for i := range a.Steps() {
			switch s, t := a.Node(i), a.Node(i+1); {
			case in != Time && s.Inside() && t.Inside():
				x = b.step(a, x, s, t, Noise, b.ratios(a, s, t))
			case in == Time && (affine || s.Inside() && t.Inside()) && b.defined(a, s, t):
				x = b.step(a, x, s, t, FlowVelocity, b.times(a, s, t))
				if !affine {
					a.Inexact()
				}
			default:
				x = a.Combine(a.First(x, a.Predict(x, s, p.Raw), t)...)
			}
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}

// step writes one step for the slope of the given kind. nodes are those of the stages.
func (b Tableau) step(a *Assembler, x Reg, s, t Node, kind Prediction, nodes []Node) Reg {
	return a.Combine(b.advance(a, x, a.Predict(x, s, kind), t, nodes)(t, b.B)...)
}

// advance writes the stages of a step from its first slope, and returns what makes a state at a node of it from weights of the slopes, and of
// others that may be given.
func (b Tableau) advance(a *Assembler, x Reg, first Estimate, t Node, nodes []Node) func(n Node, weights []float64, more ...Reg) []Term {
	s, ks := first.At, []Reg{first.Reg}
	at := func(n Node, weights []float64, more ...Reg) []Term {
		scale, length := 1.0, t.T-s.T
		if first.Kind == Noise {
			scale, length = n.Alpha/s.Alpha, n.Alpha*(t.Ratio()-s.Ratio())
		}
		terms := []Term{{Reg: x, C: scale}}
		for j, k := range append(ks[:len(ks):len(ks)], more...) {
			if j < len(weights) && weights[j] != 0 {
				terms = append(terms, Term{Reg: k, C: length * weights[j]})
			}
		}
		return terms
	}
	for i, n := range nodes[1:] {
		ks = append(ks, a.Predict(a.Combine(at(n, b.A[i+1])...), n, first.Kind).Reg)
	}
	return at
}

func (b Tableau) times(a *Assembler, s, t Node) []Node {
	return b.nodes(s, t, func(c float64) Node { return a.At(s.T + c*(t.T-s.T)) })
}

func (b Tableau) ratios(a *Assembler, s, t Node) []Node {
	return b.nodes(s, t, func(c float64) Node {
		return a.At(a.Problem().Schedule.TimeOf(-math.Log(s.Ratio() + c*(t.Ratio()-s.Ratio()))))
	})
}

// nodes are those of the stages; the ends of the step are themselves to the last bit.
func (b Tableau) nodes(s, t Node, at func(c float64) Node) []Node {
	nodes := make([]Node, len(b.C))
	for i, c := range b.C {
		switch c {
		case 0:
			nodes[i] = s
		case 1:
			nodes[i] = t
		default:
			nodes[i] = at(c)
		}
	}
	return nodes
}

// defined says that the velocity is known at every stage of a step in time.
func (b Tableau) defined(a *Assembler, s, t Node) bool {
	all := true
	for _, n := range b.times(a, s, t) {
		all = a.Defined(n, FlowVelocity) && all
	}
	return all
}
