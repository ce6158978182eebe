package adjoint_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

const (
	tameBatch = 3
	tameDim   = 3
	tameWidth = 5
)

// problem is a stochastic run of a small network, with everything asked for but knots.
func problem[T adjoint.Float](t testing.TB, strategy adjoint.Strategy) (adjoint.Problem[T], adjoint.Inputs[T]) {
	t.Helper()
	plan, err := ode.DDIM{Eta: .7}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.9, .7, .55, .3, .2}})
	require.NoError(t, err)
	in := adjoint.From(normal[T](tameBatch*tameDim, 2))
	in.Noise = ode.Seed[T]{Key: 4}
	return adjoint.Problem[T]{Plan: plan, Field: field[T](t, tame(ode.VPLinear{}, ode.Noise), tameBatch), Batch: tameBatch, Dim: tameDim,
		Wrt: append([]string{adjoint.Noise}, everything...), Knots: []int{2}, Strategy: strategy}, in
}

var strategies = []adjoint.Strategy{adjoint.Checkpoint{}, adjoint.Unrolled{}}

func prepare(t testing.TB, p adjoint.Problem[float64]) *adjoint.Adjoint[float64] {
	t.Helper()
	a, err := adjoint.New(p)
	require.NoError(t, err)
	return a
}

// copied is a result that later runs leave alone.
func copied(r *adjoint.Result[float64]) adjoint.Result[float64] {
	c := *r
	c.Gradients, c.Params = map[string][]float64{}, map[string][]float64{}
	for name, g := range r.Gradients {
		c.Gradients[name] = slices.Clone(g)
	}
	for name, g := range r.Params {
		c.Params[name] = slices.Clone(g)
	}
	c.States = adjoint.States[float64]{Outputs: map[string][]float64{"x": slices.Clone(r.States.X())}}
	for _, x := range r.States.Knots {
		c.States.Knots = append(c.States.Knots, slices.Clone(x))
	}
	return c
}

// A run that is stopped says how far it came, going either way, and leaves nothing behind: the next gradient has the
// same bits as one that was never stopped.
func TestStoppedRuns(t *testing.T) {
	for _, strategy := range strategies {
		t.Run(strategy.String(), func(t *testing.T) {
			p, in := problem[float64](t, strategy)
			a := prepare(t, p)
			r, err := a.Gradient(t.Context(), in, quadratic)
			require.NoError(t, err)
			want := copied(r)
			for _, backward := range []bool{false, true} {
				for _, cancelled := range []bool{false, true} {
					ctx, cancel := context.WithCancel(t.Context())
					stopped := in
					steps := 0
					stopped.Observe = func(p adjoint.Progress) error {
						require.Equal(t, 4, p.Steps)
						if p.Backward != backward {
							return nil
						}
						if steps++; strategy == (adjoint.Checkpoint{}) && steps < 3 {
							return nil
						}
						if cancelled {
							cancel()
							return ctx.Err()
						}
						return errTest
					}
					r, err := a.Gradient(ctx, stopped, quadratic)
					cancel()
					require.Nil(t, r)
					var stop *adjoint.Interrupted[float64]
					require.ErrorAs(t, err, &stop)
					require.Equal(t, backward, stop.Backward)
					cause := errTest
					if cancelled {
						cause = context.Canceled
					}
					require.ErrorIs(t, err, cause)
					if strategy == (adjoint.Checkpoint{}) {
						step, nfe, vjp := 3, 3, 0
						if backward {
							step, nfe, vjp = 2, 4, 3
						}
						require.Equal(t, []int{step, nfe, vjp}, []int{stop.Step, stop.NFE, stop.VJP}, "step, NFE, VJP")
					}
					if backward {
						require.Equal(t, want.Loss, stop.Loss)
						require.Equal(t, want.States.X(), stop.States.X())
					} else if strategy == (adjoint.Checkpoint{}) {
						var run *ode.Interrupted[float64]
						require.ErrorAs(t, err, &run)
						require.Len(t, run.X, tameBatch*tameDim, "the state that was reached")
					}
				}
			}
			r, err = a.Gradient(t.Context(), in, quadratic)
			require.NoError(t, err)
			require.Equal(t, want, copied(r))
		})
	}
}

// An Adjoint keeps nothing of an earlier run: not of its inputs, loss, weights, certificate or failure.
func TestAnAdjointCanBeUsedAgain(t *testing.T) {
	for _, strategy := range strategies {
		t.Run(strategy.String(), func(t *testing.T) {
			p, in := problem[float64](t, strategy)
			p.Wrt = append(slices.Clone(p.Wrt), "knots")
			fresh := func() adjoint.Result[float64] {
				r, err := prepare(t, p).Gradient(t.Context(), in, quadratic)
				require.NoError(t, err)
				return copied(r)
			}
			want := fresh()
			a := prepare(t, p)
			other := adjoint.From(normal[float64](tameBatch*tameDim, 9))
			other.Noise = ode.Seed[float64]{Key: 5}
			_, err := a.Gradient(t.Context(), other, adjoint.Dot(normal[float64](tameBatch*tameDim, 8)))
			require.NoError(t, err)
			r, err := a.Gradient(t.Context(), in, quadratic)
			require.NoError(t, err)
			require.Equal(t, want, copied(r))

			r, err = a.Certify(t.Context(), in, quadratic, adjoint.Certification{})
			require.NoError(t, err)
			require.NotNil(t, r.Certificate)
			same := copied(r)
			same.Certificate = nil
			require.Equal(t, want, same, "certifying leaves the result as it was")
			r, err = a.Gradient(t.Context(), in, quadratic)
			require.NoError(t, err)
			require.Equal(t, want, copied(r), "a new result has no certificate")

			require.NoError(t, p.Field.Store("bias", normal[float64](5, 7)))
			changed := fresh()
			require.NotEqual(t, want.Loss, changed.Loss)
			r, err = a.Gradient(t.Context(), in, quadratic)
			require.NoError(t, err)
			require.Equal(t, changed, copied(r), "parameters are read anew")

			v, s, err := a.Value(t.Context(), in, quadratic)
			require.NoError(t, err)
			require.Equal(t, changed.Loss, v)
			require.Equal(t, changed.States.X(), s.X())
		})
	}
}

// What a loss does not depend on has gradient exactly zero, also after a run in which it had not.
func TestWhatTakesNoPartIsExactlyZero(t *testing.T) {
	for _, strategy := range strategies {
		p, in := problem[float64](t, strategy)
		p.Knots = []int{0}
		a := prepare(t, p)
		_, err := a.Gradient(t.Context(), in, quadratic)
		require.NoError(t, err)
		r, err := a.Gradient(t.Context(), in, func(s, g adjoint.States[float64]) (float64, error) {
			g.Knots[0][0] = 2
			return 2 * s.Knots[0][0], nil
		})
		require.NoError(t, err)
		for name, g := range r.Gradients {
			want := make([]float64, len(g))
			if name == "x" {
				want[0] = 2
			}
			require.Equal(t, want, g, "%v: %s", strategy, name)
		}
	}
}

// A result is the caller's until the next run: what is changed in it is not in the next one.
func TestAChangedResultDoesNotComeBack(t *testing.T) {
	for _, strategy := range strategies {
		p, in := problem[float64](t, strategy)
		a := prepare(t, p)
		r, err := a.Gradient(t.Context(), in, quadratic)
		require.NoError(t, err)
		first := copied(r)
		require.Equal(t, make([]float64, len(r.Gradients["idle"])), r.Gradients["idle"])
		for _, g := range r.Gradients {
			for i := range g {
				g[i]++
			}
		}
		for _, g := range r.Params {
			for i := range g {
				g[i]++
			}
		}
		again, err := a.Gradient(t.Context(), in, quadratic)
		require.NoError(t, err)
		require.Equal(t, first.Gradients, again.Gradients, strategy)
		require.Equal(t, first.Params, again.Params, strategy)
	}
}

// The error of a loss is its own, not that of a run that was interrupted.
func TestTheErrorOfALossIsWrapped(t *testing.T) {
	for _, strategy := range strategies {
		p, in := problem[float64](t, strategy)
		_, err := prepare(t, p).Gradient(t.Context(), in, func(_, _ adjoint.States[float64]) (float64, error) { return 0, errTest })
		require.ErrorIs(t, err, errTest)
		var stopped *adjoint.Interrupted[float64]
		require.False(t, errors.As(err, &stopped))
	}
}

// A gradient does not allocate after the first: not the run, not the network, not the loss.
func TestGradientsDoNotAllocate(t *testing.T) {
	for _, strategy := range strategies {
		p, in := problem[float32](t, strategy)
		a, err := adjoint.New(p)
		require.NoError(t, err)
		loss := adjoint.Sum(adjoint.Weighted[float32]{Weight: 2, Loss: quadratic[float32]}, adjoint.Weighted[float32]{Weight: .5, Loss: adjoint.Dot(normal[float32](tameBatch*tameDim, 5))})
		gradient := func() {
			_, err = a.Gradient(context.Background(), in, loss)
		}
		gradient()
		require.Zero(t, testing.AllocsPerRun(20, gradient), strategy)
		require.NoError(t, err)
	}
}

// counting counts what a plan asks of its network.
type counting struct {
	ode.Differentiable[float64]
	evals, vjps, jvps int
}

func (c *counting) Eval(dst, x []float64, call ode.Call[float64]) error {
	c.evals++
	return c.Differentiable.Eval(dst, x, call)
}

func (c *counting) VJP(g *ode.Tangent[float64], cotangent, x []float64, call ode.Call[float64]) error {
	c.vjps++
	return c.Differentiable.VJP(g, cotangent, x, call)
}

func (c *counting) JVP(dst, x []float64, call ode.Call[float64], d *ode.Tangent[float64]) error {
	c.jvps++
	return c.Differentiable.JVP(dst, x, call, d)
}

// A Checkpoint evaluates the network as often as the plan says, pulls each evaluation that takes part once, and says so.
func TestCountsAreThoseOfTheNetwork(t *testing.T) {
	for _, s := range samplers() {
		f := &counting{Differentiable: field[float64](t, tame(ode.Flow{}, ode.FlowVelocity), 2)}
		plan, err := s.solver.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, From: .9, To: .2, Steps: 4})
		require.NoError(t, err)
		a := prepare(t, adjoint.Problem[float64]{Plan: plan, Field: f, Batch: 2, Dim: 3, Wrt: []string{"x", "condition"}})
		for range 2 {
			f.evals, f.vjps = 0, 0
			r, err := a.Gradient(t.Context(), start[float64](plan, 6), quadratic)
			require.NoError(t, err)
			require.Equal(t, []int{plan.NFE(), plan.NFE(), 0}, []int{f.evals, f.vjps, f.jvps}, s.name)
			require.Equal(t, []int{f.evals, f.vjps}, []int{r.NFE, r.VJP}, s.name)
		}
		f.evals, f.vjps = 0, 0
		r, err := a.Certify(t.Context(), start[float64](plan, 6), quadratic, adjoint.Certification{Levels: 3})
		require.NoError(t, err)
		require.Equal(t, 1+2*2*3, r.Certificate.Runs, "once more, and up and down three times for each of two names")
		require.Equal(t, []int{(1 + r.Certificate.Runs) * plan.NFE(), plan.NFE()}, []int{f.evals, f.vjps})
	}
}

// linear is raw = −x, and owns nothing.
type linear struct{}

func (linear) Eval(dst, x []float64, _ ode.Call[float64]) error {
	for i, v := range x {
		dst[i] = -v
	}
	return nil
}

func (l linear) VJP(g *ode.Tangent[float64], cotangent, x []float64, c ode.Call[float64]) error {
	if g.Value != nil {
		_ = l.Eval(g.Value, x, c)
	}
	clear(g.T)
	return l.Eval(g.X, cotangent, c)
}

func (l linear) JVP(dst, _ []float64, c ode.Call[float64], d *ode.Tangent[float64]) error {
	return l.Eval(dst, d.X, c)
}
func (linear) Parameters(int) []ode.Parameter       { return nil }
func (linear) Load(name string, _ []float64) error  { return errTest }
func (linear) Store(name string, _ []float64) error { return errTest }

// Bytes is what the heap says: on states so large that numbers are all that counts.
func TestBytesAreAllThatARunOwns(t *testing.T) {
	const batch, dim = 16, 1 << 14 // 2 MiB a state
	plan, err := ode.DPMpp{Order: 3}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 6})
	require.NoError(t, err)
	heap := func() int64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	in := adjoint.From(normal[float64](batch*dim, 1))
	loss := adjoint.Dot(normal[float64](batch*dim, 2))
	for _, wrt := range [][]string{{"x"}, {"x", "knots"}} {
		before := heap()
		a := prepare(t, adjoint.Problem[float64]{Plan: plan, Field: linear{}, Batch: batch, Dim: dim, Wrt: wrt, Knots: []int{2, 3}})
		r, err := a.Gradient(t.Context(), in, loss)
		require.NoError(t, err)
		owned := heap() - before
		require.InEpsilon(t, owned, r.Bytes, 0.01, "code and tables of the plan are a few kilobytes of %d", owned)
		runtime.KeepAlive(a)
	}
}

// The memory of a network is counted too, and depends on the strategy as documented: Checkpoint has the activations of
// one evaluation, Unrolled those of all.
func TestBytesOfTheStrategies(t *testing.T) {
	bytes := func(strategy adjoint.Strategy, steps int) int64 {
		plan, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, From: .9, To: .2, Steps: steps})
		require.NoError(t, err)
		f := field[float64](t, tame(ode.Flow{}, ode.FlowVelocity), tameBatch)
		r, err := adjoint.Gradient(t.Context(), adjoint.Problem[float64]{Plan: plan, Field: f, Batch: tameBatch, Dim: tameDim, Wrt: []string{"x"}, Strategy: strategy},
			adjoint.From(normal[float64](tameBatch*tameDim, 2)), quadratic)
		require.NoError(t, err)
		if strategy == (adjoint.Checkpoint{}) {
			require.Greater(t, r.Bytes, f.Cell().Bytes())
			require.Positive(t, f.Cell().Bytes())
		}
		return r.Bytes
	}
	// A Checkpoint grows by a state, and a coefficient or two, for each step.
	state := int64(tameBatch * tameDim * 8)
	require.InDelta(t, 10*state, bytes(adjoint.Checkpoint{}, 20)-bytes(adjoint.Checkpoint{}, 10), float64(10*9*8))
	hidden := int64(tameBatch * tameWidth * 8) // what the gradient of tanh needs
	require.GreaterOrEqual(t, bytes(adjoint.Unrolled{}, 20)-bytes(adjoint.Unrolled{}, 10), 10*hidden)
}

// A loss that calls its own Adjoint would overwrite what it looks at.
func TestUseDuringUseIsAnError(t *testing.T) {
	p, in := problem[float64](t, nil)
	a := prepare(t, p)
	_, err := a.Gradient(t.Context(), in, func(s, g adjoint.States[float64]) (float64, error) {
		v, _, err := a.Value(t.Context(), in, quadratic)
		return v, err
	})
	require.ErrorIs(t, err, graph.ErrBusy)
	_, err = a.Gradient(t.Context(), in, quadratic)
	require.NoError(t, err)
}

// Numbers gone bad are named where they first show, never handed on.
func TestNumbersGoneBad(t *testing.T) {
	for _, strategy := range strategies {
		p, in := problem[float64](t, strategy)
		a := prepare(t, p)
		for what, c := range map[string]struct {
			in   adjoint.Inputs[float64]
			loss adjoint.Loss[float64]
			want string
		}{
			"a latent": {adjoint.Inputs[float64]{Ports: map[string][]float64{"x": {0, 0, 0, math.NaN(), 0, 0, 0, 0, 0}}, Noise: in.Noise}, quadratic[float64], "x"},
			"a loss":   {in, func(s, g adjoint.States[float64]) (float64, error) { return math.Inf(1), nil }, "the loss is +Inf"},
			"its gradient": {in, func(s, g adjoint.States[float64]) (float64, error) {
				g.X()[4] = math.NaN()
				return 1, nil
			}, `element 4 of output "x"`},
			"its gradient at a knot": {in, func(s, g adjoint.States[float64]) (float64, error) {
				g.Knots[0][1] = math.Inf(-1)
				return 1, nil
			}, "element 1 of States.Knots[0]"},
			"an overflow on the way back": {in, func(s, g adjoint.States[float64]) (float64, error) {
				for i := range g.X() {
					g.X()[i] = math.MaxFloat64
				}
				return 1, nil
			}, "not finite"},
		} {
			r, err := a.Gradient(t.Context(), c.in, c.loss)
			require.Nil(t, r)
			require.ErrorContains(t, err, c.want, "%v: %s", strategy, what)
			var numeric *ode.NumericError
			require.True(t, errorIsOr(err, adjoint.ErrNotFinite, &numeric), "%v: %s: %v", strategy, what, err)
		}
		_, err := a.Gradient(t.Context(), in, quadratic)
		require.NoError(t, err)
	}
}

// What cannot be had is refused when the problem is made, by its name.
func TestNewRefuses(t *testing.T) {
	good, in := problem[float64](t, nil)
	plain, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 3})
	require.NoError(t, err)
	other, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Data, Steps: 3})
	require.NoError(t, err)
	fast, err := ode.DPM{Order: 3, Fast: true}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 5})
	require.NoError(t, err)
	staggered, err := ode.PerSample{From: []float64{.9, .7}}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, To: .2, Steps: 3})
	require.NoError(t, err)
	for want, change := range map[string]func(p *adjoint.Problem[float64]){
		"2 times, the runner needs 3": func(p *adjoint.Problem[float64]) { p.Plan, p.Wrt = staggered, []string{"x"} },
		"2 times, the graph needs 3": func(p *adjoint.Problem[float64]) {
			p.Plan, p.Wrt, p.Strategy = staggered, []string{"x"}, adjoint.Unrolled{}
		},
		"needs a plan and a field":                     func(p *adjoint.Problem[float64]) { p.Plan = nil },
		"batch 0":                                      func(p *adjoint.Problem[float64]) { p.Batch = 0 },
		"Wrt is empty":                                 func(p *adjoint.Problem[float64]) { p.Wrt = nil },
		`"x" is listed twice`:                          func(p *adjoint.Problem[float64]) { p.Wrt = []string{"x", "x"} },
		`nothing is called "y"`:                        func(p *adjoint.Problem[float64]) { p.Wrt = []string{"y"} },
		`noise[0] to noise[3]`:                         func(p *adjoint.Problem[float64]) { p.Wrt = []string{"noise[4]"} },
		"predicts Data, and this one predicts Noise":   func(p *adjoint.Problem[float64]) { p.Plan = other },
		"draws no noise":                               func(p *adjoint.Problem[float64]) { p.Plan, p.Wrt = plain, []string{"noise"} },
		"no gradient to its knots":                     func(p *adjoint.Problem[float64]) { p.Plan, p.Wrt = fast, []string{"knots"} },
		"names an input of the plan and a parameter":   func(p *adjoint.Problem[float64]) { p.Field, p.Wrt = named{p.Field, "x"}, []string{"x"} },
		"names a parameter of the plan and a paramete": func(p *adjoint.Problem[float64]) { p.Field, p.Wrt = named{p.Field, "knots"}, []string{"knots"} },
		"a parameter of the field and injected noise":  func(p *adjoint.Problem[float64]) { p.Field, p.Wrt = named{p.Field, "noise"}, []string{"noise"} },
		"knot 9 is not one of the 5":                   func(p *adjoint.Problem[float64]) { p.Knots = []int{9} },
		"knot 1 is given twice":                        func(p *adjoint.Problem[float64]) { p.Knots = []int{1, 1} },
		"cannot; use Checkpoint":                       func(p *adjoint.Problem[float64]) { p.Field, p.Strategy = named{p.Field, ""}, adjoint.Unrolled{} },
	} {
		p := good
		change(&p)
		_, err := adjoint.New(p)
		require.ErrorContains(t, err, want)
	}
	for _, strategy := range strategies {
		good.Strategy = strategy
		a := prepare(t, good)
		for want, in := range map[string]adjoint.Inputs[float64]{
			`"x"`:          {Noise: in.Noise},
			`"y"`:          {Ports: map[string][]float64{"x": in.Ports["x"], "y": nil}, Noise: in.Noise},
			`8`:            {Ports: map[string][]float64{"x": make([]float64, 8)}, Noise: in.Noise},
			"Inputs.Noise": {Ports: in.Ports},
		} {
			_, err := a.Gradient(t.Context(), in, quadratic)
			require.ErrorContains(t, err, want, strategy)
		}
		_, err := a.Gradient(t.Context(), in, nil)
		require.ErrorContains(t, err, "the loss is nil")
	}
}

// A parameter of the field may be called noise where the plan draws none.
func TestNamesAreAmbiguousOnlyWhereTheyMeanTwoThings(t *testing.T) {
	plan, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 3})
	require.NoError(t, err)
	_, err = adjoint.New(adjoint.Problem[float64]{Plan: plan, Field: named{linear{}, "noise"}, Batch: 1, Dim: 1, Wrt: []string{"noise"}})
	require.NoError(t, err)
}

// named is a field with one more parameter.
type named struct {
	ode.Differentiable[float64]
	name string
}

func (n named) Parameters(batch int) []ode.Parameter {
	list := n.Differentiable.Parameters(batch)
	if n.name != "" {
		list = append(list, ode.Parameter{Name: n.name, Shape: []int{1}})
	}
	return list
}
