package ode

import (
	"fmt"
	"math"
	"slices"
)

// KnotError carries the coefficients of x_0, ε and every draw through the code of an Exact plan, an evaluation giving
// what its [Prediction] stands for. At each knot the state must then be α x_0 + σ ε in distribution: α is compared with
// the first coefficient, and σ² with the sum of the squares of the others. It returns nil for a plan that is not Exact
// or has no knots.
//
// An input is taken at the knot whose register it is, else at the first knot. Clipping counts as the identity. A relative
// 1e-10 is allowed, and 1e-13 of all that was added up on the way, signs aside: many times what float64 coefficients lose
// over a thousand steps, or over one step in which the noise all but cancels.
func (p *Plan) KnotError() error {
	if !p.Exact || len(p.Knots) == 0 {
		return nil
	}
	n := 2 + p.Draws()
	all, size := make([]float64, n*p.Regs), make([]float64, p.Regs)
	value := func(r Reg) []float64 { return all[int(r)*n : (int(r)+1)*n] }
	state := make([]bool, p.Regs) // as against a tap
	knots := make([]Point, len(p.Knots))
	for i, k := range p.Knots {
		knots[i] = p.Schedule.At(k.T)
	}
	for _, port := range p.Inputs {
		if TapOfPort(port.Name) != "" {
			continue
		}
		knot := max(0, slices.IndexFunc(p.Knots, func(k Knot) bool { return k.Reg == port.Reg }))
		at := knots[knot]
		v := value(port.Reg)
		v[0], v[1] = at.Alpha, at.Sigma
		size[port.Reg], state[port.Reg] = at.Alpha+at.Sigma, true
	}
	for i := range p.Code {
		in := &p.Code[i]
		v := value(in.Dst)
		state[in.Dst] = true
		switch in.Op {
		case Combine:
			if !in.plain() {
				return fmt.Errorf("knot check: instruction %d has fields of coefficients, so the plan cannot be Exact", i)
			}
			for j := range in.Terms {
				t := &in.Terms[j]
				for k, x := range value(t.Reg) {
					v[k] += t.C * x
				}
				size[in.Dst] += math.Abs(t.C) * size[t.Reg]
			}
		case Evaluate:
			if in.Times != nil {
				return fmt.Errorf("knot check: evaluation %d has a time for each sample, so the plan cannot be Exact", in.Index)
			}
			at := Point{T: in.T, Alpha: 1, Sigma: in.T}
			switch step := max(in.Step, 0); {
			case p.Raw == Denoiser:
			case step < len(knots) && in.T == p.Knots[step].T:
				at = knots[step]
			case step+1 < len(knots) && in.T == p.Knots[step+1].T:
				at = knots[step+1]
			default:
				at = p.Schedule.At(in.T)
			}
			var err error
			if v[0], v[1], err = p.Raw.Of(at); err != nil {
				return fmt.Errorf("knot check: evaluation %d at %g: %w", in.Index, in.T, err)
			}
			size[in.Dst] = math.Abs(v[0]) + math.Abs(v[1])
			if n > 2 && at.Sigma > 0 {
				// With draws, ε at a state is all that the state holds beside α x_0, in units of σ.
				eps := v[1]
				v[0], v[1] = v[0]-eps*at.Alpha/at.Sigma, 0
				for k, x := range value(in.Src) {
					v[k] += eps * x / at.Sigma
				}
				size[in.Dst] += math.Abs(eps) * size[in.Src] / at.Sigma
			}
		case Draw:
			v[2+in.Index], size[in.Dst] = 1, 1
		case Clip:
			copy(v, value(in.Src))
			size[in.Dst] = size[in.Src]
		default:
			return fmt.Errorf("knot check: instruction %d is %v, so the plan cannot be Exact", i, in.Op)
		}
	}
	for i, k := range p.Knots {
		at, v := knots[i], value(k.Reg)
		if !state[k.Reg] {
			return fmt.Errorf("knot check: knot %d is a tap", i)
		}
		lost := 1e-13 * size[k.Reg]
		if math.Abs(v[0]-at.Alpha) > 1e-10*math.Abs(at.Alpha)+lost || math.IsNaN(v[0]) {
			return fmt.Errorf("knot check: at knot %d (t=%g) the coefficient of x_0 is %.12g, but α is %.12g", i, k.T, v[0], at.Alpha)
		}
		variance := 0.0
		for _, c := range v[1:] {
			variance += c * c
		}
		if want := at.Sigma * at.Sigma; math.Abs(variance-want) > 2e-10*want+lost*(2*at.Sigma+lost) || math.IsNaN(variance) {
			return fmt.Errorf("knot check: at knot %d (t=%g) the variance of the noise is %.12g, but σ² is %.12g", i, k.T, variance, want)
		}
	}
	return nil
}
