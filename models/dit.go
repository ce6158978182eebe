package models

import (
	"fmt"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// DiTConfig says what a [DiT] is made of. Zero values of fields with a default mean the default.
type DiTConfig struct {
	Channels, Height, Width int // of the image
	Patch                   int // side of a patch, which divides Height and Width
	Hidden                  int // width of a token, a multiple of Heads
	Depth                   int // number of blocks, up to 32
	Heads                   int
	Ratio                   int // width of the blocks' MLP over Hidden; 4 by default

	Condition int // length of the condition vector; 0 for an unconditional network
	Classes   int // rows of the label table, besides the one for no class; 0 for no table

	TimeFeatures int     // cosines and sines of the time; 256 by default
	MaxFrequency float64 // of them, in radians per unit of time; 50 by default

	Prediction ode.Prediction
	Schedule   ode.Schedule
	Shard      int // see [graph.Spec]
}

// DiT is a diffusion transformer with adaLN-Zero blocks (Peebles, Xie 2023, arXiv 2212.09748): patches of the image as
// tokens, a learned position added; a vector c of the time (sinusoids through two layers) and the condition, added, that
// modulates every block
//
//	h ← h + g₁ ⊙ attention(norm(h) ⊙ (1+s₁) + b₁)
//	h ← h + g₂ ⊙ mlp(norm(h) ⊙ (1+s₂) + b₂),   (b₁, s₁, g₁, b₂, s₂, g₂) = linear(SiLU(c))
//
// and a last modulated linear layer back to patches. The modulations and the last layer start from zero: at first every
// block is the identity and the output zero.
//
// The highest frequency of the time is the one thing that must not be copied from networks whose time counts to 1000:
// with sinusoids of t·1000 the value is learned as well but ∂/∂t, on which knots, statistics and solvers of high order
// rest, is noise; at 50 radians per unit of time it is right.
//
// Inputs: x (Channels, Height, Width), t, condition (Condition). A condition whose length is not Hidden goes through a
// linear layer first. Taps: block<i>, the output of block i, and value<i>, the v of its attention, the heads one after
// the other; both (tokens, Hidden). They cost nothing unless asked for.
//
// Weights, (in, out), with matching biases:
//
//	patch.weight (Patch²·Channels, Hidden)          position (tokens, Hidden)
//	time.0.weight (TimeFeatures, Hidden)            time.1.weight (Hidden, Hidden)
//	condition.weight (Condition, Hidden), unless the two are equal
//	blocks.<i>.modulation.weight (Hidden, 6·Hidden) blocks.<i>.qkv.weight (Hidden, 3·Hidden)
//	blocks.<i>.proj.weight (Hidden, Hidden)         blocks.<i>.up.weight (Hidden, Ratio·Hidden)
//	blocks.<i>.down.weight (Ratio·Hidden, Hidden)   modulation.weight (Hidden, 2·Hidden)
//	out.weight (Hidden, Patch²·Channels)            labels (Classes+1, Condition)
//
// position and labels have no bias. Patches are row by row, channels last; modulations in the order above, the last one
// (b, s).
type DiT struct{ config DiTConfig }

// NewDiT returns the network. Errors name the field that is wrong.
func NewDiT(c DiTConfig) (*DiT, error) {
	defaults(&c.Ratio, 4)
	defaults(&c.TimeFeatures, 256)
	defaults(&c.MaxFrequency, defaultFrequency)
	f := fields{model: "DiT"}
	f.image(c.Channels, c.Height, c.Width, c.Patch)
	f.between("Hidden", c.Hidden, 1, 1<<14)
	f.between("Depth", c.Depth, 1, maxTaps/2)
	f.between("Heads", c.Heads, 1, 1<<14)
	f.check(f.err != nil || c.Hidden%c.Heads == 0, "Hidden is %d, which is not a multiple of Heads, %d", c.Hidden, c.Heads)
	f.between("Ratio", c.Ratio, 1, 1<<6)
	f.diffusion(c.Condition, c.Classes, c.TimeFeatures, c.MaxFrequency, c.Prediction, c.Schedule, c.Shard)
	if f.err != nil {
		return nil, f.err
	}
	return &DiT{c}, nil
}

// Config returns the configuration with its defaults filled in.
func (m *DiT) Config() DiTConfig { return m.config }

func (c DiTConfig) tokens() int { return c.Height / c.Patch * (c.Width / c.Patch) }

func block(i int) string             { return fmt.Sprintf("block%d", i) }
func value(i int) string             { return fmt.Sprintf("value%d", i) }
func inBlock(i int, s string) string { return fmt.Sprintf("blocks.%d.%s", i, s) }

// Spec implements [graph.Model].
func (m *DiT) Spec() graph.Spec {
	c := m.config
	d, patch, tokens := c.Hidden, c.Patch*c.Patch*c.Channels, c.tokens()
	var w weightList
	var taps []graph.Port
	w.linear("patch", patch, d, fanIn(patch))
	w = append(w, graph.Weight{Name: "position", Shape: []int{tokens, d}, Std: 0.02})
	w.linear("time.0", c.TimeFeatures, d, fanIn(c.TimeFeatures))
	w.linear("time.1", d, d, fanIn(d))
	if c.Condition > 0 && c.Condition != d {
		w.linear("condition", c.Condition, d, fanIn(c.Condition))
	}
	for i := range c.Depth {
		w.linear(inBlock(i, "modulation"), d, 6*d, 0)
		w.linear(inBlock(i, "qkv"), d, 3*d, glorot(d, d))
		w.linear(inBlock(i, "proj"), d, d, glorot(d, d))
		w.linear(inBlock(i, "up"), d, c.Ratio*d, glorot(d, c.Ratio*d))
		w.linear(inBlock(i, "down"), c.Ratio*d, d, glorot(c.Ratio*d, d))
		taps = append(taps, graph.Port{Name: block(i), Shape: []int{tokens, d}}, graph.Port{Name: value(i), Shape: []int{tokens, d}})
	}
	w.linear("modulation", d, 2*d, 0)
	w.linear("out", d, patch, 0)
	w.table(c.Classes, c.Condition)
	shape := []int{c.Channels, c.Height, c.Width}
	return graph.Spec{
		Inputs:  diffusionInputs(shape, c.Condition),
		Outputs: []graph.Port{{Name: output, Shape: shape}},
		Taps:    taps, Weights: w, Prediction: c.Prediction, Schedule: c.Schedule, Shard: c.Shard,
	}
}

// Build implements [graph.Model].
func (m *DiT) Build(b *graph.Builder, in *graph.Inputs) []*graph.Node {
	c, batch, d := m.config, in.Batch(), m.config.Hidden
	h := linear(b, in, "patch", b.Patchify(in.Input(graph.X), c.Patch))
	h = b.Add(h, b.Expand(b.Reshape(in.Weight("position"), 1, c.tokens(), d), 0, batch))
	v := b.Map(graph.SiLU, linear(b, in, "time.0", b.Sinusoid(in.Input(graph.Time), frequencies(c.TimeFeatures, c.MaxFrequency))))
	v = linear(b, in, "time.1", v)
	if cond := condition(b, in); cond != nil {
		if c.Condition != d {
			cond = linear(b, in, "condition", cond)
		}
		v = b.Add(v, cond)
	}
	v = b.Map(graph.SiLU, v)
	for i := range c.Depth {
		h = m.block(b, in, i, h, v)
	}
	last := parts(b, linear(b, in, "modulation", v), 2)
	h = linear(b, in, "out", b.Modulate(b.LayerNorm(normEps, h), last[1], last[0]))
	return []*graph.Node{b.Unpatchify(h, c.Patch, c.Channels, c.Height, c.Width)}
}

func (m *DiT) block(b *graph.Builder, in *graph.Inputs, i int, h, v *graph.Node) *graph.Node {
	layer := func(name string, x *graph.Node) *graph.Node { return linear(b, in, inBlock(i, name), x) }
	p := parts(b, layer("modulation", v), 6)
	a := layer("qkv", b.Modulate(b.LayerNorm(normEps, h), p[1], p[0]))
	if name := value(i); in.Tapped(name) {
		qkv := parts(b, a, 3)
		a = b.Concat(2, qkv[0], qkv[1], in.Tap(name, qkv[2]))
	}
	h = b.GatedAdd(h, layer("proj", b.Attention(a, m.config.Heads)), p[2])
	f := b.Modulate(b.LayerNorm(normEps, h), p[4], p[3])
	f = layer("down", b.Map(graph.GELU, layer("up", f)))
	return in.Tap(block(i), b.GatedAdd(h, f, p[5]))
}

type (
	ditPlain DiTConfig
	ditJSON  struct {
		ditPlain
		Prediction predictionJSON
		Schedule   scheduleJSON
	}
)

func (c ditJSON) config() DiTConfig {
	c.ditPlain.Prediction, c.ditPlain.Schedule = ode.Prediction(c.Prediction), c.Schedule.Schedule
	return DiTConfig(c.ditPlain)
}

func (m *DiT) kind() string { return "DiT" }
func (m *DiT) written() any {
	return ditJSON{ditPlain(m.config), predictionJSON(m.config.Prediction), scheduleJSON{m.config.Schedule}}
}
