package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

func rows() {
	for _, s := range []shape{{4, 64}, {8, 64}, {4, 32}, {8, 32}} {
		s.sum(false)
		s.sum(true)
		s.columns()
		s.softmax()
		if s.bytes == 64 { // eight vectors of AVX2 would take half of its registers
			s.softmaxShort()
			kernels[len(kernels)-1].avx2 = shape{s.size, 32}.name("softmax")
		}
		s.softmaxGrad()
		s.logSumExp()
		s.normalize()
		s.normalizeGrad()
		s.gating("gate", []string{"x"}, []string{"s"}, func(m, v [][]vec) {
			each(m[0], func(i int) { s.mul(v[0][i], m[0][i], m[0][i]) })
		})
		s.gating("gateAdd", []string{"h", "x"}, []string{"s"}, func(m, v [][]vec) {
			each(m[0], func(i int) { s.fma231(v[0][i], m[1][i], m[0][i]) })
		})
		s.gating("modulate", []string{"x"}, []string{"s", "t"}, func(m, v [][]vec) {
			each(m[0], func(i int) { s.fma213(m[0][i], m[0][i], v[0][i]) })
			each(m[0], func(i int) { s.add(v[1][i], v[0][i], m[0][i]) })
		})
	}
	for _, s := range []shape{{4, 64}, {8, 64}, {4, 32}, {8, 32}} {
		s.softmaxColumns()
		s.softmaxGradColumns()
	}
}

// Exact sums have 32 accumulators of float64, number j for the elements j modulo 32.
const accumulators = 32

// wide is the shape of their vectors.
func (s shape) wide() shape { return shape{8, s.bytes} }

// widen loads a vector of wide from m as float64, zero in the lanes that k leaves out.
func (s shape) widen(m Mem, k Op, v vec) {
	switch w := s.wide(); {
	case s.size == 8:
		w.load(m, k, v)
	case k == nil:
		VCVTPS2PD(m, v)
	case s.bytes == 64:
		VCVTPS2PD_Z(m, k, v)
	default:
		VMASKMOVPS(m, k, v.AsX())
		VCVTPS2PD(v.AsX(), v)
	}
}

// groups makes masks of the first n ≤ 32 elements for each vector of wide; with AVX2 they are made as they are asked for.
func (s shape) groups(n gp) func(i int) Op {
	if s.bytes == 64 {
		return opmasks(n)
	}
	p := edge()
	NEGQ(n)
	LEAQ(Mem{Base: p, Index: n, Scale: uint8(s.size)}, p)
	return func(i int) Op {
		k, m := s.new(), Mem{Base: p, Disp: s.size * s.wide().lanes() * i}
		if s.size == 8 {
			VMOVUPD(m, k)
			return k
		}
		VMOVUPS(m, k.AsX())
		return k.AsX()
	}
}

// opmasks splits the low 32 bits of m in four masks of eight.
func opmasks(m gp) func(i int) Op {
	ks := []mask{K(), K(), K(), K()}
	for i, k := range ks {
		if i > 0 {
			SHRL(U8(8), m.As32())
		}
		KMOVB(m.As32(), k)
	}
	return func(i int) Op { return ks[i] }
}

// accumulate loads the accumulators from p; finish stores them.
func (s shape) accumulate(p gp) (acc []vec, finish func()) {
	acc = s.wide().news(accumulators / s.wide().lanes())
	each(acc, func(i int) { VMOVUPD(Mem{Base: p, Disp: s.bytes * i}, acc[i]) })
	return acc, func() {
		each(acc, func(i int) { VMOVUPD(acc[i], Mem{Base: p, Disp: s.bytes * i}) })
		stop()
	}
}

// sum adds n elements, or products, to the accumulators at lanes.
func (s shape) sum(dot bool) {
	name, params := "sum", []string{"n", "lanes", "x"}
	sig := fmt.Sprintf("func(n int, lanes *float64, x *%s)", s.elem())
	if dot {
		name, params = "dot", append(params, "y")
		sig = fmt.Sprintf("func(n int, lanes *float64, x, y *%s)", s.elem())
	}
	r := s.begin(name, sig, params...)
	n, step := r[0], s.size*s.wide().lanes()
	acc, finish := s.accumulate(r[1])
	add := func(mask func(i int) Op) {
		for i := range acc {
			var k Op
			if mask != nil {
				k = mask(i)
			}
			v := s.new()
			s.widen(Mem{Base: r[2], Disp: step * i}, k, v)
			if dot {
				w := s.new()
				s.widen(Mem{Base: r[3], Disp: step * i}, k, w)
				VMULPD(w, v, v)
			}
			VADDPD(v, acc[i], acc[i])
		}
	}
	SUBQ(U8(accumulators), n)
	JL(LabelRef("tail"))
	Label("loop")
	add(nil)
	for _, p := range r[2:] {
		ADDQ(U32(uint32(accumulators*s.size)), p)
	}
	SUBQ(U8(accumulators), n)
	JGE(LabelRef("loop"))
	Label("tail")
	ADDQ(U8(accumulators), n)
	JZ(LabelRef("done"))
	if s.bytes == 64 {
		m := GP64()
		MOVL(U32(0xffffffff), m.As32())
		BZHIL(n.As32(), m.As32(), m.As32())
		n = m
	}
	add(s.groups(n))
	Label("done")
	finish()
}

// columns adds rows > 0 rows, ld bytes apart, of up to 32 columns (mask) to the accumulators at lanes.
func (s shape) columns() {
	r := s.begin("columns", fmt.Sprintf("func(rows int, lanes *float64, x *%s, ld int, mask int)", s.elem()),
		"rows", "lanes", "x", "ld", "mask")
	acc, finish := s.accumulate(r[1])
	loop := func(name string, mask func(i int) Op) {
		Label(name)
		for i := range acc {
			var k Op
			if mask != nil {
				k = mask(i)
			}
			v := s.new()
			s.widen(Mem{Base: r[2], Disp: s.size * s.wide().lanes() * i}, k, v)
			VADDPD(v, acc[i], acc[i])
		}
		ADDQ(r[3], r[2])
		DECQ(r[0])
		JNZ(LabelRef(name))
	}
	if s.bytes == 32 {
		POPCNTQ(r[4], r[4])
		CMPQ(r[4], U8(accumulators))
		JE(LabelRef("whole"))
		loop("part", s.groups(r[4]))
		JMP(LabelRef("done"))
		Label("whole")
		loop("wholeRow", nil)
		Label("done")
		finish()
		return
	}
	loop("loop", s.groups(r[4]))
	finish()
}

// eachRow begins a loop over rows > 0 rows; next ends it, moving each pointer on by ld elements.
func (s shape) eachRow(count, ld gp, pointers ...gp) (next func()) {
	loop, width := label("row"), GP64()
	MOVQ(ld, width)
	SHLQ(U8(map[int]uint8{4: 2, 8: 3}[s.size]), width)
	Label(loop)
	return func() {
		for _, p := range pointers {
			ADDQ(width, p)
		}
		DECQ(count)
		JNZ(LabelRef(loop))
	}
}

func (s shape) zeros(n int) []vec {
	v := s.news(n)
	each(v, func(i int) { s.zero(v[i]) })
	return v
}

// infinity loads −∞ in every lane.
func (s shape) infinity() vec {
	v := s.new()
	if s.size == 8 {
		s.broadcast(bits64(0xfff0000000000000), v)
	} else {
		s.broadcast(bits32(0xff800000), v)
	}
	return v
}

// softmax of rows of any length, in three passes.
func (s shape) softmax() {
	r := s.begin("softmax", fmt.Sprintf("func(rows, cols, ld int, dst, x *%[1]s, scale %[1]s)", s.elem()),
		"rows", "cols", "ld", "dst", "x")
	cols, ld, dst, x := r[1], r[2], r[3], r[4]
	scale, low := s.scalar("scale"), s.infinity()
	s.loadExp()
	s.consts(1)
	u := pick(s, 2, 1)
	next := s.eachRow(r[0], ld, dst, x)
	top, sum := s.news(4), s.zeros(2)
	each(top, func(i int) { s.move(low, top[i]) })
	s.span(cols, 4, func(u int, k Op, at func(p gp, i int) Mem) {
		v := s.news(u)
		each(v, func(i int) { s.load(at(x, i), k, v[i]) })
		each(v, func(i int) { s.mul(scale, v[i], v[i]) })
		each(v, func(i int) { s.into(s.max, v[i], k, top[i]) })
	})
	s.fold(top, s.max)
	s.span(cols, u, func(u int, k Op, at func(p gp, i int) Mem) {
		v := s.news(u)
		each(v, func(i int) { s.load(at(x, i), k, v[i]) })
		each(v, func(i int) { s.mul(scale, v[i], v[i]) })
		each(v, func(i int) { s.sub(top[0], v[i], v[i]) })
		s.exp(v)
		each(v, func(i int) { s.store(v[i], k, at(dst, i)) })
		each(v, func(i int) { s.into(s.add, v[i], k, sum[i]) })
	})
	s.fold(sum, s.add)
	s.div(sum[0], s.reg(1), sum[0])
	s.span(cols, 4, func(u int, k Op, at func(p gp, i int) Mem) {
		v := s.news(u)
		each(v, func(i int) { s.load(at(dst, i), k, v[i]) })
		each(v, func(i int) { s.mul(sum[0], v[i], v[i]) })
		each(v, func(i int) { s.store(v[i], k, at(dst, i)) })
	})
	next()
	stop()
}

// softmaxShort does rows of up to four vectors (two of float64) in registers. It touches no vector beyond a row: in place even a
// store of nothing would keep the next row waiting.
func (s shape) softmaxShort() {
	r := s.begin("softmaxShort", fmt.Sprintf("func(rows, cols, ld int, dst, x *%[1]s, scale %[1]s)", s.elem()),
		"rows", "cols", "ld", "dst", "x")
	rows, cols, ld, dst, x := r[0], r[1], r[2], r[3], r[4]
	scale, low, none := s.scalar("scale"), s.infinity(), s.zeros(1)[0]
	s.loadExp()
	s.consts(1)
	most := pick(s, 4, 2)
	for n := 1; n <= most; n++ {
		Label(fmt.Sprint("vectors", n))
		if n < most {
			CMPQ(cols, U8(uint8(n*s.lanes())))
			JG(LabelRef(fmt.Sprint("vectors", n+1)))
		}
		v, left, k := s.news(n), GP64(), K()
		last := v[n-1]
		LEAQ(Mem{Base: cols, Disp: (1 - n) * s.lanes()}, left)
		s.low(left, k)
		total := func(op func(...Op), neutral vec) vec {
			t := s.news([]int{1, 2, 4, 4}[n-1])
			each(t, func(i int) {
				if i < n {
					s.move(v[i], t[i])
				} else {
					s.move(neutral, t[i])
				}
			})
			s.fold(t, op)
			return t[0]
		}
		next := s.eachRow(rows, ld, dst, x)
		s.move(low, last)
		each(v[:n-1], func(i int) { s.mul(Mem{Base: x, Disp: 64 * i}, scale, v[i]) })
		s.mul(Mem{Base: x, Disp: 64 * (n - 1)}, scale, k, last)
		top := total(s.max, low)
		each(v, func(i int) { s.sub(top, v[i], v[i]) })
		s.exp(v)
		// Where every element is −∞, so are the lanes beyond the row, and −∞ − −∞ is NaN in all of them, as it should be.
		sum := total(s.add, none)
		s.div(sum, s.reg(1), sum)
		each(v, func(i int) { s.mul(sum, v[i], v[i]) })
		each(v[:n-1], func(i int) { s.move(v[i], Mem{Base: dst, Disp: 64 * i}) })
		s.move(last, k, Mem{Base: dst, Disp: 64 * (n - 1)})
		next()
		stop()
	}
}

func (s shape) softmaxGrad() {
	r := s.begin("softmaxGrad", fmt.Sprintf("func(rows, cols, ld int, dst, y, grad *%[1]s, scale %[1]s)", s.elem()),
		"rows", "cols", "ld", "dst", "y", "grad")
	cols, ld, dst, y, g := r[1], r[2], r[3], r[4], r[5]
	scale := s.scalar("scale")
	next := s.eachRow(r[0], ld, dst, y, g)
	dot := s.zeros(4)
	s.span(cols, 4, func(u int, k Op, at func(p gp, i int) Mem) {
		v, w := s.news(u), s.news(u)
		each(v, func(i int) { s.load(at(y, i), k, v[i]) })
		each(v, func(i int) { s.load(at(g, i), k, w[i]) })
		each(v, func(i int) { s.fma231(w[i], v[i], dot[i]) })
	})
	s.fold(dot, s.add)
	s.span(cols, 4, func(u int, k Op, at func(p gp, i int) Mem) {
		v, w := s.news(u), s.news(u)
		each(v, func(i int) { s.load(at(y, i), k, v[i]) })
		each(v, func(i int) { s.load(at(g, i), k, w[i]) })
		each(v, func(i int) { s.sub(dot[0], w[i], w[i]) })
		each(v, func(i int) { s.mul(scale, v[i], v[i]) })
		each(v, func(i int) { s.mul(w[i], v[i], v[i]) })
		each(v, func(i int) { s.store(v[i], k, at(dst, i)) })
	})
	next()
	stop()
}

// eachColumn begins a loop over vectors of columns of some matrices; down walks down their rows, ld bytes apart, four at a time
// and then one at a time. next ends the loop.
func (s shape) eachColumn(vectors, rows, ld gp, matrices ...gp) (down func(body func(u int, at func(j, i int) Mem)), next func()) {
	column, ld3 := label("column"), GP64()
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	Label(column)
	down = func(body func(u int, at func(j, i int) Mem)) {
		loop, tail, one, done, left := label("down"), label("tail"), label("one"), label("done"), GP64()
		var p []gp
		for _, m := range matrices {
			p = append(p, GP64())
			MOVQ(m, p[len(p)-1])
		}
		at := func(j, i int) Mem {
			m := Mem{Base: p[j]}
			if i > 0 {
				m.Index, m.Scale = []gp{ld, ld, ld, ld3}[i], []uint8{0, 1, 2, 1}[i]
			}
			return m
		}
		MOVQ(rows, left)
		SUBQ(U8(4), left)
		JL(LabelRef(tail))
		Label(loop)
		body(4, at)
		for _, p := range p {
			LEAQ(Mem{Base: p, Index: ld, Scale: 4}, p)
		}
		SUBQ(U8(4), left)
		JGE(LabelRef(loop))
		Label(tail)
		ADDQ(U8(4), left)
		JZ(LabelRef(done))
		Label(one)
		body(1, at)
		for _, p := range p {
			ADDQ(ld, p)
		}
		DECQ(left)
		JNZ(LabelRef(one))
		Label(done)
	}
	return down, func() {
		for _, m := range matrices {
			ADDQ(U8(uint8(s.bytes)), m)
		}
		DECQ(vectors)
		JNZ(LabelRef(column))
	}
}

// prefetching returns a function that asks for the next n lines of the cache from a pointer on, to the second level: what is
// needed soon comes while the arithmetic of a loop leaves the memory idle.
func prefetching(p gp) func(n int) {
	return func(n int) {
		for i := range n {
			PREFETCHT1(Mem{Base: p, Disp: 64 * i})
		}
		ADDQ(U32(uint32(64*n)), p)
	}
}

// softmaxColumns: softmax of scale·x down whole vectors of columns, in place, where base2 = scale·log2(e). What it sums is 2^most
// times what it should be, so that what is too small for a normal number loses nothing before the division. It prefetches a line
// from ahead on for every vector.
func (s shape) softmaxColumns() {
	const most = 64
	r := start(s.name("softmaxColumns"), fmt.Sprintf("func(rows, vectors, ld int, x *%[1]s, base2 %[1]s, ahead *%[1]s)", s.elem()),
		"rows", "vectors", "ld", "x", "ahead")
	x, prefetch := r[3], prefetching(r[4])
	lowest := pick(s, -126., -1022.) - most
	s.consts(1, lowest, s.shifter(-most))
	s.consts(s.series().Two...)
	down, next := s.eachColumn(r[1], r[0], r[2], x)
	tops, sum := s.news(4), s.zeros(1)[0]
	each(tops, func(i int) { s.move(Mem{Base: x}, tops[i]) })
	down(func(u int, at func(j, i int) Mem) {
		each(tops[:u], func(i int) { s.max(at(0, i), tops[i], tops[i]) })
	})
	top := s.gather(tops, s.max)
	down(func(u int, at func(j, i int) Mem) {
		// With AVX2 a constant is loaded once for all the vectors, which leave it one register.
		prefetch(u)
		t, n, p := s.news(u), s.news(u), s.news(u)
		each(t, func(i int) { s.move(at(0, i), t[i]) })
		each(t, func(i int) { s.sub(top, t[i], t[i]) })
		base2 := s.scalar("base2")
		each(t, func(i int) { s.mul(base2, t[i], t[i]) })
		low := s.reg(lowest)
		each(t, func(i int) { s.max(t[i], low, t[i]) }) // keeps a NaN
		each(t, func(i int) { s.round(t[i], n[i]) })
		each(t, func(i int) { s.sub(n[i], t[i], t[i]) })
		cs := s.series().Two
		first, second := s.reg(cs[0]), s.reg(cs[1])
		each(t, func(i int) { s.move(second, p[i]) })
		each(t, func(i int) { s.fma231(first, t[i], p[i]) })
		for _, c := range cs[2:] {
			c := s.reg(c)
			each(t, func(i int) { s.fma213(c, t[i], p[i]) })
		}
		s.power(n, -most)
		each(t, func(i int) { s.mul(n[i], p[i], t[i]) })
		each(t, func(i int) { s.move(t[i], at(0, i)) })
		each(t, func(i int) { s.add(t[i], sum, sum) })
	})
	s.div(sum, s.reg(1), sum)
	down(func(u int, at func(j, i int) Mem) {
		v := s.news(u)
		each(v, func(i int) { s.mul(at(0, i), sum, v[i]) })
		each(v, func(i int) { s.move(v[i], at(0, i)) })
	})
	next()
	stop()
}

// softmaxGradColumns is softmaxGrad down whole vectors of columns, in place of the gradient. It prefetches as softmaxColumns does.
func (s shape) softmaxGradColumns() {
	r := start(s.name("softmaxGradColumns"), fmt.Sprintf("func(rows, vectors, ld int, y, grad *%[1]s, scale %[1]s, ahead *%[1]s)", s.elem()),
		"rows", "vectors", "ld", "y", "grad", "ahead")
	scale, prefetch := s.scalar("scale"), prefetching(r[5])
	down, next := s.eachColumn(r[1], r[0], r[2], r[3], r[4])
	dot := s.zeros(4)
	down(func(u int, at func(j, i int) Mem) {
		prefetch(u)
		v := s.news(u)
		each(v, func(i int) { s.move(at(0, i), v[i]) })
		each(v, func(i int) { s.fma231(at(1, i), v[i], dot[i]) })
	})
	s.gather(dot, s.add)
	down(func(u int, at func(j, i int) Mem) {
		v, w := s.news(u), s.news(u)
		each(v, func(i int) { s.move(at(1, i), v[i]) })
		each(v, func(i int) { s.sub(dot[0], v[i], v[i]) })
		each(v, func(i int) { s.mul(at(0, i), scale, w[i]) })
		each(v, func(i int) { s.mul(w[i], v[i], v[i]) })
		each(v, func(i int) { s.move(v[i], at(1, i)) })
	})
	next()
	stop()
}

// logSumExp writes the maximum of n elements and the sum of e^(x − maximum).
func (s shape) logSumExp() {
	r := s.begin("logSumExp", fmt.Sprintf("func(n int, x, top, sum *%[1]s)", s.elem()), "n", "x", "top", "sum")
	low := s.infinity()
	s.loadExp()
	top, sum := s.news(4), s.zeros(2)
	each(top, func(i int) { s.move(low, top[i]) })
	s.span(r[0], 4, func(u int, k Op, at func(p gp, i int) Mem) {
		v := s.news(u)
		each(v, func(i int) { s.load(at(r[1], i), k, v[i]) })
		each(v, func(i int) { s.into(s.max, v[i], k, top[i]) })
	})
	s.fold(top, s.max)
	s.span(r[0], pick(s, 2, 1), func(u int, k Op, at func(p gp, i int) Mem) {
		v := s.news(u)
		each(v, func(i int) { s.load(at(r[1], i), k, v[i]) })
		each(v, func(i int) { s.sub(top[0], v[i], v[i]) })
		s.exp(v)
		each(v, func(i int) { s.into(s.add, v[i], k, sum[i]) })
	})
	s.fold(sum, s.add)
	s.first(top[0], Mem{Base: r[2]})
	s.first(sum[0], Mem{Base: r[3]})
	stop()
}

// first stores lane 0.
func (s shape) first(v vec, m Mem) { pick(s, VMOVSS, VMOVSD)(v.AsX(), m) }

// moments returns mean (0 if rms is not 0) and 1/√(mean square deviation + eps) of a row in every lane.
func (s shape) moments(cols, x, rms gp, part, eps vec) (mean, inv vec) {
	square, done := label("square"), label("mean")
	sum, sq := s.zeros(4), s.zeros(4)
	TESTQ(rms, rms)
	JNZ(LabelRef(square))
	s.span(cols, 4, func(u int, k Op, at func(p gp, i int) Mem) {
		v := s.news(u)
		each(v, func(i int) { s.load(at(x, i), k, v[i]) })
		each(v, func(i int) { s.add(v[i], sum[i], sum[i]) })
	})
	s.fold(sum, s.add)
	s.mul(part, sum[0], sum[0])
	JMP(LabelRef(done))
	Label(square)
	s.zero(sum[0])
	Label(done)
	s.span(cols, 4, func(u int, k Op, at func(p gp, i int) Mem) {
		v := s.news(u)
		each(v, func(i int) { s.load(at(x, i), k, v[i]) })
		each(v, func(i int) { s.sub(sum[0], v[i], v[i]) })
		each(v, func(i int) { s.fmaInto(v[i], v[i], k, sq[i]) })
	})
	s.fold(sq, s.add)
	s.fma213(eps, part, sq[0])
	s.sqrt(sq[0], sq[0])
	s.div(sq[0], s.reg(1), sq[0])
	return sum[0], sq[0]
}

// normalize: stats, two a row, may be nil; part is 1/cols.
func (s shape) normalize() {
	r := s.begin("normalize",
		fmt.Sprintf("func(rows, cols int, dst, x, stats *%[1]s, part, eps %[1]s, rms int)", s.elem()),
		"rows", "cols", "dst", "x", "stats", "rms")
	cols, dst, x, stats, rms := r[1], r[2], r[3], r[4], r[5]
	part, eps := s.scalar("part"), s.scalar("eps")
	s.consts(1)
	next := s.eachRow(r[0], cols, dst, x)
	mean, inv := s.moments(cols, x, rms, part, eps)
	s.span(cols, 4, func(u int, k Op, at func(p gp, i int) Mem) {
		v := s.news(u)
		each(v, func(i int) { s.load(at(x, i), k, v[i]) })
		each(v, func(i int) { s.sub(mean, v[i], v[i]) })
		each(v, func(i int) { s.mul(inv, v[i], v[i]) })
		each(v, func(i int) { s.store(v[i], k, at(dst, i)) })
	})
	none := label("none")
	TESTQ(stats, stats)
	JZ(LabelRef(none))
	s.first(mean, Mem{Base: stats})
	s.first(inv, Mem{Base: stats, Disp: s.size})
	ADDQ(U8(uint8(2*s.size)), stats)
	Label(none)
	next()
	stop()
}

func (s shape) normalizeGrad() {
	r := s.begin("normalizeGrad",
		fmt.Sprintf("func(rows, cols int, dst, x, grad *%[1]s, part, eps %[1]s, rms int)", s.elem()),
		"rows", "cols", "dst", "x", "grad", "rms")
	cols, dst, x, g, rms := r[1], r[2], r[3], r[4], r[5]
	part, eps := s.scalar("part"), s.scalar("eps")
	s.consts(1)
	next := s.eachRow(r[0], cols, dst, x, g)
	mean, inv := s.moments(cols, x, rms, part, eps)
	u := s.bytes / 16 // as the registers allow
	sum, dot := s.zeros(u), s.zeros(u)
	load := func(u int, k Op, at func(p gp, i int) Mem) (y, w []vec) {
		y, w = s.news(u), s.news(u)
		each(y, func(i int) { s.load(at(x, i), k, y[i]) })
		each(y, func(i int) { s.load(at(g, i), k, w[i]) })
		each(y, func(i int) { s.sub(mean, y[i], y[i]) })
		each(y, func(i int) { s.mul(inv, y[i], y[i]) })
		return y, w
	}
	s.span(cols, u, func(u int, k Op, at func(p gp, i int) Mem) {
		y, w := load(u, k, at)
		each(y, func(i int) { s.add(w[i], sum[i], sum[i]) })
		// A masked g is zero, but times an infinite mean would not be.
		each(y, func(i int) { s.fmaInto(w[i], y[i], k, dot[i]) })
	})
	s.fold(sum, s.add)
	s.fold(dot, s.add)
	s.mul(part, sum[0], sum[0])
	s.mul(part, dot[0], dot[0])
	centred := label("centred")
	TESTQ(rms, rms)
	JZ(LabelRef(centred))
	s.zero(sum[0])
	Label(centred)
	s.span(cols, 4, func(u int, k Op, at func(p gp, i int) Mem) {
		y, w := load(u, k, at)
		each(y, func(i int) { s.sub(sum[0], w[i], w[i]) })
		each(y, func(i int) { s.fnma231(dot[0], y[i], w[i]) })
		each(y, func(i int) { s.mul(inv, w[i], w[i]) })
		each(y, func(i int) { s.store(w[i], k, at(dst, i)) })
	})
	next()
	stop()
}

// gating writes rows > 0 rows of dst = f(matrices, vectors), which f leaves in the first of the matrices; the vectors are
// the same for every row.
func (s shape) gating(name string, matrices, vectors []string, f func(m, v [][]vec)) {
	names := append([]string{"dst"}, append(matrices, vectors...)...)
	sig := "func(rows, cols int"
	for _, n := range names {
		sig += fmt.Sprintf(", %s *%s", n, s.elem())
	}
	r := s.begin(name, sig+")", append([]string{"rows", "cols"}, names...)...)
	next := s.eachRow(r[0], r[1], r[2:3+len(matrices)]...)
	s.span(r[1], 4, func(u int, k Op, at func(p gp, i int) Mem) {
		var x [][]vec
		for j := range len(matrices) + len(vectors) {
			x = append(x, s.news(u))
			each(x[j], func(i int) { s.load(at(r[3+j], i), k, x[j][i]) })
		}
		f(x[:len(matrices)], x[len(matrices):])
		each(x[0], func(i int) { s.store(x[0][i], k, at(r[2], i)) })
	})
	next()
	stop()
}
