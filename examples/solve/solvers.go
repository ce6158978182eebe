package main

import (
	"github.com/ebb-go/ebb/ode"
)

// A native is a solver under its name here. Its fields are found by reflection, with the values they have here.
type native struct {
	name    string
	solver  any // an ode.Solver, or an ode.Controller[float64]
	meaning string
	about   about
}

// about holds the default and the meaning of fields, by name.
type about map[string][2]string

// What fields mean that many solvers have. A solver's own about goes before.
var common = about{
	"order":        {"2", "order of the polynomial"},
	"correction":   {"midpoint", "how a second-order term is weighted: midpoint or taylor (also called heun)"},
	"single":       {"false", "evaluate inside each step instead of looking back"},
	"published":    {"false", "do what the release does where that is wrong"},
	"noise":        {"false", "predict noise instead of data"},
	"b":            {"b2", "the function B(h) of the paper: b1 or b2; or vary"},
	"uncorrected":  {"none", "a list of the steps, from 0, that only the predictor takes"},
	"no-corrector": {"false", "the predictor alone, UniP"},
	"tableau":      {"heun", "Runge-Kutta method: a name, or {\"a\": [[], …], \"b\": […], \"c\": […], \"order\": n}"},
	"eta":          {"1", "η, the share of noise put back"},
}

// natives are all solvers; a new one is a new row.
func natives() []native {
	return []native{
		{"ddim", ode.DDIM{}, "first order, exact for a constant prediction; with eta, ancestral sampling", about{"eta": {"0", "η: 0 puts back no noise, 1 is ancestral"}}},
		{"dpm", ode.DPM{}, "DPM-Solver: noise prediction, polynomial in λ; multistep, or single", about{
			"order": {"2", "1 to 3"}, "fast": {"false", "single, with steps counting evaluations; needs a grid, not a list of knots"},
			"published": {"false", "order 3 multistep with half the second derivative, as released"}}},
		{"dpmpp", ode.DPMpp{}, "DPM-Solver++: data prediction, polynomial in λ; multistep (2M, 3M), or single (2S, 3S)", about{
			"order": {"2", "1 to 3"}, "fast": {"false", "single, with steps counting evaluations; needs a grid, not a list of knots"},
			"published": {"false", "order 3 multistep with half the second derivative, as released"}}},
		{"dpm-sde", ode.DPMSDE{}, "SDE-DPM-Solver: dpm for the SDE", about{"order": {"2", "1 or 2"}, "eta": {"1", "η, noise in shares of that of the reverse process"}}},
		{"dpmpp-sde", ode.DPMppSDE{}, "SDE-DPM-Solver++: dpmpp for the SDE (2M SDE, 3M SDE; single: SDE)", about{
			"order": {"2", "1 to 3"}, "eta": {"1", "η, noise in shares of that of the reverse process"},
			"published": {"false", "order 3 with half the second derivative, as released"}}},
		{"ancestral", ode.Ancestral{}, "2S ancestral, with noise DPM2 ancestral", nil},
		{"euler-maruyama", ode.EulerMaruyama{}, "Euler-Maruyama: Euler's step in time for the SDE", about{"eta": {"1", "η, noise in shares of that of the reverse process"}}},
		{"predictor-corrector", ode.PredictorCorrector{}, "a solver of single steps with Langevin steps at the knots", about{
			"of": {"euler-maruyama", "the solver: a name, or an object as of solver"}, "corrections": {"1", "Langevin steps a knot"}, "snr": {"0.16", "r; their step is 2 (r σ)²"}}},
		{"unipc", ode.UniPC{}, "UniPC: predicts, asks the network, corrects with the answer", about{
			"order": {"2", "1 to 4; that of the corrected state is one more"}, "published": {"false", "the corrector of vary as released, of order 1"}}},
		{"dpmv3", ode.DPMv3{}, "DPM-Solver-v3; needs statistics", about{
			"order": {"3", "1 to 3"}, "pseudo": {"false", "divided differences in the predictor, at order 3"},
			"corrector": {"false", "correct all states but the last"}, "pseudo-corrector": {"false", "correct with divided differences and one value more"},
			"half": {"false", "correct near data only"}, "published": {"false", "half as released: near noise only"}}},
		{"dc", ode.DC{}, "DC-Solver: unipc whose newest prediction is moved in time by a ratio", about{
			"order": {"2", "1 to 4"}, "published": {"false", "the corrector of vary as released, of order 1"}, "points": {"3", "through which predictions are moved, 2 to 4"}, "ratios": {"all 1", "one a step"}}},
		{"usf", ode.USF{}, "USF: a decision for each step", about{
			"decisions": {"", `{"steps": [{"form": "data", "derivatives": [{"points": [1]}]}, …]}; see go doc ode.Decisions`}}},
		{"deis", ode.DEIS{}, "DEIS tAB: polynomial in t", about{"order": {"4", "1 to 4; r+1 of the paper"}}},
		{"lms", ode.LMS{}, "LMS, DEIS ρAB: polynomial in σ/α", about{
			"order": {"4", "1 to 4"}, "published": {"false", "keep the order in a step to σ = 0, as released"}}},
		{"pndm", ode.PNDM{}, "PNDM, iPNDM, PLMS: Adams-Bashforth weights for equal steps", about{
			"order": {"4", "1 to 4 predictions"}, "start": {"ipndm", "first steps: ipndm (lower orders), spndm (PLMS at order 4), fpndm (Runge-Kutta)"}}},
		{"rk", ode.RK{}, "explicit Runge-Kutta: EDM's Heun, and Euler, midpoint, RK4 for flows", about{
			"in": {"auto", "ratio (d(x/α)/d(σ/α)), time (dx/dt), or auto: time on flow, else ratio"}}},
		{"churn-rk", ode.ChurnRK{}, "rk in σ/α with noise added before steps: EDM's stochastic sampler", about{
			"churn": {"0", "S_churn"}, "min": {"0", "S_tmin, a noise level σ/α"}, "max": {"no bound", "S_tmax, a noise level σ/α"}, "noise": {"1", "S_noise"}}},
		{"flow-ab", ode.FlowAB{}, "Adams-Bashforth on the velocity; flow only", about{"order": {"2", "1 to 4"}}},
		{"obelm", ode.OBELM{}, "O-BELM: reversible, second order", nil},
		{"bdia", ode.BDIA{}, "BDIA: reversible", about{"gamma": {"1", "γ in (0, 1]"}}},
		{"edict", ode.EDICT{}, "EDICT: reversible, two coupled states", about{"mix": {"0.93", "p in (0, 1]"}}},
		{"alf", ode.ALF{}, "asynchronous leapfrog: reversible", about{"eta": {"1", "η in (0, 1], not ½"}}},
		{"coupled", ode.Coupled{}, "McCallum and Foster's reversible coupling of a Runge-Kutta method", about{"zeta": {"0.999", "ζ in (0, 1]"}}},
		{"adaptive", ode.Adaptive[float64]{}, "steps as long as their error allows; knots are {\"from\": t, \"to\": t}, and its plan has the gradient", about{
			"of":       {`{"name": "rk", "tableau": "dormand-prince"}`, "the method: dpm or dpmpp with single, or rk with bogacki-shampine or dormand-prince"},
			"relative": {"0.05", "tolerance"}, "absolute": {"0.0078", "tolerance"}, "first-step": {"0.05", "in λ; in t for rk on flow, a hundredth of the way"},
			"min-step": {"1e-10", "of the way"}, "max-steps": {"10000", "that are tried"}, "pid": {"none", `control like k-diffusion: {"p": 0, "i": 1, "d": 0, "accept": 0.81}, or {}`},
			"published": {"false", "control like the release of DPM-Solver; with pid like that of k-diffusion"}}},
		{"time-shift", ode.TimeShift[float64]{}, "DDIM at the times that fit the variance of each sample; its plan has the gradient", about{
			"window": {"0.08", "in t"}, "cutoff": {"0", "in t; knots from there on are as they are"}, "published": {"false", "as released for DDIM"}}},
		{"normalize-variance", ode.NormalizeVariance[float64]{}, "DDIM that scales each sample to the variance it should have; its plan has the gradient", about{
			"data": {"0", "variance of the data"}}},
	}
}

// A shared option is one of the problem that any solver may heed, and is given beside the solver's own fields.
type shared struct {
	Clip        ode.Clipping
	Scale       ode.NoiseScale
	Denoise     bool
	SingleStart bool
	LowerFinal  bool
}

func (s shared) apply(p *ode.Problem) {
	p.Clip, p.Scale, p.Denoise, p.SingleStart, p.LowerFinal = s.Clip, s.Scale, s.Denoise, s.SingleStart, s.LowerFinal
}

var sharedAbout = about{
	"clip":         {"none", "threshold data predictions: {\"max\": 1, \"quantile\": 0, \"stop\": false}"},
	"scale":        {"none", "divide noise predictions: {\"first\": 1.01, \"last\": 1.01}"},
	"denoise":      {"false", "end with the data prediction at the last knot, one more evaluation"},
	"single-start": {"false", "start multistep solvers by single steps of their order"},
	"lower-final":  {"false", "lower the order of multistep solvers in the last steps to 2 and 1, which steadies very short runs"},
}

// describe finds what a field means.
func (a about) describe(field string) (byDefault, meaning string) {
	d, ok := a[field]
	if !ok {
		d = common[field]
	}
	return d[0], d[1]
}
