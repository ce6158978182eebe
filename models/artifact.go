package models

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/safetensors"
)

// An Artifact is what customization finds for a network. Each part may be absent.
type Artifact[T graph.Float] struct {
	Latent    []T            // where sampling starts, one state a sample
	Condition []T            // condition vectors, one a sample
	Delta     map[string][]T // what is to be added to weights, by their names
}

const (
	latent      = "latent"
	keyArtifact = "ebb.artifact"
)

// SaveArtifact writes an artifact of a network to a safetensors file, which is replaced at once or not at all: the
// tensors "latent" (samples, the shape of x) and "condition" (samples, length), and the changes of weights under the
// names of the weights. It is an error if a part does not fit the network, or if there is none.
func SaveArtifact[T graph.Float](path string, spec graph.Spec, a Artifact[T], d graph.Dtype, metadata map[string]string) error {
	var tensors []safetensors.Tensor
	add := func(name string, shape []int, data []T) {
		t := safetensors.Tensor{Name: name, Dtype: d, Shape: shape}
		switch x := any(data).(type) {
		case []float32:
			t.Float32 = x
		case []float64:
			t.Float64 = x
		}
		tensors = append(tensors, t)
	}
	for _, part := range []struct {
		name, port string
		data       []T
	}{{latent, graph.X, a.Latent}, {graph.Condition, graph.Condition, a.Condition}} {
		if part.data == nil {
			continue
		}
		p, ok := spec.Input(part.port)
		if !ok {
			return fmt.Errorf("models: SaveArtifact: a %s, but the network has no input %q", part.name, part.port)
		}
		if len(part.data) == 0 || len(part.data)%p.Len() != 0 {
			return fmt.Errorf("models: SaveArtifact: the %s has %d elements; %d a sample are needed", part.name, len(part.data), p.Len())
		}
		add(part.name, append([]int{len(part.data) / p.Len()}, p.Shape...), part.data)
	}
	for _, name := range slices.Sorted(maps.Keys(a.Delta)) {
		w, err := weightNamed(spec, name)
		if err != nil {
			return fmt.Errorf("models: SaveArtifact: %w", err)
		}
		if len(a.Delta[name]) != w.Len() {
			return fmt.Errorf("models: SaveArtifact: the change of weight %q has %d elements; the weight has %d", name, len(a.Delta[name]), w.Len())
		}
		add(name, w.Shape, a.Delta[name])
	}
	if len(tensors) == 0 {
		return errors.New("models: SaveArtifact: the artifact has no part")
	}
	header := map[string]string{keyArtifact: "1"}
	for k, v := range metadata {
		if strings.HasPrefix(k, keyPrefix) {
			return fmt.Errorf("models: SaveArtifact: metadata key %q; keys that begin with %q are taken", k, keyPrefix)
		}
		header[k] = v
	}
	if err := safetensors.WriteFile(path, header, tensors); err != nil {
		return fmt.Errorf("models: SaveArtifact: %w", err)
	}
	return nil
}

func weightNamed(spec graph.Spec, name string) (graph.Weight, error) {
	i := slices.IndexFunc(spec.Weights, func(w graph.Weight) bool { return w.Name == name })
	if i < 0 {
		return graph.Weight{}, fmt.Errorf("the network has no weight %q", name)
	}
	return spec.Weights[i], nil
}

// ErrOtherNetwork is why [LoadArtifact] refuses a file of another network than the one given.
var ErrOtherNetwork = errors.New("it is for another network")

// LoadArtifact reads an artifact of a network, and the metadata given to [SaveArtifact]. A file of another network is an
// [ErrOtherNetwork] that names the first tensor that does not fit and says how many do not, before any is read.
func LoadArtifact[T graph.Float](path string, spec graph.Spec) (Artifact[T], map[string]string, error) {
	var a Artifact[T]
	fail := func(err error) (Artifact[T], map[string]string, error) {
		return Artifact[T]{}, nil, fmt.Errorf("models: LoadArtifact: %s: %w", path, err)
	}
	f, err := safetensors.Open(path)
	if err != nil {
		return Artifact[T]{}, nil, fmt.Errorf("models: LoadArtifact: %w", err)
	}
	defer f.Close()
	metadata := f.Metadata()
	switch v := metadata[keyArtifact]; {
	case v == "" && metadata[keyModel] != "":
		return fail(fmt.Errorf("this is a network (%s), not an artifact; Load reads it", metadata[keyModel]))
	case v == "":
		return fail(fmt.Errorf("the header has no %q: not an artifact that SaveArtifact wrote", keyArtifact))
	case v != "1":
		return fail(fmt.Errorf("%s is %.40q, and this build of ebb knows version 1", keyArtifact, v))
	}
	var diff []string
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		if err := fits(spec, name, info.Shape); err != nil {
			diff = append(diff, err.Error())
		}
	}
	switch n := len(diff); {
	case n == 1:
		return fail(fmt.Errorf("%w: %s", ErrOtherNetwork, diff[0]))
	case n > 1:
		return fail(fmt.Errorf("%w: %s; %d tensors do not fit", ErrOtherNetwork, diff[0], n))
	}
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		data := make([]T, info.Len())
		err = cmp.Or(err, safetensors.Read(f, name, data))
		switch name {
		case latent:
			a.Latent = data
		case graph.Condition:
			a.Condition = data
		default:
			if a.Delta == nil {
				a.Delta = map[string][]T{}
			}
			a.Delta[name] = data
		}
	}
	if err != nil {
		return fail(err)
	}
	delete(metadata, keyArtifact)
	return a, metadata, nil
}

// fits says whether a tensor of an artifact is one that the network can have.
func fits(spec graph.Spec, name string, shape []int) error {
	if name != latent && name != graph.Condition {
		w, err := weightNamed(spec, name)
		if err == nil && !slices.Equal(w.Shape, shape) {
			err = fmt.Errorf("%q is %v there and %v here", name, shape, w.Shape)
		}
		return err
	}
	port := name
	if name == latent {
		port = graph.X
	}
	p, ok := spec.Input(port)
	if !ok {
		return fmt.Errorf("%q, but the network has no input %q", name, port)
	}
	if len(shape) == 0 || shape[0] < 1 || !slices.Equal(shape[1:], p.Shape) {
		return fmt.Errorf("%q is %v, samples of %v are needed", name, shape, p.Shape)
	}
	return nil
}

// Apply adds the changes of weights to w: all of them, or none if one does not fit.
func (a Artifact[T]) Apply(w *graph.Weights[T]) error {
	for _, name := range slices.Sorted(maps.Keys(a.Delta)) {
		if data := w.Data(name); len(data) != len(a.Delta[name]) || data == nil {
			return fmt.Errorf("models: Apply: a change of weight %q of %d elements; the weight has %d", name, len(a.Delta[name]), len(data))
		}
	}
	if len(a.Delta) == 0 {
		return nil
	}
	return w.Update(func(name string, data []T) {
		add(data[:len(a.Delta[name])], a.Delta[name])
	})
}
