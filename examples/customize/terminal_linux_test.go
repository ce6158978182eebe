package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pseudoterminal is one with what is written to it at the other end.
func pseudoterminal(t *testing.T) (terminal, other *os.File) {
	t.Helper()
	other, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { other.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(other.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(other.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { terminal.Close() })
	return terminal, other
}

// On a terminal the line of progress ends before anything else is said.
func TestProgressEndsBeforeAnInterruptIsTold(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for progress; run without -short")
	}
	terminal, other := pseudoterminal(t)
	p, _ := program("-data", digits, "-out", t.TempDir(), "-target", "condition", "-effort", "10")
	p.Stderr = terminal
	require.NoError(t, p.Start())
	t.Cleanup(func() { p.Process.Kill() })
	require.NoError(t, terminal.Close()) // so that reading ends with the program
	text := ""
	for b, told := make([]byte, 1024), false; ; {
		n, err := other.Read(b)
		if text += string(b[:n]); err != nil {
			break
		}
		if !told && strings.Contains(text, "left)") {
			told = true
			require.NoError(t, p.Process.Signal(os.Interrupt))
		}
	}
	require.Error(t, p.Wait())
	require.Equal(t, 130, p.ProcessState.ExitCode())
	require.Regexp(t, regexp.MustCompile(`^(\r\x1b\[Kcondition: concept by gradient: iteration \d+ of 1200, loss \S+ \(\d+ s, about \S+ left\))+`+
		`\r\ncustomize: interrupted; nothing was finished\r\n$`), text)
}
