// Package kernels holds the loops that dominate the time of a network: matrix products, elementwise functions,
// reductions, softmax, normalization and the optimizer's update, for float32 and float64, without cgo.
//
// # Paths
//
// Every function has a portable Go body, which defines what it computes. The ones that matter also have assembly, written by
// the programs in gen (go generate), and the CPU's features choose it once: on amd64 "avx512" (F, DQ, BW and VL), else "avx2"
// (with FMA), else "go"; on arm64 "neon", which needs ASIMD and so no more than Go does; see [Path]. GODEBUG=cpu.avx512f=off
// (or cpu.avx2=off, cpu.asimd=off, or cpu.all=off) picks a lesser path for a whole process. Paths agree to rounding, not to
// the bit, except where a function says more.
//
// The vectors of "neon" have 16 bytes, and there are no masks: what is left of a row after whole vectors is done element by
// element. [Attention] is made of products and softmax there. No machine with arm64 was at hand: these tests pass in an
// emulator, and how fast the path is has not been measured.
//
// # Same bits
//
// On one path, a result depends on its operands' values and on the shape alone: never on alignment, on which tail of a
// vector an element falls in, on the number of workers or on the other rows. So rows (or, for [Gemm], rows and columns)
// can be split between workers at will, and what is computed for one sample does not depend on its batch.
//
// # Floating point
//
// NaN and infinities propagate as IEEE 754 arithmetic on the formula in each doc comment would have it. Underflow is
// gradual: no path sets flush-to-zero or denormals-are-zero, because the state would leak into the caller's thread and
// because small gradients are legitimate numbers.
//
// # Conventions
//
// Matrices are row-major. dst may be the same slice as an operand, unless said otherwise; partial overlap is not
// allowed. Operands at least as long as dst are accepted and the rest is not read. Lengths that do not fit are a broken
// invariant of the caller and panic. Nothing allocates.
package kernels
