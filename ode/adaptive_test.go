package ode_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

var adaptives = []struct {
	name   string
	of     ode.Solver
	s      ode.Schedule
	raw    ode.Prediction
	from   float64
	to     float64
	fsal   bool
	stages int
}{
	{"DPM-Solver-12", ode.DPM{Single: true}, ode.VPLinear{}, ode.Noise, 1, .02, false, 2},
	{"DPM-Solver-23", ode.DPM{Single: true, Order: 3}, ode.VPLinear{}, ode.Velocity, 1, .02, false, 3},
	{"DPM-Solver++-12", ode.DPMpp{Single: true, Correction: ode.Taylor}, ode.VPLinear{}, ode.Data, 1, .02, false, 2},
	{"DPM-Solver++-23", ode.DPMpp{Single: true, Order: 3}, ode.EDM{}, ode.Denoiser, 20, .05, false, 3},
	{"Bogacki–Shampine in λ", ode.RK{Tableau: ode.BogackiShampine()}, ode.VPLinear{}, ode.Noise, 1, .02, true, 3},
	{"Dormand–Prince in λ", ode.RK{Tableau: ode.DormandPrince()}, ode.EDM{}, ode.Denoiser, 20, .05, true, 6},
	{"Bogacki–Shampine in t", ode.RK{Tableau: ode.BogackiShampine()}, ode.Flow{}, ode.FlowVelocity, 1, 0, true, 3},
	{"default on a flow", nil, ode.Flow{}, ode.FlowVelocity, 1, 0, true, 6},
}

func TestGoldenAdaptive(t *testing.T) {
	g := readGolden(t, "official_solvers.json")
	cases := 0
	for order := 2; order <= 3; order++ {
		for name, of := range map[string]ode.Solver{"dpmsolver": ode.DPM{Single: true, Order: order}, "dpmsolver++": ode.DPMpp{Single: true, Order: order}} {
			var want struct {
				X     [][]float64
				Calls int `json:"model_calls"`
			}
			require.NoError(t, json.Unmarshal(g.Cases[fmt.Sprintf("%s/adaptive/o%d", name, order)], &want))
			f, err := exact.NewField[float64](g.mixture(), ode.VPLinear{}, ode.Noise)
			require.NoError(t, err)
			c := &counted{Differentiable: f}
			got, err := ode.Adaptive[float64]{Of: of, Published: true}.Run(t.Context(), ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: g.VP.Knots[0], To: g.VP.Knots[len(g.VP.Knots)-1]},
				c, len(g.XT), ode.Inputs[float64]{Ports: map[string][]float64{"x": slices.Concat(g.XT...)}})
			require.NoError(t, err)
			require.Equal(t, want.Calls, c.evals, name)
			require.Equal(t, want.Calls, got.NFE, name)
			// λ and t are turned into each other once more than in the release, which leaves a few roundings
			require.Less(t, distance(slices.Concat(want.X...), got.X), 1e-13, name)
			cases++
		}
	}
	require.Equal(t, 4, cases)
}

// dpm_adaptive of k-diffusion, written out: the state, and how often the network was asked.
func kDiffusionAdaptive(t testing.TB, f ode.Field[float64], x []float64, from, to float64, order int, c ode.PID) ([]float64, int) {
	nfe := 0
	eps := func(x []float64, s float64) []float64 { // s is −ln σ
		nfe++
		sigma, d := math.Exp(-s), make([]float64, len(x))
		require.NoError(t, f.Eval(d, x, ode.Call[float64]{Batch: len(x) / 2, T: []float64{sigma}}))
		for i := range d {
			d[i] = (x[i] - d[i]) / sigma
		}
		return d
	}
	// plus is x + Σ c_k y_k.
	plus := func(x []float64, cs []float64, ys ...[]float64) []float64 {
		z := slices.Clone(x)
		for k, c := range cs {
			for i := range z {
				z[i] += c * ys[k][i]
			}
		}
		return z
	}
	s, end, h, prev, inverse := -math.Log(from), -math.Log(to), .05, x, []float64(nil)
	for s < end-1e-5 {
		u := min(end, s+h)
		l, sigma := u-s, math.Exp(-u)
		e := eps(x, s)
		inner := func(r float64) []float64 {
			return eps(plus(x, []float64{-math.Exp(-s-r*l) * math.Expm1(r*l)}, e), s+r*l)
		}
		second := func(r float64, e1 []float64) []float64 {
			c := sigma * math.Expm1(l) / (2 * r)
			return plus(x, []float64{-sigma*math.Expm1(l) + c, -c}, e, e1)
		}
		var low, high []float64
		if order == 2 {
			low, high = plus(x, []float64{-sigma * math.Expm1(l)}, e), second(.5, inner(.5))
		} else {
			e1 := inner(1. / 3)
			low = second(1./3, e1)
			r, at := 2./3*l, math.Exp(-s-2./3*l)
			c := 2 * at * (math.Expm1(r)/r - 1)
			e2 := eps(plus(x, []float64{-at*math.Expm1(r) + c, -c}, e, e1), s+r)
			c = 1.5 * sigma * (math.Expm1(l)/l - 1)
			high = plus(x, []float64{-sigma*math.Expm1(l) + c, -c}, e, e2)
		}
		sum := 0.0
		for i := range x {
			d := (low[i] - high[i]) / max(.0078, .05*max(math.Abs(low[i]), math.Abs(prev[i])))
			sum += d * d
		}
		now := 1 / (math.Sqrt(sum/float64(len(x))) + 1e-8)
		if inverse == nil {
			inverse = []float64{now, now}
		}
		p := float64(order)
		factor := 1 + math.Atan(math.Pow(now, (c.P+c.I+c.D)/p)*math.Pow(inverse[0], -(c.P+2*c.D)/p)*math.Pow(inverse[1], c.D/p)-1)
		if h *= factor; factor >= c.Accept {
			inverse, prev, x, s = []float64{now, inverse[0]}, low, high, u
		}
	}
	return x, nfe
}

func TestPIDIsThatOfKDiffusion(t *testing.T) {
	rejected := 0
	for k := range 4 {
		order, to := 2+k%2, []float64{.05, .42}[k/2] // the last step to 0.42 is rejected at order 2
		for _, c := range []struct{ given, means ode.PID }{
			{ode.PID{}, ode.PID{I: 1, Accept: .81}},
			{ode.PID{P: .3, I: .6, D: .2, Accept: .9}, ode.PID{P: .3, I: .6, D: .2, Accept: .9}},
		} {
			f, err := exact.NewField[float64](goldenMixture(t), ode.EDM{}, ode.Denoiser)
			require.NoError(t, err)
			n := &counted{Differentiable: f}
			x := start(ode.EDM{})
			want, nfe := kDiffusionAdaptive(t, f, x, 20, to, order, c.means)
			a := ode.Adaptive[float64]{Of: ode.DPM{Single: true, Order: order}, PID: &c.given, Published: true}
			got, err := a.Run(t.Context(), ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, From: 20, To: to}, n, 4, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}})
			require.NoError(t, err)
			require.Equal(t, nfe, n.evals)
			require.Less(t, distance(want, got.X), 1e-10) // the error is a small difference, whose rounding goes into every length
			require.Equal(t, order*(len(got.Plan.Knots)-1), got.Plan.NFE())
			rejected += got.Rejected

			// Each sample is held to the tolerance without Published, so that the steps are others.
			a.Published = false
			other, err := a.Run(t.Context(), ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, From: 20, To: to}, f, 4, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}})
			require.NoError(t, err)
			require.NotEqual(t, knotTimes(got.Plan), knotTimes(other.Plan))
		}
	}
	require.NotZero(t, rejected)
}

func adapt(t testing.TB, c ode.Adaptive[float64], i int, p ode.Problem) (*ode.Realized[float64], *exact.Field[float64], int) {
	t.Helper()
	a := adaptives[i]
	c.Of = a.of
	p.Schedule, p.Raw, p.From, p.To = a.s, a.raw, a.from, a.to
	f, err := exact.NewField[float64](goldenMixture(t), a.s, a.raw)
	require.NoError(t, err)
	n := &counted{Differentiable: f}
	got, err := c.Run(context.Background(), p, n, 4, ode.Inputs[float64]{Ports: map[string][]float64{"x": start(a.s)}})
	require.NoError(t, err, a.name)
	return got, f, n.evals
}

// start is a latent at the noise level that the adaptive runs start from.
func start(s ode.Schedule) []float64 {
	x := slices.Clone(latents)
	if s == (ode.EDM{}) {
		for i := range x {
			x[i] *= 20
		}
	}
	return x
}

func TestAdaptiveRunsAreTheirRealizedPlans(t *testing.T) {
	for i, a := range adaptives {
		for _, tolerance := range []float64{.3, 1e-3} {
			got, f, evals := adapt(t, ode.Adaptive[float64]{Relative: tolerance, Absolute: tolerance, FirstStep: .3}, i, ode.Problem{})
			p := got.Plan
			n := len(p.Knots) - 1
			require.Equal(t, [2]float64{a.from, a.to}, [2]float64{p.Knots[0].T, p.Knots[n].T}, "%s: the ends to the last bit", a.name)
			require.Equal(t, run(t, p, f, 4, map[string][]float64{"x": start(a.s)}), got.X, "%s at %g: to the last bit", a.name, tolerance)
			require.Equal(t, a.stages*n, p.NFE(), a.name)
			if a.fsal {
				require.Equal(t, 1+a.stages*(n+got.Rejected), got.NFE, a.name)
			} else {
				require.Equal(t, a.stages*n+(a.stages-1)*got.Rejected, got.NFE, a.name)
			}
			require.Equal(t, evals, got.NFE, a.name)
			require.NoError(t, p.Verify())
			plan, err := planOf(a.of).Plan(ode.Problem{Schedule: a.s, Raw: a.raw, Knots: knotTimes(p)})
			require.NoError(t, err)
			require.Equal(t, plan.Table(), p.Table(), "an ordinary plan")
		}
	}
}

func planOf(s ode.Solver) ode.Solver {
	if s == nil {
		return ode.RK{Tableau: ode.DormandPrince()}
	}
	return s
}

func knotTimes(p *ode.Plan) (ts []float64) {
	for _, k := range p.Knots {
		ts = append(ts, k.T)
	}
	return ts
}

// A hundredth of the tolerance gives about a hundredth of the error, for all methods alike: the estimate is of order h^p for a step, and the
// error of a run that keeps the higher order is of order h^p too. Between 10 and 1000 is asked for.
func TestErrorIsProportionalToTolerance(t *testing.T) {
	for i, a := range adaptives {
		problem := ode.Problem{Schedule: a.s, Raw: a.raw, From: a.from, To: a.to, Steps: 800} // uniform in λ, and in t on the flow
		fine := compile(t, ode.RK{Tableau: ode.DormandPrince()}, problem)
		var errs, steps []float64
		coarse := 1e-3
		if a.stages == 6 {
			coarse = 1e-6 // order 5 takes no more than a dozen steps before
		}
		for _, tolerance := range []float64{coarse, coarse / 100} {
			got, f, _ := adapt(t, ode.Adaptive[float64]{Relative: tolerance, Absolute: tolerance}, i, ode.Problem{})
			errs = append(errs, distance(run(t, fine, f, 4, map[string][]float64{"x": start(a.s)}), got.X))
			steps = append(steps, float64(len(got.Plan.Knots)-1))
		}
		t.Logf("%-24s errors %.1e %.1e, steps %v", a.name, errs[0], errs[1], steps)
		require.Less(t, errs[1], 2e-3, a.name)
		ratio := errs[0] / errs[1]
		require.Greater(t, ratio, 10., a.name)
		require.Less(t, ratio, 1000., a.name)
	}
}

// The gradient of a realized plan is that of the run with its knots held, and its knots are a parameter like any.
func TestGradientsOfRealizedPlans(t *testing.T) {
	for i, a := range adaptives {
		if a.to == 0 { // differences at the ends of the schedule are one-sided: TestGradientToTheKnots
			continue
		}
		if a.s == (ode.EDM{}) { // whose latents are large
			continue
		}
		got, f, _ := adapt(t, ode.Adaptive[float64]{Relative: .5, Absolute: .5, FirstStep: .5}, i, ode.Problem{})
		back, err := got.Plan.Transpose()
		require.NoError(t, err)
		require.NotEmpty(t, back.Code)
		cot := []float64{1, -.5, .3, .8, -1, .2, .6, -.4}
		_, grad, _ := gradient(t, got.Plan, f, 4, map[string][]float64{"x": latents}, map[string][]float64{"x": cot}, nil)
		for k := range latents {
			at := func(h float64) (sum float64) {
				x := slices.Clone(latents)
				x[k] += h
				for j, v := range run(t, got.Plan, f, 4, map[string][]float64{"x": x}) {
					sum += cot[j] * v
				}
				return sum
			}
			const h = 1e-4
			want := (8*(at(h)-at(-h)) - (at(2*h) - at(-2*h))) / (12 * h)
			require.InDelta(t, want, grad["x"][k], 1e-7*(1+math.Abs(want)), a.name)
		}
		param, ok := got.Plan.Param("knots")
		require.True(t, ok)
		require.Equal(t, knotTimes(got.Plan), param.Value)
	}
}

// A last step to σ = 0 is part of the plan, and clipping is done on the way.
func TestAdaptiveTakesTheOptionsOfProblems(t *testing.T) {
	for i, a := range adaptives {
		if a.to == 0 {
			continue
		}
		got, f, evals := adapt(t, ode.Adaptive[float64]{}, i, ode.Problem{AppendZero: true})
		require.Zero(t, got.Plan.Knots[len(got.Plan.Knots)-1].T)
		require.Equal(t, evals, got.NFE, a.name)
		require.Equal(t, run(t, got.Plan, f, 4, map[string][]float64{"x": start(a.s)}), got.X, a.name)
	}
	got, f, _ := adapt(t, ode.Adaptive[float64]{}, 2, ode.Problem{AppendZero: true, Clip: ode.Clipping{Max: .9}})
	require.Equal(t, .9, slices.Max(got.X))
	require.Equal(t, got.Plan.NFE(), clips(got.Plan))
	require.Equal(t, run(t, got.Plan, f, 4, map[string][]float64{"x": latents}), got.X)

	// Up to noise and back again.
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: .02, To: .9}
	tight := ode.Adaptive[float64]{Relative: 1e-7, Absolute: 1e-7}
	f, err := exact.NewField[float64](goldenMixture(t), p.Schedule, p.Raw)
	require.NoError(t, err)
	up, err := tight.Run(t.Context(), p, f, 4, ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}})
	require.NoError(t, err)
	p.From, p.To = p.To, p.From
	down, err := tight.Run(t.Context(), p, f, 4, ode.Inputs[float64]{Ports: map[string][]float64{"x": up.X}})
	require.NoError(t, err)
	require.Less(t, distance(latents, down.X), 1e-4) // the way down stretches errors near modes
}

// numbers is a network that remembers which evaluations it was asked for, and at what time.
type numbers struct {
	ode.Field[float64]
	at map[int]float64
}

func (n numbers) Eval(dst, x []float64, c ode.Call[float64]) error {
	n.at[c.Index] = c.T[0]
	return n.Field.Eval(dst, x, c)
}

// The network is told the number that an evaluation has in the realized plan; the last time that a number comes is the one that counts.
func TestEvaluationsHaveTheirNumbers(t *testing.T) {
	for i, a := range adaptives {
		zero := a.to != 0
		got, f, _ := adapt(t, ode.Adaptive[float64]{Relative: .1, Absolute: .1}, i, ode.Problem{AppendZero: zero})
		n := numbers{f, map[int]float64{}}
		_, err := ode.Adaptive[float64]{Of: a.of, Relative: .1, Absolute: .1}.Run(t.Context(), ode.Problem{Schedule: a.s, Raw: a.raw, From: a.from, To: a.to, AppendZero: zero}, n, 4,
			ode.Inputs[float64]{Ports: map[string][]float64{"x": start(a.s)}})
		require.NoError(t, err)
		for _, in := range got.Plan.Code {
			if in.Op == ode.Evaluate {
				require.Equal(t, in.T, n.at[in.Index], "%s: evaluation %d", a.name, in.Index)
			}
		}
	}
}

// bad is a network that fails or gives NaN in sample 2 below a time.
type bad struct {
	ode.Field[float64]
	below float64
	err   error
}

func (b bad) Eval(dst, x []float64, c ode.Call[float64]) error {
	err := b.Field.Eval(dst, x, c)
	if c.T[0] < b.below {
		if b.err != nil {
			return b.err
		}
		dst[5] = math.NaN()
	}
	return err
}

// rough is a network whose output below a time jumps about, so that no length of step is short enough there.
type rough struct{ below float64 }

func (j rough) Eval(dst, x []float64, c ode.Call[float64]) error {
	for i := range dst {
		dst[i] = 0
		if c.T[0] < j.below {
			dst[i] = 1e6 * float64(1+i/2) * math.Sin(1e13*c.T[0])
		}
	}
	return nil
}

func TestAdaptiveStopsWithAnError(t *testing.T) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise}
	f, err := exact.NewField[float64](goldenMixture(t), p.Schedule, p.Raw)
	require.NoError(t, err)
	cause, cancelled := errors.New("cause"), errors.New("observer")
	for _, of := range []ode.Solver{ode.DPM{Single: true, Order: 3}, ode.RK{Tableau: ode.BogackiShampine()}} {
		sample := func(c ode.Adaptive[float64], f ode.Field[float64], in ode.Inputs[float64]) (*ode.StepError, *ode.Interrupted[float64]) {
			c.Of = of
			in.Ports = map[string][]float64{"x": latents}
			r, err := c.Run(t.Context(), p, f, 4, in)
			require.Nil(t, r)
			var stopped *ode.Interrupted[float64]
			require.ErrorAs(t, err, &stopped)
			var step *ode.StepError
			errors.As(err, &step)
			return step, stopped
		}
		n := &counted{Differentiable: f}
		step, stopped := sample(ode.Adaptive[float64]{}, bad{Field: n, below: .4}, ode.Inputs[float64]{})
		require.ErrorContains(t, stopped, "the network's output is not finite: step of")
		require.ErrorContains(t, stopped, "in sample 2")
		require.Equal(t, 2, step.Sample)
		require.True(t, math.IsNaN(step.Size))
		require.Equal(t, stopped.T, step.T)
		require.Equal(t, p.Schedule.At(step.T).Lambda(), step.Lambda)
		require.Greater(t, step.T, .4)
		require.Equal(t, n.evals-1, step.NFE, "that which gave the NaN is not completed")
		var number *ode.NumericError
		require.ErrorAs(t, stopped, &number)
		require.Less(t, number.T, .4)
		require.Len(t, stopped.X, 8)

		_, stopped = sample(ode.Adaptive[float64]{}, bad{Field: f, below: .4, err: cause}, ode.Inputs[float64]{})
		require.ErrorIs(t, stopped, cause)

		step, _ = sample(ode.Adaptive[float64]{MinStep: 1e-5, Relative: 1e-9, Absolute: 1e-3}, rough{.5}, ode.Inputs[float64]{})
		require.ErrorContains(t, step, "shorter than MinStep 1e-05")
		require.InDelta(t, .5, step.T, .06, "where it gets rough; a last step may end a little further on, if it has looked there at its end alone")
		require.Equal(t, 3, step.Sample, "the largest error")
		require.Greater(t, step.Rejected, 5)
		require.Greater(t, step.Size, 1.)

		step, _ = sample(ode.Adaptive[float64]{MaxSteps: 3, Relative: 1e-6, Absolute: 1e-6}, f, ode.Inputs[float64]{})
		require.ErrorContains(t, step, "MaxSteps 3 is reached")
		require.Equal(t, 3, step.Accepted+step.Rejected)

		var seen []ode.Step[float64]
		_, stopped = sample(ode.Adaptive[float64]{}, f, ode.Inputs[float64]{Observe: func(s ode.Step[float64]) error {
			seen = append(seen, s)
			if s.Index == 2 {
				return cancelled
			}
			return nil
		}})
		require.ErrorIs(t, stopped, cancelled)
		require.Equal(t, 3, stopped.Step)
		require.Len(t, seen, 3)
		require.Equal(t, seen[2].T, stopped.T)
		require.Equal(t, seen[2].NFE, stopped.NFE)

		ctx, cancel := context.WithCancel(t.Context())
		_, err := ode.Adaptive[float64]{Of: of}.Run(ctx, p, f, 4, ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}, Observe: func(s ode.Step[float64]) error {
			if s.Index == 1 {
				cancel()
			}
			return nil
		}})
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorAs(t, err, &stopped)
		require.Equal(t, 2, stopped.Step)
		cancel()
	}
}

func TestAdaptiveRefuses(t *testing.T) {
	vp := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise}
	in := ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}}
	with := func(f func(p *ode.Problem)) ode.Problem { p := vp; f(&p); return p }
	lowless := ode.BogackiShampine()
	lowless.Low = []float64{1, 0, 0}
	for _, c := range []struct {
		want string
		a    ode.Adaptive[float64]
		p    ode.Problem
		in   ode.Inputs[float64]
	}{
		{"Schedule is nil", ode.Adaptive[float64]{}, ode.Problem{}, in},
		{"leave Problem.Steps", ode.Adaptive[float64]{}, with(func(p *ode.Problem) { p.Steps = 3 }), in},
		{"leave Problem.Steps", ode.Adaptive[float64]{}, with(func(p *ode.Problem) { p.Denoise = true }), in},
		{"no error estimate; use Single", ode.Adaptive[float64]{Of: ode.DPMpp{}}, vp, in},
		{"no error estimate; use Single", ode.Adaptive[float64]{Of: ode.DPM{Order: 1, Single: true}}, vp, in},
		{"fast) has no error estimate", ode.Adaptive[float64]{Of: ode.DPM{Fast: true}}, vp, in},
		{"UniPC has no error estimate", ode.Adaptive[float64]{Of: ode.UniPC{}}, vp, in},
		{"has no Low weights", ode.Adaptive[float64]{Of: ode.RK{Tableau: ode.RK4()}}, vp, in},
		{"4 weights that sum to 1", ode.Adaptive[float64]{Of: ode.RK{Tableau: lowless}}, vp, in},
		{"leave it out for RK", ode.Adaptive[float64]{Published: true}, vp, in},
		{"Relative is -1", ode.Adaptive[float64]{Relative: -1}, vp, in},
		{"Absolute is NaN", ode.Adaptive[float64]{Absolute: math.NaN()}, vp, in},
		{"their sum must be positive", ode.Adaptive[float64]{PID: &ode.PID{P: 1, I: -2}}, vp, in},
		{"their sum must be positive", ode.Adaptive[float64]{PID: &ode.PID{P: math.Inf(1)}}, vp, in},
		{"PID.Accept is 0.2; it lies between 0.215", ode.Adaptive[float64]{PID: &ode.PID{Accept: .2}}, vp, in},
		{"PID.Accept is 1.1", ode.Adaptive[float64]{PID: &ode.PID{Accept: 1.1}}, vp, in},
		{"MaxSteps is -1", ode.Adaptive[float64]{MaxSteps: -1}, vp, in},
		{"both must be finite", ode.Adaptive[float64]{}, with(func(p *ode.Problem) { p.From = 1; p.To = 0 }), in},
		{"no velocity all the way from t = 1 to 0", ode.Adaptive[float64]{}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.Data}, in},
		{"outside of the domain", ode.Adaptive[float64]{}, with(func(p *ode.Problem) { p.From = 2; p.To = .1 }), in},
		{"Problem.Clip", ode.Adaptive[float64]{}, with(func(p *ode.Problem) { p.Clip = ode.Clipping{Max: 1} }), in},
		{"leave it out", ode.Adaptive[float64]{}, with(func(p *ode.Problem) { p.From = .1; p.To = .9; p.AppendZero = true }), in},
		{"one input x", ode.Adaptive[float64]{}, vp, ode.Inputs[float64]{}},
		{"do not make 4 samples", ode.Adaptive[float64]{}, vp, ode.Inputs[float64]{Ports: map[string][]float64{"x": latents[:3]}}},
		{"transpose the realized plan", ode.Adaptive[float64]{}, vp, ode.Inputs[float64]{Ports: in.Ports, Times: latents}},
	} {
		_, err := c.a.Run(t.Context(), c.p, rough{}, 4, c.in)
		require.ErrorContains(t, err, c.want)
	}
	_, err := ode.Adaptive[float64]{}.Run(t.Context(), vp, nil, 4, in)
	require.ErrorContains(t, err, "Field is nil")
}

// The embedded tableaux satisfy the conditions of their orders: Σ b c^k = 1/(k+1), and Σ b A c = 1/6, for both weights, where the low ones
// have the end of the step for a last stage.
func TestEmbeddedTableaux(t *testing.T) {
	for _, b := range []ode.Tableau{ode.BogackiShampine(), ode.DormandPrince()} {
		rows, c := append(slices.Clone(b.A), b.B), append(slices.Clone(b.C), 1)
		for name, w := range map[string][]float64{"high": append(slices.Clone(b.B), 0), "low": b.Low} {
			order := b.Order
			if name == "low" {
				order--
			}
			for k := range order {
				sum := 0.0
				for i := range w {
					sum += w[i] * math.Pow(c[i], float64(k))
				}
				require.InDelta(t, 1/float64(k+1), sum, 1e-14, "%s, %s weights, c^%d", b.Name, name, k)
			}
			if order >= 3 {
				sum := 0.0
				for i, row := range rows {
					for j, a := range row {
						sum += w[i] * a * c[j]
					}
				}
				require.InDelta(t, 1./6, sum, 1e-14, "%s, %s weights", b.Name, name)
			}
		}
		require.NotEqual(t, append(slices.Clone(b.B), 0), b.Low)
	}
}
