package safetensors

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestLeftoversOfKilledWritersAreRemoved(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "run.safetensors")
	id := strings.Repeat("A", 25) + "7"
	ours := []string{".run.safetensors-" + id, ".run.safetensors-" + strings.Repeat("Q", 26)}
	others := []string{"run.safetensors", ".other.safetensors-" + id, ".run.safetensors-short", ".run.safetensors-" + strings.ToLower(id), "run.safetensors-" + id}
	for _, name := range append(ours, others...) {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), nil, 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(folder, ".run.safetensors-"+strings.Repeat("B", 26)), 0o700))
	require.NoError(t, RemoveUnfinished(path))
	for _, name := range ours {
		require.NoFileExists(t, filepath.Join(folder, name))
	}
	for _, name := range others {
		require.FileExists(t, filepath.Join(folder, name))
	}
	require.DirExists(t, filepath.Join(folder, ".run.safetensors-"+strings.Repeat("B", 26)))
	require.Error(t, RemoveUnfinished(filepath.Join(folder, "none", "w")))
}

func TestFoldersAreSynced(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, syncFolder(folder))
	require.Error(t, syncFolder(filepath.Join(folder, "none")))
}
