package graph

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestProfileIsTheSumOfTheRuns(t *testing.T) {
	b, outs := block[float32](2, 5, 16)
	require.NoError(t, b.Err())
	p, err := Compile[float32](outs...)
	require.NoError(t, err)
	bindRandom(t, p)
	require.NoError(t, p.Run())
	require.Empty(t, p.Profile().Ops, "not watched")

	require.NoError(t, p.Watch(true))
	const runs = 3
	for range runs {
		require.NoError(t, p.Run())
	}
	r := p.Profile()
	var flops, count int64
	var sum time.Duration
	for i, o := range r.Ops {
		require.Zero(t, o.Count%runs, o.Op)
		require.LessOrEqual(t, int64(o.Least)*o.Count, int64(o.Time), o.Op)
		if i > 0 {
			require.LessOrEqual(t, o.Time, r.Ops[i-1].Time, "sorted")
		}
		flops, count, sum = flops+o.FLOPs, count+o.Count, sum+o.Time
	}
	require.Equal(t, runs*p.Stats().FLOPs, flops)
	require.LessOrEqual(t, count, int64(runs*p.Stats().Steps))
	require.Equal(t, []time.Duration{sum}, r.Busy)
	require.LessOrEqual(t, sum, r.Wall)
	require.Equal(t, []Stats{p.Stats()}, r.Programs)

	var out bytes.Buffer
	require.NoError(t, r.Write(&out))
	require.Contains(t, out.String(), "  attentionGrad[4 heads] 2×5×48, 2×5×16\n")
	require.Contains(t, out.String(), "GFLOP/s")

	require.NoError(t, p.Watch(true))
	require.Empty(t, p.Profile().Ops, "a new watch begins from zero")
	require.NoError(t, p.Watch(false))
	require.NoError(t, p.Run())
	require.Empty(t, p.Profile().Ops)
}
