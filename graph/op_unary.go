package graph

import (
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/internal/kernels"
)

// A Func is an elementwise function.
type Func int

// The elementwise functions.
const (
	Exp Func = iota
	Log
	Sqrt
	Square
	Inverse
	Tanh
	Sigmoid
	SiLU // x·sigmoid(x) (Hendrycks, Gimpel 2016, arXiv 1606.08415)
	GELU // the tanh form of x·Φ(x) (same paper)
	Softplus
	ReLU
	Sin
	Cos
	funcs
)

var funcNames = [funcs]string{"exp", "log", "sqrt", "square", "inverse", "tanh", "sigmoid", "silu", "gelu", "softplus", "relu", "sin", "cos"}

// String is the name of the function.
func (f Func) String() string {
	if f < 0 || f >= funcs {
		return fmt.Sprintf("Func(%d)", int(f))
	}
	return funcNames[f]
}

const (
	geluC     = 0.7978845608028654 // √(2/π)
	geluA     = 0.044715
	maxOrders = 3 // highest derivative of a Func: a VJP of a second derivative
)

// derivative is the order-th derivative of f at x.
func (f Func) derivative(order int, x float64) float64 {
	switch f {
	case Exp:
		return math.Exp(x)
	case Log:
		switch order {
		case 0:
			return math.Log(x)
		case 1:
			return 1 / x
		case 2:
			return -1 / (x * x)
		}
		return 2 / (x * x * x)
	case Sqrt:
		r := math.Sqrt(x)
		switch order {
		case 0:
			return r
		case 1:
			return 0.5 / r
		case 2:
			return -0.25 / (r * x)
		}
		return 0.375 / (r * x * x)
	case Square:
		return [...]float64{x * x, 2 * x, 2, 0}[order]
	case Inverse:
		i := 1 / x
		return [...]float64{i, -i * i, 2 * i * i * i, -6 * i * i * i * i}[order]
	case Tanh:
		y := math.Tanh(x)
		d := 1 - y*y
		return [...]float64{y, d, -2 * y * d, d * (6*y*y - 2)}[order]
	case Sigmoid:
		return sigmoids(x)[order]
	case SiLU:
		s := sigmoids(x)
		if order == 0 {
			return x * s[0]
		}
		return x*s[order] + float64(order)*s[order-1]
	case GELU:
		s := sigmoids(2 * geluC * x * (1 + geluA*x*x))
		u1, u2, u3 := 2*geluC*(1+3*geluA*x*x), 12*geluC*geluA*x, 12*geluC*geluA
		g := [4]float64{s[0], s[1] * u1, s[2]*u1*u1 + s[1]*u2, s[3]*u1*u1*u1 + 3*s[2]*u1*u2 + s[1]*u3}
		if order == 0 {
			return x * g[0]
		}
		return x*g[order] + float64(order)*g[order-1]
	case Softplus:
		if order == 0 {
			return math.Max(x, 0) + math.Log1p(math.Exp(-math.Abs(x)))
		}
		return sigmoids(x)[order-1]
	case ReLU:
		if x <= 0 || order > 1 {
			return 0
		}
		return [...]float64{x, 1}[order]
	case Sin:
		return math.Sin(x + float64(order)*math.Pi/2)
	default:
		return math.Cos(x + float64(order)*math.Pi/2)
	}
}

// sigmoids is the logistic function and its first three derivatives, without cancellation in either tail.
func sigmoids(x float64) [4]float64 {
	e := math.Exp(-math.Abs(x))
	s, r := 1/(1+e), e/(1+e) // of |x| and −|x|
	if x < 0 {
		s, r = r, s
	}
	d := s * r
	return [4]float64{s, d, d * (r - s), d * (1 - 6*d)}
}

// unary is the order-th derivative of f, elementwise; with times set, a second input is multiplied in, which is what
// both derivatives of an elementwise function are made of.
type unary struct {
	f     Func
	order int
	times bool
}

// Map returns f(x), elementwise.
func (b *Builder) Map(f Func, x *Node) *Node { return b.Apply(unary{f: f}, x) }

func (o unary) String() string {
	s := o.f.String()
	for range o.order {
		s += "'"
	}
	if o.times {
		s += " times"
	}
	return s
}

func (o unary) Shape(in []Shape) (Shape, error) {
	if o.f < 0 || o.f >= funcs {
		return nil, fmt.Errorf("no such function; use one of %v", funcNames)
	}
	if o.order > maxOrders {
		return nil, fmt.Errorf("derivatives of order %d are not available; up to %d are", o.order, maxOrders)
	}
	if o.times && !slices.Equal(in[0], in[1]) {
		return nil, fmt.Errorf("shapes %v and %v differ", in[0], in[1])
	}
	return in[0].Clone(), nil
}

func (o unary) Bind([]Shape) Kernel {
	k := Kernel{F32: unaryKernel[float32](o), F64: unaryKernel[float64](o), InPlace: []int{0}}
	if o.times {
		k.InPlace = []int{0, 1}
	}
	return k
}

func unaryKernel[T Float](o unary) func(dst []T, src [][]T, _ []T) {
	if !o.times && o.order == 0 {
		if f := map[Func]func(dst, x []T){Exp: kernels.Exp[T], Tanh: kernels.Tanh[T], Sigmoid: kernels.Sigmoid[T], SiLU: kernels.SiLU[T], GELU: kernels.GELU[T]}[o.f]; f != nil {
			return func(dst []T, src [][]T, _ []T) { f(dst, src[0]) }
		}
	}
	if o.times && o.order == 1 {
		if f := map[Func]func(dst, x, g []T){SiLU: kernels.SiLUGrad[T], GELU: kernels.GELUGrad[T]}[o.f]; f != nil {
			return func(dst []T, src [][]T, _ []T) { f(dst, src[0], src[1]) }
		}
	}
	if o.times {
		return func(dst []T, src [][]T, _ []T) {
			for i, x := range src[0] {
				dst[i] = src[1][i] * T(o.f.derivative(o.order, float64(x)))
			}
		}
	}
	return func(dst []T, src [][]T, _ []T) {
		for i, x := range src[0] {
			dst[i] = T(o.f.derivative(o.order, float64(x)))
		}
	}
}

func (o unary) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, len(in))
	g := ct
	if o.times {
		if want[1] {
			res[1] = b.Apply(o, in[0], ct)
		}
		if want[0] {
			g = b.Mul(in[1], ct)
		}
	}
	if want[0] {
		res[0] = b.Apply(unary{o.f, o.order + 1, true}, in[0], g)
	}
	return res
}

func (o unary) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	var parts []*Node
	if d[0] != nil {
		g := d[0]
		if o.times {
			g = b.Mul(in[1], g)
		}
		parts = append(parts, b.Apply(unary{o.f, o.order + 1, true}, in[0], g))
	}
	if o.times && d[1] != nil {
		parts = append(parts, b.Apply(o, in[0], d[1]))
	}
	return b.sum(parts)
}
