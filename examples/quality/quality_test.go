package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/examples/internal/solvers"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/data"
)

const (
	digits = "../../testdata/digits"
	judge  = digits + "/classifier-b.safetensors"
)

func saved(t *testing.T, m graph.Model, err error) string {
	t.Helper()
	require.NoError(t, err)
	list := m.Spec().Weights
	for i := range list {
		list[i].Std = 0.2
	}
	w, err := graph.NewWeights[float32](list, 1)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "net.safetensors")
	require.NoError(t, models.Save(path, m, w, graph.F32, nil))
	return path
}

// flow is an untrained network, which makes noise.
func flow(t *testing.T, change func(c *models.DiTConfig)) string {
	t.Helper()
	c := models.DiTConfig{Channels: 1, Height: 8, Width: 8, Patch: 4, Hidden: 8, Depth: 1, Heads: 2, TimeFeatures: 8, Condition: 8, Classes: 10,
		Prediction: ode.FlowVelocity, Schedule: ode.Flow{}}
	if change != nil {
		change(&c)
	}
	m, err := models.NewDiT(c)
	return saved(t, m, err)
}

// measured runs the program with few samples and returns what it printed and wrote.
func measured(t *testing.T, args ...string) (string, report) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.json")
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), append([]string{"-data", digits, "-judge", judge, "-samples", "40", "-json", path}, args...), &out, io.Discard))
	return out.String(), read(t, path)
}

func read(t *testing.T, path string) (r report) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &r))
	return r
}

// figures are all that does not depend on the clock.
func figures(r report) string {
	for i := range r.Samples {
		r.Samples[i].Seconds = 0
	}
	text, err := json.Marshal([]any{r.Real, r.Samples})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestTableIsWhatIsWritten(t *testing.T) {
	sheet := filepath.Join(t.TempDir(), "sheet.png")
	model := flow(t, nil)
	out, r := measured(t, "-model", model, "-evaluations", "2,4", "-guidance", "1,2", "-solver", "midpoint, ab2", "-shift", "1,2", "-sheet", sheet)
	require.Len(t, r.Samples, 2*2*2*2)
	require.Equal(t, []any{model, judge, digits, 40, uint64(1), 360, 1437, false}, []any{r.Model, r.Judge, r.Data, r.Count, r.Seed, r.Held, r.Trained, r.Interrupted})
	lines := strings.Split(out, "\n")
	for _, l := range append(r.Real, r.Samples...) {
		first := []string{l.Name, fmt.Sprint(l.N)}
		if v := l.Setting; v != nil {
			first = []string{v.Solver, fmt.Sprint(v.Shift), fmt.Sprint(v.Guidance), fmt.Sprint(v.Evaluations)}
		}
		want := strings.Join(strings.Fields(strings.Join(append(first, l.figures()...), " ")), " ")
		found := 0
		for _, line := range lines {
			if strings.HasPrefix(strings.Join(strings.Fields(line), " "), want) {
				found++
			}
		}
		require.Equal(t, 1, found, "%q in\n%s", want, out)
		require.Equal(t, 40, l.N)
	}
	f, err := os.Open(sheet)
	require.NoError(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	require.NoError(t, err)
	require.Greater(t, img.Bounds().Dx(), img.Bounds().Dy(), "12 samples of 10 classes")

	text, _ := measured(t, "-model", model, "-evaluations", "2", "-guidance", "1", "-markdown")
	require.Contains(t, text, "| solver | shift | guidance | evaluations | Fréchet |")
	require.Contains(t, text, "| midpoint | 1 | 1 | 2 | ")
}

// What is measured is a function of the flags; and every one of these changes it.
func TestMeasuresFollowTheFlags(t *testing.T) {
	model := flow(t, nil)
	of := func(args ...string) string {
		_, r := measured(t, append([]string{"-model", model, "-evaluations", "4", "-guidance", "2"}, args...)...)
		for i := range r.Samples {
			r.Samples[i].Setting = nil // only what was measured
		}
		return figures(r)
	}
	want := of()
	require.Equal(t, want, of("-solver", "midpoint", "-shift", "1", "-seed", "1", "-interval", "-1,2"), "the defaults")
	for _, args := range [][]string{{"-evaluations", "2"}, {"-guidance", "1"}, {"-solver", "ab3"}, {"-shift", "2"}, {"-seed", "2"}, {"-samples", "50"}, {"-interval", "0.1,0.6"}} {
		require.NotEqual(t, want, of(args...), args)
	}
}

func TestSolversMakeTheEvaluationsAskedFor(t *testing.T) {
	names := solvers.Names()
	_, r := measured(t, "-model", flow(t, nil), "-samples", "10", "-evaluations", "12", "-guidance", "1", "-solver", strings.Join(names, ","))
	seen := map[float64]string{}
	for i, l := range r.Samples {
		require.Equal(t, setting{names[i], 1, 1, 12, nil}, *l.Setting)
		if same := seen[l.Frechet]; same != "" {
			require.Equal(t, []string{"euler", "ddim"}, []string{same, names[i]}, "which are one on a flow")
		}
		seen[l.Frechet] = names[i]
	}
}

// Guidance costs nothing of the plan, and stands outside of its interval at 1.
func TestIntervalOfGuidance(t *testing.T) {
	plan, err := ode.RK{Tableau: ode.Euler()}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 4}) // at t = 1, .75, .5, .25
	require.NoError(t, err)
	s := &subject{options: options{interval: []float64{0.5, 0.75}}}
	require.Equal(t, []float32{1, 3, 3, 1}, s.scales(setting{Guidance: 3, plan: plan}))
	s.interval = nil
	require.Equal(t, []float32{3}, s.scales(setting{Guidance: 3, plan: plan}))
}

// The rungs go up on real digits, by the judge that ships; and an untrained network is at the top.
func TestLadder(t *testing.T) {
	_, r := measured(t, "-model", flow(t, nil), "-evaluations", "4", "-guidance", "1", "-samples", "360")
	at := map[string]line{}
	last := -1.
	for _, l := range r.Real[1:] {
		require.Greater(t, l.Frechet, last, l.Name)
		last = l.Frechet
		at[l.Name] = l
	}
	floor, real, made := r.Real[0], at[realRung], r.Samples[0]
	require.Equal(t, floorRung, floor.Name)
	require.InDelta(t, 0, real.Frechet, 1e-9)
	require.Less(t, floor.Frechet, 2.)
	require.Contains(t, at, noiseRung)
	require.Greater(t, real.Agreement, 0.98)
	require.Less(t, at["noise"].Agreement, 0.3)
	require.Greater(t, floor.Neighbours.Coverage, 0.8)
	require.Zero(t, floor.Neighbours.Nearest, "training images are copies of themselves")
	require.Nil(t, real.Neighbours)

	require.Greater(t, made.Frechet, 20*floor.Frechet)
	require.Less(t, made.Neighbours.Coverage, 0.1)
	require.Greater(t, made.Neighbours.Nearest, 1.5)
}

func TestBlurAndNoise(t *testing.T) {
	d := &data.Images{Height: 2, Width: 3}
	x := []float32{9, 0, 0, 0, 0, 3, 1, 1, 1, 1, 1, 1}
	blur(x, d)
	require.Equal(t, []float32{9. / 4, 2, 3. / 4, 9. / 4, 2, 3. / 4, 1, 1, 1, 1, 1, 1}, x)
	y := make([]float32, 10_000)
	addNoise(y, 1, 0.1, 1)
	sum := 0.
	for _, v := range y {
		sum += float64(v) * float64(v)
	}
	// The mean of 10⁴ squares has a standard deviation of √2 %.
	require.InEpsilon(t, 0.01, sum/1e4, 0.06)
	again := make([]float32, 10_000)
	addNoise(again, 1, 0.1, 1)
	require.Equal(t, y, again)
}

func TestAnInterruptLeavesWhatWasMeasured(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o, err := parse([]string{"-data", digits, "-judge", judge, "-model", flow(t, nil), "-samples", "40", "-evaluations", "2,4", "-guidance", "1"}, io.Discard)
	require.NoError(t, err)
	s, err := open(o)
	require.NoError(t, err)
	defer s.Close()
	settings, err := s.settings()
	require.NoError(t, err)
	plan := *settings[1].plan
	plan.Schedule = stopping{plan.Schedule, cancel} // asked where the second line begins
	settings[1].plan = &plan
	r := s.report()
	require.ErrorIs(t, s.measure(ctx, settings, &r, io.Discard), context.Canceled)
	require.Len(t, r.Real, 6)
	require.Len(t, r.Samples, 1)
	var out bytes.Buffer
	require.NoError(t, r.print(&out, false))
	require.Contains(t, out.String(), "midpoint")

	// The whole program, interrupted from the first.
	path := filepath.Join(t.TempDir(), "report.json")
	out.Reset()
	err = run(ctx, []string{"-data", digits, "-judge", judge, "-model", o.model, "-json", path}, &out, io.Discard)
	require.ErrorIs(t, err, context.Canceled)
	require.Contains(t, out.String(), "2000 samples a line")
	require.True(t, read(t, path).Interrupted)
}

type stopping struct {
	ode.Schedule
	stop func()
}

func (s stopping) At(t float64) ode.Point {
	s.stop()
	return s.Schedule.At(t)
}

func TestFolderOfIDXFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, n int) {
		images := append([]byte{0, 0, 8, 3, 0, 0, 0, byte(n), 0, 0, 0, 8, 0, 0, 0, 8}, make([]byte, n*64)...)
		labels := append([]byte{0, 0, 8, 1, 0, 0, 0, byte(n)}, make([]byte, n)...)
		for i := range n {
			labels[8+i] = byte(i % 10)
			for j := range 64 {
				images[16+i*64+j] = byte(i*i*31 + j*j*17*(n+i%10))
			}
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+"-images-idx3-ubyte"), images, 0o666))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+"-labels-idx1-ubyte"), labels, 0o666))
	}
	write("train", 60)
	write("t10k", 30)
	_, r := measured(t, "-data", dir, "-model", flow(t, nil), "-evaluations", "2", "-guidance", "1")
	require.Equal(t, []int{60, 30}, []int{r.Trained, r.Held})
	require.Equal(t, []int{40, 30, 30}, []int{r.Samples[0].N, r.Samples[0].Neighbours.Compared, r.Samples[0].Neighbours.Searched})
	var out bytes.Buffer
	require.ErrorContains(t, run(context.Background(), []string{"-data", dir}, &out, io.Discard), "testdata/fashion/flow.safetensors")
}

func TestMistakesAreNamed(t *testing.T) {
	model := flow(t, nil)
	plain := flow(t, func(c *models.DiTConfig) { c.Condition, c.Classes = 0, 0 })
	large := flow(t, func(c *models.DiTConfig) { c.Height, c.Width = 16, 16 })
	noise := flow(t, func(c *models.DiTConfig) { c.Prediction, c.Schedule = ode.Noise, ode.VPLinear{} })
	m, err := models.NewClassifier(models.ClassifierConfig{Channels: 1, Height: 8, Width: 8, Patch: 4, Hidden: 4, Features: 6, Classes: 3})
	three := saved(t, m, err)
	empty := t.TempDir()
	for _, row := range []struct {
		want  string
		usage bool
		args  []string
	}{
		{"not defined: -stepz", true, []string{"-stepz", "3"}},
		{`["digits"] is left over`, true, []string{"digits"}},
		{`-evaluations 4,x: "x" is none; give numbers from 1 to 1000`, true, []string{"-evaluations", "4,x"}},
		{`-evaluations 0: "0" is none`, true, []string{"-evaluations", "0"}},
		{`-guidance NaN: "NaN" is none; give numbers finite`, true, []string{"-guidance", "NaN"}},
		{`-shift 0: "0" is none; give numbers from 0.01 to 100`, true, []string{"-shift", "0"}},
		{"-solver magic is not known; known are euler, midpoint", true, []string{"-solver", "ab2,magic"}},
		{"-samples is 9; 10 to 10000", true, []string{"-samples", "9"}},
		{"-interval has [0.5]", true, []string{"-interval", "0.5"}},
		{"-interval has [0.5 0.2]", true, []string{"-interval", "0.5,0.2"}},
		{"-interval has no effect without guidance", true, []string{"-interval", "0.2,0.5", "-guidance", "1"}},
		{"-evaluations 5: -solver midpoint cannot make so many; the nearest it can are 4 and 6", true, []string{"-evaluations", "4,5"}},
		{"-evaluations 3: -solver rk4 cannot make so many; the nearest it can are 4", true, []string{"-evaluations", "3", "-solver", "rk4"}},
		{"-shift is for flows", true, []string{"-model", noise, "-shift", "2"}},
		{"-solver ab2: ", false, []string{"-model", noise, "-solver", "ab2"}},
		{"digits.csv.gz", false, []string{"-data", "missing/digits.csv.gz"}},
		{empty + " is neither the folder of the digits, testdata/digits, nor a folder of four IDX files", false, []string{"-data", empty}},
		{"which .ci/fashion DIR fetches on Debian", false, []string{"-data", "../../testdata/fashion"}},
		{"damaged or another one", false, []string{"-data", "main.go"}},
		{"missing.safetensors", false, []string{"-model", "missing.safetensors"}},
		{"a flow or a diffusion of images like those of -data, [1 8 8]", false, []string{"-model", large}},
		{"is a Classifier of", false, []string{"-model", judge}},
		{"does not know the 10 classes", false, []string{"-model", plain}},
		{" tells 3 classes of images of 64 pixels; those of -data are 10", false, []string{"-judge", three}},
		{"a critic needs", false, []string{"-judge", model}},
		{"cannot write main.go/a.png", false, []string{"-sheet", "main.go/a.png"}},
		{`-sheet is "a.jpg"; pictures are PNG files`, true, []string{"-sheet", "a.jpg"}},
		{"is a folder", false, []string{"-json", "."}},
	} {
		args := append([]string{"-data", digits, "-judge", judge, "-model", model}, row.args...)
		err := run(context.Background(), args, io.Discard, io.Discard)
		require.ErrorContains(t, err, row.want)
		require.Equal(t, row.usage, errors.As(err, new(command.UsageError)), row.want)
	}
	require.ErrorContains(t, run(context.Background(), nil, io.Discard, io.Discard), "elsewhere give -data")
	var help bytes.Buffer
	require.ErrorIs(t, run(context.Background(), []string{"-h"}, &help, io.Discard), flag.ErrHelp)
	require.Contains(t, help.String(), "-interval")
	require.Contains(t, help.String(), "or "+command.Fashion)
}
