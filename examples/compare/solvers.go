package main

import "github.com/ebb-go/ebb/ode"

// A contestant is a solver. Families are what gets one bold line.
type contestant struct {
	family, name string
	solver       ode.Solver
}

// A rule is a grid that all solvers try.
type rule struct {
	name string
	grid ode.Grid
}

// The rules, for schedules whose ends have a finite λ, and for flows.
func rules(flow bool) []rule {
	if flow {
		return []rule{{"uniform in t", ode.UniformTime{}}, {"uniform in √t", ode.QuadraticTime{}}, {"beta", ode.Beta{}}}
	}
	return []rule{{"uniform in λ", ode.LogSNR{}}, {"uniform in √t", ode.QuadraticTime{}}, {"Karras", ode.Karras{}}, {"uniform in t", ode.UniformTime{}}}
}

// contestants are the deterministic solvers.
func contestants() []contestant {
	const (
		first      = "first order"
		dpm        = "DPM-Solver"
		dpmpp      = "DPM-Solver++"
		unipc      = "UniPC"
		adams      = "DEIS, LMS"
		pndm       = "PNDM"
		rk         = "Runge-Kutta"
		reversible = "reversible"
	)
	return []contestant{
		{first, "DDIM", ode.DDIM{}},
		{dpm, "DPM-Solver 2M", ode.DPM{}},
		{dpm, "DPM-Solver 3M", ode.DPM{Order: 3}},
		{dpm, "DPM-Solver 2S", ode.DPM{Single: true}},
		{dpm, "DPM-Solver 3S", ode.DPM{Order: 3, Single: true}},
		{dpm, "DPM-Solver fast", ode.DPM{Order: 3, Fast: true}},
		{dpmpp, "DPM-Solver++ 2M", ode.DPMpp{}},
		{dpmpp, "DPM-Solver++ 2M, lower final", ode.DPMpp{LowerFinal: true}},
		{dpmpp, "DPM-Solver++ 3M", ode.DPMpp{Order: 3}},
		{dpmpp, "DPM-Solver++ 2S", ode.DPMpp{Single: true}},
		{dpmpp, "DPM-Solver++ 3S", ode.DPMpp{Order: 3, Single: true}},
		{unipc, "UniP-2", ode.UniPC{NoCorrector: true}},
		{unipc, "UniPC-2", ode.UniPC{}},
		{unipc, "UniPC-3", ode.UniPC{Order: 3}},
		{unipc, "UniPC-4", ode.UniPC{Order: 4}},
		{unipc, "UniPC-2, noise", ode.UniPC{Noise: true}},
		{unipc, "UniPC-3, noise", ode.UniPC{Order: 3, Noise: true}},
		{adams, "DEIS tAB2", ode.DEIS{Order: 3}},
		{adams, "DEIS tAB3", ode.DEIS{}},
		{adams, "LMS 2", ode.LMS{Order: 2}},
		{adams, "LMS 4", ode.LMS{}},
		{pndm, "iPNDM", ode.PNDM{}},
		{pndm, "PLMS", ode.PNDM{Start: ode.SPNDM}},
		{pndm, "F-PNDM", ode.PNDM{Start: ode.FPNDM}},
		{rk, "Heun in σ/α", ode.RK{In: ode.Ratio}},
		{rk, "Kutta in σ/α", ode.RK{Tableau: ode.Kutta(), In: ode.Ratio}},
		{rk, "Heun in t", ode.RK{In: ode.Time}},
		{rk, "midpoint in t", ode.RK{Tableau: ode.MidpointRule(), In: ode.Time}},
		{rk, "Kutta in t", ode.RK{Tableau: ode.Kutta(), In: ode.Time}},
		{rk, "RK4 in t", ode.RK{Tableau: ode.RK4(), In: ode.Time}},
		{rk, "RK4 in σ/α", ode.RK{Tableau: ode.RK4(), In: ode.Ratio}},
		{first, "Euler in t", ode.RK{Tableau: ode.Euler(), In: ode.Time}},
		{"Adams-Bashforth in t", "flow AB2", ode.FlowAB{}},
		{"Adams-Bashforth in t", "flow AB3", ode.FlowAB{Order: 3}},
		{"Adams-Bashforth in t", "flow AB4", ode.FlowAB{Order: 4}},
		{reversible, "BDIA", ode.BDIA{}},
		{reversible, "EDICT", ode.EDICT{}},
		{reversible, "O-BELM", ode.OBELM{}},
		{reversible, "ALF", ode.ALF{}},
		{reversible, "coupled Heun", ode.Coupled{}},
	}
}
