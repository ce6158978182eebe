package ode_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// outputs runs a plan and returns all of its outputs by name.
func outputs(t testing.TB, p *ode.Plan, f ode.Field[float64], batch int, in map[string][]float64) map[string][]float64 {
	t.Helper()
	r, err := ode.NewRunner[float64](p, batch, 2)
	require.NoError(t, err)
	require.NoError(t, r.Run(context.Background(), f, ode.Inputs[float64]{Ports: in}))
	out := map[string][]float64{}
	for _, port := range p.Outputs {
		out[port.Name] = slices.Clone(r.Output(port.Name))
	}
	return out
}

func amplification(p *ode.Plan) float64 {
	if len(p.Knots) == 2 {
		return 1
	}
	h := func(i int) float64 {
		a, b := p.Schedule.At(p.Knots[i].T), p.Schedule.At(p.Knots[i+1].T)
		return a.Sigma/a.Alpha - b.Sigma/b.Alpha
	}
	first := h(0)
	if math.IsInf(first, 0) { // the step after it has r = 0 and is not undone
		first = h(1)
	}
	return math.Pow(first/h(len(p.Knots)-2), 2)
}

func TestOBELMIsInvertedExactly(t *testing.T) {
	for name, s := range schedules(t) {
		for _, c := range []struct {
			grid ode.Grid
			zero bool
		}{{nil, false}, {ode.Karras{}, false}, {ode.Karras{}, true}, {ode.UniformTime{}, false}} {
			for _, n := range []int{1, 2, 3, 20, 50} {
				p := ode.Problem{Schedule: s, Raw: ode.Velocity, Grid: c.grid, Steps: n, AppendZero: c.zero}
				if name == "Flow" && (c.grid == ode.Grid(ode.Karras{})) {
					p.From, p.To = .99, .01
				} else if name == "Flow" {
					p.AppendZero = false
				}
				there := compile(t, ode.OBELM{}, p)
				back, err := ode.OBELM{}.Invert(p)
				require.NoError(t, err)
				f := field(t, gaussian(), there)
				sigma := s.At(there.Knots[0].T).Sigma
				x := slices.Clone(latents)
				for i := range x {
					x[i] *= sigma
				}
				end := outputs(t, there, f, 4, map[string][]float64{"x": x})
				got := outputs(t, back, f, 4, end)["x"]
				// The way back multiplies rounding by up to (h_first/h_last)², which is 1.6e9 where a last step from σ = 0.002
				// to 0 follows one from 80.
				require.Less(t, distance(x, got), math.Max(1e-9, 1e-16*amplification(there)), "%s, %T, zero %t, %d steps", name, c.grid, c.zero, n)
				require.Equal(t, n, there.NFE())
				require.Less(t, back.NFE(), n)
			}
		}
	}
}

// From α = 0 the state at the start is handed on, since r = 0 forgets it, and only then.
func TestOBELMHandsOnAStartThatCannotBeFound(t *testing.T) {
	for _, c := range []struct {
		from  float64
		ports []ode.Port
	}{{1, []ode.Port{{Name: "x"}, {Name: "partner"}, {Name: "start"}}}, {.999, []ode.Port{{Name: "x"}, {Name: "partner"}}}} {
		p := ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, From: c.from, To: 0, Steps: 6, Grid: ode.UniformTime{}}
		there := compile(t, ode.OBELM{}, p)
		back, err := ode.OBELM{}.Invert(p)
		require.NoError(t, err)
		names := func(ports []ode.Port) (names []string) {
			for _, p := range ports {
				names = append(names, p.Name)
			}
			return names
		}
		require.Equal(t, names(c.ports), names(there.Outputs))
		require.Equal(t, names(c.ports), names(back.Inputs))
		require.Equal(t, []string{"x"}, names(back.Outputs))
	}
}

// Both directions hold the same states at the same times.
func TestOBELMInvertMeetsEveryKnot(t *testing.T) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: .9, To: .05, Steps: 9}
	there := compile(t, ode.OBELM{}, p)
	back, err := ode.OBELM{}.Invert(p)
	require.NoError(t, err)
	states := func(p *ode.Plan, in map[string][]float64) (xs [][]float64, out map[string][]float64) {
		var keep []ode.Reg
		for _, k := range p.Knots {
			keep = append(keep, k.Reg)
		}
		r, err := ode.NewRunner[float64](p, 4, 2, keep...)
		require.NoError(t, err)
		require.NoError(t, r.Run(context.Background(), field(t, goldenMixture(t), p), ode.Inputs[float64]{Ports: in}))
		for _, k := range keep {
			xs = append(xs, slices.Clone(r.Reg(k)))
		}
		out = map[string][]float64{}
		for _, port := range p.Outputs {
			out[port.Name] = slices.Clone(r.Output(port.Name))
		}
		return xs, out
	}
	down, end := states(there, map[string][]float64{"x": latents})
	up, _ := states(back, end)
	slices.Reverse(up)
	for i := range down {
		require.Less(t, distance(down[i], up[i]), 1e-11, "knot %d", i)
		require.Equal(t, there.Knots[i].T, back.Knots[len(up)-1-i].T)
	}
}

// A wrong number in either direction breaks the round trip.
func TestOBELMRoundTripCatchesMutations(t *testing.T) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: .9, To: .05, Steps: 9}
	back, err := ode.OBELM{}.Invert(p)
	require.NoError(t, err)
	for slot := range slots(compile(t, ode.OBELM{}, p)) {
		there := mutated(compile(t, ode.OBELM{}, p), slot)
		f := field(t, goldenMixture(t), there)
		got := outputs(t, back, f, 4, outputs(t, there, f, 4, map[string][]float64{"x": latents}))["x"]
		require.Greater(t, distance(latents, got), 1e-4, "slot %d", slot)
	}
}

func TestOBELMRefusesGridsItIsUnstableOn(t *testing.T) {
	up := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: .01, To: 1, Steps: 20}
	_, err := ode.OBELM{}.Plan(up)
	require.ErrorContains(t, err, "use a LogSNR or Karras grid towards data, and Invert for the way back")
	_, err = ode.OBELM{}.Plan(ode.Problem{Schedule: ode.EDM{}, Raw: ode.Data, Knots: []float64{10, 9.9, 5, 1}})
	require.ErrorContains(t, err, "up to step 1")
	_, err = ode.OBELM{}.Plan(ode.Problem{Schedule: ode.EDM{}, Raw: ode.Data, Grid: ode.UniformTime{}, Steps: 50})
	require.NoError(t, err, "r = 1 is stable")
	_, err = ode.OBELM{}.Invert(ode.Problem{})
	require.ErrorContains(t, err, "Schedule is nil")
}
