package ode_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// idle is a field that costs next to nothing, so that what a benchmark measures is the solver.
type idle struct{}

func (idle) Eval(dst, x []float32, _ ode.Call[float32]) error { copy(dst, x); return nil }

// BenchmarkSolver prints what a step costs beside the network: 20 steps on 16×1×28×28 float32 (the copy of idle, about a
// microsecond, included).
func BenchmarkSolver(b *testing.B) {
	const batch, dim, steps = 16, 784, 20
	for _, s := range []struct {
		name   string
		solver ode.Solver
	}{{"DDIM", ode.DDIM{}}, {"2M", ode.DPMpp{Order: 2}}, {"UniPC2", ode.UniPC{Order: 2}}} {
		b.Run(s.name, func(b *testing.B) {
			p, err := s.solver.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: steps})
			require.NoError(b, err)
			r, err := ode.NewRunner[float32](p, batch, dim)
			require.NoError(b, err)
			x := make([]float32, batch*dim)
			for i := range x {
				x[i] = float32(i%7) - 3
			}
			in := ode.Inputs[float32]{Ports: map[string][]float32{"x": x}}
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Run(context.Background(), idle{}, in); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/steps, "µs/step")
		})
	}
}

// still is idle in double precision.
type still struct{}

func (still) Eval(dst, x []float64, _ ode.Call[float64]) error { copy(dst, x); return nil }

// BenchmarkRun prints what a small solve costs beside the network: 20 steps of one sample of 2 elements, float64.
func BenchmarkRun(b *testing.B) {
	for _, s := range []ode.Solver{ode.DDIM{}, ode.DPMpp{}, ode.UniPC{Order: 3}} {
		p, err := s.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 20})
		require.NoError(b, err)
		b.Run(p.Name, func(b *testing.B) {
			r, err := ode.NewRunner[float64](p, 1, 2)
			require.NoError(b, err)
			in := ode.Inputs[float64]{Ports: map[string][]float64{"x": {.5, -1}}}
			b.ReportAllocs()
			for b.Loop() {
				if err := r.Run(b.Context(), still{}, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkPlan prints what compiling costs: 50 steps on given knots, checked.
func BenchmarkPlan(b *testing.B) {
	for _, s := range []ode.Solver{ode.DDIM{}, ode.DPMpp{Order: 3}, ode.UniPC{Order: 3}, ode.DEIS{}} {
		p, err := s.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 50})
		require.NoError(b, err)
		b.Run(p.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 50}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
