package ode_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// twoModes are narrow and far apart, so that Langevin dynamics alone never finds from one to the other.
var twoModes = exact.Mixture{Weights: []float64{1, 3}, Means: [][]float64{{-2, 0}, {2, 0}}, Variances: []float64{.01, .01}}

// chainLevels are noise levels from .1 to 4, in equal ratios.
func chainLevels() (levels []float64) {
	for i := range 12 {
		levels = append(levels, 4*math.Pow(.1/4, float64(i)/11))
	}
	return levels
}

func chainOf(m exact.Mixture, s ode.Schedule, levels []float64) ode.LangevinGibbs[float64] {
	return ode.LangevinGibbs[float64]{Levels: levels, Steps: 6, Warm: 2, Key: 1,
		Posterior: func(dst, x []float64) error { return m.LevelPosterior(dst, x, s, levels) }}
}

var chainProblem = ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, To: .02, Steps: 3, AppendZero: true}

// The realized plan does to the last bit what the run did, each sample as it would alone, and its gradient is that of the run with levels held:
// differences of the plan agree.
func TestRealizedLangevinGibbs(t *testing.T) {
	for _, raw := range []ode.Prediction{ode.Noise, ode.Denoiser, ode.Score} {
		for _, s := range []ode.Schedule{ode.EDM{}, ode.VPLinear{}} {
			levels := []float64{.9, .7, .5, .35, .2, .1}
			m := goldenMixture(t)
			f, err := exact.NewField[float64](m, s, raw)
			require.NoError(t, err)
			c := chainOf(m, s, levels)
			c.Of = ode.DPMpp{Order: 2}
			p := ode.Problem{Schedule: s, Raw: raw, To: .03, Steps: 3, Scale: ode.NoiseScale{First: 1.01, Last: 1.02}}
			var seen []int
			in := ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}, Noise: ode.Seed[float64]{Key: 2}, Observe: func(s ode.Step[float64]) error {
				seen = append(seen, s.NFE)
				return nil
			}}
			n := &counted{Differentiable: f}
			got, err := c.Run(t.Context(), p, n, 4, in)
			require.NoError(t, err)
			require.Equal(t, []int{7, 8, 9}, seen)
			require.Equal(t, []int{9, 9, 9, 6}, []int{n.evals, got.NFE, got.Plan.NFE(), got.Plan.Draws()})
			cot := []float64{1, -.5, .3, .8, -1, .2, .6, -.4}
			out, grad, means := pulled(t, got.Plan, f, latents, cot, 4, in.Noise)
			require.Equal(t, got.X, out)
			require.NotZero(t, means[0])
			r, err := ode.NewRunner[float64](got.Plan, 4, 2)
			require.NoError(t, err)
			loss := func(x []float64) (sum float64) {
				require.NoError(t, r.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: in.Noise}))
				for i, v := range r.Output("x") {
					sum += cot[i] * v
				}
				return sum
			}
			require.InDelta(t, loss(latents), loss(latents), 0)
			require.Equal(t, got.Last, r.Output("chain"))
			for i := range latents {
				at := func(h float64) float64 { x := slices.Clone(latents); x[i] += h; return loss(x) }
				const h = 1e-4
				want := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
				require.InDelta(t, want, grad[i], 1e-9*(1+math.Abs(want)), "%v %v", raw, s)
			}
			c.First = 2
			alone, err := c.Run(t.Context(), p, f, 1, ode.Inputs[float64]{Ports: map[string][]float64{"x": latents[4:6]}, Noise: ode.Seed[float64]{Key: 2, First: 2}})
			require.NoError(t, err)
			require.InDeltaSlice(t, got.X[4:6], alone.X, 1e-12, "whatever the batch: times for each sample or one for all, to rounding")
			c.First, c.Key = 0, 3
			other, err := c.Run(t.Context(), p, f, 4, in)
			require.NoError(t, err)
			require.NotEqual(t, got.X, other.X)
		}
	}
}

// The loop as it is written down, with the argmax, for one sample.
func TestLangevinGibbsIsThePlainLoop(t *testing.T) {
	levels, s := chainLevels(), ode.EDM{}
	f, err := exact.NewField[float64](twoModes, s, ode.Denoiser)
	require.NoError(t, err)
	c := chainOf(twoModes, s, levels)
	c.Argmax, c.Eta = true, .3
	x := []float64{1.5, -2}
	got, err := c.Run(t.Context(), chainProblem, f, 1, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: ode.Seed[float64]{Key: 2}})
	require.NoError(t, err)
	most := func(x []float64) (level int) {
		p := make([]float64, len(levels))
		require.NoError(t, twoModes.LevelPosterior(p, x, s, levels))
		for l := range p {
			if p[l] > p[level] {
				level = l
			}
		}
		return level
	}
	best, kept := -1, []float64(nil)
	for i := range 6 {
		sigma, z, x0 := levels[most(x)], make([]float64, 2), make([]float64, 2)
		require.NoError(t, ode.Seed[float64]{Key: 2}.Draw(z, ode.DrawCall{Index: i, Batch: 1}))
		require.NoError(t, twoModes.Predict(x0, x, s.At(sigma), ode.Data))
		next := make([]float64, 2)
		for e := range next {
			next[e] = x[e] + .15*(x0[e]-x[e]) + math.Sqrt(.3)*sigma*z[e]
		}
		if x = next; i >= 2 && most(x) > best {
			best, kept = most(x), x
		}
	}
	require.InDeltaSlice(t, x, got.Last, 1e-12)
	p := chainProblem
	p.From = levels[best]
	want := run(t, compile(t, ode.DPMpp{}, p), f, 1, map[string][]float64{"x": kept})
	require.InDeltaSlice(t, want, got.X, 1e-12)
}

// Chains that start in the joint distribution of states and levels stay in it: levels are as likely as each other, and modes as their weights.
// The most probable level is another distribution.
func TestGibbsKeepsTheJointDistribution(t *testing.T) {
	levels, s := chainLevels(), ode.EDM{}
	const batch = 1200
	f, err := exact.NewField[float64](twoModes, s, ode.Denoiser)
	require.NoError(t, err)
	x := make([]float64, 2*batch)
	for l, level := range levels {
		n := batch / len(levels)
		require.NoError(t, twoModes.Sample(x[2*n*l:2*n*(l+1)], s.At(level), uint64(l)))
	}
	spread := func(argmax bool, eta float64) (tv float64, right float64) {
		c := chainOf(twoModes, s, levels)
		c.Steps, c.Warm, c.Eta, c.Argmax = 12, 11, eta, argmax
		var last []float64
		posterior := c.Posterior
		c.Posterior = func(dst, x []float64) error {
			err := posterior(dst, x)
			last = slices.Clone(dst)
			return err
		}
		got, err := c.Run(t.Context(), chainProblem, f, batch, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: ode.Seed[float64]{Key: 5}})
		require.NoError(t, err)
		// Expected levels, which vary less than drawn ones.
		for l := range levels {
			sum := 0.
			for b := range batch {
				p := last[b*len(levels) : (b+1)*len(levels)]
				switch {
				case !argmax:
					sum += p[l]
				case slices.Max(p) == p[l]:
					sum++
				}
			}
			tv += math.Abs(sum/batch-1./float64(len(levels))) / 2
		}
		for b := range batch {
			if got.X[2*b] > 0 {
				right++
			}
		}
		return tv, right / batch
	}
	// The mean of levels drawn alike has a TV of ½·12·√(2/π · (1/12)(11/12)/1200) = 0.038, and the step's bias in variance is η/4 at most.
	tv, right := spread(false, .1)
	require.Less(t, tv, .038+.1/4)
	require.InDelta(t, .75, right, 4*math.Sqrt(.75*.25/batch))
	published, _ := spread(true, .1)
	require.Greater(t, published, .2)
}

// From one mode alone the chain finds to the other by way of the high levels, which dynamics at the lowest never would.
func TestGibbsCrossesBetweenModes(t *testing.T) {
	levels, s := chainLevels(), ode.EDM{}
	f, err := exact.NewField[float64](twoModes, s, ode.Denoiser)
	require.NoError(t, err)
	const batch = 400
	share := func(levels []float64) (right float64) {
		x := make([]float64, 2*batch)
		for b := range batch {
			x[2*b] = -2
		}
		c := chainOf(twoModes, s, levels)
		c.Steps, c.Warm, c.Eta = 120, 119, 1
		got, err := c.Run(t.Context(), chainProblem, f, batch, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: ode.Seed[float64]{Key: 5}})
		require.NoError(t, err)
		for b := range batch {
			if got.X[2*b] > 0 {
				right += 1. / batch
			}
		}
		return right
	}
	require.Zero(t, share(levels[11:]))
	require.Greater(t, share(levels), .3)
}

func TestLangevinGibbsRefuses(t *testing.T) {
	s := ode.EDM{}
	f, err := exact.NewField[float64](twoModes, s, ode.Denoiser)
	require.NoError(t, err)
	in := ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}, Noise: ode.Seed[float64]{}}
	good := chainOf(twoModes, s, chainLevels())
	cause := errors.New("cause")
	for want, change := range map[string]func(c *ode.LangevinGibbs[float64], p *ode.Problem, in *ode.Inputs[float64]){
		"12 Levels, and a Posterior: false": func(c *ode.LangevinGibbs[float64], _ *ode.Problem, _ *ode.Inputs[float64]) { c.Posterior = nil },
		"0 Levels":                          func(c *ode.LangevinGibbs[float64], _ *ode.Problem, _ *ode.Inputs[float64]) { c.Levels = nil },
		"Steps is 2, Warm 2":                func(c *ode.LangevinGibbs[float64], _ *ode.Problem, _ *ode.Inputs[float64]) { c.Steps = 2 },
		"Eta is -1":                         func(c *ode.LangevinGibbs[float64], _ *ode.Problem, _ *ode.Inputs[float64]) { c.Eta = -1 },
		"Levels[0] is 1 and [1] 2": func(c *ode.LangevinGibbs[float64], _ *ode.Problem, _ *ode.Inputs[float64]) {
			c.Levels = []float64{1, 2}
		},
		"Problem.History is 1": func(_ *ode.LangevinGibbs[float64], p *ode.Problem, _ *ode.Inputs[float64]) { p.History = 1 },
		"Problem.From 1":       func(_ *ode.LangevinGibbs[float64], p *ode.Problem, _ *ode.Inputs[float64]) { p.From = 1 },
		"set Inputs.Noise":     func(_ *ode.LangevinGibbs[float64], _ *ode.Problem, in *ode.Inputs[float64]) { in.Noise = nil },
		"Order is 9": func(c *ode.LangevinGibbs[float64], _ *ode.Problem, _ *ode.Inputs[float64]) {
			c.Of = ode.DPMpp{Order: 9}
		},
		"must be above": func(_ *ode.LangevinGibbs[float64], p *ode.Problem, _ *ode.Inputs[float64]) {
			p.To, p.AppendZero = 5, false
		},
		"the Posterior: cause": func(c *ode.LangevinGibbs[float64], _ *ode.Problem, _ *ode.Inputs[float64]) {
			c.Posterior = func(_, _ []float64) error { return cause }
		},
		"adds up to 0": func(c *ode.LangevinGibbs[float64], _ *ode.Problem, _ *ode.Inputs[float64]) {
			c.Posterior = func(_, _ []float64) error { return nil }
		},
		"of level 0 is NaN": func(c *ode.LangevinGibbs[float64], _ *ode.Problem, _ *ode.Inputs[float64]) {
			c.Posterior = func(d, _ []float64) error { d[0] = math.NaN(); return nil }
		},
		"stopped at step 1 ": func(_ *ode.LangevinGibbs[float64], _ *ode.Problem, in *ode.Inputs[float64]) {
			in.Observe = func(ode.Step[float64]) error { return cause }
		},
	} {
		c, p, in := good, chainProblem, in
		change(&c, &p, &in)
		_, err := c.Run(t.Context(), p, f, 4, in)
		require.ErrorContains(t, err, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = good.Run(ctx, chainProblem, f, 4, in)
	var stopped *ode.Interrupted[float64]
	require.ErrorAs(t, err, &stopped)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, latents, stopped.X)
}

// Chains of eight samples that are run again and again: each run is ten steps at some level, then three evaluations on the way to the data.
// A solver of two states is refused before the chain has run.
func TestLangevinGibbsRefusesTwoStatesAtOnce(t *testing.T) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, To: .05, Steps: 5}
	plan := compile(t, ode.DDIM{}, p)
	f := &counted{Differentiable: field(t, goldenMixture(t), plan)}
	posterior := func(dst, _ []float64) error { clear(dst); return nil }
	for _, of := range []ode.Solver{ode.BDIA{}, ode.ALF{}, ode.EDICT{}, ode.OBELM{}} {
		_, err := ode.LangevinGibbs[float64]{Of: of, Levels: []float64{.6, .5, .4}, Steps: 100, Posterior: posterior}.Run(
			t.Context(), p, f, 4, ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}, Noise: ode.Seed[float64]{}})
		require.ErrorContains(t, err, "a solver of one state is needed")
		require.Zero(t, f.evals)
	}
}

func ExampleLangevinGibbs() {
	schedule, levels := ode.EDM{}, []float64{4, 2, 1, .5, .25, .125}
	data := exact.Mixture{Weights: []float64{1, 3}, Means: [][]float64{{-2}, {2}}, Variances: []float64{.01, .01}}
	network, err := exact.NewField[float64](data, schedule, ode.Denoiser)
	if err != nil {
		log.Fatal(err)
	}
	x := []float64{-4, -3, -2, -1, 1, 2, 3, 4}
	for i := range 3 {
		chain := ode.LangevinGibbs[float64]{Levels: levels, Steps: 10, Key: uint64(i),
			Posterior: func(dst, x []float64) error { return data.LevelPosterior(dst, x, schedule, levels) }}
		run, err := chain.Run(context.Background(), ode.Problem{Schedule: schedule, Raw: ode.Denoiser, To: .02, Steps: 3, AppendZero: true}, network, len(x),
			ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: ode.Seed[float64]{Key: uint64(i)}})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%.1f\n", run.X)
		x = run.Last
	}
	// Output:
	// [-2.1 -2.1 -2.0 -2.0 2.0 2.1 2.0 1.8]
	// [-2.0 2.0 2.1 1.9 2.1 2.1 -1.7 -2.1]
	// [2.0 2.1 2.0 1.9 2.1 -2.1 -2.2 -2.1]
}
