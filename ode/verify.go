package ode

import (
	"fmt"
	"math"
	"strings"
)

// Verify checks that a plan can be run and means what it says:
//
//   - every register is written once, and before it is read; a tap is used as the tap it was written as;
//   - ports have distinct names, none empty; knots have registers, inside the schedule's domain, that are written by the
//     end of their step; steps follow one another;
//   - evaluations and draws are numbered in order, and every evaluation takes part in an output or a knot;
//   - all numbers are finite, and the network is called inside the schedule's domain;
//   - if the plan is Exact, the knot check holds, see [Plan.KnotError].
//
// Compiled plans have passed it.
func (p *Plan) Verify() error {
	for _, check := range []func() error{p.verifyBorder, p.verifyCode, p.verifyKnots, p.verifyUse, p.KnotError} {
		if err := check(); err != nil {
			return fmt.Errorf("ode: plan %q: %w", p.Name, err)
		}
	}
	return nil
}

func (p *Plan) verifyBorder() error {
	if p.Schedule == nil {
		return fmt.Errorf("the Schedule is nil")
	}
	if p.Regs < 0 {
		return fmt.Errorf("there are %d registers", p.Regs)
	}
	if len(p.Outputs) == 0 && p.of == nil { // a transposed plan may be run for its parameters alone
		return fmt.Errorf("there is no output")
	}
	for _, side := range []struct {
		what  string
		ports []Port
	}{{"input", p.Inputs}, {"output", p.Outputs}} {
		what, ports := side.what, side.ports
		for i, port := range ports {
			_, seen := find(ports[:i], port.Name)
			switch {
			case port.Name == "" || strings.HasPrefix(port.Name, "@"):
				return fmt.Errorf("an %s has no name", what)
			case seen:
				return fmt.Errorf("two %ss have the name %q", what, port.Name)
			case !p.has(port.Reg):
				return fmt.Errorf("%s %q is register %d of %d", what, port.Name, port.Reg, p.Regs)
			}
		}
	}
	return nil
}

func (p *Plan) has(r Reg) bool { return r >= 0 && int(r) < p.Regs }

func (p *Plan) verifyCode() error {
	written := make([]bool, p.Regs)
	var first error // of one instruction
	fail := func(format string, args ...any) {
		if first == nil {
			first = fmt.Errorf(format, args...)
		}
	}
	write := func(r Reg) {
		switch {
		case !p.has(r):
			fail("writes register %d of %d", r, p.Regs)
		case written[r]:
			fail("writes register %d a second time", r)
		default:
			written[r] = true
		}
	}
	read := func(r Reg) {
		switch {
		case !p.has(r):
			fail("reads register %d of %d", r, p.Regs)
		case !written[r]:
			fail("reads register %d before it is written", r)
		}
	}
	number := func(what string, v float64) {
		if !finite(v) {
			fail("has %s %g", what, v)
		}
	}
	numbers := func(what string, vs []float64) {
		for _, v := range vs {
			number(what, v)
		}
	}
	for _, port := range p.Inputs {
		write(port.Reg)
	}
	if first != nil {
		return fmt.Errorf("the inputs: %w", first)
	}
	evaluations, draws, pulled := 0, 0, math.MaxInt
	for i := range p.Code {
		in := &p.Code[i]
		in.reads(read)
		switch in.Op {
		case Combine:
			for k := range in.Terms {
				t := &in.Terms[k]
				if number("coefficient", t.C); !t.plain() {
					numbers("element factor", t.Elements)
					numbers("sample factor", t.Samples)
				}
			}
			numbers("bias", in.Bias)
		case Evaluate:
			if in.Index != evaluations {
				fail("is evaluation %d, next in order is %d", in.Index, evaluations)
			}
			evaluations++
			p.verifyTimes(in, fail)
			verifyTapNames(in.In, fail)
			verifyTapNames(in.Out, fail)
		case Draw:
			if in.Index != draws {
				fail("is draw %d, next in order is %d", in.Index, draws)
			}
			draws++
			number("interval end", in.From)
			number("interval end", in.To)
		case Clip, PullClip:
			if err := in.Clip.check(); err != nil {
				fail("%w", err)
			}
			if in.Op == PullClip && in.At < 0 {
				fail("is at forward register %d", in.At)
			}
		case Pull:
			if in.Index < 0 || in.Index >= pulled {
				fail("pulls evaluation %d after %d: the order is from the last to the first", in.Index, pulled)
			}
			pulled = in.Index
			p.verifyTimes(in, fail)
			if in.At < 0 {
				fail("is at forward register %d", in.At)
			}
			if len(in.AtIn) != len(in.In) {
				fail("has %d taps at and %d cotangents of taps", len(in.AtIn), len(in.In))
			}
			verifyTapNames(in.In, fail)
			verifyTapNames(in.Out, fail)
		case Solve:
			fail("is Solve, which is reserved and cannot be run: write the fixed point out as steps")
		default:
			fail("has the unknown Op %d", in.Op)
		}
		in.writes(write)
		if first != nil {
			return fmt.Errorf("instruction %d (%v, step %d) %w", i, in.Op, in.Step, first)
		}
	}
	for _, port := range p.Outputs {
		if !written[port.Reg] {
			return fmt.Errorf("output %q is register %d, which nothing writes", port.Name, port.Reg)
		}
	}
	if !p.hasTaps() {
		return nil
	}
	_, err := p.taps()
	return err
}

func verifyTapNames(ports []Port, fail func(string, ...any)) {
	for i, port := range ports {
		if port.Name == "" || strings.Contains(port.Name, "@") {
			fail("has a tap named %q", port.Name)
		}
		if _, twice := find(ports[:i], port.Name); twice {
			fail("has the tap %q twice", port.Name)
		}
	}
}

// verifyTimes checks the times a network is called at. A Denoiser is called with a noise level, which is no time.
func (p *Plan) verifyTimes(in *Instr, fail func(string, ...any)) {
	lo, hi := p.Schedule.Domain()
	what := "the domain of the schedule"
	if p.Raw == Denoiser {
		lo, hi = 0, math.MaxFloat64
		what = "the noise levels"
	}
	check := func(t float64) {
		if !(t >= lo && t <= hi) {
			fail("calls the network at %g, outside %s [%g, %g]", t, what, lo, hi)
		}
	}
	if in.Times == nil {
		check(in.T)
		return
	}
	for _, t := range in.Times {
		check(t)
	}
	if !finite(in.T) {
		fail("has time %g", in.T)
	}
}

func finite(v float64) bool { return v-v == 0 }

func (p *Plan) verifyKnots() error {
	lo, hi := p.Schedule.Domain()
	written := p.definitions()
	for i, k := range p.Knots {
		switch {
		case !p.has(k.Reg):
			return fmt.Errorf("knot %d is register %d of %d", i, k.Reg, p.Regs)
		case written[k.Reg] == undefined:
			return fmt.Errorf("knot %d is register %d, which nothing writes", i, k.Reg)
		case !(k.T >= lo && k.T <= hi):
			return fmt.Errorf("knot %d is at %g, outside the domain of the schedule [%g, %g]", i, k.T, lo, hi)
		}
	}
	transposed := false
	for i := range p.Code {
		in := &p.Code[i]
		transposed = transposed || in.Op == Pull || in.Op == PullClip
		if in.Step < 0 || len(p.Knots) > 0 && in.Step >= len(p.Knots)-1 {
			return fmt.Errorf("instruction %d is of step %d, there are %d knots", i, in.Step, len(p.Knots))
		}
		if i > 0 && in.Step < p.Code[i-1].Step && p.of == nil && !transposed {
			return fmt.Errorf("instruction %d is of step %d and follows step %d", i, in.Step, p.Code[i-1].Step)
		}
	}
	for step, end := range p.stepEnds() {
		if end >= 0 && written[p.Knots[step+1].Reg] > end {
			return fmt.Errorf("knot %d is register %d, which is not written by the end of step %d", step+1, p.Knots[step+1].Reg, step)
		}
	}
	return nil
}

const undefined = -2

// definitions returns where each register is written: the position in the code, −1 for an input.
func (p *Plan) definitions() []int {
	at := make([]int, p.Regs)
	for r := range at {
		at[r] = undefined
	}
	for _, port := range p.Inputs {
		at[port.Reg] = -1
	}
	for i := range p.Code {
		p.Code[i].writes(func(r Reg) { at[r] = i })
	}
	return at
}

// verifyUse refuses an evaluation that nothing depends on: the dearest mistake a solver can make.
func (p *Plan) verifyUse() error {
	needed := make([]bool, p.Regs)
	for _, port := range p.Outputs {
		needed[port.Reg] = true
	}
	for _, k := range p.Knots {
		needed[k.Reg] = true
	}
	for i := len(p.Code) - 1; i >= 0; i-- {
		in := &p.Code[i]
		used := in.Op == Pull // it also gives gradients of parameters
		in.writes(func(r Reg) { used = used || needed[r] })
		if used {
			in.reads(func(r Reg) { needed[r] = true })
		} else if in.Op == Evaluate {
			return fmt.Errorf("evaluation %d (instruction %d) takes part in no output and no knot", in.Index, i)
		}
	}
	return nil
}
