package models

import (
	"slices"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// MLPConfig says what an [MLP] is made of. Zero values of fields with a default mean the default.
type MLPConfig struct {
	Shape []int // of one sample
	Width int   // of the hidden layers
	Depth int   // number of hidden layers

	Condition int // length of the condition vector; 0 for an unconditional network
	Classes   int // rows of the label table, besides the one for no class; 0 for no table

	TimeFeatures int     // cosines and sines of the time; 64 by default
	MaxFrequency float64 // of them, in radians per unit of time; 50 by default

	Prediction ode.Prediction
	Schedule   ode.Schedule
	Shard      int // see [graph.Spec]
}

// MLP is a network for vectors: x, the sinusoids of t and the condition, one after the other, go through Depth layers of
// Width with SiLU (Hendrycks, Gimpel 2016, arXiv 1606.08415), and a linear one.
//
// Weights, (in, out): layers.0.weight, layers.0.bias, …, layers.<Depth>.weight, layers.<Depth>.bias, and labels.
type MLP struct{ config MLPConfig }

// NewMLP returns the network. Errors name the field that is wrong.
func NewMLP(c MLPConfig) (*MLP, error) {
	c.Shape = slices.Clone(c.Shape)
	defaults(&c.TimeFeatures, 64)
	defaults(&c.MaxFrequency, defaultFrequency)
	f := fields{model: "MLP"}
	f.shape(c.Shape)
	f.between("Width", c.Width, 1, 1<<16)
	f.between("Depth", c.Depth, 1, 1<<10)
	f.diffusion(c.Condition, c.Classes, c.TimeFeatures, c.MaxFrequency, c.Prediction, c.Schedule, c.Shard)
	if f.err != nil {
		return nil, f.err
	}
	return &MLP{c}, nil
}

// Config returns the configuration with its defaults filled in.
func (m *MLP) Config() MLPConfig {
	c := m.config
	c.Shape = slices.Clone(c.Shape)
	return c
}

// Spec implements [graph.Model].
func (m *MLP) Spec() graph.Spec {
	c := m.config
	size := product(c.Shape)
	var w weightList
	in := size + c.TimeFeatures + c.Condition
	for i := range c.Depth {
		w.linear(layer(i), in, c.Width, fanIn(in))
		in = c.Width
	}
	w.linear(layer(c.Depth), in, size, fanIn(in))
	w.table(c.Classes, c.Condition)
	return graph.Spec{
		Inputs:  diffusionInputs(c.Shape, c.Condition),
		Outputs: []graph.Port{{Name: output, Shape: slices.Clone(c.Shape)}},
		Weights: w, Prediction: c.Prediction, Schedule: c.Schedule, Shard: c.Shard,
	}
}

// Build implements [graph.Model].
func (m *MLP) Build(b *graph.Builder, in *graph.Inputs) []*graph.Node {
	c := m.config
	size := product(c.Shape)
	all := []*graph.Node{b.Reshape(in.Input(graph.X), in.Batch(), size), b.Sinusoid(in.Input(graph.Time), frequencies(c.TimeFeatures, c.MaxFrequency))}
	if cond := condition(b, in); cond != nil {
		all = append(all, cond)
	}
	h := b.Concat(1, all...)
	for i := range c.Depth {
		h = b.Map(graph.SiLU, linear(b, in, layer(i), h))
	}
	h = linear(b, in, layer(c.Depth), h)
	return []*graph.Node{b.Reshape(h, append([]int{in.Batch()}, c.Shape...)...)}
}

type (
	mlpPlain MLPConfig
	mlpJSON  struct {
		mlpPlain
		Prediction predictionJSON
		Schedule   scheduleJSON
	}
)

func (c mlpJSON) config() MLPConfig {
	c.mlpPlain.Prediction, c.mlpPlain.Schedule = ode.Prediction(c.Prediction), c.Schedule.Schedule
	return MLPConfig(c.mlpPlain)
}

func (m *MLP) kind() string { return "MLP" }
func (m *MLP) written() any {
	return mlpJSON{mlpPlain(m.config), predictionJSON(m.config.Prediction), scheduleJSON{m.config.Schedule}}
}
