package command

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgressIsShownAfterTwoSeconds(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b, 40)
	p.terminal = true
	p.Add(10, "step 1")
	p.End()
	require.Empty(t, b.String())
	p.start = p.start.Add(-3 * time.Second)
	p.Add(0, "step 2")
	p.Add(1, "step 3")
	p.End()
	require.Equal(t, "\r\x1b[Kstep 2 (3 s, about 9s left)\n", b.String())
	p.Add(29, "step 4")
	p.End()
	require.Contains(t, b.String(), "\r\x1b[Kstep 4 (3 s)\n")
	p.Add(0, "step 5")
	p.shown = p.shown.Add(-time.Second / 5)
	p.Add(0, "step 6")
	require.Contains(t, b.String(), "\r\x1b[Kstep 5 (3 s)\r\x1b[Kstep 6 (3 s)")
}

// What is no terminal gets whole lines without control characters, and few of them.
func TestProgressInAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	p := NewProgress(f, 40)
	p.Add(1, "step 1")
	p.start = p.start.Add(-3 * time.Second)
	p.Add(9, "step 2")
	p.Add(1, "step 3")
	p.shown = p.shown.Add(-4 * time.Second)
	p.Add(1, "step 4")
	p.shown = p.shown.Add(-time.Second)
	p.Add(28, "step 5")
	p.End()
	p.End()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "step 2 (3 s, about 9s left)\nstep 5 (3 s)\n", string(text))
}

// A character device passes for a terminal: the one that there is everywhere is not one, and nobody sees what is written to it.
func TestTerminal(t *testing.T) {
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer device.Close()
	require.True(t, terminal(device))
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	require.False(t, terminal(file))
	require.NoError(t, file.Close())
	require.False(t, terminal(file))
	require.False(t, terminal(&bytes.Buffer{}))
}
