package command

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A shell reads the words back.
func TestAgainIsQuotedForAShell(t *testing.T) {
	words := []string{"-data", "/tmp/my pics", "it's", "", `a"b\c`, "$HOME", "*", "~", "a;b", "two\nlines", "é", "-n=3", "8x8,9"}
	line := Again(words...)
	require.Contains(t, line, ` -data '/tmp/my pics' 'it'\''s' '' `)
	require.True(t, strings.HasSuffix(line, " -n=3 8x8,9"), "what needs no quotes has none: %s", line)
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	out, err := exec.Command(sh, "-c", `say() { shift; printf '%s\0' "$@"; }; say `+line).Output()
	require.NoError(t, err)
	got := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	if temporary(os.Args[0]) { // go run and its package come first
		got = got[2:]
	}
	require.Equal(t, words, got)
}

func TestAgainNamesThePackage(t *testing.T) {
	require.True(t, temporary("/tmp/go-build12/b001/exe/train"))
	require.False(t, temporary("/usr/bin/train"))
	info := &debug.BuildInfo{Path: "example.org/m/examples/train", Main: debug.Module{Path: "example.org/m"}}
	t.Chdir(t.TempDir())
	require.Equal(t, "example.org/m/examples/train", packageOf(info))
	require.NoError(t, os.MkdirAll(filepath.Join("examples", "train"), 0o777))
	require.Equal(t, "example.org/m/examples/train", packageOf(info))
	require.NoError(t, os.WriteFile(filepath.Join("examples", "train", "main.go"), nil, 0o666))
	require.Equal(t, "./examples/train", packageOf(info))
}
