package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/internal/picture"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/customize"
)

// pairs are the edits: a digit into one that shares strokes with it.
var pairs = [][2]int{{3, 8}, {9, 4}, {1, 7}, {5, 6}, {7, 9}, {4, 9}, {6, 8}, {8, 3}}

const (
	eachPair   = 3
	margin     = 2
	staying    = 10
	latentRate = 0.03
	latentRuns = 25
)

// latent edits held-out digits into another class, from the latents that they are inverted to, and compares with merely
// swapping the label and with the same optimization of the pixels.
func (s *study[T]) latent(ctx context.Context) (*outcome[T], error) {
	began := time.Now()
	indices, from, to, err := s.edits()
	if err != nil {
		return nil, err
	}
	real, err := s.pick(indices)
	if err != nil {
		return nil, err
	}
	source, err := s.field(from)
	if err != nil {
		return nil, err
	}
	back, err := s.plan(reported, true)
	if err != nil {
		return nil, err
	}
	z, err := ode.Sample(ctx, back, source, real, len(from))
	if err != nil {
		return nil, err
	}
	z = slices.Clone(z)
	rebuilt, err := s.sample(ctx, source, z)
	if err != nil {
		return nil, err
	}

	sm, field, err := s.sampler(to, insideLatent)
	if err != nil {
		return nil, err
	}
	loss := sum(weighted[T]{1, customize.Margin(s.critic, to, margin)}, weighted[T]{staying, customize.Stay(real)})
	r, err := customize.Latent(ctx, sm, z, loss, s.options("latent: edit by gradient", latentRuns, latentRate))
	if err != nil {
		return nil, err
	}
	edited, err := s.sample(ctx, field, r.Values["x"])
	if err != nil {
		return nil, err
	}
	swapped, err := s.sample(ctx, field, z)
	if err != nil {
		return nil, err
	}
	attacked, err := s.pixels(ctx, real, loss, len(to))
	if err != nil {
		return nil, err
	}

	o := &outcome[T]{name: "latent", result: r, curve: r.Curve, latent: r.Values["x"], condition: fieldCondition(field, len(to)*s.width)}
	if o.report.Score, err = s.share(edited, to); err != nil {
		return nil, err
	}
	o.report.Judge = o.report.Score
	o.report.Baseline = map[string]float64{}
	for name, x := range map[string][]T{"label swap": swapped, "pixel attack": attacked} {
		if o.report.Baseline[name], err = s.share(x, to); err != nil {
			return nil, err
		}
	}
	o.report.ChangeRMS = rms(edited, real)
	o.report.Extra = map[string]float64{"reconstruction_rms": rms(rebuilt, real), "label_swap_rms": rms(swapped, real), "pixel_attack_rms": rms(attacked, real)}
	if o.report.Value20, err = value(loss, edited); err != nil {
		return nil, err
	}
	if o.report.Diversity, err = s.diversity(edited, swapped); err != nil {
		return nil, err
	}
	if o.report.Certificate, o.report.CertificateKnots, err = s.certify(ctx, sm, []string{"x", "condition"}, r.Values["x"], loss); err != nil {
		return nil, err
	}
	o.finish(r, began)

	rows := []string{"real", "edited by gradient", "label swap", "pixels optimized"}
	sheet := picture.Sheet{
		Title:  fmt.Sprintf("Real digits made into another one by moving their latents: the judge says yes to %.0f %%", 100*o.report.Score),
		Note:   fmt.Sprintf("label swap %.0f %%, pixels optimized %.0f %%; ✓ where the judge sees the class asked for", 100*o.report.Baseline["label swap"], 100*o.report.Baseline["pixel attack"]),
		Height: s.images.Height, Width: s.images.Width, Across: len(to) / 2, Rows: rows, Scale: 8, Range: [2]float64{1, -1},
	}
	for k := 0; k < len(to); k += 2 { // every other one, to keep the picture small
		sheet.Columns = append(sheet.Columns, fmt.Sprintf("%d → %d", from[k], to[k]))
	}
	for _, x := range [][]T{real, edited, swapped, attacked} {
		seen, err := s.judge.Classify(x)
		if err != nil {
			return nil, err
		}
		for k := 0; k < len(to); k += 2 {
			sheet.Tiles = append(sheet.Tiles, picture.Tiles(x[k*s.dim:(k+1)*s.dim], s.dim)[0])
			caption := fmt.Sprintf("is a %d", seen[k])
			if seen[k] == to[k] {
				caption += " ✓"
			}
			sheet.Captions = append(sheet.Captions, caption)
		}
	}
	o.sheet = sheet
	return o, nil
}

// edits picks held-out images that both classifiers get right, and what each is to become.
func (s *study[T]) edits() (indices, from, to []int, err error) {
	held, err := s.pick(s.parts.Held)
	if err != nil {
		return nil, nil, nil, err
	}
	a, err := s.critic.Classify(held)
	if err != nil {
		return nil, nil, nil, err
	}
	b, err := s.judge.Classify(held)
	if err != nil {
		return nil, nil, nil, err
	}
	used := map[int]bool{}
	for range eachPair {
		for _, p := range pairs {
			k := slices.IndexFunc(s.parts.Held, func(i int) bool { return s.images.Labels[i] == p[0] && !used[i] })
			for k >= 0 && (a[k] != p[0] || b[k] != p[0]) {
				used[s.parts.Held[k]] = true
				k = slices.IndexFunc(s.parts.Held, func(i int) bool { return s.images.Labels[i] == p[0] && !used[i] })
			}
			if k < 0 {
				return nil, nil, nil, fmt.Errorf("too few held-out images of class %d", p[0])
			}
			used[s.parts.Held[k]] = true
			indices, from, to = append(indices, s.parts.Held[k]), append(from, p[0]), append(to, p[1])
		}
	}
	return indices, from, to, nil
}

// pixels is the same optimization in pixel space.
func (s *study[T]) pixels(ctx context.Context, real []T, loss adjoint.Loss[T], batch int) ([]T, error) {
	one := ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Grid: ode.UniformTime{}, Steps: 1}
	plan, err := ode.DDIM{}.Plan(one)
	if err != nil {
		return nil, err
	}
	one.Steps = 3
	replay, err := ode.DDIM{}.Plan(one)
	if err != nil {
		return nil, err
	}
	sm := customize.Sampler[T]{Field: still[T]{}, Plan: plan, Replay: replay, Batch: batch, Dim: s.dim}
	r, err := customize.Latent(ctx, sm, real, loss, s.options("latent: baseline, pixels", latentRuns, latentRate))
	if err != nil {
		return nil, err
	}
	return r.Values["x"], nil
}
