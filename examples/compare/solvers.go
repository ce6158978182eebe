package main

import "github.com/ebb-go/ebb/ode"

// A contestant is a solver. Families are what gets one bold line.
type contestant struct {
	family, name string
	solver       ode.Solver
	adaptive     bool // the solver is run with steps as long as its error allows, on no grid
}

// lowered is a multistep solver whose order is lowered at the end.
type lowered struct{ ode.Solver }

// Plan implements [ode.Solver].
func (l lowered) Plan(p ode.Problem) (*ode.Plan, error) {
	p.LowerFinal = true
	return l.Solver.Plan(p)
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

// contestants are the deterministic solvers that need nothing but the model. DC-Solver and USF are left out: without ratios that were
// searched for, and decisions that were, they are solvers that are here.
func contestants() []contestant {
	const (
		first      = "first order"
		dpm        = "DPM-Solver"
		dpmpp      = "DPM-Solver++"
		unipc      = "UniPC"
		adams      = "DEIS, LMS"
		pndm       = "PNDM"
		rk         = "Runge-Kutta"
		adaptive   = "adaptive steps"
		reversible = "reversible"
	)
	return []contestant{
		{first, "DDIM", ode.DDIM{}, false},
		{dpm, "DPM-Solver 2M", ode.DPM{}, false},
		{dpm, "DPM-Solver 3M", ode.DPM{Order: 3}, false},
		{dpm, "DPM-Solver 2S", ode.DPM{Single: true}, false},
		{dpm, "DPM-Solver 3S", ode.DPM{Order: 3, Single: true}, false},
		{dpm, "DPM-Solver fast", ode.DPM{Order: 3, Fast: true}, false},
		{dpmpp, "DPM-Solver++ 2M", ode.DPMpp{}, false},
		{dpmpp, "DPM-Solver++ 2M, lower final", lowered{ode.DPMpp{}}, false},
		{dpmpp, "DPM-Solver++ 3M", ode.DPMpp{Order: 3}, false},
		{dpmpp, "DPM-Solver++ 2S", ode.DPMpp{Single: true}, false},
		{dpmpp, "DPM-Solver++ 3S", ode.DPMpp{Order: 3, Single: true}, false},
		{unipc, "UniP-2", ode.UniPC{NoCorrector: true}, false},
		{unipc, "UniPC-2", ode.UniPC{}, false},
		{unipc, "UniPC-3", ode.UniPC{Order: 3}, false},
		{unipc, "UniPC-4", ode.UniPC{Order: 4}, false},
		{unipc, "UniPC-2, noise", ode.UniPC{Noise: true}, false},
		{unipc, "UniPC-3, noise", ode.UniPC{Order: 3, Noise: true}, false},
		{adams, "DEIS tAB2", ode.DEIS{Order: 3}, false},
		{adams, "DEIS tAB3", ode.DEIS{}, false},
		{adams, "LMS 2", ode.LMS{Order: 2}, false},
		{adams, "LMS 4", ode.LMS{}, false},
		{pndm, "iPNDM", ode.PNDM{}, false},
		{pndm, "PLMS", ode.PNDM{Start: ode.SPNDM}, false},
		{pndm, "F-PNDM", ode.PNDM{Start: ode.FPNDM}, false},
		{rk, "Heun in σ/α", ode.RK{In: ode.Ratio}, false},
		{rk, "Kutta in σ/α", ode.RK{Tableau: ode.Kutta(), In: ode.Ratio}, false},
		{rk, "Heun in t", ode.RK{In: ode.Time}, false},
		{rk, "midpoint in t", ode.RK{Tableau: ode.MidpointRule(), In: ode.Time}, false},
		{rk, "Kutta in t", ode.RK{Tableau: ode.Kutta(), In: ode.Time}, false},
		{rk, "RK4 in t", ode.RK{Tableau: ode.RK4(), In: ode.Time}, false},
		{rk, "RK4 in σ/α", ode.RK{Tableau: ode.RK4(), In: ode.Ratio}, false},
		{first, "Euler in t", ode.RK{Tableau: ode.Euler(), In: ode.Time}, false},
		{"Adams-Bashforth in t", "flow AB2", ode.FlowAB{}, false},
		{"Adams-Bashforth in t", "flow AB3", ode.FlowAB{Order: 3}, false},
		{"Adams-Bashforth in t", "flow AB4", ode.FlowAB{Order: 4}, false},
		{adaptive, "DPM-Solver-12", ode.DPM{Single: true}, true},
		{adaptive, "DPM-Solver-23", ode.DPM{Single: true, Order: 3}, true},
		{adaptive, "DPM-Solver++-23", ode.DPMpp{Single: true, Order: 3}, true},
		{adaptive, "Bogacki-Shampine", ode.RK{Tableau: ode.BogackiShampine()}, true},
		{adaptive, "Dormand-Prince", ode.RK{Tableau: ode.DormandPrince()}, true},
		{reversible, "BDIA", ode.BDIA{}, false},
		{reversible, "EDICT", ode.EDICT{}, false},
		{reversible, "O-BELM", ode.OBELM{}, false},
		{reversible, "ALF", ode.ALF{}, false},
		{reversible, "coupled Heun", ode.Coupled{}, false},
	}
}
