package models

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// The DiT of 28×28 images (1.9 million weights) at batch 64, float32.
func BenchmarkDiT28(b *testing.B) {
	const batch = 64
	m, err := NewDiT(digits28)
	require.NoError(b, err)
	w := graph.ConvertWeights[float32](perturbed(b, m))
	c, err := graph.NewCell(m, w)
	require.NoError(b, err)
	defer c.Close()
	f, err := graph.NewField(c, normal[float32](batch*128, 1))
	require.NoError(b, err)
	x, y := normal[float32](batch*784, 2), make([]float32, batch*784)
	call := ode.Call[float32]{Batch: batch, T: normal[float32](batch, 3)}
	all := ode.Tangent[float32]{X: make([]float32, len(x)), Params: map[string][]float32{}}
	for _, p := range f.Parameters(batch) {
		all.Params[p.Name] = make([]float32, p.Len())
	}
	run := func(name string, do func() error) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			require.NoError(b, do())
			for b.Loop() {
				require.NoError(b, do())
			}
		})
	}
	run("forward", func() error { return f.Eval(y, x, call) })
	run("vjp to x", func() error { return f.VJP(&ode.Tangent[float32]{X: all.X}, x, x, call) })
	run("vjp to x and weights", func() error { return f.VJP(&all, x, x, call) })
}
