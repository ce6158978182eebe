package graph_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
)

// Products read copies of the weights; whoever writes weights finds that the next call has seen it.
func TestCopiesOfWeightsFollowTheirVersion(t *testing.T) {
	m := wide()
	w, err := graph.NewWeights[float64](m.Spec().Weights, 1)
	require.NoError(t, err)
	const batch = 3
	n := m.Spec().Inputs[0].Len()
	x := normal[float64](batch*n, 5)
	ask := func(c *graph.Cell[float64]) (y, dx, da []float64) {
		y, dx, da = make([]float64, batch*n), make([]float64, batch*n), make([]float64, n*n)
		require.NoError(t, c.VJP(batch, &graph.Values[float64]{Inputs: [][]float64{x}, Outputs: [][]float64{y}},
			&graph.Values[float64]{Inputs: [][]float64{dx}, Outputs: [][]float64{x}, Weights: map[string][]float64{"a": da}}))
		return y, dx, da
	}
	used, err := graph.NewCell(m, w)
	require.NoError(t, err)
	defer used.Close()
	first, _, _ := ask(used)
	change := normal[float64](n*n, 6)
	for i, write := range []func() error{
		func() error { return w.Set("b", change) },
		func() error { return w.Update(func(_ string, data []float64) { data[7] += 0.5 }) },
	} {
		require.NoError(t, write())
		fresh, err := graph.NewCell(m, w)
		require.NoError(t, err)
		wantY, wantX, wantA := ask(fresh)
		fresh.Close()
		y, dx, da := ask(used)
		require.NotEqual(t, first, y, "write %d", i)
		require.Equal(t, wantY, y, "write %d", i)
		require.Equal(t, wantX, dx, "write %d", i)
		require.Equal(t, wantA, da, "write %d", i)
		first = y
	}
}
