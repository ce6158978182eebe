package exact

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

type flowing interface {
	Model
	Flow(dst, x []float64, s ode.Schedule, from, to float64) error
}

func flowed(t *testing.T, m flowing, x []float64, s ode.Schedule, from, to float64) []float64 {
	t.Helper()
	dst := make([]float64, len(x))
	require.NoError(t, m.Flow(dst, x, s, from, to))
	return dst
}

// The flow map is right if it starts at the identity, and its velocity is the field's at every later time.
func TestFlowSolvesTheODE(t *testing.T) {
	for _, m := range []flowing{
		gaussian3(),
		Bumped{Gaussian{Mean: []float64{.5, -1, 2, 0}, Variance: []float64{.7}}, .4, 1.5},
		Bumped{Gaussian{Mean: []float64{0, 1}, Variance: []float64{2}}, -1, 2},
		Bumped{Gaussian{Mean: []float64{0, 1}, Variance: []float64{2}}, 1, 0},
	} {
		for _, p := range points() {
			x := typical(m, p.s.At(p.t), 8)
			require.InDeltaSlice(t, x, flowed(t, m, x, p.s, p.t, p.t), 1e-13*(1+p.t))
			for _, to := range []float64{.03, .3, .8} {
				there := flowed(t, m, x, p.s, p.t, to)
				velocity := predicted(t, m, there, p.s.At(to), ode.FlowVelocity)
				move := func(h float64) []float64 { return flowed(t, m, x, p.s, p.t, to+h) }
				// 1e-8: EDM from σ = 40 multiplies the rounding of x by 40/V.
				require.Less(t, differs(move, velocity, to), 1e-8, "%+v from %v to %v", m, p, to)
				require.InDeltaSlice(t, x, flowed(t, m, there, p.s, to, p.t), 1e-11*(1+p.t))
			}
		}
	}
}

func TestFlowReachesBothEnds(t *testing.T) {
	for _, m := range []flowing{gaussian3(), models()[4].model.(Bumped)} {
		x := normals(m.Dim(), 1)
		data := flowed(t, m, x, ode.Flow{}, 1, 0)
		require.InDeltaSlice(t, x, flowed(t, m, data, ode.Flow{}, 0, 1), 1e-13)
	}
}

func TestFlowJacobianIsTheDerivativeOfFlow(t *testing.T) {
	g := gaussian3()
	x, direction := normals(3, 1), normals(3, 2)
	diagonal := make([]float64, 3)
	require.NoError(t, g.FlowJacobian(diagonal, ode.VPLinear{}, 1, .01))
	for i := range diagonal {
		diagonal[i] *= direction[i]
	}
	move := func(h float64) []float64 {
		moved := make([]float64, 3)
		for i := range x {
			moved[i] = x[i] + h*direction[i]
		}
		return flowed(t, g, moved, ode.VPLinear{}, 1, .01)
	}
	require.Less(t, differs(move, diagonal, 1), 1e-12)
}

func TestBumpIsBoundedInPosteriorDeviations(t *testing.T) {
	b := models()[5].model.(Bumped)
	for _, p := range points() {
		at := p.s.At(p.t)
		bound := make([]float64, 3)
		for seed := range uint64(50) {
			x := typical(b, at, seed)
			require.NoError(t, b.Gaussian.PosteriorVariance(bound, x, at))
			with, without := predicted(t, b, x, at, ode.Data), predicted(t, b.Gaussian, x, at, ode.Data)
			for i := range x {
				require.LessOrEqual(t, math.Abs(with[i]-without[i]), 1.5*math.Abs(b.Amplitude)*math.Sqrt(bound[i])*(1+1e-9))
			}
		}
	}
}
