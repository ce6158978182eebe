package main

import (
	"fmt"
	"math"
)

// shape is the element type of vectors of 16 bytes.
type shape struct {
	*asm
	size int // bytes an element: 4 or 8
}

func (s shape) lanes() int   { return 16 / s.size }
func (s shape) elem() string { return fmt.Sprint("float", 8*s.size) }

// lane is the letter of an element, and arrangement what a whole vector is called.
func (s shape) lane() string        { return pick(s, "s", "d") }
func (s shape) arrangement() string { return fmt.Sprint(s.lanes(), s.lane()) }

// pick takes what belongs to the element type.
func pick[F any](s shape, single, double F) F {
	if s.size == 8 {
		return double
	}
	return single
}

// The instructions have the result first, as in the manual. Words are those of float32; one bit makes them those of float64.

func (s shape) three(name string, word uint32, d, n, m vec) {
	t := s.arrangement()
	s.word(fmt.Sprintf("%s v%%d.%s, v%%d.%s, v%%d.%s", name, t, t, t), word|pick[uint32](s, 0, 1<<22), []int{0, 5, 16}, d, n, m)
}

func (s shape) two(name, after string, word uint32, d, n vec) {
	t := s.arrangement()
	s.word(fmt.Sprintf("%s v%%d.%s, v%%d.%s%s", name, t, t, after), word|pick[uint32](s, 0, 1<<22), []int{0, 5}, d, n)
}

func (s shape) add(d, n, m vec)      { s.three("fadd", 0x4e20d400, d, n, m) }
func (s shape) sub(d, n, m vec)      { s.three("fsub", 0x4ea0d400, d, n, m) }
func (s shape) mul(d, n, m vec)      { s.three("fmul", 0x6e20dc00, d, n, m) }
func (s shape) div(d, n, m vec)      { s.three("fdiv", 0x6e20fc00, d, n, m) }
func (s shape) min(d, n, m vec)      { s.three("fmin", 0x4ea0f400, d, n, m) } // of a NaN and anything a NaN
func (s shape) max(d, n, m vec)      { s.three("fmax", 0x4e20f400, d, n, m) }
func (s shape) fma(d, n, m vec)      { s.three("fmla", 0x4e20cc00, d, n, m) } // d += n·m
func (s shape) fms(d, n, m vec)      { s.three("fmls", 0x4ea0cc00, d, n, m) } // d −= n·m
func (s shape) addPairs(d, n, m vec) { s.three("faddp", 0x6e20d400, d, n, m) }
func (s shape) maxPairs(d, n, m vec) { s.three("fmaxp", 0x6e20f400, d, n, m) }
func (s shape) round(d, n vec)       { s.two("frintn", "", 0x4e218800, d, n) } // to the nearest, even of two
func (s shape) sqrt(d, n vec)        { s.two("fsqrt", "", 0x6ea1f800, d, n) }
func (s shape) negative(d, n vec)    { s.two("cmlt", ", #0", 0x4ea0a800, d, n) } // all ones where the sign is set

// The even and the odd of pairs of lanes.
func (s shape) even(d, n, m vec) { s.three("trn1", 0x4e802800, d, n, m) }
func (s shape) odd(d, n, m vec)  { s.three("trn2", 0x4e806800, d, n, m) }

// shiftLeft shifts lanes as integers.
func (s shape) shiftLeft(d, n vec, by int) {
	t := s.arrangement()
	s.word(fmt.Sprintf("shl v%%d.%s, v%%d.%s, #%d", t, t, by), 0x4f005400|uint32(8*s.size+by)<<16, []int{0, 5}, d, n)
}

func (a *asm) bits(name string, word uint32, d, n, m vec) {
	a.word(name+" v%d.16b, v%d.16b, v%d.16b", word, []int{0, 5, 16}, d, n, m)
}

func (a *asm) or(d, n, m vec)     { a.bits("orr", 0x4ea01c00, d, n, m) }
func (a *asm) choose(d, n, m vec) { a.bits("bsl", 0x6e601c00, d, n, m) } // n where d is ones, else m

func (a *asm) move(d, n vec) { a.word("mov v%d.16b, v%d.16b", 0x4ea01c00, []int{0, 5, 16}, d, n, n) }

func (a *asm) zero(v vec) { a.word("movi v%d.2d, #0x0", 0x6f00e400, []int{0}, v) }

// upper moves the upper half of n to the lower of d; the rest of d is of no use.
func (a *asm) upper(d, n vec) {
	a.word("ext v%d.16b, v%d.16b, v%d.16b, #8", 0x6e004000, []int{0, 5, 16}, d, n, n)
}

// fmaLane: d += n·m[lane]
func (s shape) fmaLane(d, n, m vec, lane int) {
	word := uint32(0x4f801000 | lane&1<<21 | lane>>1<<11)
	if s.size == 8 {
		word = uint32(0x4fc01000 | lane<<11)
	}
	t := s.arrangement()
	s.word(fmt.Sprintf("fmla v%%d.%s, v%%d.%s, v%%d.%s[%d]", t, t, s.lane(), lane), word, []int{0, 5, 16}, d, n, m)
}

// first copies lane 0 and leaves the others of d.
func (s shape) first(d, n vec) {
	s.word(fmt.Sprintf("mov v%%d.%s[0], v%%d.%s[0]", s.lane(), s.lane()), pick[uint32](s, 0x6e040400, 0x6e080400), []int{0, 5}, d, n)
}

// spread copies lane 0 of n to all of d.
func (s shape) spread(d, n vec) {
	s.word(fmt.Sprintf("dup v%%d.%s, v%%d.%s[0]", s.arrangement(), s.lane()), pick[uint32](s, 0x4e040400, 0x4e080400), []int{0, 5}, d, n)
}

// widen makes two float64 of the lower two float32 of n, widenUpper of the upper two.
func (a *asm) widen(d, n vec)      { a.word("fcvtl v%d.2d, v%d.2s", 0x0e617800, []int{0, 5}, d, n) }
func (a *asm) widenUpper(d, n vec) { a.word("fcvtl2 v%d.2d, v%d.4s", 0x4e617800, []int{0, 5}, d, n) }

// mem is an address: base + disp, or base + index.
type mem struct {
	base  gp
	disp  int
	index gp
}

func (m mem) plus(disp int) mem {
	m.disp += disp
	return m
}

const (
	load  = true
	store = false
)

// access loads or stores the low bytes of v: 4, 8 or 16 of them. A load clears the rest.
func (a *asm) access(load bool, bytes int, m mem, v vec) {
	name, letter := "str", map[int]string{4: "s", 8: "d", 16: "q"}[bytes]
	word := map[int]uint32{4: 0xbd000000, 8: 0xfd000000, 16: 0x3d800000}[bytes]
	if load {
		name, word = "ldr", word|1<<22
	}
	if m.index != nil {
		word = word&^(1<<24) | 1<<21 | 3<<13 | 1<<11
		a.word(fmt.Sprintf("%s %s%%d, [x%%d,x%%d]", name, letter), word, []int{0, 5, 16}, v, m.base, m.index)
		return
	}
	scaled := m.disp / bytes
	if m.disp%bytes != 0 || scaled < 0 || scaled > math.MaxUint16>>4 {
		panic(fmt.Sprint("no such address: ", m.disp))
	}
	a.word(fmt.Sprintf("%s %s%%d, [x%%d%s]", name, letter, displacement(m.disp)), word|uint32(scaled)<<10, []int{0, 5}, v, m.base)
}

func displacement(d int) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf(",#%d", d)
}

// pair loads or stores two vectors.
func (a *asm) pair(load bool, m mem, v, w vec) {
	name, word := "stp", uint32(0xad000000)
	if load {
		name, word = "ldp", 0xad400000
	}
	scaled := m.disp / 16
	if m.index != nil || m.disp%16 != 0 || scaled < 0 || scaled > 63 {
		panic(fmt.Sprint("no such address: ", m.disp))
	}
	a.word(fmt.Sprintf("%s q%%d, q%%d, [x%%d%s]", name, displacement(m.disp)), word|uint32(scaled)<<15, []int{0, 10, 5}, v, w, m.base)
}

// broadcast loads an element into all lanes.
func (s shape) broadcast(base gp, v vec) {
	s.word(fmt.Sprintf("ld1r {v%%d.%s}, [x%%d]", s.arrangement()), pick[uint32](s, 0x4d40c800, 0x4d40cc00), []int{0, 5}, v, base)
}
