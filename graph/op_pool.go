package graph

import (
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/internal/kernels"
)

// pool is a square window that moves over images (batch, channels, height, width), each channel for itself.
//
// averagePool and averagePoolGrad are linear and transposes of each other. maxPool takes from its last input what stands
// where the first has its maxima, and maxPoolGrad puts it back there: so maxPool of one input is the maximum, with a
// second one its directional derivative, and the derivative of either by where the maxima are is zero.
type (
	pool            struct{ size, stride, padding int }
	averagePool     struct{ pool }
	averagePoolGrad struct {
		pool pool
		h, w int
	} // of the image
	maxPool     struct{ pool }
	maxPoolGrad struct{ pool }
)

// AveragePool2D returns the means over windows of size × size of x (batch, channels, height, width), which are stride
// apart and begin padding before the border: (batch, channels, (height+2·padding−size)/stride+1, …), rounded down. What
// lies outside of the image does not count, so the mean is of fewer numbers there.
func (b *Builder) AveragePool2D(x *Node, size, stride, padding int) *Node {
	return b.Apply(averagePool{pool{size, stride, padding}}, x)
}

// MaxPool2D is [Builder.AveragePool2D] with the maximum of the window in place of the mean; NaN is above all numbers.
// The derivative is that of the first maximum in row-major order, and its own derivative zero, where the function has
// them and elsewhere. Where a sampler is differentiated, prefer the mean, which is smooth.
func (b *Builder) MaxPool2D(x *Node, size, stride, padding int) *Node {
	return b.Apply(maxPool{pool{size, stride, padding}}, x)
}

// GlobalAveragePool2D returns the mean of each channel of x (batch, channels, height, width): (batch, channels).
func (b *Builder) GlobalAveragePool2D(x *Node) *Node {
	if !b.given("global average pool", x) {
		return b.harmless()
	}
	s := x.Shape()
	if len(s) != 4 {
		return b.Fail("global average pool: shape %v; (batch, channels, height, width) is needed", s)
	}
	return b.Reshape(b.Mean(b.Reshape(x, s[0], s[1], s[2]*s[3]), 2), s[0], s[1])
}

func (o pool) String() string {
	return fmt.Sprintf("[size %d, stride %d, padding %d]", o.size, o.stride, o.padding)
}

func (o pool) result(s Shape) (Shape, error) {
	switch {
	case len(s) != 4:
		return nil, fmt.Errorf("shape %v; (batch, channels, height, width) is needed", s)
	case o.size < 1 || o.stride < 1:
		return nil, fmt.Errorf("size %d, stride %d: at least 1 is needed", o.size, o.stride)
	case o.padding < 0 || o.padding >= o.size: // a window would see nothing else
		return nil, fmt.Errorf("padding %d for windows of size %d: 0 to %d is possible", o.padding, o.size, o.size-1)
	case min(s[2], s[3])+2*o.padding < o.size:
		return nil, fmt.Errorf("shape %v: windows of size %d are larger than the image with its padding of %d", s, o.size, o.padding)
	}
	return Shape{s[0], s[1], (s[2]+2*o.padding-o.size)/o.stride + 1, (s[3]+2*o.padding-o.size)/o.stride + 1}, nil
}

// span is the part of the i-th window that lies inside of an axis of n elements.
func (o pool) span(i, n int) (from, to int) {
	at := i*o.stride - o.padding
	return max(0, at), min(n, at+o.size)
}

// poolDims are the dimensions of a pooling, with the channels of all images in one row.
type poolDims struct {
	pool
	planes, h, w, oh, ow int
}

func (o pool) dims(image Shape) poolDims {
	out, _ := o.result(image)
	return poolDims{o, image[0] * image[1], image[2], image[3], out[2], out[3]}
}

// halving is by far the most common pooling.
var halving = pool{2, 2, 0}

func (o averagePool) String() string                  { return "averagePool" + o.pool.String() }
func (o averagePool) Shape(in []Shape) (Shape, error) { return o.result(in[0]) }
func (o averagePool) Bind(in []Shape) Kernel {
	d := o.dims(in[0])
	return Kernel{F32: averageKernel[float32](d), F64: averageKernel[float64](d), Scratch: d.w}
}

func averageKernel[T Float](d poolDims) func(dst []T, src [][]T, scratch []T) {
	return func(dst []T, src [][]T, scratch []T) {
		row := scratch[:d.w]
		for k := range d.planes {
			image := src[0][k*d.h*d.w : (k+1)*d.h*d.w]
			for p := range d.oh {
				top, bottom := d.span(p, d.h)
				out := dst[(k*d.oh+p)*d.ow : (k*d.oh+p+1)*d.ow]
				if d.pool == halving {
					upper, lower := image[top*d.w:][:2*len(out)], image[(top+1)*d.w:][:2*len(out)]
					for q := range out {
						out[q] = (upper[2*q] + upper[2*q+1] + (lower[2*q] + lower[2*q+1])) / 4
					}
					continue
				}
				copy(row, image[top*d.w:])
				for y := top + 1; y < bottom; y++ {
					kernels.Add(row, row, image[y*d.w:(y+1)*d.w])
				}
				for q := range out {
					left, right := d.span(q, d.w)
					var sum T
					for _, v := range row[left:right] {
						sum += v
					}
					out[q] = sum / T((bottom-top)*(right-left))
				}
			}
		}
	}
}

func (o averagePool) VJP(b *Builder, _ []bool, in []*Node, _, ct *Node) []*Node {
	s := in[0].Shape()
	return []*Node{b.Apply(averagePoolGrad{o.pool, s[2], s[3]}, ct)}
}
func (o averagePool) JVP(b *Builder, _ []*Node, _ *Node, d []*Node) *Node { return b.Apply(o, d[0]) }

func (o averagePoolGrad) String() string {
	return fmt.Sprintf("averagePoolGrad%v to %d×%d", o.pool, o.h, o.w)
}

func (o averagePoolGrad) Shape(in []Shape) (Shape, error) {
	if len(in[0]) != 4 {
		return nil, fmt.Errorf("shape %v; (batch, channels, height, width) is needed", in[0])
	}
	image := Shape{in[0][0], in[0][1], o.h, o.w}
	out, err := o.pool.result(image)
	if err == nil && !slices.Equal(out, in[0]) {
		err = fmt.Errorf("cotangent of shape %v for a result of shape %v", in[0], out)
	}
	return image, err
}

func (o averagePoolGrad) Bind(in []Shape) Kernel {
	d := o.pool.dims(Shape{in[0][0], in[0][1], o.h, o.w})
	return Kernel{F32: averageGradKernel[float32](d), F64: averageGradKernel[float64](d), Scratch: d.w}
}

func averageGradKernel[T Float](d poolDims) func(dst []T, src [][]T, scratch []T) {
	return func(dst []T, src [][]T, scratch []T) {
		row := scratch[:d.w]
		clear(dst)
		for k := range d.planes {
			image := dst[k*d.h*d.w : (k+1)*d.h*d.w]
			for p := range d.oh {
				cotangent := src[0][(k*d.oh+p)*d.ow : (k*d.oh+p+1)*d.ow]
				top, bottom := d.span(p, d.h)
				if d.pool == halving {
					upper := image[top*d.w : (top+1)*d.w]
					for q, v := range cotangent {
						upper[2*q], upper[2*q+1] = v/4, v/4
					}
					copy(image[(top+1)*d.w:], upper)
					continue
				}
				clear(row)
				for q, v := range cotangent {
					left, right := d.span(q, d.w)
					v /= T((bottom - top) * (right - left))
					for x := left; x < right; x++ {
						row[x] += v
					}
				}
				for y := top; y < bottom; y++ {
					kernels.Add(image[y*d.w:(y+1)*d.w], image[y*d.w:(y+1)*d.w], row)
				}
			}
		}
	}
}

func (o averagePoolGrad) VJP(b *Builder, _ []bool, _ []*Node, _, ct *Node) []*Node {
	return []*Node{b.Apply(averagePool{o.pool}, ct)}
}
func (o averagePoolGrad) JVP(b *Builder, _ []*Node, _ *Node, d []*Node) *Node {
	return b.Apply(o, d[0])
}

func (o maxPool) String() string { return "maxPool" + o.pool.String() }
func (o maxPool) Shape(in []Shape) (Shape, error) {
	if len(in) == 2 && !slices.Equal(in[0], in[1]) {
		return nil, fmt.Errorf("shapes %v and %v differ", in[0], in[1])
	}
	return o.result(in[0])
}
func (o maxPool) Bind(in []Shape) Kernel {
	d := o.dims(in[0])
	return Kernel{F32: maxKernel[float32](d), F64: maxKernel[float64](d)}
}

// first is the index of the first maximum of a window that ends before row bottom and column right.
func first[T Float](plane []T, w, top, bottom, left, right int) int {
	best := top*w + left
	for y := top; y < bottom; y++ {
		for x := left; x < right; x++ {
			if v, m := plane[y*w+x], plane[best]; v > m || v != v && m == m {
				best = y*w + x
			}
		}
	}
	return best
}

func maxKernel[T Float](d poolDims) func(dst []T, src [][]T, _ []T) {
	return func(dst []T, src [][]T, _ []T) {
		take := src[len(src)-1]
		for k := range d.planes {
			at := k * d.h * d.w
			plane := src[0][at : at+d.h*d.w]
			for p := range d.oh {
				top, bottom := d.span(p, d.h)
				for q := range d.ow {
					left, right := d.span(q, d.w)
					dst[(k*d.oh+p)*d.ow+q] = take[at+first(plane, d.w, top, bottom, left, right)]
				}
			}
		}
	}
}

func (o maxPool) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, len(in))
	if last := len(in) - 1; want[last] {
		res[last] = b.Apply(maxPoolGrad(o), in[0], ct)
	}
	return res
}
func (o maxPool) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	if d[len(d)-1] == nil {
		return nil
	}
	return b.Apply(o, in[0], d[len(d)-1])
}

func (o maxPoolGrad) String() string { return "maxPoolGrad" + o.pool.String() }
func (o maxPoolGrad) Shape(in []Shape) (Shape, error) {
	out, err := o.result(in[0])
	if err == nil && !slices.Equal(out, in[1]) {
		err = fmt.Errorf("cotangent of shape %v for a result of shape %v", in[1], out)
	}
	return in[0].Clone(), err
}
func (o maxPoolGrad) Bind(in []Shape) Kernel {
	d := o.dims(in[0])
	return Kernel{F32: maxGradKernel[float32](d), F64: maxGradKernel[float64](d)}
}

func maxGradKernel[T Float](d poolDims) func(dst []T, src [][]T, _ []T) {
	return func(dst []T, src [][]T, _ []T) {
		clear(dst)
		for k := range d.planes {
			at := k * d.h * d.w
			plane := src[0][at : at+d.h*d.w]
			for p := range d.oh {
				top, bottom := d.span(p, d.h)
				for q := range d.ow {
					left, right := d.span(q, d.w)
					dst[at+first(plane, d.w, top, bottom, left, right)] += src[1][(k*d.oh+p)*d.ow+q]
				}
			}
		}
	}
}

func (o maxPoolGrad) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, 2)
	if want[1] {
		res[1] = b.Apply(maxPool(o), in[0], ct)
	}
	return res
}
func (o maxPoolGrad) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	if d[1] == nil {
		return nil
	}
	return b.Apply(o, in[0], d[1])
}
