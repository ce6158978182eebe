package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/ode"
)

// A kindOfGrid is a row of what knots can be made by.
type kindOfGrid struct {
	name    string
	grid    ode.Grid
	meaning string
	about   about
}

func grids() []kindOfGrid {
	return []kindOfGrid{
		{"log-snr", ode.LogSNR{}, "uniform in λ; for solvers in λ", nil},
		{"exponential", ode.LogSNR{}, "another name of log-snr: geometric in σ/α", nil},
		{"time-uniform", ode.UniformTime{}, "uniform in t; for flows", nil},
		{"time-quadratic", ode.QuadraticTime{}, "uniform in √t: finer towards data", nil},
		{"karras", ode.Karras{}, "uniform in (σ/α)^(1/ρ); for few steps", about{"rho": {"7", "ρ"}}},
		{"linear-quadratic", ode.LinearQuadratic{}, "linear in t, then quadratic; for video flows",
			about{"linear": {"half", "how many steps are linear"}, "threshold": {"0.025", "part of the way that they go"}}},
		{"beta", ode.Beta{}, "quantiles of a beta distribution of times", about{"a": {"0.6", "at data; below 1 draws knots there"}, "b": {"0.6", "at noise"}}},
		{"sigmoid", ode.Sigmoid{}, "a piece of a logistic curve", about{"start": {"-3", "at noise"}, "end": {"3", "at data"}}},
		{"shift", ode.Shift{}, "another grid, with more steps on noise", about{"by": {"3", "factor of the noise level"}, "of": {"time-uniform", "the other grid, a name or an object"}}},
		{"levels", ode.Levels{}, "a list of noise levels for any number of steps", about{"levels": {"", "σ/α, from noise to data"}}},
	}
}

// spacings are grids of a discrete schedule, all of whose knots are levels it was trained at.
var spacings = []string{"trailing", "linspace", "leading", "leading-next"}

func gridNames() (names []string) {
	for _, g := range grids() {
		names = append(names, g.name)
	}
	return append(names, spacings...)
}

const mostSteps = 100_000

// parseKnots reads a list or a grid into a problem, whose Raw is left to be filled in.
func parseKnots(raw json.RawMessage, s ode.Schedule) (ode.Problem, error) {
	p := ode.Problem{Schedule: s}
	if trimmed := bytes.TrimSpace(raw); len(trimmed) > 0 && trimmed[0] == '[' {
		err := value("knots", raw, &p.Knots)
		return p, err
	}
	var o map[string]json.RawMessage
	if err := value("knots", raw, &o); err != nil {
		return p, err
	}
	if o["grid"] == nil && o["steps"] == nil { // for a solver that finds its own
		if _, err := object("knots", raw, "grid", "steps", "from", "to", "append-zero"); err != nil {
			return p, err
		}
		return p, ends(&p, o)
	}
	name, err := one("knots.grid", o["grid"], gridNames()...)
	if err != nil {
		return p, err
	}
	if err := value("knots.steps", o["steps"], &p.Steps); err != nil {
		return p, err
	}
	if p.Steps < 1 || p.Steps > mostSteps {
		return p, fmt.Errorf("knots.steps is %d; 1 to %d are possible", p.Steps, mostSteps)
	}
	if how := slices.Index(spacings, name); how >= 0 {
		return levels(p, o, ode.Spacing(how))
	}
	if p.Grid, err = parseGrid(o, "steps", "from", "to", "append-zero"); err != nil {
		return p, err
	}
	if err := ends(&p, o); err != nil {
		return p, err
	}
	if p.AppendZero {
		p.Steps++
	}
	return p, nil
}

// ends reads where a grid begins and ends.
func ends(p *ode.Problem, o map[string]json.RawMessage) error {
	p.To, p.From = p.Schedule.Range()
	for _, f := range []struct {
		name string
		dst  any
	}{{"from", &p.From}, {"to", &p.To}, {"append-zero", &p.AppendZero}} {
		if raw, ok := o[f.name]; ok && !isNull(raw) {
			if err := value("knots."+f.name, raw, f.dst); err != nil {
				return err
			}
		}
	}
	if p.From == p.To {
		return fmt.Errorf("knots.from and knots.to are both %v; there is no step between", p.From)
	}
	return nil
}

func levels(p ode.Problem, o map[string]json.RawMessage, how ode.Spacing) (ode.Problem, error) {
	for name := range o {
		if name != "grid" && name != "steps" {
			return p, unknown("the grid "+spacings[how]+" has the field", name, []string{"grid", "steps"})
		}
	}
	s, ok := p.Schedule.(*ode.Discrete)
	if !ok {
		return p, fmt.Errorf("the grid %s takes levels of a discrete schedule, and this one is continuous; use time-uniform", spacings[how])
	}
	knots, err := ode.LevelKnots(s, p.Steps, how)
	return ode.Problem{Schedule: s, Knots: knots}, err
}

// parseGrid reads the rule of a grid. The other fields may stand beside those of the rule.
func parseGrid(o map[string]json.RawMessage, others ...string) (ode.Grid, error) {
	name, err := one("grid", o["grid"], gridNames()...)
	if err != nil {
		return nil, err
	}
	for _, g := range grids() {
		if g.name == name {
			v, err := configured("the grid "+name, g.grid, o, append(others, "grid")...)
			if err != nil {
				return nil, err
			}
			return v.Interface().(ode.Grid), nil
		}
	}
	return nil, fmt.Errorf("the grid %s cannot be part of another", name)
}

// count is the number of steps.
func count(p ode.Problem) int {
	if p.Knots != nil {
		return len(p.Knots) - 1
	}
	return p.Steps
}

// endsAtZero says that the last knot is the end of the schedule at which nothing but data is left.
func endsAtZero(p ode.Problem) bool {
	if n := len(p.Knots); n > 0 {
		return p.Knots[n-1] == 0
	}
	return p.AppendZero || p.To == 0
}

// evenly puts a list of knots in the form of a grid, for solvers that lay their own knots: a list that is uniform in λ is the rule LogSNR,
// any other is taken as it is.
func evenly(p ode.Problem) ode.Problem {
	n := count(p)
	if p.Knots == nil || n < 1 {
		return p
	}
	q := ode.Problem{Schedule: p.Schedule, Steps: n, From: p.Knots[0], To: p.Knots[n], Grid: ode.LogSNR{}}
	lo, hi := p.Schedule.Domain()
	for i, t := range p.Knots {
		if !(t >= lo && t <= hi) {
			return p // which the solver refuses
		}
		first, last := p.Schedule.At(p.Knots[0]).Lambda(), p.Schedule.At(p.Knots[n]).Lambda()
		even := first + (last-first)*float64(i)/float64(n)
		if !(math.Abs(p.Schedule.At(t).Lambda()-even) <= 1e-9*math.Abs(last-first)) {
			q.Grid = listed(p.Knots)
		}
	}
	return q
}

// listed is a grid that is one list; inside its steps it is uniform in λ.
type listed []float64

// Knots implements [ode.Grid].
func (l listed) Knots(s ode.Schedule, from, to float64, n int) ([]float64, error) {
	if n == len(l)-1 && from == l[0] && to == l[n] {
		return slices.Clone(l), nil
	}
	return ode.LogSNR{}.Knots(s, from, to, n)
}
