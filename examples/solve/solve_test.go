package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/ode"
)

type result struct {
	X0       [][]float64
	Gradient *struct{ Latent, Means [][]float64 }
	NFE, VJP int
	Error    string
}

// ask runs the command on lines.
func ask(t testing.TB, lines ...string) ([]result, error) {
	t.Helper()
	var out bytes.Buffer
	err := run(context.Background(), nil, strings.NewReader(strings.Join(lines, "\n")), &out)
	var results []result
	for _, l := range strings.Split(strings.TrimRight(out.String(), "\n"), "\n") {
		var r result
		require.NoError(t, json.Unmarshal([]byte(l), &r), l)
		results = append(results, r)
	}
	return results, err
}

// asked is a problem that works, with some fields replaced; an empty value takes the field away.
func asked(fields ...string) string {
	all := map[string]string{
		"model":    `{"type":"gaussian-mixture","weights":[0.4,0.6],"means":[[1,0],[-1,2]],"variances":[0.1,0.03]}`,
		"schedule": `{"type":"vp-linear"}`,
		"knots":    `{"grid":"log-snr","steps":6,"from":1,"to":0.02}`,
		"solver":   `{"name":"dpmpp"}`,
		"x":        `[[0.5,-1],[1.3,0.2],[0,0.1]]`,
	}
	for i := 0; i < len(fields); i += 2 {
		all[fields[i]] = fields[i+1]
	}
	var parts []string
	for name, v := range all {
		if v != "" {
			parts = append(parts, fmt.Sprintf("%q:%s", name, v))
		}
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func marshal(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return string(text)
}

func distance(want, got [][]float64) float64 {
	w, g := slices.Concat(want...), slices.Concat(got...)
	if len(w) != len(g) {
		return math.Inf(1)
	}
	var d, size float64
	for i := range w {
		d += (w[i] - g[i]) * (w[i] - g[i])
		size += w[i] * w[i]
	}
	return math.Sqrt(d / size)
}

func TestEveryPublishedCaseIsReproduced(t *testing.T) {
	text, err := os.ReadFile("../../testdata/golden/official_solvers_gradients.json")
	require.NoError(t, err)
	var g struct {
		GMM       map[string]any
		Cotangent [][]float64
		XT        [][]float64
		VP        struct{ Knots []float64 }
		VE        struct{ Sigmas []float64 }
		EMS       ode.Statistics
		Cases     map[string]struct {
			X0        [][]float64 `json:"x0"`
			GradXT    [][]float64 `json:"grad_xT"`
			GradMeans [][]float64 `json:"grad_means"`
			NFE       int
		}
	}
	require.NoError(t, json.Unmarshal(text, &g))
	g.GMM["type"] = "gaussian-mixture"

	var names, lines []string
	for name := range g.Cases {
		schedule, knots, x := `{"type":"vp-linear","beta0":0.1,"beta1":20}`, g.VP.Knots, g.XT
		if strings.HasPrefix(name, "kdiff/") {
			schedule, knots, x = `{"type":"edm"}`, slices.Clone(g.VE.Sigmas), nil
			for _, row := range g.XT {
				x = append(x, []float64{row[0] * knots[0], row[1] * knots[0]})
			}
			if strings.HasSuffix(name, "/append_zero") {
				knots = append(knots, 0)
			}
		}
		fields := []string{"model", marshal(t, g.GMM), "schedule", schedule, "knots", marshal(t, knots), "solver", marshal(t, map[string]string{"published": name}),
			"x", marshal(t, x), "cotangent", marshal(t, g.Cotangent)}
		if strings.HasPrefix(name, "v3/") {
			fields = append(fields, "statistics", marshal(t, g.EMS))
		}
		names, lines = append(names, name), append(lines, asked(fields...))
		if strings.Contains(name, "/singlestep/") { // which the release gives a grid
			rule := fmt.Sprintf(`{"grid":"log-snr","steps":12,"from":%v,"to":%v}`, knots[0], knots[12])
			names, lines = append(names, name), append(lines, asked(append(fields, "knots", rule)...))
		}
	}
	results, err := ask(t, lines...)
	require.NoError(t, err)
	require.Len(t, results, len(lines))
	for i, r := range results {
		want, name := g.Cases[names[i]], names[i]
		require.Empty(t, r.Error, name)
		require.Less(t, distance(want.X0, r.X0), 1e-10, name)
		require.Less(t, distance(want.GradXT, r.Gradient.Latent), 1e-10, name)
		require.Less(t, distance(want.GradMeans, r.Gradient.Means), 1e-10, name)
		require.Equal(t, want.NFE, r.NFE, name)
	}
	known := map[string]bool{}
	for _, p := range publishedSolvers() {
		_, ok := g.Cases[p.name]
		require.True(t, ok, p.name)
		known[p.name] = true
	}
	require.Len(t, known, len(g.Cases))
}

// Gradients of every native solver with its defaults against central differences of the command's own answers.
func TestEverySolverRunsAndHasTheGradientOfWhatItComputes(t *testing.T) {
	const h = 1e-5
	statistics := `{"lambda":[-2,-1,0,1,2],"l":[[1],[0.9],[0.8],[0.7],[0.6]],"s":[[0],[0.1],[0.1],[0.1],[0]],"b":[[0],[0.1],[0],[0.1],[0]]}`
	for _, n := range natives() {
		if _, ok := n.solver.(ode.Solver); !ok {
			continue // a controller, which has the gradient of the plan it ends with
		}
		fields := []string{"model", `{"type":"gaussian-mixture","weights":[1,2,3],"means":[[0.5],[-1],[1]],"variances":[0.2,0.3,0.4]}`,
			"schedule", `{"type":"vp-cosine"}`, "knots", `{"grid":"log-snr","steps":4,"from":0.92,"to":0.08}`, "solver", fmt.Sprintf(`{"name":%q}`, n.name)}
		switch n.name {
		case "dpmv3":
			s := ode.VPCosine{}
			fields = append(fields, "statistics", statistics, "knots", marshal(t, []float64{s.TimeOf(-2), s.TimeOf(-1), s.TimeOf(1), s.TimeOf(2)}))
		case "flow-ab":
			fields = append(fields, "schedule", `{"type":"flow"}`)
		case "usf":
			step := `{"form":"data","derivatives":[{"points":[1],"relaxation":"dpmsolver-2"}]}`
			fields = append(fields, "solver", fmt.Sprintf(`{"name":"usf","decisions":{"steps":[{"form":"data"},%s,%s,%s]}}`, step, step, step))
		}
		up, down := append(fields, "x", fmt.Sprintf("[[%v]]", 0.7+h)), append(slices.Clone(fields), "x", fmt.Sprintf("[[%v]]", 0.7-h))
		r, err := ask(t, asked(append(slices.Clone(fields), "x", "[[0.7]]", "cotangent", "[[2]]")...), asked(up...), asked(down...))
		require.NoError(t, err, "%s: %v", n.name, r)
		want := 2 * (r[1].X0[0][0] - r[2].X0[0][0]) / (2 * h)
		// The error of the difference is h² of a third derivative that is below 100 here, and 1e-16/h of rounding.
		require.InDelta(t, want, r[0].Gradient.Latent[0][0], 1e-7*max(1, math.Abs(want)), n.name)
		require.Equal(t, r[0].NFE, r[0].VJP, n.name)
		require.Nil(t, r[1].Gradient, n.name)
		require.Zero(t, r[1].VJP, n.name)
	}
}

func TestEveryFieldIsListedWithItsMeaning(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), []string{"-list"}, nil, &out))
	check := func(name string, options any, a about) {
		require.Contains(t, out.String(), name+" ")
		for _, f := range optionNames(options) {
			byDefault, meaning := a.describe(f)
			require.NotEmpty(t, meaning, "%s, %s", name, f)
			require.True(t, byDefault != "" || f == "levels" || f == "decisions", "%s, %s", name, f)
		}
		for f := range a {
			require.Contains(t, optionNames(options), f, name)
		}
	}
	for _, n := range natives() {
		check(n.name, n.solver, n.about)
	}
	for _, g := range grids() {
		check(g.name, g.grid, g.about)
	}
	for _, s := range starts() {
		check(s.name, s.solver, s.about)
	}
	check("every solver also takes, if it has a use for them:", shared{}, sharedAbout)
}

// What -list calls a default is what a problem may say: those that are values, and not words for there being none.
func TestListedDefaultsAreAccepted(t *testing.T) {
	check := func(name string, options any, a about) {
		v := reflect.New(reflect.TypeOf(options)).Elem()
		for _, f := range fieldsOf(v.Type()) {
			byDefault, _ := a.describe(f.name)
			raw, dst := json.RawMessage(byDefault), v.FieldByIndex(f.index)
			if !json.Valid(raw) {
				raw = json.RawMessage(strconv.Quote(byDefault))
				switch dst.Type() {
				case reflect.TypeFor[ode.Solver](), reflect.TypeFor[ode.Grid](), reflect.TypeFor[ode.Tableau]():
				default:
					if words(dst.Type()) == nil {
						continue
					}
				}
			}
			require.NoError(t, set(dst, name+", "+f.name, raw))
		}
	}
	for _, n := range append(natives(), starts()...) {
		check(n.name, n.solver, n.about)
	}
	for _, g := range grids() {
		check(g.name, g.grid, g.about)
	}
	check("shared", shared{}, sharedAbout)
}

// A name is a solver with its defaults, alone and inside of another.
func TestANameIsASolver(t *testing.T) {
	solve := func(solver string) result {
		knots := `{"grid": "log-snr", "steps": 6, "from": 1, "to": 0.1}`
		if strings.Contains(solver, "adaptive") {
			knots = `{"from": 1, "to": 0.1}`
		}
		got, err := ask(t, asked("knots", knots, "solver", solver))
		require.NoError(t, err)
		return got[0]
	}
	for name, full := range map[string]string{
		`"ddim"`:                          `{"name": "ddim"}`,
		`"unipc"`:                         `{"name": "unipc", "order": 2}`,
		`"adaptive"`:                      `{"name": "adaptive", "of": {"name": "rk", "tableau": "dormand-prince"}}`,
		`{"name": "predictor-corrector"}`: `{"name": "predictor-corrector", "of": "euler-maruyama"}`,
		`{"name": "predictor-corrector", "of": "ddim"}`: `{"name": "predictor-corrector", "of": {"name": "ddim"}}`,
	} {
		require.Equal(t, solve(full), solve(name), name)
	}
}

func TestFieldsReachTheSolver(t *testing.T) {
	for fields, want := range map[string]any{
		`{"name":"unipc","order":3,"b":"vary","published":true,"uncorrected":[1]}`:                         ode.UniPC{Order: 3, B: ode.Vary, Published: true, Uncorrected: []int{1}},
		`{"name":"unipc","order":3,"b":"b1","noise":true,"no-corrector":true}`:                             ode.UniPC{Order: 3, B: ode.B1, Noise: true, NoCorrector: true},
		`{"name":"dpmpp","order":3,"correction":"taylor","published":true}`:                                ode.DPMpp{Order: 3, Correction: ode.Taylor, Published: true},
		`{"name":"pndm","start":"fpndm"}`:                                                                  ode.PNDM{Start: ode.FPNDM},
		`{"name":"rk","in":"time","tableau":"rk4"}`:                                                        ode.RK{In: ode.Time, Tableau: ode.RK4()},
		`{"name":"rk","tableau":{"name":"Heun","order":2,"a":[[],[1]],"b":[0.5,0.5],"c":[0,1]},"in":null}`: ode.RK{Tableau: ode.Heun()},
		`{"name":"churn-rk","churn":3,"min":0.1,"max":4}`:                                                  ode.ChurnRK{Churn: 3, Min: .1, Max: 4},
	} {
		got, err := parseNative("solver", []byte(fields), nil)
		require.NoError(t, err, fields)
		require.Equal(t, want, got)
	}
	for fields, want := range map[string]ode.Grid{
		`{"grid":"karras","rho":5}`:                               ode.Karras{Rho: 5},
		`{"grid":"shift","by":2,"of":"time-quadratic"}`:           ode.Shift{By: 2, Grid: ode.QuadraticTime{}},
		`{"grid":"shift","of":{"grid":"beta","a":0.5,"b":0.7}}`:   ode.Shift{Grid: ode.Beta{A: .5, B: .7}},
		`{"grid":"levels","levels":[10,1,0.1]}`:                   ode.Levels{10, 1, .1},
		`{"grid":"linear-quadratic","linear":3,"threshold":0.01}`: ode.LinearQuadratic{Linear: 3, Threshold: .01},
	} {
		var o map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(fields), &o))
		got, err := parseGrid(o)
		require.NoError(t, err, fields)
		require.Equal(t, want, got)
	}
}

// A release whose steps have a point inside puts it halfway in λ; a grid is only where its knots come from.
func TestPublishedSolversTakeNothingButKnotsFromAGrid(t *testing.T) {
	for _, name := range []string{"dpm_2", "dpmpp_2s_eta0", "dpmpp_sde_eta0", "dpmpp_sde_eta1_zero_noise", "heun", "dpmpp_2m"} {
		sigmas := make([]float64, 6)
		for i := range sigmas {
			sigmas[i] = math.Pow((math.Pow(40, 1./7)*float64(5-i)+math.Pow(.05, 1./7)*float64(i))/5, 7)
		}
		fields := []string{"schedule", `{"type":"edm"}`, "solver", `{"published":"kdiff/` + name + `"}`}
		results, err := ask(t, asked(append(fields, "knots", marshal(t, sigmas))...),
			asked(append(fields, "knots", `{"grid":"karras","steps":5,"from":40,"to":0.05}`)...))
		require.NoError(t, err)
		require.Less(t, distance(results[0].X0, results[1].X0), 1e-12, name)
	}
}

func TestControllersAgreeWithTheReleaseAndHaveTheGradientOfTheirPlan(t *testing.T) {
	text, err := os.ReadFile("../../testdata/golden/official_solvers.json")
	require.NoError(t, err)
	var g struct {
		GMM map[string]any
		VP  struct {
			XT    any
			Knots []float64 `json:"timesteps"`
		}
		Cases map[string]json.RawMessage
	}
	require.NoError(t, json.Unmarshal(text, &g))
	g.GMM["type"] = "gaussian-mixture"
	knots := fmt.Sprintf(`{"from":%v,"to":%v}`, g.VP.Knots[0], g.VP.Knots[len(g.VP.Knots)-1])
	for _, form := range []string{"dpmsolver", "dpmsolver++"} {
		for order := 2; order <= 3; order++ {
			var want struct {
				X     [][]float64
				Calls int `json:"model_calls"`
			}
			require.NoError(t, json.Unmarshal(g.Cases[fmt.Sprintf("%s/adaptive/o%d", form, order)], &want))
			solver := fmt.Sprintf(`{"name":"adaptive","published":true,"of":{"name":%q,"single":true,"order":%d}}`, map[string]string{"dpmsolver": "dpm", "dpmsolver++": "dpmpp"}[form], order)
			fields := []string{"model", marshal(t, g.GMM), "knots", knots, "solver", solver, "x", marshal(t, g.VP.XT)}
			r, err := ask(t, asked(fields...), asked(append(fields, "cotangent", marshal(t, g.VP.XT))...))
			require.NoError(t, err, r)
			require.Less(t, distance(want.X, r[0].X0), 1e-10)
			require.Equal(t, want.Calls, r[0].NFE)
			require.Equal(t, r[0].X0, r[1].X0)
			require.Equal(t, want.Calls, r[1].NFE)
			require.Less(t, r[1].VJP, want.Calls) // rejected steps are not pulled
		}
	}
	r, err := ask(t, asked("solver", `{"name":"time-shift"}`, "cotangent", `[[1,0],[0,1],[1,1]]`), asked("solver", `{"name":"normalize-variance","data":1}`, "dtype", `"float32"`),
		asked("solver", `{"name":"adaptive"}`, "schedule", `{"type":"flow"}`, "knots", `{"from":0.98,"to":0}`, "cotangent", `[[1,0],[0,1],[1,1]]`, "dtype", `"float32"`))
	require.NoError(t, err, r)
	require.Equal(t, 6, r[0].VJP)
}

func TestOptionsOfTheProblem(t *testing.T) {
	r, err := ask(t, asked(), asked("solver", `{"name":"dpmpp","denoise":true}`), asked("solver", `{"name":"dpmpp","single-start":true}`),
		asked("solver", `{"name":"dpmpp","clip":{"max":0.5}}`), asked("solver", `{"name":"dpmpp","scale":{"first":1.1}}`))
	require.NoError(t, err, r)
	require.Equal(t, []int{6, 7, 7}, []int{r[0].NFE, r[1].NFE, r[2].NFE})
	for i := 1; i < len(r); i++ {
		require.NotEqual(t, r[0].X0, r[i].X0)
	}
}

// A data set in PFGM++ is solved like any other model, and its gradient is that of what was computed.
// By symmetry each of two opposite targets is where the noise on its side goes to.
func TestATransportIsAStart(t *testing.T) {
	start := []string{"start", `{"name":"transport","targets":[[2,0],[-2,0]],"tolerance":0.01,"draws":100000}`}
	r, err := ask(t,
		asked(append(start, "x", "[[0.7,3],[-0.6,-1],[0.5,0]]", "cotangent", "[[1,1],[1,1],[1,1]]")...),
		asked("x", "[[2,0],[-2,0],[2,0]]", "cotangent", "[[1,1],[1,1],[1,1]]"))
	require.NoError(t, err)
	require.Equal(t, r[1].X0, r[0].X0)
	require.Equal(t, r[1].Gradient.Means, r[0].Gradient.Means)
	require.Equal(t, [][]float64{{0, 0}, {0, 0}, {0, 0}}, r[0].Gradient.Latent)
	require.NotEqual(t, r[0].Gradient.Latent, r[1].Gradient.Latent)
	for _, again := range []string{"[[0.7,3]]", "[[0.7]]"} { // a fit that is kept is still held against x
		r, err = ask(t, asked(append(start, "x", "[[0.7,3]]")...), asked(append(start, "x", again)...))
		require.Equal(t, again == "[[0.7]]", err != nil)
	}
	require.Contains(t, r[1].Error, "x has 1")
}

func TestPFGMIsAModel(t *testing.T) {
	const h = 1e-5
	line := func(x, d float64, more ...string) string {
		return asked(append([]string{"model", fmt.Sprintf(`{"type":"pfgm","weights":[1,2],"means":[[1,0],[-1,2]],"d":%v}`, d), "schedule", `{"type":"edm"}`,
			"knots", `{"grid":"karras","steps":9,"from":80,"to":0.5}`, "solver", `{"name":"rk"}`, "x", fmt.Sprintf("[[%v,40]]", x)}, more...)...)
	}
	r, err := ask(t, line(9, 4, "cotangent", "[[1,0]]"), line(9+h, 4), line(9-h, 4), line(9, 1e9),
		line(9, 4, "model", `{"type":"gaussian-mixture","weights":[1,2],"means":[[1,0],[-1,2]],"variances":[0,0]}`))
	require.NoError(t, err, r)
	// The error of the difference is h² of a third derivative below 1, and 1e-15/h of rounding.
	require.InDelta(t, (r[1].X0[0][0]-r[2].X0[0][0])/(2*h), r[0].Gradient.Latent[0][0], 1e-9)
	require.Greater(t, distance(r[4].X0, r[0].X0), .001)
	require.Less(t, distance(r[4].X0, r[3].X0), 1e-6) // O(1/D), times the square of 40/0.5 standard deviations at most
}

// With the path of a seed, more steps lead nearer to the same result, which with noise drawn by number they do not.
func TestASeedIsAPath(t *testing.T) {
	line := func(steps int) string {
		return asked("solver", `{"name":"dpmpp-sde"}`, "seed", "5", "knots", fmt.Sprintf(`{"grid":"log-snr","steps":%d,"from":1,"to":0.1}`, steps))
	}
	r, err := ask(t, line(200), line(400), line(3200))
	require.NoError(t, err, r)
	require.Less(t, distance(r[2].X0, r[1].X0), 0.75*distance(r[2].X0, r[0].X0))
	require.Less(t, distance(r[2].X0, r[0].X0), 0.1)
}

func TestASinglestepReleaseTakesAListAsItIs(t *testing.T) {
	const uneven = `[1,0.8,0.3,0.25,0.02]`
	r, err := ask(t, asked("solver", `{"published":"dpmsolver++/singlestep/o1/dpmsolver/lof0"}`, "knots", uneven), asked("solver", `{"name":"ddim"}`, "knots", uneven),
		asked("solver", `{"published":"dpmsolver++/singlestep/o2/dpmsolver/lof0"}`, "knots", uneven),
		asked("solver", `{"name":"dpmpp","single":true}`, "knots", `[1,0.3,0.02]`))
	require.NoError(t, err, r)
	require.Less(t, distance(r[1].X0, r[0].X0), 1e-12)
	require.Less(t, distance(r[3].X0, r[2].X0), 1e-12)
}

func TestFieldNames(t *testing.T) {
	for name, want := range map[string]string{"Order": "order", "LowerFinal": "lower-final", "B": "b", "UniPC": "uni-pc", "NFEMax": "nfe-max"} {
		require.Equal(t, want, kebab(name))
	}
}

func TestWrongLinesSayWhatIsWrongAndTheOthersAreDone(t *testing.T) {
	for _, c := range []struct{ line, says string }{
		{`{`, "the problem"},
		{`[1]`, "an object is wanted"},
		{asked("modle", "{}"), "known are model, schedule"},
		{asked("start", `{"name":"langevin-gibbs"}`), "known are transport"},
		{asked("start", `{"name":"transport"}`), "start.targets is missing"},
		{asked("start", `{"name":"transport","targets":[[1,0],[0]]}`), "start.targets[1] has 1 numbers"},
		{asked("start", `{"name":"transport","targets":[[1],[2]]}`), "start.targets have 1 columns, x has 2"},
		{asked("start", `{"name":"transport","targets":[[1,0],[0,1]],"progress":1}`), "known are weights, uniform"},
		{asked("start", `{"name":"transport","targets":[[1,0],[0,1]],"limit":-1}`), "Limit"},
		{asked("model", ""), "model is missing"},
		{asked("model", `{"type":"gaussian"}`), "known are gaussian-mixture, pfgm"},
		{asked("model", `{"type":"pfgm","weights":[1],"means":[[1,0]],"d":0.5}`), "Mixture.D is 0.5"},
		{asked("model", `{"type":"pfgm","weights":[1],"means":[[1,0]],"d":0}`), "model.d is 0"},
		{asked("model", `{"type":"pfgm","weights":[1],"means":[[1,0]],"d":5,"variances":[1]}`), "known are type, weights, means, d"},
		{asked("model", `{"type":"pfgm","weights":[1],"means":[[1,0]],"d":5}`, "cotangent", `[[1,2],[1,2],[1,2]]`, "gradient", `"unrolled"`), "leave D 0"},
		{asked("model", `{"type":"gaussian-mixture","weights":[1],"means":[[1,null]],"variances":[1]}`), "null"},
		{asked("model", `{"type":"gaussian-mixture","weights":[1],"means":[[1,0]],"variances":[-1]}`), "ariance"},
		{asked("model", `{"type":"gaussian-mixture","weights":[1],"means":[[1,0,0]],"variances":[1]}`), "x has 2 columns, the model 3 dimensions"},
		{asked("schedule", `{"type":"vp"}`), "known are vp-linear, vp-cosine, edm, flow, discrete"},
		{asked("schedule", `{"type":"flow","beta0":1}`), "known are type"},
		{asked("schedule", `{"type":"discrete","betas":[0.1,2]}`), "β[1]"},
		{asked("knots", ""), "knots are missing"},
		{asked("knots", `[1,0.5,0.7]`), "strictly monotone"},
		{asked("knots", `[2,0.5]`), "domain"},
		{asked("knots", `{"grid":"karass","steps":3}`), "known are log-snr, exponential, time-uniform"},
		{asked("knots", `{"grid":"karras","steps":3,"roh":3}`), "known are rho, steps, from, to, append-zero"},
		{asked("knots", `{"grid":"karras","steps":0}`), "1 to 100000"},
		{asked("knots", `{"grid":"karras","steps":1e3}`), "whole number"},
		{asked("knots", `{"grid":"trailing","steps":3}`), "discrete"},
		{asked("knots", `{"from":1,"to":0.02}`), "knots.grid is missing"},
		{asked("knots", `{"grid":"log-snr"}`), "knots.steps is missing"},
		{asked("knots", `{"from":1,"too":0.02}`), "known are grid, steps, from, to, append-zero"},
		{asked("solver", `{"name":"adaptive","of":{"name":"dpmpp"}}`, "knots", `{"from":1}`), "Single"},
		{asked("solver", `{"name":"adaptive","of":{"name":"adaptive"}}`, "knots", `{"from":1}`), "a controller itself"},
		{asked("solver", `{"name":"adaptive"}`), "finds its own knots"},
		{asked("solver", `{"name":"usf","decisions":{"steps":[{"form":"dat"}]}}`), "dat"},
		{asked("solver", `{"name":"dmpp"}`), "known are ddim, dpm, dpmpp"},
		{asked("solver", `{"name":"unipc","ordr":3}`), "known are order, b, noise, no-corrector, uncorrected, published, clip"},
		{asked("solver", `{"name":"unipc","order":9}`), "1 to 4 exist"},
		{asked("solver", `{"name":"unipc","order":"3"}`), "a whole number is wanted"},
		{asked("solver", `{"published":"kdiff/eular"}`), "kdiff/euler,"},
		{asked("solver", `{"published":"kdiff/euler","order":2}`), "known are published"},
		{asked("solver", `{"published":"kdiff/euler/append_zero"}`), "the last knot is not 0"},
		{asked("solver", `{"published":"kdiff/dpmpp_sde_eta1_zero_noise"}`, "noise", `[[[0,0],[0,0],[0,0]]]`), "zero noise by its name"},
		{asked("solver", `{"name":"dpmv3"}`), "Statistics has 0 points"},
		{asked("statistics", `{}`), "does not use"},
		{asked("noise", `[[[0,0],[0,0],[0,0]]]`), "noise has 1 draws, this solver makes 0"},
		{asked("noise", `[]`, "seed", "1"), "both noise and seed"},
		{asked("seed", "-1"), "seed"},
		{asked("x", `[[1,2],[3]]`), "x[1] has 1 numbers"},
		{asked("x", `[]`), "x is empty"},
		{asked("x", `[[1e300,1e300]]`, "dtype", `"float32"`), "finite"},
		{asked("cotangent", `[[1,2]]`), "cotangent is 1 × 2, x is 3 × 2"},
		{asked("gradient", `"checkpoint"`), "no cotangent"},
		{asked("gradient", `"reverse"`, "cotangent", `[[1,2],[1,2],[1,2]]`), "known are checkpoint, unrolled"},
		{asked("dtype", `"float16"`), "known are float64, float32"},
	} {
		r, err := ask(t, asked(), "", c.line, " \t", asked("seed", "null"))
		require.EqualError(t, err, "1 of 3 problems could not be solved; their lines say why")
		require.Len(t, r, 3)
		require.Empty(t, r[0].Error)
		require.Contains(t, r[1].Error, c.says, c.line)
		require.Empty(t, r[2].Error)
	}
}

func TestStatisticsHaveTheEndsOfTheKnots(t *testing.T) {
	s := ode.VPLinear{}
	line := func(last float64) string {
		return asked("solver", `{"name":"dpmv3"}`, "knots", marshal(t, []float64{s.TimeOf(-4), s.TimeOf(-.2), s.TimeOf(2)}),
			"statistics", fmt.Sprintf(`{"lambda":[-4,-1,%v],"l":[[1,1],[1,1],[1,1]],"s":[[0,0],[0,0],[0,0]],"b":[[0,0],[0,0],[0,0]]}`, last))
	}
	r, err := ask(t, line(2))
	require.NoError(t, err, r)
	r, err = ask(t, line(2.001))
	require.Error(t, err)
	require.NotEmpty(t, r[0].Error)
}

func TestNoiseIsWhatIsGivenOrSeededOrZero(t *testing.T) {
	const sde = `{"name":"dpmpp-sde"}`
	knots := `[1,0.5,0.1]`
	zeros, ones := `[[[0,0],[0,0],[0,0]],[[0,0],[0,0],[0,0]]]`, `[[[1,1],[1,1],[1,1]],[[1,1],[1,1],[1,1]]]`
	r, err := ask(t, asked("solver", sde, "knots", knots), asked("solver", sde, "knots", knots, "noise", zeros), asked("solver", sde, "knots", knots, "noise", ones),
		asked("solver", sde, "knots", knots, "seed", "7"), asked("solver", sde, "knots", knots, "seed", "7"), asked("solver", sde, "knots", knots, "seed", "8"))
	require.NoError(t, err, r)
	require.Equal(t, r[0].X0, r[1].X0)
	require.NotEqual(t, r[0].X0, r[2].X0)
	require.Equal(t, r[3].X0, r[4].X0)
	require.NotEqual(t, r[3].X0, r[5].X0)
}

func TestOtherSizes(t *testing.T) {
	model := `{"type":"gaussian-mixture","weights":[1,2,3,4],"means":[[1,0,0,0,0],[0,1,0,0,0],[0,0,1,0,0],[0,0,0,1,1]],"variances":[0.1,0,0.2,1]}`
	x := `[[0.1,0.2,0.3,0.4,0.5]]`
	r, err := ask(t,
		asked("model", model, "x", x, "cotangent", x, "knots", `{"grid":"karras","steps":1,"append-zero":true}`, "schedule", `{"type":"edm"}`, "solver", `{"name":"rk"}`),
		asked("model", model, "x", x, "cotangent", x, "schedule", `{"type":"flow"}`, "knots", `{"grid":"time-uniform","steps":33}`, "solver", `{"name":"rk","tableau":"midpoint"}`),
		asked("model", model, "x", x, "schedule", `{"type":"discrete","betas":[0.1,0.2,0.3,0.4]}`, "knots", `{"grid":"trailing","steps":2}`),
		asked("model", model, "x", x, "schedule", `{"type":"vp-cosine"}`, "knots", `[1,0.5,0]`, "solver", `{"name":"unipc"}`),
	)
	require.NoError(t, err, r)
	require.Equal(t, []int{3, 66, 2, 2}, []int{r[0].NFE, r[1].NFE, r[2].NFE, r[3].NFE})
	require.Len(t, r[0].Gradient.Means, 4)
	require.Len(t, r[0].Gradient.Means[0], 5)
}

// Mixing of solvers, sizes, types and strategies in one stream would show anything that is kept from one line and used in another.
func TestLinesAreAnsweredInOrderAndAlone(t *testing.T) {
	var lines []string
	for i := range 200 {
		x := fmt.Sprintf("[[%v,0.5]]", float64(i)/100)
		fields := []string{"x", x, "solver", []string{`{"name":"dpmpp"}`, `{"name":"unipc"}`, `{"name":"rk"}`}[i%3]}
		if i%4 == 1 {
			fields = append(fields, "model", fmt.Sprintf(`{"type":"gaussian-mixture","weights":[1],"means":[[%d,0]],"variances":[0.5]}`, i%3))
		}
		if i%2 == 0 {
			fields = append(fields, "cotangent", x)
		}
		if i%5 == 0 {
			fields = append(fields, "dtype", `"float32"`)
		}
		if i%7 == 0 {
			fields = append(fields, "x", "[[1,2],[3,4]]", "cotangent", "[[1,2],[3,4]]", "gradient", `"checkpoint"`)
		}
		lines = append(lines, asked(fields...))
	}
	together, err := ask(t, lines...)
	require.NoError(t, err)
	for i := 0; i < len(lines); i += 13 {
		alone, err := ask(t, lines[i])
		require.NoError(t, err)
		require.Equal(t, alone[0], together[i])
	}
}

func TestStrategiesAndTypesAgree(t *testing.T) {
	c := `[[1,2],[0.1,-3],[0,1]]`
	r, err := ask(t, asked("cotangent", c), asked("cotangent", c, "gradient", `"unrolled"`), asked("cotangent", c, "dtype", `"float32"`))
	require.NoError(t, err, r)
	require.Less(t, distance(r[0].Gradient.Latent, r[1].Gradient.Latent), 1e-10)
	require.Less(t, distance(r[0].Gradient.Means, r[1].Gradient.Means), 1e-10)
	discrete := []string{"schedule", `{"type":"discrete","betas":[0.1,0.2,0.3,0.4]}`, "knots", `[1,0.6,0.3,0]`, "cotangent", c}
	d, err := ask(t, asked(discrete...), asked(append(discrete, "gradient", `"unrolled"`)...))
	require.NoError(t, err, d)
	require.Less(t, distance(d[0].Gradient.Latent, d[1].Gradient.Latent), 1e-10)
	require.Greater(t, distance(r[0].X0, r[2].X0), 0.)
	// Coefficients and states are rounded to 6e-8; the gradients here grow by less than a thousand.
	require.Less(t, distance(r[0].Gradient.Latent, r[2].Gradient.Latent), 1e-4)
}

func TestFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "problems.jsonl")
	require.NoError(t, os.WriteFile(file, []byte("\n"+asked()+"\r\n\n"+asked()), 0o666))
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), []string{"-in", file}, nil, &out))
	require.Equal(t, 2, strings.Count(out.String(), "\n"))
	for _, args := range [][]string{{"-list", "-in", file}, {file}, {"-n"}} {
		require.ErrorAs(t, run(context.Background(), args, nil, &out), new(command.UsageError), args)
	}
	require.ErrorIs(t, run(context.Background(), []string{"-in", file + "x"}, nil, &out), os.ErrNotExist)
}

// blocked is a terminal at which nobody types.
type blocked struct{}

func (blocked) Read([]byte) (int, error) { select {} }

func TestAnInterruptEndsTheWait(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, run(ctx, nil, blocked{}, &bytes.Buffer{}), context.Canceled)
}

func TestOptionTypesAreKnown(t *testing.T) {
	for _, n := range natives() {
		v := reflect.ValueOf(n.solver)
		for _, f := range fieldsOf(v.Type()) {
			_, isInt := v.FieldByIndex(f.index).Interface().(int)
			if v.FieldByIndex(f.index).Kind() == reflect.Int && !isInt {
				require.NotNil(t, words(v.FieldByIndex(f.index).Type()), "the words of %s, %s", n.name, f.name)
			}
		}
	}
}

// A thousand problems of 20 steps with gradient.
func BenchmarkThousandProblems(b *testing.B) {
	for _, models := range []int{1, 1000} {
		b.Run(fmt.Sprintf("models=%d", models), func(b *testing.B) {
			var in bytes.Buffer
			for i := range 1000 {
				model := fmt.Sprintf(`{"type":"gaussian-mixture","weights":[0.4,0.6],"means":[[1,%d],[-1,2]],"variances":[0.1,0.03]}`, i%models)
				fmt.Fprintln(&in, asked("model", model, "knots", `{"grid":"log-snr","steps":20}`, "solver", `{"name":"unipc","order":3}`,
					"x", fmt.Sprintf("[[%v,0.2]]", i), "cotangent", `[[1,0.3]]`))
			}
			for b.Loop() {
				require.NoError(b, run(context.Background(), nil, bytes.NewReader(in.Bytes()), &bytes.Buffer{}))
			}
		})
	}
}
