package ode_test

import "github.com/ebb-go/ebb/ode"

// families are the methods of files other than dpm, unipc, rk and belm that run on every schedule.
func families() []method {
	return []method{
		{"LMS 2", ode.LMS{Order: 2}, 1, true, false},
		{"LMS 3", ode.LMS{Order: 3}, 2, true, true},
		{"LMS 4", ode.LMS{}, 3, true, false},
		{"DEIS 2", ode.DEIS{Order: 2}, 1, false, true},
		{"DEIS 3", ode.DEIS{Order: 3}, 2, false, true},
		{"DEIS 4", ode.DEIS{}, 3, false, false},
		{"iPNDM 2", ode.PNDM{Order: 2}, 1, true, true},
		{"iPNDM 4", ode.PNDM{}, 3, true, true},
		{"S-PNDM", ode.PNDM{Order: 2, Start: ode.SPNDM}, 0, true, true},
		{"PLMS", ode.PNDM{Start: ode.SPNDM}, 0, true, true},
		{"F-PNDM", ode.PNDM{Start: ode.FPNDM}, 0, false, false},
		{"BDIA", ode.BDIA{}, 1, false, false},
		{"BDIA γ = 0.5", ode.BDIA{Gamma: .5}, 1, false, true},
		{"ALF", ode.ALF{}, 0, true, false},
		{"ALF η = 0.8", ode.ALF{Eta: .8}, 0, true, true},
		{"coupled Euler", ode.Coupled{Tableau: ode.Euler()}, 0, true, true},
		{"coupled Heun", ode.Coupled{}, 0, true, false},
		{"coupled RK4", ode.Coupled{Tableau: ode.RK4()}, 0, true, true},
	}
}

// stochastics are the samplers with noise; run without it, they are of first order.
func stochastics() []method {
	return []method{
		{name: "churn", solver: ode.ChurnRK{Churn: 5, Max: 50}},
		{name: "2S ancestral", solver: ode.Ancestral{}},
		{name: "DPM2 ancestral", solver: ode.Ancestral{Noise: true, Eta: .5}, weightsOnly: true},
		{name: "2M SDE", solver: ode.DPMppSDE{}},
		{name: "3M SDE", solver: ode.DPMppSDE{Order: 3, Eta: .5}, weightsOnly: true},
		{name: "++ SDE", solver: ode.DPMppSDE{Single: true}},
		{name: "SDE-DPM 2M", solver: ode.DPMSDE{}, weightsOnly: true},
	}
}
