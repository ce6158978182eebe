package measure

import (
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"

	"github.com/ebb-go/ebb/internal/rng"
)

// normal is n standard normal samples of d values.
func normal(n, d int, seed uint64) Features {
	f := Features{Data: make([]float64, n*d), N: n, D: d}
	rng.Normal(f.Data, seed, 0, 0)
	return f
}

func clone(f Features) Features {
	f.Data = slices.Clone(f.Data)
	return f
}

// moved is f plus s in every sample.
func moved(f Features, s []float64) Features {
	g := clone(f)
	for i := range g.N {
		for k, v := range s {
			g.Row(i)[k] += v
		}
	}
	return g
}

func scaled(f Features, s float64) Features {
	g := clone(f)
	for i := range g.Data {
		g.Data[i] *= s
	}
	return g
}

// mapped is every sample x as A x.
func mapped(f Features, a mat.Matrix) Features {
	rows, _ := a.Dims()
	out := Features{Data: make([]float64, f.N*rows), N: f.N, D: rows}
	mat.NewDense(f.N, rows, out.Data).Mul(mat.NewDense(f.N, f.D, f.Data), a.T())
	return out
}

func rotation(d int, seed uint64) mat.Matrix {
	g := normal(d, d, seed)
	var qr mat.QR
	qr.Factorize(mat.NewDense(d, d, g.Data))
	var q mat.Dense
	qr.QTo(&q)
	return &q
}

func reversed(f Features) Features {
	g := clone(f)
	for i := range f.N {
		copy(g.Row(i), f.Row(f.N-1-i))
	}
	return g
}

// white is n samples whose mean is exactly 0 and (n−1) covariance exactly I, so
// that closed forms for Gaussians hold without sampling error.
func white(n, d int, seed uint64) Features {
	f := normal(n, d+1, seed)
	q := mat.NewDense(n, d+1, f.Data)
	for i := range n {
		q.Set(i, 0, 1) // the first column takes the mean out of the others
	}
	var qr mat.QR
	qr.Factorize(q)
	var full mat.Dense
	qr.QTo(&full)
	out := Features{Data: make([]float64, n*d), N: n, D: d}
	for i := range n {
		for k := range d {
			out.Row(i)[k] = full.At(i, k+1) * math.Sqrt(float64(n-1))
		}
	}
	return out
}

func TestBadSetsAreRefusedByEveryMeasure(t *testing.T) {
	good := normal(5, 3, 1)
	nan := clone(good)
	nan.Data[7] = math.NaN()
	inf := clone(good)
	inf.Data[0] = math.Inf(-1)
	kernel := Kernel{1}
	labelled := map[string]func(a, b Features) error{
		"Frechet":        func(a, b Features) error { _, err := Frechet(a, b); return err },
		"SlicedW2":       func(a, b Features) error { _, err := SlicedW2(a, b, 4, 1); return err },
		"MMD":            func(a, b Features) error { _, err := MMD(kernel, a, b); return err },
		"MMDGradient":    func(a, b Features) error { _, _, err := MMDGradient(kernel, a, b, 1); return err },
		"MMDTest":        func(a, b Features) error { _, _, err := MMDTest(a, b, 9, 1); return err },
		"Coverage":       func(a, b Features) error { _, _, err := Coverage(a, b, 2); return err },
		"Nearest":        func(a, b Features) error { _, _, err := Nearest(a, b); return err },
		"DiversityRatio": func(a, b Features) error { _, err := DiversityRatio(a, b); return err },
	}
	for name, f := range labelled {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, f(good, normal(5, 3, 2)))
			require.ErrorContains(t, f(good, normal(5, 4, 2)), "has 4")
			require.ErrorContains(t, f(nan, good), "value 1 of sample 2 is NaN")
			require.ErrorContains(t, f(good, inf), "value 0 of sample 0 is -Inf")
			require.ErrorContains(t, f(good, Features{D: 3}), "has 0 samples")
			require.ErrorContains(t, f(Features{Data: make([]float64, 7), N: 2, D: 3}, good), "need 6 values, there are 7")
		})
	}
	for name, f := range map[string]func(a Features) error{
		"LeaveOneOut":  func(a Features) error { _, _, err := LeaveOneOut(a); return err },
		"Diversity":    func(a Features) error { _, err := Diversity(a); return err },
		"MedianKernel": func(a Features) error { _, err := MedianKernel(a); return err },
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, f(good))
			require.ErrorContains(t, f(normal(1, 3, 1)), "at least 2 are needed")
			require.ErrorContains(t, f(nan), "is NaN")
		})
	}
}

func TestRowsConvertsAndRefusesOtherLengths(t *testing.T) {
	f, err := Rows([]float32{1, 2, 3, 4, 5, 6}, 2, 3)
	require.NoError(t, err)
	require.Equal(t, []float64{4, 5, 6}, f.Row(1))
	data := []float64{1, 2}
	f, err = Rows(data, 2, 1)
	require.NoError(t, err)
	data[0] = 7
	require.Equal(t, 7.0, f.Data[0], "float64 rows are not copied")
	_, err = Rows(data, 2, 2)
	require.ErrorContains(t, err, "need 4 values, there are 2")
}

func TestResultsDoNotDependOnTheNumberOfProcessors(t *testing.T) {
	x, y := normal(70, 9, 1), normal(60, 9, 2)
	all := func() []float64 {
		k, err := MedianKernel(y)
		require.NoError(t, err)
		m, g, err := MMDGradient(k, x, y, 1)
		require.NoError(t, err)
		w := slicedW2(t, x, y, 33, 1)
		s, p, err := MMDTest(x, y, 49, 1)
		require.NoError(t, err)
		d, err := Diversity(x)
		require.NoError(t, err)
		return append(g.Data, m, w, s, p, d, frechet(t, x, y))
	}
	many := all()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	require.Equal(t, many, all())
}
