package graph

import (
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/internal/rng"
)

// trap is an op that stops where it meets a certain number, once it is set.
type trap struct {
	set  *bool
	stop func()
}

const trapped = 13

func (trap) String() string                  { return "trap" }
func (trap) Shape(in []Shape) (Shape, error) { return in[0].Clone(), nil }
func (o trap) Bind([]Shape) Kernel {
	return Kernel{F32: func([]float32, [][]float32, []float32) {}, F64: func(dst []float64, src [][]float64, _ []float64) {
		copy(dst, src[0])
		if *o.set {
			time.Sleep(100 * time.Microsecond) // every worker gets shards
		}
		if src[0][0] == trapped {
			time.Sleep(time.Millisecond) // the others come to wait
			o.stop()
		}
	}}
}
func (trap) VJP(_ *Builder, _ []bool, _ []*Node, _, ct *Node) []*Node { return []*Node{ct} }
func (trap) JVP(_ *Builder, _ []*Node, _ *Node, d []*Node) *Node      { return d[0] }

// trapShard asks for the gradient to a weight by eight shards, one of which stop keeps from adding its own; that is added by the op
// itself, or, with the weight used twice, after the program. What is there then must be the sum over some shards before that
// one, in their order, and nobody may wait for it.
func trapShard(t *testing.T, workers, bad int, twice bool, stop func()) error {
	t.Helper()
	const n, shards = 4, 8
	spec := Spec{Inputs: []Port{{Name: "x", Shape: []int{n}}}, Outputs: []Port{{Name: "y", Shape: []int{n}}}, Shard: 1,
		Weights: []Weight{{Name: "w", Shape: []int{n, n}, Std: 1}}}
	set := false
	m := ModelFunc{spec, func(b *Builder, in *Inputs) []*Node {
		h := b.Linear(b.Apply(trap{&set, stop}, in.Input("x")), in.Weight("w"), nil)
		if twice {
			h = b.Linear(h, in.Weight("w"), nil)
		}
		return []*Node{b.Map(SiLU, h)}
	}}
	w, err := NewWeights[float64](spec.Weights, 1)
	require.NoError(t, err)
	c, err := NewCell(m, w, Workers(workers))
	require.NoError(t, err)
	x := make([]float64, shards*n)
	rng.Normal(x, 1, 0, 0)
	gradient := func(x []float64) (g []float64, err error) {
		g = make([]float64, n*n)
		over := make(chan struct{})
		go func() {
			defer close(over) // also when the op ends this goroutine
			v := &Values[float64]{Inputs: [][]float64{x}}
			err = c.VJP(len(x)/n, v, &Values[float64]{Outputs: [][]float64{x}, Weights: map[string][]float64{"w": g}})
		}()
		select {
		case <-over:
		case <-time.After(10 * time.Second): // it takes some milliseconds
			t.Fatalf("%d workers, shard %d: the others wait for ever", workers, bad)
		}
		return g, err
	}
	sums := [][]float64{make([]float64, n*n)}
	for k := 1; k <= bad; k++ {
		g, err := gradient(x[:k*n])
		require.NoError(t, err)
		sums = append(sums, g)
	}
	x[bad*n], set = trapped, true
	g, err := gradient(x)
	require.True(t, slices.ContainsFunc(sums, func(s []float64) bool { return slices.Equal(s, g) }), "%d workers, shard %d", workers, bad)
	c.Close()
	return err
}

// Shards add their gradients in turn. One that fails does not keep the others waiting, and its error is the one told.
func TestAFailedShardKeepsNobodyWaiting(t *testing.T) {
	for _, workers := range []int{1, 2, 4} {
		for bad := range 8 {
			for _, twice := range []bool{false, true} {
				require.ErrorContains(t, trapShard(t, workers, bad, twice, func() { panic("no luck") }), "no luck")
			}
		}
	}
}

// Nor does one whose op ends the goroutine. If that was the caller's, there is nobody to have an error.
func TestAShardThatEndsItsGoroutineKeepsNobodyWaiting(t *testing.T) {
	for _, workers := range []int{1, 2, 4} {
		for bad := range 8 {
			for _, twice := range []bool{false, true} {
				if err := trapShard(t, workers, bad, twice, runtime.Goexit); err != nil {
					require.ErrorContains(t, err, "ended its goroutine")
				}
			}
		}
	}
}
