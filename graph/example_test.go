package graph_test

import (
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/ebb-go/ebb/graph"
)

// A network of two layers, its loss, and the gradient of the loss to a weight.
func Example() {
	b := graph.NewBuilder[float64]()
	x := b.Input("x", 4, 2) // four samples of two numbers
	h := b.Map(graph.Tanh, b.Linear(x, b.Input("w1", 2, 3), b.Input("b1", 3)))
	y := b.Linear(h, b.Input("w2", 3, 1), nil)
	loss := b.Sum(b.MeanSquare(y, b.Input("target", 4, 1)), 0)
	grad := b.Gradient([]*graph.Node{loss}, []*graph.Node{b.Input("one", 1)}, []*graph.Node{b.Named("w2")})
	if err := b.Err(); err != nil {
		fmt.Println(err)
		return
	}

	p, err := graph.Compile[float64](loss, grad[0])
	if err != nil {
		fmt.Println(err)
		return
	}
	w2 := []float64{0.5, -0.5, 0.25}
	for name, data := range map[string][]float64{
		"x":      {0, 0, 0, 1, 1, 0, 1, 1},
		"target": {0, 1, 1, 0},
		"w1":     {1, -1, 0.5, 1, 1, -0.5},
		"b1":     {0, 0.1, -0.1},
		"w2":     w2,
		"one":    {1},
	} {
		if err := p.Bind(name, data); err != nil {
			fmt.Println(err)
			return
		}
	}
	for step := range 3 {
		if err := p.Run(); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("step %d: loss %.4f\n", step, p.Output(0)[0])
		for i, g := range p.Output(1) {
			w2[i] -= 0.1 * g // the program reads w2 where it is
		}
	}
	// Output:
	// step 0: loss 1.5301
	// step 1: loss 1.1316
	// step 2: loss 0.9845
}

// softsign is x/(1 + |x|), elementwise, as a user would add it.
type softsign struct{}

func (softsign) String() string { return "softsign" }

func (softsign) Shape(in []graph.Shape) (graph.Shape, error) { return in[0].Clone(), nil }

func (softsign) Bind([]graph.Shape) graph.Kernel {
	return graph.Kernel{F32: softsignKernel[float32], F64: softsignKernel[float64], InPlace: []int{0}}
}

func softsignKernel[T graph.Float](dst []T, src [][]T, _ []T) {
	for i, x := range src[0] {
		dst[i] = x / (1 + max(x, -x))
	}
}

// The derivative is (1 − |y|)², and |y| is ReLU(y) + ReLU(−y): by ops that exist, so it can be differentiated again.
func (softsign) slope(b *graph.Builder, y *graph.Node) *graph.Node {
	abs := b.Add(b.Map(graph.ReLU, y), b.Map(graph.ReLU, b.Scale(-1, y)))
	return b.Map(graph.Square, b.Shift(1, b.Scale(-1, abs)))
}

func (o softsign) VJP(b *graph.Builder, _ []bool, _ []*graph.Node, out, cotangent *graph.Node) []*graph.Node {
	return []*graph.Node{b.Mul(cotangent, o.slope(b, out))}
}

func (o softsign) JVP(b *graph.Builder, _ []*graph.Node, out *graph.Node, tangent []*graph.Node) *graph.Node {
	return b.Mul(tangent[0], o.slope(b, out))
}

// An op of one's own: its computation for both element types, and its derivatives as nodes.
func ExampleOp() {
	b := graph.NewBuilder[float64]()
	x := b.Input("x", 3)
	y := b.Apply(softsign{}, x)
	values := map[string][]float64{"x": {-3, 0.5, 1}}
	worst, err := graph.CheckGradient(b, y, nil, values)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("gradient is right:", worst["x"] < 1e-8)

	tangent := b.Tangent([]*graph.Node{y}, []*graph.Node{x}, []*graph.Node{b.Input("direction", 3)})
	p, err := graph.Compile[float64](y, tangent[0])
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = p.Bind("x", values["x"])
	_ = p.Bind("direction", []float64{1, 1, 1})
	if err := p.Run(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%.4f %.4f\n", p.Output(0), p.Output(1))
	// Output:
	// gradient is right: true
	// [-0.7500 0.3333 0.5000] [0.0625 0.4444 0.2500]
}

// A graph that was begun with Gorgonia alone.
func ExampleWrap() {
	g := gorgonia.NewGraph()
	x := gorgonia.NewMatrix(g, gorgonia.Float64, gorgonia.WithShape(2, 2), gorgonia.WithName("x"))
	y := gorgonia.Must(gorgonia.Sum(gorgonia.Must(gorgonia.Cube(x))))

	b := graph.Wrap[float64](g)
	cost := b.Reshape(y, 1)
	grads := b.Gradient([]*graph.Node{cost}, []*graph.Node{b.Input("one", 1)}, []*graph.Node{x})
	p, err := graph.Compile[float64](cost, grads[0])
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = p.Bind("x", []float64{1, 2, 3, 4})
	_ = p.Bind("one", []float64{1})
	if err := p.Run(); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Output(0), p.Output(1))
	// Output: [100] [3 12 27 48]
}

// A mistake is one error, with the line that made it.
func ExampleBuilder_Err() {
	b := graph.NewBuilder[float32]()
	x := b.Input("x", 8, 16)
	h := b.Linear(x, b.Input("w", 32, 64), nil)
	b.Map(graph.SiLU, h)
	fmt.Println(b.Err())
	// Output: graph/example_test.go:149: linear: input (8, 16), weight (32, 64): the last axis of the input is 16, the weight takes 32
}
