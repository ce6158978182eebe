package graph

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
)

func TestGradientOfSeveralOutputsToInnerNodes(t *testing.T) {
	s := newBench[float64]([][]int{{3, 4}, {4, 2}, {5}}, false)
	b := s.b
	h := b.Map(Tanh, b.MatMul(s.x[0], s.x[1], false, false))
	y, z := b.Map(Square, h), b.Sum(h, 1)
	u, v := s.input("u", []int{3, 2}, false), s.input("v", []int{3, 1}, false)
	grads := b.Gradient([]*Node{y, z, y}, []*Node{u, v, u}, []*Node{h, s.x[0], s.x[2], y, h})
	require.NoError(t, b.Err())
	require.Nil(t, grads[2], "an exact zero")
	require.Same(t, grads[0], grads[4])
	res := run[float64](t, s.values, grads[0], grads[1], grads[3], h)
	for i, ct := range res[0] {
		require.InDelta(t, 4*s.values["u"][i]*res[3][i]+s.values["v"][i/2], ct, 1e-14, "y twice, and z")
	}
	for i, ct := range res[2] {
		require.Equal(t, 2*s.values["u"][i], ct, "an output as what is differentiated by")
	}
	through := b.Gradient([]*Node{h}, []*Node{grads[0]}, []*Node{s.x[0]})[0]
	near(t, run[float64](t, s.values, through)[0], res[1], 1e-14, "the chain rule at h")
}

func TestTangentAndGradientAreTransposes(t *testing.T) {
	s := newBench[float64]([][]int{{3, 4}, {4, 2}}, false)
	b := s.b
	h := b.Map(SiLU, b.MatMul(s.x[0], s.x[1], false, false))
	y, z := b.Softmax(1, h), b.Mul(h, h)
	outs, wrt := []*Node{y, z}, []*Node{s.x[0], h, s.x[1], s.x[0]}
	var cots, dirs []*Node
	for i, n := range outs {
		cots = append(cots, s.input(fmt.Sprint("u", i), n.Shape(), false))
	}
	for i, n := range wrt {
		dirs = append(dirs, s.input(fmt.Sprint("v", i), n.Shape(), false))
	}
	reverse := b.Gradient(outs, cots, wrt)
	forward := b.Tangent(outs, wrt, dirs)
	require.NoError(t, b.Err())
	var left, right float64
	for i, f := range run[float64](t, s.values, forward...) {
		left += dot(f, s.values[fmt.Sprint("u", i)])
	}
	for i, r := range run[float64](t, s.values, reverse...) {
		right += dot(r, s.values[fmt.Sprint("v", i)])
	}
	require.InDelta(t, left, right, 1e-12, "with an inner node, and one node twice, among wrt")
	require.Nil(t, b.Tangent([]*Node{y}, []*Node{b.Input("apart", 2)}, []*Node{b.Input("along apart", 2)})[0])
	require.Same(t, dirs[0], b.Tangent([]*Node{s.x[0]}, []*Node{s.x[0]}, []*Node{dirs[0]})[0])
}

func TestNetworkDifferentiatesFourWays(t *testing.T) {
	s := newBench[float64]([][]int{{2, 3, 4}, {2, 8}, {4, 12}, {4, 4}, {4}}, false)
	b := s.b
	shift, scale := b.Slice(s.x[1], 1, 0, 4), b.Slice(s.x[1], 1, 4, 8)
	h := b.Modulate(b.LayerNorm(1e-2, s.x[0]), scale, shift)
	h = b.Linear(b.Attention(b.Linear(h, s.x[2], nil), 2), s.x[3], s.x[4])
	y := b.GatedAdd(s.x[0], b.Map(GELU, h), scale)
	s.differentiated(t, y, "y", twice)
	s.differentiated(t, s.pulled(y, "u"), "VJP", once)
	s.differentiated(t, s.pushed(y, "v"), "JVP", once)
}

func TestFanOutIsSummed(t *testing.T) {
	s := newBench[float64]([][]int{{5}}, false)
	var parts []*Node
	for i := range 20 {
		parts = append(parts, s.b.Scale(float64(i), s.b.Map(Sin, s.x[0])))
	}
	s.differentiated(t, s.b.Mul(s.b.Add(parts...), s.x[0]), "", twice)
}

func TestOnlyWhatIsWantedIsComputed(t *testing.T) {
	b, outs := perceptron[float64](3, 4, 5)
	require.NoError(t, b.Err())
	products := func(outs ...*Node) (n int) {
		p, err := Compile[float64](outs...)
		require.NoError(t, err)
		for _, s := range p.steps {
			if s.name == "linear" || s.name == "linear ᵀW" || s.name == "contract" {
				n++
			}
		}
		return n
	}
	require.Equal(t, 3, products(outs[0]), "forward")
	require.Equal(t, 6, products(outs[1]), "the gradient to x needs no product for a weight")
	require.Equal(t, 9, products(outs...))
	require.Equal(t, 4, products(b.Gradient(outs[:1], []*Node{b.Named("u")}, []*Node{b.Named("w2")})...), "to the last weight: forward and one product")
}

func TestDeepGraphs(t *testing.T) {
	const depth = 5000
	b := NewBuilder[float64]()
	x := b.Input("x", 1)
	y := x
	for range depth {
		y = b.Map(Sin, y)
	}
	grad := b.Gradient([]*Node{y}, []*Node{b.Input("u", 1)}, []*Node{x})[0]
	require.NoError(t, b.Err())
	p, err := Compile[float64](grad)
	require.NoError(t, err)
	require.NoError(t, p.Bind("x", []float64{0.7}))
	require.NoError(t, p.Bind("u", []float64{1}))
	require.NoError(t, p.Run())
	want, v := 1.0, 0.7
	for range depth {
		want *= math.Cos(v)
		v = math.Sin(v)
	}
	require.InEpsilon(t, want, p.Output(0)[0], 1e-10)
}

func TestDerivativesBeyondTheThirdAreRefused(t *testing.T) {
	b := NewBuilder[float64]()
	x := b.Input("x", 2)
	y := b.Map(Tanh, x)
	for order := range 4 {
		require.NoError(t, b.Err(), "order %d", order)
		y = b.Gradient([]*Node{y}, []*Node{b.Input(fmt.Sprint("u", order), 2)}, []*Node{x})[0]
	}
	require.ErrorContains(t, b.Err(), "derivatives of order 4 are not available")
	require.ErrorContains(t, b.Err(), "diff_test.go:")
}

// misshapen is an op whose VJP is wrong.
type misshapen struct{ doubled }

func (misshapen) VJP(b *Builder, _ []bool, _ []*Node, _, ct *Node) []*Node {
	return []*Node{b.Reshape(ct, ct.Shape().TotalSize())}
}

func TestAGradientOfWrongShapeNamesTheOp(t *testing.T) {
	b := NewBuilder[float64]()
	x := b.Input("x", 2, 3)
	y := b.Apply(misshapen{}, x)
	b.Gradient([]*Node{y}, []*Node{b.Input("u", 2, 3)}, []*Node{x})
	require.ErrorContains(t, b.Err(), "gradient of doubled: input 0 has shape (2, 3), its gradient (6)")
}

func TestCheckGradientFindsAWrongTerm(t *testing.T) {
	b := NewBuilder[float64]()
	x, w := b.Input("x", 2, 3), b.Input("w", 2, 3)
	y := b.Mul(b.Apply(halved{}, x), w)
	values := map[string][]float64{"x": {1, -2, 3, 0.5, 0.25, 2}, "w": {0.5, 1, 1.5, 2, -1, 3}}
	worst, err := CheckGradient(b, y, nil, values)
	require.NoError(t, err)
	require.InDelta(t, 0.5, worst["x"], 1e-9, "half of the gradient is missing")
	require.Less(t, worst["w"], 1e-10)
	worst, err = CheckGradient(b, y, []float64{1, 2, 3, 4, 5, 6}, values)
	require.NoError(t, err, "a second check of one graph")
	require.InDelta(t, 0.5, worst["x"], 1e-9)

	_, err = CheckGradient(b, y, []float64{1}, values)
	require.ErrorContains(t, err, "1 elements for an output of shape (2, 3)")
	_, err = CheckGradient(b, y, nil, map[string][]float64{"x": {1}})
	require.ErrorContains(t, err, `1 elements for input "x" of shape (2, 3)`)
	_, err = CheckGradient(b, y, nil, map[string][]float64{"z": {1}})
	require.ErrorContains(t, err, `"z"`)
	_, err = CheckGradient(b, y, nil, map[string][]float64{"x": values["x"]})
	require.ErrorContains(t, err, `no value for input "w"`)
	_, err = CheckGradient(b, nil, nil, values)
	require.ErrorContains(t, err, "is nil")
	single := NewBuilder[float32]()
	_, err = CheckGradient(single, single.Input("x", 1), nil, nil)
	require.ErrorContains(t, err, "float64")
}

// halved doubles, and says that it does not.
type halved struct{ doubled }

func (halved) Bind(in []Shape) Kernel { return doubled{func() {}}.Bind(in) }
func (halved) VJP(_ *Builder, _ []bool, _ []*Node, _, ct *Node) []*Node {
	return []*Node{ct}
}

func TestCheckGradientOfAScalarAndOfNothing(t *testing.T) {
	nonStable(t)
	b := NewBuilder[float64]()
	x, apart := b.Input("x", 3), b.Input("apart", 2)
	y, err := gorgonia.Sum(b.Map(Exp, x))
	require.NoError(t, err)
	worst, err := CheckGradient(b, y, nil, map[string][]float64{"x": {0.1, -0.4, 2}, "apart": {1, 2}})
	require.NoError(t, err)
	require.Less(t, worst["x"], 1e-10)
	require.Zero(t, worst["apart"], "%v takes no part", apart)
}
