package command

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// Progress is what a long command says of itself, from two seconds on: on a terminal one line that is written again and again,
// elsewhere, as in a file, a line of its own every few seconds.
type Progress struct {
	mu           sync.Mutex
	w            io.Writer
	terminal     bool
	start, shown time.Time
	done, total  int
}

const (
	patience = 2 * time.Second
	often    = time.Second / 10 // on a terminal
	seldom   = 5 * time.Second  // elsewhere
)

// NewProgress begins work of a total in any unit. Who writes to a terminal as well calls [Progress.End] first.
func NewProgress(w io.Writer, total int) *Progress {
	return &Progress{w: w, terminal: terminal(w), start: time.Now(), total: total}
}

// terminal says whether a line that is written can be written again.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Add says that so much more is done, and what is being worked on. It is safe for concurrent use.
func (p *Progress) Add(work int, what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += work
	now := time.Now()
	gone, between := now.Sub(p.start), seldom
	if p.terminal {
		between = often
	}
	if gone < patience || now.Sub(p.shown) < between {
		return
	}
	p.shown = now
	left := ""
	if p.done > 0 && p.done < p.total {
		left = fmt.Sprintf(", about %v left", (gone / time.Duration(p.done) * time.Duration(p.total-p.done)).Round(time.Second))
	}
	line := fmt.Sprintf("%s (%.0f s%s)", what, gone.Seconds(), left)
	if p.terminal {
		fmt.Fprint(p.w, "\r\x1b[K", line)
	} else {
		fmt.Fprintln(p.w, line)
	}
}

// End leaves the line as it is, so that what is written next begins one of its own.
func (p *Progress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.terminal && !p.shown.IsZero() {
		fmt.Fprintln(p.w)
	}
	p.shown = time.Time{}
}
