package graph

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// wander builds a random graph on the inputs of s and returns some of its nodes: inner ones, inputs, views, some twice,
// and the gradient of one of them. With mixed set, some ops are the library's.
func wander(s *bench, steps int, mixed bool) []*Node {
	b, rng := s.b, s.rng
	pool := slices.Clone(s.x)
	pick := func() *Node { return pool[rng.IntN(len(pool))] }
	library := func(n *Node, err error) *Node {
		if err != nil {
			b.Fail("%w", err)
		}
		return n
	}
	for range steps {
		x := pick()
		shape := x.Shape()
		axis := rng.IntN(len(shape))
		kinds := 14
		if mixed {
			kinds = 18
		}
		var y *Node
		switch rng.IntN(kinds) {
		case 0:
			y = b.Map([]Func{Tanh, Sigmoid, SiLU, GELU, Sin, Cos, ReLU}[rng.IntN(7)], x)
		case 1:
			y = b.Combine([]float64{0.5, -0.25}, x, x)
		case 2:
			y = b.Scale(rng.Float64()-0.5, x)
		case 3, 4: // something of the same shape
			for _, other := range pool {
				if slices.Equal(other.Shape(), shape) && rng.IntN(2) == 0 {
					y = b.Mul(b.Map(Tanh, x), other)
				}
			}
			if y == nil {
				y = b.Shift(0.1, x)
			}
		case 5:
			y = b.Reshape(x, shape.TotalSize())
		case 6:
			if y = b.Map(Cos, x); len(shape) < 5 {
				y = b.Reshape(x, append([]int{1}, shape...)...)
			}
		case 7:
			y = b.Permute(x, rng.Perm(len(shape))...)
		case 8:
			y = b.Pad(b.Slice(x, axis, 0, (shape[axis]+1)/2), axis, shape[axis]/2, 0)
		case 9:
			y = b.Expand(b.Sum(x, axis), axis, shape[axis])
			y = b.Scale(1/float64(shape[axis]), y)
		case 10:
			y = b.Softmax(1, x)
		case 11:
			y = b.LayerNorm(1e-2, x)
		case 12:
			half := b.Slice(x, axis, 0, (shape[axis]+1)/2)
			y = b.Slice(b.Concat(axis, half, x), axis, 0, shape[axis])
		case 13:
			if len(shape) >= 2 {
				y = b.MatMul(b.Softmax(1, b.MatMul(x, x, false, true)), x, false, false)
			} else {
				y = b.Add(x, b.Map(Tanh, x), x)
			}
		case 14:
			y = library(gorgonia.Tanh(x))
		case 15:
			y = library(gorgonia.Reshape(x, tensor.Shape{shape.TotalSize()}))
		case 16:
			y = library(gorgonia.Concat(0, x))
		case 17:
			y = library(gorgonia.HadamardProd(x, library(gorgonia.Sigmoid(x))))
		}
		pool = append(pool, y)
	}
	outs := []*Node{pick(), pick(), pool[len(pool)-1]}
	if rng.IntN(2) == 0 {
		outs = append(outs, outs[0])
	}
	last := pool[len(pool)-1]
	for _, g := range b.Gradient([]*Node{last}, []*Node{s.input("cotangent", last.Shape(), false)}, s.x) {
		if g != nil {
			outs = append(outs, g)
		}
	}
	return outs
}

// bits runs a program twice and returns the bits of its outputs.
func bits(t *testing.T, p *Program[float64], values map[string][]float64) [][]uint64 {
	t.Helper()
	var res [][]uint64
	for i, name := range p.Inputs() {
		require.NoError(t, p.BindAt(i, slices.Clone(values[name])))
	}
	for round := range 2 {
		require.NoError(t, p.Run())
		for i := range p.outs {
			var out []uint64
			for _, v := range p.Output(i) {
				require.False(t, math.IsNaN(v))
				out = append(out, math.Float64bits(v))
			}
			if round == 0 {
				res = append(res, out)
			} else {
				require.Equal(t, res[i], out, "output %d differs in the second run", i)
			}
		}
	}
	for i, v := range p.inputs {
		require.Equal(t, values[p.Inputs()[i]], p.vals[v], "an input was written")
	}
	return res
}

func TestSharingBuffersChangesNoBit(t *testing.T) {
	nonStable(t)
	graphs, ops, shared, alone := 0, 0, 0, 0
	for seed := range uint64(500) {
		mixed := seed%4 == 3
		s := newBench[float64]([][]int{{3, 4}, {2, 3, 4}, {12}, {3, 4}}, false)
		s.rng = rand.New(rand.NewPCG(seed, 7))
		outs := wander(s, 3+int(seed%40), mixed)
		require.NoError(t, s.b.Err(), "graph %d", seed)
		planned, err := Compile[float64](outs...)
		require.NoError(t, err)
		plain, err := compile[float64](outs, false)
		require.NoError(t, err)
		require.Equal(t, bits(t, plain, s.values), bits(t, planned, s.values), "graph %d", seed)
		graphs, ops, shared, alone = graphs+1, ops+len(planned.steps), shared+len(planned.arena), alone+len(plain.arena)
	}
	t.Logf("%d graphs, %d ops: arenas of %d elements, without sharing %d", graphs, ops, shared, alone)
	require.Less(t, shared, alone/2)
}

// block is a transformer block with modulation, its loss and the gradient to everything.
func block[T Float](batch, tokens, width int) (*Builder, []*Node) {
	b := NewBuilder[T]()
	x := b.Input("x", batch, tokens, width)
	c := b.Input("c", batch, width)
	weight := func(name string, shape ...int) *Node { return b.Input(name, shape...) }
	mod := b.Linear(b.Map(SiLU, c), weight("mod", width, 6*width), weight("modb", 6*width))
	m := make([]*Node, 6)
	for i := range m {
		m[i] = b.Slice(mod, 1, i*width, (i+1)*width)
	}
	h := b.Modulate(b.LayerNorm(1e-6, x), m[0], m[1])
	h = b.Linear(b.Attention(b.Linear(h, weight("qkv", width, 3*width), nil), 4), weight("proj", width, width), weight("projb", width))
	y := b.GatedAdd(x, h, m[2])
	h = b.Modulate(b.LayerNorm(1e-6, y), m[3], m[4])
	h = b.Linear(b.Map(GELU, b.Linear(h, weight("up", width, 4*width), weight("upb", 4*width))), weight("down", 4*width, width), nil)
	y = b.GatedAdd(y, h, m[5])
	loss := b.MeanSquare(y, b.Input("target", batch, tokens, width))
	wrt := []*Node{}
	for _, name := range []string{"x", "c", "mod", "modb", "qkv", "proj", "projb", "up", "upb", "down"} {
		wrt = append(wrt, b.Named(name))
	}
	return b, append([]*Node{loss}, b.Gradient([]*Node{loss}, []*Node{b.Input("ones", batch)}, wrt)...)
}

func perceptron[T Float](depth, batch, width int) (*Builder, []*Node) {
	b := NewBuilder[T]()
	h := b.Input("x", batch, width)
	wrt := []*Node{h}
	for i := range depth {
		w := b.Input(fmt.Sprint("w", i), width, width)
		wrt = append(wrt, w)
		h = b.Map(SiLU, b.Linear(h, w, nil))
	}
	return b, append([]*Node{h}, b.Gradient([]*Node{h}, []*Node{b.Input("u", batch, width)}, wrt)...)
}

func bindRandom[T Float](t *testing.T, p *Program[T]) {
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range p.Inputs() {
		data := make([]T, p.values[p.inputs[i]].size)
		for j := range data {
			data[j] = T(rng.NormFloat64()) / 8
		}
		require.NoError(t, p.BindAt(i, data))
	}
}

func TestRunsDoNotAllocate(t *testing.T) {
	b, outs := block[float32](2, 5, 16)
	require.NoError(t, b.Err())
	p, err := Compile[float32](outs...)
	require.NoError(t, err)
	bindRandom(t, p)
	require.NoError(t, p.Run())
	require.Zero(t, testing.AllocsPerRun(20, func() {
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
	}))
	require.Zero(t, p.Stats().Library)
	require.Positive(t, p.Stats().FLOPs)
}

// doubled is an op of a test: 2x by whatever compute does before.
type doubled struct{ before func() }

func (doubled) String() string                  { return "doubled" }
func (doubled) Shape(in []Shape) (Shape, error) { return in[0].Clone(), nil }
func (o doubled) Bind([]Shape) Kernel {
	return Kernel{F64: func(dst []float64, src [][]float64, _ []float64) {
		o.before()
		for i, v := range src[0] {
			dst[i] = 2 * v
		}
	}, F32: func([]float32, [][]float32, []float32) {}}
}
func (doubled) VJP(b *Builder, _ []bool, _ []*Node, _, ct *Node) []*Node {
	return []*Node{b.Scale(2, ct)}
}
func (doubled) JVP(b *Builder, _ []*Node, _ *Node, d []*Node) *Node { return b.Scale(2, d[0]) }

func TestPanicOfAnOpIsAnErrorAndTheProgramGoesOn(t *testing.T) {
	fail := true
	b := NewBuilder[float64]()
	y := b.Map(Square, b.Apply(doubled{func() {
		if fail {
			panic("no luck")
		}
	}}, b.Input("x", 3)))
	p, err := Compile[float64](y)
	require.NoError(t, err)
	require.NoError(t, p.Bind("x", []float64{1, 2, 3}))
	err = p.Run()
	require.ErrorContains(t, err, "doubled")
	require.ErrorContains(t, err, "no luck")
	fail = false
	require.NoError(t, p.Run())
	require.Equal(t, []float64{4, 16, 36}, p.Output(0))
}

func TestUseByTwoGoroutinesIsAnError(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	b := NewBuilder[float64]()
	p, err := Compile[float64](b.Apply(doubled{func() { inside <- struct{}{}; <-leave }}, b.Input("x", 1)))
	require.NoError(t, err)
	require.NoError(t, p.Bind("x", []float64{1}))
	first := make(chan error)
	go func() { first <- p.Run() }()
	<-inside
	require.ErrorIs(t, p.Run(), ErrBusy)
	close(leave)
	require.NoError(t, <-first)
	require.Equal(t, []float64{2}, p.Output(0))
}

func TestBindingErrorsNameWhatIsWrong(t *testing.T) {
	b := NewBuilder[float64]()
	y := b.Add(b.Input("left", 2, 3), b.Input("right", 2, 3))
	p, err := Compile[float64](y)
	require.NoError(t, err)
	require.Equal(t, []string{"left", "right"}, p.Inputs())
	require.ErrorContains(t, p.Bind("middle", nil), `no input "middle"; there are ["left" "right"]`)
	require.ErrorContains(t, p.Bind("left", make([]float64, 5)), `"left" of shape (2, 3) needs 6 elements, got 5`)
	require.ErrorContains(t, p.BindAt(2, make([]float64, 6)), "no input 2")
	require.ErrorContains(t, p.BindAt(-1, make([]float64, 6)), "no input -1")
	require.ErrorContains(t, p.BindOutput(1, make([]float64, 6)), "no output 1")
	require.ErrorContains(t, p.BindOutput(0, make([]float64, 7)), "has 6 elements, got 7")
	require.NoError(t, p.Bind("left", make([]float64, 6)))
	require.ErrorContains(t, p.Run(), `no value for input "right"`)
	require.NoError(t, p.Bind("right", []float64{1, 2, 3, 4, 5, 6}))
	require.NoError(t, p.Run(), "after an error the program still works")
	require.Equal(t, []float64{1, 2, 3, 4, 5, 6}, p.Output(0))
}

func TestCompileErrorsNameWhatIsWrong(t *testing.T) {
	_, err := Compile[float64]()
	require.ErrorContains(t, err, "at least one output")
	b := NewBuilder[float32]()
	x := b.Input("x", 2)
	_, err = Compile[float32](x, nil)
	require.ErrorContains(t, err, "output 1 is nil")
	_, err = Compile[float64](x)
	require.ErrorContains(t, err, "output 0 is float32; this program computes float64")
	var v gorgonia.Value
	_, err = Compile[float32](gorgonia.Read(x, &v))
	require.ErrorContains(t, err, "the node it reads")

	g := gorgonia.NewGraph()
	first := gorgonia.NewVector(g, tensor.Float64, gorgonia.WithShape(1), gorgonia.WithName("same"))
	second := gorgonia.NewVector(g, tensor.Float64, gorgonia.WithShape(2), gorgonia.WithName("same"))
	both, err := gorgonia.Concat(0, first, second)
	require.NoError(t, err)
	_, err = Compile[float64](both)
	require.ErrorContains(t, err, `two inputs are named "same"`)
}

func TestOutputsOfEveryKind(t *testing.T) {
	b := NewBuilder[float64]()
	x := b.Input("x", 2, 3)
	view := b.Reshape(x, 3, 2)
	inner := b.Map(Square, view)
	again := b.Reshape(inner, 6)
	y := b.Map(Tanh, again)
	p, err := Compile[float64](x, view, inner, again, y, inner, y)
	require.NoError(t, err)
	data := []float64{1, 2, 3, 4, 5, 6}
	require.NoError(t, p.Bind("x", data))
	own := make([]float64, 6)
	require.NoError(t, p.BindOutput(4, own))
	for range 2 {
		require.NoError(t, p.Run())
		square := []float64{1, 4, 9, 16, 25, 36}
		for i, want := range [][]float64{data, data, square, square, nil, square, nil} {
			if want != nil {
				require.Equal(t, want, p.Output(i), "output %d", i)
			}
		}
		require.Equal(t, own, p.Output(4), "bound outputs are written where the caller reads")
		require.Equal(t, own, p.Output(6), "the second of two equal outputs is a copy")
		require.Equal(t, math.Tanh(4), own[1])
	}
	for i := range 7 {
		for j := range i {
			require.NotSame(t, &p.Output(i)[0], &p.Output(j)[0], "outputs %d and %d share storage", i, j)
		}
		require.NotSame(t, &p.Output(i)[0], &data[0], "output %d is the input", i)
	}
}

// On a program that never ran, outputs that are not among the first may be inner values of them, or be computed on the way.
func TestRunToOnAFreshProgram(t *testing.T) {
	for name, build := range map[string]func(b *Builder, x *Node) []*Node{
		"a later output is an inner value": func(b *Builder, x *Node) []*Node {
			h := b.Map(Exp, x)
			return []*Node{b.Map(Tanh, h), h}
		},
		"a later output is cheap": func(b *Builder, x *Node) []*Node {
			h := b.Map(Exp, x)
			return []*Node{b.Map(Tanh, b.Map(Tanh, h)), b.Map(Sin, h)}
		},
		"a later output is asked for twice": func(b *Builder, x *Node) []*Node {
			h := b.Map(Exp, x)
			return []*Node{b.Map(Tanh, h), h, h, x}
		},
	} {
		b := NewBuilder[float64]()
		outs := build(b, b.Input("x", 3))
		require.NoError(t, b.Err())
		whole, err := Compile[float64](outs...)
		require.NoError(t, err)
		parts, err := Compile[float64](outs...)
		require.NoError(t, err)
		for _, p := range []*Program[float64]{whole, parts} {
			require.NoError(t, p.Bind("x", []float64{0.1, -0.2, 0.3}))
		}
		require.NoError(t, whole.Run())
		require.NoError(t, parts.RunTo(1), name)
		require.Equal(t, whole.Output(0), parts.Output(0), name)
		require.NoError(t, parts.RunFrom(1), name)
		for i := range outs {
			require.Equal(t, whole.Output(i), parts.Output(i), "%s: output %d", name, i)
		}
	}
}

func TestRunToStopsWhereTheFirstOutputsAreKnown(t *testing.T) {
	b := NewBuilder[float64]()
	x := b.Input("x", 3)
	y := b.Map(Sin, x)
	g := b.Gradient([]*Node{y}, []*Node{b.Input("u", 3)}, []*Node{x})[0]
	p, err := Compile[float64](y, g)
	require.NoError(t, err)
	u := make([]float64, 3)
	require.NoError(t, p.Bind("x", []float64{0.1, 0.2, 0.3}))
	require.NoError(t, p.Bind("u", u))
	require.NoError(t, p.RunTo(1))
	copy(u, p.Output(0)) // the cotangent of ½|y|² is y
	require.NoError(t, p.RunFrom(1))
	for i, v := range []float64{0.1, 0.2, 0.3} {
		require.InDelta(t, math.Sin(v)*math.Cos(v), p.Output(1)[i], 1e-15)
	}
}

func TestOutputsThatAreNotThereAreErrors(t *testing.T) {
	b := NewBuilder[float64]()
	p, err := Compile[float64](b.Scale(2, b.Input("x", 2)))
	require.NoError(t, err)
	require.NoError(t, p.Bind("x", []float64{1, 2}))
	for _, n := range []int{-1, 2} {
		require.ErrorContains(t, p.RunTo(n), "there are 1")
		require.ErrorContains(t, p.RunFrom(n), "there are 1")
	}
	require.NoError(t, p.RunTo(0))
	require.NoError(t, p.RunFrom(0))
	require.Equal(t, []float64{2, 4}, p.Output(0))
	require.NoError(t, p.RunTo(1))
	require.Nil(t, p.Output(-1))
	require.Nil(t, p.Output(1))
}

// overwriter says that dst may be its first source, although it reads the second one afterwards.
type overwriter struct{ doubled }

func (overwriter) Shape(in []Shape) (Shape, error) { return in[0].Clone(), nil }
func (overwriter) Bind([]Shape) Kernel {
	return Kernel{InPlace: []int{0}, F64: func(dst []float64, src [][]float64, _ []float64) {
		for i, v := range src[0] {
			dst[i] = 2 * v
		}
		for i := range dst {
			dst[i] += src[1][len(dst)-1-i]
		}
	}}
}

func TestInPlaceSparesWhatIsReadTwice(t *testing.T) {
	b := NewBuilder[float64]()
	x := b.Map(Square, b.Input("x", 4))
	y := b.Map(Square, b.Apply(overwriter{}, x, b.Reshape(x, 4)))
	p, err := Compile[float64](y)
	require.NoError(t, err)
	require.NoError(t, p.Bind("x", []float64{1, 2, 3, 4}))
	require.NoError(t, p.Run())
	require.Equal(t, []float64{18 * 18, 17 * 17, 22 * 22, 33 * 33}, p.Output(0))
}

func TestEqualHashesMergeNothing(t *testing.T) {
	// Gorgonia knows nodes by a 32-bit hash of op and inputs. Forced: the id, which is what makes hashes differ, begins anew.
	b := NewBuilder[float64]()
	x := b.Input("x", 2)
	first := b.Scale(2, x)
	b.ids = 0
	second := b.Scale(2, x)
	require.NotSame(t, first, second)
	require.Equal(t, []*Node{x}, args(second))

	// And by chance: two input names of equal FNV hash, found by trying.
	hash := func(name string) uint32 {
		h := uint32(2166136261)
		for _, c := range []byte("Vector float64(2)" + name + "\x00") {
			h = (h ^ uint32(c)) * 16777619
		}
		return h
	}
	require.Equal(t, x.Hashcode(), hash("x"), "Gorgonia hashes as assumed")
	seen := map[uint32]string{}
	var left, right string
	for i := uint64(0); left == ""; i++ {
		name := fmt.Sprintf("weight %x", i*0x9e3779b97f4a7c15)
		if other, ok := seen[hash(name)]; ok {
			left, right = other, name
		}
		seen[hash(name)] = name
	}
	l, r := b.Input(left, 2), b.Input(right, 2)
	require.Equal(t, l.Hashcode(), r.Hashcode())
	require.NotSame(t, l, r)
	difference := b.Sub(b.Map(Square, l), b.Map(Square, r))
	require.NoError(t, b.Err())
	p, err := Compile[float64](difference)
	require.NoError(t, err)
	require.NoError(t, p.Bind(left, []float64{3, 4}))
	require.NoError(t, p.Bind(right, []float64{1, 2}))
	require.NoError(t, p.Run())
	require.Equal(t, []float64{8, 12}, p.Output(0))
}

func TestManyGoroutinesBuildAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	results := make([][]float32, 8)
	problems := make([]error, len(results))
	for k := range results {
		wg.Go(func() {
			b, outs := block[float32](2, 3, 8)
			p, err := Compile[float32](outs...)
			if problems[k] = errors.Join(b.Err(), err); problems[k] != nil {
				return
			}
			bindRandom(t, p)
			problems[k] = p.Run()
			results[k] = slices.Clone(p.Output(1))
		})
	}
	wg.Wait()
	for k := range results {
		require.NoError(t, problems[k])
		require.Equal(t, results[0], results[k])
	}
}

func TestOneGraphServesManyPrograms(t *testing.T) {
	b, outs := perceptron[float64](3, 4, 5)
	require.NoError(t, b.Err())
	var wg sync.WaitGroup
	results := make([][]float64, 6)
	problems := make([]error, len(results))
	for k := range results {
		wg.Go(func() {
			p, err := Compile[float64](slices.Concat(outs, []*Node{b.Named("x")})...)
			if problems[k] = err; err != nil {
				return
			}
			bindRandom(t, p)
			for range 20 {
				problems[k] = errors.Join(problems[k], p.Run())
			}
			results[k] = slices.Clone(p.Output(2))
		})
	}
	wg.Wait()
	for k := range results {
		require.NoError(t, problems[k])
		require.Equal(t, results[0], results[k])
	}
}

// FuzzProgramInputs builds graphs of any ops with any attributes from bytes, binds slices of any length and runs: the
// worst that may come of it is an error.
func FuzzProgramInputs(f *testing.F) {
	f.Add([]byte{2, 3, 4, 0, 1, 2, 3})
	f.Add([]byte{1, 0, 5, 200, 9, 9, 9, 9, 9})
	f.Add([]byte{4, 1, 1, 1, 1, 13, 0, 14, 1, 15, 2, 16, 3, 17, 4})
	f.Add([]byte{3, 2, 2, 6, 18, 1, 19, 2, 20, 0, 21, 1, 22, 5})
	f.Fuzz(func(t *testing.T, data []byte) {
		next := func() int {
			if len(data) == 0 {
				return 0
			}
			v := int(int8(data[0]))
			data = data[1:]
			return v
		}
		small := func() int { return (next()%7+7)%7 - 1 } // −1 to 5
		b := NewBuilder[float64]()
		shape := make([]int, next()&3)
		for i := range shape {
			shape[i] = small()
		}
		pool := []*Node{b.Input("x", shape...), b.Input("y", 2, 3), nil}
		pick := func() *Node { return pool[(next()&0xff)%len(pool)] }
		for len(data) > 0 && len(pool) < 40 {
			x, y, z := pick(), pick(), pick()
			var n *Node
			switch next() & 0xff % 25 {
			case 0:
				n = b.Map(Func(small()), x)
			case 1:
				n = b.Add(x, y, z)
			case 2:
				n = b.Mul(x, y)
			case 3:
				n = b.Div(x, y)
			case 4:
				n = b.Reshape(x, small(), small())
			case 5:
				n = b.Permute(x, small(), small(), small())
			case 6:
				n = b.Slice(x, small(), small(), small())
			case 7:
				n = b.Pad(x, small(), small(), small())
			case 8:
				n = b.Concat(small(), x, y)
			case 9:
				n = b.Sum(x, small())
			case 10:
				n = b.Mean(x, small())
			case 11:
				n = b.Expand(x, small(), small())
			case 12:
				n = b.Softmax(float64(small()), x)
			case 13:
				n = b.LogSumExp(x)
			case 14:
				n = b.LayerNorm(float64(small()), x)
			case 15:
				n = b.MatMul(x, y, next()&1 == 0, next()&1 == 0)
			case 16:
				n = b.Linear(x, y, z)
			case 17:
				n = b.Attention(x, small())
			case 18:
				n = b.Modulate(x, y, z)
			case 19:
				n = b.GatedAdd(x, y, z)
			case 20:
				n = b.Sinusoid(x, make([]float64, max(0, small())))
			case 21:
				n = b.Patchify(x, small())
			case 22:
				n = b.Unpatchify(x, small(), small(), small(), small())
			case 23:
				n = b.CrossEntropy(x, y)
			case 24:
				n = b.MeanSquare(x, y)
			}
			pool = append(pool, n)
			if b.Err() != nil {
				b = NewBuilder[float64]()
				pool = []*Node{b.Input("x", 2, 3), b.Input("y", 3), b.Input("z", 3)}
			}
		}
		outs := []*Node{pick(), pool[len(pool)-1]}
		if last := outs[1]; last != nil {
			outs = append(outs, b.Gradient([]*Node{last}, []*Node{last}, pool[:1])[0], b.Tangent([]*Node{last}, pool[:1], pool[:1])[0])
		}
		outs = slices.DeleteFunc(outs, func(n *Node) bool { return n == nil })
		p, err := Compile[float64](outs...)
		if err != nil {
			return
		}
		for _, name := range p.Inputs() {
			n := p.values[p.inputs[p.names[name]]].size
			if next()&7 == 1 {
				n += small()
			}
			_ = p.Bind(name, make([]float64, max(0, n)))
		}
		if err := p.Run(); err == nil {
			for i := range outs {
				require.Len(t, p.Output(i), outs[i].Shape().TotalSize())
			}
		}
	})
}
