package data

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func idxBytes(magic uint32, sizes []uint32, body ...byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, magic)
	for _, s := range sizes {
		out = binary.BigEndian.AppendUint32(out, s)
	}
	return append(out, body...)
}

func zipped(t testing.TB, b []byte) []byte {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	_, err := z.Write(b)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return out.Bytes()
}

var (
	goodImages = idxBytes(idxImages, []uint32{2, 1, 3}, 0, 51, 255, 255, 102, 0)
	goodLabels = idxBytes(idxLabels, []uint32{2}, 4, 1)
)

func TestIDXMapsBytesAndLabelsPlainOrGzip(t *testing.T) {
	for _, x := range [][]byte{goodImages, zipped(t, goodImages)} {
		for _, y := range [][]byte{goodLabels, zipped(t, goodLabels)} {
			m, err := IDX(bytes.NewReader(x), bytes.NewReader(y))
			require.NoError(t, err)
			require.Equal(t, &Images{
				N: 2, Height: 1, Width: 3, Channels: 1,
				Pixels: []float32{-1, -0.6, 1, 1, float32(102)/127.5 - 1, -1},
				Labels: []int{4, 1}, Classes: 5,
			}, m)
		}
	}
	m, err := IDX(bytes.NewReader(goodImages), nil)
	require.NoError(t, err)
	require.Nil(t, m.Labels)
	require.Zero(t, m.Classes)
}

func TestIDXFilesNamesTheFileTheByteAndTheExpectation(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(p, b, 0o644))
		return p
	}
	images, labels := write("images", goodImages), write("labels", goodLabels)
	m, err := IDXFiles(images, labels)
	require.NoError(t, err)
	require.Equal(t, 2, m.N)
	m, err = IDXFiles(images, "")
	require.NoError(t, err)
	require.Nil(t, m.Labels)

	z := zipped(t, goodImages)
	badSum := bytes.Clone(z)
	badSum[len(badSum)-6] ^= 1
	for _, c := range []struct {
		why            string
		images, labels []byte
		file, message  string
		offset         int64
	}{
		{"empty file", nil, goodLabels, "images", "expected the magic number 0x00000803", 0},
		{"labels given as images", goodLabels, goodLabels, "images", "found 0x00000801", 0},
		{"images given as labels", goodImages, goodImages, "labels", "expected the magic number 0x00000801 of IDX labels, found 0x00000803", 0},
		{"header cut off", goodImages[:9], goodLabels, "images", "expected 3 sizes of IDX images, but the data end 7 bytes short", 9},
		{"pixels cut off", goodImages[:20], goodLabels, "images", "expected 6 bytes of pixels, 6 of them from here, but the data end 2 bytes short", 20},
		{"gzip cut off", z[:len(z)-9], goodLabels, "images", "decompressed byte", -1},
		{"gzip header cut off", z[:5], goodLabels, "images", "expected a gzip header", 0},
		{"gzip sum wrong", badSum, goodLabels, "images", "gzip: invalid checksum", 22},
		{"bytes left over", append(bytes.Clone(goodImages), 0), goodLabels, "images", "expected the end after 6 bytes of pixels", 22},
		{"fewer labels than images", goodImages, idxBytes(idxLabels, []uint32{1}, 4), "labels", "expected a count of 2 labels", 8},
		{"labels cut off", goodImages, goodLabels[:9], "labels", "expected 2 bytes of labels", 9},
		{"no images", idxBytes(idxImages, []uint32{0, 1, 3}), goodLabels, "images", "announces 0 images", 16},
		{"no pixels", idxBytes(idxImages, []uint32{2, 0, 3}), goodLabels, "images", "2 images of 0×3", 16},
		{"product past 64 bits", idxBytes(idxImages, []uint32{1<<32 - 1, 1<<32 - 1, 1<<32 - 1}), goodLabels, "images", "expected 1 to 2³⁰ pixels", 16},
		{"product that wraps to 0", idxBytes(idxImages, []uint32{1 << 31, 1 << 31, 4}), goodLabels, "images", "expected 1 to 2³⁰ pixels", 16},
	} {
		t.Run(c.why, func(t *testing.T) {
			_, err := IDXFiles(write("images", c.images), write("labels", c.labels))
			var format *FormatError
			require.True(t, errors.As(err, &format), "%v", err)
			require.Equal(t, filepath.Join(dir, c.file), format.File)
			require.ErrorContains(t, err, c.message)
			if c.offset >= 0 {
				require.Equal(t, c.offset, format.Offset, "%v", err)
			}
		})
	}
	_, err = IDXFiles(filepath.Join(dir, "nowhere"), "")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestAClaimedCountAllocatesNothingByItself(t *testing.T) {
	// A gigabyte claimed, no pixel there.
	claim := idxBytes(idxImages, []uint32{1 << 20, 32, 32})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := IDX(bytes.NewReader(claim), nil)
	runtime.ReadMemStats(&after)
	require.Error(t, err)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4*chunk))
}

// zeros never ends, and counts what was taken from it.
type zeros int64

func (z *zeros) Read(p []byte) (int, error) {
	clear(p)
	*z += zeros(len(p))
	return len(p), nil
}

func TestReadingStopsAtTheClaimedCount(t *testing.T) {
	// What a gzip bomb expands to is such a stream.
	var rest zeros
	_, err := IDX(io.MultiReader(bytes.NewReader(idxBytes(idxImages, []uint32{1, 4, 4})), &rest), nil)
	require.ErrorContains(t, err, "more data follow")
	require.LessOrEqual(t, int64(rest), int64(2*chunk))
}

func FuzzIDX(f *testing.F) {
	f.Add(goodImages, goodLabels)
	f.Add(zipped(f, goodImages), zipped(f, goodLabels))
	f.Add(idxBytes(idxImages, []uint32{1 << 20, 32, 32}), []byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, images, labels []byte) {
		m, err := IDX(bytes.NewReader(images), bytes.NewReader(labels))
		if err != nil {
			var format *FormatError
			require.True(t, errors.As(err, &format), "%v", err)
			return
		}
		requireSound(t, m)
	})
}

func requireSound(t *testing.T, m *Images) {
	t.Helper()
	require.NoError(t, m.check())
	require.Len(t, m.Labels, m.N)
	for _, v := range m.Pixels {
		require.True(t, v >= -1 && v <= 1)
	}
}
