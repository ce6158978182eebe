package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The committed assembly and stubs are what this program writes, but for the line that names the command.
func TestCommittedFilesAreUpToDate(t *testing.T) {
	for _, group := range []string{"gemm", "elementwise", "rows"} {
		dir := t.TempDir()
		asm, stubs := "z"+group+"_amd64.s", "z"+group+"_amd64.go"
		out, err := exec.Command("go", "run", ".", "-group", group, "-pkg", "kernels",
			"-out", filepath.Join(dir, asm), "-stubs", filepath.Join(dir, stubs)).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, name := range []string{asm, stubs} {
			if !bytes.Equal(body(t, filepath.Join(dir, name)), body(t, filepath.Join("..", name))) {
				t.Errorf("%s is stale: run go generate in internal/kernels", name)
			}
		}
	}
}

func body(t *testing.T, path string) []byte {
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(text, []byte("\n"))
	return rest
}
