package ode_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

// family is solve for multistep methods in t and σ/α, stochastic and reversible solvers; nil for all others. Stochastic runs were
// made with every draw at zero.
func (g golden) family(name string) (ode.Solver, ode.Problem) {
	n := len(g.VP.Knots) - 1
	grid := func(rule ode.Grid, steps int) ode.Problem {
		return ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Grid: rule, Steps: steps, From: g.VP.Knots[0], To: g.VP.Knots[n]}
	}
	quadratic, uniform, even := grid(ode.QuadraticTime{}, n), grid(ode.UniformTime{}, n), grid(ode.LogSNR{}, n)
	ve := ode.Problem{Schedule: ode.EDM{}, Raw: ode.Denoiser, Knots: slices.Clone(g.VE.Sigmas)}
	name, zero := strings.CutSuffix(name, "/append_zero")
	if zero {
		ve.Knots = append(ve.Knots, 0)
	}
	c, ok := map[string]struct {
		ode.Solver
		ode.Problem
	}{
		"formula/tAB0/quad-t":                    {ode.DEIS{Order: 1}, quadratic},
		"formula/tAB1/quad-t":                    {ode.DEIS{Order: 2}, quadratic},
		"formula/tAB2/quad-t":                    {ode.DEIS{Order: 3}, quadratic},
		"formula/tAB3/quad-t":                    {ode.DEIS{}, quadratic},
		"formula/rhoAB0/quad-t":                  {ode.LMS{Order: 1}, quadratic},
		"formula/rhoAB1/quad-t":                  {ode.LMS{Order: 2}, quadratic},
		"formula/rhoAB2/quad-t":                  {ode.LMS{Order: 3}, quadratic},
		"formula/rhoAB3/quad-t":                  {ode.LMS{}, quadratic},
		"formula/iPNDM2/uniform-t":               {ode.PNDM{Order: 2}, uniform},
		"formula/iPNDM3/uniform-t":               {ode.PNDM{Order: 3}, uniform},
		"formula/iPNDM4/uniform-t":               {ode.PNDM{}, uniform},
		"formula/PNDM-S/uniform-t":               {ode.PNDM{Order: 2, Start: ode.SPNDM}, uniform},
		"formula/PNDM-F/uniform-t":               {ode.PNDM{Start: ode.FPNDM}, uniform},
		"formula/PNDM-PLMS/uniform-t":            {ode.PNDM{Start: ode.SPNDM}, uniform},
		"formula/BDIA-0.5/logSNR":                {ode.BDIA{Gamma: .5}, even},
		"formula/BDIA-1.0/logSNR":                {ode.BDIA{}, even},
		"formula/EDICT-p0.93/logSNR/steps40":     {ode.EDICT{}, grid(ode.LogSNR{}, 40)},
		"kdiff/lms4":                             {ode.LMS{Published: zero}, ve},
		"kdiff/heun":                             {ode.ChurnRK{}, ve},
		"kdiff/dpmpp_2m_sde_mid_eta1_zero_noise": {ode.DPMppSDE{}, ve},
		"kdiff/dpmpp_sde_eta1_zero_noise":        {ode.DPMppSDE{Single: true}, ve},
		"kdiff/dpmpp_3m_sde_eta1_zero_noise":     {ode.DPMppSDE{Order: 3, Correction: ode.Taylor, Published: true}, ve},
	}[name]
	if !ok {
		return nil, ode.Problem{}
	}
	return c.Solver, c.Problem
}

// goldenOutputs are the values of a case by the name of the output: one state, or the pair of a reversible solver.
func goldenOutputs(t *testing.T, raw json.RawMessage) map[string][][]float64 {
	t.Helper()
	var x [][]float64
	if json.Unmarshal(raw, &x) == nil {
		return map[string][][]float64{"x": x}
	}
	var pair struct {
		X, Y       [][]float64
		Last       [][]float64 `json:"x_last"`
		BeforeLast [][]float64 `json:"x_second_last"`
	}
	require.NoError(t, json.Unmarshal(raw, &pair))
	if pair.X != nil {
		return map[string][][]float64{"x": pair.X, "partner": pair.Y}
	}
	return map[string][][]float64{"x": pair.Last, "partner": pair.BeforeLast}
}
