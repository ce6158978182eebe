package models

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/safetensors"
)

// The header of a model's file: which network, in which form its configuration is written, and the configuration.
const (
	keyModel   = "ebb.model"
	keyVersion = "ebb.version"
	keyConfig  = "ebb.config"
	keyPrefix  = "ebb."

	version = 1
)

// savable is a network of this package: its configuration, and so the file of its weights, tells all about it.
type savable interface {
	graph.Model
	kind() string
	written() any // the configuration as it is encoded
}

// kinds make a network from its encoded configuration.
var kinds = map[string]func(config []byte) (graph.Model, error){
	"MLP": func(config []byte) (graph.Model, error) {
		var c mlpJSON
		if err := strict(config, &c); err != nil {
			return nil, err
		}
		return NewMLP(c.config())
	},
	"DiT": func(config []byte) (graph.Model, error) {
		var c ditJSON
		if err := strict(config, &c); err != nil {
			return nil, err
		}
		return NewDiT(c.config())
	},
	"Classifier": func(config []byte) (graph.Model, error) {
		var c ClassifierConfig
		if err := strict(config, &c); err != nil {
			return nil, err
		}
		return NewClassifier(c)
	},
	"ConvNet": func(config []byte) (graph.Model, error) {
		var c ConvNetConfig
		if err := strict(config, &c); err != nil {
			return nil, err
		}
		return NewConvNet(c)
	},
	"Mixture": func(config []byte) (graph.Model, error) {
		var c mixtureJSON
		if err := strict(config, &c); err != nil {
			return nil, err
		}
		return NewMixture(c.config())
	},
}

// Save writes a network of this package and its weights to a safetensors file, which is replaced at once or not at all.
// The network is described in the file's header, beside the given metadata, whose keys must not begin with "ebb.".
//
// Errors: a network of another package, or a wrapped one; weights that do not fit; a schedule that has no name; and what
// [graph.Weights.Save] refuses.
func Save[T graph.Float](path string, m graph.Model, w *graph.Weights[T], d graph.Dtype, metadata map[string]string) error {
	s, ok := m.(savable)
	if !ok {
		return fmt.Errorf("models: Save: %T is not a network of this package; save its weights alone with Weights.Save, or the network that it wraps", m)
	}
	if err := w.Match(m.Spec().Weights); err != nil {
		return fmt.Errorf("models: Save: %w", err)
	}
	config, err := json.Marshal(s.written())
	if err != nil {
		if inner := new(json.MarshalerError); errors.As(err, &inner) {
			err = inner.Unwrap()
		}
		return fmt.Errorf("models: Save: %s: %w", s.kind(), err)
	}
	header := map[string]string{keyModel: s.kind(), keyVersion: strconv.Itoa(version), keyConfig: string(config)}
	for k, v := range metadata {
		if strings.HasPrefix(k, keyPrefix) {
			return fmt.Errorf("models: Save: metadata key %q; keys that begin with %q are taken", k, keyPrefix)
		}
		header[k] = v
	}
	return w.Save(path, d, header)
}

// Load reads a file that [Save] wrote: the network, its weights, and the metadata given to Save.
//
// Errors, all found before a tensor is read: a file that is no safetensors file or holds no network of this package; a
// configuration that a newer version wrote, or with fields missing, unknown or out of range; tensors that are missing,
// surplus or of another shape. The error lists every difference.
func Load[T graph.Float](path string) (graph.Model, *graph.Weights[T], map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("models: Load: %w", err)
	}
	defer f.Close()
	return loadOpened[T](f, path)
}

// LoadFS is [Load] from a file system, such as an embed.FS.
func LoadFS[T graph.Float](fsys fs.FS, name string) (graph.Model, *graph.Weights[T], map[string]string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("models: LoadFS: %w", err)
	}
	defer f.Close()
	return loadOpened[T](f, name)
}

func loadOpened[T graph.Float](f fs.File, name string) (graph.Model, *graph.Weights[T], map[string]string, error) {
	fail := func(err error) (graph.Model, *graph.Weights[T], map[string]string, error) {
		return nil, nil, nil, fmt.Errorf("models: loading %s: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		return fail(err)
	}
	if !info.Mode().IsRegular() {
		return fail(errors.New("not a regular file"))
	}
	r, ok := f.(io.ReaderAt)
	size := info.Size()
	if !ok {
		all, err := io.ReadAll(f)
		if err != nil {
			return fail(err)
		}
		r, size = bytes.NewReader(all), int64(len(all))
	}
	m, w, metadata, err := Read[T](r, size)
	if err != nil {
		return fail(err)
	}
	return m, w, metadata, nil
}

// Read is [Load] from a reader of a file of the given size.
func Read[T graph.Float](r io.ReaderAt, size int64) (graph.Model, *graph.Weights[T], map[string]string, error) {
	f, err := safetensors.NewReader(r, size)
	if err != nil {
		return nil, nil, nil, err
	}
	metadata := f.Metadata()
	m, err := described(metadata)
	if err != nil {
		return nil, nil, nil, err
	}
	w, err := readTensors[T](f, m.Spec().Weights)
	if err != nil {
		return nil, nil, nil, err
	}
	maps.DeleteFunc(metadata, func(k, _ string) bool { return strings.HasPrefix(k, keyPrefix) })
	return m, w, metadata, nil
}

// described makes the network that a header describes.
func described(header map[string]string) (graph.Model, error) {
	kind, ok := header[keyModel]
	if !ok {
		return nil, fmt.Errorf("the header has no %q: not a network that Save wrote; graph.LoadWeights reads weights alone", keyModel)
	}
	v, err := strconv.Atoi(header[keyVersion])
	switch {
	case err != nil || v < 1:
		return nil, fmt.Errorf("%s is %.40q; a number from 1 is needed", keyVersion, header[keyVersion])
	case v > version:
		return nil, fmt.Errorf("%s is %d, and this build of ebb knows versions up to %d; a newer ebb wrote the file", keyVersion, v, version)
	case kinds[kind] == nil:
		return nil, fmt.Errorf("%s is %.40q; the networks are %s", keyModel, kind, strings.Join(slices.Sorted(maps.Keys(kinds)), ", "))
	}
	m, err := kinds[kind]([]byte(header[keyConfig]))
	if err != nil {
		return nil, fmt.Errorf("%s of a %s: %w", keyConfig, kind, err)
	}
	return m, nil
}

// readTensors reads all tensors of a file, which must be those listed.
func readTensors[T graph.Float](f *safetensors.File, want []graph.Weight) (*graph.Weights[T], error) {
	var have []graph.Weight
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		if len(info.Shape) == 0 {
			info.Shape = []int{1}
		}
		have = append(have, graph.Weight{Name: name, Shape: info.Shape})
	}
	w, err := graph.NewWeights[T](have, 0) // all zero: memory in proportion to the file
	if err == nil {
		err = w.Arrange(want)
	}
	if err != nil {
		return nil, err
	}
	var failed error
	err = w.Update(func(name string, data []T) {
		if failed == nil {
			failed = safetensors.Read(f, name, data)
		}
	})
	return w, errors.Join(err, failed)
}
