package graph

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/ebb-go/ebb/ode"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// here is the file and line of its caller, as errors give them.
func here() string {
	_, _, line, _ := runtime.Caller(1)
	return fmt.Sprintf("graph/builder_test.go:%d: ", line)
}

func TestShapeErrorsNameOpShapesAndLine(t *testing.T) {
	type world struct {
		b             *Builder
		x, y, m, v, q *Node
	}
	for _, c := range []struct {
		name  string
		build func(w world) (line string)
		says  []string
	}{
		{"add", func(w world) string { w.b.Add(w.x, w.y); return here() }, []string{"combine[1,1]: ", "(2, 3)", "(3, 2)"}},
		{"add of a column and a vector", func(w world) string { w.b.Add(w.b.Reshape(w.v, 3, 1), w.v); return here() }, []string{"combine[1,1]: ", "(3, 1)", "(3)"}},
		{"mul", func(w world) string { w.b.Mul(w.x, w.y); return here() }, []string{"mul: ", "(2, 3)", "(3, 2)"}},
		{"div", func(w world) string { w.b.Div(w.x, w.y); return here() }, []string{"div: ", "(2, 3)", "(3, 2)"}},
		{"combine", func(w world) string { w.b.Combine([]float64{1}, w.x, w.x); return here() }, []string{"combine: ", "1 coefficients for 2 nodes"}},
		{"matmul", func(w world) string { w.b.MatMul(w.x, w.x, false, false); return here() }, []string{"matmul: ", "inner lengths 3 and 2", "(2, 3)"}},
		{"matmul of unequal axes", func(w world) string { w.b.MatMul(w.x, w.m, false, false); return here() }, []string{"matmul: ", "(2, 3)", "(2, 3, 4)"}},
		{"linear", func(w world) string { w.b.Linear(w.x, w.x, nil); return here() }, []string{"linear: ", "last axis of the input is 3, the weight takes 2"}},
		{"linear with bias", func(w world) string { w.b.Linear(w.x, w.y, w.v); return here() }, []string{"linear: ", "(3, 2)", "bias (3)", "must have shape (2)"}},
		{"reshape", func(w world) string { w.b.Reshape(w.x, 4, 2); return here() }, []string{"reshape[4 2]: ", "(2, 3) has 6 elements", "(4, 2) has 8"}},
		{"permute", func(w world) string { w.b.Permute(w.x, 0, 0); return here() }, []string{"permute[0 0]: ", "(2, 3)"}},
		{"slice", func(w world) string { w.b.Slice(w.x, 1, 2, 4); return here() }, []string{"slice[axis 1, 2:4]: ", "(2, 3)"}},
		{"slice of no axis", func(w world) string { w.b.Slice(w.x, 2, 0, 1); return here() }, []string{"slice: axis 2 of shape (2, 3)"}},
		{"pad", func(w world) string { w.b.Pad(w.x, 0, -1, 0); return here() }, []string{"pad: -1 before"}},
		{"concat", func(w world) string { w.b.Concat(0, w.x, w.y); return here() }, []string{"concat[axis 0]: ", "(2, 3)", "(3, 2)"}},
		{"expand", func(w world) string { w.b.Expand(w.x, 0, 3); return here() }, []string{"expand[axis 0 to 3]: ", "(2, 3)"}},
		{"attention", func(w world) string { w.b.Attention(w.m, 3); return here() }, []string{"attention[3 heads]: ", "(2, 3, 4)"}},
		{"layerNorm", func(w world) string { w.b.LayerNorm(0, w.x); return here() }, []string{"layerNorm[0]: ", "positive"}},
		{"gate", func(w world) string { w.b.Gate(w.m, w.x); return here() }, []string{"gate: ", "(2, 3, 4)", "(2, 3)"}},
		{"modulate", func(w world) string { w.b.Modulate(w.m, w.q, w.x); return here() }, []string{"modulate: ", "(2, 3, 4)", "(2, 3)"}},
		{"gatedAdd", func(w world) string { w.b.GatedAdd(w.m, w.x, w.q); return here() }, []string{"gatedAdd: ", "(2, 3, 4)", "(2, 3)"}},
		{"sinusoid", func(w world) string { w.b.Sinusoid(w.x, []float64{1}); return here() }, []string{"sinusoid[1, order 0]: ", "(2, 3)"}},
		{"patchify", func(w world) string { w.b.Patchify(w.x, 2); return here() }, []string{"patchify: ", "(2, 3)"}},
		{"unpatchify", func(w world) string { w.b.Unpatchify(w.m, 2, 1, 2, 2); return here() }, []string{"unpatchify: ", "(2, 3, 4)"}},
		{"meanSquare", func(w world) string { w.b.MeanSquare(w.x, w.y); return here() }, []string{"(2, 3)", "(3, 2)"}},
		{"crossEntropy", func(w world) string { w.b.CrossEntropy(w.x, w.y); return here() }, []string{"crossEntropy: ", "(2, 3)", "(3, 2)"}},
		{"clip", func(w world) string { w.b.Clip(ode.Clipping{}, w.x); return here() }, []string{"Max 0", "positive"}},
		{"map", func(w world) string { w.b.Map(Func(99), w.x); return here() }, []string{"Func(99): ", "silu"}},
		{"gradient", func(w world) string { w.b.Gradient([]*Node{w.x}, []*Node{w.y}, []*Node{w.x}); return here() }, []string{"output 0 has shape (2, 3), its cotangent (3, 2)"}},
		{"tangent", func(w world) string { w.b.Tangent([]*Node{w.x}, []*Node{w.x}, []*Node{w.y}); return here() }, []string{"input 0 has shape (2, 3), its direction (3, 2)"}},
		{"gradient of two", func(w world) string { w.b.Gradient([]*Node{w.x}, nil, nil); return here() }, []string{"1 outputs and 0 cotangents"}},
		{"tangent of two", func(w world) string { w.b.Tangent([]*Node{w.x}, []*Node{w.x}, nil); return here() }, []string{"1 nodes and 0 directions"}},
		{"nil", func(w world) string { w.b.Mul(w.x, nil); return here() }, []string{"mul: ", "input 1 is nil"}},
		{"nil where an axis is asked", func(w world) string { w.b.Sum(nil, 0); return here() }, []string{"sum: input 0 is nil"}},
		{"nothing", func(w world) string { w.b.Add(); return here() }, []string{"no inputs"}},
		{"input without axes", func(w world) string { w.b.Input("s"); return here() }, []string{`input "s": `, "at least one axis"}},
		{"input of no length", func(w world) string { w.b.Input("s", 2, 0); return here() }, []string{`input "s": `, "[2 0]"}},
		{"input without name", func(w world) string { w.b.Input("", 2); return here() }, []string{"needs a name"}},
		{"input named twice", func(w world) string { w.b.Input("x", 5); return here() }, []string{`input "x" exists already with shape (2, 3)`, "[5]"}},
	} {
		b := NewBuilder[float64]()
		w := world{b: b, x: b.Input("x", 2, 3), y: b.Input("y", 3, 2), m: b.Input("m", 2, 3, 4), v: b.Input("v", 3), q: b.Input("q", 2, 4)}
		require.NoError(t, b.Err(), c.name)
		require.NotPanics(t, func() {
			line := c.build(w)
			require.ErrorContains(t, b.Err(), line, c.name)
		}, c.name)
		for _, s := range c.says {
			require.ErrorContains(t, b.Err(), s, c.name)
		}
	}
}

func TestOperandsFromElsewhere(t *testing.T) {
	b := NewBuilder[float64]()
	x := b.Input("x", 2)
	b.Add(x, NewBuilder[float64]().Input("x", 2))
	require.ErrorContains(t, b.Err(), "input 1 belongs to another graph")

	b = NewBuilder[float64]()
	b.Map(Exp, gorgonia.NewVector(b.Graph(), tensor.Float32, gorgonia.WithShape(2), gorgonia.WithName("single")))
	require.ErrorContains(t, b.Err(), "is float32 in a graph of float64")

	b = NewBuilder[float64]()
	var v gorgonia.Value
	b.Map(Exp, gorgonia.Read(b.Input("x", 2), &v))
	require.ErrorContains(t, b.Err(), "statement")

	b = NewBuilder[float64]()
	b.Map(Exp, gorgonia.NewScalar(b.Graph(), tensor.Float64, gorgonia.WithName("s")))
	require.ErrorContains(t, b.Err(), "Reshape it to shape 1")
}

func TestAnErrorSticksAndNothingPanicsAfterIt(t *testing.T) {
	b := NewBuilder[float64]()
	x := b.Input("x", 2, 3)
	bad := b.Reshape(x, 7)
	first := b.Err()
	require.Error(t, first)
	require.NotPanics(t, func() {
		for _, n := range []*Node{bad, nil, x} {
			b.Input("x", 1)
			b.Combine(nil, n)
			b.Add(n, n)
			b.Sub(n, n)
			b.Scale(2, n)
			b.Shift(2, n)
			b.Mul(n, x)
			b.Div(n, x)
			b.Map(Exp, n)
			b.Reshape(n, 3)
			b.Permute(n, 5)
			b.Slice(n, 5, 1, 0)
			b.Pad(n, 5, 1, 0)
			b.Concat(9, n)
			b.Concat(0)
			b.Sum(n, 9)
			b.Mean(n, 9)
			b.Expand(n, 9, 0)
			b.MatMul(n, n, true, true)
			b.Linear(n, n, n)
			b.Softmax(1, n)
			b.LogSumExp(n)
			b.LayerNorm(-1, n)
			b.RMSNorm(-1, n)
			b.Gate(n, n)
			b.Modulate(n, n, n)
			b.GatedAdd(n, n, n)
			b.Attention(n, 0)
			b.Sinusoid(n, nil)
			b.Patchify(n, 0)
			b.Unpatchify(n, 0, 0, 0, 0)
			b.MeanSquare(n, n)
			b.CrossEntropy(n, n)
			b.Clip(ode.Clipping{}, n)
			b.Gradient([]*Node{n}, []*Node{n}, []*Node{n})
			b.Tangent([]*Node{n}, []*Node{n}, []*Node{n})
			b.Fail("another")
		}
	})
	require.Same(t, first, b.Err())
	require.Len(t, b.Gradient([]*Node{x}, []*Node{x}, []*Node{x, x}), 2)
	_, err := CheckGradient(b, x, nil, nil)
	require.Same(t, first, err)
}

// TestNilNodesAreErrors is the same for the first error.
func TestNilNodesAreErrors(t *testing.T) {
	for i, f := range []func(b *Builder){
		func(b *Builder) { b.Combine([]float64{1}, nil) }, func(b *Builder) { b.Scale(1, nil) }, func(b *Builder) { b.Shift(1, nil) },
		func(b *Builder) { b.Map(Exp, nil) }, func(b *Builder) { b.Reshape(nil, 1) }, func(b *Builder) { b.Permute(nil) },
		func(b *Builder) { b.Slice(nil, 0, 0, 1) }, func(b *Builder) { b.Pad(nil, 0, 0, 1) }, func(b *Builder) { b.Concat(0, nil) },
		func(b *Builder) { b.Mean(nil, 0) }, func(b *Builder) { b.Expand(nil, 0, 2) }, func(b *Builder) { b.MatMul(nil, nil, false, false) },
		func(b *Builder) { b.Linear(nil, nil, nil) }, func(b *Builder) { b.Softmax(1, nil) }, func(b *Builder) { b.LogSumExp(nil) },
		func(b *Builder) { b.LayerNorm(1, nil) }, func(b *Builder) { b.Gate(nil, nil) }, func(b *Builder) { b.Attention(nil, 1) },
		func(b *Builder) { b.Sinusoid(nil, []float64{1}) }, func(b *Builder) { b.Patchify(nil, 1) }, func(b *Builder) { b.Unpatchify(nil, 1, 1, 1, 1) },
		func(b *Builder) { b.MeanSquare(nil, nil) }, func(b *Builder) { b.CrossEntropy(nil, nil) }, func(b *Builder) { b.Clip(ode.Clipping{Max: 1}, nil) },
		func(b *Builder) { b.Gradient([]*Node{nil}, []*Node{nil}, nil) }, func(b *Builder) { b.Tangent([]*Node{nil}, nil, nil) },
		func(b *Builder) { x := b.Input("x", 1); b.Gradient([]*Node{x}, []*Node{x}, []*Node{nil}) },
	} {
		b := NewBuilder[float64]()
		require.NotPanics(t, func() { f(b) }, "call %d", i)
		require.ErrorContains(t, b.Err(), "is nil", "call %d", i)
	}
}

func TestWrapGoesOnWithAGraph(t *testing.T) {
	g := gorgonia.NewGraph()
	x := gorgonia.NewMatrix(g, tensor.Float32, gorgonia.WithShape(2, 3), gorgonia.WithName("x"))
	b := Wrap[float32](g)
	require.Same(t, x, b.Named("x"))
	require.Nil(t, b.Named("y"))
	require.Same(t, g, b.Graph())
	require.Equal(t, tensor.Float32, b.Dtype())
	y := b.Map(Square, x)
	require.NoError(t, b.Err())
	p, err := Compile[float32](y)
	require.NoError(t, err)
	require.NoError(t, p.Bind("x", []float32{1, 2, 3, 4, 5, 6}))
	require.NoError(t, p.Run())
	require.Equal(t, []float32{1, 4, 9, 16, 25, 36}, p.Output(0))
	b.Input("x", 2)
	require.ErrorContains(t, b.Err(), "exists already")
}

func TestNamesOfAllFuncs(t *testing.T) {
	for f := range funcs {
		require.NotEmpty(t, f.String())
	}
	require.Equal(t, "Func(-1)", Func(-1).String())
}
