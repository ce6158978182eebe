package train

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/ode"
)

// Times is a distribution of the time at which a network is trained, as its quantile function: At maps u, uniform on
// (0, 1), to a time in the range of the schedule. Check says what is wrong with its numbers.
type Times interface {
	At(s ode.Schedule, u float64) float64
	Check() error
}

// Uniform draws times evenly from the range.
type Uniform struct{}

// At implements [Times].
func (Uniform) At(s ode.Schedule, u float64) float64 { return within(s, u) }

// Check implements [Times].
func (Uniform) Check() error { return nil }

// LogitNormal draws the logit of the time, as a fraction of the range, from a normal distribution: with mean 0 and
// standard deviation 1 most times are in the middle, where the velocity is hardest to tell. A Std of zero means 1.
// Source: Esser et al. 2024, arXiv 2403.03206, equation 19.
type LogitNormal struct{ Mean, Std float64 }

// At implements [Times].
func (l LogitNormal) At(s ode.Schedule, u float64) float64 {
	return within(s, 1/(1+math.Exp(-l.Mean-orOne(l.Std)*normalQuantile(u))))
}

// Check implements [Times].
func (l LogitNormal) Check() error { return checkNormal("LogitNormal", l.Mean, l.Std) }

// UShaped draws the time t, as a fraction of the range, with a density in proportion to e^{At} + e^{A(1−t)}: both ends
// more often than the middle, which suits the second round of a rectified flow. An A of zero means 4.
//
// One uniform number is enough, since the density is that of cosh(A(t−½)): t = ½ + asinh((2u−1) sinh(A/2))/A.
//
// Source: Lee, Lin, Fanti 2024, arXiv 2405.20320, section 4.1, in the form of their code (the formula that the paper
// prints lacks the shift to the middle).
type UShaped struct{ A float64 }

// At implements [Times].
func (d UShaped) At(s ode.Schedule, u float64) float64 {
	a := d.a()
	return within(s, 0.5+math.Asinh((2*u-1)*math.Sinh(a/2))/a)
}

// Check implements [Times].
func (d UShaped) Check() error {
	if !(d.a() > 0 && d.a() <= 100) {
		return fmt.Errorf("train: UShaped.A is %v; it must be above 0 and at most 100, and 0 means 4", d.A)
	}
	return nil
}

func (d UShaped) a() float64 {
	if d.A == 0 {
		return 4
	}
	return d.A
}

// NoiseLevel draws the logarithm of σ/α from a normal distribution, cut at the range of the schedule. A Std of zero means
// 1. On [ode.EDM], mean −1.2 and standard deviation 1.2 are those of Karras et al. 2022, arXiv 2206.00364, table 1.
type NoiseLevel struct{ Mean, Std float64 }

// At implements [Times].
func (n NoiseLevel) At(s ode.Schedule, u float64) float64 {
	data, noise := s.Range()
	return min(max(s.TimeOf(-n.Mean-orOne(n.Std)*normalQuantile(u)), data), noise)
}

// Check implements [Times].
func (n NoiseLevel) Check() error { return checkNormal("NoiseLevel", n.Mean, n.Std) }

// within maps a fraction to the range of a schedule.
func within(s ode.Schedule, fraction float64) float64 {
	data, noise := s.Range()
	return data + min(max(fraction, 0), 1)*(noise-data)
}

func orOne(std float64) float64 {
	if std == 0 {
		return 1
	}
	return std
}

func normalQuantile(u float64) float64 { return math.Sqrt2 * math.Erfinv(2*u-1) }

func checkNormal(name string, mean, std float64) error {
	if math.IsNaN(mean) || math.IsInf(mean, 0) || !(std >= 0) || math.IsInf(std, 0) {
		return fmt.Errorf("train: %s has mean %v and standard deviation %v; both must be finite and the second at least 0, where 0 means 1", name, mean, std)
	}
	return nil
}
