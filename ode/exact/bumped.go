package exact

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/ode"
)

// coupling is the share of an element's bump that the next element sees.
const coupling = 0.5

// Bumped is a Gaussian field with a bounded bump, as tame at one noise level as at another: the field for checks that
// need a nonlinear one over the whole range, where a network's gradients would overflow any difference quotient. With
// z = (x − α·μ)/√V, the Gaussian's own state in standard deviations,
//
//	x̂_0 = Gaussian + a·σ·√(c/V)·β(z)        ε̂ = Gaussian − a·α·√(c/V)·β(z)
//	β(z) = U·sin(ω·U⁻¹z),  U = 1 on the diagonal and ½ below it
//
// so the bump of x̂_0 is at most 3a/2 posterior standard deviations. In the angle θ = atan(σ/(α√c)) the flow is
// dz/dθ = −a·β(z), the same on every schedule. θ spans at most π/2, so that no gradient of a whole run exceeds about
// exp(π·a·ω/2) in these units. The Jacobian is triangular: a product with its transpose taken for one with
// itself shows.
//
// It is not the field of a distribution, so it has no density and no samples. Its parameters as a [Field] are those of
// the Gaussian, "amplitude" [1] and "frequency" [1].
type Bumped struct {
	Gaussian  Gaussian // variances above 0
	Amplitude float64  // a
	Frequency float64  // ω, in radians a standard deviation
}

// Dim is the number of elements of one sample.
func (b Bumped) Dim() int { return b.Gaussian.Dim() }

// Predict writes the wanted prediction; see [Model].
func (b Bumped) Predict(dst, x []float64, at ode.Point, want ode.Prediction) error {
	return predict(b, dst, x, at, want)
}

func (b Bumped) check() error {
	if err := b.Gaussian.check(); err != nil {
		return err
	}
	if err := checkPositive("Variance", b.Gaussian.Variance); err != nil {
		return err
	}
	if err := checkFinite("Amplitude", []float64{b.Amplitude}); err != nil {
		return err
	}
	return checkFinite("Frequency", []float64{b.Frequency})
}

func (b Bumped) kernel() (kernel, error) {
	if err := b.check(); err != nil {
		return nil, err
	}
	k := newNormal(b.Gaussian)
	k.bumped = true
	k.shape = []float64{b.Amplitude, b.Frequency}
	k.w, k.ww = make([]float64, b.Dim()), make([]float64, b.Dim())
	return k, nil
}

// Flow writes the solution at time `to` of the probability-flow ODE through the samples x at time `from`. With
// w = U⁻¹z, each element obeys dw/dθ = −a·sin(ω·w), hence tan(ω·w/2) falls as exp(−a·ω·θ).
//
// It needs one variance for all elements: θ is then one number.
func (b Bumped) Flow(dst, x []float64, s ode.Schedule, from, to float64) error {
	if err := b.check(); err != nil {
		return err
	}
	if len(b.Gaussian.Variance) != 1 {
		return fmt.Errorf("exact: flow of a bumped Gaussian with %d variances; want one for all elements", len(b.Gaussian.Variance))
	}
	if err := checkSamples(b.Dim(), dst, x); err != nil {
		return err
	}
	deviation := math.Sqrt(b.Gaussian.Variance[0])
	start, end := s.At(from), s.At(to)
	growth := math.Exp(-b.Amplitude * b.Frequency *
		(math.Atan2(end.Sigma, end.Alpha*deviation) - math.Atan2(start.Sigma, start.Alpha*deviation)))
	va := math.Hypot(start.Alpha*deviation, start.Sigma)
	vb := math.Hypot(end.Alpha*deviation, end.Sigma)
	for n := b.Dim(); len(x) > 0; dst, x = dst[n:], x[n:] {
		var w, moved float64
		for i, mean := range b.Gaussian.Mean {
			w = (x[i]-start.Alpha*mean)/va - coupling*w
			before := moved
			moved = slide(w, b.Frequency, growth)
			dst[i] = end.Alpha*mean + vb*(moved+coupling*before)
		}
	}
	return nil
}

// slide solves dw/dθ = −a·sin(ω·w) over an angle in which tan(ω·w/2) is multiplied by growth.
func slide(w, frequency, growth float64) float64 {
	if frequency == 0 {
		return w
	}
	y := frequency * w
	turn := 2 * math.Pi * math.Round(y/(2*math.Pi))
	return (turn + 2*math.Atan(growth*math.Tan((y-turn)/2))) / frequency
}

func (k *normal) addBump(dst, x []float64) {
	a, f := k.shape[0], k.shape[1]
	var w, sine float64
	for i := range dst {
		v := k.index(i)
		w = (x[i]-k.c.alpha*k.mean[i])/math.Sqrt(k.marginal[v]) - coupling*w
		before := sine
		sine = math.Sin(f * w)
		dst[i] += a * k.c.bump * math.Sqrt(k.variance[v]/k.marginal[v]) * (sine + coupling*before)
	}
}

func (k *normal) addBumpJVP(dst, x []float64, d *direction) {
	c, a, f := k.c, k.shape[0], k.shape[1]
	var da, df float64
	if p := d.params[2]; p != nil {
		da = p[0]
	}
	if p := d.params[3]; p != nil {
		df = p[0]
	}
	var w, dw, sine, dsine float64
	for i := range dst {
		v := k.index(i)
		var dx, dmean, dvariance float64
		if d.x != nil {
			dx = d.x[i]
		}
		if p := d.params[0]; p != nil {
			dmean = p[i]
		}
		if p := d.params[1]; p != nil {
			dvariance = p[v]
		}
		marginal := k.marginal[v]
		dmarginal := k.marginalRate(v, d.rate, dvariance)
		root := math.Sqrt(marginal)
		z := (x[i] - c.alpha*k.mean[i]) / root
		dz := (dx-d.rate.alpha*k.mean[i]-c.alpha*dmean)/root - z*dmarginal/(2*marginal)
		w, dw = z-coupling*w, dz-coupling*dw
		before, dbefore := sine, dsine
		sin, cos := math.Sincos(f * w)
		sine, dsine = sin, cos*(f*dw+df*w)
		beta, dbeta := sine+coupling*before, dsine+coupling*dbefore
		h := math.Sqrt(k.variance[v] / marginal)
		dh := h * (dvariance/k.variance[v] - dmarginal/marginal) / 2
		dst[i] += (da*c.bump+a*d.rate.bump)*h*beta + a*c.bump*(dh*beta+h*dbeta)
	}
}

func (k *normal) addBumpVJP(g *gradient, cotangent, x []float64) {
	c, a, f := k.c, k.shape[0], k.shape[1]
	var w, sine float64
	for i, u := range cotangent {
		v := k.index(i)
		w = (x[i]-c.alpha*k.mean[i])/math.Sqrt(k.marginal[v]) - coupling*w
		before := sine
		sine = math.Sin(f * w)
		k.w[i] = w
		beta := sine + coupling*before
		h := math.Sqrt(k.variance[v] / k.marginal[v])
		k.ww[i] = u * a * c.bump * h // cotangent of β
		g.rate.bump += u * a * h * beta
		if p := g.params[2]; p != nil {
			p[0] += u * c.bump * h * beta
		}
		uh := u * a * c.bump * beta
		if p := g.params[1]; p != nil {
			p[v] += uh * h / (2 * k.variance[v])
		}
		k.pullMarginal(g, v, -uh*h/(2*k.marginal[v]))
	}
	var next, unext float64 // cotangents of β and w of the element above
	for i := len(x) - 1; i >= 0; i-- {
		v := k.index(i)
		cos := math.Cos(f * k.w[i])
		usine := k.ww[i] + coupling*next
		uz := usine*f*cos - coupling*unext
		next, unext = k.ww[i], uz
		if p := g.params[3]; p != nil {
			p[0] += usine * cos * k.w[i]
		}
		root := math.Sqrt(k.marginal[v])
		udiff := uz / root
		if g.x != nil {
			g.x[i] += udiff
		}
		if p := g.params[0]; p != nil {
			p[i] -= c.alpha * udiff
		}
		g.rate.alpha -= k.mean[i] * udiff
		z := (x[i] - c.alpha*k.mean[i]) / root
		k.pullMarginal(g, v, -uz*z/(2*k.marginal[v]))
	}
}
