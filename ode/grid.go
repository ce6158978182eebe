package ode

import (
	"fmt"
	"math"
)

// A Grid is a rule that makes knots: n+1 strictly monotone times from the first to the last. From above to means
// sampling, from below to inversion.
type Grid interface {
	Knots(s Schedule, from, to float64, n int) ([]float64, error)
}

// LogSNR is uniform in λ, which is the same as geometric in the noise level σ/α. Both ends must have a finite λ.
type LogSNR struct{}

// Knots implements [Grid].
func (LogSNR) Knots(s Schedule, from, to float64, n int) ([]float64, error) {
	a, b := s.At(from).Lambda(), s.At(to).Lambda()
	if n > 1 && (math.IsInf(a, 0) || math.IsInf(b, 0)) {
		return nil, fmt.Errorf("ode: a LogSNR grid cannot reach λ = ±Inf: λ is %v at %v and %v at %v; "+
			"keep both ends inside, use UniformTime, or set Problem.AppendZero for a last knot at σ = 0", a, from, b, to)
	}
	return spread(from, to, n, func(u float64) float64 { return s.TimeOf(a + u*(b-a)) })
}

// UniformTime is uniform in t.
type UniformTime struct{}

// Knots implements [Grid].
func (UniformTime) Knots(_ Schedule, from, to float64, n int) ([]float64, error) {
	return spread(from, to, n, func(u float64) float64 { return from + u*(to-from) })
}

// QuadraticTime is uniform in √t: finer towards data.
type QuadraticTime struct{}

// Knots implements [Grid].
func (QuadraticTime) Knots(_ Schedule, from, to float64, n int) ([]float64, error) {
	a, b := math.Sqrt(from), math.Sqrt(to)
	return spread(from, to, n, func(u float64) float64 { r := a + u*(b-a); return r * r })
}

// Karras is uniform in ρ^(1/Rho), where ρ = σ/α is the noise level; Rho zero means 7. The i-th of n+1 knots has i/n of
// the way, and the last is at to: where publications put a last zero behind n such values, set [Problem].AppendZero.
// Source: Karras et al. 2022, arXiv 2206.00364, equation 5.
type Karras struct{ Rho float64 }

// Knots implements [Grid].
func (k Karras) Knots(s Schedule, from, to float64, n int) ([]float64, error) {
	rho := k.Rho
	if rho == 0 {
		rho = 7
	}
	if !(rho > 0) || math.IsInf(rho, 0) {
		return nil, fmt.Errorf("ode: Karras.Rho is %v; it must be positive and finite", k.Rho)
	}
	p, q := s.At(from), s.At(to)
	if n > 1 && (p.Alpha == 0 || q.Alpha == 0) {
		return nil, fmt.Errorf("ode: a Karras grid cannot reach α = 0 (σ/α is %v at %v and %v at %v); keep both ends inside or use UniformTime",
			p.Sigma/p.Alpha, from, q.Sigma/q.Alpha, to)
	}
	a, b := math.Pow(p.Sigma/p.Alpha, 1/rho), math.Pow(q.Sigma/q.Alpha, 1/rho)
	return spread(from, to, n, func(u float64) float64 { return s.TimeOf(-rho * math.Log(a+u*(b-a))) })
}

// spread fills the inside of a grid; the ends are the given ones to the last bit.
func spread(from, to float64, n int, at func(u float64) float64) ([]float64, error) {
	if n < 1 {
		return nil, fmt.Errorf("ode: a grid needs at least 1 step, not %d", n)
	}
	ks := make([]float64, n+1)
	for i := range ks {
		ks[i] = at(float64(i) / float64(n))
	}
	ks[0], ks[n] = from, to
	return ks, nil
}

// checkKnots returns an error with index and value for the first knot that is wrong.
func checkKnots(s Schedule, ks []float64) error {
	if len(ks) < 2 {
		return fmt.Errorf("ode: %d knots; at least 2 are needed, the first and the last time", len(ks))
	}
	lo, hi := s.Domain()
	for i, t := range ks {
		if math.IsNaN(t) || math.IsInf(t, 0) {
			return fmt.Errorf("ode: knot %d is %v; knots are finite", i, t)
		}
		if t < lo || t > hi {
			return fmt.Errorf("ode: knot %d = %v is outside of the domain [%v, %v] of %v", i, t, lo, hi, describe(s))
		}
		if i == 0 {
			continue
		}
		if t == ks[i-1] || (i > 1 && (t < ks[i-1]) != (ks[1] < ks[0])) {
			return fmt.Errorf("ode: knot %d = %v does not follow knot %d = %v: knots must be strictly monotone", i, t, i-1, ks[i-1])
		}
	}
	return nil
}
