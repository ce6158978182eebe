package adjoint

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// A hundredth in any one coefficient of the way back is seen by the certificate: it does not compare the gradient with
// itself.
func TestTheCertificateCatchesEveryWrongCoefficient(t *testing.T) {
	const batch, dim = 2, 2
	m := exact.Mixture{Weights: []float64{.5, .3, .2}, Means: [][]float64{{1, .5}, {-1, .3}, {.2, -1.4}}, Variances: []float64{.3, .2, .4}}
	f, err := exact.NewField[float64](m, ode.VPLinear{}, ode.Noise)
	require.NoError(t, err)
	in := From([]float64{.4, -1.1, .8, .2})
	in.Noise = ode.Seed[float64]{Key: 1}
	for _, s := range []ode.Solver{ode.DDIM{Eta: .5}, ode.DPMpp{}, ode.UniPC{}, ode.RK{Tableau: ode.Kutta()}} {
		plan, err := s.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.8, .6, .4, .2}})
		require.NoError(t, err)
		p := Problem[float64]{Plan: plan, Field: f, Batch: batch, Dim: dim, Wrt: []string{"x", "means"}}
		if plan.Draws() > 0 {
			p.Wrt = append(p.Wrt, Noise)
		}
		a, err := New(p)
		require.NoError(t, err)
		back, err := plan.Transpose()
		require.NoError(t, err)
		back, err = back.Only(a.wanted.outputs...)
		require.NoError(t, err)
		worst := func() float64 {
			r, err := a.Certify(t.Context(), in, Dot([]float64{1, -.5, .3, .8}), Certification{})
			require.NoError(t, err)
			c := r.Certificate
			return c.Worst()
		}
		require.Less(t, worst(), 1e-9, plan.Name)
		for i := range back.Code {
			for k := range back.Code[i].Terms {
				wrong := *back
				wrong.Code = slices.Clone(back.Code)
				wrong.Code[i].Terms = slices.Clone(back.Code[i].Terms)
				wrong.Code[i].Terms[k].C *= 1.01
				if wrong.Code[i].Terms[k].C == back.Code[i].Terms[k].C {
					continue // a coefficient of zero
				}
				c := a.engine.(*checkpoint[float64])
				c.backward, err = ode.NewRunner[float64](&wrong, batch, dim)
				require.NoError(t, err)
				require.Greater(t, worst(), 1e-5, fmt.Sprint(plan.Name, ": instruction ", i, ", term ", k))
			}
		}
	}
}
