package exact

import (
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/ode"
)

var (
	_ ode.Differentiable[float32] = (*Field[float32])(nil)
	_ ode.Differentiable[float64] = (*Field[float64])(nil)
	_ ode.Trained                 = (*Field[float64])(nil)
)

// Field is a [Model] in the role of a network, with the exact products of its Jacobian to x, t and every parameter. It
// computes in float64 and converts at the border.
//
// The time of a call is that of the schedule and must lie in its domain; for [ode.Denoiser] it is the noise level σ/α,
// x holds x_t/α, and the schedule is not asked. Evaluations of one time in a row share what depends on time alone.
//
// A Field has no taps. It keeps scratch and so does not allocate, and is not safe for concurrent use: make one for each
// goroutine, which costs as much as an evaluation.
type Field[T ode.Float] struct {
	kernel     kernel
	schedule   ode.Schedule
	prediction ode.Prediction
	parameters []parameter

	ready, rated bool // value, rate belong to t and the present parameters
	t            float64
	point        ode.Point
	rate         coefficients

	x, cotangent, out, dx []float64 // one sample
	scratch               [][]float64
	direction             direction
	gradient              gradient
}

// NewField returns a Field of a copy of the model. The schedule may be nil for [ode.Denoiser].
func NewField[T ode.Float](m Model, s ode.Schedule, prediction ode.Prediction) (*Field[T], error) {
	if m == nil {
		return nil, fmt.Errorf("exact: no model; want a Gaussian, a Mixture or a Bumped")
	}
	k, err := m.kernel()
	if err != nil {
		return nil, err
	}
	if _, err := coefficientsAt(ode.Point{Alpha: 1, Sigma: 1}, prediction); err != nil {
		return nil, err
	}
	if s == nil && prediction != ode.Denoiser {
		return nil, fmt.Errorf("exact: no schedule; only a field of Denoiser, whose time is the noise level, goes without")
	}
	f := &Field[T]{kernel: k, schedule: s, prediction: prediction, parameters: k.parameters()}
	n := k.dim()
	sample := make([]float64, 4*n)
	f.x, f.cotangent, f.out, f.dx = sample[:n:n], sample[n:2*n:2*n], sample[2*n:3*n:3*n], sample[3*n:]
	for _, p := range f.parameters {
		f.scratch = append(f.scratch, make([]float64, len(p.value)))
	}
	f.direction.params = make([][]float64, len(f.parameters))
	f.gradient.params = make([][]float64, len(f.parameters))
	return f, nil
}

// Trained implements [ode.Trained].
func (f *Field[T]) Trained() (ode.Schedule, ode.Prediction) { return f.schedule, f.prediction }

// Eval writes the prediction at x to dst, which may be x.
func (f *Field[T]) Eval(dst, x []T, c ode.Call[T]) error {
	if err := f.check(c, x, "dst", dst); err != nil {
		return err
	}
	n := len(f.x)
	for i := range c.Batch {
		if err := f.at(c, i, false); err != nil {
			return err
		}
		widen(f.x, x[i*n:])
		f.kernel.eval(f.out, f.x)
		narrow(dst[i*n:], f.out)
	}
	return nil
}

// VJP pulls the cotangent back; see [ode.Differentiable].
func (f *Field[T]) VJP(g *ode.Tangent[T], cotangent, x []T, c ode.Call[T]) error {
	if err := f.check(c, x, "cotangent", cotangent); err != nil {
		return err
	}
	if err := f.checkTangent(g, c); err != nil {
		return err
	}
	f.gradient.x = nil
	if g.X != nil {
		f.gradient.x = f.dx
	}
	for i, p := range f.parameters {
		f.gradient.params[i] = nil
		if g.Params[p.name] != nil {
			clear(f.scratch[i])
			f.gradient.params[i] = f.scratch[i]
		}
	}
	n := len(f.x)
	for i := range c.Batch {
		if err := f.at(c, i, g.T != nil); err != nil {
			return err
		}
		widen(f.x, x[i*n:])
		widen(f.cotangent, cotangent[i*n:])
		f.kernel.vjp(&f.gradient, f.cotangent, f.x)
		if g.X != nil {
			narrow(g.X[i*n:], f.dx)
		}
		if g.T != nil {
			g.T[i] = T(f.gradient.rate.dot(f.rate))
		}
		if g.Value != nil {
			f.kernel.eval(f.out, f.x)
			narrow(g.Value[i*n:], f.out)
		}
	}
	for i, p := range f.parameters {
		if dst := g.Params[p.name]; dst != nil {
			for j, v := range f.scratch[i] {
				dst[j] += T(v)
			}
		}
	}
	return nil
}

// JVP writes the derivative in the direction d to dst, which may be x or d.X; see [ode.Differentiable].
func (f *Field[T]) JVP(dst, x []T, c ode.Call[T], d *ode.Tangent[T]) error {
	if err := f.check(c, x, "dst", dst); err != nil {
		return err
	}
	if err := f.checkTangent(d, c); err != nil {
		return err
	}
	for i, p := range f.parameters {
		f.direction.params[i] = nil
		if src := d.Params[p.name]; src != nil {
			widen(f.scratch[i], src)
			f.direction.params[i] = f.scratch[i]
		}
	}
	f.direction.x, f.direction.rate = nil, coefficients{}
	n := len(f.x)
	for i := range c.Batch {
		if err := f.at(c, i, d.T != nil); err != nil {
			return err
		}
		widen(f.x, x[i*n:])
		if d.X != nil {
			widen(f.dx, d.X[i*n:])
			f.direction.x = f.dx
		}
		if d.T != nil {
			f.direction.rate = f.rate.scaled(float64(d.T[i]))
		}
		f.kernel.jvp(f.out, f.x, &f.direction)
		narrow(dst[i*n:], f.out)
		if d.Value != nil {
			f.kernel.eval(f.out, f.x)
			narrow(d.Value[i*n:], f.out)
		}
	}
	return nil
}

// Parameters lists the parameters of the model, which do not depend on the batch.
func (f *Field[T]) Parameters(int) []ode.Parameter {
	ps := make([]ode.Parameter, len(f.parameters))
	for i, p := range f.parameters {
		ps[i] = ode.Parameter{Name: p.name, Shape: slices.Clone(p.shape)}
	}
	return ps
}

// Load copies the present value of a parameter to dst.
func (f *Field[T]) Load(name string, dst []T) error {
	i, err := f.find(name, len(dst))
	if err != nil {
		return err
	}
	narrow(dst, f.parameters[i].value)
	return nil
}

// Store replaces the value of a parameter by src. On an error (a value that the model could not have been made with)
// the old one stays.
func (f *Field[T]) Store(name string, src []T) error {
	i, err := f.find(name, len(src))
	if err != nil {
		return err
	}
	p := f.parameters[i]
	widen(f.scratch[i], src)
	if err := p.check(f.scratch[i]); err != nil {
		return err
	}
	copy(p.value, f.scratch[i])
	f.kernel.refresh()
	f.ready = false
	return nil
}

func (f *Field[T]) find(name string, length int) (int, error) {
	for i, p := range f.parameters {
		if p.name != name {
			continue
		}
		if length != len(p.value) {
			return 0, fmt.Errorf("exact: parameter %q given with %d elements; want %d, of shape %v", name, length, len(p.value), p.shape)
		}
		return i, nil
	}
	var names []string
	for _, p := range f.parameters {
		names = append(names, p.name)
	}
	return 0, fmt.Errorf("exact: no parameter %q; want one of %q", name, names)
}

// at makes the kernel ready for sample i of the call, with time derivatives if they are wanted.
func (f *Field[T]) at(c ode.Call[T], i int, rates bool) error {
	if len(c.T) == 1 {
		i = 0
	}
	if t := float64(c.T[i]); !f.ready || t != f.t {
		f.ready = false
		pt, err := f.pointAt(c.T[i])
		if err != nil {
			return err
		}
		value, err := coefficientsAt(pt, f.prediction)
		if err != nil {
			return err
		}
		if err := f.kernel.prepare(value); err != nil {
			return err
		}
		f.t, f.point, f.ready, f.rated = t, pt, true, false
	}
	if rates && !f.rated {
		var ddAlpha, ddSigma float64
		if f.prediction == ode.FlowVelocity {
			ddAlpha, ddSigma = curvature(f.schedule, f.point.T)
		}
		rate, err := ratesAt(f.point, ddAlpha, ddSigma, f.prediction)
		if err != nil {
			return err
		}
		f.rate, f.rated = rate, true
	}
	return nil
}

func (f *Field[T]) pointAt(t T) (ode.Point, error) {
	if f.prediction == ode.Denoiser {
		return ode.Point{T: float64(t), Alpha: 1, Sigma: float64(t), DSigma: 1}, nil
	}
	lo, hi := f.schedule.Domain()
	// An end of the domain given as a float32 may be rounded to outside.
	if !(t >= T(lo) && t <= T(hi)) {
		return ode.Point{}, fmt.Errorf("exact: time %v; want it in the schedule's domain [%v, %v]", t, lo, hi)
	}
	return f.schedule.At(math.Max(lo, math.Min(hi, float64(t)))), nil
}

func (f *Field[T]) check(c ode.Call[T], x []T, name string, other []T) error {
	switch {
	case c.Batch < 1:
		return fmt.Errorf("exact: batch of %d; want 1 or more", c.Batch)
	case len(x) != c.Batch*len(f.x):
		return fmt.Errorf("exact: x has %d elements; want %d samples of %d", len(x), c.Batch, len(f.x))
	case len(other) != len(x):
		return fmt.Errorf("exact: %s has %d elements and x %d; want the same", name, len(other), len(x))
	case len(c.T) != 1 && len(c.T) != c.Batch:
		return fmt.Errorf("exact: %d times for a batch of %d; want 1, or one a sample", len(c.T), c.Batch)
	case len(c.In) != 0 || len(c.Out) != 0:
		return fmt.Errorf("exact: taps in the call; the exact models have none")
	}
	return nil
}

func (f *Field[T]) checkTangent(g *ode.Tangent[T], c ode.Call[T]) error {
	n := c.Batch * len(f.x)
	switch {
	case g == nil:
		return fmt.Errorf("exact: no Tangent, which says what is wanted or the direction")
	case g.X != nil && len(g.X) != n:
		return fmt.Errorf("exact: tangent X has %d elements; want %d as x", len(g.X), n)
	case g.Value != nil && len(g.Value) != n:
		return fmt.Errorf("exact: tangent Value has %d elements; want %d as x", len(g.Value), n)
	case g.T != nil && len(g.T) != c.Batch:
		return fmt.Errorf("exact: tangent T has %d elements; want %d, one a sample", len(g.T), c.Batch)
	case len(g.In) != 0 || len(g.Out) != 0:
		return fmt.Errorf("exact: taps in the tangent; the exact models have none")
	}
	for name, p := range g.Params {
		if p == nil {
			continue
		}
		if _, err := f.find(name, len(p)); err != nil {
			return err
		}
	}
	return nil
}

func widen[T ode.Float](dst []float64, src []T) {
	for i := range dst {
		dst[i] = float64(src[i])
	}
}

// narrow fills as much of dst as there is of src.
func narrow[T ode.Float](dst []T, src []float64) {
	for i, v := range src {
		dst[i] = T(v)
	}
}
