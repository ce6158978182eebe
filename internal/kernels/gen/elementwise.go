package main

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/internal/kernels/gen/series"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

func elementwise() {
	for _, s := range []shape{{4, 64}, {8, 64}, {4, 32}, {8, 32}} {
		// Registers limit the unrolling: with AVX-512, which keeps all constants in them, a double's polynomial takes 14.
		u := func(single, double, avx2 int) int {
			if s.bytes == 32 {
				return avx2
			}
			return pick(s, single, double)
		}
		op := s.series()

		s.mapping("exp", u(4, 3, 4), "", []string{"x"}, s.loadExp, func(_ vec, x [][]vec) { s.exp(x[0]) })
		s.mapping("tanh", u(3, 2, 3), "", []string{"x"}, s.loadTanh, func(_ vec, x [][]vec) { s.tanh(x[0]) })
		s.mapping("sigmoid", u(4, 2, 3), "", []string{"x"}, s.loadSigmoid, func(_ vec, x [][]vec) { s.sigmoid(x[0]) })
		s.mapping("silu", u(3, 3, 3), "", []string{"x"}, func() { s.loadGate(op.Over); s.consts(-log2e) },
			func(_ vec, x [][]vec) { s.gate(x[0], s.siluArg(x[0])) })
		s.mapping("gelu", u(3, 2, 3), "", []string{"x"}, func() { s.loadGate(op.Over); s.consts(series.GELU1, series.GELU3) },
			func(_ vec, x [][]vec) { t, _ := s.geluArg(x[0]); s.gate(x[0], t) })
		s.mapping("siluGrad", u(2, 1, 2), "", []string{"x", "grad"},
			func() { s.loadGate(op.Finite); s.consts(-op.Finite, -log2e, math.Ln2) },
			func(_ vec, x [][]vec) { s.siluGrad(x[0], x[1]) })
		s.mapping("geluGrad", u(2, 1, 2), "", []string{"x", "grad"},
			func() {
				s.loadGate(op.Finite)
				s.consts(series.Flat, -series.Flat, series.GELU1, series.GELU3, 3*series.GELU3, math.Ln2)
			},
			func(_ vec, x [][]vec) { s.geluGrad(x[0], x[1]) })

		s.mapping("add", 4, "", []string{"a", "b"}, nil, func(_ vec, x [][]vec) {
			each(x[0], func(i int) { s.add(x[1][i], x[0][i], x[0][i]) })
		})
		s.mapping("sub", 4, "", []string{"a", "b"}, nil, func(_ vec, x [][]vec) {
			each(x[0], func(i int) { s.sub(x[1][i], x[0][i], x[0][i]) })
		})
		s.mapping("mul", 4, "", []string{"a", "b"}, nil, func(_ vec, x [][]vec) {
			each(x[0], func(i int) { s.mul(x[1][i], x[0][i], x[0][i]) })
		})
		s.mapping("div", 4, "", []string{"a", "b"}, nil, func(_ vec, x [][]vec) {
			each(x[0], func(i int) { s.div(x[1][i], x[0][i], x[0][i]) })
		})
		s.mapping("mulAdd", 4, "", []string{"dst", "a", "b"}, nil, func(_ vec, x [][]vec) {
			each(x[0], func(i int) { s.fma231(x[1][i], x[2][i], x[0][i]) })
		})
		s.mapping("scale", 4, "c", []string{"x"}, nil, func(c vec, x [][]vec) {
			each(x[0], func(i int) { s.mul(c, x[0][i], x[0][i]) })
		})
		s.mapping("axpy", 4, "c", []string{"dst", "x"}, nil, func(c vec, x [][]vec) {
			each(x[0], func(i int) { s.fma231(c, x[1][i], x[0][i]) })
		})
		s.combine()
		s.adamW(false)
		s.adamW(true)
	}
}

// mapping writes dst[i] = f(ins[0][i], …), which f leaves in its first argument; dst itself may be among ins. constant,
// unless empty, is a number that f is given in every lane.
func (s shape) mapping(name string, unroll int, constant string, ins []string, consts func(), f func(c vec, ins [][]vec)) {
	names := []string{"n", "dst"}
	for _, in := range ins {
		if in != "dst" {
			names = append(names, in)
		}
	}
	sig := "func(n int"
	for _, n := range names[1:] {
		sig += fmt.Sprintf(", %s *%s", n, s.elem())
	}
	if constant != "" {
		sig += fmt.Sprintf(", %s %s", constant, s.elem())
	}
	r := s.begin(name, sig+")", names...)
	pointer := map[string]gp{}
	for i, n := range names {
		pointer[n] = r[i]
	}
	var cv vec
	if constant != "" {
		cv = s.scalar(constant)
	}
	if consts != nil {
		consts()
	}
	s.span(r[0], unroll, func(u int, k Op, at func(p gp, i int) Mem) {
		v := make([][]vec, len(ins))
		for j, in := range ins {
			v[j] = s.news(u)
			each(v[j], func(i int) { s.load(at(pointer[in], i), k, v[j][i]) })
		}
		f(cv, v)
		each(v[0], func(i int) { s.store(v[0][i], k, at(r[1], i)) })
	})
	stop()
}

// combine writes dst = Σ c[j]·src[j] for terms > 0 slices, from byte offset on.
func (s shape) combine() {
	r := s.begin("combine",
		fmt.Sprintf("func(n int, dst *%[1]s, terms int, c *%[1]s, src *[]%[1]s, offset int)", s.elem()),
		"n", "dst", "terms", "c", "src", "offset")
	n, dst, terms, cs, src, offset := r[0], r[1], r[2], r[3], r[4], r[5]
	s.span(n, 8, func(u int, k Op, at func(p gp, i int) Mem) {
		acc, left, coefficient, header, p, cv := s.news(u), GP64(), GP64(), GP64(), GP64(), s.new()
		MOVQ(terms, left)
		MOVQ(cs, coefficient)
		MOVQ(src, header)
		fetch := func() {
			MOVQ(Mem{Base: header}, p)
			ADDQ(offset, p)
			s.broadcast(Mem{Base: coefficient}, cv)
			ADDQ(U8(24), header) // the size of a slice
			ADDQ(U8(uint8(s.size)), coefficient)
		}
		more, done := label("more"), label("summed")
		fetch()
		each(acc, func(i int) {
			s.load(at(p, i), k, acc[i])
			s.mul(cv, acc[i], acc[i])
		})
		Label(more)
		DECQ(left)
		JZ(LabelRef(done))
		fetch()
		each(acc, func(i int) {
			v := s.new()
			s.load(at(p, i), k, v)
			s.fma231(cv, v, acc[i])
		})
		JMP(LabelRef(more))
		Label(done)
		each(acc, func(i int) { s.store(acc[i], k, at(dst, i)) })
	})
	stop()
}

// adamW writes one optimizer step; c points to clip, m, v, keep, rate, root, eps and ema (type adamW).
func (s shape) adamW(average bool) {
	name, params := "adamW", []string{"n", "c", "w", "grad", "m", "v"}
	if average {
		name, params = "adamWAverage", append(params, "ema")
	}
	sig := "func(n int"
	for _, p := range params[1:] {
		sig += fmt.Sprintf(", %s *%s", p, s.elem())
	}
	r := s.begin(name, sig+")", params...)
	var cs []vec
	for i := range 8 {
		cs = append(cs, s.new())
		s.broadcast(Mem{Base: r[1], Disp: s.size * i}, cs[i])
	}
	clip, cm, cv, keep, rate, root, eps, ema := cs[0], cs[1], cs[2], cs[3], cs[4], cs[5], cs[6], cs[7]
	s.span(r[0], s.bytes/32, func(u int, k Op, at func(p gp, i int) Mem) {
		w, g, m, v, t := s.news(u), s.news(u), s.news(u), s.news(u), s.news(u)
		for j, x := range [][]vec{w, g, m, v} {
			each(x, func(i int) { s.load(at(r[2+j], i), k, x[i]) })
		}
		each(w, func(i int) { s.mul(clip, g[i], g[i]) })
		each(w, func(i int) { s.sub(m[i], g[i], t[i]) })
		each(w, func(i int) { s.fma231(cm, t[i], m[i]) })
		each(w, func(i int) { s.mul(g[i], g[i], g[i]) })
		each(w, func(i int) { s.sub(v[i], g[i], g[i]) })
		each(w, func(i int) { s.fma231(cv, g[i], v[i]) })
		each(w, func(i int) { s.store(m[i], k, at(r[4], i)) })
		each(w, func(i int) { s.store(v[i], k, at(r[5], i)) })
		each(w, func(i int) { s.sqrt(v[i], t[i]) })
		each(w, func(i int) { s.fma213(eps, root, t[i]) })
		each(w, func(i int) { s.mul(rate, m[i], m[i]) })
		each(w, func(i int) { s.div(t[i], m[i], m[i]) })
		each(w, func(i int) { s.mul(keep, w[i], w[i]) })
		each(w, func(i int) { s.sub(m[i], w[i], w[i]) })
		each(w, func(i int) { s.store(w[i], k, at(r[2], i)) })
		if average {
			each(w, func(i int) { s.load(at(r[6], i), k, v[i]) })
			each(w, func(i int) { s.sub(v[i], w[i], w[i]) })
			each(w, func(i int) { s.fma231(ema, w[i], v[i]) })
			each(w, func(i int) { s.store(v[i], k, at(r[6], i)) })
		}
	})
	stop()
}
