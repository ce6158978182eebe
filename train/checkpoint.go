package train

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/safetensors"
)

// A checkpoint is a safetensors file with four tensors a weight, under these prefixes, and metadata: "steps", the number of
// steps done, and beside it everything that a run depends on and that can be told in words.
const (
	weightPrefix  = "weight/"
	averagePrefix = "average/"
	firstPrefix   = "m/"
	secondPrefix  = "v/"

	stepsKey = "steps done"
)

// slots are the state of the run, by prefix.
func (t *Trainer[T]) slots() map[string]map[string][]T {
	weights := map[string][]T{}
	for _, d := range t.list {
		weights[d.Name] = t.weights.Data(d.Name)
	}
	return map[string]map[string][]T{weightPrefix: weights, averagePrefix: t.average, firstPrefix: t.m, secondPrefix: t.v}
}

func dtype[T graph.Float]() graph.Dtype {
	if _, ok := any(T(0)).(float32); ok {
		return graph.F32
	}
	return graph.F64
}

// describe lists what must be the same for a run to be resumed.
func (t *Trainer[T]) describe() map[string]string {
	s := t.cell.Spec()
	c := t.config
	about := map[string]string{
		"element type": string(dtype[T]()),
		"steps":        strconv.Itoa(c.Steps), "batch": strconv.Itoa(c.Batch), "seed": strconv.FormatUint(c.Seed, 10),
		"samples": strconv.Itoa(t.task.Samples),
		"inputs":  shapes(s.Inputs), "shard": strconv.Itoa(s.Shard),
	}
	maps.Copy(about, c.Optimizer.describe())
	for name, v := range t.task.About {
		about["task: "+name] = v
	}
	return about
}

func (o AdamW) describe() map[string]string {
	number := func(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
	return map[string]string{
		"rate": number(o.Rate), "warm-up": strconv.Itoa(o.Warmup), "floor": number(o.Floor),
		"beta1": number(o.Beta1), "beta2": number(o.Beta2), "eps": number(o.Eps),
		"decay": number(o.Decay), "kept from decay": strings.Join(o.Keep, " "), "clip": number(o.Clip), "average": number(o.Average),
	}
}

func shapes(ports []graph.Port) string {
	var s []string
	for _, p := range ports {
		s = append(s, fmt.Sprint(p.Name, p.Shape))
	}
	return strings.Join(s, " ")
}

// Save writes a checkpoint: the file appears whole or not at all, and replaces what was there.
func (t *Trainer[T]) Save(path string) error {
	var tensors []safetensors.Tensor
	slots := t.slots()
	for _, prefix := range sorted(slots) {
		for _, d := range t.list {
			s := safetensors.Tensor{Name: prefix + d.Name, Dtype: dtype[T](), Shape: d.Shape}
			switch x := any(slots[prefix][d.Name]).(type) {
			case []float32:
				s.Float32 = x
			case []float64:
				s.Float64 = x
			}
			tensors = append(tensors, s)
		}
	}
	metadata := map[string]string{stepsKey: strconv.Itoa(t.steps)}
	for name, v := range t.about {
		metadata[name] = v
	}
	if err := safetensors.WriteFile(path, metadata, tensors); err != nil {
		return fmt.Errorf("train: checkpoint after %d steps: %w", t.steps, err)
	}
	return nil
}

// Resume goes on from a checkpoint, to the same bits as a run that never stopped. If the checkpoint is of a run with
// another configuration, task or network, the error lists all differences; after any error the Trainer is as before. With
// Config.Retune the Optimizer may be another: the steps to come are made with the present one, and with the moments and the
// average that the former one has left. What runs that were killed while they wrote this checkpoint have left beside it is removed.
func (t *Trainer[T]) Resume(path string) (err error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return fmt.Errorf("train: resuming: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	metadata := f.Metadata()
	steps, bad := strconv.Atoi(metadata[stepsKey])
	if bad != nil || steps < 0 {
		return fmt.Errorf("train: %s is no checkpoint: its metadata %q is %q, which should be a number of steps", path, stepsKey, metadata[stepsKey])
	}
	if diff := t.differences(f); len(diff) > 0 {
		return fmt.Errorf("train: %s is of another run: %s", path, strings.Join(diff, "; "))
	}
	if steps > t.config.Steps {
		return fmt.Errorf("train: %s: %d steps are done of %d", path, steps, t.config.Steps)
	}
	if err := safetensors.RemoveUnfinished(path); err != nil {
		return fmt.Errorf("train: resuming from %s: %w", path, err)
	}
	read := map[string][]T{}
	slots := t.slots()
	for prefix := range slots {
		for _, d := range t.list {
			x := make([]T, d.Len())
			if err := safetensors.Read(f, prefix+d.Name, x); err != nil {
				return fmt.Errorf("train: resuming from %s: %w", path, err)
			}
			read[prefix+d.Name] = x
		}
	}
	restore := func(name string, w []T) {
		if x := read[weightPrefix+name]; x != nil {
			copy(w, x)
		}
	}
	if err := t.weights.Update(restore); err != nil {
		return fmt.Errorf("train: resuming: %w", err)
	}
	delete(slots, weightPrefix)
	for prefix, slot := range slots {
		for name, x := range slot {
			copy(x, read[prefix+name])
		}
	}
	t.steps = steps
	return nil
}

// differences lists what a checkpoint has otherwise than this run.
func (t *Trainer[T]) differences(f *safetensors.File) []string {
	var diff []string
	metadata := f.Metadata()
	var free map[string]string
	if t.config.Retune {
		free = t.config.Optimizer.describe()
	}
	for _, name := range sorted(t.about) {
		if _, ok := free[name]; ok {
			continue
		}
		if have, want := metadata[name], t.about[name]; have != want {
			diff = append(diff, fmt.Sprintf("%s is %q there and %q here", name, have, want))
		}
	}
	for _, name := range sorted(metadata) {
		if _, known := t.about[name]; !known && name != stepsKey {
			diff = append(diff, fmt.Sprintf("%s is %q there and missing here", name, metadata[name]))
		}
	}
	need := map[string]bool{}
	for _, d := range t.list {
		for prefix := range t.slots() {
			need[prefix+d.Name] = true
		}
		info, ok := f.Info(weightPrefix + d.Name)
		switch {
		case !ok:
			diff = append(diff, fmt.Sprintf("weight %q %v is missing there", d.Name, d.Shape))
		case !slices.Equal(info.Shape, d.Shape):
			diff = append(diff, fmt.Sprintf("weight %q is %v there and %v here", d.Name, info.Shape, d.Shape))
		}
	}
	for _, name := range f.Names() {
		if !need[name] {
			diff = append(diff, fmt.Sprintf("tensor %q is surplus there", name))
		}
	}
	return diff
}

// writable says, before hours are spent, whether a file can be made beside path.
func writable(path string) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("train: checkpoint %s is no regular file", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".checkpoint-*")
	if err != nil {
		return fmt.Errorf("train: no checkpoint can be written to %s: %w", path, err)
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
