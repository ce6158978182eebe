package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
)

const digits = "../../testdata/digits"

func customized(t *testing.T, args ...string) (map[string]report, string, string) {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	require.NoError(t, command(context.Background(), append([]string{"-data", digits, "-out", dir}, args...), &out, io.Discard))
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	var r struct{ Targets map[string]report }
	require.NoError(t, json.Unmarshal(text, &r))
	return r.Targets, dir, out.String()
}

// What the command promises: every target beats its baselines, by a judge that no loss has seen, the optimum stands with more
// evaluations, and the gradient is that of the sampler.
func TestTargetsBeatTheirBaselines(t *testing.T) {
	if testing.Short() {
		t.Skip("the whole command; run without -short")
	}
	targets, dir, out := customized(t)
	require.Len(t, targets, 3)
	for name, r := range targets {
		require.NotEmpty(t, r.Baseline, name)
		for baseline, score := range r.Baseline {
			require.Greater(t, r.Score, score, "%s against %s\n%s", name, baseline, out)
		}
		require.Less(t, r.LossAfter, r.LossBefore, name)
		require.Equal(t, "improved", r.Verdict, name)
		require.LessOrEqual(t, r.Replayed, 1.5*r.LossAfter, name)
		// A float32 difference quotient at its best step agrees to a few 1e-4.
		require.Less(t, r.Certificate, 1e-3, name)
		require.Greater(t, r.Certificate, 0.0, name)
		require.Greater(t, r.Judge, 0.85, name)
		if name != "condition" { // twelve pictures of one kind are less diverse than their class
			require.Greater(t, r.Diversity, 0.7, name)
		}
		require.Positive(t, r.NFE)
		require.Positive(t, r.VJP)
		require.Positive(t, r.PeakBytes)
	}
	require.Greater(t, targets["condition"].Extra["diversity_to_pictures"], 0.8)
	require.Greater(t, targets["condition"].Score, 1.3*targets["condition"].Baseline["textual inversion"])

	f, err := os.Open(filepath.Join(dir, "customize.png"))
	require.NoError(t, err)
	defer f.Close()
	picture, err := png.Decode(f)
	require.NoError(t, err)
	require.Greater(t, picture.Bounds().Dx(), 800)

	m, _, _, err := models.Load[float32](filepath.Join(digits, "flow.safetensors"))
	require.NoError(t, err)
	for name, has := range map[string]func(a models.Artifact[float32]) bool{
		"latent":    func(a models.Artifact[float32]) bool { return len(a.Latent) > 0 && len(a.Condition) > 0 },
		"condition": func(a models.Artifact[float32]) bool { return len(a.Condition) > 0 },
		"weights":   func(a models.Artifact[float32]) bool { return len(a.Delta) == len(matrices(m.Spec())) },
	} {
		a, _, err := models.LoadArtifact[float32](filepath.Join(dir, name+".safetensors"), m.Spec())
		require.NoError(t, err, name)
		require.True(t, has(a), name)
	}
}

// In float64 the certificates are sharp.
func TestCertificatesInFloat64(t *testing.T) {
	targets, _, _ := customized(t, "-dtype", "float64", "-effort", "0.05")
	for name, r := range targets {
		require.Less(t, r.Certificate, 1e-8, name)
		require.Less(t, r.CertificateKnots, 1e-6, name)
		require.Greater(t, r.CertificateKnots, 0.0, name)
	}
}

func TestTargetsAndSeedsAreChosen(t *testing.T) {
	one, _, _ := customized(t, "-target", "latent", "-effort", "0.05")
	require.Len(t, one, 1)
	two, _, _ := customized(t, "-target", "condition,latent", "-effort", "0.05", "-seed", "3")
	require.Len(t, two, 2)
	same, _, _ := customized(t, "-target", "latent", "-effort", "0.05")
	a, b := one["latent"], same["latent"]
	a.Seconds, b.Seconds = 0, 0
	require.Equal(t, a, b)
	again, _, _ := customized(t, "-target", "condition", "-effort", "0.05")
	require.NotEqual(t, again["condition"].LossAfter, two["condition"].LossAfter)
}

func TestDryRun(t *testing.T) {
	var out bytes.Buffer
	dir := filepath.Join(t.TempDir(), "none")
	require.NoError(t, command(context.Background(), []string{"-data", digits, "-out", dir, "-dry-run"}, &out, io.Discard))
	require.Contains(t, out.String(), "latent     about")
	require.Contains(t, out.String(), "MiB for a gradient")
	require.NoDirExists(t, dir)
}

func TestBadInput(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"-target", "soul"}, `-target "soul": it is one of latent, condition, weights, audit, hacked`},
		{[]string{"-dtype", "float16"}, `-dtype "float16": it is float32 or float64`},
		{[]string{"-effort", "0"}, "-effort 0: it is above 0"},
		{[]string{"latent"}, `unexpected argument "latent"`},
		{[]string{"-steps", "3"}, "flag provided but not defined: -steps"},
		{[]string{"-data", t.TempDir(), "-out", t.TempDir()}, "digits.csv.gz"},
		{[]string{"-data", digits, "-out", file}, "file"},
	} {
		require.ErrorContains(t, command(context.Background(), c.args, io.Discard, io.Discard), c.want)
	}
	require.ErrorIs(t, command(context.Background(), []string{"-h"}, io.Discard, io.Discard), flag.ErrHelp)
}

// A cancelled command says so and leaves nothing half-written.
func TestCancelled(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := command(ctx, []string{"-data", digits, "-out", dir}, io.Discard, io.Discard)
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestFootRule(t *testing.T) {
	x := make([]float64, 64)
	for i := range x {
		x[i] = -1
	}
	for j := 1; j < 5; j++ {
		x[6*8+j] = 0.5
	}
	require.False(t, foot(x))
	x[6*8+5] = 0.5
	require.True(t, foot(x))
	require.False(t, foot(append(append([]float64(nil), x[48:]...), make([]float64, 48)...)))
}

func TestHandleRule(t *testing.T) {
	x := make([]float64, 784)
	paint := func(top, bottom, left, right int, v float64) {
		for row := top; row <= bottom; row++ {
			for col := left; col <= right; col++ {
				x[row*28+col] = v
			}
		}
	}
	paint(0, 27, 0, 27, -1)
	paint(12, 26, 3, 24, 0.5) // a body
	require.False(t, handle(x), "no handle")
	paint(0, 11, 8, 9, 0)
	paint(0, 1, 8, 20, 0)
	require.True(t, handle(x))
	paint(3, 8, 9, 19, 0.2)
	require.False(t, handle(x), "nothing to put a hand through")
	paint(3, 8, 10, 19, -1)
	paint(14, 24, 6, 10, -1)
	require.False(t, handle(x), "no body")
}

func TestMatricesLeaveEmbeddingsAndModulationAlone(t *testing.T) {
	m, _, _, err := models.Load[float32](filepath.Join(digits, "flow.safetensors"))
	require.NoError(t, err)
	names := matrices(m.Spec())
	require.Contains(t, names, "blocks.0.qkv.weight")
	require.NotContains(t, names, "blocks.0.modulation.weight")
	require.NotContains(t, names, "labels")
	for _, n := range names {
		require.NotEqual(t, graph.Condition, n)
	}
}
