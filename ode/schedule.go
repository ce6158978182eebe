package ode

import (
	"fmt"
	"math"
	"sort"
)

// A Point is a schedule at one time: x_t = Alpha·x_0 + Sigma·ε, and the derivatives of both with respect to T.
type Point struct{ T, Alpha, Sigma, DAlpha, DSigma float64 }

// Lambda is ln(α/σ): −Inf where α = 0, +Inf where σ = 0.
func (p Point) Lambda() float64 { return math.Log(p.Alpha / p.Sigma) }

// A Schedule is α and σ as functions of time. Time rises from data to noise.
type Schedule interface {
	// At returns the point at t, which lies in the domain.
	At(t float64) Point
	// TimeOf is the inverse of t ↦ λ = ln(α/σ).
	TimeOf(lambda float64) float64
	// Domain is the closed interval of times at which the schedule is defined.
	Domain() (data, noise float64)
	// Range is where sampling stops and starts by default, inside the domain.
	Range() (data, noise float64)
}

// VPLinear is the variance-preserving schedule whose β rises linearly:
//
//	ln α = −(β₁−β₀) t²/4 − β₀ t/2,  σ² = 1 − α²
//
// on [0, 1], sampled from 1 to 1e-3. The zero value has β₀ = 0.1 and β₁ = 20. Source: Song et al. 2021, arXiv 2011.13456,
// appendix C.
type VPLinear struct{ Beta0, Beta1 float64 }

func (s VPLinear) betas() (b0, b1 float64) {
	if s == (VPLinear{}) {
		return 0.1, 20
	}
	return s.Beta0, s.Beta1
}

// At implements [Schedule].
func (s VPLinear) At(t float64) Point {
	b0, b1 := s.betas()
	return preserving(t, -t*((b1-b0)*t/4+b0/2), -((b1-b0)*t+b0)/2)
}

// TimeOf implements [Schedule].
func (s VPLinear) TimeOf(lambda float64) float64 {
	b0, b1 := s.betas()
	// −2 ln α = l; the root of (β₁−β₀)t²/2 + β₀t = l in the form that does not cancel near t = 0.
	l := softplus(-2 * lambda)
	return 2 * l / (math.Sqrt(b0*b0+2*(b1-b0)*l) + b0)
}

// Domain implements [Schedule].
func (VPLinear) Domain() (data, noise float64) { return 0, 1 }

// Range implements [Schedule].
func (VPLinear) Range() (data, noise float64) { return 1e-3, 1 }

// preserving is the point of a variance-preserving schedule with the given ln α and its derivative.
func preserving(t, logAlpha, dLogAlpha float64) Point {
	alpha, sigma := math.Exp(logAlpha), math.Sqrt(0-math.Expm1(2*logAlpha)) // 0−: a σ of −0 would have λ = NaN
	return Point{T: t, Alpha: alpha, Sigma: sigma, DAlpha: alpha * dLogAlpha, DSigma: -alpha * alpha * dLogAlpha / sigma}
}

// softplus is ln(1 + e^z), exact for large |z|.
func softplus(z float64) float64 { return math.Max(z, 0) + math.Log1p(math.Exp(-math.Abs(z))) }

// VPCosine is the variance-preserving schedule
//
//	α = cos(½π (t+c)/(1+c)) / cos(½π c/(1+c))
//
// on [0, 1], where α(1) = 0, sampled from 0.9946 to 1e-3. An Offset of zero means c = 0.008. Source: Nichol, Dhariwal
// 2021, arXiv 2102.09672, equation 17; the default end of sampling is that of Lu et al. 2022, arXiv 2206.00927.
type VPCosine struct{ Offset float64 }

// angles gives the angle of t = 0 and how fast it turns.
func (s VPCosine) angles() (start, rate float64) {
	c := s.Offset
	if c == 0 {
		c = 0.008
	}
	return math.Pi / 2 * c / (1 + c), math.Pi / 2 / (1 + c)
}

// At implements [Schedule].
func (s VPCosine) At(t float64) Point {
	a, w := s.angles()
	// The cosine as the sine of what is left to a right angle, so that α(1) is 0 and not 6e-17; 1 − α² by
	// cos²A − cos²B = sin(A+B) sin(B−A), which does not cancel near t = 0.
	alpha := math.Sin(w*(1-t)) / math.Cos(a)
	sigma := math.Sqrt(math.Sin(2*a+w*t)*math.Sin(w*t)) / math.Cos(a)
	dAlpha := -w * math.Cos(w*(1-t)) / math.Cos(a)
	return Point{T: t, Alpha: alpha, Sigma: sigma, DAlpha: dAlpha, DSigma: -alpha * dAlpha / sigma}
}

// TimeOf implements [Schedule].
func (s VPCosine) TimeOf(lambda float64) float64 {
	a, w := s.angles()
	alpha, sigma := math.Exp(-softplus(-2*lambda)/2), math.Exp(-softplus(2*lambda)/2)
	return (math.Atan2(math.Hypot(math.Sin(a), sigma*math.Cos(a)), alpha*math.Cos(a)) - a) / w
}

// Domain implements [Schedule].
func (VPCosine) Domain() (data, noise float64) { return 0, 1 }

// Range implements [Schedule].
func (VPCosine) Range() (data, noise float64) { return 1e-3, 0.9946 }

// Discrete is the variance-preserving schedule of a network trained at N discrete levels: ln α is piecewise linear in t
// through α = 1 at t = 0 and the levels at t = (i+1)/N, i = 0 … N−1. The domain is [0, 1]; sampling goes from 1 to 1/N.
// It is made by [DiscreteFromBetas] or [DiscreteFromAlphaBars].
//
// Its derivatives jump at the levels, where the ones of the cleaner side are given. A solver of high order therefore
// stops converging once its steps are as short as the levels are apart.
//
// Gradients to knots at a level are of the cleaner side too.
type Discrete struct{ logAlpha []float64 } // N+1 values, the first 0

// piece narrows the interval [lower, upper] round t to the piece of the schedule that t lies in, at a level the cleaner
// one, as its derivatives there are.
func (d *Discrete) piece(t, lower, upper float64) (float64, float64) {
	const close = 1e-9 // a level that was divided and multiplied again, or summed up, is still one
	n := float64(len(d.logAlpha) - 1)
	level := max(1, math.Ceil(t*n*(1-close)))
	end := level / n
	if t*n > level*(1-close) {
		end = t
	}
	return max(lower, (level-1)/n), min(upper, end)
}

// DiscreteFromBetas makes the schedule with ᾱ_i = Π_{j≤i} (1 − β_j) (Ho, Jain, Abbeel 2020, arXiv 2006.11239).
// Every β must lie strictly between 0 and 1.
func DiscreteFromBetas(betas []float64) (*Discrete, error) {
	l := make([]float64, 1, len(betas)+1)
	for i, b := range betas {
		if !(b > 0 && b < 1) {
			return nil, fmt.Errorf("ode: β[%d] = %v is not strictly between 0 and 1", i, b)
		}
		l = append(l, l[i]+math.Log1p(-b)/2)
	}
	return newDiscrete(l)
}

// DiscreteFromAlphaBars makes the schedule with the given ᾱ = α². They must fall strictly and lie strictly between 0 and
// 1: a last ᾱ of 0 has no logarithm to interpolate; leave it out, or use a schedule in closed form.
func DiscreteFromAlphaBars(alphaBars []float64) (*Discrete, error) {
	l := make([]float64, 1, len(alphaBars)+1)
	for i, a := range alphaBars {
		if !(a > 0 && a < 1) {
			return nil, fmt.Errorf("ode: ᾱ[%d] = %v is not strictly between 0 and 1", i, a)
		}
		if l = append(l, math.Log(a)/2); l[i+1] >= l[i] {
			return nil, fmt.Errorf("ode: ᾱ[%d] = %v does not fall below ᾱ[%d] = %v", i, a, i-1, alphaBars[i-1])
		}
	}
	return newDiscrete(l)
}

func newDiscrete(logAlpha []float64) (*Discrete, error) {
	if len(logAlpha) < 3 {
		return nil, fmt.Errorf("ode: a discrete schedule needs at least 2 levels, not %d", len(logAlpha)-1)
	}
	return &Discrete{logAlpha}, nil
}

// Levels is N.
func (s *Discrete) Levels() int { return len(s.logAlpha) - 1 }

// String names the schedule by its number of levels.
func (s *Discrete) String() string { return fmt.Sprintf("Discrete(%d levels)", s.Levels()) }

// At implements [Schedule].
func (s *Discrete) At(t float64) Point {
	n := s.Levels()
	i := min(max(int(math.Ceil(t*float64(n)))-1, 0), n-1)
	slope := (s.logAlpha[i+1] - s.logAlpha[i]) * float64(n)
	// From the cleaner end, so that the first interval keeps its relative precision.
	return preserving(t, s.logAlpha[i]+(t-float64(i)/float64(n))*slope, slope)
}

// TimeOf implements [Schedule].
func (s *Discrete) TimeOf(lambda float64) float64 {
	n := s.Levels()
	l := -softplus(-2*lambda) / 2
	i := min(max(sort.Search(n, func(i int) bool { return s.logAlpha[i+1] <= l }), 0), n-1)
	return (float64(i) + (l-s.logAlpha[i])/(s.logAlpha[i+1]-s.logAlpha[i])) / float64(n)
}

// Domain implements [Schedule].
func (s *Discrete) Domain() (data, noise float64) { return 0, 1 }

// Range implements [Schedule].
func (s *Discrete) Range() (data, noise float64) { return 1 / float64(s.Levels()), 1 }

// EDM is the schedule α = 1, σ = t: time is the noise level. The domain is all t ≥ 0 (its upper end is +Inf, which is
// no knot, since knots are finite); sampling goes from 80 to 0.002. Source: Karras et al. 2022, arXiv 2206.00364.
type EDM struct{}

// At implements [Schedule].
func (EDM) At(t float64) Point { return Point{T: t, Alpha: 1, Sigma: t, DSigma: 1} }

// TimeOf implements [Schedule].
func (EDM) TimeOf(lambda float64) float64 { return math.Exp(-lambda) }

// Domain implements [Schedule].
func (EDM) Domain() (data, noise float64) { return 0, math.Inf(1) }

// Range implements [Schedule].
func (EDM) Range() (data, noise float64) { return 0.002, 80 }

// Flow is the schedule of rectified flow and flow matching, α = 1−t, σ = t, on [0, 1], sampled from 1 to 0. At both ends
// λ is infinite. Source: Lipman et al. 2022, arXiv 2210.02747; Liu et al. 2022, arXiv 2209.03003, whose time is 1−t.
type Flow struct{}

// At implements [Schedule].
func (Flow) At(t float64) Point { return Point{T: t, Alpha: 1 - t, Sigma: t, DAlpha: -1, DSigma: 1} }

// TimeOf implements [Schedule].
func (Flow) TimeOf(lambda float64) float64 { return 1 / (1 + math.Exp(lambda)) }

// Domain implements [Schedule].
func (Flow) Domain() (data, noise float64) { return 0, 1 }

// Range implements [Schedule].
func (Flow) Range() (data, noise float64) { return 0, 1 }
