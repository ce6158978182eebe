package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
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
	margin     = 4
	staying    = 5
	latentRate = 0.03
	latentRuns = 60
)

// latent edits held-out digits into another class, from the latents that they are inverted to, and compares with merely
// swapping the label and with the same optimization of the pixels. An edit succeeds if the judge sees the new class and
// the image is still nearer to the original than any real training image of that class is.
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
	loss := adjoint.Sum(adjoint.Weighted[T]{Weight: 1, Loss: customize.Margin(s.critic, to, margin)}, adjoint.Weighted[T]{Weight: staying, Loss: customize.Stay(real)})
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
	nearest, err := s.nearestOf(real, to)
	if err != nil {
		return nil, err
	}
	good := map[string][]bool{}
	o.report.Baseline = map[string]float64{}
	o.report.Extra = map[string]float64{"reconstruction_rms": rms(rebuilt, real)}
	for name, x := range map[string][]T{"edit": edited, "label swap": swapped, "pixel attack": attacked} {
		if good[name], err = s.edited(x, real, to, nearest); err != nil {
			return nil, err
		}
		n := 0.0
		for _, ok := range good[name] {
			if ok {
				n++
			}
		}
		judge, err := s.share(x, to)
		if err != nil {
			return nil, err
		}
		if name == "edit" {
			o.report.Score, o.report.Judge, o.report.ChangeRMS = n/float64(len(to)), judge, rms(x, real)
			continue
		}
		o.report.Baseline[name] = n / float64(len(to))
		key := strings.ReplaceAll(name, " ", "_")
		o.report.Extra[key+"_judge"], o.report.Extra[key+"_rms"] = judge, rms(x, real)
	}
	if o.report.Value20, err = value(loss, edited); err != nil {
		return nil, err
	}
	if o.report.Diversity, err = s.diversity(edited, swapped); err != nil {
		return nil, err
	}
	// Where the optimization began: at its end the gradient is nearly zero, and a relative error says little.
	if o.report.Certificate, o.report.CertificateKnots, err = s.certify(ctx, sm, []string{"x", "condition"}, z, loss); err != nil {
		return nil, err
	}
	o.finish(r, began)

	sheet := picture.Sheet{
		Title: fmt.Sprintf("Real digits made into another by moving their latents: %.0f %% succeed", 100*o.report.Score),
		Note: fmt.Sprintf("yes: the judge sees the digit asked for, and the image is nearer to the original than any real one of that digit. Label swap %.0f %%, pixels %.0f %%",
			100*o.report.Baseline["label swap"], 100*o.report.Baseline["pixel attack"]),
		Height: s.images.Height, Width: s.images.Width, Across: len(to) / 2, Scale: 8, Range: [2]float64{1, -1},
		Rows: []string{"real, held out", "edited by gradient", "label swapped", "pixels optimized"},
	}
	for k := 0; k < len(to)/2; k++ { // some of each pair, to keep the picture small
		sheet.Columns = append(sheet.Columns, fmt.Sprintf("%d → %d", from[k], to[k]))
	}
	for _, row := range []struct {
		name string
		x    []T
	}{{"", real}, {"edit", edited}, {"label swap", swapped}, {"pixel attack", attacked}} {
		seen, err := s.judge.Classify(row.x)
		if err != nil {
			return nil, err
		}
		for k := 0; k < len(to)/2; k++ {
			sheet.Tiles = append(sheet.Tiles, picture.Tiles(row.x[k*s.dim:(k+1)*s.dim], s.dim)[0])
			caption := fmt.Sprint(seen[k])
			switch {
			case row.name == "":
			case good[row.name][k]:
				caption += ": yes"
			case seen[k] == to[k]:
				caption += ": too far"
			default:
				caption += ": no"
			}
			sheet.Captions = append(sheet.Captions, caption)
		}
	}
	o.sheet = sheet
	return o, nil
}

// edited says for which images the judge sees the class asked for, at a change below the distance to the nearest real
// image of that class.
func (s *study[T]) edited(x, real []T, to []int, nearest []float64) ([]bool, error) {
	seen, err := s.judge.Classify(x)
	if err != nil {
		return nil, err
	}
	ok := make([]bool, len(to))
	for k := range to {
		change := rms(x[k*s.dim:(k+1)*s.dim], real[k*s.dim:(k+1)*s.dim]) * math.Sqrt(float64(s.dim))
		ok[k] = seen[k] == to[k] && change < nearest[k]
	}
	return ok, nil
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
