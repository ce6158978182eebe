package ode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// fieldFunc is a network written as a function.
type fieldFunc func(dst, x []float64, c Call[float64]) error

func (f fieldFunc) Eval(dst, x []float64, c Call[float64]) error { return f(dst, x, c) }

// decay is the velocity u = x.
var decay fieldFunc = func(dst, x []float64, _ Call[float64]) error {
	copy(dst, x)
	return nil
}

func TestSampleRunsThePlan(t *testing.T) {
	x := []float64{1, 2, 3, 4}
	got, err := Sample(t.Context(), euler(), decay, x, 2)
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{.36, .72, 1.08, 1.44}, got, 1e-15, "two steps of x ← 0.6 x")
	require.Equal(t, []float64{1, 2, 3, 4}, x, "the caller's slice stays")

	_, err = Sample(t.Context(), euler(), decay, x, 3)
	require.ErrorContains(t, err, "4 values do not make 3 samples")
	_, err = Sample(t.Context(), handPlan(t, false), decay, x, 2)
	require.Error(t, err)
}

// The network is called with the plan's times, one or one a sample, and with its number.
func TestTheNetworkIsCalledAsThePlanSays(t *testing.T) {
	p := euler()
	p.Exact = false
	p.Code[2].Times = []float64{.4, .6}
	var calls []Call[float64]
	f := fieldFunc(func(dst, x []float64, c Call[float64]) error {
		calls = append(calls, c)
		return decay(dst, x, c)
	})
	_, err := Sample(t.Context(), p, f, []float64{1, 2}, 2)
	require.NoError(t, err)
	require.Equal(t, []Call[float64]{{Index: 0, Batch: 2, T: []float64{.9}}, {Index: 1, Batch: 2, T: []float64{.4, .6}}}, calls)
}

// Each factor and the bias go where they belong: element by element, sample by sample.
func TestCombineSpreadsItsCoefficients(t *testing.T) {
	p := &Plan{Name: "fields", Schedule: Flow{}, Regs: 3, Inputs: []Port{{"x", 0}, {"y", 1}}, Outputs: []Port{{"x", 2}},
		Code: []Instr{{Op: Combine, Dst: 2, Bias: []float64{100, 200, 300}, Terms: []Term{
			{Reg: 0, C: 2, Elements: []float64{1, 2, 3}, Samples: []float64{1, -1}}, {Reg: 1, C: 10}}}}}
	r, err := NewRunner[float32](p, 2, 3)
	require.NoError(t, err)
	in := map[string][]float32{"x": {1, 1, 1, 2, 2, 2}, "y": {0, 1, 2, 3, 4, 5}}
	require.NoError(t, r.Run(t.Context(), unused{}, Inputs[float32]{Ports: in}))
	require.Equal(t, []float32{102, 214, 326, 126, 232, 338}, r.Output("x"))
}

type unused struct{}

func (unused) Eval(_, _ []float32, _ Call[float32]) error {
	return errors.New("there is no evaluation")
}

func TestObserveSeesEveryKnot(t *testing.T) {
	r, err := NewRunner[float64](euler(), 1, 1)
	require.NoError(t, err)
	var steps []string
	observe := func(s Step[float64]) error {
		steps = append(steps, fmt.Sprintf("%d %g %.2f %d", s.Index, s.T, s.X[0], s.NFE))
		return nil
	}
	require.NoError(t, r.Run(t.Context(), decay, Inputs[float64]{Ports: map[string][]float64{"x": {1}}, Observe: observe}))
	require.Equal(t, []string{"0 0.5 0.60 1", "1 0.1 0.36 2"}, steps)
}

// A cancelled run says how far it came and returns the state there.
func TestCancellationReturnsWhatWasDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, err := NewRunner[float64](euler(), 1, 1)
	require.NoError(t, err)
	in := Inputs[float64]{Ports: map[string][]float64{"x": {1}}, Observe: func(Step[float64]) error { cancel(); return nil }}
	err = r.Run(ctx, decay, in)
	require.ErrorIs(t, err, context.Canceled)
	var stop *Interrupted[float64]
	require.ErrorAs(t, err, &stop)
	require.Equal(t, 1, stop.Step)
	require.Equal(t, 1, stop.NFE)
	require.Equal(t, .5, stop.T)
	require.InDelta(t, .6, stop.X[0], 1e-15)
	require.ErrorContains(t, err, "stopped at step 1 after 1 network evaluation")

	in.Observe = func(s Step[float64]) error { return errors.New("enough") }
	err = r.Run(t.Context(), decay, in)
	require.ErrorContains(t, err, "enough")
	require.ErrorAs(t, err, &stop)
	require.Equal(t, 1, stop.Step)
	require.InDelta(t, .6, stop.X[0], 1e-15, "the state that Observe did not like")
	require.NoError(t, r.Run(t.Context(), decay, Inputs[float64]{Ports: in.Ports}), "the runner is as new")
}

// The context is looked at before every evaluation, not just every step.
func TestCancellationStopsInsideAStep(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := euler()
	p.Knots = nil
	for i := range p.Code {
		p.Code[i].Step = 0
	}
	calls := 0
	f := fieldFunc(func(dst, x []float64, c Call[float64]) error {
		calls++
		cancel()
		return decay(dst, x, c)
	})
	_, err := Sample(ctx, p, f, []float64{1}, 1)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, calls)
}

// A step may go on after its knot is reached, with a corrector or a second state; the observer still sees the knot.
func TestObserveSeesTheKnotOfAStepThatGoesOn(t *testing.T) {
	p := euler()
	p.Exact = false
	p.Regs = 8
	p.Code = append(p.Code,
		Instr{Op: Combine, Dst: 5, Step: 1, Terms: []Term{{Reg: 4, C: 2}}},
		Instr{Op: Combine, Dst: 6, Step: 1, Terms: []Term{{Reg: 5, C: 2}}},
		Instr{Op: Combine, Dst: 7, Step: 1, Terms: []Term{{Reg: 6, C: 2}}})
	p.Outputs = []Port{{"x", 7}}
	r, err := NewRunner[float64](p, 1, 1)
	require.NoError(t, err)
	var last float64
	require.NoError(t, r.Run(t.Context(), decay, Inputs[float64]{Ports: map[string][]float64{"x": {1}}, Observe: func(s Step[float64]) error {
		last = s.X[0]
		return nil
	}}))
	require.InDelta(t, .36, last, 1e-15)
	require.InDelta(t, 8*.36, r.Output("x")[0], 1e-15)
}

// A multistage step may have overwritten everything but the state it started from.
func TestTheStateOfAKnotStaysUntilItsStepIsOver(t *testing.T) {
	p := &Plan{Name: "stages", Schedule: Flow{}, Raw: FlowVelocity, Inputs: []Port{{"x", 0}}, Regs: 1, Knots: []Knot{{1, 0}}}
	x := p.Inputs[0].Reg
	for step := range 2 {
		a := p.register()
		p.Code = append(p.Code, Instr{Op: Combine, Dst: a, Terms: []Term{{Reg: x, C: 2}}, Step: step})
		for range 3 {
			m := p.register()
			p.Code = append(p.Code, Instr{Op: Evaluate, Dst: m, Src: a, T: .5, Index: p.NFE(), Step: step})
			a = m
		}
		x = p.register()
		p.Code = append(p.Code, Instr{Op: Combine, Dst: x, Terms: []Term{{Reg: a, C: 1}}, Step: step})
		p.Knots = append(p.Knots, Knot{.5, x})
	}
	p.Outputs = []Port{{"x", x}}
	r, err := NewRunner[float64](p, 1, 1)
	require.NoError(t, err)
	f := fieldFunc(func(dst, x []float64, c Call[float64]) error {
		if c.Index == 5 {
			return errors.New("out of power")
		}
		return decay(dst, x, c)
	})
	err = r.Run(t.Context(), f, Inputs[float64]{Ports: map[string][]float64{"x": {1}}})
	var stop *Interrupted[float64]
	require.ErrorAs(t, err, &stop)
	require.Equal(t, []float64{2}, stop.X)
	require.ErrorContains(t, err, "evaluation 5 at t=0.5: out of power")
}

func TestNumbersGoneBadAreATypedError(t *testing.T) {
	for _, c := range []struct {
		reason string
		bad    float64
		at     int
		want   NumericError
	}{
		{"the network gives NaN", math.NaN(), 1, NumericError{Step: 1, Evaluation: 1, Knot: 1, T: .5, Quantity: "the network's output", Sample: 2}},
		{"the network gives ∞", math.Inf(-1), 0, NumericError{Step: 0, Evaluation: 0, Knot: 0, T: .9, Quantity: "the network's output", Sample: 2}},
		{"the last state overflows", math.MaxFloat64, 1, NumericError{Step: 2, Evaluation: -1, Knot: 2, T: .1, Quantity: "output x", Sample: 2}},
	} {
		p := euler()
		p.Exact = false
		p.Code[3].Terms[1].C = 2
		f := fieldFunc(func(dst, x []float64, call Call[float64]) error {
			copy(dst, x)
			if call.Index == c.at {
				dst[5] = c.bad
			}
			return nil
		})
		_, err := Sample(t.Context(), p, f, make([]float64, 8), 4)
		var numeric *NumericError
		require.ErrorAs(t, err, &numeric, c.reason)
		require.Equal(t, c.want, *numeric, c.reason)
	}
	_, err := Sample(t.Context(), euler(), decay, []float64{0, 0, math.NaN()}, 3)
	var numeric *NumericError
	require.ErrorAs(t, err, &numeric)
	require.Equal(t, NumericError{Evaluation: -1, T: .9, Quantity: "input x", Sample: 2}, *numeric)
	require.EqualError(t, err, "ode: Run: input x (step 0, knot 0, t=0.9) is not finite in sample 2")

	x := []float64{math.MaxFloat64, math.MaxFloat64}
	_, err = Sample(t.Context(), euler(), decay, x, 1)
	require.NoError(t, err, "large numbers are numbers, though their sum is none")
}

func TestManyRunnersShareOnePlan(t *testing.T) {
	p := handPlan(t, true)
	in := handInputs(p, 31)
	want := forwardRun(t, p, newLinear(handDim, handTap), in)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			f := newLinear(handDim, handTap)
			for range 5 {
				r, err := NewRunner[float64](p, handBatch, handDim)
				if err == nil {
					ports := map[string][]float64{"x": in["x"], "y": in["y"], "idle": in["idle"], "V@1": in["V@1"]}
					err = r.Run(context.Background(), f, Inputs[float64]{Ports: ports, Noise: Given[float64]{in["noise[0]"], in["noise[1]"]}})
				}
				if err != nil {
					t.Error(err)
					return
				}
				for i, v := range r.Output("x") {
					if v != want["x"][i] {
						t.Errorf("x[%d] is %g, want the same bits as alone: %g", i, v, want["x"][i])
					}
				}
			}
		})
	}
	group.Wait()
}

func TestARunnerRefusesToRunTwiceAtOnce(t *testing.T) {
	r, err := NewRunner[float64](euler(), 1, 1)
	require.NoError(t, err)
	in := Inputs[float64]{Ports: map[string][]float64{"x": {1}}}
	f := fieldFunc(func(dst, x []float64, c Call[float64]) error {
		require.ErrorContains(t, r.Run(t.Context(), decay, in), "running already")
		return decay(dst, x, c)
	})
	require.NoError(t, r.Run(t.Context(), f, in))
	require.NoError(t, r.Run(t.Context(), decay, in))
}

// still is a Differentiable that does not allocate, with a tap.
type still struct{}

func (still) TapLen(string) (int, bool) { return handTap, true }
func (still) Eval(dst, x []float64, c Call[float64]) error {
	copy(dst, x)
	for _, out := range c.Out {
		clear(out.Data)
	}
	return nil
}
func (still) VJP(g *Tangent[float64], cotangent, _ []float64, c Call[float64]) error {
	copy(g.X, cotangent)
	clear(g.T)
	clear(g.Value)
	for _, in := range g.In {
		clear(in.Data)
	}
	return nil
}
func (still) JVP(_, _ []float64, _ Call[float64], _ *Tangent[float64]) error { return nil }
func (still) Parameters(int) []Parameter                                     { return nil }
func (still) Load(string, []float64) error                                   { return nil }
func (still) Store(string, []float64) error                                  { return nil }

func TestARunAllocatesNothing(t *testing.T) {
	p := handPlan(t, true)
	q, err := p.Transpose(1)
	require.NoError(t, err)
	forward, err := NewRunner[float64](p, handBatch, handDim, q.Needs(true)...)
	require.NoError(t, err)
	back, err := NewRunner[float64](q, handBatch, handDim)
	require.NoError(t, err)
	var field Field[float64] = still{}
	ctx := t.Context()
	var noise NoiseSource[float64] = Seed[float64]{Key: 3}
	ahead := Inputs[float64]{Ports: randomPorts(p.Inputs, 41), Noise: noise, Observe: func(Step[float64]) error { return nil }}
	behind := Inputs[float64]{Ports: randomPorts(q.Inputs, 42), Forward: forward.Reg, Table: make([]float64, len(p.Table())), Times: make([]float64, p.NFE()*handBatch)}
	once := func() {
		if err := forward.Run(ctx, field, ahead); err != nil {
			t.Fatal(err)
		}
		if err := back.Run(ctx, field, behind); err != nil {
			t.Fatal(err)
		}
	}
	once()
	require.Zero(t, testing.AllocsPerRun(20, once))
}

func TestMisuseOfARunnerIsNamed(t *testing.T) {
	spoiled := func(spoil func(*Plan)) *Plan {
		p := euler()
		p.Exact = false
		spoil(p)
		return p
	}
	for _, c := range []struct {
		plan       *Plan
		batch, dim int
		keep       []Reg
		want       string
	}{
		{euler(), 0, 3, nil, "batch 0 of 3 values"},
		{euler(), 3, 0, nil, "batch 3 of 0 values"},
		{euler(), 3, 3, []Reg{5}, "no register 5 to keep"},
		{spoiled(func(p *Plan) { p.Code[0].T = 9 }), 3, 3, nil, "calls the network at 9"},
		{spoiled(func(p *Plan) { p.Code[1].Terms[0].Elements = []float64{1} }), 2, 3, nil, "instruction 1 has 1 element factors, the runner needs 3"},
		{spoiled(func(p *Plan) { p.Code[1].Terms[0].Samples = []float64{1} }), 2, 3, nil, "instruction 1 has 1 sample factors, the runner needs 2"},
		{spoiled(func(p *Plan) { p.Code[1].Terms[0].Samples = []float64{} }), 2, 3, nil, "instruction 1 has 0 sample factors, the runner needs 2"},
		{spoiled(func(p *Plan) { p.Code[1].Bias = []float64{1} }), 2, 3, nil, "instruction 1 has 1 bias values, the runner needs 3"},
		{spoiled(func(p *Plan) { p.Code[0].Times = []float64{1} }), 2, 3, nil, "instruction 0 has 1 times, the runner needs 2"},
	} {
		_, err := NewRunner[float64](c.plan, c.batch, c.dim, c.keep...)
		require.ErrorContains(t, err, c.want)
	}

	_, err := NewRunner[float64](nil, 1, 1)
	require.ErrorContains(t, err, "the plan is nil")
	_, err = Sample[float64](t.Context(), nil, nil, make([]float64, 3), 1)
	require.ErrorContains(t, err, "the plan is nil")

	type ports = map[string][]float64
	p := handPlan(t, false)
	q, err := p.Transpose()
	require.NoError(t, err)
	f := newLinear(handDim, handTap)
	x := func() ports { return randomPorts(p.Inputs, 1) }
	c := func() ports { return randomPorts(q.Inputs, 1) }
	none := func(Reg) []float64 { return nil }
	for _, c := range []struct {
		reason string
		plan   *Plan
		field  Field[float64]
		in     Inputs[float64]
		want   string
	}{
		{"no network", p, nil, Inputs[float64]{}, "Field is nil"},
		{"no taps", p, decay, Inputs[float64]{}, `the tap "V", but ode.fieldFunc has no taps`},
		{"no inputs", p, f, Inputs[float64]{}, `Ports has no "x"; the inputs of plan "hand" are [x y idle V@1]`},
		{"an input that is none", p, f, Inputs[float64]{Ports: ports{"z": nil}}, `has no input "z"; its inputs are [x y idle V@1]`},
		{"a short input", p, f, Inputs[float64]{Ports: ports{"x": {1}}}, `input "x" has 1 values, want 6 for 2 samples`},
		{"no noise", p, f, Inputs[float64]{Ports: x()}, "draws noise: set Inputs.Noise"},
		{"too few draws", p, f, Inputs[float64]{Ports: x(), Noise: Given[float64]{make([]float64, 6)}}, "Given has 1 draws, the plan asks for draw 1"},
		{"a short draw", p, f, Inputs[float64]{Ports: x(), Noise: Given[float64]{{1}}}, "Given has 1 values for draw 0, the plan needs 6"},
		{"gradients of a forward plan", p, f, Inputs[float64]{Ports: x(), Noise: Seed[float64]{}, Times: []float64{1}}, "are for transposed plans"},
		{"nothing to look back on", q, f, Inputs[float64]{Ports: c()}, "needs Inputs.Forward"},
		{"nothing kept", q, f, Inputs[float64]{Ports: c(), Forward: none}, "register 9 of the forward plan has 0 values in Inputs.Forward, want 6"},
		{"times that do not fit", q, f, Inputs[float64]{Ports: c(), Forward: none, Times: []float64{1}}, "Times has 1 values, want 6"},
		{"a table that does not fit", q, f, Inputs[float64]{Ports: c(), Forward: none, Table: []float64{1}}, "Table has 1 values, the forward plan's has 15"},
	} {
		r, err := NewRunner[float64](c.plan, handBatch, handDim)
		require.NoError(t, err)
		require.ErrorContains(t, r.Run(t.Context(), c.field, c.in), c.want, c.reason)
	}
	e := euler()
	eq, err := e.Transpose()
	require.NoError(t, err)
	r, err := NewRunner[float64](eq, 1, 1)
	require.NoError(t, err)
	require.ErrorContains(t, r.Run(t.Context(), decay, Inputs[float64]{Ports: ports{"x": {1}}, Forward: none}), "ode.fieldFunc is not Differentiable")
	require.Nil(t, r.Reg(2), "not a kept register")
	require.Nil(t, r.Output("nothing"))
}
