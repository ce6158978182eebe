package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/internal/picture"
	"github.com/ebb-go/ebb/train/customize"
)

// runaway is embolden without what keeps it honest: as much ink as possible, no target and no critic. The loss falls as it
// should, and the samples are ruined.
func (s *study[T]) runaway(ctx context.Context) (*outcome[T], error) {
	began := time.Now()
	c := s.bold
	names := matrices(s.model.Spec())
	labels := make([]int, c.batch)
	for i := range labels {
		labels[i] = i % len(s.classes)
	}
	sm, _, err := s.sampler(labels, c.inside)
	if err != nil {
		return nil, err
	}
	all := make([]float64, c.batch) // ink of 1: everything
	for i := range all {
		all[i] = 1
	}
	loss := adjoint.Sum(adjoint.Weighted[T]{Weight: 1, Loss: customize.InkTarget[T](c.ink, all)})
	opt := s.options("hacked: ink without a target", c.runs, 4*c.rate)
	opt.Clip = 1
	r, err := customize.Weights(ctx, sm, names, loss, opt)
	if err != nil {
		return nil, err
	}
	asked := make([]int, c.test/2)
	for i := range asked {
		asked[i] = i % len(s.classes)
	}
	noise := s.noise(len(asked), 99)
	o := &outcome[T]{name: "hacked", result: r, curve: r.Curve, delta: delta(r, names)}
	samples, ink, judged := map[string][]T{}, map[string]float64{}, map[string]float64{}
	for name, values := range map[string]map[string][]T{"before": nil, "after": r.Values} {
		if samples[name], err = s.drawWith(ctx, values, asked, noise); err != nil {
			return nil, err
		}
		ink[name] = mean(s.inkOf(samples[name]))
		if judged[name], err = s.share(samples[name], asked); err != nil {
			return nil, err
		}
	}
	o.report.Score, o.report.Judge = ink["after"], judged["after"]
	o.report.Baseline = map[string]float64{"untouched": ink["before"]}
	o.report.Extra = map[string]float64{"judge_before": judged["before"]}
	o.report.ChangeRMS = rms(samples["after"], samples["before"])
	if o.report.Value20, err = value(loss, samples["after"][:c.batch*s.dim]); err != nil {
		return nil, err
	}
	if o.report.Diversity, err = s.diversity(samples["after"], samples["before"]); err != nil {
		return nil, err
	}
	if o.report.Certificate, o.report.CertificateKnots, err = s.certify(ctx, sm, names[:2], noise[:c.batch*s.dim], loss); err != nil {
		return nil, err
	}
	o.finish(r, began)
	o.sheet = picture.Sheet{
		Title: fmt.Sprintf("A reward hacked: more ink, %.3f → %.3f, and the loss fell as it should", ink["before"], ink["after"]),
		Note: fmt.Sprintf("Without a target and without a critic the weights find that a grey background is ink as well. The judge sees what was asked for in %.0f %% before, in %.0f %% after.",
			100*judged["before"], 100*judged["after"]),
		Height: s.held.Height, Width: s.held.Width, Across: len(s.classes), Scale: s.scale, Range: [2]float64{1, -1},
		Rows: []string{"before", "after"},
	}
	for _, name := range o.sheet.Rows {
		o.sheet.Tiles = append(o.sheet.Tiles, picture.Tiles(samples[name][:len(s.classes)*s.dim], s.dim)...)
	}
	return o, nil
}

// delta is what an optimization of weights has added.
func delta[T customize.Float](r *customize.Result[T], names []string) map[string][]T {
	all := map[string][]T{}
	for _, name := range names {
		d := append([]T(nil), r.Values[name]...)
		for i, v := range r.Start[name] {
			d[i] -= v
		}
		all[name] = d
	}
	return all
}
