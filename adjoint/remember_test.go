package adjoint_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// A field that remembers its activations gives the gradient the same bits, run after run, and the certificate holds.
func TestSameBitsWithRememberedActivations(t *testing.T) {
	plan, err := ode.UniPC{Order: 2}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 6, From: .9, To: .05})
	require.NoError(t, err)
	gradients := func(limit int64) (all []map[string][]float64) {
		f := field[float64](t, tame(ode.VPLinear{}, ode.Noise), tameBatch)
		f.Remember(limit)
		a, err := adjoint.New(adjoint.Problem[float64]{Plan: plan, Field: f, Batch: tameBatch, Dim: tameDim, Wrt: []string{"x", graph.Condition, "knots"}})
		require.NoError(t, err)
		for k := range 3 {
			x := adjoint.From(normal[float64](tameBatch*tameDim, uint64(50+k)))
			r, err := a.Gradient(t.Context(), x, adjoint.Dot(normal[float64](tameBatch*tameDim, 60)))
			require.NoError(t, err)
			g := map[string][]float64{"knots": append([]float64(nil), r.Params["knots"]...)}
			for name, v := range r.Gradients {
				g[name] = append([]float64(nil), v...)
			}
			all = append(all, g)
		}
		r, err := a.Certify(t.Context(), adjoint.From(normal[float64](tameBatch*tameDim, 50)), adjoint.Dot(normal[float64](tameBatch*tameDim, 60)), adjoint.Certification{})
		require.NoError(t, err)
		for _, c := range r.Certificate.Checks {
			require.Less(t, c.Error, 1e-6, c.Name)
		}
		return all
	}
	require.Equal(t, gradients(0), gradients(1<<24))
}
