package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"image"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/models"
)

const digits = "../../testdata/digits/"

// small are flags of a run of a second.
func small(out string, more ...string) []string {
	return append([]string{"-data", digits + "digits.csv.gz", "-out", out, "-steps", "12", "-every", "5", "-batch", "8", "-width", "8", "-depth", "1", "-heads", "2"}, more...)
}

func content(t *testing.T, dir, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return string(b)
}

func TestFlow(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), small(dir, "-dtype", "f16"), &out))
	for _, want := range []string{"1797 images of 8×8, 1 channels, 10 classes: 1437 to train on, 360 held out", "step 12 of 12", modelFile} {
		require.Contains(t, out.String(), want)
	}
	m, _, metadata, err := models.Load[float32](filepath.Join(dir, modelFile))
	require.NoError(t, err)
	require.IsType(t, &models.DiT{}, m)
	require.Equal(t, "12 steps of 8 images, rate 0.001, seed 1", metadata["trained"])
	require.Equal(t, 12, strings.Count(content(t, dir, curveFile), "\n"))
	for _, name := range []string{"loss.png", "samples.png"} {
		img, err := png.Decode(strings.NewReader(content(t, dir, name)))
		require.NoError(t, err)
		require.Greater(t, img.Bounds().Dx(), 300)
	}
	err = run(context.Background(), small(dir), io.Discard)
	require.ErrorContains(t, err, "-resume goes on with it, another -out begins anew")
}

// stopper cancels at the first report.
type stopper struct {
	io.Writer
	stop func()
}

func (s stopper) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("step ")) {
		s.stop()
	}
	return s.Writer.Write(p)
}

// An interrupted run says how to go on, and then ends with the same files.
func TestInterruptAndResume(t *testing.T) {
	whole, torn := t.TempDir(), t.TempDir()
	require.NoError(t, run(context.Background(), small(whole), io.Discard))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err := run(ctx, small(torn), stopper{io.Discard, cancel})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "stopped after 1 of 12 steps")
	require.NoFileExists(t, filepath.Join(torn, modelFile))

	require.ErrorContains(t, run(context.Background(), small(torn, "-resume", "-seed", "2"), io.Discard), `seed is "1" there and "2" here`)
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), small(torn, "-resume"), &out))
	require.Contains(t, out.String(), "going on after step 1")
	for _, name := range []string{modelFile, checkpointFile, curveFile, "loss.png", "samples.png"} {
		require.True(t, content(t, whole, name) == content(t, torn, name), name)
	}
}

// A child that is interrupted says how to go on, unless it cannot; if it was resumed it is not told so twice, and a folder of that name
// is not the flag.
func TestWhatAnInterruptSays(t *testing.T) {
	if os.Getenv("EBB_TRAIN") != "" {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		command.Main("train", "", func(context.Context) error { return run(ctx, strings.Fields(os.Getenv("EBB_TRAIN")), io.Discard) })
		return
	}
	files := fashionFiles(t, 8, 12, 4)
	dir := t.TempDir()
	for _, more := range []string{"", " --resume"} {
		child := exec.Command(os.Args[0], "-test.run=^TestWhatAnInterruptSays$")
		child.Dir = dir
		child.Env = append(os.Environ(), "EBB_TRAIN=-data "+files+" -width 8 -depth 1 -out resume"+more)
		said, err := child.CombinedOutput()
		require.Equal(t, 130, child.ProcessState.ExitCode(), "%v: %s", err, said)
		require.Contains(t, string(said), "train: interrupted; go on with\n\n\t")
		require.Contains(t, string(said), " -data "+files+" -width 8 -depth 1 -out resume -", "the arguments")
		require.Equal(t, 1, strings.Count(string(said), "-resume"), "%s", said)
	}
}

func TestClassifiers(t *testing.T) {
	sizes := map[string]int{}
	for _, half := range []string{"a", "b"} {
		dir := t.TempDir()
		var out bytes.Buffer
		require.NoError(t, run(context.Background(), []string{"-data", digits + "digits.csv.gz", "-out", dir, "-steps", "150", "-batch", "32", "-classifier", half}, &out))
		require.Contains(t, out.String(), "of 360 held-out images")
		require.Contains(t, out.String(), map[string]string{"a": ": 719 to train on", "b": ": 718 to train on"}[half])
		m, w, _, err := models.Load[float32](filepath.Join(dir, modelFile))
		require.NoError(t, err)
		set, err := load(options{data: digits + "digits.csv.gz"}, io.Discard)
		require.NoError(t, err)
		share, err := accuracy(m, w, set.held)
		require.NoError(t, err)
		require.Greater(t, share, 0.8)
		sizes[half] = w.Len()
		require.NoFileExists(t, filepath.Join(dir, "samples.png"))
	}
	require.NotEqual(t, sizes["a"], sizes["b"])
}

// Pictures of one's own, in colour and without classes, are enough.
func TestFolderOfPictures(t *testing.T) {
	pictures, dir := t.TempDir(), t.TempDir()
	for i := range 12 {
		img := image.NewNRGBA(image.Rect(0, 0, 6, 4))
		for k := range img.Pix {
			img.Pix[k] = uint8(k*i*7) | 1
			if k%4 == 3 {
				img.Pix[k] = 255
			}
		}
		f, err := os.Create(filepath.Join(pictures, string(rune('a'+i))+".png"))
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, img))
		require.NoError(t, f.Close())
	}
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), []string{"-data", pictures, "-out", dir, "-steps", "3", "-width", "8", "-depth", "1"}, &out))
	require.Contains(t, out.String(), "12 images of 4×6, 3 channels")
	m, _, _, err := models.Load[float32](filepath.Join(dir, modelFile))
	require.NoError(t, err)
	_, conditional := m.Spec().Input(graph.Condition)
	require.False(t, conditional)
	require.FileExists(t, filepath.Join(dir, "samples.png"))
}

func TestErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file.csv")
	require.NoError(t, os.WriteFile(file, []byte("1,2,3\n"), 0o666))
	idx := fashionFiles(t, 8, 12, 4)
	plain := []string{"-data", filepath.Join(idx, "train-images-idx3-ubyte"), "-out", dir, "-steps", "2"}
	folder := t.TempDir()
	rows := []struct {
		want string
		args []string
	}{
		{"-size has no effect on the UCI digits", small(dir, "-size", "9x9")},
		{"-size has no effect on the UCI digits", small(dir, "-size", "8x8")},
		{"-white has no effect on the UCI digits", small(dir, "-white", "16")},
		{"-held has no effect on the UCI digits", small(dir, "-held", "99999")},
		{"-size has no effect on an IDX file", append(plain, "-size", "8x8")},
		{"-white has no effect on an IDX file", append(plain, "-white", "5")},
		{"-held is 12 of 12 images", append(plain, "-held", "12")},
		{"-white has no effect on PNG files", []string{"-data", folder, "-out", dir, "-white", "5"}},
		{folder + " has no PNG files, nor is it a folder of four IDX files", []string{"-data", folder, "-out", dir}},
		{"which .ci/fashion DIR fetches on Debian", []string{"-data", "../../testdata/fashion", "-out", dir}},
		{"-dropout has no effect on images without labels", append(plain, "-dropout", "0.1")},
		{"-share has no effect without -shift", small(dir, "-share", "0.5")},
		{"-dropout has no effect on a classifier", small(dir, "-classifier", "a", "-dropout", "0.1")},
		{"-heads has no effect on a classifier", small(dir, "-classifier", "a")},
		{"-features has no effect on a classifier", append(plain, "-classifier", "a", "-features", "8")},
		{"flow.safetensors is a DiT; a classifier is needed", small(dir, "-judge", digits+"flow.safetensors")},
		{"is of images of [1 28 28] (channels, height, width), those of -data are [1 8 8]", small(dir, "-judge", "../../testdata/fashion/classifier-b.safetensors")},
		{"tells 10 classes, those of -data are 2", []string{"-data", idx, "-out", dir, "-steps", "2", "-judge", digits + "classifier-b.safetensors"}},
		{"-judge compares samples with held-out images, and there are 1", append(plain, "-labels", filepath.Join(idx, "train-labels-idx1-ubyte"), "-held", "1", "-judge", digits+"classifier-b.safetensors")},
		{"-judge needs images with labels", append(plain, "-judge", digits+"classifier-b.safetensors")},
		{"-data is missing", []string{"-out", dir}},
		{"-out is missing", []string{"-data", file}},
		{"flag provided but not defined: -size8", []string{"-size8"}},
		{`invalid value "x" for flag -steps`, []string{"-steps", "x"}},
		{`"more" is not a flag`, []string{"more"}},
		{"-data: stat /no/such", []string{"-data", "/no/such", "-out", dir}},
		{"-size is missing", []string{"-data", file, "-out", dir}},
		{`-size is "8"`, []string{"-data", file, "-out", dir, "-size", "8"}},
		{`-size is "8x8x"`, []string{"-data", file, "-out", dir, "-size", "8x8x"}},
		{"data: " + file, []string{"-data", file, "-out", dir, "-size", "2x2"}},
		{"-labels is for IDX files", []string{"-data", file, "-out", dir, "-size", "1x2", "-labels", file}},
		{"no.safetensors", small(dir, "-judge", filepath.Join(dir, "no.safetensors"))},
		{"-judge has no effect on a classifier", small(dir, "-judge", "x", "-classifier", "a")},
		{"-resume: " + dir + " has no checkpoint.safetensors", small(dir, "-resume")},
		{`-classifier is "c"`, small(dir, "-classifier", "c")},
		{`-dtype is "f8"`, small(dir, "-dtype", "f8")},
		{"-steps is 0", small(dir, "-steps", "0")},
		{"-batch is 0", small(dir, "-batch", "0")},
		{"-every is 0", small(dir, "-every", "0")},
		{"-held is -1", small(dir, "-held", "-1")},
		{"-white is 0", small(dir, "-white", "0")},
		{"-shift is -1", small(dir, "-shift", "-1")},
		{"-width is -1", small(dir, "-width", "-1")},
		{"-depth is -1", small(dir, "-depth", "-1")},
		{"-heads is 0", small(dir, "-heads", "0")},
		{"-patch is -1", small(dir, "-patch", "-1")},
		{"-features is -1", small(dir, "-features", "-1")},
		{"-rate is NaN", small(dir, "-rate", "NaN")},
		{"-decay is -1", small(dir, "-decay", "-1")},
		{"-average is 1", small(dir, "-average", "1")},
		{"-dropout is 2", small(dir, "-dropout", "2")},
		{"-share is -1", small(dir, "-share", "-1")},
		{"-noise is +Inf", small(dir, "-noise", "+Inf")},
		{"-steps is -1; it must be at least 1\n-batch is -2", small(dir, "-steps", "-1", "-batch", "-2")},
		{"Patch is 3, which does not divide", small(dir, "-patch", "3")},
		{"not a multiple of Heads", small(dir, "-heads", "3")},
		{"Shift is 8", small(dir, "-shift", "8")},
		{file, small(file)},
	}
	if runtime.GOOS == "linux" {
		rows = append(rows, struct {
			want string
			args []string
		}{"no checkpoint can be written to /proc/checkpoint.safetensors", small("/proc")}) // where even root makes no file
	}
	for _, row := range rows {
		require.ErrorContains(t, run(context.Background(), row.args, io.Discard), row.want)
	}
	for _, args := range [][]string{{"-size8"}, {"more"}, {"-steps", "0"}, small(dir, "-held", "3"), append(plain, "-held", "12"), {"-data", file, "-out", dir}} {
		require.ErrorAs(t, run(context.Background(), args, io.Discard), new(command.UsageError), args)
	}
	for _, args := range [][]string{small(dir, "-resume"), {"-data", "/no/such", "-out", dir}} {
		require.False(t, errors.As(run(context.Background(), args, io.Discard), new(command.UsageError)), args)
	}
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "nothing is written by a run that cannot begin")

	var out bytes.Buffer
	require.True(t, errors.Is(run(context.Background(), []string{"-help"}, &out), flag.ErrHelp))
	require.Contains(t, out.String(), "-classifier")
	require.Contains(t, out.String(), "or "+command.Fashion)
}

// fashionFiles writes a folder as MNIST comes in: noisy images, brighter at the top in class 1.
func fashionFiles(t *testing.T, side, train, test int) string {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, n int) {
		images := append([]byte{0, 0, 8, 3, 0, 0, 0, byte(n), 0, 0, 0, byte(side), 0, 0, 0, byte(side)}, make([]byte, n*side*side)...)
		labels := append([]byte{0, 0, 8, 1, 0, 0, 0, byte(n)}, make([]byte, n)...)
		for i := range n {
			labels[8+i] = byte(i % 2)
			for j := range side * side {
				images[16+i*side*side+j] = byte((i*7+j*13)%64 + 150*(i%2)*(1-2*j/(side*side)))
			}
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+"-images-idx3-ubyte"), images, 0o666))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+"-labels-idx1-ubyte"), labels, 0o666))
	}
	write("train", train)
	write("t10k", test)
	return dir
}

// A folder of IDX files has its test images held out; images of its size get larger patches and judges of convolutions.
func TestFolderOfIDXFiles(t *testing.T) {
	files, dir, judge := fashionFiles(t, 20, 48, 10), t.TempDir(), t.TempDir()
	var out bytes.Buffer
	require.NoError(t, run(context.Background(), []string{"-data", files, "-out", dir, "-steps", "2", "-batch", "4", "-width", "8", "-depth", "1"}, &out))
	require.Contains(t, out.String(), "48 images of 20×20, 1 channels, 2 classes: 48 to train on, 10 held out")
	m, _, _, err := models.Load[float32](filepath.Join(dir, modelFile))
	require.NoError(t, err)
	c := m.(*models.DiT).Config()
	require.Equal(t, []int{4, 8, 1, 256}, []int{c.Patch, c.Hidden, c.Depth, c.TimeFeatures})

	out.Reset()
	require.NoError(t, run(context.Background(), []string{"-data", files, "-out", judge, "-steps", "20", "-batch", "8", "-classifier", "b", "-flip"}, &out))
	require.Contains(t, out.String(), "24 to train on, 10 held out")
	require.Contains(t, out.String(), "right on 100.0 % of 10 held-out images")
	m, _, _, err = models.Load[float32](filepath.Join(judge, modelFile))
	require.NoError(t, err)
	require.IsType(t, &models.ConvNet{}, m)

	bad := func(want string, args ...string) {
		t.Helper()
		require.ErrorContains(t, run(context.Background(), append([]string{"-data", files, "-out", t.TempDir(), "-steps", "2"}, args...), io.Discard), want)
	}
	for _, name := range []string{"held", "white"} {
		bad("-"+name+" has no effect on a folder of IDX files", "-"+name, "3")
	}
	bad("-size has no effect on a folder of IDX files", "-size", "20x20")
	for _, name := range []string{"depth", "patch"} {
		bad("-"+name+" has no effect on the classifier of images of 20×20", "-classifier", "a", "-"+name, "2")
	}
	bad("not a safetensors file", "-judge", filepath.Join(judge, curveFile))
	bad("is of images of [1 8 8] (channels, height, width), those of -data are [1 20 20]", "-judge", digits+"classifier-b.safetensors")
	require.NoError(t, os.Remove(filepath.Join(files, "t10k-images-idx3-ubyte")))
	bad("t10k-images-idx3-ubyte[.gz] is missing; a folder of IDX files has")
}
