package adjoint_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// scorer scores each sample against a target of its own: mean square of tanh(W x) − target, or, as a second output,
// something else. x is not the first input.
func scorer() graph.Model {
	spec := graph.Spec{
		Inputs:  []graph.Port{{Name: "target", Shape: []int{4}}, {Name: graph.X, Shape: []int{tameDim}}},
		Outputs: []graph.Port{{Name: "score"}, {Name: "features", Shape: []int{4}}},
		Weights: []graph.Weight{{Name: "w", Shape: []int{tameDim, 4}, Std: .5}},
		Shard:   2,
	}
	return graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		h := b.Map(graph.Tanh, b.Linear(in.Input(graph.X), in.Weight("w"), nil))
		return []*graph.Node{b.MeanSquare(h, in.Input("target")), h}
	}}
}

func scoreCell[T adjoint.Float](t testing.TB) *graph.Cell[T] {
	t.Helper()
	m := scorer()
	w, err := graph.NewWeights[T](m.Spec().Weights, 6)
	require.NoError(t, err)
	c, err := graph.NewCell(m, w)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// differenceOfLoss compares a loss's gradient with differences, element by element.
func differenceOfLoss(t *testing.T, loss adjoint.Loss[float64], states adjoint.States[float64]) float64 {
	t.Helper()
	like := func() adjoint.States[float64] {
		g := adjoint.States[float64]{Outputs: map[string][]float64{}}
		for name, x := range states.Outputs {
			g.Outputs[name] = make([]float64, len(x))
		}
		for _, x := range states.Knots {
			g.Knots = append(g.Knots, make([]float64, len(x)))
		}
		return g
	}
	grad := like()
	value, err := loss(states, grad)
	require.NoError(t, err)
	check := func(x, g []float64) {
		for i, v := range x {
			at := func(h float64) float64 {
				x[i] = v + h
				f, err := loss(states, like())
				require.NoError(t, err)
				x[i] = v
				return f
			}
			const h = 1e-3
			require.InDelta(t, (8*(at(h)-at(-h))-(at(2*h)-at(-2*h)))/(12*h), g[i], 1e-10)
		}
	}
	for name, x := range states.Outputs {
		check(x, grad.Outputs[name])
	}
	for k, x := range states.Knots {
		check(x, grad.Knots[k])
	}
	return value
}

func someStates(batch int) adjoint.States[float64] {
	return adjoint.States[float64]{
		Outputs: map[string][]float64{"x": normal[float64](batch*tameDim, 11), "partner": normal[float64](batch*tameDim, 12)},
		Knots:   [][]float64{normal[float64](batch*tameDim, 13)},
	}
}

// The value of a network's loss is the weighted sum of its scores, of whichever state it looks at, and its gradient that
// of the value.
func TestCellLoss(t *testing.T) {
	const batch = 3
	cell := scoreCell[float64](t)
	targets := normal[float64](4*batch, 14)
	states := someStates(batch)
	scores := func(x []float64) []float64 {
		v := graph.Values[float64]{Inputs: [][]float64{targets, x}, Outputs: [][]float64{make([]float64, batch)}}
		require.NoError(t, cell.Eval(batch, &v))
		return v.Outputs[0]
	}
	weights := []float64{2, 0, -.5}
	for _, c := range []struct {
		reason string
		loss   adjoint.CellLoss[float64]
		want   func() float64
	}{
		{"the mean over the samples", adjoint.CellLoss[float64]{}, func() float64 { s := scores(states.X()); return (s[0] + s[1] + s[2]) / 3 }},
		{"a weighted sum", adjoint.CellLoss[float64]{Weights: weights}, func() float64 { s := scores(states.X()); return 2*s[0] - .5*s[2] }},
		{"a state on the way", adjoint.CellLoss[float64]{Of: func(s adjoint.States[float64]) []float64 { return s.Knots[0] }},
			func() float64 { s := scores(states.Knots[0]); return (s[0] + s[1] + s[2]) / 3 }},
	} {
		c.loss.Cell, c.loss.Inputs = cell, map[string][]float64{"target": targets}
		loss, err := c.loss.Loss()
		require.NoError(t, err)
		require.InDelta(t, c.want(), differenceOfLoss(t, loss, states), 1e-14, c.reason)
		targets[0]++
		require.InDelta(t, c.want(), differenceOfLoss(t, loss, states), 1e-14, "%s: targets are read anew", c.reason)
	}
}

func TestSumOfLosses(t *testing.T) {
	const batch = 2
	states := someStates(batch)
	cell := adjoint.CellLoss[float64]{Cell: scoreCell[float64](t), Inputs: map[string][]float64{"target": normal[float64](4*batch, 14)}}
	score, err := cell.Loss()
	require.NoError(t, err)
	loss := adjoint.Sum(
		adjoint.Weighted[float64]{Weight: 3, Loss: score},
		adjoint.Weighted[float64]{Weight: -2, Loss: quadratic[float64]},
		adjoint.Weighted[float64]{Weight: .5, Loss: adjoint.Dot(normal[float64](batch*tameDim, 15))},
	)
	want := 3*differenceOfLoss(t, score, states) - 2*differenceOfLoss(t, quadratic[float64], states) + .5*differenceOfLoss(t, adjoint.Dot(normal[float64](batch*tameDim, 15)), states)
	require.InDelta(t, want, differenceOfLoss(t, loss, states), 1e-12)
	require.InDelta(t, want, differenceOfLoss(t, loss, states), 1e-12, "a sum keeps nothing of an earlier call")

	fewer := adjoint.States[float64]{Outputs: map[string][]float64{"x": states.X()}}
	differenceOfLoss(t, loss, fewer) // and nothing of the states it was asked of

	_, err = adjoint.Sum(adjoint.Weighted[float64]{Weight: 1})(fewer, fewer)
	require.ErrorContains(t, err, "term 0")
	fail := func(_, _ adjoint.States[float64]) (float64, error) { return 0, errTest }
	_, err = adjoint.Sum(adjoint.Weighted[float64]{Weight: 1, Loss: fail})(fewer, fewer)
	require.ErrorIs(t, err, errTest)
}

// A loss given by a network is differentiated through a whole run, and does not allocate there.
func TestCellLossOfARun(t *testing.T) {
	p, in := problem[float64](t, nil)
	c := adjoint.CellLoss[float64]{Cell: scoreCell[float64](t), Inputs: map[string][]float64{"target": normal[float64](4*tameBatch, 14)}}
	loss, err := c.Loss()
	require.NoError(t, err)
	a := prepare(t, p)
	r, err := a.Certify(t.Context(), in, loss, adjoint.Certification{})
	require.NoError(t, err)
	certificate := r.Certificate
	require.Less(t, certificate.Worst(), 1e-8, certificate)
	require.Zero(t, testing.AllocsPerRun(20, func() { _, err = a.Gradient(t.Context(), in, loss) }))
	require.NoError(t, err)
}

func TestCellLossRefuses(t *testing.T) {
	cell := scoreCell[float64](t)
	noX := graph.Spec{Inputs: []graph.Port{{Name: "y"}}, Outputs: []graph.Port{{Name: "z"}}}
	wide := graph.Spec{Inputs: []graph.Port{{Name: graph.X, Shape: []int{3}}}, Outputs: []graph.Port{{Name: "z", Shape: []int{3}}}}
	identity := func(s graph.Spec) *graph.Cell[float64] {
		m := graph.ModelFunc{Describe: s, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
			return []*graph.Node{b.Scale(2, in.Input(s.Inputs[0].Name))}
		}}
		w, err := graph.NewWeights[float64](nil, 1)
		require.NoError(t, err)
		c, err := graph.NewCell(m, w)
		require.NoError(t, err)
		t.Cleanup(c.Close)
		return c
	}
	target := map[string][]float64{"target": make([]float64, 8)}
	for want, c := range map[string]adjoint.CellLoss[float64]{
		"needs a Cell":                          {},
		`an input "x"`:                          {Cell: identity(noX)},
		"one number a sample":                   {Cell: identity(wide)},
		`without a value for the network's inp`: {Cell: cell},
		`a value for "label"`:                   {Cell: cell, Inputs: map[string][]float64{"target": nil, "label": nil}},
	} {
		_, err := c.Loss()
		require.ErrorContains(t, err, want)
	}
	for want, c := range map[string]adjoint.CellLoss[float64]{
		"a state of 0 elements":     {Of: func(s adjoint.States[float64]) []float64 { return s.Outputs["y"] }},
		"1 weights for 2 samples":   {Weights: []float64{1}},
		`input "target" needs 2 sa`: {Inputs: map[string][]float64{"target": make([]float64, 3)}},
	} {
		c.Cell = cell
		if c.Inputs == nil {
			c.Inputs = target
		}
		loss, err := c.Loss()
		require.NoError(t, err)
		_, err = loss(someStates(2), someStates(2))
		require.ErrorContains(t, err, want)
	}
	_, err := adjoint.Dot([]float64{1})(someStates(2), someStates(2))
	require.ErrorContains(t, err, "1 elements for an output x of 6")
}

// The inputs From makes are those of a plan that starts from x alone.
func TestFrom(t *testing.T) {
	x := normal[float64](2, 1)
	plan, err := ode.DDIM{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Knots: []float64{1, 0}})
	require.NoError(t, err)
	want, err := ode.Sample(t.Context(), plan, linear{}, slices.Clone(x), 1)
	require.NoError(t, err)
	_, s, err := prepare(t, adjoint.Problem[float64]{Plan: plan, Field: linear{}, Batch: 1, Dim: 2, Wrt: []string{"x"}}).Value(t.Context(), adjoint.From(x), quadratic)
	require.NoError(t, err)
	require.Equal(t, want, s.X())
}
