package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/train/data"
)

const digits = "../../testdata/digits"

// customized runs the command and reads its report.
func customized(t *testing.T, args ...string) (map[string]report, string, string) {
	t.Helper()
	return changed(t, nil, args...)
}

// inShort is customized on few samples: for what does not depend on their number.
func inShort(t *testing.T, args ...string) (map[string]report, string, string) {
	t.Helper()
	return changed(t, func(s *subject) {
		s.edit.each = 1
		s.concept.batch, s.concept.test = 8, 20
		s.bold.batch, s.bold.test = 10, 20
		s.audit.samples = 5
	}, args...)
}

func changed(t *testing.T, change func(*subject), args ...string) (map[string]report, string, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := parse(append([]string{"-data", digits, "-out", dir}, args...), io.Discard)
	require.NoError(t, err)
	s.change = change
	var out bytes.Buffer
	require.NoError(t, s.command(context.Background(), &out, io.Discard))
	text, err := os.ReadFile(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	var r struct{ Targets map[string]report }
	require.NoError(t, json.Unmarshal(text, &r))
	return r.Targets, dir, out.String()
}

// What the command promises: every target beats its baselines, by a judge that no loss has seen, the optimum stands with more
// evaluations, and the gradient is that of the sampler. Half of the iterations are enough to tell, but for edits.
func TestTargetsBeatTheirBaselines(t *testing.T) {
	if testing.Short() {
		t.Skip("the whole command; run without -short")
	}
	targets, dir, out := changed(t, func(s *subject) {
		for _, n := range []*int{&s.concept.runs, &s.bold.runs, &s.bold.last, &s.audit.runs} {
			*n /= 2
		}
	})
	require.Len(t, targets, 4)
	for name, r := range targets {
		require.NotEmpty(t, r.Baseline, name)
		for baseline, score := range r.Baseline {
			require.Greater(t, r.Score, score, "%s against %s\n%s", name, baseline, out)
		}
		require.Less(t, r.LossAfter, r.LossBefore, name)
		require.Equal(t, "improved", r.Verdict, name)
		if r.LossAfter > 0 { // that of an audit has no least value
			require.LessOrEqual(t, r.Replayed, 1.5*r.LossAfter, name)
		}
		// A float32 difference quotient at its best step agrees to a few 1e-4.
		require.Less(t, r.Certificate, 1e-3, name)
		require.Greater(t, r.Certificate, 0.0, name)
		require.Greater(t, r.Judge, 0.85, name)
		if name == "latent" || name == "weights" { // pictures of one kind are less diverse than their class
			require.Greater(t, r.Diversity, 0.7, name)
		}
		require.Positive(t, r.NFE)
		require.Positive(t, r.VJP)
		require.Positive(t, r.PeakBytes)
	}
	require.Greater(t, targets["condition"].Extra["spread_ratio"], 0.6)
	require.Greater(t, targets["condition"].Score, 1.3*targets["condition"].Baseline["textual inversion"])

	requirePicture(t, dir)
	requireArtifacts(t, dir, digits)
}

const garments = "../../testdata/fashion"

// Garments take the same way; a short one here.
func TestGarmentsInShort(t *testing.T) {
	if testing.Short() {
		t.Skip("gradients of a network of 1.9 million weights; run without -short")
	}
	targets, dir, out := inShort(t, "-data", garments, "-target", "audit", "-effort", "0.2")
	require.Len(t, targets, 1, out)
	for name, r := range targets {
		require.Less(t, r.LossAfter, r.LossBefore, name)
		require.Less(t, r.Certificate, 1e-3, name) // as above
	}
	requirePicture(t, dir)
}

// What each target is worth on garments, with EBB_LONG_GARMENTS set. The shares are of 24 to 200 samples by the judge.
func TestGarments(t *testing.T) {
	if os.Getenv("EBB_LONG_GARMENTS") == "" {
		t.Skip("takes minutes; EBB_LONG_GARMENTS=1 runs it")
	}
	targets, dir, out := customized(t, "-data", garments)
	t.Log(out)
	require.Len(t, targets, 4)
	for name, r := range targets {
		for baseline, score := range r.Baseline {
			require.Greater(t, r.Score, score, "%s against %s", name, baseline)
		}
		require.Equal(t, "improved", r.Verdict, name)
		require.Less(t, r.Certificate, 1e-3, name) // as above
	}
	latent := targets["latent"]
	require.GreaterOrEqual(t, latent.Score, 0.85)
	require.LessOrEqual(t, latent.ChangeRMS, latent.Extra["label_swap_rms"])

	concept := targets["condition"]
	require.GreaterOrEqual(t, concept.Score, 0.70)
	require.GreaterOrEqual(t, concept.Score, 1.5*concept.Baseline["textual inversion"])
	for _, other := range []string{"class_vector", "textual_inversion"} {
		require.LessOrEqual(t, concept.Extra["distance"], 0.6*concept.Extra["distance_"+other], other)
	}
	require.GreaterOrEqual(t, concept.Extra["spread_ratio"], 0.9)

	bolder := targets["weights"]
	require.GreaterOrEqual(t, bolder.Extra["way"], 0.6)
	require.GreaterOrEqual(t, bolder.Judge, bolder.Extra["judge_before"]-0.02)
	require.LessOrEqual(t, bolder.Extra["distance_to_bold"], 0.85*bolder.Extra["distance_to_bold_before"])
	require.Less(t, bolder.Extra["distance_to_bold"], bolder.Extra["distance_to_bold_last_step_only"])

	audit := targets["audit"]
	require.GreaterOrEqual(t, audit.Score, 0.5)
	require.GreaterOrEqual(t, audit.Score, 1.4*audit.Baseline["one-step gradient"])
	require.LessOrEqual(t, audit.Baseline["random corner"], 0.05)
	requirePicture(t, dir)
	requireArtifacts(t, dir, garments)
}

func requirePicture(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "customize.png"))
	require.NoError(t, err)
	defer f.Close()
	picture, err := png.Decode(f)
	require.NoError(t, err)
	require.Greater(t, picture.Bounds().Dx(), 800)
}

func requireArtifacts(t *testing.T, dir, data string) {
	t.Helper()
	m, _, _, err := models.Load[float32](filepath.Join(data, "flow.safetensors"))
	require.NoError(t, err)
	for name, has := range map[string]func(a models.Artifact[float32]) bool{
		"audit":     func(a models.Artifact[float32]) bool { return len(a.Latent) > 0 },
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
	targets, _, _ := inShort(t, "-dtype", "float64", "-effort", "0.05")
	for name, r := range targets {
		require.Less(t, r.Certificate, 1e-8, name)
		require.Less(t, r.CertificateKnots, 1e-6, name)
		require.Greater(t, r.CertificateKnots, 0.0, name)
	}
}

func TestTargetsAndSeedsAreChosen(t *testing.T) {
	one, _, _ := inShort(t, "-target", "latent", "-effort", "0.05")
	require.Len(t, one, 1)
	two, _, _ := inShort(t, "-target", "latent,condition", "-effort", "0.05")
	require.Len(t, two, 2)
	a, b := one["latent"], two["latent"]
	a.Seconds, b.Seconds = 0, 0
	require.Equal(t, a, b)
	other, _, _ := inShort(t, "-target", "condition", "-effort", "0.05", "-seed", "3")
	require.NotEqual(t, two["condition"].LossAfter, other["condition"].LossAfter)
}

// Pictures of one's own are fitted, told from their classes by their folders or by the critic, edited and learned.
func TestPicturesOfOnesOwn(t *testing.T) {
	all, err := data.Digits(filepath.Join(digits, digitsFile))
	require.NoError(t, err)
	flat, named := t.TempDir(), t.TempDir()
	for n, i := range ofClass(all, 3)[:6] {
		big := image.NewGray(image.Rect(0, 0, 40, 40)) // ink dark on light, as on paper
		for y := range 40 {
			for x := range 40 {
				big.SetGray(x, y, color.Gray{Y: uint8(127.5 - 127.5*all.Image(i)[y/5*8+x/5])})
			}
		}
		for _, dir := range []string{flat, filepath.Join(named, "3")} {
			require.NoError(t, os.MkdirAll(dir, 0o777))
			f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.png", n)))
			require.NoError(t, err)
			require.NoError(t, png.Encode(f, big))
			require.NoError(t, f.Close())
		}
	}
	edits := map[string]report{}
	for name, args := range map[string][]string{"flat": {"-images", flat}, "named": {"-images", named}, "to 9": {"-images", flat, "-to", "9"}} {
		targets, _, out := inShort(t, append(args, "-effort", "0.1")...)
		require.Contains(t, out, "6 pictures of 40×40 read as grey, scaled to 8×8, light and dark exchanged")
		require.Len(t, targets, 2)
		require.Contains(t, targets, "condition")
		edits[name] = targets["latent"]
	}
	require.Equal(t, edits["flat"].LossAfter, edits["named"].LossAfter, "the critic sees what the folder says")
	require.NotEqual(t, edits["flat"].LossAfter, edits["to 9"].LossAfter)

	require.NoError(t, os.Rename(filepath.Join(named, "3"), filepath.Join(named, "three")))
	for want, args := range map[string][]string{
		`subfolder "three" is no class of the digits; they are 0, 1, 2`: {"-images", named},
		`-to "cat" is no class of the digits`:                           {"-images", flat, "-to", "cat"},
		"-images has no effect on -target weights":                      {"-images", flat, "-target", "weights"},
		"-to 3 has an effect with -images only":                         {"-to", "3"},
		"no file named *.png":                                           {"-images", t.TempDir()},
	} {
		err := command(context.Background(), append([]string{"-data", digits, "-out", t.TempDir()}, args...), io.Discard, io.Discard)
		require.ErrorContains(t, err, want)
	}
}

// Without what keeps them honest the weights ruin the samples while the loss falls.
func TestHacked(t *testing.T) {
	targets, _, out := customized(t, "-target", "hacked", "-effort", "0.4")
	r := targets["hacked"]
	require.Less(t, r.LossAfter, 0.9*r.LossBefore, out)
	require.Greater(t, r.Score, 1.2*r.Baseline["untouched"])
	require.Less(t, r.Judge, r.Extra["judge_before"])
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
		{[]string{"-data", t.TempDir(), "-out", t.TempDir()}, "neither digits.csv.gz nor references.safetensors"},
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

func TestHoldBringsBackAlongTheLine(t *testing.T) {
	center := []float64{1, 2, 3}
	v := []float64{1, 5, 7}
	hold(v, center, 5)
	require.Equal(t, []float64{1, 5, 7}, v, "near enough")
	hold(v, center, 2.5)
	require.InDeltaSlice(t, []float64{1, 3.5, 5}, v, 1e-12)
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
