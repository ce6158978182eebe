package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/picture"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/customize"
	"github.com/ebb-go/ebb/train/measure"
)

const (
	boldBatch = 20
	boldRuns  = 50
	boldRate  = 2e-4
	boldClip  = 1
	boldPull  = 200 // weight of the ink term
	boldKeep  = 0.1 // weight of the classifier term
	boldTest  = 400
	lastRuns  = 2 // times as many iterations for the gradient of the last step alone, which takes half the time
)

// ink is the property: the share of the image that the pen has covered.
var ink = customize.Ink{Threshold: 0, Width: 0.2}

// bold moves the ink of the samples to that of the boldest quarter of each class, which is given as ten numbers, by the
// weights of attention and MLP; and compares with the gradient through the last step only.
func (s *study[T]) bold(ctx context.Context) (*outcome[T], error) {
	began := time.Now()
	targets := s.boldest()
	names := matrices(s.model.Spec())

	labels := make([]int, boldBatch)
	want := make([]float64, boldBatch)
	sm, field, err := s.sampler(labels, insideWeights)
	if err != nil {
		return nil, err
	}
	loss := adjoint.Sum(adjoint.Weighted[T]{Weight: boldPull, Loss: customize.InkTarget[T](ink, want)}, adjoint.Weighted[T]{Weight: boldKeep, Loss: customize.CrossEntropy(s.critic, labels)})
	begin := func(k int) error { // every class twice a batch
		for i := range labels {
			labels[i] = i % s.images.Classes
			want[i] = targets[labels[i]]
		}
		condition, err := models.Lookup(s.weights, labels)
		if err != nil {
			return err
		}
		return field.SetCondition(condition)
	}
	opt := s.options("weights: ink by gradient", boldRuns, boldRate)
	opt.Begin, opt.Clip, opt.Fall = begin, boldClip, true
	r, err := customize.Weights(ctx, sm, names, loss, opt)
	if err != nil {
		return nil, err
	}

	// The same with the gradient of the last step: where it starts is computed, not differentiated.
	head, tail, err := s.cut(insideWeights)
	if err != nil {
		return nil, err
	}
	fine, err := s.finer(tail)
	if err != nil {
		return nil, err
	}
	last := customize.Sampler[T]{Field: field, Plan: tail, Replay: fine, Batch: boldBatch, Dim: s.dim}
	lo := s.options("weights: baseline, last step only", lastRuns*boldRuns, boldRate)
	lo.Begin, lo.Clip, lo.Fall = begin, boldClip, true
	lo.Start = func(ctx context.Context, k int, x []T) error {
		y, err := ode.Sample(ctx, head, field, s.noise(boldBatch, 1000+uint64(k+1)), boldBatch)
		copy(x, y)
		return err
	}
	truncated, err := customize.Weights(ctx, last, names, loss, lo)
	if err != nil {
		return nil, err
	}

	asked := make([]int, boldTest)
	for i := range asked {
		asked[i] = i % s.images.Classes
	}
	noise := s.noise(boldTest, 99)
	draw := func(values map[string][]T) ([]T, error) {
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
	after, err := draw(r.Values)
	if err != nil {
		return nil, err
	}
	base, err := draw(nil)
	if err != nil {
		return nil, err
	}
	short, err := draw(truncated.Values)
	if err != nil {
		return nil, err
	}

	o := &outcome[T]{name: "weights", result: r, curve: r.Curve, delta: map[string][]T{}}
	for _, name := range names {
		d := slices.Clone(r.Values[name])
		for i, v := range r.Start[name] {
			d[i] -= v
		}
		o.delta[name] = d
	}
	goal := 0.0
	for _, t := range targets {
		goal += t / float64(len(targets))
	}
	inkBase, inkAfter, inkShort := mean(s.inkOf(base)), mean(s.inkOf(after)), mean(s.inkOf(short))
	way := func(x float64) float64 { return max(0, 1-abs(goal-x)/abs(goal-inkBase)) }
	// What is promised: at the target, and still digits. A sample is sound if the judge sees its class and it is as near to
	// a real image as real ones are to each other.
	real, err := s.realness()
	if err != nil {
		return nil, err
	}
	sound, judged := map[string]float64{}, map[string]float64{}
	for name, x := range map[string][]T{"after": after, "before": base, "last step only": short} {
		if judged[name], err = s.share(x, asked); err != nil {
			return nil, err
		}
		if sound[name], err = real.share(x, asked); err != nil {
			return nil, err
		}
	}
	o.report.Judge = judged["after"]
	o.report.Score = way(inkAfter) * sound["after"]
	o.report.Baseline = map[string]float64{"last step only": way(inkShort) * sound["last step only"], "untouched": 0}
	o.report.Extra = map[string]float64{"ink_before": inkBase, "ink_after": inkAfter, "ink_target": goal, "ink_last_step_only": inkShort,
		"judge_before": judged["before"], "judge_last_step_only": judged["last step only"],
		"sound": sound["after"], "sound_before": sound["before"], "sound_last_step_only": sound["last step only"]}
	if o.report.Extra["distance_to_bold"], err = s.toBoldest(after); err != nil {
		return nil, err
	}
	if o.report.Extra["distance_to_bold_before"], err = s.toBoldest(base); err != nil {
		return nil, err
	}
	if o.report.Extra["distance_to_bold_last_step_only"], err = s.toBoldest(short); err != nil {
		return nil, err
	}
	if err := begin(0); err != nil {
		return nil, err
	}
	if o.report.Value20, err = value(loss, after[:boldBatch*s.dim]); err != nil {
		return nil, err
	}
	o.report.ChangeRMS = rms(after, base)
	if o.report.Diversity, err = s.diversity(after, base); err != nil {
		return nil, err
	}
	if o.report.Certificate, o.report.CertificateKnots, err = s.certify(ctx, sm, names, noise[:boldBatch*s.dim], loss); err != nil {
		return nil, err
	}
	o.finish(r, began)

	sheet := picture.Sheet{
		Title: fmt.Sprintf("Bolder digits without an example: ink %.3f → %.3f, asked for %.3f", inkBase, inkAfter, goal),
		Note: fmt.Sprintf("sound digits, which the judge reads and which are as near to real ones as those are to each other: %.0f %% before, %.0f %% after. Gradient of the last step only, in equal time: ink %.3f, %.0f %%",
			100*sound["before"], 100*sound["after"], inkShort, 100*sound["last step only"]),
		Height: s.images.Height, Width: s.images.Width, Across: s.images.Classes, Scale: 8, Range: [2]float64{1, -1},
		Rows: []string{"before", "after", "last step only"},
	}
	for _, x := range [][]T{base, after, short} {
		sheet.Tiles = append(sheet.Tiles, picture.Tiles(x[:s.images.Classes*s.dim], s.dim)...)
	}
	o.sheet = sheet
	return o, nil
}

func (s *study[T]) inkOf(x []T) []float64 {
	f := make([]float64, len(x))
	for i, v := range x {
		f[i] = float64(v)
	}
	return ink.Of(f, s.dim)
}

func mean(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

func abs(x float64) float64 { return max(x, -x) }

// quarter are the boldest quarter of the training images of a class.
func (s *study[T]) quarter(class int) []int {
	var of []int
	for _, i := range s.parts.Train {
		if s.images.Labels[i] == class {
			of = append(of, i)
		}
	}
	inks := map[int]float64{}
	for _, i := range of {
		x := make([]T, s.dim)
		for j, v := range s.images.Image(i) {
			x[j] = T(v)
		}
		inks[i] = s.inkOf(x)[0]
	}
	slices.SortFunc(of, func(a, b int) int {
		if inks[a] != inks[b] {
			if inks[a] > inks[b] {
				return -1
			}
			return 1
		}
		return a - b
	})
	return of[:len(of)/4]
}

// boldest is the mean ink of the boldest quarter of each class.
func (s *study[T]) boldest() []float64 {
	targets := make([]float64, s.images.Classes)
	for k := range targets {
		x, err := s.pick(s.quarter(k))
		if err == nil {
			targets[k] = mean(s.inkOf(x))
		}
	}
	return targets
}

// toBoldest is the Fréchet distance, by the judge's features, to the images whose ink was the target and which nothing
// was shown.
func (s *study[T]) toBoldest(x []T) (float64, error) {
	var all []int
	for k := range s.images.Classes {
		all = append(all, s.quarter(k)...)
	}
	refs, err := s.pick(all)
	if err != nil {
		return 0, err
	}
	a, err := s.judge.Features(x)
	if err != nil {
		return 0, err
	}
	a.Data = slices.Clone(a.Data)
	b, err := s.judge.Features(refs)
	if err != nil {
		return 0, err
	}
	return measure.Frechet(a, b)
}

// cut is a plan without its last step, and that step.
func (s *study[T]) cut(evaluations int) (head, tail *ode.Plan, err error) {
	whole, err := s.plan(evaluations, false)
	if err != nil {
		return nil, nil, err
	}
	var times []float64
	for _, k := range whole.Knots {
		times = append(times, k.T)
	}
	if len(times) < 3 {
		return nil, nil, errors.New("a plan of one step cannot be cut")
	}
	if head, err = s.between(times[:len(times)-1]); err != nil {
		return nil, nil, err
	}
	tail, err = s.between(times[len(times)-2:])
	return head, tail, err
}

// finer is the same span in three steps.
func (s *study[T]) finer(p *ode.Plan) (*ode.Plan, error) {
	from, to := p.Knots[0].T, p.Knots[len(p.Knots)-1].T
	return s.between([]float64{from, from + (to-from)/3, from + 2*(to-from)/3, to})
}

func (s *study[T]) between(knots []float64) (*ode.Plan, error) {
	spec := s.model.Spec()
	return ode.RK{Tableau: ode.MidpointRule()}.Plan(ode.Problem{Schedule: spec.Schedule, Raw: spec.Prediction, Knots: knots})
}
