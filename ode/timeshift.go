package ode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// TimeShift is [DDIM] that takes each state for one at the time its variance fits best: with v the variance over the elements of a sample that
// has arrived at knot t,
//
//	τ = argmin |v − σ_τ²|  over  t − Window/2 ≤ τ ≤ t + Window/2
//
// is the time that the network is given next, and that the next step is from; its end is the next knot. The first step, and those from knots
// at Cutoff and below, are as they are without. On a [Discrete] schedule τ is one of the levels. It answers a network's bias on states that
// sampling, unlike training, brings about; with an exact one there is none, and it does harm.
//
// Each sample of a batch has its own times, and its result does not depend on the batch. NFE n.
//
// Units: Window and Cutoff are in t. The variance is taken over the elements of a sample (with n − 1), so it tells something for thousands of
// elements only. It does not know that of the data: even a perfect state is put above its time, by ᾱ_τ = (1−c²) ᾱ_t on a variance-preserving
// schedule for data of variance c².
//
// Errors: options that are negative or infinite; samples of one element; steps away from data; a Problem with Denoise.
//
// Source: Li, Qu, Yao, Sun, Moens 2023, arXiv 2305.15583.
//
// Differs from reference: Published does as the release does in its samplers for DDIM and PNDM: v is that of the state a step starts from, the
// window is round the knot it goes to, and τ is the time it arrives at, while the network is given the knot.
type TimeShift[T Float] struct {
	Window    float64 // 0 means 0.08
	Cutoff    float64
	Published bool
}

// Run implements [Controller].
func (c TimeShift[T]) Run(ctx context.Context, p Problem, f Field[T], batch int, in Inputs[T]) (*Realized[T], error) {
	if c.Window == 0 {
		c.Window = 0.08
	}
	if !(c.Window > 0 && c.Cutoff >= 0) || math.IsInf(c.Window+c.Cutoff, 0) {
		return nil, fmt.Errorf("ode: TimeShift.Window is %v and Cutoff %v; neither may be negative or infinite", c.Window, c.Cutoff)
	}
	name := fmt.Sprintf("DDIM, times shifted within %g", c.Window)
	return individual(ctx, name, p, f, batch, in, func(i int, s, t float64, variances []float64) (step individualStep) {
		at := s
		if c.Published {
			at = t
		}
		if i == 0 || !(at > c.Cutoff) {
			return step
		}
		times := make([]float64, len(variances))
		for b, v := range variances {
			times[b] = matchVariance(p.Schedule, v, at-c.Window/2, at+c.Window/2, at)
		}
		if c.Published {
			step.to = times
		} else {
			step.from = times
		}
		return step
	})
}

// NormalizeVariance is [DDIM] that brings the variance over the elements of each sample to what it should be before each evaluation but the
// first: x ← x √((α² Data + σ²)/v).
//
// Each sample of a batch has its own factor, and its result does not depend on the batch. NFE n.
//
// Units: Data is the variance over the elements of a sample of data, and the sample's mean is taken for 0. At 0, as published, clean states
// shrink.
//
// Errors: Data negative or infinite; samples of one element or without variance; steps away from data; a Problem with Denoise.
//
// Source: the release of Li et al. 2023, arXiv 2305.15583.
type NormalizeVariance[T Float] struct{ Data float64 }

// Run implements [Controller].
func (c NormalizeVariance[T]) Run(ctx context.Context, p Problem, f Field[T], batch int, in Inputs[T]) (*Realized[T], error) {
	if !(c.Data >= 0) || math.IsInf(c.Data, 0) {
		return nil, fmt.Errorf("ode: NormalizeVariance.Data is %v; it may not be negative or infinite", c.Data)
	}
	return individual(ctx, "DDIM, variance normalised", p, f, batch, in, func(i int, s, _ float64, variances []float64) (step individualStep) {
		if i == 0 {
			return step
		}
		at := p.Schedule.At(s)
		step.scale = make([]float64, len(variances))
		for b, v := range variances {
			step.scale[b] = math.Sqrt((at.Alpha*at.Alpha*c.Data + at.Sigma*at.Sigma) / v)
		}
		return step
	})
}

// matchVariance is the time from lo to hi at which σ² is nearest to v; on a discrete schedule that of a level, or otherwise where there is none.
func matchVariance(s Schedule, v, lo, hi, otherwise float64) float64 {
	data, noise := s.Domain()
	lo, hi = max(lo, data), min(hi, noise)
	variance := func(t float64) float64 { sigma := s.At(t).Sigma; return sigma * sigma }
	if d, ok := s.(*Discrete); ok {
		n := float64(d.Levels())
		best := math.Inf(1)
		for level := max(1, math.Ceil(lo*n-1e-9)); level <= min(n, math.Floor(hi*n+1e-9)); level++ {
			if miss := math.Abs(v - variance(level/n)); miss < best {
				best, otherwise = miss, level/n
			}
		}
		return otherwise
	}
	for { // σ rises with t: halve until there is no number between
		t := lo + (hi-lo)/2
		switch {
		case variance(lo) >= v:
			return lo
		case variance(hi) <= v:
			return hi
		case t <= lo || t >= hi:
			return t
		case variance(t) < v:
			lo = t
		default:
			hi = t
		}
	}
}

// individualStep is what a step of DDIM does to each sample by itself; nil is nothing.
type individualStep struct {
	scale    []float64 // what the state is multiplied with before
	from, to []float64 // times that stand in for the knots
}

// individual runs DDIM with steps that a rule decides on by the variance of each sample.
func individual[T Float](ctx context.Context, name string, p Problem, f Field[T], batch int, in Inputs[T],
	rule func(i int, s, t float64, variances []float64) individualStep) (*Realized[T], error) {
	knots, err := p.resolve()
	if err == nil {
		err = checkKnots(p.Schedule, knots)
	}
	if err == nil && p.Denoise {
		err = errors.New("ode: Problem.Denoise is for plans without a controller; set AppendZero to end at the data prediction")
	}
	if err != nil {
		return nil, fmt.Errorf("%w (for %s)", err, name)
	}
	plan := func(knots []float64, scale NoiseScale, steps []individualStep) (*Plan, error) {
		p := p.at(knots)
		p.Scale = scale
		return Assemble(p, name, 1, func(a *Assembler) { a.individual(steps) })
	}
	c, err := newConduct(f, batch, in)
	if err != nil {
		return nil, err
	}
	dim := len(c.x) / batch
	if dim < 2 {
		return nil, fmt.Errorf("ode: %s: samples of %d element have no variance; at least 2 are needed, and thousands make sense", name, dim)
	}
	if _, err := plan(knots, p.Scale, make([]individualStep, len(knots)-1)); err != nil {
		return nil, err
	}
	steps, variances := make([]individualStep, len(knots)-1), make([]float64, batch)
	for i := range steps {
		for b := range variances {
			variances[b] = variance(c.x[b*dim : (b+1)*dim])
		}
		steps[i] = rule(i, knots[i], knots[i+1], variances)
		interrupted := func(i int, err error) error {
			return &Interrupted[T]{Step: i, NFE: c.nfe, T: knots[i], X: c.x, Err: err}
		}
		scale := p.Scale
		if scale != (NoiseScale{}) {
			scale = NoiseScale{First: p.Scale.at(i, len(steps))}
		}
		one, err := plan(knots[i:i+2], scale, steps[i:i+1])
		if err != nil {
			return nil, interrupted(i, err)
		}
		out, err := c.do(ctx, one, i, map[string][]T{"x": c.x})
		if err != nil {
			return nil, interrupted(i, err)
		}
		c.x = out["x"]
		if c.watch != nil {
			if err := c.watch(Step[T]{Index: i, T: knots[i+1], X: c.x, NFE: c.nfe}); err != nil {
				return nil, interrupted(i+1, err)
			}
		}
	}
	whole, err := plan(knots, p.Scale, steps)
	if err != nil {
		return nil, err
	}
	return &Realized[T]{Plan: whole, X: c.x, NFE: c.nfe}, nil
}

// variance is the unbiased one.
func variance[T Float](x []T) float64 {
	mean, sum := 0.0, 0.0
	for _, v := range x {
		mean += float64(v)
	}
	mean /= float64(len(x))
	for _, v := range x {
		d := float64(v) - mean
		sum += d * d
	}
	return sum / float64(len(x)-1)
}

// individual writes the steps.
func (a *Assembler) individual(steps []individualStep) {
	x := a.Input("x")
	a.State(0, x)
	for i := range a.Steps() {
		s, t := a.Node(i), a.Node(i+1)
		if !a.Ahead(i) {
			a.Fail("step %d goes from t = %v up to %v, away from data; use DDIM", i, s.T, t.T)
		}
		step := steps[i]
		if step.scale != nil || step.from != nil || step.to != nil {
			a.Inexact()
			a.FixKnots()
		}
		if step.scale != nil {
			x = a.Combine(Term{Reg: x, C: 1, Samples: a.finite(step.scale)})
		}
		switch {
		case step.from != nil:
			x = a.firstFrom(x, step.from, t)
		case step.to != nil:
			m := a.Predict(x, s, a.Any())
			x = a.each(x, m.Reg, len(step.to), func(b int) (u, v float64, err error) {
				to := a.At(step.to[b])
				return m.Kind.resolve(s.Point, to.Alpha, to.Sigma)
			})
		default:
			x = a.Combine(a.First(x, a.Predict(x, s, a.Any()), t)...)
		}
		a.State(i+1, x)
	}
	a.Output("x", x)
}

// firstFrom is a first-order step to a node from a time of its own for each sample.
func (a *Assembler) firstFrom(x Reg, times []float64, t Node) Reg {
	m, kind, nodes := a.predictEach(x, times)
	return a.each(x, m, len(nodes), func(b int) (u, v float64, err error) { return kind.resolve(nodes[b].Point, t.Alpha, t.Sigma) })
}

// predictEach is Predict of any kind, at a time of its own for each sample.
func (a *Assembler) predictEach(x Reg, times []float64) (m Reg, kind Prediction, nodes []Node) {
	nodes = make([]Node, len(times))
	src, levels := x, slices.Clone(times)
	for b, at := range times {
		nodes[b] = a.At(at)
		if a.problem.Raw != Denoiser {
			continue
		}
		if levels[b] = nodes[b].Ratio(); !nodes[b].Inside() {
			a.Fail("step %d: a Denoiser has no noise level to be called with at t = %v; keep away from that end", a.step, at)
		}
	}
	if a.problem.Raw == Denoiser && a.problem.Schedule != (EDM{}) {
		lower := make([]float64, len(nodes))
		for b, at := range nodes {
			lower[b] = 1 / at.Alpha
		}
		src = a.Combine(Term{Reg: x, C: 1, Samples: a.finite(lower)})
	}
	in := a.emit(Evaluate)
	in.Src, in.Times = src, levels
	m, kind = in.Dst, a.Any()
	if !a.problem.Raw.same(kind) || a.problem.Scale != (NoiseScale{}) {
		m = a.each(x, m, len(nodes), func(b int) (u, v float64, err error) { return a.convert(kind, nodes[b]) })
	}
	if a.problem.Clip != (Clipping{}) {
		m = a.clip(m)
	}
	return m, kind, nodes
}

// each is u x + v m with numbers for each sample.
func (a *Assembler) each(x, m Reg, batch int, weights func(b int) (u, v float64, err error)) Reg {
	u, v := make([]float64, batch), make([]float64, batch)
	for b := range batch {
		var err error
		u[b], v[b], err = weights(b)
		a.check(err)
	}
	return a.Combine(Term{Reg: x, C: 1, Samples: a.finite(u)}, Term{Reg: m, C: 1, Samples: a.finite(v)})
}

// finite fails for a factor that is not, as a sample without variance has one.
func (a *Assembler) finite(factors []float64) []float64 {
	for b, f := range factors {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			a.Fail("a factor of step %d is %v for sample %d; a sample that does not vary has no scale", a.step, f, b)
		}
	}
	return factors
}
