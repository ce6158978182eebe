package main

import (
	"context"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/data"
)

func shipped(t *testing.T, name string) (graph.Model, *graph.Weights[float32]) {
	t.Helper()
	m, w, _, err := models.Load[float32](digits + name + ".safetensors")
	require.NoError(t, err)
	return m, w
}

// The flow that comes with the library samples digits: a judge that it never met sees the class asked for, the samples are
// not told from held-out images, and they are no copies of the training images.
func TestShippedFlow(t *testing.T) {
	if testing.Short() {
		t.Skip("1000 samples")
	}
	set, err := load(options{data: digits + "digits.csv.gz"}, io.Discard)
	require.NoError(t, err)
	m, w := shipped(t, "flow")
	judge, err := openJudge(digits+"classifier-b.safetensors", set)
	require.NoError(t, err)
	r, err := assess(context.Background(), m, w, judge, set, 1000, 1)
	require.NoError(t, err)
	t.Log(r)
	require.GreaterOrEqual(t, r.agreement.Overall, 0.94)
	require.GreaterOrEqual(t, r.agreement.PerClass[r.agreement.Worst], 0.8)
	require.Greater(t, r.p, 0.01)
	require.GreaterOrEqual(t, r.nearest, 0.9*r.real)
	require.InDelta(t, 1, r.diversity, 0.1)
}

func TestShippedClassifiers(t *testing.T) {
	set, err := load(options{data: digits + "digits.csv.gz"}, io.Discard)
	require.NoError(t, err)
	for _, name := range []string{"classifier-a", "classifier-b"} {
		m, w := shipped(t, name)
		share, err := accuracy(m, w, set.held)
		require.NoError(t, err)
		t.Logf("%s: %.1f %%", name, 100*share)
		require.GreaterOrEqual(t, share, 0.97)
	}
}

// The exact ∂u/∂t of the shipped flow points where u goes over ±0.01: what knots, time warps and solvers of high order rest
// on. Sinusoids of too high a frequency would spoil it and nothing else.
func TestShippedFlowsAreSmoothInTime(t *testing.T) {
	t.Run("digits", func(t *testing.T) {
		set, err := load(options{data: digits + "digits.csv.gz"}, io.Discard)
		require.NoError(t, err)
		m, w := shipped(t, "flow")
		smoothInTime(t, m, w, set.held, 64)
	})
	t.Run("garments", func(t *testing.T) {
		const dir = "../../testdata/fashion/"
		held, err := data.IDXFiles(dir+"test-images-idx3-ubyte.gz", dir+"test-labels-idx1-ubyte.gz")
		require.NoError(t, err)
		m, w, _, err := models.Load[float32](dir + "flow.safetensors")
		require.NoError(t, err)
		smoothInTime(t, m, w, held, 16)
	})
}

func smoothInTime(t *testing.T, m graph.Model, w32 *graph.Weights[float32], held *data.Images, n int) {
	t.Helper()
	w, size := graph.ConvertWeights[float64](w32), held.Size()
	condition, err := models.Lookup(w, held.Labels[:n])
	require.NoError(t, err)
	cell, err := graph.NewCell(m, w)
	require.NoError(t, err)
	defer cell.Close()
	f, err := graph.NewField(cell, condition)
	require.NoError(t, err)
	ones := make([]float64, n)
	for i := range ones {
		ones[i] = 1
	}
	for _, at := range []float64{0.1, 0.3, 0.5, 0.7, 0.9} {
		x := make([]float64, n*size)
		rng.Normal(x, 1, 1, 1)
		for i := range x {
			x[i] = at*x[i] + (1-at)*float64(held.Pixels[i])
		}
		u := func(t64 float64) []float64 {
			y := make([]float64, len(x))
			require.NoError(t, f.Eval(y, x, ode.Call[float64]{Batch: n, T: []float64{t64}}))
			return y
		}
		exact := make([]float64, len(x))
		require.NoError(t, f.JVP(exact, x, ode.Call[float64]{Batch: n, T: []float64{at}}, &ode.Tangent[float64]{T: ones}))
		up, down := u(at+0.01), u(at-0.01)
		var ab, aa, bb float64
		for i, a := range exact {
			b := (up[i] - down[i]) / 0.02
			ab, aa, bb = ab+a*b, aa+a*a, bb+b*b
		}
		cosine := ab / math.Sqrt(aa*bb)
		t.Logf("t = %v: %.4f", at, cosine)
		require.GreaterOrEqual(t, cosine, 0.98)
	}
}

// The recipe of the flow that ships, 700 steps of it: a minute or two on the 60 000 images themselves.
func TestFashionRecipe(t *testing.T) {
	files := os.Getenv("EBB_FASHION")
	if files == "" || testing.Short() {
		t.Skip("EBB_FASHION is not the folder of Fashion-MNIST; .ci/fashion fetches it and prints its name")
	}
	dir := t.TempDir()
	require.NoError(t, run(context.Background(), []string{"-data", files, "-out", dir, "-steps", "700", "-every", "700", "-rate", "3e-3"}, io.Discard))
	lines := strings.Fields(content(t, dir, curveFile))
	require.Len(t, lines, 700)
	mean := 0.0
	for _, line := range lines[600:] {
		_, loss, _ := strings.Cut(line, ",")
		v, err := strconv.ParseFloat(loss, 64)
		require.NoError(t, err)
		mean += v / 100
	}
	t.Logf("loss of the last 100 steps: %.4f", mean)
	require.LessOrEqual(t, mean, 0.31)
}
