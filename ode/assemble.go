package ode

import (
	"fmt"
	"iter"
	"math"
	"slices"
)

// An Assembler is how a solver is written: it walks the knots, asks for predictions, and combines. Everything that
// solvers have in common is here: which knots there are, what the network's output means, what a step from α = 0 or to σ
// = 0 is, and which numbers of the plan move when a knot is moved.
//
// The first error stays; all later calls do nothing, and [Assemble] returns it. So a solver has no error handling of its
// own beside [Assembler.Fail].
type Assembler struct {
	problem Problem
	plan    Plan
	knots   []float64
	nodes   []Node
	step    int
	fixed   bool
	err     error

	evaluations, draws int // so far

	singleStart bool            // the solver heeds Problem.SingleStart
	lowers      bool            // and Problem.LowerFinal
	asked       map[Reg]float64 // the times of the states that the network was asked at
	stages      []stage         // inside steps

	decisions []bool // in the order they were taken
	replay    []bool // the decisions of the plan that is rebuilt

	kept []Term // room for the terms of the plan
}

// A stage is a time between the knots of a step, or beyond them.
type stage struct {
	step int
	t    float64
}

// A Node is a time at which a solver stops or asks the network: the schedule there and its λ.
type Node struct {
	Point
	Lambda float64

	end int // −1 where α is 0 in the plan as first assembled, +1 where σ is 0
}

// Inside says that λ is finite, so that formulas in λ apply. Steps to and from the other nodes are first order.
func (n Node) Inside() bool { return n.end == 0 }

// Ratio is the noise level σ/α.
func (n Node) Ratio() float64 { return n.Sigma / n.Alpha }

// An Estimate is a prediction made at a node. Its Kind is the wanted one, except at an end of the schedule where that one
// would not determine x_0 and ε: there it is one that does.
type Estimate struct {
	Reg  Reg
	Kind Prediction
	At   Node
}

// Assemble compiles a problem. The name and the theoretical order become those of the plan, which counts as exact at
// knots unless [Assembler.Inexact] is called. emit writes the steps; it must depend on nothing but the Assembler and the
// options of the solver, since it is run again to rebuild the plan for other knots.
func Assemble(p Problem, name string, order int, emit func(a *Assembler)) (*Plan, error) {
	knots, err := p.resolve()
	if err != nil {
		return nil, fmt.Errorf("%w (for %s)", err, name)
	}
	return assemble(p, knots, name, order, emit, nil)
}

func assemble(p Problem, knots []float64, name string, order int, emit func(a *Assembler), replay []bool) (*Plan, error) {
	if err := checkKnots(p.Schedule, knots); err != nil {
		return nil, fmt.Errorf("%w (for %s)", err, name)
	}
	a := &Assembler{problem: p, knots: knots, replay: replay, decisions: make([]bool, 0, max(len(replay), 3*len(knots)))}
	a.plan = Plan{Name: name, Schedule: p.Schedule, Raw: p.Raw, Order: order, Exact: true}
	a.plan.Code, a.plan.Knots, a.nodes = make([]Instr, 0, 4*len(knots)), make([]Knot, 0, len(knots)+1), make([]Node, 0, len(knots))
	for i, t := range knots {
		a.nodes = append(a.nodes, a.At(t))
		a.plan.Knots = append(a.plan.Knots, Knot{T: t, Reg: noReg})
		if i > 0 && a.err == nil && (a.nodes[i].Lambda > a.nodes[i-1].Lambda) != (t < knots[i-1]) {
			a.Fail("λ does not fall with t between knots %d and %d of %v, t = %v and %v", i-1, i, describe(p.Schedule), knots[i-1], t)
		}
	}
	if a.err == nil {
		emit(a)
	}
	if p.SingleStart && !a.singleStart {
		a.Fail("Problem.SingleStart is set, but this solver does not start from lower orders; leave it out, or use DPMpp, DPM, UniPC, DEIS or LMS in multistep form")
	}
	if p.LowerFinal {
		if !a.lowers {
			a.Fail(nothingToLower)
		}
		a.plan.Order = min(a.plan.Order, 2)
	}
	if p.Denoise && a.err == nil {
		a.denoise()
	}
	if p.History != 0 && a.err == nil {
		a.recall()
	}
	if a.err != nil {
		return nil, a.err
	}
	if replay != nil && len(a.decisions) != len(replay) {
		return nil, fmt.Errorf("ode: %s: took %d decisions, then %d when rebuilt", name, len(replay), len(a.decisions))
	}
	if !a.fixed {
		a.plan.params = append(a.plan.params, a.knotParam(emit))
	}
	plan := a.plan // a copy, so that the assembler does not live as long as the plan
	if err := plan.Verify(); err != nil {
		return nil, err
	}
	return &plan, nil
}

const nothingToLower = "Problem.LowerFinal is set, but this solver has no order to lower; leave it out, or use a multistep solver of order 2 or more, such as DPMpp, UniPC, DEIS or LMS"

// denoise puts the data prediction at the last knot in place of the output.
func (a *Assembler) denoise() {
	a.step = a.Len()
	last, x := a.Node(a.step), a.plan.Outputs[0]
	zero, _ := a.problem.Schedule.Domain()
	to := a.At(zero)
	switch {
	case len(a.plan.Outputs) > 1 || x.Name != "x":
		a.Fail("Problem.Denoise is for solvers that end in one state, and this one ends in %v; leave it out", portNames(a.plan.Outputs))
	case !a.Ahead(a.step - 1):
		a.Fail("Problem.Denoise, but the last step goes up to t = %v, away from data; leave it out", last.T)
	case last.end > 0 || to.end <= 0:
		a.Fail("Problem.Denoise goes from the last knot, t = %v, to t = %v, but σ is %v and %v there; it must be positive and 0", last.T, zero, last.Sigma, to.Sigma)
	}
	r := a.Combine(a.First(x.Reg, a.Predict(x.Reg, last, Data), to)...)
	a.plan.Outputs = []Port{{"x", r}}
	a.plan.Knots = append(a.plan.Knots, Knot{zero, r})
}

// knotParam makes the knots a parameter. Each may move as far as its neighbours and the domain allow.
func (a *Assembler) knotParam(emit func(a *Assembler)) Param {
	lo, hi := a.problem.Schedule.Domain()
	n := len(a.knots)
	p := Param{Name: "knots", Value: slices.Clone(a.knots), Lower: make([]float64, 0, n), Upper: make([]float64, 0, n)}
	for i := range a.knots {
		lower, upper := lo, hi
		for _, j := range [...]int{i - 1, i + 1} {
			if j < 0 || j >= n {
				continue
			}
			if t := a.knots[j]; t < a.knots[i] {
				lower = t
			} else {
				upper = t
			}
		}
		p.Lower, p.Upper = append(p.Lower, lower), append(p.Upper, upper)
	}
	if d, ok := a.problem.Schedule.(*Discrete); ok {
		for i, t := range a.knots {
			p.Lower[i], p.Upper[i] = d.piece(t, p.Lower[i], p.Upper[i])
		}
		// A stage moves with the knots of its step, and is to stay in its piece too.
		for _, s := range a.stages {
			lower, upper := d.piece(s.t, lo, hi)
			for i := s.step; i <= min(s.step+1, n-1); i++ {
				t := a.knots[i]
				p.Lower[i], p.Upper[i] = max(p.Lower[i], t-(s.t-lower)), min(p.Upper[i], t+(upper-s.t))
			}
		}
	}
	problem, name, order, decisions := a.problem, a.plan.Name, a.plan.Order, a.decisions
	p.Rebuild = func(value []float64) (*Plan, error) {
		if len(value) != n {
			return nil, fmt.Errorf("ode: %s: %d knots given to rebuild a plan of %d", name, len(value), n)
		}
		return assemble(problem, slices.Clone(value), name, order, emit, decisions)
	}
	return p
}

// Fail records an error, unless there is one already. The name of the solver is put before it.
func (a *Assembler) Fail(format string, args ...any) {
	if a.err == nil {
		a.err = fmt.Errorf("ode: %s: "+format, append([]any{a.plan.Name}, args...)...)
	}
}

// check records an error that already says where it is from.
func (a *Assembler) check(err error) {
	if a.err == nil && err != nil {
		a.err = fmt.Errorf("%w (in step %d of %s)", err, a.step, a.plan.Name)
	}
}

// Decide returns b, and returns the same again when the plan is rebuilt for other knots. Whatever shapes the code and
// depends on a number must go through it, so that a rebuilt plan is the same code instruction for instruction.
func (a *Assembler) Decide(b bool) bool {
	if n := len(a.decisions); n < len(a.replay) {
		b = a.replay[n]
	}
	a.decisions = append(a.decisions, b)
	return b
}

// Inexact declares that the coefficients of x_0 and ε do not reproduce (α, σ) at the knots.
func (a *Assembler) Inexact() { a.plan.Exact = false }

// FixKnots declares that the knots of the plan are not those of the problem's grid, so that they are no parameter.
func (a *Assembler) FixKnots() { a.fixed = true }

// Problem is what is being compiled.
func (a *Assembler) Problem() Problem { return a.problem }

// Len is the number of steps.
func (a *Assembler) Len() int { return len(a.knots) - 1 }

// Steps counts the steps, and gives what is emitted meanwhile the number of the step. It ends early after an error.
func (a *Assembler) Steps() iter.Seq[int] { return a.StepsFrom(0) }

// StepsFrom is Steps without the first.
func (a *Assembler) StepsFrom(first int) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i := first; i < a.Len() && a.err == nil; i++ {
			a.step = i
			if !yield(i) {
				return
			}
		}
	}
}

// Node is knot i of 0 to Len.
func (a *Assembler) Node(i int) Node { return a.nodes[i] }

// Ahead says that step i goes from noise to data, as in sampling.
func (a *Assembler) Ahead(i int) bool { return a.knots[i+1] < a.knots[i] }

// At is a node at any time of the domain.
func (a *Assembler) At(t float64) Node {
	if lo, hi := a.problem.Schedule.Domain(); !(t >= lo && t <= hi) {
		a.Fail("time %v in step %d is outside of the domain [%v, %v] of %v", t, a.step, lo, hi, describe(a.problem.Schedule))
		return Node{}
	}
	n := Node{Point: a.problem.Schedule.At(t)}
	if !(n.Alpha >= 0 && n.Sigma >= 0 && n.Alpha+n.Sigma > 0) || math.IsInf(n.Alpha+n.Sigma, 0) {
		a.Fail("the schedule %v gives (α, σ) = (%v, %v) at t = %v; both must be finite and not negative, and not both zero", describe(a.problem.Schedule), n.Alpha, n.Sigma, t)
		return Node{}
	}
	if len(a.nodes) == len(a.knots) {
		a.stages = append(a.stages, stage{a.step, t})
	}
	n.Lambda = n.Point.Lambda()
	if a.Decide(n.Alpha == 0) {
		n.end = -1
	}
	if a.Decide(n.Sigma == 0) {
		n.end = 1
	}
	return n
}

// Divide returns the n−1 nodes that divide the way from s to t, both inside, into n parts by the problem's own grid;
// uniform in λ if it has none, and in time if it is [LinearQuadratic].
func (a *Assembler) Divide(s, t Node, n int) []Node {
	grid := a.problem.Grid
	switch grid.(type) {
	case nil:
		grid = LogSNR{}
	case LinearQuadratic: // a rule for whole runs: in two parts it would halve nothing
		grid = UniformTime{}
	}
	if a.err != nil || n < 2 {
		return nil
	}
	ks, err := grid.Knots(a.problem.Schedule, s.T, t.T, n)
	if err == nil {
		err = checkKnots(a.problem.Schedule, ks)
	}
	if a.check(err); err != nil {
		return nil
	}
	nodes := make([]Node, n-1)
	for i := range nodes {
		nodes[i] = a.At(ks[i+1])
	}
	return nodes
}

func (a *Assembler) register() Reg {
	a.plan.Regs++
	return Reg(a.plan.Regs - 1)
}

// emit is a new instruction, whose arguments are still to be filled in. After an error it is one that is thrown away.
func (a *Assembler) emit(op Op) *Instr {
	if a.err != nil {
		return &Instr{Dst: noReg}
	}
	code := a.plan.Code
	n := len(code)
	if n == cap(code) {
		code = append(make([]Instr, 0, 2*n), code...)
	}
	a.plan.Code = code[:n+1]
	in := &a.plan.Code[n]
	in.Op, in.Dst, in.Step = op, a.register(), a.step
	switch op {
	case Evaluate:
		in.Index = a.evaluations
		a.evaluations++
	case Draw:
		in.Index = a.draws
		a.draws++
	}
	return in
}

// room is an empty list for n terms at the start of a block: a plan has hundreds of short lists of terms. What is used of it is then to be
// cut off the block.
func room(block *[]Term, n int) []Term {
	if len(*block) < n {
		*block = make([]Term, max(n, 64))
	}
	return (*block)[:0:n]
}

// Input is a new input of the plan.
func (a *Assembler) Input(name string) Reg {
	r := a.register()
	a.plan.Inputs = append(a.plan.Inputs, Port{name, r})
	return r
}

// Output makes a register an output of the plan.
func (a *Assembler) Output(name string, r Reg) {
	a.plan.Outputs = append(a.plan.Outputs, Port{name, r})
}

// State says that a register is the state at knot i of 0 to Len. Every knot needs one.
func (a *Assembler) State(i int, r Reg) { a.plan.Knots[i].Reg = r }

// Combine emits Σ C·Reg. Terms of one register are added up.
func (a *Assembler) Combine(terms ...Term) Reg {
	sum := room(&a.kept, len(terms))
	for i := range terms {
		t := &terms[i]
		if !finite(t.C) {
			a.Fail("a coefficient of step %d, from t = %v to %v, is %v", a.step, a.knots[a.step], a.plan.Knots[min(a.step+1, a.Len())].T, t.C)
			return noReg
		}
		j := 0
		for j < len(sum) && !(sum[j].Reg == t.Reg && sum[j].plain() && t.plain()) {
			j++
		}
		if j < len(sum) {
			sum[j].C += t.C
		} else {
			sum = append(sum, *t)
		}
	}
	a.kept = a.kept[len(sum):]
	in := a.emit(Combine)
	in.Terms = slices.Clip(sum)
	return in.Dst
}

// Draw emits a fresh standard Gaussian for the interval between two nodes.
func (a *Assembler) Draw(from, to Node) Reg {
	in := a.emit(Draw)
	in.From, in.To = from.T, to.T
	return in.Dst
}

// Kind is what [Assembler.Predict] would make of a wanted prediction at a node: the wanted one if it determines x_0 and ε
// there; at α = 0 else Data, and at σ = 0 else Noise.
func (a *Assembler) Kind(at Node, want Prediction) Prediction {
	switch {
	case at.end < 0 && (want == Noise || want == Score):
		return Data
	case at.end > 0 && (want == Data || want == Denoiser || want == Score):
		return Noise
	}
	return want
}

// Defined says whether Predict would succeed with exactly the wanted prediction.
func (a *Assembler) Defined(at Node, want Prediction) bool {
	if a.Kind(at, want) != want {
		return false
	}
	_, _, err := Convert(a.problem.Raw, want, at.Point)
	return a.Decide(err == nil && (a.problem.Raw != Denoiser || at.Inside()))
}

// Predict emits one evaluation of the network at x, and what it takes to turn the output into the wanted prediction. If the problem says to
// clip, the data prediction is clipped, and it is an error to want another.
func (a *Assembler) Predict(x Reg, at Node, want Prediction) Estimate {
	m := Estimate{Kind: a.Kind(at, want), At: at}
	u, v, err := a.convert(m.Kind, at)
	if a.check(err); err != nil {
		return m
	}
	clip := a.problem.Clip != (Clipping{})
	if clip && !m.Kind.same(Data) {
		a.Fail("Problem.Clip thresholds data predictions, but %v is wanted at t = %v; leave it out, or use a solver for data, such as DPMpp, UniPC or DDIM", m.Kind, at.T)
		return m
	}
	if a.problem.History != 0 {
		if a.asked == nil {
			a.asked = map[Reg]float64{}
		}
		a.asked[x] = at.T
	}
	src, t := x, at.T
	if a.problem.Raw == Denoiser {
		if !at.Inside() {
			a.Fail("step %d: a Denoiser has no noise level to be called with at t = %v, where (α, σ) = (%v, %v); keep away from that end", a.step, at.T, at.Alpha, at.Sigma)
			return m
		}
		t = at.Ratio()
		if a.problem.Schedule != (EDM{}) {
			src = a.Combine(Term{Reg: x, C: 1 / at.Alpha})
		}
	}
	in := a.emit(Evaluate)
	in.Src, in.T, m.Reg = src, t, in.Dst
	if !a.problem.Raw.same(m.Kind) || a.scale(at) != 1 {
		m.Reg = a.Combine(Term{Reg: x, C: u}, Term{Reg: m.Reg, C: v})
	}
	if clip {
		m.Reg = a.clip(m.Reg)
	}
	return m
}

// clip thresholds a data prediction as the problem says.
func (a *Assembler) clip(m Reg) Reg {
	in := a.emit(Clip)
	in.Src, in.Clip = m, a.problem.Clip
	return in.Dst
}

// scale is what the noise at a node is divided by.
func (a *Assembler) scale(at Node) float64 {
	if at.end < 0 {
		return 1
	}
	return a.problem.Scale.at(a.step, a.Len())
}

// convert is [Convert] with that scale.
func (a *Assembler) convert(want Prediction, at Node) (u, v float64, err error) {
	scale := a.scale(at)
	if scale == 1 {
		return Convert(a.problem.Raw, want, at.Point)
	}
	a.Inexact()
	return rescaled(a.problem.Raw, want, at.Point, scale)
}

// Any is the prediction to want where any kind will do, as in a first-order step: the network's own, or Data if the problem says to clip.
func (a *Assembler) Any() Prediction {
	if a.problem.Clip != (Clipping{}) {
		return Data
	}
	return a.problem.Raw
}

// SingleStart returns the end of a step as a single step from the estimate, and true, if the problem asks for such a start, the history is
// shorter than the solver's order, and λ is finite at both nodes. The estimate is of Noise or Data. A solver that calls this heeds
// [Problem].SingleStart.
func (a *Assembler) SingleStart(x Reg, m Estimate, to Node, history, order int) (Reg, bool) {
	a.singleStart = a.singleStart || order > 1
	if !a.problem.SingleStart || history >= order || !m.At.Inside() || !to.Inside() {
		return noReg, false
	}
	x, _ = exponential{DPMpp{Single: true}, m.Kind, ""}.step(a, x, m, to, min(a.Order(order, order), 3))
	return x, true
}

// Order is how many predictions the present step of a multistep solver goes through: as many as its order is and there are, and fewer in
// the last steps if the problem says so. A solver that calls this heeds [Problem].LowerFinal.
func (a *Assembler) Order(predictions, order int) int {
	a.lowers = a.lowers || order > 1
	order = min(order, predictions)
	if a.problem.LowerFinal {
		order = min(order, a.Len()-a.step)
	}
	return order
}

// Toward is alpha·x̂_0 + sigma·ε̂ in terms of the state at the estimate's node and the estimate: whatever a first-order
// step is made of, valid at both ends of the schedule.
func (a *Assembler) Toward(x Reg, m Estimate, alpha, sigma float64) []Term {
	return a.toward(nil, x, m, alpha, sigma)
}

// toward is Toward behind other terms.
func (a *Assembler) toward(terms []Term, x Reg, m Estimate, alpha, sigma float64) []Term {
	u, v, err := m.Kind.resolve(m.At.Point, alpha, sigma)
	a.check(err)
	return append(terms, Term{Reg: x, C: u}, Term{Reg: m.Reg, C: v})
}

// First is the exact step to a node if the estimate stayed what it is, in data and in noise alike: DDIM. To σ = 0 it
// is α·x̂_0.
func (a *Assembler) First(x Reg, m Estimate, to Node) []Term {
	return a.Toward(x, m, to.Alpha, to.Sigma)
}

// Weight is the weight of (λ−λ_s)^k/h^k in the exact step between two nodes inside, h = λ_t − λ_s, of a quantity that
// is predicted as Noise or Data:
//
//	Data:   α_t k! h φ_{k+1}(−h)      Noise:  −σ_t k! h φ_{k+1}(h)
//
// [Assembler.First] holds that of k = 0.
func Weight(kind Prediction, from, to Node, k int) float64 {
	h := to.Lambda - from.Lambda
	if kind == Data {
		return to.Alpha * factorial(k) * h * phi(k+1, -h)
	}
	return -to.Sigma * factorial(k) * h * phi(k+1, h)
}

// Remember puts an estimate before those of earlier steps, in whose memory, and keeps the n newest. Estimates at an end of the schedule
// are dropped once they are history: λ is infinite there, so that nothing can be interpolated with them.
func (a *Assembler) Remember(m Estimate, history []Estimate, n int) []Estimate {
	if cap(history) < n {
		history = append(make([]Estimate, 0, n), history...)
	}
	if !m.At.Inside() {
		history = history[:0]
	}
	history = slices.DeleteFunc(history, func(h Estimate) bool { return !h.At.Inside() })
	return slices.Insert(history[:min(len(history), n-1)], 0, m)
}

// Slopes is Σ_k weights[k−1]·c_k over k ≥ 1, where Σ_k c_k u^k is the polynomial in u = (λ−λ_s)/h through the estimates,
// the first of which is at s: what a step from s to a node adds to First. There is one weight less than there are
// estimates.
func (a *Assembler) Slopes(to Node, ms []Estimate, weights ...float64) []Term {
	return slopes(nil, byLambda, to, ms, weights)
}

// multistep emits First and Slopes of a polynomial in some quantity, the clock: a step of a multistep method.
func (a *Assembler) multistep(x Reg, clock func(Node) float64, to Node, ms []Estimate, weights []float64) Reg {
	var terms [8]Term
	return a.Combine(slopes(a.toward(terms[:0], x, ms[0], to.Alpha, to.Sigma), clock, to, ms, weights)...)
}

// Clocks.
func byLambda(n Node) float64 { return n.Lambda }
func byTime(n Node) float64   { return n.T }

// slopes is Slopes for a polynomial in another quantity, behind other terms.
func slopes(terms []Term, clock func(Node) float64, to Node, ms []Estimate, weights []float64) []Term {
	var at, coefficients [8]float64
	u, c := at[:0], coefficients[:0]
	from := clock(ms[0].At)
	length := clock(to) - from
	for j := range ms {
		u = append(u, (clock(ms[j].At)-from)/length)
	}
	for j := range ms {
		c = lagrange(c, u, j)
		sum := 0.0
		for k, weight := range weights {
			sum += weight * c[k+1]
		}
		terms = append(terms, Term{Reg: ms[j].Reg, C: sum})
	}
	return terms
}
