package kernels

import "unsafe"

// Float is the element type of every kernel.
type Float interface{ float32 | float64 }

// path is a family of kernels; of those of one kind of CPU a later one needs more of it.
type path uint8

const (
	pathGo path = iota
	pathAVX2
	pathAVX512
	pathNEON
)

// active is what this CPU runs. Only this package's tests assign to it.
var active = best()

// Path names the kernels in use: "avx512", "avx2", "neon" or "go".
func Path() string { return pathNames[active] }

var pathNames = [...]string{"go", "avx2", "avx512", "neon"}

func is32[T Float]() bool {
	var zero T
	return unsafe.Sizeof(zero) == 4
}

// as32 and as64 reinterpret a slice whose element type is32 has found out.
func as32[T Float](x []T) []float32 { return *(*[]float32)(unsafe.Pointer(&x)) }
func as64[T Float](x []T) []float64 { return *(*[]float64)(unsafe.Pointer(&x)) }

// fit returns the first n elements of x, which must have them: slicing alone would look at the capacity.
func fit[T Float](x []T, n int) []T {
	if len(x) < n {
		panic("kernels: an operand is too short")
	}
	return x[:n]
}

// unary, binary, scalar and gating name the functions of a kind that have assembly.
type (
	unary  uint8
	binary uint8
	scalar uint8
	gating uint8
)

const (
	unaryExp unary = iota
	unaryTanh
	unarySigmoid
	unarySilu
	unaryGelu
)

const (
	binaryAdd binary = iota
	binarySub
	binaryMul
	binaryDiv
	binaryMulAdd
	binarySiluGrad
	binaryGeluGrad
)

const (
	scalarScale scalar = iota
	scalarAxpy
)

const (
	gatePlain gating = iota
	gateAdd
	gateModulate
)
