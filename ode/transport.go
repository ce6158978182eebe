package ode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/ebb-go/ebb/internal/rng"
)

// Transport is a semi-discrete optimal map: it takes noise z to one of finitely many targets y_i, so that target i comes up with weight ν_i and
// the mean of |z − T(z)|² is the least for which that is so:
//
//	T(z) = y_k,   k = argmax_i ⟨z, y_i⟩ + h_i
//
// With states of a late level as targets it is a start from there: a solver takes over at T(z), and spends all of its evaluations on the rest
// of the way.
//
//	fit, err := ode.FitTransport(ctx, states, dim, ode.TransportOptions[float64]{}) // states of the data, perturbed, at time t
//	x, err := fit.Latent(ode.Seed[float64]{Key: 1}, batch)
//	plan, err := solver.Plan(ode.Problem{Schedule: s, Raw: raw, From: t, To: end, Steps: n})
//
// The states are data perturbed by [Point] t, or where a careful solver, or many steps of [PredictorCorrector], has arrived at t. What comes of
// it is as varied as they are: an ODE makes of n targets n samples, and only noise that is drawn on the rest of the way makes more. The map is
// piecewise constant, so that its gradient is zero wherever there is one: gradients of a run end at its start.
//
// Shapes: Targets holds as many samples as Heights has values; z and T(z) are any number of samples.
//
// Units: z is of the source, standard Gaussian or uniform, whatever the level of the targets, which are states: they are not scaled by σ again.
//
// Errors: targets, weights and heights that do not fit one another.
//
// A Transport is not changed by its methods and may be shared between goroutines.
//
// Source: Li et al. 2023, arXiv 2307.11308 (DPM-OT); Gu, Luo, Sun, Yau 2013, arXiv 1302.5472 (the convex energy).
//
// Differs from reference: the release maps from the uniform distribution on [0, 1]^d, Uniform here.
type Transport[T Float] struct {
	Targets []T       // y_i, one after the other
	Weights []float64 // ν_i, which add up to 1
	Heights []float64 // h_i
	Uniform bool      // z is uniform on [0, 1)^d, not standard Gaussian
}

// Index writes the number of the target that each sample of z goes to.
func (t *Transport[T]) Index(dst []int, z []T) error {
	if err := t.check(); err != nil {
		return err
	}
	c := newCells(t)
	if len(z) != len(dst)*c.dim {
		return fmt.Errorf("ode: Transport: %d values of noise for %d samples of %d", len(z), len(dst), c.dim)
	}
	c.assign(dst, z)
	return nil
}

// Map writes T(z).
func (t *Transport[T]) Map(dst, z []T) error {
	if err := t.check(); err != nil {
		return err
	}
	dim := len(t.Targets) / len(t.Heights)
	if len(z) != len(dst) || len(z)%dim != 0 {
		return fmt.Errorf("ode: Transport: %d values of noise to %d values; want as many, in samples of %d", len(z), len(dst), dim)
	}
	index := make([]int, len(z)/dim)
	if err := t.Index(index, z); err != nil {
		return err
	}
	for b, k := range index {
		copy(dst[b*dim:(b+1)*dim], t.Targets[k*dim:(k+1)*dim])
	}
	return nil
}

// Latent returns where sampling starts: T(z) for batch samples, z the noise of the latent of the seed. Each depends on the seed and the number
// of the sample, not on the batch.
func (t *Transport[T]) Latent(seed Seed[T], batch int) ([]T, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	dim := len(t.Targets) / len(t.Heights)
	if batch < 1 || seed.First < 0 || batch > math.MaxInt/dim {
		return nil, fmt.Errorf("ode: Transport: a latent of %d samples from number %d on; want 1 or more, from 0 or more on", batch, seed.First)
	}
	x := make([]T, batch*dim)
	t.source(x, seed.Key, 0, seed.First)
	return x, t.Map(x, x)
}

// Volumes estimates, by so many draws of the source, what share of it each target gets: ν_i, up to a standard deviation of √(ν_i/draws), if the
// heights are right.
func (t *Transport[T]) Volumes(ctx context.Context, draws int, key uint64) ([]float64, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	if draws < 1 {
		return nil, fmt.Errorf("ode: Transport: volumes by %d draws; at least 1 is needed", draws)
	}
	w := make([]float64, len(t.Heights))
	return w, newCells(t).volumes(ctx, w, draws, key, evaluationStream)
}

// Streams of random numbers that neither the latent of a Seed nor its draws have.
const (
	evaluationStream = 1 << 40
	fitStream        = 1 << 41
)

// source fills samples from the first-th on.
func (t *Transport[T]) source(dst []T, key, stream uint64, first int) {
	fill := rng.Normal[T]
	if t.Uniform {
		fill = rng.Uniform[T]
	}
	for dim := len(t.Targets) / len(t.Heights); len(dst) > 0; dst, first = dst[dim:], first+1 {
		fill(dst[:dim], key, stream, uint64(first))
	}
}

func (t *Transport[T]) check() error {
	n := len(t.Heights)
	if n == 0 || len(t.Weights) != n || len(t.Targets) == 0 || len(t.Targets)%n != 0 {
		return fmt.Errorf("ode: Transport with %d Heights, %d Weights and %d values of Targets; want as many of the first two as there are targets, "+
			"one or more", n, len(t.Weights), len(t.Targets))
	}
	for i, h := range t.Heights {
		if math.IsNaN(h) || math.IsInf(h, 0) {
			return fmt.Errorf("ode: Transport.Heights[%d] is %v; want finite ones", i, h)
		}
	}
	return nil
}

// cells finds the cells of a Transport that samples lie in, so many of them at a time.
type cells[T Float] struct {
	*Transport[T]
	n, dim             int
	z, scores, scratch []T
	heights            []T
	index              []int
}

const cellBlock = 128

func newCells[T Float](t *Transport[T]) *cells[T] {
	n := len(t.Heights)
	dim := len(t.Targets) / n
	return &cells[T]{Transport: t, n: n, dim: dim, scores: make([]T, cellBlock*n), heights: make([]T, n),
		scratch: make([]T, kernels.GemmScratch[T](false, true, cellBlock, n, dim))}
}

func (c *cells[T]) assign(dst []int, z []T) {
	for i, h := range c.Heights {
		c.heights[i] = T(h)
	}
	for len(dst) > 0 {
		m := min(len(dst), cellBlock)
		kernels.Gemm(false, true, m, c.n, c.dim, z[:m*c.dim], c.dim, c.Targets, c.dim, c.scores[:m*c.n], c.n, false, c.scratch)
		for b := range m {
			best := 0
			scores := c.scores[b*c.n : (b+1)*c.n]
			top := scores[0] + c.heights[0]
			for i, s := range scores {
				if s += c.heights[i]; s > top {
					top, best = s, i
				}
			}
			dst[b] = best
		}
		dst, z = dst[m:], z[m*c.dim:]
	}
}

// volumes writes the share of the draws of a stream that fall in each cell.
func (c *cells[T]) volumes(ctx context.Context, w []float64, draws int, key, stream uint64) error {
	if c.z == nil {
		c.z, c.index = make([]T, cellBlock*c.dim), make([]int, cellBlock)
	}
	clear(w)
	for first := 0; first < draws; first += cellBlock {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := min(draws-first, cellBlock)
		c.source(c.z[:m*c.dim], key, stream, first)
		c.assign(c.index[:m], c.z[:m*c.dim])
		for _, i := range c.index[:m] {
			w[i]++
		}
	}
	for i := range w {
		w[i] /= float64(draws)
	}
	return nil
}

// TransportOptions say how [FitTransport] goes about it. The zero value works.
type TransportOptions[T Float] struct {
	Weights []float64 // of the targets, above 0, any sum; nil means equal
	Uniform bool      // as in [Transport]
	Heights []float64 // to start from; nil means a guess by the distances of the targets from their mean

	// Tolerance is how small ‖w − ν‖₂ must get, w the volumes of the cells; 0 means a tenth of ‖ν‖₂.
	Tolerance float64
	Draws     int     // of the source an iteration, to begin with; 0 means 100 for the target of the least weight
	Patience  int     // iterations without a smaller ‖w − ν‖₂ after which draws are doubled; 0 means 50
	Doublings int     // how often that may happen, −1 is never; 0 means 4
	Rate      float64 // of Adam, in units of heights; 0 means a twentieth of the spread of ⟨z, y⟩ an element
	Limit     int     // of iterations; 0 means 10000
	Key       uint64  // of the draws

	// Progress, if not nil, is called after every iteration with what has been reached, which is not to be kept. An error ends the fit.
	Progress func(TransportFit[T]) error
}

// TransportFit is a Transport with what is known of it.
type TransportFit[T Float] struct {
	Transport[T]

	Volumes    []float64 // w_i, estimated from Draws draws
	Distance   float64   // ‖w − ν‖₂
	Empty      int       // cells that no draw fell in
	Draws      int
	Iterations int
}

// A TransportError is the error of a fit that has begun and did not reach its tolerance. The cause is the error of the context or of Progress,
// or nil: more iterations, more draws, or another rate are needed then.
type TransportError struct {
	Distance, Tolerance float64 // of the best that was reached
	Empty               int
	Draws               int
	Iterations          int // all that were done
	Err                 error
}

// Error implements error.
func (e *TransportError) Error() string {
	why := fmt.Sprintf("no better by %d draws: give more Draws or Doublings, a greater Tolerance or Patience, or a smaller Rate", e.Draws)
	if e.Err != nil {
		why = e.Err.Error()
	}
	return fmt.Sprintf("ode: FitTransport: stopped after %s at ‖w−ν‖₂ = %.3g, above %.3g, with %s empty: %s",
		counted(e.Iterations, "iteration"), e.Distance, e.Tolerance, counted(e.Empty, "cell"), why)
}

// Unwrap returns the cause.
func (e *TransportError) Unwrap() error { return e.Err }

// errLimit is the cause of a fit that ran out of iterations.
var errLimit = errors.New("the Limit is reached; give a greater one")

// FitTransport finds the heights of a [Transport] to the given targets, samples of dim values: they minimise the convex energy
//
//	E(h) = ⟨max_i ⟨z, y_i⟩ + h_i⟩ − Σ ν_i h_i,   ∂E/∂h_i = w_i − ν_i
//
// where w_i is the share of the source that goes to target i, estimated from fresh draws in every iteration, by Adam. It ends when
// ‖w − ν‖₂ is below the tolerance and no cell is empty. When that distance gets no smaller, the draws are doubled and the rate halved.
//
// The result depends on the options alone: the same Key gives the same bits.
//
// Errors: targets that are not finite, or two of them the same; weights that are not positive; options that are negative; a tolerance that the
// most draws are too few to tell from 0. Later ones are a [TransportError], and come with the best that was reached.
//
// Source: as for [Transport]; Kingma, Ba 2015, arXiv 1412.6980 (Adam).
//
// Differs from reference: the release starts from equal heights, from which targets of large norm take nearly everything. Its Adam does not
// correct for the zeros its averages start from, its rate is 0.1 whatever the targets' scale and falls by a fifth when draws are
// doubled, and it begins with 10 draws a target.
func FitTransport[T Float](ctx context.Context, targets []T, dim int, o TransportOptions[T]) (*TransportFit[T], error) {
	t, err := o.begin(targets, dim)
	if err != nil {
		return nil, err
	}
	n := len(t.Heights)
	reached := TransportFit[T]{Transport: *t, Volumes: make([]float64, n), Draws: o.Draws}
	best := TransportFit[T]{Transport: *t, Distance: math.Inf(1), Empty: n, Draws: o.Draws}
	best.Heights = slices.Clone(t.Heights)
	c, adam := newCells(&reached.Transport), newAdam(n)
	least, waited, doublings := math.Inf(1), 0, o.Doublings
	stop := func(cause error) (*TransportFit[T], error) {
		return &best, &TransportError{Distance: best.Distance, Tolerance: o.Tolerance, Empty: best.Empty, Draws: reached.Draws, Iterations: reached.Iterations, Err: cause}
	}
	gradient := make([]float64, n)
	for reached.Iterations < o.Limit {
		if err := c.volumes(ctx, reached.Volumes, reached.Draws, o.Key, fitStream+uint64(reached.Iterations)); err != nil {
			return stop(err)
		}
		reached.Iterations++
		reached.Distance, reached.Empty = 0, 0
		for i, w := range reached.Volumes {
			gradient[i] = w - reached.Weights[i]
			reached.Distance += gradient[i] * gradient[i]
			if w == 0 {
				reached.Empty++
			}
		}
		reached.Distance = math.Sqrt(reached.Distance)
		if reached.Distance < best.Distance {
			heights, volumes := best.Heights, append(best.Volumes[:0], reached.Volumes...)
			best = reached
			best.Heights, best.Volumes = heights, volumes
			copy(heights, reached.Heights)
		}
		if o.Progress != nil {
			if err := o.Progress(reached); err != nil {
				return stop(err)
			}
		}
		if reached.Distance < o.Tolerance && reached.Empty == 0 {
			return &reached, nil
		}
		if waited++; reached.Distance < least {
			least, waited = reached.Distance, 0
		}
		if waited > o.Patience {
			if doublings == 0 {
				return stop(nil)
			}
			doublings--
			reached.Draws, o.Rate, least, waited = 2*reached.Draws, o.Rate/2, math.Inf(1), 0
		}
		adam.step(reached.Heights, gradient, o.Rate)
		center(reached.Heights)
	}
	return stop(errLimit)
}

// begin checks the options, puts defaults in, and returns where to start.
func (o *TransportOptions[T]) begin(targets []T, dim int) (*Transport[T], error) {
	if dim < 1 || len(targets) == 0 || len(targets)%dim != 0 {
		return nil, fmt.Errorf("ode: FitTransport: %d values of targets do not make samples of %d", len(targets), dim)
	}
	for i, v := range targets {
		if v-v != 0 {
			return nil, fmt.Errorf("ode: FitTransport: target %d has the value %v", i/dim, v)
		}
	}
	if i, j, same := twins(targets, dim); same {
		return nil, fmt.Errorf("ode: FitTransport: targets %d and %d are the same, so that nothing tells their cells apart; give one of them, with both weights", i, j)
	}
	n := len(targets) / dim
	t := &Transport[T]{Targets: targets, Weights: make([]float64, n), Heights: make([]float64, n), Uniform: o.Uniform}
	if o.Weights != nil && len(o.Weights) != n || o.Heights != nil && len(o.Heights) != n {
		return nil, fmt.Errorf("ode: FitTransport: %d Weights and %d Heights for %d targets; give one for each, or none", len(o.Weights), len(o.Heights), n)
	}
	sum := 0.0
	for i := range t.Weights {
		t.Weights[i] = 1
		if o.Weights != nil {
			t.Weights[i] = o.Weights[i]
		}
		if !(t.Weights[i] > 0) || math.IsInf(t.Weights[i], 0) {
			return nil, fmt.Errorf("ode: FitTransport: Weights[%d] is %v; want positive and finite ones", i, t.Weights[i])
		}
		sum += t.Weights[i]
	}
	least, square := math.Inf(1), 0.0
	for i := range t.Weights {
		t.Weights[i] /= sum
		least, square = min(least, t.Weights[i]), square+t.Weights[i]*t.Weights[i]
	}
	scale := t.guess()
	if o.Heights != nil {
		copy(t.Heights, o.Heights)
		if err := t.check(); err != nil {
			return nil, err
		}
	}
	if o.Tolerance < 0 || o.Draws < 0 || o.Patience < 0 || o.Doublings < -1 || o.Rate < 0 || o.Limit < 0 || math.IsInf(o.Rate, 0) ||
		math.IsNaN(o.Rate+o.Tolerance) || o.Doublings > 30 {
		return nil, fmt.Errorf("ode: FitTransport: Tolerance is %v, Draws %d, Patience %d, Doublings %d, Rate %v and Limit %d; none may be negative "+
			"(but Doublings −1), and Doublings at most 30", o.Tolerance, o.Draws, o.Patience, o.Doublings, o.Rate, o.Limit)
	}
	o.Tolerance = cmp.Or(o.Tolerance, math.Sqrt(square)/10)
	o.Draws = cmp.Or(o.Draws, int(math.Ceil(100/least)))
	o.Patience, o.Limit = cmp.Or(o.Patience, 50), cmp.Or(o.Limit, 10000)
	o.Doublings = max(0, cmp.Or(o.Doublings, 4))
	o.Rate = cmp.Or(o.Rate, scale/20)
	if noise := math.Sqrt((1 - square) / float64(o.Draws<<o.Doublings)); n > 1 && o.Tolerance < noise {
		return nil, fmt.Errorf("ode: FitTransport: Tolerance is %.3g, but of exact heights ‖w−ν‖₂ is about %.3g in %d draws, which is all that %d Draws "+
			"and %d Doublings make; give more of them, or a greater Tolerance", o.Tolerance, noise, o.Draws<<o.Doublings, o.Draws, o.Doublings)
	}
	return t, nil
}

// guess sets heights to start from, and returns the root mean square of an element of z times that of one of the targets, from their mean: the
// scale of heights. With z' and y' what is left of z and y without their means, s and r the spreads of their elements,
//
//	h_i = −⟨mean of z, y_i⟩ − c |y'_i|² s/2r,   c = min(1, Φ⁻¹(1−1/n)/√dim)
//
// which for c = 1 sends z to the target nearest to z' r/s: right where targets are many for their dimensions. In many dimensions none is near,
// and ⟨z', y'_i⟩ is as good as independent from target to target: Gaussian with deviation s |y'_i|. For all to have the same chance to be beyond
// the height Φ⁻¹(1−1/n) s |y'| that one in n gets to, h has to fall with |y'| at that rate, and so it does, at |y'| = r √dim.
func (t *Transport[T]) guess() float64 {
	n, dim := len(t.Heights), len(t.Targets)/len(t.Heights)
	mean, spread := make([]float64, dim), 0.0
	for i, v := range t.Targets {
		mean[i%dim] += t.Weights[i/dim] * float64(v)
	}
	for i, v := range t.Targets {
		d := float64(v) - mean[i%dim]
		spread += t.Weights[i/dim] * d * d
	}
	spread = math.Sqrt(spread / float64(dim))
	if n == 1 {
		return 1
	}
	middle, source := 0.0, 1.0
	if t.Uniform {
		middle, source = .5, 1/math.Sqrt(12)
	}
	c := min(1, math.Sqrt2*math.Erfinv(1-2/float64(n))/math.Sqrt(float64(dim)))
	for i := range t.Heights {
		linear, square := 0.0, 0.0
		for j, v := range t.Targets[i*dim : (i+1)*dim] {
			d := float64(v) - mean[j]
			linear, square = linear+d, square+d*d
		}
		t.Heights[i] = -middle*linear - c*square*source/(2*spread)
	}
	center(t.Heights)
	return source * spread
}

func center(heights []float64) {
	mean := 0.0
	for _, h := range heights {
		mean += h / float64(len(heights))
	}
	for i := range heights {
		heights[i] -= mean
	}
}

// twins finds two samples that are the same.
func twins[T Float](x []T, dim int) (i, j int, found bool) {
	order := make([]int, len(x)/dim)
	for i := range order {
		order[i] = i
	}
	at := func(i int) []T { return x[i*dim : (i+1)*dim] }
	slices.SortStableFunc(order, func(i, j int) int { return slices.Compare(at(i), at(j)) })
	for k := 1; k < len(order); k++ {
		if slices.Equal(at(order[k-1]), at(order[k])) {
			return order[k-1], order[k], true
		}
	}
	return 0, 0, false
}

// adam is the optimizer of Kingma and Ba, with their numbers.
type adam struct {
	mean, square  []float64
	first, second float64 // β^steps
}

func newAdam(n int) *adam { return &adam{make([]float64, n), make([]float64, n), 1, 1} }

func (a *adam) step(x, gradient []float64, rate float64) {
	const b1, b2 = .9, .999
	a.first, a.second = a.first*b1, a.second*b2
	for i, g := range gradient {
		a.mean[i] = b1*a.mean[i] + (1-b1)*g
		a.square[i] = b2*a.square[i] + (1-b2)*g*g
		x[i] -= rate * a.mean[i] / (1 - a.first) / (math.Sqrt(a.square[i]/(1-a.second)) + 1e-8)
	}
}
