package main

import (
	"fmt"
	"math"
)

func rows(a *asm) {
	for _, s := range []shape{{a, 4}, {a, 8}} {
		s.sum(false)
		s.sum(true)
		s.columnSums()
		s.softmax()
		s.softmaxShort()
		s.softmaxGrad()
		s.logSumExp()
		s.normalize()
		s.normalizeGrad()
		s.gating("gate", []string{"x"}, []string{"s"}, func(m, v [][]vec) {
			each(m[0], func(i int) { s.mul(m[0][i], m[0][i], v[0][i]) })
		})
		s.gating("gateAdd", []string{"h", "x"}, []string{"s"}, func(m, v [][]vec) {
			each(m[0], func(i int) { s.fma(m[0][i], m[1][i], v[0][i]) })
		})
		s.gating("modulate", []string{"x"}, []string{"s", "t"}, func(m, v [][]vec) {
			t := s.vecs(len(m[0]))
			each(t, func(i int) { s.move(t[i], m[0][i]) })
			each(t, func(i int) { s.fma(t[i], m[0][i], v[0][i]) })
			each(t, func(i int) { s.add(m[0][i], t[i], v[1][i]) })
		})
	}
}

// Exact sums have 32 accumulators of float64, number j for the elements j modulo 32.
const accumulators = 32

func (a *asm) wide() shape { return shape{a, 8} }

// widened loads n elements, an even number or one, as vectors of float64.
func (s shape) widened(m mem, n int) []vec {
	if s.size == 8 {
		return s.loads(m, max(1, n/2), n == 1)
	}
	if n < s.lanes() {
		v := s.vec()
		s.access(load, s.size*n, m, v)
		s.widen(v, v)
		return []vec{v}
	}
	var wide []vec
	for _, v := range s.loads(m, n/s.lanes(), false) {
		low, high := s.vec(), s.vec()
		s.widen(low, v)
		s.widenUpper(high, v)
		wide = append(wide, low, high)
	}
	return wide
}

// sum adds n elements, or products, to the accumulators at lanes.
func (s shape) sum(dot bool) {
	if dot {
		s.begin("dot", "n int", "lanes *float64", "x *T", "y *T")
	} else {
		s.begin("sum", "n int", "lanes *float64", "x *T")
	}
	n, lanes, operands := s.arg("n"), s.arg("lanes"), []gp{s.arg("x")}
	if dot {
		operands = append(operands, s.arg("y"))
	}
	w := s.wide()
	// terms returns count of them, from an element of the operands on.
	terms := func(disp, count int) []vec {
		v := s.widened(mem{base: operands[0], disp: disp}, count)
		if dot {
			y := s.widened(mem{base: operands[1], disp: disp}, count)
			each(v, func(i int) { w.mul(v[i], v[i], y[i]) })
		}
		return v
	}
	next := func(count int) {
		for _, p := range operands {
			s.skip(p, count*s.size)
		}
	}
	acc := w.loads(mem{base: lanes}, accumulators/2, false)
	s.less(n, accumulators)
	s.branch("BLT ", "tail")
	s.label("loop")
	for j := 0; j < accumulators; j += 8 {
		v := terms(j*s.size, 8)
		each(v, func(i int) { w.add(acc[j/2+i], acc[j/2+i], v[i]) })
	}
	next(accumulators)
	s.less(n, accumulators)
	s.branch("BGE ", "loop")
	s.label("tail")
	w.stores(mem{base: lanes}, acc, false)
	s.more(n, accumulators)
	s.branch("BEQ ", "done")
	// The rest goes to the accumulators where they are stored.
	s.label("one")
	v, sum := terms(0, 1), w.loads(mem{base: lanes}, 1, true)
	w.add(sum[0], sum[0], v[0])
	w.stores(mem{base: lanes}, sum, true)
	next(1)
	s.skip(lanes, 8)
	s.less(n, 1)
	s.branch("BNE ", "one")
	s.label("done")
	s.stop()
}

// columnSums adds rows > 0 rows, ld bytes apart, of up to 32 columns (the low bits of mask) to the accumulators at lanes: so many
// columns at a time as are left of 32, 8, 2 and 1.
func (s shape) columnSums() {
	s.begin("columns", "rows int", "lanes *float64", "x *T", "ld int", "mask int")
	rows, lanes, x, ld, columns := s.arg("rows"), s.arg("lanes"), s.arg("x"), s.arg("ld"), s.columns()
	w := s.wide()
	for _, n := range []int{accumulators, 8, 2, 1} {
		again, down, less := s.unique("columns"), s.unique("down"), s.unique("less")
		s.label(again)
		s.less(columns, n)
		s.branch("BLT ", less)
		p, left := s.gp(), s.gp()
		s.copy(p, x)
		s.copy(left, rows)
		acc := w.loads(mem{base: lanes}, max(1, n/2), n == 1)
		s.label(down)
		for j := 0; j < n; j += 8 {
			v := s.widened(mem{base: p, disp: j * s.size}, min(n, 8))
			each(v, func(i int) { w.add(acc[j/2+i], acc[j/2+i], v[i]) })
		}
		s.advance(p, ld)
		s.less(left, 1)
		s.branch("BNE ", down)
		w.stores(mem{base: lanes}, acc, n == 1)
		s.skip(lanes, 8*n)
		s.skip(x, s.size*n)
		s.branch("B ", again)
		s.label(less)
		s.more(columns, n)
		s.branch("BEQ ", "done")
	}
	s.label("done")
	s.stop()
}

// infinity is −∞ in every lane.
func (s shape) infinity() vec { return s.c(math.Inf(-1)) }

// maxima returns the largest element of n from x on, times scale if there is one, in every lane.
func (s shape) maxima(n, x gp, scale, low vec) vec {
	top := s.vecs(4)
	each(top, func(i int) { s.move(top[i], low) })
	s.span(n, 4, func(u int, one bool, at func(p gp) mem) {
		v := s.loads(at(x), u, one)
		if scale != nil {
			each(v, func(i int) { s.mul(v[i], v[i], scale) })
		}
		each(v, func(i int) { s.into(s.max, top[i], v[i], one) })
	})
	s.foldMax(top)
	return top[0]
}

// softmax of rows, in three passes.
func (s shape) softmax() {
	s.begin("softmax", "rows int", "cols int", "ld int", "dst *T", "x *T", "scale T")
	cols, dst, x, scale, low := s.arg("cols"), s.arg("dst"), s.arg("x"), s.scalar("scale"), s.infinity()
	next := s.eachRow(s.arg("rows"), s.arg("ld"), dst, x)
	top, sum := s.maxima(cols, x, scale, low), s.zeros(4)
	s.span(cols, 4, func(u int, one bool, at func(p gp) mem) {
		v := s.loads(at(x), u, one)
		each(v, func(i int) { s.mul(v[i], v[i], scale) })
		each(v, func(i int) { s.sub(v[i], v[i], top) })
		s.exp(v)
		s.stores(at(dst), v, one)
		each(v, func(i int) { s.into(s.add, sum[i], v[i], one) })
	})
	s.foldSum(sum)
	s.div(sum[0], s.c(1), sum[0])
	s.span(cols, 4, func(u int, one bool, at func(p gp) mem) {
		v := s.loads(at(dst), u, one)
		each(v, func(i int) { s.mul(v[i], v[i], sum[0]) })
		s.stores(at(dst), v, one)
	})
	next()
	s.stop()
}

// softmaxShort is no other function: a row that short would take half of the registers.
func (s shape) softmaxShort() {
	s.begin("softmaxShort", "rows int", "cols int", "ld int", "dst *T", "x *T", "scale T")
	s.op(fmt.Sprintf("B ·softmax%d(SB)", 8*s.size))
	s.finish()
}

func (s shape) softmaxGrad() {
	s.begin("softmaxGrad", "rows int", "cols int", "ld int", "dst *T", "y *T", "grad *T", "scale T")
	cols, dst, y, g, scale := s.arg("cols"), s.arg("dst"), s.arg("y"), s.arg("grad"), s.scalar("scale")
	next := s.eachRow(s.arg("rows"), s.arg("ld"), dst, y, g)
	dot := s.zeros(4)
	s.span(cols, 4, func(u int, one bool, at func(p gp) mem) {
		v, w := s.loads(at(y), u, one), s.loads(at(g), u, one)
		each(v, func(i int) { s.fmaInto(dot[i], v[i], w[i], one) })
	})
	s.foldSum(dot)
	s.span(cols, 4, func(u int, one bool, at func(p gp) mem) {
		v, w := s.loads(at(y), u, one), s.loads(at(g), u, one)
		each(v, func(i int) { s.sub(w[i], w[i], dot[0]) })
		each(v, func(i int) { s.mul(v[i], v[i], scale) })
		each(v, func(i int) { s.mul(v[i], v[i], w[i]) })
		s.stores(at(dst), v, one)
	})
	next()
	s.stop()
}

// logSumExp writes the maximum of n elements and the sum of e^(x − maximum).
func (s shape) logSumExp() {
	s.begin("logSumExp", "n int", "x *T", "top *T", "sum *T")
	n, x := s.arg("n"), s.arg("x")
	top, sum := s.maxima(n, x, nil, s.infinity()), s.zeros(4)
	s.span(n, 4, func(u int, one bool, at func(p gp) mem) {
		v := s.loads(at(x), u, one)
		each(v, func(i int) { s.sub(v[i], v[i], top) })
		s.exp(v)
		each(v, func(i int) { s.into(s.add, sum[i], v[i], one) })
	})
	s.foldSum(sum)
	s.access(store, s.size, mem{base: s.arg("top")}, top)
	s.access(store, s.size, mem{base: s.arg("sum")}, sum[0])
	s.stop()
}

// moments returns mean (0 if rms is not 0) and 1/√(mean square deviation + eps) of a row in every lane.
func (s shape) moments(cols, x, rms gp, part, eps vec) (mean, inv vec) {
	square := s.unique("square")
	sum, sq := s.zeros(4), s.zeros(4)
	s.branch("CBNZ R%d, ", square, rms)
	s.span(cols, 4, func(u int, one bool, at func(p gp) mem) {
		v := s.loads(at(x), u, one)
		each(v, func(i int) { s.into(s.add, sum[i], v[i], one) })
	})
	s.foldSum(sum)
	s.mul(sum[0], sum[0], part)
	s.label(square)
	s.span(cols, 4, func(u int, one bool, at func(p gp) mem) {
		v := s.loads(at(x), u, one)
		each(v, func(i int) { s.sub(v[i], v[i], sum[0]) })
		each(v, func(i int) { s.fmaInto(sq[i], v[i], v[i], one) })
	})
	s.foldSum(sq)
	inv = s.vec()
	s.move(inv, eps)
	s.fma(inv, sq[0], part)
	s.sqrt(inv, inv)
	s.div(inv, s.c(1), inv)
	return sum[0], inv
}

// normalize: stats, two a row, may be nil; part is 1/cols.
func (s shape) normalize() {
	s.begin("normalize", "rows int", "cols int", "dst *T", "x *T", "stats *T", "part T", "eps T", "rms int")
	cols, dst, x, stats, rms := s.arg("cols"), s.arg("dst"), s.arg("x"), s.arg("stats"), s.arg("rms")
	part, eps := s.scalar("part"), s.scalar("eps")
	next := s.eachRow(s.arg("rows"), cols, dst, x)
	mean, inv := s.moments(cols, x, rms, part, eps)
	s.span(cols, 4, func(u int, one bool, at func(p gp) mem) {
		v := s.loads(at(x), u, one)
		each(v, func(i int) { s.sub(v[i], v[i], mean) })
		each(v, func(i int) { s.mul(v[i], v[i], inv) })
		s.stores(at(dst), v, one)
	})
	none := s.unique("none")
	s.branch("CBZ R%d, ", none, stats)
	s.access(store, s.size, mem{base: stats}, mean)
	s.access(store, s.size, mem{base: stats, disp: s.size}, inv)
	s.skip(stats, 2*s.size)
	s.label(none)
	next()
	s.stop()
}

func (s shape) normalizeGrad() {
	s.begin("normalizeGrad", "rows int", "cols int", "dst *T", "x *T", "grad *T", "part T", "eps T", "rms int")
	cols, dst, x, g, rms := s.arg("cols"), s.arg("dst"), s.arg("x"), s.arg("grad"), s.arg("rms")
	part, eps := s.scalar("part"), s.scalar("eps")
	next := s.eachRow(s.arg("rows"), cols, dst, x, g)
	mean, inv := s.moments(cols, x, rms, part, eps)
	sum, dot := s.zeros(4), s.zeros(4)
	operands := func(u int, one bool, at func(p gp) mem) (y, w []vec) {
		y, w = s.loads(at(x), u, one), s.loads(at(g), u, one)
		each(y, func(i int) { s.sub(y[i], y[i], mean) })
		each(y, func(i int) { s.mul(y[i], y[i], inv) })
		return y, w
	}
	s.span(cols, 4, func(u int, one bool, at func(p gp) mem) {
		y, w := operands(u, one, at)
		each(y, func(i int) { s.into(s.add, sum[i], w[i], one) })
		each(y, func(i int) { s.fmaInto(dot[i], y[i], w[i], one) })
	})
	s.foldSum(sum)
	s.foldSum(dot)
	s.mul(sum[0], sum[0], part)
	s.mul(dot[0], dot[0], part)
	centred := s.unique("centred")
	s.branch("CBZ R%d, ", centred, rms)
	s.zero(sum[0])
	s.label(centred)
	s.span(cols, 4, func(u int, one bool, at func(p gp) mem) {
		y, w := operands(u, one, at)
		each(y, func(i int) { s.sub(w[i], w[i], sum[0]) })
		each(y, func(i int) { s.fms(w[i], y[i], dot[0]) })
		each(y, func(i int) { s.mul(w[i], w[i], inv) })
		s.stores(at(dst), w, one)
	})
	next()
	s.stop()
}

// gating writes rows > 0 rows of dst = f(matrices, vectors), which f leaves in the first of the matrices; the vectors are
// the same for every row.
func (s shape) gating(name string, matrices, vectors []string, f func(m, v [][]vec)) {
	params, names := []string{"rows int", "cols int", "dst *T"}, append(matrices, vectors...)
	for _, n := range names {
		params = append(params, n+" *T")
	}
	s.begin(name, params...)
	cols, dst, pointers := s.arg("cols"), s.arg("dst"), []gp{}
	for _, n := range names {
		pointers = append(pointers, s.arg(n))
	}
	next := s.eachRow(s.arg("rows"), cols, append([]gp{dst}, pointers[:len(matrices)]...)...)
	s.span(cols, 4, func(u int, one bool, at func(p gp) mem) {
		var x [][]vec
		for _, p := range pointers {
			x = append(x, s.loads(at(p), u, one))
		}
		f(x[:len(matrices)], x[len(matrices):])
		s.stores(at(dst), x[0], one)
	})
	next()
	s.stop()
}
