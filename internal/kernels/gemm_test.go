package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/stretchr/testify/require"
)

// onEveryPath runs a subtest on each path of this CPU.
func onEveryPath(t *testing.T, f func(t *testing.T)) {
	for _, path := range kernels.Paths() {
		t.Run(path, func(t *testing.T) { kernels.Force(path, func() { f(t) }) })
	}
}

func noise[T kernels.Float](r *rand.Rand, x []T) []T {
	for i := range x {
		x[i] = T(r.Float64() - 0.5)
	}
	return x
}

func epsilon[T kernels.Float]() float64 {
	var zero T
	if unsafe.Sizeof(zero) == 4 {
		return 0x1p-24
	}
	return 0x1p-53
}

const canary = 12345

type product struct {
	ta, tb, add bool
	m, n, k     int
	padA        int // strides beyond the width
	padB, padC  int
}

func stored(rows, cols, pad int, transposed bool) (ld, size int) {
	if transposed {
		rows, cols = cols, rows
	}
	if rows == 0 || cols == 0 {
		return cols + pad, 0
	}
	return cols + pad, (rows-1)*(cols+pad) + cols
}

func at(i, j, ld int, transposed bool) int {
	if transposed {
		i, j = j, i
	}
	return i*ld + j
}

// check compares one product with sums in float64 and looks at what lies between the rows of c.
func check[T kernels.Float](t testing.TB, r *rand.Rand, p product) {
	t.Helper()
	lda, sizeA := stored(p.m, p.k, p.padA, p.ta)
	ldb, sizeB := stored(p.k, p.n, p.padB, p.tb)
	ldc, sizeC := stored(p.m, p.n, p.padC, false)
	end := r.IntN(2) == 0
	a, b := noise(r, guarded[T](t, sizeA, end)), noise(r, guarded[T](t, sizeB, end))
	c := guarded[T](t, sizeC, end)
	kernels.Fill(c, canary)
	scratch := guarded[T](t, kernels.GemmScratch[T](p.ta, p.tb, p.m, p.n, p.k), end)
	kernels.Fill(scratch, T(math.NaN()))
	for i := range p.m {
		for j := range p.n {
			if p.add {
				c[i*ldc+j] = 1
			} else {
				c[i*ldc+j] = T(math.NaN()) // = must not read c
			}
		}
	}
	kernels.Gemm(p.ta, p.tb, p.m, p.n, p.k, a, lda, b, ldb, c, ldc, p.add, scratch)
	for i := range p.m {
		for j := range p.n {
			want, size := 0.0, 0.0
			if p.add {
				want, size = 1, 1
			}
			for l := range p.k {
				v := float64(a[at(i, l, lda, p.ta)]) * float64(b[at(l, j, ldb, p.tb)])
				want += v
				size += math.Abs(v)
			}
			// Each of k products and sums rounds once: an error of at most k+1 roundings of the sum of magnitudes.
			if diff := math.Abs(float64(c[i*ldc+j]) - want); !(diff <= float64(p.k+1)*epsilon[T]()*size) {
				t.Fatalf("%+v: c[%d,%d] = %v, want %v", p, i, j, c[i*ldc+j], want)
			}
		}
		for q := i*ldc + p.n; q < min((i+1)*ldc, len(c)); q++ {
			require.EqualValues(t, canary, c[q], "%+v: written between the rows", p)
		}
	}
}

func forms() (f [][3]bool) {
	for i := range 8 {
		f = append(f, [3]bool{i&1 > 0, i&2 > 0, i&4 > 0})
	}
	return f
}

func TestGemmAgreesWithFloat64(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		t.Run("float32", testGemm[float32])
		t.Run("float64", testGemm[float64])
	})
}

func testGemm[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sizes := []struct {
		m, n, k int
		why     string
	}{
		{0, 5, 5, "nothing to do"}, {5, 0, 5, "nothing to do"}, {5, 5, 0, "an empty sum"},
		{1, 1, 1, "the least"}, {1, 33, 3, "one row"}, {33, 1, 3, "one column"},
		{7, 17, 5, "less than a tile"}, {14, 32, 4, "one tile"}, {15, 33, 5, "one more"}, {13, 31, 3, "one less"},
		{29, 49, 19, "two vectors, of which one is cut"}, {61, 64, 31, "too many rows for b in place"},
		{49, 49, 32, "attention"}, {3, 8, 600, "three blocks of k"}, {20, 40, 257, "one k past a block"},
		{17, 96, 513, "one k past a block in place"}, {211, 7, 9, "one row past a block"}, {113, 18, 40, "the same in float64"},
		{13, 65, 1024, "rows of a page of float32: a is copied"}, {97, 70, 10, "one row past a packed block, tiles of two heights"},
	}
	for _, f := range forms() {
		for _, s := range sizes {
			check[T](t, r, product{ta: f[0], tb: f[1], add: f[2], m: s.m, n: s.n, k: s.k})
			check[T](t, r, product{ta: f[0], tb: f[1], add: f[2], m: s.m, n: s.n, k: s.k, padA: 3, padB: 5, padC: 2})
		}
		// Of untransposed operands AVX-512 copies b for many rows of c only: more than 60 if the rows of b are far apart, else 1024.
		check[T](t, r, product{ta: f[0], tb: f[1], add: f[2], m: 61, n: 35, k: 300, padB: 800})
		check[T](t, r, product{ta: f[0], tb: f[1], add: f[2], m: 1025, n: 35, k: 3})
		for rows := 1; rows <= 14; rows++ {
			check[T](t, r, product{ta: f[0], tb: f[1], add: f[2], m: rows, n: 1 + r.IntN(40), k: 1 + r.IntN(40), padC: 1})
		}
		for cols := 1; cols <= 34; cols++ {
			check[T](t, r, product{ta: f[0], tb: f[1], add: f[2], m: 1 + r.IntN(20), n: cols, k: 1 + r.IntN(20), padC: 1})
		}
	}
}

// The bias comes in as if every row of c had held it before.
func TestGemmBiasIsTheSumWithARow(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		testBias[float32](t)
		testBias[float64](t)
	})
}

func testBias[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	for _, s := range [][3]int{{1, 1, 1}, {3, 5, 0}, {7, 31, 2}, {15, 33, 300}, {64, 64, 700}, {29, 100, 17}} {
		for _, f := range forms()[:4] {
			p := product{ta: f[0], tb: f[1], m: s[0], n: s[1], k: s[2], padC: 3}
			lda, sizeA := stored(p.m, p.k, 0, p.ta)
			ldb, sizeB := stored(p.k, p.n, 0, p.tb)
			ldc, sizeC := stored(p.m, p.n, p.padC, false)
			a, b, bias := noise(r, make([]T, sizeA)), noise(r, make([]T, sizeB)), noise(r, guarded[T](t, p.n, p.n%2 == 0))
			scratch := make([]T, kernels.GemmScratch[T](p.ta, p.tb, p.m, p.n, p.k))
			c, want := guarded[T](t, sizeC, true), make([]T, sizeC)
			kernels.Fill(c, canary)
			kernels.Fill(want, canary)
			for i := range p.m {
				kernels.Fill(c[i*ldc:][:p.n], T(math.NaN()))
				copy(want[i*ldc:], bias)
			}
			kernels.Gemm(p.ta, p.tb, p.m, p.n, p.k, a, lda, b, ldb, want, ldc, true, scratch)
			kernels.GemmBias(p.ta, p.tb, p.m, p.n, p.k, a, lda, b, ldb, bias, c, ldc, scratch)
			require.Equal(t, want, c, "%+v", p)
		}
	}
}

// The bits of an element must not depend on how many rows or columns the call computes, nor on the content of scratch.
func TestGemmBitsDoNotDependOnTheSplit(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		t.Run("float32", testSplit[float32])
		t.Run("float64", testSplit[float64])
	})
}

func testSplit[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const m, n, k = 137, 75, 700
	for _, f := range forms()[:4] {
		ta, tb := f[0], f[1]
		lda, sizeA := stored(m, k, 0, ta)
		ldb, sizeB := stored(k, n, 0, tb)
		a, b := noise(r, make([]T, sizeA)), noise(r, make([]T, sizeB))
		whole, parts := make([]T, m*n), make([]T, m*n)
		scratch := make([]T, kernels.GemmScratch[T](ta, tb, m, n, k))
		kernels.Gemm(ta, tb, m, n, k, a, lda, b, ldb, whole, n, false, scratch)
		for i := 0; i < m; {
			rows := min(m-i, 1+r.IntN(70))
			for j := 0; j < n; {
				cols := min(n-j, 1+r.IntN(40))
				kernels.Gemm(ta, tb, rows, cols, k, a[at(i, 0, lda, ta):], lda, b[at(0, j, ldb, tb):], ldb, parts[i*n+j:], n, false, scratch)
				j += cols
			}
			i += rows
		}
		require.Equal(t, whole, parts, "ta %v tb %v", ta, tb)
	}
}

func TestGemmPropagatesNaNAndInfToTheirRowAndColumnOnly(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		const m, n, k = 16, 40, 6
		for _, bad := range []float64{math.NaN(), math.Inf(1)} {
			for _, f := range forms()[:4] {
				a, b, c := make([]float32, m*k), make([]float32, k*n), make([]float32, m*n)
				kernels.Fill(a, 1)
				kernels.Fill(b, 1)
				lda, _ := stored(m, k, 0, f[0])
				ldb, _ := stored(k, n, 0, f[1])
				a[at(3, 2, lda, f[0])] = float32(bad)
				b[at(4, 35, ldb, f[1])] = float32(bad)
				kernels.Gemm(f[0], f[1], m, n, k, a, lda, b, ldb, c, n, false, make([]float32, kernels.GemmScratch[float32](f[0], f[1], m, n, k)))
				for i := range m {
					for j := range n {
						v := float64(c[i*n+j])
						require.Equal(t, i == 3 || j == 35, math.IsNaN(v) || math.IsInf(v, 0))
					}
				}
			}
		}
	})
}

func TestGemmKeepsSubnormals(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		testSubnormals[float32](t, 0x1p-80, 0x1p-60)
		testSubnormals[float64](t, 0x1p-540, 0x1p-520)
	})
}

// Tiles of every height begin with nothing, to the last bit.
func testSubnormals[T kernels.Float](t *testing.T, x, y T) {
	const n = 34
	b := make([]T, n)
	kernels.Fill(b, y)
	for m := 1; m <= 14; m++ {
		for _, f := range forms()[:4] {
			a, c := make([]T, m), make([]T, m*n)
			kernels.Fill(a, x)
			lda, _ := stored(m, 1, 0, f[0])
			ldb, _ := stored(1, n, 0, f[1])
			kernels.Gemm(f[0], f[1], m, n, 1, a, lda, b, ldb, c, n, false, make([]T, kernels.GemmScratch[T](f[0], f[1], m, n, 1)))
			for i, v := range c {
				require.Equal(t, x*y, v, "%d rows, %v: %d", m, f, i)
			}
		}
	}
}

func TestGemmRefusesWhatDoesNotFit(t *testing.T) {
	x := make([]float32, 100)
	scratch := make([]float32, kernels.GemmScratch[float32](false, false, 10, 10, 10))
	gemm := func(lda, ldb, ldc, size int, scratch []float32) func() {
		return func() {
			kernels.Gemm(false, false, 10, 10, 10, x[:size], lda, x, ldb, make([]float32, 100), ldc, false, scratch)
		}
	}
	require.NotPanics(t, gemm(10, 10, 10, 100, scratch))
	require.Panics(t, gemm(9, 10, 10, 100, scratch))
	require.Panics(t, gemm(10, 11, 10, 100, scratch))
	require.Panics(t, gemm(10, 10, 9, 100, scratch))
	require.Panics(t, gemm(10, 10, 10, 99, scratch))
	require.Panics(t, gemm(10, 10, 10, 100, nil))
}

func TestGemmDoesNotAllocate(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		x, c := make([]float32, 50*50), make([]float32, 50*50)
		scratch := make([]float32, kernels.GemmScratch[float32](false, true, 50, 50, 50))
		require.Zero(t, testing.AllocsPerRun(20, func() {
			kernels.Gemm(false, true, 50, 50, 50, x, 50, x, 50, c, 50, false, scratch)
		}))
	})
}

func FuzzGemm(f *testing.F) {
	f.Add(uint64(1), uint8(0), uint16(3), uint16(5), uint16(7), uint8(0))
	f.Add(uint64(2), uint8(7), uint16(61), uint16(65), uint16(300), uint8(0x5a))
	f.Fuzz(func(t *testing.T, seed uint64, form uint8, m, n, k uint16, pads uint8) {
		p := product{
			ta: form&1 > 0, tb: form&2 > 0, add: form&4 > 0,
			m: int(m % 300), n: int(n % 120), k: int(k % 600),
			padA: int(pads & 3), padB: int(pads >> 2 & 3), padC: int(pads >> 4 & 3),
		}
		for _, path := range kernels.Paths() {
			kernels.Force(path, func() {
				check[float32](t, rand.New(rand.NewPCG(seed, 0)), p)
				check[float64](t, rand.New(rand.NewPCG(seed, 0)), p)
			})
		}
	})
}

func BenchmarkGemm(b *testing.B) {
	b.Run("float32", benchmarkGemm[float32])
	b.Run("float64", benchmarkGemm[float64])
}

func benchmarkGemm[T kernels.Float](b *testing.B) {
	for _, s := range []product{
		{m: 256, n: 256, k: 256}, {m: 1024, n: 1024, k: 1024}, {m: 784, n: 512, k: 128}, {m: 784, n: 128, k: 512},
		{tb: true, m: 784, n: 128, k: 384}, {ta: true, m: 128, n: 384, k: 784}, {m: 49, n: 128, k: 128}, {m: 1, n: 512, k: 512},
	} {
		for _, path := range kernels.Paths()[1:] {
			name := fmt.Sprintf("%s/%s/%dx%dx%d", path, form(s), s.m, s.n, s.k)
			b.Run(name, func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 1))
				lda, sizeA := stored(s.m, s.k, 0, s.ta)
				ldb, sizeB := stored(s.k, s.n, 0, s.tb)
				x, y, z := noise(r, make([]T, sizeA)), noise(r, make([]T, sizeB)), make([]T, s.m*s.n)
				kernels.Force(path, func() {
					scratch := make([]T, kernels.GemmScratch[T](s.ta, s.tb, s.m, s.n, s.k))
					for b.Loop() {
						kernels.Gemm(s.ta, s.tb, s.m, s.n, s.k, x, lda, y, ldb, z, s.n, false, scratch)
					}
				})
				b.ReportMetric(2*float64(s.m*s.n*s.k)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
			})
		}
	}
}

func form(p product) string {
	return map[bool]string{false: "N", true: "T"}[p.ta] + map[bool]string{false: "N", true: "T"}[p.tb]
}

// A packed operand gives the bits of the operand itself, for any rows, and is read and written within its bounds.
func TestPackedOperandsGiveTheSameBits(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		packedBits[float32](t)
		packedBits[float64](t)
	})
}

func packedBits[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	if kernels.PackedSize[T](3, 4) == 0 {
		require.Panics(t, func() { kernels.GemmPacked(1, 1, 1, []T{1}, 1, nil, nil, []T{0}, 1, nil) })
		return
	}
	for _, s := range [][3]int{{1, 1, 1}, {3, 17, 5}, {12, 16, 256}, {13, 33, 257}, {70, 49, 32}, {49, 100, 600}, {5, 8, 0}, {0, 8, 3}, {200, 31, 64}} {
		m, n, k := s[0], s[1], s[2]
		for _, tb := range []bool{false, true} {
			for _, bias := range [][]T{nil, noise(r, make([]T, n))} {
				ldb, sizeB := stored(k, n, 3, tb)
				a, b := noise(r, make([]T, m*k)), noise(r, guarded[T](t, sizeB, true))
				packed := guarded[T](t, kernels.PackedSize[T](n, k), true)
				if k > 0 {
					kernels.Pack(packed, tb, n, k, b, ldb)
				}
				want, got := guarded[T](t, m*n, true), guarded[T](t, m*n, false)
				scratch := make([]T, kernels.GemmScratch[T](false, tb, m, n, k))
				if bias == nil {
					kernels.Gemm(false, tb, m, n, k, a, k, b, ldb, want, n, false, scratch)
				} else {
					kernels.GemmBias(false, tb, m, n, k, a, k, b, ldb, bias, want, n, scratch)
				}
				kernels.Fill(got, T(math.NaN()))
				kernels.GemmPacked(m, n, k, a, k, packed, bias, got, n, scratch)
				require.Equal(t, want, got, "%v, transposed %v, bias %v", s, tb, bias != nil)
			}
		}
	}
}
