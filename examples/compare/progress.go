package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// progress is a bar that is drawn again and again, from a second on.
type progress struct {
	mu           sync.Mutex
	w            io.Writer
	start, shown time.Time
	done, of     int
}

func newProgress(w io.Writer, of int) *progress { return &progress{w: w, start: time.Now(), of: of} }

// add says that so much more is done, and what is being worked on.
func (p *progress) add(n int, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	now := time.Now()
	if now.Sub(p.start) < time.Second || now.Sub(p.shown) < time.Second/10 {
		return
	}
	p.shown = now
	const width = 30
	part := min(1, float64(p.done)/float64(max(1, p.of)))
	full := int(part * width)
	fmt.Fprintf(p.w, "\r\x1b[K%s%s %3.0f %%  %3.0f s  %s", strings.Repeat("█", full), strings.Repeat("░", width-full), 100*part, now.Sub(p.start).Seconds(), what)
}

// end leaves the line as it is.
func (p *progress) end() {
	if !p.shown.IsZero() {
		fmt.Fprintln(p.w)
	}
}
