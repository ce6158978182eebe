package ode_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

func tableaux() []ode.Tableau {
	return []ode.Tableau{ode.Euler(), ode.Heun(), ode.MidpointRule(), ode.Ralston(), ode.Kutta(), ode.RK4()}
}

// The order conditions for trees of up to four nodes (Hairer, Nørsett, Wanner 1993, table II.2.1) hold up to the order of the
// tableau, and one fails above.
func TestTableauxSatisfyTheirOrderConditions(t *testing.T) {
	for _, b := range tableaux() {
		n := len(b.B)
		sum := func(f func(i int) float64) (s float64) {
			for i := range n {
				s += b.B[i] * f(i)
			}
			return s
		}
		ac := func(i int, f func(j int) float64) (s float64) {
			for j, a := range b.A[i] {
				s += a * f(j)
			}
			return s
		}
		c := func(i int) float64 { return b.C[i] }
		wrong := map[int]float64{
			1: math.Abs(sum(func(int) float64 { return 1 }) - 1),
			2: math.Abs(sum(c) - 1./2),
			3: math.Abs(sum(func(i int) float64 { return c(i) * c(i) })-1./3) + math.Abs(sum(func(i int) float64 { return ac(i, c) })-1./6),
			4: math.Abs(sum(func(i int) float64 { return c(i) * c(i) * c(i) })-1./4) +
				math.Abs(sum(func(i int) float64 { return c(i) * ac(i, c) })-1./8) +
				math.Abs(sum(func(i int) float64 { return ac(i, func(j int) float64 { return c(j) * c(j) }) })-1./12) +
				math.Abs(sum(func(i int) float64 { return ac(i, func(j int) float64 { return ac(j, c) }) })-1./24),
		}
		for order, w := range wrong {
			if order <= b.Order {
				require.Less(t, w, 1e-15, "%s, order %d", b.Name, order)
			}
		}
		if b.Order < 4 {
			require.Greater(t, wrong[b.Order+1], .01, "%s is of order %d and no higher", b.Name, b.Order)
		}
	}
}

func TestBadTableauxAreRefused(t *testing.T) {
	for _, c := range []struct {
		want  string
		spoil func(b *ode.Tableau)
	}{
		{"1 rows A, 2 weights B, 2 times C", func(b *ode.Tableau) { b.A = b.A[:1] }},
		{"row 1 of A has 2 entries", func(b *ode.Tableau) { b.A[1] = []float64{.5, .5} }},
		{"row 1 of A, [0.9], does not sum to C[1] = 1", func(b *ode.Tableau) { b.A[1] = []float64{.9} }},
		{"B, [0.5 0.6], does not sum to 1", func(b *ode.Tableau) { b.B[1] = .6 }},
		{"B, [0.5 NaN], does not sum to 1", func(b *ode.Tableau) { b.B[1] = math.NaN() }},
		{"has Order 0", func(b *ode.Tableau) { b.Order = 0 }},
		{"outside of the domain", func(b *ode.Tableau) { b.A[1], b.C[1] = []float64{3}, 3 }},
	} {
		b := ode.Heun()
		c.spoil(&b)
		_, err := ode.RK{Tableau: b, In: ode.Time}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Steps: 3, Grid: ode.UniformTime{}})
		require.ErrorContains(t, err, c.want)
	}
	_, err := ode.RK{In: 7}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Steps: 3})
	require.ErrorContains(t, err, "In is 7; Auto, Ratio and Time exist")
}

func TestAutoIsTimeOnFlowAndRatioElsewhere(t *testing.T) {
	for name, s := range schedules(t) {
		in := ode.Ratio
		if name == "Flow" {
			in = ode.Time
		}
		p := ode.Problem{Schedule: s, Raw: ode.FlowVelocity, Steps: 4}
		require.Equal(t, compile(t, ode.RK{In: in}, p).Table(), compile(t, ode.RK{}, p).Table(), name)
		require.NotEqual(t, compile(t, ode.RK{In: 3 - in}, p).Table(), compile(t, ode.RK{}, p).Table(), name)
	}
}

// Heun's last step on Flow asks for the velocity at t = 0. A network that predicts data cannot say it, so the step is Euler's.
func TestAStageWithoutAVelocityMakesTheStepFirstOrder(t *testing.T) {
	for _, c := range []struct {
		raw ode.Prediction
		nfe int
	}{{ode.FlowVelocity, 10}, {ode.Velocity, 10}, {ode.Data, 9}} {
		p := compile(t, ode.RK{}, ode.Problem{Schedule: ode.Flow{}, Raw: c.raw, Steps: 5})
		require.Equal(t, c.nfe, p.NFE(), c.raw)
	}
}

// EDM's sampler, by its algorithm.
func TestHeunOnEDMIsAlgorithm1(t *testing.T) {
	p := compile(t, ode.RK{}, ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Grid: ode.Karras{}, Steps: 6, AppendZero: true})
	m := goldenMixture(t)
	in := []float64{40, -80}
	x, y, d := []float64{40, -80}, make([]float64, 2), make([]float64, 2)
	slopeAt := func(x []float64, sigma float64) []float64 {
		require.NoError(t, m.Predict(d, x, ode.EDM{}.At(sigma), ode.Data))
		return []float64{(x[0] - d[0]) / sigma, (x[1] - d[1]) / sigma}
	}
	for i := range 6 {
		s, to := p.Knots[i].T, p.Knots[i+1].T
		k := slopeAt(x, s)
		for j := range x {
			y[j] = x[j] + (to-s)*k[j]
		}
		if to > 0 {
			l := slopeAt(y, to)
			for j := range x {
				y[j] = x[j] + (to-s)*(k[j]+l[j])/2
			}
		}
		copy(x, y)
	}
	require.Less(t, distance(x, run(t, p, field(t, m, p), 1, map[string][]float64{"x": in})), 1e-13)
}

func ExampleRK() {
	p, err := ode.RK{}.Plan(ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Grid: ode.Karras{}, Steps: 18, AppendZero: true})
	if err != nil {
		panic(err)
	}
	fmt.Println(p.Name, p.NFE(), "evaluations")
	// Output: Heun in σ/α 35 evaluations
}
