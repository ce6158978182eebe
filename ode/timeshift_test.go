package ode_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// isotropic is data of one variance round the origin, in so many dimensions that a sample's variance says where it is.
func isotropic(dim int, variance float64) exact.Gaussian {
	return exact.Gaussian{Mean: make([]float64, dim), Variance: []float64{variance}}
}

func sampleVariance(x []float64) float64 {
	mean, sum := 0., 0.
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		sum += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return sum
}

// shifted runs a controller, and keeps the states at all knots.
func shifted(t testing.TB, c ode.Controller[float64], p ode.Problem, f ode.Field[float64], x []float64, batch int) (*ode.Realized[float64], [][]float64) {
	t.Helper()
	path := [][]float64{slices.Clone(x)}
	got, err := c.Run(t.Context(), p, f, batch, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Observe: func(s ode.Step[float64]) error {
		require.Equal(t, len(path)-1, s.Index)
		path = append(path, slices.Clone(s.X))
		return nil
	}})
	require.NoError(t, err)
	return got, path
}

func evaluations(p *ode.Plan) (list []ode.Instr) {
	for _, in := range p.Code {
		if in.Op == ode.Evaluate {
			list = append(list, in)
		}
	}
	return list
}

// An exact state of data with variance c² has variance ᾱ c² + 1 − ᾱ, which is that of noise alone where ᾱ_τ = (1−c²) ᾱ_t: so far up a time is
// shifted, if the window allows.
func TestShiftedTimesAreThoseOfTheVariance(t *testing.T) {
	const dim, batch, c2 = 4000, 2, .25
	s, m := ode.VPLinear{}, isotropic(4000, .25)
	f, err := exact.NewField[float64](m, s, ode.Noise)
	require.NoError(t, err)
	first := s.At(.6)
	x := make([]float64, batch*dim)
	for b := range batch {
		require.NoError(t, m.Sample(x[b*dim:(b+1)*dim], first, uint64(b)))
	}
	p := ode.Problem{Schedule: s, Raw: ode.Noise, Knots: []float64{.6, .58, .4, .39, .2, .1}}
	got, path := shifted(t, ode.TimeShift[float64]{Window: .2, Cutoff: .2}, p, f, x, batch)
	es := evaluations(got.Plan)
	require.Nil(t, es[0].Times, "the first step is as ever")
	for i := 1; i < 4; i++ {
		for b, tau := range es[i].Times {
			at, v := p.Knots[i], sampleVariance(path[i][b*dim:(b+1)*dim])
			// σ² = v in closed form, moved into the window
			want := min(max(s.TimeOf(math.Log((1-v)/v)/2), at-.1), at+.1)
			require.InDelta(t, want, tau, 1e-12, "knot %d sample %d", i, b)
		}
	}
	require.Nil(t, es[4].Times, "0.2 is the cutoff")
	for b, tau := range es[1].Times {
		// DDIM over so short a step leaves 2 %; the variance of 4000 values is known to √(2/4000) = 2.2 %, in all of ᾱ c² + 1 − ᾱ ≈ 0.9.
		abar, shift := math.Pow(s.At(.58).Alpha, 2), math.Pow(s.At(tau).Alpha, 2)
		require.InDelta(t, (1-c2)*abar, shift, 4*.022*.9, "sample %d", b)
		require.Greater(t, tau, .58)
	}
	require.NotEqual(t, es[1].Times[0], es[1].Times[1], "each sample has its own")
	require.Equal(t, 5, got.NFE)
	require.Equal(t, 5, got.Plan.NFE())

	// A state whose variance is exactly that of the schedule's data of variance c².
	exactly := slices.Clone(x)
	for b := range batch {
		part := exactly[b*dim : (b+1)*dim]
		scale := math.Sqrt((first.Alpha*first.Alpha*c2 + first.Sigma*first.Sigma) / sampleVariance(part))
		for i := range part {
			part[i] *= scale
		}
	}
	got, _ = shifted(t, ode.TimeShift[float64]{Window: .2}, ode.Problem{Schedule: s, Raw: ode.Noise, Knots: []float64{.6, .6 - 1e-7, .3}}, f, exactly, batch)
	for _, tau := range evaluations(got.Plan)[1].Times {
		require.InEpsilon(t, (1-c2)*first.Alpha*first.Alpha, math.Pow(s.At(tau).Alpha, 2), 1e-5, "1e-7 in t is 1e-6 in ᾱ")
	}

	narrow, _ := shifted(t, ode.TimeShift[float64]{Window: .01}, p, f, x, batch)
	for i := 1; i < 5; i++ {
		for _, tau := range evaluations(narrow.Plan)[i].Times {
			require.Equal(t, p.Knots[i]+.005, tau, "the window ends before")
		}
	}
}

// The states of a shifted run by the formula of the paper, in plain numbers for each sample.
func TestTimeShiftIsDDIMFromTheShiftedTime(t *testing.T) {
	s := ode.VPLinear{}
	for _, raw := range predictions {
		for _, published := range []bool{false, true} {
			p := ode.Problem{Schedule: s, Raw: raw, Knots: []float64{.7, .5, .35, .2}}
			m := isotropic(8, .3)
			f, err := exact.NewField[float64](m, s, raw)
			require.NoError(t, err)
			x := make([]float64, 24)
			require.NoError(t, ode.Seed[float64]{Key: 4}.Draw(x, ode.DrawCall{Index: -1, Batch: 3}))
			c := ode.TimeShift[float64]{Window: .3, Cutoff: .2, Published: published}
			got, path := shifted(t, c, p, f, x, 3)
			moved := 0
			for i := range 3 {
				for b := range 3 {
					from, to := p.Knots[i], p.Knots[i+1]
					state := path[i][b*8 : b*8+8]
					v := sampleVariance(state)
					match := func(at float64) float64 {
						best, miss := at, math.Inf(1)
						for k := range 30001 { // by search
							tau := at - .15 + .3*float64(k)/30000
							if d := math.Abs(v - math.Pow(s.At(tau).Sigma, 2)); d < miss {
								best, miss = tau, d
							}
						}
						return best
					}
					if i > 0 && !published && from > .2 {
						from = match(from)
						moved++
					} else if i > 0 && published && to > .2 {
						to = match(to)
						moved++
					}
					x0 := make([]float64, 8)
					require.NoError(t, m.Predict(x0, state, s.At(from), ode.Data))
					for e := range x0 {
						a, z := s.At(from), s.At(to)
						eps := (state[e] - a.Alpha*x0[e]) / a.Sigma
						// the search is to 1e-5 in t, and α and σ change by up to 5 a unit
						require.InDelta(t, z.Alpha*x0[e]+z.Sigma*eps, path[i+1][b*8+e], 3e-4, "%v published %v step %d", raw, published, i)
					}
				}
			}
			require.Positive(t, moved)
			require.NoError(t, got.Plan.Verify())
		}
	}
}

func controllers() map[string]ode.Controller[float64] {
	return map[string]ode.Controller[float64]{
		"shift": ode.TimeShift[float64]{Window: .3}, "published": ode.TimeShift[float64]{Window: .3, Published: true}, "normalised": ode.NormalizeVariance[float64]{Data: .3},
	}
}

// A realized plan with its times and factors for each sample does what the run did, sample by sample whatever the batch, and its gradient is that
// of the run with these held.
func TestRealizedTimeShifts(t *testing.T) {
	for _, raw := range predictions {
		for _, s := range []ode.Schedule{ode.VPLinear{}, ode.EDM{}, discrete(t)} {
			p := ode.Problem{Schedule: s, Raw: raw, Knots: []float64{.7, .5, .35, .2, 0}, Scale: ode.NoiseScale{First: 1.01, Last: 1.03}}
			for name, c := range controllers() {
				f, err := exact.NewField[float64](goldenMixture(t), s, raw)
				require.NoError(t, err)
				n := &counted{Differentiable: f}
				got, _ := shifted(t, c, p, n, latents, 4)
				what := fmt.Sprint(name, " ", raw, " ", s)
				require.Equal(t, 4, n.evals, what)
				require.Equal(t, run(t, got.Plan, f, 4, map[string][]float64{"x": latents}), got.X, what)
				alone, _ := shifted(t, c, p, f, latents[4:6], 1)
				require.Equal(t, got.X[4:6], alone.X, "%s: whatever the batch", what)
				checkGradient(t, got.Plan, f)
			}
		}
	}
}

// On the schedule of a network trained at levels, times are levels: the nearest in σ², by search.
func TestShiftedTimesAreLevels(t *testing.T) {
	s := discrete(t)
	f, err := exact.NewField[float64](isotropic(500, .5), s, ode.Noise)
	require.NoError(t, err)
	x := make([]float64, 500)
	require.NoError(t, ode.Seed[float64]{Key: 1}.Draw(x, ode.DrawCall{Index: -1, Batch: 1}))
	knots, err := ode.LevelKnots(s, 10, ode.Trailing)
	require.NoError(t, err)
	got, path := shifted(t, ode.TimeShift[float64]{Cutoff: .25}, ode.Problem{Schedule: s, Raw: ode.Noise, Knots: knots}, f, x, 1)
	for i, in := range evaluations(got.Plan) {
		if i == 0 || knots[i] <= .25 {
			require.Nil(t, in.Times)
			continue
		}
		v, best, miss := sampleVariance(path[i]), 0., math.Inf(1)
		for level := 1; level <= 1000; level++ {
			tau := float64(level) / 1000
			if d := math.Abs(v - math.Pow(s.At(tau).Sigma, 2)); d < miss && math.Abs(tau-knots[i]) < .0401 {
				best, miss = tau, d
			}
		}
		require.Equal(t, []float64{best}, in.Times)
	}
}

func TestNormalizedVarianceIsThatOfTheSchedule(t *testing.T) {
	const dim = 1000
	s := ode.VPLinear{}
	f, err := exact.NewField[float64](isotropic(dim, .4), s, ode.Velocity)
	require.NoError(t, err)
	x := make([]float64, 2*dim)
	require.NoError(t, ode.Seed[float64]{Key: 1}.Draw(x, ode.DrawCall{Index: -1, Batch: 2}))
	p := ode.Problem{Schedule: s, Raw: ode.Velocity, Knots: []float64{.9, .6, .3, .1, 0}}
	got, _ := shifted(t, ode.NormalizeVariance[float64]{Data: .4}, p, f, x, 2)
	var sources []ode.Reg
	for _, in := range evaluations(got.Plan) {
		sources = append(sources, in.Src)
	}
	r, err := ode.NewRunner[float64](got.Plan, 2, dim, sources...)
	require.NoError(t, err)
	require.NoError(t, r.Run(context.Background(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}}))
	require.Equal(t, x, r.Reg(sources[0]))
	for i, src := range sources[1:] {
		at := s.At(p.Knots[i+1])
		for b := range 2 {
			require.InEpsilon(t, .4*at.Alpha*at.Alpha+at.Sigma*at.Sigma, sampleVariance(r.Reg(src)[b*dim:(b+1)*dim]), 1e-12)
		}
	}
}

func TestIndividualControllersRefuse(t *testing.T) {
	vp := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.9, .5, .1}}
	with := func(f func(p *ode.Problem)) ode.Problem { p := vp; f(&p); return p }
	f, err := exact.NewField[float64](goldenMixture(t), vp.Schedule, vp.Raw)
	require.NoError(t, err)
	shift, in := ode.TimeShift[float64]{}, map[string][]float64{"x": latents}
	for _, c := range []struct {
		want string
		c    ode.Controller[float64]
		p    ode.Problem
		x    map[string][]float64
	}{
		{"Window is -1", ode.TimeShift[float64]{Window: -1}, vp, in},
		{"Cutoff NaN", ode.TimeShift[float64]{Cutoff: math.NaN()}, vp, in},
		{"Data is -1", ode.NormalizeVariance[float64]{Data: -1}, vp, in},
		{"Problem.Denoise", shift, with(func(p *ode.Problem) { p.Denoise = true }), in},
		{"Problem.SingleStart", shift, with(func(p *ode.Problem) { p.SingleStart = true }), in},
		{"away from data; use DDIM", shift, with(func(p *ode.Problem) { p.Knots = []float64{.1, .5} }), in},
		{"knot 1", shift, with(func(p *ode.Problem) { p.Knots = []float64{.5, .5} }), in},
		{"one input x", shift, vp, nil},
		{"have no variance", shift, vp, map[string][]float64{"x": latents[:4]}},
		{"does not vary", ode.NormalizeVariance[float64]{}, vp, map[string][]float64{"x": make([]float64, 8)}},
	} {
		var g ode.Field[float64] = f
		if c.want == "does not vary" {
			g = rough{} // nothing but zeros
		}
		_, err := c.c.Run(t.Context(), c.p, g, 4, ode.Inputs[float64]{Ports: c.x})
		require.ErrorContains(t, err, c.want)
	}
	cause := errors.New("cause")
	_, err = shift.Run(t.Context(), vp, f, 4, ode.Inputs[float64]{Ports: in, Observe: func(s ode.Step[float64]) error { return cause }})
	var stopped *ode.Interrupted[float64]
	require.ErrorAs(t, err, &stopped)
	require.ErrorIs(t, err, cause)
	require.Equal(t, [2]int{1, 1}, [2]int{stopped.Step, stopped.NFE})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = shift.Run(ctx, vp, f, 4, ode.Inputs[float64]{Ports: in})
	require.ErrorIs(t, err, context.Canceled)
}
