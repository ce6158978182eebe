package command

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProgressIsShownAfterTwoSeconds(t *testing.T) {
	var b bytes.Buffer
	p := NewProgress(&b, 40)
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
}
