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
