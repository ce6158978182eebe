package main

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testdata/README.md lists every file of testdata with its sum, and the commands that made the trained ones.
func TestReadmeOfTestdata(t *testing.T) {
	root := os.DirFS("../../testdata")
	text, err := fs.ReadFile(root, "README.md")
	require.NoError(t, err)
	listed := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([0-9a-f]{64})  (\S+)$`).FindAllStringSubmatch(string(text), -1) {
		listed[m[2]] = m[1]
	}
	require.NoError(t, fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "README.md") {
			return err
		}
		b, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		require.Equal(t, hex.EncodeToString(sum[:]), listed[path], "%s: run sha256sum in testdata and put the line into README.md", path)
		delete(listed, path)
		return nil
	}))
	require.Empty(t, listed, "files that are gone")

	// The commands are ones that the program takes.
	commands := regexp.MustCompile(`(?m)^go run \./examples/train (.*)$`).FindAllStringSubmatch(string(text), -1)
	require.Len(t, commands, 6)
	for _, c := range commands {
		_, err := parse(strings.Fields(c[1]), os.Stderr)
		require.NoError(t, err, c[0])
	}
}
