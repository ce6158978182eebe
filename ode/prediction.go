package ode

import (
	"fmt"
	"math"
)

// Prediction is what a network's output means. Each kind is the vector of coefficients of (x_0, ε) it stands for, so
// that one formula, [Convert], joins any two.
type Prediction int

// The predictions. In brackets, the coefficients of (x_0, ε) at a Point.
const (
	Noise        Prediction = iota // ε [0, 1] (Ho, Jain, Abbeel 2020, arXiv 2006.11239)
	Data                           // x_0 [1, 0]
	Velocity                       // v = α ε − σ x_0 [−σ, α] (Salimans, Ho 2022, arXiv 2202.00512)
	FlowVelocity                   // u = dx_t/dt [α', σ']; ε − x_0 on Flow (Lipman et al. 2022, arXiv 2210.02747; Liu et al. 2022, arXiv 2209.03003)
	Score                          // ∇ log p_t(x) = −ε/σ [0, −1/σ] (Song et al. 2021, arXiv 2011.13456)

	// Denoiser is x_0 [1, 0], and the network is called in the coordinates of Karras et al. 2022 (arXiv 2206.00364):
	// with x_t/α at the noise level σ/α in place of the time. On the EDM schedule it is the same as Data.
	Denoiser
)

var predictionNames = [...]string{"Noise", "Data", "Velocity", "FlowVelocity", "Score", "Denoiser"}

// String is the name of the constant.
func (p Prediction) String() string {
	if p < 0 || int(p) >= len(predictionNames) {
		return fmt.Sprintf("Prediction(%d)", int(p))
	}
	return predictionNames[p]
}

// Of returns the coefficients of x_0 and ε at a point. It is an error where they are infinite: a score at σ = 0, or a
// flow velocity where α or σ has no finite derivative.
func (p Prediction) Of(pt Point) (x0, eps float64, err error) {
	switch p {
	case Noise:
		return 0, 1, nil
	case Data, Denoiser:
		return 1, 0, nil
	case Velocity:
		return -pt.Sigma, pt.Alpha, nil
	case FlowVelocity:
		if math.IsInf(pt.DAlpha, 0) || math.IsInf(pt.DSigma, 0) {
			return 0, 0, fmt.Errorf("ode: FlowVelocity is infinite at t = %v, where (α', σ') = (%v, %v); stop at a later time, or predict Velocity", pt.T, pt.DAlpha, pt.DSigma)
		}
		return pt.DAlpha, pt.DSigma, nil
	case Score:
		if pt.Sigma == 0 {
			return 0, 0, fmt.Errorf("ode: Score is infinite at t = %v, where σ = 0; stop at a later time, or predict Velocity", pt.T)
		}
		return 0, -1 / pt.Sigma, nil
	}
	return 0, 0, fmt.Errorf("ode: %v is not a prediction; the predictions are Noise to Denoiser", p)
}

// same says whether two predictions are the same number (not whether the network is called in the same way).
func (p Prediction) same(q Prediction) bool {
	data := func(p Prediction) bool { return p == Data || p == Denoiser }
	return p == q || data(p) && data(q)
}

// Convert returns u and v with target = u·x + v·raw at a point. It is an error where raw and x do not tell x_0 and ε
// apart: Noise and Score at α = 0, Data and Denoiser at σ = 0; and where either prediction is infinite, see
// [Prediction.Of].
func Convert(raw, target Prediction, pt Point) (u, v float64, err error) {
	if raw.same(target) {
		return 0, 1, nil
	}
	x0, eps, err := target.Of(pt)
	if err != nil {
		return 0, 0, err
	}
	return raw.resolve(pt, x0, eps)
}

// resolve returns u and v with x0·x_0 + eps·ε = u·x + v·p: the one 2×2 system behind conversions and first-order steps.
func (p Prediction) resolve(pt Point, x0, eps float64) (u, v float64, err error) {
	r0, r1, err := p.Of(pt)
	if err != nil {
		return 0, 0, err
	}
	det := pt.Alpha*r1 - pt.Sigma*r0
	if det == 0 {
		return 0, 0, fmt.Errorf("ode: %v does not determine x_0 and ε at t = %v, where (α, σ) = (%v, %v); "+
			"predict Velocity or FlowVelocity, or keep away from that end", p, pt.T, pt.Alpha, pt.Sigma)
	}
	return (x0*r1 - eps*r0) / det, (pt.Alpha*eps - pt.Sigma*x0) / det, nil
}
