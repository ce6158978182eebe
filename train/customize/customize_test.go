package customize_test

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
	"github.com/ebb-go/ebb/train/customize"
)

const batch, dim = 6, 2

func plans(t *testing.T) (inner, replay *ode.Plan) {
	t.Helper()
	for i, n := range []int{4, 16} {
		p, err := ode.RK{Tableau: ode.MidpointRule()}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Grid: ode.UniformTime{}, From: 0.98, To: 0.02, Steps: n})
		require.NoError(t, err)
		if i == 0 {
			inner = p
		} else {
			replay = p
		}
	}
	return inner, replay
}

// modes is a sampler of three separate modes; its means are weights that can be moved.
func modes(t *testing.T) customize.Sampler[float64] {
	t.Helper()
	m := exact.Mixture{Weights: []float64{1, 1, 1}, Means: [][]float64{{1, 0}, {-1, 1}, {0, -1.5}}, Variances: []float64{.2, .2, .2}}
	f, err := exact.NewField[float64](m, ode.Flow{}, ode.FlowVelocity)
	require.NoError(t, err)
	inner, replay := plans(t)
	return customize.Sampler[float64]{Field: f, Plan: inner, Replay: replay, Batch: batch, Dim: dim}
}

// near is the mean squared distance to a point.
func near(to ...float64) adjoint.Loss[float64] {
	return func(s, g adjoint.States[float64]) (float64, error) {
		sum := 0.0
		for i, v := range s.Outputs["x"] {
			d := v - to[i%len(to)]
			sum += d * d / batch
			g.Outputs["x"][i] += 2 * d / batch
		}
		return sum, nil
	}
}

func latents() []float64 {
	x := make([]float64, batch*dim)
	rng.Normal(x, 1, 2, 3)
	return x
}

// Latents are moved until the samples they become lie in the mode that is asked for.
func TestLatentReachesTheMode(t *testing.T) {
	s := modes(t)
	var seen []int
	o := customize.Options[float64]{Iterations: 60, LearningRate: 0.1,
		Observe: func(p customize.Progress) error { seen = append(seen, p.Iteration); return nil }}
	r, err := customize.Latent(context.Background(), s, latents(), near(1, 0), o)
	require.NoError(t, err)
	require.Equal(t, customize.Improved, r.Verdict)
	require.Greater(t, r.Before, 1.0)
	require.Less(t, r.After, 0.05) // samples of the mode itself are at 2·0.2 in the mean
	require.Less(t, r.Replayed, 0.1)
	require.Len(t, r.Curve, 60)
	require.Len(t, seen, 60)
	require.Equal(t, latents(), r.Start["x"])

	x, err := ode.Sample(context.Background(), s.Plan, s.Field, r.Values["x"], batch)
	require.NoError(t, err)
	g := adjoint.States[float64]{Outputs: map[string][]float64{"x": make([]float64, batch*dim)}}
	again, err := near(1, 0)(adjoint.States[float64]{Outputs: map[string][]float64{"x": x}}, g)
	require.NoError(t, err)
	require.Equal(t, r.After, again, "the best iterate is the one whose loss is reported")
}

// Weights are moved so that the samples' mean goes where it is asked; the field is left as it was.
func TestWeightsMoveThePopulation(t *testing.T) {
	s := modes(t)
	before := make([]float64, 6)
	require.NoError(t, s.Field.Load("means", before))
	r, err := customize.Weights(context.Background(), s, []string{"means"}, near(2, 2), customize.Options[float64]{Iterations: 40, LearningRate: 0.1, Clip: 1, Fall: true})
	require.NoError(t, err)
	require.Less(t, r.After, 0.3*r.Before)
	after := make([]float64, 6)
	require.NoError(t, s.Field.Load("means", after))
	require.Equal(t, before, after)
	require.NotEqual(t, before, r.Values["means"])
}

// A condition is learned that shifts the samples of every latent.
func TestConditionIsLearned(t *testing.T) {
	spec := graph.Spec{
		Inputs:  []graph.Port{{Name: graph.X, Shape: []int{dim}}, {Name: graph.Time}, {Name: graph.Condition, Shape: []int{dim}}},
		Outputs: []graph.Port{{Name: "u", Shape: []int{dim}}},
		Weights: []graph.Weight{{Name: "w", Shape: []int{dim, dim}, Std: 1}},
	}
	m := graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		return []*graph.Node{b.Sub(in.Input(graph.X), b.Linear(in.Input(graph.Condition), in.Weight("w"), nil))}
	}}
	w, err := graph.NewWeights[float64](spec.Weights, 1)
	require.NoError(t, err)
	c, err := graph.NewCell(m, w)
	require.NoError(t, err)
	defer c.Close()
	f, err := graph.NewField(c, make([]float64, batch*dim))
	require.NoError(t, err)
	inner, replay := plans(t)
	s := customize.Sampler[float64]{Field: f, Plan: inner, Replay: replay, Batch: batch, Dim: dim}
	r, err := customize.Condition(context.Background(), s, []float64{0, 0}, near(1, -1), customize.Options[float64]{Iterations: 120, LearningRate: 0.05})
	require.NoError(t, err)
	require.Less(t, r.After, 0.6*r.Before)
	require.Len(t, r.Values["condition"], dim)

	// The gradient of the shared condition is the sum over the batch: at the optimum of this linear problem, the mean of
	// the samples is where it was asked to be, up to the spread of the latents.
	tile := make([]float64, batch*dim)
	for i := range tile {
		tile[i] = r.Values["condition"][i%dim]
	}
	require.NoError(t, f.SetCondition(tile))
	x, err := ode.Sample(context.Background(), inner, f, make([]float64, batch*dim), batch)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{1, -1}, x[:dim], 0.2) // six latents an iteration, rate 0.05
}

// An optimization that is stopped and resumed ends with the same bits as one that was not.
func TestResumeGivesTheSameBits(t *testing.T) {
	for _, every := range []int{3, 100} {
		s := modes(t)
		o := customize.Options[float64]{Iterations: 12, Checkpoint: filepath.Join(t.TempDir(), "state.safetensors"), CheckpointEvery: every, Resume: true}
		whole, err := customize.Weights(context.Background(), s, []string{"means"}, near(2, 2), customize.Options[float64]{Iterations: 12})
		require.NoError(t, err)

		ctx, cancel := context.WithCancel(context.Background())
		stop := o
		stop.Observe = func(p customize.Progress) error {
			if p.Iteration == 7 {
				cancel()
			}
			return nil
		}
		part, err := customize.Weights(ctx, s, []string{"means"}, near(2, 2), stop)
		require.ErrorIs(t, err, context.Canceled)
		require.Len(t, part.Curve, 7)
		require.Equal(t, customize.Unfinished, part.Verdict)

		resumed, err := customize.Weights(context.Background(), s, []string{"means"}, near(2, 2), o)
		require.NoError(t, err)
		require.Equal(t, whole.Curve, resumed.Curve)
		require.Equal(t, whole.Values, resumed.Values)
		require.Equal(t, whole.Replayed, resumed.Replayed)
		require.Equal(t, whole.NFE, resumed.NFE)

		o.Seed = 9
		_, err = customize.Weights(context.Background(), s, []string{"means"}, near(2, 2), o)
		require.ErrorContains(t, err, "is of another optimization")
	}
}

// A loss that only the coarse solver can satisfy is found out by the replay.
func TestVerdicts(t *testing.T) {
	s := modes(t)
	evaluations := 0
	cheat := func(x, g adjoint.States[float64]) (float64, error) { // falls with every call, except under the replay
		evaluations++
		return 1 / float64(evaluations), nil
	}
	r, err := customize.Latent(context.Background(), s, latents(), cheat, customize.Options[float64]{Iterations: 5})
	require.NoError(t, err)
	require.Equal(t, customize.Improved, r.Verdict)

	same := func(x, g adjoint.States[float64]) (float64, error) { return 3, nil }
	r, err = customize.Latent(context.Background(), s, latents(), same, customize.Options[float64]{Iterations: 3})
	require.NoError(t, err)
	require.Equal(t, customize.Unimproved, r.Verdict)

	fooled := func(x, g adjoint.States[float64]) (float64, error) {
		evaluations++
		if evaluations > 12+1 {
			return 10, nil // the last call is the replay
		}
		return 1 / float64(evaluations), nil
	}
	evaluations = 0
	r, err = customize.Latent(context.Background(), s, latents(), fooled, customize.Options[float64]{Iterations: 11})
	require.NoError(t, err)
	require.Equal(t, customize.Overfitted, r.Verdict)
}

func TestOptionsChangeTheResult(t *testing.T) {
	s := modes(t)
	base := customize.Options[float64]{Iterations: 10}
	run := func(change func(*customize.Options[float64])) []float64 {
		o := base
		change(&o)
		r, err := customize.Weights(context.Background(), s, []string{"means"}, near(2, 2), o)
		require.NoError(t, err)
		return append(r.Values["means"], r.Curve...)
	}
	plain := run(func(*customize.Options[float64]) {})
	require.Equal(t, plain, run(func(*customize.Options[float64]) {}))
	for name, change := range map[string]func(*customize.Options[float64]){
		"Iterations":   func(o *customize.Options[float64]) { o.Iterations = 9 },
		"LearningRate": func(o *customize.Options[float64]) { o.LearningRate = 0.01 },
		"Fall":         func(o *customize.Options[float64]) { o.Fall = true },
		"Seed":         func(o *customize.Options[float64]) { o.Seed = 1 },
		"Constrain":    func(o *customize.Options[float64]) { o.Constrain = func(_ string, v []float64) { v[0] = 1 } },
		// Adam divides by the size of the gradient; a clip that acts on some steps only is felt.
		"Clip": func(o *customize.Options[float64]) { o.Clip = 0.5 },
	} {
		require.NotEqual(t, plain, run(change), name)
	}
	require.NotEqual(t, plain, run(func(o *customize.Options[float64]) {
		o.Start = func(_ context.Context, i int, x []float64) error { rng.Normal(x, 5, uint64(i+1), 0); return nil }
	}), "Start")
	previews := 0
	run(func(o *customize.Options[float64]) {
		o.PreviewEvery = 4
		o.Preview = func(i int, x []float64) error { previews++; require.Len(t, x, batch*dim); return nil }
	})
	require.Equal(t, 4, previews) // 0, 4, 8 and the last
}

func TestErrors(t *testing.T) {
	ctx, s := context.Background(), modes(t)
	type o = customize.Options[float64]
	_, err := customize.Latent(ctx, s, latents()[1:], near(0, 0), o{})
	require.ErrorContains(t, err, "latents of 11 elements for 6 samples of 2")
	bad := latents()
	bad[3] = math.NaN()
	_, err = customize.Latent(ctx, s, bad, near(0, 0), o{})
	require.ErrorContains(t, err, `element 3 of "x" is NaN`)
	_, err = customize.Weights(ctx, s, []string{"nothing"}, near(0, 0), o{})
	require.ErrorContains(t, err, `nothing is called "nothing"`)
	_, err = customize.Condition(ctx, s, []float64{1}, near(0, 0), o{})
	require.Error(t, err)
	_, err = customize.Latent(ctx, s, latents(), nil, o{})
	require.ErrorContains(t, err, "the loss is nil")
	_, err = customize.Latent(ctx, s, latents(), near(0, 0), o{Resume: true})
	require.ErrorContains(t, err, "Resume needs Checkpoint")
	_, err = customize.Latent(ctx, s, latents(), near(0, 0), o{LearningRate: -1})
	require.ErrorContains(t, err, "LearningRate -1")
	coarse := s
	coarse.Replay = s.Plan
	_, err = customize.Latent(ctx, coarse, latents(), near(0, 0), o{})
	require.ErrorContains(t, err, "at least 3 times as many")
	boom := errors.New("boom")
	_, err = customize.Latent(ctx, s, latents(), near(0, 0), o{Begin: func(int) error { return boom }})
	require.ErrorIs(t, err, boom)
	_, err = customize.Latent(ctx, s, latents(), near(0, 0), o{Checkpoint: filepath.Join(t.TempDir(), "no", "such", "file"), CheckpointEvery: 1})
	require.ErrorContains(t, err, "checkpoint")
	nan := func(x, g adjoint.States[float64]) (float64, error) { return math.NaN(), nil }
	_, err = customize.Latent(ctx, s, latents(), nan, o{})
	require.ErrorContains(t, err, "the loss is NaN")
}
