package ode

import (
	"fmt"
	"math"
)

// Float is the element type of states, conditions and weights. Coefficients are float64 whatever the element type.
type Float interface{ float32 | float64 }

// A Call says which evaluation of a plan a [Field] is asked for.
type Call[T Float] struct {
	Index int // number of this evaluation in the plan, from 0: guidance or features may differ per evaluation
	Batch int // number of samples; len(x) is a multiple of it

	// T is the time, in the units of the problem's schedule (see [Denoiser] for the one exception):
	// one for the whole batch, or one a sample.
	T []T

	In  []Tap[T] // inner values to be used instead of the network's own
	Out []Tap[T] // inner values to be written beside the result; one without Data is named, not wanted
}

// A Tap is a named inner value of a network, such as the V of one attention or the output of one block: batch first,
// of the length that the field gives in [Tapped].
type Tap[T Float] struct {
	Name string
	Data []T
}

// A Field is a network as a solver sees it: raw = network(x, t). What raw means is the [Prediction] of the [Problem].
//
// x and dst hold Batch samples one after the other. Eval writes all of dst, must not keep or change x nor keep what c
// points to, and must give a sample the same result whatever else is in its batch.
type Field[T Float] interface {
	Eval(dst, x []T, c Call[T]) error
}

// Tapped is a Field that offers inner values. TapLen returns the length of the named one for a single sample, and false
// if there is none.
type Tapped interface {
	TapLen(name string) (int, bool)
}

// Trained is a Field that knows what its network was trained for; a nil schedule if it does not. A plan for anything else is refused by
// the first run of a [Runner], and by gradients: its samples would be wrong without a sign.
type Trained interface {
	Trained() (Schedule, Prediction)
}

// Fits returns an error if a plan calls a [Trained] field for another prediction or on another schedule than it was trained for:
// α or σ of the two differ by more than a thousandth at the time of a knot, as they do not between a table and its formula.
func Fits[T Float](p *Plan, f Field[T]) error {
	t, ok := f.(Trained)
	if !ok || p.Schedule == nil {
		return nil
	}
	s, raw := t.Trained()
	if s == nil || raw == Denoiser && p.Raw == Denoiser {
		return nil // a Denoiser is called at a noise level, whatever the schedule
	}
	data := func(p Prediction) bool { return p == Data || p == Denoiser }
	for _, k := range p.Knots {
		mine := p.Schedule.At(k.T)
		sameTime := raw == p.Raw || mine.Alpha == 1 && mine.Sigma == k.T
		if raw != p.Raw && !(data(raw) && data(p.Raw) && sameTime) {
			return fmt.Errorf("ode: plan %q is for a network that predicts %v, and this one predicts %v; Problem.Raw says what it predicts", p.Name, p.Raw, raw)
		}
		first, last := s.Domain()
		theirs := Point{Alpha: math.NaN()}
		if k.T >= first && k.T <= last {
			theirs = s.At(k.T)
		}
		if !(math.Abs(mine.Alpha-theirs.Alpha) <= 1e-3) || !(math.Abs(mine.Sigma-theirs.Sigma) <= 1e-3*(1+mine.Sigma)) {
			return fmt.Errorf("ode: plan %q is for the schedule %.60s, and this network was trained on %.60s; Problem.Schedule says what it was trained on",
				p.Name, fmt.Sprintf("%T%+v", p.Schedule, p.Schedule), fmt.Sprintf("%T%+v", s, s))
		}
	}
	return nil
}

// A Parameter is something a Field depends on beside x and t: a condition, a guidance scale, a weight, a mean.
type Parameter struct {
	Name  string
	Shape []int // as stored; a parameter with one value a sample has the batch first
}

// Len is the number of elements.
func (p Parameter) Len() int {
	n := 1
	for _, d := range p.Shape {
		n *= d
	}
	return n
}

// A Tangent holds, for everything one evaluation depends on, a direction (given to JVP) or a gradient (filled by VJP).
// A nil entry means: direction zero, gradient not wanted. What is not wanted is not computed.
type Tangent[T Float] struct {
	X      []T            // like x. VJP overwrites it
	T      []T            // one a sample: ⟨cotangent, ∂raw/∂t⟩. VJP overwrites it
	In     []Tap[T]       // matches Call.In. VJP overwrites it
	Out    []Tap[T]       // matches Call.Out (whose Data a VJP leaves alone): the cotangents of the taps, filled by JVP
	Params map[string][]T // by parameter name, like Parameter.Shape. VJP adds to it
	Value  []T            // like dst: when not nil, VJP and JVP also write the value itself
}

// Differentiable is a Field with products with its Jacobian.
type Differentiable[T Float] interface {
	Field[T]

	// VJP pulls the cotangent of raw at (x, c) back into g.
	VJP(g *Tangent[T], cotangent, x []T, c Call[T]) error
	// JVP writes the derivative of raw at (x, c) in the direction d to dst.
	JVP(dst, x []T, c Call[T], d *Tangent[T]) error

	// Parameters lists what VJP and JVP know by name, for a batch of the given size.
	Parameters(batch int) []Parameter
	// Load copies the present value of a parameter to dst; Store replaces it.
	Load(name string, dst []T) error
	Store(name string, src []T) error
}
