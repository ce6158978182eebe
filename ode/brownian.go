package ode

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/internal/rng"
)

// Brownian is noise that belongs to a path: each element of each sample has a Brownian motion W over the times [0, Span] of the schedule, and a
// draw is
//
//	(W(To) − W(From)) / √(From − To)
//
// So runs with other knots on the same Key follow the same path, and a stochastic solver converges sample by sample as its steps shrink. A
// path depends on Key, the number of the sample and the place in it, not on the batch and not on what was drawn before: the values in it are
// those of a tree that halves the span, each halfway value drawn given the ends. The clock is the time of the schedule: any other would serve,
// since a short step sees no difference, but all runs that are to be compared must have the same.
//
// Draws over intervals that do not overlap are independent standard Gaussians, exactly, if the ends of no interval are less than
// Span/2^Depth apart. The latent is that of [Seed].
//
// Cost: up to 2·Depth values are made for one, in scratch of four samples that each draw allocates.
//
// Errors: an interval outside of [0, Span], shorter than the tree can tell, or not going down in time, since what a solver adds there, such as
// the churn of [ChurnRK] or a Langevin step, is no part of the path back.
//
// Source: Li, Wong, Chen, Duvenaud 2020, arXiv 2001.01328 (the tree); Kidger, Foster, Li, Lyons 2021, arXiv 2105.13493. Differs from them: what
// lies inside the last interval of the tree is drawn too, not interpolated, so that variances are right.
type Brownian[T Float] struct {
	Key   uint64
	First int     // number of the batch's first sample
	Span  float64 // the noisiest time; 0 means 1
	Depth int     // of the tree, 1 to 50; 0 means 24
}

// Draw implements [NoiseSource].
func (w Brownian[T]) Draw(dst []T, c DrawCall) error {
	if c.Index == -1 {
		return Seed[T]{Key: w.Key, First: w.First}.Draw(dst, c)
	}
	span, depth := w.Span, w.Depth
	if span == 0 {
		span = 1
	}
	if depth == 0 {
		depth = 24
	}
	switch {
	case c.Index < 0 || c.Batch < 1 || len(dst)%c.Batch != 0 || w.First < 0:
		return fmt.Errorf("ode: Brownian: draw %d for %d samples from %d on in %d values", c.Index, c.Batch, w.First, len(dst))
	case !(span > 0) || math.IsInf(span, 0) || depth < 1 || depth > 50:
		return fmt.Errorf("ode: Brownian: Span is %v and Depth %d; a Span is positive and finite, a Depth between 1 and 50", w.Span, w.Depth)
	case c.From <= c.To:
		return fmt.Errorf("ode: Brownian: draw %d goes from t = %v up to %v, which is not along the path; use a Seed", c.Index, c.From, c.To)
	case !(c.To >= 0 && c.From <= span):
		return fmt.Errorf("ode: Brownian: draw %d goes from t = %v to %v, outside of the path's [0, %v]; set Span", c.Index, c.From, c.To, span)
	}
	dim := len(dst) / c.Batch
	scratch := make([]float64, 4*dim)
	walk := walker{
		key: w.Key, depth: depth,
		sum: scratch[:dim], rise: scratch[dim : 2*dim], other: scratch[2*dim : 3*dim], z: scratch[3*dim:],
	}
	scale := 1 / math.Sqrt((c.From-c.To)/span)
	for b := range c.Batch {
		walk.sample = uint64(w.First + b)
		if !walk.between(c.To/span, c.From/span) {
			return fmt.Errorf("ode: Brownian: draw %d goes from t = %v to %v, less than the %v that the path can tell apart; take longer steps, or set Depth above %d",
				c.Index, c.From, c.To, span/math.Exp2(float64(depth)), depth)
		}
		for i, v := range walk.sum {
			dst[b*dim+i] = T(-v * scale)
		}
	}
	return nil
}

// interval is a node of the tree: [number/2^level, (number+1)/2^level].
type interval struct {
	level  int
	number uint64
}

func (n interval) length() float64 { return math.Exp2(-float64(n.level)) }
func (n interval) from() float64   { return float64(n.number) * n.length() }
func (n interval) to() float64     { return float64(n.number+1) * n.length() }
func (n interval) half(right uint64) interval {
	return interval{n.level + 1, 2*n.number + right}
}

// stream is that of the noise inside an interval. Stream 0 is the latent's, 1 that of the whole span.
func (n interval) stream() uint64 { return 1 + (1<<n.level + n.number) }

// walker descends the tree of one sample. Of a path only its rise over the present interval is kept.
type walker struct {
	key, sample uint64
	depth       int

	sum  []float64 // the result
	rise []float64 // of the path over the present interval
	// other is the rise over the right half while the left is walked.
	other, z []float64
}

// between sets sum to W(q) − W(p) on the unit interval. It is false if p and q lie inside of one leaf.
func (w *walker) between(p, q float64) bool {
	clear(w.sum)
	rng.Normal(w.rise, w.key, 1, w.sample)
	var n interval
	for {
		middle := n.from() + n.length()/2
		switch {
		case p == n.from():
			w.until(n, q)
			return true
		case q == n.to():
			w.since(n, p)
			return true
		case n.level == w.depth:
			return false
		case q <= middle:
			w.split(n)
			w.left()
			n = n.half(0)
		case p >= middle:
			w.split(n)
			w.right()
			n = n.half(1)
		default:
			w.split(n)
			for i, r := range w.rise {
				w.rise[i], w.other[i] = r/2+w.z[i], r/2-w.z[i]
			}
			w.since(n.half(0), p)
			w.rise, w.other = w.other, w.rise
			w.until(n.half(1), q)
			return true
		}
	}
}

// split draws what the path does halfway beside the mean of its ends.
func (w *walker) split(n interval) { w.bend(n, math.Sqrt(n.length())/2) }

func (w *walker) bend(n interval, deviation float64) {
	rng.Normal(w.z, w.key, n.stream(), w.sample)
	for i := range w.z {
		w.z[i] *= deviation
	}
}

func (w *walker) left() {
	for i, z := range w.z {
		w.rise[i] = w.rise[i]/2 + z
	}
}

func (w *walker) right() {
	for i, z := range w.z {
		w.rise[i] = w.rise[i]/2 - z
	}
}

// until adds the rise from the start of an interval to q.
func (w *walker) until(n interval, q float64) {
	for q < n.to() && n.level < w.depth {
		w.split(n)
		if q <= n.from()+n.length()/2 {
			w.left()
			n = n.half(0)
			continue
		}
		for i, z := range w.z {
			w.sum[i] += w.rise[i]/2 + z
		}
		w.right()
		n = n.half(1)
	}
	f := (q - n.from()) / n.length()
	w.part(n, f, f, 1)
}

// since adds the rise from p to the end of an interval.
func (w *walker) since(n interval, p float64) {
	for p > n.from() && n.level < w.depth {
		w.split(n)
		if p >= n.from()+n.length()/2 {
			w.right()
			n = n.half(1)
			continue
		}
		for i, z := range w.z {
			w.sum[i] += w.rise[i]/2 - z
		}
		w.left()
		n = n.half(0)
	}
	f := (p - n.from()) / n.length()
	w.part(n, f, 1-f, -1)
}

// part adds the share of an interval's rise to or from the point at f of it, and, to its side of the point, what the path does there beside the
// straight line.
func (w *walker) part(n interval, f, share, side float64) {
	if share == 1 {
		for i, r := range w.rise {
			w.sum[i] += r
		}
		return
	}
	w.bend(n, math.Sqrt(f*(1-f)*n.length()))
	for i, r := range w.rise {
		w.sum[i] += share*r + side*w.z[i]
	}
}
