package ode_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

func increment(t *testing.T, w ode.Brownian[float64], from, to float64, batch, dim int) []float64 {
	t.Helper()
	z := make([]float64, batch*dim)
	require.NoError(t, w.Draw(z, ode.DrawCall{Index: 3, Batch: batch, From: from, To: to}))
	for i := range z {
		z[i] *= math.Sqrt(from - to)
	}
	return z
}

// Whatever lies between, an increment is the sum of those of its parts: the path is one.
func TestBrownianIncrementsAddUp(t *testing.T) {
	w := ode.Brownian[float64]{Key: 5, Span: 80}
	// The last but one and the one before are in the middle of a leaf of the tree.
	cuts := []float64{80, 79.9, 40, 33.3, 20, 1, .1, .1 - 1e-5, .002, 80 * 9.5 / (1 << 24), 80 * 2.5 / (1 << 24), 0}
	whole := increment(t, w, 80, 0, 2, 3)
	sum := make([]float64, 6)
	for i := range len(cuts) - 1 {
		for k, v := range increment(t, w, cuts[i], cuts[i+1], 2, 3) {
			sum[k] += v
		}
	}
	require.InDeltaSlice(t, whole, sum, 1e-12)
	for i := range cuts {
		for j := i + 1; j < len(cuts); j++ {
			for k := j + 1; k < len(cuts); k++ {
				long, one, two := increment(t, w, cuts[i], cuts[k], 1, 3), increment(t, w, cuts[i], cuts[j], 1, 3), increment(t, w, cuts[j], cuts[k], 1, 3)
				for e := range long {
					require.InDelta(t, long[e], one[e]+two[e], 1e-12)
				}
			}
		}
	}
}

// Draws over intervals without overlap are standard Gaussians that know nothing of each other, wherever their ends lie in the tree. The ends of
// the first list share leaves of the tree with nobody; a Depth of 5 has leaves of 1/32.
func TestBrownianDrawsAreIndependentStandardGaussians(t *testing.T) {
	const n = 40000
	for _, w := range []ode.Brownian[float64]{{Key: 1}, {Key: 2, Depth: 5}} {
		cuts := []float64{1, .77, .5, .4999 - .03, .26, .2, .125, .05, 0}
		var draws [][]float64
		for i := range len(cuts) - 1 {
			z := make([]float64, n)
			require.NoError(t, w.Draw(z, ode.DrawCall{Batch: 4, From: cuts[i], To: cuts[i+1]}))
			draws = append(draws, z)
		}
		for i, a := range draws {
			var mean, fourth float64
			for _, v := range a {
				mean += v / n
				fourth += v * v * v * v / n
			}
			require.InDelta(t, 0, mean, 4.5/math.Sqrt(n), "interval %d", i)
			require.InDelta(t, 3, fourth, 4.5*math.Sqrt(96./n), "interval %d: the variance of z⁴ is 96", i)
			for j, b := range draws {
				product := 0.0
				for k := range a {
					product += a[k] * b[k] / n
				}
				if i == j { // the variance of z² is 2
					require.InDelta(t, 1, product, 4.5*math.Sqrt(2./n), "interval %d", i)
				} else {
					require.InDelta(t, 0, product, 4.5/math.Sqrt(n), "intervals %d and %d", i, j)
				}
			}
		}
	}
}

func TestBrownianPathsBelongToTheSample(t *testing.T) {
	w := ode.Brownian[float64]{Key: 5}
	whole := increment(t, w, .7, .3, 4, 3)
	require.Equal(t, whole, increment(t, w, .7, .3, 4, 3))
	require.Equal(t, whole[6:], increment(t, ode.Brownian[float64]{Key: 5, First: 2}, .7, .3, 2, 3))
	require.NotEqual(t, whole, increment(t, ode.Brownian[float64]{Key: 6}, .7, .3, 4, 3))
	require.NotEqual(t, whole[:3], whole[3:6])
	require.NotEqual(t, whole[0], whole[1])

	single := make([]float32, 12)
	require.NoError(t, ode.Brownian[float32]{Key: 5}.Draw(single, ode.DrawCall{Batch: 4, From: .7, To: .3}))
	for i, v := range whole {
		require.InDelta(t, v/math.Sqrt(.4), float64(single[i]), 2e-7*(1+math.Abs(v)), "a float32 is the float64 rounded")
	}
	latent, seeded := make([]float64, 12), make([]float64, 12)
	require.NoError(t, w.Draw(latent, ode.DrawCall{Index: -1, Batch: 4}))
	require.NoError(t, ode.Seed[float64]{Key: 5}.Draw(seeded, ode.DrawCall{Index: -1, Batch: 4}))
	require.Equal(t, seeded, latent)
}

// On one path, stochastic solvers converge sample by sample: to first order in the step, as the noise is additive. With fresh noise for every
// number of steps they do not.
func TestStochasticSolversConvergeOnThePath(t *testing.T) {
	m, x := gaussian(), latents
	for _, solver := range []ode.Solver{ode.DDIM{Eta: 1}, ode.DPMppSDE{}, ode.Ancestral{}, ode.EulerMaruyama{}} {
		sample := func(n int, noise ode.NoiseSource[float64]) []float64 {
			p := compile(t, solver, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: 1, To: .02, Grid: ode.UniformTime{}, Steps: n})
			r, err := ode.NewRunner[float64](p, 4, 2)
			require.NoError(t, err)
			require.NoError(t, r.Run(t.Context(), field(t, m, p), ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: noise}))
			return slices.Clone(r.Output("x"))
		}
		var errs [2]float64
		for key := range uint64(6) {
			w := ode.Brownian[float64]{Key: key, Depth: 14}
			fine := sample(1024, w)
			for i, n := range []int{32, 128} {
				d := distance(fine, sample(n, w))
				errs[i] += d * d
			}
		}
		order := math.Log2(errs[0]/errs[1]) / 4
		t.Logf("%T: strong order %.2f, error of 128 steps %.2g", solver, order, math.Sqrt(errs[1]/6))
		require.Greater(t, order, .8, "%T: four times the steps, one error to the square", solver)
		require.Less(t, math.Sqrt(errs[1]/6), .06, "%T", solver)
		require.Greater(t, distance(sample(1024, ode.Seed[float64]{Key: 1}), sample(128, ode.Seed[float64]{Key: 1})), .3, "%T", solver)
	}
}

func TestMisuseOfBrownianIsNamed(t *testing.T) {
	for _, c := range []struct {
		want string
		w    ode.Brownian[float64]
		call ode.DrawCall
	}{
		{"from -1 on", ode.Brownian[float64]{First: -1}, ode.DrawCall{Batch: 1, From: 1}},
		{"for 2 samples", ode.Brownian[float64]{}, ode.DrawCall{Batch: 2, From: 1}},
		{"Depth 51", ode.Brownian[float64]{Depth: 51}, ode.DrawCall{Batch: 1, From: 1}},
		{"Span is -1", ode.Brownian[float64]{Span: -1}, ode.DrawCall{Batch: 1, From: 1}},
		{"up to 0.5, which is not along the path; use a Seed", ode.Brownian[float64]{}, ode.DrawCall{Batch: 1, From: .2, To: .5}},
		{"outside of the path's [0, 1]; set Span", ode.Brownian[float64]{}, ode.DrawCall{Batch: 1, From: 80, To: .5}},
		{"set Depth above 4", ode.Brownian[float64]{Depth: 4}, ode.DrawCall{Batch: 1, From: .51, To: .505}},
		{"up to 0.3, which is not along the path", ode.Brownian[float64]{}, ode.DrawCall{Batch: 1, From: .3, To: .3}},
	} {
		require.ErrorContains(t, c.w.Draw(make([]float64, 3), c.call), c.want)
	}
}
