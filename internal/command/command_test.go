package command

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	for _, row := range []struct {
		err  error
		code int
		text string
	}{
		{nil, 0, ""},
		{flag.ErrHelp, 0, ""},
		{fmt.Errorf("step 3: %w", context.Canceled), 130, "x: interrupted; nothing was written\n"},
		{fmt.Errorf("step 3: %w", Stopped(context.Canceled, "; 2 are in out")), 130, "x: interrupted; 2 are in out\n"},
		{Stopped(errors.New("no such file"), "; 2 are in out"), 1, "x: no such file\n"},
		{Stopped(nil, "; 2 are in out"), 0, ""},
		{errors.Join(fmt.Errorf("step 3: %w", errors.Join(context.Canceled, errors.New("disk full"))), nil, errors.New("no curve")), 130,
			"x: interrupted; nothing was written\nx: disk full\nx: no curve\n"},
		{fmt.Errorf("flags: %w", Usage(errors.New("-n is 0"))), 2, "x: flags: -n is 0\n-h lists the flags\n"},
		{Usage(flag.ErrHelp), 0, ""},
		{errors.New("no such file"), 1, "x: no such file\n"},
	} {
		var b bytes.Buffer
		require.Equal(t, row.code, report(&b, "x", "; nothing was written", row.err))
		require.Equal(t, row.text, b.String())
	}
}
