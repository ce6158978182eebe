package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/examples/internal/solvers"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
)

func saved(t *testing.T, name string, m graph.Model, err error) string {
	t.Helper()
	require.NoError(t, err)
	list := m.Spec().Weights
	for i := range list {
		list[i].Std = 0.2
	}
	w, err := graph.NewWeights[float32](list, 1)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, models.Save(path, m, w, graph.F32, nil))
	return path
}

func flow(t *testing.T, change func(c *models.DiTConfig)) string {
	t.Helper()
	c := models.DiTConfig{Channels: 1, Height: 8, Width: 8, Patch: 4, Hidden: 8, Depth: 1, Heads: 2, TimeFeatures: 8, Condition: 8, Classes: 10,
		Prediction: ode.FlowVelocity, Schedule: ode.Flow{}}
	if change != nil {
		change(&c)
	}
	m, err := models.NewDiT(c)
	return saved(t, "flow.safetensors", m, err)
}

func classifier(t *testing.T) string {
	t.Helper()
	m, err := models.NewClassifier(models.ClassifierConfig{Channels: 1, Height: 8, Width: 8, Patch: 4, Hidden: 4, Features: 6, Classes: 10})
	return saved(t, "judge.safetensors", m, err)
}

// call runs the program and returns what it printed.
func call(args ...string) (string, error) {
	var out bytes.Buffer
	err := run(context.Background(), args, &out, io.Discard)
	return out.String(), err
}

func TestSheet(t *testing.T) {
	model := flow(t, nil)
	colour := flow(t, func(c *models.DiTConfig) { c.Channels = 3 })
	plain := flow(t, func(c *models.DiTConfig) { c.Condition, c.Classes = 0, 0 })
	noise := flow(t, func(c *models.DiTConfig) { c.Prediction, c.Schedule = ode.Noise, ode.VPLinear{} })
	for _, row := range []struct {
		args []string
		want string
	}{
		{[]string{"-model", model, "-n", "2"}, "20 images"},
		{[]string{"-model", model, "-class", "3", "-n", "5"}, "5 images"},
		{[]string{"-model", model, "-class", "3, 7", "-n", "5", "-guidance", "2.5"}, "guidance 2.5"},
		{[]string{"-model", colour, "-class", "0", "-n", "1"}, "1 images"},
		{[]string{"-model", plain, "-n", "3"}, "3 images"},
		{[]string{"-model", noise, "-n", "1"}, "10 images"},
	} {
		path := filepath.Join(t.TempDir(), "sheet.png")
		out, err := call(append(row.args, "-steps", "3", "-out", path)...)
		require.NoError(t, err)
		require.Contains(t, out, row.want)
		f, err := os.Open(path)
		require.NoError(t, err)
		_, err = png.Decode(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	for _, name := range solvers.Names() {
		_, err := call("-model", model, "-class", "1", "-n", "1", "-steps", "4", "-solver", name, "-out", filepath.Join(t.TempDir(), "sheet.png"))
		require.NoError(t, err, name)
	}
}

// The picture is a function of the flags; and every one of these changes it.
func TestSheetFollowsItsFlags(t *testing.T) {
	model := flow(t, nil)
	sheet := func(args ...string) []byte {
		path := filepath.Join(t.TempDir(), "sheet.png")
		_, err := call(append([]string{"-model", model, "-n", "2", "-class", "1", "-out", path}, args...)...)
		require.NoError(t, err)
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		return data
	}
	want := sheet()
	require.Equal(t, want, sheet())
	require.Equal(t, want, sheet("-steps", "20", "-seed", "1", "-guidance", "1", "-solver", "ab3"), "the defaults")
	for _, args := range [][]string{{"-seed", "2"}, {"-steps", "2"}, {"-guidance", "3"}, {"-solver", "euler"}} {
		require.NotEqual(t, want, sheet(args...), args)
	}
}

// Where no solver is named it is what README.md advises, with knots of Beta on a flow.
func TestSolverByDefault(t *testing.T) {
	planned := func(s ode.Schedule, raw ode.Prediction, args ...string) *ode.Plan {
		o, err := parse(args, io.Discard)
		require.NoError(t, err)
		p, err := plan(graph.Spec{Schedule: s, Prediction: raw}, o)
		require.NoError(t, err)
		return p
	}
	for _, row := range []struct {
		want   ode.Solver
		onFlow bool
		args   []string
	}{
		{ode.FlowAB{Order: 2}, true, []string{"-steps", "1"}},
		{ode.FlowAB{Order: 2}, true, []string{"-steps", "8"}},
		{ode.FlowAB{Order: 3}, true, []string{"-steps", "9"}},
		{ode.FlowAB{Order: 3}, true, nil},
		{ode.RK{Tableau: ode.MidpointRule()}, true, []string{"-solver", "midpoint"}},
		{ode.DPMpp{}, false, []string{"-steps", "5"}},
		{ode.DPMpp{}, false, nil},
	} {
		p := ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: 20}
		if row.onFlow {
			p.Schedule, p.Raw, p.Grid = ode.Flow{}, ode.FlowVelocity, ode.Beta{}
		}
		got := planned(p.Schedule, p.Raw, row.args...)
		p.Steps = len(got.Knots) - 1
		want, err := row.want.Plan(p)
		require.NoError(t, err)
		require.Equal(t, want.Table(), got.Table(), row.args)
		require.Equal(t, want.Knots, got.Knots)
	}
}

// Rows longer than a line are broken, and the rest of their last line is left empty.
func TestLines(t *testing.T) {
	images := make([][]float32, 2*30)
	for i := range images {
		images[i] = []float32{float32(i)}
	}
	placed, across, captions := lines(images, 30, []string{"a", "b"})
	require.Equal(t, widest, across)
	require.Equal(t, []string{"a", "", "", "b", "", ""}, captions)
	require.Len(t, placed, 6*widest)
	require.Equal(t, images[29], placed[29])
	require.Nil(t, placed[30])
	require.Equal(t, images[30], placed[3*widest])

	placed, across, captions = lines(images[:6], 3, []string{"a", "b"})
	require.Equal(t, images[:6], placed)
	require.Equal(t, 3, across)
	require.Equal(t, []string{"a", "b"}, captions)
	_, _, captions = lines(images[:5], 5, []string{""})
	require.Nil(t, captions)
}

func TestTilesPutChannelsLast(t *testing.T) {
	x := []float32{1, 2, 10, 20, 100, 200, 3, 4, 30, 40, 300, 400} // two images of 3 channels, 1×2
	require.Equal(t, [][]float32{{1, 10, 100, 2, 20, 200}, {3, 30, 300, 4, 40, 400}}, tiles(x, []int{3, 1, 2}))
}

func TestArtifacts(t *testing.T) {
	model := flow(t, nil)
	m, w, _, err := models.Load[float32](model)
	require.NoError(t, err)
	spec := m.Spec()
	saveArtifact := func(a models.Artifact[float32]) string {
		path := filepath.Join(t.TempDir(), "a.safetensors")
		require.NoError(t, models.SaveArtifact(path, spec, a, graph.F32, nil))
		return path
	}
	rowsOf := func(args ...string) rows {
		o, err := parse(append([]string{"-model", model}, args...), io.Discard)
		require.NoError(t, err)
		s, err := open(o, io.Discard)
		require.NoError(t, err)
		defer s.Close()
		r, err := s.rows(o)
		require.NoError(t, err)
		return r
	}
	latent, condition := make([]float32, 4*64), make([]float32, 2*8)
	for i := range latent {
		latent[i] = float32(i)
	}
	for i := range condition {
		condition[i] = float32(i)
	}
	latents, conditions := saveArtifact(models.Artifact[float32]{Latent: latent}), saveArtifact(models.Artifact[float32]{Condition: condition})

	both := saveArtifact(models.Artifact[float32]{Latent: latent[:2*64], Condition: condition})
	uneven := saveArtifact(models.Artifact[float32]{Latent: latent, Condition: condition})

	// All latents in the row of each class.
	for file, start := range map[string]string{latents: "latents of a.safetensors", uneven: "latents of a.safetensors, not its conditions"} {
		r := rowsOf("-latent", file, "-class", "1,2,3")
		require.Equal(t, 4, r.n)
		require.Equal(t, []string{"1", "2", "3"}, r.names)
		require.Equal(t, slices.Repeat(latent, 3), r.latent)
		want, err := models.Lookup(w, []int{1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3})
		require.NoError(t, err)
		require.Equal(t, want, r.condition)
		require.Equal(t, start, r.start)
	}
	require.Len(t, rowsOf("-latent", latents).names, 10)
	require.Len(t, rowsOf("-latent", both, "-class", "all").names, 10)

	// Its own conditions, if the file has them.
	r := rowsOf("-latent", both)
	require.Equal(t, []string{""}, r.names)
	require.Equal(t, 2, r.n)
	require.Equal(t, latent[:2*64], r.latent)
	require.Equal(t, condition, r.condition)
	require.Equal(t, "latents and conditions of a.safetensors", r.start)
	r = rowsOf("-latent", both, "-condition", conditions)
	require.Equal(t, []string{"found 0", "found 1"}, r.names)
	require.Equal(t, slices.Concat(condition[:8], condition[:8], condition[8:], condition[8:]), r.condition)

	r = rowsOf("-condition", conditions, "-n", "3")
	require.Equal(t, []string{"found 0", "found 1"}, r.names)
	require.Len(t, r.latent, 6*64)
	require.Equal(t, condition[:8], r.condition[2*8:3*8])
	require.Equal(t, condition[8:], r.condition[3*8:4*8])

	change := make([]float32, 16)
	change[3] = 5
	o, err := parse([]string{"-model", model, "-delta", saveArtifact(models.Artifact[float32]{Delta: map[string][]float32{"out.bias": change}})}, io.Discard)
	require.NoError(t, err)
	s, err := open(o, io.Discard)
	require.NoError(t, err)
	defer s.Close()
	require.Equal(t, w.Data("out.bias")[3]+5, s.weights.Data("out.bias")[3])

	for want, args := range map[string][]string{
		"has 4 latents and 2 conditions": {"-latent", uneven},
		"-latent: ":                      {"-latent", conditions},
		"-condition: ":                   {"-condition", latents},
		"-delta: ":                       {"-delta", latents},
		"this is a network":              {"-delta", model},
	} {
		_, err := call(append(args, "-model", model, "-out", filepath.Join(t.TempDir(), "s.png"))...)
		require.ErrorContains(t, err, want)
	}
	for _, args := range [][]string{{"-delta", saveArtifact(models.Artifact[float32]{Delta: map[string][]float32{"out.bias": change}})}, {"-latent", latents}} {
		other := flow(t, func(c *models.DiTConfig) { c.Height, c.Width, c.Patch = 4, 4, 2 })
		_, err := call(append(args, "-model", other, "-out", filepath.Join(t.TempDir(), "s.png"))...)
		require.ErrorContains(t, err, "it is for another network: ")
		require.ErrorContains(t, err, "; give that network with -model")
		require.NotContains(t, err.Error(), "\n")
	}
	for _, args := range [][]string{{"-latent", both}, {"-latent", latents, "-class", "1,2"}} {
		_, err := call(append(args, "-model", model, "-out", filepath.Join(t.TempDir(), "s.png"))...)
		require.NoError(t, err)
	}
}

func TestMistakesAreNamed(t *testing.T) {
	t.Chdir(t.TempDir())
	model, judge := flow(t, nil), classifier(t)
	plain := flow(t, func(c *models.DiTConfig) { c.Condition, c.Classes = 0, 0 })
	vectors := flow(t, func(c *models.DiTConfig) { c.Classes = 0 })
	mlp, err := models.NewMLP(models.MLPConfig{Shape: []int{64}, Width: 4, Depth: 1, Schedule: ode.Flow{}, Prediction: ode.FlowVelocity})
	flat := saved(t, "mlp.safetensors", mlp, err)
	require.NoError(t, os.Mkdir("folder.png", 0o755))
	require.NoError(t, os.WriteFile("file", nil, 0o666))
	for _, row := range []struct {
		want  string
		usage bool
		args  []string
	}{
		{"not defined: -stepz", true, []string{"-stepz", "3"}},
		{`["digits"] is left over`, true, []string{"digits"}},
		{"-steps is 0; 1 to 100000", true, []string{"-steps", "0"}},
		{`invalid value "many" for flag -steps`, true, []string{"-steps", "many"}},
		{"-n is 0", true, []string{"-n", "0"}},
		{"-guidance is NaN", true, []string{"-guidance", "NaN"}},
		{"-solver magic is not known; known are euler, midpoint", true, []string{"-solver", "magic"}},
		{`"three" is no class`, true, []string{"-class", "three"}},
		{`"-1" is no class`, true, []string{"-class", "-1"}},
		{"-class 11: the network's classes are 0 to 9", true, []string{"-class", "1,11"}},
		{`-out is ""; pictures are PNG files`, true, []string{"-out", ""}},
		{`-out is "x.jpg"; pictures are PNG files`, true, []string{"-out", "x.jpg"}},
		{"-class has no effect beside -condition", true, []string{"-condition", "x", "-class", "1"}},
		{"-seed has no effect beside -latent", true, []string{"-latent", "x", "-seed", "1"}},
		{"cannot write file/sheet.png", false, []string{"-out", "file/sheet.png"}},
		{"folder.png is a folder", false, []string{"-out", "folder.png"}},
		{"missing.safetensors", false, []string{"-model", "missing.safetensors"}},
		{"from the top folder", false, []string{"-class", "3"}},
		{"is a MLP, which makes no images", false, []string{"-model", flat}},
		{"is a Classifier, which makes no images", false, []string{"-model", judge}},
		{"the network is unconditional", true, []string{"-model", plain, "-class", "3"}},
		{"-guidance 2 needs a conditional network", true, []string{"-model", plain, "-guidance", "2"}},
		{"give a vector with -condition", false, []string{"-model", vectors}},
	} {
		args := row.args
		if !strings.Contains(strings.Join(args, " "), "-model") && row.want != "from the top folder" {
			args = append([]string{"-model", model}, args...)
		}
		_, err := call(args...)
		require.ErrorContains(t, err, row.want)
		require.Equal(t, row.usage, errors.As(err, new(command.UsageError)), row.want)
	}
	files, err := filepath.Glob("*/*/*")
	require.NoError(t, err)
	require.Empty(t, files)
	o, err := parse(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, "out/sample/sheet.png", o.out)
	help, err := call("-h")
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, help, "-guidance")
}

func TestReadOnlyFolder(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write anywhere")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	_, err := call("-model", flow(t, nil), "-out", filepath.Join(dir, "sheet.png"))
	require.ErrorContains(t, err, "cannot write")
}

func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	path := filepath.Join(t.TempDir(), "sheet.png")
	err := run(ctx, []string{"-model", flow(t, nil), "-out", path}, io.Discard, io.Discard)
	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Empty(t, left)
}
