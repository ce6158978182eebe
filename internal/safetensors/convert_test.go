package safetensors

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// half describes a 16-bit float format independently of the conversions under test.
type half struct {
	dtype                  Dtype
	exponentBits, fracBits int
}

var halves = []half{{F16, 5, 10}, {BF16, 8, 7}}

// value is the number that bits stand for, by the definition of the format.
func (h half) value(bits uint16) float64 {
	bias := 1<<(h.exponentBits-1) - 1
	exponent := int(bits>>h.fracBits) & (1<<h.exponentBits - 1)
	fraction := float64(bits&(1<<h.fracBits-1)) / float64(int(1)<<h.fracBits)
	var v float64
	switch {
	case exponent == 1<<h.exponentBits-1 && fraction == 0:
		v = math.Inf(1)
	case exponent == 1<<h.exponentBits-1:
		v = math.NaN()
	case exponent == 0:
		v = math.Ldexp(fraction, 1-bias)
	default:
		v = math.Ldexp(1+fraction, exponent-bias)
	}
	if bits>>15 == 1 {
		v = -v
	}
	return v
}

func (h half) infinity() uint16 { return uint16(1<<h.exponentBits-1) << h.fracBits }

func (h half) decode(t *testing.T, bits uint16) (float32, float64) {
	raw := []byte{byte(bits), byte(bits >> 8)}
	var single [1]float32
	var double [1]float64
	_, err := decode(single[:], raw, h.dtype)
	require.NoError(t, err)
	_, err = decode(double[:], raw, h.dtype)
	require.NoError(t, err)
	return single[0], double[0]
}

func (h half) encode(v float64) uint16 {
	var raw [2]byte
	encode(raw[:], []float64{v}, h.dtype)
	return uint16(raw[0]) | uint16(raw[1])<<8
}

func TestEveryHalfReadsAsItsValueAndWritesBack(t *testing.T) {
	for _, h := range halves {
		t.Run(string(h.dtype), func(t *testing.T) {
			for i := range 1 << 16 {
				bits := uint16(i)
				want := h.value(bits)
				single, double := h.decode(t, bits)
				if math.IsNaN(want) {
					// The payload survives; only the bit that makes a NaN quiet is set.
					quiet := bits | 1<<(h.fracBits-1)
					if single == single || double == double || h.encode(double) != quiet {
						t.Fatalf("NaN %#x reads as %v and writes back as %#x", bits, double, h.encode(double))
					}
					continue
				}
				if math.Float64bits(double) != math.Float64bits(want) || math.Float64bits(float64(single)) != math.Float64bits(want) || h.encode(want) != bits {
					t.Fatalf("%#x is %v: read as %v and %v, written back as %#x", bits, want, single, double, h.encode(want))
				}
			}
		})
	}
}

// Between any two neighbours, the midpoint decides: with monotony this proves the rounding of every number.
func TestHalvesRoundToNearestEven(t *testing.T) {
	for _, h := range halves {
		t.Run(string(h.dtype), func(t *testing.T) {
			for low := uint16(0); low+1 < h.infinity(); low++ {
				high := low + 1
				even := low + low&1
				middle := (h.value(low) + h.value(high)) / 2 // exact in float64
				for _, sign := range []float64{1, -1} {
					set := uint16(0)
					if sign < 0 {
						set = 0x8000
					}
					got := [3]uint16{
						h.encode(sign * math.Nextafter(middle, 0)),
						h.encode(sign * middle),
						h.encode(sign * math.Nextafter(middle, math.Inf(1))),
					}
					want := [3]uint16{low | set, even | set, high | set}
					if got != want {
						t.Fatalf("between %#x and %#x: got %#x, want %#x", low, high, got, want)
					}
				}
			}
		})
	}
}

func TestNumbersFarBelowAHalfBecomeSignedZero(t *testing.T) {
	for _, h := range halves {
		for _, v := range []float64{math.SmallestNonzeroFloat64, 0x1p-1022, 0x1p-200} {
			require.Equal(t, uint16(0), h.encode(v), "%s of %g", h.dtype, v)
			require.Equal(t, uint16(0x8000), h.encode(-v), "%s of %g", h.dtype, -v)
		}
	}
}

// Cutting the payload of such a NaN leaves zero, which would read as infinity.
func TestNaNWithALowPayloadStaysNaN(t *testing.T) {
	for _, h := range halves {
		got := h.encode(math.Float64frombits(0xfff0000000000001))
		require.Equal(t, 0x8000|h.infinity()|1<<(h.fracBits-1), got, h.dtype)
	}
}

// A float64 just above a tie of F16 lies on the tie once rounded to float32; going through float32 would round it to
// even, down.
func TestDoublesAreRoundedOnce(t *testing.T) {
	v := 1 + 0x1p-11 + 0x1p-40
	require.Equal(t, float32(1+0x1p-11), float32(v), "the example must tie in float32")
	require.Equal(t, uint16(0x3c01), half{F16, 5, 10}.encode(v))
}

func TestOverflowLimitIsWhereRoundingReachesInfinity(t *testing.T) {
	for _, h := range halves {
		limit := h.dtype.overflow()
		require.Equal(t, h.infinity(), h.encode(limit), h.dtype)
		require.Equal(t, h.infinity()-1, h.encode(math.Nextafter(limit, 0)), h.dtype)
		require.Equal(t, h.infinity()|0x8000, h.encode(-math.MaxFloat64), h.dtype)
	}
	limit := F32.overflow()
	require.True(t, math.IsInf(float64(float32(limit)), 1))
	require.Equal(t, float32(math.MaxFloat32), float32(math.Nextafter(limit, 0)))
}

func TestIntegersAreHeldOnlyWhenExact(t *testing.T) {
	for _, c := range []struct {
		magnitude      uint64
		single, double bool
	}{
		{0, true, true},
		{1<<24 - 1, true, true},
		{1 << 24, true, true},
		{1<<24 + 1, false, true},
		{1<<24 + 2, true, true},
		{1<<53 - 1, false, true},
		{1 << 53, true, true},
		{1<<53 + 1, false, false},
		{1<<53 + 2, false, true},
		{1 << 63, true, true},
		{math.MaxUint64, false, false},
	} {
		require.Equal(t, c.single, holds[float32](c.magnitude), "float32 %d", c.magnitude)
		require.Equal(t, c.double, holds[float64](c.magnitude), "float64 %d", c.magnitude)
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, d := range []Dtype{F64, F32, F16, BF16} {
		b.Run(fmt.Sprint(d), func(b *testing.B) {
			dst := make([]float32, chunk/d.width())
			src := make([]byte, chunk)
			b.SetBytes(chunk)
			for b.Loop() {
				if _, err := decode(dst, src, d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, d := range []Dtype{F64, F32, F16, BF16} {
		b.Run(fmt.Sprint(d), func(b *testing.B) {
			src := make([]float32, chunk/d.width())
			for i := range src {
				src[i] = float32(i) / 7
			}
			dst := make([]byte, chunk)
			b.SetBytes(chunk)
			for b.Loop() {
				encode(dst, src, d)
			}
		})
	}
}
