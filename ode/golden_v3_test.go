package ode_test

import (
	"strings"

	"github.com/ebb-go/ebb/ode"
)

// v3 is solve for the cases of DPM-Solver-v3, with the statistics of the file: they differ between the two.
func (g golden) v3(name string) ode.DPMv3 {
	m := g.EMS
	if m.Lambda == nil {
		m = g.EMS120
	}
	if name == "v3/degenerate/o3" {
		return ode.DPMv3{Statistics: constant(m.Lambda[0], m.Lambda[120], 120, 1, 0)}
	}
	has := func(part string) bool { return strings.Contains(name, part) }
	order := int(name[len("v3/o")] - '0')
	return ode.DPMv3{
		Statistics: m, Order: order, Pseudo: has("ppseudo1"),
		Corrector: has("corr1/cpseudo0"), PseudoCorrector: has("corr1/cpseudo1"),
	}
}
