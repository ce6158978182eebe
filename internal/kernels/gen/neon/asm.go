package main

import (
	"bytes"
	"fmt"
	"go/format"
	"slices"
	"strings"
)

// register is a virtual one: a vector, or an integer or address if not vector.
type register struct {
	vector bool
	number int // when all of the function is known
}

type (
	vec = *register
	gp  = *register
)

// hardware is what functions may use of both kinds. Of the integer registers R16 and R17 belong to the linker, R18 to the system,
// R26 to closures, R27 to the assembler and the rest to the runtime.
var hardware = map[bool][]int{true: numbers(0, 31), false: append(numbers(0, 15), numbers(19, 25)...)}

func numbers(from, to int) (n []int) {
	for i := from; i <= to; i++ {
		n = append(n, i)
	}
	return n
}

// line is one of a function: an instruction, or a label.
type line struct {
	text   string // of Go's assembler, or the comment of a word; each %d stands for the number of the next register
	word   uint32 // unless 0, the instruction without its registers
	shifts []int  // of the registers in word
	regs   []*register
	label  string // this is one
	target string // of a branch
}

// asm is a file being written, a function at a time.
type asm struct {
	name   string // of the function
	params []param
	lines  []line
	labels int

	constants    gp       // address of the pool, once it is asked for
	pool         []uint64 // a vector holds each twice
	texts, stubs bytes.Buffer
}

type param struct {
	name, kind string
	offset     int
}

// start begins a function of parameters like "n int".
func (a *asm) start(name string, params ...string) {
	a.name, a.params, a.lines, a.labels, a.constants = name, nil, nil, 0, nil
	offset := 0
	for _, p := range params {
		name, kind, _ := strings.Cut(p, " ")
		size := sizeOf(kind)
		offset = (offset + size - 1) / size * size
		a.params = append(a.params, param{name, kind, offset})
		offset += size
	}
}

func sizeOf(kind string) int {
	if kind == "float32" || kind == "uint32" {
		return 4
	}
	return 8
}

// arg loads a parameter.
func (a *asm) arg(name string) gp {
	r := a.gp()
	move := "MOVD"
	if sizeOf(a.param(name).kind) == 4 {
		move = "MOVWU"
	}
	a.op(fmt.Sprintf("%s %s+%d(FP), R%%d", move, name, a.param(name).offset), r)
	return r
}

func (a *asm) param(name string) param {
	return a.params[slices.IndexFunc(a.params, func(p param) bool { return p.name == name })]
}

func (a *asm) gp() gp   { return &register{} }
func (a *asm) vec() vec { return &register{vector: true} }

func (a *asm) vecs(n int) (v []vec) {
	for range n {
		v = append(v, a.vec())
	}
	return v
}

// op writes an instruction in the syntax of Go's assembler.
func (a *asm) op(text string, regs ...*register) {
	a.lines = append(a.lines, line{text: text, regs: regs})
}

// branch writes one to a label; text is all that comes before it.
func (a *asm) branch(text, label string, regs ...*register) {
	a.lines = append(a.lines, line{text: text, regs: regs, target: label})
}

func (a *asm) label(name string) { a.lines = append(a.lines, line{label: name}) }

// unique returns a label that no other is.
func (a *asm) unique(name string) string {
	a.labels++
	return fmt.Sprint(name, a.labels)
}

// word writes what Go's assembler has no name for, or none that goes with the rest, in the syntax of GNU's in a comment.
func (a *asm) word(text string, word uint32, shifts []int, regs ...*register) {
	a.lines = append(a.lines, line{text: text, word: word, shifts: shifts, regs: regs})
}

// constant loads a vector from the pool.
func (a *asm) constant(half uint64, v vec) {
	if a.constants == nil {
		a.constants = a.gp()
		load := line{text: "MOVD $constants<>(SB), R%d", regs: []*register{a.constants}}
		a.lines = append([]line{load}, a.lines...)
	}
	i := slices.Index(a.pool, half)
	if i < 0 {
		i, a.pool = len(a.pool), append(a.pool, half)
	}
	a.access(load, 16, mem{base: a.constants, disp: 16 * i}, v)
}

// stop ends the function.
func (a *asm) stop() {
	a.op("RET")
	a.finish()
}

// finish writes the function, which has ended.
func (a *asm) finish() {
	a.allocate()
	sig, size := []string{}, 0
	for _, p := range a.params {
		sig, size = append(sig, p.name+" "+p.kind), p.offset+sizeOf(p.kind)
	}
	fmt.Fprintf(&a.stubs, "\n//go:noescape\nfunc %s(%s)\n", a.name, strings.Join(sig, ", "))
	fmt.Fprintf(&a.texts, "\n// func %s(%s)\nTEXT ·%s(SB), NOSPLIT, $0-%d\n", a.name, strings.Join(sig, ", "), a.name, size)
	for _, l := range a.lines {
		var numbers []any
		word := l.word
		for i, r := range l.regs {
			numbers = append(numbers, r.number)
			if l.word != 0 {
				word |= uint32(r.number) << l.shifts[i]
			}
		}
		text := fmt.Sprintf(l.text, numbers[:strings.Count(l.text, "%d")]...)
		switch {
		case l.label != "":
			fmt.Fprintf(&a.texts, "\n%s:\n", l.label)
		case l.word != 0:
			fmt.Fprintf(&a.texts, "\tWORD $0x%08x // %s\n", word, text)
		case l.target != "":
			fmt.Fprintf(&a.texts, "\t%s%s\n", text, l.target)
		default:
			fmt.Fprintf(&a.texts, "\t%s\n", text)
		}
	}
}

// allocate numbers the registers: each is taken from the first line that names it to the last, or to the end of a loop that it
// lives on in.
func (a *asm) allocate() {
	type span struct{ from, to int }
	live, order := map[*register]*span{}, []*register{}
	at := map[string]int{}
	for i, l := range a.lines {
		if l.label != "" {
			at[l.label] = i
		}
		for _, r := range l.regs {
			if live[r] == nil {
				live[r], order = &span{i, i}, append(order, r)
			}
			live[r].to = i
		}
	}
	for changed := true; changed; {
		changed = false
		for i, l := range a.lines {
			top, ok := at[l.target]
			if !ok || top > i {
				continue
			}
			for _, s := range live {
				if s.from < top && s.to > top && s.to < i {
					s.to, changed = i, true
				}
			}
		}
	}
	taken := map[bool]map[int]*register{true: {}, false: {}}
	for _, r := range order {
		number, until := -1, -1
		for _, n := range hardware[r.vector] {
			// Of the free ones that which has been free for longest: a processor that executes in order then waits the least.
			was := -1
			if t := taken[r.vector][n]; t != nil {
				was = live[t].to
			}
			if was < live[r].from && (number < 0 || was < until) {
				number, until = n, was
			}
		}
		if number < 0 {
			panic(fmt.Sprintf("%s: out of registers at line %d", a.name, live[r].from))
		}
		r.number = number
		taken[r.vector][number] = r
	}
}

// source returns the assembly and the Go declarations of all that was written, but for their first lines.
func (a *asm) source() (assembly, stubs []byte) {
	var b bytes.Buffer
	b.WriteString("\n#include \"textflag.h\"\n")
	b.Write(a.texts.Bytes())
	if len(a.pool) > 0 {
		b.WriteString("\n")
		for i := range 2 * len(a.pool) {
			fmt.Fprintf(&b, "DATA constants<>+%d(SB)/8, $0x%016x\n", 8*i, a.pool[i/2])
		}
		fmt.Fprintf(&b, "GLOBL constants<>(SB), RODATA|NOPTR, $%d\n", 16*len(a.pool))
	}
	stubs, err := format.Source(append([]byte("\npackage kernels\n"), a.stubs.Bytes()...))
	if err != nil {
		panic(err)
	}
	return b.Bytes(), stubs
}

// Of integers and addresses, results first:

// offset is a sum in a new register.
func (a *asm) offset(x, y gp) gp {
	z := a.gp()
	a.op("ADD R%d, R%d, R%d", x, y, z)
	return z
}

func (a *asm) copy(x, y gp)      { a.op("MOVD R%d, R%d", y, x) }
func (a *asm) clear(x gp)        { a.op("MOVD ZR, R%d", x) }
func (a *asm) advance(x, by gp)  { a.op("ADD R%d, R%d, R%d", by, x, x) }
func (a *asm) skip(x gp, by int) { a.op(fmt.Sprintf("ADD $%d, R%%d, R%%d", by), x, x) }
func (a *asm) less(x gp, by int) { a.op(fmt.Sprintf("SUBS $%d, R%%d, R%%d", by), x, x) } // and compare with 0
func (a *asm) more(x gp, by int) { a.op(fmt.Sprintf("ADDS $%d, R%%d, R%%d", by), x, x) } // and compare with 0
