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
	missing := filepath.Join(dir, "no", "a")
	require.EqualError(t, Writable(missing), "cannot write "+missing+": no such file or directory")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
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
