package main

import (
	"math"

	"github.com/ebb-go/ebb/internal/kernels/gen/series"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

func (s shape) series() *series.Series { return pick(s, &series.Single, &series.Double) }

const log2e = math.Log2E

// Each helper writes one instruction for all its vectors before the next, so that their chains overlap.

func (s shape) horner(cs []float64, x []vec) []vec {
	p := s.news(len(x))
	each(x, func(i int) { s.move(s.c(cs[0]), p[i]) })
	for _, k := range cs[1:] {
		each(x, func(i int) { s.fma213(s.c(k), x[i], p[i]) })
	}
	return p
}

// within clamps x; as the first operand of both instructions it keeps a NaN.
func (s shape) within(x []vec, low, high float64) {
	top, bottom := s.reg(high), s.reg(low)
	each(x, func(i int) { s.min(x[i], top, x[i]) })
	each(x, func(i int) { s.max(x[i], bottom, x[i]) })
}

// round: n = x to the nearest integer
func (s shape) round(x, n vec) {
	if s.bytes == 64 {
		pick(s, VRNDSCALEPS, VRNDSCALEPD)(U8(0), x, n)
	} else {
		pick(s, VROUNDPS, VROUNDPD)(U8(0), x, n)
	}
}

// scale: x = p·2^n, right for subnormals too. AVX2 does it in two halves of n, the first of which is exact; n is lost.
func (s shape) scale(n, p, x []vec) {
	if s.bytes == 64 {
		each(x, func(i int) { pick(s, VSCALEFPS, VSCALEFPD)(n[i], p[i], x[i]) })
		return
	}
	each(x, func(i int) { s.move(s.c(s.shifter(0)), x[i]) })
	each(x, func(i int) { s.fma231(s.c(0.5), n[i], x[i]) })
	each(x, func(i int) { s.sub(x[i], n[i], n[i]) })
	each(x, func(i int) { s.add(s.c(2*s.shifter(0)), n[i], n[i]) })
	each(x, func(i int) { s.exponent(x[i]) })
	each(x, func(i int) { s.exponent(n[i]) })
	each(x, func(i int) { s.mul(x[i], p[i], p[i]) })
	each(x, func(i int) { s.mul(n[i], p[i], x[i]) })
}

// shifter is a number which, added to an integer n, leaves the exponent field of 2^(n − less) in its lowest bits.
func (s shape) shifter(less float64) float64 { return pick(s, 0x1.8p23+127, 0x1.8p52+1023) - less }

// exponent shifts those into place.
func (s shape) exponent(v vec) {
	if s.size == 8 {
		VPSLLQ(U8(52), v, v)
	} else {
		VPSLLD(U8(23), v, v)
	}
}

// power: n = 2^(n − less) where that is a normal number or infinite
func (s shape) power(n []vec, less float64) {
	each(n, func(i int) { s.add(s.c(s.shifter(less)), n[i], n[i]) })
	each(n, func(i int) { s.exponent(n[i]) })
}

func (s shape) fnma231(o ...Op) { pick(s, VFNMADD231PS, VFNMADD231PD)(o...) }

// reduce leaves r in x and returns n, where x = n·ln2 + r.
func (s shape) reduce(x []vec) []vec {
	n := s.news(len(x))
	each(x, func(i int) { s.mul(s.c(log2e), x[i], n[i]) })
	each(x, func(i int) { s.round(n[i], n[i]) })
	each(x, func(i int) { s.fnma231(s.c(s.series().Hi), n[i], x[i]) })
	each(x, func(i int) { s.fnma231(s.c(s.series().Lo), n[i], x[i]) })
	return n
}

func (s shape) loadReduce() { s.consts(log2e, s.series().Hi, s.series().Lo) }

// exp: x = e^x
func (s shape) exp(x []vec) {
	s.within(x, s.series().Low, s.series().High)
	n := s.reduce(x)
	p := s.horner(s.series().E, x)
	s.scale(n, p, x)
}

func (s shape) loadExp() {
	s.consts(s.series().Low, s.series().High)
	s.loadReduce()
	s.consts(s.series().E...)
}

// tanh: x = E/(E+2) with E = e^(2x) − 1 = 2^n·(e^r − 1) + 2^n − 1, which cancels nowhere.
func (s shape) tanh(x []vec) {
	s.within(x, -s.series().One, s.series().One)
	each(x, func(i int) { s.add(x[i], x[i], x[i]) })
	n := s.reduce(x)
	p, w := s.horner(s.series().M1, x), s.news(len(x))
	each(x, func(i int) { s.mul(x[i], x[i], w[i]) })
	each(x, func(i int) { s.fma213(x[i], w[i], p[i]) })
	if s.bytes == 64 {
		each(x, func(i int) { pick(s, VSCALEFPS, VSCALEFPD)(n[i], s.c(1), n[i]) })
	} else {
		s.power(n, 0)
	}
	each(x, func(i int) { s.sub(s.c(1), n[i], w[i]) })
	each(x, func(i int) { s.fma213(w[i], n[i], p[i]) })
	each(x, func(i int) { s.add(s.c(2), p[i], w[i]) })
	each(x, func(i int) { s.div(w[i], p[i], x[i]) })
}

func (s shape) loadTanh() {
	s.consts(-s.series().One, s.series().One, 1, 2)
	s.loadReduce()
	s.consts(s.series().M1...)
}

// sigmoid: x = (x < 0 ? e : 1)/(1 + e) with e = e^−|x|, so that the tail underflows gradually.
func (s shape) sigmoid(x []vec) {
	k := make([]Op, len(x))
	each(x, func(i int) {
		if s.bytes == 64 {
			k[i] = K()
			pick(s, VPMOVD2M, VPMOVQ2M)(x[i], k[i])
		} else {
			k[i] = s.new()
			s.move(x[i], k[i])
		}
	})
	each(x, func(i int) { pick(s, VORPS, VORPD)(s.c(math.Copysign(0, -1)), x[i], x[i]) })
	s.exp(x)
	d := s.news(len(x))
	each(x, func(i int) { s.add(s.c(1), x[i], d[i]) })
	one := s.reg(1)
	each(x, func(i int) {
		if s.bytes == 64 {
			pick(s, VBLENDMPS, VBLENDMPD)(x[i], one, k[i], x[i])
		} else {
			s.blend(k[i], x[i], one, x[i])
		}
	})
	each(x, func(i int) { s.div(d[i], x[i], x[i]) })
}

func (s shape) loadSigmoid() {
	s.loadExp()
	s.consts(1, math.Copysign(0, -1))
}

// exp2: t = 2^(t − less) with t clamped, which drops a NaN. AVX-512 does that with one VRANGEPS (smaller magnitude, sign
// of t), so low must be −high, and less 0; AVX2 needs 2^(t − less) to be normal or infinite.
func (s shape) exp2(t []vec, low, high, less float64) {
	n := s.news(len(t))
	if s.bytes == 64 {
		each(t, func(i int) { pick(s, VRANGEPS, VRANGEPD)(U8(2), s.c(high), t[i], t[i]) })
	} else {
		each(t, func(i int) { s.min(s.c(high), t[i], t[i]) })
		each(t, func(i int) { s.max(s.c(low), t[i], t[i]) })
	}
	each(t, func(i int) { s.round(t[i], n[i]) })
	each(t, func(i int) { s.sub(n[i], t[i], t[i]) })
	p := s.horner(s.series().Two, t)
	if s.bytes == 64 {
		s.scale(n, p, t)
		return
	}
	s.power(n, less)
	each(t, func(i int) { s.mul(n[i], p[i], t[i]) })
}

// logistic returns 1/(1 + t). A division beats VRCP14PS with a Newton step in speed and error.
func (s shape) logistic(t []vec) []vec {
	d := s.news(len(t))
	each(t, func(i int) { s.add(s.c(1), t[i], d[i]) })
	one := s.reg(1)
	each(t, func(i int) { s.div(d[i], one, d[i]) })
	return d
}

// gate: x = x / (1 + 2^t)
func (s shape) gate(x, t []vec) {
	if s.bytes == 64 {
		s.exp2(t, -s.series().Over, s.series().Over, 0)
	} else { // twice 2^(t − 1), so that a large t is infinite only where 2^t is
		s.exp2(t, -pick(s, 125., 1021.), pick(s, 129., 1025.), 1)
		each(t, func(i int) { s.add(t[i], t[i], t[i]) })
	}
	d := s.logistic(t)
	each(x, func(i int) { s.mul(d[i], x[i], x[i]) })
}

// geluArg returns t = x·(series.GELU1 + series.GELU3·w) and w = x².
func (s shape) geluArg(x []vec) (t, w []vec) {
	t, w = s.news(len(x)), s.news(len(x))
	each(x, func(i int) { s.mul(x[i], x[i], w[i]) })
	each(x, func(i int) { s.move(s.c(series.GELU1), t[i]) })
	each(x, func(i int) { s.fma231(s.c(series.GELU3), w[i], t[i]) })
	each(x, func(i int) { s.mul(x[i], t[i], t[i]) })
	return t, w
}

func (s shape) siluArg(x []vec) []vec {
	t := s.news(len(x))
	each(x, func(i int) { s.mul(s.c(-log2e), x[i], t[i]) })
	return t
}

func (s shape) loadGate(limit float64) {
	s.consts(limit, 1)
	s.consts(s.series().Two...)
}

// gateGrad: x = g·d·(1 − (1−d)·u) where d = 1/(1 + 2^t) and u = −x·ln2·t′; 1−d is taken as 2^t·d, so that nothing cancels.
func (s shape) gateGrad(x, g, t, u []vec) {
	s.exp2(t, -s.series().Finite, s.series().Finite, 0)
	d := s.logistic(t)
	each(x, func(i int) { s.mul(t[i], d[i], t[i]) })
	each(x, func(i int) { s.fnma213(s.c(1), t[i], u[i]) })
	each(x, func(i int) { s.mul(d[i], u[i], u[i]) })
	each(x, func(i int) { s.mul(u[i], g[i], x[i]) })
}

func (s shape) fnma213(o ...Op) { pick(s, VFNMADD213PS, VFNMADD213PD)(o...) } // o2 = o0 − o1·o2

func (s shape) geluGrad(x, g []vec) {
	s.within(x, -series.Flat, series.Flat)
	t, w := s.geluArg(x)
	g3 := s.reg(3 * series.GELU3)
	each(x, func(i int) { s.fma213(s.c(series.GELU1), g3, w[i]) })
	each(x, func(i int) { s.mul(x[i], w[i], w[i]) })
	each(x, func(i int) { s.mul(s.c(math.Ln2), w[i], w[i]) }) // series.GELU1 and series.GELU3 carry log2e
	s.gateGrad(x, g, t, w)
}

func (s shape) siluGrad(x, g []vec) {
	s.within(x, -s.series().Finite, s.series().Finite) // for the infinities
	t, u := s.siluArg(x), s.news(len(x))
	each(x, func(i int) { s.mul(s.c(math.Ln2), t[i], u[i]) })
	s.gateGrad(x, g, t, u)
}
