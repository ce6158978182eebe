package ode

import (
	"context"
	"errors"
	"fmt"

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
	if !r.fits {
		if err := Fits(p, f); err != nil {
			return err
		}
		r.fits = true
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
		r.eachSample(func(b, e int) { ClipSample(s.Clip, s.dst[b:e], s.src[b:e], r.scratch) })
	case Pull:
		return r.pull(s, f.(Differentiable[T]), in)
	case PullClip:
		x, err := r.forward(in, s.At, len(s.dst))
		if err != nil {
			return err
		}
		r.eachSample(func(b, e int) { PullClipSample(s.Clip, s.dst[b:e], s.src[b:e], x[b:e], r.scratch) })
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
		return nil, fmt.Errorf("register %d of the forward plan is needed, and Inputs.Forward is nil", reg)
	}
	x := in.Forward(reg)
	if len(x) != n {
		return nil, fmt.Errorf("register %d of the forward plan has %d values in Inputs.Forward, want %d; a runner has to keep it", reg, len(x), n)
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
