package command

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Progress is one line that is written again and again, from two seconds on.
type Progress struct {
	mu           sync.Mutex
	w            io.Writer
	start, shown time.Time
	done, total  int
}

const patience = 2 * time.Second

// NewProgress begins work of a total in any unit.
func NewProgress(w io.Writer, total int) *Progress {
	return &Progress{w: w, start: time.Now(), total: total}
}

// Add says that so much more is done, and what is being worked on, at most ten times a second. It is safe for concurrent use.
func (p *Progress) Add(work int, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += work
	now := time.Now()
	gone := now.Sub(p.start)
	if gone < patience || now.Sub(p.shown) < time.Second/10 {
		return
	}
	p.shown = now
	left := ""
	if p.done > 0 && p.done < p.total {
		left = fmt.Sprintf(", about %v left", (gone / time.Duration(p.done) * time.Duration(p.total-p.done)).Round(time.Second))
	}
	fmt.Fprintf(p.w, "\r\x1b[K%s (%.0f s%s)", what, gone.Seconds(), left)
}

// End leaves the line as it is.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.shown.IsZero() {
		fmt.Fprintln(p.w)
		p.shown = time.Time{}
	}
}
