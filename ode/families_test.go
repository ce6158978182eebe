package ode_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// families are the methods of files other than dpm, unipc, rk and belm that run on every schedule.
func families() []method {
	return []method{
		{"LMS 2", ode.LMS{Order: 2}, 1, true, false},
		{"LMS 3", ode.LMS{Order: 3}, 2, true, true},
		{"LMS 4", ode.LMS{}, 3, true, false},
		{"DEIS 2", ode.DEIS{Order: 2}, 1, false, true},
		{"DEIS 3", ode.DEIS{Order: 3}, 2, false, true},
		{"DEIS 4", ode.DEIS{}, 3, false, false},
		{"iPNDM 2", ode.PNDM{Order: 2}, 1, true, true},
		{"iPNDM 4", ode.PNDM{}, 3, true, true},
		{"S-PNDM", ode.PNDM{Order: 2, Start: ode.SPNDM}, 0, true, true},
		{"PLMS", ode.PNDM{Start: ode.SPNDM}, 0, true, true},
		{"F-PNDM", ode.PNDM{Start: ode.FPNDM}, 0, false, false},
		{"BDIA", ode.BDIA{}, 1, false, false},
		{"BDIA γ = 0.5", ode.BDIA{Gamma: .5}, 1, false, true},
		{"ALF", ode.ALF{}, 0, true, false},
		{"ALF η = 0.8", ode.ALF{Eta: .8}, 0, true, true},
		{"coupled Euler", ode.Coupled{Tableau: ode.Euler()}, 0, true, true},
		{"coupled Heun", ode.Coupled{}, 0, true, false},
		{"coupled RK4", ode.Coupled{Tableau: ode.RK4()}, 0, true, true},
	}
}

// stochastics are the samplers with noise.
func stochastics() []method {
	return []method{
		{name: "churn", solver: ode.ChurnRK{Churn: 5, Max: 50}},
		{name: "2S ancestral", solver: ode.Ancestral{}},
		{name: "DPM2 ancestral", solver: ode.Ancestral{Noise: true, Eta: .5}, weightsOnly: true},
		{name: "2M SDE", solver: ode.DPMppSDE{}},
		{name: "3M SDE", solver: ode.DPMppSDE{Order: 3, Eta: .5}, weightsOnly: true},
		{name: "++ SDE", solver: ode.DPMppSDE{Single: true}},
		{name: "SDE-DPM 2M", solver: ode.DPMSDE{}, weightsOnly: true},
		{name: "Euler–Maruyama", solver: ode.EulerMaruyama{}, weightsOnly: true},
	}
}

// NFE and draws as documented, for n steps within and with one more to σ = 0.
func TestNFEOfFamilies(t *testing.T) {
	for _, c := range []struct {
		solver     ode.Solver
		nfe, draws func(n int) int
		zero       int // evaluations of a last step to σ = 0
	}{
		{ode.LMS{}, times(1, 0), times(0, 0), 1},
		{ode.DEIS{}, times(1, 0), times(0, 0), 1},
		{ode.PNDM{}, times(1, 0), times(0, 0), 1},
		{ode.PNDM{Start: ode.SPNDM}, times(1, 1), times(0, 0), 1},
		{ode.PNDM{Start: ode.FPNDM}, times(1, 9), times(0, 0), 1},
		{ode.PNDM{Order: 3, Start: ode.FPNDM}, times(1, 6), times(0, 0), 1},
		{ode.ChurnRK{}, times(2, 0), times(0, 0), 1},
		{ode.Ancestral{}, times(2, 0), times(1, 0), 1},
		{ode.Ancestral{Noise: true}, times(2, 0), times(1, 0), 1},
		{ode.DPMppSDE{Order: 3}, times(1, 0), times(1, 0), 1},
		{ode.DPMppSDE{Single: true}, times(2, 0), times(2, 0), 1},
		{ode.DPMSDE{}, times(1, 0), times(1, 0), 1},
		{ode.EulerMaruyama{}, times(1, 0), times(1, 0), 1},
		{ode.BDIA{}, times(1, 0), times(0, 0), 1},
		{ode.EDICT{}, times(2, 0), times(0, 0), 2},
		{ode.ALF{}, times(1, 1), times(0, 0), 1},
		{ode.ALF{Eta: .9}, times(1, 1), times(0, 0), 1},
		{ode.Coupled{}, times(4, 0), times(0, 0), 1},
		{ode.Coupled{Tableau: ode.RK4()}, times(8, 0), times(0, 0), 1},
	} {
		for n := 3; n <= 25; n++ {
			p := compile(t, c.solver, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Velocity, Steps: n})
			require.Equal(t, c.nfe(n), p.NFE(), "%s, %d steps", p.Name, n)
			require.Equal(t, c.draws(n), p.Draws(), "%s, %d steps", p.Name, n)
		}
		zero := compile(t, c.solver, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Velocity, Steps: 10, AppendZero: true})
		require.Equal(t, c.nfe(9)+c.zero, zero.NFE(), "%s: one more to σ = 0", zero.Name)
	}
	for n := 1; n <= 25; n++ {
		p := compile(t, ode.FlowAB{Order: 3}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.Velocity, Steps: n})
		require.Equal(t, n, p.NFE())
	}
}

func times(a, b int) func(int) int { return func(n int) int { return a*n + b } }

// What TestSweep does for methods that begin anywhere: every number of steps, prediction and last knot gives finite numbers or is refused.
func TestSweepOfFamiliesWithConditions(t *testing.T) {
	for name, s := range schedules(t) {
		for _, raw := range predictions {
			f := field(t, gaussian(), &ode.Plan{Schedule: s, Raw: raw})
			for _, c := range []ode.Solver{ode.EDICT{}, ode.FlowAB{}, ode.FlowAB{Order: 4}, ode.LMS{Published: true}, ode.ChurnRK{Churn: 40, Min: .05, Noise: 1.003}} {
				for n := 1; n <= 25; n++ {
					for _, zero := range []bool{false, true} {
						p := ode.Problem{Schedule: s, Raw: raw, Steps: n, AppendZero: zero}
						if name == "Flow" && zero {
							p = ode.Problem{Schedule: s, Raw: raw, Steps: n, From: .98, To: 0}
						}
						plan, err := c.Plan(p)
						what := fmt.Sprintf("%T%+v on %s, %v, %d steps, zero %t", c, c, name, raw, n, zero)
						if err != nil {
							_, edict := c.(ode.EDICT)
							_, flow := c.(ode.FlowAB)
							_, churn := c.(ode.ChurnRK)
							start := name == "Flow" && !zero && (edict || raw == ode.Noise || raw == ode.Score || raw == ode.Denoiser)
							require.True(t, start || flow && name != "Flow" || churn && (name == "VPLinear" || name == "Discrete"), "%s: %v", what, err)
							continue
						}
						sigma := s.At(plan.Knots[0].T).Sigma
						out, grad, evals := gradient(t, plan, f, 1, map[string][]float64{"x": {.6 * sigma, -sigma}}, map[string][]float64{"x": {1, .5}}, nil)
						require.Equal(t, plan.NFE(), evals, what)
						for _, v := range append(out["x"], grad["x"]...) {
							require.False(t, math.IsNaN(v) || math.IsInf(v, 0), what)
						}
					}
				}
			}
		}
	}
}

// Gradients of whole runs to all that goes in, along one direction: inputs, draws, the model's means and the knots. Plans of the
// way back and from pairs included.
func TestGradientsOfFamiliesAgreeWithDifferences(t *testing.T) {
	knots := []float64{.85, .7, .5, .35, .2}
	vp := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Velocity, Knots: knots}
	plans := map[string]*ode.Plan{
		"flow AB":        compile(t, ode.FlowAB{Order: 3}, ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Knots: []float64{.85, .7, .5, .35, 0}}),
		"LMS, published": compile(t, ode.LMS{Published: true}, ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Knots: []float64{4, 2, 1, .4, 0}}),
	}
	for _, c := range stochastics() {
		plans[c.name] = compile(t, c.solver, vp)
	}
	for _, c := range reversibles() {
		plans[c.name], plans[c.name+" from a pair"] = compile(t, c.solo, vp), compile(t, c.pair, vp)
		plans[c.name+" inverse"] = inverse(t, c.pair, vp)
		up, err := c.solo.InvertAlone(vp)
		require.NoError(t, err)
		plans[c.name+" inverse alone"] = up
	}
	const batch, dim = 2, 2
	for name, p := range plans {
		r := rand.New(rand.NewPCG(3, 4))
		normal := func(n int) []float64 {
			v := make([]float64, n)
			for i := range v {
				v[i] = r.NormFloat64()
			}
			return v
		}
		f := field(t, goldenMixture(t), p)
		at, along, weights := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
		for _, port := range p.Inputs {
			at[port.Name], along[port.Name] = normal(batch*dim), normal(batch*dim)
		}
		for _, port := range p.Outputs {
			weights[port.Name] = normal(batch * dim)
		}
		for k := range p.Draws() {
			port := fmt.Sprintf("noise[%d]", k)
			at[port], along[port] = normal(batch*dim), normal(batch*dim)
		}
		means, meansAlong := make([]float64, 6), normal(6)
		require.NoError(t, f.Load("means", means))
		param, _ := p.Param("knots")
		moved := make([]float64, len(param.Value))
		for i := range moved {
			if param.Value[i] > 0 { // at σ = 0 the difference would be one-sided
				moved[i] = .1 * r.NormFloat64()
			}
		}
		inputs := func(h float64) ode.Inputs[float64] {
			in := ode.Inputs[float64]{Ports: map[string][]float64{}}
			noise := make(ode.Given[float64], p.Draws())
			for _, port := range p.Inputs {
				in.Ports[port.Name] = plus(at[port.Name], h, along[port.Name])
			}
			for k := range noise {
				port := fmt.Sprintf("noise[%d]", k)
				noise[k] = plus(at[port], h, along[port])
			}
			in.Noise = noise
			return in
		}
		loss := func(h float64) (sum float64) {
			q, err := param.Rebuild(plus(param.Value, h, moved))
			require.NoError(t, err, name)
			require.NoError(t, f.Store("means", plus(means, h, meansAlong)))
			run, err := ode.NewRunner[float64](q, batch, dim)
			require.NoError(t, err)
			require.NoError(t, run.Run(t.Context(), f, inputs(h)), name)
			for port, w := range weights {
				sum += inner(w, run.Output(port))
			}
			return sum
		}
		const h = 2e-4 // a balance: h⁴/30 of the fifth derivative, and 1e-15/h of the loss
		want := (8*(loss(h)-loss(-h)) - (loss(2*h) - loss(-2*h))) / (12 * h)
		require.NoError(t, f.Store("means", means))

		back, err := p.Transpose()
		require.NoError(t, err)
		forward, err := ode.NewRunner[float64](p, batch, dim, back.Needs(true)...)
		require.NoError(t, err)
		require.NoError(t, forward.Run(t.Context(), f, inputs(0)))
		adjoint, err := ode.NewRunner[float64](back, batch, dim)
		require.NoError(t, err)
		table, toMeans := make([]float64, len(p.Table())), make([]float64, 6)
		require.NoError(t, adjoint.Run(t.Context(), f, ode.Inputs[float64]{Ports: weights, Forward: forward.Reg, Table: table, Params: map[string][]float64{"means": toMeans}}))
		toKnots, err := p.PullTable("knots", table)
		require.NoError(t, err)
		got := inner(toMeans, meansAlong) + inner(toKnots, moved)
		for port := range along {
			got += inner(adjoint.Output(port), along[port])
		}
		require.InDelta(t, want, got, 1e-8*(1+math.Abs(want)), name)
	}
}

func plus(x []float64, h float64, along []float64) []float64 {
	y := slices.Clone(x)
	for i := range y {
		y[i] += h * along[i]
	}
	return y
}

func inner(x, y []float64) (sum float64) {
	for i := range x {
		sum += x[i] * y[i]
	}
	return sum
}
