package models

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/graph"
)

// A weightList is written beside the network that reads them, in the order in which the network does.
type weightList []graph.Weight

// linear adds name.weight (in, out) and name.bias (out), which starts from zero.
func (l *weightList) linear(name string, in, out int, std float64) {
	*l = append(*l, graph.Weight{Name: name + ".weight", Shape: []int{in, out}, Std: std}, graph.Weight{Name: name + ".bias", Shape: []int{out}})
}

// fanIn keeps the variance of what a linear layer of so many inputs is given.
func fanIn(in int) float64 { return 1 / math.Sqrt(float64(in)) }

// glorot keeps the variance of values and of gradients halfway (Glorot, Bengio 2010).
func glorot(in, out int) float64 { return math.Sqrt(2 / float64(in+out)) }

// linear applies name.weight and name.bias to the last axis of x.
func linear(b *graph.Builder, in *graph.Inputs, name string, x *graph.Node) *graph.Node {
	return b.Linear(x, in.Weight(name+".weight"), in.Weight(name+".bias"))
}

// layer is the name of the i-th of a row of layers.
func layer(i int) string { return fmt.Sprintf("layers.%d", i) }

// parts cuts the last axis of x (batch, n·width) into n parts.
func parts(b *graph.Builder, x *graph.Node, n int) []*graph.Node {
	width := x.Shape()[x.Dims()-1] / n
	list := make([]*graph.Node, n)
	for i := range list {
		list[i] = b.Slice(x, x.Dims()-1, i*width, (i+1)*width)
	}
	return list
}

// frequencies are geometric, from top down by a factor of almost 10⁴: half as many as there are features, since each has
// a cosine and a sine.
func frequencies(features int, top float64) []float64 {
	f := make([]float64, features/2)
	for j := range f {
		f[j] = top * math.Pow(1e4, -float64(j)/float64(len(f)))
	}
	return f
}
