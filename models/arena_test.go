package models

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// Forward and backward together, the arena of every network is at most a twentieth above what is alive at the worst step.
func TestArenasOfNetworksAreBarelyMoreThanWhatIsAlive(t *testing.T) {
	all := networks(t)
	dit, err := NewDiT(DiTConfig{Channels: 1, Height: 28, Width: 28, Patch: 4, Hidden: 32, Depth: 6, Heads: 4, Condition: 32, Classes: 10,
		Prediction: ode.FlowVelocity, Schedule: ode.Flow{}})
	require.NoError(t, err)
	all["DiT of 28×28 images"] = dit
	all["ConvNet"], err = NewConvNet(ConvNetConfig{Channels: 1, Height: 28, Width: 28, Stages: []int{8, 16}, Features: 32, Norm: true, Classes: 10})
	require.NoError(t, err)
	for name, m := range all {
		s := m.Spec()
		w, err := graph.NewWeights[float32](s.Weights, 1)
		require.NoError(t, err)
		c, err := graph.NewCell(m, w, graph.Workers(1))
		require.NoError(t, err)
		batch := c.Spec().Shard + 1
		v, d := &graph.Values[float32]{}, &graph.Values[float32]{Weights: map[string][]float32{}}
		for _, p := range s.Inputs {
			v.Inputs, d.Inputs = append(v.Inputs, make([]float32, batch*p.Len())), append(d.Inputs, make([]float32, batch*p.Len()))
		}
		for _, p := range s.Outputs {
			v.Outputs, d.Outputs = append(v.Outputs, make([]float32, batch*p.Len())), append(d.Outputs, make([]float32, batch*p.Len()))
		}
		require.NoError(t, c.Eval(batch, v))
		require.NoError(t, c.VJP(batch, v, d)) // by the inputs
		for _, l := range s.Weights {
			d.Weights[l.Name] = make([]float32, l.Len())
		}
		require.NoError(t, c.VJP(batch, v, d))
		require.Len(t, c.Stats(), 6, "whole shards and a rest")
		for _, st := range c.Stats() {
			require.GreaterOrEqual(t, st.Arena, st.Live, name)
			require.LessOrEqual(t, float64(st.Arena), 1.05*float64(st.Live), "%s: %+v", name, st)
		}
		c.Close()
	}
}
