package ode_test

import (
	"context"
	"fmt"
	"log"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mathext"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

func edm(t testing.TB, steps int) *ode.Plan {
	return compile(t, ode.RK{}, ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Grid: ode.Karras{}, Steps: steps, AppendZero: true})
}

func squared(u []float64) (sum float64) {
	for _, v := range u {
		sum += v * v
	}
	return sum
}

// R²/(R²+r²) is Beta(n/2, D/2), also where D is so large that the release's clipping of it would show, and R²/σ² has the mean nD/(D−2).
func TestPFGMNoiseHasTheRadiusOfTheKernel(t *testing.T) {
	const batch, sigma = 20000, 80.
	plan := edm(t, 3)
	for _, c := range []struct{ n, d float64 }{{2, 1}, {4, 3}, {4, 16}, {3, 128}, {4, 65536}} {
		n, d := c.n, c.d
		x, err := ode.Latent(plan, ode.PFGM[float64]{D: d, Key: 4}, batch, int(n))
		require.NoError(t, err)
		cells, mean := make([]float64, batch), 0.
		for i := range batch {
			square := squared(x[i*int(n) : (i+1)*int(n)])
			cells[i] = mathext.RegIncBeta(n/2, d/2, square/(square+sigma*sigma*d))
			mean += square / (sigma * sigma) / batch
		}
		slices.Sort(cells)
		worst := 0.
		for i, v := range cells {
			worst = max(worst, math.Abs(v-(float64(i)+.5)/batch))
		}
		// Kolmogorov and Smirnov's distance exceeds 1.95/√batch once in a thousand times.
		require.Less(t, worst, 1.95/math.Sqrt(batch), "n = %v, D = %v", n, d)
		if d > 4 { // R²/(nσ²) is of Fisher's distribution, whose variance is the below: four standard errors
			deviation := math.Sqrt(2 * d * d * (n + d - 2) / (n * (d - 2) * (d - 2) * (d - 4)))
			require.InDelta(t, n*d/(d-2), mean, 4*n*deviation/math.Sqrt(batch), "n = %v, D = %v", n, d)
		}
	}
}

// The direction knows nothing of the radius: each element's share of R² has the mean 1/n.
func TestPFGMDirectionsAreUniform(t *testing.T) {
	const batch, n = 20000, 3
	x := make([]float64, batch*n)
	require.NoError(t, ode.PFGM[float64]{D: 4, Key: 9}.Draw(x, ode.DrawCall{Index: -1, Batch: batch}))
	var mean, share [n]float64
	for i := range batch {
		u := x[i*n : (i+1)*n]
		square := squared(u)
		for k, v := range u {
			mean[k] += v / math.Sqrt(square) / batch
			share[k] += v * v / square / batch
		}
	}
	for k := range n { // a share is Beta(1/2, 1), of variance 4/45; an element of u has the variance 1/3: four standard errors
		require.InDelta(t, 0, mean[k], 4*math.Sqrt(1./3/batch))
		require.InDelta(t, 1./n, share[k], 4*math.Sqrt(4./45/batch))
	}
}

func TestPFGMNoiseBelongsToTheSample(t *testing.T) {
	p := ode.PFGM[float64]{D: 5, Key: 2}
	all, some, other := make([]float64, 12), make([]float64, 6), make([]float64, 12)
	require.NoError(t, p.Draw(all, ode.DrawCall{Index: -1, Batch: 4}))
	require.NoError(t, ode.PFGM[float64]{D: 5, Key: 2, First: 2}.Draw(some, ode.DrawCall{Index: -1, Batch: 2}))
	require.Equal(t, all[6:], some)
	require.NoError(t, ode.PFGM[float64]{D: 5, Key: 3}.Draw(other, ode.DrawCall{Index: -1, Batch: 4}))
	require.NotEqual(t, all, other)

	data, sigma := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, []float64{0, .5, 2, 3}
	x := slices.Clone(data)
	require.NoError(t, p.Perturb(x, 4, sigma...))
	for i := range x {
		require.Equal(t, data[i]+sigma[i/3]*all[i], x[i])
	}
	x = slices.Clone(data)
	require.NoError(t, p.Perturb(x, 4, 2))
	require.Equal(t, data[11]+2*all[11], x[11])
}

// The noise tends to that of a Seed as 1/√D, which is how far √(D/χ²) is from 1, and the whole run to that of diffusion.
func TestPFGMTendsToDiffusion(t *testing.T) {
	plan, m := edm(t, 18), goldenMixture(t)
	m.Variances = []float64{0, 0, 0}
	gaussian, err := ode.Latent(plan, ode.Seed[float64]{Key: 7}, 40, 2)
	require.NoError(t, err)
	end := slices.Clone(run(t, plan, field(t, m, plan), 40, map[string][]float64{"x": gaussian}))
	var latent, sample []float64
	for _, d := range []float64{1e6, 1e8} {
		x, err := ode.Latent(plan, ode.PFGM[float64]{D: d, Key: 7}, 40, 2)
		require.NoError(t, err)
		latent = append(latent, distance(gaussian, x))
		m.D = d
		sample = append(sample, distance(end, run(t, plan, field(t, m, plan), 40, map[string][]float64{"x": x})))
	}
	require.InDelta(t, 10, latent[0]/latent[1], 3, "a hundred times D: the deviations of 40 draws of χ² differ by less than three in ten")
	require.Less(t, latent[0], 1e-3)
	require.Less(t, sample[1], 1e-3) // as the latent, and no more where the flow spreads it
}

// The ODE ends at the data set whatever D is, and shares it out evenly: the marginals at the end are those of the data.
func TestPFGMSamplesTheDataSet(t *testing.T) {
	const batch = 4000
	plan := edm(t, 24)
	for _, d := range []float64{1, 4, 64} {
		m := exact.Mixture{Weights: []float64{1, 2, 1}, Means: [][]float64{{1, 0}, {-1, .5}, {0, -1}}, Variances: make([]float64, 3), D: d}
		x, err := ode.Latent(plan, ode.PFGM[float64]{D: d, Key: 3}, batch, 2)
		require.NoError(t, err)
		out := run(t, plan, field(t, m, plan), batch, map[string][]float64{"x": x})
		var counts [3]float64
		for i := range batch {
			for k, mean := range m.Means {
				if math.Hypot(out[2*i]-mean[0], out[2*i+1]-mean[1]) < .05 {
					counts[k]++
				}
			}
		}
		require.InDelta(t, batch, counts[0]+counts[1]+counts[2], .01*batch, "D = %v: all but those on a border, of which there are few", d)
		for k, w := range []float64{.25, .5, .25} { // four standard errors, and a tenth of that for the data's mean at σ = 80, which is not quite forgotten
			require.InDelta(t, w, counts[k]/batch, 4.4*math.Sqrt(w*(1-w)/batch)+.01, "D = %v", d)
		}
	}
}

func TestMisuseOfPFGMIsNamed(t *testing.T) {
	x := make([]float64, 4)
	for _, d := range []float64{0, .5, math.NaN(), math.Inf(1)} {
		require.ErrorContains(t, ode.PFGM[float64]{D: d}.Draw(x, ode.DrawCall{Index: -1, Batch: 2}), "for Gaussian noise, which it tends to, use a Seed")
	}
	p := ode.PFGM[float64]{D: 2}
	require.ErrorContains(t, p.Draw(x, ode.DrawCall{Batch: 2}), "draw 0 of a plan")
	require.ErrorContains(t, p.Draw(x, ode.DrawCall{Index: -1, Batch: 3}), "3 samples from 0 on in 4 values")
	require.ErrorContains(t, p.Perturb(x, 2, 1, 2, 3), "3 noise levels for 2 samples")
	require.ErrorContains(t, p.Perturb(x, 2, 1, -2), "noise level 1 is -2")
	require.ErrorContains(t, ode.PFGM[float64]{D: 2, First: -1}.Perturb(x, 2, 1), "from -1 on")
}

// Poisson flow: the noise has heavy tails, the denoiser knows, and EDM's sampler does the rest.
func ExamplePFGM() {
	const d = 4
	data := exact.Mixture{Weights: []float64{3, 1}, Means: [][]float64{{-1, 0}, {1, 0}}, Variances: []float64{0, 0}, D: d}
	field, err := exact.NewField[float64](data, ode.EDM{}, ode.Denoiser)
	if err != nil {
		log.Fatal(err)
	}
	plan, err := ode.RK{}.Plan(ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Grid: ode.Karras{}, Steps: 18, AppendZero: true})
	if err != nil {
		log.Fatal(err)
	}
	const batch = 2000
	x, err := ode.Latent(plan, ode.PFGM[float64]{D: d, Key: 1}, batch, 2)
	if err != nil {
		log.Fatal(err)
	}
	samples, err := ode.Sample(context.Background(), plan, field, x, batch)
	if err != nil {
		log.Fatal(err)
	}
	left := 0
	for i := range batch {
		if samples[2*i] < 0 {
			left++
		}
	}
	fmt.Printf("%d evaluations, %.2f at the left\n", plan.NFE(), float64(left)/batch)
	// Output: 35 evaluations, 0.75 at the left
}
