package ode

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestShareNamesWhatIsImpossible(t *testing.T) {
	for _, c := range []struct {
		shares []Share
		want   string
	}{
		{[]Share{{"", 0, 1}}, "empty"},
		{[]Share{{"V@0", 0, 1}}, "has an @"},
		{[]Share{{"V", -1, -1}}, "name no evaluation"},
		{[]Share{{"V", 2, -1}}, "From is 2, evaluations are 0 to 1"},
		{[]Share{{"V", -2, 1}}, "From is -2"},
		{[]Share{{"V", 0, 2}}, "To is 2, evaluations are 0 to 1"},
		{[]Share{{"V", 1, -2}}, "To is -2"},
		{[]Share{{"V", 1, 0}}, "evaluation 0 would use what evaluation 1 has not written yet"},
		{[]Share{{"V", 1, 1}}, "has not written yet"},
		{[]Share{{"V", 0, 1}, {"V", -1, 1}}, `evaluation 1 gets the tap "V" twice`},
		{[]Share{{"V", 0, -1}, {"V", 0, -1}}, `evaluation 0 gives its tap "V" twice`},
	} {
		_, err := euler().Share(c.shares...)
		require.ErrorContains(t, err, c.want)
	}
}

// What one plan gives out, another takes in under the same name; and the plan shared from is not changed.
func TestTapsPassBetweenPlans(t *testing.T) {
	p := handPlan(t, false)
	before := p.String()
	plain := euler()
	give, err := plain.Share(Share{"V", 0, -1}, Share{"V", 1, -1})
	require.NoError(t, err)
	take, err := plain.Share(Share{"V", -1, 0}, Share{"V", -1, 1})
	require.NoError(t, err)
	f := newLinear(handDim, handTap)
	x := randomPorts(plain.Inputs, 1)
	want := forwardRun(t, plain, f, x)
	given := forwardRun(t, give, f, x)
	require.Equal(t, want["x"], given["x"])

	x["V@0"], x["V@1"] = given["V@0"], given["V@1"]
	require.Equal(t, want["x"], forwardRun(t, take, f, x)["x"], "the network's own taps change nothing")
	x["V@1"] = x["V@0"]
	require.NotEqual(t, want["x"], forwardRun(t, take, f, x)["x"])
	require.Equal(t, euler(), plain)
	require.Equal(t, before, p.String())
}

// Two plans shared from one with taps of its own do not meet in its slices.
func TestSharesOfOnePlanAreIndependent(t *testing.T) {
	p := euler()
	p.Regs = 6
	p.Code[0].Out = append(make([]Port, 0, 4), Port{"V", 5})
	first, err := p.Share(Share{"K", 0, 1})
	require.NoError(t, err)
	want := first.String()
	_, err = p.Share(Share{"L", 0, 1})
	require.NoError(t, err)
	require.Equal(t, want, first.String())
}

func TestShareKeepsTheParameters(t *testing.T) {
	p, err := DDIM{}.Plan(Problem{Schedule: Flow{}, Raw: FlowVelocity, Knots: []float64{1, .5, 0}})
	require.NoError(t, err)
	q, err := p.Share(Share{"V", 0, 1})
	require.NoError(t, err)
	knots, ok := q.Param("knots")
	require.True(t, ok)
	again, err := knots.Rebuild(knots.Value)
	require.NoError(t, err)
	require.Equal(t, q.Code, again.Code)
	_, err = q.PullTable("knots", make([]float64, len(q.Table())))
	require.NoError(t, err)
}
