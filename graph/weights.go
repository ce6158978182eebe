package graph

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/internal/safetensors"
)

// A Weight describes one weight of a network: its name, its shape, and the normal distribution it starts from (zero Std:
// the constant Mean).
type Weight struct {
	Name      string
	Shape     []int
	Mean, Std float64
}

// Len is the number of elements.
func (w Weight) Len() int { return prod(w.Shape) }

// Weights are named tensors. They are written through Update and Set alone, which count versions and refuse while a [Cell]
// computes with them. All methods are safe for concurrent use, except Arrange, and reading what Data returns: who copies or
// saves the weights waits for who writes them, and the other way round, so that a copy is of one version.
type Weights[T Float] struct {
	list    []Weight
	data    map[string][]T
	version atomic.Uint64
	use     sync.RWMutex // held for reading while a Cell runs: who writes does not wait for it
	copying sync.RWMutex // held for reading while they are copied: who writes waits
}

// NewWeights returns weights as described, drawn from seed. Every weight has a stream of its own, so that it does not
// depend on the others.
func NewWeights[T Float](list []Weight, seed uint64) (*Weights[T], error) {
	w := &Weights[T]{data: map[string][]T{}}
	for i, d := range list {
		if err := w.add(d); err != nil {
			return nil, err
		}
		x := w.data[d.Name]
		if d.Std != 0 {
			rng.Normal(x, seed, uint64(i), 0)
		}
		for j, v := range x {
			x[j] = T(d.Mean + d.Std*float64(v))
		}
	}
	return w, nil
}

// maxElements is the number of elements that a weight may have: far more than there is memory for, and few enough to be counted.
const maxElements = min(math.MaxInt/16, 1<<43)

func (w *Weights[T]) add(d Weight) error {
	if d.Name == "" || w.data[d.Name] != nil {
		return fmt.Errorf("graph: weight name %q is empty or used twice", d.Name)
	}
	if len(d.Shape) == 0 || slices.Min(d.Shape) < 1 {
		return fmt.Errorf("graph: weight %q has shape %v; every axis must be at least 1", d.Name, d.Shape)
	}
	for left, axes := maxElements, d.Shape; len(axes) > 0; axes = axes[1:] {
		if left /= axes[0]; left == 0 {
			return fmt.Errorf("graph: weight %q has shape %v; more than %d elements fit in no memory", d.Name, d.Shape, maxElements)
		}
	}
	d.Shape = slices.Clone(d.Shape)
	w.list = append(w.list, d)
	w.data[d.Name] = aligned[T](d.Len())
	return nil
}

// List describes the weights in their order.
func (w *Weights[T]) List() []Weight { return cloneList(w.list) }

func cloneList(list []Weight) []Weight {
	list = slices.Clone(list)
	for i := range list {
		list[i].Shape = slices.Clone(list[i].Shape)
	}
	return list
}

// Len is the number of numbers.
func (w *Weights[T]) Len() int {
	n := 0
	for _, d := range w.list {
		n += d.Len()
	}
	return n
}

// Data is a weight's storage, row-major, to be read only, and not while the weights are being written: what is read beside an
// Update is of no version. It is nil if there is none of that name.
func (w *Weights[T]) Data(name string) []T { return w.data[name] }

// Version counts the writes.
func (w *Weights[T]) Version() uint64 { return w.version.Load() }

// lock claims the weights for writing.
func (w *Weights[T]) lock() error {
	if !w.use.TryLock() {
		return fmt.Errorf("weights: %w", ErrBusy)
	}
	w.copying.Lock()
	return nil
}

func (w *Weights[T]) unlock() {
	w.copying.Unlock()
	w.use.Unlock()
}

// Update calls f with every weight, in order, to be changed in place. While a Cell computes, or another Update is at it, it is
// [ErrBusy]. f must not copy or save the weights, which would wait for it for ever.
func (w *Weights[T]) Update(f func(name string, data []T)) error {
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	defer w.version.Add(1)
	for _, d := range w.list {
		f(d.Name, w.data[d.Name])
	}
	return nil
}

// Set replaces one weight.
func (w *Weights[T]) Set(name string, data []T) error {
	x := w.data[name]
	if x == nil {
		return fmt.Errorf("graph: no weight %q", name)
	}
	if len(x) != len(data) {
		return fmt.Errorf("graph: weight %q has %d elements, got %d", name, len(x), len(data))
	}
	if err := w.lock(); err != nil {
		return err
	}
	defer w.unlock()
	copy(x, data)
	w.version.Add(1)
	return nil
}

// Clone returns a copy with a version of its own.
func (w *Weights[T]) Clone() *Weights[T] { return ConvertWeights[T](w) }

// ConvertWeights returns a copy in another element type.
func ConvertWeights[U, T Float](w *Weights[T]) *Weights[U] {
	w.copying.RLock()
	defer w.copying.RUnlock()
	c := &Weights[U]{list: cloneList(w.list), data: map[string][]U{}}
	for name, x := range w.data {
		y := aligned[U](len(x))
		for i, v := range x {
			y[i] = U(v)
		}
		c.data[name] = y
	}
	return c
}

// Match says whether the weights are those described; if not, the error lists all that is missing, surplus or of
// another shape.
func (w *Weights[T]) Match(list []Weight) error {
	var diff []string
	known := map[string]bool{}
	for _, d := range list {
		known[d.Name] = true
		i := slices.IndexFunc(w.list, func(h Weight) bool { return h.Name == d.Name })
		switch {
		case i < 0:
			diff = append(diff, fmt.Sprintf("missing %q %v", d.Name, d.Shape))
		case !slices.Equal(w.list[i].Shape, d.Shape):
			diff = append(diff, fmt.Sprintf("%q is %v, needed %v", d.Name, w.list[i].Shape, d.Shape))
		}
	}
	for _, h := range w.list {
		if !known[h.Name] {
			diff = append(diff, fmt.Sprintf("surplus %q %v", h.Name, h.Shape))
		}
	}
	if len(diff) > 0 {
		return fmt.Errorf("graph: weights do not fit the network: %s", strings.Join(diff, "; "))
	}
	return nil
}

// A Dtype is how elements are stored in a file.
type Dtype = safetensors.Dtype

// The element types of files.
const (
	F64  = safetensors.F64
	F32  = safetensors.F32
	F16  = safetensors.F16
	BF16 = safetensors.BF16
)

// Save writes the weights to a safetensors file with metadata in its header. The file is replaced at once or not at all.
func (w *Weights[T]) Save(path string, dtype Dtype, metadata map[string]string) error {
	tensors := make([]safetensors.Tensor, len(w.list))
	for i, d := range w.list {
		tensors[i] = safetensors.Tensor{Name: d.Name, Dtype: dtype, Shape: d.Shape}
		switch x := any(w.data[d.Name]).(type) {
		case []float32:
			tensors[i].Float32 = x
		case []float64:
			tensors[i].Float64 = x
		}
	}
	w.copying.RLock()
	defer w.copying.RUnlock()
	if err := safetensors.WriteFile(path, metadata, tensors); err != nil {
		return fmt.Errorf("graph: saving weights: %w", err)
	}
	return nil
}

// LoadWeights reads all tensors of a safetensors file, in the order of their names, and the metadata of its header.
func LoadWeights[T Float](path string) (*Weights[T], map[string]string, error) {
	f, err := safetensors.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("graph: loading weights: %w", err)
	}
	w, err := readWeights[T](f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, nil, fmt.Errorf("graph: loading weights from %s: %w", path, err)
	}
	return w, maps.Clone(f.Metadata()), nil
}

func readWeights[T Float](f *safetensors.File) (*Weights[T], error) {
	w := &Weights[T]{data: map[string][]T{}}
	for _, name := range f.Names() {
		info, _ := f.Info(name)
		shape := info.Shape
		if len(shape) == 0 {
			shape = []int{1}
		}
		if err := w.add(Weight{Name: name, Shape: shape}); err != nil {
			return nil, err
		}
		if err := safetensors.Read(f, name, w.data[name]); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// Arrange puts the weights in the order of list, which they must match. It must not run beside any other use of them.
func (w *Weights[T]) Arrange(list []Weight) error {
	if err := w.Match(list); err != nil {
		return err
	}
	w.list = cloneList(list)
	return nil
}
