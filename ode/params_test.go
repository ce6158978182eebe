package ode

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// withParam gives euler a parameter a, b, c that three of its coefficients are known functions of, with poles at
// a = 0 and c = 1.
func withParam(value, lower, upper []float64) *Plan {
	rebuild := func(v []float64) (*Plan, error) {
		p := euler()
		p.Exact = false
		p.Code[1].Terms[0].C = 1 / v[0]
		p.Code[1].Terms[1].C = math.Exp(v[1]) * v[0]
		p.Code[3].Terms[0].C = 1 / (v[2] - 1)
		return p, nil
	}
	p, _ := rebuild(value)
	p.params = []Param{{Name: "abc", Value: value, Lower: lower, Upper: upper, Rebuild: rebuild}}
	return p
}

// Differences of the table agree with the formula to 1e-9 wherever a value stands: free, near a bound, at either.
func TestPullTableIsTheTransposedDerivative(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		reason              string
		value, lower, upper []float64
	}{
		{"free", []float64{2, .3, 1.7}, nil, nil},
		{"a value of zero", []float64{2, 0, 1.7}, nil, nil},
		{"near the poles", []float64{.01, .3, 1.001}, []float64{0, -inf, 1}, []float64{inf, inf, inf}},
		{"at the lower bounds", []float64{2, .3, 1.7}, []float64{2, .3, 1.7}, []float64{3, inf, 9}},
		{"at the upper bounds", []float64{2, .3, 1.7}, []float64{1, -inf, 1}, []float64{2, .3, 1.7}},
	} {
		p := withParam(c.value, c.lower, c.upper)
		a, b, d := c.value[0], c.value[1], c.value[2]
		w := []float64{10, .7, -1.3, 10, 2.1, 10}
		got, err := p.PullTable("abc", w)
		require.NoError(t, err)
		want := []float64{-.7/(a*a) - 1.3*math.Exp(b), -1.3 * math.Exp(b) * a, -2.1 / ((d - 1) * (d - 1))}
		require.InEpsilonSlice(t, want, got, 1e-9, c.reason)
	}
}

func TestPullTableOfAFixedValueIsZero(t *testing.T) {
	p := withParam([]float64{2, .3, 1.7}, []float64{2, 0, 0}, []float64{2, 1, 3})
	got, err := p.PullTable("abc", []float64{1, 1, 1, 1, 1, 1})
	require.NoError(t, err)
	require.Zero(t, got[0])
	require.NotZero(t, got[1])
}

func TestPullTableTakesTheFormulaIfThereIsOne(t *testing.T) {
	p := withParam([]float64{2, .3, 1.7}, nil, nil)
	p.params[0].Pull = func(dst, cotangent []float64) { dst[1] += cotangent[2] }
	got, err := p.PullTable("abc", []float64{1, 2, 3, 4, 5, 6})
	require.NoError(t, err)
	require.Equal(t, []float64{0, 3, 0}, got)
}

func TestPullTableNamesWhatIsWrong(t *testing.T) {
	p := withParam([]float64{2, .3, 1.7}, nil, nil)
	w := make([]float64, 6)
	_, err := p.PullTable("knots", w)
	require.ErrorContains(t, err, `has no parameter "knots"; it has ["abc"]`)
	_, err = p.PullTable("abc", w[:5])
	require.ErrorContains(t, err, "5 numbers for the table of plan \"euler\", which has 6")
	p.params[0].Rebuild = func([]float64) (*Plan, error) { return nil, errors.New("too far") }
	_, err = p.PullTable("abc", w)
	require.ErrorContains(t, err, "abc[0] = 2: too far")
	p.params[0].Rebuild = func([]float64) (*Plan, error) {
		q := euler()
		q.Code = slices.Delete(q.Code, 3, 4)
		return q, nil
	}
	_, err = p.PullTable("abc", w)
	require.ErrorContains(t, err, "is another code")
}

func TestParametersAreCopies(t *testing.T) {
	p := withParam([]float64{2, .3, 1.7}, nil, nil)
	p.Params()[0].Value[0] = 7
	q, ok := p.Param("abc")
	require.True(t, ok)
	require.Equal(t, 2., q.Value[0])
	q.Value[0] = 7
	require.Equal(t, 2., p.params[0].Value[0])
	_, ok = p.Param("nothing")
	require.False(t, ok)
}

// Whatever a difference between codes is in, but numbers, makes the derivative of the table meaningless.
func TestOnlyNumbersMayDiffer(t *testing.T) {
	for _, c := range []struct {
		reason string
		same   bool
		change func(*Plan)
	}{
		{"nothing", true, func(p *Plan) {}},
		{"a coefficient", true, func(p *Plan) { p.Code[1].Terms[0].C = 9 }},
		{"a time", true, func(p *Plan) { p.Code[0].T = .7 }},
		{"an instruction", false, func(p *Plan) { p.Code = p.Code[:3] }},
		{"an Op", false, func(p *Plan) { p.Code[0].Op = Clip }},
		{"a result", false, func(p *Plan) { p.Code[1].Dst = 4 }},
		{"an argument", false, func(p *Plan) { p.Code[2].Src = 0 }},
		{"a number of an evaluation", false, func(p *Plan) { p.Code[2].Index = 5 }},
		{"a term", false, func(p *Plan) { p.Code[1].Terms[0].Reg = 1 }},
		{"the number of terms", false, func(p *Plan) { p.Code[1].Terms = p.Code[1].Terms[:1] }},
		{"a tap used", false, func(p *Plan) { p.Code[2].In = []Port{{"V", 1}} }},
		{"a tap given", false, func(p *Plan) { p.Code[0].Out = []Port{{"V", 1}} }},
	} {
		p := euler()
		c.change(p)
		require.Equal(t, c.same, sameCode(euler(), p), c.reason)
	}
}
