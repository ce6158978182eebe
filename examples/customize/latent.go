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
	"github.com/ebb-go/ebb/train/data"
)

// latent edits held-out images into another class, from the latents that they are inverted to, and compares with merely
// swapping the label and with the same optimization of the pixels. An edit succeeds if the judge sees the new class and,
// where training images are at hand, the image is still nearer to the original than any of them of that class is.
func (s *study[T]) latent(ctx context.Context) (*outcome[T], error) {
	began := time.Now()
	indices, from, to, err := s.edits()
	if err != nil {
		return nil, err
	}
	real, err := pixels[T](s.held, indices...)
	if err != nil {
		return nil, err
	}
	source, err := s.field(from)
	if err != nil {
		return nil, err
	}
	back, err := s.invert(reported)
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

	sm, field, err := s.sampler(to, s.edit.inside)
	if err != nil {
		return nil, err
	}
	loss := adjoint.Sum(adjoint.Weighted[T]{Weight: 1, Loss: customize.Margin(s.critic, to, s.edit.margin)}, adjoint.Weighted[T]{Weight: s.edit.staying, Loss: customize.Stay(real)})
	r, err := customize.Latent(ctx, sm, z, loss, s.options("latent: edit by gradient", s.edit.runs, s.edit.rate))
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
	attacked, err := s.attack(ctx, real, loss, len(to))
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

	across := min(len(to), 12) // some of each pair, to keep the picture small
	rule := "yes: the judge sees what was asked for."
	if s.train != nil {
		rule = "yes: the judge sees what was asked for, and the image is nearer to the original than any real one of that kind."
	}
	sheet := picture.Sheet{
		Title: fmt.Sprintf("Real %s made into another kind by moving their latents: %.0f %% succeed, at a change of %.2f", s.things, 100*o.report.Score, o.report.ChangeRMS),
		Note: fmt.Sprintf("%s Label swapped %.0f %%, at a change of %.2f; pixels optimized %.0f %%, at %.2f",
			rule, 100*o.report.Baseline["label swap"], o.report.Extra["label_swap_rms"], 100*o.report.Baseline["pixel attack"], o.report.Extra["pixel_attack_rms"]),
		Height: s.held.Height, Width: s.held.Width, Across: across, Scale: s.scale, Range: [2]float64{1, -1},
		Rows: []string{"real, held out", "edited by gradient", "label swapped", "pixels optimized"},
	}
	for k := range across {
		sheet.Columns = append(sheet.Columns, fmt.Sprintf("%s →\n%s", s.classes[from[k]], s.classes[to[k]]))
	}
	for _, row := range []struct {
		name string
		x    []T
	}{{"", real}, {"edit", edited}, {"label swap", swapped}, {"pixel attack", attacked}} {
		seen, err := s.judge.Classify(row.x)
		if err != nil {
			return nil, err
		}
		for k := range across {
			sheet.Tiles = append(sheet.Tiles, picture.Tiles(row.x[k*s.dim:(k+1)*s.dim], s.dim)[0])
			caption := s.classes[seen[k]]
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

// edited says for which images the judge sees the class asked for, at a change below nearest.
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
	if s.mine {
		return s.mineEdits()
	}
	right := make([]bool, s.held.N)
	for part := range slices.Chunk(ofAll(s.held), 500) {
		x, err := pixels[T](s.held, part...)
		if err != nil {
			return nil, nil, nil, err
		}
		a, err := s.critic.Classify(x)
		if err != nil {
			return nil, nil, nil, err
		}
		b, err := s.judge.Classify(x)
		if err != nil {
			return nil, nil, nil, err
		}
		for k, i := range part {
			right[i] = a[k] == s.held.Labels[i] && b[k] == s.held.Labels[i]
		}
	}
	for range s.edit.each {
		for _, p := range s.edit.pairs {
			k := slices.IndexFunc(ofAll(s.held), func(i int) bool {
				return right[i] && s.held.Labels[i] == p[0] && !slices.Contains(indices, i)
			})
			if k < 0 {
				return nil, nil, nil, fmt.Errorf("too few held-out images of class %s", s.classes[p[0]])
			}
			indices, from, to = append(indices, k), append(from, p[0]), append(to, p[1])
		}
	}
	return indices, from, to, nil
}

func ofAll(m *data.Images) []int {
	all := make([]int, m.N)
	for i := range all {
		all[i] = i
	}
	return all
}

// mineEdits takes the user's pictures: from what the folder says they are, or the critic, to what was asked for.
func (s *study[T]) mineEdits() (indices, from, to []int, err error) {
	indices = ofAll(s.held)
	if from = s.held.Labels; from == nil {
		x, err := pixels[T](s.held)
		if err != nil {
			return nil, nil, nil, err
		}
		if from, err = s.critic.Classify(x); err != nil {
			return nil, nil, nil, err
		}
	}
	for _, c := range from {
		want := s.partner(c)
		if s.asked >= 0 {
			want = s.asked
		}
		to = append(to, want)
	}
	return indices, from, to, nil
}

// attack is the same optimization in pixel space.
func (s *study[T]) attack(ctx context.Context, real []T, loss adjoint.Loss[T], batch int) ([]T, error) {
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
	r, err := customize.Latent(ctx, sm, real, loss, s.options("latent: baseline, pixels", s.edit.runs, s.edit.rate))
	if err != nil {
		return nil, err
	}
	return r.Values["x"], nil
}
