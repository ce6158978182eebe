package exact

import (
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/ode"
)

// Gaussian is data of independent normal elements. With V = α²·c + σ² and d = x − α·μ,
//
//	x̂_0 = μ + (α·c/V)·d        ε̂ = (σ/V)·d        ∇ log p = −d/V
//
// Its parameters as a [Field] are "mean" [D] and "variance" [len(Variance)].
type Gaussian struct {
	Mean     []float64 // one an element of a sample
	Variance []float64 // one an element, or one for all; 0 or more
}

// Dim is the number of elements of one sample.
func (g Gaussian) Dim() int { return len(g.Mean) }

// Predict writes the wanted prediction; see [Model].
func (g Gaussian) Predict(dst, x []float64, at ode.Point, want ode.Prediction) error {
	return predict(g, dst, x, at, want)
}

func (g Gaussian) check() error {
	if len(g.Mean) == 0 {
		return fmt.Errorf("exact: Gaussian without Mean; want one number an element")
	}
	if len(g.Variance) != 1 && len(g.Variance) != len(g.Mean) {
		return fmt.Errorf("exact: Gaussian with %d means and %d variances; want one variance, or one a mean", len(g.Mean), len(g.Variance))
	}
	if err := checkFinite("Mean", g.Mean); err != nil {
		return err
	}
	return checkVariances("Variance", g.Variance)
}

func (g Gaussian) kernel() (kernel, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	return newNormal(g), nil
}

// variance is that of element i.
func (g Gaussian) variance(i int) float64 {
	if len(g.Variance) == 1 {
		i = 0
	}
	return g.Variance[i]
}

// PosteriorVariance writes Var(x_0 | x_t) = c·σ²/V of each element to dst, for each of the samples of x (on which it
// does not depend).
func (g Gaussian) PosteriorVariance(dst, x []float64, at ode.Point) error {
	k, err := preparedAt(g, at, ode.Noise)
	if err != nil {
		return err
	}
	if err := checkSamples(g.Dim(), dst, x); err != nil {
		return err
	}
	n := k.(*normal)
	for i := range dst {
		v := n.index(i % g.Dim())
		dst[i] = n.variance[v] * (at.Sigma / n.marginal[v]) * at.Sigma
	}
	return nil
}

// LogDensity is log p_t(x) of one sample.
func (g Gaussian) LogDensity(x []float64, at ode.Point) (float64, error) {
	k, err := preparedAt(g, at, ode.Noise)
	if err != nil {
		return 0, err
	}
	if len(x) != g.Dim() {
		return 0, fmt.Errorf("exact: x has %d elements; want one sample of %d", len(x), g.Dim())
	}
	n := k.(*normal)
	var sum float64
	for i, x := range x {
		v := n.marginal[n.index(i)]
		d := x - at.Alpha*n.mean[i]
		sum -= (math.Log(2*math.Pi*v) + d*d/v) / 2
	}
	return sum, nil
}

// Sample fills dst with exact samples of x_t = α·x_0 + σ·ε, one after the other. The i-th depends on seed and i alone,
// and its x_0 and ε are the same at every point: {Alpha: 1} gives x_0.
func (g Gaussian) Sample(dst []float64, at ode.Point, seed uint64) error {
	if err := g.check(); err != nil {
		return err
	}
	return sample(dst, g.Dim(), at, seed, 0, func(x0 []float64, _ float64) {
		for i, normal := range x0 {
			x0[i] = g.Mean[i] + math.Sqrt(g.variance(i))*normal
		}
	})
}

// Flow writes the solution at time `to` of the probability-flow ODE through the samples x at time `from`:
//
//	α_to·μ + √(V_to/V_from)·(x − α_from·μ)
//
// Either direction. dst may be x.
func (g Gaussian) Flow(dst, x []float64, s ode.Schedule, from, to float64) error {
	if err := g.check(); err != nil {
		return err
	}
	if err := checkSamples(g.Dim(), dst, x); err != nil {
		return err
	}
	a, b := s.At(from), s.At(to)
	for i, x := range x {
		j := i % g.Dim()
		f, err := g.stretch(j, a, b)
		if err != nil {
			return err
		}
		dst[i] = b.Alpha*g.Mean[j] + f*(x-a.Alpha*g.Mean[j])
	}
	return nil
}

// FlowJacobian writes the derivative of [Gaussian.Flow] with respect to x, a diagonal matrix √(V_to/V_from), to dst of
// length Dim. That with respect to `to` is the flow velocity at the end.
func (g Gaussian) FlowJacobian(dst []float64, s ode.Schedule, from, to float64) error {
	if err := g.check(); err != nil {
		return err
	}
	if len(dst) != g.Dim() {
		return fmt.Errorf("exact: dst has %d elements; want the diagonal of %d", len(dst), g.Dim())
	}
	a, b := s.At(from), s.At(to)
	for j := range dst {
		f, err := g.stretch(j, a, b)
		if err != nil {
			return err
		}
		dst[j] = f
	}
	return nil
}

func (g Gaussian) stretch(i int, from, to ode.Point) (float64, error) {
	deviation := math.Sqrt(g.variance(i))
	a := math.Hypot(from.Alpha*deviation, from.Sigma)
	if !(a > 0) {
		return 0, fmt.Errorf("exact: element %d has no variance at the start of the flow (t = %v); want variance or σ above 0", i, from.T)
	}
	return math.Hypot(to.Alpha*deviation, to.Sigma) / a, nil
}

// normal is the kernel of Gaussian and Bumped.
type normal struct {
	mean, variance []float64
	c              coefficients
	marginal, gain []float64 // V and P = (A·α·c + B·σ)/V, an entry a variance

	bumped bool
	shape  []float64 // amplitude, frequency
	w, ww  []float64
}

func newNormal(g Gaussian) *normal {
	n := len(g.Variance)
	return &normal{
		mean: slices.Clone(g.Mean), variance: slices.Clone(g.Variance),
		marginal: make([]float64, n), gain: make([]float64, n),
	}
}

func (k *normal) dim() int { return len(k.mean) }

// index is the place of the variance of element i.
func (k *normal) index(i int) int {
	if len(k.variance) == 1 {
		return 0
	}
	return i
}

func (k *normal) parameters() []parameter {
	ps := []parameter{
		{"mean", []int{len(k.mean)}, k.mean, func(v []float64) error { return checkFinite("mean", v) }},
		{"variance", []int{len(k.variance)}, k.variance, func(v []float64) error { return checkVariances("variance", v) }},
	}
	if k.bumped {
		ps[1].check = func(v []float64) error { return checkPositive("variance", v) }
		ps = append(ps,
			parameter{"amplitude", []int{1}, k.shape[:1], func(v []float64) error { return checkFinite("amplitude", v) }},
			parameter{"frequency", []int{1}, k.shape[1:], func(v []float64) error { return checkFinite("frequency", v) }})
	}
	return ps
}

func (k *normal) refresh() {}

func (k *normal) prepare(c coefficients) error {
	k.c = c
	for i, variance := range k.variance {
		k.marginal[i] = c.alpha*c.alpha*variance + c.sigma*c.sigma
		if err := checkMarginal(k.marginal[i], c); err != nil {
			return err
		}
		k.gain[i] = (c.data*c.alpha*variance + c.noise) / k.marginal[i]
	}
	if k.bumped && math.IsInf(c.bump, 0) {
		return fmt.Errorf("exact: the score of a bumped Gaussian is not finite at σ = 0; want σ above 0, or another prediction")
	}
	return nil
}

func (k *normal) eval(dst, x []float64) {
	for i, x := range x {
		dst[i] = k.c.data*k.mean[i] + k.gain[k.index(i)]*(x-k.c.alpha*k.mean[i])
	}
	if k.bumped {
		k.addBump(dst, x)
	}
}

func (k *normal) jvp(dst, x []float64, d *direction) {
	c := k.c
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
		diff := x[i] - c.alpha*k.mean[i]
		ddiff := dx - d.rate.alpha*k.mean[i] - c.alpha*dmean
		dmarginal := k.marginalRate(v, d.rate, dvariance)
		dgain := (d.rate.data*c.alpha*k.variance[v] + c.data*(d.rate.alpha*k.variance[v]+c.alpha*dvariance) + d.rate.noise -
			k.gain[v]*dmarginal) / k.marginal[v]
		dst[i] = d.rate.data*k.mean[i] + c.data*dmean + dgain*diff + k.gain[v]*ddiff
	}
	if k.bumped {
		k.addBumpJVP(dst, x, d)
	}
}

func (k *normal) marginalRate(v int, rate coefficients, dvariance float64) float64 {
	c := k.c
	return 2*c.alpha*k.variance[v]*rate.alpha + 2*c.sigma*rate.sigma + c.alpha*c.alpha*dvariance
}

func (k *normal) vjp(g *gradient, cotangent, x []float64) {
	c := k.c
	g.rate = coefficients{}
	for i, u := range cotangent {
		v := k.index(i)
		diff := x[i] - c.alpha*k.mean[i]
		udiff := k.gain[v] * u
		ugain := u * diff / k.marginal[v] // of the numerator of the gain
		if g.x != nil {
			g.x[i] = udiff
		}
		if p := g.params[0]; p != nil {
			p[i] += c.data*u - c.alpha*udiff
		}
		if p := g.params[1]; p != nil {
			p[v] += c.alpha * c.data * ugain
		}
		g.rate.alpha += c.data*k.variance[v]*ugain - k.mean[i]*udiff
		g.rate.data += k.mean[i]*u + c.alpha*k.variance[v]*ugain
		g.rate.noise += ugain
		k.pullMarginal(g, v, -ugain*k.gain[v])
	}
	if k.bumped {
		k.addBumpVJP(g, cotangent, x)
	}
}

// pullMarginal carries the cotangent of V on to what V depends on.
func (k *normal) pullMarginal(g *gradient, v int, u float64) {
	g.rate.alpha += 2 * k.c.alpha * k.variance[v] * u
	g.rate.sigma += 2 * k.c.sigma * u
	if p := g.params[1]; p != nil {
		p[v] += k.c.alpha * k.c.alpha * u
	}
}
