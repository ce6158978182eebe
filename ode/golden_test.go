package ode_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// golden is one file of outputs of the official implementations, see testdata/golden/README.md.
type golden struct {
	GMM struct {
		Weights, Variances []float64
		Means              [][]float64
	}
	Cotangent [][]float64
	XT        [][]float64
	VP        struct {
		Knots, Timesteps []float64
		XT               [][]float64
	}
	VE struct{ Sigmas []float64 }

	EMS, EMS120 ode.Statistics // one of them
	Cases       map[string]json.RawMessage
}

type goldenCase struct {
	X0        [][]float64 `json:"x0"`
	GradXT    [][]float64 `json:"grad_xT"`
	GradMeans [][]float64 `json:"grad_means"`
	NFE       int         `json:"nfe"`
}

func readGolden(t *testing.T, name string) (g golden) {
	t.Helper()
	data, err := os.ReadFile("../testdata/golden/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &g))
	if g.XT == nil {
		g.XT, g.VP.Knots = g.VP.XT, g.VP.Timesteps
	}
	return g
}

func (g golden) mixture() exact.Mixture {
	return exact.Mixture{Weights: g.GMM.Weights, Means: g.GMM.Means, Variances: g.GMM.Variances}
}

// solve is the solver and the problem that a golden case was made with; nil if ebb has no such solver.
func (g golden) solve(name string) (ode.Solver, ode.Problem) {
	if s, p := g.family(name); s != nil {
		return s, p
	}
	part := append(strings.Split(name, "/"), "", "", "", "", "")
	vp := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: g.VP.Knots}
	n := len(g.VP.Knots) - 1
	grid := func(rule ode.Grid, steps int) ode.Problem {
		return ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Grid: rule, Steps: steps, From: g.VP.Knots[0], To: g.VP.Knots[n]}
	}
	switch part[0] {
	case "dpmsolver", "dpmsolver++":
		d := ode.DPMpp{Order: int(part[2][len(part[2])-1] - '0')} // absent in adaptive cases, which end below
		if part[1] == "adaptive" {
			return nil, vp
		}
		p := vp
		if part[3] == "taylor" && d.Order > 1 {
			d.Correction = ode.Taylor
		}
		switch part[1] {
		case "multistep":
			d.Published = d.Order == 3 && part[3] != "D2-corrected"
		case "singlestep":
			d.Fast, p = true, grid(ode.LogSNR{}, n)
		case "singlestep_fixed":
			d.Single, p = true, grid(ode.LogSNR{}, n/d.Order)
		}
		switch part[3] {
		case "steps8":
			p = grid(ode.LogSNR{}, 8)
			p.LowerFinal = true
		case "time_uniform":
			p = grid(ode.UniformTime{}, n)
		case "time_quadratic":
			p = grid(ode.QuadraticTime{}, n)
		case "denoise_to_zero":
			p.Knots = append(slices.Clone(p.Knots), 0)
		}
		if part[0] == "dpmsolver" {
			return ode.DPM(d), p
		}
		return d, p
	case "v3":
		v := g.v3(name)
		vp.LowerFinal = strings.Contains(name, "lof1") && v.Order > 1
		return v, vp
	case "unipc":
		u := ode.UniPC{Order: int(part[3][1] - '0'), Noise: part[1] == "noise_prediction"}
		vp.LowerFinal = part[4] == "lof1" && u.Order > 1
		if part[2] == "bh1" {
			u.B = ode.B1
		}
		return u, vp
	case "kdiff":
		p := ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Knots: slices.Clone(g.VE.Sigmas)}
		if part[2] == "append_zero" {
			p.Knots = append(p.Knots, 0)
		}
		return map[string]ode.Solver{
			"euler":                           ode.DDIM{},
			"euler_ancestral_eta1_zero_noise": ode.DDIM{Eta: 1},
			"heun":                            ode.RK{},
			"dpm_2":                           ode.DPM{Single: true},
			"dpmpp_2s_eta0":                   ode.DPMpp{Single: true},
			"dpmpp_sde_eta0":                  ode.DPMpp{Single: true}, // r = ½ leaves the inner prediction alone
			"dpmpp_2m":                        ode.DPMpp{},
			"dpmpp_2m_sde_heun_eta0":          ode.DPMpp{Correction: ode.Taylor},
			"dpmpp_3m_sde_eta0":               ode.DPMpp{Order: 3, Correction: ode.Taylor, Published: true},
		}[part[1]], p
	case "formula":
		if name == "formula/rhoRK-2heun/quad-t" || name == "formula/rhoRK-3kutta/quad-t" || name == "formula/rhoRK-4rk/quad-t" {
			b := map[string]ode.Tableau{"rhoRK-2heun": ode.Heun(), "rhoRK-3kutta": ode.Kutta(), "rhoRK-4rk": ode.RK4()}[part[1]]
			return ode.RK{Tableau: b, In: ode.Ratio}, grid(ode.QuadraticTime{}, n)
		}
	}
	return nil, vp
}

func (g golden) start(name string) (x []float64) {
	scale := 1.0
	if strings.HasPrefix(name, "kdiff/") {
		scale = g.VE.Sigmas[0]
	}
	for _, v := range slices.Concat(g.XT...) {
		x = append(x, scale*v)
	}
	return x
}

// zeros is noise that is not there: what the goldens of stochastic samplers were made with.
type zeros struct{}

func (zeros) Draw(dst []float64, _ ode.DrawCall) error { clear(dst); return nil }

// counted counts the evaluations of a field.
type counted struct {
	ode.Differentiable[float64]
	evals int
}

func (c *counted) Eval(dst, x []float64, call ode.Call[float64]) error {
	c.evals++
	return c.Differentiable.Eval(dst, x, call)
}

// gradient runs a plan and its transpose; it returns the outputs, the gradients to the inputs, and the evaluations.
func gradient(t testing.TB, p *ode.Plan, f ode.Differentiable[float64], batch int, in, cotangents, params map[string][]float64) (out, grad map[string][]float64, evals int) {
	t.Helper()
	back, err := p.Transpose()
	require.NoError(t, err, p.Name)
	dim := len(in["x"]) / batch
	keep := back.Needs(false)
	run, err := ode.NewRunner[float64](p, batch, dim, keep...)
	require.NoError(t, err, p.Name)
	c := &counted{Differentiable: f}
	require.NoError(t, run.Run(context.Background(), c, ode.Inputs[float64]{Ports: in, Noise: zeros{}}), p.Name)
	out, grad = map[string][]float64{}, map[string][]float64{}
	for _, port := range p.Outputs {
		out[port.Name] = slices.Clone(run.Output(port.Name))
	}
	rev, err := ode.NewRunner[float64](back, batch, dim)
	require.NoError(t, err, p.Name)
	all := map[string][]float64{}
	for _, port := range p.Outputs {
		all[port.Name] = make([]float64, len(in["x"]))
		copy(all[port.Name], cotangents[port.Name])
	}
	require.NoError(t, rev.Run(context.Background(), f, ode.Inputs[float64]{Ports: all, Forward: run.Reg, Params: params}), p.Name)
	for _, port := range back.Outputs {
		grad[port.Name] = slices.Clone(rev.Output(port.Name))
	}
	return out, grad, c.evals
}

// distance is relative to the size of want.
func distance(want, got []float64) float64 {
	var d, size float64
	for i := range want {
		d += (want[i] - got[i]) * (want[i] - got[i])
		size += want[i] * want[i]
	}
	return math.Sqrt(d / size)
}

// What is no solver: TestGoldenAdaptive has the cases of controllers.
var goldenWaiting = []string{"dpmsolver/adaptive", "dpmsolver++/adaptive"}

func isWaiting(name string) bool {
	return slices.ContainsFunc(goldenWaiting, func(p string) bool { return strings.HasPrefix(name, p) })
}

func TestGoldenCasesAreCoveredOrWaiting(t *testing.T) {
	for _, file := range []string{"official_solvers.json", "official_solvers_gradients.json"} {
		g, covered := readGolden(t, file), 0
		for name := range g.Cases {
			solver, _ := g.solve(name)
			require.NotEqual(t, isWaiting(name), solver != nil, name)
			if solver != nil {
				covered++
			}
		}
		t.Logf("%s: %d of %d cases", file, covered, len(g.Cases))
	}
}

func TestGoldenValues(t *testing.T) {
	g := readGolden(t, "official_solvers.json")
	for name, raw := range g.Cases {
		solver, problem := g.solve(name)
		if solver == nil {
			continue
		}
		p, err := solver.Plan(problem)
		require.NoError(t, err, name)
		f, err := exact.NewField[float64](g.mixture(), problem.Schedule, problem.Raw)
		require.NoError(t, err)
		x := g.start(name)
		r, err := ode.NewRunner[float64](p, len(g.XT), len(x)/len(g.XT))
		require.NoError(t, err)
		require.NoError(t, r.Run(context.Background(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": x}, Noise: zeros{}}), name)
		for port, want := range goldenOutputs(t, raw) {
			require.Less(t, distance(slices.Concat(want...), r.Output(port)), 1e-10, "%s: %s", name, port)
		}
	}
}

func TestGoldenGradients(t *testing.T) {
	g := readGolden(t, "official_solvers_gradients.json")
	for name, raw := range g.Cases {
		solver, problem := g.solve(name)
		if solver == nil {
			continue
		}
		var want goldenCase
		require.NoError(t, json.Unmarshal(raw, &want), name)
		p, err := solver.Plan(problem)
		require.NoError(t, err, name)
		f, err := exact.NewField[float64](g.mixture(), problem.Schedule, problem.Raw)
		require.NoError(t, err)
		means := make([]float64, 6)
		out, grad, evals := gradient(t, p, f, len(g.XT), map[string][]float64{"x": g.start(name)},
			map[string][]float64{"x": slices.Concat(g.Cotangent...)}, map[string][]float64{"means": means})
		require.Less(t, distance(slices.Concat(want.X0...), out["x"]), 1e-10, name)
		require.Less(t, distance(slices.Concat(want.GradXT...), grad["x"]), 1e-10, name)
		require.Less(t, distance(slices.Concat(want.GradMeans...), means), 1e-10, name)
		require.Equal(t, want.NFE, evals, name)
		require.Equal(t, want.NFE, p.NFE(), name)
	}
}
