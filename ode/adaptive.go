package ode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// A Controller is a method whose coefficients depend on what it meets on the way. It runs, and hands back the plan that it turned out to be.
//
// Inputs has the one port x, and Observe if wanted.
type Controller[T Float] interface {
	Run(ctx context.Context, p Problem, f Field[T], batch int, in Inputs[T]) (*Realized[T], error)
}

// Realized is a run of a [Controller]. The plan is like any other: run on the same input it gives X to the last bit, and its gradient is
// that of the run with coefficients held where they came to be, which leaves out how they would have moved. The network has been asked more
// often than the plan asks it, by what was for the controller only.
type Realized[T Float] struct {
	Plan     *Plan
	X        []T // the final state
	NFE      int // evaluations that the run took
	Rejected int // steps that were tried and not taken
	Last     []T // where the chain of [LangevinGibbs] ended, which is the plan's other output; nil otherwise
}

// StepError says where an [Adaptive] run could not go on.
type StepError struct {
	T, Lambda float64 // where the step starts
	Step      float64 // its length: in λ, or in t for a method in time
	Size      float64 // of its error, in units of the tolerance; NaN if it was not got as far as that
	Sample    int     // with that error
	NFE       int
	Accepted  int
	Rejected  int
	Reason    string
	Err       error // a [NumericError], if the network gave one
}

// Error implements error.
func (e *StepError) Error() string {
	return fmt.Sprintf("%s: step of %.3g from t=%g (λ=%.4g), error %.3g of the tolerance in sample %d, after %d steps, %d rejected, and %s",
		e.Reason, e.Step, e.T, e.Lambda, e.Size, e.Sample, e.Accepted, e.Rejected, counted(e.NFE, "network evaluation"))
}

// Unwrap returns the cause, if there is one.
func (e *StepError) Unwrap() error { return e.Err }

// Adaptive lets the error of each step decide how long it is. The error is the difference of two methods of neighbouring orders that share
// their evaluations, in units of the tolerance: with x at both ends of the step,
//
//	E = max over samples of the root mean square over elements of (x_high − x_low) / (Absolute + Relative max(|x_s|, |x_high|))
//
// A step with E ≤ 1 is taken, and x_high kept. The next is 0.9 E^(−0.7/p) E'^(0.4/p) times as long, where E' is the error of the step taken
// before and p the order; one that was rejected is tried again 0.9 E^(−1/p) times as long. The factor stays between 0.2 and 5. [PID] is another control. All samples
// of a batch take the same steps, so a sample's result depends on its batch here.
//
// Lengths are measured in λ, and in t for [RK] in time, the default on [Flow]. The last knot is hit exactly. With Problem.AppendZero a step to
// σ = 0 comes after it, without control.
//
// NFE: p for each step that is taken and p−1 for each that is not with [DPM] and [DPMpp]; with [RK] as many as there are stages for either
// and one at the start, since the slope at the end of a step is the first of the next.
//
// Errors: a Problem with Steps, Knots, Grid, Denoise, SingleStart, LowerFinal or History; ends at which λ is infinite, but for RK on Flow, as far as the network's
// prediction tells the velocity there; a solver that has no error estimate. While it runs: an [Interrupted], around a [StepError] when steps
// get too short, too many, or come upon a number that is not finite.
//
// Source: Lu et al. 2022, arXiv 2206.00927, appendix C (DPM-Solver-12 and -23); Gustafsson, Lundh, Söderlind 1988, BIT 28 (the control of
// length); Dormand, Prince 1980; Bogacki, Shampine 1989.
//
// Differs from reference: Published does as the release of DPM-Solver does, and with PID as that of k-diffusion (Crowson), without noise.
type Adaptive[T Float] struct {
	// Of is the method: DPM or DPMpp with Single and Order 2 or 3, or RK with a tableau that has Low weights, such as [BogackiShampine]. Nil
	// means RK with [DormandPrince].
	Of Solver

	Relative  float64 // 0 means 0.05, fit for samples; gradients and likelihoods want less
	Absolute  float64 // 0 means 0.0078: two 256ths of an image in [−1, 1]
	FirstStep float64 // 0 means 0.05 in λ, and a hundredth of the way in t
	MinStep   float64 // 0 means 1e-10 of the way
	MaxSteps  int     // tried ones; 0 means 10000

	// PID, if not nil, controls the length instead.
	PID *PID

	// Published is the release's control of DPM-Solver: the next step is 0.9 E^(−1/p) times as long whatever that is, with the power rounded
	// to single precision, E is measured in max(Absolute, Relative max(|x_low|, |x_low of the step before|)), and a rejected step evaluates
	// its start again. With PID it is dpm_adaptive of k-diffusion: E is the root mean square over all samples too, and a step that the last
	// knot cuts short does not shorten the next.
	Published bool
}

// PID makes each step 1 + atan(f − 1) times as long as the one tried before, where
//
//	f = E^(−(P+I+D)/p) E_1^((P+2D)/p) E_2^(−D/p)
//
// and E_1 and E_2 are the errors of the last two steps that were taken; 1e-8 is added to each. A step is taken if the next is to be
// at least Accept times as long. P, I and D are shares of the error, its sum and its change; the zero value is what k-diffusion does.
//
// Source: Söderlind 2003, ACM Transactions on Mathematical Software 29 (digital filters); the limit and Accept are of k-diffusion (Crowson).
type PID struct {
	P, I, D float64 // all zero: I = 1
	Accept  float64 // 0 means 0.81
}

// check fills in what is zero.
func (c PID) check() (*PID, error) {
	if c.P == 0 && c.I == 0 && c.D == 0 {
		c.I = 1
	}
	if c.Accept == 0 {
		c.Accept = .81
	}
	if !finite(c.P+c.I+c.D) || !(c.P+c.I+c.D > 0) {
		return nil, fmt.Errorf("ode: Adaptive.PID has P = %v, I = %v and D = %v; their sum must be positive and finite, or greater errors would make longer steps", c.P, c.I, c.D)
	}
	if shortest := 1 + math.Atan(-1); !(c.Accept > shortest && c.Accept <= 1) {
		return nil, fmt.Errorf("ode: Adaptive.PID.Accept is %v; it lies between %.3f, which every step reaches, and 1, or is 0 for 0.81", c.Accept, shortest)
	}
	return &c, nil
}

// BogackiShampine is the method of order 3 with an error estimate of order 2 (Bogacki, Shampine 1989).
func BogackiShampine() Tableau {
	return Tableau{
		Name: "Bogacki–Shampine", Order: 3,
		A: [][]float64{{}, {1. / 2}, {0, 3. / 4}},
		B: []float64{2. / 9, 1. / 3, 4. / 9}, C: []float64{0, 1. / 2, 3. / 4},
		Low: []float64{7. / 24, 1. / 4, 1. / 3, 1. / 8},
	}
}

// DormandPrince is the method of order 5 with an error estimate of order 4 (Dormand, Prince 1980).
func DormandPrince() Tableau {
	return Tableau{
		Name: "Dormand–Prince", Order: 5,
		A: [][]float64{{}, {1. / 5}, {3. / 40, 9. / 40}, {44. / 45, -56. / 15, 32. / 9}, {19372. / 6561, -25360. / 2187, 64448. / 6561, -212. / 729},
			{9017. / 3168, -355. / 33, 46732. / 5247, 49. / 176, -5103. / 18656}},
		B: []float64{35. / 384, 0, 500. / 1113, 125. / 192, -2187. / 6784, 11. / 84}, C: []float64{0, 1. / 5, 3. / 10, 4. / 5, 8. / 9, 1},
		Low: []float64{5179. / 57600, 0, 7571. / 16695, 393. / 640, -92097. / 339200, 187. / 2100, 1. / 40},
	}
}

// embedded is a solver of single steps that can tell their error.
type embedded struct {
	Solver
	kind  Prediction
	order int
	nfe   int  // of a step, in the plan
	time  bool // lengths are in t
	// step goes on from an estimate at the start. It returns where the two methods end, and the estimate at the end if it has made one.
	step func(a *Assembler, x Reg, m Estimate, t Node) (high, low Reg, end []Reg)
}

func (c Adaptive[T]) embedded(p Problem) (*embedded, error) {
	single := func(e exponential) (*embedded, error) {
		d := e.DPMpp
		if d.Order == 0 {
			d.Order = 2
		}
		e.DPMpp = d
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("ode: Adaptive %s: %w", e.name(), err)
		}
		if !d.Single || d.Order < 2 {
			return nil, fmt.Errorf("ode: Adaptive: %s has no error estimate; use Single with Order 2 or 3", e.name())
		}
		return &embedded{kind: e.kind, order: d.Order, nfe: d.Order, step: func(a *Assembler, x Reg, m Estimate, t Node) (high, low Reg, end []Reg) {
			high, ms := e.step(a, x, m, t, d.Order)
			return high, a.multistep(x, byLambda, t, ms[:d.Order-1], e.weights(m.At, t, d.Order-1)), nil
		}}, nil
	}
	of := c.Of
	if of == nil {
		of = RK{Tableau: DormandPrince()}
	}
	var e *embedded
	var err error
	switch d := of.(type) {
	case DPM:
		e, err = single(exponential{DPMpp(d), Noise, "DPM-Solver"})
	case DPMpp:
		e, err = single(exponential{d, Data, "DPM-Solver++"})
	case RK:
		e, err = d.embedded(p)
	default:
		err = fmt.Errorf("ode: Adaptive: %T has no error estimate; use DPM or DPMpp with Single, or RK", of)
	}
	if err != nil {
		return nil, err
	}
	e.Solver = of
	return e, nil
}

func (r RK) embedded(p Problem) (*embedded, error) {
	b := r.Tableau
	if b.Low == nil {
		return nil, fmt.Errorf("ode: Adaptive: tableau %q has no Low weights to tell the error from; use BogackiShampine or DormandPrince", b.Name)
	}
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("ode: Adaptive: %w", err)
	}
	_, flow := p.Schedule.(Flow)
	_, edm := p.Schedule.(EDM)
	e := &embedded{kind: Noise, order: b.Order, nfe: len(b.B), time: r.In == Time || r.In == Auto && flow}
	if e.time {
		e.kind = FlowVelocity
	}
	e.step = func(a *Assembler, x Reg, m Estimate, t Node) (high, low Reg, end []Reg) {
		s, nodes := m.At, []Node(nil)
		if e.time {
			nodes = b.times(a, s, t)
			if !(flow || edm || s.Inside() && t.Inside()) || !b.defined(a, s, t) || !a.Defined(t, FlowVelocity) {
				a.Fail("there is no velocity all the way from t = %v to %v; keep away from that end, and set AppendZero to go on to σ = 0", s.T, t.T)
			}
		} else {
			nodes = b.ratios(a, s, t)
		}
		at := b.advance(a, x, m, t, nodes)
		high = a.Combine(at(t, b.B)...)
		last := a.Predict(high, t, e.kind).Reg
		return high, a.Combine(at(t, b.Low, last)...), []Reg{last}
	}
	return e, nil
}

// first asks for the estimate at a state.
func (e *embedded) first(p Problem, s, t float64) (*Plan, error) {
	return Assemble(p.at([]float64{s, t}), "the start of an adaptive step", e.order, func(a *Assembler) {
		a.Inexact()
		a.FixKnots()
		x := a.Input("x")
		m := a.Predict(x, a.Node(0), e.kind)
		a.State(0, x)
		a.State(1, m.Reg)
		a.Output("m", m.Reg)
	})
}

// trial is one step and its error estimate.
func (e *embedded) trial(p Problem, s, t float64) (*Plan, error) {
	return Assemble(p.at([]float64{s, t}), "an adaptive step", e.order, func(a *Assembler) {
		a.Inexact()
		a.FixKnots()
		x, m := a.Input("x"), a.Input("m")
		if s, t := a.Node(0), a.Node(1); !e.time && !(s.Inside() && t.Inside()) {
			a.Fail("λ is %v at t = %v and %v at t = %v; both must be finite: keep away from that end, and set AppendZero to go on to σ = 0",
				s.Lambda, s.T, t.Lambda, t.T)
			return
		}
		high, low, end := e.step(a, x, Estimate{m, e.kind, a.Node(0)}, a.Node(1))
		a.State(0, x)
		a.State(1, high)
		a.Output("x", high)
		a.Output("low", low)
		for _, r := range end {
			a.Output("m", r)
		}
	})
}

// Run implements [Controller].
func (c Adaptive[T]) Run(ctx context.Context, p Problem, f Field[T], batch int, in Inputs[T]) (*Realized[T], error) {
	run, err := c.begin(p, f, batch, in)
	if err != nil {
		return nil, err
	}
	for run.t != run.to {
		if err := run.try(ctx); err != nil {
			return nil, err
		}
	}
	knots := run.knots
	if p.AppendZero {
		zero, _ := p.Schedule.Domain()
		last, err := run.e.Plan(p.at([]float64{run.t, zero}))
		if err != nil {
			return nil, run.interrupted(err)
		}
		out, err := run.do(ctx, last, len(knots[1:])*run.e.nfe, map[string][]T{"x": run.x})
		if err != nil {
			return nil, run.interrupted(err)
		}
		run.x, knots = out["x"], append(knots, zero)
		if err := run.observe(zero, len(knots)-2); err != nil {
			return nil, err
		}
	}
	plan, err := run.e.Plan(p.at(knots))
	if err != nil {
		return nil, err
	}
	return &Realized[T]{Plan: plan, X: run.x, NFE: run.nfe, Rejected: run.rejected}, nil
}

// adaptiveRun is the state of a run of an Adaptive.
type adaptiveRun[T Float] struct {
	Adaptive[T]
	conduct[T]
	e       *embedded
	problem Problem

	t, to, h, way, sign float64
	knots               []float64
	m, low              []T        // the estimate at x, nil if there is none yet; where the lower method came from
	last                float64    // error
	taken               [2]float64 // for PID: 1/E_1 and 1/E_2, 0 before the first step
	worst               int        // the sample with it
	tried, rejected     int
}

func (c Adaptive[T]) begin(p Problem, f Field[T], batch int, in Inputs[T]) (*adaptiveRun[T], error) {
	if err := checkSchedule(p.Schedule); err != nil {
		return nil, fmt.Errorf("%w (for Adaptive)", err)
	}
	if p.Scale.Last != 0 && p.Scale.Last != p.Scale.First {
		return nil, fmt.Errorf("ode: Adaptive: Problem.Scale goes from %v to %v by the number of the step, which is not known; leave Last out", p.Scale.First, p.Scale.Last)
	}
	if p.Steps != 0 || p.Knots != nil || p.Grid != nil || p.Denoise || p.SingleStart || p.LowerFinal || p.History != 0 {
		return nil, errors.New("ode: Adaptive finds its own knots: leave Problem.Steps, Knots, Grid, Denoise, SingleStart, LowerFinal and History out (AppendZero ends at the data prediction)")
	}
	for _, o := range []struct {
		name  string
		value *float64
		zero  float64
	}{{"Relative", &c.Relative, .05}, {"Absolute", &c.Absolute, .0078}, {"FirstStep", &c.FirstStep, 0}, {"MinStep", &c.MinStep, 0}} {
		if *o.value == 0 {
			*o.value = o.zero
		}
		if !(*o.value >= 0) || math.IsInf(*o.value, 0) {
			return nil, fmt.Errorf("ode: Adaptive.%s is %v; it must be positive and finite, or 0 for the default", o.name, *o.value)
		}
	}
	if c.MaxSteps < 0 {
		return nil, fmt.Errorf("ode: Adaptive.MaxSteps is %d; it must be positive, or 0 for 10000", c.MaxSteps)
	}
	if c.MaxSteps == 0 {
		c.MaxSteps = 10000
	}
	e, err := c.embedded(p)
	if err != nil {
		return nil, err
	}
	if c.PID != nil {
		if c.PID, err = c.PID.check(); err != nil {
			return nil, err
		}
	}
	if _, rk := e.Solver.(RK); rk && c.Published {
		return nil, errors.New("ode: Adaptive.Published is the control of DPM-Solver; leave it out for RK")
	}
	r := &adaptiveRun[T]{Adaptive: c, e: e, problem: p, t: p.From, to: p.To, last: 1}
	if r.t == 0 && r.to == 0 {
		r.to, r.t = p.Schedule.Range()
	}
	ends := []float64{r.t, r.to}
	if err := checkKnots(p.Schedule, ends); err != nil {
		return nil, fmt.Errorf("%w (Problem.From is knot 0, To is knot 1, for Adaptive)", err)
	}
	// What the plan itself would be refused for is said before anything runs.
	if _, err := e.trial(p, r.t, r.to); err != nil {
		return nil, err
	}
	if p.AppendZero {
		if _, err := (Problem{Schedule: p.Schedule, Raw: p.Raw, From: r.t, To: r.to, Steps: 1, AppendZero: true}).resolve(); err != nil {
			return nil, err
		}
		if r.to > r.t {
			return nil, errors.New("ode: Adaptive: Problem.AppendZero ends at data, and To is above From; leave it out")
		}
	}
	if r.conduct, err = newConduct(f, batch, in); err != nil {
		return nil, err
	}
	r.knots, r.low = []float64{r.t}, r.x
	r.way, r.sign = math.Abs(r.clock(r.to)-r.clock(r.t)), 1
	if r.clock(r.to) < r.clock(r.t) {
		r.sign = -1
	}
	if r.h = r.FirstStep; r.h == 0 {
		r.h = 0.05
		if e.time {
			r.h = r.way / 100
		}
	}
	if r.MinStep == 0 {
		r.MinStep = 1e-10 * r.way
	}
	return r, nil
}

// clock is what lengths are measured in.
func (r *adaptiveRun[T]) clock(t float64) float64 {
	if r.e.time {
		return t
	}
	return r.problem.Schedule.At(t).Lambda()
}

// next is the end of the step.
func (r *adaptiveRun[T]) next() float64 {
	now := r.clock(r.t)
	if remaining := math.Abs(r.clock(r.to) - now); r.h >= remaining*(1-1e-9) {
		if !r.Published || r.PID == nil {
			r.h = remaining
		}
		return r.to
	}
	if r.e.time {
		return now + r.sign*r.h
	}
	return r.problem.Schedule.TimeOf(now + r.sign*r.h)
}

// try tries one step, and takes it if it is good.
func (r *adaptiveRun[T]) try(ctx context.Context) error {
	t := r.next()
	switch r.tried++; {
	case r.tried > r.MaxSteps:
		return r.stop(fmt.Sprintf("MaxSteps %d is reached", r.MaxSteps), r.last, r.worst, nil)
	case t != r.to && (r.h < r.MinStep || (t-r.t)*(r.to-r.t) <= 0):
		return r.stop(fmt.Sprintf("the step is shorter than MinStep %.3g", r.MinStep), r.last, r.worst, nil)
	}
	index := (len(r.knots) - 1) * r.e.nfe // of the step's first evaluation in the realized plan
	if r.m == nil {
		plan, err := r.e.first(r.problem, r.t, t)
		if err != nil {
			return r.interrupted(err)
		}
		out, err := r.do(ctx, plan, index, map[string][]T{"x": r.x})
		if err != nil {
			return r.failed(err)
		}
		r.m = out["m"]
	}
	plan, err := r.e.trial(r.problem, r.t, t)
	if err != nil {
		return r.interrupted(err)
	}
	out, err := r.do(ctx, plan, index+1, map[string][]T{"x": r.x, "m": r.m})
	if err != nil {
		return r.failed(err)
	}
	size, sample := r.measure(out["x"], out["low"])
	if math.IsNaN(size) || math.IsInf(size, 0) {
		return r.stop("the error is not finite", size, sample, nil)
	}
	factor, good := r.control(size)
	r.worst = sample
	r.h *= factor
	if !good {
		r.rejected++
		r.last = size
		if r.Published {
			r.m = nil
		}
		return nil
	}
	r.x, r.low, r.m, r.t, r.last = out["x"], out["low"], out["m"], t, max(size, 1e-4)
	r.knots = append(r.knots, t)
	return r.observe(t, len(r.knots)-2)
}

// control is what to make the length of the step longer by, and whether to take it.
func (r *adaptiveRun[T]) control(size float64) (factor float64, good bool) {
	if r.PID == nil {
		good = size <= 1
		return r.factor(size, good), good
	}
	c, p, now := r.PID, float64(r.e.order), 1/(size+1e-8)
	if r.taken == [2]float64{} {
		r.taken = [2]float64{now, now}
	}
	factor = 1 + math.Atan(math.Pow(now, (c.P+c.I+c.D)/p)*math.Pow(r.taken[0], -(c.P+2*c.D)/p)*math.Pow(r.taken[1], c.D/p)-1)
	if good = factor >= c.Accept; good {
		r.taken = [2]float64{now, r.taken[0]}
	}
	return factor, good
}

// factor is that without PID.
func (r *adaptiveRun[T]) factor(size float64, good bool) float64 {
	p := float64(r.e.order)
	switch {
	case r.Published:
		return .9 * float64(float32(math.Pow(size, -1/p)))
	case !good:
		return max(.2, .9*math.Pow(size, -1/p))
	}
	factor := .9 * math.Pow(size, -.7/p) * math.Pow(min(r.last, 1), .4/p)
	if r.last > 1 { // the step before was rejected
		factor = min(factor, 1)
	}
	return min(max(factor, .2), 5)
}

// measure is the error in units of the tolerance, and the sample that has it.
func (r *adaptiveRun[T]) measure(high, low []T) (size float64, sample int) {
	dim, all := len(high)/r.batch, 0.0
	for b := range r.batch {
		sum := 0.0
		for i := b * dim; i < (b+1)*dim; i++ {
			tolerance := r.Absolute + r.Relative*max(math.Abs(float64(r.x[i])), math.Abs(float64(high[i])))
			if r.Published {
				tolerance = max(r.Absolute, r.Relative*max(math.Abs(float64(low[i])), math.Abs(float64(r.low[i]))))
			}
			e := (float64(high[i]) - float64(low[i])) / tolerance
			sum += e * e
		}
		all += sum
		if rms := math.Sqrt(sum / float64(dim)); !(rms <= size) {
			size, sample = rms, b
		}
		if math.IsNaN(size) {
			return size, b
		}
	}
	if r.Published && r.PID != nil {
		size = math.Sqrt(all / float64(len(high)))
	}
	return size, sample
}

// failed is the error of a step in which a number was not finite, or which was stopped.
func (r *adaptiveRun[T]) failed(err error) error {
	var bad *NumericError
	if !errors.As(err, &bad) {
		return r.interrupted(err)
	}
	return r.stop(bad.Quantity+" is not finite", math.NaN(), bad.Sample, bad)
}

func (r *adaptiveRun[T]) stop(reason string, size float64, sample int, err error) error {
	return r.interrupted(&StepError{
		T: r.t, Lambda: r.problem.Schedule.At(r.t).Lambda(), Step: r.h, Size: size, Sample: sample,
		NFE: r.nfe, Accepted: len(r.knots) - 1, Rejected: r.rejected, Reason: reason, Err: err,
	})
}

func (r *adaptiveRun[T]) interrupted(err error) error {
	return &Interrupted[T]{Step: len(r.knots) - 1, NFE: r.nfe, T: r.t, X: r.x, Err: err}
}

// observe shows a step that is over.
func (r *adaptiveRun[T]) observe(t float64, step int) error {
	if r.watch == nil {
		return nil
	}
	if err := r.watch(Step[T]{Index: step, T: t, X: r.x, NFE: r.nfe}); err != nil {
		return &Interrupted[T]{Step: step + 1, NFE: r.nfe, T: t, X: r.x, Err: err}
	}
	return nil
}

// conduct runs the parts of a run that is put together on the way.
type conduct[T Float] struct {
	field numbered[T]
	batch int
	x     []T
	nfe   int
	watch func(Step[T]) error

	noise   NoiseSource[T]
	draws   int                 // so far
	observe func(Step[T]) error // of the steps of the parts
}

func newConduct[T Float](f Field[T], batch int, in Inputs[T]) (conduct[T], error) {
	x, ok := in.Ports["x"]
	switch {
	case f == nil:
		return conduct[T]{}, errors.New("ode: Run: the Field is nil")
	case !ok || len(in.Ports) > 1:
		return conduct[T]{}, errors.New("ode: Run: a controller has the one input x; set Inputs.Ports to that")
	case in.Forward != nil || in.Params != nil || in.Times != nil || in.Table != nil:
		return conduct[T]{}, errors.New("ode: Run: Forward, Params, Times and Table are for transposed plans; transpose the realized plan")
	case batch < 1 || len(x) == 0 || len(x)%batch != 0:
		return conduct[T]{}, fmt.Errorf("ode: Run: %d values do not make %d samples", len(x), batch)
	}
	return conduct[T]{field: numbered[T]{Field: f}, batch: batch, x: slices.Clone(x), watch: in.Observe, noise: in.Noise}, nil
}

// do runs a plan, whose evaluation 0 is the first-th of the realized plan, and returns copies of its outputs. Its error is the cause alone.
func (c *conduct[T]) do(ctx context.Context, p *Plan, first int, ports map[string][]T) (map[string][]T, error) {
	r, err := NewRunner[T](p, c.batch, len(c.x)/c.batch)
	if err != nil {
		return nil, err
	}
	c.field.first = first
	in := Inputs[T]{Ports: ports, Observe: c.observe}
	if p.Draws() > 0 && c.noise != nil {
		in.Noise = later[T]{c.noise, c.draws}
	}
	if err := r.Run(ctx, &c.field, in); err != nil {
		var stopped *Interrupted[T]
		if errors.As(err, &stopped) {
			c.nfe += stopped.NFE
			err = stopped.Err
		}
		return nil, err
	}
	c.nfe += p.NFE()
	c.draws += p.Draws()
	out := map[string][]T{}
	for _, port := range p.Outputs {
		out[port.Name] = slices.Clone(r.at(port.Reg))
	}
	return out, nil
}

// numbered is a network that is told its place in the realized plan.
type numbered[T Float] struct {
	Field[T]
	first int
}

// Eval implements [Field].
func (n *numbered[T]) Eval(dst, x []T, c Call[T]) error {
	c.Index += n.first
	return n.Field.Eval(dst, x, c)
}

// later is the noise of a part of the realized plan.
type later[T Float] struct {
	NoiseSource[T]
	first int
}

// Draw implements [NoiseSource].
func (l later[T]) Draw(dst []T, c DrawCall) error {
	c.Index += l.first
	return l.NoiseSource.Draw(dst, c)
}
