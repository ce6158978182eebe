package rng

import "math"

// Float is the element type of generated noise.
type Float interface{ float32 | float64 }

// Normal fills dst with the standard normal values of one sample of one stream: dst[i] is a function of seed, stream,
// sample and i. A float32 is the rounded float64. The distribution is that of √2·erf⁻¹ at the 2^52 odd multiples of
// 2^−52 in (−1, 1), each equally likely: symmetric, and cut at 8.2 standard deviations.
func Normal[T Float](dst []T, seed, stream, sample uint64) {
	k := key(seed, stream, normals)
	for i := 0; i < len(dst); i += 2 {
		b := philox(block{uint64(i / 2), sample}, k)
		dst[i] = T(normal(b[0]))
		if i+1 < len(dst) {
			dst[i+1] = T(normal(b[1]))
		}
	}
}

// normal inverts the distribution at the middle of one of 2^52 cells, which is exact in a float64.
func normal(word uint64) float64 {
	odd := int64(word>>12)*2 + 1 - 1<<52
	return math.Sqrt2 * math.Erfinv(float64(odd)*0x1p-52)
}

// Uniform fills dst with values that are uniform on [0, 1): dst[i] is a function of seed, stream, sample and i. A
// float64 is a multiple of 2^−53; a float32 is the float64 rounded, or the largest number below 1 where that gives 1.
func Uniform[T Float](dst []T, seed, stream, sample uint64) {
	k := key(seed, stream, uniforms)
	for i := 0; i < len(dst); i += 2 {
		b := philox(block{uint64(i / 2), sample}, k)
		dst[i] = below(T(uniform(b[0])))
		if i+1 < len(dst) {
			dst[i+1] = below(T(uniform(b[1])))
		}
	}
}

func uniform(word uint64) float64 { return float64(word>>11) * 0x1p-53 }

// below keeps what rounding to a float32 has made 1 in the interval.
func below[T Float](v T) T {
	if v == 1 {
		return 1 - 0x1p-24
	}
	return v
}

// Uint64 returns the i-th word of a stream.
func Uint64(seed, stream, i uint64) uint64 {
	return philox(block{i / 2}, key(seed, stream, words))[i%2]
}

// Source yields the words of a stream one after the other: a [math/rand/v2.Source] for shuffles and choices. It is not
// safe for concurrent use. Make one with [NewSource].
type Source struct {
	key, next uint64
	held      block
}

// NewSource returns a Source at the start of a stream: its i-th value is [Uint64] of i.
func NewSource(seed, stream uint64) *Source { return &Source{key: key(seed, stream, words)} }

// Uint64 returns the next word.
func (s *Source) Uint64() uint64 {
	i := s.next
	if i%2 == 0 {
		s.held = philox(block{i / 2}, s.key)
	}
	s.next++
	return s.held[i%2]
}
