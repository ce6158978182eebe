package models

import (
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/graph"
)

// ConvNetConfig says what a [ConvNet] is made of. Zero values of fields with a default mean the default.
type ConvNetConfig struct {
	Channels, Height, Width int   // of the image
	Stages                  []int // channels that each stage gives; each halves height and width, rounded down
	Kernel                  int   // side of the kernels, odd; 3 by default
	Features                int   // length of the output "features"
	Norm                    bool  // whether each layer is normalised before its SiLU
	Max                     bool  // whether a stage keeps the largest of each 2×2 instead of the mean
	Classes                 int
	Shard                   int // see [graph.Spec]
}

// ConvNet judges small images as [Classifier] does, and better where what is seen may be shifted: each stage is a
// convolution as large as its image, SiLU and the mean of each 2×2. One linear layer of all that is left, and SiLU, is the
// output "features"; a linear layer of it the output "logits". With Norm, what enters a SiLU has mean 0 and variance 1
// over the whole sample. All of it is smooth, so that a sampler can be differentiated through it; with Max it is not, but it sees
// faint noise, over which means look away: for judges.
//
// Weights, with matching biases:
//
//	stages.<i>.weight (Stages[i], Stages[i−1] or Channels, Kernel, Kernel)
//	in.weight (what the stages leave, Features)   out.weight (Features, Classes)
type ConvNet struct{ config ConvNetConfig }

// NewConvNet returns the network. Errors name the field that is wrong.
func NewConvNet(c ConvNetConfig) (*ConvNet, error) {
	c.Stages = slices.Clone(c.Stages)
	defaults(&c.Kernel, 3)
	f := fields{model: "ConvNet"}
	f.image(c.Channels, c.Height, c.Width, 1)
	if f.check(len(c.Stages) > 0 && len(c.Stages) <= 12, "Stages is %v; one to twelve are needed", c.Stages) {
		for i, n := range c.Stages {
			f.between(fmt.Sprintf("Stages[%d]", i), n, 1, 1<<12)
		}
		halvings := len(c.Stages)
		f.check(min(c.Height, c.Width)>>halvings > 0, "Stages has %d entries, and so often Height %d and Width %d cannot be halved", halvings, c.Height, c.Width)
	}
	f.between("Kernel", c.Kernel, 1, 31)
	f.check(c.Kernel%2 == 1, "Kernel is %d; it must be odd, so that it has a middle", c.Kernel)
	f.between("Features", c.Features, 1, 1<<14)
	f.between("Classes", c.Classes, 2, 1<<16)
	f.between("Shard", c.Shard, 0, 1<<16)
	if f.err != nil {
		return nil, f.err
	}
	return &ConvNet{c}, nil
}

// Config returns the configuration with its defaults filled in.
func (m *ConvNet) Config() ConvNetConfig {
	c := m.config
	c.Stages = slices.Clone(c.Stages)
	return c
}

// Spec implements [graph.Model].
func (m *ConvNet) Spec() graph.Spec {
	c := m.config
	// SiLU and pooling lose about half of the variance, and the factor √2 gives it back (He et al. 2015, arXiv 1502.01852).
	gain := func(in int) float64 { return math.Sqrt2 * fanIn(in) }
	var w weightList
	in := c.Channels
	for i, n := range c.Stages {
		w = append(w,
			graph.Weight{Name: stage(i) + ".weight", Shape: []int{n, in, c.Kernel, c.Kernel}, Std: gain(in * c.Kernel * c.Kernel)},
			graph.Weight{Name: stage(i) + ".bias", Shape: []int{n}})
		in = n
	}
	halvings := len(c.Stages)
	rest := in * (c.Height >> halvings) * (c.Width >> halvings)
	w.linear("in", rest, c.Features, gain(rest))
	w.linear("out", c.Features, c.Classes, fanIn(c.Features))
	return graph.Spec{
		Inputs:  []graph.Port{{Name: graph.X, Shape: []int{c.Channels, c.Height, c.Width}}},
		Outputs: []graph.Port{{Name: Logits, Shape: []int{c.Classes}}, {Name: Features, Shape: []int{c.Features}}},
		Weights: w, Shard: c.Shard,
	}
}

// Build implements [graph.Model].
func (m *ConvNet) Build(b *graph.Builder, in *graph.Inputs) []*graph.Node {
	c, h := m.config, in.Input(graph.X)
	for i := range c.Stages {
		h = b.Conv2D(h, in.Weight(stage(i)+".weight"), in.Weight(stage(i)+".bias"), 1, c.Kernel/2)
		h = m.activate(b, h)
		if c.Max {
			h = b.MaxPool2D(h, 2, 2, 0)
		} else {
			h = b.AveragePool2D(h, 2, 2, 0)
		}
	}
	features := m.activate(b, linear(b, in, "in", flat(b, h)))
	return []*graph.Node{linear(b, in, "out", features), features}
}

func (m *ConvNet) activate(b *graph.Builder, h *graph.Node) *graph.Node {
	if m.config.Norm {
		h = b.Reshape(b.LayerNorm(normEps, flat(b, h)), h.Shape()...)
	}
	return b.Map(graph.SiLU, h)
}

// flat makes a vector of each sample.
func flat(b *graph.Builder, h *graph.Node) *graph.Node {
	s := h.Shape()
	return b.Reshape(h, s[0], s.TotalSize()/s[0])
}

// stage is the name of the i-th stage.
func stage(i int) string { return fmt.Sprintf("stages.%d", i) }

func (m *ConvNet) kind() string { return "ConvNet" }
func (m *ConvNet) written() any { return m.config }
