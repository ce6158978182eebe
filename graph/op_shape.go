package graph

import (
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/internal/kernels"
)

// prod is the product of axes: 1 for none.
func prod(s []int) int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// around splits a shape at an axis: the number of elements before, of and after it.
func around(s Shape, axis int) (outer, n, inner int) {
	return prod(s[:axis]), s[axis], prod(s[axis+1:])
}

// given reports whether nothing has failed, and fails if one of the nodes is no value of this graph.
func (b *Builder) given(what string, x ...*Node) bool {
	return b.err == nil && b.usable(what+": input", x)
}

func (b *Builder) axis(what string, x *Node, axis int) bool {
	if b.given(what, x) && (axis < 0 || axis >= x.Dims()) {
		b.Fail("%s: axis %d of shape %v", what, axis, x.Shape())
	}
	return b.err == nil
}

type reshape struct{ to Shape }

// Reshape returns the elements of x, in order, under another shape of the same size.
func (b *Builder) Reshape(x *Node, shape ...int) *Node {
	return b.Apply(reshape{slices.Clone(shape)}, x)
}

func (o reshape) String() string { return fmt.Sprintf("reshape%v", []int(o.to)) }
func (o reshape) Shape(in []Shape) (Shape, error) {
	if in[0].TotalSize() != prod(o.to) {
		return nil, fmt.Errorf("%v has %d elements, %v has %d", in[0], in[0].TotalSize(), o.to, prod(o.to))
	}
	return o.to.Clone(), nil
}
func (o reshape) Bind([]Shape) Kernel { return Kernel{View: true} }
func (o reshape) VJP(b *Builder, _ []bool, in []*Node, _, ct *Node) []*Node {
	return []*Node{b.Reshape(ct, in[0].Shape()...)}
}
func (o reshape) JVP(b *Builder, _ []*Node, _ *Node, d []*Node) *Node { return b.Apply(o, d[0]) }

type permute struct{ axes []int }

// Permute returns x with its axes in another order: axis i of the result is axis axes[i] of x.
func (b *Builder) Permute(x *Node, axes ...int) *Node {
	return b.Apply(permute{slices.Clone(axes)}, x)
}

func (o permute) String() string { return fmt.Sprintf("permute%v", o.axes) }
func (o permute) Shape(in []Shape) (Shape, error) {
	if len(o.axes) > 8 {
		return nil, fmt.Errorf("%d axes; up to 8 are supported", len(o.axes))
	}
	order := make([]int, len(in[0]))
	for i := range order {
		order[i] = i
	}
	if !slices.Equal(slices.Sorted(slices.Values(o.axes)), order) {
		return nil, fmt.Errorf("%v is no order of the axes of %v", o.axes, in[0])
	}
	out := make(Shape, len(o.axes))
	for i, a := range o.axes {
		out[i] = in[0][a]
	}
	return out, nil
}

func (o permute) Bind(in []Shape) Kernel {
	strides := make([]int, len(o.axes))
	shape := make([]int, len(o.axes))
	for i, a := range o.axes {
		shape[i], strides[i] = in[0][a], prod(in[0][a+1:])
	}
	// Axes that stay together are copied together.
	run := 1
	for len(shape) > 1 && strides[len(strides)-1] == run {
		run *= shape[len(shape)-1]
		shape, strides = shape[:len(shape)-1], strides[:len(strides)-1]
	}
	return Kernel{F32: permuteKernel[float32](shape, strides, run), F64: permuteKernel[float64](shape, strides, run)}
}

// permuteKernel copies runs of contiguous elements, the outer axes walked by a counter on the stack.
func permuteKernel[T Float](shape, strides []int, run int) func(dst []T, src [][]T, _ []T) {
	if len(shape) == 1 && strides[0] == run {
		return func(dst []T, src [][]T, _ []T) { copy(dst, src[0]) }
	}
	return func(dst []T, src [][]T, _ []T) {
		var at [8]int
		from, last := 0, len(shape)-1
		for k := 0; k < len(dst); {
			n, stride := shape[last], strides[last]
			if run == 1 {
				for j := range n {
					dst[k+j] = src[0][from+j*stride]
				}
			} else {
				for j := range n {
					copy(dst[k+j*run:k+(j+1)*run], src[0][from+j*stride:])
				}
			}
			k += n * run
			for i := last - 1; i >= 0; i-- {
				at[i]++
				from += strides[i]
				if at[i] < shape[i] {
					break
				}
				from -= at[i] * strides[i]
				at[i] = 0
			}
		}
	}
}

func (o permute) VJP(b *Builder, _ []bool, _ []*Node, _, ct *Node) []*Node {
	back := make([]int, len(o.axes))
	for i, a := range o.axes {
		back[a] = i
	}
	return []*Node{b.Apply(permute{back}, ct)}
}
func (o permute) JVP(b *Builder, _ []*Node, _ *Node, d []*Node) *Node { return b.Apply(o, d[0]) }

// cut takes elements [from, from+n) of an axis; paste is its transpose, which puts them back among zeros.
type (
	cut   struct{ axis, from, n int }
	paste struct{ axis, from, n int } // n: length of the axis after pasting
)

// Slice returns elements [from, to) of an axis of x, as a copy.
func (b *Builder) Slice(x *Node, axis, from, to int) *Node {
	if !b.axis("slice", x, axis) {
		return b.harmless()
	}
	return b.Apply(cut{axis, from, to - from}, x)
}

// Pad returns x with zeros before and after it along an axis.
func (b *Builder) Pad(x *Node, axis, before, after int) *Node {
	if !b.axis("pad", x, axis) {
		return b.harmless()
	}
	if before < 0 || after < 0 {
		return b.Fail("pad: %d before and %d after; neither may be negative", before, after)
	}
	return b.Apply(paste{axis, before, before + x.Shape()[axis] + after}, x)
}

func (o cut) String() string { return fmt.Sprintf("slice[axis %d, %d:%d]", o.axis, o.from, o.from+o.n) }
func (o cut) Shape(in []Shape) (Shape, error) {
	if o.from < 0 || o.n < 1 || o.from+o.n > in[0][o.axis] {
		return nil, fmt.Errorf("no such range in axis %d of %v", o.axis, in[0])
	}
	out := in[0].Clone()
	out[o.axis] = o.n
	return out, nil
}
func (o cut) Bind(in []Shape) Kernel {
	outer, n, inner := around(in[0], o.axis)
	return Kernel{
		F32: func(dst []float32, src [][]float32, _ []float32) {
			copyBlocks(dst, src[0], outer, o.n*inner, n*inner, 0, o.from*inner, o.n*inner)
		},
		F64: func(dst []float64, src [][]float64, _ []float64) {
			copyBlocks(dst, src[0], outer, o.n*inner, n*inner, 0, o.from*inner, o.n*inner)
		}}
}

// copyBlocks copies blocks of n elements, block i from src[from+i·strideSrc] to dst[to+i·strideDst].
func copyBlocks[T Float](dst, src []T, blocks, strideDst, strideSrc, to, from, n int) {
	for i := range blocks {
		copy(dst[to+i*strideDst:to+i*strideDst+n], src[from+i*strideSrc:])
	}
}
func (o cut) VJP(b *Builder, _ []bool, in []*Node, _, ct *Node) []*Node {
	return []*Node{b.Apply(paste{o.axis, o.from, in[0].Shape()[o.axis]}, ct)}
}
func (o cut) JVP(b *Builder, _ []*Node, _ *Node, d []*Node) *Node { return b.Apply(o, d[0]) }

func (o paste) String() string { return fmt.Sprintf("pad[axis %d, at %d of %d]", o.axis, o.from, o.n) }
func (o paste) Shape(in []Shape) (Shape, error) {
	out := in[0].Clone()
	out[o.axis] = o.n
	return out, nil
}
func (o paste) Bind(in []Shape) Kernel {
	outer, n, inner := around(in[0], o.axis)
	return Kernel{
		F32: func(dst []float32, src [][]float32, _ []float32) {
			clear(dst)
			copyBlocks(dst, src[0], outer, o.n*inner, n*inner, o.from*inner, 0, n*inner)
		},
		F64: func(dst []float64, src [][]float64, _ []float64) {
			clear(dst)
			copyBlocks(dst, src[0], outer, o.n*inner, n*inner, o.from*inner, 0, n*inner)
		}}
}
func (o paste) VJP(b *Builder, _ []bool, in []*Node, _, ct *Node) []*Node {
	return []*Node{b.Apply(cut{o.axis, o.from, in[0].Shape()[o.axis]}, ct)}
}
func (o paste) JVP(b *Builder, _ []*Node, _ *Node, d []*Node) *Node { return b.Apply(o, d[0]) }

type concat struct{ axis int }

// Concat returns its inputs one after the other along an axis, as a copy.
func (b *Builder) Concat(axis int, x ...*Node) *Node {
	if len(x) == 0 {
		return b.Fail("concat: no inputs")
	}
	if !b.axis("concat", x[0], axis) {
		return b.harmless()
	}
	return b.Apply(concat{axis}, x...)
}

func (o concat) String() string { return fmt.Sprintf("concat[axis %d]", o.axis) }
func (o concat) Shape(in []Shape) (Shape, error) {
	out := in[0].Clone()
	for _, s := range in[1:] {
		if len(s) != len(out) || !slices.Equal(s[:o.axis], out[:o.axis]) || !slices.Equal(s[o.axis+1:], out[o.axis+1:]) {
			return nil, fmt.Errorf("shapes %v and %v differ outside axis %d", in[0], s, o.axis)
		}
		out[o.axis] += s[o.axis]
	}
	return out, nil
}
func (o concat) Bind(in []Shape) Kernel {
	outer := prod(in[0][:o.axis])
	widths, total := make([]int, len(in)), 0
	for i, s := range in {
		widths[i] = prod(s[o.axis:])
		total += widths[i]
	}
	return Kernel{
		F32: func(dst []float32, src [][]float32, _ []float32) { concatKernel(dst, src, outer, total, widths) },
		F64: func(dst []float64, src [][]float64, _ []float64) { concatKernel(dst, src, outer, total, widths) }}
}
func concatKernel[T Float](dst []T, src [][]T, outer, total int, widths []int) {
	at := 0
	for i, s := range src {
		copyBlocks(dst, s, outer, total, widths[i], at, 0, widths[i])
		at += widths[i]
	}
}
func (o concat) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res, at := make([]*Node, len(in)), 0
	for i, n := range in {
		w := n.Shape()[o.axis]
		if want[i] {
			res[i] = b.Slice(ct, o.axis, at, at+w)
		}
		at += w
	}
	return res
}
func (o concat) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	parts := make([]*Node, len(in))
	for i, n := range in {
		if parts[i] = d[i]; d[i] == nil {
			parts[i] = b.zeros(n)
		}
	}
	return b.Apply(o, parts...)
}

// total sums over an axis, which stays with length 1; expand is its transpose, which repeats along it.
type (
	total  struct{ axis int }
	expand struct{ axis, n int }
)

// Sum returns the sum over an axis, which stays in the shape with length 1.
func (b *Builder) Sum(x *Node, axis int) *Node {
	if !b.axis("sum", x, axis) {
		return b.harmless()
	}
	return b.Apply(total{axis}, x)
}

// Mean returns the mean over an axis, which stays in the shape with length 1.
func (b *Builder) Mean(x *Node, axis int) *Node {
	if !b.axis("mean", x, axis) {
		return b.harmless()
	}
	return b.Scale(1/float64(x.Shape()[axis]), b.Sum(x, axis))
}

// Expand repeats x n times along an axis of length 1.
func (b *Builder) Expand(x *Node, axis, n int) *Node {
	if !b.axis("expand", x, axis) {
		return b.harmless()
	}
	return b.Apply(expand{axis, n}, x)
}

func (o total) String() string { return fmt.Sprintf("sum[axis %d]", o.axis) }
func (o total) Shape(in []Shape) (Shape, error) {
	out := in[0].Clone()
	out[o.axis] = 1
	return out, nil
}
func (o total) Bind(in []Shape) Kernel {
	outer, n, inner := around(in[0], o.axis)
	return Kernel{
		F32: func(dst []float32, src [][]float32, _ []float32) { totalKernel(dst, src[0], outer, n, inner) },
		F64: func(dst []float64, src [][]float64, _ []float64) { totalKernel(dst, src[0], outer, n, inner) }}
}
func totalKernel[T Float](dst, src []T, outer, n, inner int) {
	for i := range outer {
		block := src[i*n*inner : (i+1)*n*inner]
		if inner == 1 {
			dst[i] = sumTree(block)
			continue
		}
		d := dst[i*inner : (i+1)*inner]
		copy(d, block)
		for j := 1; j < n; j++ {
			kernels.Add(d, d, block[j*inner:(j+1)*inner])
		}
	}
}

// sumTree adds by halves, so that the error grows with log n and the order with nothing but n.
func sumTree[T Float](x []T) T {
	if len(x) <= 16 {
		var s T
		for _, v := range x {
			s += v
		}
		return s
	}
	h := len(x) / 2
	return sumTree(x[:h]) + sumTree(x[h:])
}
func (o total) VJP(b *Builder, _ []bool, in []*Node, _, ct *Node) []*Node {
	return []*Node{b.Apply(expand{o.axis, in[0].Shape()[o.axis]}, ct)}
}
func (o total) JVP(b *Builder, _ []*Node, _ *Node, d []*Node) *Node { return b.Apply(o, d[0]) }

func (o expand) String() string { return fmt.Sprintf("expand[axis %d to %d]", o.axis, o.n) }
func (o expand) Shape(in []Shape) (Shape, error) {
	if in[0][o.axis] != 1 || o.n < 1 {
		return nil, fmt.Errorf("axis %d of %v has not length 1, or the new length %d is below 1", o.axis, in[0], o.n)
	}
	out := in[0].Clone()
	out[o.axis] = o.n
	return out, nil
}
func (o expand) Bind(in []Shape) Kernel {
	outer, _, inner := around(in[0], o.axis)
	return Kernel{
		F32: func(dst []float32, src [][]float32, _ []float32) { expandKernel(dst, src[0], outer, o.n, inner) },
		F64: func(dst []float64, src [][]float64, _ []float64) { expandKernel(dst, src[0], outer, o.n, inner) }}
}
func expandKernel[T Float](dst, src []T, outer, n, inner int) {
	for i := range outer {
		row := src[i*inner : (i+1)*inner]
		block := dst[i*n*inner : (i+1)*n*inner]
		if inner == 1 {
			for j := range block {
				block[j] = row[0]
			}
			continue
		}
		for j := range n {
			copy(block[j*inner:], row)
		}
	}
}
func (o expand) VJP(b *Builder, _ []bool, _ []*Node, _, ct *Node) []*Node {
	return []*Node{b.Apply(total{o.axis}, ct)}
}
func (o expand) JVP(b *Builder, _ []*Node, _ *Node, d []*Node) *Node { return b.Apply(o, d[0]) }
