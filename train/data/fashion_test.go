package data

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// fashionDir is where the large set is, if it is there at all.
func fashionDir(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("EBB_FASHION")
	if dir == "" {
		t.Skip("EBB_FASHION is not the folder of Fashion-MNIST; on Debian: apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb fashion, and EBB_FASHION=$PWD/fashion/usr/share/datasets/fashion-mnist")
	}
	return dir
}

func TestFashionIsTheWellKnownSet(t *testing.T) {
	train, test, err := Fashion(fashionDir(t))
	require.NoError(t, err)
	require.Equal(t, []int{60_000, 10_000, 28, 28, 10, 10}, []int{train.N, test.N, train.Height, test.Width, train.Classes, test.Classes})
	sum := 0.0
	for _, v := range train.Pixels {
		sum += (float64(v) + 1) * 127.5
	}
	// The published mean, 72.94, is rounded to two decimals.
	require.InDelta(t, 72.94, sum/float64(len(train.Pixels)), 5e-3)
	p, err := FashionParts(train)
	require.NoError(t, err)
	require.Empty(t, p.Held)
	require.Len(t, p.Train, 60_000)
	require.Len(t, p.A, 30_000)
	require.Len(t, p.B, 30_000)
	count := make([]int, 10)
	for _, i := range p.A {
		count[train.Labels[i]]++
	}
	for _, n := range count {
		require.InDelta(t, 3000, n, 2)
	}
	_, err = FashionParts(test)
	require.ErrorContains(t, err, "use Partition")
}

func TestIDXFolder(t *testing.T) {
	dir := t.TempDir()
	_, _, err := IDXFolder(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "train-images-idx3-ubyte")
	write := func(name string, content []byte) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o666))
	}
	write("train-images-idx3-ubyte", goodImages)
	write("train-labels-idx1-ubyte.gz", zipped(t, goodLabels))
	write("t10k-images-idx3-ubyte", goodImages)
	_, _, err = IDXFolder(dir)
	require.ErrorContains(t, err, "t10k-labels-idx1-ubyte")
	write("t10k-labels-idx1-ubyte", idxBytes(idxLabels, []uint32{2}, 6, 0))
	train, test, err := IDXFolder(dir)
	require.NoError(t, err)
	require.Equal(t, 2, train.N)
	require.Equal(t, []int{4, 1}, train.Labels)
	require.Equal(t, []int{6, 0}, test.Labels)
	require.Equal(t, []int{7, 7}, []int{train.Classes, test.Classes}, "both have the classes of both")
	_, _, err = Fashion(dir)
	require.ErrorContains(t, err, "damaged or another one")
	write("t10k-images-idx3-ubyte", idxBytes(idxImages, []uint32{2, 3, 1}, 0, 51, 255, 255, 102, 0))
	_, _, err = IDXFolder(dir)
	require.ErrorContains(t, err, "training images are 1×3, test images 3×1")
}
