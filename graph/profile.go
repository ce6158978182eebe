package graph

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// A Profile says what ran, and what it took, since [Program.Watch] or [Cell.Watch].
type Profile struct {
	Programs []Stats         // of a Cell, one worker's of each
	Ops      []OpProfile     // what took longest comes first
	Wall     time.Duration   // since the watch began
	Busy     []time.Duration // by worker: inside ops
	Bytes    int64           // owned: see [Cell.Bytes]
}

// An OpProfile is the sum over all runs of one op on inputs of certain shapes.
type OpProfile struct {
	Op     string
	Shapes []Shape // of the inputs; none for work that is no op
	Count  int64
	FLOPs  int64 // of the products, 0 for ops that are not counted
	Time   time.Duration
	Least  time.Duration // of one run: the one that others disturbed least
}

// watch is what a program writes down while it is watched, step by step.
type watch struct {
	since time.Time
	steps []OpProfile // Count, Time and Least of each
}

// tally adds a run to count and times.
func (o *OpProfile) tally(t time.Duration) {
	if o.Count == 0 || t < o.Least {
		o.Least = t
	}
	o.Count++
	o.Time += t
}

// Watch begins to measure each op of the runs to come, from zero, or stops to. A run that is not watched costs nothing more.
func (p *Program[T]) Watch(on bool) error {
	if !p.busy.CompareAndSwap(false, true) {
		return fmt.Errorf("program: %w", ErrBusy)
	}
	defer p.busy.Store(false)
	if p.watch = nil; on {
		p.watch = &watch{since: time.Now(), steps: make([]OpProfile, len(p.steps))}
	}
	return nil
}

// Profile says what has been measured. While nothing is watched it has no times.
func (p *Program[T]) Profile() Profile {
	s := p.Stats()
	r := Profile{Programs: []Stats{s}, Bytes: s.Bytes}
	if p.watch != nil {
		r.Wall = time.Since(p.watch.since)
		r.Busy = []time.Duration{p.record(&r, map[string]int{})}
	}
	r.sort()
	return r
}

// record adds the steps of a watched program to a profile, in which index finds ops, and returns the sum of their times.
func (p *Program[T]) record(r *Profile, index map[string]int) (busy time.Duration) {
	for t, s := range p.steps {
		if p.watch == nil || p.watch.steps[t].Count == 0 || s.view {
			continue
		}
		o := p.watch.steps[t]
		o.Op, o.FLOPs = s.name, o.Count*s.flops
		for _, v := range s.in {
			o.Shapes = append(o.Shapes, p.values[v].shape)
		}
		busy += o.Time
		r.add(o, index)
	}
	return busy
}

func (r *Profile) add(o OpProfile, index map[string]int) {
	key := fmt.Sprint(o.Op, o.Shapes)
	i, known := index[key]
	if !known {
		index[key] = len(r.Ops)
		r.Ops = append(r.Ops, o)
		return
	}
	have := &r.Ops[i]
	have.Count, have.FLOPs, have.Time, have.Least = have.Count+o.Count, have.FLOPs+o.FLOPs, have.Time+o.Time, min(have.Least, o.Least)
}

func (r *Profile) sort() {
	slices.SortStableFunc(r.Ops, func(a, b OpProfile) int { return cmp.Compare(b.Time, a.Time) })
}

// Write prints the profile as a table, a line for every op: milliseconds in all and their share of all ops, how often it ran,
// microseconds of one run at best, and for products GFLOPs in all and GFLOP/s at best.
func (r Profile) Write(w io.Writer) error {
	const mega, giga = 1e6, 1e9
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight) // keeps an error for Flush
	for _, s := range r.Programs {
		fmt.Fprintf(t, "%d ops, %.3f GFLOP, arena %.2f MB for %.2f MB alive at once, %.2f MB owned\n",
			s.Steps, float64(s.FLOPs)/giga, float64(s.Arena)/mega, float64(s.Live)/mega, float64(s.Bytes)/mega)
	}
	fmt.Fprintf(t, "%.2f MB owned in all\n", float64(r.Bytes)/mega)
	total := 0.0
	for i, b := range r.Busy {
		total += b.Seconds()
		fmt.Fprintf(t, "worker %d: in ops for %.1f %% of %.1f ms\n", i, 100*b.Seconds()/r.Wall.Seconds(), r.Wall.Seconds()*1e3)
	}
	fmt.Fprint(t, "\nms\tshare\tcount\tbest µs\tGFLOP\tGFLOP/s\t  op and shapes\n")
	for _, o := range r.Ops {
		flops, speed := "", ""
		if o.FLOPs > 0 {
			flops, speed = fmt.Sprintf("%.3f", float64(o.FLOPs)/giga), fmt.Sprintf("%.1f", float64(o.FLOPs)/float64(o.Count)/giga/max(1e-9, o.Least.Seconds()))
		}
		fmt.Fprintf(t, "%.3f\t%.1f %%\t%d\t%.1f\t%s\t%s\t  %s %s\n", o.Time.Seconds()*1e3, 100*o.Time.Seconds()/max(1e-9, total),
			o.Count, o.Least.Seconds()*1e6, flops, speed, o.Op, shapeList(o.Shapes))
	}
	return t.Flush()
}

// shapeList is shapes as 8×49×128, up to three of them.
func shapeList(shapes []Shape) string {
	var s []string
	for i, x := range shapes {
		if i == 3 {
			s = append(s, "…")
			break
		}
		s = append(s, strings.ReplaceAll(strings.Trim(fmt.Sprint([]int(x)), "[]"), " ", "×"))
	}
	return strings.Join(s, ", ")
}
