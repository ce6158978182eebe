package exact

import (
	"fmt"

	"github.com/ebb-go/ebb/ode"
)

// Model is one of the models of this package.
type Model interface {
	// Dim is the number of elements of one sample.
	Dim() int

	// Predict writes the wanted prediction at the samples x_t to dst. x holds any number of samples one after the
	// other, and dst may be x. For [ode.Denoiser], x holds x_t/α.
	Predict(dst, x []float64, at ode.Point, want ode.Prediction) error

	// kernel checks the model and copies it.
	kernel() (kernel, error)
}

// kernel computes one sample at a time, with scratch of its own.
type kernel interface {
	dim() int
	parameters() []parameter
	// refresh is called when parameters have changed, before prepare.
	refresh()
	// prepare computes what depends on time and parameters alone.
	prepare(c coefficients) error
	eval(dst, x []float64)
	vjp(g *gradient, cotangent, x []float64)
	jvp(dst, x []float64, d *direction)
}

// A parameter is a live view of numbers inside a kernel.
type parameter struct {
	name  string
	shape []int
	value []float64
	check func(value []float64) error
}

// A direction is the argument of kernel.jvp. Entries of params match kernel.parameters; nil is zero.
type direction struct {
	x      []float64
	rate   coefficients
	params [][]float64
}

// A gradient is the result of kernel.vjp: x (nil if not wanted) and rate are overwritten, params added to.
type gradient struct {
	x      []float64
	rate   coefficients
	params [][]float64
}

func predict(m Model, dst, x []float64, at ode.Point, want ode.Prediction) error {
	k, err := preparedAt(m, at, want)
	if err != nil {
		return err
	}
	if err := checkSamples(k.dim(), dst, x); err != nil {
		return err
	}
	for n := k.dim(); len(x) > 0; dst, x = dst[n:], x[n:] {
		k.eval(dst[:n], x[:n])
	}
	return nil
}

func preparedAt(m Model, at ode.Point, want ode.Prediction) (kernel, error) {
	k, err := m.kernel()
	if err != nil {
		return nil, err
	}
	if want == ode.Denoiser {
		at = ode.Point{Alpha: 1, Sigma: at.Sigma / at.Alpha}
	}
	c, err := coefficientsAt(at, want)
	if err != nil {
		return nil, err
	}
	return k, k.prepare(c)
}

func checkSamples(dim int, dst, x []float64) error {
	if len(x) == 0 || len(x)%dim != 0 {
		return fmt.Errorf("exact: x has %d elements; want a positive multiple of the dimension %d", len(x), dim)
	}
	if len(dst) != len(x) {
		return fmt.Errorf("exact: dst has %d elements and x %d; want the same", len(dst), len(x))
	}
	return nil
}

func checkFinite(name string, value []float64) error {
	for i, v := range value {
		if !finite(v) {
			return fmt.Errorf("exact: %s[%d] is %v; want a finite number", name, i, v)
		}
	}
	return nil
}

func checkVariances(name string, value []float64) error {
	for i, v := range value {
		if !(v >= 0 && finite(v)) {
			return fmt.Errorf("exact: %s[%d] is %v; want a finite variance, 0 or more", name, i, v)
		}
	}
	return nil
}

func checkPositive(name string, value []float64) error {
	for i, v := range value {
		if !(v > 0 && finite(v)) {
			return fmt.Errorf("exact: %s[%d] is %v; want a finite number above 0", name, i, v)
		}
	}
	return nil
}

// checkMarginal reports a variance of x_t that no density belongs to.
func checkMarginal(v float64, c coefficients) error {
	if v > 0 && finite(v) {
		return nil
	}
	return fmt.Errorf("exact: x_t has the variance %v at α = %v, σ = %v; want it positive and finite (a model without variance is defined for σ > 0 only)", v, c.alpha, c.sigma)
}
