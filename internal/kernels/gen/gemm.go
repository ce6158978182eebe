package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// unroll is the number of steps of k in a pass; 2 and 8 measure the same.
const unroll = 4

func gemm() {
	for _, v := range []struct {
		shape
		rows int
	}{{shape{4, 64}, 14}, {shape{8, 64}, 14}, {shape{4, 32}, 6}, {shape{8, 32}, 6}} {
		for r := 1; r <= v.rows; r++ {
			v.tile(r, true)
			v.tile(r, false)
		}
	}
	transpose32avx512()
	transpose64avx512()
	transpose32avx2()
	transpose64avx2()
	shape{4, 64}.panels(2)
	shape{8, 64}.panels(2)
	shape{4, 32}.panels(1)
	shape{4, 32}.panels(2)
	shape{8, 32}.panels(2)
	for _, v := range []struct {
		shape
		high2, high3 int
	}{{shape{4, 64}, 7, 7}, {shape{8, 64}, 7, 7}, {shape{4, 32}, 6, 4}, {shape{8, 32}, 6, 4}} {
		v.strip(v.high2, 2, true)
		v.strip(v.high3, 3, true)
		v.strip(v.high2, 2, false)
	}
}

// tile writes C[rows × 2 vectors] = A·B in the columns of mask, D + A·B in those of add as well; D, at from, may be C, and
// with ldd = 0 it is one row. Strides are in bytes; two
// vectors of B stand at b + l·sb. With byRow, element (i, l) of A is at a + i·sa + l elements (row-major), else at
// a + l·sa + i elements (k-major). A is broadcast in place: a packed copy is no faster at any stride.
func (s shape) tile(rows int, byRow bool) {
	name := s.name(map[bool]string{true: "tileRow", false: "tileCol"}[byRow])
	r := start(fmt.Sprint(name, "x", rows),
		fmt.Sprintf("func(k int, a *%[1]s, sa int, b *%[1]s, sb int, c *%[1]s, ldc int, mask, add uint32, from *%[1]s, ldd int)", s.elem()),
		"k", "a", "sa", "b", "sb", "c", "ldc")
	k, a, sa, b, sb, c, ldc := r[0], r[1], r[2], r[3], r[4], r[5], r[6]
	acc := make([][]vec, rows)
	for i := range acc {
		acc[i] = s.news(2)
		each(acc[i], func(j int) { s.zero(acc[i][j]) })
	}
	// Fourteen rows need two bases and the strides 1 to 8, of which 1, 2, 4 and 8 are scales.
	var s3, s5, s7, a9 gp
	if byRow && rows > 3 {
		s3 = GP64()
		LEAQ(Mem{Base: sa, Index: sa, Scale: 2}, s3)
	}
	if byRow && rows > 5 {
		s5 = GP64()
		LEAQ(Mem{Base: sa, Index: sa, Scale: 4}, s5)
	}
	if byRow && rows > 7 {
		s7 = GP64()
		LEAQ(Mem{Base: s3, Index: sa, Scale: 4}, s7)
	}
	if byRow && rows > 9 {
		a9 = GP64()
		LEAQ(Mem{Base: a, Index: sa, Scale: 8}, a9)
		ADDQ(sa, a9)
	}
	element := func(i, u int) Mem {
		if !byRow {
			return Mem{Base: a, Disp: s.size * i}
		}
		m := Mem{Base: []reg.Register{a, a9}[i/9], Disp: s.size * u}
		if i%9 > 0 {
			m.Index = []reg.Register{nil, sa, sa, s3, sa, s5, s3, s7, sa}[i%9]
			m.Scale = []uint8{0, 1, 2, 1, 4, 1, 2, 1, 8}[i%9]
		}
		return m
	}
	vb, ahead, left := s.news(2), GP64(), GP64()
	steps := func(n int, prefetch bool) {
		for u := range n {
			each(vb, func(j int) { s.move(Mem{Base: b, Disp: s.bytes * j}, vb[j]) })
			for i := range acc {
				v := s.new()
				s.broadcast(element(i, u), v)
				each(vb, func(j int) { s.fma231(vb[j], v, acc[i][j]) })
			}
			ADDQ(sb, b)
			if !byRow {
				ADDQ(sa, a)
			}
			if u == 0 && prefetch {
				PREFETCHT0(Mem{Base: ahead})
				PREFETCHT0(Mem{Base: ahead, Disp: 2*s.bytes - 1})
				ADDQ(ldc, ahead)
			}
		}
		if byRow {
			ADDQ(U8(uint8(s.size*n)), a)
			if rows > 9 {
				ADDQ(U8(uint8(s.size*n)), a9)
			}
		}
	}
	// One row of C is prefetched a pass: all rows at once at the start fill the miss buffers and stall A and B.
	MOVQ(c, ahead)
	MOVQ(U32(uint32(rows)), left)
	SUBQ(U8(unroll), k)
	JL(LabelRef("tail"))
	Label("first")
	steps(unroll, true)
	SUBQ(U8(unroll), k)
	JL(LabelRef("tail"))
	DECQ(left)
	JNZ(LabelRef("first"))
	Label("rest")
	steps(unroll, false)
	SUBQ(U8(unroll), k)
	JGE(LabelRef("rest"))
	Label("tail")
	ADDQ(U8(unroll), k)
	JZ(LabelRef("store"))
	Label("one")
	steps(1, false)
	DECQ(k)
	JNZ(LabelRef("one"))
	Label("store")
	if s.bytes == 64 {
		s.storeByOpmask(acc, c, ldc)
	} else {
		s.storeByVectorMask(acc, c, ldc)
	}
	stop()
}

// strip writes C = A·B in some whole vectors of columns: high tiles of rows rows, one below the other, and then low tiles of one
// row fewer. Strides are in bytes; A is as in tile. A whole strip in one call is for small products, where calls are dear.
func (s shape) strip(rows, vectors int, byRow bool) {
	r := start(fmt.Sprint(s.name(map[bool]string{true: "stripRow", false: "stripCol"}[byRow]), "x", rows, "x", vectors),
		fmt.Sprintf("func(high, low, k int, a *%[1]s, sa int, b *%[1]s, sb int, c *%[1]s, ldc int)", s.elem()),
		"a", "sa", "sb", "c", "ldc")
	top, sa, sb, c, ldc := r[0], r[1], r[2], r[3], r[4]
	var s3, s5 gp
	if byRow {
		s3, s5 = GP64(), GP64()
		LEAQ(Mem{Base: sa, Index: sa, Scale: 2}, s3)
		LEAQ(Mem{Base: sa, Index: sa, Scale: 4}, s5)
	}
	ahead := func(base gp, i int) Mem { // i ≤ 6 rows on
		m := Mem{Base: base}
		if i > 0 {
			m.Index, m.Scale = []reg.Register{nil, sa, sa, s3, sa, s5, s3}[i], []uint8{0, 1, 2, 1, 4, 1, 2}[i]
		}
		return m
	}
	tiles := func(name string, rows int) {
		count, a, b, k := Load(Param(name), GP64()), GP64(), GP64(), GP64()
		tile, loop, tail, one, store, done := label("tile"), label("loop"), label("tail"), label("one"), label("store"), label("done")
		TESTQ(count, count)
		JZ(LabelRef(done))
		Label(tile)
		MOVQ(top, a)
		Load(Param("b"), b)
		Load(Param("k"), k)
		acc, vb := make([][]vec, rows), s.news(vectors)
		for i := range acc {
			acc[i] = s.zeros(vectors)
		}
		steps := func(n int) {
			for u := range n {
				each(vb, func(j int) { s.move(Mem{Base: b, Disp: s.bytes * j}, vb[j]) })
				for i := range acc {
					m := Mem{Base: a, Disp: s.size * i}
					if byRow {
						m = ahead(a, i)
						m.Disp = s.size * u
					}
					v := s.new()
					s.broadcast(m, v)
					each(vb, func(j int) { s.fma231(vb[j], v, acc[i][j]) })
				}
				ADDQ(sb, b)
				if !byRow {
					ADDQ(sa, a)
				}
			}
			if byRow {
				ADDQ(U8(uint8(s.size*n)), a)
			}
		}
		SUBQ(U8(unroll), k)
		JL(LabelRef(tail))
		Label(loop)
		steps(unroll)
		SUBQ(U8(unroll), k)
		JGE(LabelRef(loop))
		Label(tail)
		ADDQ(U8(unroll), k)
		JZ(LabelRef(store))
		Label(one)
		steps(1)
		DECQ(k)
		JNZ(LabelRef(one))
		Label(store)
		for i := range acc {
			each(acc[i], func(j int) { s.move(acc[i][j], Mem{Base: c, Disp: s.bytes * j}) })
			ADDQ(ldc, c)
		}
		if byRow {
			LEAQ(ahead(top, rows-1), top)
			ADDQ(sa, top)
		} else {
			ADDQ(U8(uint8(s.size*rows)), top)
		}
		DECQ(count)
		JNZ(LabelRef(tile))
		Label(done)
	}
	tiles("high", rows)
	tiles("low", rows-1)
	stop()
}

// storeByOpmask adds D under a second mask, so that with and without are one path.
func (s shape) storeByOpmask(acc [][]vec, c, ldc gp) {
	ks := []mask{K(), K(), K(), K()}
	for j, name := range []string{"mask", "add"} {
		m := Load(Param(name), GP32())
		KMOVW(m, ks[2*j])
		SHRL(U8(uint8(s.lanes())), m)
		KMOVW(m, ks[2*j+1])
	}
	from, ldd := Load(Param("from"), GP64()), Load(Param("ldd"), GP64())
	for i := range acc {
		for j, v := range acc[i] {
			s.add(Mem{Base: from, Disp: s.bytes * j}, v, ks[2+j], v)
			s.move(v, ks[j], Mem{Base: c, Disp: s.bytes * j})
		}
		ADDQ(ldc, c)
		ADDQ(ldd, from)
	}
}

// storeByVectorMask has a plain path for whole tiles, since masked stores are slow on some CPUs.
func (s shape) storeByVectorMask(acc [][]vec, c, ldc gp) {
	store, add := Load(Param("mask"), GP32()), Load(Param("add"), GP32())
	from, ldd := Load(Param("from"), GP64()), Load(Param("ldd"), GP64())
	whole := func(accumulate bool) {
		for i := range acc {
			for j, v := range acc[i] {
				if accumulate {
					s.add(Mem{Base: from, Disp: s.bytes * j}, v, v)
				}
				s.move(v, Mem{Base: c, Disp: s.bytes * j})
			}
			ADDQ(ldc, c)
			if accumulate {
				ADDQ(ldd, from)
			}
		}
	}
	CMPL(store, U32(1<<(2*s.lanes())-1))
	JNE(LabelRef("part"))
	TESTL(add, add)
	JZ(LabelRef("set"))
	whole(true)
	VZEROUPPER()
	RET()
	Label("set")
	whole(false)
	VZEROUPPER()
	RET()
	Label("part")
	for j := range 2 {
		row, more, ks, ka, t := GP64(), GP64(), s.new(), s.new(), s.new()
		MOVQ(c, row)
		MOVQ(from, more)
		s.expand(store, j, ks)
		s.expand(add, j, ka)
		for i := range acc {
			pick(s, VMASKMOVPS, VMASKMOVPD)(Mem{Base: more, Disp: s.bytes * j}, ka, t)
			s.add(t, acc[i][j], acc[i][j])
			pick(s, VMASKMOVPS, VMASKMOVPD)(acc[i][j], ks, Mem{Base: row, Disp: s.bytes * j})
			ADDQ(ldc, row)
			ADDQ(ldd, more)
		}
	}
}

// expand makes a vector mask of the bits of the j-th vector.
func (s shape) expand(bits reg.Register, j int, v vec) {
	VMOVD(bits, v.AsX())
	if s.size == 8 {
		VPBROADCASTQ(v.AsX(), v)
		m := laneBits64(j * s.lanes())
		VPAND(m, v, v)
		VPCMPEQQ(m, v, v)
		return
	}
	VPBROADCASTD(v.AsX(), v)
	m := laneBits32(j * s.lanes())
	VPAND(m, v, v)
	VPCMPEQD(m, v, v)
}

// masks makes those of some vectors of the parameter mask.
func (s shape) masks(vectors int) []Op {
	bits, ms := Load(Param("mask"), GP32()), make([]Op, vectors)
	for j := range ms {
		if s.bytes == 64 {
			k := K()
			KMOVW(bits, k)
			SHRL(U8(uint8(s.lanes())), bits)
			ms[j] = k
		} else {
			v := s.new()
			s.expand(bits, j, v)
			ms[j] = v
		}
	}
	return ms
}

// laneBits32 and laneBits64 return eight and four consecutive constants 1<<from, 1<<(from+1), …
func laneBits32(from int) Mem {
	for i := range 16 {
		bits32(1 << i)
	}
	return bits32(1 << from)
}

func laneBits64(from int) Mem {
	for i := range 8 {
		bits64(1 << i)
	}
	return bits64(1 << from)
}

// transpose: dst[pitch·l + i] = src[i·ld + l] for i < lanes and l < k, pitch and ld in bytes, where rows from the last on are the
// last; mask is that of the last k mod lanes. Whole vectors are stored, in the order of l. block transposes as many vectors.
func (s shape) transpose(block func(x []vec) []vec) {
	r := start(s.name("transpose"),
		fmt.Sprintf("func(k int, src *%[1]s, ld, rows int, dst *%[1]s, pitch int, mask uint32)", s.elem()),
		"k", "src", "ld", "rows", "dst", "pitch")
	k, src, ld, rows, dst, pitch := r[0], r[1], r[2], r[3], r[4], r[5]
	zero := GP64()
	XORQ(zero, zero)
	load := func(mask Op) []vec {
		x, row, step := s.news(s.lanes()), GP64(), GP64()
		MOVQ(src, row)
		MOVQ(ld, step)
		each(x, func(i int) {
			if i > 0 {
				CMPQ(rows, U8(uint8(i)))
				CMOVQLE(zero, step)
				ADDQ(step, row)
			}
			s.load(Mem{Base: row}, mask, x[i])
		})
		return x
	}
	SUBQ(U8(uint8(s.lanes())), k)
	JL(LabelRef("tail"))
	Label("whole")
	x := block(load(nil))
	each(x, func(i int) {
		s.move(x[i], Mem{Base: dst})
		ADDQ(pitch, dst)
	})
	ADDQ(U8(uint8(s.bytes)), src)
	SUBQ(U8(uint8(s.lanes())), k)
	JGE(LabelRef("whole"))
	Label("tail")
	ADDQ(U8(uint8(s.lanes())), k)
	JZ(LabelRef("done"))
	x = block(load(s.masks(1)[0]))
	each(x, func(i int) {
		s.move(x[i], Mem{Base: dst})
		ADDQ(pitch, dst)
		DECQ(k)
		JZ(LabelRef("done"))
	})
	Label("done")
	stop()
}

func transpose32avx512() {
	s := shape{4, 64}
	s.transpose(func(z []vec) []vec {
		t := s.news(16)
		for i := 0; i < 16; i += 2 {
			VUNPCKLPS(z[i+1], z[i], t[i])
			VUNPCKHPS(z[i+1], z[i], t[i+1])
		}
		for i := 0; i < 16; i += 4 {
			VUNPCKLPD(t[i+2], t[i], z[i])
			VUNPCKHPD(t[i+2], t[i], z[i+1])
			VUNPCKLPD(t[i+3], t[i+1], z[i+2])
			VUNPCKHPD(t[i+3], t[i+1], z[i+3])
		}
		for x := 4; x <= 8; x += 4 { // the 128-bit lanes, twice
			for q := range 4 {
				VSHUFF32X4(U8(0x88), z[x+q], z[q], t[q])
				VSHUFF32X4(U8(0xdd), z[x+q], z[q], t[x+q])
				VSHUFF32X4(U8(0x88), z[12+q], z[12-x+q], t[12-x+q])
				VSHUFF32X4(U8(0xdd), z[12+q], z[12-x+q], t[12+q])
			}
			z, t = t, z
		}
		return z
	})
}

func transpose64avx512() {
	s := shape{8, 64}
	s.transpose(func(z []vec) []vec {
		t := s.news(8)
		for i := 0; i < 8; i += 2 {
			VUNPCKLPD(z[i+1], z[i], t[i])
			VUNPCKHPD(z[i+1], z[i], t[i+1])
		}
		// t[2i+h] holds, in its 128-bit lane q, column 2q+h of rows 2i and 2i+1.
		for h := range 2 {
			VSHUFF64X2(U8(0x88), t[2+h], t[h], z[h])     // lanes 0, 2 of rows 0..3
			VSHUFF64X2(U8(0xdd), t[2+h], t[h], z[2+h])   // lanes 1, 3
			VSHUFF64X2(U8(0x88), t[6+h], t[4+h], z[4+h]) // rows 4..7
			VSHUFF64X2(U8(0xdd), t[6+h], t[4+h], z[6+h])
		}
		for h := range 2 {
			VSHUFF64X2(U8(0x88), z[4+h], z[h], t[h])     // column h
			VSHUFF64X2(U8(0xdd), z[4+h], z[h], t[4+h])   // column 4+h
			VSHUFF64X2(U8(0x88), z[6+h], z[2+h], t[2+h]) // column 2+h
			VSHUFF64X2(U8(0xdd), z[6+h], z[2+h], t[6+h]) // column 6+h
		}
		return t
	})
}

func transpose32avx2() {
	s := shape{4, 32}
	s.transpose(func(z []vec) []vec {
		t := s.news(8)
		for i := 0; i < 8; i += 2 {
			VUNPCKLPS(z[i+1], z[i], t[i])
			VUNPCKHPS(z[i+1], z[i], t[i+1])
		}
		u := s.news(8)
		for i := 0; i < 8; i += 4 { // u[i+q] holds, in its 128-bit lane h, column 4h+q of rows i to i+3
			VUNPCKLPD(t[i+2], t[i], u[i])
			VUNPCKHPD(t[i+2], t[i], u[i+1])
			VUNPCKLPD(t[i+3], t[i+1], u[i+2])
			VUNPCKHPD(t[i+3], t[i+1], u[i+3])
		}
		x := s.news(8)
		for q := range 4 {
			VPERM2F128(U8(0x20), u[4+q], u[q], x[q])
			VPERM2F128(U8(0x31), u[4+q], u[q], x[4+q])
		}
		return x
	})
}

func transpose64avx2() {
	s := shape{8, 32}
	s.transpose(func(z []vec) []vec {
		t, x := s.news(4), s.news(4)
		for i := 0; i < 4; i += 2 { // t[i+q] holds, in its 128-bit lane h, column 2h+q of rows i and i+1
			VUNPCKLPD(z[i+1], z[i], t[i])
			VUNPCKHPD(z[i+1], z[i], t[i+1])
		}
		for q := range 2 {
			VPERM2F128(U8(0x20), t[2+q], t[q], x[q])
			VPERM2F128(U8(0x31), t[2+q], t[q], x[2+q])
		}
		return x
	})
}

// panels copies k rows, one or four, of a matrix into count panels, step bytes apart, of rows of pitch bytes, at most vectors
// wide; mask tells how wide. Whole vectors are stored in the order of the rows, so that the next row overwrites what is too much,
// and the last row of a panel writes past its end. A row at a time would spend itself in misses where rows of panels share a line.
func (s shape) panels(vectors int) {
	r := start(fmt.Sprint(s.name("panels"), "x", vectors),
		fmt.Sprintf("func(k int, src *%[1]s, ld int, dst *%[1]s, pitch, count, step int, mask uint32)", s.elem()),
		"k", "src", "ld", "dst", "pitch", "count", "step")
	k, src, ld, dst, pitch, count, step := r[0], r[1], r[2], r[3], r[4], r[5], r[6]
	ms := s.masks(vectors)
	ld3, pitch3 := GP64(), GP64()
	LEAQ(Mem{Base: ld, Index: ld, Scale: 2}, ld3)
	LEAQ(Mem{Base: pitch, Index: pitch, Scale: 2}, pitch3)
	pass := func(rows int) {
		row := func(base, once, thrice gp, u, j int) Mem {
			m := Mem{Base: base, Disp: s.bytes * j}
			if u > 0 {
				m.Index, m.Scale = []reg.Register{nil, once, once, thrice}[u], []uint8{0, 1, 2, 1}[u]
			}
			return m
		}
		for u := range rows {
			v := s.news(vectors)
			each(v, func(j int) { s.load(row(src, ld, ld3, u, j), ms[j], v[j]) })
			each(v, func(j int) { s.move(v[j], row(dst, pitch, pitch3, u, j)) })
		}
		ADDQ(pitch, src)
		ADDQ(step, dst)
		DECQ(count)
	}
	CMPQ(k, U8(4))
	JNE(LabelRef("one"))
	Label("four")
	pass(4)
	JNZ(LabelRef("four"))
	stop()
	Label("one")
	pass(1)
	JNZ(LabelRef("one"))
	stop()
}
