package train_test

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/train"
)

// However long a run is, the heap stays as it is after the first steps. With EBB_LONG_TRAIN set to a duration, so long.
func TestHeapStaysFlat(t *testing.T) {
	var long time.Duration
	if s := os.Getenv("EBB_LONG_TRAIN"); s != "" {
		var err error
		long, err = time.ParseDuration(s)
		require.NoError(t, err)
	}
	tr := trainer(t, func(c *train.Config) { c.Steps = 1 << 40 })
	live := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const steps = 100
	require.NoError(t, tr.Run(context.Background(), steps))
	first := live()
	most := first
	for began := time.Now(); tr.Step() == steps || time.Since(began) < long; {
		require.NoError(t, tr.Run(context.Background(), steps))
		most = max(most, live())
		// A byte a step would be found within a few minutes, an object of 16 a step in a second.
		require.Less(t, most-first, int64(32<<10), "after %d steps", tr.Step())
	}
	t.Logf("%d steps: the heap began with %d bytes and never had more than %d", tr.Step(), first, most)
}
