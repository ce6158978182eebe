package graph

import (
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/internal/kernels"
)

// Convolution is linear in the image and in the weight. With a cotangent of its result that makes one trilinear form,
//
//	Σ y[b,o,p,q] · w[o,c,i,j] · x[b,c, p·stride+i−padding, q·stride+j−padding],
//
// and three ops, each the form's derivative by one of x, w and y: conv2D gives what stands beside y, conv2DInput (the
// transposed convolution) what stands beside x, conv2DWeight what stands beside w. Differentiating any of them leads to
// the other two.
type (
	conv        struct{ stride, padding int }
	conv2D      struct{ conv }
	conv2DInput struct {
		conv conv
		h, w int
	} // of x
	conv2DWeight struct {
		conv   conv
		kh, kw int
	} // of w
)

// Conv2D returns the convolution (as networks use the word: the kernel is not turned round) of x (batch, channels,
// height, width) with w (out, channels, kernel height, kernel width), after padding of zeros on all four sides:
//
//	y[b,o,p,q] = bias[o] + Σ w[o,c,i,j] · x[b,c, p·stride+i−padding, q·stride+j−padding]
//
// of shape (batch, out, (height+2·padding−kernel height)/stride+1, …), rounded down. The bias (out) may be nil.
func (b *Builder) Conv2D(x, w, bias *Node, stride, padding int) *Node {
	op := conv2D{conv{stride, padding}}
	if bias == nil {
		return b.Apply(op, x, w)
	}
	return b.Apply(op, x, w, bias)
}

// convDims are the dimensions of a convolution. It is computed an image and a band of rows of the result at a time, as the
// product of the weight, out × k, with the matrix of columns: column p,q holds the k numbers that the kernel sees there.
type convDims struct {
	conv
	batch, in, out       int // images, channels
	h, w, kh, kw, oh, ow int // of image, kernel and result
	k, rows              int // rows of the matrix of columns, rows of the result that a band of it is made for
	direct, same         bool
	columns, filter      int // elements of the columns in scratch, of the weight
}

// A band of columns of so many elements stays in a cache of the second level, beside the weight.
const convBand = 1 << 16

func (o conv) dims(x, w Shape) (d convDims, err error) {
	switch {
	case len(x) != 4 || len(w) != 4:
		return d, fmt.Errorf("image %v, weight %v: (batch, channels, height, width) and (out, channels, height, width) are needed", x, w)
	case o.stride < 1 || o.padding < 0:
		return d, fmt.Errorf("stride %d, padding %d: at least 1 and 0 are needed", o.stride, o.padding)
	case x[1] != w[1]:
		return d, fmt.Errorf("image %v, weight %v: the image has %d channels, the weight takes %d", x, w, x[1], w[1])
	case x[2]+2*o.padding < w[2] || x[3]+2*o.padding < w[3]:
		return d, fmt.Errorf("image %v, weight %v: the kernel is larger than the image with its padding of %d", x, w, o.padding)
	}
	d = convDims{conv: o, batch: x[0], in: x[1], out: w[0], h: x[2], w: x[3], kh: w[2], kw: w[3]}
	d.oh, d.ow = (d.h+2*o.padding-d.kh)/o.stride+1, (d.w+2*o.padding-d.kw)/o.stride+1
	d.k = d.in * d.kh * d.kw
	d.filter = d.out * d.k
	d.direct = d.kh == 1 && d.kw == 1 && o.stride == 1 && o.padding == 0 // the columns are the image
	d.same = o.stride == 1 && d.ow == d.w                                // rows of columns are the image, shifted
	d.rows = d.oh
	if !d.direct {
		d.rows = min(d.oh, max(1, convBand/(d.k*d.ow)))
		d.columns = d.k * d.rows * d.ow
	}
	return d, nil
}

// result is the shape of y.
func (d convDims) result() Shape { return Shape{d.batch, d.out, d.oh, d.ow} }

// kernel completes the description of one of the three ops, whose products have the given form.
func (d convDims) kernel(k Kernel, ta, tb bool, m, n, inner int) Kernel {
	k.Scratch = d.columns + max(kernels.GemmScratch[float32](ta, tb, m, n, inner), kernels.GemmScratch[float64](ta, tb, m, n, inner))
	k.FLOPs = 2 * int64(d.batch) * int64(d.filter) * int64(d.oh) * int64(d.ow)
	return k
}

// span is the range of results whose window has its i-th element inside of an axis of n elements.
func (d *convDims) span(i, n, results int) (from, to int) {
	if last := n + d.padding - i; last > 0 {
		to = min(results, (last+d.stride-1)/d.stride)
	}
	if before := d.padding - i; before > 0 {
		from = min(to, (before+d.stride-1)/d.stride)
	}
	return from, to
}

// A strip is a row of the matrix of columns, of one element of the kernel, without what lies in the padding above and
// below: body are whole rows of the result, whose columns [left, right) see the image. The first of them, if column 0 did,
// would see element start of the channel, which is negative where only later columns do.
type strip struct{ from, to, left, right, start int }

func (d *convDims) strip(i, j, from, to int) strip {
	top, bottom := d.span(i, d.h, d.oh)
	s := strip{from: max(top, from), to: min(bottom, to)}
	s.left, s.right = d.span(j, d.w, d.ow)
	if s.from >= s.to || s.left >= s.right {
		return strip{from: from, to: from}
	}
	s.start = (s.from*d.stride+i-d.padding)*d.w + j - d.padding
	return s
}

// outline clears the columns of a strip that see padding.
func outline[T Float](d *convDims, s strip, body []T) {
	if s.left == 0 && s.right == d.ow {
		return
	}
	for k := 0; k < len(body); k += d.ow {
		for q := k; q < k+s.left; q++ { // one or two: not worth a call of clear
			body[q] = 0
		}
		for q := k + s.right; q < k+d.ow; q++ {
			body[q] = 0
		}
	}
}

// unfold makes the columns of rows [from, to) of the result.
func unfold[T Float](d *convDims, columns, image []T, from, to int) []T {
	if d.direct {
		return image
	}
	n, at := (to-from)*d.ow, 0
	for c := range d.in {
		channel := image[c*d.h*d.w : (c+1)*d.h*d.w]
		for i := range d.kh {
			for j := range d.kw {
				row := columns[at : at+n]
				at += n
				s := d.strip(i, j, from, to)
				clear(row[:(s.from-from)*d.ow])
				clear(row[(s.to-from)*d.ow:])
				body := row[(s.from-from)*d.ow : (s.to-from)*d.ow]
				if d.same { // what wraps round from one row to the next is outside of [left, right)
					if lo, hi := max(0, -s.start), min(len(body), len(channel)-s.start); lo < hi {
						copy(body[lo:hi], channel[s.start+lo:])
					}
				} else {
					for k, at := 0, s.start; k < len(body); k, at = k+d.ow, at+d.stride*d.w {
						if d.stride == 1 {
							copy(body[k+s.left:k+s.right], channel[at+s.left:])
							continue
						}
						for q := s.left; q < s.right; q++ {
							body[k+q] = channel[at+q*d.stride]
						}
					}
				}
				outline(d, s, body)
			}
		}
	}
	return columns[:at]
}

// fold is the transpose of unfold: it adds the columns to the image they were seen in.
func fold[T Float](d *convDims, image, columns []T, from, to int) {
	n, at := (to-from)*d.ow, 0
	for c := range d.in {
		channel := image[c*d.h*d.w : (c+1)*d.h*d.w]
		for i := range d.kh {
			for j := range d.kw {
				row := columns[at : at+n]
				at += n
				s := d.strip(i, j, from, to)
				body := row[(s.from-from)*d.ow : (s.to-from)*d.ow]
				if d.same {
					outline(d, s, body)
					if lo, hi := max(0, -s.start), min(len(body), len(channel)-s.start); lo < hi {
						seen := channel[s.start+lo : s.start+hi]
						kernels.Add(seen, seen, body[lo:hi])
					}
					continue
				}
				for k, at := 0, s.start; k < len(body); k, at = k+d.ow, at+d.stride*d.w {
					for q := s.left; q < s.right; q++ {
						channel[at+q*d.stride] += body[k+q]
					}
				}
			}
		}
	}
}

func (o conv) String() string { return fmt.Sprintf("[stride %d, padding %d]", o.stride, o.padding) }

func (o conv2D) String() string { return "conv2D" + o.conv.String() }
func (o conv2D) Shape(in []Shape) (Shape, error) {
	d, err := o.dims(in[0], in[1])
	if err != nil {
		return nil, err
	}
	if len(in) == 3 && (len(in[2]) != 1 || in[2][0] != d.out) {
		return nil, fmt.Errorf("weight %v, bias %v: the bias must have shape (%d)", in[1], in[2], d.out)
	}
	return d.result(), nil
}

func (o conv2D) Bind(in []Shape) Kernel {
	d, _ := o.dims(in[0], in[1])
	return d.kernel(Kernel{F32: convKernel[float32](d), F64: convKernel[float64](d)}, false, false, d.out, d.rows*d.ow, d.k)
}

func convKernel[T Float](d convDims) func(dst []T, src [][]T, scratch []T) {
	image, result := d.in*d.h*d.w, d.out*d.oh*d.ow
	return func(dst []T, src [][]T, scratch []T) {
		columns, scratch := scratch[:d.columns], scratch[d.columns:]
		biased := len(src) == 3
		for i := range d.batch {
			x, y := src[0][i*image:(i+1)*image], dst[i*result:(i+1)*result]
			for c := 0; biased && c < d.out; c++ { // the product is added to it: no pass of its own
				kernels.Fill(y[c*d.oh*d.ow:(c+1)*d.oh*d.ow], src[2][c])
			}
			for from := 0; from < d.oh; from += d.rows {
				to := min(d.oh, from+d.rows)
				n := (to - from) * d.ow
				kernels.Gemm(false, false, d.out, n, d.k, src[1], d.k, unfold(&d, columns, x, from, to), n, y[from*d.ow:], d.oh*d.ow, biased, scratch)
			}
		}
	}
}

func (o conv2D) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, len(in))
	x, w := in[0].Shape(), in[1].Shape()
	if want[0] {
		res[0] = b.Apply(conv2DInput{o.conv, x[2], x[3]}, ct, in[1])
	}
	if want[1] {
		res[1] = b.Apply(conv2DWeight{o.conv, w[2], w[3]}, in[0], ct)
	}
	if len(in) == 3 && want[2] {
		s := ct.Shape()
		sums := b.Sum(b.Reshape(ct, s[0], s[1], s[2]*s[3]), 2)
		res[2] = b.Reshape(b.Sum(sums, 0), s[1])
	}
	return res
}

func (o conv2D) JVP(b *Builder, in []*Node, out *Node, d []*Node) *Node {
	var parts []*Node
	if d[0] != nil || d[1] != nil {
		parts = append(parts, b.productRule(o, in[:2], d[:2]))
	}
	if len(in) == 3 && d[2] != nil {
		s := out.Shape()
		row := b.Expand(b.Reshape(d[2], 1, s[1], 1), 2, s[2]*s[3])
		parts = append(parts, b.Reshape(b.Expand(row, 0, s[0]), s...))
	}
	return b.sum(parts)
}

func (o conv2DInput) String() string { return fmt.Sprintf("conv2DInput%v to %d×%d", o.conv, o.h, o.w) }

func (o conv2DInput) dims(in []Shape) (d convDims, err error) {
	if len(in[0]) != 4 || len(in[1]) != 4 {
		return d, fmt.Errorf("shapes %v and %v; both need four axes", in[0], in[1])
	}
	d, err = o.conv.dims(Shape{in[0][0], in[1][1], o.h, o.w}, in[1])
	if err == nil && !slices.Equal(in[0], d.result()) {
		err = fmt.Errorf("cotangent of shape %v for a result of shape %v", in[0], d.result())
	}
	return d, err
}

func (o conv2DInput) Shape(in []Shape) (Shape, error) {
	d, err := o.dims(in)
	return Shape{d.batch, d.in, o.h, o.w}, err
}

func (o conv2DInput) Bind(in []Shape) Kernel {
	d, _ := o.dims(in)
	return d.kernel(Kernel{F32: convInputKernel[float32](d), F64: convInputKernel[float64](d)}, true, false, d.k, d.rows*d.ow, d.out)
}

func convInputKernel[T Float](d convDims) func(dst []T, src [][]T, scratch []T) {
	image, result := d.in*d.h*d.w, d.out*d.oh*d.ow
	return func(dst []T, src [][]T, scratch []T) {
		columns, scratch := scratch[:d.columns], scratch[d.columns:]
		if !d.direct {
			clear(dst)
		}
		for i := range d.batch {
			x, y := dst[i*image:(i+1)*image], src[0][i*result:(i+1)*result]
			for from := 0; from < d.oh; from += d.rows {
				to := min(d.oh, from+d.rows)
				n := (to - from) * d.ow
				seen := columns
				if d.direct {
					seen = x
				}
				kernels.Gemm(true, false, d.k, n, d.out, src[1], d.k, y[from*d.ow:], d.oh*d.ow, seen, n, false, scratch)
				if !d.direct {
					fold(&d, x, columns, from, to)
				}
			}
		}
	}
}

func (o conv2DInput) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, 2)
	w := in[1].Shape()
	if want[0] {
		res[0] = b.Apply(conv2D{o.conv}, ct, in[1])
	}
	if want[1] {
		res[1] = b.Apply(conv2DWeight{o.conv, w[2], w[3]}, ct, in[0])
	}
	return res
}

func (o conv2DInput) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return b.productRule(o, in, d)
}

func (o conv2DWeight) String() string {
	return fmt.Sprintf("conv2DWeight%v of %d×%d", o.conv, o.kh, o.kw)
}

func (o conv2DWeight) dims(in []Shape) (d convDims, err error) {
	if len(in[0]) != 4 || len(in[1]) != 4 {
		return d, fmt.Errorf("shapes %v and %v; both need four axes", in[0], in[1])
	}
	d, err = o.conv.dims(in[0], Shape{in[1][1], in[0][1], o.kh, o.kw})
	if err == nil && !slices.Equal(in[1], d.result()) {
		err = fmt.Errorf("cotangent of shape %v for a result of shape %v", in[1], d.result())
	}
	return d, err
}

func (o conv2DWeight) Shape(in []Shape) (Shape, error) {
	d, err := o.dims(in)
	return Shape{d.out, d.in, o.kh, o.kw}, err
}

func (o conv2DWeight) Bind(in []Shape) Kernel {
	d, _ := o.dims(in)
	return d.kernel(Kernel{F32: convWeightKernel[float32](d), F64: convWeightKernel[float64](d)}, false, true, d.out, d.k, d.rows*d.ow)
}

func convWeightKernel[T Float](d convDims) func(dst []T, src [][]T, scratch []T) {
	image, result := d.in*d.h*d.w, d.out*d.oh*d.ow
	return func(dst []T, src [][]T, scratch []T) {
		columns, scratch := scratch[:d.columns], scratch[d.columns:]
		for i := range d.batch {
			x, y := src[0][i*image:(i+1)*image], src[1][i*result:(i+1)*result]
			for from := 0; from < d.oh; from += d.rows {
				to := min(d.oh, from+d.rows)
				n := (to - from) * d.ow
				kernels.Gemm(false, true, d.out, d.k, n, y[from*d.ow:], d.oh*d.ow, unfold(&d, columns, x, from, to), n, dst, d.k, i+from > 0, scratch)
			}
		}
	}
}

func (o conv2DWeight) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, 2)
	x := in[0].Shape()
	if want[0] {
		res[0] = b.Apply(conv2DInput{o.conv, x[2], x[3]}, in[1], ct)
	}
	if want[1] {
		res[1] = b.Apply(conv2D{o.conv}, in[0], ct)
	}
	return res
}

func (o conv2DWeight) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return b.productRule(o, in, d)
}
