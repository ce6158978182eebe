package graph

import (
	"errors"
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/ode"
	"gorgonia.org/gorgonia"
)

// A Port is a named per-sample value at the border of a network. Shape leaves out the batch, which comes first; a value
// that is one number a sample has the empty shape.
type Port struct {
	Name  string
	Shape []int
}

// Len is the number of elements of one sample.
func (p Port) Len() int { return prod(p.Shape) }

// The names of the inputs of a diffusion network.
const (
	X         = "x"         // the noisy state
	Time      = "t"         // the time, one a sample
	Condition = "condition" // the condition vector, absent for an unconditional network
)

// Spec says what a network takes, gives and is made of.
type Spec struct {
	Inputs  []Port // a diffusion network takes X, Time and, if it has one, Condition, in this order
	Outputs []Port // a diffusion network gives one, shaped like x
	Taps    []Port // inner values that may be read, or replaced, by name
	Weights []Weight

	Prediction ode.Prediction // of a diffusion network: what its output means
	Schedule   ode.Schedule   // and the schedule it was trained on; nil for other networks

	// Shard is the number of samples computed together, 0 for 8. It is a constant of the network because sums over the
	// batch are taken shard by shard: the bits of a gradient depend on it. Values do not, as long as the network keeps its
	// samples apart, see [Model].
	Shard int
}

// Input returns the port of the given name, or false.
func (s Spec) Input(name string) (Port, bool) { return port(s.Inputs, name) }

func port(ports []Port, name string) (Port, bool) {
	i := slices.IndexFunc(ports, func(p Port) bool { return p.Name == name })
	if i < 0 {
		return Port{}, false
	}
	return ports[i], true
}

// A Model is a network: a description, and a function that builds it. Build is called once for every batch size and
// element type, must build the same network each time, and must use nothing but what Inputs hands out: a network that
// depends on another input is an error.
//
// Samples must be kept apart: what is at one place of the first axis of an output may depend on weights and on that place of the
// inputs. A [Cell] computes shards of a batch, the last of which may be shorter, so that what mixes samples, x − [Builder.Mean](x, 0)
// say, depends on where the batch is cut, without an error. To see that a network keeps the rule, compare a sample alone
// with the same one in a batch: of ebb's ops the bits are equal.
type Model interface {
	Spec() Spec
	Build(b *Builder, in *Inputs) []*Node
}

// Inputs hands a network its inputs and weights while it is built.
type Inputs struct {
	b       *Builder
	batch   int
	nodes   map[string]*Node
	weights map[string]*Node
	use     map[string]*Node // taps to be replaced
	tapped  map[string]*Node // taps met, as computed or replaced
	offer   []Port
}

// Batch is the number of samples.
func (in *Inputs) Batch() int { return in.batch }

// Input returns the input of the given name: (batch, shape…).
func (in *Inputs) Input(name string) *Node {
	n := in.nodes[name]
	if n == nil {
		return in.b.Fail("the network's Spec lists no input %q", name)
	}
	return n
}

// Has reports whether there is an input of the given name.
func (in *Inputs) Has(name string) bool { return in.nodes[name] != nil }

// Weight returns the weight of the given name.
func (in *Inputs) Weight(name string) *Node {
	n := in.weights[name]
	if n == nil {
		return in.b.Fail("the network's Spec lists no weight %q", name)
	}
	return n
}

// Tapped reports whether the inner value is asked for in this build; if not, a network need not even compute it apart.
func (in *Inputs) Tapped(name string) bool {
	return in.use[name] != nil || slices.ContainsFunc(in.offer, func(p Port) bool { return p.Name == name })
}

// Tap offers an inner value under a name of the Spec's Taps and returns the node to go on with: n, or what replaces it.
func (in *Inputs) Tap(name string, n *Node) *Node {
	if r := in.use[name]; r != nil {
		if in.b.err == nil && r.Shape().TotalSize() != n.Shape().TotalSize() {
			return in.b.Fail("tap %q: the Spec gives shape %v, the network %v", name, r.Shape(), n.Shape())
		}
		n = in.b.Reshape(r, n.Shape()...)
	}
	in.tapped[name] = n
	return n
}

// A network is a Model built for one batch size, with every input, weight and tap at hand.
type network struct {
	b       *Builder
	spec    Spec
	inputs  []*Node
	weights []*Node
	outputs []*Node
	use     map[string]*Node
	tapped  map[string]*Node
}

// build builds m for a batch; use and offer are bits by position in Spec.Taps.
func build[T Float](m Model, batch int, use, offer uint64) (*network, error) {
	return buildInto(NewBuilder[T](), m, batch, use, offer)
}

func buildInto(b *Builder, m Model, batch int, use, offer uint64) (*network, error) {
	n := &network{b: b, spec: m.Spec()}
	in := &Inputs{b: b, batch: batch, nodes: map[string]*Node{}, weights: map[string]*Node{}, use: map[string]*Node{}, tapped: map[string]*Node{}}
	for _, p := range n.spec.Inputs {
		in.nodes[p.Name] = b.Input(p.Name, append([]int{batch}, p.Shape...)...)
		n.inputs = append(n.inputs, in.nodes[p.Name])
	}
	for _, w := range n.spec.Weights {
		in.weights[w.Name] = b.Input("weight "+w.Name, w.Shape...)
		n.weights = append(n.weights, in.weights[w.Name])
	}
	for i, p := range n.spec.Taps {
		if use>>i&1 != 0 {
			in.use[p.Name] = b.Input("tap "+p.Name, append([]int{batch}, p.Shape...)...)
		}
		if offer>>i&1 != 0 {
			in.offer = append(in.offer, p)
		}
	}
	n.use, n.tapped = in.use, in.tapped
	if err := b.guard(func() { n.outputs = m.Build(b, in) }); err != nil {
		return nil, err
	}
	return n, n.check(batch)
}

func (n *network) check(batch int) error {
	if len(n.outputs) != len(n.spec.Outputs) {
		return fmt.Errorf("graph: the network built %d outputs, its Spec lists %d", len(n.outputs), len(n.spec.Outputs))
	}
	known := leafSet(n.inputs)
	for _, w := range n.weights {
		known[w] = true
	}
	for _, t := range n.use {
		known[t] = true
	}
	for i, p := range n.spec.Outputs {
		want := Shape(append([]int{batch}, p.Shape...))
		if n.outputs[i] == nil {
			return fmt.Errorf("graph: output %q of the network is nil", p.Name)
		}
		if !slices.Equal(n.outputs[i].Shape(), want) {
			return fmt.Errorf("graph: output %q of the network is %v, its Spec says %v", p.Name, n.outputs[i].Shape(), want)
		}
	}
	for _, o := range order(n.outputs, nil) {
		if o.Op() == nil && !known[o] {
			return fmt.Errorf("graph: the network depends on input %q, which its Spec does not list; list it, so that its gradient cannot be forgotten", o.Name())
		}
	}
	return nil
}

// check reports what is wrong with a spec.
func (s Spec) check() error {
	if len(s.Inputs) == 0 || len(s.Outputs) == 0 {
		return errors.New("graph: a network needs at least one input and one output")
	}
	if len(s.Inputs) > 64 || len(s.Outputs) > 64 || len(s.Taps) > 64 {
		return errors.New("graph: a network has at most 64 inputs, outputs and taps")
	}
	if s.Shard < 0 {
		return fmt.Errorf("graph: shard of %d samples; 0 is the default of %d", s.Shard, defaultShard)
	}
	for _, list := range [][]Port{s.Inputs, s.Outputs, s.Taps} {
		seen := map[string]bool{}
		for _, p := range list {
			if p.Name == "" || seen[p.Name] {
				return fmt.Errorf("graph: port name %q is empty or used twice", p.Name)
			}
			seen[p.Name] = true
			for _, d := range p.Shape {
				if d < 1 {
					return fmt.Errorf("graph: port %q has shape %v; every axis must be at least 1", p.Name, p.Shape)
				}
			}
		}
	}
	return nil
}

const defaultShard = 8

// ModelFunc is a Model from a function, for a network that is written in a few lines.
type ModelFunc struct {
	Describe Spec
	Network  func(b *Builder, in *Inputs) []*Node
}

// Spec returns Describe.
func (f ModelFunc) Spec() Spec { return f.Describe }

// Build calls Network.
func (f ModelFunc) Build(b *Builder, in *Inputs) []*Node { return f.Network(b, in) }

// Plain wraps a network that is written with Gorgonia alone. network gets the graph, the inputs in the order of the
// Spec, each (batch, shape…), and the weights by name, and returns the output; it must name no input of its own. Ops
// that Gorgonia computes or differentiates wrongly are refused when the network is compiled.
func Plain(spec Spec, network func(g *gorgonia.ExprGraph, inputs []*Node, weights map[string]*Node) (*Node, error)) Model {
	return ModelFunc{spec, func(b *Builder, in *Inputs) []*Node {
		var inputs []*Node
		for _, p := range spec.Inputs {
			inputs = append(inputs, in.Input(p.Name))
		}
		out, err := func() (*Node, error) {
			b.lock()
			defer b.unlock() // also when gorgonia.Must panics
			return network(b.g, inputs, in.weights)
		}()
		if err != nil {
			return []*Node{b.Fail("network: %w", err)}
		}
		return []*Node{out}
	}}
}
