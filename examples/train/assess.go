package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/picture"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/data"
	"github.com/ebb-go/ebb/train/measure"
)

// samplingSteps of the midpoint rule, which is of second order: 20 evaluations of the network.
const samplingSteps = 10

// sample draws one image a label, or n of an unconditional network. They are stored as the network has them, channel by
// channel.
func sample(ctx context.Context, m graph.Model, w *graph.Weights[float32], labels []int, n int, seed uint64) ([]float32, error) {
	cell, err := graph.NewCell(m, w)
	if err != nil {
		return nil, err
	}
	defer cell.Close()
	var condition []float32
	if _, conditional := m.Spec().Input(graph.Condition); conditional {
		if condition, err = models.Lookup(w, labels); err != nil {
			return nil, err
		}
	}
	field, err := graph.NewField(cell, condition)
	if err != nil {
		return nil, err
	}
	plan, err := ode.RK{Tableau: ode.MidpointRule()}.Plan(ode.Problem{Schedule: m.Spec().Schedule, Raw: m.Spec().Prediction, Steps: samplingSteps})
	if err != nil {
		return nil, err
	}
	size := m.Spec().Inputs[0].Len()
	x := make([]float32, n*size)
	for i := range n {
		rng.Normal(x[i*size:(i+1)*size], seed, 0, uint64(i))
	}
	return ode.Sample(ctx, plan, field, x, n)
}

// drawSamples writes a sheet of samples: a row a class.
func drawSamples(ctx context.Context, path string, m graph.Model, w *graph.Weights[float32], d *data.Images, seed uint64, title string) error {
	const across = 10
	var labels []int
	var rows []string
	for c := range min(max(d.Classes, 1), 10) {
		for range across {
			labels = append(labels, c)
		}
		rows = append(rows, fmt.Sprint(c))
	}
	if d.Labels == nil {
		rows = nil
	}
	x, err := sample(ctx, m, w, labels, len(labels), seed)
	if err != nil {
		return err
	}
	tiles := picture.Tiles(x, d.Size())
	for i := range tiles {
		tiles[i] = interleave(tiles[i], d)
	}
	sheet := picture.Sheet{Title: title, Note: fmt.Sprintf("%d evaluations of the network each.", 2*samplingSteps),
		Tiles: tiles, Height: d.Height, Width: d.Width, Channels: d.Channels, Across: across, Rows: rows, Scale: max(1, 48/max(d.Height, d.Width))}
	if d.Channels != 3 {
		sheet.Channels = 1
	}
	return picture.Write(path, sheet)
}

// interleave puts the channels of an image last.
func interleave(x []float32, d *data.Images) []float32 {
	y, area := make([]float32, len(x)), d.Height*d.Width
	for i := range area {
		for c := range d.Channels {
			y[i*d.Channels+c] = x[c*area+i]
		}
	}
	return y
}

// planar puts the channels of all images first, as networks have them.
func planar(d *data.Images) []float32 {
	y, area := make([]float32, len(d.Pixels)), d.Height*d.Width
	for n := range d.N {
		x := d.Image(n)
		for i := range area {
			for c := range d.Channels {
				y[n*len(x)+c*area+i] = x[i*d.Channels+c]
			}
		}
	}
	return y
}

// A judge is a classifier that samples are shown to.
type judge struct {
	net     graph.Model
	weights *graph.Weights[float32]
}

// openJudge loads the judge of a report on samples of a flow that is trained on set. What would keep the report from being made is an
// error now and not after the training.
func openJudge(path string, set dataset) (*judge, error) {
	m, w, _, err := models.Load[float32](path)
	if err != nil {
		return nil, fmt.Errorf("-judge: %w", err)
	}
	d, spec := set.train, m.Spec()
	at, shape := logits(spec), []int{d.Channels, d.Height, d.Width}
	switch {
	case d.Labels == nil:
		return nil, misuse("-judge needs images with labels, to see whether samples are of the class asked for; leave it out")
	case set.held.N < 2:
		return nil, misuse("-judge compares samples with held-out images, and there are %d; give a larger -held", set.held.N)
	case at < 0:
		return nil, fmt.Errorf("-judge %s is a %s; a classifier is needed", path, strings.TrimPrefix(fmt.Sprintf("%T", m), "*models."))
	case !slices.Equal(spec.Inputs[0].Shape, shape):
		return nil, fmt.Errorf("-judge %s is of images of %v (channels, height, width), those of -data are %v", path, spec.Inputs[0].Shape, shape)
	case spec.Outputs[at].Len() != d.Classes:
		return nil, fmt.Errorf("-judge %s tells %d classes, those of -data are %d", path, spec.Outputs[at].Len(), d.Classes)
	}
	return &judge{m, w}, nil
}

// logits is which output of a network is that of a classifier, -1 if none.
func logits(s graph.Spec) int {
	return slices.IndexFunc(s.Outputs, func(p graph.Port) bool { return p.Name == models.Logits })
}

// classify returns the class of each image that a classifier finds most likely.
func classify(m graph.Model, w *graph.Weights[float32], x []float32, n int) ([]int, error) {
	cell, err := graph.NewCell(m, w)
	if err != nil {
		return nil, err
	}
	defer cell.Close()
	at := logits(m.Spec())
	classes := m.Spec().Outputs[at].Len()
	outputs := make([][]float32, at+1)
	outputs[at] = make([]float32, n*classes)
	if err := cell.Eval(n, &graph.Values[float32]{Inputs: [][]float32{x}, Outputs: outputs}); err != nil {
		return nil, err
	}
	likeliest := make([]int, n)
	for i := range likeliest {
		row := outputs[at][i*classes : (i+1)*classes]
		for c := range row {
			if row[c] > row[likeliest[i]] {
				likeliest[i] = c
			}
		}
	}
	return likeliest, nil
}

// accuracy is the share of images whose class a classifier tells.
func accuracy(m graph.Model, w *graph.Weights[float32], d *data.Images) (float64, error) {
	got, err := classify(m, w, planar(d), d.N)
	if err != nil {
		return 0, err
	}
	agreed, err := measure.Agreement(got, d.Labels)
	return agreed.Overall, err
}

// report says how good samples are.
type report struct {
	samples       int
	agreement     measure.Agreed
	mmd, p        float64
	nearest, real float64 // mean distance to the nearest training image, of samples and of training images among themselves
	diversity     float64 // over that of held-out images
}

func (r report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "of %d samples, %d evaluations each, no guidance:\n", r.samples, 2*samplingSteps)
	fmt.Fprintf(&b, "  the judge sees the class asked for in %.1f %%; the worst class is %d with %.1f %%\n",
		100*r.agreement.Overall, r.agreement.Worst, 100*r.agreement.PerClass[r.agreement.Worst])
	fmt.Fprintf(&b, "  MMD² to held-out images %.2g, p = %.3f (from one distribution unless below 0.01)\n", r.mmd, r.p)
	fmt.Fprintf(&b, "  distance to the nearest training image %.2f; of training images among themselves %.2f (a copy would be at 0)\n", r.nearest, r.real)
	fmt.Fprintf(&b, "  diversity %.2f of that of held-out images\n", r.diversity)
	return b.String()
}

// assess draws n samples, their classes in the shares of the training images, and measures them by a judge of [openJudge].
func assess(ctx context.Context, m graph.Model, w *graph.Weights[float32], j *judge, set dataset, n int, seed uint64) (report, error) {
	r := report{samples: n}
	labels := make([]int, n)
	for i := range labels {
		labels[i] = set.train.Labels[i%set.train.N]
	}
	x, err := sample(ctx, m, w, labels, n, seed)
	if err != nil {
		return r, err
	}
	seen, err := classify(j.net, j.weights, x, n)
	if err != nil {
		return r, err
	}
	if r.agreement, err = measure.Agreement(seen, labels); err != nil {
		return r, err
	}
	features := func(x []float32, n int) measure.Features {
		f, e := measure.Rows(x, n, set.train.Size())
		if e != nil {
			err = e
		}
		return f
	}
	// Of large sets the first images do: every pair is compared.
	known, err := first(set.train, mostCompared)
	if err != nil {
		return r, err
	}
	others, err := first(set.held, mostCompared)
	if err != nil {
		return r, err
	}
	made, trained, held := features(x, n), features(planar(known), known.N), features(planar(others), others.N)
	if err != nil {
		return r, err
	}
	if r.mmd, r.p, err = measure.MMDTest(made, held, 199, seed); err != nil {
		return r, err
	}
	nearest, _, err := measure.Nearest(made, trained)
	if err != nil {
		return r, err
	}
	among, _, err := measure.LeaveOneOut(trained)
	if err != nil {
		return r, err
	}
	r.nearest, r.real = mean(nearest), mean(among)
	r.diversity, err = measure.DiversityRatio(made, held)
	return r, err
}

const mostCompared = 5000

func first(d *data.Images, n int) (*data.Images, error) {
	if d.N <= n {
		return d, nil
	}
	indices := make([]int, n)
	for i := range indices {
		indices[i] = i
	}
	return d.Select(indices)
}

func mean(x []float64) (s float64) {
	for _, v := range x {
		s += v / float64(len(x))
	}
	return s
}
