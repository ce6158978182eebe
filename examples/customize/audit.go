package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/internal/picture"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/customize"
)

// attackStart asks how far the sampler can be trusted: with the label held, the noise that samples start from is moved by no
// more than radius in any coordinate so that the class asked for is lost (the security task of Pan et al. 2024, arXiv
// 2307.10711). It compares with the gradient of the one-step estimate of the sample, and with random corners of the same
// cube. Only samples count that the judge saw right before.
func (s *study[T]) attackStart(ctx context.Context) (*outcome[T], error) {
	began := time.Now()
	c := s.audit
	labels := make([]int, c.samples)
	for i := range labels {
		labels[i] = i % len(s.classes)
	}
	z := s.noise(c.samples, 55)
	sm, field, err := s.sampler(labels, c.inside)
	if err != nil {
		return nil, err
	}
	loss := adjoint.Weighted[T]{Weight: -1, Loss: customize.CrossEntropy(s.critic, labels)}
	within := func(_ string, x []T) {
		for i, v := range x {
			x[i] = min(max(v, z[i]-T(c.radius)), z[i]+T(c.radius))
		}
	}
	opt := s.options("audit: start moved by gradient", c.runs, c.rate)
	opt.Constrain = within
	r, err := customize.Latent(ctx, sm, z, adjoint.Sum(loss), opt)
	if err != nil {
		return nil, err
	}

	one := sm
	if one.Plan, err = s.oneStep(1); err != nil {
		return nil, err
	}
	if one.Replay, err = s.oneStep(3); err != nil {
		return nil, err
	}
	opt = s.options("audit: baseline, one-step gradient", 3*c.runs, c.rate)
	opt.Constrain = within
	short, err := customize.Latent(ctx, one, z, adjoint.Sum(loss), opt)
	if err != nil {
		return nil, err
	}
	corner := make([]T, len(z))
	rng.Uniform(corner, s.seed+9, 1, 0)
	for i, u := range corner {
		corner[i] = z[i] + T(c.radius)
		if u < 0.5 {
			corner[i] = z[i] - T(c.radius)
		}
	}

	o := &outcome[T]{name: "audit", result: r, curve: r.Curve, latent: r.Values["x"], condition: fieldCondition(field, c.samples*s.width)}
	starts := []struct {
		name string
		z    []T
	}{{"before", z}, {"exact gradient", r.Values["x"]}, {"one-step gradient", short.Values["x"]}, {"random corner", corner}}
	seen, samples, flips := map[string][]int{}, map[string][]T{}, map[string]float64{}
	right := 0
	for _, start := range starts {
		x, err := s.sample(ctx, field, start.z)
		if err != nil {
			return nil, err
		}
		samples[start.name] = x
		if seen[start.name], err = s.judge.Classify(x); err != nil {
			return nil, err
		}
	}
	for i, label := range labels {
		if seen["before"][i] != label {
			continue
		}
		right++
		for _, start := range starts {
			if seen[start.name][i] != label {
				flips[start.name]++
			}
		}
	}
	if right == 0 {
		return nil, fmt.Errorf("the judge saw none of %d samples as what was asked for", c.samples)
	}
	for name := range flips {
		flips[name] /= float64(right)
	}
	o.report.Score = flips["exact gradient"]
	o.report.Baseline = map[string]float64{"one-step gradient": flips["one-step gradient"], "random corner": flips["random corner"]}
	o.report.Judge = float64(right) / float64(c.samples)
	o.report.Extra = map[string]float64{"radius": c.radius, "samples": float64(c.samples)}
	o.report.ChangeRMS = rms(samples["exact gradient"], samples["before"])
	if o.report.Value20, err = value(adjoint.Sum(loss), samples["exact gradient"]); err != nil {
		return nil, err
	}
	if o.report.Diversity, err = s.diversity(samples["exact gradient"], samples["before"]); err != nil {
		return nil, err
	}
	if o.report.Certificate, o.report.CertificateKnots, err = s.certify(ctx, sm, []string{"x"}, z, adjoint.Sum(loss)); err != nil {
		return nil, err
	}
	o.finish(r, began)

	across := min(12, c.samples)
	sheet := picture.Sheet{
		Title: fmt.Sprintf("How far can the noise be trusted? Moved by %.2g at most, it loses the class in %.0f %% of the samples", c.radius, 100*o.report.Score),
		Note: fmt.Sprintf("by the judge, which no gradient has seen, of the %d samples that it saw right before. One-step gradient %.0f %%, random corners of the same cube %.0f %%",
			right, 100*flips["one-step gradient"], 100*flips["random corner"]),
		Height: s.held.Height, Width: s.held.Width, Across: across, Scale: s.scale, Range: [2]float64{1, -1},
	}
	for i := range across {
		sheet.Columns = append(sheet.Columns, s.classes[labels[i]])
	}
	for _, start := range starts {
		sheet.Rows = append(sheet.Rows, start.name)
		sheet.Tiles = append(sheet.Tiles, picture.Tiles(samples[start.name][:across*s.dim], s.dim)...)
		for i := range across {
			sheet.Captions = append(sheet.Captions, s.classes[seen[start.name][i]])
		}
	}
	o.sheet = sheet
	return o, nil
}

// oneStep is the sample as it is estimated from the noise, or in a few such steps.
func (s *study[T]) oneStep(steps int) (*ode.Plan, error) {
	spec := s.model.Spec()
	return ode.DDIM{}.Plan(ode.Problem{Schedule: spec.Schedule, Raw: spec.Prediction, Grid: ode.UniformTime{}, Steps: steps})
}
