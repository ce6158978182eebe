package ode

import (
	"fmt"
	"math"
	"slices"
)

func (c Clipping) check() error {
	if !(c.Max > 0) || math.IsInf(c.Max, 0) {
		return fmt.Errorf("clips to Max %g, which must be positive and finite", c.Max)
	}
	if !(c.Quantile >= 0 && c.Quantile <= 1) {
		return fmt.Errorf("clips at the quantile %g, which must be between 0 (static) and 1", c.Quantile)
	}
	return nil
}

// threshold is where a Clipping stops being linear in one sample, and what that depends on.
type threshold struct {
	at     float64 // q, or Max where that is more
	a, b   int     // the elements that the quantile lies between
	f      float64 // and how far on from a to b it is
	moving bool    // the quantile decides
}

// clipThreshold finds it for one sample and sorts into scratch, which is as long as x.
func clipThreshold[T Float](c Clipping, x, scratch []T) threshold {
	th := threshold{at: c.Max}
	if c.Quantile == 0 {
		return th
	}
	for i, v := range x {
		scratch[i] = T(math.Abs(float64(v)))
	}
	slices.Sort(scratch)
	place := c.Quantile * float64(len(x)-1)
	lo := int(place)
	hi := min(lo+1, len(x)-1)
	f := place - float64(lo)
	lower, upper := float64(scratch[lo]), float64(scratch[hi])
	q := lower + f*(upper-lower)
	if !(q > c.Max) {
		return th
	}
	index := func(abs T, not int) int {
		for i, v := range x {
			if i != not && T(math.Abs(float64(v))) == abs {
				return i
			}
		}
		return not
	}
	th.at, th.f, th.moving = q, f, true
	th.a = index(scratch[lo], -1)
	th.b = index(scratch[hi], th.a)
	return th
}

// ClipSample thresholds one sample, x, into dst. scratch is as long as x, and not used when the Clipping is static.
func ClipSample[T Float](c Clipping, dst, x, scratch []T) {
	th := clipThreshold(c, x, scratch)
	limit, scale := T(th.at), T(c.Max/th.at)
	top := T(c.Max)
	for i, v := range x {
		switch {
		case v >= limit:
			dst[i] = top
		case v <= -limit:
			dst[i] = -top
		default:
			dst[i] = v * scale
		}
	}
}

// PullClipSample is the transposed derivative of [ClipSample] at x: from g, the cotangent of its result, it writes that of
// x to dst.
func PullClipSample[T Float](c Clipping, dst, g, x, scratch []T) {
	th := clipThreshold(c, x, scratch)
	limit, scale := T(th.at), T(c.Max/th.at)
	sum := 0.0
	for i, v := range x {
		if v >= limit || v <= -limit {
			dst[i] = 0
			continue
		}
		dst[i] = g[i] * scale
		sum += float64(g[i]) * float64(v)
	}
	if !th.moving || c.Stop {
		return
	}
	toLimit := -sum * c.Max / (th.at * th.at)
	dst[th.a] += T(toLimit * (1 - th.f) * math.Copysign(1, float64(x[th.a])))
	dst[th.b] += T(toLimit * th.f * math.Copysign(1, float64(x[th.b])))
}
