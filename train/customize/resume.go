package customize

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/ebb-go/ebb/internal/safetensors"
)

// state is what a checkpoint says beside its tensors.
type state struct {
	Version   int       `json:"version"`
	Dtype     string    `json:"dtype"`
	Iteration int       `json:"iteration"`
	Plan      string    `json:"plan"`
	Seed      uint64    `json:"seed"`
	Rate      float64   `json:"rate"`
	Total     int       `json:"iterations"`
	Names     []string  `json:"names"`
	Curve     []float64 `json:"curve"`
	Best      int       `json:"best"`
	Before    float64   `json:"before"`
	After     float64   `json:"after"`
	NFE       int       `json:"nfe"`
	VJP       int       `json:"vjp"`
	Step      int       `json:"step"`
}

const (
	stateVersion = 1
	stateKey     = "ebb.customize"
)

func (t *task[T]) describe(o *Options[T]) state {
	var x T
	return state{Version: stateVersion, Dtype: fmt.Sprintf("%T", x), Plan: fmt.Sprintf("%s, %d evaluations", t.Plan.Name, t.Plan.NFE()),
		Seed: o.Seed, Rate: o.LearningRate, Total: o.Iterations, Names: slices.Sorted(maps.Keys(t.values))}
}

// parts are the tensors of a checkpoint, by prefix.
func (t *task[T]) parts(a *adam[T]) map[string]map[string][]T {
	return map[string]map[string][]T{"value.": t.values, "best.": t.result.Values, "start.": t.result.Start, "m.": a.m, "v.": a.v}
}

// save writes the state at the beginning of an iteration, at once or not at all.
func (t *task[T]) save(path string, iteration int, a *adam[T], o *Options[T]) error {
	s, r := t.describe(o), t.result
	s.Iteration, s.Curve, s.Best, s.Before, s.After, s.NFE, s.VJP, s.Step = iteration, r.Curve, r.Best, r.Before, r.After, r.NFE, r.VJP, a.t
	text, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("customize: checkpoint: %w", err)
	}
	var tensors []safetensors.Tensor
	for prefix, part := range t.parts(a) {
		for name, x := range part {
			tensor := safetensors.Tensor{Name: prefix + name, Shape: []int{len(x)}}
			switch x := any(x).(type) {
			case []float32:
				tensor.Dtype, tensor.Float32 = safetensors.F32, x
			case []float64:
				tensor.Dtype, tensor.Float64 = safetensors.F64, x
			}
			tensors = append(tensors, tensor)
		}
	}
	if err := safetensors.WriteFile(path, map[string]string{stateKey: string(text)}, tensors); err != nil {
		return fmt.Errorf("customize: checkpoint: %w", err)
	}
	return nil
}

// load goes back to a saved state and returns its iteration; without a file it is 0.
func (t *task[T]) load(path string, a *adam[T], o *Options[T]) (iteration int, err error) {
	f, err := safetensors.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("customize: resuming: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var s state
	if err := json.Unmarshal([]byte(f.Metadata()[stateKey]), &s); err != nil {
		return 0, fmt.Errorf("customize: %s is no checkpoint of an optimization: %w", path, err)
	}
	want := t.describe(o)
	switch {
	case s.Version != want.Version:
		return 0, fmt.Errorf("customize: %s has version %d, this program reads %d", path, s.Version, want.Version)
	case s.Dtype != want.Dtype || s.Plan != want.Plan || s.Seed != want.Seed || s.Rate != want.Rate || s.Total != want.Total || !slices.Equal(s.Names, want.Names):
		return 0, fmt.Errorf("customize: %s is of another optimization: it has %s, plan %q, seed %d, rate %g, %d iterations, variables %q; asked for is %s, plan %q, seed %d, rate %g, %d iterations, variables %q",
			path, s.Dtype, s.Plan, s.Seed, s.Rate, s.Total, s.Names, want.Dtype, want.Plan, want.Seed, want.Rate, want.Total, want.Names)
	}
	for prefix, part := range t.parts(a) {
		for name, x := range part {
			if info, ok := f.Info(prefix + name); !ok || info.Len() != len(x) {
				return 0, fmt.Errorf("customize: %s has no tensor %q of %d elements", path, prefix+name, len(x))
			}
			if err := safetensors.Read(f, prefix+name, x); err != nil {
				return 0, fmt.Errorf("customize: resuming: %w", err)
			}
		}
	}
	r := t.result
	r.Curve, r.Best, r.Before, r.After, r.NFE, r.VJP, a.t = s.Curve, s.Best, s.Before, s.After, s.NFE, s.VJP, s.Step
	return s.Iteration, nil
}
