package customize_test

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"slices"
	"strings"
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

// shifted is a sampler of a graph whose samples are moved by a linear function of the condition.
func shifted(t *testing.T) (customize.Sampler[float64], *graph.Field[float64]) {
	t.Helper()
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
	t.Cleanup(c.Close)
	f, err := graph.NewField(c, make([]float64, batch*dim))
	require.NoError(t, err)
	inner, replay := plans(t)
	return customize.Sampler[float64]{Field: f, Plan: inner, Replay: replay, Batch: batch, Dim: dim}, f
}

// A condition is learned that shifts the samples of every latent.
func TestConditionIsLearned(t *testing.T) {
	s, f := shifted(t)
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
	x, err := ode.Sample(context.Background(), s.Plan, f, make([]float64, batch*dim), batch)
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

// An optimization that is stopped before any of its evaluations, those of the fixed batch and of the replay included, has left a
// checkpoint, and ends with the same bits when it is resumed.
func TestStoppedAnywhereItCanBeResumed(t *testing.T) {
	for name, optimize := range map[string]func(context.Context, customize.Options[float64]) (*customize.Result[float64], error){
		"latent": func(ctx context.Context, o customize.Options[float64]) (*customize.Result[float64], error) {
			return customize.Latent(ctx, modes(t), latents(), near(2, 2), o)
		},
		"weights": func(ctx context.Context, o customize.Options[float64]) (*customize.Result[float64], error) {
			return customize.Weights(ctx, modes(t), []string{"means"}, near(2, 2), o)
		},
		"condition": func(ctx context.Context, o customize.Options[float64]) (*customize.Result[float64], error) {
			s, _ := shifted(t)
			return customize.Condition(ctx, s, []float64{0, 0}, near(2, 2), o)
		},
	} {
		t.Run(name, func(t *testing.T) {
			evaluations := 0
			base := customize.Options[float64]{Iterations: 12, LearningRate: 0.3, Begin: func(int) error { evaluations++; return nil }}
			whole, err := optimize(context.Background(), base)
			require.NoError(t, err)
			whole.Elapsed = 0
			for last := evaluations - 1; last > 0; last-- { // before the first one nothing has been done
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				o := base
				o.Checkpoint, o.CheckpointEvery, o.Resume = filepath.Join(t.TempDir(), "state"), 100, true
				left := last
				o.Begin = func(int) error {
					if left--; left < 0 {
						cancel()
					}
					return nil
				}
				_, err := optimize(ctx, o)
				require.ErrorIs(t, err, context.Canceled)
				require.FileExists(t, o.Checkpoint, "stopped after %d evaluations", last)
				o.Begin = base.Begin
				resumed, err := optimize(context.Background(), o)
				require.NoError(t, err)
				resumed.Elapsed = 0
				resumed.Bytes = whole.Bytes // nothing is differentiated after the last iteration
				require.Equal(t, whole, resumed, "stopped after %d evaluations", last)
			}
		})
	}
}

// Only the optimization that a checkpoint is of goes on from it, and the error lists all that another one has otherwise.
func TestResumeRefusesAnotherOptimization(t *testing.T) {
	type setup struct {
		s     customize.Sampler[float64]
		x     []float64
		names []string // of weights; none if it is the latent
		loss  adjoint.Loss[float64]
		o     customize.Options[float64]
	}
	optimize := func(ctx context.Context, u setup) error {
		var err error
		if u.names == nil {
			_, err = customize.Latent(ctx, u.s, u.x, u.loss, u.o)
		} else {
			_, err = customize.Weights(ctx, u.s, u.names, u.loss, u.o)
		}
		return err
	}
	another := func(steps int) *ode.Plan {
		p, err := ode.RK{Tableau: ode.MidpointRule()}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Grid: ode.UniformTime{}, From: 0.98, To: 0.03, Steps: steps})
		require.NoError(t, err)
		return p
	}
	for _, row := range []struct {
		change func(u *setup)
		want   []string // all differences, in their order
	}{
		{func(u *setup) { u.x[3] += 1e-9 }, []string{`"x" starts elsewhere`}},
		{func(u *setup) { u.loss = near(2, 2.01) }, []string{"the loss at the start is "}},
		{func(u *setup) {
			m := exact.Mixture{Weights: []float64{1, 1, 1}, Means: [][]float64{{1, 0}, {-1, 1}, {0, -1}}, Variances: []float64{.2, .2, .2}}
			f, err := exact.NewField[float64](m, ode.Flow{}, ode.FlowVelocity)
			require.NoError(t, err)
			u.s.Field = f
		}, []string{"the loss at the start is "}},
		{func(u *setup) { u.s.Plan = another(4) }, []string{"plan is ", "the loss at the start is "}},
		{func(u *setup) { u.s.Replay = another(16) }, []string{"replay plan is "}},
		{func(u *setup) { u.o.Seed = 1 }, []string{"seed is 0 there and 1 here"}},
		{func(u *setup) { u.o.Iterations = 13 }, []string{"iterations is 12 there and 13 here"}},
		{func(u *setup) { u.o.LearningRate = 0.02 }, []string{"rate is 0.03 there and 0.02 here"}},
		{func(u *setup) { u.o.Fall = true }, []string{"fall is false there and true here"}},
		{func(u *setup) { u.o.Clip = 3 }, []string{"clip is 0 there and 3 here"}},
		{func(u *setup) { u.o.Clip, u.o.Seed, u.x[0] = 3, 1, 1 }, []string{`"x" starts elsewhere`, "clip is ", "seed is ", "the loss at the start is "}},
		{func(u *setup) { u.s.Batch, u.x = 5, u.x[:10] }, []string{"batch is 6 there and 5 here", "it has no tensor \"best.x\" of 10 elements",
			"it has no tensor \"m.x\"", "it has no tensor \"start.x\"", "it has no tensor \"v.x\"", "it has no tensor \"value.x\"", "the loss at the start is "}},
		{func(u *setup) {
			m := exact.Mixture{Weights: []float64{1}, Means: [][]float64{{1, 0, 0}}, Variances: []float64{.2}}
			f, err := exact.NewField[float64](m, ode.Flow{}, ode.FlowVelocity)
			require.NoError(t, err)
			u.s.Field, u.s.Batch, u.s.Dim = f, 4, 3 // as many elements
		}, []string{"batch is 6 there and 4 here", "dim is 2 there and 3 here", "the loss at the start is "}},
		{func(u *setup) { u.names = []string{"means"} }, []string{"it has no tensor \"best.means\"", "it has no tensor \"m.means\"", "it has no tensor \"start.means\"",
			"it has no tensor \"v.means\"", "it has no tensor \"value.means\"", "the loss at the start is ", `variables is ["x"] there and ["means"] here`}},
	} {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		first := setup{s: modes(t), x: latents(), loss: near(2, 2)}
		first.o = customize.Options[float64]{Iterations: 12, Checkpoint: filepath.Join(t.TempDir(), "state"), Resume: true,
			Observe: func(p customize.Progress) error {
				if p.Iteration == 7 {
					cancel()
				}
				return nil
			}}
		require.ErrorIs(t, optimize(ctx, first), context.Canceled)
		second := first
		second.s, second.x, second.o.Observe = modes(t), latents(), nil
		row.change(&second)
		err := optimize(context.Background(), second)
		require.Error(t, err)
		_, list, ok := strings.Cut(err.Error(), "is of another optimization: ")
		require.True(t, ok, "%v", err)
		diff := strings.Split(list, "; ")
		require.Len(t, diff, len(row.want), list)
		for i, want := range row.want {
			require.True(t, strings.HasPrefix(diff[i], want), "%q, not %q", diff[i], want)
		}

		second = first
		second.x, second.o.Observe = latents(), nil
		require.NoError(t, optimize(context.Background(), second), "the checkpoint is as good as before")
	}
}

// The strategies agree to rounding, and not to the same bits.
func TestResumeRefusesAnotherStrategy(t *testing.T) {
	s, _ := shifted(t)
	o := customize.Options[float64]{Iterations: 3, Checkpoint: filepath.Join(t.TempDir(), "state"), CheckpointEvery: 2, Resume: true}
	optimize := func() error {
		_, err := customize.Latent(context.Background(), s, latents(), near(2, 2), o)
		return err
	}
	require.NoError(t, optimize())
	o.Strategy = adjoint.Checkpoint{}
	require.NoError(t, optimize(), "which is the default")
	o.Strategy = adjoint.Unrolled{}
	require.ErrorContains(t, optimize(), "strategy is adjoint.Checkpoint there and adjoint.Unrolled here")
}

// noisy is modes under plans that draw noise.
func noisy(t *testing.T) customize.Sampler[float64] {
	t.Helper()
	s := modes(t)
	for i, p := range []**ode.Plan{&s.Plan, &s.Replay} {
		var err error
		*p, err = ode.EulerMaruyama{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Grid: ode.UniformTime{}, From: 0.98, To: 0.02, Steps: []int{6, 18}[i]})
		require.NoError(t, err)
		require.Positive(t, (*p).Draws())
	}
	return s
}

// still is a rate at which nothing moves, so that losses differ by what is drawn and by nothing else.
const still = 1e-300

// Latents, and the noise of the plan, are drawn afresh for each iteration of what is optimized over them; what iterates are
// compared on is always the same, and so is the noise of a latent that is optimized.
func TestWhatIsDrawnAfresh(t *testing.T) {
	ctx := context.Background()
	different := func(curve []float64) int {
		seen := map[float64]bool{}
		for _, v := range curve {
			seen[v] = true
		}
		return len(seen)
	}
	o := customize.Options[float64]{Iterations: 20, LearningRate: still}
	fixed := o
	fixed.Start = func(_ context.Context, _ int, x []float64) error { copy(x, latents()); return nil }
	for _, row := range []struct {
		name string
		s    customize.Sampler[float64]
		o    customize.Options[float64]
		want int
	}{
		{"latents", modes(t), o, 20},
		{"noise", noisy(t), fixed, 20},
		{"neither", modes(t), fixed, 1},
	} {
		r, err := customize.Weights(ctx, row.s, []string{"means"}, near(2, 2), row.o)
		require.NoError(t, err)
		require.Equal(t, row.want, different(r.Curve), row.name)
		// Some of twenty batches are luckier than the fixed one, which counts for nothing.
		if row.want > 1 {
			require.Less(t, slices.Min(r.Curve), r.Before, row.name)
		}
		require.Equal(t, r.Before, r.After, row.name)
		require.Zero(t, r.Best, row.name)
	}
	r, err := customize.Latent(ctx, noisy(t), latents(), near(2, 2), o)
	require.NoError(t, err)
	require.Equal(t, 1, different(r.Curve))
	require.Equal(t, r.Before, r.Curve[0])
}

// What is replayed is the best iterate, not the last.
func TestTheBestIterateIsReplayed(t *testing.T) {
	s := modes(t)
	steps := 0
	r, err := customize.Latent(context.Background(), s, latents(), near(1, 0), customize.Options[float64]{Iterations: 8, LearningRate: 0.1,
		Constrain: func(_ string, x []float64) {
			if steps++; steps > 5 {
				for i := range x {
					x[i] = 3 // far from everything
				}
			}
		}})
	require.NoError(t, err)
	require.Equal(t, 5, r.Best)
	for _, row := range []struct {
		plan *ode.Plan
		loss float64
	}{{s.Plan, r.After}, {s.Replay, r.Replayed}} {
		x, err := ode.Sample(context.Background(), row.plan, s.Field, r.Values["x"], batch)
		require.NoError(t, err)
		want, err := near(1, 0)(adjoint.States[float64]{Outputs: map[string][]float64{"x": x}}, adjoint.States[float64]{Outputs: map[string][]float64{"x": make([]float64, batch*dim)}})
		require.NoError(t, err)
		require.Equal(t, want, row.loss)
	}
}

// What stands of the gain decides, however small the loss has become under the coarse plan.
func TestVerdictIsOfTheGain(t *testing.T) {
	m := exact.Mixture{Weights: []float64{1, 1}, Means: [][]float64{{1, 0}, {-1, 0.5}}, Variances: []float64{.2, .3}}
	f, err := exact.NewField[float64](m, ode.Flow{}, ode.FlowVelocity)
	require.NoError(t, err)
	s := customize.Sampler[float64]{Field: f, Batch: batch, Dim: dim}
	for i, p := range []**ode.Plan{&s.Plan, &s.Replay} {
		*p, err = ode.FlowAB{Order: 2}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: []int{5, 15}[i]})
		require.NoError(t, err)
	}
	reference, err := ode.Sample(context.Background(), s.Plan, f, latents(), batch)
	require.NoError(t, err)
	start := latents()
	for i := range start {
		start[i] += 0.1
	}
	for _, iterations := range []int{40, 160} {
		r, err := customize.Latent(context.Background(), s, start, customize.Stay(reference), customize.Options[float64]{Iterations: iterations, LearningRate: 0.01})
		require.NoError(t, err)
		require.Equal(t, customize.Improved, r.Verdict, "%d iterations: %g to %g, replayed %g", iterations, r.Before, r.After, r.Replayed)
		require.Greater(t, r.Replayed, 1.5*r.After, "the coarse plan can be satisfied better than the fine one")
	}
}
