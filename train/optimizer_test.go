package train

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/parallel"
)

// quadratic is a task whose gradient is known: the loss of a sample is the mean of (w − x)² over the elements of all
// weights, and x is a function of the step.
func quadratic(list []graph.Weight) (*Task, func(step int) []float64) {
	n := 0
	for _, d := range list {
		n += d.Len()
	}
	x := func(step int) []float64 {
		x := make([]float64, n)
		for i := range x {
			x[i] = math.Sin(float64(step*n+i)) * 3
		}
		return x
	}
	spec := graph.Spec{Inputs: []graph.Port{{Name: "x", Shape: []int{n}}}, Outputs: []graph.Port{{Name: "loss"}}, Weights: list}
	return &Task{
		Loss: graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
			var flat []*graph.Node
			for _, d := range list {
				flat = append(flat, b.Reshape(in.Weight(d.Name), 1, d.Len()))
			}
			return []*graph.Node{b.MeanSquare(in.Input("x"), b.Expand(b.Concat(1, flat...), 0, in.Batch()))}
		}},
		Samples: 10,
		Fill: func(in [][]float64, s Sample) error {
			copy(in[0], x(s.Step))
			return nil
		},
	}, x
}

// Steps of the Trainer are those of the formulas in AdamW's comment, written plainly.
func TestTrainerFollowsTheFormulas(t *testing.T) {
	list := []graph.Weight{{Name: "a.weight", Shape: []int{3, 2}, Std: 1}, {Name: "a.bias", Shape: []int{2}, Std: 1},
		{Name: "labels", Shape: []int{2, 2}, Std: 1}, {Name: "deep.position", Shape: []int{1, 3}, Std: 1}}
	const steps, batch = 40, 3
	task, target := quadratic(list)
	w, err := graph.NewWeights[float64](list, 1)
	require.NoError(t, err)
	o := AdamW{Rate: 0.05, Warmup: 10, Floor: 0.1, Beta1: 0.8, Beta2: 0.95, Eps: 1e-3, Decay: 0.3, Clip: 1.2, Average: 0.7}
	var clipped, rates []float64
	tr, err := New(task, w, Config{Steps: steps, Batch: batch, Optimizer: o, Progress: func(p Progress) {
		clipped, rates = append(clipped, p.Norm), append(rates, p.Rate)
	}})
	require.NoError(t, err)
	defer tr.Close()

	fresh, err := graph.NewWeights[float64](list, 1)
	require.NoError(t, err)
	type slot struct{ w, m, v, average []float64 }
	plain := map[string]*slot{}
	for _, d := range list {
		x := slices.Clone(fresh.Data(d.Name))
		plain[d.Name] = &slot{x, make([]float64, len(x)), make([]float64, len(x)), slices.Clone(x)}
	}
	for k := 1; k <= steps; k++ {
		require.NoError(t, tr.Run(context.Background(), 1))
		x, norm := target(k-1), 0.0
		grad := map[string][]float64{}
		for _, d := range list {
			g := make([]float64, d.Len())
			for i := range g {
				g[i] = 2 * (plain[d.Name].w[i] - x[i]) / 15
				norm += g[i] * g[i]
			}
			x, grad[d.Name] = x[len(g):], g
		}
		norm = math.Sqrt(norm)
		rate := 0.05 * float64(k) / 10
		if k > 10 {
			rate = 0.05 * (0.1 + 0.9*(1+math.Cos(math.Pi*float64(k-10)/float64(steps-10)))/2)
		}
		for _, d := range list {
			s, decay := plain[d.Name], 0.0
			if d.Name == "a.weight" {
				decay = 0.3
			}
			for i, g := range grad[d.Name] {
				g *= math.Min(1, 1.2/norm)
				s.m[i] = 0.8*s.m[i] + 0.2*g
				s.v[i] = 0.95*s.v[i] + 0.05*g*g
				mh, vh := s.m[i]/(1-math.Pow(0.8, float64(k))), s.v[i]/(1-math.Pow(0.95, float64(k)))
				s.w[i] -= rate * (decay*s.w[i] + mh/(math.Sqrt(vh)+1e-3))
				keep := math.Min(0.7, float64(k)/float64(k+9))
				s.average[i] = keep*s.average[i] + (1-keep)*s.w[i]
			}
		}
		require.InDelta(t, norm, clipped[k-1], 1e-12)
		require.InDelta(t, rate, rates[k-1], 1e-15)
		average, err := tr.Average()
		require.NoError(t, err)
		for _, d := range list {
			require.InDeltaSlice(t, plain[d.Name].w, w.Data(d.Name), 1e-12, "step %d, %s", k, d.Name)
			require.InDeltaSlice(t, plain[d.Name].average, average.Data(d.Name), 1e-12, "average, step %d, %s", k, d.Name)
		}
	}
	require.True(t, tr.Done())
	require.Greater(t, slices.Max(clipped), 1.2, "some steps are clipped")
	require.Less(t, slices.Min(clipped), 1.2, "and some are not")
	require.NoError(t, tr.Run(context.Background(), 5), "a run that is over stays so")
	require.Equal(t, steps, tr.Step())
}

func TestRate(t *testing.T) {
	o := AdamW{Rate: 2, Warmup: 4, Floor: 0.25}
	require.Equal(t, []float64{0.5, 1, 1.5, 2}, []float64{o.rate(0, 11), o.rate(1, 11), o.rate(2, 11), o.rate(3, 11)})
	require.InDelta(t, 2*(0.25+0.75/2*(1+math.Cos(math.Pi/7))), o.rate(4, 11), 1e-15)
	require.InDelta(t, 0.5, o.rate(10, 11), 1e-15, "the last step is at the floor")
	o.Warmup = 0
	require.Equal(t, 2.0, o.rate(0, 3))
	require.InDelta(t, 1.25, o.rate(1, 3), 1e-15)
	require.InDelta(t, 0.5, o.rate(2, 3), 1e-15)
	require.Equal(t, 2.0, o.rate(0, 1))
	o.Warmup = 3
	require.Equal(t, 2.0, o.rate(2, 3))
}

func TestDefaults(t *testing.T) {
	o := AdamW{}.withDefaults()
	require.NoError(t, o.check())
	require.Equal(t, AdamW{Rate: 1e-3, Beta1: 0.9, Beta2: 0.99, Eps: 1e-8, Average: 0.999, Keep: []string{"labels", "position"}}, o)
	require.True(t, AdamW{Keep: []string{}}.withDefaults().decays(graph.Weight{Name: "labels", Shape: []int{2, 2}}))
	require.False(t, o.decays(graph.Weight{Name: "x.labels", Shape: []int{2, 2}}))
	require.True(t, o.decays(graph.Weight{Name: "relabels", Shape: []int{2, 2}}))
	require.False(t, o.decays(graph.Weight{Name: "gain", Shape: []int{4}}))
	require.Equal(t, 0.1, o.averaging(1), "the first average is mostly the weights")
	require.Equal(t, 0.999, o.averaging(1e6))
	require.Equal(t, 1.0, o.clipping(1e9))
}

// A Trainer that is closed in the middle of a step, when the update begins, says so; the state stays that of the last whole
// step, in memory and in the checkpoint.
func TestARefusedUpdateChangesNothing(t *testing.T) {
	list := []graph.Weight{{Name: "a", Shape: []int{3, 2}, Std: 1}, {Name: "b", Shape: []int{2}, Std: 1}, {Name: "c", Shape: []int{5}, Std: 1}}
	task, _ := quadratic(list)
	path := filepath.Join(t.TempDir(), "checkpoint")
	state := func(tr *Trainer[float64]) string {
		file := filepath.Join(t.TempDir(), "state")
		require.NoError(t, tr.Save(file))
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		return string(b)
	}
	for at := range list { // how many weights have been handed over before
		w, err := graph.NewWeights[float64](list, 1)
		require.NoError(t, err)
		tr, err := New(task, w, Config{Steps: 10, Batch: 2, Checkpoint: path, Every: 3})
		require.NoError(t, err)
		defer tr.Close()
		require.NoError(t, tr.Run(context.Background(), 3))
		saved, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, tr.Run(context.Background(), 1))
		before, seen, inside := state(tr), 0, tr.update
		tr.update = func(name string, w []float64) {
			if seen == at {
				tr.Close()
			}
			seen++
			inside(name, w)
		}
		require.ErrorIs(t, tr.Run(context.Background(), 1), parallel.ErrClosed)
		require.Equal(t, len(list), seen)
		require.Equal(t, 4, tr.Step())
		require.True(t, before == state(tr), "closed at weight %d", at)
		now, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, string(saved) == string(now), "an error leaves the checkpoint alone")
	}
}
