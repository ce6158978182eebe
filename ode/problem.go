package ode

import (
	"fmt"
	"math"
	"slices"
)

// A Problem is what is to be solved. The zero values of From, To and Grid mean the schedule's default range, walked from
// noise to data, and [LogSNR] where both ends have a finite λ, else [UniformTime].
type Problem struct {
	Schedule Schedule
	Raw      Prediction // what the network predicts
	Grid     Grid
	From, To float64 // both zero: the schedule's range
	Steps    int     // number of intervals

	// AppendZero puts one more knot, the end of the domain on the data side, behind the others (before them, when From
	// is below To). It counts as one of the Steps: Grid makes the other Steps−1. This is how the noise levels of Karras
	// et al. 2022 (arXiv 2206.00364) end.
	AppendZero bool

	Knots []float64 // instead of Grid, From, To, Steps and AppendZero

	// Clip thresholds every data prediction, unless it is zero. A solver that predicts something else refuses it.
	Clip Clipping
	// Scale divides every noise prediction by a number, and changes the other predictions accordingly, unless it is zero.
	Scale NoiseScale
	// Denoise ends with one more evaluation, at the last knot, and returns the data prediction x̂_0 there. It is not one of the Steps. A
	// last knot at σ = 0 does the same to a solver whose last step is then of first order, as most are.
	Denoise bool
	// SingleStart lets multistep solvers start with single steps of their order, up to 3, for which they evaluate inside those steps,
	// instead of with multisteps of lower orders, which cost a long run its order. Solvers that have no use for it refuse it.
	SingleStart bool
	// History is another such start: the states at knots 1 to History are given, as inputs x1, x2, … beside x. A solver that looks back less
	// far, or that goes on with more than the states at knots, refuses it.
	History int
	// LowerFinal lowers the order of a multistep solver in the last steps to 2 and 1, which steadies very short runs. The last step leaves
	// order 2. Solvers that have no use for it refuse it.
	LowerFinal bool
}

// A Solver compiles a Problem. Solvers are plain structs whose zero value works.
type Solver interface {
	Plan(Problem) (*Plan, error)
}

// An Inverter is a solver whose plans can be undone exactly: Invert is the plan from the outputs of Plan back to its
// inputs.
type Inverter interface {
	Solver
	Invert(Problem) (*Plan, error)
}

// resolve returns the knots, which are still to be checked.
func (p Problem) resolve() ([]float64, error) {
	if err := checkSchedule(p.Schedule); err != nil {
		return nil, err
	}
	if p.Raw < 0 || p.Raw > Denoiser {
		return nil, fmt.Errorf("ode: Problem.Raw is %v; the predictions are Noise to Denoiser", p.Raw)
	}
	if p.Clip != (Clipping{}) {
		if err := p.Clip.check(); err != nil {
			return nil, fmt.Errorf("ode: Problem.Clip %w", err)
		}
	}
	if err := p.Scale.check(); err != nil {
		return nil, err
	}
	if p.Knots != nil {
		if p.Grid != nil {
			return nil, fmt.Errorf("ode: Problem.Knots stands instead of Grid, which is %T%+v; leave one of them out", p.Grid, p.Grid)
		}
		if p.From != 0 || p.To != 0 || p.Steps != 0 || p.AppendZero {
			return nil, fmt.Errorf("ode: Problem.Knots stands instead of From, To, Steps and AppendZero, "+
				"which are %v, %v, %d and %t; leave them zero", p.From, p.To, p.Steps, p.AppendZero)
		}
		return slices.Clone(p.Knots), nil
	}
	return p.spread()
}

// at is the problem on given knots.
func (p Problem) at(knots []float64) Problem {
	p.Grid, p.From, p.To, p.Steps, p.AppendZero, p.Knots = nil, 0, 0, 0, false, knots
	return p
}

func (p Problem) spread() ([]float64, error) {
	if p.Steps < 1 {
		return nil, fmt.Errorf("ode: Problem.Steps is %d; at least 1 is needed, or Knots", p.Steps)
	}
	from, to := p.From, p.To
	if from == 0 && to == 0 {
		to, from = p.Schedule.Range()
	}
	if err := checkKnots(p.Schedule, []float64{from, to}); err != nil {
		return nil, fmt.Errorf("%w (Problem.From is knot 0, To is knot 1)", err)
	}
	zero, _ := p.Schedule.Domain()
	n := p.Steps
	if p.AppendZero {
		if from == zero || to == zero {
			return nil, fmt.Errorf("ode: Problem.AppendZero, but %v is already an end: give an end where σ > 0, or leave AppendZero out", zero)
		}
		if n--; n == 0 { // nothing is left for the grid: the only step goes from the noisy end to zero
			return order(from, to, math.Max(from, to), zero), nil
		}
	}
	grid := p.Grid
	if grid == nil {
		grid = LogSNR{}
		if math.IsInf(p.Schedule.At(from).Lambda(), 0) || math.IsInf(p.Schedule.At(to).Lambda(), 0) {
			grid = UniformTime{}
		}
	}
	ks, err := grid.Knots(p.Schedule, from, to, n)
	if err != nil {
		return nil, err
	}
	if len(ks) != n+1 {
		return nil, fmt.Errorf("ode: grid %T made %d knots for %d steps; %d are needed", grid, len(ks), n, n+1)
	}
	if !p.AppendZero {
		return ks, nil
	}
	if to < from {
		return append(ks, zero), nil
	}
	return append([]float64{zero}, ks...), nil
}

// order returns noise and data in the direction from → to.
func order(from, to, noise, data float64) []float64 {
	if to < from {
		return []float64{noise, data}
	}
	return []float64{data, noise}
}

func checkSchedule(s Schedule) error {
	if s == nil {
		return fmt.Errorf("ode: Problem.Schedule is nil; give one, such as VPLinear{} or Flow{}")
	}
	if d, ok := s.(*Discrete); ok && (d == nil || len(d.logAlpha) < 3) {
		return fmt.Errorf("ode: the Discrete schedule has no levels; make it with DiscreteFromBetas or DiscreteFromAlphaBars")
	}
	lo, hi := s.Domain()
	data, noise := s.Range()
	if !(lo <= data && data < noise && noise <= hi) || math.IsInf(data, 0) || math.IsInf(noise, 0) {
		return fmt.Errorf("ode: the range [%v, %v] of %v must be finite, rise, and lie in its domain [%v, %v]", data, noise, describe(s), lo, hi)
	}
	return nil
}

func describe(s Schedule) string {
	if n, ok := s.(fmt.Stringer); ok {
		return n.String()
	}
	return fmt.Sprintf("%T%+v", s, s)
}
