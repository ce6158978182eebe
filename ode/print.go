package ode

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

var opNames = [...]string{Combine: "combine", Evaluate: "evaluate", Draw: "draw", Clip: "clip", Solve: "solve", Pull: "pull", PullClip: "pullclip"}

// String returns the name of the instruction.
func (o Op) String() string {
	if int(o) < len(opNames) && opNames[o] != "" {
		return opNames[o]
	}
	return "op(" + strconv.Itoa(int(o)) + ")"
}

// String returns the plan as a person would write it down: a header, and one line an instruction. Numbers are rounded;
// [Plan.Table] has them all.
//
//	x2 = 0.8123·x1 + 0.1922·m1
//	m2 = net(x2, t=0.42)  #2
//
// x0, x1, … are the states at the knots, m the results of evaluations, z draws, c cotangents and v everything else.
// Registers of the forward plan have its names. E and S mark a term spread by a factor an element or a sample, b a bias.
func (p *Plan) String() string {
	var s strings.Builder
	if p.of != nil {
		fmt.Fprintf(&s, "%s: %s\n", p.Name, counted(p.count(Pull), "transposed evaluation"))
	} else {
		fmt.Fprintf(&s, "%s: order %d, %s and %s, network predicts %v\n", p.Name, p.Order, counted(p.NFE(), "evaluation"), counted(p.Draws(), "draw"), p.Raw)
	}
	name := p.names()
	ports := func(what string, ports []Port) {
		if len(ports) == 0 {
			return
		}
		list := make([]string, len(ports))
		for i, port := range ports {
			if list[i] = port.Name; name(port.Reg) != port.Name {
				list[i] += "=" + name(port.Reg)
			}
		}
		fmt.Fprintf(&s, "%s %s\n", what, strings.Join(list, ", "))
	}
	ports("in ", p.Inputs)
	ports("out", p.Outputs)
	for i, param := range p.params {
		if i == 0 {
			s.WriteString("of ")
		} else {
			s.WriteString(",")
		}
		fmt.Fprintf(&s, " %s[%d]", param.Name, len(param.Value))
		if i == len(p.params)-1 {
			s.WriteString("\n")
		}
	}
	forward := func(r Reg) string { return "f" + strconv.Itoa(int(r)) }
	if p.of != nil {
		forward = p.of.names()
	}
	for i := range p.Code {
		in := &p.Code[i]
		s.WriteString("  ")
		s.WriteString(name(in.Dst))
		s.WriteString(" = ")
		switch in.Op {
		case Combine:
			s.WriteString(in.sum(name))
		case Evaluate:
			fmt.Fprintf(&s, "net(%s, %s%s)%s  #%d", name(in.Src), in.time(), bound("; ", in.In, name), bound(" → ", in.Out, name), in.Index)
		case Draw:
			fmt.Fprintf(&s, "noise[%d]  over %.4g to %.4g", in.Index, in.From, in.To)
		case Clip:
			fmt.Fprintf(&s, "clip(%s, %v)", name(in.Src), in.Clip)
		case Pull:
			fmt.Fprintf(&s, "netᵀ(%s%s; at %s, %s%s)%s  #%d", name(in.Src), bound("; ", in.Out, name),
				forward(in.At), in.time(), bound("; ", in.AtIn, forward), bound(" → ", in.In, name), in.Index)
		case PullClip:
			fmt.Fprintf(&s, "clipᵀ(%s; at %s, %v)", name(in.Src), forward(in.At), in.Clip)
		default:
			s.WriteString(in.Op.String())
		}
		s.WriteByte('\n')
	}
	return s.String()
}

// String describes the thresholding.
func (c Clipping) String() string {
	if c.Quantile == 0 {
		return fmt.Sprintf("max %.4g", c.Max)
	}
	if c.Stop {
		return fmt.Sprintf("max %.4g, quantile %.4g held", c.Max, c.Quantile)
	}
	return fmt.Sprintf("max %.4g, quantile %.4g", c.Max, c.Quantile)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (in *Instr) time() string {
	if in.Times != nil {
		return fmt.Sprintf("t of %s", counted(len(in.Times), "sample"))
	}
	return fmt.Sprintf("t=%.4g", in.T)
}

func bound(before string, ports []Port, name func(Reg) string) string {
	if len(ports) == 0 {
		return ""
	}
	list := make([]string, len(ports))
	for i, p := range ports {
		list[i] = p.Name + "=" + name(p.Reg)
	}
	return before + strings.Join(list, ", ")
}

func (in *Instr) sum(name func(Reg) string) string {
	var s strings.Builder
	if in.Bias != nil {
		s.WriteString("b")
	}
	for i, t := range in.Terms {
		c := fmt.Sprintf("%.4g", t.C)
		switch negative := strings.HasPrefix(c, "-"); {
		case s.Len() > 0 && negative:
			s.WriteString(" − ")
		case negative:
			s.WriteString("−")
		case i > 0 || s.Len() > 0:
			s.WriteString(" + ")
		}
		if c = strings.TrimPrefix(c, "-"); c != "1" {
			s.WriteString(c + "·")
		}
		if t.Elements != nil {
			s.WriteString("E·")
		}
		if t.Samples != nil {
			s.WriteString("S·")
		}
		s.WriteString(name(t.Reg))
	}
	if s.Len() == 0 {
		return "0"
	}
	return s.String()
}

// names returns what the registers are called in print. A register may be out of range: it prints as v and its number.
func (p *Plan) names() func(Reg) string {
	names := map[Reg]string{}
	used := map[string]bool{}
	call := func(r Reg, name string) {
		if names[r] == "" && !used[name] {
			names[r], used[name] = name, true
		}
	}
	for i, k := range p.Knots {
		call(k.Reg, "x"+strconv.Itoa(i))
	}
	for _, port := range p.Inputs {
		call(port.Reg, port.Name)
	}
	cotangents := slices.ContainsFunc(p.Code, func(in Instr) bool { return in.Op == Pull || in.Op == PullClip })
	for i := range p.Code {
		in := &p.Code[i]
		switch {
		case in.Op == Evaluate:
			call(in.Dst, "m"+strconv.Itoa(in.Index))
			for _, port := range in.Out {
				call(port.Reg, portOfTap(port.Name, in.Index))
			}
		case in.Op == Draw:
			call(in.Dst, "z"+strconv.Itoa(in.Index))
		case cotangents:
			in.writes(func(r Reg) { call(r, "c"+strconv.Itoa(int(r))) })
		}
	}
	return func(r Reg) string {
		if n := names[r]; n != "" {
			return n
		}
		return "v" + strconv.Itoa(int(r))
	}
}
