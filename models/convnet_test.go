package models

import (
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/safetensors"
)

func smallConvNet(t testing.TB, norm bool) *ConvNet {
	t.Helper()
	m, err := NewConvNet(ConvNetConfig{Channels: 2, Height: 5, Width: 6, Stages: []int{3, 4}, Features: 5, Norm: norm, Classes: 3, Shard: 2})
	require.NoError(t, err)
	return m
}

func TestConvNetDerivatives(t *testing.T) {
	const batch, size = 3, 2 * 5 * 6
	for _, norm := range []bool{false, true} {
		m := smallConvNet(t, norm)
		w := perturbed(t, m)
		c := newCell(t, m, w)
		x := normal[float64](batch*size, 1)
		ct := [][]float64{normal[float64](batch*3, 2), normal[float64](batch*5, 3)}
		out := [][]float64{make([]float64, batch*3), make([]float64, batch*5)}
		value := func() float64 {
			require.NoError(t, c.Eval(batch, &graph.Values[float64]{Inputs: [][]float64{x}, Outputs: out}))
			return dot(out[0], ct[0]) + dot(out[1], ct[1])
		}
		dx, dw := make([]float64, len(x)), map[string][]float64{}
		for _, d := range m.Spec().Weights {
			dw[d.Name] = make([]float64, d.Len())
		}
		require.NoError(t, c.VJP(batch, &graph.Values[float64]{Inputs: [][]float64{x}}, &graph.Values[float64]{Inputs: [][]float64{dx}, Outputs: ct, Weights: dw}))
		for i := range x {
			fd := difference(&x[i], 1e-3, value)
			require.InDelta(t, fd, dx[i], 1e-8*(1+math.Abs(fd)), "x[%d]", i)
		}
		forward := 0.0
		dirs := map[string][]float64{}
		for k, d := range m.Spec().Weights {
			v := append([]float64(nil), w.Data(d.Name)...)
			for i := range v {
				fd := difference(&v[i], 1e-3, func() float64 { require.NoError(t, w.Set(d.Name, v)); return value() })
				require.InDelta(t, fd, dw[d.Name][i], 1e-8*(1+math.Abs(fd)), "%s[%d]", d.Name, i)
			}
			require.NoError(t, w.Set(d.Name, v))
			dirs[d.Name] = normal[float64](len(v), uint64(10+k))
			forward += dot(dirs[d.Name], dw[d.Name])
			require.Greater(t, dot(dw[d.Name], dw[d.Name]), 1e-6, "%s matters", d.Name)
		}
		// Forward mode is the transpose of reverse mode.
		along := [][]float64{make([]float64, batch*3), make([]float64, batch*5)}
		require.NoError(t, c.JVP(batch, &graph.Values[float64]{Inputs: [][]float64{x}}, &graph.Values[float64]{Outputs: along, Weights: dirs}))
		require.InDelta(t, forward, dot(along[0], ct[0])+dot(along[1], ct[1]), 1e-10*(1+math.Abs(forward)))
	}
}

// A fresh network of the size that judges 28×28 images neither loses nor blows up what goes through it.
func TestConvNetStartsInScale(t *testing.T) {
	for _, norm := range []bool{false, true} {
		m, err := NewConvNet(ConvNetConfig{Channels: 1, Height: 28, Width: 28, Stages: []int{16, 32}, Features: 64, Norm: norm, Classes: 10})
		require.NoError(t, err)
		w, err := graph.NewWeights[float64](m.Spec().Weights, 1)
		require.NoError(t, err)
		out := make([]float64, 20*10)
		require.NoError(t, newCell(t, m, w).Eval(20, &graph.Values[float64]{Inputs: [][]float64{normal[float64](20*784, 1)}, Outputs: [][]float64{out}}))
		size := math.Sqrt(dot(out, out) / 200)
		require.Greater(t, size, 0.15)
		require.Less(t, size, 1.0)
	}
}

// With Max, more noise is more light: the largest of four rises where their mean does not.
func TestConvNetWithMaximaSeesNoise(t *testing.T) {
	moved := map[bool]float64{}
	for _, most := range []bool{false, true} {
		m, err := NewConvNet(ConvNetConfig{Channels: 1, Height: 28, Width: 28, Stages: []int{8, 8}, Features: 16, Max: most, Classes: 10})
		require.NoError(t, err)
		w, err := graph.NewWeights[float64](m.Spec().Weights, 1)
		require.NoError(t, err)
		see := func(noise float64) []float64 {
			x, out := normal[float64](40*784, 1), make([]float64, 40*16)
			for i := range x {
				x[i] = noise*x[i] - 1
			}
			require.NoError(t, newCell(t, m, w).Eval(40, &graph.Values[float64]{Inputs: [][]float64{x}, Outputs: [][]float64{nil, out}}))
			return out
		}
		still, noisy := see(0), see(0.1)
		for f := range 16 {
			d := 0.0
			for i := range 40 {
				d += (noisy[i*16+f] - still[i*16+f]) / 40
			}
			moved[most] += d * d
		}
	}
	require.Greater(t, moved[true], 10*moved[false])
}

func TestConvNetFile(t *testing.T) {
	for _, norm := range []bool{false, true} {
		m := smallConvNet(t, norm)
		w := perturbed(t, m)
		path := filepath.Join(t.TempDir(), "m.safetensors")
		require.NoError(t, Save(path, m, w, graph.F64, map[string]string{"trained": "not at all"}))
		got, weights, metadata, err := Load[float64](path)
		require.NoError(t, err)
		require.Equal(t, m, got)
		require.Equal(t, "not at all", metadata["trained"])
		require.Equal(t, m.Spec().Weights, weights.List())
		x, outs := normal[float64](60, 1), [2][]float64{make([]float64, 3), make([]float64, 3)}
		for i, w := range []*graph.Weights[float64]{w, weights} {
			require.NoError(t, newCell(t, got, w).Eval(1, &graph.Values[float64]{Inputs: [][]float64{x}, Outputs: [][]float64{outs[i]}}))
		}
		require.Equal(t, outs[0], outs[1])
	}
	path := filepath.Join(t.TempDir(), "header.safetensors")
	m := smallConvNet(t, true)
	require.NoError(t, Save(path, m, perturbed(t, m), graph.F32, nil))
	f, err := safetensors.Open(path)
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, map[string]string{"ebb.model": "ConvNet", "ebb.version": "1",
		"ebb.config": `{"Channels":2,"Height":5,"Width":6,"Stages":[3,4],"Kernel":3,"Features":5,"Norm":true,"Max":false,"Classes":3,"Shard":2}`}, f.Metadata())
}

func TestConvNetErrors(t *testing.T) {
	for want, change := range map[string]func(c *ConvNetConfig){
		"ConvNet: Channels is 0":                 func(c *ConvNetConfig) { c.Channels = 0 },
		"Height is 0":                            func(c *ConvNetConfig) { c.Height = 0 },
		"Stages is []; one to twelve are needed": func(c *ConvNetConfig) { c.Stages = nil },
		"Stages[1] is 0":                         func(c *ConvNetConfig) { c.Stages[1] = 0 },
		"Stages has 3 entries, and so often":     func(c *ConvNetConfig) { c.Stages = []int{1, 1, 1} },
		"Kernel is 33; 1 to 31":                  func(c *ConvNetConfig) { c.Kernel = 33 },
		"Kernel is 4; it must be odd":            func(c *ConvNetConfig) { c.Kernel = 4 },
		"Features is 0":                          func(c *ConvNetConfig) { c.Features = 0 },
		"Classes is 1":                           func(c *ConvNetConfig) { c.Classes = 1 },
		"Shard is -3":                            func(c *ConvNetConfig) { c.Shard = -3 },
	} {
		m := smallConvNet(t, true)
		c := m.Config()
		change(&c)
		_, err := NewConvNet(c)
		require.ErrorContains(t, err, want)
		require.Equal(t, []int{3, 4}, m.Config().Stages, "a configuration handed out is a copy")
	}
}
