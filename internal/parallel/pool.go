package parallel

import (
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// linger is how long a worker spins without a job before it parks.
	linger = time.Millisecond
	// patience is how long anybody spins in vain before napping between looks. A wait as long as this most often means that
	// the one who is waited for has lost its processor to another program; spinning would keep it from getting this one.
	patience = 200 * time.Microsecond
	// loads is the number of looks between two looks at the clock.
	loads = 256
	// share is the number of chunks a worker gets of a large job: enough for the others to make up for one that the
	// operating system has put aside, few enough not to be felt (0.03 µs each).
	share = 8
)

// ErrClosed is returned by Run on a closed Pool, and ErrBusy by a Run inside or beside another of the same Pool.
var (
	ErrClosed = errors.New("parallel: the pool is closed")
	ErrBusy   = errors.New("parallel: the pool is running another job; use a pool for each caller")
)

// Pool is a fixed set of workers, of which the caller of Run is the first. Make one with [New] and end it with Close.
type Pool struct {
	// left counts the chunks of the job that nobody has taken. Whoever decrements it from above zero owns a chunk.
	left atomic.Int64
	_    [56]byte // its own cache line: workers spin on it
	// inside counts the workers that may touch the job's fields; the caller leaves Run when it is back at zero.
	inside atomic.Int64
	_      [56]byte

	n, chunks int
	f         func(worker, i int)
	failed    atomic.Pointer[failure]

	running  sync.Mutex // held by Run
	closed   atomic.Bool
	held     atomic.Int64
	crowded  atomic.Bool // fewer processors than workers: spinning would keep the others from working
	sleepers []sleeper   // of the workers from 1 on
	done     sync.WaitGroup
}

// sleeper is a worker's bed. Whoever moves parked from true to false, the worker or one who wakes it, has the right to
// the next move.
type sleeper struct {
	parked atomic.Bool
	wake   chan struct{}
	_      [40]byte
}

type failure struct{ err error }

// New starts a pool of so many workers, the caller of Run included; fewer than 1 means one for each processor Go uses.
func New(workers int) *Pool {
	if workers < 1 {
		workers = runtime.GOMAXPROCS(0)
	}
	p := &Pool{sleepers: make([]sleeper, workers-1)}
	for i := range p.sleepers {
		p.sleepers[i].wake = make(chan struct{}, 1)
		p.done.Add(1)
		go p.work(i + 1)
	}
	return p
}

// Workers returns the number of workers, the caller of Run included.
func (p *Pool) Workers() int { return len(p.sleepers) + 1 }

// Run calls f(worker, i) for every i in [0, n) and returns when all calls have. No two calls at one time have the same
// worker, which is in [0, Workers()); the calling goroutine is worker 0. Runs of neighbouring i are handed out in
// increasing order; up to 8 i a worker are handed out one by one.
//
// If f panics, what has not started is dropped and the first panic comes back as an error with its stack. Run does not
// allocate, if f is not a closure made for the call. A Pool runs one job at a time: see [ErrBusy].
func (p *Pool) Run(n int, f func(worker, i int)) error {
	if !p.running.TryLock() {
		return ErrBusy
	}
	defer p.running.Unlock()
	if p.closed.Load() {
		return ErrClosed
	}
	if n <= 0 {
		return nil
	}
	p.n, p.chunks, p.f = n, min(n, share*p.Workers()), f
	p.failed.Store(nil)
	p.left.Store(int64(p.chunks))
	if helpers := min(len(p.sleepers), p.chunks-1); helpers > 0 {
		p.wake(helpers)
	}
	defer p.wait() // also when f ends this goroutine
	p.take(0)
	p.wait()
	if fail := p.failed.Load(); fail != nil {
		return fail.err
	}
	return nil
}

// wait returns when no worker is inside the job, of which every chunk is taken: those still inside are at their last
// chunk, or have come too late for any.
func (p *Pool) wait() {
	if p.empty() {
		return
	}
	for began := time.Now(); !p.empty(); {
		switch {
		case p.crowded.Load():
			runtime.Gosched()
		case time.Since(began) > patience:
			nap()
		}
	}
}

// empty waits a little for the workers to leave the job.
func (p *Pool) empty() bool {
	for range loads {
		if p.inside.Load() == 0 {
			return true
		}
	}
	return false
}

// take runs chunks of the present job until none is left.
func (p *Pool) take(worker int) {
	p.inside.Add(1)
	finished := false
	defer func() {
		if !finished {
			p.fail(recover())
		}
		p.inside.Add(-1)
	}()
	for {
		left := p.left.Add(-1)
		if left < 0 {
			finished = true
			return
		}
		chunk := p.chunks - 1 - int(left)
		for i, end := chunk*p.n/p.chunks, (chunk+1)*p.n/p.chunks; i < end; i++ {
			p.f(worker, i)
		}
	}
}

func (p *Pool) fail(cause any) {
	p.left.Store(0)
	err := fmt.Errorf("parallel: the function ended its goroutine\n%s", debug.Stack())
	if cause != nil {
		err = fmt.Errorf("parallel: panic: %v\n%s", cause, debug.Stack())
	}
	p.failed.CompareAndSwap(nil, &failure{err})
}

// wake gets the first helpers out of bed.
func (p *Pool) wake(helpers int) {
	p.crowded.Store(runtime.GOMAXPROCS(0) < p.Workers())
	for i := range p.sleepers[:helpers] {
		if s := &p.sleepers[i]; s.parked.Load() && s.parked.CompareAndSwap(true, false) {
			s.wake <- struct{}{}
		}
	}
}

// work is the life of a worker.
func (p *Pool) work(worker int) {
	defer p.done.Done()
	s := &p.sleepers[worker-1]
	for idle := time.Now(); !p.closed.Load(); {
		if p.look() {
			p.take(worker)
			idle = time.Now()
			continue
		}
		crowded := p.crowded.Load()
		if waited := time.Since(idle); !crowded && (p.held.Load() > 0 || waited < linger) {
			if waited > patience {
				nap()
			}
			continue
		}
		if crowded {
			runtime.Gosched()
		}
		s.parked.Store(true)
		// Work may have come between the look and the mark; then nobody will wake us, unless they have already.
		if (p.left.Load() > 0 || p.closed.Load() || !crowded && p.held.Load() > 0) && s.parked.CompareAndSwap(true, false) {
			continue
		}
		<-s.wake
		idle = time.Now()
	}
}

// look waits a little for work: plain loads, since a yield to the scheduler costs more than the hand-over.
func (p *Pool) look() bool {
	for range loads {
		if p.left.Load() > 0 {
			return true
		}
	}
	return false
}

// Hold keeps the workers awake between jobs until Release is called as often as Hold: round a run of many jobs. With
// fewer processors than workers it does nothing.
func (p *Pool) Hold() {
	p.held.Add(1)
	p.wake(len(p.sleepers))
}

// Release undoes one Hold, if there is one.
func (p *Pool) Release() {
	for {
		if n := p.held.Load(); n == 0 || p.held.CompareAndSwap(n, n-1) {
			return
		}
	}
}

// Close ends the workers and waits for them, and for a job that is running, so a job must not call it. It may be called more than
// once.
func (p *Pool) Close() {
	if !p.closed.Swap(true) {
		p.wake(len(p.sleepers))
	}
	p.done.Wait()
	p.running.Lock() // with the caller of Run, who is not waited for yet
	defer p.running.Unlock()
}
