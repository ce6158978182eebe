package main

import (
	"fmt"
	"io"
	"time"
)

// progress is one line that is written again and again, from two seconds on.
type progress struct {
	w     io.Writer
	start time.Time
	shown time.Time
}

const patience = 2 * time.Second

func newProgress(w io.Writer) *progress { return &progress{w: w, start: time.Now()} }

// show tells what is being done, at most ten times a second.
func (p *progress) show(format string, v ...any) {
	if now := time.Now(); now.Sub(p.start) >= patience && now.Sub(p.shown) >= time.Second/10 {
		p.shown = now
		fmt.Fprintf(p.w, "\r\x1b[K%s (%.0f s)", fmt.Sprintf(format, v...), now.Sub(p.start).Seconds())
	}
}

// end leaves the line as it is.
func (p *progress) end() {
	if !p.shown.IsZero() {
		fmt.Fprintln(p.w)
	}
}
