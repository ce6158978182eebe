package safetensors

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzOpen claims of any bytes: either they are refused, or every tensor can be listed, is no larger than the file and is
// read or refused without a panic; and what was read as float64 is read again from a file written of it.
func FuzzOpen(f *testing.F) {
	for _, c := range hostile {
		if len(c.file) < 1<<12 {
			f.Add(c.file)
		}
	}
	frozen, err := filepath.Glob(filepath.Join(interop, "*.safetensors"))
	require.NoError(f, err)
	require.NotEmpty(f, frozen)
	for _, path := range frozen {
		b, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add(content(`{"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U64","shape":[],"data_offsets":[2,10]}}`, 0xff, 1, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Add(content(`{"a":{"dtype":"F4","shape":[4],"data_offsets":[0,2]},"b":{"dtype":"new","x":[{}],"shape":[3,1],"data_offsets":[2,3]}}`, 1, 2, 3))

	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := NewReader(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			return
		}
		var total int64
		var tensors []Tensor
		for _, name := range file.Names() {
			info, ok := file.Info(name)
			require.True(t, ok)
			total += info.Bytes
			n := info.Len()
			require.LessOrEqual(t, int64(n), 8*info.Bytes)

			// An error here is one of dtype or of exactness; a panic is what is looked for.
			_ = Read(file, name, make([]float32, n))
			values := make([]float64, n)
			if Read(file, name, values) == nil && name != metadataKey {
				tensors = append(tensors, Tensor{Name: name, Dtype: F64, Shape: info.Shape, Float64: values})
			}
		}
		require.LessOrEqual(t, total, int64(len(b)))

		again := open(t, encoded(t, file.Metadata(), tensors...))
		for _, want := range tensors {
			got := make([]float64, len(want.Float64))
			require.NoError(t, Read(again, want.Name, got))
			for i := range got {
				require.Equal(t, math.Float64bits(want.Float64[i]), math.Float64bits(got[i]))
			}
		}
	})
}
