package train

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/data"
)

// A Task is what a [Trainer] minimises: a network whose one output is the loss of each sample, and the inputs of that
// network, sample by sample. [Diffusion] and [Classification] make tasks; any other loss is a Task written by hand.
type Task struct {
	Loss    graph.Model
	Samples int // that batches are made of

	// Fill writes the inputs of one sample into the slices it is given: one an input, in the order of Loss's Spec, as long as
	// the input is for one sample, and with the numbers of an earlier sample in it. It must not put other slices in their
	// place. What it writes must be a function of s and of nothing else, because a resumed run relies on it. Several workers
	// call it at the same time, each for another sample of the batch.
	Fill func(inputs [][]float64, s Sample) error

	// About is what tells this task from others, by name: it is written to checkpoints, and a run is only resumed by a
	// task that says the same.
	About map[string]string
}

// A Sample addresses one sample of one training step: Index says what to show the network, and random numbers are functions
// of Seed, Step and Place, which no two samples of a run share.
type Sample struct {
	Seed  uint64 // of the Config
	Step  int    // from 0
	Place int    // in the batch
	Index int    // among the Task's Samples
}

// target is the input that the losses of this package compare with.
const target = "target"

// Diffusion trains a network to predict what its Spec says, by the mean square over elements, at random times:
//
//	x_t = α x_0 + σ ε,   loss = mean (network(x_t, t, label) − (a x_0 + b ε))²
//
// with α, σ of the network's Schedule and a, b of its [ode.Prediction]: flow matching, and the prediction of noise, data,
// velocity or score. The optimum is the conditional mean given x_t, the same for any distribution of times.
//
// Source: Ho, Jain, Abbeel 2020, arXiv 2006.11239; Lipman et al. 2022, arXiv 2210.02747; Liu et al. 2022, arXiv 2209.03003.
type Diffusion struct {
	Times Times // nil means LogitNormal{}

	// Dropout is the chance that a label is replaced by the class that means none, which makes guidance possible
	// (Ho, Salimans 2022, arXiv 2207.12598).
	Dropout float64

	Augment Augment
}

// Task joins the objective to a network and data. The network takes [graph.X], shaped like an image (channel by channel
// if its shape is (channels, height, width)), [graph.Time] and, if it is conditional, "label": one-hot, with one place a
// class and a last one for none. models.Labelled makes such a network of one that takes a condition.
//
// Errors name what does not fit.
func (o Diffusion) Task(m graph.Model, d *data.Images) (*Task, error) {
	s := m.Spec()
	if o.Times == nil {
		o.Times = LogitNormal{}
	}
	if err := o.Times.Check(); err != nil {
		return nil, err
	}
	if len(s.Inputs) < 2 || s.Inputs[0].Name != graph.X || s.Inputs[1].Name != graph.Time || s.Inputs[1].Len() != 1 ||
		len(s.Inputs) > 3 || len(s.Inputs) == 3 && s.Inputs[2].Name != label || len(s.Outputs) != 1 {
		return nil, fmt.Errorf("train: a diffusion network takes %q, %q and possibly %q, and gives one output; this one takes %s and gives %s (models.Labelled puts %q in the place of %q)",
			graph.X, graph.Time, label, names(s.Inputs), names(s.Outputs), label, graph.Condition)
	}
	if s.Schedule == nil {
		return nil, fmt.Errorf("train: the network's Spec has no Schedule; give the one to train on, such as ode.Flow{}")
	}
	if d, ok := s.Schedule.(*ode.Discrete); ok && (d == nil || d.Levels() < 1) {
		return nil, fmt.Errorf("train: the Discrete schedule of the network's Spec has no levels; make it with ode.DiscreteFromBetas or ode.DiscreteFromAlphaBars")
	}
	if s.Outputs[0].Len() != s.Inputs[0].Len() {
		return nil, fmt.Errorf("train: the network makes %v of %v; a prediction is shaped like x", s.Outputs[0].Shape, s.Inputs[0].Shape)
	}
	planar, err := fits(d, s.Inputs[0])
	if err != nil {
		return nil, err
	}
	if err := o.Augment.check(d); err != nil {
		return nil, err
	}
	if err := o.checkLabels(s, d); err != nil {
		return nil, err
	}
	if err := o.checkEnds(s); err != nil {
		return nil, err
	}
	f := diffusion{o, s, d, planar}
	return &Task{
		Loss: lossOf(m, 0, "mean square", graph.Port{Name: target, Shape: s.Outputs[0].Shape}, func(b *graph.Builder, out, want *graph.Node) *graph.Node {
			return b.MeanSquare(out, want)
		}),
		Samples: d.N,
		Fill:    f.fill,
		About: map[string]string{
			"objective":  fmt.Sprintf("%T{Dropout:%v, Augment:%+v}", o, o.Dropout, o.Augment),
			"times":      identifyTimes(o.Times, s.Schedule),
			"data":       digest(d),
			"prediction": s.Prediction.String(),
			"schedule":   identifySchedule(s.Schedule),
		},
	}, nil
}

const label = "label"

func (o Diffusion) checkLabels(s graph.Spec, d *data.Images) error {
	switch {
	case !(o.Dropout >= 0 && o.Dropout <= 1):
		return fmt.Errorf("train: Diffusion.Dropout is %v; it is a chance from 0 to 1", o.Dropout)
	case len(s.Inputs) == 2 && o.Dropout > 0:
		return fmt.Errorf("train: Diffusion.Dropout is %v, and the network takes no label that could be dropped", o.Dropout)
	case len(s.Inputs) == 2:
		return nil
	case d.Labels == nil:
		return fmt.Errorf("train: the network takes labels, and the images have none")
	case s.Inputs[2].Len() != d.Classes+1:
		return fmt.Errorf("train: the network is for %d classes and one for none, the images have %d classes", s.Inputs[2].Len()-1, d.Classes)
	}
	return nil
}

// checkEnds finds predictions that are infinite in the range, which is so at its ends if anywhere.
func (o Diffusion) checkEnds(s graph.Spec) error {
	first, last := s.Schedule.Range()
	for _, t := range []float64{first, last} {
		pt := s.Schedule.At(t)
		if _, _, err := s.Prediction.Of(pt); err != nil {
			return fmt.Errorf("train: %w", err)
		}
		if s.Prediction == ode.Denoiser && pt.Alpha == 0 {
			return fmt.Errorf("train: a Denoiser is called at the noise level σ/α, which is infinite at t = %v of %s; use Data or Velocity", t, describe(s.Schedule))
		}
	}
	return nil
}

// diffusion fills the inputs of a Diffusion's loss.
type diffusion struct {
	Diffusion
	spec   graph.Spec
	images *data.Images
	planar bool
}

func (f diffusion) fill(in [][]float64, s Sample) error {
	var u [6]float64 // time, dropout, shift, flip
	from := s.address()
	from.uniform(u[:])
	t := f.Times.At(f.spec.Schedule, u[0])
	pt := f.spec.Schedule.At(t)
	a, e, err := f.spec.Prediction.Of(pt)
	if err != nil {
		return err
	}
	alpha, sigma := pt.Alpha, pt.Sigma
	if f.spec.Prediction == ode.Denoiser {
		t, alpha, sigma = sigma/alpha, 1, sigma/alpha
	}
	in[1][0] = t
	x, y := in[0], in[len(in)-1]
	f.Augment.image(x, f.images, s.Index, f.planar, from, u[2:])
	from.noise(y)
	for j, x0 := range x {
		eps := y[j]
		x[j], y[j] = alpha*x0+sigma*eps, a*x0+e*eps
	}
	if len(in) == 4 {
		hot := in[2]
		clear(hot)
		if u[1] < f.Dropout {
			hot[f.images.Classes] = 1
		} else {
			hot[f.images.Labels[s.Index]] = 1
		}
	}
	return nil
}

// lossOf puts a loss behind one output of a network.
func lossOf(m graph.Model, at int, name string, want graph.Port, loss func(b *graph.Builder, out, want *graph.Node) *graph.Node) graph.Model {
	s := m.Spec()
	s.Inputs = append(slices.Clone(s.Inputs), want)
	s.Outputs = []graph.Port{{Name: name}}
	return graph.ModelFunc{Describe: s, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		out := m.Build(b, in)
		if at >= len(out) {
			return []*graph.Node{b.Fail("train: the network built %d outputs, its Spec lists more", len(out))}
		}
		return []*graph.Node{loss(b, out[at], in.Input(want.Name))}
	}}
}

// fits checks that images are samples of x, and says whether x has the channels first.
func fits(d *data.Images, x graph.Port) (planar bool, err error) {
	if d == nil || d.N < 1 {
		return false, fmt.Errorf("train: no images")
	}
	if len(d.Pixels) != d.N*d.Size() || d.Labels != nil && len(d.Labels) != d.N {
		return false, fmt.Errorf("train: %d images of %d values, with %d values and %d labels", d.N, d.Size(), len(d.Pixels), len(d.Labels))
	}
	for i, c := range d.Labels {
		if c < 0 || c >= d.Classes {
			return false, fmt.Errorf("train: label %d of image %d is outside [0, %d)", c, i, d.Classes)
		}
	}
	for i, v := range d.Pixels {
		if v := float64(v); math.IsNaN(v) || math.IsInf(v, 0) {
			return false, fmt.Errorf("train: value %d of image %d is %v", i%d.Size(), i/d.Size(), v)
		}
	}
	planar = slices.Equal(x.Shape, []int{d.Channels, d.Height, d.Width})
	if !planar && x.Len() != d.Size() || len(x.Shape) == 3 && !planar && !slices.Equal(x.Shape, []int{d.Height, d.Width, d.Channels}) {
		return false, fmt.Errorf("train: the network takes %q of shape %v; the images are %d×%d with %d channels", x.Name, x.Shape, d.Height, d.Width, d.Channels)
	}
	return planar, nil
}

func names(ports []graph.Port) string {
	var s []string
	for _, p := range ports {
		s = append(s, p.Name)
	}
	return fmt.Sprintf("%q", s)
}

// digest is the SHA-256 sum of images and labels.
func digest(d *data.Images) string {
	h := sha256.New()
	// Writing to a hash does not fail.
	fmt.Fprintln(h, d.N, d.Height, d.Width, d.Channels, d.Classes, len(d.Labels))
	buf := make([]byte, 0, 1<<12)
	flush := func(room int) {
		if len(buf) > cap(buf)-room {
			h.Write(buf)
			buf = buf[:0]
		}
	}
	for _, v := range d.Pixels {
		flush(4)
		buf = binary.LittleEndian.AppendUint32(buf, math.Float32bits(v))
	}
	for _, c := range d.Labels {
		flush(8)
		buf = binary.LittleEndian.AppendUint64(buf, uint64(c))
	}
	h.Write(buf)
	return fmt.Sprintf("%d images of %d×%d×%d, SHA-256 %s", d.N, d.Height, d.Width, d.Channels, hex.EncodeToString(h.Sum(nil)))
}

// identifySchedule tells a schedule from others by what it computes, because its name need not say it all and a pointer in it
// is another one in each process.
func identifySchedule(s ode.Schedule) string {
	data, noise := s.Range()
	return fmt.Sprintf("%s from %v to %v, digest %s", typeName(s), data, noise, fingerprint(func(u float64) []float64 {
		p := s.At(within(s, u))
		return []float64{p.Alpha, p.Sigma}
	}))
}

// identifyTimes tells a distribution of times from others by its quantiles, for the same reasons.
func identifyTimes(d Times, s ode.Schedule) string {
	return fmt.Sprintf("%s with the quartiles %.4g, %.4g, %.4g, digest %s", typeName(d), d.At(s, 0.25), d.At(s, 0.5), d.At(s, 0.75),
		fingerprint(func(u float64) []float64 { return []float64{d.At(s, u)} }))
}

func typeName(v any) string { return strings.TrimPrefix(fmt.Sprintf("%T", v), "*") }

// fingerprint is a digest of a function on (0, 1), by its values at 4096 places: every level of the usual discrete schedules.
// They are rounded to float32, because processors differ in the last bits of a float64.
func fingerprint(f func(u float64) []float64) string {
	const places = 1 << 12
	h, buf := sha256.New(), make([]byte, 0, 4)
	for i := range places {
		for _, v := range f((float64(i) + 0.5) / places) {
			h.Write(binary.LittleEndian.AppendUint32(buf, math.Float32bits(float32(v))))
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func describe(s ode.Schedule) string {
	if n, ok := s.(fmt.Stringer); ok {
		return n.String()
	}
	return fmt.Sprintf("%T%+v", s, s)
}

// sorted lists the keys of a map in order.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
