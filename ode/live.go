package ode

import "math"

// A Layout places the registers of a plan in buffers.
type Layout struct {
	Slot []int    // the buffer of each register, −1 for one that nothing writes
	Tap  []string // what each buffer is sized for: a tap, or "" for a state
}

// Buffers is how many buffers a run needs.
func (l Layout) Buffers() int { return len(l.Tap) }

// Live finds, by the last read of each register, which registers can share a buffer. Ports and the registers in keep
// keep their buffer to the end, so that they can be read when the run is over; the states at both knots of a step stay
// until it is over. A Combine may write the buffer of a term that it is the last to read, if all its coefficients are plain numbers.
//
// The plan must pass [Plan.Verify].
func (p *Plan) Live(keep ...Reg) Layout {
	tap, err := p.taps()
	if err != nil {
		panic("ode: Live of a plan that Verify refuses: " + err.Error())
	}
	const always = math.MaxInt
	last := make([]int, p.Regs) // position of the last read, −1 if none
	for r := range last {
		last[r] = -1
	}
	read := func(r Reg, pos int) { last[r] = max(last[r], pos) }
	for i := range p.Code {
		p.Code[i].reads(func(r Reg) { read(r, i) })
	}
	for _, k := range p.products {
		for _, t := range k.terms {
			read(t.cot, k.pos)
		}
	}
	for step, end := range p.stepEnds() {
		if end >= 0 {
			read(p.Knots[step].Reg, end)
			read(p.Knots[step+1].Reg, end)
		}
	}
	for _, ports := range [][]Port{p.Inputs, p.Outputs} {
		for _, port := range ports {
			last[port.Reg] = always
		}
	}
	for _, r := range keep {
		last[r] = always
	}

	l := Layout{Slot: make([]int, p.Regs)}
	for r := range l.Slot {
		l.Slot[r] = -1
	}
	free := map[string][]int{}
	take := func(r Reg) {
		f := free[tap[r]]
		if len(f) == 0 {
			l.Slot[r] = len(l.Tap)
			l.Tap = append(l.Tap, tap[r])
			return
		}
		l.Slot[r] = f[len(f)-1]
		free[tap[r]] = f[:len(f)-1]
	}
	release := func(r Reg) {
		if l.Slot[r] >= 0 { // else it is about to be written, by the instruction it also expires at
			free[tap[r]] = append(free[tap[r]], l.Slot[r])
		}
	}
	// The registers that are last read at one position are a list: its first, and what follows each.
	first, next := make([]Reg, len(p.Code)), make([]Reg, p.Regs)
	for i := range first {
		first[i] = noReg
	}
	for r := len(last) - 1; r >= 0; r-- {
		if pos := last[r]; pos >= 0 && pos < len(first) {
			first[pos], next[r] = Reg(r), first[pos]
		}
	}
	expire := func(pos int) {
		for r := first[pos]; r != noReg; r = next[r] {
			release(r)
		}
	}
	for _, port := range p.Inputs {
		take(port.Reg)
	}
	for i := range p.Code {
		in := &p.Code[i]
		inPlace := in.Op == Combine && in.plain()
		if inPlace {
			expire(i)
		}
		in.writes(take)
		if !inPlace {
			expire(i)
		}
		in.writes(func(r Reg) {
			if last[r] < i || inPlace && last[r] == i { // never read
				release(r)
			}
		})
	}
	return l
}

// stepEnds returns the position of the last instruction of every step between two knots, −1 for a step without any.
func (p *Plan) stepEnds() []int {
	end := make([]int, max(0, len(p.Knots)-1))
	for i := range end {
		end[i] = -1
	}
	for i := range p.Code {
		if step := p.Code[i].Step; step < len(end) {
			end[step] = i
		}
	}
	return end
}

// plain says whether a Combine has numbers for all its coefficients.
func (in *Instr) plain() bool {
	if in.Bias != nil {
		return false
	}
	for i := range in.Terms {
		if !in.Terms[i].plain() {
			return false
		}
	}
	return true
}

func (t *Term) plain() bool { return t.Elements == nil && t.Samples == nil }
