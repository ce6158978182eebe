package rng

import (
	"math"
	"math/rand/v2"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
)

// The known answers of the authors' Random123 library (kat_vectors, philox4x32-10): counter, key, output, words in order.
func TestPhiloxKnownAnswers(t *testing.T) {
	pair := func(lo, hi uint32) uint64 { return uint64(lo) | uint64(hi)<<32 }
	for _, v := range []struct{ counter, key, out []uint32 }{
		{[]uint32{0, 0, 0, 0}, []uint32{0, 0}, []uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, []uint32{0xffffffff, 0xffffffff}, []uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, []uint32{0xa4093822, 0x299f31d0}, []uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		got := philox(block{pair(v.counter[0], v.counter[1]), pair(v.counter[2], v.counter[3])}, pair(v.key[0], v.key[1]))
		require.Equal(t, block{pair(v.out[0], v.out[1]), pair(v.out[2], v.out[3])}, got)
	}
}

// Any change of the layout of seeds, streams, samples and indices would change everybody's results: these are fixed.
func TestLayoutIsFixed(t *testing.T) {
	k := philox(block{7, 0}, 42)[0]
	x := make([]float64, 4)
	Normal(x, 42, 7, 9)
	require.Equal(t, normal(philox(block{0, 9}, k)[0]), x[0])
	require.Equal(t, normal(philox(block{0, 9}, k)[1]), x[1])
	require.Equal(t, normal(philox(block{1, 9}, k)[1]), x[3])
	Uniform(x, 42, 7, 9)
	require.Equal(t, float64(philox(block{1, 9}, philox(block{7, 1}, 42)[0])[0]>>11)*0x1p-53, x[2])
	require.Equal(t, philox(block{1, 0}, philox(block{7, 2}, 42)[0])[1], Uint64(42, 7, 3))
}

func TestValuesDependOnTheirAddressOnly(t *testing.T) {
	long, short := make([]float64, 101), make([]float64, 37)
	Normal(long, 1, 2, 3)
	Normal(short, 1, 2, 3)
	require.Equal(t, long[:37], short)
	single := make([]float32, 101)
	Normal(single, 1, 2, 3)
	for i := range single {
		require.Equal(t, float32(long[i]), single[i])
	}
	for name, other := range map[string][3]uint64{"seed": {2, 2, 3}, "stream": {1, 3, 3}, "sample": {1, 2, 4}, "high half": {1, 2, 3 | 1<<40}} {
		Normal(short, other[0], other[1], other[2])
		for i := range short {
			require.NotEqual(t, long[i], short[i], name)
		}
	}
	Uniform(short, 1, 2, 3)
	Uniform(single, 1, 2, 3)
	for i := range short {
		require.Equal(t, float32(short[i]), single[i])
	}
}

func draws(n int, f func(dst []float64, sample uint64)) []float64 {
	x := make([]float64, n)
	for s := 0; s*1000 < n; s++ {
		f(x[s*1000:(s+1)*1000], uint64(s))
	}
	return x
}

// With n draws the mean of x^k has a standard deviation of √((E x^2k − (E x^k)²)/n); five of them are allowed.
func TestMoments(t *testing.T) {
	const n = 400000
	normal := draws(n, func(dst []float64, s uint64) { Normal(dst, 11, 0, s) })
	uniform := draws(n, func(dst []float64, s uint64) { Uniform(dst, 11, 0, s) })
	gauss := []float64{1, 0, 1, 0, 3, 0, 15, 0, 105, 0, 945, 0, 10395}
	for k := 1; k <= 6; k++ {
		var mn, mu float64
		for i := range n {
			mn += math.Pow(normal[i], float64(k)) / n
			mu += math.Pow(uniform[i], float64(k)) / n
		}
		require.InDelta(t, gauss[k], mn, 5*math.Sqrt((gauss[2*k]-gauss[k]*gauss[k])/n), "normal, power %d", k)
		e, e2 := 1/float64(k+1), 1/float64(2*k+1)
		require.InDelta(t, e, mu, 5*math.Sqrt((e2-e*e)/n), "uniform, power %d", k)
	}
}

// Kolmogorov and Smirnov's distance exceeds 1.95/√n once in a thousand times.
func TestDistributions(t *testing.T) {
	const n = 100000
	for name, x := range map[string][]float64{
		"normal": draws(n, func(dst []float64, s uint64) {
			Normal(dst, 5, 6, s)
			for i, v := range dst {
				dst[i] = 0.5 * math.Erfc(-v/math.Sqrt2)
			}
		}),
		"uniform": draws(n, func(dst []float64, s uint64) { Uniform(dst, 5, 6, s) }),
	} {
		sort.Float64s(x)
		worst := 0.0
		for i, v := range x {
			worst = max(worst, math.Abs(v-(float64(i)+0.5)/n))
		}
		require.Less(t, worst, 1.95/math.Sqrt(n), name)
	}
}

// Neighbours in index, sample, stream and seed must be uncorrelated: the mean of n products has deviation 1/√n.
func TestNeighboursAreUncorrelated(t *testing.T) {
	const n = 100000
	base, other := make([]float64, n), make([]float64, n)
	Normal(base, 1, 1, 1)
	for name, f := range map[string]func(){
		"index":  func() { copy(other, base[1:]) },
		"sample": func() { Normal(other, 1, 1, 2) },
		"stream": func() { Normal(other, 1, 2, 1) },
		"seed":   func() { Normal(other, 2, 1, 1) },
	} {
		f()
		sum := 0.0
		for i := range base[:n-1] {
			sum += base[i] * other[i] / n
		}
		require.Less(t, math.Abs(sum), 4/math.Sqrt(n), name)
	}
}

func TestNormalIsSymmetricAndCutWhereDocumented(t *testing.T) {
	for _, w := range []uint64{0, 1 << 12, 0x123456789abcdef0, 1<<63 - 1} {
		require.Equal(t, -normal(w), normal(^w))
	}
	require.InDelta(t, -8.2095, normal(0), 1e-4) // the quantile of 2^−53, to the digits given
	require.Positive(t, normal(1<<63))
}

func TestUniformStaysBelowOne(t *testing.T) {
	require.Equal(t, float32(1-0x1p-24), below(float32(1)))
	require.Equal(t, 1-0x1p-53, below(float64(1-0x1p-53)))
}

func TestSourceYieldsTheStream(t *testing.T) {
	var _ rand.Source = NewSource(3, 4)
	s := NewSource(3, 4)
	for i := range uint64(9) {
		require.Equal(t, Uint64(3, 4, i), s.Uint64())
	}
	a, b := rand.New(NewSource(3, 4)).Perm(50), rand.New(NewSource(3, 4)).Perm(50)
	require.Equal(t, a, b)
	require.NotEqual(t, a, rand.New(NewSource(3, 5)).Perm(50))
}

func TestNothingAllocates(t *testing.T) {
	x := make([]float32, 100)
	require.Zero(t, testing.AllocsPerRun(10, func() {
		Normal(x, 1, 2, 3)
		Uniform(x, 1, 2, 3)
	}))
}

func BenchmarkNormal(b *testing.B) {
	x := make([]float32, 784)
	for b.Loop() {
		Normal(x, 1, 2, 3)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/784, "ns/element")
}

func BenchmarkUniform(b *testing.B) {
	x := make([]float32, 784)
	for b.Loop() {
		Uniform(x, 1, 2, 3)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/784, "ns/element")
}
