package main

import (
	"fmt"
	"math"

	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

type (
	vec  = reg.VecVirtual
	gp   = reg.GPVirtual
	mask = reg.OpmaskVirtual
)

// shape is an element type and a register width.
type shape struct {
	size  int // bytes an element: 4 or 8
	bytes int // a vector: 64 or 32
}

func (s shape) lanes() int   { return s.bytes / s.size }
func (s shape) elem() string { return map[int]string{4: "float32", 8: "float64"}[s.size] }

// name appends what tells the variants of a function apart.
func (s shape) name(base string) string {
	return fmt.Sprint(base, 8*s.size, map[int]string{64: "avx512", 32: "avx2"}[s.bytes])
}

func (s shape) new() vec {
	if s.bytes == 64 {
		return ZMM()
	}
	return YMM()
}

func (s shape) news(n int) []vec {
	v := make([]vec, n)
	for i := range v {
		v[i] = s.new()
	}
	return v
}

// pick takes the instruction of the element type.
func pick[F any](s shape, single, double F) F {
	if s.size == 8 {
		return double
	}
	return single
}

func (s shape) add(o ...Op)      { pick(s, VADDPS, VADDPD)(o...) }
func (s shape) sub(o ...Op)      { pick(s, VSUBPS, VSUBPD)(o...) }
func (s shape) mul(o ...Op)      { pick(s, VMULPS, VMULPD)(o...) }
func (s shape) div(o ...Op)      { pick(s, VDIVPS, VDIVPD)(o...) }
func (s shape) sqrt(o ...Op)     { pick(s, VSQRTPS, VSQRTPD)(o...) }
func (s shape) min(o ...Op)      { pick(s, VMINPS, VMINPD)(o...) }
func (s shape) max(o ...Op)      { pick(s, VMAXPS, VMAXPD)(o...) }
func (s shape) move(o ...Op)     { pick(s, VMOVUPS, VMOVUPD)(o...) }
func (s shape) moveZ(m, k, v Op) { pick(s, VMOVUPS_Z, VMOVUPD_Z)(m, k, v) }
func (s shape) fma231(o ...Op)   { pick(s, VFMADD231PS, VFMADD231PD)(o...) } // o2 += o0·o1
func (s shape) fma213(o ...Op)   { pick(s, VFMADD213PS, VFMADD213PD)(o...) } // o2 = o1·o2 + o0

func (s shape) broadcast(m, v Op) {
	if s.size == 8 {
		VBROADCASTSD(m, v)
	} else {
		VBROADCASTSS(m, v)
	}
}

// zero is not VPXORQ, which is to avo an instruction that reads v and keeps it live.
func (s shape) zero(v vec) { VXORPS(v, v, v) }

func each(x []vec, f func(i int)) {
	for i := range x {
		f(i)
	}
}

// load and store move a vector, under a mask unless k is nil; masked lanes load zero. A mask is an opmask or, with AVX2,
// a vector.
func (s shape) load(m Mem, k Op, v vec) {
	switch {
	case k == nil:
		s.move(m, v)
	case s.bytes == 64:
		s.moveZ(m, k, v)
	default:
		s.moveSome(m, k, v)
	}
}

func (s shape) store(v vec, k Op, m Mem) {
	switch {
	case k == nil:
		s.move(v, m)
	case s.bytes == 64:
		s.move(v, k, m)
	default:
		s.moveSome(v, k, m)
	}
}

func (s shape) moveSome(from, k, to Op) { pick(s, VMASKMOVPS, VMASKMOVPD)(from, k, to) }

// into adds under the mask of a tail: v = op(x, v) in its lanes alone.
func (s shape) into(op func(...Op), x vec, k Op, v vec) {
	switch {
	case k == nil:
		op(x, v, v)
	case s.bytes == 64:
		op(x, v, k, v)
	default:
		t := s.new()
		op(x, v, t)
		s.blend(k, t, v, v)
	}
}

// fmaInto adds x·y under the mask of a tail.
func (s shape) fmaInto(x, y vec, k Op, v vec) {
	switch {
	case k == nil:
		s.fma231(x, y, v)
	case s.bytes == 64:
		s.fma231(x, y, k, v)
	default:
		t := s.new()
		s.move(v, t)
		s.fma231(x, y, t)
		s.blend(k, t, v, v)
	}
}

// blend takes yes where the sign bit of k is set (AVX2 only).
func (s shape) blend(k, yes, no, v Op) { pick(s, VBLENDVPS, VBLENDVPD)(k, yes, no, v) }

// constant pools, one a width, in the order of first use; wide ones hold a constant in every lane of an AVX2 vector.
var (
	pool32, wide32 []uint32
	pool64, wide64 []uint64
)

func poolName(size int) string { return fmt.Sprint("pool", 8*size) }

func indexOf[T comparable](pool *[]T, v T) int {
	for i, p := range *pool {
		if p == v {
			return i
		}
	}
	*pool = append(*pool, v)
	return len(*pool) - 1
}

// bits32 and bits64 return the address of a constant.
func bits32(v uint32) Mem {
	return NewDataAddr(Symbol{Name: poolName(4), Static: true}, 4*indexOf(&pool32, v))
}

func bits64(v uint64) Mem {
	return NewDataAddr(Symbol{Name: poolName(8), Static: true}, 8*indexOf(&pool64, v))
}

func (s shape) constant(c float64) Mem {
	if s.size == 8 {
		return bits64(math.Float64bits(c))
	}
	return bits32(math.Float32bits(float32(c)))
}

// everywhere is a vector of one constant in memory.
func (s shape) everywhere(c float64) Mem {
	i := 0
	if s.size == 8 {
		i = indexOf(&wide64, math.Float64bits(c))
	} else {
		i = indexOf(&wide32, math.Float32bits(float32(c)))
	}
	return NewDataAddr(Symbol{Name: wideName(s.size), Static: true}, s.bytes*i)
}

func wideName(size int) string { return fmt.Sprint("wide", 8*size) }

// edge is the address of the first clear byte of a table: edgeBytes set ones, then as many clear ones. A load from n
// elements before it is a mask of n lanes.
const edgeBytes = 256

var edgeUsed bool

func edge() gp {
	edgeUsed = true
	p := GP64()
	LEAQ(NewDataAddr(Symbol{Name: "edge", Static: true}, edgeBytes), p)
	return p
}

func emitConstants(string) {
	if edgeUsed {
		GLOBL("edge", RODATA|NOPTR)
		for i := 0; i < 2*edgeBytes; i += 8 {
			if i < edgeBytes {
				DATA(i, U64(math.MaxUint64))
			} else {
				DATA(i, U64(0))
			}
		}
	}
	if len(wide64) > 0 {
		GLOBL(wideName(8), RODATA|NOPTR)
		for i := range 4 * len(wide64) {
			DATA(8*i, U64(wide64[i/4]))
		}
	}
	if len(wide32) > 0 {
		GLOBL(wideName(4), RODATA|NOPTR)
		for i := range 8 * len(wide32) {
			DATA(4*i, U32(wide32[i/8]))
		}
	}
	if len(pool64) > 0 {
		GLOBL(poolName(8), RODATA|NOPTR)
		for i, v := range pool64 {
			DATA(8*i, U64(v))
		}
	}
	if len(pool32) > 0 {
		GLOBL(poolName(4), RODATA|NOPTR)
		for i, v := range pool32 {
			DATA(4*i, U32(v))
		}
	}
}

// regs holds the constants of the function being written.
var regs map[float64]vec

// consts broadcasts constants; it belongs before the first loop. AVX2 has no registers to spare and takes them from memory.
func (s shape) consts(cs ...float64) {
	if s.bytes == 32 {
		return
	}
	for _, c := range cs {
		if _, ok := regs[c]; !ok {
			regs[c] = s.new()
			s.broadcast(s.constant(c), regs[c])
		}
	}
}

// c returns a constant that consts has loaded, as the first operand of an instruction, which may be in memory.
func (s shape) c(v float64) Op {
	if s.bytes == 32 {
		return s.everywhere(v)
	}
	r, ok := regs[v]
	if !ok {
		panic(fmt.Sprint("constant not loaded: ", v))
	}
	return r
}

// reg returns such a constant in a register.
func (s shape) reg(v float64) vec {
	if m, ok := s.c(v).(Mem); ok {
		r := s.new()
		s.move(m, r)
		return r
	}
	return regs[v]
}

// start begins a function and loads the named parameters.
func start(name, sig string, params ...string) (r []gp) {
	TEXT(name, NOSPLIT, sig)
	Pragma("noescape")
	for _, p := range params {
		r = append(r, GP64())
		Load(Param(p), r[len(r)-1])
	}
	regs = map[float64]vec{}
	return r
}

// begin starts the variant for s of a kernel, and sees to it that the kernel itself is written.
func (s shape) begin(base, sig string, params ...string) []gp {
	if s.bytes == 64 {
		kernels = append(kernels, kernel{fmt.Sprint(base, 8*s.size), s.name(base), shape{s.size, 32}.name(base), sig})
	}
	return start(s.name(base), sig, params...)
}

// kernel is a function that jumps to its variant for the active path.
type kernel struct{ name, avx512, avx2, sig string }

var kernels []kernel

// emitKernels writes the choices: in assembly, where an indirect call would make the operands escape to the heap in Go.
func emitKernels() {
	for _, k := range kernels {
		start(k.name, k.sig)
		CMPB(Mem{Symbol: Symbol{Name: "·active"}, Base: reg.StaticBase}, U8(pathAVX512))
		JNE(LabelRef("avx2"))
		tailCall(k.avx512)
		Label("avx2")
		tailCall(k.avx2)
	}
}

// pathAVX512 is the constant of package kernels.
const pathAVX512 = 2

func tailCall(name string) {
	Instruction(&ir.Instruction{Opcode: "JMP", Operands: []Op{LabelRef("·" + name + "(SB)")}, IsTerminal: true})
}

// scalar broadcasts a floating-point parameter.
func (s shape) scalar(name string) vec {
	p, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	v := s.new()
	s.broadcast(p.Addr, v)
	return v
}

func stop() {
	VZEROUPPER()
	RET()
}

var labels int

func label(name string) string {
	labels++
	return fmt.Sprint(name, labels)
}

// low sets k to the low n lanes, n < 256.
func (s shape) low(n gp, k mask) {
	ones, m := GP32(), GP32()
	MOVL(U32(1<<s.lanes()-1), ones)
	BZHIL(n.As32(), ones, m)
	KMOVW(m, k)
}

// span walks over n elements at once from several pointers, neither of which it changes: first unroll full vectors at a
// time, then one at a time, the last under a mask. body is given the mask, nil for none, and the address
// of its i-th vector from a pointer.
func (s shape) span(n gp, unroll int, body func(u int, k Op, at func(p gp, i int) Mem)) {
	count, index, step := GP64(), GP64(), unroll*s.lanes()
	loop, tail, one, done := label("loop"), label("tail"), label("one"), label("done")
	at := func(p gp, i int) Mem {
		return Mem{Base: p, Index: index, Scale: uint8(s.size), Disp: s.bytes * i}
	}
	MOVQ(n, count)
	XORQ(index, index)
	SUBQ(U32(uint32(step)), count)
	JL(LabelRef(tail))
	Label(loop)
	body(unroll, nil, at)
	ADDQ(U32(uint32(step)), index)
	SUBQ(U32(uint32(step)), count)
	JGE(LabelRef(loop))
	Label(tail)
	ADDQ(U32(uint32(step)), count)
	JZ(LabelRef(done))
	if s.bytes == 64 {
		Label(one)
		k := K()
		s.low(count, k)
		body(1, k, at)
		ADDQ(U32(uint32(s.lanes())), index)
		SUBQ(U32(uint32(s.lanes())), count)
		JG(LabelRef(one))
	} else { // masked stores are slow on some CPUs, so whole vectors do without
		part := label("part")
		SUBQ(U32(uint32(s.lanes())), count)
		JL(LabelRef(part))
		Label(one)
		body(1, nil, at)
		ADDQ(U32(uint32(s.lanes())), index)
		SUBQ(U32(uint32(s.lanes())), count)
		JGE(LabelRef(one))
		Label(part)
		ADDQ(U32(uint32(s.lanes())), count)
		JZ(LabelRef(done))
		NEGQ(count)
		k := s.new()
		s.move(Mem{Base: edge(), Index: count, Scale: uint8(s.size)}, k)
		body(1, k, at)
	}
	Label(done)
}

// gather reduces the accumulators with op to the first, which it returns.
func (s shape) gather(acc []vec, op func(...Op)) vec {
	for n := len(acc) / 2; n > 0; n /= 2 {
		each(acc[:n], func(i int) { op(acc[i+n], acc[i], acc[i]) })
	}
	return acc[0]
}

// fold gathers the accumulators and then reduces the lanes of the first; every lane of acc[0] holds the result.
func (s shape) fold(acc []vec, op func(...Op)) {
	t, v := s.new(), s.gather(acc, op)
	if s.bytes == 64 {
		for _, imm := range []uint8{0x4e, 0xb1} { // halves, then quarters, of a zmm
			VSHUFF64X2(U8(imm), v, v, t)
			op(t, v, v)
		}
	} else {
		VPERM2F128(U8(1), v, v, t)
		op(t, v, v)
	}
	if s.size == 8 {
		VPERMILPD(U8(0x55&(1<<s.lanes()-1)), v, t)
		op(t, v, v)
		return
	}
	for _, imm := range []uint8{0x4e, 0xb1} {
		VPERMILPS(U8(imm), v, t)
		op(t, v, v)
	}
}
