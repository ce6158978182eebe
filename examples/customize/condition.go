package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
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

// traits is the share of images that have the concept.
func (s *study[T]) traits(x []T) float64 {
	n := 0
	for i := 0; i < len(x); i += s.dim {
		if s.concept.has(wide(x[i : i+s.dim])) {
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

// learn learns a condition vector from a few pictures, through the sampler, and compares with the class vector and with
// textual inversion.
func (s *study[T]) learn(ctx context.Context) (*outcome[T], error) {
	began := time.Now()
	c := s.concept
	shown := min(s.pictures.N, cmp.Or(c.shown, s.pictures.N))
	if s.mine {
		shown = s.pictures.N
	}
	references, err := pixels[T](s.pictures, ofAll(s.pictures)[:shown]...)
	if err != nil {
		return nil, err
	}
	if c.class, err = s.classOf(references); err != nil {
		return nil, err
	}
	byCritic, err := customize.Match(customize.CriticLook(s.critic), references, c.apart)
	if err != nil {
		return nil, err
	}
	pixels, err := customize.PixelLook[T](s.held.Height, s.held.Width, 2)
	if err != nil {
		return nil, err
	}
	byPixels, err := customize.Match(pixels, references, c.apart)
	if err != nil {
		return nil, err
	}
	loss := adjoint.Sum(adjoint.Weighted[T]{Weight: 1, Loss: byCritic}, adjoint.Weighted[T]{Weight: 1, Loss: byPixels})

	start, err := models.Lookup(s.weights, []int{c.class})
	if err != nil {
		return nil, err
	}
	sm, field, err := s.sampler(repeat(c.class, c.batch), c.inside)
	if err != nil {
		return nil, err
	}
	opt := s.options("condition: concept by gradient", c.runs, c.rate)
	opt.Fall = true
	if c.reach > 0 {
		others, err := s.others(start)
		if err != nil {
			return nil, err
		}
		opt.Constrain = func(_ string, v []T) { hold(v, start, c.reach*others) }
	}
	r, err := customize.Condition(ctx, sm, start, loss, opt)
	if err != nil {
		return nil, err
	}
	learned := r.Values[graph.Condition]
	// As many evaluations and products as the other had, of as many images.
	inverted, err := s.textualInversion(ctx, c, start, references, r.VJP)
	if err != nil {
		return nil, err
	}

	noise := s.noise(c.test, 77)
	draw := func(condition []T) ([]T, error) {
		tile := make([]T, 0, c.test*len(condition))
		for range c.test {
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
	o.report.Extra = map[string]float64{"pictures": float64(shown), "share_in_class": s.refs.share}
	score := s.traits
	if c.has == nil { // the user's own: there is no rule, only a likeness
		score = func(x []T) float64 {
			var d float64
			if err == nil {
				d, err = s.likeness(x, base, references)
			}
			return d
		}
	}
	o.report.Score = score(with)
	o.report.Baseline = map[string]float64{"class vector": score(base), "textual inversion": score(textual)}
	if err != nil {
		return nil, err
	}
	if o.report.Judge, err = s.share(with, repeat(c.class, c.test)); err != nil {
		return nil, err
	}
	for name, x := range map[string][]T{"": with, "_class_vector": base, "_textual_inversion": textual} {
		if !s.mine {
			if o.report.Extra["distance"+name], err = s.distance(x, s.refs.concept); err != nil {
				return nil, err
			}
		}
		if o.report.Extra["spread"+name], err = s.spread(x); err != nil {
			return nil, err
		}
	}
	o.report.Extra["spread_ratio"] = o.report.Extra["spread"] / o.report.Extra["spread_class_vector"]
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
	tile := make([]T, 0, c.batch*len(learned))
	for range c.batch {
		tile = append(tile, learned...)
	}
	if err := field.SetCondition(tile); err != nil {
		return nil, err
	}
	if o.report.Certificate, o.report.CertificateKnots, err = s.certify(ctx, sm, []string{graph.Condition}, s.noise(c.batch, 78), loss); err != nil {
		return nil, err
	}
	o.finish(r, began)

	const across = 12
	trait, spread := "the samples have "+c.trait, fmt.Sprintf("they are spread %.2f times as wide", o.report.Extra["spread_ratio"])
	if c.has == nil {
		trait = "the distance to them is gone"
	}
	sheet := picture.Sheet{
		Title: fmt.Sprintf("A concept from %d pictures, %s: %.0f %% of %s", shown, c.name, 100*o.report.Score, trait),
		Note: fmt.Sprintf("class vector %.0f %%, textual inversion %.0f %%; the judge sees %s in %.0f %%; %s", 100*o.report.Baseline["class vector"],
			100*o.report.Baseline["textual inversion"], s.classes[c.class], 100*o.report.Judge, spread),
		Height: s.held.Height, Width: s.held.Width, Across: across, Scale: s.scale, Range: [2]float64{1, -1},
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

// others is how far the other classes are from one, in the mean.
func (s *study[T]) others(class []T) (float64, error) {
	sum := 0.0
	for c := range s.classes {
		other, err := models.Lookup(s.weights, []int{c})
		if err != nil {
			return 0, err
		}
		sum += distance(class, other)
	}
	return sum / float64(len(s.classes)-1), nil
}

// hold brings v back to within a distance of the center.
func hold[T customize.Float](v, center []T, within float64) {
	if d := distance(v, center); d > within {
		for i, c := range center {
			v[i] = c + (v[i]-c)*T(within/d)
		}
	}
}

func distance[T customize.Float](a, b []T) float64 { return rms(a, b) * math.Sqrt(float64(len(a))) }

// classOf is the class of the pictures: what the labels say most often, else the critic.
func (s *study[T]) classOf(x []T) (int, error) {
	labels := s.pictures.Labels
	if labels == nil {
		var err error
		if labels, err = s.critic.Classify(x); err != nil {
			return 0, err
		}
	}
	count := make([]int, len(s.classes))
	for _, c := range labels {
		count[c]++
	}
	return slices.Index(count, slices.Max(count)), nil
}

// distance is the Fréchet distance of the judge's features.
func (s *study[T]) distance(x []T, to measure.Moments) (float64, error) {
	f, err := s.judge.Features(x)
	if err != nil {
		return 0, err
	}
	m, err := measure.MomentsOf(f)
	if err != nil {
		return 0, err
	}
	return m.Frechet(to)
}

// likeness is the part of the distance between base and the pictures that is gone, by the judge's features.
func (s *study[T]) likeness(x, base, pictures []T) (float64, error) {
	var sets [3]measure.Features
	for i, images := range [][]T{x, base, pictures} {
		f, err := s.judge.Features(images)
		if err != nil {
			return 0, err
		}
		f.Data = slices.Clone(f.Data)
		sets[i] = f
	}
	kernel, err := measure.MedianKernel(sets[2])
	if err != nil {
		return 0, err
	}
	near, err := measure.MMD(kernel, sets[0], sets[2])
	if err != nil {
		return 0, err
	}
	far, err := measure.MMD(kernel, sets[1], sets[2])
	return 1 - near/far, err
}

// spread is the mean distance of an image to its nearest neighbour among the others: collapse brings it to zero.
func (s *study[T]) spread(x []T) (float64, error) {
	f, err := measure.Rows(x, len(x)/s.dim, s.dim)
	if err != nil {
		return 0, err
	}
	d, _, err := measure.LeaveOneOut(f)
	return mean(d), err
}

// textualInversion learns the condition vector by the flow loss on the pictures (Gal et al. 2022, arXiv 2208.01618): the
// network is asked at single times, no sampler is run. A step takes every picture once, or as often as a batch has room for.
func (s *study[T]) textualInversion(ctx context.Context, c concept, start, references []T, steps int) ([]T, error) {
	shown := len(references) / s.dim
	n := shown * max(1, c.batch/shown)
	v := append([]T(nil), start...)
	field, err := s.field(repeat(c.class, n))
	if err != nil {
		return nil, err
	}
	field.Remember(activations)
	schedule := s.model.Spec().Schedule
	tile, grad := make([]T, n*len(v)), make([]T, n*len(v))
	g, m, m2 := make([]T, len(v)), make([]T, len(v)), make([]T, len(v))
	x, residual, u, times := make([]T, n*s.dim), make([]T, n*s.dim), make([]T, n*s.dim), make([]T, n)
	tangent := ode.Tangent[T]{Params: map[string][]T{graph.Condition: grad}}
	s.begin(steps)
	for k := range steps {
		s.stage.Add(1, fmt.Sprintf("condition: baseline, textual inversion: step %d of %d", k+1, steps))
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		copy(tile, v)
		for i := len(v); i < len(tile); i += len(v) {
			copy(tile[i:], v)
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
				clean := references[i%shown*s.dim+j]
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
		rate := c.rate
		if half := steps / 2; k >= half {
			rate *= float64(steps-k) / float64(steps-half)
		}
		kernels.AdamW(v, g, m, m2, nil, kernels.AdamWParams{Rate: rate, Beta1: .9, Beta2: .999, Eps: 1e-8, Step: k + 1, Clip: 1})
	}
	for _, e := range v {
		if e-e != 0 {
			return nil, errors.New("textual inversion diverged")
		}
	}
	return v, nil
}
