package graph

import (
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/internal/kernels"
)

// matmul is op(A)·op(B) on the last two axes, batched over equal leading ones. It is closed under differentiation.
type matmul struct{ ta, tb bool }

// MatMul returns x·y on the last two axes; tx and ty transpose them first. Leading axes must agree and are batches.
func (b *Builder) MatMul(x, y *Node, tx, ty bool) *Node { return b.Apply(matmul{tx, ty}, x, y) }

func (o matmul) String() string {
	s := "matmul"
	if o.ta {
		s += " ᵀA"
	}
	if o.tb {
		s += " ᵀB"
	}
	return s
}

func (o matmul) dims(in []Shape) (batch, m, n, k, kb int) {
	d := len(in[0]) - 2
	m, k = in[0][d], in[0][d+1]
	if o.ta {
		m, k = k, m
	}
	kb, n = in[1][d], in[1][d+1]
	if o.tb {
		kb, n = n, kb
	}
	return prod(in[0][:d]), m, n, k, kb
}

func (o matmul) Shape(in []Shape) (Shape, error) {
	d := len(in[0]) - 2
	if d < 0 || len(in[1]) != len(in[0]) || !slices.Equal(in[0][:d], in[1][:d]) {
		return nil, fmt.Errorf("shapes %v and %v: both need the same leading axes and two more", in[0], in[1])
	}
	_, m, n, k, kb := o.dims(in)
	if k != kb {
		return nil, fmt.Errorf("shapes %v and %v: inner lengths %d and %d differ", in[0], in[1], k, kb)
	}
	return append(in[0][:d].Clone(), m, n), nil
}

func (o matmul) Bind(in []Shape) Kernel {
	batch, m, n, k, _ := o.dims(in)
	return Kernel{
		F32: matmulKernel[float32](o, batch, m, n, k), F64: matmulKernel[float64](o, batch, m, n, k),
		Scratch: max(kernels.GemmScratch[float32](o.ta, o.tb, m, n, k), kernels.GemmScratch[float64](o.ta, o.tb, m, n, k)),
		FLOPs:   2 * int64(batch) * int64(m) * int64(n) * int64(k),
	}
}

func matmulKernel[T Float](o matmul, batch, m, n, k int) func(dst []T, src [][]T, scratch []T) {
	lda, ldb := k, n
	if o.ta {
		lda = m
	}
	if o.tb {
		ldb = k
	}
	return func(dst []T, src [][]T, scratch []T) {
		for i := range batch {
			kernels.Gemm(o.ta, o.tb, m, n, k, src[0][i*m*k:(i+1)*m*k], lda, src[1][i*k*n:(i+1)*k*n], ldb, dst[i*m*n:(i+1)*m*n], n, false, scratch)
		}
	}
}

func (o matmul) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, 2)
	if want[0] {
		if o.ta {
			res[0] = b.MatMul(in[1], ct, o.tb, true)
		} else {
			res[0] = b.MatMul(ct, in[1], false, !o.tb)
		}
	}
	if want[1] {
		if o.tb {
			res[1] = b.MatMul(ct, in[0], true, o.ta)
		} else {
			res[1] = b.MatMul(in[0], ct, !o.ta, false)
		}
	}
	return res
}

func (o matmul) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return b.productRule(o, in, d)
}

// linear is x·W, or x·Wᵀ, on the last axis of x, with a bias row if there is a third input. contract is the product
// that its weight gradient is: Σ over all rows of xᵀ y. Each is the other's derivative.
type (
	linear   struct{ transposed bool }
	contract struct{}
)

// Linear returns x·w + bias on the last axis of x: x (…, in), w (in, out), bias (out) or nil.
func (b *Builder) Linear(x, w, bias *Node) *Node {
	if bias == nil {
		return b.Apply(linear{}, x, w)
	}
	return b.Apply(linear{}, x, w, bias)
}

func (o linear) String() string {
	if o.transposed {
		return "linear ᵀW"
	}
	return "linear"
}

func (o linear) dims(in []Shape) (m, n, k, kw int) {
	d := len(in[0]) - 1
	kw, n = in[1][0], in[1][1]
	if o.transposed {
		kw, n = n, kw
	}
	return prod(in[0][:d]), n, in[0][d], kw
}

func (o linear) Shape(in []Shape) (Shape, error) {
	if len(in[1]) != 2 {
		return nil, fmt.Errorf("input %v, weight %v: a weight has two axes (in, out)", in[0], in[1])
	}
	_, n, k, kw := o.dims(in)
	if k != kw {
		return nil, fmt.Errorf("input %v, weight %v: the last axis of the input is %d, the weight takes %d", in[0], in[1], k, kw)
	}
	if len(in) == 3 && (len(in[2]) != 1 || in[2][0] != n) {
		return nil, fmt.Errorf("weight %v, bias %v: the bias must have shape (%d)", in[1], in[2], n)
	}
	d := len(in[0]) - 1
	return append(in[0][:d].Clone(), n), nil
}

func (o linear) Bind(in []Shape) Kernel {
	m, n, k, _ := o.dims(in)
	return Kernel{
		F32: linearKernel[float32](o, m, n, k), F64: linearKernel[float64](o, m, n, k),
		Scratch: max(kernels.GemmScratch[float32](false, o.transposed, m, n, k), kernels.GemmScratch[float64](false, o.transposed, m, n, k)),
		FLOPs:   2 * int64(m) * int64(n) * int64(k),
		packing: &packing{o.transposed, n, k}, packed32: packedKernel[float32](m, n, k), packed64: packedKernel[float64](m, n, k),
	}
}

func packedKernel[T Float](m, n, k int) func(dst []T, src [][]T, packed, scratch []T) {
	return func(dst []T, src [][]T, packed, scratch []T) {
		var bias []T
		if len(src) == 3 {
			bias = src[2]
		}
		kernels.GemmPacked(m, n, k, src[0], k, packed, bias, dst, n, scratch)
	}
}

func linearKernel[T Float](o linear, m, n, k int) func(dst []T, src [][]T, scratch []T) {
	ldb := n
	if o.transposed {
		ldb = k
	}
	return func(dst []T, src [][]T, scratch []T) {
		if len(src) == 3 {
			kernels.GemmBias(false, o.transposed, m, n, k, src[0], k, src[1], ldb, src[2], dst, n, scratch)
		} else {
			kernels.Gemm(false, o.transposed, m, n, k, src[0], k, src[1], ldb, dst, n, false, scratch)
		}
	}
}

func (o linear) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, len(in))
	if want[0] {
		res[0] = b.Apply(linear{!o.transposed}, ct, in[1])
	}
	if want[1] {
		if o.transposed {
			res[1] = b.Apply(contract{}, ct, in[0])
		} else {
			res[1] = b.Apply(contract{}, in[0], ct)
		}
	}
	if len(in) == 3 && want[2] {
		res[2] = b.Apply(rowSum{}, ct)
	}
	return res
}

func (o linear) JVP(b *Builder, in []*Node, out *Node, d []*Node) *Node {
	var parts []*Node
	if d[0] != nil {
		parts = append(parts, b.Apply(o, d[0], in[1]))
	}
	if d[1] != nil {
		parts = append(parts, b.Apply(o, in[0], d[1]))
	}
	if len(in) == 3 && d[2] != nil {
		parts = append(parts, b.repeatRow(d[2], out.Shape()))
	}
	return b.sum(parts)
}

// rowSum is the sum over all axes but the last, accumulated in float64: the gradient by a bias.
type rowSum struct{}

func (rowSum) String() string { return "rowSum" }
func (rowSum) Shape(in []Shape) (Shape, error) {
	return Shape{in[0][len(in[0])-1]}, nil
}
func (rowSum) Bind(in []Shape) Kernel {
	rows, cols := rowsOf(in[0])
	return Kernel{
		F32: rowSumKernel[float32](rows, cols, false), F64: rowSumKernel[float64](rows, cols, false),
		add32: rowSumKernel[float32](rows, cols, true), add64: rowSumKernel[float64](rows, cols, true)}
}
func rowSumKernel[T Float](rows, cols int, add bool) func(dst []T, src [][]T, _ []T) {
	return func(dst []T, src [][]T, _ []T) { kernels.ColSum(dst, src[0], rows, cols, add) }
}
func (rowSum) VJP(b *Builder, _ []bool, in []*Node, _, ct *Node) []*Node {
	return []*Node{b.repeatRow(ct, in[0].Shape())}
}
func (o rowSum) JVP(b *Builder, _ []*Node, _ *Node, d []*Node) *Node { return b.Apply(o, d[0]) }

// repeatRow gives all rows of a shape the same elements.
func (b *Builder) repeatRow(row *Node, s Shape) *Node {
	n := s[len(s)-1]
	return b.Reshape(b.Expand(b.Reshape(row, 1, n), 0, s.TotalSize()/n), s...)
}

func (contract) String() string { return "contract" }
func (contract) Shape(in []Shape) (Shape, error) {
	x, y := in[0], in[1]
	if len(x) < 1 || len(x) != len(y) || !slices.Equal(x[:len(x)-1], y[:len(y)-1]) {
		return nil, fmt.Errorf("shapes %v and %v differ before the last axis", x, y)
	}
	return Shape{x[len(x)-1], y[len(y)-1]}, nil
}

func (contract) Bind(in []Shape) Kernel {
	k, n := in[0][len(in[0])-1], in[1][len(in[1])-1]
	m := in[0].TotalSize() / k
	return Kernel{
		F32: contractKernel[float32](m, n, k, false), F64: contractKernel[float64](m, n, k, false),
		add32: contractKernel[float32](m, n, k, true), add64: contractKernel[float64](m, n, k, true),
		Scratch: max(kernels.GemmScratch[float32](true, false, k, n, m), kernels.GemmScratch[float64](true, false, k, n, m)),
		FLOPs:   2 * int64(m) * int64(n) * int64(k),
	}
}

func contractKernel[T Float](m, n, k int, add bool) func(dst []T, src [][]T, scratch []T) {
	return func(dst []T, src [][]T, scratch []T) {
		kernels.Gemm(true, false, k, n, m, src[0], k, src[1], n, dst, n, add, scratch)
	}
}

func (contract) VJP(b *Builder, want []bool, in []*Node, _, ct *Node) []*Node {
	res := make([]*Node, 2)
	if want[0] {
		res[0] = b.Apply(linear{true}, in[1], ct)
	}
	if want[1] {
		res[1] = b.Apply(linear{false}, in[0], ct)
	}
	return res
}

func (o contract) JVP(b *Builder, in []*Node, _ *Node, d []*Node) *Node {
	return b.productRule(o, in, d)
}
