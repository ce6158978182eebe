package ode

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"unsafe"

	"github.com/ebb-go/ebb/internal/kernels"
)

// Inputs is what one run of a plan is given.
type Inputs[T Float] struct {
	// Ports has a slice for every input of the plan, by name, which is copied when the run begins. A state has batch
	// times dim values.
	Ports map[string][]T

	// Noise answers the plan's draws. It may be nil if there are none.
	Noise NoiseSource[T]

	// Observe, if not nil, is called after every step. An error ends the run.
	Observe func(Step[T]) error

	// The rest is for transposed plans.

	// Forward returns the value of a register of the forward plan, see [Plan.Needs]; [Runner.Reg] of a runner that has
	// kept them is such a function. A value must stay as it is until the next call.
	Forward func(Reg) []T
	// Params gets the gradients of the network's parameters added, by name.
	Params map[string][]T
	// Times, if not nil, is overwritten with the gradient of each time the network was given, the samples of evaluation
	// 0 first. It has a value for every sample of every evaluation of the forward plan.
	Times []T
	// Table, if not nil, gets the gradient of the forward plan's [Plan.Table] added.
	Table []float64
}

// A Step is what [Inputs.Observe] is shown.
type Step[T Float] struct {
	Index int     // of the step that is over, from 0; transposed plans count down
	T     float64 // the time of the knot it ends at; 0 in transposed plans
	X     []T     // the state there, read only and until Observe returns; nil in transposed plans
	NFE   int     // network evaluations so far, or in transposed plans products with the Jacobian
}

// Interrupted is the error of a run that has begun and was not completed. It wraps the cause: the error of the context,
// of the network, of Noise or of Observe, or a [NumericError].
type Interrupted[T Float] struct {
	Step int     // the first step that was not completed
	NFE  int     // network evaluations completed
	T    float64 // the knot the step starts from
	X    []T     // the state there, in the runner's memory until its next run; nil in transposed plans
	Err  error
}

func (e *Interrupted[T]) Error() string {
	return fmt.Sprintf("ode: stopped at step %d after %s: %v", e.Step, counted(e.NFE, "network evaluation"), e.Err)
}

// Unwrap returns the cause.
func (e *Interrupted[T]) Unwrap() error { return e.Err }

// NumericError says where a run met a value that is not finite.
type NumericError struct {
	Step       int
	Evaluation int     // −1 if the value is not of an evaluation
	Knot       int     // the knot that the step starts from
	T          float64 // the time the network was given, or that of the knot
	Quantity   string  // what is not finite
	Sample     int     // first sample it was found in
}

func (e *NumericError) Error() string {
	if e.Evaluation >= 0 {
		return fmt.Sprintf("%s of evaluation %d (step %d, from knot %d, t=%g) is not finite in sample %d", e.Quantity, e.Evaluation, e.Step, e.Knot, e.T, e.Sample)
	}
	return fmt.Sprintf("%s (step %d, knot %d, t=%g) is not finite in sample %d", e.Quantity, e.Step, e.Knot, e.T, e.Sample)
}

// A Runner runs a plan on host memory, one instruction after the other. It owns the buffers that liveness says are
// needed and casts the coefficients once; a run allocates nothing of its own, save that the first with taps, and the
// first with Inputs.Table, make the buffers for them.
//
// A Runner is not safe for concurrent use: a Run during a Run is an error. Any number of Runners can share a plan.
type Runner[T Float] struct {
	plan       *Plan
	batch, dim int

	layout  Layout
	taps    []string       // by register
	names   []string       // of the taps
	tapLen  map[string]int // for a single sample, as the buffers are now
	buffers [][]T
	lasting []bool // registers that can be read when the run is over
	steps   []step[T]

	looksBack bool  // a value of the forward plan is needed
	timeSlot  []int // in the table of the forward plan, by evaluation; −1 where a time is given for each sample
	scratch   []T   // one sample, for dynamic clipping
	value     []T   // of the evaluation last pulled
	times     []T   // gradients of the times of the evaluation last pulled
	tangent   Tangent[T]
	bytes     int
	busy      atomic.Bool
}

// step is an instruction with the coefficients cast and the buffers found.
type step[T Float] struct {
	*Instr
	dst, src []T
	call     Call[T]

	terms    [][]T // Combine
	c        []T
	factors  []factors[T] // nil if all coefficients are plain numbers
	bias     []T
	in, out  []Tap[T] // Pull: cotangents of the taps
	unwanted bool     // Pull: nobody reads the cotangent of the argument
}

type factors[T Float] struct {
	elements []T // without C
	samples  []T // times C
}

// NewRunner makes a runner of p for states of batch samples of dim values. The registers in keep, like those of ports,
// can be read with [Runner.Reg] when a run is over.
//
// It is an error if p does not pass the structural checks of [Plan.Verify], a field of coefficients does not have dim
// elements or batch samples, or keep names a register that is not there.
func NewRunner[T Float](p *Plan, batch, dim int, keep ...Reg) (*Runner[T], error) {
	if batch < 1 || dim < 1 || dim > (1<<40)/batch {
		return nil, fmt.Errorf("ode: NewRunner: batch %d of %d values; both must be at least 1", batch, dim)
	}
	for _, check := range []func() error{p.verifyBorder, p.verifyCode, p.verifyKnots} {
		if err := check(); err != nil {
			return nil, fmt.Errorf("ode: NewRunner: plan %q: %w", p.Name, err)
		}
	}
	written := p.definitions()
	for _, k := range keep {
		if !p.has(k) || written[k] == undefined {
			return nil, fmt.Errorf("ode: NewRunner: plan %q writes no register %d to keep", p.Name, k)
		}
	}
	r := &Runner[T]{plan: p, batch: batch, dim: dim, layout: p.Live(keep...), lasting: make([]bool, p.Regs)}
	r.taps, _ = p.taps()
	r.names, r.tapLen = tapNames(r.taps), map[string]int{}
	for _, ports := range [][]Port{p.Inputs, p.Outputs} {
		for _, port := range ports {
			r.lasting[port.Reg] = true
		}
	}
	for _, k := range keep {
		r.lasting[k] = true
	}
	if err := r.cast(); err != nil {
		return nil, fmt.Errorf("ode: NewRunner: plan %q: %w", p.Name, err)
	}
	r.buffers = make([][]T, r.layout.Buffers())
	for i, tap := range r.layout.Tap {
		if tap == "" {
			r.buffers[i] = r.alloc(batch * dim)
		}
	}
	if len(r.names) == 0 {
		r.bind()
	}
	r.looksBack = len(p.Needs(false)) > 0
	if p.of != nil {
		slot := 0
		for i := range p.of.Code {
			in := &p.of.Code[i]
			if in.Op == Evaluate {
				r.timeSlot = append(r.timeSlot, slot)
				if in.Times != nil {
					r.timeSlot[in.Index] = -1
				}
			}
			slot += in.slots()
		}
	}
	return r, nil
}

func (r *Runner[T]) alloc(n int) []T {
	r.bytes += n * sizeof[T]()
	return make([]T, n)
}

func sizeof[T Float]() int {
	var x T
	return int(unsafe.Sizeof(x))
}

// Bytes is the memory the runner holds for numbers: buffers, cast coefficients and scratch.
func (r *Runner[T]) Bytes() int { return r.bytes }

// Reg returns the value of a register of a port or of one that is kept, in the runner's memory until the next run. For
// others it returns nil.
func (r *Runner[T]) Reg(reg Reg) []T {
	if !r.plan.has(reg) || !r.lasting[reg] {
		return nil
	}
	return r.at(reg)
}

// Output returns the value of the named output, in the runner's memory until the next run; nil if there is none.
func (r *Runner[T]) Output(name string) []T {
	reg, ok := r.plan.Output(name)
	if !ok {
		return nil
	}
	return r.at(reg)
}

func (r *Runner[T]) at(reg Reg) []T { return r.buffers[r.layout.Slot[reg]] }

// cast makes the coefficients, once.
func (r *Runner[T]) cast() error {
	type key struct {
		first *float64
		c     float64
	}
	done := map[key][]T{} // fields may be shared by many instructions
	field := func(what string, i int, v []float64, n int, c float64) ([]T, error) {
		if v == nil {
			return nil, nil
		}
		if len(v) != n {
			return nil, fmt.Errorf("instruction %d has %d %s, the runner needs %d", i, len(v), what, n)
		}
		k := key{&v[0], c}
		if done[k] == nil {
			done[k] = r.alloc(n)
			for j, x := range v {
				done[k][j] = T(c * x)
			}
		}
		return done[k], nil
	}
	read := make([]bool, r.plan.Regs)
	for reg, lasts := range r.lasting {
		read[reg] = lasts
	}
	for i := range r.plan.Code {
		r.plan.Code[i].reads(func(reg Reg) { read[reg] = true })
	}
	r.steps = make([]step[T], len(r.plan.Code))
	for i := range r.plan.Code {
		in := &r.plan.Code[i]
		s := &r.steps[i]
		s.Instr = in
		var err error
		switch in.Op {
		case Combine:
			s.terms, s.c = make([][]T, len(in.Terms)), r.alloc(len(in.Terms))
			for k, t := range in.Terms {
				s.c[k] = T(t.C)
			}
			if in.plain() {
				break
			}
			if tap := r.taps[in.Dst]; tap != "" {
				return fmt.Errorf("instruction %d has fields of coefficients for %s; only states have them", i, holds(tap))
			}
			s.factors = make([]factors[T], len(in.Terms))
			for k, t := range in.Terms {
				if s.factors[k].elements, err = field("element factors", i, t.Elements, r.dim, 1); err != nil {
					return err
				}
				if s.factors[k].samples, err = field("sample factors", i, t.Samples, r.batch, t.C); err != nil {
					return err
				}
			}
			if s.bias, err = field("bias values", i, in.Bias, r.dim, 1); err != nil {
				return err
			}
		case Evaluate, Pull:
			times := []float64{in.T}
			if in.Times != nil {
				times = in.Times
				if len(times) != r.batch {
					return fmt.Errorf("instruction %d has %d times, the runner needs %d", i, len(times), r.batch)
				}
			}
			s.call = Call[T]{Index: in.Index, Batch: r.batch}
			s.call.T, _ = field("times", i, times, len(times), 1)
			s.unwanted = !read[in.Dst]
		case Clip, PullClip:
			if in.Clip.Quantile > 0 && r.scratch == nil {
				r.scratch = r.alloc(r.dim)
			}
		}
	}
	return nil
}

// bind gives the instructions their buffers.
func (r *Runner[T]) bind() {
	taps := func(ports []Port) []Tap[T] {
		if len(ports) == 0 {
			return nil
		}
		list := make([]Tap[T], len(ports))
		for i, p := range ports {
			list[i] = Tap[T]{p.Name, r.at(p.Reg)}
		}
		return list
	}
	for i := range r.steps {
		s := &r.steps[i]
		s.dst = r.at(s.Dst)
		switch s.Op {
		case Combine:
			for k, t := range s.Terms {
				s.terms[k] = r.at(t.Reg)
			}
			continue
		case Draw:
			continue
		}
		s.src = r.at(s.Src)
		switch s.Op {
		case Evaluate:
			s.call.In, s.call.Out = taps(s.In), taps(s.Out)
		case Pull:
			s.in, s.out = taps(s.Instr.In), taps(s.Instr.Out)
			s.call.In, s.call.Out = make([]Tap[T], len(s.AtIn)), make([]Tap[T], len(s.Instr.Out))
			for k, p := range s.Instr.Out {
				s.call.Out[k].Name = p.Name
			}
			for k, p := range s.AtIn {
				s.call.In[k].Name = p.Name
			}
		}
	}
}

// fit makes the buffers of taps as long as the network says.
func (r *Runner[T]) fit(f Field[T]) error {
	fits := true
	for _, name := range r.names {
		tapped, ok := f.(Tapped)
		if !ok {
			return fmt.Errorf("ode: Run: plan %q passes the tap %q, but %T has no taps", r.plan.Name, name, f)
		}
		n, ok := tapped.TapLen(name)
		if !ok || n < 1 {
			return fmt.Errorf("ode: Run: plan %q passes the tap %q, and %T has none of that name", r.plan.Name, name, f)
		}
		fits = fits && r.tapLen[name] == n
		r.tapLen[name] = n
	}
	if fits {
		return nil
	}
	for i, tap := range r.layout.Tap {
		if tap != "" {
			r.bytes -= len(r.buffers[i]) * sizeof[T]()
			r.buffers[i] = r.alloc(r.batch * r.tapLen[tap])
		}
	}
	r.bind()
	return nil
}

// Run runs the plan. The network is called with buffers of the runner.
//
// Errors before anything has run say what is wrong with the inputs; later ones are an [Interrupted]. The context is
// looked at before every step and every use of the network.
func (r *Runner[T]) Run(ctx context.Context, f Field[T], in Inputs[T]) error {
	if !r.busy.CompareAndSwap(false, true) {
		return errors.New("ode: Run: the runner is running already; make one for each goroutine")
	}
	defer r.busy.Store(false)
	if err := r.begin(f, &in); err != nil {
		return err
	}
	p := r.plan
	nfe, products := 0, p.products
	for i := range r.steps {
		s := &r.steps[i]
		if i == 0 || s.Step != r.steps[i-1].Step || s.Op == Evaluate || s.Op == Pull {
			if err := ctx.Err(); err != nil {
				return r.interrupted(s.Step, nfe, err)
			}
		}
		if in.Table != nil {
			for ; len(products) > 0 && products[0].pos == i; products = products[1:] {
				if err := r.product(&products[0], &in); err != nil {
					return r.interrupted(s.Step, nfe, err)
				}
			}
		}
		if err := r.do(s, f, &in); err != nil {
			return r.interrupted(s.Step, nfe, err)
		}
		if s.Op == Evaluate || s.Op == Pull {
			nfe++
		}
		if in.Observe != nil && (i == len(r.steps)-1 || r.steps[i+1].Step != s.Step) {
			done := Step[T]{Index: s.Step, NFE: nfe}
			if s.Step+1 < len(p.Knots) {
				k := p.Knots[s.Step+1]
				done.T, done.X = k.T, r.at(k.Reg)
			}
			if err := in.Observe(done); err != nil {
				return r.interrupted(s.Step+1, nfe, err)
			}
		}
	}
	if in.Table != nil {
		for i := range products {
			if err := r.product(&products[i], &in); err != nil {
				return r.interrupted(0, nfe, err)
			}
		}
	}
	last := max(0, len(p.Knots)-1)
	for _, port := range p.Outputs {
		if sample := r.notFinite(r.at(port.Reg)); sample >= 0 {
			e := &NumericError{Step: last, Evaluation: -1, Knot: last, Quantity: "output " + port.Name, Sample: sample}
			if len(p.Knots) > 0 {
				e.T = p.Knots[last].T
			}
			return r.interrupted(last, nfe, e)
		}
	}
	return nil
}

// begin checks and copies the inputs.
func (r *Runner[T]) begin(f Field[T], in *Inputs[T]) error {
	p := r.plan
	if f == nil {
		return errors.New("ode: Run: the Field is nil")
	}
	if err := r.fit(f); err != nil {
		return err
	}
	for name := range in.Ports {
		if _, ok := p.Input(name); !ok {
			return fmt.Errorf("ode: Run: plan %q has no input %q; its inputs are %v", p.Name, name, portNames(p.Inputs))
		}
	}
	for _, port := range p.Inputs {
		x, ok := in.Ports[port.Name]
		if !ok {
			return fmt.Errorf("ode: Run: Ports has no %q; the inputs of plan %q are %v", port.Name, p.Name, portNames(p.Inputs))
		}
		dst := r.at(port.Reg)
		if len(x) != len(dst) {
			return fmt.Errorf("ode: Run: input %q has %d values, want %d for %d samples", port.Name, len(x), len(dst), r.batch)
		}
		if sample := r.notFinite(x); sample >= 0 {
			e := &NumericError{Evaluation: -1, Quantity: "input " + port.Name, Sample: sample}
			if len(p.Knots) > 0 {
				e.T = p.Knots[0].T
			}
			return fmt.Errorf("ode: Run: %w", e)
		}
		copy(dst, x)
	}
	if in.Noise == nil && p.Draws() > 0 {
		return fmt.Errorf("ode: Run: plan %q draws noise: set Inputs.Noise, for example to a Seed", p.Name)
	}
	return r.beginTransposed(f, in)
}

func (r *Runner[T]) beginTransposed(f Field[T], in *Inputs[T]) error {
	p := r.plan
	if p.of == nil {
		if in.Forward != nil || in.Params != nil || in.Times != nil || in.Table != nil {
			return fmt.Errorf("ode: Run: Forward, Params, Times and Table are for transposed plans, and %q is none; see Plan.Transpose", p.Name)
		}
		return nil
	}
	if in.Forward == nil && r.looksBack {
		return fmt.Errorf("ode: Run: plan %q needs Inputs.Forward, such as Reg of a runner of the forward plan that keeps Needs", p.Name)
	}
	if _, ok := f.(Differentiable[T]); !ok && p.count(Pull) > 0 {
		return fmt.Errorf("ode: Run: plan %q needs products with the network's Jacobian, and %T is not Differentiable", p.Name, f)
	}
	if want := p.of.NFE() * r.batch; in.Times != nil && len(in.Times) != want {
		return fmt.Errorf("ode: Run: Times has %d values, want %d", len(in.Times), want)
	}
	clear(in.Times)
	if in.Table == nil {
		return nil
	}
	if want := p.of.tableLen(); len(in.Table) != want {
		return fmt.Errorf("ode: Run: Table has %d values, the forward plan's has %d", len(in.Table), want)
	}
	if r.value == nil {
		r.value, r.times = r.alloc(r.batch*r.dim), r.alloc(r.batch)
	}
	return nil
}

func portNames(ports []Port) []string {
	names := make([]string, len(ports))
	for i, p := range ports {
		names[i] = p.Name
	}
	return names
}

func (r *Runner[T]) interrupted(step, nfe int, err error) error {
	e := &Interrupted[T]{Step: step, NFE: nfe, Err: err}
	if step < len(r.plan.Knots) {
		k := r.plan.Knots[step]
		e.T, e.X = k.T, r.at(k.Reg)
	}
	return e
}

// notFinite returns the first sample of x with a value that is not finite, or −1.
func (r *Runner[T]) notFinite(x []T) int {
	if s := kernels.Sum(x); s-s == 0 {
		return -1
	}
	for i, v := range x {
		if v-v != 0 {
			return i / (len(x) / r.batch)
		}
	}
	return -1 // the sum itself went past the largest number
}

func (r *Runner[T]) do(s *step[T], f Field[T], in *Inputs[T]) error {
	switch s.Op {
	case Combine:
		if s.plain() {
			kernels.Combine(s.dst, s.c, s.terms)
		} else {
			r.combine(s)
		}
	case Evaluate:
		if err := f.Eval(s.dst, s.src, s.call); err != nil {
			return fmt.Errorf("evaluation %d at t=%g: %w", s.Index, s.T, err)
		}
		return r.check(s, "the network's output", s.dst)
	case Draw:
		return in.Noise.Draw(s.dst, DrawCall{Index: s.Index, Batch: r.batch, From: s.From, To: s.To})
	case Clip:
		r.eachSample(func(b, e int) { clip(s.Clip, s.dst[b:e], s.src[b:e], r.scratch) })
	case Pull:
		return r.pull(s, f.(Differentiable[T]), in)
	case PullClip:
		x, err := r.forward(in, s.At, len(s.dst))
		if err != nil {
			return err
		}
		r.eachSample(func(b, e int) { pullClip(s.Clip, s.dst[b:e], s.src[b:e], x[b:e], r.scratch) })
	}
	return nil
}

func (r *Runner[T]) eachSample(f func(begin, end int)) {
	for b := range r.batch {
		f(b*r.dim, (b+1)*r.dim)
	}
}

// combine is Combine with fields of coefficients. dst is no term here, see Live.
func (r *Runner[T]) combine(s *step[T]) {
	for b := range r.batch {
		dst := s.dst[b*r.dim : (b+1)*r.dim]
		if s.bias != nil {
			copy(dst, s.bias)
		} else {
			clear(dst)
		}
		for k, term := range s.terms {
			x, c := term[b*r.dim:(b+1)*r.dim], s.c[k]
			if s.factors[k].samples != nil {
				c = s.factors[k].samples[b]
			}
			if e := s.factors[k].elements; e != nil {
				for i := range dst {
					dst[i] += c * e[i] * x[i]
				}
			} else {
				kernels.Axpy(dst, c, x)
			}
		}
	}
}

func (r *Runner[T]) check(s *step[T], quantity string, x []T) error {
	sample := r.notFinite(x)
	if sample < 0 {
		return nil
	}
	t := s.T
	if s.Times != nil {
		t = s.Times[sample]
	}
	return &NumericError{Step: s.Step, Evaluation: s.Index, Knot: s.Step, T: t, Quantity: quantity, Sample: sample}
}

func (r *Runner[T]) forward(in *Inputs[T], reg Reg, n int) ([]T, error) {
	if in.Forward == nil {
		return nil, fmt.Errorf("Inputs.Forward is nil, and register %d of the forward plan is needed", reg)
	}
	x := in.Forward(reg)
	if len(x) != n {
		return nil, fmt.Errorf("Forward gives %d values for register %d of the forward plan, want %d; a runner has to keep it", len(x), reg, n)
	}
	return x, nil
}

func (r *Runner[T]) pull(s *step[T], f Differentiable[T], in *Inputs[T]) error {
	x, err := r.forward(in, s.At, len(s.src))
	if err != nil {
		return err
	}
	for k, port := range s.AtIn {
		if s.call.In[k].Data, err = r.forward(in, port.Reg, r.batch*r.tapLen[port.Name]); err != nil {
			return err
		}
	}
	g := &r.tangent
	*g = Tangent[T]{X: s.dst, In: s.in, Out: s.out, Params: in.Params}
	if s.unwanted {
		g.X = nil
	}
	if in.Times != nil {
		g.T = in.Times[s.Index*r.batch : (s.Index+1)*r.batch]
	}
	if in.Table != nil {
		g.Value = r.value
		if g.T == nil {
			g.T = r.times
		}
	}
	if err := f.VJP(g, s.src, x, s.call); err != nil {
		return fmt.Errorf("transposed evaluation %d at t=%g: %w", s.Index, s.T, err)
	}
	if g.X != nil {
		if err := r.check(s, "the cotangent of the argument", g.X); err != nil {
			return err
		}
	}
	if in.Table != nil {
		if slot := r.timeSlot[s.Index]; slot >= 0 {
			in.Table[slot] += kernels.Sum(g.T)
		}
	}
	return nil
}

// product adds the gradient of the coefficients that a forward register is multiplied with.
func (r *Runner[T]) product(p *product, in *Inputs[T]) error {
	x := r.value
	if !p.pulled {
		var err error
		if x, err = r.forward(in, p.reg, len(r.at(p.terms[0].cot))); err != nil {
			return err
		}
	}
	for _, t := range p.terms {
		c := r.at(t.cot)
		if t.elements == nil && t.samples == nil {
			in.Table[t.slot] += kernels.Dot(c, x)
			continue
		}
		for b := range r.batch {
			sum := 0.0
			for i := b * r.dim; i < (b+1)*r.dim; i++ {
				v := float64(c[i]) * float64(x[i])
				if t.elements != nil {
					v *= t.elements[i-b*r.dim]
				}
				sum += v
			}
			if t.samples != nil {
				sum *= t.samples[b]
			}
			in.Table[t.slot] += sum
		}
	}
	return nil
}

// Sample solves the plan from x, which holds batch samples, and returns the output named x. It is for plans with the one
// input x and without draws; for others, and to sample more than once, make a [Runner].
func Sample[T Float](ctx context.Context, p *Plan, f Field[T], x []T, batch int) ([]T, error) {
	if batch < 1 || len(x) == 0 || len(x)%batch != 0 {
		return nil, fmt.Errorf("ode: Sample: %d values do not make %d samples", len(x), batch)
	}
	r, err := NewRunner[T](p, batch, len(x)/batch)
	if err != nil {
		return nil, err
	}
	if err := r.Run(ctx, f, Inputs[T]{Ports: map[string][]T{"x": x}}); err != nil {
		return nil, err
	}
	return r.Output("x"), nil
}
