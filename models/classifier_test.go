package models

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
)

func smallClassifier(t testing.TB) *Classifier {
	t.Helper()
	m, err := NewClassifier(ClassifierConfig{Channels: 2, Height: 4, Width: 6, Patch: 2, Hidden: 5, Features: 7, Depth: 2, Classes: 3, Shard: 2})
	require.NoError(t, err)
	return m
}

func TestClassifierDerivatives(t *testing.T) {
	const batch = 3
	m := smallClassifier(t)
	w := perturbed(t, m)
	c := newCell(t, m, w)
	x := normal[float64](batch*48, 1)
	ct := [][]float64{normal[float64](batch*3, 2), normal[float64](batch*7, 3)}
	out := [][]float64{make([]float64, batch*3), make([]float64, batch*7)}
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
	for _, d := range m.Spec().Weights {
		v := append([]float64(nil), w.Data(d.Name)...)
		for i := range v {
			fd := difference(&v[i], 1e-3, func() float64 { require.NoError(t, w.Set(d.Name, v)); return value() })
			require.InDelta(t, fd, dw[d.Name][i], 1e-8*(1+math.Abs(fd)), "%s[%d]", d.Name, i)
		}
		require.NoError(t, w.Set(d.Name, v))
	}
}

func TestClassifierErrors(t *testing.T) {
	for want, change := range map[string]func(c *ClassifierConfig){
		"Classifier: Channels is 0": func(c *ClassifierConfig) { c.Channels = 0 },
		"Patch is 3":                func(c *ClassifierConfig) { c.Patch = 3 },
		"Hidden is 0":               func(c *ClassifierConfig) { c.Hidden = 0 },
		"Features is 0":             func(c *ClassifierConfig) { c.Features = 0 },
		"Depth is -1":               func(c *ClassifierConfig) { c.Depth = -1 },
		"Classes is 1":              func(c *ClassifierConfig) { c.Classes = 1 },
		"Shard is -3":               func(c *ClassifierConfig) { c.Shard = -3 },
	} {
		c := smallClassifier(t).Config()
		change(&c)
		_, err := NewClassifier(c)
		require.ErrorContains(t, err, want)
	}
}
