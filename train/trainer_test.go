package train_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train"
)

// trainer makes one of a small flow; change may alter its configuration.
func trainer(t testing.TB, change func(*train.Config)) *train.Trainer[float32] {
	t.Helper()
	tr, err := newTrainer(change)
	require.NoError(t, err)
	t.Cleanup(tr.Close)
	return tr
}

func newTrainer(change func(*train.Config)) (*train.Trainer[float32], error) {
	d, err := clustersOf(512)
	if err != nil {
		return nil, err
	}
	task, err := train.Diffusion{Dropout: 0.1}.Task(labelled(2), d)
	if err != nil {
		return nil, err
	}
	w, err := graph.NewWeights[float32](task.Loss.Spec().Weights, 1)
	if err != nil {
		return nil, err
	}
	c := train.Config{Steps: 60, Batch: 37, Seed: 3, Optimizer: train.AdamW{Rate: 5e-3, Warmup: 5, Decay: 0.01, Clip: 1}}
	if change != nil {
		change(&c)
	}
	return train.New(task, w, c)
}

func bits(t testing.TB, tr *train.Trainer[float32]) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "state")
	require.NoError(t, tr.Save(path))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}

// Training brings the loss near that of the closed form, below which no network can go, for every kind of prediction.
func TestLearnsMixture(t *testing.T) {
	const batch, steps = 64, 1500
	d := clusters(t, 4096)
	for _, row := range []struct {
		s ode.Schedule
		p ode.Prediction
	}{{ode.Flow{}, ode.FlowVelocity}, {ode.VPLinear{}, ode.Noise}, {ode.VPCosine{}, ode.Data}, {ode.VPCosine{}, ode.Velocity}} {
		t.Run(row.p.String(), func(t *testing.T) {
			task, err := train.Diffusion{}.Task(flowNet(row.s, row.p), d)
			require.NoError(t, err)
			w, err := graph.NewWeights[float32](task.Loss.Spec().Weights, 1)
			require.NoError(t, err)
			var curve []float64
			tr, err := train.New(task, w, train.Config{Steps: steps, Batch: batch, Seed: 3, Optimizer: train.AdamW{Rate: 5e-3, Warmup: 50, Clip: 1},
				Progress: func(p train.Progress) { curve = append(curve, p.Loss) }})
			require.NoError(t, err)
			defer tr.Close()
			require.NoError(t, tr.Run(context.Background(), steps))
			require.Len(t, curve, steps)

			average, err := tr.Average()
			require.NoError(t, err)
			best, start, got := losses(t, task, average)
			t.Logf("closed form %.4f, untrained %.4f, trained %.4f", best, start, got)
			// 1500 steps are few; the rest of the way takes ten times as many.
			require.Less(t, got-best, 0.1*(start-best))
			// Both are means over the same 2048 draws, so that only what the network has learned of these data can be
			// below the optimum for the distribution.
			require.Greater(t, got-best, -0.01*(start-best))
		})
	}
}

func TestClassifierLearns(t *testing.T) {
	d := clusters(t, 512)
	for i := range d.Labels { // the sign of x+y, which a linear network can tell
		d.Labels[i] = 0
		if d.Pixels[2*i]+d.Pixels[2*i+1] > 0 {
			d.Labels[i] = 1
		}
	}
	spec := graph.Spec{Inputs: []graph.Port{{Name: "x", Shape: []int{1, 1, 2}}}, Outputs: []graph.Port{{Name: "logits", Shape: []int{2}}, {Name: "features", Shape: []int{2}}},
		Weights: []graph.Weight{{Name: "weight", Shape: []int{2, 2}, Std: 0.1}, {Name: "bias", Shape: []int{2}}}}
	m := graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		x := b.Reshape(in.Input("x"), in.Batch(), 2)
		return []*graph.Node{b.Linear(x, in.Weight("weight"), in.Weight("bias")), x}
	}}
	task, err := train.Classification{}.Task(m, d)
	require.NoError(t, err)
	w, err := graph.NewWeights[float64](spec.Weights, 1)
	require.NoError(t, err)
	last := 0.0
	tr, err := train.New(task, w, train.Config{Steps: 500, Batch: 64, Optimizer: train.AdamW{Rate: 0.05}, Progress: func(p train.Progress) { last = p.Loss }})
	require.NoError(t, err)
	defer tr.Close()
	require.NoError(t, tr.Run(context.Background(), 500))
	require.Less(t, last, 0.1)
	a := w.Data("weight")
	require.InEpsilon(t, a[1]-a[0], a[3]-a[2], 0.25, "the boundary is x+y = 0")
}

// The state after a run is the same to the last bit on any number of workers, in pieces, and through a checkpoint.
func TestSameBits(t *testing.T) {
	whole := trainer(t, nil)
	require.NoError(t, whole.Run(context.Background(), 60))
	want := bits(t, whole)
	for _, workers := range []int{1, 2, 5} {
		tr := trainer(t, func(c *train.Config) { c.Workers = workers })
		for !tr.Done() {
			require.NoError(t, tr.Run(context.Background(), 7))
		}
		require.True(t, want == bits(t, tr), "%d workers", workers)
	}
	path := filepath.Join(t.TempDir(), "checkpoint")
	first := trainer(t, func(c *train.Config) { c.Checkpoint, c.Every = path, 20 })
	require.NoError(t, first.Run(context.Background(), 33))
	second := trainer(t, nil)
	require.NoError(t, second.Resume(path))
	require.Equal(t, 20, second.Step())
	require.NoError(t, second.Run(context.Background(), 1e9))
	require.True(t, want == bits(t, second), "resumed")

	other := trainer(t, func(c *train.Config) { c.Seed++ })
	require.NoError(t, other.Run(context.Background(), 60))
	require.False(t, want == bits(t, other), "another seed is another run")
}

// An epoch makes a generator for its order of the samples; steps within one allocate nothing.
func TestStepsDoNotAllocate(t *testing.T) {
	task, err := train.Diffusion{Augment: train.Augment{Noise: 0.1}}.Task(flowNet(ode.Flow{}, ode.FlowVelocity), clusters(t, 8192))
	require.NoError(t, err)
	w, err := graph.NewWeights[float32](task.Loss.Spec().Weights, 1)
	require.NoError(t, err)
	tr, err := train.New(task, w, train.Config{Steps: 1000, Batch: 37, Progress: func(train.Progress) {}})
	require.NoError(t, err)
	defer tr.Close()
	require.NoError(t, tr.Run(context.Background(), 5))
	require.Zero(t, testing.AllocsPerRun(1, func() {
		if tr.Run(context.Background(), 50) != nil {
			t.Fail()
		}
	}))
}

func TestCancelKeepsTheState(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	tr := trainer(t, func(c *train.Config) {
		c.Checkpoint = path
		c.Progress = func(p train.Progress) {
			if p.Step == 11 {
				cancel()
			}
		}
	})
	err := tr.Run(ctx, 60)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "stopped after 11 of 60 steps")
	require.Equal(t, 11, tr.Step())
	next := trainer(t, nil)
	require.NoError(t, next.Resume(path))
	require.True(t, bits(t, tr) == bits(t, next))
}

func TestProgress(t *testing.T) {
	var seen []train.Progress
	tr := trainer(t, func(c *train.Config) {
		c.Optimizer.Floor = 0.1
		c.Progress = func(p train.Progress) { seen = append(seen, p) }
	})
	require.NoError(t, tr.Run(context.Background(), 60))
	require.Len(t, seen, 60)
	for i, p := range seen {
		require.Equal(t, i+1, p.Step)
		require.Equal(t, 60, p.Steps)
		require.Positive(t, p.Loss)
		require.Positive(t, p.Rate)
		require.Positive(t, p.Norm)
		require.Positive(t, p.PerSecond)
		// What is left takes as long a step as what is done.
		require.InDelta(t, float64(37*(60-p.Step))/p.PerSecond, p.Left.Seconds(), 1e-6)
	}
}

// A number that goes bad stops the run with its place, and the weights are those before the step.
func TestNumericErrors(t *testing.T) {
	d := clusters(t, 512)
	spec := graph.Spec{Inputs: []graph.Port{{Name: "x", Shape: []int{1}}}, Outputs: []graph.Port{{Name: "loss"}}, Weights: []graph.Weight{{Name: "w", Shape: []int{1}, Mean: 1}}}
	for _, row := range []struct {
		want  string
		value float64 // of the input at step 3, place 2
		f     graph.Func
	}{
		{"loss of sample ", math.Inf(1), graph.Square},
		{"loss of sample ", math.NaN(), graph.Square},
		{`gradient of "w" is`, 0, graph.Sqrt}, // √(0·w) has an infinite slope, 0·∞
	} {
		path := filepath.Join(t.TempDir(), "checkpoint")
		task := &train.Task{
			Loss: graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
				n := in.Batch()
				w := b.Expand(b.Reshape(in.Weight("w"), 1, 1), 0, n)
				return []*graph.Node{b.Reshape(b.Map(row.f, b.Mul(w, in.Input("x"))), n)}
			}},
			Samples: d.N,
			Fill: func(in [][]float64, s train.Sample) error {
				in[0][0] = 1
				if s.Step == 3 && s.Place == 2 {
					in[0][0] = row.value
				}
				return nil
			},
		}
		w, err := graph.NewWeights[float64](spec.Weights, 1)
		require.NoError(t, err)
		tr, err := train.New(task, w, train.Config{Steps: 10, Batch: 5, Checkpoint: path, Every: 2})
		require.NoError(t, err)
		defer tr.Close()
		err = tr.Run(context.Background(), 10)
		var bad *train.NumericError
		require.ErrorAs(t, err, &bad)
		require.Equal(t, 3, bad.Step)
		require.Len(t, bad.Indices, 5)
		require.ErrorContains(t, err, "train: step 3: "+row.want)
		require.False(t, bad.Value-bad.Value == 0)
		require.Equal(t, 3, tr.Step())
		require.InDelta(t, 1, w.Data("w")[0], 0.01)
		require.NoError(t, tr.Resume(path))
		require.Equal(t, 2, tr.Step(), "the last checkpoint before is still there")
	}
}

func TestNumericErrorNamesAFewSamples(t *testing.T) {
	e := &train.NumericError{Step: 3, Indices: []int{5, 1, 4}, Quantity: "loss of sample 4", Value: math.Inf(1)}
	require.ErrorContains(t, e, "loss of sample 4 is +Inf (in a batch of 3: 5 1 4); start again")
	e.Indices = make([]int, 64)
	require.ErrorContains(t, e, "(in a batch of 64: 0 0 0 0 0 0 0 0 …)")
}

// What a NumericError advises works: the checkpoint of a run is resumed with another optimizer, if that is said to be meant,
// and with nothing else of another kind.
func TestRetune(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	require.NoError(t, trainer(t, func(c *train.Config) { c.Checkpoint, c.Every = path, 20 }).Run(context.Background(), 30))
	gentle := func(c *train.Config) {
		c.Optimizer = train.AdamW{Rate: 1e-3, Warmup: 40, Clip: 0.5, Keep: []string{"x"}}
	}
	require.ErrorContains(t, trainer(t, gentle).Resume(path), `rate is "0.005" there and "0.001" here`)

	var rates []float64
	tr := trainer(t, func(c *train.Config) {
		gentle(c)
		c.Retune = true
		c.Progress = func(p train.Progress) { rates = append(rates, p.Rate) }
	})
	require.NoError(t, tr.Resume(path))
	require.Equal(t, 20, tr.Step())
	require.NoError(t, tr.Run(context.Background(), 10))
	require.InDelta(t, 1e-3*21/40, rates[0], 1e-12)
	require.NoError(t, tr.Save(path))
	require.NoError(t, trainer(t, gentle).Resume(path), "from here on it is a run of the new optimizer")

	other := trainer(t, func(c *train.Config) { c.Retune, c.Batch, c.Seed, c.Optimizer.Rate = true, 12, 4, 1 })
	err := other.Resume(path)
	require.ErrorContains(t, err, `is of another run: batch is "37" there and "12" here; seed is "3" there and "4" here`)
	require.NotContains(t, err.Error(), "rate")
}

// A Fill that hands over slices of its own is told to copy, for either element type, and nothing of its is written to.
func TestFillMustWriteInPlace(t *testing.T) {
	t.Run("float32", fillInPlace[float32])
	t.Run("float64", fillInPlace[float64])
}

func fillInPlace[T graph.Float](t *testing.T) {
	spec := graph.Spec{Inputs: []graph.Port{{Name: "a", Shape: []int{2}}, {Name: "b", Shape: []int{2}}}, Outputs: []graph.Port{{Name: "loss"}},
		Weights: []graph.Weight{{Name: "w", Shape: []int{2, 2}, Mean: 1}}}
	model := graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		return []*graph.Node{b.MeanSquare(b.Linear(in.Input("a"), in.Weight("w"), nil), in.Input("b"))}
	}}
	rows := [][]float64{{1, 2}, {3, 4}, {5, 6}, {7, 8}}
	assign := true
	for name, put := range map[string]func(in [][]float64, row []float64){
		"another slice": func(in [][]float64, row []float64) { in[1] = row },
		"a longer one":  func(in [][]float64, row []float64) { in[1] = append(in[1], 1) },
		"a part":        func(in [][]float64, row []float64) { in[1] = in[1][:1] },
		"none":          func(in [][]float64, row []float64) { in[1] = nil },
	} {
		task := &train.Task{Loss: model, Samples: 4, Fill: func(in [][]float64, s train.Sample) error {
			copy(in[0], rows[s.Index])
			if copy(in[1], rows[s.Index]); assign && s.Place == 2 {
				put(in, rows[s.Index])
			}
			return nil
		}}
		w, err := graph.NewWeights[T](spec.Weights, 1)
		require.NoError(t, err)
		tr, err := train.New(task, w, train.Config{Steps: 2, Batch: 4})
		require.NoError(t, err)
		defer tr.Close()
		assign = true
		require.ErrorContains(t, tr.Run(context.Background(), 2), "after Fill input 1 is another slice; it must write into the one that it is given", name)
		require.Zero(t, tr.Step())
		assign = false
		require.NoError(t, tr.Run(context.Background(), 2), "%s: the slices that it is given next are the Trainer's again", name)
		require.Equal(t, [][]float64{{1, 2}, {3, 4}, {5, 6}, {7, 8}}, rows)
	}
}

// A Task is told the seed, the step and the sample, of which an epoch holds each once, and has room for just that.
func TestSamplesReachTheTask(t *testing.T) {
	task, err := train.Diffusion{}.Task(flowNet(ode.Flow{}, ode.FlowVelocity), clusters(t, 8))
	require.NoError(t, err)
	var mu sync.Mutex
	inside, seen, places := task.Fill, map[int]int{}, map[train.Sample]bool{}
	task.Fill = func(in [][]float64, s train.Sample) error {
		mu.Lock()
		defer mu.Unlock()
		assert.Equal(t, uint64(77), s.Seed)
		for k, p := range task.Loss.Spec().Inputs {
			assert.Equal(t, p.Len(), cap(in[k]))
		}
		seen[s.Index]++
		places[train.Sample{Step: s.Step, Place: s.Place}] = true
		return inside(in, s)
	}
	w, err := graph.NewWeights[float32](task.Loss.Spec().Weights, 1)
	require.NoError(t, err)
	tr, err := train.New(task, w, train.Config{Steps: 12, Batch: 2, Seed: 77})
	require.NoError(t, err)
	defer tr.Close()
	require.NoError(t, tr.Run(context.Background(), 12))
	require.Len(t, seen, 8)
	for i, n := range seen {
		require.Equal(t, 3, n, "sample %d", i)
	}
	require.Len(t, places, 24)
	for s := range places {
		require.True(t, s.Step < 12 && s.Place < 2, s)
	}
}

func TestFillErrorsStopTheRun(t *testing.T) {
	broken := errors.New("no disk")
	d := clusters(t, 8)
	task, err := train.Diffusion{}.Task(flowNet(ode.Flow{}, ode.FlowVelocity), d)
	require.NoError(t, err)
	task.Fill = func(_ [][]float64, s train.Sample) error {
		if s.Place < 3 {
			return nil
		}
		return broken
	}
	w, err := graph.NewWeights[float32](task.Loss.Spec().Weights, 1)
	require.NoError(t, err)
	tr, err := train.New(task, w, train.Config{Steps: 10, Batch: 5})
	require.NoError(t, err)
	defer tr.Close()
	err = tr.Run(context.Background(), 1)
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "train: step 0: sample ")
	require.Equal(t, 1, strings.Count(err.Error(), "no disk"), "said once")
	require.ErrorContains(t, tr.Run(context.Background(), -1), "Run of -1 steps")
}

func TestConfigErrors(t *testing.T) {
	dir := t.TempDir()
	nan, inf := math.NaN(), math.Inf(1)
	for want, change := range map[string]func(*train.Config){
		"Config.Steps is 0":                        func(c *train.Config) { c.Steps = 0 },
		"Config.Batch is -1":                       func(c *train.Config) { c.Batch = -1 },
		"Config.Every is -1":                       func(c *train.Config) { c.Every = -1 },
		"Config.Workers is -1":                     func(c *train.Config) { c.Workers = -1 },
		"Every is 5 without a Checkpoint":          func(c *train.Config) { c.Every = 5 },
		"Warmup is 61; it must be at most":         func(c *train.Config) { c.Optimizer.Warmup = 61 },
		"Warmup is -1":                             func(c *train.Config) { c.Optimizer.Warmup = -1 },
		"Rate is -1":                               func(c *train.Config) { c.Optimizer.Rate = -1 },
		"Rate is NaN":                              func(c *train.Config) { c.Optimizer.Rate = nan },
		"Rate is +Inf":                             func(c *train.Config) { c.Optimizer.Rate = inf },
		"Floor is 2":                               func(c *train.Config) { c.Optimizer.Floor = 2 },
		"Beta1 is 1":                               func(c *train.Config) { c.Optimizer.Beta1 = 1 },
		"Beta2 is -0.5":                            func(c *train.Config) { c.Optimizer.Beta2 = -0.5 },
		"Eps is -1":                                func(c *train.Config) { c.Optimizer.Eps = -1 },
		"Decay is -1":                              func(c *train.Config) { c.Optimizer.Decay = -1 },
		"Clip is NaN":                              func(c *train.Config) { c.Optimizer.Clip = nan },
		"Average is 1":                             func(c *train.Config) { c.Optimizer.Average = 1 },
		"no checkpoint can be written":             func(c *train.Config) { c.Checkpoint = filepath.Join(dir, "none", "file") },
		"checkpoint " + dir + " is no regular":     func(c *train.Config) { c.Checkpoint = dir },
		"Steps is -1; it must be at least 1\ntrai": func(c *train.Config) { c.Steps, c.Batch = -1, -1 }, // all at once
	} {
		_, err := newTrainer(change)
		require.ErrorContains(t, err, want)
	}
	for _, task := range []*train.Task{nil, {}, {Loss: flowNet(ode.Flow{}, ode.Noise), Fill: func([][]float64, train.Sample) error { return nil }}} {
		_, err := train.New(task, &graph.Weights[float32]{}, train.Config{Steps: 1, Batch: 1})
		require.ErrorContains(t, err, "a Task needs Loss, Fill and at least one of Samples")
	}
	_, err := train.New(&train.Task{Loss: flowNet(ode.Flow{}, ode.Noise), Samples: 1, Fill: func([][]float64, train.Sample) error { return nil }},
		&graph.Weights[float32]{}, train.Config{Steps: 1, Batch: 1})
	require.ErrorContains(t, err, "one number a sample")
}

// A checkpoint is of one run only, and says in what it differs from another.
func TestResumeListsDifferences(t *testing.T) {
	path := filepath.Join(t.TempDir(), "checkpoint")
	tr := trainer(t, func(c *train.Config) { c.Checkpoint = path })
	require.NoError(t, tr.Run(context.Background(), 60))

	other := trainer(t, func(c *train.Config) { c.Batch, c.Optimizer.Decay, c.Optimizer.Keep = 12, 0.5, []string{"x"} })
	before := bits(t, other)
	err := other.Resume(path)
	require.ErrorContains(t, err, `batch is "37" there and "12" here; decay is "0.01" there and "0.5" here; kept from decay is "labels position" there and "x" here`)
	require.NotContains(t, err.Error(), "seed")
	require.True(t, before == bits(t, other), "a refused checkpoint changes nothing")

	d := clusters(t, 512)
	d.Pixels[77]++
	build := func(m graph.Model, o train.Diffusion) *train.Trainer[float32] {
		task, err := o.Task(m, d)
		require.NoError(t, err)
		w, err := graph.NewWeights[float32](task.Loss.Spec().Weights, 1)
		require.NoError(t, err)
		tr, err := train.New(task, w, train.Config{Steps: 60, Batch: 37, Seed: 3, Optimizer: train.AdamW{Rate: 5e-3, Warmup: 5, Decay: 0.01, Clip: 1}})
		require.NoError(t, err)
		t.Cleanup(tr.Close)
		return tr
	}
	err = build(labelled(2), train.Diffusion{Dropout: 0.1}).Resume(path)
	require.ErrorContains(t, err, "task: data is")
	require.NotContains(t, err.Error(), "objective")
	d = clusters(t, 512)
	d.Labels[77] = 1 - d.Labels[77]
	require.ErrorContains(t, build(labelled(2), train.Diffusion{Dropout: 0.1}).Resume(path), "task: data is")
	err = build(flowNet(ode.VPLinear{}, ode.Noise), train.Diffusion{Times: train.UShaped{A: 2}}).Resume(path)
	for _, want := range []string{"inputs is", "prediction is", "schedule is", "there and \"train.UShaped with the quartiles", "there and \"ode.VPLinear from 0.001 to 1,", `tensor "weight/labels" is surplus there`} {
		require.ErrorContains(t, err, want)
	}
	wider := labelled(2).(graph.ModelFunc)
	wider.Describe.Weights[0].Shape = []int{18, 50}
	wider.Describe.Weights[1].Name = "renamed"
	wider.Network = func(b *graph.Builder, in *graph.Inputs) []*graph.Node { return []*graph.Node{in.Input(graph.X)} }
	err = build(wider, train.Diffusion{Dropout: 0.1}).Resume(path)
	require.ErrorContains(t, err, `weight "in.weight" is [18 48] there and [18 50] here; weight "renamed" [48] is missing there`)

	// Schedules and times are compared by what they compute: not by name, not by where they are in memory.
	discrete := func(scale float64) graph.Model { // one of a thousand levels is scaled
		bars := make([]float64, 1000)
		for i := range bars {
			bars[i] = math.Exp(-float64(i+1) / 100)
		}
		bars[700] *= scale
		s, err := ode.DiscreteFromAlphaBars(bars)
		require.NoError(t, err)
		return flowNet(s, ode.Noise)
	}
	levels := filepath.Join(t.TempDir(), "levels")
	times := train.LogitNormal{Mean: 1}
	require.NoError(t, build(discrete(1), train.Diffusion{Times: &train.LogitNormal{Mean: 1}}).Save(levels))
	require.NoError(t, build(discrete(1), train.Diffusion{Times: &times}).Resume(levels))
	require.NoError(t, build(discrete(1), train.Diffusion{Times: times}).Resume(levels))
	err = build(discrete(1.001), train.Diffusion{Times: &times}).Resume(levels)
	require.ErrorContains(t, err, "schedule is")
	require.ErrorContains(t, err, "Discrete from 0.001 to 1")
	times.Std = 1.00001 // the quartiles are alike as they are printed
	require.ErrorContains(t, build(discrete(1), train.Diffusion{Times: &times}).Resume(levels), "times is")
	require.ErrorContains(t, build(discrete(1), train.Diffusion{Times: train.LogitNormal{Mean: 1}, Augment: train.Augment{Noise: 0.1}}).Resume(levels), "objective is")

	fresh := trainer(t, nil)
	require.ErrorContains(t, fresh.Resume(filepath.Join(t.TempDir(), "none")), "resuming")
	weights := filepath.Join(t.TempDir(), "weights")
	require.NoError(t, fresh.Weights().Save(weights, graph.F32, nil))
	require.ErrorContains(t, fresh.Resume(weights), "is no checkpoint")

	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	torn := filepath.Join(t.TempDir(), "torn")
	before = bits(t, fresh)
	for _, n := range []int{0, 5, 500, len(whole) / 2, len(whole) - 1} {
		require.NoError(t, os.WriteFile(torn, whole[:n], 0o666))
		require.Error(t, fresh.Resume(torn), "%d bytes", n)
	}
	longer := strings.Replace(string(whole), `"steps done":"60"`, `"steps done":"61"`, 1)
	require.NotEqual(t, string(whole), longer)
	require.NoError(t, os.WriteFile(torn, []byte(longer), 0o666))
	require.ErrorContains(t, fresh.Resume(torn), "61 steps are done of 60")
	require.True(t, before == bits(t, fresh))
	require.NoError(t, fresh.Resume(path))
	require.True(t, fresh.Done())
}
