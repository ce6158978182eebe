package exact

import (
	"math"

	"github.com/ebb-go/ebb/ode"
)

// The schedules of the tests are written out here, second derivatives included, to be independent of package ode.

// linear is variance preserving with log α = −(b1−b0)t²/4 − b0·t/2.
type linear struct{}

const b0, b1 = 0.1, 20

func (linear) At(t float64) ode.Point {
	log := -(b1-b0)*t*t/4 - b0*t/2
	rate := -(b1-b0)*t/2 - b0/2.
	a := math.Exp(log)
	s := math.Sqrt(-math.Expm1(2 * log))
	return ode.Point{T: t, Alpha: a, Sigma: s, DAlpha: a * rate, DSigma: -a * a * rate / s}
}

func (l linear) Curvature(t float64) (float64, float64) {
	p := l.At(t)
	rate, drate := -(b1-b0)*t/2-b0/2., -(b1-b0)/2.
	dda := p.Alpha * (rate*rate + drate)
	// From α² + σ² = 1 differentiated twice.
	return dda, -(p.DAlpha*p.DAlpha + p.Alpha*dda + p.DSigma*p.DSigma) / p.Sigma
}

func (linear) TimeOf(lambda float64) float64 {
	l := math.Log1p(math.Exp(-2 * lambda))
	return 2 * l / (math.Sqrt(b0*b0+2*(b1-b0)*l) + b0)
}
func (linear) Domain() (float64, float64) { return 0, 1 }
func (linear) Range() (float64, float64)  { return 1e-3, 1 }

// flow is the straight path α = 1 − t, σ = t.
type flow struct{}

func (flow) At(t float64) ode.Point {
	return ode.Point{T: t, Alpha: 1 - t, Sigma: t, DAlpha: -1, DSigma: 1}
}
func (flow) Curvature(float64) (float64, float64) { return 0, 0 }
func (flow) TimeOf(lambda float64) float64        { return 1 / (1 + math.Exp(lambda)) }
func (flow) Domain() (float64, float64)           { return 0, 1 }
func (flow) Range() (float64, float64)            { return 0, 1 }

// edm is α = 1, σ = t.
type edm struct{}

func (edm) At(t float64) ode.Point               { return ode.Point{T: t, Alpha: 1, Sigma: t, DSigma: 1} }
func (edm) Curvature(float64) (float64, float64) { return 0, 0 }
func (edm) TimeOf(lambda float64) float64        { return math.Exp(-lambda) }
func (edm) Domain() (float64, float64)           { return 0, 200 }
func (edm) Range() (float64, float64)            { return 0.002, 80 }

// plain hides the closed-form curvature of a schedule.
type plain struct{ ode.Schedule }
