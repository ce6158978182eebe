package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"text/tabwriter"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/train/customize"
	"github.com/ebb-go/ebb/train/data"
	"github.com/ebb-go/ebb/train/measure"
)

// A report is what -json writes.
type report struct {
	Model    string  `json:"model"`
	Plan     string  `json:"plan"`
	NFE      int     `json:"evaluations"`
	Guidance float64 `json:"guidance"`
	Seed     uint64  `json:"seed"`
	Count    int     `json:"samples"`
	Scores   []score `json:"scores"`
}

// A score is a measure of the samples, and the same of real images, without which it means little.
type score struct {
	Name    string  `json:"name"`
	Samples float64 `json:"samples"`
	Real    float64 `json:"real"`
	Meaning string  `json:"meaning"`
}

// An evaluation is the samples and what they are compared with.
type evaluation struct {
	samples     []float32
	labels      []int // the classes asked for
	train, held *data.Images
	judge       *customize.Critic[float32]
	seed        uint64
}

// evaluate measures samples of classes in the shares that the held-out images have.
func evaluate(ctx context.Context, s *sampler, o options, out io.Writer) error {
	e := evaluation{seed: o.seed, labels: make([]int, o.samples)}
	if err := e.openDigits(o.data); err != nil {
		return err
	}
	if got := s.spec.Inputs[0].Shape; !slices.Equal(got, []int{1, e.held.Height, e.held.Width}) {
		return fmt.Errorf("the network makes images of %v (channels, height, width), the digits are [1 %d %d]", got, e.held.Height, e.held.Width)
	}
	release, err := e.openJudge(o)
	if err != nil {
		return err
	}
	defer release()
	for i := range e.labels {
		e.labels[i] = e.held.Labels[i%e.held.N]
	}
	if _, err := s.labels(e.labels); err != nil {
		return err
	}
	condition, err := models.Lookup(s.weights, e.labels)
	if err != nil {
		return err
	}
	x, err := s.noise(o.samples, o.seed)
	if err != nil {
		return err
	}
	if e.samples, err = s.sample(ctx, x, condition); err != nil {
		return err
	}
	r := report{Model: o.model, Plan: s.plan.Name, NFE: s.plan.NFE(), Guidance: o.guidance, Seed: o.seed, Count: o.samples}
	if r.Scores, err = e.scores(ctx, newProgress(s.log)); err != nil {
		return err
	}
	if err := r.print(out); err != nil || o.json == "" {
		return err
	}
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(o.json, append(text, '\n'), 0o666)
}

// openDigits reads the real images, split as everywhere in this project.
func (e *evaluation) openDigits(path string) error {
	all, err := data.Digits(path)
	if err != nil {
		return err
	}
	parts, err := data.DigitsParts(all)
	if err != nil {
		return err
	}
	if e.train, err = all.Select(parts.Train); err != nil {
		return err
	}
	e.held, err = all.Select(parts.Held)
	return err
}

func (e *evaluation) openJudge(o options) (release func(), err error) {
	m, w, _, err := models.Load[float32](o.judge)
	if errors.Is(err, fs.ErrNotExist) && !o.set["judge"] {
		return nil, fmt.Errorf("%w (the default of -judge is found from the top folder of ebb; elsewhere give -judge)", err)
	}
	if err != nil {
		return nil, err
	}
	cell, err := graph.NewCell(m, w)
	if err != nil {
		return nil, err
	}
	e.judge, err = customize.NewCritic(cell)
	if size := e.held.Size(); err == nil && m.Spec().Inputs[0].Len() != size {
		err = fmt.Errorf("-judge %s takes images of %v, the digits have %d pixels", o.judge, m.Spec().Inputs[0].Shape, size)
	}
	if err == nil && e.judge.Classes() != e.held.Classes {
		err = fmt.Errorf("-judge %s knows %d classes, the digits have %d", o.judge, e.judge.Classes(), e.held.Classes)
	}
	if err != nil {
		cell.Close()
		return nil, err
	}
	return cell.Close, nil
}

// scores takes all measures.
func (e *evaluation) scores(ctx context.Context, p *progress) ([]score, error) {
	defer p.end()
	var all []score
	for _, part := range []struct {
		name  string
		taken func() ([]score, error)
	}{
		{"asking the judge", e.agreement},
		{"comparing with held-out images", e.distribution},
		{"looking for copies", e.copies},
		{"looking for what is missing", e.coverage},
	} {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		p.show("%s", part.name)
		s, err := part.taken()
		if err != nil {
			return nil, err
		}
		all = append(all, s...)
	}
	return all, nil
}

// agreement is how often the judge sees the class asked for, in real images the one they have.
func (e *evaluation) agreement() ([]score, error) {
	of := func(x []float32, labels []int) (measure.Agreed, error) {
		seen, err := e.judge.Classify(x)
		if err != nil {
			return measure.Agreed{}, err
		}
		return measure.Agreement(seen, labels)
	}
	samples, err := of(e.samples, e.labels)
	if err != nil {
		return nil, err
	}
	held, err := of(e.held.Pixels, e.held.Labels)
	if err != nil {
		return nil, err
	}
	return []score{
		{"judge agrees", samples.Overall, held.Overall, "share of images in which the judge sees the class asked for"},
		{"worst class", samples.PerClass[samples.Worst], held.PerClass[held.Worst], fmt.Sprintf("the same of the worst class: %d, real %d", samples.Worst, held.Worst)},
	}, nil
}

// distribution tests whether the samples, or the training images, have the distribution of the held-out images.
func (e *evaluation) distribution() ([]score, error) {
	samples, train, held, err := e.features()
	if err != nil {
		return nil, err
	}
	const permutations = 199
	d, p, err := measure.MMDTest(samples, held, permutations, e.seed)
	if err != nil {
		return nil, err
	}
	dReal, pReal, err := measure.MMDTest(train, held, permutations, e.seed)
	if err != nil {
		return nil, err
	}
	return []score{
		{"MMD²", d, dReal, "unbiased distance to held-out images, by pixels; 0 for the same distribution"},
		{"p of MMD²", p, pReal, fmt.Sprintf("chance of such a distance between equal distributions; at least %g", 1./(permutations+1))},
	}, nil
}

// copies compares how near samples, and held-out images, come to training images.
func (e *evaluation) copies() ([]score, error) {
	samples, train, held, err := e.features()
	if err != nil {
		return nil, err
	}
	near := func(x measure.Features) (float64, error) {
		distance, _, err := measure.Nearest(x, train)
		sum := 0.0
		for _, d := range distance {
			sum += d
		}
		return sum / float64(len(distance)), err
	}
	of, err := near(samples)
	if err != nil {
		return nil, err
	}
	ofHeld, err := near(held)
	if err != nil {
		return nil, err
	}
	return []score{
		{"nearest", of, ofHeld, "mean distance to the nearest training image; 0 for copies"},
		{"nearest ratio", of / ofHeld, 1, "to that of held-out images; well below 1, training images are repeated"},
	}, nil
}

// coverage takes as many samples, and training images, as there are held-out images: it saturates.
func (e *evaluation) coverage() ([]score, error) {
	samples, train, held, err := e.features()
	if err != nil {
		return nil, err
	}
	const k = 5
	first := func(f measure.Features) measure.Features {
		f.N = min(f.N, held.N)
		f.Data = f.Data[:f.N*f.D]
		return f
	}
	of, _, err := measure.Coverage(held, first(samples), k)
	if err != nil {
		return nil, err
	}
	ofTrain, _, err := measure.Coverage(held, first(train), k)
	if err != nil {
		return nil, err
	}
	return []score{{"coverage", of, ofTrain, fmt.Sprintf("share of held-out images with one of %d samples among them; falls when kinds are missing", min(samples.N, held.N))}}, nil
}

// features are the pixels of all three sets. Grey images are the same whether channels come first or last.
func (e *evaluation) features() (samples, train, held measure.Features, err error) {
	of := func(x []float32) measure.Features {
		f, rowsErr := measure.Rows(x, len(x)/e.held.Size(), e.held.Size())
		err = errors.Join(err, rowsErr)
		return f
	}
	return of(e.samples), of(e.train.Pixels), of(e.held.Pixels), err
}

func (r report) print(out io.Writer) error {
	fmt.Fprintf(out, "%s: %d samples by %s, %d evaluations each, guidance %v, seed %d\n\n", r.Model, r.Count, r.Plan, r.NFE, r.Guidance, r.Seed)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\tsamples\treal\t")
	for _, s := range r.Scores {
		fmt.Fprintf(w, "%s\t%.4g\t%.4g\t%s\n", s.Name, s.Samples, s.Real, s.Meaning)
	}
	return w.Flush()
}
