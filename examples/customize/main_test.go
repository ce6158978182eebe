package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/command"
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
	return changed(t, fewSamples, args...)
}

func fewSamples(s *subject) {
	s.edit.each = 1
	s.concept.batch, s.concept.test = 8, 20
	s.bold.batch, s.bold.test = 10, 20
	s.audit.samples = 5
}

func changed(t *testing.T, change func(*subject), args ...string) (map[string]report, string, string) {
	t.Helper()
	dir := t.TempDir()
	s, err := parse(append([]string{"-data", digits, "-out", dir}, args...), io.Discard)
	require.NoError(t, err)
	s.change = change
	var out bytes.Buffer
	require.NoError(t, s.run(context.Background(), &out, io.Discard))
	return readReport(t, dir), dir, out.String()
}

func readReport(t *testing.T, dir string) map[string]report {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, reportFile))
	require.NoError(t, err)
	var r struct{ Targets map[string]report }
	require.NoError(t, json.Unmarshal(text, &r))
	return r.Targets
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
	var dry bytes.Buffer
	require.NoError(t, run(context.Background(), []string{"-data", garments, "-dry-run"}, &dry, io.Discard))
	t.Log(dry.String())
	targets, dir, out := customized(t, "-data", garments)
	t.Log(out)
	require.Len(t, targets, 4)
	for name, r := range targets {
		var predicted float64
		_, line, _ := strings.Cut(dry.String(), fmt.Sprintf("%-10s about ", name))
		_, err := fmt.Sscan(line, &predicted)
		require.NoError(t, err)
		require.InDelta(t, 0, math.Log(r.Seconds/predicted), math.Log(1.5), "%s: %.0f s predicted, %.0f s taken", name, predicted, r.Seconds)
	}
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
		"audit":     func(a models.Artifact[float32]) bool { return len(a.Latent) > 0 && len(a.Condition) > 0 },
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

// pictures is a folder of threes of 40×40, drawn as on paper.
func pictures(t *testing.T, n int) string {
	t.Helper()
	all, err := data.Digits(filepath.Join(digits, digitsFile))
	require.NoError(t, err)
	dir := t.TempDir()
	for n, i := range ofClass(all, 3)[:n] {
		big := image.NewGray(image.Rect(0, 0, 40, 40)) // ink dark on light
		for y := range 40 {
			for x := range 40 {
				big.SetGray(x, y, color.Gray{Y: uint8(127.5 - 127.5*all.Image(i)[y/5*8+x/5])})
			}
		}
		f, err := os.Create(filepath.Join(dir, fmt.Sprintf("%d.png", n)))
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, big))
		require.NoError(t, f.Close())
	}
	return dir
}

// Fewer pictures than a concept is learned from are edited; one has no diversity.
func TestFewPictures(t *testing.T) {
	for n := 1; n < fewest; n++ {
		dir := pictures(t, n)
		targets, out, text := inShort(t, "-images", dir, "-effort", "0.05")
		require.Len(t, targets, 1)
		require.Contains(t, targets, "latent")
		require.Contains(t, text, "condition is left out: a concept is learned from at least 4 pictures")
		require.Equal(t, n > 1, targets["latent"].Diversity > 0)
		requirePicture(t, out)

		var dry bytes.Buffer
		require.NoError(t, run(context.Background(), []string{"-data", digits, "-images", dir, "-dry-run"}, &dry, io.Discard))
		require.Contains(t, dry.String(), "condition is left out")
		require.Contains(t, dry.String(), fmt.Sprintf("(8 evaluations inside, batch %d)", n))
		require.NotContains(t, dry.String(), "condition  about")

		for _, args := range [][]string{{"-target", "condition"}, {"-target", "latent,condition"}, {"-target", "condition", "-dry-run"}} {
			out := filepath.Join(t.TempDir(), "out")
			err := run(context.Background(), append([]string{"-data", digits, "-images", dir, "-out", out}, args...), io.Discard, io.Discard)
			require.ErrorContains(t, err, "a concept is learned from at least 4")
			require.ErrorAs(t, err, new(command.UsageError))
		}
	}
}

// Pictures of one's own are fitted, told from their classes by their folders or by the critic, edited and learned.
func TestPicturesOfOnesOwn(t *testing.T) {
	flat, named := pictures(t, 6), t.TempDir()
	require.NoError(t, os.CopyFS(filepath.Join(named, "3"), os.DirFS(flat)))
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
		err := run(context.Background(), append([]string{"-data", digits, "-out", t.TempDir()}, args...), io.Discard, io.Discard)
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

// What a prediction is made of: the gradients that a target takes, as its report counts them, those of its baselines, and as
// many pictures as there are.
func TestCosts(t *testing.T) {
	const effort = 0.2
	targets, _, _ := inShort(t, "-target", "latent,condition,weights,audit,hacked", "-effort", fmt.Sprint(effort))
	st, err := open[float32](digits, 1, io.Discard)
	require.NoError(t, err)
	defer st.Close()
	st.quick = effort
	fewSamples(st.subject)
	extra := map[string]map[string]int{
		"latent":    {"baseline: pixels": 12},
		"condition": {"baseline: textual inversion": targets["condition"].VJP},
		"weights":   {"baseline: last step only": 20, "baseline: steps before the last": 20 * 10},
		"audit":     {"baseline: one-step gradient": 6},
	}
	for _, target := range known { // in this order, for networks keep the room that they once took
		baselines := extra[target]
		main, costs, err := st.costs(target)
		require.NoError(t, err)
		for _, c := range costs {
			switch {
			case c.name == "gradients":
				require.Equal(t, targets[target].VJP, c.times*main.plan.NFE(), target)
			case strings.HasPrefix(c.name, "baseline"):
				require.Equal(t, baselines[c.name], c.times, "%s, %s", target, c.name)
				delete(baselines, c.name)
			}
			require.NoError(t, c.work(context.Background()), "%s, %s", target, c.name)
		}
		require.Empty(t, baselines, target)
		require.Positive(t, targets[target].PeakBytes)
		require.NoError(t, main.gradient(context.Background()))
		require.InEpsilon(t, targets[target].PeakBytes, main.bytes, 0.2, target) // the loss is a simpler one
	}
	for _, n := range []int{5, 9} {
		_, err := st.own(pictures(t, n))
		require.NoError(t, err)
		main, _, err := st.costs("latent")
		require.NoError(t, err)
		require.Len(t, main.x, n*st.dim)
	}
}

func TestDryRun(t *testing.T) {
	var out bytes.Buffer
	dir := filepath.Join(t.TempDir(), "none")
	require.NoError(t, run(context.Background(), []string{"-data", digits, "-out", dir, "-dry-run"}, &out, io.Discard))
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
		{[]string{"-target", "latent,audit,latent"}, "-target latent,audit,latent names latent twice"},
		{[]string{"latent"}, `unexpected argument "latent"`},
		{[]string{"-steps", "3"}, "flag provided but not defined: -steps"},
		{[]string{"-data", t.TempDir(), "-out", t.TempDir()}, "neither digits.csv.gz nor references.safetensors"},
		{[]string{"-data", digits, "-out", file}, "file"},
	} {
		require.ErrorContains(t, run(context.Background(), c.args, io.Discard, io.Discard), c.want)
	}
}

// A cancelled command says so and leaves nothing half-written.
func TestCancelled(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := run(ctx, []string{"-data", digits, "-out", dir}, io.Discard, io.Discard)
	require.True(t, errors.Is(err, context.Canceled), "%v", err)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}

// requireOnly looks for all that is written of one target, and nothing of others.
func requireOnly(t *testing.T, dir, target string) {
	t.Helper()
	targets := readReport(t, dir)
	require.Len(t, targets, 1)
	require.Contains(t, targets, target)
	requirePicture(t, dir)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 3, "%v", left)
	require.FileExists(t, filepath.Join(dir, target+".safetensors"))
}

// What is finished stays when a later target fails.
func TestFinishedTargetsAreKept(t *testing.T) {
	dir := t.TempDir()
	s, err := parse([]string{"-data", digits, "-out", dir, "-effort", "0.05", "-target", "audit,condition"}, io.Discard)
	require.NoError(t, err)
	s.change = func(s *subject) { fewSamples(s); s.concept.inside = 0 }
	var out bytes.Buffer
	err = s.run(context.Background(), &out, io.Discard)
	require.ErrorContains(t, err, "condition: ")
	require.Contains(t, out.String(), "wrote "+filepath.Join(dir, "audit.safetensors"))
	requireOnly(t, dir, "audit")
}

// The program itself, run by tests.
func TestMain(m *testing.M) {
	if os.Getenv("EBB_TEST_PROGRAM") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// program starts it.
func program(args ...string) (p *exec.Cmd, stderr *bytes.Buffer) {
	p = exec.Command(os.Args[0], args...)
	p.Env = append(os.Environ(), "EBB_TEST_PROGRAM=1")
	stderr = new(bytes.Buffer)
	p.Stderr = stderr
	return p, stderr
}

func TestExitCodes(t *testing.T) {
	for _, row := range []struct {
		args           []string
		code           int
		stdout, stderr string // how they begin
	}{
		{[]string{"-h"}, 0, "customize changes images and samples by exact gradients through a sampler.\n  -data string\n", ""},
		{[]string{"-target", "soul"}, 2, "", "customize: -target \"soul\": it is one of latent, condition, weights, audit, hacked, several with commas, or all\n-h lists the flags\n"},
		{[]string{"-seed", "x"}, 2, "", "customize: invalid value \"x\" for flag -seed: parse error\n-h lists the flags\n"},
		{[]string{"-data", "fashin", "-out", t.TempDir()}, 2, "", "customize: -data fashin holds neither"},
		{[]string{"-data", digits, "-images", "nowhere", "-out", t.TempDir()}, 1, "", "customize: data: open nowhere: no such file or directory\n"},
	} {
		p, stderr := program(row.args...)
		stdout, err := p.Output()
		require.Equal(t, row.code, p.ProcessState.ExitCode(), "%v: %v", row.args, err)
		require.True(t, strings.HasPrefix(string(stdout), row.stdout), "%s", stdout)
		require.True(t, strings.HasPrefix(stderr.String(), row.stderr), "%s", stderr)
		require.Equal(t, row.stderr == "", stderr.String() == "")
	}
}

// An interrupt says in one line what is finished and where, which stays.
func TestInterrupt(t *testing.T) {
	for _, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		dir := t.TempDir()
		p, stderr := program("-data", digits, "-out", dir, "-effort", "0.1", "-target", "latent,weights")
		stdout, err := p.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, p.Start())
		t.Cleanup(func() { p.Process.Kill() })
		text := ""
		for b := make([]byte, 1024); !strings.Contains(text, "go run ./examples/sample"); {
			n, err := stdout.Read(b)
			text += string(b[:n])
			require.NoError(t, err, "%s%s", text, stderr)
		}
		require.NoError(t, p.Process.Signal(signal))
		require.Error(t, p.Wait())
		require.Equal(t, 130, p.ProcessState.ExitCode(), "%s", stderr)
		require.NotContains(t, stderr.String(), "\r")
		lines := strings.Split(strings.TrimSuffix(stderr.String(), "\n"), "\n")
		require.Equal(t, "customize: interrupted; latent finished, in "+dir, lines[len(lines)-1])
		for _, line := range lines[:len(lines)-1] {
			require.Contains(t, line, ": iteration ")
		}
		requireOnly(t, dir, "latent")
	}
}

// What is printed is what a shell takes: from the top folder, every file is drawn by the command beside it.
func TestPrintedCommandsWork(t *testing.T) {
	if testing.Short() {
		t.Skip("builds examples/sample; run without -short")
	}
	from, err := filepath.Abs(digits)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "it's here")
	s, err := parse([]string{"-data", from, "-out", dir, "-effort", "0.05", "-target", "latent,condition,weights,audit,hacked"}, io.Discard)
	require.NoError(t, err)
	s.change = fewSamples
	var text bytes.Buffer
	require.NoError(t, s.run(context.Background(), &text, io.Discard))
	printed := regexp.MustCompile("(?m)^wrote (.*), to be drawn by\n  (go run ./examples/sample .*)$").FindAllStringSubmatch(text.String(), -1)
	require.Len(t, printed, 5, "%s", &text)
	for i, images := range []string{"8 images", "8 images", "80 images", "5 images", "80 images"} {
		require.FileExists(t, printed[i][1])
		sh := exec.Command("sh", "-c", printed[i][2]+" "+command.Line("-out", filepath.Join(dir, "sheet.png")))
		sh.Dir = filepath.Join("..", "..")
		out, err := sh.CombinedOutput()
		require.NoError(t, err, "%s\n%s", sh, out)
		require.Contains(t, string(out), ": "+images, "%s", sh)
	}
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
