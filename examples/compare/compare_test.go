package main

import (
	"bytes"
	"context"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/ode"
)

func small(t *testing.T, args ...string) options {
	t.Helper()
	digits := "../../testdata/digits/"
	args = append([]string{"-out", filepath.Join(t.TempDir(), "new", "c"), "-model", digits + "flow.safetensors", "-images", "2"}, args...)
	if slices.Contains(args, "-quality") {
		args = append(args, "-judge", digits+"classifier-b.safetensors", "-data", digits+"digits.csv.gz", "-samples", "20")
	}
	o, err := parse(args, &bytes.Buffer{})
	require.NoError(t, err)
	o.samplesOfMixture, o.reference, o.budgets, o.qualityBudgets = 8, 40, []int{5, 10}, []int{5}
	o.contestants = slices.DeleteFunc(contestants(), func(k contestant) bool {
		return !slices.Contains([]string{"DDIM", "DPM-Solver++ 2M", "UniPC-3", "flow AB2", "EDICT", "Heun in t", "Bogacki-Shampine"}, k.name)
	})
	return o
}

func TestEverythingIsWritten(t *testing.T) {
	o := small(t, "-quality")
	var out, log bytes.Buffer
	require.NoError(t, compare(context.Background(), o, &out, &log))
	require.Contains(t, out.String(), "10 evaluations: ")

	file, err := os.Open(o.out + ".png")
	require.NoError(t, err)
	defer file.Close()
	_, err = png.Decode(file)
	require.NoError(t, err)
	vector, err := os.ReadFile(o.out + ".svg")
	require.NoError(t, err)
	require.Contains(t, string(vector), "</svg>")

	text, err := os.ReadFile(o.out + ".md")
	require.NoError(t, err)
	for _, want := range []string{"](c.png)", "| DDIM | first order |", "flow AB2 is not in the table: ", "EDICT is not in the table: ", "| DPM-Solver++ 2M SDE |"} {
		require.Contains(t, string(text), want)
	}
	require.Equal(t, 2, strings.Count(string(text), "| UniPC-3 | UniPC |"))
}

func TestHigherOrderIsNearerAndMoreEvaluationsToo(t *testing.T) {
	c, err := mixtureCourse(16, 3)
	require.NoError(t, err)
	p := command.NewProgress(&bytes.Buffer{}, 1)
	require.NoError(t, c.finish(context.Background(), ode.LogSNR{}, 300, p))
	r, err := c.race(context.Background(), contestants()[:8], []int{10, 20, 40}, true, p)
	require.NoError(t, err)
	require.NotEqual(t, "DDIM", r.curves[0].name)
	for _, v := range r.curves {
		require.Less(t, v.points[2].error, v.points[0].error, v.name)
		require.GreaterOrEqual(t, v.score, r.curves[0].score)
		for i, b := range r.budgets {
			require.LessOrEqual(t, v.points[i].nfe, b, v.name)
		}
	}
	for _, b := range r.budgets {
		best := r.best(b, 3)
		require.Len(t, best, 3)
		require.LessOrEqual(t, best[0].points[slices.Index(r.budgets, b)].error, best[1].points[slices.Index(r.budgets, b)].error)
	}
}

func TestDistanceIsTheMedianOverSamples(t *testing.T) {
	c := &course[float64]{dim: 2, x: make([]float64, 6), end: []float64{0, 0, 0, 0, 0, 0}}
	require.InDelta(t, math.Sqrt(2), c.distance([]float64{2, 0, 0, 0, 100, 100}), 1e-15)
}

func TestAContestantIsRankedByItsBestGrid(t *testing.T) {
	of := func(name, grid string, errors ...float64) curve {
		v := curve{contestant: contestant{name: name}, rule: rule{name: grid}}
		for _, e := range errors {
			v.points = append(v.points, point{1, e})
		}
		return v
	}
	part := of("c", "even", 1e-2, 1e-1)
	part.points[1] = point{}
	r := &result{budgets: []int{5, 10}, refused: map[string]error{}}
	all := []curve{of("a", "even", 1e-1, 1e-3), of("a", "beta", 1e-2, 1e-3), of("b", "even", 1e-3, 1e-4), part, {contestant: contestant{name: "d"}, points: make([]point, 2)}}
	r.rank(all, []error{nil, nil, nil, nil, os.ErrInvalid})
	require.Equal(t, map[string]error{"d": os.ErrInvalid}, r.refused)
	for i, want := range []struct {
		name, grid string
		score      float64
	}{{"b", "even", 0}, {"a", "beta", 1}, {"c", "even", 1}} {
		require.Equal(t, want.name, r.curves[i].name)
		require.Equal(t, want.grid, r.curves[i].rule.name)
		require.InDelta(t, want.score, r.curves[i].score, 1e-12)
	}
}

// Of every contestant something can be run somewhere, so that none is a dead row.
func TestEveryContestantHasAPlan(t *testing.T) {
	names := map[string]bool{}
	for _, k := range append(contestants(), stochastic()...) {
		require.False(t, names[k.name], k.name)
		names[k.name] = true
		if k.adaptive {
			continue
		}
		_, errVP := k.solver.Plan(ode.Problem{Schedule: ode.VPLinear{}, Steps: 12})
		_, errFlow := k.solver.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Steps: 12})
		require.True(t, errVP == nil || errFlow == nil, "%s: %v", k.name, errVP)
	}
	require.LessOrEqual(t, len(families()), len(colours))
}

func TestAnInterruptEndsTheWork(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	o := small(t)
	require.ErrorIs(t, compare(ctx, o, &bytes.Buffer{}, &bytes.Buffer{}), context.Canceled)
	_, err := os.Stat(o.out + ".md")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestFlagsAreChecked(t *testing.T) {
	for _, args := range [][]string{{"x"}, {"-images", "0"}, {"-out", ""}, {"-out", "a.png"}, {"-out", "a.SVG"}, {"-out", "a.md"}, {"-judge", "j"}, {"-quality", "-samples", "1000"}, {"-fast"}} {
		_, err := parse(args, &bytes.Buffer{})
		require.ErrorAs(t, err, new(command.UsageError), args)
	}
	err := run(context.Background(), []string{"-out", filepath.Join(t.TempDir(), "c"), "-model", "nowhere"}, &bytes.Buffer{}, &bytes.Buffer{})
	require.ErrorIs(t, err, os.ErrNotExist)
	err = run(context.Background(), []string{"-out", "main.go/c", "-model", "../../testdata/digits/flow.safetensors"}, &bytes.Buffer{}, &bytes.Buffer{})
	require.ErrorContains(t, err, "cannot write main.go/c.md")
	o, err := parse(nil, &bytes.Buffer{})
	require.NoError(t, err)
	require.Equal(t, "out/compare/compare", o.out)
}
