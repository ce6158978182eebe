package main

import (
	"math"

	"github.com/ebb-go/ebb/internal/kernels/gen/series"
)

func (s shape) series() *series.Series { return pick(s, &series.Single, &series.Double) }

// Each helper writes one instruction for all its vectors before the next, so that their chains overlap.

// horner returns the polynomial of x.
func (s shape) horner(cs []float64, x []vec) (p []vec) {
	first := s.c(cs[0])
	for range x {
		p = append(p, first)
	}
	for _, c := range cs[1:] {
		next := s.copies(c, len(x))
		each(x, func(i int) { s.fma(next[i], x[i], p[i]) })
		p = next
	}
	return p
}

// within clamps x and keeps a NaN.
func (s shape) within(x []vec, low, high float64) {
	top, bottom := s.c(high), s.c(low)
	each(x, func(i int) { s.min(x[i], x[i], top) })
	each(x, func(i int) { s.max(x[i], x[i], bottom) })
}

// times multiplies by a constant.
func (s shape) times(d, x []vec, c float64) {
	v := s.c(c)
	each(x, func(i int) { s.mul(d[i], x[i], v) })
}

// plus adds a constant.
func (s shape) plus(d, x []vec, c float64) {
	v := s.c(c)
	each(x, func(i int) { s.add(d[i], x[i], v) })
}

// scale: x = p·2^n in two halves of n, the first of which is exact, so that it is right for subnormals too; n and p are lost.
func (s shape) scale(n, p, x []vec) {
	half, h := s.c(0.5), s.copies(s.shifter(0), len(x))
	each(x, func(i int) { s.fma(h[i], n[i], half) })
	each(x, func(i int) { s.sub(n[i], n[i], h[i]) })
	s.plus(n, n, 2*s.shifter(0))
	each(x, func(i int) { s.exponent(h[i]) })
	each(x, func(i int) { s.exponent(n[i]) })
	each(x, func(i int) { s.mul(p[i], p[i], h[i]) })
	each(x, func(i int) { s.mul(x[i], p[i], n[i]) })
}

// shifter is a number which, added to an integer n, leaves the exponent field of 2^(n − less) in its lowest bits.
func (s shape) shifter(less float64) float64 { return pick(s, 0x1.8p23+127, 0x1.8p52+1023) - less }

// exponent shifts those into place.
func (s shape) exponent(v vec) { s.shiftLeft(v, v, pick(s, 23, 52)) }

// power: n = 2^(n − less) where that is a normal number or infinite
func (s shape) power(n []vec, less float64) {
	s.plus(n, n, s.shifter(less))
	each(n, func(i int) { s.exponent(n[i]) })
}

// reduce leaves r in x and returns n, where x = n·ln2 + r.
func (s shape) reduce(x []vec) []vec {
	n := s.vecs(len(x))
	s.times(n, x, math.Log2E)
	each(x, func(i int) { s.round(n[i], n[i]) })
	for _, c := range []float64{s.series().Hi, s.series().Lo} {
		v := s.c(c)
		each(x, func(i int) { s.fms(x[i], n[i], v) })
	}
	return n
}

// exp: x = e^x
func (s shape) exp(x []vec) {
	s.within(x, s.series().Low, s.series().High)
	n := s.reduce(x)
	p := s.horner(s.series().E, x)
	s.scale(n, p, x)
}

// tanh: x = E/(E+2) with E = e^(2x) − 1 = 2^n·(e^r − 1) + 2^n − 1, which cancels nowhere.
func (s shape) tanh(x []vec) {
	s.within(x, -s.series().One, s.series().One)
	each(x, func(i int) { s.add(x[i], x[i], x[i]) })
	n := s.reduce(x)
	p, w := s.horner(s.series().M1, x), s.vecs(len(x))
	each(x, func(i int) { s.mul(w[i], x[i], x[i]) })
	each(x, func(i int) { s.fma(x[i], w[i], p[i]) }) // e^r − 1
	s.power(n, 0)
	s.plus(w, n, -1)
	each(x, func(i int) { s.fma(w[i], n[i], x[i]) })
	s.plus(x, w, 2)
	each(x, func(i int) { s.div(x[i], w[i], x[i]) })
}

// sigmoid: x = (x < 0 ? e : 1)/(1 + e) with e = e^−|x|, so that the tail underflows gradually.
func (s shape) sigmoid(x []vec) {
	k, d, sign := s.vecs(len(x)), s.vecs(len(x)), s.c(math.Copysign(0, -1))
	each(x, func(i int) { s.negative(k[i], x[i]) })
	each(x, func(i int) { s.or(x[i], x[i], sign) })
	s.exp(x)
	one := s.c(1)
	each(x, func(i int) { s.add(d[i], x[i], one) })
	each(x, func(i int) { s.choose(k[i], x[i], one) })
	each(x, func(i int) { s.div(x[i], k[i], d[i]) })
}

// exp2: t = 2^(t − less) with t clamped, so that 2^(t − less) is normal or infinite.
func (s shape) exp2(t []vec, low, high, less float64) {
	n := s.vecs(len(t))
	s.within(t, low, high)
	each(t, func(i int) { s.round(n[i], t[i]) })
	each(t, func(i int) { s.sub(t[i], t[i], n[i]) })
	p := s.horner(s.series().Two, t)
	s.power(n, less)
	each(t, func(i int) { s.mul(t[i], p[i], n[i]) })
}

// logistic returns 1/(1 + t).
func (s shape) logistic(t []vec) []vec {
	d, one := s.vecs(len(t)), s.c(1)
	each(t, func(i int) { s.add(d[i], t[i], one) })
	each(t, func(i int) { s.div(d[i], one, d[i]) })
	return d
}

// gate: x = x / (1 + 2^t)
func (s shape) gate(x, t []vec) {
	// Twice 2^(t − 1), so that a large t is infinite only where 2^t is.
	s.exp2(t, -pick(s, 125., 1021.), pick(s, 129., 1025.), 1)
	each(t, func(i int) { s.add(t[i], t[i], t[i]) })
	d := s.logistic(t)
	each(x, func(i int) { s.mul(x[i], x[i], d[i]) })
}

// geluArg returns t = x·(series.GELU1 + series.GELU3·w) and w = x².
func (s shape) geluArg(x []vec) (t, w []vec) {
	w = s.vecs(len(x))
	each(x, func(i int) { s.mul(w[i], x[i], x[i]) })
	t = s.horner([]float64{series.GELU3, series.GELU1}, w)
	each(x, func(i int) { s.mul(t[i], t[i], x[i]) })
	return t, w
}

func (s shape) siluArg(x []vec) []vec {
	t := s.vecs(len(x))
	s.times(t, x, -math.Log2E)
	return t
}

// gateGrad: x = g·d·(1 − (1−d)·u) where d = 1/(1 + 2^t) and u = −x·ln2·t′; 1−d is taken as 2^t·d, so that nothing cancels.
func (s shape) gateGrad(x, g, t, u []vec) {
	s.exp2(t, -s.series().Finite, s.series().Finite, 0)
	d := s.logistic(t)
	each(x, func(i int) { s.mul(t[i], t[i], d[i]) })
	slope := s.copies(1, len(x))
	each(x, func(i int) { s.fms(slope[i], t[i], u[i]) })
	each(x, func(i int) { s.mul(slope[i], slope[i], d[i]) })
	each(x, func(i int) { s.mul(x[i], slope[i], g[i]) })
}

func (s shape) geluGrad(x, g []vec) {
	s.within(x, -series.Flat, series.Flat)
	t, w := s.geluArg(x)
	u := s.horner([]float64{3 * series.GELU3, series.GELU1}, w)
	each(x, func(i int) { s.mul(u[i], u[i], x[i]) })
	s.times(u, u, math.Ln2) // series.GELU1 and series.GELU3 carry log2e
	s.gateGrad(x, g, t, u)
}

func (s shape) siluGrad(x, g []vec) {
	s.within(x, -s.series().Finite, s.series().Finite) // for the infinities
	t, u := s.siluArg(x), s.vecs(len(x))
	s.times(u, t, math.Ln2)
	s.gateGrad(x, g, t, u)
}
