package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/ebb-go/ebb/train/measure"
)

// A report is what -json writes and what the tables are printed from.
type report struct {
	Data        string    `json:"data"`
	Model       string    `json:"model"`
	Judge       string    `json:"judge"`
	Seed        uint64    `json:"seed"`
	Count       int       `json:"count"`
	Interval    []float64 `json:"interval,omitempty"` // of guidance; all times if there is none
	Held        int       `json:"held_out"`
	Trained     int       `json:"training"`
	Real        []line    `json:"real"`
	Samples     []line    `json:"samples"`
	Interrupted bool      `json:"interrupted,omitempty"`
}

// A line is what was measured of one set of images.
type line struct {
	Name       string             `json:"name,omitempty"`    // of real images
	Setting    *setting           `json:"setting,omitempty"` // of samples
	N          int                `json:"n"`
	Frechet    float64            `json:"frechet"`
	Agreement  float64            `json:"agreement"`
	Worst      string             `json:"worst_class"`
	Classes    map[string]float64 `json:"agreement_by_class"`
	Neighbours *neighbours        `json:"neighbours,omitempty"` // not of what was made from held-out images
	Seconds    float64            `json:"seconds,omitempty"`
}

// neighbours are the measures that look for near images.
type neighbours struct {
	Compared int     `json:"compared"`
	Coverage float64 `json:"coverage"`
	Density  float64 `json:"density"`
	Searched int     `json:"searched"`
	Nearest  float64 `json:"nearest"`
}

func (s *subject) report() report {
	return report{Data: s.data, Model: s.model, Judge: s.judge, Seed: s.seed, Count: s.samples, Interval: s.interval, Held: s.held.N, Trained: s.train.N}
}

func (s *subject) lineOf(name string, m measure.Score) line {
	l := line{Name: name, N: m.N, Frechet: m.Frechet, Agreement: m.Overall, Classes: map[string]float64{}}
	for c, share := range m.PerClass {
		if !math.IsNaN(share) { // nobody asked for it
			l.Classes[s.names[c]] = share
		}
	}
	if m.N > 0 {
		l.Worst = s.names[m.Worst]
	}
	if m.Compared > 0 {
		l.Neighbours = &neighbours{m.Compared, m.Coverage, m.Density, m.Searched, m.Nearest}
	}
	return l
}

// write writes all that was measured.
func (r report) write(path string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o666)
}

var measures = []string{"Fréchet", "agrees", "worst class", "coverage", "density", "nearest"}

func (l line) figures() []string {
	cells := []string{fmt.Sprintf("%.3g", l.Frechet), percent(l.Agreement), fmt.Sprintf("%s (%s)", percent(l.Classes[l.Worst]), l.Worst), "", "", ""}
	if n := l.Neighbours; n != nil {
		copy(cells[3:], []string{fmt.Sprintf("%.3f", n.Coverage), fmt.Sprintf("%.2f", n.Density), fmt.Sprintf("%.2f", n.Nearest)})
	}
	return cells
}

func percent(share float64) string { return fmt.Sprintf("%.1f %%", 100*share) }

func (r report) print(out io.Writer, markdown bool) error {
	guided := ""
	if r.Interval != nil {
		guided = fmt.Sprintf(", guided from t = %v to %v", r.Interval[0], r.Interval[1])
	}
	fmt.Fprintf(out, "%s, judged by %s: %d samples a line, seed %d%s.\nFréchet distances are to all %d held-out images", r.Model, r.Judge, r.Count, r.Seed, guided, r.Held)
	for _, l := range append(r.Real[:len(r.Real):len(r.Real)], r.Samples...) {
		if n := l.Neighbours; n != nil {
			fmt.Fprintf(out, "; coverage and density are of %d images by %d, nearest is of %d", min(r.Count, r.Held), min(r.Count, r.Held), n.Searched)
			break
		}
	}
	fmt.Fprint(out, ".\n\n")
	table := [][]string{append([]string{"real images", "n"}, measures...)}
	for _, l := range r.Real {
		table = append(table, append([]string{l.Name, fmt.Sprint(l.N)}, l.figures()...))
	}
	if err := printTable(out, table, markdown); err != nil || len(r.Samples) == 0 {
		return err
	}
	fmt.Fprintln(out)
	table = [][]string{append(append([]string{"solver", "shift", "guidance", "evaluations"}, measures...), "s")}
	for _, l := range r.Samples {
		t := l.Setting
		cells := []string{t.Solver, fmt.Sprint(t.Shift), fmt.Sprint(t.Guidance), fmt.Sprint(t.Evaluations)}
		table = append(table, append(append(cells, l.figures()...), fmt.Sprintf("%.1f", l.Seconds)))
	}
	return printTable(out, table, markdown)
}

func printTable(out io.Writer, table [][]string, markdown bool) error {
	if markdown {
		for i, cells := range table {
			fmt.Fprintf(out, "| %s |\n", strings.Join(cells, " | "))
			if i == 0 {
				fmt.Fprintf(out, "|---|%s\n", strings.Repeat("---:|", len(cells)-1))
			}
		}
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, cells := range table {
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}
