package main

import (
	"fmt"
	"math"
	"strings"
)

// begin starts a function for vectors of s; T in the type of a parameter is their element.
func (s shape) begin(base string, params ...string) {
	typed := make([]string, len(params))
	for i, p := range params {
		typed[i] = strings.ReplaceAll(p, "T", s.elem())
	}
	s.start(fmt.Sprint(base, 8*s.size), typed...)
}

func each(x []vec, f func(i int)) {
	for i := range x {
		f(i)
	}
}

// half is half a vector of one number.
func (s shape) half(c float64) uint64 {
	if s.size == 8 {
		return math.Float64bits(c)
	}
	return uint64(math.Float32bits(float32(c))) * (1 + 1<<32)
}

// c loads a constant into a new vector. There are hardly enough registers to keep constants in them, and the units that load are
// idle in arithmetic.
func (s shape) c(c float64) vec {
	v := s.vec()
	s.constant(s.half(c), v)
	return v
}

// copies loads a constant n times: for what an instruction overwrites, a load is as good as a move.
func (s shape) copies(c float64, n int) (v []vec) {
	for range n {
		v = append(v, s.c(c))
	}
	return v
}

func (s shape) zeros(n int) []vec {
	v := s.vecs(n)
	each(v, func(i int) { s.zero(v[i]) })
	return v
}

// scalar broadcasts a floating-point parameter.
func (s shape) scalar(name string) vec {
	v := s.vec()
	s.op(fmt.Sprintf("FMOV%s %s+%d(FP), F%%d", pick(s, "S", "D"), name, s.param(name).offset), v)
	s.spread(v, v)
	return v
}

// transfer loads or stores vectors that follow one another, or with one an element.
func (s shape) transfer(load bool, m mem, v []vec, one bool) {
	if one {
		s.access(load, s.size, m, v[0])
		return
	}
	for ; len(v) > 1; v, m = v[2:], m.plus(32) {
		s.pair(load, m, v[0], v[1])
	}
	if len(v) > 0 {
		s.access(load, 16, m, v[0])
	}
}

func (s shape) loads(m mem, n int, one bool) []vec {
	v := s.vecs(n)
	s.transfer(load, m, v, one)
	return v
}

func (s shape) stores(m mem, v []vec, one bool) { s.transfer(store, m, v, one) }

// into sets v = op(v, x), or with one does so in lane 0 alone.
func (s shape) into(op func(d, n, m vec), v, x vec, one bool) {
	if !one {
		op(v, v, x)
		return
	}
	t := s.vec()
	op(t, v, x)
	s.first(v, t)
}

// fmaInto adds x·y, or with one does so in lane 0 alone.
func (s shape) fmaInto(v, x, y vec, one bool) {
	if !one {
		s.fma(v, x, y)
		return
	}
	t := s.vec()
	s.move(t, v)
	s.fma(t, x, y)
	s.first(v, t)
}

// span walks over n elements at once from several pointers, neither of which it changes: first unroll vectors at a time, then one,
// and then, with one, an element at a time, in lane 0. at returns the address of what body has to do from a pointer on.
func (s shape) span(n gp, unroll int, body func(u int, one bool, at func(p gp) mem)) {
	left, index := s.gp(), s.gp()
	done := s.unique("done")
	s.copy(left, n)
	s.clear(index)
	pass := func(u int, one bool) {
		seen := map[gp]gp{}
		body(u, one, func(p gp) mem {
			if seen[p] == nil {
				seen[p] = s.offset(p, index)
			}
			return mem{base: seen[p]}
		})
	}
	// while has body go through elements as long as there are so many.
	while := func(name string, elements, u int) {
		loop, less := s.unique(name), s.unique("less")
		s.less(left, elements)
		s.branch("BLT ", less)
		s.label(loop)
		pass(u, elements == 1)
		s.skip(index, elements*s.size)
		s.less(left, elements)
		s.branch("BGE ", loop)
		s.label(less)
		s.more(left, elements)
		s.branch("BEQ ", done)
	}
	if unroll > 1 {
		while("group", unroll*s.lanes(), unroll)
	}
	while("vector", s.lanes(), 1)
	while("element", 1, 1)
	s.label(done)
}

// fold reduces the accumulators, and then the lanes of the first; every lane of acc[0] holds the result.
func (s shape) fold(acc []vec, op, pairs func(d, n, m vec)) {
	for n := len(acc) / 2; n > 0; n /= 2 {
		for i := range n {
			op(acc[i], acc[i], acc[i+n])
		}
	}
	for n := s.lanes(); n > 1; n /= 2 {
		pairs(acc[0], acc[0], acc[0])
	}
}

func (s shape) foldSum(acc []vec) { s.fold(acc, s.add, s.addPairs) }
func (s shape) foldMax(acc []vec) { s.fold(acc, s.max, s.maxPairs) }

// eachRow begins a loop over count > 0 rows; next ends it, moving each pointer on by ld elements.
func (s shape) eachRow(count, ld gp, pointers ...gp) (next func()) {
	row, width := s.unique("row"), s.gp()
	s.op(fmt.Sprintf("LSL $%d, R%%d, R%%d", pick(s, 2, 3)), ld, width)
	s.label(row)
	return func() {
		for _, p := range pointers {
			s.advance(p, width)
		}
		s.less(count, 1)
		s.branch("BNE ", row)
	}
}
