package customize

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// A plan that is compiled again is the same one; one with another number anywhere is not, whatever both are called.
func TestIdentify(t *testing.T) {
	plan := func(change func(*ode.Problem)) *ode.Plan {
		q := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Knots: []float64{0.9, 0.5, 0.1}, Clip: ode.Clipping{Max: 1.5}}
		if change != nil {
			change(&q)
		}
		p, err := ode.DDIM{Eta: 1}.Plan(q)
		require.NoError(t, err)
		return p
	}
	one := plan(nil)
	require.Equal(t, identify(one), identify(plan(nil)))
	for name, change := range map[string]func(*ode.Problem){
		"knots":      func(q *ode.Problem) { q.Knots[1] += 1e-15 },
		"clip":       func(q *ode.Problem) { q.Clip.Max += 1e-15 },
		"prediction": func(q *ode.Problem) { q.Raw = ode.Data },
		"schedule":   func(q *ode.Problem) { q.Schedule = ode.VPLinear{Beta0: 0.1, Beta1: 20.00001} },
	} {
		other := plan(change)
		require.Equal(t, one.Name, other.Name)
		require.NotEqual(t, identify(one), identify(other), name)
	}
	scaled := *one // α and σ at the first knot say how large latents are
	scaled.Schedule = ode.EDM{}
	require.NotEqual(t, identify(one), identify(&scaled))
}

func TestVerdict(t *testing.T) {
	for _, row := range []struct {
		before, after, replayed float64
		want                    Verdict
	}{
		{1, 0.5, 0.62, Improved}, {1, 0.5, 0.63, Overfitted},
		{1, 0.5, 0.1, Improved}, {1, 0.9, 1.2, Overfitted},
		{5e-3, 5e-11, 6e-5, Improved}, {5e-3, 5e-11, 2e-3, Overfitted},
		{-1, -3, -2.6, Improved}, {-1, -3, -2.4, Overfitted},
		{1, 0.995, 0.995, Unimproved}, {1, 0.98, 0.98, Improved}, {-1, -1.005, -1, Unimproved}, {0, 0, 0, Unimproved},
	} {
		require.Equal(t, row.want, verdict(row.before, row.after, row.replayed), row)
	}
}
