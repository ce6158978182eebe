package ode

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
