package ode_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// linearBetas are those of DDPM: 1000 levels, β from 1e-4 to 0.02.
func linearBetas() []float64 {
	b := make([]float64, 1000)
	for i := range b {
		b[i] = 1e-4 + float64(i)/999*(0.02-1e-4)
	}
	return b
}

func discrete(t testing.TB) *ode.Discrete {
	t.Helper()
	s, err := ode.DiscreteFromBetas(linearBetas())
	require.NoError(t, err)
	return s
}

func schedules(t testing.TB) map[string]ode.Schedule {
	return map[string]ode.Schedule{
		"VPLinear": ode.VPLinear{}, "VPCosine": ode.VPCosine{}, "Discrete": discrete(t), "EDM": ode.EDM{}, "Flow": ode.Flow{},
	}
}

// within lists times of a range, dense at both ends.
func within(lo, hi float64) (ts []float64) {
	for i := 1; i < 200; i++ {
		u := float64(i) / 200
		ts = append(ts, lo+(hi-lo)*u*u*u, hi-(hi-lo)*u*u*u)
	}
	return append(ts, lo, hi)
}

func TestTimeOfInvertsLambda(t *testing.T) {
	for name, s := range schedules(t) {
		lo, hi := s.Range()
		for _, at := range within(lo, hi) {
			lambda := s.At(at).Lambda()
			require.InDelta(t, at, s.TimeOf(lambda), 1e-12*at, "%s: t = %v, λ = %v", name, at, lambda)
		}
	}
}

// Near t = 0 the naive forms lose λ: at t = 1e-9 to the sixth digit.
func TestLambdaKeepsItsDigitsNearData(t *testing.T) {
	for _, at := range []float64{1e-12, 1e-9, 1e-6} {
		require.InEpsilon(t, at, ode.VPLinear{}.TimeOf(ode.VPLinear{}.At(at).Lambda()), 1e-12)
		require.InEpsilon(t, at, ode.Flow{}.TimeOf(ode.Flow{}.At(at).Lambda()), 1e-12)
		require.InEpsilon(t, math.Sqrt(.1*at), ode.VPLinear{}.At(at).Sigma, 2e-4*math.Sqrt(at/1e-9)+1e-9) // next term of the series: t·(β₁−β₀)/4β₀
	}
}

func TestDerivativesOfSchedules(t *testing.T) {
	for name, s := range schedules(t) {
		lo, hi := s.Range()
		for i := 1; i < 40; i++ {
			at, h := lo+(hi-lo)*float64(i)/40, (hi-lo)*1e-3
			if d, ok := s.(*ode.Discrete); ok { // stay between two levels
				at = (math.Floor(at*float64(d.Levels())) + .5) / float64(d.Levels())
				h = .2 / float64(d.Levels())
			}
			p := s.At(at)
			slope := func(f func(ode.Point) float64) float64 { // fourth order
				return (8*(f(s.At(at+h))-f(s.At(at-h))) - (f(s.At(at+2*h)) - f(s.At(at-2*h)))) / (12 * h)
			}
			// σ ~ √t: the difference has a relative error of about (h/t)⁴.
			tol := 1e-9 + 2*math.Pow(h/at, 4)
			require.InDelta(t, slope(func(p ode.Point) float64 { return p.Alpha }), p.DAlpha, tol*math.Max(1, math.Abs(p.DAlpha)), "%s α' at %v", name, at)
			require.InDelta(t, slope(func(p ode.Point) float64 { return p.Sigma }), p.DSigma, tol*math.Max(1, math.Abs(p.DSigma)), "%s σ' at %v", name, at)
		}
	}
}

func TestVariancePreservingSchedulesPreserveVariance(t *testing.T) {
	for _, s := range []ode.Schedule{ode.VPLinear{}, ode.VPLinear{Beta0: .01, Beta1: 12}, ode.VPCosine{}, ode.VPCosine{Offset: .1}, discrete(t)} {
		for _, at := range within(0, 1) {
			p := s.At(at)
			require.InDelta(t, 1, p.Alpha*p.Alpha+p.Sigma*p.Sigma, 1e-15, "%T at %v", s, at)
		}
		require.Equal(t, 1., s.At(0).Alpha)
		require.Zero(t, s.At(0).Sigma)
	}
}

func TestEndsOfTheSchedulesAreExact(t *testing.T) {
	require.Zero(t, ode.VPCosine{}.At(1).Alpha)
	require.Equal(t, math.Inf(-1), ode.VPCosine{}.At(1).Lambda())
	require.Equal(t, math.Inf(-1), ode.Flow{}.At(1).Lambda())
	for name, s := range schedules(t) {
		lo, hi := s.Domain()
		require.Equal(t, math.Inf(1), s.At(lo).Lambda(), name)
		from, to := s.Range()
		require.True(t, lo <= from && from < to && to <= hi, name)
	}
}

func TestPublishedConstants(t *testing.T) {
	require.InDelta(t, -5.024978406659204, ode.VPLinear{}.At(1).Lambda(), 1e-14)
	require.InDelta(t, 2.5581716105016876, ode.VPLinear{}.At(.02).Lambda(), 1e-14)
	require.Equal(t, ode.VPLinear{}.At(.3), ode.VPLinear{Beta0: .1, Beta1: 20}.At(.3))
	require.Equal(t, ode.VPCosine{}.At(.3), ode.VPCosine{Offset: .008}.At(.3))
	require.InDelta(t, math.Cos(math.Pi/2*.308/1.008)/math.Cos(math.Pi/2*.008/1.008), ode.VPCosine{}.At(.3).Alpha, 1e-15)
}

func TestDiscreteGoesThroughItsLevels(t *testing.T) {
	betas := linearBetas()
	s, bar, bars := discrete(t), 1., []float64{}
	for _, b := range betas {
		bar *= 1 - b
		bars = append(bars, bar)
	}
	same, err := ode.DiscreteFromAlphaBars(bars)
	require.NoError(t, err)
	for i, bar := range bars {
		at := float64(i+1) / 1000
		require.InEpsilon(t, math.Sqrt(bar), s.At(at).Alpha, 1e-13, "level %d", i)
		require.InEpsilon(t, math.Sqrt(bar), same.At(at).Alpha, 1e-13, "level %d", i)
	}
	require.Equal(t, 1000, s.Levels())
	require.Equal(t, "Discrete(1000 levels)", s.String())
	// between two levels the logarithm is linear
	require.InEpsilon(t, math.Sqrt(s.At(.3).Alpha*s.At(.301).Alpha), s.At(.3005).Alpha, 1e-13)
}

func TestBadTablesAreRefusedByIndex(t *testing.T) {
	for _, c := range []struct {
		reason, want string
		make         func() (*ode.Discrete, error)
	}{
		{"β too large", "β[1] = 1 ", func() (*ode.Discrete, error) { return ode.DiscreteFromBetas([]float64{.1, 1}) }},
		{"β zero", "β[0] = 0 ", func() (*ode.Discrete, error) { return ode.DiscreteFromBetas([]float64{0, .1}) }},
		{"β not a number", "β[2] = NaN", func() (*ode.Discrete, error) { return ode.DiscreteFromBetas([]float64{.1, .1, math.NaN()}) }},
		{"ᾱ rises", "ᾱ[1] = 0.95 does not fall below ᾱ[0] = 0.9", func() (*ode.Discrete, error) { return ode.DiscreteFromAlphaBars([]float64{.9, .95}) }},
		{"zero terminal SNR", "ᾱ[1] = 0 ", func() (*ode.Discrete, error) { return ode.DiscreteFromAlphaBars([]float64{.9, 0}) }},
		{"empty", "at least 2 levels, not 0", func() (*ode.Discrete, error) { return ode.DiscreteFromAlphaBars(nil) }},
		{"the zero value", "make it with", func() (*ode.Discrete, error) {
			_, err := ode.DDIM{}.Plan(ode.Problem{Schedule: &ode.Discrete{}, Steps: 2})
			return nil, err
		}},
	} {
		_, err := c.make()
		require.ErrorContains(t, err, c.want, c.reason)
	}
}

func ExampleSchedule() {
	p := ode.VPLinear{}.At(0.5)
	fmt.Printf("x_t = %.4f x_0 + %.4f ε, λ = %.4f\n", p.Alpha, p.Sigma, p.Lambda())
	fmt.Printf("t = %.4f\n", ode.VPLinear{}.TimeOf(p.Lambda()))
	// Output:
	// x_t = 0.2812 x_0 + 0.9597 ε, λ = -1.2276
	// t = 0.5000
}
