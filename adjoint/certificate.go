package adjoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/ode"
)

// A Certificate compares a gradient with finite differences of the function it is the gradient of: the same plan rerun,
// with one thing moved along a random direction.
type Certificate struct {
	Checks []Check // one for every name of Wrt, and for every draw
	Runs   int     // solves that it took
}

// A Check is the comparison along one direction in one named tensor. The direction δ has length 1.
type Check struct {
	Name      string
	Predicted float64 // ⟨g, δ⟩
	Measured  float64 // the difference quotient
	Step      float64 // on whose plateau it was read off
	Norm      float64 // ‖g‖

	// Error is |Predicted − Measured| relative to max(|⟨g, δ⟩|, ‖g‖/√D): a direction that happens to be orthogonal to the
	// gradient neither flatters nor damns. Where the gradient is zero and the quotient is above its rounding, it is 1.
	Error float64

	// Resolution is what the quotient is uncertain by, on the same scale: what those on the plateau differ by, and the
	// rounding u·|Loss|/Step of each. An Error below it says nothing; a Resolution far above the bar means that no step was
	// small enough, or rounding too coarse.
	Resolution float64
}

// Worst is the largest error of all checks.
func (c *Certificate) Worst() float64 {
	worst := 0.0
	for _, k := range c.Checks {
		worst = max(worst, k.Error)
	}
	return worst
}

// String is a table with a line a check.
func (c *Certificate) String() string {
	var b strings.Builder
	for _, k := range c.Checks {
		fmt.Fprintf(&b, "%-28s ⟨g,δ⟩ %+.9e  difference %+.9e  error %.1e  (h = %.0e)\n", k.Name, k.Predicted, k.Measured, k.Error, k.Step)
	}
	return b.String()
}

// Certification are the options of [Adjoint.Certify].
type Certification struct {
	Seed uint64 // of the directions

	// Step is the largest step; it is halved Levels−1 times and extrapolated (Ridders 1982), and the most settled
	// estimate is taken, without a look at the gradient. Zero is 0.5 and 4 levels in float32, 0.05 and 7 in float64. Knots
	// take the step times the smallest distance between two of them.
	Step   float64
	Levels int

	// Restrict, if not nil, limits the check to some of Wrt: tensors of a large network, say.
	Restrict []string
}

// Certify is [Adjoint.Gradient] with a certificate, which is in the result. It costs, beside the gradient, one solve, and
// two a level and name. Parameters of the field are moved and put back. Controllers are not rerun: the plan is.
//
// It is an error if the value comes out another one than before: a loss, noise or field that is not the same function
// when it is asked again cannot be differenced.
func (a *Adjoint[T]) Certify(ctx context.Context, in Inputs[T], loss Loss[T], o Certification) (*Result[T], error) {
	unit, step, levels := 0x1p-52, 0.05, 7
	if sizeof[T]() == 4 {
		unit, step, levels = 0x1p-23, 0.5, 4
	}
	if o.Step == 0 {
		o.Step = step
	}
	if o.Levels == 0 {
		o.Levels = levels
	}
	if !(o.Step > 0) || o.Levels < 2 {
		return nil, fmt.Errorf("adjoint: certification with step %g and %d levels; a positive step and at least 2 are needed", o.Step, o.Levels)
	}
	for _, name := range o.Restrict {
		if !slices.Contains(a.problem.Wrt, name) {
			return nil, fmt.Errorf("adjoint: Restrict names %q, which is not in Wrt %q", name, a.problem.Wrt)
		}
	}
	if err := a.begin(); err != nil {
		return nil, err
	}
	defer a.end()
	r, err := a.gradient(ctx, in, loss)
	if err != nil {
		return nil, err
	}
	// The runs below overwrite what the result points at: keep it, as it is to stay and to be compared.
	for name, g := range r.Gradients {
		r.Gradients[name] = slices.Clone(g)
	}
	r.States = r.States.clone()
	c := &certifier[T]{a: a, ctx: ctx, in: in, loss: loss, o: o, cert: &Certificate{}, loss0: r.Loss, unit: unit}
	c.in.Observe = nil
	if err := c.all(r); err != nil {
		return nil, err
	}
	r.Certificate = c.cert
	return r, nil
}

func (s States[T]) clone() States[T] {
	c := States[T]{Outputs: map[string][]T{}}
	for name, x := range s.Outputs {
		c.Outputs[name] = slices.Clone(x)
	}
	for _, x := range s.Knots {
		c.Knots = append(c.Knots, slices.Clone(x))
	}
	return c
}

type certifier[T Float] struct {
	a    *Adjoint[T]
	ctx  context.Context
	in   Inputs[T]
	loss Loss[T]
	o    Certification
	cert *Certificate

	loss0 float64 // at the point itself
	unit  float64 // relative rounding of a value
}

func (c *certifier[T]) wants(name string) bool {
	return c.o.Restrict == nil || slices.Contains(c.o.Restrict, name) ||
		strings.HasPrefix(name, Noise+"[") && slices.Contains(c.o.Restrict, Noise)
}

func (c *certifier[T]) all(r *Result[T]) error {
	again, err := c.value(c.in)
	if err != nil {
		return fmt.Errorf("adjoint: certifying: %w", err)
	}
	// The same bits are the rule; graphs of library ops and the caller's own loss may round anew.
	if limit := 1e4 * c.unit * math.Abs(r.Loss); !(math.Abs(again-r.Loss) <= limit) {
		return fmt.Errorf("adjoint: certifying: the loss was %v and is now %v; the same inputs, noise, field and loss must be given, and must answer the same again", r.Loss, again)
	}
	w := &c.a.wanted
	for _, name := range w.outputs {
		if !c.wants(name) {
			continue
		}
		if err := c.tensor(name, r.Gradients[name], c.moveInput(name)); err != nil {
			return err
		}
	}
	for _, q := range w.field {
		if !c.wants(q.Name) {
			continue
		}
		if err := c.parameter(q, r.Gradients[q.Name]); err != nil {
			return err
		}
	}
	for _, name := range w.plan {
		if !c.wants(name) {
			continue
		}
		if err := c.knots(name, r.Params[name]); err != nil {
			return err
		}
	}
	return nil
}

// direction is a random vector of length 1.
func direction(n int, seed uint64, name string) []float64 {
	stream := uint64(14695981039346656037)
	for _, b := range []byte(name) {
		stream = (stream ^ uint64(b)) * 1099511628211
	}
	d := make([]float64, n)
	rng.Normal(d, seed, stream, 0)
	scale(d, 1/norm(d))
	return d
}

func norm[T Float](x []T) float64 {
	s := 0.0
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s)
}

func scale(x []float64, c float64) {
	for i := range x {
		x[i] *= c
	}
}

// value runs the plan with inputs in and returns the loss.
func (c *certifier[T]) value(in Inputs[T]) (float64, error) {
	c.cert.Runs++
	return value(c.ctx, c.a.engine, &in, c.loss)
}

// moveInput returns the loss with an input or a draw moved to x + h δ.
func (c *certifier[T]) moveInput(name string) func(d []float64, h float64) (float64, error) {
	return func(d []float64, h float64) (float64, error) {
		in := c.in
		if base, ok := in.Ports[name]; ok {
			in.Ports = maps.Clone(in.Ports)
			in.Ports[name] = moved(base, d, h)
		} else {
			in.Noise = movedNoise[T]{in.Noise, drawIndex(name), d, h}
		}
		return c.value(in)
	}
}

func moved[T Float](x []T, d []float64, h float64) []T {
	y := make([]T, len(x))
	for i, v := range x {
		y[i] = T(float64(v) + h*d[i])
	}
	return y
}

// movedNoise is a noise source with one draw moved.
type movedNoise[T Float] struct {
	ode.NoiseSource[T]
	index int
	d     []float64
	h     float64
}

func (n movedNoise[T]) Draw(dst []T, call ode.DrawCall) error {
	if err := n.NoiseSource.Draw(dst, call); err != nil || call.Index != n.index {
		return err
	}
	for i := range dst {
		dst[i] = T(float64(dst[i]) + n.h*n.d[i])
	}
	return nil
}

func (c *certifier[T]) parameter(q ode.Parameter, g []T) (err error) {
	base := make([]T, q.Len())
	if err := c.a.problem.Field.Load(q.Name, base); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.a.problem.Field.Store(q.Name, base)) }()
	return c.tensor(q.Name, g, func(d []float64, h float64) (float64, error) {
		if err := c.a.problem.Field.Store(q.Name, moved(base, d, h)); err != nil {
			return 0, err
		}
		return c.value(c.in)
	})
}

// tensor checks a gradient along one direction.
func (c *certifier[T]) tensor(name string, g []T, f func(d []float64, h float64) (float64, error)) error {
	d := direction(len(g), c.o.Seed, name)
	predicted := 0.0
	for i, v := range g {
		predicted += float64(v) * d[i]
	}
	slope := func(h float64) (float64, error) {
		up, err := f(d, h)
		if err != nil {
			return 0, err
		}
		down, err := f(d, -h)
		return (up - down) / (2 * h), err
	}
	measured, step, unsure, err := c.extrapolate(slope, c.o.Step, 2)
	if err != nil {
		return fmt.Errorf("adjoint: certifying %q: %w", name, err)
	}
	c.note(name, predicted, measured, step, unsure, norm(g), len(g))
	return nil
}

func (c *certifier[T]) note(name string, predicted, measured, step, unsure, norm float64, n int) {
	k := Check{Name: name, Predicted: predicted, Measured: measured, Step: step, Norm: norm}
	rounding := c.unit * math.Abs(c.loss0) / step
	k.Error, k.Resolution = math.Abs(predicted-measured), unsure+rounding
	size := max(math.Abs(predicted), norm/math.Sqrt(float64(n)))
	if size == 0 && math.Abs(measured) > rounding {
		size = math.Abs(measured)
	}
	if size == 0 {
		k.Error = 0
	}
	if size > 0 {
		k.Error /= size
		k.Resolution /= size
	}
	c.cert.Checks = append(c.cert.Checks, k)
}

// knots checks the gradient to a parameter of the plan, which is compiled anew for every step. Values at a bound are
// moved inward, and the difference is then one-sided; fixed ones stay.
func (c *certifier[T]) knots(name string, g []float64) error {
	q, _ := c.a.problem.Plan.Param(name)
	d := direction(len(g), c.o.Seed, name)
	gap := math.Inf(1)
	oneSided := false
	for i, v := range q.Value {
		low, high := math.Inf(-1), math.Inf(1)
		if q.Lower != nil {
			low = q.Lower[i]
		}
		if q.Upper != nil {
			high = q.Upper[i]
		}
		switch {
		case low == v && high == v:
			d[i] = 0
			continue
		case low == v:
			d[i], oneSided = math.Abs(d[i]), true
		case high == v:
			d[i], oneSided = -math.Abs(d[i]), true
		}
		for _, b := range []float64{low, high} {
			if dist := math.Abs(b - v); dist > 0 {
				gap = min(gap, dist)
			}
		}
	}
	if n := norm(d); n > 0 {
		scale(d, 1/n)
	}
	if math.IsInf(gap, 0) {
		gap = 1
	}
	predicted := 0.0
	for i, v := range g {
		predicted += v * d[i]
	}
	f := func(h float64) (float64, error) {
		v := slices.Clone(q.Value)
		for i := range v {
			v[i] += h * d[i]
		}
		plan, err := q.Rebuild(v)
		if err != nil {
			return 0, err
		}
		p := c.a.problem
		p.Plan = plan
		s, err := newForward(&p)
		if err != nil {
			return 0, err
		}
		c.cert.Runs++
		return value(c.ctx, s, &c.in, c.loss)
	}
	slope, order := func(h float64) (float64, error) {
		up, err := f(h)
		if err != nil {
			return 0, err
		}
		down, err := f(-h)
		return (up - down) / (2 * h), err
	}, 2
	if oneSided {
		base, err := f(0)
		if err != nil {
			return err
		}
		slope, order = func(h float64) (float64, error) {
			up, err := f(h)
			return (up - base) / h, err
		}, 1
	}
	measured, step, unsure, err := c.extrapolate(slope, gap*min(0.3, c.o.Step), order)
	if err != nil {
		return fmt.Errorf("adjoint: certifying %q: %w", name, err)
	}
	c.note(name, predicted, measured, step, unsure, norm(g), len(g))
	return nil
}

// extrapolate is Ridders' derivative: difference quotients with steps h, h/2, … whose errors have powers of h from order
// on, in steps of order, extrapolated to zero; the entry that changed least from its neighbours is the plateau. A step
// that leads where the function is not defined is passed over.
func (c *certifier[T]) extrapolate(slope func(h float64) (float64, error), h float64, order int) (value, step, unsure float64, err error) {
	unsure = math.Inf(1)
	var last []float64
	for range c.o.Levels {
		quotient, failed := slope(h)
		if failed != nil {
			if c.ctx.Err() != nil {
				return 0, 0, 0, failed
			}
			err, last = failed, nil
			h /= 2
			continue
		}
		row := make([]float64, len(last)+1)
		row[0] = quotient
		factor := 1.0
		for k := 1; k < len(row); k++ {
			factor *= math.Pow(2, float64(order))
			row[k] = row[k-1] + (row[k-1]-last[k-1])/(factor-1)
			if e := max(math.Abs(row[k]-row[k-1]), math.Abs(row[k]-last[k-1])); e < unsure {
				value, step, unsure = row[k], h, e
			}
		}
		last = row
		h /= 2
	}
	if math.IsInf(unsure, 1) {
		if err == nil {
			err = errors.New("no two difference quotients")
		}
		return 0, 0, 0, err
	}
	return value, step, unsure, nil
}
