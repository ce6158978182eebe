package command

import (
	"bytes"
	"flag"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for _, row := range []struct {
		args     []string
		n        int
		mistake  string
		explains bool
	}{
		{args: []string{"-n", "3"}, n: 3},
		{args: []string{"-n", "three"}, mistake: `invalid value "three" for flag -n`},
		{args: []string{"-m"}, mistake: "flag provided but not defined: -m"},
		{args: []string{"-h"}, explains: true},
	} {
		f := flag.NewFlagSet("count", flag.ContinueOnError)
		n := f.Int("n", 0, "how many")
		var help bytes.Buffer
		err := Parse(f, row.args, &help, "count counts.")
		switch {
		case row.explains:
			require.ErrorIs(t, err, flag.ErrHelp)
			require.Regexp(t, `(?s)^count counts\.\n.*-n int.*how many`, help.String())
			continue
		case row.mistake != "":
			require.ErrorAs(t, err, new(UsageError))
			require.ErrorContains(t, err, row.mistake)
		default:
			require.NoError(t, err)
		}
		require.Equal(t, row.n, *n)
		require.Empty(t, help.String())
	}
}
