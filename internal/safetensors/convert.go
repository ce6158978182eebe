package safetensors

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// decode converts the little-endian elements of src into dst. With an error comes the index of the element at fault.
func decode[T float32 | float64](dst []T, src []byte, d Dtype) (at int, err error) {
	le := binary.LittleEndian
	switch d {
	case F64:
		for i := range dst {
			v := math.Float64frombits(le.Uint64(src[8*i:]))
			dst[i] = T(v)
			if math.IsInf(float64(dst[i]), 0) && !math.IsInf(v, 0) {
				return i, fmt.Errorf("%g is beyond the range of float32; read it as float64", v)
			}
		}
	case F32:
		for i := range dst {
			dst[i] = T(math.Float32frombits(le.Uint32(src[4*i:])))
		}
	case BF16:
		for i := range dst {
			dst[i] = T(math.Float32frombits(uint32(le.Uint16(src[2*i:])) << 16))
		}
	case F16:
		for i := range dst {
			dst[i] = T(widen(le.Uint16(src[2*i:])))
		}
	case U64, U32, U16, U8:
		w := d.width()
		for i := range dst {
			v := unsigned(src[w*i : w*(i+1)])
			if !holds[T](v) {
				return i, fmt.Errorf("integer %d cannot be held exactly in a %T", v, dst[i])
			}
			dst[i] = T(v)
		}
	case I64, I32, I16, I8:
		w := d.width()
		for i := range dst {
			unused := 64 - 8*w
			v := int64(unsigned(src[w*i:w*(i+1)])<<unused) >> unused
			magnitude := uint64(v)
			if v < 0 {
				magnitude = -magnitude
			}
			if !holds[T](magnitude) {
				return i, fmt.Errorf("integer %d cannot be held exactly in a %T", v, dst[i])
			}
			dst[i] = T(v)
		}
	default:
		panic("safetensors: decode of unreadable dtype " + string(d))
	}
	return 0, nil
}

// encode converts src, which checkRange has passed, to little-endian elements in dst.
func encode[S float32 | float64](dst []byte, src []S, d Dtype) {
	le := binary.LittleEndian
	switch d {
	case F64:
		for i, v := range src {
			le.PutUint64(dst[8*i:], math.Float64bits(float64(v)))
		}
	case F32:
		for i, v := range src {
			le.PutUint32(dst[4*i:], math.Float32bits(float32(v)))
		}
	case BF16:
		for i, v := range src {
			le.PutUint16(dst[2*i:], narrow(float64(v), 8, 7))
		}
	case F16:
		for i, v := range src {
			le.PutUint16(dst[2*i:], narrow(float64(v), 5, 10))
		}
	default:
		panic("safetensors: encode of unwritable dtype " + string(d))
	}
}

// checkRange refuses finite values that would become infinite in d.
func checkRange[S float32 | float64](src []S, d Dtype) error {
	limit := d.overflow()
	for i, v := range src {
		if a := math.Abs(float64(v)); a >= limit && !math.IsInf(a, 0) {
			return fmt.Errorf("element %d is %g, which overflows %s: magnitudes from %g on would become infinite; scale it or use a wider dtype", i, v, d, limit)
		}
	}
	return nil
}

// widen converts a binary16 to the float32 of the same value; a NaN keeps its sign and payload.
func widen(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, fraction := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 0:
		v := float32(fraction) * 0x1p-24
		return math.Float32frombits(sign | math.Float32bits(v))
	case 0x1f:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}

// narrow rounds x to the nearest number, ties to even, of an IEEE-like format of 16 bits. It starts from float64 so that no
// value is rounded twice. A NaN stays a (quiet) NaN with its sign and the top of its payload; overflow gives infinity.
func narrow(x float64, exponentBits, fractionBits int) uint16 {
	const fraction64 = 52
	b := math.Float64bits(x)
	sign := uint16(b>>48) & 0x8000
	exponent := int(b >> fraction64 & 0x7ff)
	fraction := b & (1<<fraction64 - 1)
	infinity := uint16(1<<exponentBits-1) << fractionBits
	shift := fraction64 - fractionBits

	if exponent == 0x7ff {
		if fraction == 0 {
			return sign | infinity
		}
		quiet := uint16(1) << (fractionBits - 1)
		return sign | infinity | quiet | uint16(fraction>>shift)
	}

	// Below the smallest normal number the exponent stays and the leading one moves into the fraction. A subnormal
	// float64 lacks that one, but lies far below half of the smallest number of either format.
	significand := fraction | 1<<fraction64
	exponent -= 1023 - (1<<(exponentBits-1) - 1)
	if exponent < 1 {
		shift += 1 - exponent
		exponent = 1
	}
	if shift > fraction64+1 {
		return sign
	}
	kept := significand >> shift
	rest, half := significand&(1<<shift-1), uint64(1)<<(shift-1)
	if rest > half || rest == half && kept&1 == 1 {
		kept++
	}
	// kept carries the leading one of a normal number, which adds the last unit of the exponent, as does a carry out
	// of rounding.
	out := uint64(exponent-1)<<fractionBits + kept
	return sign | uint16(min(out, uint64(infinity)))
}

// unsigned is the little-endian integer of up to eight bytes.
func unsigned(b []byte) uint64 {
	var v uint64
	for i := len(b) - 1; i >= 0; i-- {
		v = v<<8 | uint64(b[i])
	}
	return v
}

// holds tells whether T represents an integer of this magnitude exactly: whether its ones span no more bits than the
// significand of T.
func holds[T float32 | float64](magnitude uint64) bool {
	significand := 53
	if _, single := any(T(0)).(float32); single {
		significand = 24
	}
	return bits.Len64(magnitude)-bits.TrailingZeros64(magnitude) <= significand
}
