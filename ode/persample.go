package ode

import (
	"fmt"
	"slices"
)

// PerSample starts each sample of a batch at a time of its own, From, in place of the problem's: a solver of one state, whose plans for these
// starts are the same code, with coefficients and times for each sample. From one time for all it is the solver's own plan.
//
// Order and NFE: the solver's. The plan is for batches of len(From) samples, and has no parameters: its knots, and the times in errors, are those
// of sample 0. Draws then belong to no interval of time, so that noise is a [Seed] or [Given], not Brownian.
//
// Units: a latent is to be scaled with σ of each From; [Latent] knows one only. To and From of the problem both zero mean that To is the
// schedule's own.
//
// Errors: a problem with From or Knots; what the solver refuses for any sample, as [DPMv3] does ends that are not those of its statistics;
// coefficients an element that depend on the start; plans that are not the same code.
type PerSample struct {
	Of   Solver    // nil means DPMpp
	From []float64 // one time a sample
}

// Plan implements [Solver].
func (s PerSample) Plan(p Problem) (*Plan, error) {
	if s.Of == nil {
		s.Of = DPMpp{}
	}
	if err := checkSchedule(p.Schedule); err != nil {
		return nil, fmt.Errorf("%w (for PerSample)", err)
	}
	if len(s.From) == 0 || p.From != 0 || p.Knots != nil {
		return nil, fmt.Errorf("ode: PerSample: %d values of From, Problem.From %v and %d Knots; give a From for each sample, and neither of the latter",
			len(s.From), p.From, len(p.Knots))
	}
	if p.To == 0 {
		p.To, _ = p.Schedule.Range()
	}
	plans := make([]*Plan, len(s.From))
	for b, from := range s.From {
		if i := slices.Index(s.From[:b], from); i >= 0 {
			plans[b] = plans[i]
			continue
		}
		p.From = from
		var err error
		if plans[b], err = s.Of.Plan(p); err != nil {
			return nil, fmt.Errorf("%w (for sample %d of PerSample, From %v)", err, b, from)
		}
	}
	return merge(plans)
}

// merge is one plan that does for each sample of a batch what its own would.
func merge(plans []*Plan) (*Plan, error) {
	first := plans[0]
	if !slices.ContainsFunc(plans, func(p *Plan) bool { return p != first }) {
		return first, nil
	}
	m := &Plan{Name: first.Name + ", from a time a sample", Schedule: first.Schedule, Raw: first.Raw, Order: first.Order,
		Regs: first.Regs, Inputs: first.Inputs, Outputs: first.Outputs, Knots: first.Knots, Code: slices.Clone(first.Code)}
	for b, p := range plans {
		if !sameCode(first, p) || !slices.EqualFunc(first.Code, p.Code, func(x, y Instr) bool { return x.Step == y.Step && x.Clip == y.Clip }) {
			return nil, fmt.Errorf("ode: PerSample: the plan of %s from t = %v, for sample %d, is other code than from t = %v; start on one side of what makes it so, or use a solver whose steps are alike",
				first.Name, p.Knots[0].T, b, first.Knots[0].T)
		}
	}
	// each is the number of every sample, and true if they differ.
	each := func(of func(p *Plan) float64) (list []float64, differ bool) {
		list = make([]float64, len(plans))
		for b, p := range plans {
			list[b] = of(p)
			differ = differ || list[b] != list[0]
		}
		return list, differ
	}
	for i := range m.Code {
		in := &m.Code[i]
		switch in.Op {
		case Combine:
			in.Terms = slices.Clone(in.Terms)
			for _, p := range plans {
				if !slices.Equal(in.Bias, p.Code[i].Bias) || !slices.EqualFunc(in.Terms, p.Code[i].Terms, func(x, y Term) bool {
					return slices.Equal(x.Elements, y.Elements) && x.Samples == nil && y.Samples == nil
				}) {
					return nil, fmt.Errorf("ode: PerSample: step %d of %s has coefficients an element or a sample that depend on the start; use a solver without", in.Step, first.Name)
				}
			}
			for k := range in.Terms {
				if list, differ := each(func(p *Plan) float64 { return p.Code[i].Terms[k].C }); differ {
					in.Terms[k].C, in.Terms[k].Samples = 1, list
				}
			}
		case Evaluate:
			if list, differ := each(func(p *Plan) float64 { return p.Code[i].T }); differ {
				in.Times = list
			}
		case Draw:
			_, from := each(func(p *Plan) float64 { return p.Code[i].From })
			_, to := each(func(p *Plan) float64 { return p.Code[i].To })
			if from || to {
				in.From = in.To
			}
		}
	}
	if err := m.Verify(); err != nil {
		return nil, err
	}
	return m, nil
}
