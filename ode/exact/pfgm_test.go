package exact

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/stat/distuv"

	"github.com/ebb-go/ebb/ode"
)

// The kernel as the paper has it, p(x | y) ∝ (|x−y|² + σ²D)^{−(n+D)/2}, summed over the data set.
func TestTheDenoiserIsThePosteriorMeanUnderTheKernel(t *testing.T) {
	m := dataset()
	for _, sigma := range []float64{.05, .7, 9} {
		x := typical(m, ode.EDM{}.At(sigma), 3)
		want, total := make([]float64, 3), 0.
		for k, y := range m.Means {
			square := 0.
			for i := range y {
				square += (x[i] - y[i]) * (x[i] - y[i])
			}
			w := m.Weights[k] * math.Pow(square+sigma*sigma*m.D, -(3+m.D)/2)
			total += w
			for i := range y {
				want[i] += w * y[i]
			}
		}
		for i := range want {
			want[i] /= total
		}
		require.InDeltaSlice(t, want, predicted(t, m, x, ode.EDM{}.At(sigma), ode.Denoiser), 1e-13)
	}
}

// As D grows the denoiser tends to the Gaussian one as 1/D: eight times D, an eighth of the difference.
func TestTheDenoiserTendsToTheGaussianOne(t *testing.T) {
	m, at := mixture2(), ode.VPLinear{}.At(.4)
	m.Variances = []float64{0, .0270, 0}
	x := make([]float64, 2*50)
	require.NoError(t, m.Sample(x, at, 5))
	difference := func(d float64, of func(m Mixture) []float64) (worst float64) {
		heavy := m
		heavy.D = d
		for i, v := range of(heavy) {
			worst = max(worst, math.Abs(v-of(m)[i]))
		}
		return worst
	}
	for name, of := range map[string]func(Mixture) []float64{
		"data": func(m Mixture) []float64 { return predicted(t, m, x, at, ode.Data) },
		"log-density": func(m Mixture) []float64 {
			l, err := m.LogDensity(x[:2], at)
			require.NoError(t, err)
			return []float64{l}
		},
		"variance": func(m Mixture) []float64 {
			v := make([]float64, len(x))
			require.NoError(t, m.PosteriorVariance(v, x, at))
			return v
		},
	} {
		for d := 4096.; d < 1e6; d *= 8 { // the next order is smaller by 1/D of a few hundred
			require.InDelta(t, 8, difference(d, of)/difference(8*d, of), .8, "%s, D = %v", name, d)
		}
	}
}

// With a component of some width x_0 and ε are jointly Student's: their density, integrated, has the mean and the variance.
func TestMomentsOfJointlyStudentDataAndNoise(t *testing.T) {
	m := Mixture{Weights: []float64{1, 2}, Means: [][]float64{{-.4}, {.8}}, Variances: []float64{.3, .1}, D: 3}
	at := ode.VPLinear{}.At(.3)
	for _, x := range []float64{-2, .1, 1.5} {
		var mass, first, second float64
		const step = .001
		for x0 := -40.; x0 < 40; x0 += step { // a density of x0^−5, weighted with x0²: the rest is below 40^−2 of a small number
			e := (x - at.Alpha*x0) / at.Sigma
			for k, mean := range m.Means {
				c, d := m.Variances[k], x0-mean[0]
				p := m.Weights[k] / math.Sqrt(c) * math.Pow(1+(d*d/c+e*e)/m.D, -(2+m.D)/2)
				mass, first, second = mass+p, first+p*x0, second+p*x0*x0
			}
		}
		mean, variance := predicted(t, m, []float64{x}, at, ode.Data)[0], []float64{0}
		require.NoError(t, m.PosteriorVariance(variance, []float64{x}, at))
		require.InDelta(t, first/mass, mean, 2e-5)                                           // the tails beyond 40
		require.InDelta(t, second/mass-first*first/mass/mass, variance[0], 2e-3*variance[0]) // the same, times 40
	}
}

func TestSamplesWithTailsAreOfTheDensity(t *testing.T) {
	const n = 20000
	m := Mixture{Weights: []float64{1}, Means: [][]float64{{.7}}, Variances: []float64{.3}, D: 2.5}
	at := ode.VPLinear{}.At(.4)
	x := make([]float64, n)
	require.NoError(t, m.Sample(x, at, 3))
	law := distuv.StudentsT{Mu: at.Alpha * .7, Sigma: math.Sqrt(at.Alpha*at.Alpha*.3 + at.Sigma*at.Sigma), Nu: 2.5}
	for _, v := range x[:20] {
		l, err := m.LogDensity([]float64{v}, at)
		require.NoError(t, err)
		require.InDelta(t, law.LogProb(v), l, 1e-12)
	}
	slices.Sort(x)
	worst := 0.
	for i, v := range x {
		worst = max(worst, math.Abs(law.CDF(v)-(float64(i)+.5)/n))
	}
	require.Less(t, worst, 1.95/math.Sqrt(n), "Kolmogorov and Smirnov's distance exceeds this once in a thousand times")
}

// The flow of one component has a closed form whatever D is: it keeps the number of deviations from the mean.
func TestAStudentComponentHasTheGaussiansField(t *testing.T) {
	g := Gaussian{Mean: []float64{.5, -1}, Variance: []float64{.7}}
	m := Mixture{Weights: []float64{5}, Means: [][]float64{g.Mean}, Variances: g.Variance, D: 4}
	at := ode.Flow{}.At(.3)
	x := typical(g, at, 2)
	require.InDeltaSlice(t, predicted(t, g, x, at, ode.FlowVelocity), predicted(t, m, x, at, ode.FlowVelocity), 1e-13)
}
