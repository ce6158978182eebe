// Package solvers has the names by which -solver of the commands knows solvers.
package solvers

import (
	"fmt"
	"strings"

	"github.com/ebb-go/ebb/ode"
)

type entry struct {
	name   string
	solver ode.Solver
}

// table has all that a name needs; what has settings is for examples/solve.
func table() []entry {
	return []entry{
		{"euler", ode.RK{Tableau: ode.Euler()}},
		{"midpoint", ode.RK{Tableau: ode.MidpointRule()}},
		{"heun", ode.RK{}},
		{"kutta", ode.RK{Tableau: ode.Kutta()}},
		{"rk4", ode.RK{Tableau: ode.RK4()}},
		{"ab2", ode.FlowAB{Order: 2}},
		{"ab3", ode.FlowAB{Order: 3}},
		{"ab4", ode.FlowAB{Order: 4}},
		{"ddim", ode.DDIM{}},
		{"dpmpp", ode.DPMpp{}},
		{"dpmpp3", ode.DPMpp{Order: 3}},
		{"unipc", ode.UniPC{}},
		{"unipc3", ode.UniPC{Order: 3}},
		{"deis", ode.DEIS{}},
	}
}

// Names lists the names.
func Names() (names []string) {
	for _, e := range table() {
		names = append(names, e.name)
	}
	return names
}

// Named returns the solver of a name; the error for another lists the names.
func Named(name string) (ode.Solver, error) {
	for _, e := range table() {
		if e.name == name {
			return e.solver, nil
		}
	}
	return nil, fmt.Errorf("-solver %s is not known; known are %s", name, strings.Join(Names(), ", "))
}
