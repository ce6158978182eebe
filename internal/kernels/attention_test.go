package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/stretchr/testify/require"
)

// attend is the formula, in float64.
func attend(h kernels.Heads, qkv []float64, scale float64) []float64 {
	row := h.Heads * h.Width
	y := make([]float64, h.Batch*h.Tokens*row)
	at := func(i, token, part, j int) []float64 {
		return qkv[((i*h.Tokens+token)*3+part)*row+j*h.Width:][:h.Width]
	}
	for i := range h.Batch {
		for j := range h.Heads {
			for a := range h.Tokens {
				p := make([]float64, h.Tokens)
				for b := range p {
					for l, q := range at(i, a, 0, j) {
						p[b] += q * at(i, b, 1, j)[l]
					}
				}
				for b, p := range softmax(p, scale) {
					for l, v := range at(i, b, 2, j) {
						y[(i*h.Tokens+a)*row+j*h.Width+l] += p * v
					}
				}
			}
		}
	}
	return y
}

var headSizes = []struct {
	kernels.Heads
	why string
}{
	{kernels.Heads{Batch: 2, Tokens: 1, Heads: 2, Width: 1}, "the least"},
	{kernels.Heads{Batch: 1, Tokens: 19, Heads: 1, Width: 32}, "too few tokens for strips"},
	{kernels.Heads{Batch: 2, Tokens: 20, Heads: 3, Width: 16}, "the least that strips of AVX2 take; three vectors of float32"},
	{kernels.Heads{Batch: 1, Tokens: 25, Heads: 1, Width: 16}, "one query past whole vectors, of which there are pairs"},
	{kernels.Heads{Batch: 1, Tokens: 29, Heads: 1, Width: 32}, "too few tokens for strips of AVX-512"},
	{kernels.Heads{Batch: 2, Tokens: 30, Heads: 3, Width: 32}, "the least that those take"},
	{kernels.Heads{Batch: 1, Tokens: 31, Heads: 2, Width: 48}, "one query less than whole vectors; with AVX-512 whole strips in float64 alone"},
	{kernels.Heads{Batch: 1, Tokens: 33, Heads: 2, Width: 64}, "one query past whole vectors, three of float32 with AVX-512"},
	{kernels.Heads{Batch: 1, Tokens: 36, Heads: 1, Width: 24}, "with AVX2 whole strips in float64 alone"},
	{kernels.Heads{Batch: 2, Tokens: 48, Heads: 2, Width: 32}, "whole vectors"},
	{kernels.Heads{Batch: 3, Tokens: 49, Heads: 4, Width: 32}, "a transformer of images"},
	{kernels.Heads{Batch: 1, Tokens: 50, Heads: 1, Width: 37}, "an odd width"},
	{kernels.Heads{Batch: 1, Tokens: 32, Heads: 16, Width: 64}, "tokens that share sets of the cache"},
	{kernels.Heads{Batch: 1, Tokens: 256, Heads: 1, Width: 32}, "the most that strips take"},
	{kernels.Heads{Batch: 1, Tokens: 257, Heads: 1, Width: 32}, "too many"},
}

func TestAttentionAgreesWithFloat64(t *testing.T) {
	bothTypes(t, testAttention[float32], testAttention[float64])
}

func testAttention[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	for n, s := range headSizes {
		h, end := s.Heads, n%2 == 0
		size := h.Batch * h.Tokens * h.Heads * h.Width
		scale := T(1 / math.Sqrt(float64(h.Width)))
		qkv, y := noise(r, guarded[T](t, 3*size, end)), guarded[T](t, size, end)
		for i := range qkv {
			qkv[i] *= 2
		}
		scratch := guarded[T](t, kernels.AttentionScratch[T](h), end)
		kernels.Fill(scratch, T(math.NaN()))
		kernels.Fill(y, T(math.NaN()))
		kernels.Attention(h, y, qkv, scale, scratch)
		// Sums of as many products as columns, and then as tokens, of numbers below 1; an error of an exponent is one of its weight.
		near(t, attend(h, floats(qkv), float64(scale)), y, float64(h.Tokens+h.Width), 0, "%+v", s)
	}
}

func TestGradientsOfAttentionAgreeWithDifferences(t *testing.T) {
	bothTypes(t, testAttentionGrad[float32], testAttentionGrad[float64])
}

func testAttentionGrad[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(33, 34))
	for _, h := range []kernels.Heads{{Batch: 1, Tokens: 3, Heads: 2, Width: 2}, {Batch: 1, Tokens: 21, Heads: 1, Width: 16}} {
		size := h.Batch * h.Tokens * h.Heads * h.Width
		qkv, g, dst := noise(r, make([]T, 3*size)), noise(r, make([]T, size)), make([]T, 3*size)
		kernels.AttentionGrad(h, dst, qkv, g, 2, make([]T, kernels.AttentionScratch[T](h)))
		want := pull(func(x []float64) []float64 { return attend(h, x, 2) }, floats(qkv), floats(g))
		slack := 0.0
		if epsilon[T]() < 1e-10 {
			slack = 1e-10 / epsilon[T]() // of the differences
		}
		near(t, want, dst, 64+slack, 0, "%+v", h)
	}
}

// The portable path is what the differences have been taken of.
func TestGradientsOfAttentionAgreeOnEveryPath(t *testing.T) {
	t.Run("float32", testAttentionPaths[float32])
	t.Run("float64", testAttentionPaths[float64])
}

func testAttentionPaths[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(35, 36))
	for n, s := range headSizes {
		h, end := s.Heads, n%2 == 0
		size := h.Batch * h.Tokens * h.Heads * h.Width
		qkv, g := noise(r, guarded[T](t, 3*size, end)), noise(r, guarded[T](t, size, end))
		want := make([]T, 3*size)
		kernels.Force("go", func() { kernels.AttentionGrad(h, want, qkv, g, 1, make([]T, kernels.AttentionScratch[T](h))) })
		onEveryPath(t, func(t *testing.T) {
			dst, scratch := guarded[T](t, 3*size, end), guarded[T](t, kernels.AttentionScratch[T](h), end)
			kernels.Fill(scratch, T(math.NaN()))
			kernels.Fill(dst, T(math.NaN()))
			kernels.AttentionGrad(h, dst, qkv, g, 1, scratch)
			// As above.
			near(t, floats(want), dst, float64(h.Tokens+h.Width), 0, "%+v", s)
		})
	}
}

// Bits must not depend on the other samples and heads, nor on the content of scratch.
func TestAttentionOfASampleDoesNotDependOnTheBatch(t *testing.T) {
	bothTypes(t, testAttentionBits[float32], testAttentionBits[float64])
}

func testAttentionBits[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(37, 38))
	for _, h := range []kernels.Heads{{Batch: 3, Tokens: 49, Heads: 2, Width: 32}, {Batch: 3, Tokens: 7, Heads: 2, Width: 5}} {
		size := h.Tokens * h.Heads * h.Width
		qkv, g := noise(r, make([]T, 3*3*size)), noise(r, make([]T, 3*size))
		y, dx := make([]T, 3*size), make([]T, 3*3*size)
		scratch := make([]T, kernels.AttentionScratch[T](h))
		kernels.Attention(h, y, qkv, 1, scratch)
		kernels.AttentionGrad(h, dx, qkv, g, 1, scratch)
		one := h
		one.Batch = 1
		for i := range h.Batch {
			yi, dxi := make([]T, size), make([]T, 3*size)
			kernels.Attention(one, yi, qkv[3*size*i:], 1, scratch[:kernels.AttentionScratch[T](one)])
			kernels.AttentionGrad(one, dxi, qkv[3*size*i:], g[size*i:], 1, scratch)
			require.Equal(t, y[size*i:size*(i+1)], yi)
			require.Equal(t, dx[3*size*i:3*size*(i+1)], dxi)
		}
	}
}

func TestAttentionAtTheEdges(t *testing.T) {
	bothTypes(t, testAttentionEdges[float32], testAttentionEdges[float64])
}

func testAttentionEdges[T kernels.Float](t *testing.T) {
	for _, width := range []int{32, 5} { // in strips and otherwise
		testAttentionEdgesOf[T](t, kernels.Heads{Batch: 1, Tokens: 49, Heads: 1, Width: width})
	}
}

func testAttentionEdgesOf[T kernels.Float](t *testing.T, h kernels.Heads) {
	d, size := h.Width, h.Tokens*h.Width
	qkv, y := make([]T, 3*size), make([]T, size)
	element := func(token, part, l int) *T { return &qkv[(3*token+part)*d+l] }
	run := func() {
		kernels.Attention(h, y, qkv, 1, make([]T, kernels.AttentionScratch[T](h)))
	}
	for token := range h.Tokens {
		*element(token, 2, 0) = T(token)
	}
	run()
	require.InDelta(t, 24, y[5*d], 1e-4, "nothing but equal weights; float32 rounds at 1e-6")
	for _, bad := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		for _, token := range []int{3, 48} {
			*element(token, 0, 1) = T(bad) // times zeros of k
			run()
			for i := range h.Tokens {
				require.Equal(t, i == token, math.IsNaN(float64(y[i*d])), "%v in the query of %d: result %d", bad, token, i)
			}
			*element(token, 0, 1) = 0
			*element(token, 2, 1) = T(bad)
			run()
			for i := range h.Tokens {
				require.InDelta(t, 24, y[i*d], 1e-4)
				require.False(t, math.Abs(float64(y[i*d+1])) < 1e30)
			}
			*element(token, 2, 1) = 0
		}
	}
	for _, far := range []T{5000, 0x1.b5p40, 0x1.b5p80} { // the largest product wins, and nothing overflows
		for token := range h.Tokens {
			*element(token, 0, 2) = 1
			*element(token, 1, 2) = -far
		}
		for _, token := range []int{0, 3, 48} {
			*element(token, 1, 2) = far
			run()
			for i := range h.Tokens {
				require.Equal(t, T(token), y[i*d], "%v", far)
			}
			*element(token, 1, 2) = -far
		}
	}
	// A weight that is a subnormal number is one: e^−100 in float32, e^−740 in float64.
	small, large := 100., 1e38
	if epsilon[T]() < 1e-10 {
		small, large = 740, 1e308
	}
	for token := range h.Tokens {
		*element(token, 1, 2) = T(-small)
		*element(token, 2, 3) = T(large)
	}
	*element(7, 1, 2), *element(7, 2, 3) = 0, 0
	run()
	want := 48 * math.Exp(-small) * large
	require.InEpsilon(t, want, float64(y[9*d+3]), 0.05, "e^−100 is 27 times the least float32, e^−740 85 times the least float64")
}

func TestAttentionRefusesWhatDoesNotFit(t *testing.T) {
	h := kernels.Heads{Batch: 2, Tokens: 30, Heads: 1, Width: 32}
	x := func(n int) []float32 { return make([]float32, n) }
	size, need := 2*30*32, kernels.AttentionScratch[float32](h)
	require.NotPanics(t, func() { kernels.Attention(h, x(size), x(3*size), 1, x(need)) })
	require.Panics(t, func() { kernels.Attention(h, x(size-1), x(3*size), 1, x(need)) })
	require.Panics(t, func() { kernels.Attention(h, x(size), x(3*size-1), 1, x(need)) })
	require.Panics(t, func() { kernels.Attention(h, x(size), x(3*size), 1, x(need-1)) })
	require.NotPanics(t, func() { kernels.AttentionGrad(h, x(3*size), x(3*size), x(size), 1, x(need)) })
	require.Panics(t, func() { kernels.AttentionGrad(h, x(3*size-1), x(3*size), x(size), 1, x(need)) })
	require.Panics(t, func() { kernels.AttentionGrad(h, x(3*size), x(3*size-1), x(size), 1, x(need)) })
	require.Panics(t, func() { kernels.AttentionGrad(h, x(3*size), x(3*size), x(size-1), 1, x(need)) })
	require.Panics(t, func() { kernels.AttentionGrad(h, x(3*size), x(3*size), x(size), 1, x(need-1)) })
	require.NotPanics(t, func() { kernels.Attention[float32](kernels.Heads{Tokens: 20, Heads: 1, Width: 16}, nil, nil, 1, nil) })
}

func TestAttentionDoesNotAllocate(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		h := kernels.Heads{Batch: 1, Tokens: 30, Heads: 2, Width: 32}
		y, x, dx := make([]float32, 1920), make([]float32, 3*1920), make([]float32, 3*1920)
		scratch := make([]float32, kernels.AttentionScratch[float32](h))
		require.Zero(t, testing.AllocsPerRun(20, func() {
			kernels.Attention(h, y, x, 1, scratch)
			kernels.AttentionGrad(h, dx, x, y, 1, scratch)
		}))
	})
}

func BenchmarkAttention(b *testing.B) {
	for _, h := range []kernels.Heads{{Batch: 8, Tokens: 49, Heads: 4, Width: 32}, {Batch: 1, Tokens: 256, Heads: 4, Width: 64}} {
		r := rand.New(rand.NewPCG(1, 1))
		size := h.Batch * h.Tokens * h.Heads * h.Width
		x, y, dx := noise(r, make([]float32, 3*size)), noise(r, make([]float32, size)), make([]float32, 3*size)
		for _, path := range kernels.Paths() {
			kernels.Force(path, func() {
				scratch := make([]float32, kernels.AttentionScratch[float32](h))
				for _, c := range []struct {
					name     string
					products int
					f        func()
				}{
					{"value", 2, func() { kernels.Attention(h, y, x, 0.2, scratch) }},
					{"gradient", 5, func() { kernels.AttentionGrad(h, dx, x, y, 0.2, scratch) }},
				} {
					b.Run(fmt.Sprintf("%s/%s/%dx%dx%dx%d", c.name, path, h.Batch, h.Tokens, h.Heads, h.Width), func(b *testing.B) {
						for b.Loop() {
							c.f()
						}
						b.ReportMetric(2*float64(c.products*size*h.Tokens)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
					})
				}
			})
		}
	}
}
