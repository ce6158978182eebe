package ode

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// A Share says that the tap Name which evaluation From writes is used by evaluation To in place of its own: features of
// one evaluation kept for another, or the attention of one run given to the next (editing).
//
// From −1 takes the tap from a new input port, To −1 gives it to a new output port. These are named after the
// evaluation at the other end, Name@index, so that what one plan gives under V@3 another takes under V@3.
type Share struct {
	Name     string
	From, To int
}

// Share returns the plan with taps passed between its evaluations. A tap that one evaluation writes may be shared with
// any number of later ones. The parameters are kept.
//
// It is an error if a name is empty or has an @, an index is not that of an evaluation, a tap would be used before it is
// written, or an evaluation would get one tap twice.
func (p *Plan) Share(shares ...Share) (*Plan, error) {
	q := *p
	q.Code = slices.Clone(p.Code)
	q.Inputs = slices.Clone(p.Inputs)
	q.Outputs = slices.Clone(p.Outputs)
	var evaluations []*Instr
	for i := range q.Code {
		if in := &q.Code[i]; in.Op == Evaluate {
			in.In, in.Out = slices.Clone(in.In), slices.Clone(in.Out)
			evaluations = append(evaluations, in)
		}
	}
	for _, s := range shares {
		if err := s.check(len(evaluations)); err != nil {
			return nil, fmt.Errorf("ode: Share of %s: %w", p.Name, err)
		}
		var r Reg
		if s.From < 0 {
			name := portOfTap(s.Name, s.To)
			if _, taken := q.Input(name); !taken {
				q.Inputs = append(q.Inputs, Port{name, q.register()})
			}
			r, _ = q.Input(name)
		} else {
			from, taken := evaluations[s.From], false
			if r, taken = find(from.Out, s.Name); !taken {
				r = q.register()
				from.Out = append(from.Out, Port{s.Name, r})
			}
		}
		if s.To < 0 {
			name := portOfTap(s.Name, s.From)
			if _, taken := q.Output(name); taken {
				return nil, fmt.Errorf("ode: Share of %s: evaluation %d gives its tap %q twice", p.Name, s.From, s.Name)
			}
			q.Outputs = append(q.Outputs, Port{name, r})
			continue
		}
		to := evaluations[s.To]
		if _, taken := find(to.In, s.Name); taken {
			return nil, fmt.Errorf("ode: Share of %s: evaluation %d gets the tap %q twice; share one source with it", p.Name, s.To, s.Name)
		}
		to.In = append(to.In, Port{s.Name, r})
	}
	q.params = slices.Clone(p.params)
	for i, param := range p.params {
		q.params[i].Rebuild = func(value []float64) (*Plan, error) {
			r, err := param.Rebuild(value)
			if err != nil {
				return nil, err
			}
			return r.Share(shares...)
		}
	}
	return &q, nil
}

func (s Share) check(nfe int) error {
	switch {
	case s.Name == "" || strings.Contains(s.Name, "@"):
		return fmt.Errorf("the tap name %q is empty or has an @", s.Name)
	case s.From < 0 && s.To < 0:
		return fmt.Errorf("tap %q: From %d and To %d name no evaluation", s.Name, s.From, s.To)
	case s.From < -1 || s.From >= nfe:
		return fmt.Errorf("tap %q: From is %d, evaluations are 0 to %d (or −1 for an input)", s.Name, s.From, nfe-1)
	case s.To < -1 || s.To >= nfe:
		return fmt.Errorf("tap %q: To is %d, evaluations are 0 to %d (or −1 for an output)", s.Name, s.To, nfe-1)
	case s.From >= 0 && s.To >= 0 && s.From >= s.To:
		return fmt.Errorf("tap %q: evaluation %d would use what evaluation %d has not written yet", s.Name, s.To, s.From)
	}
	return nil
}

func (p *Plan) register() Reg {
	p.Regs++
	return Reg(p.Regs - 1)
}

func portOfTap(name string, index int) string { return name + "@" + strconv.Itoa(index) }

// TapOfPort returns the name of the tap that a port of a plan holds, or "" for a state; see [Share].
func TapOfPort(port string) string {
	name, _, _ := strings.Cut(port, "@")
	if name == port {
		return ""
	}
	return name
}

// taps returns which tap each register holds, "" for a state. A register of a Combine holds what its terms hold.
func (p *Plan) taps() ([]string, error) {
	tap := make([]string, p.Regs)
	for _, port := range p.Inputs {
		tap[port.Reg] = TapOfPort(port.Name)
	}
	for i := range p.Code {
		in := &p.Code[i]
		want := func(r Reg, name string) error {
			if tap[r] != name {
				return fmt.Errorf("instruction %d needs %s in a register that holds %s", i, holds(name), holds(tap[r]))
			}
			return nil
		}
		var err error
		check := func(r Reg, name string) {
			if err == nil {
				err = want(r, name)
			}
		}
		switch in.Op {
		case Combine:
			if len(in.Terms) > 0 {
				tap[in.Dst] = tap[in.Terms[0].Reg]
			} else if out := slices.IndexFunc(p.Outputs, func(o Port) bool { return o.Reg == in.Dst }); out >= 0 {
				tap[in.Dst] = TapOfPort(p.Outputs[out].Name)
			}
			for k := range in.Terms {
				check(in.Terms[k].Reg, tap[in.Dst])
			}
		case Evaluate:
			check(in.Src, "")
			for _, port := range in.In {
				check(port.Reg, port.Name)
			}
			for _, port := range in.Out {
				tap[port.Reg] = port.Name
			}
		case Pull:
			check(in.Src, "")
			for _, port := range in.Out {
				check(port.Reg, port.Name)
			}
			for _, port := range in.In {
				tap[port.Reg] = port.Name
			}
		case Clip, PullClip:
			check(in.Src, "")
		}
		if err != nil {
			return nil, err
		}
	}
	for _, port := range p.Outputs {
		if name := TapOfPort(port.Name); tap[port.Reg] != name {
			return nil, fmt.Errorf("output %q is to hold %s, its register holds %s", port.Name, holds(name), holds(tap[port.Reg]))
		}
	}
	return tap, nil
}

func (p *Plan) hasTaps() bool {
	for _, ports := range [][]Port{p.Inputs, p.Outputs} {
		if slices.ContainsFunc(ports, func(port Port) bool { return TapOfPort(port.Name) != "" }) {
			return true
		}
	}
	for i := range p.Code {
		if in := &p.Code[i]; len(in.In)+len(in.Out) > 0 {
			return true
		}
	}
	return false
}

func holds(tap string) string {
	if tap == "" {
		return "a state"
	}
	return fmt.Sprintf("the tap %q", tap)
}

// tapNames returns the names of all taps of the plan in alphabetical order.
func tapNames(taps []string) []string {
	set := map[string]bool{}
	for _, t := range taps {
		if t != "" {
			set[t] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}
