package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/picture"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train"
	"github.com/ebb-go/ebb/train/data"
)

const (
	modelFile      = "model.safetensors"
	checkpointFile = "checkpoint.safetensors"
	curveFile      = "losses.csv"
)

// job is a run: the network, its trainer and what is reported.
type job struct {
	options
	set      dataset
	net      graph.Model
	judge    *judge // nil if samples are not to be judged
	trainer  *train.Trainer[float32]
	curve    []point
	out      io.Writer
	reported time.Time
}

// point is one of the loss curve.
type point struct {
	step int
	loss float64
}

// large says whether images have more than 16 pixels a side: networks for them have other defaults.
func large(d *data.Images) bool { return max(d.Height, d.Width) > 16 }

// network makes the network that the flags describe, and its task.
func network(o options, set dataset) (graph.Model, *train.Task, error) {
	d := set.train
	augment := train.Augment{Shift: o.shift, Share: o.share, Flip: o.flip, Noise: o.noise}
	if o.classifier != "" {
		m, err := classifier(o, d)
		if err != nil {
			return nil, nil, err
		}
		task, err := train.Classification{Smoothing: 0.05, Augment: augment}.Task(m, d)
		return m, task, err
	}
	c := models.DiTConfig{Channels: d.Channels, Height: d.Height, Width: d.Width, Patch: 2, Hidden: 64, Depth: 4, TimeFeatures: 64,
		Heads: o.heads, Prediction: ode.FlowVelocity, Schedule: ode.Flow{}}
	if large(d) {
		c.Patch, c.Hidden, c.Depth, c.TimeFeatures = 4, 128, 6, 256
	}
	c.Patch, c.Hidden, c.Depth, c.TimeFeatures = cmp.Or(o.patch, c.Patch), cmp.Or(o.width, c.Hidden), cmp.Or(o.depth, c.Depth), cmp.Or(o.features, c.TimeFeatures)
	objective := train.Diffusion{Augment: augment}
	if d.Labels == nil {
		if err := o.refuse("images without labels", "dropout"); err != nil {
			return nil, nil, err
		}
	} else {
		c.Classes, c.Condition, objective.Dropout = d.Classes, c.Hidden, o.dropout
	}
	m, err := models.NewDiT(c)
	if err != nil {
		return nil, nil, err
	}
	var labelled graph.Model = m
	if d.Labels != nil {
		labelled = models.Labelled(m)
	}
	task, err := objective.Task(labelled, d)
	return m, task, err
}

// classifier makes classifier a or b: of patches for small images, else of convolutions, so that a garment may be where it
// likes. The two differ in shape.
func classifier(o options, d *data.Images) (graph.Model, error) {
	if large(d) {
		if err := o.refuse(fmt.Sprintf("the classifier of images of %d×%d, which is of convolutions", d.Height, d.Width), "depth", "patch"); err != nil {
			return nil, err
		}
		c := models.ConvNetConfig{Channels: d.Channels, Height: d.Height, Width: d.Width, Stages: []int{24, 48}, Features: 96, Norm: true, Classes: d.Classes}
		if o.classifier == "b" {
			c.Stages, c.Features, c.Norm, c.Max = []int{16, 32, 64}, 64, false, true
		}
		c.Features = cmp.Or(o.width, c.Features)
		return models.NewConvNet(c)
	}
	c := models.ClassifierConfig{Channels: d.Channels, Height: d.Height, Width: d.Width, Patch: cmp.Or(o.patch, 2), Classes: d.Classes, Hidden: 24, Features: 64, Depth: 1}
	if o.classifier == "b" {
		c.Hidden, c.Features, c.Depth = 16, 48, 2
	}
	c.Features, c.Depth = cmp.Or(o.width, c.Features), cmp.Or(o.depth, c.Depth)
	return models.NewClassifier(c)
}

func newJob(o options, set dataset, m graph.Model, task *train.Task, judge *judge, out io.Writer) (*job, error) {
	w, err := graph.NewWeights[float32](m.Spec().Weights, o.seed)
	if err != nil {
		return nil, err
	}
	j := &job{options: o, set: set, net: m, judge: judge, out: out}
	j.trainer, err = train.New(task, w, train.Config{
		Steps: o.steps, Batch: o.batch, Seed: o.seed,
		Optimizer:  train.AdamW{Rate: o.rate, Warmup: min(200, o.steps/10), Floor: 0.05, Decay: o.decay, Clip: 1, Average: o.average},
		Checkpoint: o.file(checkpointFile), Every: o.every,
		Progress: j.progress,
	})
	return j, err
}

// resume reads the checkpoint, and the curve of the steps before it.
func (j *job) resume() error {
	if err := j.trainer.Resume(j.file(checkpointFile)); err != nil {
		return err
	}
	f, err := os.Open(j.file(curveFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		var p point
		if _, err := fmt.Sscanf(lines.Text(), "%d,%g", &p.step, &p.loss); err != nil {
			return fmt.Errorf("%s: %q is not step,loss; delete the file to go on without the curve so far", f.Name(), lines.Text())
		}
		if p.step <= j.trainer.Step() {
			j.curve = append(j.curve, p)
		}
	}
	return lines.Err()
}

// train runs to the end, with pictures on the way.
func (j *job) train(ctx context.Context) error {
	for !j.trainer.Done() {
		err := j.trainer.Run(ctx, j.every-j.trainer.Step()%j.every)
		fmt.Fprintln(j.out)
		if err := errors.Join(err, j.saveCurve()); err != nil {
			return err
		}
		if err := j.draw(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (j *job) progress(p train.Progress) {
	j.curve = append(j.curve, point{p.Step, p.Loss})
	if now := time.Now(); p.Step == p.Steps || now.Sub(j.reported) > time.Second/2 {
		j.reported = now
		fmt.Fprintf(j.out, "\rstep %d of %d  loss %.4f  rate %.2g  %.0f images/s  %v left   ",
			p.Step, p.Steps, smooth(j.curve, len(j.curve)-1), p.Rate, p.PerSecond, p.Left.Round(time.Second))
	}
}

// smooth is the mean of up to 100 losses that end at i.
func smooth(curve []point, i int) float64 {
	first := max(0, i-99)
	s := 0.0
	for _, p := range curve[first : i+1] {
		s += p.loss
	}
	return s / float64(i+1-first)
}

func (j *job) saveCurve() error {
	var b strings.Builder
	for _, p := range j.curve {
		fmt.Fprintf(&b, "%d,%g\n", p.step, p.loss)
	}
	if err := os.WriteFile(j.file(curveFile), []byte(b.String()), 0o666); err != nil {
		return fmt.Errorf("%w", err)
	}
	return nil
}

// draw makes the pictures of the state of the run.
func (j *job) draw(ctx context.Context) error {
	if len(j.curve) > 0 {
		var line picture.Line
		for i := range j.curve {
			if i%max(1, len(j.curve)/400) == 0 || i == len(j.curve)-1 {
				line.X, line.Y = append(line.X, float64(j.curve[i].step)), append(line.Y, smooth(j.curve, i))
			}
		}
		what := "mean square of the velocity's error"
		if j.classifier != "" {
			what = "cross-entropy"
		}
		err := picture.Write(j.file("loss.png"), picture.Curves{Title: fmt.Sprintf("Loss after %d steps", j.trainer.Step()), Note: "Mean of the last 100 steps; " + what + ".",
			XLabel: "step", YLabel: "loss", Lines: []picture.Line{line}})
		if err != nil {
			return err
		}
	}
	if j.classifier != "" {
		return nil
	}
	w, err := j.trainer.Average()
	if err != nil {
		return err
	}
	return drawSamples(ctx, j.file("samples.png"), j.net, w, j.set.train, j.seed, fmt.Sprintf("Samples after %d steps", j.trainer.Step()))
}

// finish saves the model and reports.
func (j *job) finish(ctx context.Context) error {
	w, err := j.trainer.Average()
	if err != nil {
		return err
	}
	metadata := map[string]string{"trained": fmt.Sprintf("%d steps of %d images, rate %g, seed %d", j.steps, j.batch, j.rate, j.seed)}
	if err := models.Save(j.file(modelFile), j.net, w, dtypes[j.dtype], metadata); err != nil {
		return err
	}
	// The report is of the file, so of its rounded numbers.
	_, w, _, err = models.Load[float32](j.file(modelFile))
	if err != nil {
		return err
	}
	for _, name := range []string{modelFile, checkpointFile, curveFile, "loss.png", "samples.png"} {
		if info, err := os.Stat(j.file(name)); err == nil {
			fmt.Fprintf(j.out, "%-24s %7.1f kB\n", name, float64(info.Size())/1e3)
		}
	}
	if j.classifier != "" {
		if j.set.held.N == 0 {
			return nil
		}
		share, err := accuracy(j.net, w, j.set.held)
		if err != nil {
			return err
		}
		fmt.Fprintf(j.out, "right on %.1f %% of %d held-out images\n", 100*share, j.set.held.N)
		return nil
	}
	if j.judge == nil {
		return nil
	}
	r, err := assess(ctx, j.net, w, j.judge, j.set, 2000, j.seed)
	if err != nil {
		return err
	}
	fmt.Fprint(j.out, r)
	return nil
}
