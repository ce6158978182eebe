package exact

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

func solved(t *testing.T, m Model, s ode.Schedule, raw ode.Prediction, from, to float64, steps int, x []float64) []float64 {
	t.Helper()
	plan, err := ode.DDIM{}.Plan(ode.Problem{Schedule: s, Raw: raw, From: from, To: to, Steps: steps})
	require.NoError(t, err)
	got, err := ode.Sample(context.Background(), plan, newField(t, m, s, raw), x, 1)
	require.NoError(t, err)
	return got
}

func TestASolverSeesOneFieldInEveryPrediction(t *testing.T) {
	for _, s := range []ode.Schedule{ode.VPLinear{}, ode.Flow{}} {
		for _, m := range models() {
			x := typical(m.model, s.At(.9), 1)
			want := solved(t, m.model, s, ode.Noise, .9, .1, 10, x)
			for _, raw := range predictions {
				require.InDeltaSlice(t, want, solved(t, m.model, s, raw, .9, .1, 10, x), 1e-11, "%s, %v", m.name, raw)
			}
		}
	}
}

// DDIM is of order 1: twice the steps leave half of the distance to the flow map.
func TestASolverConvergesToTheFlow(t *testing.T) {
	for _, m := range []flowing{gaussian3(), models()[4].model.(Bumped)} {
		x := typical(m, ode.VPLinear{}.At(.9), 2)
		want := flowed(t, m, x, ode.VPLinear{}, .9, .1)
		var errs []float64
		for _, steps := range []int{200, 400} {
			var sum float64
			for i, v := range solved(t, m, ode.VPLinear{}, ode.Noise, .9, .1, steps, x) {
				sum += (v - want[i]) * (v - want[i])
			}
			errs = append(errs, math.Sqrt(sum))
		}
		require.InDelta(t, 1, math.Log2(errs[0]/errs[1]), .05) // what is left of order 2 at 200 steps
	}
}
