package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/picture"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/customize"
)

// embolden moves the ink of the samples to that of the boldest quarter of each class, which is given as one number each, by the
// weights of attention and MLP; and compares with the gradient through the last step only.
func (s *study[T]) embolden(ctx context.Context) (*outcome[T], error) {
	began := time.Now()
	c, goals := s.bold, s.refs.goals
	names := matrices(s.model.Spec())

	labels := make([]int, c.batch)
	want := make([]float64, c.batch)
	sm, field, err := s.sampler(labels, c.inside)
	if err != nil {
		return nil, err
	}
	lossOf := func(n int) adjoint.Loss[T] {
		return adjoint.Sum(adjoint.Weighted[T]{Weight: c.pull, Loss: customize.InkTarget[T](c.ink, want[:n])}, adjoint.Weighted[T]{Weight: c.keep, Loss: customize.CrossEntropy(s.critic, labels[:n])})
	}
	loss := lossOf(c.batch)
	begin := func(k int) error { // the classes in turn
		for i := range labels {
			labels[i] = ((k+1)*c.batch + i) % len(s.classes)
			want[i] = goals[labels[i]]
		}
		condition, err := models.Lookup(s.weights, labels)
		if err != nil {
			return err
		}
		return field.SetCondition(condition)
	}
	opt := s.options("weights: ink by gradient", c.runs, c.rate)
	opt.Begin, opt.Clip, opt.Fall = begin, 1, true
	r, err := customize.Weights(ctx, sm, names, loss, opt)
	if err != nil {
		return nil, err
	}

	// The same with the gradient of the last step: where it starts is computed, not differentiated.
	head, tail, fine, err := s.cut(c.inside)
	if err != nil {
		return nil, err
	}
	last := customize.Sampler[T]{Field: field, Plan: tail, Replay: fine, Batch: c.batch, Dim: s.dim}
	lo := s.options("weights: baseline, last step only", c.last, c.rate)
	lo.Begin, lo.Clip, lo.Fall = begin, 1, true
	lo.Start = func(ctx context.Context, k int, x []T) error {
		y, err := ode.Sample(ctx, head, field, s.noise(c.batch, 1000+uint64(k+1)), c.batch)
		copy(x, y)
		return err
	}
	truncated, err := customize.Weights(ctx, last, names, loss, lo)
	if err != nil {
		return nil, err
	}

	asked := make([]int, c.test)
	for i := range asked {
		asked[i] = i % len(s.classes)
	}
	noise := s.noise(c.test, 99)
	after, err := s.drawWith(ctx, r.Values, asked, noise)
	if err != nil {
		return nil, err
	}
	base, err := s.drawWith(ctx, nil, asked, noise)
	if err != nil {
		return nil, err
	}
	short, err := s.drawWith(ctx, truncated.Values, asked, noise)
	if err != nil {
		return nil, err
	}

	o := &outcome[T]{name: "weights", result: r, curve: r.Curve, delta: delta(r, names)}
	goal := mean(goals)
	inkBase, inkAfter, inkShort := mean(s.inkOf(base)), mean(s.inkOf(after)), mean(s.inkOf(short))
	way := func(x float64) float64 { return max(0, 1-abs(goal-x)/abs(goal-inkBase)) }
	sound, judged := map[string]float64{}, map[string]float64{}
	for name, x := range map[string][]T{"after": after, "before": base, "last step only": short} {
		if judged[name], err = s.share(x, asked); err != nil {
			return nil, err
		}
		if sound[name], err = s.sound(x, asked); err != nil {
			return nil, err
		}
	}
	o.report.Judge = judged["after"]
	o.report.Extra = map[string]float64{"ink_before": inkBase, "ink_after": inkAfter, "ink_target": goal, "ink_last_step_only": inkShort,
		"judge_before": judged["before"], "judge_last_step_only": judged["last step only"],
		"sound": sound["after"], "sound_before": sound["before"], "sound_last_step_only": sound["last step only"], "way": way(inkAfter), "way_last_step_only": way(inkShort)}
	for name, x := range map[string][]T{"": after, "_before": base, "_last_step_only": short} {
		if o.report.Extra["distance_to_bold"+name], err = s.distance(x, s.refs.bold); err != nil {
			return nil, err
		}
	}
	// What is promised: to come nearer to the real images of which nothing but the ink was given.
	nearer := func(to string) float64 {
		return 1 - o.report.Extra["distance_to_bold"+to]/o.report.Extra["distance_to_bold_before"]
	}
	o.report.Score, o.report.Baseline = nearer(""), map[string]float64{"last step only": nearer("_last_step_only"), "untouched": 0}
	if err := begin(0); err != nil {
		return nil, err
	}
	if o.report.Value20, err = value(loss, after[:c.batch*s.dim]); err != nil {
		return nil, err
	}
	o.report.ChangeRMS = rms(after, base)
	if o.report.Diversity, err = s.diversity(after, base); err != nil {
		return nil, err
	}
	// Every tensor is certified by runs of its own: of few samples.
	small, _, err := s.sampler(labels[:few], c.inside)
	if err != nil {
		return nil, err
	}
	if o.report.Certificate, o.report.CertificateKnots, err = s.certify(ctx, small, names, noise[:few*s.dim], lossOf(few)); err != nil {
		return nil, err
	}
	o.finish(r, began)

	rule := "sound, which is seen as what it is by the judge"
	if s.train != nil {
		rule += " and as near to real ones as those are to each other"
	}
	sheet := picture.Sheet{
		Title: fmt.Sprintf("Bolder %s without an example: ink %.3f → %.3f, asked for %.3f", s.things, inkBase, inkAfter, goal),
		Note: fmt.Sprintf("%s: %.0f %% before, %.0f %% after. Gradient of the last step only, in equal time: ink %.3f, %.0f %%. Distance to the real bold ones: %.2f, %.2f, %.2f",
			rule, 100*sound["before"], 100*sound["after"], inkShort, 100*sound["last step only"],
			o.report.Extra["distance_to_bold_before"], o.report.Extra["distance_to_bold"], o.report.Extra["distance_to_bold_last_step_only"]),
		Height: s.held.Height, Width: s.held.Width, Across: len(s.classes), Scale: s.scale, Range: [2]float64{1, -1},
		Rows: []string{"before", "after", "last step only"},
	}
	for _, x := range [][]T{base, after, short} {
		sheet.Tiles = append(sheet.Tiles, picture.Tiles(x[:len(s.classes)*s.dim], s.dim)...)
	}
	o.sheet = sheet
	return o, nil
}

// few are the samples of a gradient that is certified tensor by tensor.
const few = 4

// drawWith samples with some weights replaced.
func (s *study[T]) drawWith(ctx context.Context, values map[string][]T, asked []int, noise []T) ([]T, error) {
	w := s.weights.Clone()
	for name, v := range values {
		if err := w.Set(name, v); err != nil {
			return nil, err
		}
	}
	cell, err := graph.NewCell(s.model, w)
	if err != nil {
		return nil, err
	}
	defer cell.Close()
	condition, err := models.Lookup(s.weights, asked)
	if err != nil {
		return nil, err
	}
	f, err := graph.NewField(cell, condition)
	if err != nil {
		return nil, err
	}
	return s.sample(ctx, f, noise)
}

func (s *study[T]) inkOf(x []T) []float64 {
	return s.bold.ink.Of(wide(x), s.dim)
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

func abs(x float64) float64 { return max(x, -x) }

// cut is the midpoint rule with so many evaluations without its last step, that step, and the same in three.
func (s *study[T]) cut(evaluations int) (head, tail, fine *ode.Plan, err error) {
	knots := s.even(evaluations / 2)
	if len(knots) < 3 {
		return nil, nil, nil, fmt.Errorf("%d evaluations are one step of the midpoint rule, which cannot be cut", evaluations)
	}
	n := len(knots) - 2
	from, third := knots[n], (knots[n+1]-knots[n])/3
	if head, err = s.midpoint(knots[:n+1]...); err != nil {
		return nil, nil, nil, err
	}
	if tail, err = s.midpoint(knots[n:]...); err != nil {
		return nil, nil, nil, err
	}
	fine, err = s.midpoint(from, from+third, from+2*third, knots[n+1])
	return head, tail, fine, err
}
