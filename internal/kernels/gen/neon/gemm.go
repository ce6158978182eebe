package main

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
)

const (
	// Six rows of four vectors are 24 sums, which keep four units with a latency of four cycles busy; beside them six registers hold
	// elements of a, where it is, and two a part of a row of b. Four steps are then 96 multiplications in 117 instructions, 14 of which
	// load. Eight rows of three vectors would load a little less, but only if a were packed, and a panel of four vectors is a line of
	// the cache.
	tileRows    = 6
	tileVectors = 4
	unroll      = 4 // steps of k in a pass
)

func gemm(a *asm) {
	for _, s := range []shape{{a, 4}, {a, 8}} {
		for rows := 1; rows <= tileRows; rows++ {
			s.tile(rows, true)
			s.tile(rows, false)
		}
		s.transpose()
		s.panels()
	}
}

// tile writes C[rows × 4 vectors] = A·B in the low columns of mask, or unless add is 0, D + A·B; D, at from, may be C, and with
// ldd = 0 it is one row. Strides are in bytes; a row of B stands at b + l·sb. With byRow, element (i, l) of A is at a + i·sa + l
// elements (row-major), else at a + l·sa + i elements (k-major).
func (s shape) tile(rows int, byRow bool) {
	name := map[bool]string{true: "tileRow", false: "tileCol"}[byRow]
	s.begin(name, "k int", "a *T", "sa int", "b *T", "sb int", "c *T", "ldc int", "mask uint32", "add uint32", "from *T", "ldd int")
	s.name = fmt.Sprint(s.name, "neonx", rows)
	k, sa, b, sb := s.arg("k"), s.arg("sa"), s.arg("b"), s.arg("sb")
	at := []gp{s.arg("a")}
	index := s.gp()
	if byRow {
		for i := 1; i < rows; i++ {
			at = append(at, s.offset(sa, at[i-1]))
		}
		s.clear(index)
	}
	acc := make([][]vec, rows)
	for i := range acc {
		acc[i] = s.zeros(tileVectors)
	}
	// step adds a row of B times elements of A, of which the i-th is in a lane of element(i).
	step := func(element func(i int) (v vec, lane int)) {
		for j := 0; j < tileVectors; j += 2 {
			v := s.vecs(2)
			s.pair(load, mem{base: b, disp: 16 * j}, v[0], v[1])
			for i := range acc {
				x, lane := element(i)
				s.fmaLane(acc[i][j], v[0], x, lane)
				s.fmaLane(acc[i][j+1], v[1], x, lane)
			}
		}
		s.advance(b, sb)
	}
	rowSteps := func(n int) {
		for n > 0 {
			take := min(n, s.lanes())
			x := s.vecs(rows)
			each(x, func(i int) { s.access(load, take*s.size, mem{base: at[i], index: index}, x[i]) })
			for l := range take {
				step(func(i int) (vec, int) { return x[i], l })
			}
			s.skip(index, take*s.size)
			n -= take
		}
	}
	colSteps := func(n int) {
		for range n {
			x, first := []vec{}, []int{} // vectors of elements of A, and which the first of each is
			for i := 0; i < rows; {
				take := s.lanes()
				for take > rows-i {
					take /= 2
				}
				x, first = append(x, s.vec()), append(first, i)
				s.access(load, take*s.size, mem{base: at[0], disp: s.size * i}, x[len(x)-1])
				i += take
			}
			step(func(i int) (vec, int) {
				v := len(first) - 1
				for first[v] > i {
					v--
				}
				return x[v], i - first[v]
			})
			s.advance(at[0], sa)
		}
	}
	steps := rowSteps
	if !byRow {
		steps = colSteps
	}
	s.less(k, unroll)
	s.branch("BLT ", "tail")
	s.label("loop")
	steps(unroll)
	s.less(k, unroll)
	s.branch("BGE ", "loop")
	s.label("tail")
	s.more(k, unroll)
	s.branch("BEQ ", "store")
	s.label("one")
	steps(1)
	s.less(k, 1)
	s.branch("BNE ", "one")
	s.label("store")
	s.storeTile(acc)
	s.finish()
}

// storeTile ends a tile. What is in whole tiles an addition or nothing is in others always an addition: without D, of −0, which
// changes no number.
func (s shape) storeTile(acc [][]vec) {
	c, ldc, columns, add, from, ldd := s.arg("c"), s.arg("ldc"), s.columns(), s.arg("add"), s.arg("from"), s.arg("ldd")
	s.op(fmt.Sprintf("CMP $%d, R%%d", tileVectors*s.lanes()), columns)
	s.branch("BNE ", "part")
	s.branch("CBZ R%d, ", "set", add)
	for i := range acc {
		d := s.loads(mem{base: from}, tileVectors, false)
		each(d, func(j int) { s.add(acc[i][j], acc[i][j], d[j]) })
		s.stores(mem{base: c}, acc[i], false)
		s.advance(c, ldc)
		s.advance(from, ldd)
	}
	s.op("RET")
	s.label("set")
	for i := range acc {
		s.stores(mem{base: c}, acc[i], false)
		s.advance(c, ldc)
	}
	s.op("RET")
	s.label("part")
	s.branch("CBNZ R%d, ", "rows", add)
	s.nothing(from)
	s.clear(ldd)
	s.label("rows")
	for i, v := range acc {
		to, more := s.gp(), s.gp()
		s.copy(to, c)
		s.copy(more, from)
		// The bits of the number of columns, from the highest that can be set: what they stand for is stored, and the rest moves up.
		for bytes := 16 * tileVectors / 2; bytes >= s.size; bytes /= 2 {
			next := s.unique("next")
			s.branch(fmt.Sprintf("TBZ $%d, R%%d, ", log2(bytes/s.size)), next, columns)
			n := max(1, bytes/16)
			d := s.vecs(n)
			each(d, func(j int) {
				s.access(load, min(bytes, 16), mem{base: more, disp: 16 * j}, d[j])
				s.add(d[j], v[j], d[j])
				s.access(store, min(bytes, 16), mem{base: to, disp: 16 * j}, d[j])
			})
			if bytes > s.size {
				if bytes < 16 {
					s.upper(v[0], v[0])
				} else {
					each(d, func(j int) { s.move(v[j], v[n+j]) })
				}
				s.skip(to, bytes)
				s.skip(more, bytes)
			}
			s.label(next)
		}
		if i < len(acc)-1 {
			s.advance(c, ldc)
			s.advance(from, ldd)
		}
	}
	s.op("RET")
}

// nothing sets p to the address of a row of −0, as many as the columns of a tile.
func (s shape) nothing(p gp) {
	zero := s.half(math.Copysign(0, -1))
	at := slices.Index(s.pool, zero)
	if at < 0 {
		at = len(s.pool)
		s.pool = append(s.pool, slices.Repeat([]uint64{zero}, tileVectors)...)
	}
	s.op(fmt.Sprintf("MOVD $constants<>+%d(SB), R%%d", 16*at), p)
}

func log2(n int) int { return bits.Len(uint(n)) - 1 }

// transpose: dst[pitch·l + i] = src[i·ld + l] for i < 2·lanes and l < k, pitch and ld in bytes, where rows from the last on are the
// last; mask is of no use.
func (s shape) transpose() {
	s.begin("transpose", "k int", "src *T", "ld int", "rows int", "dst *T", "pitch int", "mask uint32")
	s.name += "neon"
	k, src, ld, rows, dst, pitch := s.arg("k"), s.arg("src"), s.arg("ld"), s.arg("rows"), s.arg("dst"), s.arg("pitch")
	n := 2 * s.lanes()
	at := []gp{src}
	for i := 1; i < n; i++ {
		s.op(fmt.Sprintf("CMP $%d, R%%d", i), rows)
		s.op("CSEL GT, R%d, ZR, R%d", ld, ld)
		at = append(at, s.offset(ld, at[i-1]))
	}
	index := s.gp()
	s.clear(index)
	s.less(k, s.lanes())
	s.branch("BLT ", "tail")
	s.label("whole")
	x := s.vecs(n)
	each(x, func(i int) { s.access(load, 16, mem{base: at[i], index: index}, x[i]) })
	lower, upper := s.square(x[:s.lanes()]), s.square(x[s.lanes():])
	for l := range lower {
		s.pair(store, mem{base: dst}, lower[l], upper[l])
		s.advance(dst, pitch)
	}
	s.skip(index, 16)
	s.less(k, s.lanes())
	s.branch("BGE ", "whole")
	s.label("tail")
	s.more(k, s.lanes())
	s.branch("BEQ ", "done")
	s.label("one")
	x = s.vecs(n)
	each(x, func(i int) { s.access(load, s.size, mem{base: at[i], index: index}, x[i]) })
	each(x, func(i int) { s.access(store, s.size, mem{base: dst, disp: s.size * i}, x[i]) })
	s.advance(dst, pitch)
	s.skip(index, s.size)
	s.less(k, 1)
	s.branch("BNE ", "one")
	s.label("done")
	s.stop()
}

// square transposes as many vectors as they have lanes.
func (s shape) square(x []vec) []vec {
	t := s.vecs(len(x))
	for i := 0; i < len(x); i += 2 {
		s.even(t[i], x[i], x[i+1])
		s.odd(t[i+1], x[i], x[i+1])
	}
	if s.size == 8 {
		return t
	}
	y, wide := s.vecs(len(x)), shape{s.asm, 8}
	for i := range 2 {
		wide.even(y[i], t[i], t[2+i])
		wide.odd(y[2+i], t[i], t[2+i])
	}
	return y
}

// panels copies k rows, one or four, of a matrix into count panels, step bytes apart, of rows of pitch bytes, which are whole lines
// if mask is; else into one panel, in the low columns of mask.
func (s shape) panels() {
	s.begin("panels", "k int", "src *T", "ld int", "dst *T", "pitch int", "count int", "step int", "mask uint32")
	s.name += "neon"
	k, src, ld, dst, pitch, columns := s.arg("k"), s.arg("src"), s.arg("ld"), s.arg("dst"), s.arg("pitch"), s.columns()
	s.op(fmt.Sprintf("CMP $%d, R%%d", tileVectors*s.lanes()), columns)
	s.branch("BNE ", "part")
	count, step := s.arg("count"), s.arg("step")
	pass := func(rows int) {
		from, to := src, dst
		for u := range rows {
			s.stores(mem{base: to}, s.loads(mem{base: from}, tileVectors, false), false)
			if u < rows-1 {
				from, to = s.offset(ld, from), s.offset(pitch, to)
			}
		}
		s.advance(src, pitch)
		s.advance(dst, step)
		s.less(count, 1)
	}
	s.op("CMP $4, R%d", k)
	s.branch("BNE ", "one")
	s.label("four")
	pass(4)
	s.branch("BNE ", "four")
	s.op("RET")
	s.label("one")
	pass(1)
	s.branch("BNE ", "one")
	s.op("RET")
	s.label("part")
	index, left, v := s.gp(), s.gp(), s.vec()
	s.clear(index) // a row begins
	s.copy(left, columns)
	s.label("element")
	s.access(load, s.size, mem{base: src, index: index}, v)
	s.access(store, s.size, mem{base: dst, index: index}, v)
	s.skip(index, s.size)
	s.less(left, 1)
	s.branch("BNE ", "element")
	s.advance(src, ld)
	s.advance(dst, pitch)
	s.less(k, 1)
	s.branch("BNE ", "part")
	s.stop()
}

// columns is the number of low bits of mask.
func (s shape) columns() gp {
	n := s.arg("mask")
	s.op("CLZ R%d, R%d", n, n)
	s.op("NEG R%d, R%d", n, n)
	s.skip(n, 64)
	return n
}
