package adjoint_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

type sampler struct {
	name, reason string
	solver       ode.Solver
	coupled      bool // two states that magnify each other's error
}

// samplers are all solvers, with every option that changes which registers depend on which.
func samplers() []sampler {
	return []sampler{
		{"DDIM", "first order, the base of all", ode.DDIM{}, false},
		{"DDIM η = 0.7", "draws are inputs too", ode.DDIM{Eta: .7}, false},
		{"DDIM η = 1", "most noise", ode.DDIM{Eta: 1}, false},
		{"DPM 1M", "noise prediction", ode.DPM{Order: 1}, false},
		{"DPM 2M", "noise prediction with history", ode.DPM{}, false},
		{"DPM 3M", "more history", ode.DPM{Order: 3}, false},
		{"DPM 2S", "a point inside the step", ode.DPM{Single: true}, false},
		{"DPM 3S Taylor", "two points inside the step", ode.DPM{Order: 3, Single: true, Correction: ode.Taylor}, false},
		{"DPM 3S fast", "a grid of its own: no gradient to knots", ode.DPM{Order: 3, Fast: true}, false},
		{"DPM++ 1M", "data prediction", ode.DPMpp{Order: 1}, false},
		{"DPM++ 2M", "data prediction with history", ode.DPMpp{}, false},
		{"DPM++ 2M Taylor", "other weights", ode.DPMpp{Correction: ode.Taylor}, false},
		{"DPM++ 3M", "more history", ode.DPMpp{Order: 3}, false},
		{"DPM++ 3M published", "the release's weights", ode.DPMpp{Order: 3, Published: true}, false},
		{"DPM++ 3M lower final", "orders that change at the end", lowered{ode.DPMpp{Order: 3}}, false},
		{"DPM++ 2S", "a point inside the step", ode.DPMpp{Single: true}, false},
		{"DPM++ 3S", "two points inside the step", ode.DPMpp{Order: 3, Single: true}, false},
		{"UniPC-1", "corrector of one slope", ode.UniPC{Order: 1}, false},
		{"UniPC-2", "the evaluation is after the step it corrects", ode.UniPC{}, false},
		{"UniPC-3 noise", "noise prediction", ode.UniPC{Order: 3, Noise: true}, false},
		{"UniP-4", "longest history", ode.UniPC{Order: 4, NoCorrector: true}, false},
		{"Euler in t", "one stage", ode.RK{Tableau: ode.Euler(), In: ode.Time}, false},
		{"midpoint in t", "a stage of weight 0", ode.RK{Tableau: ode.MidpointRule(), In: ode.Time}, false},
		{"Heun", "two stages", ode.RK{}, false},
		{"Kutta in σ/α", "a stage with a negative coefficient", ode.RK{Tableau: ode.Kutta(), In: ode.Ratio}, false},
		{"RK4", "four stages", ode.RK{Tableau: ode.RK4()}, false},
		{"O-BELM", "two states out", ode.OBELM{}, true},
	}
}

// lowered is a multistep solver whose order is lowered at the end.
type lowered struct{ ode.Solver }

func (l lowered) Plan(p ode.Problem) (*ode.Plan, error) {
	p.LowerFinal = true
	return l.Solver.Plan(p)
}

// inverse samples by the way back.
type inverse struct{ ode.Inverter }

func (i inverse) Plan(p ode.Problem) (*ode.Plan, error) { return i.Invert(p) }

func discrete(t testing.TB) *ode.Discrete {
	t.Helper()
	betas := make([]float64, 1000)
	for i := range betas {
		betas[i] = 1e-4 + float64(i)/999*(0.02-1e-4)
	}
	s, err := ode.DiscreteFromBetas(betas)
	require.NoError(t, err)
	return s
}

func schedules(t testing.TB) map[string]ode.Schedule {
	return map[string]ode.Schedule{
		"VPLinear": ode.VPLinear{}, "VPCosine": ode.VPCosine{}, "Discrete": discrete(t), "EDM": ode.EDM{}, "Flow": ode.Flow{},
	}
}

var predictions = []ode.Prediction{ode.Noise, ode.Data, ode.Velocity, ode.FlowVelocity, ode.Score, ode.Denoiser}

// compile is the plan of a sampler over the whole range of a schedule, or over most of it where the network's
// prediction does not determine the state at α = 0.
func compile(t testing.TB, s ode.Solver, schedule ode.Schedule, raw ode.Prediction) *ode.Plan {
	t.Helper()
	p := ode.Problem{Schedule: schedule, Raw: raw, Steps: 5}
	lo, hi := schedule.Range()
	_, back := s.(inverse) // which asks nothing at α = 0
	if !back && schedule.At(hi).Alpha == 0 && (raw == ode.Noise || raw == ode.Score || raw == ode.Denoiser) {
		_, err := s.Plan(p)
		require.ErrorContains(t, err, "α", "a network that cannot be inverted at α = 0 is refused when the plan is made")
		p.From, p.To = .98*hi, lo
	}
	if back {
		// From the data end the way back magnifies errors by the square of the ratio of the ends' σ/α.
		p.From, p.To, p.Grid = schedule.TimeOf(-1), schedule.TimeOf(1), ode.LogSNR{}
	}
	plan, err := s.Plan(p)
	require.NoError(t, err)
	return plan
}

// gradientNames is everything a gradient of a plan with a field can be asked for.
func gradientNames[T adjoint.Float](p *ode.Plan, f ode.Differentiable[T], batch int) (names []string) {
	for _, q := range p.Inputs {
		names = append(names, q.Name)
	}
	for _, q := range p.Params() {
		names = append(names, q.Name)
	}
	for _, q := range f.Parameters(batch) {
		names = append(names, q.Name)
	}
	if p.Draws() > 0 {
		names = append(names, adjoint.Noise)
	}
	return names
}

// start is a state at the first knot for every input of a plan.
func start[T adjoint.Float](p *ode.Plan, n int) adjoint.Inputs[T] {
	in := adjoint.Inputs[T]{Ports: map[string][]T{}, Noise: ode.Seed[T]{Key: 4}}
	at := p.Schedule.At(p.Knots[0].T)
	for i, q := range p.Inputs {
		x := normal[T](n, 2+uint64(i))
		for k := range x {
			x[k] *= T(at.Alpha + at.Sigma)
		}
		in.Ports[q.Name] = x
	}
	return in
}

// Every solver on every schedule with every prediction, from one end of the range to the other: the gradient of the
// discrete solve to its inputs, its draws, every parameter of the field, and its knots.
func TestGradientOfEverySolverAgreesWithDifferences(t *testing.T) {
	const batch, dim = 2, 2
	models := map[string]exact.Model{
		"mixture": exact.Mixture{Weights: []float64{.5, .3, .2}, Means: [][]float64{{1, .5}, {-1, .3}, {.2, -1.4}}, Variances: []float64{.3, .2, .4}},
		"bumped":  exact.Bumped{Gaussian: exact.Gaussian{Mean: []float64{.7, -.4}, Variance: []float64{.4, .9}}, Amplitude: .4, Frequency: 1.5},
	}
	for name, schedule := range schedules(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, raw := range predictions {
				for model, m := range models {
					f, err := exact.NewField[float64](m, schedule, raw)
					require.NoError(t, err)
					for _, s := range append(samplers(), sampler{"O-BELM inverse", "two states in", inverse{ode.OBELM{}}, true}) {
						what := fmt.Sprintf("%s, %s from %v", s.name, model, raw)
						plan := compile(t, s.solver, schedule, raw)
						wrt := gradientNames(plan, f, batch)
						if name == "Discrete" {
							// Its derivative by time jumps at every one of the thousand levels, which a difference steps across.
							wrt = slices.DeleteFunc(wrt, func(name string) bool { return name == "knots" })
						}
						a, err := adjoint.New(adjoint.Problem[float64]{Plan: plan, Field: f, Batch: batch, Dim: dim, Wrt: wrt, Knots: []int{1, 2}})
						require.NoError(t, err, what)
						in := start[float64](plan, batch*dim)
						r, err := a.Certify(t.Context(), in, quadratic, adjoint.Certification{})
						require.NoError(t, err, what)
						c := r.Certificate
						for _, k := range c.Checks {
							if s.name == "DDIM η = 1" && k.Name == "x" && k.Norm < 1e-15 {
								continue // from α = 0 all of x is replaced by noise, but for rounding
							}
							bar := 1e-7
							if s.coupled || k.Name == "knots" {
								bar = 1e-6
							}
							require.LessOrEqual(t, k.Error, bar, "%s\n%s", what, c)
							require.NotZero(t, k.Norm, "%s: %s", what, k.Name)
						}
					}
				}
			}
		})
	}
}

// The graph of a whole run and the streamed network give the same gradients of every solver, for every kind of raw
// prediction and every schedule.
func TestStrategiesAgree(t *testing.T) {
	const batch, dim = 3, 3
	raws := map[string]ode.Prediction{"VPLinear": ode.Noise, "VPCosine": ode.Velocity, "Discrete": ode.Score, "EDM": ode.Denoiser, "Flow": ode.FlowVelocity}
	for name, schedule := range schedules(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := field[float64](t, tame(schedule, raws[name]), batch)
			knots := make([]float64, 5)
			for i := range knots {
				// Over the whole range a random network has gradients of any size, which would prove nothing.
				knots[i] = schedule.TimeOf(-1 + float64(i)/2)
			}
			for _, s := range append(samplers(), sampler{"O-BELM inverse", "two states in", inverse{ode.OBELM{}}, true}) {
				p := ode.Problem{Schedule: schedule, Raw: raws[name], Knots: knots}
				if s.name == "DPM 3S fast" {
					p = ode.Problem{Schedule: schedule, Raw: raws[name], From: knots[0], To: knots[4], Steps: 4}
				}
				plan, err := s.solver.Plan(p)
				require.NoError(t, err, s.name)
				in := start[float64](plan, batch*dim)
				var results []*adjoint.Result[float64]
				for _, strategy := range []adjoint.Strategy{adjoint.Checkpoint{}, adjoint.Unrolled{}} {
					r, err := adjoint.Gradient(t.Context(), adjoint.Problem[float64]{Plan: plan, Field: f, Batch: batch, Dim: dim,
						Wrt: gradientNames(plan, f, batch), Knots: []int{1, 2}, Strategy: strategy}, in, quadratic)
					require.NoError(t, err, s.name)
					require.Equal(t, plan.NFE(), r.NFE)
					results = append(results, r)
				}
				a, b := results[0], results[1]
				require.InEpsilon(t, a.Loss, b.Loss, 1e-12, s.name)
				require.Equal(t, len(a.Gradients), len(b.Gradients))
				for name, g := range a.Gradients {
					requireClose(t, g, b.Gradients[name], 1e-10, s.name+": "+name)
				}
				for name, g := range a.Params {
					requireClose(t, g, b.Params[name], 1e-10, s.name+": "+name)
				}
				require.Equal(t, []float64{0, 0}, a.Gradients["idle"], "%s: what takes no part has gradient exactly zero", s.name)
				require.Equal(t, []float64{0, 0}, b.Gradients["idle"], "%s: what takes no part has gradient exactly zero", s.name)
			}
		})
	}
}

// requireClose compares relative to the largest element.
func requireClose[T adjoint.Float](t testing.TB, want, got []T, tolerance float64, what string) {
	t.Helper()
	require.Equal(t, len(want), len(got), what)
	largest := 0.0
	for _, v := range want {
		largest = max(largest, float64(v), -float64(v))
	}
	for i, v := range want {
		require.InDelta(t, float64(v), float64(got[i]), tolerance*largest, "%s[%d]", what, i)
	}
}

var errTest = errors.New("test")

// errorIsOr says whether an error is one, or can be had as the other.
func errorIsOr(err, is error, as any) bool { return errors.Is(err, is) || errors.As(err, as) }
