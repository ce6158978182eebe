package ode_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// lonely is a reversible solver that can go back from one state.
type lonely interface {
	ode.Inverter
	InvertAlone(ode.Problem) (*ode.Plan, error)
}

type reversible struct {
	name       string
	solo, pair lonely
	growth     float64 // of rounding errors on the way back, a step
}

func reversibles() []reversible {
	return []reversible{
		{"BDIA", ode.BDIA{}, ode.BDIA{Pair: true}, 1},
		{"BDIA γ = 0.7", ode.BDIA{Gamma: .7}, ode.BDIA{Gamma: .7, Pair: true}, 1 / .7},
		{"EDICT", ode.EDICT{}, ode.EDICT{Pair: true}, 1 / (.93 * .93)},
		{"ALF", ode.ALF{}, ode.ALF{Pair: true}, 1},
		{"ALF η = 0.8", ode.ALF{Eta: .8}, ode.ALF{Eta: .8, Pair: true}, 1 / .6},
		{"coupled Heun", ode.Coupled{}, ode.Coupled{Pair: true}, 1 / .999},
		{"coupled Euler ζ = 0.9", ode.Coupled{Tableau: ode.Euler(), Zeta: .9}, ode.Coupled{Tableau: ode.Euler(), Zeta: .9, Pair: true}, 1 / .9},
		{"coupled RK4", ode.Coupled{Tableau: ode.RK4()}, ode.Coupled{Tableau: ode.RK4(), Pair: true}, 1 / .999},
	}
}

func inverse(t testing.TB, s ode.Inverter, p ode.Problem) *ode.Plan {
	t.Helper()
	plan, err := s.Invert(p)
	require.NoError(t, err)
	return plan
}

// journey is a run between a start and an end where all reversible solvers work, and a start for it.
func journey(s ode.Schedule, n int) (ode.Problem, map[string][]float64) {
	_, hi := s.Range()
	p := ode.Problem{Schedule: s, Raw: ode.Velocity, From: .9 * hi, To: .02, Steps: n, Grid: ode.LogSNR{}}
	x := slices.Clone(latents)
	for i := range x {
		x[i] *= s.At(p.From).Sigma
	}
	return p, map[string][]float64{"x": x}
}

func TestReversibleSolversAreInvertedExactly(t *testing.T) {
	worst := map[string]float64{}
	for name, s := range schedules(t) {
		for _, c := range reversibles() {
			for _, n := range []int{1, 2, 3, 20, 50} {
				if n < 20 && c.name == "EDICT" {
					continue // it needs more steps, see below
				}
				p, in := journey(s, n)
				there, back := compile(t, c.solo, p), inverse(t, c.solo, p)
				f := field(t, gaussian(), there)
				got := outputs(t, back, f, 4, outputs(t, there, f, 4, in))
				require.Len(t, got, 1)
				// Rounding grows by the method's own factor a step, and by what noise is larger than data: σ/α falls 4500-fold on EDM.
				bound := 1e-12 * math.Pow(c.growth, float64(n))
				worst[c.name] = max(worst[c.name], distance(in["x"], got["x"])/bound)
				require.Less(t, distance(in["x"], got["x"]), bound, "%s on %s, %d steps", c.name, name, n)
			}
		}
	}
	t.Log("error by bound: ", worst)
}

// From data alone: a way up that guesses the second state, and a way down from both states that ends on the data, to rounding.
func TestRealDataGoUpAndComeBack(t *testing.T) {
	for name, s := range schedules(t) {
		for _, c := range reversibles() {
			p, _ := journey(s, 40)
			up, err := c.solo.InvertAlone(p)
			require.NoError(t, err)
			down := compile(t, c.pair, p)
			f := field(t, goldenMixture(t), up)
			data := map[string][]float64{"x": {1.7, .5, 1, 2.1, 1.9, -1, 1.5, .2}}
			top := outputs(t, up, f, 4, data)
			require.Len(t, top, 2)
			got := outputs(t, down, f, 4, top)["x"]
			// Now it is the way up that the method's errors grow on, and the way down that multiplies its rounding by what they grew.
			require.Less(t, distance(data["x"], got), 1e-11*math.Pow(c.growth, 40), "%s on %s", c.name, name)
		}
	}
}

// With Pair, the way back ends on both of the states it started from.
func TestPairsComeBackAsPairs(t *testing.T) {
	for _, c := range reversibles() {
		p, in := journey(ode.VPLinear{}, 30)
		f := field(t, goldenMixture(t), compile(t, c.solo, p))
		in["partner"] = []float64{.4, -.9, -.8, .4, 1.3, .9, .2, -.3}
		got := outputs(t, inverse(t, c.pair, p), f, 4, outputs(t, compile(t, c.pair, p), f, 4, in))
		require.Len(t, got, 2)
		for port, want := range in {
			require.Less(t, distance(want, got[port]), 1e-12*math.Pow(c.growth, 30), "%s: %s", c.name, port)
		}
	}
}

// Both ends of a flow: those that step x/σ hand on the state before the data prediction; BDIA goes through; EDICT cannot begin.
func TestReversibleSolversFromPureNoiseToData(t *testing.T) {
	for _, c := range reversibles() {
		p := ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 12}
		there, err := c.solo.Plan(p)
		if c.name == "EDICT" {
			require.ErrorContains(t, err, "knot 0, t = 1, has α = 0")
			continue
		}
		require.NoError(t, err)
		f, in := field(t, gaussian(), there), map[string][]float64{"x": latents}
		got := outputs(t, inverse(t, c.solo, p), f, 4, outputs(t, there, f, 4, in))
		require.Less(t, distance(latents, got["x"]), 1e-12*math.Pow(c.growth, 12), c.name)
		_, held := there.Output("last")
		_, through := c.solo.(ode.BDIA)
		require.Equal(t, !through, held, c.name)

		up, err := c.solo.InvertAlone(p)
		require.NoError(t, err)
		data := map[string][]float64{"x": {.6, -1.1, .9, -1.4, .2, -1.2, 1, -.9}}
		outputs(t, up, f, 4, data)
		_, err = c.solo.InvertAlone(ode.Problem{Schedule: ode.Flow{}, Raw: ode.Data, Steps: 12})
		require.ErrorContains(t, err, "Data does not determine", "a data prediction at σ = 0 says nothing of the noise")
	}
}

// A wrong number in the way there breaks the round trip.
func TestRoundTripsCatchMutations(t *testing.T) {
	for _, c := range reversibles() {
		p, in := journey(ode.VPLinear{}, 20)
		back := inverse(t, c.solo, p)
		for slot := range slots(compile(t, c.solo, p)) {
			there := compile(t, c.solo, p)
			if empty(there, slot) {
				continue
			}
			there = mutated(there, slot)
			f := field(t, goldenMixture(t), there)
			got := outputs(t, back, f, 4, outputs(t, there, f, 4, in))["x"]
			require.Greater(t, distance(in["x"], got), 1e-5, "%s: slot %d", c.name, slot)
		}
	}
}

// The leading error of BDIA is (1−γ)/(1+γ) times that of DDIM, whose special case γ → 0 it is.
func TestErrorOfBDIA(t *testing.T) {
	m, s := goldenMixture(t), ode.VPLinear{}
	p := ode.Problem{Schedule: s, Raw: ode.Noise, From: .9, To: .05, Steps: 384, Grid: ode.LogSNR{}}
	path := mixturePath(t, s, latents)
	err := func(solver ode.Solver) float64 {
		plan := compile(t, solver, p)
		return distance(last(plan, path), run(t, plan, field(t, m, plan), 4, map[string][]float64{"x": latents}))
	}
	for _, gamma := range []float64{.25, .5, .75} {
		// 0.01: terms of second order with 384 steps
		require.InDelta(t, (1-gamma)/(1+gamma), err(ode.BDIA{Gamma: gamma})/err(ode.DDIM{}), .01)
	}
}

// EDICT, ALF and the coupling as they are written down, on EDM with its own loops.
func TestReversibleSolversAsWritten(t *testing.T) {
	sigmas := []float64{5, 3, 2, 1, .6, .4}
	p := ode.Problem{Schedule: ode.EDM{}, Raw: ode.Data, Knots: sigmas}
	f := field(t, goldenMixture(t), compile(t, ode.DDIM{}, p))
	eval := func(x []float64, sigma float64) []float64 {
		y := make([]float64, len(x))
		require.NoError(t, f.Eval(y, x, ode.Call[float64]{Batch: 4, T: []float64{sigma}}))
		return y
	}
	sum := func(a float64, x []float64, b float64, y []float64) []float64 {
		z := make([]float64, len(x))
		for i := range z {
			z[i] = a*x[i] + b*y[i]
		}
		return z
	}
	in := map[string][]float64{"x": sum(4, latents, 0, latents)}

	z, w := sum(1/sigmas[0], in["x"], 0, latents), func(i int) float64 { return 1 / sigmas[i] }
	v := eval(in["x"], sigmas[0])
	for i := range 5 {
		h := w(i+1) - w(i)
		k := sum(1, z, h/2, v)
		mid := 1 / (w(i) + h/2)
		v = sum(1-2*.8, v, 2*.8, eval(sum(mid, k, 0, k), mid))
		z = sum(1, k, h/2, v)
	}
	got := outputs(t, compile(t, ode.ALF{Eta: .8}, p), f, 4, in)
	require.Less(t, distance(sum(sigmas[5], z, 0, z), got["x"]), 1e-13)
	require.Less(t, distance(v, got["partner"]), 1e-13)

	z = sum(1/sigmas[0], in["x"], 0, latents)
	y := z
	psi := func(z []float64, i, j int) []float64 { // Heun's increment from knot i to j
		h := w(j) - w(i)
		k := eval(sum(sigmas[i], z, 0, z), sigmas[i])
		z = sum(1, z, h, k)
		return sum(h/2, k, h/2, eval(sum(sigmas[j], z, 0, z), sigmas[j]))
	}
	for i := range 5 {
		z = sum(1, sum(.9, z, .1, y), 1, psi(y, i, i+1))
		y = sum(1, y, -1, psi(z, i+1, i))
	}
	got = outputs(t, compile(t, ode.Coupled{Zeta: .9}, p), f, 4, in)
	require.Less(t, distance(sum(sigmas[5], z, 0, z), got["x"]), 1e-13)
	require.Less(t, distance(sum(sigmas[5], y, 0, z), got["partner"]), 1e-13)
}

func TestReversibleSolversRefuse(t *testing.T) {
	p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 3}
	up := ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, From: 0, To: 1, Steps: 4, Grid: ode.UniformTime{}}
	for _, c := range []struct {
		solver lonely
		p      ode.Problem
		want   string
	}{
		{ode.BDIA{Gamma: -.1}, p, "Gamma is -0.1; it lies between 0 (excluded: use DDIM) and 1"},
		{ode.BDIA{Gamma: math.NaN()}, p, "Gamma is NaN"},
		{ode.EDICT{Mix: 1.1}, p, "Mix is 1.1"},
		{ode.ALF{Eta: .5}, p, "is not ½"},
		{ode.ALF{Eta: 1.5}, p, "Eta is 1.5"},
		{ode.ALF{}, up, "starts at σ = 0"},
		{ode.Coupled{}, up, "starts at σ = 0"},
		{ode.Coupled{Zeta: 2}, p, "Zeta is 2"},
		{ode.Coupled{Tableau: ode.Tableau{B: []float64{1}}}, p, "tableau"},
	} {
		_, err := c.solver.Plan(c.p)
		require.ErrorContains(t, err, c.want)
		if c.p.Raw == ode.Noise {
			_, err = c.solver.Invert(c.p)
			require.ErrorContains(t, err, c.want)
		}
		_, err = c.solver.Invert(ode.Problem{})
		require.ErrorContains(t, err, "Schedule is nil")
		_, err = c.solver.InvertAlone(ode.Problem{})
		require.ErrorContains(t, err, "Schedule is nil")
	}
}

// With few steps the pair of EDICT drifts apart, as its doc says: from 12 steps it is no sample, from 80 it is.
func TestEDICTNeedsManySteps(t *testing.T) {
	apart := func(n int) float64 {
		p := compile(t, ode.EDICT{}, ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: n, From: 1, To: .02})
		out := outputs(t, p, field(t, goldenMixture(t), p), 4, map[string][]float64{"x": latents})
		return distance(out["x"], out["partner"])
	}
	require.Greater(t, apart(12), .2)
	require.Less(t, apart(80), .05)
}

// A constant scale is inverted too; one that changes from step to step is refused, and so are knots beside a grid.
func TestInversesRefuseWhatTheyCannotUndo(t *testing.T) {
	for _, s := range []ode.Inverter{ode.BDIA{}, ode.EDICT{}, ode.ALF{}, ode.Coupled{}, ode.OBELM{}} {
		p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, From: .6, To: .1, Steps: 6, Scale: ode.NoiseScale{First: 1.02}}
		there := compile(t, s, p)
		back, err := s.Invert(p)
		require.NoError(t, err)
		f, in := field(t, goldenMixture(t), there), map[string][]float64{"x": latents}
		require.Less(t, distance(latents, outputs(t, back, f, 4, outputs(t, there, f, 4, in))["x"]), 1e-9, there.Name)

		p.Scale.Last = 1.05
		_, err = s.Invert(p)
		require.ErrorContains(t, err, "which the way back counts the other way", there.Name)

		both := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.6, .3, .1}, Grid: ode.LogSNR{}}
		_, err = s.Plan(both)
		require.ErrorContains(t, err, "Knots stands instead of Grid")
		_, err = s.Invert(both)
		require.ErrorContains(t, err, "Knots stands instead of Grid")
	}
}

func ExampleBDIA_InvertAlone() {
	problem := ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Knots: []float64{1, .5, 0}}
	up, err := ode.BDIA{}.InvertAlone(problem)
	if err != nil {
		panic(err)
	}
	fmt.Print(up)
	// Output:
	// BDIA(γ=1) inverse: order 2, 2 evaluations and 0 draws, network predicts FlowVelocity
	// in  x=x0
	// out x=x2, partner=x1
	// of  knots[3]
	//   m0 = net(x0, t=0)  #0
	//   x1 = x0 + 0.5·m0
	//   m1 = net(x1, t=0.5)  #1
	//   x2 = 0·x1 + m1 + x0
}
