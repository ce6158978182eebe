package safetensors

import (
	"fmt"
	"math"
	"math/bits"
)

// Dtype is the type of a tensor's elements, spelled as in the file.
//
// [Read] converts those listed here. A file may hold others; they are listed like any tensor, and only reading
// them is an error.
type Dtype string

// The element types that [Read] converts. [Write] takes the four floats.
const (
	F64  Dtype = "F64"
	F32  Dtype = "F32"
	BF16 Dtype = "BF16" // the upper half of an F32: 8 exponent bits, 7 of fraction
	F16  Dtype = "F16"  // IEEE 754 binary16: 5 exponent bits, 10 of fraction
	I64  Dtype = "I64"
	I32  Dtype = "I32"
	I16  Dtype = "I16"
	I8   Dtype = "I8"
	U64  Dtype = "U64"
	U32  Dtype = "U32"
	U16  Dtype = "U16"
	U8   Dtype = "U8"
)

const (
	readable = "F64, F32, BF16, F16, I64, I32, I16, I8, U64, U32, U16 and U8"
	writable = "F64, F32, BF16 and F16"
)

// bits is the size of one element, or 0 if the dtype is not known.
func (d Dtype) bits() uint64 {
	switch d {
	case F64, I64, U64, "C64":
		return 64
	case F32, I32, U32:
		return 32
	case BF16, F16, I16, U16:
		return 16
	case I8, U8, "BOOL", "F8_E5M2", "F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ":
		return 8
	case "F6_E2M3", "F6_E3M2":
		return 6
	case "F4":
		return 4
	}
	return 0
}

// width is the size in bytes of one element that Read can convert, or 0.
func (d Dtype) width() int {
	switch d {
	case F64, F32, BF16, F16, I64, I32, I16, I8, U64, U32, U16, U8:
		return int(d.bits() / 8)
	}
	return 0
}

// rank is the place of a dtype in the data of a written file, or 0 if it cannot be written.
func (d Dtype) rank() int {
	switch d {
	case F64:
		return 1
	case F32:
		return 2
	case BF16:
		return 3
	case F16:
		return 4
	}
	return 0
}

// overflow is the smallest magnitude that rounds to infinity in a float dtype: halfway between the largest finite
// number and the next power of two, where the tie goes to even, which is up.
func (d Dtype) overflow() float64 {
	switch d {
	case F16:
		return 65520
	case BF16:
		return 0x1.ffp127
	case F32:
		return 0x1.ffffffp127
	}
	return math.Inf(1)
}

// maxRank bounds the number of dimensions: NumPy's limit, and far beyond any network's.
const maxRank = 64

// count is the number of elements of a shape.
func count(shape []int) (int, error) {
	if len(shape) > maxRank {
		return 0, fmt.Errorf("shape has %d dimensions, more than %d", len(shape), maxRank)
	}
	n := uint64(1)
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		hi, lo := bits.Mul64(n, uint64(d))
		if hi != 0 || lo > math.MaxInt {
			return 0, fmt.Errorf("shape %v overflows: it has more elements than an int can count", shape)
		}
		n = lo
	}
	return int(n), nil
}
