package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/stretchr/testify/require"
)

// near compares with answers in float64; the tolerance is in ulp of T of max(1, size).
func near[T kernels.Float](t *testing.T, want []float64, got []T, ulp, size float64, what string, args ...any) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		if diff := math.Abs(float64(got[i]) - want[i]); !(diff <= ulp*2*epsilon[T]()*max(1, size, math.Abs(want[i]))) {
			t.Fatalf("%s: [%d] = %v, want %v", fmt.Sprintf(what, args...), i, got[i], want[i])
		}
	}
}

func floats[T kernels.Float](x []T) []float64 {
	y := make([]float64, len(x))
	for i, v := range x {
		y[i] = float64(v)
	}
	return y
}

func softmax(x []float64, scale float64) []float64 {
	y, top, sum := make([]float64, len(x)), math.Inf(-1), 0.0
	for _, v := range x {
		top = max(top, scale*v)
	}
	for i, v := range x {
		y[i] = math.Exp(scale*v - top)
		sum += y[i]
	}
	for i := range y {
		y[i] /= sum
	}
	return y
}

func normalize(x []float64, eps float64, rms bool) (y []float64, mean, inv float64) {
	n := float64(len(x))
	if !rms {
		for _, v := range x {
			mean += v / n
		}
	}
	square := 0.0
	for _, v := range x {
		square += (v - mean) * (v - mean) / n
	}
	inv = 1 / math.Sqrt(square+eps)
	for _, v := range x {
		y = append(y, (v-mean)*inv)
	}
	return y, mean, inv
}

// pull returns the gradient to x of Σ g·f(x), by fourth-order central differences: good to 1e-11 here.
func pull(f func(x []float64) []float64, x, g []float64) []float64 {
	const h = 1e-3
	grad := make([]float64, len(x))
	for i := range x {
		for _, s := range []struct{ step, weight float64 }{{h, 8}, {-h, -8}, {2 * h, -1}, {-2 * h, 1}} {
			moved := append([]float64(nil), x...)
			moved[i] += s.step
			for j, v := range f(moved) {
				grad[i] += s.weight * v * g[j] / (12 * h)
			}
		}
	}
	return grad
}

var widths = []int{1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 48, 49, 63, 64, 65, 100, 128, 129, 200, 257, 384}

func TestRowFunctionsAgreeWithFloat64(t *testing.T) {
	bothTypes(t, testRows[float32], testRows[float64])
}

// Rows that lie apart are those that do not, bit by bit, and what lies between them is not touched.
func TestStrideOfSoftmaxRows(t *testing.T) {
	bothTypes(t, testSoftmaxStride[float32], testSoftmaxStride[float64])
}

func testSoftmaxStride[T kernels.Float](t *testing.T) {
	const rows, between = 5, 7
	r := rand.New(rand.NewPCG(13, 14))
	for _, cols := range []int{1, 16, 17, 32, 48, 49, 64, 65, 200} {
		ld := cols + between
		x, g := noise(r, make([]T, rows*cols)), noise(r, make([]T, rows*cols))
		wide, slope := make([]T, rows*ld-between), make([]T, rows*ld-between)
		for i := range wide {
			wide[i], slope[i] = -3, -5
			if i%ld < cols {
				wide[i], slope[i] = x[i/ld*cols+i%ld], g[i/ld*cols+i%ld]
			}
		}
		kernels.Softmax(x, x, rows, cols, cols, 2)
		kernels.SoftmaxGrad(g, x, g, rows, cols, cols, 2)
		kernels.Softmax(wide, wide, rows, cols, ld, 2)
		kernels.SoftmaxGrad(slope, wide, slope, rows, cols, ld, 2)
		for i := range wide {
			want, grad := T(-3), T(-5)
			if i%ld < cols {
				want, grad = x[i/ld*cols+i%ld], g[i/ld*cols+i%ld]
			}
			require.Equal(t, want, wide[i], "softmax %d at %d", cols, i)
			require.Equal(t, grad, slope[i], "softmaxGrad %d at %d", cols, i)
		}
	}
}

func testRows[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for _, cols := range widths {
		const rows = 3
		x, dst := noise(r, guarded[T](t, rows*cols, cols%2 == 0)), guarded[T](t, rows*cols, cols%2 == 0)
		kernels.Scale(x, 6, x)
		original := floats(x)
		row := func(i int) []float64 { return original[i*cols : (i+1)*cols] }
		for _, scale := range []float64{1, 0.25, -1.5} {
			kernels.Softmax(dst, x, rows, cols, cols, T(scale))
			for i := range rows {
				// The argument of the exponential, up to 9, carries its own rounding into the result.
				near(t, softmax(row(i), scale), dst[i*cols:(i+1)*cols], 16, 0, "softmax %d scale %v", cols, scale)
			}
		}
		sums := guarded[T](t, rows, true)
		kernels.LogSumExp(sums, x, rows, cols)
		for i := range rows {
			total := 0.0
			for _, v := range row(i) {
				total += math.Exp(v)
			}
			near(t, []float64{math.Log(total)}, sums[i:i+1], 4, 0, "logsumexp %d", cols)
		}
		kernels.RowSum(sums, x, rows, cols)
		for i := range rows {
			total := 0.0
			for _, v := range row(i) {
				total += v
			}
			require.InDelta(t, total, float64(sums[i]), epsilon[T]()*math.Abs(total)+float64(cols)*0x1p-50, "rowsum %d", cols)
		}
		for _, rms := range []bool{false, true} {
			stats := guarded[T](t, 2*rows, true)
			kernels.Normalize(dst, x, rows, cols, 0.01, rms, stats)
			without := make([]T, len(dst))
			kernels.Normalize(without, x, rows, cols, 0.01, rms, nil)
			require.Equal(t, without, dst)
			for i := range rows {
				y, mean, inv := normalize(row(i), float64(T(0.01)), rms)
				// A mean of numbers up to 3 is off by its own rounding, which the factor (at most 10) multiplies.
				near(t, y, dst[i*cols:(i+1)*cols], 30, 0, "normalize %d rms %v", cols, rms)
				near(t, []float64{mean, inv}, stats[2*i:2*i+2], 4, 0, "stats %d rms %v", cols, rms)
			}
			kernels.Normalize(x, x, rows, cols, 0.01, rms, nil) // in place
			require.Equal(t, dst, x)
			for i, v := range original {
				x[i] = T(v)
			}
		}
	}
}

// The gradients are compared with differences of the float64 functions above: 1e-10 of slack for those, and the
// rounding of a few operations on numbers of order one, or ten for one over a small deviation.
func TestRowGradientsAgreeWithDifferences(t *testing.T) {
	bothTypes(t, testRowGradients[float32], testRowGradients[float64])
}

func testRowGradients[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	slack := 1e-10 / epsilon[T]()
	for _, cols := range []int{1, 2, 5, 16, 17, 49, 64, 65, 130} {
		const rows = 2
		x, g := noise(r, guarded[T](t, rows*cols, true)), noise(r, guarded[T](t, rows*cols, true))
		y, dst := make([]T, rows*cols), guarded[T](t, rows*cols, true)
		const scale = 1.7
		kernels.Softmax(y, x, rows, cols, cols, T(scale))
		kernels.SoftmaxGrad(dst, y, g, rows, cols, cols, T(scale))
		for i := range rows {
			at := func(x []T) []float64 { return floats(x[i*cols : (i+1)*cols]) }
			want := pull(func(x []float64) []float64 { return softmax(x, float64(T(scale))) }, at(x), at(g))
			near(t, want, dst[i*cols:(i+1)*cols], 8+slack, 0, "softmax %d", cols)
		}
		for _, rms := range []bool{false, true} {
			kernels.NormalizeGrad(dst, x, g, rows, cols, 0.125, rms)
			for i := range rows {
				at := func(x []T) []float64 { return floats(x[i*cols : (i+1)*cols]) }
				want := pull(func(x []float64) []float64 { y, _, _ := normalize(x, 0.125, rms); return y }, at(x), at(g))
				near(t, want, dst[i*cols:(i+1)*cols], 30+slack, 0, "normalize %d rms %v", cols, rms)
			}
		}
		// In place of the gradient, as a backward pass would have it.
		inPlace := append([]T(nil), g...)
		kernels.NormalizeGrad(inPlace, x, inPlace, rows, cols, 0.125, true)
		require.Equal(t, dst, inPlace)
	}
}

func TestRowBitsDoNotDependOnTheOtherRows(t *testing.T) {
	bothTypes(t, testRowBits[float32], testRowBits[float64])
}

func testRowBits[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for _, cols := range []int{5, 49, 64, 100, 300} {
		rows := 1<<14/cols + 7 // more than a stretch of assembly
		x, g := noise(r, make([]T, rows*cols)), noise(r, make([]T, rows*cols))
		for name, f := range map[string]func(dst, x, g []T, rows int){
			"softmax":       func(d, x, g []T, n int) { kernels.Softmax(d, x, n, cols, cols, 2) },
			"softmaxGrad":   func(d, x, g []T, n int) { kernels.SoftmaxGrad(d, x, g, n, cols, cols, 2) },
			"normalize":     func(d, x, g []T, n int) { kernels.Normalize(d, x, n, cols, 0.1, false, make([]T, 2*n)) },
			"normalizeGrad": func(d, x, g []T, n int) { kernels.NormalizeGrad(d, x, g, n, cols, 0.1, false) },
		} {
			whole, alone := make([]T, rows*cols), make([]T, rows*cols)
			f(whole, x, g, rows)
			for i := range rows {
				part := func(x []T) []T { return x[i*cols : (i+1)*cols] }
				f(part(alone), part(x), part(g), 1)
			}
			require.Equal(t, whole, alone, "%s %d", name, cols)
		}
	}
}

// Sums, products and column sums have one tree on every path: the bits of the portable one.
func TestSumsHaveTheSameBitsOnEveryPath(t *testing.T) {
	t.Run("float32", testSums[float32])
	t.Run("float64", testSums[float64])
}

func testSums[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	for _, n := range lengths {
		x, y := noise(r, guarded[T](t, n, true)), noise(r, guarded[T](t, n, true))
		exact, product, size := 0.0, 0.0, 0.0
		for i := range x {
			exact += float64(x[i])
			product += float64(x[i]) * float64(y[i])
			size++
		}
		var sum, dot float64
		kernels.Force("go", func() { sum, dot = kernels.Sum(x), kernels.Dot(x, y) })
		require.InDelta(t, exact, sum, size*size*0x1p-53)
		require.InDelta(t, product, dot, size*size*0x1p-53)
		onEveryPath(t, func(t *testing.T) {
			require.Equal(t, sum, kernels.Sum(x))
			require.Equal(t, dot, kernels.Dot(x, y))
		})
	}
	for _, cols := range []int{1, 7, 8, 31, 32, 33, 70, 128} {
		for _, rows := range []int{0, 1, 5, 600} {
			x := noise(r, guarded[T](t, rows*cols, true))
			want := make([]T, cols)
			for _, add := range []bool{false, true} {
				kernels.Force("go", func() { kernels.ColSum(want, x, rows, cols, add) })
				for j := range cols {
					sum := 0.0
					for i := range rows {
						sum += float64(x[i*cols+j])
					}
					if add {
						sum *= 2
					}
					require.InDelta(t, sum, float64(want[j]), 4*epsilon[T]()*max(1, math.Abs(sum))+600*0x1p-50)
				}
			}
			onEveryPath(t, func(t *testing.T) {
				got := guarded[T](t, cols, true)
				kernels.Fill(got, T(math.NaN()))
				kernels.ColSum(got, x, rows, cols, false)
				kernels.ColSum(got, x, rows, cols, true)
				require.Equal(t, want, got, "%d×%d", rows, cols)
			})
		}
	}
}

func TestSumsInFloat64DoNotLoseSmallTerms(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		x := make([]float32, 100)
		kernels.Fill(x, 1)
		x[0] = 1e9
		require.Equal(t, 1e9+99, kernels.Sum(x))
		dst := make([]float32, 1)
		kernels.ColSum(dst, append(x, -1e9), 101, 1, false)
		require.Equal(t, float32(99), dst[0])
	})
}

func TestRowFunctionsAtTheEdges(t *testing.T) {
	bothTypes(t, testRowEdges[float32], testRowEdges[float64])
}

func testRowEdges[T kernels.Float](t *testing.T) {
	inf, nan := T(math.Inf(1)), T(math.NaN())
	for _, cols := range []int{3, 32, 48, 49, 100} {
		x, y, one := make([]T, 2*cols), make([]T, 2*cols), make([]T, 2)
		x[1] = -inf // a masked column
		kernels.Softmax(y, x, 2, cols, cols, 1)
		require.Zero(t, y[1])
		require.InDelta(t, 1/float64(cols-1), float64(y[0]), 1e-6) // float32 rounds at 6e-8
		for _, bad := range []T{nan, inf} {
			x[1] = bad
			kernels.Softmax(y, x, 2, cols, cols, 1)
			require.True(t, math.IsNaN(float64(y[0])) && math.IsNaN(float64(y[cols-1])))
			require.InDelta(t, 1/float64(cols), float64(y[cols]), 1e-6) // the next row is untouched
			kernels.LogSumExp(one, x, 2, cols)
			require.Equal(t, fmt.Sprint(bad), fmt.Sprint(one[0]))
			require.InDelta(t, math.Log(float64(cols)), float64(one[1]), 1e-6)
			kernels.Normalize(y, x, 2, cols, 1e-5, false, nil)
			require.True(t, math.IsNaN(float64(y[0])))
			require.Zero(t, y[cols])
		}
		for i := range cols {
			x[i] = -inf
		}
		kernels.Softmax(y, x, 2, cols, cols, 1)
		require.True(t, math.IsNaN(float64(y[0])))
		kernels.LogSumExp(one, x, 2, cols)
		require.Equal(t, -inf, one[0])
		x[2], x[0] = nan, inf // both
		kernels.LogSumExp(one, x, 2, cols)
		require.True(t, math.IsNaN(float64(one[0])))
		for i := range x { // no overflow on the way
			x[i] = 1000
		}
		kernels.LogSumExp(one, x, 2, cols)
		require.InDelta(t, 1000+math.Log(float64(cols)), float64(one[0]), 1e-3) // an ulp of 1000 in float32 is 6e-5
	}
	kernels.Softmax[T](nil, nil, 0, 5, 5, 1)
	kernels.Normalize[T](nil, nil, 3, 0, 1, false, make([]T, 6))
	none := []T{1}
	kernels.LogSumExp(none, nil, 1, 0)
	require.Equal(t, -inf, none[0], "the logarithm of an empty sum")
}

func TestAdamWFollowsItsFormula(t *testing.T) {
	bothTypes(t, testAdamW[float32], testAdamW[float64])
}

func testAdamW[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	for _, n := range lengths {
		for _, average := range []bool{false, true} {
			p := kernels.AdamWParams{Rate: 0.01, Beta1: 0.9, Beta2: 0.99, Eps: 1e-6, Decay: 0.1, Clip: 0.5, Average: 0.75}
			w, g := noise(r, guarded[T](t, n, true)), noise(r, guarded[T](t, n, true))
			m, v, ema := guarded[T](t, n, true), guarded[T](t, n, true), []T(nil)
			we, me, ve, ee := floats(w), make([]float64, n), make([]float64, n), floats(w)
			if average {
				ema = guarded[T](t, n, true)
				copy(ema, w)
			}
			for step := 1; step <= 3; step++ {
				p.Step = step
				kernels.AdamW(w, g, m, v, ema, p)
				for i := range we {
					gi := p.Clip * float64(g[i])
					me[i] = p.Beta1*me[i] + (1-p.Beta1)*gi
					ve[i] = p.Beta2*ve[i] + (1-p.Beta2)*gi*gi
					mh, vh := me[i]/(1-math.Pow(p.Beta1, float64(step))), ve[i]/(1-math.Pow(p.Beta2, float64(step)))
					we[i] -= p.Rate * (p.Decay*we[i] + mh/(math.Sqrt(vh)+p.Eps))
					ee[i] = p.Average*ee[i] + (1-p.Average)*we[i]
				}
				near(t, we, w, 4, 0, "w, n %d step %d", n, step)
				near(t, me, m, 4, 0, "m")
				near(t, ve, v, 4, 0, "v")
				if average {
					near(t, ee, ema, 4, 0, "ema")
				}
			}
		}
	}
	require.Panics(t, func() { kernels.AdamW[T](nil, nil, nil, nil, nil, kernels.AdamWParams{}) })
}

func TestRowFunctionsDoNotAllocate(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		x, y := make([]float32, 4*49), make([]float32, 4*49)
		require.Zero(t, testing.AllocsPerRun(20, func() {
			var stats [8]float32
			kernels.Softmax(y, x, 4, 49, 49, 1)
			kernels.SoftmaxGrad(y, x, y, 4, 49, 49, 1)
			kernels.LogSumExp(stats[:], x, 4, 49)
			kernels.Normalize(y, x, 4, 49, 1, false, stats[:])
			kernels.NormalizeGrad(y, x, y, 4, 49, 1, false)
			kernels.ColSum(y, x, 4, 49, false)
			kernels.AdamW(x, y, x, y, nil, kernels.AdamWParams{Step: 1})
			_ = kernels.Dot(x, y) + kernels.Sum(x)
		}))
	})
}

func BenchmarkRows(b *testing.B) {
	const rows, cols = 64, 128
	r := rand.New(rand.NewPCG(1, 1))
	x, y, z, w := noise(r, make([]float32, rows*cols)), make([]float32, rows*cols), noise(r, make([]float32, rows*cols)), make([]float32, rows*cols)
	for _, c := range []struct {
		name string
		f    func()
	}{
		{"Softmax49", func() { kernels.Softmax(y, x, rows*2, 49, 49, 1) }},
		{"Softmax128", func() { kernels.Softmax(y, x, rows, cols, cols, 1) }},
		{"SoftmaxGrad", func() { kernels.SoftmaxGrad(y, x, z, rows, cols, cols, 1) }},
		{"Normalize", func() { kernels.Normalize(y, x, rows, cols, 1, false, nil) }},
		{"NormalizeGrad", func() { kernels.NormalizeGrad(y, x, z, rows, cols, 1, false) }},
		{"ColSum", func() { kernels.ColSum(y, x, rows, cols, false) }},
		{"Dot", func() { kernels.Dot(x, z) }},
		{"AdamW", func() {
			kernels.AdamW(x, z, y, w, nil, kernels.AdamWParams{Rate: 1e-9, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Step: 1, Clip: 1})
		}},
	} {
		for _, path := range kernels.Paths() {
			b.Run(c.name+"/"+path, func(b *testing.B) {
				kernels.Force(path, func() {
					for b.Loop() {
						c.f()
					}
				})
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(rows*cols), "ns/element")
			})
		}
	}
}

// A maximum that is missed anywhere in the row would overflow the exponential.
func TestTheLargestElementIsFoundWhereverItStands(t *testing.T) {
	bothTypes(t, testLargest[float32], testLargest[float64])
}

func testLargest[T kernels.Float](t *testing.T) {
	for _, cols := range []int{1, 5, 17, 49, 64, 65, 128, 200} {
		x, y, one := make([]T, cols), make([]T, cols), make([]T, 1)
		for i := range x {
			x[i] = 2000
			kernels.Softmax(y, x, 1, cols, cols, 1)
			require.Equal(t, T(1), y[i], "cols %d, at %d", cols, i)
			kernels.LogSumExp(one, x, 1, cols)
			require.Equal(t, T(2000), one[0], "cols %d, at %d", cols, i)
			x[i] = 0
		}
	}
}
