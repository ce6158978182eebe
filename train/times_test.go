package train_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train"
)

// Averages over evenly spaced u are integrals over the distribution: each equals the integral of its density.
func TestTimesFollowTheirDensity(t *testing.T) {
	a := 3.0
	for name, row := range map[string]struct {
		times   train.Times
		density func(t float64) float64 // up to a factor
	}{
		"uniform":            {train.Uniform{}, func(t float64) float64 { return 1 }},
		"logit-normal":       {train.LogitNormal{Mean: 0.5, Std: 0.8}, logitNormal(0.5, 0.8)},
		"logit-normal, zero": {train.LogitNormal{}, logitNormal(0, 1)},
		"U-shaped":           {train.UShaped{A: a}, func(t float64) float64 { return math.Exp(a*t) + math.Exp(a*(1-t)) }},
		"U-shaped, zero":     {train.UShaped{}, func(t float64) float64 { return math.Exp(4*t) + math.Exp(4*(1-t)) }},
		// On a flow, ln σ/α is the logit of t.
		"noise level": {train.NoiseLevel{Mean: -1.2, Std: 1.2}, logitNormal(-1.2, 1.2)},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 40_000
			for k := 1.0; k <= 4; k++ {
				got, want, mass := 0.0, 0.0, 0.0
				for i := range n {
					u := (float64(i) + 0.5) / n
					got += math.Pow(row.times.At(ode.Flow{}, u), k) / n
					p := row.density(u)
					want, mass = want+p*math.Pow(u, k), mass+p
				}
				// Midpoint sums of n points err by 1/n² for smooth integrands; near the ends a quantile function of
				// infinite slope makes that about 1/n.
				require.InDelta(t, want/mass, got, 4e-5, "moment %v", k)
			}
		})
	}
}

func logitNormal(mean, std float64) func(t float64) float64 {
	return func(t float64) float64 {
		z := (math.Log(t/(1-t)) - mean) / std
		return math.Exp(-z*z/2) / (t * (1 - t))
	}
}

func TestUShapedMeanAndVarianceInClosedForm(t *testing.T) {
	// ∫ cosh(a s) s² / ∫ cosh(a s) over |s| ≤ ½ = ¼ − coth(a/2)/a + 2/a².
	const a, n = 4.0, 100_000
	mean, square := 0.0, 0.0
	for i := range n {
		s := train.UShaped{}.At(ode.Flow{}, (float64(i)+0.5)/n) - 0.5
		mean, square = mean+s/n, square+s*s/n
	}
	require.InDelta(t, 0, mean, 1e-12)
	require.InDelta(t, 0.25-1/(a*math.Tanh(a/2))+2/(a*a), square, 1e-9)
}

// Whatever the uniform number, the time is finite and in the range, so that no step of a long run meets an infinity.
func TestTimesStayInRange(t *testing.T) {
	discrete, err := ode.DiscreteFromAlphaBars([]float64{0.9, 0.5, 0.1})
	require.NoError(t, err)
	for _, s := range []ode.Schedule{ode.Flow{}, ode.VPLinear{}, ode.VPCosine{}, ode.EDM{}, discrete} {
		data, noise := s.Range()
		for _, times := range []train.Times{train.Uniform{}, train.LogitNormal{Std: 5}, train.UShaped{A: 100}, train.NoiseLevel{Std: 50}} {
			last := data
			for _, u := range []float64{0x1p-54, 1e-9, 0.3, 0.7, 1 - 0x1p-53} {
				at := times.At(s, u)
				require.GreaterOrEqual(t, at, last, "%T of %T at %v", times, s, u)
				last = at
			}
			require.LessOrEqual(t, last, noise, "%T of %T", times, s)
		}
	}
}

func TestNoiseLevelIsThatOfEDM(t *testing.T) {
	require.InDelta(t, math.Exp(-1.2), train.NoiseLevel{Mean: -1.2, Std: 1.2}.At(ode.EDM{}, 0.5), 1e-15)
	require.InEpsilon(t, math.Exp(-1.2+1.2*1.6448536269514722), train.NoiseLevel{Mean: -1.2, Std: 1.2}.At(ode.EDM{}, 0.95), 1e-12)
}

func TestTimesErrors(t *testing.T) {
	for want, times := range map[string]train.Times{
		"UShaped.A is -1":              train.UShaped{A: -1},
		"UShaped.A is 101":             train.UShaped{A: 101},
		"UShaped.A is NaN":             train.UShaped{A: math.NaN()},
		"LogitNormal has mean NaN":     train.LogitNormal{Mean: math.NaN()},
		"LogitNormal has mean 0 and":   train.LogitNormal{Std: -1},
		"NoiseLevel has mean +Inf":     train.NoiseLevel{Mean: math.Inf(1)},
		"standard deviation +Inf":      train.NoiseLevel{Std: math.Inf(1)},
		"standard deviation NaN; both": train.LogitNormal{Std: math.NaN()},
	} {
		_, err := train.Diffusion{Times: times}.Task(flowNet(ode.Flow{}, ode.FlowVelocity), clusters(t, 8))
		require.ErrorContains(t, err, want)
	}
}
