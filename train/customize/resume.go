package customize

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/internal/safetensors"
	"github.com/ebb-go/ebb/ode"
)

// state is what a checkpoint says beside its tensors.
type state struct {
	Version   int               `json:"version"`
	About     map[string]string `json:"about"` // what must be the same for an optimization to be resumed
	Iteration int               `json:"iteration"`
	Compared  int               `json:"compared"`
	Curve     []float64         `json:"curve"`
	Best      int               `json:"best"`
	Before    float64           `json:"before"`
	After     float64           `json:"after"`
	NFE       int               `json:"nfe"`
	VJP       int               `json:"vjp"`
	Step      int               `json:"step"`
}

const (
	stateVersion = 2
	stateKey     = "ebb.customize"
	startPrefix  = "start."
)

// describe tells this optimization from others.
func (t *task[T]) describe(o *Options[T]) map[string]string {
	var x T
	strategy := o.Strategy
	if strategy == nil {
		strategy = adjoint.Checkpoint{}
	}
	return map[string]string{
		"element type": fmt.Sprintf("%T", x), "variables": fmt.Sprintf("%q", slices.Sorted(maps.Keys(t.values))),
		"batch": strconv.Itoa(t.Batch), "dim": strconv.Itoa(t.Dim),
		"plan": identify(t.Plan), "replay plan": identify(t.Replay), "strategy": fmt.Sprintf("%T", strategy),
		"seed": strconv.FormatUint(o.Seed, 10), "iterations": strconv.Itoa(o.Iterations),
		"rate": fmt.Sprint(o.LearningRate), "fall": strconv.FormatBool(o.Fall), "clip": fmt.Sprint(o.Clip),
	}
}

// identify tells a plan from others by all its numbers, to the last bit.
func identify(p *ode.Plan) string {
	h := sha256.New()
	// Writing to a hash does not fail. There are no pointers in the code, and Go's syntax has every digit.
	fmt.Fprintf(h, "%#v %#v %#v %#v", p.Raw, p.Inputs, p.Outputs, p.Code)
	for _, k := range p.Knots {
		fmt.Fprintf(h, " %#v %#v", k, p.Schedule.At(k.T))
	}
	return fmt.Sprintf("%s, %d evaluations, digest %x", p.Name, p.NFE(), h.Sum(nil)[:16])
}

// parts are the tensors of a checkpoint, by prefix.
func (t *task[T]) parts(a *adam[T]) map[string]map[string][]T {
	return map[string]map[string][]T{"value.": t.values, "best.": t.result.Values, startPrefix: t.result.Start, "m.": a.m, "v.": a.v}
}

// save writes the state at the beginning of an iteration, at once or not at all.
func (t *task[T]) save(path string, iteration int, a *adam[T], o *Options[T]) error {
	r := t.result
	s := state{Version: stateVersion, About: t.describe(o), Iteration: iteration, Compared: t.compared,
		Curve: r.Curve, Best: r.Best, Before: r.Before, After: r.After, NFE: r.NFE, VJP: r.VJP, Step: a.t}
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

// load goes back to a saved state and returns its iteration; without a file it is 0. The result has the loss at the start. After
// an error nothing has changed.
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
	if s.Version != stateVersion {
		return 0, fmt.Errorf("customize: %s has version %d, this program reads %d", path, s.Version, stateVersion)
	}
	diff := t.differences(&s, o)
	read := map[string][]T{}
	parts := t.parts(a)
	for prefix, part := range parts {
		for name, x := range part {
			if info, ok := f.Info(prefix + name); !ok || info.Len() != len(x) {
				diff = append(diff, fmt.Sprintf("it has no tensor %q of %d elements", prefix+name, len(x)))
				continue
			}
			y := make([]T, len(x))
			if err := safetensors.Read(f, prefix+name, y); err != nil {
				return 0, fmt.Errorf("customize: resuming: %w", err)
			}
			if prefix == startPrefix && !slices.Equal(x, y) {
				diff = append(diff, fmt.Sprintf("%q starts elsewhere", name))
			}
			read[prefix+name] = y
		}
	}
	if len(diff) > 0 {
		slices.Sort(diff)
		return 0, fmt.Errorf("customize: %s is of another optimization: %s", path, strings.Join(diff, "; "))
	}
	for prefix, part := range parts {
		for name, x := range part {
			copy(x, read[prefix+name])
		}
	}
	r := t.result
	r.Curve, r.Best, r.Before, r.After, r.NFE, r.VJP = s.Curve, s.Best, s.Before, s.After, s.NFE, s.VJP
	t.compared, a.t = s.Compared, s.Step
	return s.Iteration, nil
}

// sameLoss is how far, as a share, two evaluations of one loss may be apart: processors round differently.
const sameLoss = 1e-3

// differences lists what a saved state has otherwise than this optimization, apart from tensors.
func (t *task[T]) differences(s *state, o *Options[T]) []string {
	var diff []string
	here := t.describe(o)
	for name, want := range here {
		if have := s.About[name]; have != want {
			diff = append(diff, fmt.Sprintf("%s is %s there and %s here", name, have, want))
		}
	}
	if before := t.result.Before; math.Abs(s.Before-before) > sameLoss*max(math.Abs(s.Before), math.Abs(before)) {
		diff = append(diff, fmt.Sprintf("the loss at the start is %g there and %g here", s.Before, before))
	}
	return diff
}
