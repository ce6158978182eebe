package main

func elementwise(a *asm) {
	for _, s := range []shape{{a, 4}, {a, 8}} {
		s.mapping("exp", "", []string{"x"}, func(_ vec, x [][]vec) { s.exp(x[0]) })
		s.mapping("tanh", "", []string{"x"}, func(_ vec, x [][]vec) { s.tanh(x[0]) })
		s.mapping("sigmoid", "", []string{"x"}, func(_ vec, x [][]vec) { s.sigmoid(x[0]) })
		s.mapping("silu", "", []string{"x"}, func(_ vec, x [][]vec) { s.gate(x[0], s.siluArg(x[0])) })
		s.mapping("gelu", "", []string{"x"}, func(_ vec, x [][]vec) { t, _ := s.geluArg(x[0]); s.gate(x[0], t) })
		s.mapping("siluGrad", "", []string{"x", "grad"}, func(_ vec, x [][]vec) { s.siluGrad(x[0], x[1]) })
		s.mapping("geluGrad", "", []string{"x", "grad"}, func(_ vec, x [][]vec) { s.geluGrad(x[0], x[1]) })

		for _, f := range []struct {
			name string
			op   func(d, n, m vec)
		}{{"add", s.add}, {"sub", s.sub}, {"mul", s.mul}, {"div", s.div}} {
			s.mapping(f.name, "", []string{"a", "b"}, func(_ vec, x [][]vec) {
				each(x[0], func(i int) { f.op(x[0][i], x[0][i], x[1][i]) })
			})
		}
		s.mapping("mulAdd", "", []string{"dst", "a", "b"}, func(_ vec, x [][]vec) {
			each(x[0], func(i int) { s.fma(x[0][i], x[1][i], x[2][i]) })
		})
		s.mapping("scale", "c", []string{"x"}, func(c vec, x [][]vec) {
			each(x[0], func(i int) { s.mul(x[0][i], x[0][i], c) })
		})
		s.mapping("axpy", "c", []string{"dst", "x"}, func(c vec, x [][]vec) {
			each(x[0], func(i int) { s.fma(x[0][i], x[1][i], c) })
		})
		s.combine()
		s.adamW(false)
		s.adamW(true)
	}
}

// mapping writes dst[i] = f(ins[0][i], …), which f leaves in its first argument; dst itself may be among ins. constant,
// unless empty, is a number that f is given in every lane.
func (s shape) mapping(name, constant string, ins []string, f func(c vec, ins [][]vec)) {
	params := []string{"n int", "dst *T"}
	for _, in := range ins {
		if in != "dst" {
			params = append(params, in+" *T")
		}
	}
	if constant != "" {
		params = append(params, constant+" T")
	}
	s.begin(name, params...)
	n, dst, pointers := s.arg("n"), s.arg("dst"), []gp{}
	for _, in := range ins {
		if in == "dst" {
			pointers = append(pointers, dst)
		} else {
			pointers = append(pointers, s.arg(in))
		}
	}
	var c vec
	if constant != "" {
		c = s.scalar(constant)
	}
	s.span(n, 4, func(u int, one bool, at func(p gp) mem) {
		var x [][]vec
		for _, p := range pointers {
			x = append(x, s.loads(at(p), u, one))
		}
		f(c, x)
		s.stores(at(dst), x[0], one)
	})
	s.stop()
}

// combine writes dst = Σ c[j]·src[j] for terms > 0 slices, from byte offset on.
func (s shape) combine() {
	s.begin("combine", "n int", "dst *T", "terms int", "c *T", "src *[]T", "offset int")
	n, dst, terms, cs, src, offset := s.arg("n"), s.arg("dst"), s.arg("terms"), s.arg("c"), s.arg("src"), s.arg("offset")
	s.span(n, 8, func(u int, one bool, at func(p gp) mem) {
		left, coefficient, header, from, c := s.gp(), s.gp(), s.gp(), s.gp(), s.vec()
		s.copy(left, terms)
		s.copy(coefficient, cs)
		s.copy(header, src)
		to := at(dst)
		s.op("SUB R%d, R%d, R%d", dst, to.base, from) // how far all slices are gone through
		s.advance(from, offset)
		fetch := func() mem {
			p := s.gp()
			s.op("MOVD (R%d), R%d", header, p)
			s.advance(p, from)
			s.broadcast(coefficient, c)
			s.skip(header, 24) // the size of a slice
			s.skip(coefficient, s.size)
			return mem{base: p}
		}
		more, summed := s.unique("more"), s.unique("summed")
		acc := s.loads(fetch(), u, one)
		each(acc, func(i int) { s.mul(acc[i], acc[i], c) })
		s.label(more)
		s.less(left, 1)
		s.branch("BEQ ", summed)
		v := s.loads(fetch(), u, one)
		each(acc, func(i int) { s.fma(acc[i], v[i], c) })
		s.branch("B ", more)
		s.label(summed)
		s.stores(to, acc, one)
	})
	s.stop()
}

// adamW writes one optimizer step; c points to clip, m, v, keep, rate, root, eps and ema (type adamW).
func (s shape) adamW(average bool) {
	name, pointers := "adamW", []string{"c", "w", "grad", "m", "v"}
	if average {
		name, pointers = "adamWAverage", append(pointers, "ema")
	}
	params := []string{"n int"}
	for _, p := range pointers {
		params = append(params, p+" *T")
	}
	s.begin(name, params...)
	n, c := s.arg("n"), s.arg("c")
	var cs []vec
	for range 8 {
		cs = append(cs, s.vec())
		s.broadcast(c, cs[len(cs)-1])
		s.skip(c, s.size)
	}
	clip, cm, cv, keep, rate, root, eps, ema := cs[0], cs[1], cs[2], cs[3], cs[4], cs[5], cs[6], cs[7]
	var p []gp
	for _, name := range pointers[1:] {
		p = append(p, s.arg(name))
	}
	s.span(n, 2, func(u int, one bool, at func(p gp) mem) {
		w, g, m, v := s.loads(at(p[0]), u, one), s.loads(at(p[1]), u, one), s.loads(at(p[2]), u, one), s.loads(at(p[3]), u, one)
		t, d := s.vecs(u), s.vecs(u)
		each(w, func(i int) { s.mul(g[i], g[i], clip) })
		each(w, func(i int) { s.sub(t[i], g[i], m[i]) })
		each(w, func(i int) { s.fma(m[i], t[i], cm) })
		each(w, func(i int) { s.mul(g[i], g[i], g[i]) })
		each(w, func(i int) { s.sub(g[i], g[i], v[i]) })
		each(w, func(i int) { s.fma(v[i], g[i], cv) })
		s.stores(at(p[2]), m, one)
		s.stores(at(p[3]), v, one)
		each(w, func(i int) { s.sqrt(t[i], v[i]) })
		each(w, func(i int) { s.move(d[i], eps) })
		each(w, func(i int) { s.fma(d[i], t[i], root) })
		each(w, func(i int) { s.mul(m[i], m[i], rate) })
		each(w, func(i int) { s.div(m[i], m[i], d[i]) })
		each(w, func(i int) { s.mul(w[i], w[i], keep) })
		each(w, func(i int) { s.sub(w[i], w[i], m[i]) })
		s.stores(at(p[0]), w, one)
		if average {
			e := s.loads(at(p[4]), u, one)
			each(w, func(i int) { s.sub(w[i], w[i], e[i]) })
			each(w, func(i int) { s.fma(e[i], w[i], ema) })
			s.stores(at(p[4]), e, one)
		}
	})
	s.stop()
}
