package models

import "github.com/ebb-go/ebb/graph"

// ClassifierConfig says what a [Classifier] is made of.
type ClassifierConfig struct {
	Channels, Height, Width int // of the image
	Patch                   int // side of a patch, which divides Height and Width
	Hidden                  int // numbers made of each patch
	Features                int // width of the layers behind, and length of the output "features"
	Depth                   int // number of these layers; 0 is possible
	Classes                 int
	Shard                   int // see [graph.Spec]
}

// The outputs of a [Classifier].
const (
	Logits   = "logits"   // unnormalised log-probabilities of the classes
	Features = "features" // what the last layer sees
)

// Classifier judges small images: each patch through one linear layer and SiLU, all of them together through one more,
// Depth residual layers h ← h + linear(SiLU(norm(h))), and norm. That is the output "features"; a linear layer of it is
// the output "logits". It is smooth, so that a sampler can be differentiated through it.
//
// Let the judge of a result be another network, trained on other images, than the one a loss used.
//
// Weights, (in, out), with matching biases:
//
//	patch.weight (Patch²·Channels, Hidden)   in.weight (tokens·Hidden, Features)
//	layers.<i>.weight (Features, Features)   out.weight (Features, Classes)
type Classifier struct{ config ClassifierConfig }

// NewClassifier returns the network. Errors name the field that is wrong.
func NewClassifier(c ClassifierConfig) (*Classifier, error) {
	f := fields{model: "Classifier"}
	f.image(c.Channels, c.Height, c.Width, c.Patch)
	f.between("Hidden", c.Hidden, 1, 1<<14)
	f.between("Features", c.Features, 1, 1<<14)
	f.between("Depth", c.Depth, 0, 1<<10)
	f.between("Classes", c.Classes, 2, 1<<16)
	f.between("Shard", c.Shard, 0, 1<<16)
	if f.err != nil {
		return nil, f.err
	}
	return &Classifier{c}, nil
}

// Config returns the configuration.
func (m *Classifier) Config() ClassifierConfig { return m.config }

// Spec implements [graph.Model].
func (m *Classifier) Spec() graph.Spec {
	c := m.config
	patch, all := c.Patch*c.Patch*c.Channels, c.Height/c.Patch*(c.Width/c.Patch)*c.Hidden
	var w weightList
	w.linear("patch", patch, c.Hidden, fanIn(patch))
	w.linear("in", all, c.Features, fanIn(all))
	for i := range c.Depth {
		w.linear(layer(i), c.Features, c.Features, fanIn(c.Features))
	}
	w.linear("out", c.Features, c.Classes, fanIn(c.Features))
	return graph.Spec{
		Inputs:  []graph.Port{{Name: graph.X, Shape: []int{c.Channels, c.Height, c.Width}}},
		Outputs: []graph.Port{{Name: Logits, Shape: []int{c.Classes}}, {Name: Features, Shape: []int{c.Features}}},
		Weights: w, Shard: c.Shard,
	}
}

// Build implements [graph.Model].
func (m *Classifier) Build(b *graph.Builder, in *graph.Inputs) []*graph.Node {
	c := m.config
	h := b.Map(graph.SiLU, linear(b, in, "patch", b.Patchify(in.Input(graph.X), c.Patch)))
	h = linear(b, in, "in", b.Reshape(h, in.Batch(), h.Shape().TotalSize()/in.Batch()))
	for i := range c.Depth {
		h = b.Add(h, linear(b, in, layer(i), b.Map(graph.SiLU, b.LayerNorm(normEps, h))))
	}
	features := b.LayerNorm(normEps, h)
	return []*graph.Node{linear(b, in, "out", features), features}
}

func (m *Classifier) kind() string { return "Classifier" }
func (m *Classifier) written() any { return m.config }
