package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"time"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/internal/picture"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/train/customize"
)

// report is what report.json says of a target.
type report struct {
	Score            float64            `json:"score"`    // what the target promises, told by the judge or the fixed rule
	Baseline         map[string]float64 `json:"baseline"` // the same for what is simpler
	LossBefore       float64            `json:"loss_before"`
	LossAfter        float64            `json:"loss_after"`
	Judge            float64            `json:"judge"`       // share of samples that are what they should be
	Value20          float64            `json:"value_at_20"` // the loss of the samples at 20 evaluations
	ChangeRMS        float64            `json:"change_rms"`
	Diversity        float64            `json:"diversity_ratio,omitempty"` // left out of one sample
	Verdict          string             `json:"verdict"`
	Replayed         float64            `json:"loss_replayed"`
	Certificate      float64            `json:"certificate_relative_error"`
	CertificateKnots float64            `json:"certificate_knots_relative_error,omitempty"`
	NFE              int                `json:"nfe"`
	VJP              int                `json:"vjp"`
	Seconds          float64            `json:"seconds"`
	PeakBytes        int64              `json:"peak_bytes"`
	Extra            map[string]float64 `json:"extra"`
}

// beats says whether the target did better than every baseline, and an edit at no larger change than swapping labels.
func (r report) beats() bool {
	if swap, ok := r.Extra["label_swap_rms"]; ok && r.ChangeRMS > swap {
		return false
	}
	for _, b := range r.Baseline {
		if !(r.Score > b) {
			return false
		}
	}
	return true
}

// outcome is what a target found.
type outcome[T customize.Float] struct {
	name      string
	report    report
	result    *customize.Result[T]
	curve     []float64
	sheet     picture.Sheet
	latent    []T
	condition []T
	delta     map[string][]T
}

func (o *outcome[T]) finish(r *customize.Result[T], began time.Time) {
	o.report.LossBefore, o.report.LossAfter, o.report.Replayed = r.Before, r.After, r.Replayed
	o.report.Verdict = string(r.Verdict)
	o.report.NFE, o.report.VJP, o.report.PeakBytes = r.NFE, r.VJP, r.Bytes
	o.report.Seconds = time.Since(began).Seconds()
}

func fieldCondition[T customize.Float](f *graph.Field[T], n int) []T {
	c := make([]T, n)
	if f.Load(graph.Condition, c) != nil {
		return nil
	}
	return c
}

// The files of all targets; each has one of its own as well.
const (
	pictureFile = "customize.png"
	reportFile  = "report.json"
)

// file is where what a target found is written.
func (o *outcome[T]) file(dir string) string { return filepath.Join(dir, o.name+".safetensors") }

// write leaves in a folder what the last of the targets found, and the report and the picture of all of them.
func write[T customize.Float](dir, things string, spec graph.Spec, done []*outcome[T]) error {
	last := done[len(done)-1]
	a := models.Artifact[T]{Latent: last.latent, Condition: last.condition, Delta: last.delta}
	if err := models.SaveArtifact(last.file(dir), spec, a, dtypeOf[T](), nil); err != nil {
		return err
	}
	page := picture.Page{Title: fmt.Sprintf("What exact gradients through a sampler do to %s", things), Columns: 1}
	targets := map[string]report{}
	for _, o := range done {
		curve := picture.Curves{Title: "Loss, " + o.name, XLabel: "iteration", YLabel: "loss", Width: 360, Height: 240}
		line := picture.Line{Name: ""}
		for i, v := range o.curve {
			line.X, line.Y = append(line.X, float64(i)), append(line.Y, v)
		}
		curve.Lines = []picture.Line{line}
		page.Panels = append(page.Panels, picture.Page{Columns: 2, Panels: []picture.Panel{o.sheet, curve}})
		targets[o.name] = o.report
	}
	text, err := json.MarshalIndent(map[string]any{"targets": targets}, "", "  ")
	if err != nil {
		return err
	}
	if err := replace(filepath.Join(dir, reportFile), append(text, '\n')); err != nil {
		return err
	}
	return picture.Write(filepath.Join(dir, pictureFile), page)
}

// drawn is the command that draws what a target found: latents under the conditions that are in the same file.
func (o *outcome[T]) drawn(set settings) string {
	part := "-delta"
	switch {
	case o.latent != nil:
		part = "-latent"
	case o.condition != nil:
		part = "-condition"
	}
	return command.Line("go", "run", "./examples/sample", "-model", filepath.Join(folder(set.data), flowFile), part, o.file(set.out))
}

func dtypeOf[T customize.Float]() graph.Dtype {
	if single[T]() {
		return graph.F32
	}
	return graph.F64
}

// replace writes a file at once or not at all.
func replace(path string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".report-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.Write(text); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// line is a target's outcome in words.
func (o *outcome[T]) line() string {
	s := fmt.Sprintf("%-10s score %.3f", o.name, o.report.Score)
	names := make([]string, 0, len(o.report.Baseline))
	for name := range o.report.Baseline {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		s += fmt.Sprintf(", %s %.3f", name, o.report.Baseline[name])
	}
	s += fmt.Sprintf("; loss %.4f → %.4f, replayed %.4f (%s); gradient against differences %.1e; %.1f s",
		o.report.LossBefore, o.report.LossAfter, o.report.Replayed, o.report.Verdict, o.report.Certificate, o.report.Seconds)
	if !o.report.beats() {
		s += "; NOT better than every baseline"
	}
	return s
}
