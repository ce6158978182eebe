package exact

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/ode"
)

// mixture2 is the planar mixture of the measurements of order (three components, unequal in everything).
func mixture2() Mixture {
	return Mixture{
		Weights:   []float64{.4298, .2656, .3046},
		Means:     [][]float64{{1.764, .400}, {.979, 2.241}, {1.868, -.977}},
		Variances: []float64{.1123, .0270, .0280},
	}
}

// mixture5 has more dimensions than components, weights that do not add up to 1, and a point mass.
func mixture5() Mixture {
	return Mixture{
		Weights:   []float64{2, .5, 3},
		Means:     [][]float64{{1, -1, .5, 0, 2}, {0, .3, -.6, .2, -1}, {-1, 1, 1, -.5, 0}},
		Variances: []float64{.5, 0, 1.7},
	}
}

// heavy is mixture5 with the noise of PFGM++, of a fractional D to find whatever takes it for a whole number.
func heavy() Mixture {
	m := mixture5()
	m.D = 3.5
	return m
}

func dataset() Mixture {
	return Mixture{Weights: []float64{1, 2, 1, 1}, Means: [][]float64{{1, -1, .5}, {0, .3, -.6}, {-1, 1, 1}, {.4, .4, 2}}, Variances: make([]float64, 4), D: 2}
}

func gaussian3() Gaussian {
	return Gaussian{Mean: []float64{.5, -1, 2}, Variance: []float64{.25, 2, 9}}
}

type named struct {
	name  string
	model Model
}

func models() []named {
	return []named{
		{"one variance for all elements", Gaussian{Mean: []float64{.5, -1, 2, 0}, Variance: []float64{.7}}},
		{"a variance an element", gaussian3()},
		{"planar mixture", mixture2()},
		{"mixture with a point mass", mixture5()},
		{"bumped, one variance", Bumped{Gaussian{Mean: []float64{.5, -1, 2, 0}, Variance: []float64{.7}}, .4, 1.5}},
		{"bumped, a variance an element", Bumped{gaussian3(), -.3, 2}},
		{"mixture with Student's tails", heavy()},
		{"a data set in PFGM++", dataset()},
	}
}

var predictions = []ode.Prediction{ode.Noise, ode.Data, ode.Velocity, ode.FlowVelocity, ode.Score, ode.Denoiser}

// points are spread over schedules of every kind, from nearly clean to nearly noise.
func points() []struct {
	s ode.Schedule
	t float64
} {
	return []struct {
		s ode.Schedule
		t float64
	}{
		{ode.VPLinear{}, .02}, {ode.VPLinear{}, .4}, {ode.VPLinear{}, .98},
		{ode.Flow{}, .05}, {ode.Flow{}, .5}, {ode.Flow{}, .97},
		{ode.EDM{}, .1}, {ode.EDM{}, 1.3}, {ode.EDM{}, 40},
		{ode.VPCosine{}, .3}, {kinked(), .6},
	}
}

// kinked has a kink at each quarter.
func kinked() ode.Schedule {
	s, err := ode.DiscreteFromAlphaBars([]float64{.95, .6, .2, .01})
	if err != nil {
		panic(err)
	}
	return s
}

func normals(n int, seed uint64) []float64 {
	x := make([]float64, n)
	rng.Normal(x, seed, 0, 0)
	return x
}

func dot(a, b []float64) float64 {
	var sum float64
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

// typical is a point x_t where p_t has its mass.
func typical(m Model, at ode.Point, seed uint64) []float64 {
	x := make([]float64, m.Dim())
	var err error
	switch m := m.(type) {
	case Gaussian:
		err = m.Sample(x, at, seed)
	case Mixture:
		err = m.Sample(x, at, seed)
	case Bumped:
		err = m.Gaussian.Sample(x, at, seed)
	}
	if err != nil {
		panic(err)
	}
	return x
}

func predicted(t *testing.T, m Model, x []float64, at ode.Point, want ode.Prediction) []float64 {
	t.Helper()
	dst := make([]float64, len(x))
	require.NoError(t, m.Predict(dst, x, at, want))
	return dst
}

// differs is the largest error of the five-point difference of f at 0, relative to the largest entry of want (or a
// thousandth of f: what is smaller drowns in rounding), at the best of a sweep of steps: truncation rules above it and
// rounding below.
func differs(f func(h float64) []float64, want []float64, scale float64) float64 {
	best := math.Inf(1)
	size := 1e-300
	for i, v := range f(0) {
		size = max(size, math.Abs(want[i]), 1e-3*math.Abs(v))
	}
	for h := scale * .1; h > scale*1e-6; h /= 2 {
		a, b, c, d := f(-2*h), f(-h), f(h), f(2*h)
		var worst float64
		for i, w := range want {
			worst = max(worst, math.Abs((a[i]-8*b[i]+8*c[i]-d[i])/(12*h)-w)/size)
		}
		best = min(best, worst)
	}
	return best
}

func TestEveryPredictionIsWhatOdeSaysItIs(t *testing.T) {
	for _, m := range models() {
		for _, p := range points() {
			at := p.s.At(p.t)
			x := typical(m.model, at, 3)
			data, noise := predicted(t, m.model, x, at, ode.Data), predicted(t, m.model, x, at, ode.Noise)
			for i := range x {
				require.InDelta(t, x[i], at.Alpha*data[i]+at.Sigma*noise[i], 1e-13*(1+math.Abs(x[i])))
			}
			for _, want := range predictions {
				onData, onNoise, err := want.Of(at)
				require.NoError(t, err)
				_, in := coordinates(p.s, p.t, x, want)
				got := predicted(t, m.model, in, at, want)
				for i := range x {
					size := math.Abs(onData*data[i]) + math.Abs(onNoise*noise[i]) + 1
					if want == ode.Denoiser {
						size += math.Abs(in[i]) // its rounding, where α is small
					}
					require.InDelta(t, onData*data[i]+onNoise*noise[i], got[i], 1e-13*size, "%s, %v at %v", m.name, want, at)
				}
			}
		}
	}
}

func TestTweedie(t *testing.T) {
	m := mixture2()
	at := ode.VPLinear{}.At(.3)
	x := typical(m, at, 1)
	data, score := predicted(t, m, x, at, ode.Data), predicted(t, m, x, at, ode.Score)
	for i := range x {
		require.InDelta(t, (x[i]+at.Sigma*at.Sigma*score[i])/at.Alpha, data[i], 1e-13)
	}
}

func TestScoreIsTheGradientOfLogDensity(t *testing.T) {
	type density interface {
		Model
		LogDensity(x []float64, at ode.Point) (float64, error)
	}
	for _, m := range []density{gaussian3(), mixture2(), mixture5()} {
		for _, p := range points() {
			at := p.s.At(p.t)
			x := typical(m, at, 5)
			score := predicted(t, m, x, at, ode.Score)
			direction := normals(len(x), 7)
			slope := func(h float64) []float64 {
				moved := make([]float64, len(x))
				for i := range x {
					moved[i] = x[i] + h*direction[i]
				}
				l, err := m.LogDensity(moved, at)
				require.NoError(t, err)
				return []float64{l}
			}
			require.Less(t, differs(slope, []float64{dot(score, direction)}, at.Sigma+.1*at.Alpha), 1e-8, "%T at %v", m, at)
		}
	}
}

func TestDensityIntegratesToOne(t *testing.T) {
	m := Mixture{Weights: []float64{3, 1}, Means: [][]float64{{-1}, {2}}, Variances: []float64{.3, .1}}
	g := Gaussian{Mean: []float64{1}, Variance: []float64{.3}}
	at := ode.VPLinear{}.At(.2)
	var ofMixture, ofGaussian float64
	const step = .01 // the trapezoid rule converges faster than any power of it
	for x := -12.; x < 12; x += step {
		l, err := m.LogDensity([]float64{x}, at)
		require.NoError(t, err)
		ofMixture += step * math.Exp(l)
		l, err = g.LogDensity([]float64{x}, at)
		require.NoError(t, err)
		ofGaussian += step * math.Exp(l)
	}
	require.InDelta(t, 1, ofMixture, 1e-12)
	require.InDelta(t, 1, ofGaussian, 1e-12)
}

func TestOneComponentIsAGaussian(t *testing.T) {
	g := Gaussian{Mean: []float64{.5, -1, 2, 0}, Variance: []float64{.7}}
	m := Mixture{Weights: []float64{5}, Means: [][]float64{g.Mean}, Variances: g.Variance}
	for _, p := range points() {
		at := p.s.At(p.t)
		x := typical(g, at, 2)
		for _, want := range predictions {
			require.InDeltaSlice(t, predicted(t, g, x, at, want), predicted(t, m, x, at, want), 1e-12/at.Sigma)
		}
		a, err := g.LogDensity(x, at)
		require.NoError(t, err)
		b, err := m.LogDensity(x, at)
		require.NoError(t, err)
		require.InDelta(t, a, b, 1e-12)
		va, vb := make([]float64, 4), make([]float64, 4)
		require.NoError(t, g.PosteriorVariance(va, x, at))
		require.NoError(t, m.PosteriorVariance(vb, x, at))
		require.InDeltaSlice(t, va, vb, 1e-13)
	}
}

// The second-order Tweedie identity, Var(x_0|x) = (σ²/α²)(1 − σ ∂ε̂_i/∂x_i), joins the posterior variance to the Jacobian.
func TestPosteriorVarianceIsTheDiagonalOfTheJacobian(t *testing.T) {
	type posterior interface {
		Model
		PosteriorVariance(dst, x []float64, at ode.Point) error
	}
	for _, m := range []posterior{gaussian3(), mixture2(), mixture5()} {
		for _, p := range points() {
			at := p.s.At(p.t)
			x := typical(m, at, 9)
			got := make([]float64, len(x))
			require.NoError(t, m.PosteriorVariance(got, x, at))
			j := jacobian(t, m, p.s, p.t, ode.Data, x)
			for i := range x {
				// ∂x̂_0/∂x = (α/σ²)·Cov(x_0|x)
				require.InDelta(t, 1, j[i][i]*at.Sigma*at.Sigma/at.Alpha/got[i], 1e-9, "%T at %v", m, at)
			}
		}
	}
}

func TestNearCleanDataTheDenoiserKeepsItsInput(t *testing.T) {
	for _, m := range []Model{gaussian3(), mixture2(), models()[4].model} {
		x := typical(m, ode.Point{Alpha: 1}, 4)
		for _, sigma := range []float64{0, 1e-300, 1e-150, 1e-20} {
			require.InDeltaSlice(t, x, predicted(t, m, x, ode.Point{Alpha: 1, Sigma: sigma}, ode.Data), 1e-14)
			for _, e := range predicted(t, m, x, ode.Point{Alpha: 1, Sigma: sigma}, ode.Noise) {
				require.False(t, math.IsNaN(e) || math.IsInf(e, 0))
			}
		}
	}
}

func TestAtPureNoiseTheDenoiserIsTheMeanOfTheData(t *testing.T) {
	m := mixture5()
	want := make([]float64, m.Dim())
	for k, mean := range m.Means {
		for i := range mean {
			want[i] += m.Weights[k] / 5.5 * mean[i] // 5.5 is the sum of the weights
		}
	}
	x := normals(5, 1)
	for _, alpha := range []float64{0, 1e-300, 1e-17} {
		at := ode.Point{Alpha: alpha, Sigma: 1}
		require.InDeltaSlice(t, want, predicted(t, m, x, at, ode.Data), 1e-14)
		require.InDeltaSlice(t, x, predicted(t, m, x, at, ode.Noise), 1e-14)
	}
}

func TestPointMassesAttractTheNearest(t *testing.T) {
	m := Mixture{Weights: []float64{1, 1e-200}, Means: [][]float64{{0, 0}, {1, 0}}, Variances: []float64{0, 0}}
	for _, sigma := range []float64{1e-2, 1e-8, 1e-100} {
		require.Equal(t, []float64{1, 0}, predicted(t, m, []float64{.9, .1}, ode.Point{Alpha: 1, Sigma: sigma}, ode.Data))
	}
	require.Equal(t, []float64{1, 0}, predicted(t, m, []float64{1e12, 0}, ode.Point{Alpha: 1, Sigma: 1e-3}, ode.Data))
	err := m.Predict(make([]float64, 2), make([]float64, 2), ode.Point{Alpha: 1}, ode.Data)
	require.ErrorContains(t, err, "σ > 0")
}

func TestSamplesHaveTheMomentsOfTheData(t *testing.T) {
	m := mixture5()
	at := ode.VPLinear{}.At(.25)
	const n = 40000
	x := make([]float64, n*m.Dim())
	require.NoError(t, m.Sample(x, at, 11))
	// Stein: E[score] = 0 and E[x_i·score_j] = −δ_ij hold only if the samples are of the density that the score is of.
	score := predicted(t, m, x, at, ode.Score)
	d := m.Dim()
	for i := range d {
		var mean float64
		for k := range n {
			mean += score[k*d+i] / n
		}
		require.InDelta(t, 0, mean, .04) // standard error at most √(1/σ²)/√n = 0.009
		for j := range d {
			var product float64
			for k := range n {
				product += x[k*d+i] * score[k*d+j] / n
			}
			want := 0.
			if i == j {
				want = -1
			}
			require.InDelta(t, want, product, .05) // five standard errors of about 0.01
		}
	}

	g := gaussian3()
	y := make([]float64, n*3)
	require.NoError(t, g.Sample(y, ode.Point{Alpha: 1}, 1))
	for i := range 3 {
		var mean, square float64
		for k := range n {
			mean += y[k*3+i] / n
			square += y[k*3+i] * y[k*3+i] / n
		}
		deviation := math.Sqrt(g.Variance[i])
		require.InDelta(t, g.Mean[i], mean, 5*deviation/200)                                // √n = 200
		require.InDelta(t, g.Variance[i], square-mean*mean, 5*math.Sqrt2*g.Variance[i]/200) // five standard errors
	}
}

func TestASampleKeepsItsDataAndNoiseAtEveryPoint(t *testing.T) {
	m := mixture2()
	draw := func(at ode.Point, n int) []float64 {
		x := make([]float64, n*2)
		require.NoError(t, m.Sample(x, at, 42))
		return x
	}
	data, noise := draw(ode.Point{Alpha: 1}, 5), draw(ode.Point{Sigma: 1}, 5)
	at := ode.VPLinear{}.At(.4)
	for i, x := range draw(at, 5) {
		require.Equal(t, at.Alpha*data[i]+at.Sigma*noise[i], x)
	}
	require.Equal(t, data[:4], draw(ode.Point{Alpha: 1}, 2), "a sample depends on how many are drawn")
}

func TestMistakesAreNamed(t *testing.T) {
	at := ode.VPLinear{}.At(.5)
	nan, inf := math.NaN(), math.Inf(1)
	one := []float64{1}
	for _, row := range []struct {
		reason string
		model  Model
		want   string
	}{
		{"nothing given", Gaussian{}, "without Mean"},
		{"fits neither rule", Gaussian{Mean: []float64{1, 2, 3}, Variance: []float64{1, 2}}, "3 means and 2 variances"},
		{"no variance", Gaussian{Mean: one}, "1 means and 0 variances"},
		{"mean not a number", Gaussian{Mean: []float64{nan}, Variance: one}, "Mean[0] is NaN"},
		{"negative", Gaussian{Mean: one, Variance: []float64{-1}}, "Variance[0] is -1"},
		{"infinite", Gaussian{Mean: one, Variance: []float64{inf}}, "Variance[0] is +Inf"},
		{"nothing given", Mixture{}, "without Means"},
		{"components of no element", Mixture{Means: [][]float64{{}}}, "without Means"},
		{"counts differ", Mixture{Weights: one, Means: [][]float64{{1}, {2}}, Variances: one}, "2 means, 1 weights, 1 variances"},
		{"ragged", Mixture{Weights: []float64{1, 1}, Means: [][]float64{{1}, {2, 3}}, Variances: []float64{1, 1}}, "Means[1] has 2 elements"},
		{"mean infinite", Mixture{Weights: one, Means: [][]float64{{inf}}, Variances: one}, "Means[0][0] is +Inf"},
		{"weight 0 has no logarithm", Mixture{Weights: []float64{0}, Means: [][]float64{{1}}, Variances: one}, "Weights[0] is 0"},
		{"weight not a number", Mixture{Weights: []float64{nan}, Means: [][]float64{{1}}, Variances: one}, "Weights[0] is NaN"},
		{"negative variance", Mixture{Weights: one, Means: [][]float64{{1}}, Variances: []float64{-.1}}, "Variances[0] is -0.1"},
		{"less than one dimension", Mixture{Weights: one, Means: [][]float64{{1}}, Variances: one, D: .5}, "Mixture.D is 0.5"},
		{"dimensions without end", Mixture{Weights: one, Means: [][]float64{{1}}, Variances: one, D: inf}, "or 0 for Gaussian noise"},
		{"bump on a point", Bumped{Gaussian: Gaussian{Mean: one, Variance: []float64{0}}}, "Variance[0] is 0"},
		{"amplitude", Bumped{Gaussian{Mean: one, Variance: one}, nan, 1}, "Amplitude[0] is NaN"},
		{"frequency", Bumped{Gaussian{Mean: one, Variance: one}, 1, inf}, "Frequency[0] is +Inf"},
	} {
		require.ErrorContains(t, row.model.Predict(one, one, at, ode.Data), row.want, row.reason)
		_, err := NewField[float32](row.model, ode.VPLinear{}, ode.Data)
		require.ErrorContains(t, err, row.want, row.reason)
	}

	g, m := gaussian3(), mixture2()
	require.ErrorContains(t, g.Predict(make([]float64, 4), make([]float64, 4), at, ode.Data), "multiple of the dimension 3")
	require.ErrorContains(t, g.Predict(make([]float64, 3), make([]float64, 6), at, ode.Data), "dst has 3 elements and x 6")
	require.ErrorContains(t, g.Predict(nil, nil, at, ode.Data), "multiple of the dimension")
	require.ErrorContains(t, g.Predict(make([]float64, 3), make([]float64, 3), at, 99), "Prediction(99) is not a prediction")
	require.ErrorContains(t, g.Predict(make([]float64, 3), make([]float64, 3), ode.Point{Alpha: nan, Sigma: 1}, ode.Data), "α = NaN")
	require.ErrorContains(t, g.Predict(make([]float64, 3), make([]float64, 3), ode.Point{Sigma: 1}, ode.Denoiser), "σ = +Inf")
	require.ErrorContains(t, g.Sample(make([]float64, 4), at, 0), "multiple of the dimension 3")
	require.ErrorContains(t, m.Sample(make([]float64, 2), ode.Point{Sigma: -1}, 0), "σ = -1")
	require.ErrorContains(t, m.PosteriorVariance(make([]float64, 3), make([]float64, 3), at), "multiple of the dimension 2")
	_, err := m.LogDensity(make([]float64, 4), at)
	require.ErrorContains(t, err, "one sample of 2")
	_, err = g.LogDensity(make([]float64, 6), at)
	require.ErrorContains(t, err, "one sample of 3")
	b := Bumped{g, 1, 1}
	require.ErrorContains(t, b.Predict(make([]float64, 3), make([]float64, 3), ode.Point{Alpha: 1}, ode.Score), "σ above 0")
	require.ErrorContains(t, b.Flow(make([]float64, 3), make([]float64, 3), ode.VPLinear{}, 1, 0), "one for all elements")
	point := Gaussian{Mean: one, Variance: []float64{0}}
	require.ErrorContains(t, point.Flow(make([]float64, 1), one, ode.Flow{}, 0, 1), "no variance at the start")
	require.ErrorContains(t, g.FlowJacobian(one, ode.VPLinear{}, 1, 0), "diagonal of 3")
}
