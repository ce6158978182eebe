package graph

import (
	"runtime"
	"sync/atomic"
)

// A queue lets programs that add to the same outputs do so one after the other, in the order of their numbers: sums have the
// same bits whoever is first.
type queue struct {
	next   []atomic.Int64 // by output: the number whose turn it is
	broken atomic.Bool    // nobody waits any more
}

func (q *queue) reset() {
	q.broken.Store(false)
	for i := range q.next {
		q.next[i].Store(0)
	}
}

// enter waits for the turn of a number at an output and reports whether it came.
func (q *queue) enter(output int, number int64) bool {
	for q.next[output].Load() != number {
		if q.broken.Load() {
			return false
		}
		runtime.Gosched()
	}
	return true
}

func (q *queue) leave(output int) { q.next[output].Add(1) }
