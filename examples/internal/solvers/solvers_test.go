package solvers

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// Every name is of another solver, which makes plans for flows.
func TestNames(t *testing.T) {
	plans := map[string]string{}
	for _, name := range Names() {
		s, err := Named(name)
		require.NoError(t, err)
		plan, err := s.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 6})
		require.NoError(t, err)
		what := fmt.Sprint(plan.Name, plan.Table())
		require.Empty(t, plans[what], name)
		plans[what] = name
	}
	_, err := Named("magic")
	require.EqualError(t, err, "-solver magic is not known; known are euler, midpoint, heun, kutta, rk4, ab2, ab3, ab4, ddim, dpmpp, dpmpp3, unipc, unipc3, deis")
}
