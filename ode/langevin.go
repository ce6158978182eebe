package ode

import (
	"fmt"
	"math"
	"slices"
)

// PredictorCorrector follows each step of a solver with steps of Langevin dynamics at the knot that it has arrived at, which take the state
// nearer to the marginal there, whatever error the solver has left:
//
//	x ← x + ε ∇log p + √(2ε) z,   ε = 2 (r σ)²,   ∇log p = −ε̂/σ
//
// Order 0: the dynamics have a bias that more steps of the solver do not take away. In a direction in which x has the variance v, a
// correction leaves v/(1 − ε/2v) at last, which is 1/(1−r²) of that of noise. NFE: that of the solver, and Corrections at each knot but the
// first and one at σ = 0. Draws: those of the solver, and as many. The draws of corrections belong to no interval of time, so that the noise
// is a [Seed] or [Given], not Brownian.
//
// Errors: a solver whose steps look back, or whose plan depends on how many there are, such as a multistep one; SNR or Corrections that are
// negative; steps away from data.
//
// Source: Song et al. 2021, arXiv 2011.13456, algorithms 2 to 5.
//
// Differs from reference: there ε = 2 (r ‖z‖/‖∇log p‖)², with norms over the batch or a sample, so that a sample depends on its batch or its
// own noise. This is their expectation, for ‖ε̂‖ is ‖z‖ in the mean of a perfect state; for the variance-preserving schedule the release
// multiplies it by 1 − β, which is near 1. Points that a solver evaluates inside of its steps are uniform in λ.
type PredictorCorrector struct {
	Of          Solver  // nil means EulerMaruyama; DDIM with Eta 1 is the ancestral predictor, and RK that of the ODE
	Corrections int     // Langevin steps a knot; 0 means 1
	SNR         float64 // r; 0 means 0.16
}

// Plan implements [Solver].
func (c PredictorCorrector) Plan(p Problem) (*Plan, error) {
	if c.Of == nil {
		c.Of = EulerMaruyama{}
	}
	if c.Corrections == 0 {
		c.Corrections = 1
	}
	if c.SNR == 0 {
		c.SNR = .16
	}
	knots, err := p.resolve()
	if err != nil {
		return nil, fmt.Errorf("%w (for PredictorCorrector)", err)
	}
	plain := p.at(knots)
	plain.Denoise, plain.SingleStart, plain.LowerFinal = false, false, false
	whole, err := c.Of.Plan(plain)
	if err != nil {
		return nil, fmt.Errorf("%w (for PredictorCorrector)", err)
	}
	steps, err := c.parts(plain, whole)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s, %d × Langevin, r=%g", whole.Name, c.Corrections, c.SNR)
	return Assemble(p, name, 0, func(a *Assembler) {
		if c.Corrections < 0 || !(c.SNR > 0) || math.IsInf(c.SNR, 0) {
			a.Fail("Corrections is %d and SNR %v; both are positive, and SNR finite", c.Corrections, c.SNR)
			return
		}
		a.Inexact()
		x := a.Input("x")
		a.State(0, x)
		for i := range a.Steps() {
			if !a.Ahead(i) {
				a.Fail("step %d goes from t = %v up to %v, away from data; use the solver alone", i, a.Node(i).T, a.Node(i+1).T)
			}
			knots, ok := steps[i].Param("knots")
			if !ok {
				a.Fail("the steps of %s cannot be made for other knots; use a solver with the parameter knots", whole.Name)
				return
			}
			step, err := knots.Rebuild(a.knots[i : i+2])
			if a.check(err); err != nil {
				return
			}
			at := a.inline(step, x)
			if a.err != nil {
				return
			}
			x = at[step.Outputs[0].Reg]
			if t := a.Node(i + 1); t.end <= 0 {
				for range c.Corrections {
					x = a.langevin(x, t, 4*c.SNR*c.SNR)
				}
			}
			a.State(i+1, x)
		}
		a.Output("x", x)
	})
}

// parts compiles each step by itself, and makes sure that the whole is no more than its parts.
func (c PredictorCorrector) parts(p Problem, whole *Plan) (steps []*Plan, err error) {
	var table []float64
	for i := range len(whole.Knots) - 1 {
		one := p.at([]float64{whole.Knots[i].T, whole.Knots[i+1].T})
		if p.Scale != (NoiseScale{}) {
			one.Scale = NoiseScale{First: p.Scale.at(i, len(whole.Knots)-1)}
		}
		step, err := c.Of.Plan(one)
		if err != nil {
			return nil, fmt.Errorf("%w (for PredictorCorrector)", err)
		}
		steps, table = append(steps, step), append(table, step.Table()...)
	}
	if !slices.Equal(table, whole.Table()) {
		return nil, fmt.Errorf("ode: PredictorCorrector: the steps of %s depend on one another, which corrections between them would upset; use a solver of single steps, such as EulerMaruyama, DDIM, RK, or DPMpp with Single", whole.Name)
	}
	return steps, nil
}

// langevin is a step of Langevin dynamics at a node: x + ½η ∇log p + √η z with η in units of σ².
func (a *Assembler) langevin(x Reg, at Node, eta float64) Reg {
	m := a.Predict(x, at, a.Any())
	terms := append([]Term{{Reg: x, C: 1}}, a.Toward(x, m, 0, -eta/2*at.Sigma)...)
	return a.Combine(append(terms, Term{Reg: a.Draw(at, at), C: math.Sqrt(eta) * at.Sigma})...)
}

// inline writes the code of a plan with the one input and the one output x, from a state on, and returns where its registers are. Its first
// step becomes the present one.
func (a *Assembler) inline(p *Plan, x Reg) (at []Reg) {
	if len(p.Inputs) != 1 || len(p.Outputs) != 1 {
		a.Fail("%s starts from %v and ends in %v; a solver of one state is needed", p.Name, portNames(p.Inputs), portNames(p.Outputs))
		return nil
	}
	first := a.step
	at = make([]Reg, p.Regs)
	at[p.Inputs[0].Reg] = x
	for _, in := range p.Code {
		dst := in.Dst
		in.Terms = slices.Clone(in.Terms)
		for k := range in.Terms {
			in.Terms[k].Reg = at[in.Terms[k].Reg]
		}
		switch in.Op {
		case Evaluate, Clip:
			in.Src = at[in.Src]
		}
		a.step = first + in.Step
		new := a.emit(in.Op)
		in.Dst, in.Step, in.Index = new.Dst, new.Step, new.Index
		*new, at[dst] = in, new.Dst
	}
	return at
}
