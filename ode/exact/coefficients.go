package exact

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/ode"
)

// coefficients are what a kernel needs to know of a time and a prediction A·x̂_0 + B·ε̂.
type coefficients struct {
	alpha, sigma float64

	data  float64 // A
	noise float64 // B·σ, finite for the score too
	bump  float64 // A·σ − B·α: what a change of x̂_0 by σ, and so of ε̂ by −α, adds
}

func (c coefficients) dot(d coefficients) float64 {
	return c.alpha*d.alpha + c.sigma*d.sigma + c.data*d.data + c.noise*d.noise + c.bump*d.bump
}

func (c coefficients) scaled(f float64) coefficients {
	return coefficients{f * c.alpha, f * c.sigma, f * c.data, f * c.noise, f * c.bump}
}

// coefficientsAt is the one table of predictions. The coefficients of a denoiser are those at a point of its own
// coordinates, where α is 1.
func coefficientsAt(at ode.Point, want ode.Prediction) (coefficients, error) {
	a, s := at.Alpha, at.Sigma
	if !(a >= 0 && s >= 0 && finite(a) && finite(s)) {
		return coefficients{}, fmt.Errorf("exact: point with α = %v, σ = %v; want both finite, 0 or more", a, s)
	}
	c := coefficients{alpha: a, sigma: s}
	switch want {
	case ode.Noise:
		c.noise, c.bump = s, -a
	case ode.Data, ode.Denoiser:
		c.data, c.bump = 1, s
	case ode.Velocity:
		c.data, c.noise, c.bump = -s, a*s, -s*s-a*a
	case ode.FlowVelocity:
		if !finite(at.DAlpha) || !finite(at.DSigma) {
			return coefficients{}, fmt.Errorf("exact: flow velocity at t = %v, where (α', σ') = (%v, %v); want a time where both are finite, or another prediction", at.T, at.DAlpha, at.DSigma)
		}
		c.data, c.noise, c.bump = at.DAlpha, s*at.DSigma, at.DAlpha*s-at.DSigma*a
	case ode.Score:
		c.noise, c.bump = -1, a/s
	default:
		return coefficients{}, fmt.Errorf("exact: %v is not a prediction; want one of Noise to Denoiser", want)
	}
	return c, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// ratesAt is the time derivative of coefficientsAt. Only the flow velocity needs the second derivatives.
func ratesAt(at ode.Point, ddAlpha, ddSigma float64, want ode.Prediction) (coefficients, error) {
	if !finite(at.DAlpha) || !finite(at.DSigma) || !finite(ddAlpha) || !finite(ddSigma) {
		return coefficients{}, fmt.Errorf("exact: derivative with respect to time at t = %v, where (α', σ') = (%v, %v) and (α'', σ'') = (%v, %v); want a time where they are finite",
			at.T, at.DAlpha, at.DSigma, ddAlpha, ddSigma)
	}
	a, s, da, ds := at.Alpha, at.Sigma, at.DAlpha, at.DSigma
	c := coefficients{alpha: da, sigma: ds}
	switch want {
	case ode.Noise:
		c.noise, c.bump = ds, -da
	case ode.Data, ode.Denoiser:
		c.bump = ds
	case ode.Velocity:
		c.data, c.noise, c.bump = -ds, da*s+a*ds, -2*(s*ds+a*da)
	case ode.FlowVelocity:
		c.data, c.noise, c.bump = ddAlpha, ds*ds+s*ddSigma, ddAlpha*s-ddSigma*a
	case ode.Score:
		c.bump = (da*s - a*ds) / (s * s)
	}
	return c, nil
}

// Curved is a schedule that knows its second derivatives. A [Field] of flow velocity asks for them when a derivative
// with respect to time is wanted. For a schedule that is not Curved it takes differences of order 8 of DAlpha and
// DSigma, their step a hundredth of the distance to the data end of the domain and at most 1/500 of the domain: about
// 1e-10 relative on smooth schedules, but meaningless across a kink. [ode.Discrete] has kinks and is treated as Curved.
type Curved interface {
	Curvature(t float64) (ddAlpha, ddSigma float64)
}

func curvature(s ode.Schedule, t float64) (ddAlpha, ddSigma float64) {
	if c, ok := s.(Curved); ok {
		return c.Curvature(t)
	}
	if _, ok := s.(*ode.Discrete); ok {
		// ln α is linear here, and α² + σ² = 1 differentiated twice gives σ''.
		pt := s.At(t)
		ddAlpha = pt.DAlpha * pt.DAlpha / pt.Alpha
		return ddAlpha, -(pt.DAlpha*pt.DAlpha + pt.Alpha*ddAlpha + pt.DSigma*pt.DSigma) / pt.Sigma
	}
	const half = 4
	lo, hi := s.Domain()
	// Schedules are singular at the data end if anywhere (σ ~ √t): the stencil keeps a distance in proportion.
	h := math.Min((t-lo)/100, (hi-lo)/500)
	if !(h > 0) {
		h = math.Min(hi-lo, 1) / 500
	}
	first := -half
	for ; first > -2*half && t+float64(first+2*half)*h > hi; first-- {
	}
	for ; first < 0 && t+float64(first)*h < lo; first++ {
	}
	var nodes, da, ds [2*half + 1]float64
	for i := range nodes {
		nodes[i] = float64(first + i)
		pt := s.At(math.Max(lo, math.Min(hi, t+nodes[i]*h)))
		da[i], ds[i] = pt.DAlpha, pt.DSigma
	}
	at := -first // nodes[at] is 0
	for j, node := range nodes {
		if j == at {
			continue
		}
		// The derivative at 0 of the Lagrange polynomial of this node. With the values taken relative to that at 0,
		// its own weight is not needed and constants have derivative 0 exactly.
		w := 1 / node
		for m, other := range nodes {
			if m != j && m != at {
				w *= other / (other - node)
			}
		}
		ddAlpha += w * (da[j] - da[at])
		ddSigma += w * (ds[j] - ds[at])
	}
	return ddAlpha / h, ddSigma / h
}
