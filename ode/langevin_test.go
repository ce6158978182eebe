package ode_test

import (
	"context"
	"fmt"
	"log"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// The loop as it is written down: a step of Euler's in σ, then two of Langevin, at every level but 0.
func TestPredictorCorrectorIsThePlainLoop(t *testing.T) {
	const r = .3
	s := newSampler(t)
	x := s.x
	for i := range 6 {
		from, to := s.sigmas[i], s.sigmas[i+1]
		x = plus(x, to-from, s.slope(x, from))
		if to == 0 {
			continue
		}
		for range 2 {
			eps := 2 * r * r * to * to
			x = plus(plus(x, -eps/to, s.slope(x, to)), math.Sqrt(2*eps), s.draw())
		}
	}
	s.agrees(ode.PredictorCorrector{Of: ode.RK{Tableau: ode.Euler()}, Corrections: 2, SNR: r}, x)
}

// On a Gaussian of variance v a correction takes any variance V to (1−ε/v)² V + 2ε, and many of them to v/(1−ε/2v): the bias that is documented.
func TestCorrectionsLeaveTheDocumentedVariance(t *testing.T) {
	g, s := exact.Gaussian{Mean: []float64{.7}, Variance: []float64{.3}}, ode.VPLinear{}
	for _, r := range []float64{.1, .4} {
		to := s.At(.2)
		v, eps := to.Alpha*to.Alpha*.3+to.Sigma*to.Sigma, 2*r*r*to.Sigma*to.Sigma
		problem := ode.Problem{Schedule: s, Raw: ode.Noise, Knots: []float64{.9, .2}}
		_, before, _ := moments(t, compile(t, ode.DDIM{}, problem), g)
		for _, n := range []int{1, 2, 400} {
			want := before
			for range n {
				want = (1-eps/v)*(1-eps/v)*want + 2*eps
			}
			mean, got, _ := moments(t, compile(t, ode.PredictorCorrector{Of: ode.DDIM{}, Corrections: n, SNR: r}, problem), g)
			require.InDelta(t, want, got, 1e-12)
			require.InDelta(t, to.Alpha*.7, mean, 1e-12)
			if n == 400 {
				require.InDelta(t, v/(1-eps/(2*v)), got, 1e-3*v) // (1−ε/v)^800 is what is left of the start
			}
		}
	}
}

// A poor solver of few steps leaves a variance that corrections mend.
func TestCorrectionsMendAPoorPredictor(t *testing.T) {
	g, s := exact.Gaussian{Mean: []float64{.7}, Variance: []float64{.3}}, ode.VPLinear{}
	problem := ode.Problem{Schedule: s, Raw: ode.Noise, From: .9, To: .05, Steps: 8}
	_, want, _ := truth(g, s.At(.9), s.At(.05), 1)
	_, poor, _ := moments(t, compile(t, ode.RK{Tableau: ode.Euler()}, problem), g)
	_, mended, _ := moments(t, compile(t, ode.PredictorCorrector{Of: ode.RK{Tableau: ode.Euler()}, Corrections: 4}, problem), g)
	require.Less(t, math.Abs(mended-want), .8*math.Abs(poor-want))
}

func TestPredictorCorrectorCountsAndRefuses(t *testing.T) {
	vp := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Data, Steps: 6, AppendZero: true}
	p := compile(t, ode.PredictorCorrector{Corrections: 3}, vp)
	require.Equal(t, []int{6 + 3*5, 5 + 3*5}, []int{p.NFE(), p.Draws()})
	require.Zero(t, p.Order)
	vp.Denoise, vp.AppendZero = true, false
	require.Equal(t, 6+6+1, compile(t, ode.PredictorCorrector{}, vp).NFE())
	vp.Denoise, vp.Clip = false, ode.Clipping{Max: 1}
	require.Equal(t, 12, clips(compile(t, ode.PredictorCorrector{}, vp)))
	vp.Clip, vp.Scale = ode.Clipping{}, ode.NoiseScale{First: 1.01, Last: 1.05}
	require.NotNil(t, compile(t, ode.PredictorCorrector{Of: ode.DPMpp{Single: true}}, vp))
	vp.Scale = ode.NoiseScale{}
	for want, c := range map[string]ode.PredictorCorrector{
		"depend on one another": {Of: ode.DPMpp{}},
		"with Single":           {Of: ode.UniPC{}},
		"both are positive":     {SNR: -1},
		"Corrections is -2":     {Corrections: -2},
		"SNR NaN":               {SNR: math.NaN()},
		"Order is 7":            {Of: ode.DPMpp{Order: 7}},
		"of one state":          {Of: ode.EDICT{}},
	} {
		_, err := c.Plan(vp)
		require.ErrorContains(t, err, want)
	}
	_, err := ode.PredictorCorrector{Of: ode.DDIM{}}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Data, From: .1, To: .9, Steps: 3})
	require.ErrorContains(t, err, "away from data")
	require.ErrorContains(t, ode.Brownian[float64]{}.Draw(make([]float64, 1), ode.DrawCall{Batch: 1, From: .3, To: .3}), "use a Seed")
}

// The knots move the steps of the solver and the corrections alike.
func TestCorrectionsAreRebuiltForOtherKnots(t *testing.T) {
	p := compile(t, ode.PredictorCorrector{Of: ode.RK{}, SNR: .3}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.8, .6, .45, .3}})
	param, ok := p.Param("knots")
	require.True(t, ok)
	moved := slices.Clone(param.Value)
	moved[1] += .01
	q, err := param.Rebuild(moved)
	require.NoError(t, err)
	want := compile(t, ode.PredictorCorrector{Of: ode.RK{}, SNR: .3}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: moved})
	require.Equal(t, want.Table(), q.Table())
}

// Corrections have the exact gradient of what was computed, to the latent and to the knots, with the noise that was drawn.
func TestGradientsOfCorrectionsAgreeWithDifferences(t *testing.T) {
	cot, noise := []float64{1, -.5, .3, .8, -1, .2, .6, -.4}, ode.Seed[float64]{Key: 4}
	for _, of := range []ode.Solver{nil, ode.DDIM{Eta: 1}, ode.RK{}, ode.DPMpp{Single: true}} {
		for _, raw := range predictions {
			p := compile(t, ode.PredictorCorrector{Of: of, Corrections: 2, SNR: .3}, ode.Problem{Schedule: ode.VPLinear{}, Raw: raw, Knots: []float64{.8, .6, .45, .3}})
			f, err := exact.NewField[float64](goldenMixture(t), p.Schedule, raw)
			require.NoError(t, err)
			loss := func(p *ode.Plan, x []float64) float64 {
				r, err := ode.NewRunner[float64](p, 4, 2)
				require.NoError(t, err)
				require.NoError(t, r.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: noise}))
				return inner(cot, r.Output("x"))
			}
			_, grad, _ := pulled(t, p, f, latents, cot, 4, noise)
			for i := range latents {
				want := difference(func(h float64) float64 { x := slices.Clone(latents); x[i] += h; return loss(p, x) })
				require.InDelta(t, want, grad[i], 1e-9*(1+math.Abs(want)), "%s: latent %d", p.Name, i)
			}
			back, err := p.Transpose()
			require.NoError(t, err)
			forward, err := ode.NewRunner[float64](p, 4, 2, back.Needs(true)...)
			require.NoError(t, err)
			require.NoError(t, forward.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": latents}, Noise: noise}))
			reverse, err := ode.NewRunner[float64](back, 4, 2)
			require.NoError(t, err)
			table := make([]float64, len(p.Table()))
			require.NoError(t, reverse.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": cot}, Forward: forward.Reg, Table: table}))
			got, err := p.PullTable("knots", table)
			require.NoError(t, err)
			checkKnots(t, p, got, func(p *ode.Plan) float64 { return loss(p, latents) })
		}
	}
}

// Euler's method takes eight steps to t = 0.05, where these states have a standard deviation of 0.52, and leaves too little of it. Corrections
// make up for some.
func ExamplePredictorCorrector() {
	schedule := ode.VPLinear{}
	network, err := exact.NewField[float64](exact.Gaussian{Mean: []float64{0}, Variance: []float64{.25}}, schedule, ode.Noise)
	if err != nil {
		log.Fatal(err)
	}
	for _, corrections := range []int{0, 1, 4, 16} {
		var solver ode.Solver = ode.RK{Tableau: ode.Euler()}
		if corrections > 0 {
			solver = ode.PredictorCorrector{Of: solver, Corrections: corrections}
		}
		plan, err := solver.Plan(ode.Problem{Schedule: schedule, Raw: ode.Noise, To: .05, From: 1, Steps: 8})
		if err != nil {
			log.Fatal(err)
		}
		const batch = 4000
		noise := ode.Seed[float64]{Key: 1}
		x, err := ode.Latent(plan, noise, batch, 1)
		if err != nil {
			log.Fatal(err)
		}
		runner, err := ode.NewRunner[float64](plan, batch, 1)
		if err != nil {
			log.Fatal(err)
		}
		if err := runner.Run(context.Background(), network, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: noise}); err != nil {
			log.Fatal(err)
		}
		sum := 0.
		for _, v := range runner.Output("x") {
			sum += v * v / batch
		}
		fmt.Printf("%d corrections: %.2f\n", corrections, math.Sqrt(sum))
	}
	// Output:
	// 0 corrections: 0.43
	// 1 corrections: 0.44
	// 4 corrections: 0.46
	// 16 corrections: 0.48
}
