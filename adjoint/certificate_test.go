package adjoint_test

import (
	"context"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// halved is a field whose VJP gives half the gradient of one thing.
type halved struct {
	ode.Differentiable[float64]
	name string
}

func (h halved) VJP(g *ode.Tangent[float64], cotangent, x []float64, c ode.Call[float64]) error {
	before := append([]float64{}, g.Params[h.name]...)
	if err := h.Differentiable.VJP(g, cotangent, x, c); err != nil {
		return err
	}
	if h.name == "x" {
		for i := range g.X {
			g.X[i] /= 2
		}
	}
	for i, v := range before {
		g.Params[h.name][i] = (v + g.Params[h.name][i]) / 2
	}
	return nil
}

// A wrong product with the Jacobian is found at the tensor that is wrong, also when it is the smallest of many.
func TestTheCertificateCatchesAWrongVJP(t *testing.T) {
	for _, wrong := range []string{"x", "condition", "in", "bias", "out"} {
		p, in := problem[float64](t, nil)
		p.Field = halved{p.Field, wrong}
		a := prepare(t, p)
		r, err := a.Certify(t.Context(), in, quadratic, adjoint.Certification{})
		require.NoError(t, err)
		c := r.Certificate
		for _, k := range c.Checks {
			if k.Name == wrong {
				require.Greater(t, k.Error, .01, c)
			} else if wrong != "x" { // which all others flow through
				require.Less(t, k.Error, 1e-8, c)
			}
		}
		require.Greater(t, c.Worst(), .01)
	}
}

// A gradient that is wrongly zero is wholly wrong, and one that is rightly zero is right.
func TestTheCertificateOfAZeroGradient(t *testing.T) {
	p, in := problem[float64](t, nil)
	p.Wrt = []string{"x", "idle"}
	for _, wrong := range []bool{false, true} {
		a := prepare(t, p)
		loss := func(s, g adjoint.States[float64]) (float64, error) {
			v, err := quadratic(s, g)
			if wrong {
				clear(g.X())
				clear(g.Knots[0])
			}
			return v, err
		}
		r, err := a.Certify(t.Context(), in, loss, adjoint.Certification{})
		require.NoError(t, err)
		c := r.Certificate
		require.Equal(t, "idle", c.Checks[1].Name)
		require.Zero(t, c.Checks[1].Error)
		if wrong {
			require.InDelta(t, 1, c.Checks[0].Error, 1e-8)
		} else {
			require.Less(t, c.Checks[0].Error, 1e-8)
		}
	}
}

// In float32 the certificate still tells right from wrong.
func TestCertificatesInFloat32(t *testing.T) {
	for _, s := range samplers() {
		if s.coupled {
			continue // its second root magnifies rounding
		}
		schedule := ode.Flow{}
		plan, err := s.solver.Plan(ode.Problem{Schedule: schedule, Raw: ode.FlowVelocity, From: .9, To: .1, Steps: 6})
		require.NoError(t, err)
		f := field[float32](t, tame(schedule, ode.FlowVelocity), tameBatch)
		a, err := adjoint.New(adjoint.Problem[float32]{Plan: plan, Field: f, Batch: tameBatch, Dim: tameDim, Wrt: gradientNames(plan, f, tameBatch)})
		require.NoError(t, err)
		in := start[float32](plan, tameBatch*tameDim)
		r, err := a.Certify(t.Context(), in, quadratic, adjoint.Certification{})
		require.NoError(t, err)
		c := r.Certificate
		// The bar of float32, from differences on a trained network: rounding of the loss over the step, 1e-7/0.1 times its
		// size over that of its gradient's component.
		require.Less(t, c.Worst(), 1e-3, "%s\n%s", s.name, c)
	}
}

// Knots at the ends of the schedule, where it is not defined beyond, are checked from inside.
func TestCertificateOfKnotsAtTheEnds(t *testing.T) {
	const batch, dim = 2, 2
	m := exact.Mixture{Weights: []float64{.5, .5}, Means: [][]float64{{1, .5}, {-1, .3}}, Variances: []float64{.3, .2}}
	f, err := exact.NewField[float64](m, ode.Flow{}, ode.FlowVelocity)
	require.NoError(t, err)
	for _, s := range samplers() {
		plan, err := s.solver.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Knots: []float64{1, .7, .4, .2, 0}})
		if err != nil {
			require.Equal(t, "DPM 3S fast", s.name)
			continue
		}
		q, ok := plan.Param("knots")
		require.True(t, ok)
		require.Equal(t, []float64{1, 0}, []float64{q.Upper[0], q.Lower[4]})
		a := prepare(t, adjoint.Problem[float64]{Plan: plan, Field: f, Batch: batch, Dim: dim, Wrt: []string{"knots"}})
		in := start[float64](plan, batch*dim)
		for seed := range uint64(3) {
			r, err := a.Certify(t.Context(), in, quadratic, adjoint.Certification{Seed: seed})
			require.NoError(t, err)
			require.Len(t, r.Params["knots"], 5)
			c := r.Certificate
			require.Less(t, c.Worst(), 1e-6, "%s\n%s", s.name, c)
		}
	}
}

// The scale of guidance of every single evaluation, and the null condition, have gradients too.
func TestGradientToGuidance(t *testing.T) {
	plan, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.9, .7, .5, .35, .2}})
	require.NoError(t, err)
	guided, err := models.NewGuided(field[float64](t, tame(ode.VPLinear{}, ode.Noise), tameBatch), normal[float64](2*tameBatch, 1), []float64{.3, -.2}, 1.5, 2, .5, 3)
	require.NoError(t, err)
	in := start[float64](plan, tameBatch*tameDim)
	a := prepare(t, adjoint.Problem[float64]{Plan: plan, Field: guided, Batch: tameBatch, Dim: tameDim, Wrt: gradientNames(plan, guided, tameBatch), Knots: []int{1, 2, 3}})
	r, err := a.Certify(t.Context(), in, quadratic, adjoint.Certification{})
	require.NoError(t, err)
	require.Len(t, r.Gradients[models.Guidance], 4)
	for k, g := range r.Gradients[models.Guidance] {
		require.NotZero(t, g, "evaluation %d", k)
	}
	c := r.Certificate
	require.Less(t, c.Worst(), 1e-8, c)
	require.Contains(t, c.String(), "guidance")
}

// The last column is an evaluation that has no part in a state on the way.
func TestGuidanceOfLaterEvaluationsTakesNoPart(t *testing.T) {
	plan, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.9, .7, .5, .35, .2}})
	require.NoError(t, err)
	guided, err := models.NewGuided(field[float64](t, tame(ode.VPLinear{}, ode.Noise), tameBatch), normal[float64](2*tameBatch, 1), []float64{.3, -.2}, 1.5, 2, .5, 3)
	require.NoError(t, err)
	r, err := adjoint.Gradient(t.Context(), adjoint.Problem[float64]{Plan: plan, Field: guided, Batch: tameBatch, Dim: tameDim, Wrt: []string{models.Guidance}, Knots: []int{2}},
		start[float64](plan, tameBatch*tameDim), func(s, g adjoint.States[float64]) (float64, error) {
			g.Knots[0][1] = 1
			return s.Knots[0][1], nil
		})
	require.NoError(t, err)
	scale := r.Gradients[models.Guidance]
	require.NotZero(t, scale[0])
	require.NotZero(t, scale[1])
	require.Equal(t, []float64{0, 0}, scale[2:])
}

// Where a large step leaves what the function is defined on, smaller ones are taken.
func TestTheCertificateStaysWhereTheFunctionIsDefined(t *testing.T) {
	m := exact.Mixture{Weights: []float64{.5, .5}, Means: [][]float64{{1}, {-1}}, Variances: []float64{.005, .02}}
	f, err := exact.NewField[float64](m, ode.VPLinear{}, ode.Noise)
	require.NoError(t, err)
	plan, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 4, From: .5, To: .1})
	require.NoError(t, err)
	a := prepare(t, adjoint.Problem[float64]{Plan: plan, Field: f, Batch: 1, Dim: 1, Wrt: []string{"variances"}})
	in := adjoint.From([]float64{.4})
	r, err := a.Certify(t.Context(), in, quadratic, adjoint.Certification{Seed: 3, Levels: 9})
	require.NoError(t, err)
	c := r.Certificate
	require.Less(t, c.Worst(), 1e-7, c)
	require.Less(t, c.Checks[0].Step, .01, "a variance of 0.005 cannot be lowered by more")
	left := make([]float64, 2)
	require.NoError(t, f.Load("variances", left))
	require.Equal(t, m.Variances, left, "what is moved is put back")

	_, err = a.Certify(t.Context(), in, quadratic, adjoint.Certification{Step: 100, Levels: 3})
	require.ErrorContains(t, err, `certifying "variances"`)
	require.NoError(t, f.Load("variances", left))
	require.Equal(t, m.Variances, left, "also after an error")
}

func TestCertifyRefuses(t *testing.T) {
	p, in := problem[float64](t, nil)
	a := prepare(t, p)
	certify := func(loss adjoint.Loss[float64], o adjoint.Certification) error {
		_, err := a.Certify(t.Context(), in, loss, o)
		return err
	}
	require.ErrorContains(t, certify(quadratic, adjoint.Certification{Step: -1}), "step -1")
	require.ErrorContains(t, certify(quadratic, adjoint.Certification{Levels: 1}), "1 levels")
	require.ErrorContains(t, certify(quadratic, adjoint.Certification{Restrict: []string{"w"}}), `"w"`)
	calls := 0.0
	require.ErrorContains(t, certify(func(s, g adjoint.States[float64]) (float64, error) {
		calls++
		v, err := quadratic(s, g)
		return v + calls, err
	}, adjoint.Certification{}), "must answer the same again")

	ctx, cancel := context.WithCancel(t.Context())
	ready := 0
	_, err := a.Certify(ctx, in, func(s, g adjoint.States[float64]) (float64, error) {
		if ready++; ready == 5 {
			cancel()
		}
		return quadratic(s, g)
	}, adjoint.Certification{})
	require.ErrorIs(t, err, context.Canceled)

	r, err := a.Certify(t.Context(), in, quadratic, adjoint.Certification{Restrict: []string{"bias", adjoint.Noise}})
	require.NoError(t, err)
	var names []string
	for _, k := range r.Certificate.Checks {
		names = append(names, k.Name)
	}
	require.Equal(t, []string{"noise[0]", "noise[1]", "noise[2]", "noise[3]", "bias"}, names)
	require.Equal(t, 5, strings.Count(r.Certificate.String(), "\n"))
	require.False(t, math.IsNaN(r.Certificate.Worst()))
}

// A low-rank adapter beside the weight it adapts, both trained: the gradient to the weight is read on the way to the adapter's.
func TestTheCertificateOfAnAdapterBesideItsWeight(t *testing.T) {
	const batch, dim = 5, 3 // two whole shards and a rest
	spec := graph.Spec{Inputs: []graph.Port{{Name: graph.X, Shape: []int{dim}}, {Name: graph.Time}}, Outputs: []graph.Port{{Name: "u", Shape: []int{dim}}}, Shard: 2,
		Weights: []graph.Weight{{Name: "w", Shape: []int{dim, dim}, Std: .5}, {Name: "a", Shape: []int{dim, 1}, Std: .5}, {Name: "b", Shape: []int{1, dim}, Std: .5}}}
	m := graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		w := b.Combine([]float64{1, .5}, in.Weight("w"), b.MatMul(in.Weight("a"), in.Weight("b"), false, false))
		return []*graph.Node{b.Map(graph.Tanh, b.Linear(in.Input(graph.X), w, nil))}
	}}
	w, err := graph.NewWeights[float64](spec.Weights, 1)
	require.NoError(t, err)
	plan, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.9, .7, .2}})
	require.NoError(t, err)
	for _, workers := range []int{1, 2} {
		c, err := graph.NewCell(m, w, graph.Workers(workers))
		require.NoError(t, err)
		t.Cleanup(c.Close)
		f, err := graph.NewField(c, nil)
		require.NoError(t, err)
		for _, s := range strategies {
			a := prepare(t, adjoint.Problem[float64]{Plan: plan, Field: f, Batch: batch, Dim: dim, Wrt: []string{"x", "w", "a", "b"}, Strategy: s})
			r, err := a.Certify(t.Context(), adjoint.From(normal[float64](batch*dim, 2)), quadratic, adjoint.Certification{})
			require.NoError(t, err)
			require.Less(t, r.Certificate.Worst(), 1e-8, "%v, %d workers\n%v", s, workers, r.Certificate)
		}
	}
}
