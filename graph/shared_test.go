package graph_test

import (
	"maps"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
)

// joined are networks in whose derivatives one node is the gradient to several weights, or is read on the way to another: y from
// x, both of four elements, and square weights u, v, w, low-rank ones a and b, biases p and q, and a flat one f.
var joined = map[string]func(b *graph.Builder, x *graph.Node, w func(name string) *graph.Node) *graph.Node{
	"a sum of two weights": func(b *graph.Builder, x *graph.Node, w func(string) *graph.Node) *graph.Node {
		return b.Linear(x, b.Add(w("w"), w("v")), nil)
	},
	"a weighted sum of three": func(b *graph.Builder, x *graph.Node, w func(string) *graph.Node) *graph.Node {
		return b.Linear(x, b.Combine([]float64{1, -0.5, 1}, w("w"), w("v"), w("u")), nil)
	},
	"a low-rank adapter": func(b *graph.Builder, x *graph.Node, w func(string) *graph.Node) *graph.Node {
		return b.Linear(x, b.Add(w("w"), b.MatMul(w("a"), w("b"), false, false)), nil)
	},
	"a scaled low-rank adapter": func(b *graph.Builder, x *graph.Node, w func(string) *graph.Node) *graph.Node {
		return b.Linear(x, b.Combine([]float64{1, 0.5}, w("w"), b.MatMul(w("a"), w("b"), false, false)), nil)
	},
	"a weight used twice": func(b *graph.Builder, x *graph.Node, w func(string) *graph.Node) *graph.Node {
		return b.Linear(b.Map(graph.Tanh, b.Linear(x, w("w"), nil)), w("w"), nil)
	},
	"a weight and its transpose": func(b *graph.Builder, x *graph.Node, w func(string) *graph.Node) *graph.Node {
		return b.MatMul(b.Map(graph.Tanh, b.Linear(x, w("w"), nil)), w("w"), false, true)
	},
	"a weight and another's transpose": func(b *graph.Builder, x *graph.Node, w func(string) *graph.Node) *graph.Node {
		return b.Linear(x, b.Add(w("w"), b.Permute(w("v"), 1, 0)), nil)
	},
	"a weight and another's view": func(b *graph.Builder, x *graph.Node, w func(string) *graph.Node) *graph.Node {
		return b.Linear(x, b.Add(w("w"), b.Reshape(w("f"), 4, 4)), nil)
	},
	"one weight seen and seen again": func(b *graph.Builder, x *graph.Node, w func(string) *graph.Node) *graph.Node {
		return b.Linear(x, b.Mul(w("w"), b.Reshape(b.Add(w("f"), w("f")), 4, 4)), nil)
	},
	"a sum of two biases": func(b *graph.Builder, x *graph.Node, w func(string) *graph.Node) *graph.Node {
		return b.Map(graph.SiLU, b.Linear(x, w("w"), b.Add(w("p"), w("q"))))
	},
	"a bias used twice": func(b *graph.Builder, x *graph.Node, w func(string) *graph.Node) *graph.Node {
		return b.Linear(b.Map(graph.Tanh, b.Linear(x, w("w"), w("p"))), w("v"), w("p"))
	},
}

func joinedModel(name string) graph.Model {
	const n = 4
	spec := graph.Spec{Inputs: []graph.Port{{Name: "x", Shape: []int{n}}}, Outputs: []graph.Port{{Name: "y", Shape: []int{n}}}, Shard: 2}
	for _, w := range []graph.Weight{{Name: "a", Shape: []int{n, 1}}, {Name: "b", Shape: []int{1, n}}, {Name: "f", Shape: []int{n * n}},
		{Name: "p", Shape: []int{n}}, {Name: "q", Shape: []int{n}}, {Name: "u", Shape: []int{n, n}}, {Name: "v", Shape: []int{n, n}}, {Name: "w", Shape: []int{n, n}}} {
		w.Std = 0.6
		spec.Weights = append(spec.Weights, w)
	}
	return graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		return []*graph.Node{joined[name](b, in.Input("x"), in.Weight)}
	}}
}

// The gradients to weights that share nodes, asked for together, are those to each alone, summed over single samples, and those by
// differences; whatever the batch, with whole shards and a rest, at one worker and two, call after call.
func TestGradientsOfWeightsThatShareNodes(t *testing.T) {
	const n, most = 4, 7
	x, ct := normal[float64](n*most, 2), normal[float64](n*most, 3)
	for _, name := range slices.Sorted(maps.Keys(joined)) {
		t.Run(name, func(t *testing.T) {
			m := joinedModel(name)
			w, err := graph.NewWeights[float64](m.Spec().Weights, 1)
			require.NoError(t, err)
			zeros := func() map[string][]float64 {
				g := map[string][]float64{}
				for _, q := range w.List() {
					g[q.Name] = make([]float64, q.Len())
				}
				return g
			}
			for _, workers := range []int{1, 2} {
				c, err := graph.NewCell(m, w, graph.Workers(workers))
				require.NoError(t, err)
				defer c.Close()
				add := func(g map[string][]float64, from, to int) {
					v := &graph.Values[float64]{Inputs: [][]float64{x[from*n : to*n]}}
					d := &graph.Values[float64]{Outputs: [][]float64{ct[from*n : to*n]}, Weights: g}
					require.NoError(t, c.VJP(to-from, v, d))
				}
				sum := zeros()
				for batch := 1; batch <= most; batch++ {
					for name, g := range sum {
						add(map[string][]float64{name: g}, batch-1, batch)
					}
					together := zeros()
					for call := 1; call <= 3; call++ {
						add(together, 0, batch)
						for name, want := range sum {
							for i, g := range together[name] {
								require.InDelta(t, float64(call)*want[i], g, 1e-12, "%s[%d], %d samples, %d workers, call %d", name, i, batch, workers, call)
							}
						}
					}
				}
				value := func() (s float64) {
					y := make([]float64, n*most)
					require.NoError(t, c.Eval(most, &graph.Values[float64]{Inputs: [][]float64{x}, Outputs: [][]float64{y}}))
					return dot(y, ct)
				}
				for name, g := range sum {
					for i := 0; i < len(g); i += 3 {
						const h = 1e-3
						at := func(d float64) float64 {
							moved := slices.Clone(w.Data(name))
							moved[i] += d
							old := slices.Clone(w.Data(name))
							require.NoError(t, w.Set(name, moved))
							s := value()
							require.NoError(t, w.Set(name, old))
							return s
						}
						// Fourth order: the steps err by h⁴ = 1e-12, values near 10 round by 1e-15/h.
						fd := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
						require.InDelta(t, fd, g[i], 1e-9*(1+math.Abs(fd)), "%s[%d]", name, i)
					}
				}
			}
		})
	}
}

// A gradient that nothing else reads is added where the caller has it, and takes no memory of the Cell's.
func TestGradientsThatNothingReadsHaveNoBuffer(t *testing.T) {
	const n = 64
	spec := graph.Spec{Inputs: []graph.Port{{Name: "x", Shape: []int{n}}}, Outputs: []graph.Port{{Name: "y", Shape: []int{n}}}, Shard: 2,
		Weights: []graph.Weight{{Name: "w", Shape: []int{n, n}, Std: 1}, {Name: "v", Shape: []int{n, n}, Std: 1}}}
	taken := func(both bool) int64 {
		m := graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
			w := in.Weight("w")
			if both {
				w = b.Add(w, in.Weight("v"))
			}
			return []*graph.Node{b.Linear(in.Input("x"), w, nil)}
		}}
		w, err := graph.NewWeights[float64](spec.Weights, 1)
		require.NoError(t, err)
		c, err := graph.NewCell(m, w, graph.Workers(1))
		require.NoError(t, err)
		defer c.Close()
		v := &graph.Values[float64]{Inputs: [][]float64{make([]float64, 2*n)}}
		d := &graph.Values[float64]{Outputs: [][]float64{make([]float64, 2*n)}, Weights: map[string][]float64{"w": make([]float64, n*n)}}
		if both {
			d.Weights["v"] = make([]float64, n*n)
		}
		require.NoError(t, c.VJP(2, v, d))
		return c.Bytes()
	}
	require.Less(t, taken(false), int64(8*n*n))
	require.Greater(t, taken(true), int64(2*8*n*n))
}
