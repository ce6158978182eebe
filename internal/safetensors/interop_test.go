package safetensors

import (
	"bytes"
	"encoding/json"
	"flag"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// interop holds files written by the Python package safetensors, a file written here, and what Python reads in both;
// its make.py made them.
var interop = filepath.Join("..", "..", "testdata", "interop")

var update = flag.Bool("update", false, "write testdata/interop/go.safetensors anew")

// pythonFile is what make.py says of a file; values are hexadecimal floats or decimal integers.
type pythonFile struct {
	Metadata map[string]string
	Tensors  map[string]struct {
		Dtype  Dtype
		Shape  []int
		Values []string
	}
}

func readPython(t *testing.T, path string) pythonFile {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var p pythonFile
	require.NoError(t, json.Unmarshal(text, &p))
	require.NotEmpty(t, p.Tensors)
	return p
}

// requireSame claims that Go reads in the file at path what Python says is there, as float64 and as float32.
func requireSame(t *testing.T, path string, want pythonFile) {
	t.Helper()
	f, err := Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	require.Equal(t, want.Metadata, f.Metadata())
	require.Len(t, f.Names(), len(want.Tensors))
	for name, w := range want.Tensors {
		info, ok := f.Info(name)
		require.True(t, ok, name)
		require.Equal(t, w.Dtype, info.Dtype, name)
		require.Equal(t, w.Shape, info.Shape, name)
		requireValues[float64](t, f, name, w.Dtype, w.Values)
		requireValues[float32](t, f, name, w.Dtype, w.Values)
	}
}

// requireValues claims that reading as T gives these values, or an error where T cannot hold one of them.
func requireValues[T float32 | float64](t *testing.T, f *File, name string, d Dtype, values []string) {
	t.Helper()
	got := make([]T, len(values))
	err := Read(f, name, got)
	if d.width() == 0 {
		require.ErrorContains(t, err, "cannot be read")
		return
	}
	want := make([]T, len(values))
	for i, text := range values {
		v, parseErr := strconv.ParseFloat(text, 64)
		require.NoError(t, parseErr)
		want[i] = T(v)
		inexact := d.rank() == 0 && strconv.FormatFloat(float64(want[i]), 'f', 0, 64) != text
		if overflow := math.IsInf(float64(want[i]), 0) && !math.IsInf(v, 0); inexact || overflow {
			require.ErrorContains(t, err, "element "+strconv.Itoa(i), "%s as %T", name, got)
			return
		}
	}
	require.NoError(t, err, "%s as %T", name, got)
	for i := range want {
		w, g := float64(want[i]), float64(got[i])
		if math.IsNaN(w) {
			require.True(t, math.IsNaN(g), "%s[%d]", name, i)
			continue
		}
		require.Equal(t, math.Float64bits(w), math.Float64bits(g), "%s[%d]: want %v, got %v", name, i, w, g)
	}
}

func TestInteropGoReadsWhatPythonWrote(t *testing.T) {
	for _, stem := range []string{"floats", "integers"} {
		requireSame(t, filepath.Join(interop, stem+".safetensors"), readPython(t, filepath.Join(interop, stem+".json")))
	}
}

// Reading a Python file and writing it again gives the same bytes: order, padding, escapes, NaN payloads and all.
func TestInteropGoWritesPythonsBytes(t *testing.T) {
	want, err := os.ReadFile(filepath.Join(interop, "floats.safetensors"))
	require.NoError(t, err)
	f := open(t, want)
	var tensors []Tensor
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		tensor := Tensor{Name: name, Dtype: info.Dtype, Shape: info.Shape}
		if info.Dtype == F64 {
			tensor.Float64 = make([]float64, info.Len())
			require.NoError(t, Read(f, name, tensor.Float64))
		} else {
			tensor.Float32 = make([]float32, info.Len())
			require.NoError(t, Read(f, name, tensor.Float32))
		}
		tensors = append(tensors, tensor)
	}
	require.Equal(t, want, encoded(t, f.Metadata(), tensors...))
}

// goTensors are values for every dtype from both types of slice. Where the dtype rounds, the values sit on, just above
// and just below ties.
func goTensors() (metadata map[string]string, tensors []Tensor) {
	inf, nan := math.Inf(1), math.NaN()
	doubles := []float64{0, math.Copysign(0, -1), 1, -math.Pi, 0.1, 1e-5, 1e-8, 1e-40, 1e-310, 1 + 0x1p-8, 1 + 0x1p-11, 1 + 0x1p-11 + 0x1p-40, 1 + 0x3p-11, 65504, 65519.99, inf, -inf, nan}
	singles := make([]float32, len(doubles))
	for i, v := range doubles {
		singles[i] = float32(v)
	}
	for _, d := range []Dtype{F64, F32, BF16, F16} {
		name := string(d)
		tensors = append(tensors,
			Tensor{Name: name + " from float64", Dtype: d, Shape: []int{2, 9}, Float64: doubles},
			Tensor{Name: name + " from float32", Dtype: d, Shape: []int{3, 1, 6}, Float32: singles},
			Tensor{Name: name + " scalar", Dtype: d, Float64: []float64{-0.3}},
			Tensor{Name: name + " empty", Dtype: d, Shape: []int{5, 0}},
			Tensor{Name: name + " ŵ∂/权重.\t\"🌊\"\u2028", Dtype: d, Shape: []int{1}, Float32: []float32{7}})
	}
	return map[string]string{"format": "go", "ключ": "<värde> & \"more\"\n", "": ""}, tensors
}

// narrowed is what a value becomes in a dtype, computed by scaling to integers and rounding those.
func narrowed(v float64, d Dtype) float64 {
	precision, least := 53, -1074
	switch d {
	case F32:
		precision, least = 24, -149
	case BF16:
		precision, least = 8, -133
	case F16:
		precision, least = 11, -24
	}
	if v == 0 || math.IsInf(v, 0) || math.IsNaN(v) {
		return v
	}
	_, exponent := math.Frexp(v)
	unit := max(exponent-precision, least)
	return math.Ldexp(math.RoundToEven(math.Ldexp(v, -unit)), unit)
}

// requireGoTensors claims that Python read what goTensors holds.
func requireGoTensors(t *testing.T, got pythonFile) {
	t.Helper()
	metadata, tensors := goTensors()
	require.Equal(t, metadata, got.Metadata)
	require.Len(t, got.Tensors, len(tensors))
	for _, w := range tensors {
		g, ok := got.Tensors[w.Name]
		require.True(t, ok, w.Name)
		require.Equal(t, w.Dtype, g.Dtype, w.Name)
		require.True(t, slices.Equal(w.Shape, g.Shape), w.Name)
		values := slices.Clone(w.Float64)
		for _, v := range w.Float32 {
			values = append(values, float64(v))
		}
		require.Len(t, g.Values, len(values), w.Name)
		for i, v := range values {
			read, err := strconv.ParseFloat(g.Values[i], 64)
			require.NoError(t, err)
			want := narrowed(v, w.Dtype)
			if math.IsNaN(want) {
				require.True(t, math.IsNaN(read), "%s[%d]", w.Name, i)
				continue
			}
			require.Equal(t, math.Float64bits(want), math.Float64bits(read), "%s[%d]: %v written, %v read, want %v", w.Name, i, v, read, want)
		}
	}
}

func TestInteropFrozenGoFile(t *testing.T) {
	metadata, tensors := goTensors()
	path := filepath.Join(interop, "go.safetensors")
	if *update {
		require.NoError(t, WriteFile(path, metadata, tensors))
	}
	frozen, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(frozen, encoded(t, metadata, tensors...)), "the bytes written have changed; if that is meant, see make.py")
	python := readPython(t, filepath.Join(interop, "go.json"))
	requireGoTensors(t, python)
	requireSame(t, path, python)
}

// With Python at hand, both directions are tried anew with the package as it is today.
func TestInteropLivePython(t *testing.T) {
	if out, err := exec.Command("python3", "-c", "import safetensors, numpy").CombinedOutput(); err != nil {
		t.Skipf("python3 cannot import safetensors and numpy, so only the frozen files were compared: %v %s", err, out)
	}
	folder := t.TempDir()
	python := func(args ...string) {
		out, err := exec.Command("python3", append([]string{filepath.Join(interop, "make.py")}, args...)...).CombinedOutput()
		require.NoError(t, err, string(out))
	}

	metadata, tensors := goTensors()
	ours, theirs := filepath.Join(folder, "go.safetensors"), filepath.Join(folder, "go.json")
	require.NoError(t, WriteFile(ours, metadata, tensors))
	python("read", ours, theirs)
	requireGoTensors(t, readPython(t, theirs))

	python("write", folder)
	for _, stem := range []string{"floats", "integers"} {
		requireSame(t, filepath.Join(folder, stem+".safetensors"), readPython(t, filepath.Join(folder, stem+".json")))
	}
}
