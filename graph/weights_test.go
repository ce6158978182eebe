package graph

import (
	"math"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Copies that are made while another goroutine writes are of one version of the weights, all of them.
func TestConcurrentReadersOfWeightsSeeOneVersion(t *testing.T) {
	const n = 1 << 13
	spec := Spec{Inputs: []Port{{Name: X, Shape: []int{2}}, {Name: Time}}, Outputs: []Port{{Name: "y", Shape: []int{2}}},
		Weights: []Weight{{Name: "first", Shape: []int{n}}, {Name: "last", Shape: []int{n}}}}
	w, err := NewWeights[float64](spec.Weights, 1)
	require.NoError(t, err)
	c, err := NewCell(ModelFunc{spec, func(_ *Builder, in *Inputs) []*Node { return []*Node{in.Input(X)} }}, w, Workers(1))
	require.NoError(t, err)
	defer c.Close()
	f, err := NewField(c, nil)
	require.NoError(t, err)

	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		next := make([]float64, n)
		for version := 1.0; ; version++ {
			select {
			case <-stop:
				return
			default:
			}
			if w.Update(func(_ string, x []float64) {
				for i := range x {
					x[i] = version
				}
			}) != nil {
				t.Error("nobody computes, and it is busy")
			}
			if int(version)%2 == 0 {
				for i := range next {
					next[i] = -version
				}
				_ = w.Set("first", next)
			}
		}
	})
	whole := func(x []float64) bool {
		for _, v := range x {
			if v != x[0] {
				return false
			}
		}
		return true
	}
	path := filepath.Join(t.TempDir(), "w.safetensors")
	for k := 0; k < 60 && !t.Failed(); k++ {
		var copies []*Weights[float64]
		copies = append(copies, w.Clone(), ConvertWeights[float64](ConvertWeights[float32](w)))
		if k%20 == 0 {
			require.NoError(t, w.Save(path, F64, nil))
			read, _, err := LoadWeights[float64](path)
			require.NoError(t, err)
			copies = append(copies, read)
		}
		for i, c := range copies {
			if first, last := c.Data("first"), c.Data("last"); !whole(first) || !whole(last) || math.Abs(first[0]) != last[0] {
				t.Errorf("copy %d of round %d is of no version", i, k)
			}
		}
		x := make([]float64, n)
		require.NoError(t, f.Load("last", x))
		if !whole(x) {
			t.Errorf("what was loaded in round %d is of no version", k)
		}
	}
	close(stop)
	writing.Wait()
}

// Weights cannot be written while a Cell computes with them, nor can a Cell compute while they are written: neither waits.
func TestWeightsAreBusyWhereACellComputesAndTheOtherWayRound(t *testing.T) {
	var w *Weights[float64]
	var inside []error
	spec := Spec{Inputs: []Port{{Name: "x", Shape: []int{2}}}, Outputs: []Port{{Name: "y", Shape: []int{2}}}, Weights: []Weight{{Name: "w", Shape: []int{2, 2}, Std: 1}}}
	m := ModelFunc{spec, func(b *Builder, in *Inputs) []*Node {
		return []*Node{b.Linear(b.Apply(doubled{func() {
			inside = append(inside, w.Update(func(string, []float64) {}), w.Set("w", make([]float64, 4)))
		}}, in.Input("x")), in.Weight("w"), nil)}
	}}
	w, err := NewWeights[float64](spec.Weights, 1)
	require.NoError(t, err)
	c, err := NewCell(m, w, Workers(1))
	require.NoError(t, err)
	defer c.Close()
	v := &Values[float64]{Inputs: [][]float64{{1, 2}}, Outputs: [][]float64{make([]float64, 2)}}
	before := w.Version()
	require.NoError(t, c.Eval(1, v))
	require.Len(t, inside, 2)
	for _, err := range inside {
		require.ErrorIs(t, err, ErrBusy)
	}
	require.Equal(t, before, w.Version())

	computed := make(chan error, 1)
	require.NoError(t, w.Update(func(string, []float64) {
		go func() { computed <- c.Eval(1, v) }()
		select {
		case err := <-computed:
			require.ErrorIs(t, err, ErrBusy)
		case <-time.After(10 * time.Second): // it takes a microsecond
			t.Error("the Cell waits for the weights")
		}
	}))
	require.NoError(t, c.Eval(1, v))
}

// Nobody who asks for a description can change the weights by it.
func TestDescriptionsOfWeightsAreCopies(t *testing.T) {
	list := []Weight{{Name: "a", Shape: []int{2, 3}}}
	w, err := NewWeights[float64](list, 1)
	require.NoError(t, err)
	require.NoError(t, w.Arrange(list))
	list[0].Shape[0] = 9
	w.List()[0].Shape[0] = 9
	w.Clone().list[0].Shape[0] = 9
	require.Equal(t, []int{2, 3}, w.List()[0].Shape)
}

func TestWeightsOfImpossibleShapesAreErrors(t *testing.T) {
	for _, shape := range [][]int{{}, {0}, {2, -1}, {1 << 32, 1 << 32}, {1 << 33, 1 << 30}, {1 << 62, 3}, {math.MaxInt}, {1 << 22, 1 << 22}} {
		_, err := NewWeights[float32]([]Weight{{Name: "a", Shape: shape}}, 1)
		require.ErrorContains(t, err, `weight "a" has shape`)
	}
}
