package graph

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// Gorgonia's own ops are known by the names of their unexported types, and judged by what v0.9.18 computes: each one
// listed here is tested against finite differences by this package, or is refused, as a whole or when differentiated.
const gorgoniaPath = "gorgonia.org/gorgonia"

// verdict is why an op is refused: its value, or its derivatives. Both empty: it is right.
type verdict struct{ value, gradient string }

const hasNoSecond = "Gorgonia has no derivative of it: for forward mode and second derivatives use the ops of this package, or an Op of your own"

var verdicts = map[string]verdict{
	"constantScalar":    {},
	"constantTensor":    {},
	"elemBinOp":         {},
	"elemUnaryOp":       {},
	"linAlgBinOp":       {},
	"tensordotOp":       {},
	"sumOp":             {},
	"maxOp":             {},
	"repeatOp":          {},
	"sizeOp":            {},
	"sliceOp":           {},
	"sliceIncrOp":       {},
	"transposeOp":       {},
	"concatOp":          {},
	"reshapeOp":         {},
	"im2colOp":          {},
	"col2imOp":          {gradient: "Gorgonia's second derivative of a convolution is wrong, and panics where nothing can catch it; use forward mode, or ops of this package"},
	"softmaxOp":         {},
	"softmaxDiffOp":     {gradient: hasNoSecond},
	"maxPoolOp":         {},
	"maxPoolDiffOp":     {gradient: hasNoSecond},
	"upsampleOp":        {},
	"upsampleDiffOp":    {gradient: hasNoSecond},
	"BatchNormOp":       {},
	"batchnormDiffOp":   {gradient: hasNoSecond},
	"byIndicesOp":       {},
	"byIndicesOpDiffOp": {gradient: hasNoSecond},
	"minBetween":        {},
	"maxBetween":        {},
	"dtConvOp":          {gradient: "no derivative passes a conversion"},
	"avgPoolOp":         {gradient: "Gorgonia's gradient of it is wrong; use Mean after a Reshape to (batch, channels, height, k, width, k)"},
	"avgPoolDiffOp":     {value: "Gorgonia's gradient of AveragePool2D is wrong; use Builder.AveragePool2D"},

	"globalAveragePoolOp": {gradient: "Gorgonia's gradient of it is wrong; use Builder.Mean after Builder.Reshape"},
	"GroupNormOp":         {gradient: "Gorgonia's gradient of it prints to the log on every run; use Builder.LayerNorm after Builder.Reshape"},
	"groupNormDiffOp":     {value: "it prints to the log on every run; use Builder.LayerNorm after Builder.Reshape"},

	"atOp":      {value: "it fails when run; use Builder.Slice"},
	"dropoutOp": {value: "Gorgonia's gradient of it is wrong and its noise cannot be repeated; multiply by a mask that is an input"},
	"randomOp":  {value: "two random nodes of equal parameters are one node, and their noise cannot be repeated; make the noise an input"},
	"letOp":     {value: "it is a statement; bind the input instead"},
	"readOp":    {value: "it is a statement; make the node it reads an output"},
}

// linearOps are linear in their first input and constant in the others: they are their own tangent.
var linearOps = []string{"im2colOp", "col2imOp", "upsampleOp", "byIndicesOp", "reshapeOp", "transposeOp", "sumOp", "sliceOp", "repeatOp"}

// symmetricOps have one input and a symmetric Jacobian: their tangent is their VJP.
var symmetricOps = []string{"softmaxOp", "BatchNormOp"}

// opName is the type name of one of Gorgonia's own ops, or nothing for an op from elsewhere.
func opName(op gorgonia.Op) string {
	t := reflect.TypeOf(op)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.PkgPath() != gorgoniaPath {
		return ""
	}
	return t.Name()
}

// field reads an attribute of one of Gorgonia's ops.
func field(op gorgonia.Op, name string) reflect.Value {
	return reflect.Indirect(reflect.ValueOf(op)).FieldByName(name)
}

// judge says what is wrong with a library op in the place where it stands.
func judge(n *Node, in []*Node) verdict {
	name := opName(n.Op())
	if name == "" {
		return verdict{} // a user's own op is the user's own
	}
	v, known := verdicts[name]
	if !known {
		return verdict{value: "it is not known to be right; write it with the ops of this package, or as an Op of your own"}
	}
	switch name {
	case "elemUnaryOp":
		switch n.Op().String() {
		case "log2":
			v.gradient = "Gorgonia's gradient of Log2 is wrong; use Log(x)·(1/ln 2)"
		case "invSqrt":
			v.gradient = "Gorgonia's gradient of InverseSqrt is wrong; use Inverse(Sqrt(x))"
		case "ln":
			if isLogSumExp(in[0]) {
				v.value = "Gorgonia's LogSumExp is wrong; use Builder.LogSumExp"
			}
		}
	case "linAlgBinOp":
		if in[0].Dims() == 1 && in[1].Dims() == 1 && n.Dims() == 2 {
			v.gradient = "Gorgonia's gradient of OuterProd, which is also the derivative of a matrix·vector product, is wrong; multiply matrices (m, 1) and (1, n), or use a (k, 1) matrix for the vector"
		}
	case "softmaxOp":
		if field(n.Op(), "isLog").Bool() {
			v.value = "Gorgonia takes SoftMax and LogSoftMax of one node for the same node, and stabilisation makes the one of the other; use Builder.LogSumExp, or gorgonia.UseNonStable() and Log(SoftMax(x))"
		}
	case "softmaxDiffOp":
		if field(n.Op(), "isLog").Bool() {
			v.value = "it belongs to LogSoftMax, which Gorgonia takes for SoftMax; use Builder.LogSumExp"
		}
	case "sumOp", "maxOp":
		along := field(n.Op(), "along")
		for i := range along.Len() {
			if in[0].Dims() >= 4 && along.Index(i).Int() == 2 && along.Len() < in[0].Dims() {
				v.value = fmt.Sprintf("Gorgonia reduces axis 2 of a tensor of four axes wrongly (here %v); use Builder.Sum or Builder.Mean, or reduce in at most three axes", in[0].Shape())
			}
		}
	case "sliceOp", "sliceIncrOp":
		axis := int(field(n.Op(), "along").Int())
		if s := in[0].Shape(); axis < len(s) && s[axis] > 256 {
			v.value = fmt.Sprintf("Gorgonia merges slices that differ by 256; an axis of %d is too long for it; use Builder.Slice", s[axis])
		}
	case "constantTensor":
		if s := n.Op().(interface{ Value() gorgonia.Value }).Value(); s.Size() > 1 {
			v.value = "Gorgonia takes constant tensors that print alike for one; make it an input"
		}
	}
	return v
}

// isLogSumExp finds the sum whose logarithm Gorgonia's LogSumExp takes: Σ exp(x − m) + m with m = max x.
func isLogSumExp(n *Node) bool {
	is := func(n *Node, name, op string) []*Node {
		if n.Op() == nil || opName(n.Op()) != name || !strings.HasPrefix(n.Op().String(), op) {
			return nil
		}
		return args(n)
	}
	add := is(n, "elemBinOp", "+ ")
	if add == nil || is(add[1], "maxOp", "") == nil {
		return false
	}
	sum := is(add[0], "sumOp", "")
	if sum == nil {
		return false
	}
	exp := is(sum[0], "elemUnaryOp", "exp")
	if exp == nil {
		return false
	}
	sub := is(exp[0], "elemBinOp", "- ")
	return sub != nil && sub[1] == add[1]
}

// refusedGradient says why the gradient of a library op is refused, or nothing.
func refusedGradient(n *Node) string {
	v := judge(n, args(n))
	if v.value != "" {
		return v.value
	}
	return v.gradient
}

// checkLibrary refuses nodes whose value Gorgonia gets wrong, and graphs that its rewriting has broken.
func checkLibrary(outs []*Node) error {
	if err := checkWhole(outs); err != nil {
		return err
	}
	for _, n := range order(outs, nil) {
		if _, ours := opOf(n); ours || n.Op() == nil {
			continue
		}
		if v := judge(n, args(n)); v.value != "" {
			return fmt.Errorf("graph: %v of shape %v: %s", n.Op(), n.Shape(), v.value)
		}
	}
	return nil
}

var errBroken = errors.New("a node was taken out of the graph by Gorgonia's stabilisation; call gorgonia.UseNonStable() before building")

// checkWhole walks from outs as far as the graph is as it was built: Gorgonia's rewriting of Log(1+x), 1−Sigmoid and
// their like removes nodes that others still use, after which nodes are found under the ids of others.
func checkWhole(outs []*Node) error {
	seen := map[*Node]bool{}
	stack := slices.Clone(outs)
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if seen[n] {
			continue
		}
		seen[n] = true
		if n.Op() == nil || isConstant(n) {
			continue
		}
		g := n.Graph()
		if g == nil {
			return fmt.Errorf("graph: %v: %w", n.Op(), errBroken)
		}
		if at, ok := g.Node(n.ID()).(*Node); !ok || at != n {
			return fmt.Errorf("graph: %v: %w", n.Op(), errBroken)
		}
		in := args(n)
		if want := n.Op().Arity(); want >= 0 && want != len(in) {
			return fmt.Errorf("graph: %v has %d inputs and needs %d: %w", n.Op(), len(in), want, errBroken)
		}
		for _, c := range in {
			if c == nil || c.Graph() != g {
				return fmt.Errorf("graph: an input of %v is missing: %w", n.Op(), errBroken)
			}
			stack = append(stack, c)
		}
	}
	return nil
}

func isConstant(n *Node) bool {
	if n.Op() == nil {
		return false
	}
	name := opName(n.Op())
	return name == "constantScalar" || name == "constantTensor"
}

// library runs one of Gorgonia's own ops. Inputs get a new header each run, because some ops change the headers that
// they are given; the elements are not copied.
type library[T Float] struct {
	op     gorgonia.Op
	in     []Shape
	size   int
	args   []gorgonia.Value
	native bool // the result is []T

	// The derivative of a BatchNorm reads what the last run of the BatchNorm has left behind, which need not be of this
	// input, or of this program.
	batch *gorgonia.BatchNormOp
}

func newLibrary[T Float](n *Node, in []*Node) (*library[T], error) {
	for _, s := range in {
		if s.Dims() > 8 {
			return nil, fmt.Errorf("graph: %v: input of shape %v has more than 8 axes", n.Op(), s.Shape())
		}
	}
	l := &library[T]{op: n.Op(), in: shapes(in), size: n.Shape().TotalSize(), args: make([]gorgonia.Value, len(in)), native: n.Dtype() == dtype[T]()}
	if opName(l.op) == "batchnormDiffOp" {
		l.batch = field(l.op, "BatchNormOp").Interface().(*gorgonia.BatchNormOp)
	}
	return l, nil
}

// do runs the op. Values that are not of type T are in boxed, and so is the result if it is not.
func (l *library[T]) do(src [][]T, boxed []gorgonia.Value) ([]T, gorgonia.Value, error) {
	for i, s := range l.in {
		if boxed[i] != nil {
			l.args[i] = boxed[i]
		} else {
			l.args[i] = wrap(s, src[i])
		}
	}
	if l.batch != nil {
		if err := refresh(l.batch, l.args[0]); err != nil {
			return nil, nil, err
		}
	}
	v, err := l.op.Do(l.args...)
	clear(l.args)
	if err != nil {
		return nil, nil, err
	}
	if v == nil {
		return nil, nil, errors.New("the op returned no value")
	}
	if !l.native {
		return nil, v, nil
	}
	data, err := contiguous[T](v)
	if err == nil && len(data) != l.size {
		err = fmt.Errorf("the op returned %d elements of shape %v; its node has %d", len(data), v.Shape(), l.size)
	}
	return data, nil, err
}

// refresh makes a BatchNorm leave behind what belongs to x, without counting x a second time in its running statistics.
func refresh(op *gorgonia.BatchNormOp, x gorgonia.Value) error {
	if x.Shape().Dims() > 2 && !field(op, "training").Bool() {
		return errors.New("the gradient of a BatchNorm of four axes that is not training is wrong in Gorgonia; use BatchNorm in training, or of two axes")
	}
	mean, variance := op.Stats()
	mean, variance = mean.Clone().(tensor.Tensor), variance.Clone().(tensor.Tensor)
	if _, err := op.Do(x); err != nil {
		return err
	}
	return op.SetStats(mean, variance)
}

// wrap makes a Gorgonia value of a slice.
func wrap[T Float](s Shape, data []T) gorgonia.Value {
	if len(s) > 0 {
		return tensor.New(tensor.WithShape(s...), tensor.WithBacking(data))
	}
	switch d := any(data).(type) {
	case []float32:
		return (*gorgonia.F32)(&d[0])
	case []float64:
		return (*gorgonia.F64)(&d[0])
	}
	panic("graph: no such element type")
}

// contiguous is the elements of a value in row-major order: its own storage if that is so already.
func contiguous[T Float](v gorgonia.Value) ([]T, error) {
	d, ok := v.(*tensor.Dense)
	if !ok || d.IsScalar() || (!d.RequiresIterator() && d.DataOrder().IsRowMajor()) {
		return elements[T](v)
	}
	data, err := elements[T](v)
	if err != nil {
		return nil, err
	}
	shape, strides := d.Shape(), d.Strides()
	res := make([]T, 0, shape.TotalSize())
	at, from := make([]int, len(shape)), 0
	for range shape.TotalSize() {
		res = append(res, data[from])
		for i := len(shape) - 1; i >= 0; i-- {
			at[i]++
			from += strides[i]
			if at[i] < shape[i] {
				break
			}
			from -= at[i] * strides[i]
			at[i] = 0
		}
	}
	return res, nil
}
