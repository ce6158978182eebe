package graph

import (
	"fmt"
	"hash"
	"hash/fnv"
	"slices"
	"unsafe"

	"github.com/chewxy/hm"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Node is a value of a Gorgonia expression graph.
type Node = gorgonia.Node

// Shape is a row-major shape. The first axis of a per-sample value is the batch.
type Shape = tensor.Shape

// Float is the element type of a graph.
type Float interface{ float32 | float64 }

// An Op is a stateless description of a computation with one result. It is told where to write, so that a [Program]
// can plan its buffers, and what its derivatives need are nodes of the graph, so that every derivative can be
// differentiated again. Apply one with [Builder.Apply].
type Op interface {
	// String names the op and its attributes.
	String() string

	// Shape infers the shape of the result, or says what is wrong with those of the inputs.
	Shape(in []Shape) (Shape, error)

	// Bind compiles the computation for inputs of the given shapes. The kernel may be run by many programs at once.
	Bind(in []Shape) Kernel

	// VJP builds, for each wanted input, its cotangent from the cotangent of the result. A nil entry is zero.
	VJP(b *Builder, want []bool, in []*Node, out, cotangent *Node) []*Node

	// JVP builds the tangent of the result from those of the inputs, of which at least one is not nil (zero).
	JVP(b *Builder, in []*Node, out *Node, tangent []*Node) *Node
}

// A Kernel computes an op for fixed shapes. Scratch need not be clear; dst overlaps no source unless InPlace allows it.
type Kernel struct {
	F32 func(dst []float32, src [][]float32, scratch []float32)
	F64 func(dst []float64, src [][]float64, scratch []float64)

	Scratch int   // elements of scratch needed
	InPlace []int // sources whose buffer dst may be
	View    bool  // the result is source 0 under another shape: nothing is computed
	FLOPs   int64 // floating-point operations, as far as they dominate

	// The same, adding to dst; only ops that make gradients of weights have them, which are sums over shards.
	add32 func(dst []float32, src [][]float32, scratch []float32)
	add64 func(dst []float64, src [][]float64, scratch []float64)

	// The same with source 1, as packing wants it copied; only products with weights have them.
	packing  *packing
	packed32 func(dst []float32, src [][]float32, packed, scratch []float32)
	packed64 func(dst []float64, src [][]float64, packed, scratch []float64)
}

// adapter makes an Op a Gorgonia op. Its id enters the hash, so that no two nodes are merged.
type adapter struct {
	op    Op
	id    uint64
	b     *Builder
	in    []int // dims of the inputs
	shape Shape // of the result
}

var _ gorgonia.SDOp = (*adapter)(nil)

func (a *adapter) Arity() int            { return len(a.in) }
func (a *adapter) ReturnsPtr() bool      { return false }
func (a *adapter) CallsExtern() bool     { return false }
func (a *adapter) OverwritesInput() int  { return -1 }
func (a *adapter) String() string        { return a.op.String() }
func (a *adapter) WriteHash(h hash.Hash) { fmt.Fprintf(h, "%s#%d", a.op, a.id) }

func (a *adapter) Hashcode() uint32 {
	h := fnv.New32a()
	a.WriteHash(h)
	return h.Sum32()
}

func (a *adapter) Type() hm.Type {
	of := hm.TypeVariable('a')
	types := make([]hm.Type, 0, len(a.in)+1)
	for _, d := range append(slices.Clone(a.in), len(a.shape)) {
		if d == 0 {
			types = append(types, of)
		} else {
			types = append(types, gorgonia.TensorType{Dims: d, Of: of})
		}
	}
	return hm.NewFnType(types...)
}

// InferShape repeats what Apply has found: Gorgonia passes something else than a shape for nodes that are sizes.
func (a *adapter) InferShape(...gorgonia.DimSizer) (tensor.Shape, error) { return a.shape.Clone(), nil }

// Do serves the TapeMachine. Every call has a result of its own.
func (a *adapter) Do(in ...gorgonia.Value) (gorgonia.Value, error) {
	shapes := make([]Shape, len(in))
	for i, v := range in {
		shapes[i] = v.Shape()
	}
	out, err := a.op.Shape(shapes)
	if err != nil {
		return nil, err
	}
	k := a.op.Bind(shapes)
	if in[0].Dtype() == tensor.Float32 {
		return do(k, k.F32, in, out)
	}
	return do(k, k.F64, in, out)
}

func do[T Float](k Kernel, f func(dst []T, src [][]T, scratch []T), in []gorgonia.Value, shape Shape) (gorgonia.Value, error) {
	src := make([][]T, len(in))
	for i, v := range in {
		var err error
		if src[i], err = elements[T](v); err != nil {
			return nil, err
		}
	}
	dst := make([]T, shape.TotalSize())
	if k.View {
		copy(dst, src[0])
	} else {
		f(dst, src, make([]T, k.Scratch))
	}
	return wrap(shape, dst), nil
}

// elements is the storage of a Gorgonia value.
func elements[T Float](v gorgonia.Value) ([]T, error) {
	switch d := v.(type) {
	case *gorgonia.F32:
		if p, ok := any((*float32)(d)).(*T); ok {
			return unsafe.Slice(p, 1), nil
		}
	case *gorgonia.F64:
		if p, ok := any((*float64)(d)).(*T); ok {
			return unsafe.Slice(p, 1), nil
		}
	}
	switch d := v.Data().(type) {
	case []T:
		return d, nil
	case T:
		return []T{d}, nil
	default:
		var want T
		return nil, fmt.Errorf("graph: value of type %T in a graph of %T", d, want)
	}
}

func (a *adapter) DiffWRT(n int) []bool {
	wrt := make([]bool, n)
	for i := range wrt {
		wrt[i] = true
	}
	return wrt
}

// SymDiff serves Gorgonia's own Backpropagate, which wants a node for every input.
func (a *adapter) SymDiff(in gorgonia.Nodes, out, grad *Node) (gorgonia.Nodes, error) {
	a.b.lock()
	defer a.b.unlock()
	nodes := a.op.VJP(a.b, a.DiffWRT(len(in)), in, out, grad)
	if a.b.err != nil {
		return nil, a.b.err
	}
	res := make(gorgonia.Nodes, len(in))
	for i := range res {
		if i < len(nodes) && nodes[i] != nil {
			res[i] = nodes[i]
		} else {
			res[i] = a.b.zeros(in[i])
		}
	}
	return res, a.b.err
}

// opOf returns the Op of a node built by this package.
func opOf(n *Node) (Op, bool) {
	a, ok := n.Op().(*adapter)
	if !ok {
		return nil, false
	}
	return a.op, true
}

// args returns the inputs of a node in order.
func args(n *Node) []*Node {
	if n.Op() == nil {
		return nil // and Gorgonia's index, which fills itself, is left alone: many may compile one graph
	}
	it := n.Graph().From(n.ID())
	if it == nil {
		return nil
	}
	in := make([]*Node, 0, it.Len())
	for it.Next() {
		in = append(in, it.Node().(*Node))
	}
	return in
}

func shapes(nodes []*Node) []Shape {
	s := make([]Shape, len(nodes))
	for i, n := range nodes {
		s[i] = n.Shape()
	}
	return s
}
