package adjoint_test

import (
	"context"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/ode"
)

// tame is a conditional network for vectors whose output stays bounded, with x, t, condition and weights all mixed.
func tame(s ode.Schedule, p ode.Prediction) graph.Model {
	const dim, cond, width = tameDim, 2, tameWidth
	spec := graph.Spec{
		Inputs:  []graph.Port{{Name: graph.X, Shape: []int{dim}}, {Name: graph.Time}, {Name: graph.Condition, Shape: []int{cond}}},
		Outputs: []graph.Port{{Name: "raw", Shape: []int{dim}}},
		Weights: []graph.Weight{
			{Name: "in", Shape: []int{dim, width}, Std: 0.4}, {Name: "time", Shape: []int{2, width}, Std: 0.4},
			{Name: "cond", Shape: []int{cond, width}, Std: 0.4}, {Name: "bias", Shape: []int{width}, Std: 0.4},
			{Name: "out", Shape: []int{width, dim}, Std: 0.4}, {Name: "idle", Shape: []int{2}, Std: 1},
		},
		Prediction: p, Schedule: s, Shard: 2,
	}
	return graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		h := b.Add(b.Linear(in.Input(graph.X), in.Weight("in"), in.Weight("bias")),
			b.Linear(in.Input(graph.Condition), in.Weight("cond"), nil),
			b.Linear(b.Sinusoid(in.Input(graph.Time), []float64{2}), in.Weight("time"), nil))
		return []*graph.Node{b.Linear(b.Map(graph.Tanh, h), in.Weight("out"), nil)}
	}}
}

func normal[T adjoint.Float](n int, stream uint64) []T {
	x := make([]T, n)
	rng.Normal(x, 3, stream, 0)
	return x
}

func field[T adjoint.Float](t testing.TB, m graph.Model, batch int) *graph.Field[T] {
	t.Helper()
	w, err := graph.NewWeights[float64](m.Spec().Weights, 5)
	require.NoError(t, err)
	c, err := graph.NewCell(m, graph.ConvertWeights[T](w))
	require.NoError(t, err)
	t.Cleanup(c.Close)
	f, err := graph.NewField(c, normal[T](2*batch, 1))
	require.NoError(t, err)
	return f
}

var everything = []string{"x", "condition", "in", "time", "cond", "bias", "out", "idle"}

func quadratic[T adjoint.Float](s, g adjoint.States[T]) (float64, error) {
	sum := 0.0
	for name, x := range s.Outputs {
		for i, v := range x {
			w := 1 + 0.1*float64(i)
			sum += 0.5 * w * float64(v) * float64(v)
			g.Outputs[name][i] += T(w * float64(v))
		}
	}
	for k, x := range s.Knots {
		for i, v := range x {
			sum += math.Sin(float64(v))
			g.Knots[k][i] += T(math.Cos(float64(v)))
		}
	}
	return sum, nil
}

type solved struct {
	name   string
	solver ode.Solver
	noise  bool
	reason string
}

var solvers = []solved{
	{"ddim", ode.DDIM{}, false, "first order, the base of all"},
	{"ddim stochastic", ode.DDIM{Eta: 0.7}, true, "draws are inputs too"},
	{"2M", ode.DPMpp{Order: 2}, false, "history"},
	{"heun", ode.RK{Tableau: ode.Heun()}, false, "stages"},
	{"obelm", ode.OBELM{}, false, "two states"},
}

// Every exact strategy gives the gradient of the discrete solve, to everything that can be asked for: it agrees with
// finite differences, and the strategies with each other.
func TestGradientIsExact(t *testing.T) {
	const batch, dim = 3, 3
	for _, schedule := range []ode.Schedule{ode.Flow{}, ode.VPLinear{}} {
		raw := ode.FlowVelocity
		if _, vp := schedule.(ode.VPLinear); vp {
			raw = ode.Noise
		}
		for _, s := range solvers {
			t.Run(fmt.Sprintf("%T %s", schedule, s.name), func(t *testing.T) {
				f := field[float64](t, tame(schedule, raw), batch)
				plan, err := s.solver.Plan(ode.Problem{Schedule: schedule, Raw: raw, Knots: []float64{0.9, 0.7, 0.55, 0.3, 0.2}})
				require.NoError(t, err)
				in := adjoint.Inputs[float64]{Ports: map[string][]float64{"x": normal[float64](batch*dim, 2)}, Noise: ode.Seed[float64]{Key: 4}}
				wrt := append([]string{"knots"}, everything...)
				if s.noise {
					wrt = append(wrt, adjoint.Noise)
				}
				var results []*adjoint.Result[float64]
				for _, strategy := range []adjoint.Strategy{adjoint.Checkpoint{}, adjoint.Unrolled{}} {
					a, err := adjoint.New(adjoint.Problem[float64]{Plan: plan, Field: f, Batch: batch, Dim: dim, Wrt: wrt, Knots: []int{1, 3}, Strategy: strategy})
					require.NoError(t, err)
					r, err := a.Certify(context.Background(), in, quadratic, adjoint.Certification{})
					require.NoError(t, err)
					c := r.Certificate
					for _, k := range c.Checks {
						require.LessOrEqual(t, k.Error, 1e-8, "%s\n%s", strategy, c)
						if k.Name != "idle" {
							require.NotZero(t, k.Norm, k.Name)
						}
					}
					require.Equal(t, []float64{0, 0}, r.Gradients["idle"])
					require.Equal(t, plan.NFE(), r.NFE)
					require.Equal(t, plan.NFE(), r.VJP)
					require.Positive(t, r.Bytes)
					results = append(results, r)
				}
				require.InEpsilon(t, results[0].Loss, results[1].Loss, 1e-12)
				for name, g := range results[0].Gradients {
					require.InDeltaSlice(t, g, results[1].Gradients[name], 1e-10, name)
				}
				require.InDeltaSlice(t, results[0].Params["knots"], results[1].Params["knots"], 1e-9)
			})
		}
	}
}
