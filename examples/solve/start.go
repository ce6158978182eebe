package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/ode"
)

// starts are what may make the state at the first knot out of noise, in rows as those of natives.
func starts() []native {
	return []native{
		{"transport", ode.TransportOptions[float64]{}, "semi-discrete optimal transport (DPM-OT): x is noise, and each sample goes to one of \"targets\", [[…], …], states at the first knot; its gradient is 0", about{
			"weights": {"equal", "of the targets"}, "uniform": {"false", "x is uniform on [0, 1), not standard Gaussian"}, "heights": {"a guess", "to start from"},
			"tolerance": {"a tenth", "of the norm of the weights: how near the shares of the targets must get to them"},
			"draws":     {"100 a target", "of noise, an iteration"}, "patience": {"50", "iterations without progress before draws are doubled"},
			"doublings": {"4", "how often; -1 is never"}, "rate": {"by the targets", "of Adam"}, "limit": {"10000", "iterations"}, "key": {"0", "of the draws"}}},
	}
}

// mapping is the start that a problem asks for, nil if none. Fits are kept by how they were written.
func (s *plans) mapping(ctx context.Context, p *problem) (*ode.TransportFit[float64], error) {
	raw, ok := p.fields["start"]
	if !ok {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if fit, ok := s.fits[string(raw)]; ok {
		return fit, p.fits(fit)
	}
	all := starts()
	var names []string
	for _, n := range all {
		names = append(names, n.name)
	}
	var o map[string]json.RawMessage
	if err := value("start", raw, &o); err != nil {
		return nil, err
	}
	name, err := one("start.name", o["name"], names...)
	if err != nil {
		return nil, err
	}
	options, err := configured("start", all[slices.Index(names, name)].solver, o, "name", "targets")
	if err != nil {
		return nil, err
	}
	var rows [][]float64
	if err := value("start.targets", o["targets"], &rows); err != nil {
		return nil, err
	}
	targets, dim, err := flat("start.targets", rows)
	if err != nil {
		return nil, err
	}
	fit, err := ode.FitTransport(ctx, targets, dim, options.Interface().(ode.TransportOptions[float64]))
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	if s.fits == nil || len(s.fits) >= mostKept {
		s.fits = map[string]*ode.TransportFit[float64]{}
	}
	s.fits[string(raw)] = fit
	return fit, p.fits(fit)
}

// fits says whether targets are of the dimension of the problem.
func (p *problem) fits(fit *ode.TransportFit[float64]) error {
	if dim := len(fit.Targets) / len(fit.Weights); dim != p.dim {
		return fmt.Errorf("start.targets have %d columns, x has %d; they must be alike", dim, p.dim)
	}
	return nil
}
