package graph

import (
	"fmt"
	"math"
	"slices"
)

// sinusoid is the order-th derivative in t of [cos(t f) | sin(t f)].
type sinusoid struct {
	freqs []float64
	order int
}

// Sinusoid embeds times t (batch) as (batch, 2·len(freqs)): the cosines of t·freqs, then the sines; frequencies in
// radians per unit of t. Keep the highest below about 50: ∂/∂t of a network grows with it, and with it the error of
// everything that rests on ∂/∂t.
func (b *Builder) Sinusoid(t *Node, freqs []float64) *Node {
	return b.Apply(sinusoid{freqs: slices.Clone(freqs)}, t)
}

func (o sinusoid) String() string {
	return fmt.Sprintf("sinusoid[%d, order %d]", len(o.freqs), o.order)
}
func (o sinusoid) Shape(in []Shape) (Shape, error) {
	if len(in[0]) != 1 || len(o.freqs) == 0 {
		return nil, fmt.Errorf("times of shape %v and %d frequencies; (batch) and at least one are needed", in[0], len(o.freqs))
	}
	return Shape{in[0][0], 2 * len(o.freqs)}, nil
}
func (o sinusoid) Bind([]Shape) Kernel {
	return Kernel{F32: sinusoidKernel[float32](o), F64: sinusoidKernel[float64](o)}
}
func sinusoidKernel[T Float](o sinusoid) func(dst []T, src [][]T, _ []T) {
	n := len(o.freqs)
	power := make([]float64, n)
	for j, f := range o.freqs {
		power[j] = math.Pow(f, float64(o.order))
	}
	return func(dst []T, src [][]T, _ []T) {
		for i, t := range src[0] {
			row := dst[2*n*i : 2*n*(i+1)]
			for j, f := range o.freqs {
				sin, cos := math.Sincos(f * float64(t))
				for range o.order % 4 { // d cos = −sin, d sin = cos
					sin, cos = cos, -sin
				}
				row[j], row[n+j] = T(power[j]*cos), T(power[j]*sin)
			}
		}
	}
}
func (o sinusoid) next(b *Builder, t *Node) *Node {
	return b.Apply(sinusoid{o.freqs, o.order + 1}, t)
}
func (o sinusoid) VJP(b *Builder, _ []bool, in []*Node, _, ct *Node) []*Node {
	return []*Node{b.Reshape(b.Sum(b.Mul(ct, o.next(b, in[0])), 1), in[0].Shape()[0])}
}
func (o sinusoid) JVP(b *Builder, in []*Node, out *Node, d []*Node) *Node {
	n := in[0].Shape()[0]
	return b.Mul(b.Expand(b.Reshape(d[0], n, 1), 1, out.Shape()[1]), o.next(b, in[0]))
}

// Patchify cuts images (batch, channels, height, width) into patches of p×p: (batch, height/p·width/p, p·p·channels),
// each patch row by row, channels last.
func (b *Builder) Patchify(x *Node, p int) *Node {
	if !b.given("patchify", x) {
		return b.harmless()
	}
	s := x.Shape()
	if len(s) != 4 || p < 1 || s[2]%p != 0 || s[3]%p != 0 {
		return b.Fail("patchify: patches of %d in %v; (batch, channels, height, width) with sides that are multiples of it is needed", p, s)
	}
	h, w := s[2]/p, s[3]/p
	x = b.Permute(b.Reshape(x, s[0], s[1], h, p, w, p), 0, 2, 4, 3, 5, 1)
	return b.Reshape(x, s[0], h*w, p*p*s[1])
}

// Unpatchify is the inverse of Patchify, to images of the given channels, height and width.
func (b *Builder) Unpatchify(x *Node, p, channels, height, width int) *Node {
	if !b.given("unpatchify", x) {
		return b.harmless()
	}
	s := x.Shape()
	if len(s) != 3 || p < 1 || height%p != 0 || width%p != 0 || s[1] != height/p*(width/p) || s[2] != p*p*channels {
		return b.Fail("unpatchify: %v does not hold the patches of %d of an image (%d, %d, %d)", s, p, channels, height, width)
	}
	h, w := height/p, width/p
	x = b.Permute(b.Reshape(x, s[0], h, w, p, p, channels), 0, 5, 1, 3, 2, 4)
	return b.Reshape(x, s[0], channels, height, width)
}
