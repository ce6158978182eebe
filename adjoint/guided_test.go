package adjoint_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
)

// A network under guidance can be unrolled as well, with the same gradient to every scale, condition and weight.
func TestGuidanceUnrolled(t *testing.T) {
	plan, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.9, .7, .5, .35, .2}})
	require.NoError(t, err)
	for _, scale := range [][]float64{{1.7}, {1.5, 2, .5, 3}} {
		guided, err := models.NewGuided(field[float64](t, tame(ode.VPLinear{}, ode.Noise), tameBatch), normal[float64](2*tameBatch, 1), []float64{.3, -.2}, scale...)
		require.NoError(t, err)
		in := start[float64](plan, tameBatch*tameDim)
		var results []*adjoint.Result[float64]
		for _, s := range []adjoint.Strategy{adjoint.Checkpoint{}, adjoint.Unrolled{}} {
			a := prepare(t, adjoint.Problem[float64]{Plan: plan, Field: guided, Batch: tameBatch, Dim: tameDim, Wrt: gradientNames(plan, guided, tameBatch), Strategy: s})
			r, err := a.Gradient(t.Context(), in, quadratic)
			require.NoError(t, err)
			results = append(results, r)
		}
		require.InEpsilon(t, results[0].Loss, results[1].Loss, 1e-12)
		require.Contains(t, results[0].Gradients, models.Null)
		for name, g := range results[0].Gradients {
			require.InDeltaSlice(t, g, results[1].Gradients[name], 1e-10, name)
		}
		require.InDeltaSlice(t, results[0].Params["knots"], results[1].Params["knots"], 1e-9)
	}
	short, err := models.NewGuided(field[float64](t, tame(ode.VPLinear{}, ode.Noise), tameBatch), normal[float64](2*tameBatch, 1), []float64{.3, -.2}, 1, 2)
	require.NoError(t, err)
	_, err = adjoint.New(adjoint.Problem[float64]{Plan: plan, Field: short, Batch: tameBatch, Dim: tameDim, Wrt: []string{"x"}, Strategy: adjoint.Unrolled{}})
	require.ErrorContains(t, err, "evaluation 2 has no guidance scale: 2 are given")
}
