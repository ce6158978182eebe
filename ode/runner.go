package ode

import (
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"unsafe"
)

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
	fits      bool // the first field met fits the plan
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
	if p == nil {
		return nil, errors.New("ode: NewRunner: the plan is nil")
	}
	if batch < 1 || dim < 1 || dim > min(1<<40, math.MaxInt/64)/batch {
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
	copy(read, r.lasting)
	for i := range r.plan.Code {
		r.plan.Code[i].reads(func(reg Reg) { read[reg] = true })
	}
	r.steps = make([]step[T], len(r.plan.Code))
	terms := make([][]T, r.plan.tableLen())
	for i := range r.plan.Code {
		in := &r.plan.Code[i]
		s := &r.steps[i]
		s.Instr = in
		var err error
		switch in.Op {
		case Combine:
			n := len(in.Terms)
			s.terms, terms, s.c = terms[:n:n], terms[n:], r.alloc(n)
			for k := range in.Terms {
				s.c[k] = T(in.Terms[k].C)
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
			s.call = Call[T]{Index: in.Index, Batch: r.batch}
			if in.Times == nil {
				s.call.T = r.alloc(1)
				s.call.T[0] = T(in.T)
			} else if s.call.T, err = field("times", i, in.Times, r.batch, 1); err != nil {
				return err
			}
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
			for k := range s.Terms {
				s.terms[k] = r.at(s.Terms[k].Reg)
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
