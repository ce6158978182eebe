package ode

import (
	"fmt"
	"slices"
)

// recall makes the states at knots 1 to Problem.History inputs of the plan, wherever its first steps would have made them or predicted
// them, and drops what is then of no use.
func (a *Assembler) recall() {
	n, p := a.problem.History, &a.plan
	switch {
	case n < 0 || n >= a.Len():
		a.Fail("Problem.History is %d; with %d steps it lies between 0 and %d", n, a.Len(), a.Len()-1)
		return
	case a.problem.SingleStart:
		a.Fail("Problem.History and SingleStart are both set, and both are ways to start; leave one of them out")
		return
	case len(p.Inputs) > 1:
		a.Fail("Problem.History is %d, but the run starts from %v already; leave it out", n, portNames(p.Inputs))
		return
	}
	for _, o := range p.Outputs {
		if !slices.ContainsFunc(p.Knots, func(k Knot) bool { return k.Reg == o.Reg }) {
			a.Fail("Problem.History is for solvers that look back to states at knots, and this one goes on with another, its %s; leave it out", o.Name)
			return
		}
	}
	given := map[Reg]Reg{}
	for k, knot := range p.Knots[1 : n+1] {
		given[knot.Reg] = knot.Reg
		p.Inputs = append(p.Inputs, Port{fmt.Sprintf("x%d", k+1), knot.Reg})
		for x, t := range a.asked {
			if t == knot.T && x != p.Inputs[0].Reg {
				given[x] = knot.Reg
			}
		}
	}
	p.Code = slices.DeleteFunc(p.Code, func(in Instr) bool { _, is := given[in.Dst]; return is })
	for i := range p.Code {
		in := &p.Code[i]
		for k := range in.Terms {
			if r, is := given[in.Terms[k].Reg]; is {
				in.Terms[k].Reg = r
			}
		}
		if r, is := given[in.Src]; is {
			in.Src = r
		}
	}
	if !p.prune()[p.Inputs[0].Reg] {
		a.Fail("Problem.History is %d, and then the state at the first knot takes no part: the solver does not look back so far; give less", n)
	}
}

// prune drops instructions that nothing depends on, and returns the registers that are read.
func (p *Plan) prune() (read []bool) {
	needed := make([]bool, p.Regs)
	read = make([]bool, p.Regs)
	for _, port := range p.Outputs {
		needed[port.Reg] = true
	}
	for _, k := range p.Knots {
		needed[k.Reg] = true
	}
	var code []Instr // from the last to the first
	for _, in := range slices.Backward(p.Code) {
		used := false
		in.writes(func(r Reg) { used = used || needed[r] })
		if used {
			in.reads(func(r Reg) { needed[r], read[r] = true, true })
			code = append(code, in)
		}
	}
	slices.Reverse(code)
	count := map[Op]int{}
	for i := range code {
		if op := code[i].Op; op == Evaluate || op == Draw {
			code[i].Index = count[op]
			count[op]++
		}
	}
	p.Code = code
	return read
}
