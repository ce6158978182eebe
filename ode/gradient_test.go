package ode_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// The gradient of whole runs on a mixture, to the latent, the injected noise, the means and every knot: transposed plan,
// table and parameter against differences of the function itself, rebuilt and rerun.
func TestGradientsOfSolversAgreeWithDifferences(t *testing.T) {
	vp := ode.VPLinear{}
	for _, c := range []struct {
		reason string
		solver ode.Solver
		p      ode.Problem
	}{
		{"one evaluation a step", ode.DDIM{}, ode.Problem{Schedule: vp, Raw: ode.Noise, Knots: []float64{.9, .6, .4, .2, .1}}},
		{"draws", ode.DDIM{Eta: .7}, ode.Problem{Schedule: vp, Raw: ode.Velocity, Knots: []float64{.9, .6, .4, .2, .1}}},
		{"rates of the schedule in the coefficients", ode.EulerMaruyama{Eta: .7}, ode.Problem{Schedule: vp, Raw: ode.Velocity, Knots: []float64{.9, .6, .4, .2, .1}}},
		{"history", ode.DPMpp{Order: 3}, ode.Problem{Schedule: vp, Raw: ode.Data, Knots: []float64{.9, .6, .4, .2, .1}}},
		{"inner points", ode.DPM{Order: 3, Single: true}, ode.Problem{Schedule: vp, Raw: ode.Noise, Knots: []float64{.9, .6, .4, .2}}},
		{"noise levels for times", ode.DPMpp{}, ode.Problem{Schedule: vp, Raw: ode.Denoiser, Knots: []float64{.9, .6, .4, .2}}},
		{"both ends of the schedule", ode.DPMpp{}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Knots: []float64{1, .7, .4, .2, 0}}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			const batch, dim = 3, 2
			mixture := exact.Mixture{Weights: []float64{.5, .3, .2}, Means: [][]float64{{1, .5}, {-1, .3}, {.2, -1.4}}, Variances: []float64{.3, .2, .4}}
			f, err := exact.NewField[float64](mixture, c.p.Schedule, c.p.Raw)
			require.NoError(t, err)
			p, err := c.solver.Plan(c.p)
			require.NoError(t, err)
			q, err := p.Transpose()
			require.NoError(t, err)

			r := rand.New(rand.NewPCG(5, 6))
			normal := func(n int) []float64 {
				v := make([]float64, n)
				for i := range v {
					v[i] = r.NormFloat64()
				}
				return v
			}
			x, w := normal(batch*dim), normal(batch*dim)
			noise := make(ode.Given[float64], p.Draws())
			for k := range noise {
				noise[k] = normal(batch * dim)
			}
			in := ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: noise}
			loss := func(p *ode.Plan) float64 {
				run, err := ode.NewRunner[float64](p, batch, dim)
				require.NoError(t, err)
				require.NoError(t, run.Run(t.Context(), f, in))
				sum := 0.0
				for i, v := range run.Output("x") {
					sum += w[i] * v
				}
				return sum
			}

			forward, err := ode.NewRunner[float64](p, batch, dim, q.Needs(true)...)
			require.NoError(t, err)
			require.NoError(t, forward.Run(t.Context(), f, in))
			back, err := ode.NewRunner[float64](q, batch, dim)
			require.NoError(t, err)
			table, means := make([]float64, len(p.Table())), make([]float64, 6)
			require.NoError(t, back.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": w}, Forward: forward.Reg,
				Table: table, Params: map[string][]float64{"means": means}}))

			const tolerance = 1e-8
			slope := func(v *float64, h float64, loss func() float64) float64 {
				was := *v
				at := func(d float64) float64 {
					*v = was + d*h
					return loss()
				}
				d := (8*(at(1)-at(-1)) - (at(2) - at(-2))) / (12 * h)
				*v = was
				return d
			}
			same := func() float64 { return loss(p) }
			for i := range x {
				require.InDelta(t, slope(&x[i], 1e-3, same), back.Output("x")[i], tolerance, "latent %d", i)
			}
			for k := range noise {
				port := []string{"noise[0]", "noise[1]", "noise[2]", "noise[3]"}[k]
				for i := range noise[k] {
					require.InDelta(t, slope(&noise[k][i], 1e-3, same), back.Output(port)[i], tolerance, "%s[%d]", port, i)
				}
			}
			value := make([]float64, 6)
			require.NoError(t, f.Load("means", value))
			for i := range value {
				require.InDelta(t, slope(&value[i], 1e-3, func() float64 {
					require.NoError(t, f.Store("means", value))
					return loss(p)
				}), means[i], tolerance, "mean %d", i)
			}
			require.NoError(t, f.Store("means", value))

			gradient, err := p.PullTable("knots", table)
			require.NoError(t, err)
			knots, _ := p.Param("knots")
			lo, hi := c.p.Schedule.Domain()
			for i, v := range knots.Value {
				at := func(d float64) float64 {
					moved := slices.Clone(knots.Value)
					moved[i] += d
					plan, err := knots.Rebuild(moved)
					require.NoError(t, err)
					return loss(plan)
				}
				const h = 2e-4
				var want float64
				switch v {
				case lo:
					want = (-25*at(0) + 48*at(h) - 36*at(2*h) + 16*at(3*h) - 3*at(4*h)) / (12 * h)
				case hi:
					want = -(-25*at(0) + 48*at(-h) - 36*at(-2*h) + 16*at(-3*h) - 3*at(-4*h)) / (12 * h)
				default:
					want = (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
				}
				require.InDelta(t, want, gradient[i], tolerance, "knot %d", i)
			}
		})
	}
}
