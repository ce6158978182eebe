package main

import (
	"context"
	"fmt"
	"math"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train"
	"github.com/ebb-go/ebb/train/data"
)

// mlp is a plain multi-layer perceptron, 65→256→256→256→64 with SiLU.
type mlp struct{}

var widths = []int{65, 256, 256, 256, 64}

// Spec implements [graph.Model].
func (mlp) Spec() graph.Spec {
	s := graph.Spec{
		Inputs:  []graph.Port{{Name: "x", Shape: widths[:1]}},
		Outputs: []graph.Port{{Name: "y", Shape: widths[len(widths)-1:]}},
		Shard:   64, // rows enough to make up for reading the weights
	}
	for i, in := range widths[:len(widths)-1] {
		out := widths[i+1]
		s.Weights = append(s.Weights,
			graph.Weight{Name: fmt.Sprint(i, ".weight"), Shape: []int{in, out}, Std: 0.1},
			graph.Weight{Name: fmt.Sprint(i, ".bias"), Shape: []int{out}, Std: 0.1})
	}
	return s
}

// Build implements [graph.Model].
func (mlp) Build(b *graph.Builder, in *graph.Inputs) []*graph.Node {
	h := in.Input("x")
	for i := range len(widths) - 1 {
		if i > 0 {
			h = b.Map(graph.SiLU, h)
		}
		h = b.Linear(h, in.Weight(fmt.Sprint(i, ".weight")), in.Weight(fmt.Sprint(i, ".bias")))
	}
	return []*graph.Node{h}
}

// wanted says of what a gradient is taken.
type wanted int

const (
	nothing wanted = iota
	latent
	everything
)

func openMLP(vjp bool) func(threads, batch int) (*job, error) {
	return func(threads, batch int) (*job, error) {
		m := mlp{}
		w, err := graph.NewWeights[float32](m.Spec().Weights, 1)
		if err != nil {
			return nil, err
		}
		want := nothing
		if vjp {
			want = everything
		}
		return openCell(threads, m, w, batch, [][]float32{normal(batch*widths[0], 1)}, want)
	}
}

// dit is the transformer of the table, 1 875 344 weights, and weights for it, none of them zero: a fresh one's output is.
func dit() (*models.DiT, *graph.Weights[float32], error) {
	m, err := models.NewDiT(models.DiTConfig{
		Channels: 1, Height: 28, Width: 28, Patch: 4, Hidden: 128, Depth: 6, Heads: 4, Condition: 128, Classes: 10,
		Prediction: ode.FlowVelocity, Schedule: ode.Flow{},
	})
	if err != nil {
		return nil, nil, err
	}
	list := m.Spec().Weights
	for i := range list {
		list[i].Std = max(list[i].Std, 0.02)
	}
	w, err := graph.NewWeights[float32](list, 1)
	return m, w, err
}

const pixels = 28 * 28

func openDiT(want wanted) func(threads, batch int) (*job, error) {
	return func(threads, batch int) (*job, error) {
		m, w, err := dit()
		if err != nil {
			return nil, err
		}
		times, labels := uniform(batch, 2), make([]float32, batch*11)
		for i := range batch {
			times[i] += 0.5
			labels[i*11+i%10] = 1
		}
		return openCell(threads, models.Labelled(m), w, batch, [][]float32{normal(batch*pixels, 1), times, labels}, want)
	}
}

// openCell prepares an evaluation of a network, or with it the VJP to its first input, or to that and all weights.
func openCell(threads int, m graph.Model, w *graph.Weights[float32], batch int, inputs [][]float32, want wanted) (*job, error) {
	c, err := graph.NewCell(m, w, graph.Workers(threads))
	if err != nil {
		return nil, err
	}
	size := batch * m.Spec().Outputs[0].Len()
	v := &graph.Values[float32]{Inputs: inputs, Outputs: [][]float32{make([]float32, size)}}
	d := &graph.Values[float32]{Inputs: [][]float32{make([]float32, len(inputs[0]))}, Outputs: [][]float32{normal(size, 4)}}
	if want == everything {
		d.Weights = map[string][]float32{}
		for _, l := range w.List() {
			d.Weights[l.Name] = make([]float32, l.Len())
		}
	}
	do := func(context.Context) error { return c.Eval(batch, v) }
	if want != nothing {
		do = func(context.Context) error {
			for _, g := range d.Weights {
				clear(g)
			}
			return c.VJP(batch, v, d)
		}
	}
	release := c.Hold()
	return &job{do: do, cell: c, scale: 1, close: func() { release(); c.Close() }}, nil
}

// openTrainer prepares steps of training on noise in place of images, which takes as long.
func openTrainer(threads, batch int) (*job, error) {
	m, w, err := dit()
	if err != nil {
		return nil, err
	}
	d := &data.Images{Pixels: uniform(4*batch*pixels, 1), N: 4 * batch, Height: 28, Width: 28, Channels: 1, Labels: make([]int, 4*batch), Classes: 10}
	for i := range d.Labels {
		d.Labels[i] = i % 10
	}
	task, err := train.Diffusion{Times: train.Uniform{}}.Task(models.Labelled(m), d)
	if err != nil {
		return nil, err
	}
	t, err := train.New(task, w, train.Config{Steps: math.MaxInt, Batch: batch, Workers: threads, Optimizer: train.AdamW{Rate: 1e-4, Decay: 0.01}})
	if err != nil {
		return nil, err
	}
	return &job{do: func(ctx context.Context) error { return t.Run(ctx, 1) }, cell: t.Cell(), scale: 1, close: t.Close}, nil
}
