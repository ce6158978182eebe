package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/ebb-go/ebb/internal/picture"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/customize"
	"github.com/ebb-go/ebb/train/measure"
)

// The concept: a 1 that stands on a foot. The label does not say whether it does; 13 % of the ones do.
const (
	conceptClass = 1
	conceptShown = 12 // images the optimizer sees
	conceptBatch = 48
	conceptRuns  = 120
	conceptRate  = 0.05
	conceptTest  = 200 // samples a figure is taken from
	footWidth    = 5   // inked pixels of one of the two lowest rows
)

// foot is the fixed rule: at least footWidth inked pixels (above half) in one of the two lowest rows.
func foot[T customize.Float](x []T, height, width int) bool {
	for row := height - 2; row < height; row++ {
		inked := 0
		for _, v := range x[row*width : (row+1)*width] {
			if v > 0 {
				inked++
			}
		}
		if inked >= footWidth {
			return true
		}
	}
	return false
}

func (s *study[T]) trait(x []T) float64 {
	n := 0
	for i := 0; i < len(x); i += s.dim {
		if foot(x[i:i+s.dim], s.images.Height, s.images.Width) {
			n++
		}
	}
	return float64(n*s.dim) / float64(len(x))
}

func repeat(label, n int) []int {
	labels := make([]int, n)
	for i := range labels {
		labels[i] = label
	}
	return labels
}

// concept learns a condition vector from a few pictures, through the sampler, and compares with the class vector and
// with textual inversion.
func (s *study[T]) concept(ctx context.Context) (*outcome[T], error) {
	began := time.Now()
	var shown []int
	for _, i := range s.parts.Train {
		if s.images.Labels[i] == conceptClass && foot(s.images.Image(i), s.images.Height, s.images.Width) && len(shown) < conceptShown {
			shown = append(shown, i)
		}
	}
	if len(shown) < 8 {
		return nil, fmt.Errorf("only %d training images have the trait; at least 8 are needed", len(shown))
	}
	references, err := s.pick(shown)
	if err != nil {
		return nil, err
	}
	byCritic, err := customize.Match(customize.CriticLook(s.critic), references)
	if err != nil {
		return nil, err
	}
	pixels, err := customize.PixelLook[T](s.images.Height, s.images.Width, 2)
	if err != nil {
		return nil, err
	}
	byPixels, err := customize.Match(pixels, references)
	if err != nil {
		return nil, err
	}
	loss := adjoint.Sum(adjoint.Weighted[T]{Weight: 1, Loss: byCritic}, adjoint.Weighted[T]{Weight: 1, Loss: byPixels})

	start, err := models.Lookup(s.weights, []int{conceptClass})
	if err != nil {
		return nil, err
	}
	sm, field, err := s.sampler(repeat(conceptClass, conceptBatch), insideCondition)
	if err != nil {
		return nil, err
	}
	opt := s.options("condition: concept by gradient", conceptRuns, conceptRate)
	opt.Fall = true
	r, err := customize.Condition(ctx, sm, start, loss, opt)
	if err != nil {
		return nil, err
	}
	learned := r.Values[graph.Condition]
	// As many evaluations and products as the other had: one of each a step.
	inverted, err := s.textualInversion(ctx, start, references, r.VJP)
	if err != nil {
		return nil, err
	}

	noise := s.noise(conceptTest, 77)
	draw := func(condition []T) ([]T, error) {
		tile := make([]T, 0, conceptTest*len(condition))
		for range conceptTest {
			tile = append(tile, condition...)
		}
		f, err := graph.NewField(s.cell, tile)
		if err != nil {
			return nil, err
		}
		return s.sample(ctx, f, noise)
	}
	with, err := draw(learned)
	if err != nil {
		return nil, err
	}
	base, err := draw(start)
	if err != nil {
		return nil, err
	}
	textual, err := draw(inverted)
	if err != nil {
		return nil, err
	}

	o := &outcome[T]{name: "condition", result: r, curve: r.Curve, condition: learned}
	o.report.Score = s.trait(with)
	o.report.Baseline = map[string]float64{"class vector": s.trait(base), "textual inversion": s.trait(textual)}
	if o.report.Judge, err = s.share(with, repeat(conceptClass, conceptTest)); err != nil {
		return nil, err
	}
	o.report.Extra = map[string]float64{"pictures": float64(len(shown))}
	for name, x := range map[string][]T{"distance": with, "distance_class_vector": base, "distance_textual_inversion": textual} {
		if o.report.Extra[name], err = s.distance(x, references); err != nil {
			return nil, err
		}
	}
	if o.report.Value20, err = value(loss, with); err != nil {
		return nil, err
	}
	o.report.ChangeRMS = rms(with, base)
	if o.report.Diversity, err = s.diversity(with, base); err != nil {
		return nil, err
	}
	// The pictures shown are less diverse than all of their class: how much of their own diversity is there?
	if o.report.Extra["diversity_to_pictures"], err = s.diversity(with, references); err != nil {
		return nil, err
	}
	tile := make([]T, 0, conceptBatch*len(learned))
	for range conceptBatch {
		tile = append(tile, learned...)
	}
	if err := field.SetCondition(tile); err != nil {
		return nil, err
	}
	if o.report.Certificate, o.report.CertificateKnots, err = s.certify(ctx, sm, []string{graph.Condition}, noise[:conceptBatch*s.dim], loss); err != nil {
		return nil, err
	}
	o.finish(r, began)

	const across = 12
	sheet := picture.Sheet{
		Title: fmt.Sprintf("A concept from %d pictures: ones on a foot. %.0f %% of the samples have it", len(shown), 100*o.report.Score),
		Note: fmt.Sprintf("class vector %.0f %%, textual inversion %.0f %%; the judge still sees a %d in %.0f %%; they are %.2f times as diverse as the pictures", 100*o.report.Baseline["class vector"],
			100*o.report.Baseline["textual inversion"], conceptClass, 100*o.report.Judge, o.report.Extra["diversity_to_pictures"]),
		Height: s.images.Height, Width: s.images.Width, Across: across, Scale: 8, Range: [2]float64{1, -1},
		Rows: []string{"pictures shown", "concept learned", "class vector", "textual inversion"},
	}
	for _, x := range [][]T{references, with, base, textual} {
		tiles := picture.Tiles(x[:min(len(x), across*s.dim)], s.dim)
		for len(tiles) < across {
			tiles = append(tiles, nil)
		}
		sheet.Tiles = append(sheet.Tiles, tiles...)
	}
	o.sheet = sheet
	return o, nil
}

// distance is the Fréchet distance of the judge's features, between samples and the pictures shown.
func (s *study[T]) distance(x, references []T) (float64, error) {
	a, err := s.judge.Features(x)
	if err != nil {
		return 0, err
	}
	a.Data = append([]float64(nil), a.Data...)
	b, err := s.judge.Features(references)
	if err != nil {
		return 0, err
	}
	return measure.Frechet(a, b)
}

// textualInversion learns the condition vector by the flow loss on the pictures (Gal et al. 2022, arXiv 2208.01618): the
// network is asked at single times, no sampler is run.
func (s *study[T]) textualInversion(ctx context.Context, start, references []T, steps int) ([]T, error) {
	n := len(references) / s.dim
	c := append([]T(nil), start...)
	field, err := s.field(repeat(conceptClass, n))
	if err != nil {
		return nil, err
	}
	schedule := s.model.Spec().Schedule
	tile, grad := make([]T, n*len(c)), make([]T, n*len(c))
	g, m, v := make([]T, len(c)), make([]T, len(c)), make([]T, len(c))
	x, residual, u, times := make([]T, len(references)), make([]T, len(references)), make([]T, len(references)), make([]T, n)
	tangent := ode.Tangent[T]{Params: map[string][]T{graph.Condition: grad}}
	for k := range steps {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		copy(tile, c)
		for i := len(c); i < len(tile); i += len(c) {
			copy(tile[i:], c)
		}
		if err := field.SetCondition(tile); err != nil {
			return nil, err
		}
		rng.Uniform(times, s.seed+5, uint64(k), 0)
		for i := range n {
			noise := u[i*s.dim : (i+1)*s.dim]
			rng.Normal(noise, s.seed+6, uint64(k), uint64(i))
			p := schedule.At(float64(times[i]))
			for j, e := range noise {
				clean := references[i*s.dim+j]
				x[i*s.dim+j] = T(p.Alpha)*clean + T(p.Sigma)*e
				noise[j] = T(p.DAlpha)*clean + T(p.DSigma)*e
			}
		}
		call := ode.Call[T]{Batch: n, T: times}
		if err := field.Eval(residual, x, call); err != nil {
			return nil, err
		}
		for i := range residual {
			residual[i] = 2 * (residual[i] - u[i]) / T(len(residual))
		}
		clear(grad)
		if err := field.VJP(&tangent, residual, x, call); err != nil {
			return nil, err
		}
		clear(g)
		for i, d := range grad {
			g[i%len(g)] += d
		}
		rate := conceptRate
		if half := steps / 2; k >= half {
			rate *= float64(steps-k) / float64(steps-half)
		}
		kernels.AdamW(c, g, m, v, nil, kernels.AdamWParams{Rate: rate, Beta1: .9, Beta2: .999, Eps: 1e-8, Step: k + 1, Clip: 1})
	}
	for _, e := range c {
		if e-e != 0 {
			return nil, errors.New("textual inversion diverged")
		}
	}
	return c, nil
}
