package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/ebb-go/ebb/train/data"
)

// Config says how long and how a [Trainer] trains.
type Config struct {
	Steps     int // of the whole run, over which the rate falls
	Batch     int // samples a step
	Seed      uint64
	Optimizer AdamW

	// Checkpoint is a file that is replaced every so many steps, and when a run ends or is cancelled; none if empty. Every
	// of 0 means only then.
	Checkpoint string
	Every      int

	// Retune lets Resume take a checkpoint of a run with another Optimizer. So a run in which a number went bad goes on from
	// its last checkpoint with a lower rate, a longer warm-up or a clip; repeated alike, it would only go bad again.
	Retune bool

	Workers  int            // 0 means GOMAXPROCS
	Progress func(Progress) // called after every step; may be nil
}

// Progress says where a run is.
type Progress struct {
	Step, Steps int     // steps done, and of how many
	Loss        float64 // mean over the batch of this step
	Rate        float64
	Norm        float64       // of the gradient, before it is clipped
	PerSecond   float64       // samples, since Run was called
	Left        time.Duration // at that speed
}

// NumericError says that a number went bad. The weights are those before the step.
type NumericError struct {
	Step     int    // from 0
	Indices  []int  // samples of the batch
	Quantity string // "loss of sample 17", `gradient of "out.bias"`
	Value    float64
}

// Error implements error. Of the batch it names the first samples.
func (e *NumericError) Error() string {
	const few = 8
	batch := strings.Trim(fmt.Sprint(e.Indices[:min(few, len(e.Indices))]), "[]")
	if len(e.Indices) > few {
		batch += " …"
	}
	return fmt.Sprintf("train: step %d: %s is %v (in a batch of %d: %s); start again with a lower rate, a longer warm-up or a clip, or resume the last checkpoint with them by Config.Retune",
		e.Step, e.Quantity, e.Value, len(e.Indices), batch)
}

// A Trainer trains the weights of a network. After its first step it allocates nothing a step beyond what a Task's Fill and
// Progress do. All it computes is a function of weights, task and the Config's Steps, Batch, Seed and Optimizer: not of the
// number of workers, nor of having been interrupted.
//
// A Trainer is not safe for concurrent use. Close it.
type Trainer[T graph.Float] struct {
	task    *Task
	config  Config
	weights *graph.Weights[T]
	cell    *graph.Cell[T]
	batches *data.Batches
	steps   int // done

	storage [][]float64   // inputs as filled,
	wide    [][][]float64 // and their parts, sample by sample
	shared  bool          // T is float64, and values.Inputs has that storage
	indices []int         // of the present batch
	faults  []error       // of filling it
	values  graph.Values[T]
	grads   graph.Values[T]
	list    []graph.Weight
	m, v    map[string][]T
	average map[string][]T
	decay   map[string]float64

	loss, norm float64 // of the last step
	params     kernels.AdamWParams
	update     func(name string, w []T)
	about      map[string]string

	pieces  []piece        // of all weights
	squares []float64      // of the gradient, piece by piece
	present map[string][]T // weights that are being updated
	fault   error          // of an update
	fill    func(worker, i int)
	clear   func(worker, i int)
	square  func(worker, i int)
	move    func(worker, i int)
}

// A piece is a part of a weight that one worker takes on. Its length is a constant, because sums over the weights are taken piece by
// piece, and a whole number of vectors.
type piece struct {
	name     string
	from, to int
}

const pieceLength = 1 << 13

// New returns a Trainer of weights, which it changes in place.
//
// Errors: a task that lacks something, weights that do not fit its network, a Config field out of bounds, a checkpoint
// folder that cannot be written to.
func New[T graph.Float](task *Task, w *graph.Weights[T], c Config) (*Trainer[T], error) {
	if task == nil || task.Loss == nil || task.Fill == nil || task.Samples < 1 {
		return nil, errors.New("train: a Task needs Loss, Fill and at least one of Samples")
	}
	s := task.Loss.Spec()
	if len(s.Outputs) != 1 || s.Outputs[0].Len() != 1 {
		return nil, fmt.Errorf("train: the network of a Task gives one number a sample; this one gives %v", s.Outputs)
	}
	c.Optimizer = c.Optimizer.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	batches, err := data.NewBatches(task.Samples, c.Batch, c.Seed)
	if err != nil {
		return nil, err
	}
	var options []graph.CellOption
	if c.Workers > 0 {
		options = append(options, graph.Workers(c.Workers))
	}
	cell, err := graph.NewCell(task.Loss, w, options...)
	if err != nil {
		return nil, err
	}
	t := &Trainer[T]{task: task, config: c, weights: w, cell: cell, batches: batches, list: s.Weights,
		m: map[string][]T{}, v: map[string][]T{}, average: map[string][]T{}, decay: map[string]float64{}}
	t.wide, t.faults = make([][][]float64, c.Batch), make([]error, c.Batch)
	for _, p := range s.Inputs {
		n := p.Len()
		wide := make([]float64, c.Batch*n)
		in, shared := any(wide).([]T)
		if t.shared = shared; !shared {
			in = make([]T, len(wide))
		}
		t.storage, t.values.Inputs = append(t.storage, wide), append(t.values.Inputs, in)
		for i := range t.wide {
			t.wide[i] = append(t.wide[i], wide[i*n:(i+1)*n:(i+1)*n])
		}
	}
	t.values.Outputs = [][]T{make([]T, c.Batch)}
	t.grads.Outputs = [][]T{make([]T, c.Batch)}
	for i := range t.grads.Outputs[0] {
		t.grads.Outputs[0][i] = T(1 / float64(c.Batch))
	}
	t.grads.Weights = map[string][]T{}
	for _, d := range t.list {
		t.grads.Weights[d.Name] = make([]T, d.Len())
		t.m[d.Name], t.v[d.Name] = make([]T, d.Len()), make([]T, d.Len())
		t.average[d.Name] = slices.Clone(w.Data(d.Name))
		if c.Optimizer.decays(d) {
			t.decay[d.Name] = c.Optimizer.Decay
		}
	}
	t.present = map[string][]T{}
	for _, d := range t.list {
		for from := 0; from < d.Len(); from += pieceLength {
			t.pieces = append(t.pieces, piece{d.Name, from, min(from+pieceLength, d.Len())})
		}
	}
	t.squares = make([]float64, len(t.pieces))
	t.update, t.fill, t.clear, t.square, t.move = t.optimize, t.fillSample, t.clearPiece, t.squarePiece, t.movePiece
	t.about = t.describe()
	return t, nil
}

func (c Config) check() error {
	errs := []error{c.Optimizer.check()}
	demand := func(ok bool, name string, v int, allowed string) {
		if !ok {
			errs = append(errs, fmt.Errorf("train: Config.%s is %d; it must be %s", name, v, allowed))
		}
	}
	demand(c.Steps >= 1, "Steps", c.Steps, "at least 1")
	demand(c.Batch >= 1, "Batch", c.Batch, "at least 1")
	demand(c.Every >= 0, "Every", c.Every, "at least 0, where 0 means only at the end")
	demand(c.Workers >= 0, "Workers", c.Workers, "at least 0, where 0 means GOMAXPROCS")
	demand(c.Optimizer.Warmup <= c.Steps || c.Steps < 1, "Optimizer.Warmup", c.Optimizer.Warmup, fmt.Sprintf("at most Steps, %d", c.Steps))
	if c.Every > 0 && c.Checkpoint == "" {
		errs = append(errs, fmt.Errorf("train: Config.Every is %d without a Checkpoint to write", c.Every))
	}
	if c.Checkpoint != "" {
		errs = append(errs, writable(c.Checkpoint))
	}
	return errors.Join(errs...)
}

// Close ends the workers.
func (t *Trainer[T]) Close() { t.cell.Close() }

// Step is the number of steps done.
func (t *Trainer[T]) Step() int { return t.steps }

// Done reports whether all steps are done.
func (t *Trainer[T]) Done() bool { return t.steps >= t.config.Steps }

// Cell is what evaluates the network and its gradient; [graph.Cell.Watch] and Profile tell where the time of steps goes.
func (t *Trainer[T]) Cell() *graph.Cell[T] { return t.cell }

// Weights are those being trained.
func (t *Trainer[T]) Weights() *graph.Weights[T] { return t.weights }

// Average is a copy of the running average of the weights: usually what to sample with, and to keep.
func (t *Trainer[T]) Average() (*graph.Weights[T], error) {
	w := t.weights.Clone()
	for _, d := range t.list {
		if err := w.Set(d.Name, t.average[d.Name]); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Run makes so many more steps, fewer if the run is over before.
//
// When ctx is cancelled, or a step fails, the Trainer stays as it was after the last whole step, and the error wraps the
// cause. On cancellation a checkpoint is written if there is to be one. A step that fails leaves the file alone: when a number
// went bad ([NumericError]), the present state would fail again at once, and an older one may be what helps.
func (t *Trainer[T]) Run(ctx context.Context, steps int) error {
	if steps < 0 {
		return fmt.Errorf("train: Run of %d steps; at least 0 are needed", steps)
	}
	defer t.cell.Hold()()
	began, first := time.Now(), t.steps
	last := min(t.config.Steps, t.steps+min(steps, t.config.Steps))
	for t.steps < last {
		if err := ctx.Err(); err != nil {
			err = fmt.Errorf("train: stopped after %d of %d steps: %w", t.steps, t.config.Steps, err)
			return errors.Join(err, t.checkpoint(true))
		}
		if err := t.step(); err != nil {
			return err
		}
		if err := t.checkpoint(t.Done()); err != nil {
			return err
		}
		if t.config.Progress != nil {
			t.report(time.Since(began).Seconds() / float64(t.steps-first))
		}
	}
	return nil
}

// checkpoint saves if it is time, or now.
func (t *Trainer[T]) checkpoint(now bool) error {
	if t.config.Checkpoint == "" || !now && (t.config.Every == 0 || t.steps%t.config.Every != 0) {
		return nil
	}
	return t.Save(t.config.Checkpoint)
}

func (t *Trainer[T]) report(secondsAStep float64) {
	t.config.Progress(Progress{
		Step: t.steps, Steps: t.config.Steps,
		Loss: t.loss, Rate: t.params.Rate, Norm: t.norm,
		PerSecond: float64(t.config.Batch) / secondsAStep,
		Left:      time.Duration(secondsAStep * float64(t.config.Steps-t.steps) * float64(time.Second)),
	})
}

// gradientNorm is the norm over all weights.
func (t *Trainer[T]) gradientNorm() (float64, error) {
	err := t.cell.Share("norm of the gradient", len(t.pieces), t.square)
	s := 0.0
	for _, v := range t.squares {
		s += v
	}
	return math.Sqrt(s), err
}

func (t *Trainer[T]) gradient(i int) []T {
	p := t.pieces[i]
	return t.grads.Weights[p.name][p.from:p.to]
}

func (t *Trainer[T]) clearPiece(_, i int) { clear(t.gradient(i)) }

func (t *Trainer[T]) squarePiece(_, i int) {
	g := t.gradient(i)
	t.squares[i] = kernels.Dot(g, g)
}

// fillSample makes the inputs of one sample of the batch.
func (t *Trainer[T]) fillSample(_, i int) {
	s := Sample{Seed: t.config.Seed, Step: t.steps, Place: i, Index: t.indices[i]}
	in := t.wide[i]
	err := t.task.Fill(in, s)
	for k := range in {
		n := len(t.storage[k]) / t.config.Batch
		if own := t.storage[k][i*n : (i+1)*n : (i+1)*n]; len(in[k]) != n || &in[k][0] != &own[0] {
			in[k] = own
			if err == nil {
				err = fmt.Errorf("after Fill input %d is another slice; it must write into the one that it is given, as copy does", k)
			}
		}
	}
	if t.faults[i] = err; err != nil || t.shared {
		return
	}
	for k, wide := range in {
		to := t.values.Inputs[k][i*len(wide):]
		for j, v := range wide {
			to[j] = T(v)
		}
	}
}

func (t *Trainer[T]) step() error {
	var err error
	if t.indices, err = t.batches.At(t.steps); err != nil {
		return err
	}
	if err := t.cell.Share("inputs", t.config.Batch, t.fill); err != nil {
		return fmt.Errorf("train: step %d: %w", t.steps, err)
	}
	for i, err := range t.faults {
		if err != nil {
			return fmt.Errorf("train: step %d: sample %d: %w", t.steps, t.indices[i], err)
		}
	}
	if err := t.cell.Share("gradients to zero", len(t.pieces), t.clear); err != nil {
		return fmt.Errorf("train: step %d: %w", t.steps, err)
	}
	if err := t.cell.VJP(t.config.Batch, &t.values, &t.grads); err != nil {
		return fmt.Errorf("train: step %d: %w", t.steps, err)
	}
	t.loss = kernels.Sum(t.values.Outputs[0]) / float64(t.config.Batch)
	if t.norm, err = t.gradientNorm(); err != nil {
		return fmt.Errorf("train: step %d: %w", t.steps, err)
	}
	if !finite(t.loss) || !finite(t.norm) {
		return t.bad()
	}
	o := t.config.Optimizer
	t.params = kernels.AdamWParams{
		Rate: o.rate(t.steps, t.config.Steps), Beta1: o.Beta1, Beta2: o.Beta2, Eps: o.Eps, Step: t.steps + 1,
		Clip: o.clipping(t.norm), Average: o.averaging(t.steps + 1),
	}
	clear(t.present)
	if err := errors.Join(t.weights.Update(t.update), t.fault); err != nil {
		return fmt.Errorf("train: step %d: %w", t.steps, err)
	}
	t.steps++
	return nil
}

// optimize updates all weights once the last of them has been handed over, as one piece of shared work: that is refused or done
// as a whole, so that no error leaves half of a step behind.
func (t *Trainer[T]) optimize(name string, w []T) {
	if t.present[name] = w; len(t.present) == len(t.list) {
		t.fault = t.cell.Share("AdamW", len(t.pieces), t.move)
	}
}

func (t *Trainer[T]) movePiece(_, i int) {
	p := t.pieces[i]
	at := func(x map[string][]T) []T { return x[p.name][p.from:p.to] }
	params := t.params
	params.Decay = t.decay[p.name]
	kernels.AdamW(at(t.present), at(t.grads.Weights), at(t.m), at(t.v), at(t.average), params)
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// bad finds what is not finite.
func (t *Trainer[T]) bad() error {
	e := &NumericError{Step: t.steps, Indices: slices.Clone(t.indices), Quantity: "norm of the gradient", Value: t.norm}
	for i, v := range t.values.Outputs[0] {
		if !finite(float64(v)) {
			e.Quantity, e.Value = fmt.Sprintf("loss of sample %d", t.indices[i]), float64(v)
			return e
		}
	}
	for _, d := range t.list {
		for _, v := range t.grads.Weights[d.Name] {
			if !finite(float64(v)) {
				e.Quantity, e.Value = fmt.Sprintf("gradient of %q", d.Name), float64(v)
				return e
			}
		}
	}
	return e
}
