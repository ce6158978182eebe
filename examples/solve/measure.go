package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/gonum/integrate/quad"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// plan compiles a variant. Statistics, where they are needed, are given for the knots.
func (v variant) plan(p ode.Problem, statistics func(s ode.Schedule, p ode.Problem) ode.Statistics) (*ode.Plan, error) {
	text := v.solver
	if v.steps != nil {
		n := p.Steps
		if p.Knots != nil {
			n = len(p.Knots) - 1
		}
		text, _, _ = strings.Cut(text, ", those")
		text = strings.Replace(text, "…", v.steps(n), 1)
	}
	var also shared
	s, err := parseNative("solver", json.RawMessage(text), &also)
	if err != nil {
		return nil, err
	}
	also.apply(&p)
	if d, ok := s.(ode.DPMv3); ok {
		d.Statistics = statistics(p.Schedule, p)
		s = d
	}
	return s.(ode.Solver).Plan(p)
}

// A measurement is what there is to know of a variant.
type measurement struct {
	name           string
	order, history int     // in theory; how many states the exact start has beside the first
	exact, cold    float64 // slopes; NaN where there is none
	degree         int     // of polynomials that it is exact for; −1 for none
	in             string  // what these are polynomials of
	slots          string  // a letter for each number of a step: by what a mutation of it is caught
}

// bench is what slopes are measured with: a model that is not Gaussian and has a flow in closed form, and some latents.
type bench struct {
	exact.Bumped
	x []float64
}

func newBench() bench {
	return bench{
		exact.Bumped{Gaussian: exact.Gaussian{Mean: []float64{.7, -1.2}, Variance: []float64{.3}}, Amplitude: .4, Frequency: 1.5},
		[]float64{.5, -1, -.8, .3, 1.4, .9, .1, -.2},
	}
}

// problem has knots from λ = −1.2 to 1.7, or nearly all the way of a flow, so that times have room to be wrong.
func (v variant) problem(n int) ode.Problem {
	if v.flow {
		return ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, From: .98, To: 0, Grid: ode.UniformTime{}, Steps: n}
	}
	return ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: .5, To: .05, Grid: ode.LogSNR{}, Steps: n}
}

// curved are statistics of no model: the method is right with any.
func curved(s ode.Schedule, p ode.Problem) ode.Statistics {
	const points = 23040 // the knots of all runs here are among them
	return statistics(s.At(p.From).Lambda(), s.At(p.To).Lambda(), points, func(x, d float64) (float64, float64, float64) {
		return 1/(1+math.Exp(x)) + .1*d, .5 - .4*math.Tanh(x), .3*math.Sin(x+d) + .2
	})
}

func statistics(from, to float64, n int, at func(lambda, d float64) (l, s, b float64)) (m ode.Statistics) {
	for i := range n + 1 {
		lambda := from + (to-from)*float64(i)/float64(n)
		l, s, b := make([]float64, 2), make([]float64, 2), make([]float64, 2)
		for d := range l {
			l[d], s[d], b[d] = at(lambda, float64(d))
		}
		m.Lambda, m.L, m.S, m.B = append(m.Lambda, lambda), append(m.L, l), append(m.S, s), append(m.B, b)
	}
	return m
}

// states are the inputs of a plan: the exact states at its first knots.
func (b bench) states(p *ode.Plan) (map[string][]float64, error) {
	in := map[string][]float64{}
	for k, port := range p.Inputs {
		in[port.Name] = make([]float64, len(b.x))
		if err := b.Flow(in[port.Name], b.x, p.Schedule, p.Knots[0].T, p.Knots[k].T); err != nil {
			return nil, err
		}
	}
	return in, nil
}

// err is how far a plan ends from where the ODE does, in parts of that.
func (b bench) err(p *ode.Plan) (float64, error) {
	f, err := exact.NewField[float64](b.Bumped, p.Schedule, p.Raw)
	if err != nil {
		return 0, err
	}
	r, err := ode.NewRunner[float64](p, len(b.x)/2, 2)
	if err != nil {
		return 0, err
	}
	in, err := b.states(p)
	if err != nil {
		return 0, err
	}
	if err := r.Run(context.Background(), f, ode.Inputs[float64]{Ports: in}); err != nil {
		return 0, err
	}
	want := make([]float64, len(b.x))
	if err := b.Flow(want, b.x, p.Schedule, p.Knots[0].T, p.Knots[len(p.Knots)-1].T); err != nil {
		return 0, err
	}
	return relative(want, r.Output("x")), nil
}

func relative(want, got []float64) float64 {
	var d, size float64
	for i := range want {
		d += (want[i] - got[i]) * (want[i] - got[i])
		size += want[i] * want[i]
	}
	return math.Sqrt(d / size)
}

// slope is log₂ of how much the error falls from n to 2n steps. n is halved until the errors are well above rounding and the trapezoidal
// rule of statistics.
func (b bench) slope(n int, floor float64, plan func(n int) (*ode.Plan, error)) (float64, error) {
	for {
		var errs [2]float64
		for i := range errs {
			p, err := plan(n << i)
			if err != nil {
				return 0, err
			}
			if errs[i], err = b.err(p); err != nil {
				return 0, err
			}
		}
		if errs[1] > floor || n <= 9 {
			return math.Log2(errs[0] / errs[1]), nil
		}
		n /= 2
	}
}

// measure does all that there is to do with a variant. Mutations take most of the time.
func (v variant) measure(mutate bool) (m measurement, err error) {
	b := newBench()
	if c, err := parseNative("solver", json.RawMessage(v.solver), new(shared)); err == nil {
		if _, solver := c.(ode.Solver); !solver {
			return b.controlled(v)
		}
	}
	var fitted ode.Statistics
	plan := func(history int) func(int) (*ode.Plan, error) {
		return func(n int) (*ode.Plan, error) {
			p := v.problem(n)
			p.History = history
			return v.plan(p, func(s ode.Schedule, p ode.Problem) ode.Statistics {
				if fitted.Lambda == nil {
					fitted = curved(s, p)
				}
				return fitted
			})
		}
	}
	p, err := plan(0)(12)
	if err != nil {
		return m, err
	}
	m = measurement{name: v.solver, order: p.Order, exact: math.NaN(), degree: -1}
	if v.flow {
		m.name += " on flow"
	}
	if v.order > 0 {
		m.order = v.order
	}
	if p.Draws() > 0 {
		if m.cold, err = weakSlope(v, 144); err == nil && mutate {
			m.slots, err = v.mutations(m, plan(0))
		}
		return m, err
	}
	for err == nil {
		m.history++
		_, err = plan(m.history)(12)
	}
	m.history--
	floor := 1e-11
	if strings.Contains(v.solver, `"dpmv3"`) {
		floor = 5e-8
	}
	if m.cold, err = b.slope(72, floor, plan(0)); err != nil {
		return m, err
	}
	if m.exact = m.cold; m.history > 0 {
		if m.exact, err = b.slope(72, floor, plan(m.history)); err != nil {
			return m, err
		}
	}
	if m.degree, m.in, err = v.degree(m.history); err != nil {
		return m, err
	}
	if mutate {
		m.slots, err = v.mutations(m, plan(m.history))
	}
	return m, err
}

// controlled is the measurement of a controller: of its error by the steps it took, as the tolerance falls, if it has one. The others lead
// away from the ODE.
func (b bench) controlled(v variant) (m measurement, err error) {
	m = measurement{name: v.solver, order: 1, exact: math.NaN(), cold: math.NaN(), degree: -1}
	var errs, steps [2]float64
	for i, tolerance := range []string{"1e-4", "1e-6"} {
		text := v.solver
		if strings.Contains(text, `"adaptive"`) {
			text = fmt.Sprintf(`%s,"relative":%s,"absolute":%s}`, strings.TrimSuffix(text, "}"), tolerance, tolerance)
		}
		s, err := parseNative("solver", json.RawMessage(text), nil)
		if err != nil {
			return m, err
		}
		c, adaptive := s.(ode.Adaptive[float64])
		if !adaptive {
			return m, nil
		}
		p := v.problem(0)
		p.Grid = nil
		f, err := exact.NewField[float64](b.Bumped, p.Schedule, p.Raw)
		if err != nil {
			return m, err
		}
		run, err := c.Run(context.Background(), p, f, len(b.x)/2, ode.Inputs[float64]{Ports: map[string][]float64{"x": b.x}})
		if err != nil {
			return m, err
		}
		m.order, steps[i] = run.Plan.Order, float64(len(run.Plan.Knots)-1)
		if errs[i], err = b.err(run.Plan); err != nil {
			return m, err
		}
	}
	m.cold = math.Log(errs[0]/errs[1]) / math.Log(steps[1]/steps[0])
	return m, nil
}

// A coordinate is something that a prediction may be a polynomial of.
type coordinate struct {
	name string
	raw  ode.Prediction
	of   func(ode.Point) float64
}

func coordinates(flow bool) []coordinate {
	time := func(p ode.Point) float64 { return p.T }
	if flow {
		return []coordinate{{"t, velocity", ode.FlowVelocity, time}}
	}
	return []coordinate{
		{"λ, data", ode.Data, ode.Point.Lambda},
		{"λ, noise", ode.Noise, ode.Point.Lambda},
		{"σ/α, noise", ode.Noise, func(p ode.Point) float64 { return p.Sigma / p.Alpha }},
		{"α/σ, data", ode.Data, func(p ode.Point) float64 { return p.Alpha / p.Sigma }},
		{"t, noise", ode.Noise, time},
		{"t, velocity", ode.FlowVelocity, time},
	}
}

// power is a network that predicts the k-th power of a coordinate, whatever the state.
type power struct {
	coordinate
	s ode.Schedule
	k int
}

// Eval implements [ode.Field].
func (p power) Eval(dst, _ []float64, c ode.Call[float64]) error {
	for i := range dst {
		dst[i] = math.Pow(p.of(p.s.At(c.T[0])), float64(p.k))
	}
	return nil
}

// solution is the state at a time, from 1 at another.
func (p power) solution(from, to float64) float64 {
	a, b := p.s.At(from), p.s.At(to)
	if p.raw == ode.FlowVelocity {
		n := float64(p.k + 1)
		return 1 + (math.Pow(to, n)-math.Pow(from, n))/n
	}
	sign := 1.
	if p.raw == ode.Noise {
		sign = -1
	}
	area := quad.Fixed(func(l float64) float64 {
		return math.Exp(sign*l) * math.Pow(p.of(p.s.At(p.s.TimeOf(l))), float64(p.k))
	}, a.Lambda(), b.Lambda(), 40, quad.Legendre{}, 0)
	if p.raw == ode.Noise {
		return b.Alpha * (1/a.Alpha - area)
	}
	return b.Sigma * (1/a.Sigma + area)
}

// degree finds the coordinate in which a variant is exact for the highest degree, on steps of any length after an exact start.
func (v variant) degree(history int) (degree int, in string, err error) {
	degree = -1
	for _, c := range coordinates(v.flow) {
		k := 0
		for ; k < 8; k++ {
			right, err := v.solves(c, k, history)
			if err != nil {
				return 0, "", err
			}
			if !right {
				break
			}
		}
		if k-1 > degree {
			degree, in = k-1, c.name
		}
	}
	return degree, in, nil
}

func (v variant) solves(c coordinate, k, history int) (bool, error) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: c.raw, History: history}
	for _, l := range []float64{-.9, -.4, .1, .45, .9, 1.4, 1.8}[3-history:] {
		p.Knots = append(p.Knots, p.Schedule.TimeOf(l))
	}
	if v.flow {
		p.Schedule, p.Knots = ode.Flow{}, []float64{.95, .8, .65, .5, .4, .2, .1}[3-history:]
	}
	if strings.Contains(v.solver, `"fast"`) {
		first, last := p.Knots[0], p.Knots[len(p.Knots)-1]
		p.Knots, p.From, p.To, p.Steps = nil, first, last, 7
	}
	plan, err := v.plan(p, func(s ode.Schedule, p ode.Problem) ode.Statistics { // that mean data
		first, last := s.At(p.Knots[0]).Lambda(), s.At(p.Knots[len(p.Knots)-1]).Lambda()
		return statistics(first, last, int(math.Round((last-first)*4000)), func(float64, float64) (float64, float64, float64) { return 1, 0, 0 })
	})
	if err != nil {
		return false, err
	}
	field := power{c, plan.Schedule, k}
	r, err := ode.NewRunner[float64](plan, 1, 2)
	if err != nil {
		return false, err
	}
	ports := map[string][]float64{}
	for k, port := range plan.Inputs {
		x := field.solution(plan.Knots[0].T, plan.Knots[k].T)
		ports[port.Name] = []float64{x, x}
	}
	var miss float64
	err = r.Run(context.Background(), field, ode.Inputs[float64]{Ports: ports, Observe: func(s ode.Step[float64]) error {
		if s.Index == len(plan.Knots)-3 || len(plan.Knots) == 2 { // the last step of a corrector is without
			want := field.solution(plan.Knots[0].T, s.T)
			miss = math.Abs(s.X[0]-want) / (1 + math.Abs(want))
		}
		return nil
	}})
	tolerance := 1e-12
	if strings.Contains(v.solver, `"dpmv3"`) {
		tolerance = 1e-7 // of the trapezoidal rule
	}
	return miss < tolerance, err
}

// weakSlope is that of the variance, on a Gaussian, whose plan is affine: it is run on unit vectors, so that no chance is involved.
func weakSlope(v variant, n int) (float64, error) {
	errs, err := weakErrors(v, n, func(*ode.Plan) {})
	return math.Log2(errs[0] / errs[1]), err
}

// weakErrors are those of n and 2n steps, of plans that were changed.
func weakErrors(v variant, n int, change func(*ode.Plan)) (errs [2]float64, err error) {
	g := exact.Gaussian{Mean: []float64{.7}, Variance: []float64{.3}}
	for i := range errs {
		p, err := v.plan(v.problem(n<<i), nil)
		if err != nil {
			return errs, err
		}
		change(p)
		f, err := exact.NewField[float64](g, p.Schedule, p.Raw)
		if err != nil {
			return errs, err
		}
		batch := 2 + p.Draws() // the origin, x, and every draw
		r, err := ode.NewRunner[float64](p, batch, 1)
		if err != nil {
			return errs, err
		}
		x, noise := make([]float64, batch), make(ode.Given[float64], p.Draws())
		x[1] = 1
		for k := range noise {
			noise[k] = make([]float64, batch)
			noise[k][2+k] = 1
		}
		if err := r.Run(context.Background(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: noise}); err != nil {
			return errs, err
		}
		out, from, to := r.Output("x"), p.Schedule.At(p.Knots[0].T), p.Schedule.At(p.Knots[len(p.Knots)-1].T)
		mean, variance := out[0]+(out[1]-out[0])*from.Alpha*g.Mean[0], math.Pow(out[1]-out[0], 2)*(from.Alpha*from.Alpha*g.Variance[0]+from.Sigma*from.Sigma)
		for k := range noise {
			variance += math.Pow(out[2+k]-out[0], 2)
		}
		errs[i] = math.Abs(mean-to.Alpha*g.Mean[0]) + math.Abs(variance-to.Alpha*to.Alpha*g.Variance[0]-to.Sigma*to.Sigma)
	}
	return errs, nil
}

// mutations scales each number of a step's code by 1.01, in every step, and tells what catches it: the knot check (k), the order (o), the
// round trip (r), moments (m), or nothing (!). A number that is nothing but rounding is left out.
func (v variant) mutations(m measurement, plan func(n int) (*ode.Plan, error)) (caught string, err error) {
	if strings.Contains(v.solver, `"fast"`) {
		return "", nil // steps of single, and one at the end that hides what becomes of their order
	}
	p, err := plan(8)
	if err != nil {
		return "", err
	}
	n := 0
	stepSlots(p, func(slot int, _ *float64) { n = max(n, slot+1) })
	for slot := range n {
		mutate := func(p *ode.Plan) {
			stepSlots(p, func(s int, c *float64) {
				if s == slot {
					*c *= 1.01
				}
			})
		}
		mutated := func(n int) (*ode.Plan, error) {
			p, err := plan(n)
			if err == nil {
				mutate(p)
			}
			return p, err
		}
		if p, err = plan(8); err != nil {
			return "", err
		}
		size := 0.
		stepSlots(p, func(s int, c *float64) {
			if s == slot {
				size = max(size, math.Abs(*c))
			}
		})
		if size < 1e-14 {
			continue
		}
		mutate(p)
		by, err := v.caught(m, p, mutated, mutate)
		if err != nil {
			return "", err
		}
		caught += by
	}
	return caught, nil
}

func (v variant) caught(m measurement, p *ode.Plan, mutated func(n int) (*ode.Plan, error), mutate func(*ode.Plan)) (string, error) {
	if p.KnotError() != nil {
		return "k", nil
	}
	b := newBench()
	for _, n := range []int{36, 144, 576, 2304} { // a hundredth of an inner stage shows only once the right part of the error has become smaller
		if p.Draws() > 0 {
			errs, err := weakErrors(v, n/4, mutate)
			if err != nil {
				return "", err
			}
			if math.Log2(errs[0]/errs[1]) < float64(m.order)-.3 {
				return "m", nil
			}
			continue
		}
		got, err := b.slope(n, 0, mutated)
		if err != nil {
			return "", err
		}
		if got < float64(m.order)-.3 {
			return "o", nil
		}
	}
	s, err := parseNative("solver", json.RawMessage(v.solver), new(shared))
	if err != nil {
		return "", err
	}
	if inverter, ok := s.(ode.Inverter); ok {
		miss, err := b.roundTrip(v, inverter, mutated)
		if err != nil || miss > 1e-5 {
			return "r", err
		}
	}
	return "!", nil
}

// roundTrip is how far the way back of 20 steps ends from the start.
func (b bench) roundTrip(v variant, s ode.Inverter, there func(n int) (*ode.Plan, error)) (float64, error) {
	p, err := there(20)
	if err != nil {
		return 0, err
	}
	back, err := s.Invert(v.problem(20))
	if err != nil {
		return 0, err
	}
	f, err := exact.NewField[float64](b.Bumped, p.Schedule, p.Raw)
	if err != nil {
		return 0, err
	}
	ports := map[string][]float64{"x": b.x}
	for _, p := range []*ode.Plan{p, back} {
		r, err := ode.NewRunner[float64](p, len(b.x)/2, 2)
		if err != nil {
			return 0, err
		}
		if err := r.Run(context.Background(), f, ode.Inputs[float64]{Ports: ports}); err != nil {
			return 0, err
		}
		ports = map[string][]float64{}
		for _, o := range p.Outputs {
			ports[o.Name] = slices.Clone(r.Output(o.Name))
		}
	}
	return relative(b.x, ports["x"]), nil
}

// stepSlots calls f with each number of the middle step's code, and with the same place in each step of the same shape: first and last steps
// may have another.
func stepSlots(p *ode.Plan, f func(slot int, c *float64)) {
	byStep := make([][]*float64, len(p.Knots))
	for i := range p.Code {
		in := &p.Code[i]
		for k := range in.Terms {
			byStep[in.Step] = append(byStep[in.Step], &in.Terms[k].C)
		}
		if in.Op == ode.Evaluate {
			byStep[in.Step] = append(byStep[in.Step], &in.T)
		}
	}
	middle := len(byStep[len(p.Knots)/2])
	for _, cs := range byStep {
		if len(cs) != middle {
			continue
		}
		for slot, c := range cs {
			f(slot, c)
		}
	}
}
