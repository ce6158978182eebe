package ode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/internal/rng"
)

// LangevinGibbs starts a solver from states of a Markov chain, over states and noise levels together, which stays near the data: the denoising
// Langevin–Gibbs sampler. A step of the chain is one of Langevin dynamics at the level and then a level for the new state,
//
//	x ← x + ½ησ² ∇log p_t(x) + √η σ z        t ~ p(t | x)
//
// Of the pairs (x, t) that a chain of Steps steps comes through, but for the first Warm, the one of the least noise is kept; from there the solver
// takes over, each sample from a level of its own, see [PerSample]. Each sample of the batch is a chain. The input x is where it starts,
// noise of the first level or what a chain before has left, [Realized].Last; levels follow from states.
//
// Order: that of the solver; of a chain it can be said only that in a direction of variance v it leaves v/(1 − ησ²/4v) at a level. Samples of one
// chain that is run again and again are not independent. NFE: Steps, and the solver's. Draws: Steps, and the solver's.
//
// The realized plan begins with the chain, as a part of step 0; its gradient is that of the run with levels held, and with what was kept held.
// Observe sees the steps of the solver. A sample's result does not depend on the batch it is in.
//
// Units: Levels are times of the schedule, and Steps those of the chain; Problem.Steps those of the solver.
//
// Errors: Levels that do not descend, or are not above the end; a Problem with From, Knots or History; no Posterior, or one that gives no probabilities;
// Steps that are not above Warm; Eta that is not positive; what PerSample refuses, for any of the Levels; no Noise.
//
// Source: Kim, Ye 2022, arXiv 2209.14593 (denoising MCMC).
//
// Differs from reference: the release takes the most probable level, as Argmax does, which is no Gibbs step, and keeps the chain from the
// distribution it should have; its η is not in units of σ². It is for σ alone, α = 1, and ends with a step to x̂_0, which is Problem.Denoise here.
type LangevinGibbs[T Float] struct {
	Of     Solver    // nil means DPMpp
	Levels []float64 // times that a state may be at, the noisiest first

	// Posterior writes the probability of each level for each sample of x, len(Levels) a sample, up to a factor. That of a mixture is
	// exact.Mixture's LevelPosterior; that of data is a classifier's, trained to tell levels from perturbed data.
	Posterior func(dst []float64, x []T) error

	Steps  int     // of the chain
	Warm   int     // of which so many are not kept
	Eta    float64 // η; 0 means 0.5
	Argmax bool    // the most probable level
	Key    uint64  // of the choice of levels
	First  int     // number of the batch's first sample, as in Seed
}

// Run implements [Controller].
func (c LangevinGibbs[T]) Run(ctx context.Context, p Problem, f Field[T], batch int, in Inputs[T]) (*Realized[T], error) {
	to, err := c.check(p)
	if err != nil {
		return nil, err
	}
	if c.Eta == 0 {
		c.Eta = .5
	}
	run, err := newConduct(f, batch, in)
	if err != nil {
		return nil, err
	}
	if in.Noise == nil {
		return nil, errors.New("ode: LangevinGibbs draws noise: set Inputs.Noise, for example to a Seed")
	}
	walk := walk{eta: c.Eta}
	level, kept, best := make([]int, batch), slices.Clone(run.x), make([]int, batch)
	dim := len(run.x) / batch
	interrupted := func(err error) error {
		return &Interrupted[T]{NFE: run.nfe, T: c.Levels[level[0]], X: run.x, Err: err}
	}
	if err := c.choose(level, run.x, 0); err != nil {
		return nil, interrupted(err)
	}
	for i := range c.Steps {
		times := make([]float64, batch)
		for b, l := range level {
			times[b] = c.Levels[l]
		}
		one, err := Assemble(walk.problem(p, []float64{c.Levels[0], to}), "a step of Langevin–Gibbs", 0, func(a *Assembler) {
			x := a.Input("x")
			a.State(0, x)
			x = a.langevinEach(x, times, c.Eta)
			a.State(1, x)
			a.Output("x", x)
			a.Inexact()
			a.FixKnots()
		})
		if err != nil {
			return nil, interrupted(err)
		}
		out, err := run.do(ctx, one, i, map[string][]T{"x": run.x})
		if err != nil {
			return nil, interrupted(err)
		}
		run.x = out["x"]
		if err := c.choose(level, run.x, i+1); err != nil {
			return nil, interrupted(err)
		}
		take := make([]float64, batch)
		for b, l := range level {
			if i == c.Warm || i > c.Warm && l > best[b] {
				take[b], best[b] = 1, l
				copy(kept[b*dim:(b+1)*dim], run.x[b*dim:(b+1)*dim])
			}
		}
		walk.times, walk.take = append(walk.times, times), append(walk.take, take)
	}
	from := make([]float64, batch)
	for b, l := range best {
		from[b] = c.Levels[l]
	}
	rest, err := PerSample{c.Of, from}.Plan(p)
	if err != nil {
		return nil, interrupted(err)
	}
	whole, err := walk.plan(p, rest)
	if err != nil {
		return nil, interrupted(err)
	}
	at, chain := Interrupted[T]{T: from[0], X: kept}, c.Steps
	run.observe = func(s Step[T]) error {
		at = Interrupted[T]{Step: s.Index + 1, T: s.T, X: slices.Clone(s.X)}
		if run.watch == nil {
			return nil
		}
		s.NFE += chain
		return run.watch(s)
	}
	out, err := run.do(ctx, rest, c.Steps, map[string][]T{"x": kept})
	if err != nil {
		at.NFE, at.Err = run.nfe, err
		return nil, &at
	}
	return &Realized[T]{Plan: whole, X: out["x"], NFE: run.nfe, Last: run.x}, nil
}

// check returns where the problem ends.
func (c LangevinGibbs[T]) check(p Problem) (to float64, err error) {
	switch {
	case c.Posterior == nil || len(c.Levels) == 0:
		return 0, fmt.Errorf("ode: LangevinGibbs: %d Levels, and a Posterior: %t; both are needed", len(c.Levels), c.Posterior != nil)
	case c.Warm < 0 || c.Steps <= c.Warm || c.First < 0:
		return 0, fmt.Errorf("ode: LangevinGibbs.Steps is %d, Warm %d and First %d; none may be negative, and Steps must be above Warm", c.Steps, c.Warm, c.First)
	case !(c.Eta >= 0) || math.IsInf(c.Eta, 0):
		return 0, fmt.Errorf("ode: LangevinGibbs.Eta is %v; it must be positive and finite, or 0 for 0.5", c.Eta)
	case p.History != 0:
		return 0, fmt.Errorf("ode: LangevinGibbs: Problem.History is %d, and there is no state but the first; leave it out", p.History)
	}
	for i := 1; i < len(c.Levels); i++ {
		if !(c.Levels[i] < c.Levels[i-1]) {
			return 0, fmt.Errorf("ode: LangevinGibbs.Levels[%d] is %v and [%d] %v; they descend, the noisiest first", i-1, c.Levels[i-1], i, c.Levels[i])
		}
	}
	// What would be refused for any level is said before anything runs.
	rest, err := PerSample{c.Of, c.Levels}.Plan(p)
	if err != nil {
		return 0, fmt.Errorf("%w (for LangevinGibbs)", err)
	}
	if len(rest.Inputs) != 1 || len(rest.Outputs) != 1 {
		return 0, fmt.Errorf("ode: LangevinGibbs: %s starts from %v and ends in %v; a solver of one state is needed", rest.Name, portNames(rest.Inputs), portNames(rest.Outputs))
	}
	if to = rest.Knots[len(rest.Knots)-1].T; !(to < c.Levels[len(c.Levels)-1]) {
		return 0, fmt.Errorf("ode: LangevinGibbs: the last of the Levels is %v, and the problem ends at %v; it must be above", c.Levels[len(c.Levels)-1], to)
	}
	return to, nil
}

// gibbsStream is the stream of random numbers for the first choice of levels.
const gibbsStream = 1 << 42

// choose finds a level for each sample.
func (c LangevinGibbs[T]) choose(level []int, x []T, step int) error {
	n := len(c.Levels)
	all := make([]float64, n*len(level))
	if err := c.Posterior(all, x); err != nil {
		return fmt.Errorf("the Posterior: %w", err)
	}
	var u [1]float64
	for b := range level {
		ps, sum, top := all[b*n:(b+1)*n], 0.0, 0
		for l, p := range ps {
			if !(p >= 0) {
				return fmt.Errorf("the Posterior of level %d is %v for sample %d; want probabilities", l, p, b)
			}
			if p > ps[top] {
				top = l
			}
			sum += p
		}
		if !(sum > 0) || math.IsInf(sum, 0) {
			return fmt.Errorf("the Posterior of all levels adds up to %v for sample %d; want probabilities", sum, b)
		}
		if level[b] = top; c.Argmax {
			continue
		}
		rng.Uniform(u[:], c.Key, gibbsStream+uint64(step), uint64(c.First+b))
		left := u[0] * sum
		for l, p := range ps {
			if left -= p; left < 0 {
				level[b] = l
				break
			}
		}
	}
	return nil
}

// walk is what a chain did: the level of each sample at each step, and 1 where the state that followed was kept.
type walk struct {
	eta         float64
	times, take [][]float64
}

// problem is that of a part of the plan: the options that the solver alone heeds are left out.
func (walk) problem(p Problem, knots []float64) Problem {
	p = p.at(knots)
	p.Denoise, p.SingleStart, p.LowerFinal = false, false, false
	if p.Scale != (NoiseScale{}) {
		p.Scale = NoiseScale{First: p.Scale.First}
	}
	return p
}

// plan is the chain, and what comes after.
func (w walk) plan(p Problem, rest *Plan) (*Plan, error) {
	knots := make([]float64, len(rest.Knots))
	for i, k := range rest.Knots {
		knots[i] = k.T
	}
	name := fmt.Sprintf("%d × Langevin–Gibbs, η=%g, then %s", len(w.times), w.eta, rest.Name)
	return Assemble(w.problem(p, knots), name, rest.Order, func(a *Assembler) {
		a.Inexact()
		a.FixKnots()
		x := a.Input("x")
		a.State(0, x)
		best := x
		for i, times := range w.times {
			x = a.langevinEach(x, times, w.eta)
			keep := make([]float64, len(times))
			for b, t := range w.take[i] {
				keep[b] = 1 - t
			}
			switch {
			case !slices.Contains(w.take[i], 0):
				best = x
			case slices.Contains(w.take[i], 1):
				best = a.Combine(Term{Reg: best, C: 1, Samples: keep}, Term{Reg: x, C: 1, Samples: w.take[i]})
			}
		}
		at := a.inline(rest, best)
		if a.err != nil {
			return
		}
		for i, k := range rest.Knots[1:] {
			a.State(i+1, at[k.Reg])
		}
		a.Output("x", at[rest.Outputs[0].Reg])
		a.Output("chain", x)
	})
}

// langevinEach is langevin with a time of its own for each sample.
func (a *Assembler) langevinEach(x Reg, times []float64, eta float64) Reg {
	m, kind, nodes := a.predictEach(x, times)
	u, v, z := make([]float64, len(times)), make([]float64, len(times)), make([]float64, len(times))
	for b, at := range nodes {
		var err error
		u[b], v[b], err = kind.resolve(at.Point, 0, -eta/2*at.Sigma)
		a.check(err)
		u[b]++
		z[b] = math.Sqrt(eta) * at.Sigma
	}
	draw := a.Draw(a.Node(0), a.Node(0))
	return a.Combine(Term{Reg: x, C: 1, Samples: a.finite(u)}, Term{Reg: m, C: 1, Samples: a.finite(v)}, Term{Reg: draw, C: 1, Samples: z})
}
