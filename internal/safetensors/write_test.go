package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWrittenBytesAreTheFormats(t *testing.T) {
	got := encoded(t, map[string]string{"b": "<&>", "a": "\n"},
		Tensor{Name: "h", Dtype: F16, Shape: []int{1}, Float32: []float32{-2}},
		Tensor{Name: "b", Dtype: F32, Shape: []int{2}, Float64: []float64{1, -2}},
		Tensor{Name: "a", Dtype: F32, Float32: []float32{0.5}},
		Tensor{Name: "none", Dtype: BF16, Shape: []int{3, 0}},
		Tensor{Name: "z", Dtype: F64, Shape: []int{1, 1}, Float32: []float32{1}})
	header := `{"__metadata__":{"a":"\n","b":"<&>"},` +
		`"z":{"dtype":"F64","shape":[1,1],"data_offsets":[0,8]},` +
		`"a":{"dtype":"F32","shape":[],"data_offsets":[8,12]},` +
		`"b":{"dtype":"F32","shape":[2],"data_offsets":[12,20]},` +
		`"none":{"dtype":"BF16","shape":[3,0],"data_offsets":[20,20]},` +
		`"h":{"dtype":"F16","shape":[1],"data_offsets":[20,22]}}`
	for len(header)%8 != 0 {
		header += " "
	}
	require.Equal(t, content(header,
		0, 0, 0, 0, 0, 0, 0xf0, 0x3f,
		0, 0, 0, 0x3f,
		0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0,
		0, 0xc0), got)
}

func TestNoTensorsMakeAFile(t *testing.T) {
	require.Equal(t, content("{}      "), encoded(t, nil))
	require.Equal(t, content("{}      "), encoded(t, map[string]string{}))
	require.Equal(t, map[string]string{"k": "v"}, open(t, encoded(t, map[string]string{"k": "v"})).Metadata())
	require.Nil(t, open(t, encoded(t, nil)).Metadata())
}

func TestEqualArgumentsGiveEqualBytes(t *testing.T) {
	metadata := map[string]string{}
	var tensors []Tensor
	for _, name := range strings.Split("q w e r t y u i o p", " ") {
		metadata[name] = name
		tensors = append(tensors, Tensor{Name: name, Dtype: F32, Float32: []float32{1}}, Tensor{Name: name + name, Dtype: F16, Float32: []float32{1}})
	}
	first := encoded(t, metadata, tensors...)
	slices.Reverse(tensors)
	order := slices.Clone(tensors)
	require.Equal(t, first, encoded(t, metadata, tensors...))
	require.Equal(t, order, tensors, "the caller's slice is left alone")
}

func TestEveryTensorIsAligned(t *testing.T) {
	for n := range 40 { // header lengths of every residue
		f := open(t, encoded(t, nil,
			Tensor{Name: strings.Repeat("a", n), Dtype: F16, Shape: []int{3}, Float32: make([]float32, 3)},
			Tensor{Name: "m", Dtype: F64, Float64: []float64{1}},
			Tensor{Name: "z", Dtype: F32, Shape: []int{1}, Float32: []float32{1}}))
		for name, e := range f.entries {
			require.Zero(t, (f.data+e.begin)%int64(e.Dtype.width()), name)
		}
	}
}

func TestLargeTensorsCrossChunksWhole(t *testing.T) {
	n := chunk + 13
	doubles, singles := make([]float64, n), make([]float32, n)
	for i := range n {
		doubles[i] = float64(i) + 0.25
		singles[i] = float32(i%2048) / 2
	}
	f := open(t, encoded(t, nil,
		Tensor{Name: "F64", Dtype: F64, Shape: []int{n}, Float64: doubles},
		Tensor{Name: "F32", Dtype: F32, Shape: []int{n}, Float32: singles},
		Tensor{Name: "F16", Dtype: F16, Shape: []int{n}, Float32: singles}))
	gotDoubles, gotSingles := make([]float64, n), make([]float32, n)
	require.NoError(t, Read(f, "F64", gotDoubles))
	require.Equal(t, doubles, gotDoubles)
	for _, name := range []string{"F32", "F16"} {
		clear(gotSingles)
		require.NoError(t, Read(f, name, gotSingles))
		require.Equal(t, singles, gotSingles, name)
	}
}

func TestWriteRefusesBeforeTheFirstByte(t *testing.T) {
	one := []float32{1}
	for _, c := range []struct {
		reason   string
		metadata map[string]string
		tensors  []Tensor
		want     string
	}{
		{"F16 overflow", nil, []Tensor{{Name: "w", Dtype: F16, Shape: []int{2}, Float32: []float32{1, -65520}}}, `tensor "w": element 1 is -65520, which overflows F16`},
		{"F16 overflow from float64", nil, []Tensor{{Name: "w", Dtype: F16, Float64: []float64{1e300}}}, `tensor "w": element 0 is 1e+300, which overflows F16`},
		{"BF16 overflow", nil, []Tensor{{Name: "w", Dtype: BF16, Float32: []float32{math.MaxFloat32}}}, `tensor "w": element 0 is 3.4028235e+38, which overflows BF16`},
		{"F32 overflow", nil, []Tensor{{Name: "w", Dtype: F32, Float64: []float64{-1e39}}}, `tensor "w": element 0 is -1e+39, which overflows F32`},
		{"unwritable dtype", nil, []Tensor{{Name: "w", Dtype: I64, Float32: one}}, `tensor "w": dtype "I64" cannot be written; F64, F32, BF16 and F16 can`},
		{"no dtype", nil, []Tensor{{Name: "w", Float32: one}}, `tensor "w": dtype "" cannot be written`},
		{"too few values", nil, []Tensor{{Name: "w", Dtype: F32, Shape: []int{2, 3}, Float32: one}}, `tensor "w": shape [2 3] has 6 elements, but 1 values are given`},
		{"too many values", nil, []Tensor{{Name: "w", Dtype: F32, Shape: []int{0}, Float32: one}}, `tensor "w": shape [0] has 0 elements, but 1 values are given`},
		{"a scalar without value", nil, []Tensor{{Name: "w", Dtype: F32}}, `tensor "w": shape [] has 1 elements, but 0 values are given`},
		{"values in both", nil, []Tensor{{Name: "w", Dtype: F32, Shape: []int{2}, Float32: one, Float64: []float64{1}}}, `tensor "w": both Float32 and Float64 are given`},
		{"negative dimension", nil, []Tensor{{Name: "w", Dtype: F32, Shape: []int{-1, -1}, Float32: one}}, `tensor "w": shape [-1 -1] has a negative dimension`},
		{"overflowing shape", nil, []Tensor{{Name: "w", Dtype: F32, Shape: []int{math.MaxInt, 2}, Float32: one}}, fmt.Sprintf(`tensor "w": shape [%d 2] overflows`, math.MaxInt)},
		{"one name twice", nil, []Tensor{{Name: "w", Dtype: F32, Float32: one}, {Name: "w", Dtype: F16, Float32: one}}, `two tensors are named "w"`},
		{"reserved name", nil, []Tensor{{Name: "__metadata__", Dtype: F32, Float32: one}}, `tensor "__metadata__": the name is reserved`},
		{"name not UTF-8", nil, []Tensor{{Name: "\xff", Dtype: F32, Float32: one}}, `tensor "\xff": the name is not valid UTF-8`},
		{"metadata key not UTF-8", map[string]string{"\xff": ""}, nil, `metadata "\xff"`},
		{"metadata not UTF-8", map[string]string{"k": "\xff"}, nil, `metadata "k": "\xff" is not valid UTF-8`},
		{"too many dimensions", nil, []Tensor{{Name: "w", Dtype: F32, Shape: slices.Repeat([]int{1}, 65), Float32: one}}, `tensor "w": shape has 65 dimensions, more than 64`},
	} {
		t.Run(c.reason, func(t *testing.T) {
			var out bytes.Buffer
			require.ErrorContains(t, Write(&out, c.metadata, c.tensors), c.want)
			require.Zero(t, out.Len())

			folder := t.TempDir()
			require.ErrorContains(t, WriteFile(filepath.Join(folder, "w"), c.metadata, c.tensors), c.want)
			require.Empty(t, files(t, folder))
		})
	}
}

func TestAHeaderTooLongToBeReadIsNotWritten(t *testing.T) {
	var out bytes.Buffer
	err := Write(&out, map[string]string{"k": strings.Repeat("x", maxHeaderLength)}, nil)
	require.EqualError(t, err, "safetensors: the header would take 100000032 bytes, more than the format's limit of 100000000")
	require.Zero(t, out.Len())
}

func TestTheLargestFiniteAndInfinityAreWritten(t *testing.T) {
	inf := math.Inf(1)
	for _, c := range []struct {
		dtype   Dtype
		largest float64
	}{{F16, 65504}, {BF16, 0x1.fep127}, {F32, math.MaxFloat32}, {F64, math.MaxFloat64}} {
		below := math.Nextafter(c.dtype.overflow(), 0) // rounds down to the largest
		f := open(t, encoded(t, nil, Tensor{Name: "w", Dtype: c.dtype, Shape: []int{5}, Float64: []float64{c.largest, -c.largest, below, inf, -inf}}))
		got := make([]float64, 5)
		require.NoError(t, Read(f, "w", got))
		require.Equal(t, []float64{c.largest, -c.largest, c.largest, inf, -inf}, got, c.dtype)
	}
}

// quota takes so many bytes and no more.
type quota struct {
	left int
	err  error
}

func (q *quota) Write(b []byte) (int, error) {
	if len(b) > q.left {
		n := q.left
		q.left = 0
		return n, q.err
	}
	q.left -= len(b)
	return len(b), nil
}

func TestAWritersErrorIsKept(t *testing.T) {
	full := errors.New("disk full")
	tensors := []Tensor{
		{Name: "w", Dtype: F32, Shape: []int{40_000}, Float32: make([]float32, 40_000)},
		{Name: "x", Dtype: F64, Shape: []int{10_000}, Float64: make([]float64, 10_000)},
	}
	size := len(encoded(t, nil, tensors...))
	for n := 0; n < size; n += 997 {
		require.ErrorIs(t, Write(&quota{n, full}, nil, tensors), full, "after %d of %d bytes", n, size)
	}
	require.NoError(t, Write(&quota{size, full}, nil, tensors))
}

func files(t *testing.T, folder string) []string {
	t.Helper()
	found, err := os.ReadDir(folder)
	require.NoError(t, err)
	var names []string
	for _, f := range found {
		names = append(names, f.Name())
	}
	return names
}

var small = []Tensor{{Name: "w", Dtype: F32, Shape: []int{1}, Float32: []float32{1}}}

func TestWriteFileReplacesAndLeavesNothingElse(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "w.safetensors")
	for i := range 3 {
		small := []Tensor{{Name: "w", Dtype: F32, Shape: []int{1}, Float32: []float32{float32(i)}}}
		require.NoError(t, WriteFile(path, nil, small))
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, encoded(t, nil, small...), got)
		require.Equal(t, []string{"w.safetensors"}, files(t, folder))
	}
}

func TestAFailedWriteFileLeavesTheOldFile(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "w.safetensors")
	require.NoError(t, WriteFile(path, nil, small))
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Error(t, WriteFile(path, nil, []Tensor{{Name: "w", Dtype: F16, Float32: []float32{1e5}}}))
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, []string{"w.safetensors"}, files(t, folder))
}

func TestAFailureAfterWritingLeavesNothing(t *testing.T) {
	folder := t.TempDir()
	tooLong := strings.Repeat("x", 300) // fails when renamed, the last step, on every common file system
	require.Error(t, WriteFile(filepath.Join(folder, tooLong), nil, small))
	require.Empty(t, files(t, folder))
}

func TestWriteFileSaysWhyAFolderFails(t *testing.T) {
	folder := t.TempDir()
	absent := filepath.Join(folder, "absent")
	err := WriteFile(filepath.Join(absent, "w"), nil, small)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "cannot write "+filepath.Join(absent, "w")+", since folder "+absent+" takes no new file")

	err = WriteFile(folder, nil, small)
	require.EqualError(t, err, "safetensors: "+folder+" is not a regular file and will not be replaced; use Write to write to a device or pipe")
}

func TestAReadOnlyFolderIsAnErrorAndKeepsItsFile(t *testing.T) {
	if runtime.GOOS == "windows" || os.Geteuid() == 0 {
		t.Skip("folder permissions do not bind this user")
	}
	folder := t.TempDir()
	path := filepath.Join(folder, "w")
	require.NoError(t, WriteFile(path, nil, small))
	require.NoError(t, os.Chmod(folder, 0o500))
	defer func() { require.NoError(t, os.Chmod(folder, 0o700)) }()
	err := WriteFile(path, nil, []Tensor{{Name: "other", Dtype: F32, Float32: []float32{2}}})
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorContains(t, err, "since folder "+folder+" takes no new file")
	f, err := Open(path)
	require.NoError(t, err)
	require.Equal(t, []string{"w"}, f.Names())
	require.NoError(t, f.Close())
}

func TestWriteFileKeepsPermissionsAndLinks(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("permissions and links are of another kind here")
	}
	folder := t.TempDir()
	path, link := filepath.Join(folder, "w"), filepath.Join(folder, "link")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Chmod(path, 0o604))
	require.NoError(t, os.Symlink("w", link))
	require.NoError(t, WriteFile(link, nil, small))

	stat, err := os.Lstat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o604), stat.Mode())
	stat, err = os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, stat.Mode()&os.ModeSymlink)
}
