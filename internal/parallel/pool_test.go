package parallel

import (
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRunCallsEveryIndexOnceAndNoWorkerTwiceAtATime(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 8} {
		p := New(workers)
		for _, n := range []int{0, 1, 2, 7, 16, 17, 63, 1000} {
			calls := make([]atomic.Int32, n)
			inUse := make([]atomic.Int32, workers)
			var clashes atomic.Int32
			require.NoError(t, p.Run(n, func(worker, i int) {
				if inUse[worker].Add(1) != 1 {
					clashes.Add(1)
				}
				calls[i].Add(1)
				inUse[worker].Add(-1)
			}))
			require.Zero(t, clashes.Load())
			for i := range calls {
				require.EqualValues(t, 1, calls[i].Load(), "workers %d, n %d, i %d", workers, n, i)
			}
		}
		p.Close()
	}
}

func TestOneWorkerGoesInOrder(t *testing.T) {
	p := New(1)
	defer p.Close()
	var order []int
	require.NoError(t, p.Run(100, func(_, i int) { order = append(order, i) }))
	for i, v := range order {
		require.Equal(t, i, v)
	}
	require.Len(t, order, 100)
}

// Jobs of every spacing, from back to back to longer than a worker lingers, with plain memory written by the jobs and
// read by the caller: the race detector sees a missing edge.
func TestResultsAreVisibleToTheCaller(t *testing.T) {
	p := New(3)
	defer p.Close()
	sum := make([]int, 24)
	f := func(_, i int) { sum[i]++ }
	for job := range 300 {
		require.NoError(t, p.Run(len(sum), f))
		for i := range sum {
			require.Equal(t, job+1, sum[i])
		}
		if job%50 == 0 {
			time.Sleep(2 * linger)
		}
	}
}

func TestPanicComesBackAsErrorWithStackAndThePoolLivesOn(t *testing.T) {
	for _, workers := range []int{1, 2, 4} {
		p := New(workers)
		for range 20 {
			err := p.Run(40, func(_, i int) {
				if i == 13 {
					explode()
				}
			})
			require.ErrorContains(t, err, "boom")
			require.ErrorContains(t, err, "explode")
			require.NoError(t, p.Run(40, func(_, _ int) {}))
		}
		p.Close()
	}
}

func explode() { panic("boom") }

func TestGoexitInAFunctionIsAnErrorOrEndsTheCallerOnly(t *testing.T) {
	p := New(2)
	defer p.Close()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.Run(4, func(_, _ int) { runtime.Goexit() })
	}()
	<-ended
	var calls atomic.Int32
	require.NoError(t, p.Run(10, func(_, _ int) { calls.Add(1) }))
	require.EqualValues(t, 10, calls.Load())
}

func TestMisuseIsAnError(t *testing.T) {
	p := New(2)
	var inner error
	require.NoError(t, p.Run(1, func(_, _ int) { inner = p.Run(1, func(_, _ int) {}) }))
	require.ErrorIs(t, inner, ErrBusy)
	p.Close()
	p.Close()
	require.ErrorIs(t, p.Run(1, func(_, _ int) {}), ErrClosed)
}

func TestRunDoesNotAllocate(t *testing.T) {
	p := New(2)
	defer p.Close()
	f := func(_, _ int) {}
	require.Zero(t, testing.AllocsPerRun(200, func() {
		if err := p.Run(16, f); err != nil {
			panic(err)
		}
	}))
}

func workersAlive() int {
	buf := make([]byte, 1<<20)
	return strings.Count(string(buf[:runtime.Stack(buf, true)]), "(*Pool).work(")
}

// ended waits for workers that have said that they are done and are still on their way out.
func ended() bool {
	for range 1000 {
		if workersAlive() == 0 {
			return true
		}
		time.Sleep(linger)
	}
	return false
}

func TestCloseEndsTheWorkersWhereverTheyAre(t *testing.T) {
	require.True(t, ended())
	for _, pause := range []time.Duration{0, linger / 2, 3 * linger} {
		p := New(4)
		require.NoError(t, p.Run(8, func(_, _ int) {}))
		time.Sleep(pause)
		p.Close()
		require.True(t, ended(), "after a pause of %v", pause)
	}
	held := New(2)
	held.Hold()
	held.Close()
	require.True(t, ended())
}

// The caller of Run is a worker too, and the only one that a closed pool still has.
func TestCloseWaitsForTheJob(t *testing.T) {
	for _, workers := range []int{1, 2, 3} {
		p := New(workers)
		began, run := make(chan struct{}), make(chan error)
		var over atomic.Bool
		go func() {
			run <- p.Run(1, func(_, _ int) {
				close(began)
				time.Sleep(20 * linger)
				over.Store(true)
			})
		}()
		<-began
		p.Close()
		require.True(t, over.Load(), "%d workers", workers)
		require.NoError(t, <-run)
	}
}

// A function that ends the caller's goroutine ends Run only when no worker is inside the job any more.
func TestGoexitOfTheCallerWaitsForTheOthers(t *testing.T) {
	p := New(2)
	defer p.Close()
	began, left := make(chan struct{}), make(chan struct{})
	var over atomic.Bool
	go func() {
		defer close(left)
		_ = p.Run(2, func(worker, _ int) {
			if worker == 0 {
				<-began
				runtime.Goexit()
			}
			close(began)
			time.Sleep(20 * linger)
			over.Store(true)
		})
	}()
	<-left
	require.True(t, over.Load())
}

func parked(p *Pool) func() bool {
	return func() bool {
		for i := range p.sleepers {
			if !p.sleepers[i].parked.Load() {
				return false
			}
		}
		return true
	}
}

func TestIdleWorkersParkUnlessHeld(t *testing.T) {
	if runtime.GOMAXPROCS(0) < 2 {
		t.Skip("workers do not spin on one processor")
	}
	p := New(2)
	defer p.Close()
	require.Eventually(t, parked(p), time.Second, linger)
	p.Hold()
	require.Never(t, parked(p), 10*linger, linger)
	p.Release()
	require.Eventually(t, parked(p), time.Second, linger)
	p.Release()
	p.Hold()
	require.Never(t, parked(p), 10*linger, linger, "one Release too many takes nothing from a later Hold")
	p.Release()
}

// On one processor a spinning worker would keep the caller from running until the scheduler's 10 ms are over, so a
// thousand jobs would take seconds.
func TestOneProcessorIsEnough(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	p := New(4)
	defer p.Close()
	p.Hold()
	defer p.Release()
	var calls atomic.Int32
	f := func(_, _ int) { calls.Add(1) }
	start := time.Now()
	for range 1000 {
		require.NoError(t, p.Run(8, f))
	}
	require.EqualValues(t, 8000, calls.Load())
	require.Less(t, time.Since(start), 2*time.Second)
	require.Eventually(t, parked(p), time.Second, linger)
}

func BenchmarkRunOfNothing(b *testing.B) {
	p := New(2)
	defer p.Close()
	f := func(_, _ int) {}
	for b.Loop() {
		_ = p.Run(2, f)
	}
}

// BenchmarkHandOver runs 32 pieces of about half a microsecond and reports how much faster they are than on one worker,
// by the medians: the mean is that of whatever else the machine is doing.
func BenchmarkHandOver(b *testing.B) {
	var sink [32 * 8]float64
	f := func(_, i int) {
		x := 1.0
		for range 400 {
			x = x*0.999 + 0.5
		}
		sink[8*i] = x
	}
	median := func(workers, jobs int) time.Duration {
		p := New(workers)
		defer p.Close()
		took := make([]time.Duration, jobs)
		for i := range took {
			start := time.Now()
			_ = p.Run(32, f)
			took[i] = time.Since(start)
		}
		slices.Sort(took)
		return took[jobs/2]
	}
	for b.Loop() {
		one, two := median(1, 500), median(2, 500)
		b.ReportMetric(float64(one)/float64(two), "speedup")
	}
}
