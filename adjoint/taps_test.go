package adjoint_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// tapped is tame with two inner values that can be read and replaced: its hidden layer, and what goes into it. They are
// larger than a state.
func tapped() graph.Model {
	m := tame(ode.Flow{}, ode.FlowVelocity).(graph.ModelFunc)
	m.Describe.Taps = []graph.Port{{Name: "hidden", Shape: []int{tameWidth}}, {Name: "before", Shape: []int{tameWidth}}}
	m.Network = func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		h := b.Add(b.Linear(in.Input(graph.X), in.Weight("in"), in.Weight("bias")),
			b.Linear(in.Input(graph.Condition), in.Weight("cond"), nil),
			b.Linear(b.Sinusoid(in.Input(graph.Time), []float64{2}), in.Weight("time"), nil))
		h = in.Tap("hidden", b.Map(graph.Tanh, in.Tap("before", h)))
		return []*graph.Node{b.Linear(h, in.Weight("out"), nil)}
	}
	return m
}

func tappedPlan(t *testing.T, shares ...ode.Share) *ode.Plan {
	t.Helper()
	plan, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Knots: []float64{.9, .7, .5, .35, .2}})
	require.NoError(t, err)
	plan, err = plan.Share(shares...)
	require.NoError(t, err)
	return plan
}

// Gradients go through inner values that one evaluation gives to others of its run, by either strategy.
func TestGradientThroughSharedTaps(t *testing.T) {
	f := field[float64](t, tapped(), tameBatch)
	for _, c := range []struct {
		reason string
		shares []ode.Share
	}{
		{"one for one", []ode.Share{{Name: "hidden", From: 0, To: 2}}},
		{"one for several, which add up", []ode.Share{{Name: "before", From: 0, To: 1}, {Name: "before", From: 0, To: 3}}},
		{"handed on by an evaluation that was given it", []ode.Share{{Name: "before", From: 0, To: 1}, {Name: "before", From: 1, To: 2}}},
		{"two of one evaluation, of which one decides the other", []ode.Share{{Name: "before", From: 1, To: 2}, {Name: "hidden", From: 0, To: 3}}},
	} {
		plan := tappedPlan(t, c.shares...)
		in := start[float64](plan, tameBatch*tameDim)
		var results []*adjoint.Result[float64]
		for _, strategy := range strategies {
			a := prepare(t, adjoint.Problem[float64]{Plan: plan, Field: f, Batch: tameBatch, Dim: tameDim, Wrt: gradientNames(plan, f, tameBatch), Knots: []int{2}, Strategy: strategy})
			r, err := a.Certify(t.Context(), in, quadratic, adjoint.Certification{})
			require.NoError(t, err)
			certificate := r.Certificate
			require.Less(t, certificate.Worst(), 1e-8, "%s\n%s", c.reason, certificate)
			results = append(results, r)
		}
		for name, g := range results[0].Gradients {
			requireClose(t, g, results[1].Gradients[name], 1e-10, c.reason+": "+name)
		}
		requireClose(t, results[0].Params["knots"], results[1].Params["knots"], 1e-10, c.reason)
	}
}

// Two runs joined by ports, as in editing: the first gives inner values, the second uses them in place of its own. The
// gradient of the second to its port is the cotangent of the first's.
func TestGradientThroughTwoJoinedPlans(t *testing.T) {
	f := field[float64](t, tapped(), tameBatch)
	source := tappedPlan(t, ode.Share{Name: "hidden", From: 1, To: -1}, ode.Share{Name: "before", From: 2, To: -1})
	edit := tappedPlan(t, ode.Share{Name: "hidden", From: -1, To: 1}, ode.Share{Name: "before", From: -1, To: 2})
	ports := []string{"hidden@1", "before@2"}
	first, second := normal[float64](tameBatch*tameDim, 2), normal[float64](tameBatch*tameDim, 3)
	wrt := []string{"x", "condition", "in", "bias"}

	total := map[string][]adjoint.Result[float64]{}
	for _, strategy := range strategies {
		a := prepare(t, adjoint.Problem[float64]{Plan: source, Field: f, Batch: tameBatch, Dim: tameDim, Wrt: wrt, Strategy: strategy})
		b := prepare(t, adjoint.Problem[float64]{Plan: edit, Field: f, Batch: tameBatch, Dim: tameDim, Wrt: append([]string{"x", "condition", "in", "bias"}, ports...), Strategy: strategy})
		inner := func(taps adjoint.States[float64]) adjoint.Inputs[float64] {
			in := adjoint.From(second)
			for _, port := range ports {
				in.Ports[port] = append([]float64{}, taps.Outputs[port]...)
			}
			return in
		}
		nothing := func(_, _ adjoint.States[float64]) (float64, error) { return 0, nil }
		joined := func(x []float64) float64 {
			_, taps, err := a.Value(t.Context(), adjoint.From(x), nothing)
			require.NoError(t, err)
			v, _, err := b.Value(t.Context(), inner(taps), quadratic)
			require.NoError(t, err)
			return v
		}
		_, taps, err := a.Value(t.Context(), adjoint.From(first), nothing)
		require.NoError(t, err)
		in := inner(taps)
		edited, err := b.Certify(t.Context(), in, quadratic, adjoint.Certification{})
		require.NoError(t, err)
		certificate := edited.Certificate
		require.Less(t, certificate.Worst(), 1e-8, certificate)
		sourced, err := a.Gradient(t.Context(), adjoint.From(first), func(s, g adjoint.States[float64]) (float64, error) {
			for _, port := range ports {
				require.Len(t, s.Outputs[port], tameBatch*tameWidth)
				copy(g.Outputs[port], edited.Gradients[port])
			}
			return edited.Loss, nil
		})
		require.NoError(t, err)
		require.NotZero(t, sourced.Gradients["x"][0])
		for i, v := range first {
			at := func(h float64) float64 {
				first[i] = v + h
				defer func() { first[i] = v }()
				return joined(first)
			}
			const h = 1e-3
			// Fourth-order differences: h⁴ times the fifth derivative, and 1e-15/h of the value.
			require.InDelta(t, (8*(at(h)-at(-h))-(at(2*h)-at(-2*h)))/(12*h), sourced.Gradients["x"][i], 1e-9)
		}
		total[strategy.String()] = []adjoint.Result[float64]{*edited, *sourced}
	}
	for k, r := range total["checkpoint"] {
		for name, g := range r.Gradients {
			requireClose(t, g, total["unrolled"][k].Gradients[name], 1e-10, name)
		}
	}
}

// A tap that the network does not have is an error that names it.
func TestUnknownTapsAreRefused(t *testing.T) {
	plan := tappedPlan(t, ode.Share{Name: "value", From: 0, To: 2})
	p := adjoint.Problem[float64]{Plan: plan, Field: field[float64](t, tapped(), tameBatch), Batch: tameBatch, Dim: tameDim, Wrt: []string{"x"}}
	_, err := adjoint.Gradient(t.Context(), p, start[float64](plan, tameBatch*tameDim), quadratic)
	require.ErrorContains(t, err, `"value"`)
	p.Strategy = adjoint.Unrolled{}
	_, err = adjoint.Gradient(t.Context(), p, start[float64](plan, tameBatch*tameDim), quadratic)
	require.ErrorContains(t, err, `"value"`)
}
