package kernels_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/stretchr/testify/require"
)

// bothTypes runs a generic test at both widths on every path.
func bothTypes(t *testing.T, single, double func(t *testing.T)) {
	onEveryPath(t, func(t *testing.T) {
		t.Run("float32", single)
		t.Run("float64", double)
	})
}

// lengths are those round the ends of vectors and of their groups, and one past a stretch of assembly.
var lengths = []int{0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 100, 127, 128, 129, 200, 255, 257, 1<<14 + 5}

// ulps returns the distance of got from want in units in the last place of T at want.
func ulps[T kernels.Float](got T, want float64) float64 {
	if math.IsNaN(want) || math.IsInf(want, 0) {
		if math.IsNaN(want) == math.IsNaN(float64(got)) && (math.IsNaN(want) || float64(got) == want) {
			return 0
		}
		return math.Inf(1)
	}
	_, e := math.Frexp(want)
	bits, least := 53, -1074
	if epsilon[T]() == 0x1p-24 {
		bits, least = 24, -149
	}
	return math.Abs(float64(got)-want) / math.Ldexp(1, max(e-bits, least))
}

type unary[T kernels.Float] struct {
	name string
	f    func(dst, x []T)
	want func(x float64) float64
	// Bounds in ulp of T of an answer that is exact in float64; or, if absolute, of max(1, |answer|).
	ulp32, ulp64 float64
	absolute     bool
}

func gelu(x float64) float64 {
	return x / (1 + math.Exp(-2*math.Sqrt(2/math.Pi)*x*(1+0.044715*x*x)))
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// preciseExp goes round math.Exp, which on amd64 is infinite from 709.44 on.
func preciseExp(x float64) float64 {
	if x > 709 {
		return math.Exp(x-1) * math.E
	}
	return math.Exp(x)
}

// preciseSigmoid keeps the relative precision of the negative tail.
func preciseSigmoid(x float64) float64 {
	if x < 0 {
		return math.Exp(x) / (1 + math.Exp(x))
	}
	return sigmoid(x)
}

func preciseTanh(x float64) float64 {
	e := math.Expm1(2 * math.Abs(x))
	if math.IsInf(e, 1) {
		return math.Copysign(1, x)
	}
	return math.Copysign(e/(e+2), x)
}

// The float64 answers themselves are good to about two units, which the bounds at that width include. The gates (x times
// a sigmoid) lose in the argument of the exponential what a relative bound would show in the far negative tail, where
// they are small: an ulp of max(1, |f|) is the claim.
func unaries[T kernels.Float]() []unary[T] {
	return []unary[T]{
		{"Exp", kernels.Exp[T], preciseExp, 1, 3, false},
		{"Tanh", kernels.Tanh[T], preciseTanh, 3, 5, false},
		{"Sigmoid", kernels.Sigmoid[T], preciseSigmoid, 2.5, 4, false},
		{"SiLU", kernels.SiLU[T], func(x float64) float64 { return x * sigmoid(x) }, 2.5, 4, true},
		{"GELU", kernels.GELU[T], gelu, 2.5, 4, true},
	}
}

func TestExponentialsKeepTheirUlps(t *testing.T) {
	bothTypes(t, testUlps[float32], testUlps[float64])
}

func testUlps[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	x := make([]T, 60000)
	for i := range x {
		switch i % 4 {
		case 0:
			x[i] = T(r.Float64()*200 - 110)
		case 1:
			x[i] = T(r.NormFloat64() * 3)
		case 2:
			x[i] = T(math.Ldexp(r.Float64()-0.5, -r.IntN(40)))
		default:
			x[i] = T(r.Float64()*1500 - 760)
		}
	}
	y := make([]T, len(x))
	for _, f := range unaries[T]() {
		f.f(y, x)
		bound := f.ulp32
		if epsilon[T]() < 0x1p-30 {
			bound = f.ulp64
		}
		worst, where := 0.0, T(0)
		for i, v := range x {
			want := f.want(float64(v))
			e := ulps(y[i], want)
			if epsilon[T]() == 0x1p-24 && want > math.MaxFloat32 {
				e = ulps(y[i], math.Inf(1))
			}
			if f.absolute {
				e = math.Abs(float64(y[i])-want) / max(1, math.Abs(want)) / (2 * epsilon[T]())
			}
			if e > worst {
				worst, where = e, v
			}
		}
		require.LessOrEqual(t, worst, bound, "%s at %v", f.name, where)
		t.Logf("%s: %.3f ulp at %v", f.name, worst, where)
	}
}

func TestExponentialsAtTheEdges(t *testing.T) {
	bothTypes(t, testEdges[float32], testEdges[float64])
}

func testEdges[T kernels.Float](t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	big := 1e30
	for _, c := range []struct {
		name string
		f    func(dst, x []T)
		x, y []float64
	}{
		{"Exp", kernels.Exp[T], []float64{inf, -inf, nan, 0, big, -big}, []float64{inf, 0, nan, 1, inf, 0}},
		{"Tanh", kernels.Tanh[T], []float64{inf, -inf, nan, 0, big, -big, 30}, []float64{1, -1, nan, 0, 1, -1, 1}},
		{"Sigmoid", kernels.Sigmoid[T], []float64{inf, -inf, nan, 0, big, -big}, []float64{1, 0, nan, .5, 1, 0}},
		{"SiLU", kernels.SiLU[T], []float64{inf, -inf, nan, 0, big, -big}, []float64{inf, nan, nan, 0, big, 0}},
		{"GELU", kernels.GELU[T], []float64{inf, -inf, nan, 0, big, -big}, []float64{inf, nan, nan, 0, big, 0}},
		{"SiLUGrad", one(kernels.SiLUGrad[T]), []float64{inf, -inf, nan, 0, big, -big}, []float64{1, 0, nan, .5, 1, 0}},
		{"GELUGrad", one(kernels.GELUGrad[T]), []float64{inf, -inf, nan, 0, big, -big}, []float64{1, 0, nan, .5, 1, 0}},
	} {
		for i, v := range c.x {
			x := []T{0, 1, T(v), 2, T(v)} // a bad neighbour must not matter
			y := make([]T, len(x))
			c.f(y, x)
			if math.Abs(float64(y[2])) < 1e-30 {
				y[2], y[4] = 0, 0
			}
			require.Equal(t, fmt.Sprint(T(c.y[i])), fmt.Sprint(y[2]), "%s(%v)", c.name, v)
			require.Equal(t, fmt.Sprint(y[2]), fmt.Sprint(y[4]))
			require.False(t, math.IsNaN(float64(y[0]+y[1]+y[3])), c.name)
		}
	}
}

// one gives a gradient function the gradient 1 to work on.
func one[T kernels.Float](f func(dst, x, g []T)) func(dst, x []T) {
	return func(dst, x []T) {
		g := make([]T, len(x))
		kernels.Fill(g, 1)
		f(dst, x, g)
	}
}

func TestExpUnderflowsGradually(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		x, y := []float32{-88, -100, -103, -103.9, -104.5}, make([]float32, 5)
		kernels.Exp(y, x)
		for i, v := range x {
			require.LessOrEqual(t, ulps(y[i], math.Exp(float64(v))), 1.)
		}
		require.Equal(t, float32(0x1p-149), y[3])
		require.Zero(t, y[4])
		kernels.Sigmoid(y, x)
		require.Equal(t, float32(0x1p-149), y[3])
		kernels.Scale(y, 0x1p-20, []float32{0x1p-120, 0x1p-129, 0x1p-130, 1, 1})
		require.Equal(t, []float32{0x1p-140, 0x1p-149, 0}, y[:3])
	})
}

// The tail of a gate is a small number, not zero, as long as the exponential in its denominator is finite.
func TestGatesAreZeroOnlyWhereTheExponentialOverflows(t *testing.T) {
	bothTypes(t, testTails[float32], testTails[float64])
}

func testTails[T kernels.Float](t *testing.T) {
	last := 88.7 // e^88.73 is the greatest float32, e^709.78 the greatest float64
	if epsilon[T]() < 0x1p-30 {
		last = 709.7
	}
	x, y := make([]T, 40), make([]T, 40)
	for i := range x {
		x[i] = T(-last + float64(i)/20)
	}
	kernels.SiLU(y, x)
	for i, v := range x { // the quotient has at least 21 bits left where it is subnormal, and e^v loses 89 roundings of v
		require.InEpsilon(t, float64(v)*math.Exp(float64(v)), float64(y[i]), 2e-5, "%v", v)
	}
}

// Every function of vectors, against a loop in float64. n arguments are read; dst may be among them.
type mapping[T kernels.Float] struct {
	name string
	ins  int
	f    func(dst []T, in [][]T)
	want func(dst float64, in []float64) float64
	tol  float64 // in ulp of T of the largest intermediate, here at most 8
}

func mappings[T kernels.Float]() []mapping[T] {
	half := T(-0.75)
	num := func(f func(v ...float64) float64) func(float64, []float64) float64 {
		return func(_ float64, in []float64) float64 { return f(in...) }
	}
	return []mapping[T]{
		{"Add", 2, func(d []T, x [][]T) { kernels.Add(d, x[0], x[1]) }, num(func(v ...float64) float64 { return v[0] + v[1] }), 1},
		{"Sub", 2, func(d []T, x [][]T) { kernels.Sub(d, x[0], x[1]) }, num(func(v ...float64) float64 { return v[0] - v[1] }), 1},
		{"Mul", 2, func(d []T, x [][]T) { kernels.Mul(d, x[0], x[1]) }, num(func(v ...float64) float64 { return v[0] * v[1] }), 1},
		{"Div", 2, func(d []T, x [][]T) { kernels.Div(d, x[0], x[1]) }, num(func(v ...float64) float64 { return v[0] / v[1] }), 1},
		{"Scale", 1, func(d []T, x [][]T) { kernels.Scale(d, half, x[0]) }, num(func(v ...float64) float64 { return -0.75 * v[0] }), 1},
		{"Axpy", 1, func(d []T, x [][]T) { kernels.Axpy(d, half, x[0]) },
			func(d float64, v []float64) float64 { return d - 0.75*v[0] }, 2},
		{"MulAdd", 2, func(d []T, x [][]T) { kernels.MulAdd(d, x[0], x[1]) },
			func(d float64, v []float64) float64 { return d + v[0]*v[1] }, 2},
		{"Combine1", 1, func(d []T, x [][]T) { kernels.Combine(d, []T{2}, x) }, num(func(v ...float64) float64 { return 2 * v[0] }), 2},
		{"Combine3", 3, func(d []T, x [][]T) { kernels.Combine(d, []T{2, -1, half}, x) },
			num(func(v ...float64) float64 { return 2*v[0] - v[1] - 0.75*v[2] }), 3},
		{"Combine9", 9, func(d []T, x [][]T) { kernels.Combine(d, []T{1, 2, 3, 4, 5, 6, 7, 8, 9}, x) },
			num(func(v ...float64) (s float64) {
				for i, x := range v {
					s += float64(i+1) * x
				}
				return s
			}), 45},
		{"Exp", 1, func(d []T, x [][]T) { kernels.Exp(d, x[0]) }, num(func(v ...float64) float64 { return math.Exp(v[0]) }), 3},
		{"Tanh", 1, func(d []T, x [][]T) { kernels.Tanh(d, x[0]) }, num(func(v ...float64) float64 { return math.Tanh(v[0]) }), 5},
		{"Sigmoid", 1, func(d []T, x [][]T) { kernels.Sigmoid(d, x[0]) }, num(func(v ...float64) float64 { return sigmoid(v[0]) }), 4},
		{"SiLU", 1, func(d []T, x [][]T) { kernels.SiLU(d, x[0]) }, num(func(v ...float64) float64 { return v[0] * sigmoid(v[0]) }), 4},
		{"GELU", 1, func(d []T, x [][]T) { kernels.GELU(d, x[0]) }, num(func(v ...float64) float64 { return gelu(v[0]) }), 4},
		{"SiLUGrad", 2, func(d []T, x [][]T) { kernels.SiLUGrad(d, x[0], x[1]) },
			num(func(v ...float64) float64 {
				return v[1] * slope(func(x float64) float64 { return x * sigmoid(x) }, v[0])
			}), 4},
		{"GELUGrad", 2, func(d []T, x [][]T) { kernels.GELUGrad(d, x[0], x[1]) },
			num(func(v ...float64) float64 { return v[1] * slope(gelu, v[0]) }), 6},
	}
}

// slope is a fourth-order central difference; it is good to 1e-12 here, which slack makes room for.
func slope(f func(float64) float64, x float64) float64 {
	const h = 1e-3
	return (8*(f(x+h)-f(x-h)) - (f(x+2*h) - f(x-2*h))) / (12 * h)
}

func TestElementwiseAgreesWithFloat64(t *testing.T) {
	bothTypes(t, testMappings[float32], testMappings[float64])
}

func testMappings[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, m := range mappings[T]() {
		const slack = 1e-11
		for _, n := range lengths {
			for aliased := -1; aliased < m.ins; aliased++ {
				if n > 300 && aliased > 0 {
					continue
				}
				end := (n+aliased)%2 == 0
				dst := noise(r, guarded[T](t, n, end))
				in, before := make([][]T, m.ins), make([][]T, m.ins)
				for k := range in {
					in[k] = noise(r, guarded[T](t, n, end))
					if k == aliased {
						in[k] = dst
					}
					before[k] = append([]T(nil), in[k]...)
				}
				old := append([]T(nil), dst...)
				m.f(dst, in)
				args := make([]float64, m.ins)
				for i := range dst {
					for k := range args {
						args[k] = float64(before[k][i])
					}
					want := m.want(float64(old[i]), args)
					size := max(1, math.Abs(want))
					if diff := math.Abs(float64(dst[i]) - want); !(diff <= (m.tol*2*epsilon[T]()+slack)*size) {
						t.Fatalf("%s, n %d, dst is input %d: [%d] = %v, want %v", m.name, n, aliased, i, dst[i], want)
					}
				}
				for k := range in {
					if k != aliased {
						require.Equal(t, before[k], in[k], "%s wrote to an input", m.name)
					}
				}
			}
		}
	}
}

// An element's bits must not depend on where in the slice it stands.
func TestElementwiseBitsDoNotDependOnPlace(t *testing.T) {
	bothTypes(t, testPlace[float32], testPlace[float64])
}

func testPlace[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	const n = 150
	for _, m := range mappings[T]() {
		in := make([][]T, m.ins)
		for k := range in {
			in[k] = noise(r, make([]T, n))
		}
		start := noise(r, make([]T, n))
		whole := append([]T(nil), start...)
		m.f(whole, in)
		parts := append([]T(nil), start...)
		for i := 0; i < n; {
			w := min(n-i, 1+r.IntN(20))
			part := make([][]T, m.ins)
			for k := range part {
				part[k] = in[k][i : i+w]
			}
			m.f(parts[i:i+w], part)
			i += w
		}
		require.Equal(t, whole, parts, m.name)
	}
}

func TestCombineOfNothingIsZeroAndMismatchPanics(t *testing.T) {
	dst := []float32{1, 2}
	kernels.Combine(dst, nil, nil)
	require.Equal(t, []float32{0, 0}, dst)
	require.Panics(t, func() { kernels.Combine(dst, []float32{1}, nil) })
	require.Panics(t, func() { kernels.Combine(dst, []float32{1}, [][]float32{{1}}) })
	require.Panics(t, func() { kernels.Add(dst, dst[:1], dst) })
}

func TestAddRow(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		for _, cols := range []int{1, 17, 64} {
			dst, row := guarded[float32](t, 3*cols, true), guarded[float32](t, cols, true)
			for i := range dst {
				dst[i] = float32(i)
			}
			for i := range row {
				row[i] = float32(100 * i)
			}
			kernels.AddRow(dst, row, 3)
			for i := range dst {
				require.Equal(t, float32(i+100*(i%cols)), dst[i])
			}
		}
	})
}

func TestElementwiseDoesNotAllocate(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		x, y, z := make([]float32, 100), make([]float32, 100), make([]float32, 100)
		require.Zero(t, testing.AllocsPerRun(20, func() {
			kernels.Combine(x, []float32{1, 2}, [][]float32{y, z})
			kernels.GELU(x, y)
			kernels.GELUGrad(x, y, z)
			kernels.Axpy(x, 2, y)
			var stack [40]float32
			kernels.Mul(stack[:], stack[:], x)
		}))
	})
}

func BenchmarkElementwise(b *testing.B) {
	b.Run("float32", benchmarkMappings[float32])
	b.Run("float64", benchmarkMappings[float64])
}

func benchmarkMappings[T kernels.Float](b *testing.B) {
	const n = 2048
	r := rand.New(rand.NewPCG(1, 1))
	for _, m := range mappings[T]() {
		for _, path := range kernels.Paths() {
			b.Run(m.name+"/"+path, func(b *testing.B) {
				in, dst := make([][]T, m.ins), make([]T, n)
				for k := range in {
					in[k] = noise(r, make([]T, n))
				}
				kernels.Force(path, func() {
					for b.Loop() {
						m.f(dst, in)
					}
				})
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/element")
			})
		}
	}
}
