package graph_test

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

const emitBatch, emitDim = 3, 12

// emitted is a plan with the attentive network as one graph, and what its inputs are bound to.
type emitted struct {
	*graph.Emission
	b      *graph.Builder
	values map[*graph.Node][]float64
}

func emit(t *testing.T, p *ode.Plan, f *graph.Field[float64], table bool, noise ode.NoiseSource[float64]) emitted {
	t.Helper()
	b := graph.NewBuilder[float64]()
	e, err := graph.Emit(b, p, f, emitBatch, emitDim, table)
	require.NoError(t, err)
	v := map[*graph.Node][]float64{}
	for i, port := range p.Inputs {
		n := e.Ports[port.Name]
		v[n] = normal[float64](n.Shape().TotalSize(), 30+uint64(i))
	}
	for name, n := range e.Params {
		v[n] = make([]float64, n.Shape().TotalSize())
		require.NoError(t, f.Load(name, v[n]))
	}
	for k, n := range e.Noise {
		v[n] = make([]float64, n.Shape().TotalSize())
		require.NoError(t, noise.Draw(v[n], ode.DrawCall{Index: k, Batch: emitBatch}))
	}
	for _, c := range e.Constants {
		v[c.Node] = c.Value
	}
	v[e.Table] = p.Table()
	return emitted{e, b, v}
}

// run computes nodes with a Program.
func (e emitted) run(t *testing.T, outs ...*graph.Node) [][]float64 {
	t.Helper()
	p, err := graph.Compile[float64](outs...)
	require.NoError(t, err)
	used := map[string]bool{}
	for _, name := range p.Inputs() {
		used[name] = true
	}
	for n, v := range e.values {
		if used[n.Name()] {
			require.NoError(t, p.Bind(n.Name(), v))
		}
	}
	require.NoError(t, p.Run())
	res := make([][]float64, len(outs))
	for i := range outs {
		res[i] = p.Output(i)
	}
	return res
}

// tape computes nodes with Gorgonia's own machine.
func (e emitted) tape(t *testing.T, outs ...*graph.Node) [][]float64 {
	t.Helper()
	for n, v := range e.values {
		require.NoError(t, gorgonia.Let(n, tensor.New(tensor.WithShape(n.Shape()...), tensor.WithBacking(v))))
	}
	read := make([]gorgonia.Value, len(outs))
	for i, n := range outs {
		gorgonia.Read(n, &read[i])
	}
	m := gorgonia.NewTapeMachine(e.b.Graph())
	defer m.Close()
	require.NoError(t, m.RunAll())
	res := make([][]float64, len(outs))
	for i, v := range read {
		res[i] = v.Data().([]float64)
	}
	return res
}

func requireNear(t *testing.T, want, got []float64, what string) {
	t.Helper()
	require.Equal(t, len(want), len(got), what)
	size := 0.0
	for _, v := range want {
		size = max(size, math.Abs(v))
	}
	require.NotZero(t, size, what)
	require.InDeltaSlice(t, want, got, 1e-12*size, what)
}

// A whole run with its gradient is one graph, and four ways to compute it give the same numbers: Gorgonia's machine with
// Gorgonia's own differentiation, its machine with ours, our program, and the network streamed through a cell by the
// plan and its transpose.
func TestAnEmittedPlanIsTheSameFunctionOnEveryMachine(t *testing.T) {
	for _, c := range []struct {
		reason string
		solver ode.Solver
		shares []ode.Share
	}{
		{"one evaluation a step", ode.DDIM{}, nil},
		{"draws", ode.DDIM{Eta: .6}, nil},
		{"history", ode.DPMpp{Order: 3}, nil},
		{"stages", ode.RK{Tableau: ode.MidpointRule()}, nil},
		{"two states", ode.OBELM{}, nil},
		{"a tap of one evaluation used by another", ode.DDIM{}, []ode.Share{{Name: "inner", From: 0, To: 2}}},
	} {
		for _, table := range []bool{false, true} {
			plan, err := c.solver.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{.5, .4, .3, .2}})
			require.NoError(t, err)
			plan, err = plan.Share(c.shares...)
			require.NoError(t, err)
			f := newField[float64](t, emitBatch, 2)
			noise := ode.Seed[float64]{Key: 3}
			e := emit(t, plan, f, table, noise)
			cotangents := map[string][]float64{}
			var outs, cots []*graph.Node
			for i, port := range plan.Outputs {
				ct := e.b.Input("cotangent "+port.Name, emitBatch, emitDim)
				cotangents[port.Name] = normal[float64](emitBatch*emitDim, 40+uint64(i))
				e.values[ct] = cotangents[port.Name]
				outs, cots = append(outs, e.Outputs[port.Name]), append(cots, ct)
			}
			names := []string{"x", "condition", "qkv", "bias", "time", "cond"}
			wrt := []*graph.Node{e.Ports["x"]}
			for _, name := range names[1:] {
				wrt = append(wrt, e.Params[name])
			}
			for k, n := range e.Noise {
				names, wrt = append(names, []string{"noise[0]", "noise[1]", "noise[2]"}[k]), append(wrt, n)
			}
			ours := e.b.Gradient(outs, cots, wrt)
			require.NoError(t, e.b.Err())
			theirs, err := gorgonia.Backpropagate(outs, cots, wrt)
			require.NoError(t, err)
			n := len(outs)
			program := e.run(t, append(append([]*graph.Node{}, outs...), ours...)...)
			machine := e.tape(t, append(append(append([]*graph.Node{}, outs...), ours...), theirs...)...)

			forward, err := ode.NewRunner[float64](plan, emitBatch, emitDim, needs(t, plan)...)
			require.NoError(t, err)
			require.NoError(t, forward.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": e.values[e.Ports["x"]]}, Noise: noise}))
			back, err := plan.Transpose()
			require.NoError(t, err)
			backward, err := ode.NewRunner[float64](back, emitBatch, emitDim)
			require.NoError(t, err)
			params := map[string][]float64{}
			for _, q := range f.Parameters(emitBatch) {
				params[q.Name] = make([]float64, q.Len())
			}
			require.NoError(t, backward.Run(t.Context(), f, ode.Inputs[float64]{Ports: cotangents, Forward: forward.Reg, Params: params}))

			for i, port := range plan.Outputs {
				what := c.reason + ": output " + port.Name
				requireNear(t, program[i], machine[i], what)
				requireNear(t, program[i], forward.Output(port.Name), what)
			}
			for i, name := range names {
				what := c.reason + ": gradient to " + name
				requireNear(t, program[n+i], machine[n+i], what+", ours on the TapeMachine")
				requireNear(t, program[n+i], machine[n+len(wrt)+i], what+", Backpropagate")
				streamed := params[name]
				if streamed == nil {
					streamed = backward.Output(name)
				}
				requireNear(t, program[n+i], streamed, what+", streamed")
			}
		}
	}
}

func needs(t *testing.T, p *ode.Plan) []ode.Reg {
	t.Helper()
	back, err := p.Transpose()
	require.NoError(t, err)
	return back.Needs(true)
}

// Instructions that no solver writes yet: fields of coefficients, a bias, clipping, a sum of nothing. The graph computes
// what the runner computes, and its gradient to the table is the runner's.
func TestEveryInstructionIsEmitted(t *testing.T) {
	// The samples' factors are their times as well: one slice, in two shapes.
	elements, samples, bias := normal[float64](emitDim, 1), []float64{.3, .5, .7}, normal[float64](emitDim, 3)
	for _, clip := range []ode.Clipping{{Max: .7}, {Max: .3, Quantile: .6}, {Max: .3, Quantile: .6, Stop: true}} {
		plan := &ode.Plan{
			Name: "every instruction", Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Order: 1, Regs: 7,
			Inputs: []ode.Port{{Name: "x", Reg: 0}},
			Code: []ode.Instr{
				{Op: ode.Evaluate, Dst: 1, Src: 0, Times: samples, Index: 0},
				{Op: ode.Combine, Dst: 2, Bias: bias, Terms: []ode.Term{{Reg: 0, C: .8, Elements: elements}, {Reg: 1, C: -.4, Samples: samples}, {Reg: 1, C: .3, Elements: elements, Samples: samples}}},
				{Op: ode.Clip, Dst: 3, Src: 2, Clip: clip},
				{Op: ode.Combine, Dst: 4},
				{Op: ode.Evaluate, Dst: 5, Src: 3, T: .2, Index: 1},
				{Op: ode.Combine, Dst: 6, Terms: []ode.Term{{Reg: 3, C: 1.5}, {Reg: 4, C: 2}, {Reg: 5, C: .7}}},
			},
			Knots:   []ode.Knot{{T: .8, Reg: 0}, {T: .2, Reg: 6}},
			Outputs: []ode.Port{{Name: "x", Reg: 6}},
		}
		f := newField[float64](t, emitBatch, 1)
		e := emit(t, plan, f, true, nil)
		require.Len(t, e.Constants, 5, "terms share their fields: times, elements, samples, bias, nothing")
		ct := e.b.Input("cotangent", emitBatch, emitDim)
		e.values[ct] = normal[float64](emitBatch*emitDim, 4)
		grads := e.b.Gradient([]*graph.Node{e.Outputs["x"]}, []*graph.Node{ct}, []*graph.Node{e.Ports["x"], e.Table})
		require.NoError(t, e.b.Err())
		got := e.run(t, append([]*graph.Node{e.Outputs["x"]}, grads...)...)

		forward, err := ode.NewRunner[float64](plan, emitBatch, emitDim, needs(t, plan)...)
		require.NoError(t, err)
		require.NoError(t, forward.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": e.values[e.Ports["x"]]}}))
		back, err := plan.Transpose()
		require.NoError(t, err)
		backward, err := ode.NewRunner[float64](back, emitBatch, emitDim)
		require.NoError(t, err)
		table := make([]float64, len(plan.Table()))
		require.NoError(t, backward.Run(t.Context(), f, ode.Inputs[float64]{Ports: map[string][]float64{"x": e.values[ct]}, Forward: forward.Reg, Table: table}))
		requireNear(t, forward.Output("x"), got[0], "value")
		requireNear(t, backward.Output("x"), got[1], "gradient to x")
		requireNear(t, table, got[2], "gradient to the table")
	}
}

func TestEmitRefuses(t *testing.T) {
	f := newField[float64](t, emitBatch, 1)
	plan, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 3})
	require.NoError(t, err)
	shared, err := plan.Share(ode.Share{Name: "outer", From: 0, To: 1})
	require.NoError(t, err)
	given, err := plan.Share(ode.Share{Name: "outer", From: -1, To: 1})
	require.NoError(t, err)
	back, err := plan.Transpose()
	require.NoError(t, err)
	first := func(op ode.Op, change func(in *ode.Instr)) *ode.Plan {
		p := *plan
		p.Exact, p.Code = false, slices.Clone(p.Code)
		in := &p.Code[slices.IndexFunc(p.Code, func(in ode.Instr) bool { return in.Op == op })]
		in.Terms = slices.Clone(in.Terms)
		change(in)
		return &p
	}
	for want, c := range map[string]struct {
		plan  *ode.Plan
		batch int
	}{
		"0 has 2 times, the graph needs 3":             {first(ode.Evaluate, func(in *ode.Instr) { in.Times = make([]float64, 2) }), emitBatch},
		"0 has 4 times, the graph needs 3":             {first(ode.Evaluate, func(in *ode.Instr) { in.Times = make([]float64, 4) }), emitBatch},
		"0 has 0 times, the graph needs 3":             {first(ode.Evaluate, func(in *ode.Instr) { in.Times = []float64{} }), emitBatch},
		"1 has 13 element factors, the graph needs 12": {first(ode.Combine, func(in *ode.Instr) { in.Terms[0].Elements = make([]float64, 13) }), emitBatch},
		"1 has 2 sample factors, the graph needs 3":    {first(ode.Combine, func(in *ode.Instr) { in.Terms[1].Samples = make([]float64, 2) }), emitBatch},
		"1 has 11 bias values, the graph needs 12":     {first(ode.Combine, func(in *ode.Instr) { in.Bias = make([]float64, 11) }), emitBatch},
		"transposed plans are run":                     {back, emitBatch},
		`the network has no tap "outer"`:               {shared, emitBatch},
		`the field has no tap "outer"`:                 {given, emitBatch},
		"both must be at least 1":                      {plan, 0},
	} {
		_, err := graph.Emit(graph.NewBuilder[float64](), c.plan, f, c.batch, emitDim, false)
		require.ErrorContains(t, err, want)
	}
	_, err = graph.Emit(graph.NewBuilder[float64](), nil, f, emitBatch, emitDim, false)
	require.ErrorContains(t, err, "needs a plan and a field")
	_, err = graph.Emit[float64](graph.NewBuilder[float64](), plan, nil, emitBatch, emitDim, false)
	require.ErrorContains(t, err, "needs a plan and a field")
	_, err = graph.Emit(graph.NewBuilder[float64](), plan, f, emitBatch, emitDim+1, false)
	require.Error(t, err, "states of another size than the network's")
}
