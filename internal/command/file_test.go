package command

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWritable(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Writable(filepath.Join(dir, "a")))
	require.ErrorContains(t, Writable(dir), "is a folder")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)

	inside := filepath.Join(dir, "new", "folder", "a")
	require.NoError(t, Writable(inside))
	require.NoError(t, os.WriteFile(inside, nil, 0o666))
	for _, below := range []string{filepath.Join(inside, "b"), filepath.Join(inside, "b", "c")} {
		require.EqualError(t, Writable(below), "cannot write "+below+": not a directory")
	}
}

func TestPNG(t *testing.T) {
	for _, name := range []string{"a.png", "out/a.PNG"} {
		require.NoError(t, PNG("out", name))
	}
	for _, name := range []string{"", "a", "a.jpg", "a.png.txt", "png"} {
		err := PNG("out", name)
		require.ErrorAs(t, err, new(UsageError), name)
		require.ErrorContains(t, err, "-out is \""+name+"\"; pictures are PNG files")
	}
}

func TestMissingNamesTheFlag(t *testing.T) {
	require.NoError(t, Missing(nil, "model", false))
	other := errors.New("damaged")
	require.Equal(t, other, Missing(other, "model", false))
	_, err := os.Open("no")
	require.Equal(t, err, Missing(err, "model", true))
	require.ErrorContains(t, Missing(err, "model", false), "elsewhere give -model")
	require.ErrorIs(t, Missing(err, "model", false), os.ErrNotExist)
}
