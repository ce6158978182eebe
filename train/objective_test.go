package train_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train"
	"github.com/ebb-go/ebb/train/data"
)

// A batch is the samples of one step.
type batch struct {
	Seed    uint64
	Step    int
	Indices []int
}

// inputs fills one batch of a task, each input the samples one after the other.
func inputs(t testing.TB, task *train.Task, b batch) [][]float64 {
	t.Helper()
	ports := task.Loss.Spec().Inputs
	all := make([][]float64, len(ports))
	for place, index := range b.Indices {
		one := make([][]float64, len(ports))
		for k, p := range ports {
			one[k] = make([]float64, p.Len())
		}
		require.NoError(t, task.Fill(one, train.Sample{Seed: b.Seed, Step: b.Step, Place: place, Index: index}))
		for k := range ports {
			all[k] = append(all[k], one[k]...)
		}
	}
	return all
}

// A batch holds what the formulas say, for every schedule and prediction: from x_t and the target, read as what the
// prediction means, come back the image and one and the same noise.
func TestBatchHoldsImageAndNoise(t *testing.T) {
	d := clusters(t, 50)
	batch := batch{Seed: 7, Step: 3, Indices: []int{4, 49, 0, 4}}
	for _, s := range []ode.Schedule{ode.Flow{}, ode.VPLinear{}, ode.VPCosine{}, ode.EDM{}} {
		for _, p := range []ode.Prediction{ode.Noise, ode.Data, ode.Velocity, ode.FlowVelocity, ode.Score, ode.Denoiser} {
			if _, flow := s.(ode.Flow); flow && (p == ode.Score || p == ode.Denoiser) {
				continue // infinite at an end, see TestDiffusionErrors
			}
			t.Run(fmt.Sprintf("%T %v", s, p), func(t *testing.T) {
				task, err := train.Diffusion{Times: train.Uniform{}}.Task(flowNet(s, p), d)
				require.NoError(t, err)
				in := inputs(t, task, batch)
				for k, i := range batch.Indices {
					pt := s.At(in[1][k])
					for j := range 2 {
						x, y, x0 := in[0][2*k+j], in[2][2*k+j], float64(d.Pixels[2*i+j])
						eps := make([]float64, 2)
						rng.Normal(eps, 7, 2<<60|3, uint64(k))
						if p == ode.Denoiser { // called with x_t/α at the level σ/α
							require.InDelta(t, x0+in[1][k]*eps[j], x, 1e-9)
							require.Equal(t, x0, y)
							continue
						}
						require.InDelta(t, pt.Alpha*x0+pt.Sigma*eps[j], x, 1e-12)
						a, b, err := p.Of(pt)
						require.NoError(t, err)
						require.InDelta(t, a*x0+b*eps[j], y, 1e-12*(1+math.Abs(y)))
					}
				}
			})
		}
	}
}

// Samples that share an index, a step or a place share neither noise nor time.
func TestDrawsDiffer(t *testing.T) {
	d := clusters(t, 50)
	task, err := train.Diffusion{}.Task(flowNet(ode.Flow{}, ode.FlowVelocity), d)
	require.NoError(t, err)
	seen := map[float64]bool{}
	for _, b := range []batch{{Seed: 1, Step: 0}, {Seed: 1, Step: 1}, {Seed: 2, Step: 0}} {
		b.Indices = []int{5, 5, 5}
		in := inputs(t, task, b)
		require.Equal(t, in, inputs(t, task, b), "a batch is a function of its address")
		for _, v := range slices.Concat(in[0], in[1]) {
			require.False(t, seen[v])
			seen[v] = true
		}
	}
}

// labelled is flowNet with a label that shifts the output.
func labelled(classes int) graph.Model {
	m := flowNet(ode.Flow{}, ode.FlowVelocity).(graph.ModelFunc)
	inside := m.Network
	m.Describe.Inputs = append(m.Describe.Inputs, graph.Port{Name: "label", Shape: []int{classes + 1}})
	m.Describe.Weights = append(m.Describe.Weights, graph.Weight{Name: "labels", Shape: []int{classes + 1, 2}, Std: 1})
	m.Network = func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		return []*graph.Node{b.Add(inside(b, in)[0], b.Linear(in.Input("label"), in.Weight("labels"), nil))}
	}
	return m
}

func TestLabelsAreOneHotAndDropped(t *testing.T) {
	d := clusters(t, 50)
	task, err := train.Diffusion{Dropout: 0.25}.Task(labelled(2), d)
	require.NoError(t, err)
	indices := make([]int, 4000)
	for i := range indices {
		indices[i] = i % d.N
	}
	in := inputs(t, task, batch{Seed: 1, Indices: indices})
	dropped := 0
	for k, i := range indices {
		hot := in[2][3*k : 3*k+3]
		if hot[2] == 1 {
			dropped++
			require.Equal(t, []float64{0, 0, 1}, hot)
			continue
		}
		want := make([]float64, 3)
		want[d.Labels[i]] = 1
		require.Equal(t, want, hot)
	}
	// A share of 0.25 of 4000 has standard deviation 0.0068.
	require.InDelta(t, 0.25, float64(dropped)/4000, 0.03)
}

// picture is one 4×5 image of two channels whose values tell where they were.
func picture() *data.Images {
	d := &data.Images{N: 1, Height: 4, Width: 5, Channels: 2, Labels: []int{1}, Classes: 3}
	for i := range 40 {
		d.Pixels = append(d.Pixels, float32(i))
	}
	return d
}

// judge is a linear classifier of picture.
func judge(shape ...int) graph.Model {
	spec := graph.Spec{
		Inputs: []graph.Port{{Name: graph.X, Shape: shape}}, Outputs: []graph.Port{{Name: "logits", Shape: []int{3}}},
		Weights: []graph.Weight{{Name: "out.weight", Shape: []int{40, 3}, Std: 0.1}, {Name: "out.bias", Shape: []int{3}, Std: 0.1}}, Shard: 4,
	}
	return graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		return []*graph.Node{b.Linear(b.Reshape(in.Input(graph.X), in.Batch(), 40), in.Weight("out.weight"), in.Weight("out.bias"))}
	}}
}

func TestImagesReachTheNetworkInItsLayout(t *testing.T) {
	d := picture()
	for _, shape := range [][]int{{40}, {4, 5, 2}} {
		task, err := train.Classification{}.Task(judge(shape...), d)
		require.NoError(t, err)
		in := inputs(t, task, batch{Indices: []int{0}})
		for i, v := range in[0] {
			require.Equal(t, float64(i), v)
		}
	}
	task, err := train.Classification{}.Task(judge(2, 4, 5), d)
	require.NoError(t, err)
	in := inputs(t, task, batch{Indices: []int{0}})
	for i, v := range in[0] {
		require.Equal(t, float64(i%20*2+i/20), v)
	}
}

// A shift moves the image and repeats its border; all shifts up to the given one occur, about equally often.
func TestShifts(t *testing.T) {
	d := picture()
	task, err := train.Classification{Augment: train.Augment{Shift: 1}}.Task(judge(40), d)
	require.NoError(t, err)
	count := map[[2]int]int{}
	const n = 9000
	in := inputs(t, task, batch{Indices: make([]int, n)})
	for k := range n {
		x := in[0][40*k : 40*k+40]
		at := func(y, x, c int) float64 { return float64((min(max(y, 0), 3)*5+min(max(x, 0), 4))*2 + c) }
		dy, dx := 1-int(x[(1*5+1)*2])/10, 1-int(x[(1*5+1)*2])%10/2
		count[[2]int{dy, dx}]++
		for y := range 4 {
			for col := range 5 {
				for c := range 2 {
					require.Equal(t, at(y-dy, col-dx, c), x[(y*5+col)*2+c])
				}
			}
		}
	}
	require.Len(t, count, 9)
	for shift, c := range count {
		require.InDelta(t, n/9, c, 150, "%v: five standard deviations of a count of 1000", shift)
	}

	task, err = train.Classification{Augment: train.Augment{Shift: 1, Share: 0.2}}.Task(judge(40), d)
	require.NoError(t, err)
	in = inputs(t, task, batch{Indices: make([]int, n)})
	still := 0
	for k := range n {
		if in[0][40*k+12] == 12 && in[0][40*k] == 0 {
			still++
		}
	}
	require.InDelta(t, n*(0.8+0.2/9), still, 200, "five standard deviations of 38")
}

// Half of the images are turned round, and a shift of one that is turned repeats the same border.
func TestFlips(t *testing.T) {
	d := picture()
	const n = 4000
	for _, shift := range []int{0, 1} {
		task, err := train.Classification{Augment: train.Augment{Flip: true, Shift: shift}}.Task(judge(40), d)
		require.NoError(t, err)
		in := inputs(t, task, batch{Indices: make([]int, n)})
		flipped := 0
		for k := range n {
			x := in[0][40*k : 40*k+40]
			if x[12] > x[16] { // the second row, second and fourth column
				flipped++
				if shift == 0 {
					for i, v := range x {
						require.Equal(t, float64((i/10*5+4-i%10/2)*2+i%2), v)
					}
				}
			}
		}
		require.InDelta(t, n/2, flipped, 160, "five standard deviations of 32")
	}
}

func TestNoiseIsAdded(t *testing.T) {
	d := picture()
	task, err := train.Classification{Augment: train.Augment{Noise: 0.5}}.Task(judge(2, 4, 5), d)
	require.NoError(t, err)
	const n = 500
	in := inputs(t, task, batch{Indices: make([]int, n)})
	mean, square := 0.0, 0.0
	for i, v := range in[0] {
		r := v - float64(i%40%20*2+i%40/20)
		mean, square = mean+r/(40*n), square+r*r/(40*n)
	}
	// 20000 draws: standard deviations 0.0035 of the mean and 0.0025 of the square.
	require.InDelta(t, 0, mean, 0.018)
	require.InDelta(t, 0.25, square, 0.013)
}

func TestSmoothing(t *testing.T) {
	task, err := train.Classification{Smoothing: 0.3}.Task(judge(40), picture())
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{0.1, 0.8, 0.1}, inputs(t, task, batch{Indices: []int{0}})[1], 1e-15)
}

// The gradient of the mean loss of a batch agrees with finite differences in every weight and input, for both losses.
func TestLossGradients(t *testing.T) {
	d := clusters(t, 20)
	diffusion, err := train.Diffusion{Dropout: 0.3}.Task(labelled(2), d)
	require.NoError(t, err)
	classification, err := train.Classification{Smoothing: 0.1}.Task(judge(40), picture())
	require.NoError(t, err)
	for name, row := range map[string]struct {
		task    *train.Task
		indices []int
	}{"mean square": {diffusion, []int{3, 1, 4, 15, 9, 2, 6}}, "cross-entropy": {classification, make([]int, 6)}} {
		t.Run(name, func(t *testing.T) {
			n := len(row.indices)
			spec := row.task.Loss.Spec()
			w, err := graph.NewWeights[float64](spec.Weights, 1)
			require.NoError(t, err)
			c, err := graph.NewCell(row.task.Loss, w)
			require.NoError(t, err)
			defer c.Close()
			v := &graph.Values[float64]{Inputs: inputs(t, row.task, batch{Seed: 1, Indices: row.indices}), Outputs: [][]float64{make([]float64, n)}}
			if name == "cross-entropy" {
				for i := range v.Inputs[0] {
					v.Inputs[0][i] /= 40
				}
			}
			ct := make([]float64, n)
			for i := range ct {
				ct[i] = 1 / float64(n)
			}
			g := &graph.Values[float64]{Outputs: [][]float64{ct}, Weights: map[string][]float64{}}
			for _, in := range v.Inputs {
				g.Inputs = append(g.Inputs, make([]float64, len(in)))
			}
			for _, d := range spec.Weights {
				g.Weights[d.Name] = make([]float64, d.Len())
			}
			require.NoError(t, c.VJP(n, v, g))
			loss := func() (s float64) {
				require.NoError(t, c.Eval(n, v))
				for _, l := range v.Outputs[0] {
					s += l / float64(n)
				}
				return s
			}
			check := func(what string, x, grad []float64, set func()) {
				for i := 0; i < len(x); i += 1 + len(x)/7 {
					const h = 1e-3
					at := func(d float64) float64 {
						old := x[i]
						x[i] = old + d
						set()
						l := loss()
						x[i] = old
						set()
						return l
					}
					fd := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
					require.InDelta(t, fd, grad[i], 1e-8*(1+math.Abs(fd)), "%s[%d]", what, i)
				}
			}
			for i, p := range spec.Inputs {
				check(p.Name, v.Inputs[i], g.Inputs[i], func() {})
			}
			for _, d := range spec.Weights {
				x := slices.Clone(w.Data(d.Name))
				check(d.Name, x, g.Weights[d.Name], func() { require.NoError(t, w.Set(d.Name, x)) })
			}
		})
	}
}

func TestDiffusionErrors(t *testing.T) {
	net := func(change func(s *graph.Spec)) graph.Model {
		m := flowNet(ode.Flow{}, ode.FlowVelocity).(graph.ModelFunc)
		change(&m.Describe)
		return m
	}
	good := clusters(t, 8)
	images := func(change func(d *data.Images)) *data.Images {
		d := *good
		d.Pixels, d.Labels = slices.Clone(d.Pixels), slices.Clone(d.Labels)
		change(&d)
		return &d
	}
	for _, row := range []struct {
		want string
		o    train.Diffusion
		m    graph.Model
		d    *data.Images
	}{
		{`models.Labelled puts "label" in the place of "condition"`, train.Diffusion{}, net(func(s *graph.Spec) {
			s.Inputs = append(s.Inputs, graph.Port{Name: graph.Condition, Shape: []int{3}})
		}), good},
		{"takes [\"x\"]", train.Diffusion{}, net(func(s *graph.Spec) { s.Inputs = s.Inputs[:1] }), good},
		{"has no Schedule", train.Diffusion{}, net(func(s *graph.Spec) { s.Schedule = nil }), good},
		{"Discrete schedule of the network's Spec has no levels", train.Diffusion{}, flowNet(&ode.Discrete{}, ode.Noise), good},
		{"Discrete schedule of the network's Spec has no levels", train.Diffusion{}, flowNet((*ode.Discrete)(nil), ode.Noise), good},
		{"shaped like x", train.Diffusion{}, net(func(s *graph.Spec) { s.Outputs[0].Shape = []int{3} }), good},
		{"Score is infinite at t = 0", train.Diffusion{}, flowNet(ode.Flow{}, ode.Score), good},
		{"infinite at t = 1 of ode.Flow{}; use Data", train.Diffusion{}, flowNet(ode.Flow{}, ode.Denoiser), good},
		{"takes labels, and the images have none", train.Diffusion{}, labelled(2), images(func(d *data.Images) { d.Labels = nil })},
		{"for 3 classes and one for none, the images have 2", train.Diffusion{}, labelled(3), good},
		{"Dropout is 1.5", train.Diffusion{Dropout: 1.5}, labelled(2), good},
		{"Dropout is NaN", train.Diffusion{Dropout: math.NaN()}, labelled(2), good},
		{"no label that could be dropped", train.Diffusion{Dropout: 0.1}, flowNet(ode.Flow{}, ode.FlowVelocity), good},
		{"no images", train.Diffusion{}, flowNet(ode.Flow{}, ode.FlowVelocity), &data.Images{}},
		{"no images", train.Diffusion{}, flowNet(ode.Flow{}, ode.FlowVelocity), nil},
		{"8 images of 2 values, with 15 values", train.Diffusion{}, flowNet(ode.Flow{}, ode.FlowVelocity), images(func(d *data.Images) { d.Pixels = d.Pixels[1:] })},
		{"label 2 of image 3 is outside [0, 2)", train.Diffusion{}, labelled(2), images(func(d *data.Images) { d.Labels[3] = 2 })},
		{"value 1 of image 2 is NaN", train.Diffusion{}, labelled(2), images(func(d *data.Images) { d.Pixels[5] = float32(math.NaN()) })},
		{`takes "x" of shape [2]; the images are 4×5 with 2 channels`, train.Diffusion{}, flowNet(ode.Flow{}, ode.FlowVelocity), picture()},
		{"Shift is 1; images of 1×2 can be moved by 0 to 0", train.Diffusion{Augment: train.Augment{Shift: 1}}, labelled(2), good},
		{"Share is 2", train.Diffusion{Augment: train.Augment{Share: 2}}, labelled(2), good},
		{"Noise is -1", train.Diffusion{Augment: train.Augment{Noise: -1}}, labelled(2), good},
	} {
		_, err := row.o.Task(row.m, row.d)
		require.ErrorContains(t, err, row.want)
	}
}

func TestClassificationErrors(t *testing.T) {
	two := judge(40).(graph.ModelFunc)
	two.Describe.Outputs = []graph.Port{{Name: "a", Shape: []int{3}}, {Name: "b", Shape: []int{3}}}
	unlabelled := picture()
	unlabelled.Labels = nil
	four := picture()
	four.Classes = 4
	for _, row := range []struct {
		want string
		o    train.Classification
		m    graph.Model
		d    *data.Images
	}{
		{`one vector "logits"; this network takes ["x"] and gives ["a" "b"]`, train.Classification{}, two, picture()},
		{"takes one input", train.Classification{}, labelled(2), clusters(t, 4)},
		{"Smoothing is 1", train.Classification{Smoothing: 1}, judge(40), picture()},
		{"without labels", train.Classification{}, judge(40), unlabelled},
		{"3 logits, the images have 4 classes", train.Classification{}, judge(40), four},
		{"of shape [5 4 2]", train.Classification{}, judge(5, 4, 2), picture()},
		{"Shift is 4; images of 4×5 can be moved by 0 to 3", train.Classification{Augment: train.Augment{Shift: 4}}, judge(40), picture()},
	} {
		_, err := row.o.Task(row.m, row.d)
		require.ErrorContains(t, err, row.want)
	}
}
