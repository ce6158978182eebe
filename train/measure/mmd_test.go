package measure

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMMDByHand(t *testing.T) {
	k := Kernel{1, 3}
	at := func(d float64) float64 { return math.Exp(-d*d/2) + math.Exp(-d*d/18) }
	x := Features{Data: []float64{0, 1}, N: 2, D: 1}
	y := Features{Data: []float64{2, 4, 5}, N: 3, D: 1}
	want := at(1) + (at(2)+at(3)+at(1))/3 - 2*(at(2)+at(4)+at(5)+at(1)+at(3)+at(4))/6
	got, err := MMD(k, x, y)
	require.NoError(t, err)
	require.InEpsilon(t, want, got, 1e-13)
}

func TestMMDOfTwoGaussiansMeetsItsClosedForm(t *testing.T) {
	// In one dimension E k between N(0,1) and N(m,s²) is (σ²/v)^½ exp(−m²/2v), v = σ² + 1 + s².
	const sigma, shift = 0.8, 0.6
	e := func(m float64) float64 {
		v := sigma*sigma + 2
		return sigma / math.Sqrt(v) * math.Exp(-m*m/(2*v))
	}
	want := 2*e(0) - 2*e(shift)
	var sum, squares float64
	const runs, n = 200, 60
	for r := range runs {
		got, err := MMD(Kernel{sigma}, normal(n, 1, uint64(2*r)), moved(normal(n, 1, uint64(2*r+1)), []float64{shift}))
		require.NoError(t, err)
		sum += got
		squares += got * got
	}
	mean := sum / runs
	deviation := math.Sqrt((squares/runs - mean*mean) / runs)
	// Unbiased: the mean of the runs is within four standard deviations of itself.
	require.InDelta(t, want, mean, 4*deviation)
	require.Less(t, 4*deviation, want/4, "the test can tell")
}

func TestMMDGradientMeetsFiniteDifferences(t *testing.T) {
	x, y := normal(7, 3, 1), moved(normal(9, 3, 2), []float64{0.5, 0, -0.5})
	k, err := MedianKernel(y)
	require.NoError(t, err)
	value, gradient, err := MMDGradient(k, x, y, 1)
	require.NoError(t, err)
	plain, err := MMD(k, x, y)
	require.NoError(t, err)
	require.InDelta(t, plain, value, 1e-14)
	const h = 1e-5
	for i := range x.Data {
		z := clone(x)
		z.Data[i] += h
		up, err := MMD(k, z, y)
		require.NoError(t, err)
		z.Data[i] -= 2 * h
		down, err := MMD(k, z, y)
		require.NoError(t, err)
		// Rounding ε/h = 2e-11 and truncation h²/6·f‴ ≈ 2e-11 on gradients of about 0.05.
		require.InDelta(t, (up-down)/(2*h), gradient.Data[i], 1e-10)
	}
}

// Of the three sums of the discrepancy apart is the weight of the first.
func TestApartWeighsWhatKeepsSamplesApart(t *testing.T) {
	x, y := normal(7, 3, 1), moved(normal(9, 3, 2), []float64{0.5, 0, -0.5})
	k, err := MedianKernel(y)
	require.NoError(t, err)
	const apart, h = 0.3, 1e-5
	value := func(x Features) (float64, Features) {
		v, g, err := MMDGradient(k, x, y, apart)
		require.NoError(t, err)
		return v, g
	}
	v, gradient := value(x)
	plain, err := MMD(k, x, y)
	require.NoError(t, err)
	require.InDelta(t, plain-(1-apart)*k.within(x)/(7*6), v, 1e-14)
	for i := range x.Data {
		up, down := clone(x), clone(x)
		up.Data[i] += h
		down.Data[i] -= h
		u, _ := value(up)
		d, _ := value(down)
		require.InDelta(t, (u-d)/(2*h), gradient.Data[i], 1e-10) // as above
	}
	for _, bad := range []float64{-1, math.NaN(), math.Inf(1)} {
		_, _, err := MMDGradient(k, x, y, bad)
		require.ErrorContains(t, err, "apart is")
	}
}

func TestDescendingTheMMDBringsTheSetsTogether(t *testing.T) {
	y := moved(normal(60, 2, 2), []float64{2, -1})
	k, err := MedianKernel(y)
	require.NoError(t, err)
	x := normal(40, 2, 1)
	before, _, err := MMDGradient(k, x, y, 1)
	require.NoError(t, err)
	for range 200 {
		_, g, err := MMDGradient(k, x, y, 1)
		require.NoError(t, err)
		for i, v := range g.Data {
			x.Data[i] -= 20 * v
		}
	}
	after, err := MMD(k, x, y)
	require.NoError(t, err)
	require.Greater(t, before, 0.5)
	require.Less(t, after, 0.0, "optimized samples fit better than independent ones")
}

func TestMMDInvariancesAndKernels(t *testing.T) {
	x, y := normal(20, 4, 1), scaled(normal(15, 4, 2), 2)
	k, err := MedianKernel(x)
	require.NoError(t, err)
	value := func(k Kernel, a, b Features) float64 {
		v, err := MMD(k, a, b)
		require.NoError(t, err)
		return v
	}
	v := value(k, x, y)
	require.InEpsilon(t, v, value(k, y, x), 1e-12)
	r, s := rotation(4, 3), []float64{1, 2, 3, 4}
	require.InEpsilon(t, v, value(k, moved(mapped(reversed(x), r), s), moved(mapped(y, r), s)), 1e-12)
	require.InEpsilon(t, v, value(Kernel{5 * k[0], 5 * k[1], 5 * k[2]}, scaled(x, 5), scaled(y, 5)), 1e-12)

	line := Features{Data: []float64{0, 1, 3}, N: 3, D: 1}
	k, err = MedianKernel(line) // distances 1, 2, 3
	require.NoError(t, err)
	require.Equal(t, Kernel{1, 2, 4}, k)
	k, err = MedianKernel(Features{Data: []float64{0, 1, 3, 7}, N: 4, D: 1}) // 1 2 3 4 6 7
	require.NoError(t, err)
	require.Equal(t, Kernel{1.75, 3.5, 7}, k)
	large, err := MedianKernel(normal(2500, 1, 1))
	require.NoError(t, err)
	// |N(0,2)| has median 0.954; 1000 samples know it to about 2 %, four of which are allowed.
	require.InEpsilon(t, 0.954, large[1], 0.08)

	_, err = MedianKernel(Features{Data: make([]float64, 4), N: 4, D: 1})
	require.ErrorContains(t, err, "give a Kernel of your own")
	_, err = MedianKernel(Features{Data: []float64{-1e300, 1e300}, N: 2, D: 1})
	require.ErrorContains(t, err, "scale the features")
	for _, bad := range []Kernel{nil, {0}, {1, -1}, {math.NaN()}, {math.Inf(1)}} {
		_, err = MMD(bad, x, y)
		require.Error(t, err)
	}
}

func TestMMDTestStatisticIsTheMMDOfThePooledKernel(t *testing.T) {
	x, y := normal(12, 2, 1), normal(17, 2, 2)
	k, err := MedianKernel(Features{Data: append(clone(x).Data, y.Data...), N: 29, D: 2})
	require.NoError(t, err)
	want, err := MMD(k, x, y)
	require.NoError(t, err)
	got, p, err := MMDTest(x, y, 99, 5)
	require.NoError(t, err)
	require.InDelta(t, want, got, 1e-13)
	again, q, err := MMDTest(x, y, 99, 5)
	require.NoError(t, err)
	require.Equal(t, []float64{got, p}, []float64{again, q})
}

func TestMMDTestRejectsWhatDiffersAndIsUniformOtherwise(t *testing.T) {
	_, p, err := MMDTest(normal(60, 2, 1), moved(normal(50, 2, 2), []float64{1, 0}), 199, 1)
	require.NoError(t, err)
	require.Equal(t, 1/200.0, p)
	// Same mean, other spread: only a kernel sees it.
	_, p, err = MMDTest(normal(100, 2, 1), scaled(normal(100, 2, 2), 2), 199, 1)
	require.NoError(t, err)
	require.LessOrEqual(t, p, 0.01)

	const runs = 300
	below, sum := 0, 0.0
	for r := range runs {
		_, p, err := MMDTest(normal(12, 2, uint64(1000+2*r)), normal(15, 2, uint64(1001+2*r)), 39, uint64(r))
		require.NoError(t, err)
		if p <= 0.1 {
			below++
		}
		sum += p
	}
	// Under the hypothesis p is uniform on 1/40 … 1: mean 0.5125 ± 0.289/√300, a tenth below 0.1 ± √(0.09/300). Four deviations each.
	require.InDelta(t, 0.5125, sum/runs, 4*0.289/math.Sqrt(runs))
	require.InDelta(t, 0.1, float64(below)/runs, 4*math.Sqrt(0.09/runs))
}

func TestMMDTestCountsTies(t *testing.T) {
	// Four samples have only three cuts into pairs; the one given is the farthest apart.
	x := Features{Data: []float64{0, 0.1}, N: 2, D: 1}
	y := Features{Data: []float64{1, 1.1}, N: 2, D: 1}
	_, p, err := MMDTest(x, y, 3000, 1)
	require.NoError(t, err)
	// Binomial: 1/3 ± √(2/9/3000) = 0.0086; four of them.
	require.InDelta(t, 1/3.0, p, 0.035)
}

func TestMMDTestRefuses(t *testing.T) {
	_, _, err := MMDTest(normal(5, 1, 1), normal(5, 1, 2), 0, 1)
	require.ErrorContains(t, err, "0 permutations")
	_, _, err = MMDTest(normal(8000, 1, 1), normal(193, 1, 2), 9, 1)
	require.ErrorContains(t, err, "at most 8192")
}
