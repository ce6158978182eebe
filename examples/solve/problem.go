package main

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// A problem is a line. What many lines share is kept as it was written, to be looked up.
type problem struct {
	fields map[string]json.RawMessage

	x, cotangent []float64 // cotangent is nil if no gradient is wanted
	batch, dim   int
	noise        [][]float64 // by draw; nil means zero
	seed         *uint64
	strategy     string
	float32      bool
}

var problemFields = []string{"model", "schedule", "knots", "solver", "statistics", "start", "noise", "seed", "x", "cotangent", "gradient", "dtype"}

// parse reads a line, but for what plans and fields are made of.
func parse(line []byte) (p problem, err error) {
	if p.fields, err = object("the problem", line, problemFields...); err != nil {
		return p, err
	}
	var x [][]float64
	if err := value("x", p.fields["x"], &x); err != nil {
		return p, err
	}
	if p.x, p.dim, err = flat("x", x); err != nil {
		return p, err
	}
	p.batch = len(x)
	if raw, ok := p.fields["cotangent"]; ok {
		var c [][]float64
		if err := value("cotangent", raw, &c); err != nil {
			return p, err
		}
		if p.cotangent, err = p.like("cotangent", c); err != nil {
			return p, err
		}
	}
	return p, p.parseOptions()
}

func (p *problem) parseOptions() (err error) {
	p.strategy = "checkpoint"
	if raw, ok := p.fields["gradient"]; ok {
		if p.strategy, err = one("gradient", raw, strategyNames()...); err != nil {
			return err
		}
		if p.cotangent == nil {
			return fmt.Errorf("gradient is %q, but there is no cotangent to take the gradient of; give one, or leave gradient out", p.strategy)
		}
	}
	if raw, ok := p.fields["dtype"]; ok {
		dtype, err := one("dtype", raw, "float64", "float32")
		if err != nil {
			return err
		}
		p.float32 = dtype == "float32"
	}
	noise, noisy := p.fields["noise"]
	seed, seeded := p.fields["seed"]
	switch {
	case noisy && seeded:
		return fmt.Errorf("both noise and seed are given; leave one of them out")
	case seeded:
		p.seed = new(uint64)
		return value("seed", seed, p.seed)
	case noisy:
		var draws [][][]float64
		if err := value("noise", noise, &draws); err != nil {
			return err
		}
		p.noise = make([][]float64, len(draws))
		for i, d := range draws {
			if p.noise[i], err = p.like(fmt.Sprintf("noise[%d]", i), d); err != nil {
				return err
			}
		}
	}
	return nil
}

// flat puts the rows of a matrix one after the other.
func flat(where string, rows [][]float64) (values []float64, dim int, err error) {
	if len(rows) == 0 || len(rows[0]) == 0 {
		return nil, 0, fmt.Errorf("%s is empty; it has one row a sample, of as many numbers as the model has dimensions", where)
	}
	dim = len(rows[0])
	for i, r := range rows {
		if len(r) != dim {
			return nil, 0, fmt.Errorf("%s[%d] has %d numbers, %s[0] has %d", where, i, len(r), where, dim)
		}
	}
	return slices.Concat(rows...), dim, nil
}

// like is flat for something of the shape of x.
func (p *problem) like(where string, rows [][]float64) ([]float64, error) {
	values, dim, err := flat(where, rows)
	if err == nil && (len(rows) != p.batch || dim != p.dim) {
		err = fmt.Errorf("%s is %d × %d, x is %d × %d; they must be alike", where, len(rows), dim, p.batch, p.dim)
	}
	return values, err
}

// parseModel reads a mixture: of Gaussians, or a data set with the noise of PFGM++.
func parseModel(raw json.RawMessage) (m exact.Mixture, err error) {
	o, err := object("model", raw, "type", "weights", "means", "variances", "d")
	if err != nil {
		return m, err
	}
	kind, err := one("model.type", o["type"], "gaussian-mixture", "pfgm")
	if err != nil {
		return m, err
	}
	fields := []struct {
		name string
		dst  any
	}{{"weights", &m.Weights}, {"means", &m.Means}, {"variances", &m.Variances}}
	other := "d"
	if kind == "pfgm" {
		fields[2].name, fields[2].dst, other = "d", &m.D, "variances"
	}
	if _, ok := o[other]; ok {
		return m, unknown("model "+kind+" has the field", other, []string{"type", fields[0].name, fields[1].name, fields[2].name})
	}
	for _, f := range fields {
		if err := value("model."+f.name, o[f.name], f.dst); err != nil {
			return m, err
		}
	}
	if kind == "pfgm" {
		if m.D == 0 {
			return m, fmt.Errorf("model.d is 0; it is the number of extra dimensions, 1 or more")
		}
		m.Variances = make([]float64, len(m.Means))
	}
	return m, nil
}

// parseSchedule also says what the field predicts: something that determines data and noise over all of the schedule.
func parseSchedule(raw json.RawMessage) (ode.Schedule, ode.Prediction, error) {
	fields := map[string][]string{"vp-linear": {"beta0", "beta1"}, "vp-cosine": {"offset"}, "edm": nil, "flow": nil, "discrete": {"betas"}}
	o, err := object("schedule", raw, "type", "beta0", "beta1", "offset", "betas")
	if err != nil {
		return nil, 0, err
	}
	kind, err := one("schedule.type", o["type"], "vp-linear", "vp-cosine", "edm", "flow", "discrete")
	if err != nil {
		return nil, 0, err
	}
	for name := range o {
		if name != "type" && !slices.Contains(fields[kind], name) {
			return nil, 0, unknown("schedule "+kind+" has the field", name, append([]string{"type"}, fields[kind]...))
		}
	}
	number := func(name string, otherwise float64) float64 {
		if raw, ok := o[name]; ok && err == nil {
			err = value("schedule."+name, raw, &otherwise)
		}
		return otherwise
	}
	switch kind {
	case "edm":
		return ode.EDM{}, ode.Denoiser, nil
	case "flow":
		return ode.Flow{}, ode.FlowVelocity, nil
	case "vp-linear":
		s := ode.VPLinear{Beta0: number("beta0", 0.1), Beta1: number("beta1", 20)}
		if err == nil && !(s.Beta0 >= 0 && s.Beta1 >= 0 && s.Beta0+s.Beta1 > 0) {
			err = fmt.Errorf("schedule vp-linear has beta0 %v and beta1 %v; neither is negative, and not both are 0", s.Beta0, s.Beta1)
		}
		return s, ode.Velocity, err
	case "vp-cosine":
		s := ode.VPCosine{Offset: number("offset", 0.008)}
		if err == nil && !(s.Offset > 0) {
			err = fmt.Errorf("schedule vp-cosine has the offset %v; it is positive", s.Offset)
		}
		return s, ode.Velocity, err
	}
	var betas []float64
	if err := value("schedule.betas", o["betas"], &betas); err != nil {
		return nil, 0, err
	}
	s, err := ode.DiscreteFromBetas(betas)
	return s, ode.Denoiser, err // whose field does not ask for the schedule, so that it can be a graph as well
}
