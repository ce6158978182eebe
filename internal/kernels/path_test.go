package kernels_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/stretchr/testify/require"
)

func TestPathIsTheBestOfThisCPU(t *testing.T) {
	paths := kernels.Paths()
	require.Equal(t, paths[len(paths)-1], kernels.Path())
}

// Other packages' tests choose a path for their process by the environment.
func TestGodebugChoosesALesserPath(t *testing.T) {
	if os.Getenv("KERNELS_CHILD") != "" {
		_, _ = os.Stdout.WriteString("path=" + kernels.Path() + "\n")
		return
	}
	settings := map[string][]struct{ setting, path string }{
		"amd64": {{"cpu.avx512f=off", "avx2"}, {"cpu.avx2=off,cpu.avx512f=off", "go"}, {"cpu.all=off", "go"}},
		"arm64": {{"cpu.sve=off", "neon"}, {"cpu.asimd=off", "go"}, {"cpu.all=off", "go"}},
	}[runtime.GOARCH]
	if settings == nil {
		t.Skip("one path only")
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for _, c := range settings {
		if c.path == "avx2" && len(kernels.Paths()) < 2 {
			continue
		}
		child := exec.Command(self, "-test.run=^TestGodebugChoosesALesserPath$")
		child.Env = append(os.Environ(), "KERNELS_CHILD=1", "GODEBUG="+c.setting)
		out, err := child.Output()
		if errors.Is(err, syscall.ENOEXEC) {
			t.Skip("this runs in an emulator, whose children do not")
		}
		require.NoError(t, err)
		require.Contains(t, string(out), "path="+c.path+"\n")
	}
}
