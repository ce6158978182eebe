package ode_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// A method is a deterministic solver under test.
type method struct {
	name    string
	solver  ode.Solver
	history int  // steps before the first of full order
	lambda  bool // commutes with a change of schedule at equal λ

	weightsOnly bool // set by swept
}

// lowered is a multistep solver whose order is lowered at the end.
type lowered struct{ ode.Solver }

func (l lowered) Plan(p ode.Problem) (*ode.Plan, error) {
	p.LowerFinal = true
	return l.Solver.Plan(p)
}

// methods are all solvers with all options that change the ODE formula.
func methods() []method {
	return append([]method{
		{"DDIM", ode.DDIM{}, 0, true, false},
		{"DPM 1M", ode.DPM{Order: 1}, 0, true, false},
		{"DPM 2M", ode.DPM{}, 1, true, false},
		{"DPM 2M Taylor", ode.DPM{Correction: ode.Taylor}, 1, true, false},
		{"DPM 3M", ode.DPM{Order: 3}, 2, true, false},
		{"DPM 2S", ode.DPM{Single: true}, 0, true, false},
		{"DPM 2S Taylor", ode.DPM{Single: true, Correction: ode.Taylor}, 0, true, false},
		{"DPM 3S", ode.DPM{Order: 3, Single: true}, 0, true, false},
		{"DPM 3S Taylor", ode.DPM{Order: 3, Single: true, Correction: ode.Taylor}, 0, true, false},
		{"DPM++ 1M", ode.DPMpp{Order: 1}, 0, true, false},
		{"DPM++ 2M", ode.DPMpp{}, 1, true, false},
		{"DPM++ 2M Taylor", ode.DPMpp{Correction: ode.Taylor}, 1, true, false},
		{"DPM++ 3M", ode.DPMpp{Order: 3}, 2, true, false},
		{"DPM++ 3M published", ode.DPMpp{Order: 3, Published: true}, 2, true, false},
		{"DPM++ 2S", ode.DPMpp{Single: true}, 0, true, false},
		{"DPM++ 2S Taylor", ode.DPMpp{Single: true, Correction: ode.Taylor}, 0, true, false},
		{"DPM++ 3S", ode.DPMpp{Order: 3, Single: true}, 0, true, false},
		{"DPM++ 3S Taylor", ode.DPMpp{Order: 3, Single: true, Correction: ode.Taylor}, 0, true, false},
		{"Euler in σ/α", ode.RK{Tableau: ode.Euler(), In: ode.Ratio}, 0, true, false},
		{"Heun in σ/α", ode.RK{In: ode.Ratio}, 0, true, false},
		{"Ralston in σ/α", ode.RK{Tableau: ode.Ralston(), In: ode.Ratio}, 0, true, false},
		{"Kutta in σ/α", ode.RK{Tableau: ode.Kutta(), In: ode.Ratio}, 0, true, false},
		{"RK4 in σ/α", ode.RK{Tableau: ode.RK4(), In: ode.Ratio}, 0, true, false},
		{"Euler in t", ode.RK{Tableau: ode.Euler(), In: ode.Time}, 0, false, false},
		{"midpoint in t", ode.RK{Tableau: ode.MidpointRule(), In: ode.Time}, 0, false, false},
		{"Heun in t", ode.RK{In: ode.Time}, 0, false, false},
		{"RK4 in t", ode.RK{Tableau: ode.RK4(), In: ode.Time}, 0, false, false},
		{"UniPC-1", ode.UniPC{Order: 1}, 0, true, false},
		{"UniPC-1 B1", ode.UniPC{Order: 1, B: ode.B1}, 0, true, false},
		{"UniPC-2", ode.UniPC{}, 1, true, false},
		{"UniPC-2 noise", ode.UniPC{Noise: true}, 1, true, false},
		{"UniPC-3", ode.UniPC{Order: 3}, 2, true, false},
		{"UniPC-3 noise", ode.UniPC{Order: 3, Noise: true}, 2, true, false},
		{"UniP-2 B1", ode.UniPC{B: ode.B1, NoCorrector: true}, 1, true, false},
		{"UniPC-1 vary", ode.UniPC{Order: 1, B: ode.Vary}, 0, true, false},
		{"UniPC-2 vary", ode.UniPC{B: ode.Vary}, 1, true, false},
		{"UniPC-2 vary published", ode.UniPC{B: ode.Vary, Published: true}, 1, true, true},
		{"UniPC-3 vary published", ode.UniPC{Order: 3, B: ode.Vary, Published: true}, 2, true, true},
		{"UniP-2 vary", ode.UniPC{B: ode.Vary, NoCorrector: true}, 1, true, true},
		{"UniP-4", ode.UniPC{Order: 4, NoCorrector: true}, 3, true, false},
		{"O-BELM", ode.OBELM{}, 1, true, false},
	}, families()...)
}

func compile(t testing.TB, s ode.Solver, p ode.Problem) *ode.Plan {
	t.Helper()
	plan, err := s.Plan(p)
	require.NoError(t, err)
	return plan
}

func field(t testing.TB, m exact.Model, p *ode.Plan) *exact.Field[float64] {
	t.Helper()
	f, err := exact.NewField[float64](m, p.Schedule, p.Raw)
	require.NoError(t, err)
	return f
}

// run returns the output x of a plan for one sample or more.
func run(t testing.TB, p *ode.Plan, f ode.Field[float64], batch int, in map[string][]float64) []float64 {
	t.Helper()
	r, err := ode.NewRunner[float64](p, batch, len(in["x"])/batch)
	require.NoError(t, err, p.Name)
	require.NoError(t, r.Run(context.Background(), f, ode.Inputs[float64]{Ports: in, Noise: zeros{}}), p.Name)
	return r.Output("x")
}

// startExactly makes the states at knots 1 … n inputs of the plan, in place of what its first steps make of them and of the predicted
// states at which these ask the network there.
func startExactly(p *ode.Plan, n int) *ode.Plan {
	q := *p
	q.Code, q.Inputs = nil, slices.Clone(p.Inputs)
	exact := map[ode.Reg]ode.Reg{} // what stands for a register of the first steps
	for _, k := range p.Knots[1 : n+1] {
		exact[k.Reg] = k.Reg
		q.Inputs = append(q.Inputs, ode.Port{Name: startName(len(q.Inputs)), Reg: k.Reg})
		for _, in := range p.Code {
			if in.Op == ode.Evaluate && in.T == k.T {
				exact[in.Src] = k.Reg
			}
		}
	}
	for _, in := range p.Code {
		if _, given := exact[in.Dst]; given {
			continue
		}
		if r, ok := exact[in.Src]; ok {
			in.Src = r
		}
		in.Terms = slices.Clone(in.Terms)
		for k := range in.Terms {
			if r, ok := exact[in.Terms[k].Reg]; ok {
				in.Terms[k].Reg = r
			}
		}
		q.Code = append(q.Code, in)
	}
	return &q
}

func startName(i int) string { return "start" + string(rune('0'+i)) }

// A trajectory is the exact solution through x at the first of some times.
type trajectory func(times []float64) [][]float64

// states are the inputs of a plan made by startExactly.
func states(p *ode.Plan, n int, path trajectory) map[string][]float64 {
	times := []float64{}
	for _, k := range p.Knots[:n+1] {
		times = append(times, k.T)
	}
	xs := path(times)
	in := map[string][]float64{"x": xs[0]}
	for i := 1; i <= n; i++ {
		in[startName(i)] = xs[i]
	}
	return in
}

func goldenMixture(t testing.TB) exact.Mixture {
	return exact.Mixture{
		Weights: []float64{.43, .27, .3}, Means: [][]float64{{1.764, .4}, {.979, 2.241}, {1.868, -.977}}, Variances: []float64{.112, .027, .028},
	}
}

func gaussian() exact.Gaussian {
	return exact.Gaussian{Mean: []float64{.7, -1.2}, Variance: []float64{.3, .05}}
}

// mixturePath integrates the mixture's flow by RK4 in σ/α with far smaller steps than any solver under test.
func mixturePath(t testing.TB, s ode.Schedule, x []float64) trajectory {
	m, known := goldenMixture(t), map[string][][]float64{}
	return func(times []float64) [][]float64 {
		if xs, ok := known[fmt.Sprint(times)]; ok {
			return xs
		}
		xs := [][]float64{x}
		defer func() { known[fmt.Sprint(times)] = xs }()
		for i := 1; i < len(times); i++ {
			h := math.Abs(s.At(times[i]).Lambda() - s.At(times[i-1]).Lambda())
			p := compile(t, ode.RK{Tableau: ode.RK4(), In: ode.Ratio}, ode.Problem{Schedule: s, Raw: ode.Noise,
				From: times[i-1], To: times[i], Steps: 1 + int(h*400), Grid: ode.LogSNR{}})
			xs = append(xs, slices.Clone(run(t, p, field(t, m, p), len(x)/2, map[string][]float64{"x": xs[i-1]})))
		}
		return xs
	}
}

// flowing is a model whose flow is known in closed form.
type flowing interface {
	exact.Model
	Flow(dst, x []float64, s ode.Schedule, from, to float64) error
}

func flowPath(t testing.TB, m flowing, s ode.Schedule, x []float64) trajectory {
	return func(times []float64) [][]float64 {
		var xs [][]float64
		for _, at := range times {
			dst := make([]float64, len(x))
			require.NoError(t, m.Flow(dst, x, s, times[0], at))
			xs = append(xs, dst)
		}
		return xs
	}
}

// last is the end of the exact solution over the knots of a plan.
func last(p *ode.Plan, path trajectory) []float64 {
	return path([]float64{p.Knots[0].T, p.Knots[len(p.Knots)-1].T})[1]
}

// withoutLastStep ends a plan a knot earlier.
func withoutLastStep(p *ode.Plan) *ode.Plan {
	q := *p
	n := len(p.Knots) - 2
	q.Knots = p.Knots[:n+1]
	q.Outputs = []ode.Port{{Name: "x", Reg: q.Knots[n].Reg}}
	q.Code = slices.DeleteFunc(slices.Clone(p.Code), func(in ode.Instr) bool { return in.Step >= n })
	return &q
}
