package main

import (
	"fmt"
	"strings"

	"github.com/ebb-go/ebb/ode"
)

// A published solver is what a release runs under a name of testdata/golden/official_solvers_gradients.json. It may depend on the knots.
type published struct {
	name   string
	solver func(asked *ode.Problem) ode.Solver // which may set options of the problem
	grid   bool                                // it lays its own knots, so that a list is put in the form of a grid
}

// publishedSolvers are all names.
func publishedSolvers() (all []published) {
	add := func(name string, s func(*ode.Problem) ode.Solver) {
		all = append(all, published{name: name, solver: s})
	}
	fixed := func(s ode.Solver) func(*ode.Problem) ode.Solver { return func(*ode.Problem) ode.Solver { return s } }
	lowered := func(s ode.Solver) func(*ode.Problem) ode.Solver {
		return func(asked *ode.Problem) ode.Solver { asked.LowerFinal = true; return s }
	}
	types := map[string]ode.Correction{"dpmsolver": ode.Midpoint, "taylor": ode.Taylor}

	for _, form := range []string{"dpmsolver", "dpmsolver++"} {
		in := func(d ode.DPMpp) ode.Solver {
			if form == "dpmsolver" {
				return ode.DPM(d)
			}
			return d
		}
		for order := 1; order <= 3; order++ {
			for _, kind := range []string{"dpmsolver", "taylor"} {
				d := ode.DPMpp{Order: order, Correction: types[kind], Published: order == 3}
				if order == 1 && kind == "taylor" {
					continue
				}
				name := fmt.Sprintf("%s/multistep/o%d/%s/", form, order, kind)
				add(name+"lof0", fixed(in(d)))
				if order > 1 {
					add(name+"lof1", func(asked *ode.Problem) ode.Solver {
						asked.LowerFinal = count(*asked) < 10 // the release has it in short runs only
						return in(d)
					})
				}
				name = fmt.Sprintf("%s/singlestep/o%d/%s/lof0", form, order, kind)
				all = append(all, published{name, fixed(in(ode.DPMpp{Order: order, Correction: types[kind], Fast: true})), true})
			}
		}
		add(form+"/multistep/o3/D2-corrected/lof0", fixed(in(ode.DPMpp{Order: 3})))
	}
	for _, kind := range []string{"noise_prediction", "data_prediction"} {
		for b, name := range map[ode.B]string{ode.B1: "bh1", ode.B2: "bh2"} {
			for order := 1; order <= 3; order++ {
				u := ode.UniPC{Order: order, B: b, Noise: kind == "noise_prediction"}
				add(fmt.Sprintf("unipc/%s/%s/o%d/lof0", kind, name, order), fixed(u))
				last := fixed(u)
				if order > 1 {
					last = lowered(u)
				}
				add(fmt.Sprintf("unipc/%s/%s/o%d/lof1", kind, name, order), last)
			}
		}
	}
	for _, name := range []string{
		"v3/o1/ppseudo0/corr0/cpseudo0/lof1", "v3/o2/ppseudo0/corr0/cpseudo0/lof1", "v3/o3/ppseudo0/corr0/cpseudo0/lof1",
		"v3/o3/ppseudo1/corr0/cpseudo0/lof1", "v3/o3/ppseudo0/corr1/cpseudo0/lof1", "v3/o3/ppseudo0/corr1/cpseudo1/lof1",
		"v3/o2/ppseudo0/corr1/cpseudo1/lof1", "v3/o3/ppseudo0/corr1/cpseudo1/lof0",
	} {
		order, has := int(name[len("v3/o")]-'0'), func(part string) bool { return strings.Contains(name, part) }
		v := ode.DPMv3{Order: order, Pseudo: has("ppseudo1"), Corrector: has("corr1/cpseudo0"), PseudoCorrector: has("corr1/cpseudo1")}
		solver := fixed(v)
		if has("lof1") && order > 1 {
			solver = lowered(v)
		}
		add(name, solver)
	}
	for _, k := range []struct {
		name   string
		solver ode.Solver
	}{
		{"euler", ode.DDIM{}},
		{"heun", ode.RK{In: ode.Ratio}},
		{"dpm_2", ode.DPM{Single: true}},
		{"lms4", ode.LMS{}},
		{"dpmpp_2s_eta0", ode.DPMpp{Single: true}},
		{"dpmpp_sde_eta0", ode.DPMpp{Single: true}}, // whose inner point, in the middle, leaves the inner prediction alone
		{"dpmpp_2m", ode.DPMpp{}},
		{"dpmpp_2m_sde_heun_eta0", ode.DPMpp{Correction: ode.Taylor}},
		{"dpmpp_3m_sde_eta0", ode.DPMpp{Order: 3, Correction: ode.Taylor, Published: true}},
		{"dpmpp_2m_sde_mid_eta1_zero_noise", ode.DPMppSDE{}},
		{"euler_ancestral_eta1_zero_noise", ode.DDIM{Eta: 1}},
		{"dpmpp_sde_eta1_zero_noise", ode.DPMppSDE{Single: true}},
	} {
		solver := fixed(k.solver)
		if k.name == "lms4" {
			solver = func(asked *ode.Problem) ode.Solver { return ode.LMS{Published: endsAtZero(*asked)} }
		}
		add("kdiff/"+k.name, solver)
		add("kdiff/"+k.name+"/append_zero", solver)
	}
	return all
}
