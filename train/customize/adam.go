package customize

import (
	"maps"
	"slices"

	"github.com/ebb-go/ebb/internal/kernels"
)

// adam is Adam (Kingma, Ba 2015, arXiv 1412.6980) over named variables, without weight decay: a latent that is shrunk
// leaves the shell on which the network was trained.
type adam[T Float] struct {
	names []string
	m, v  map[string][]T
	t     int
}

func newAdam[T Float](values map[string][]T) *adam[T] {
	a := &adam[T]{names: slices.Sorted(maps.Keys(values)), m: map[string][]T{}, v: map[string][]T{}}
	for name, x := range values {
		a.m[name], a.v[name] = make([]T, len(x)), make([]T, len(x))
	}
	return a
}

func (a *adam[T]) step(values, grads map[string][]T, rate, clip float64) {
	a.t++
	for _, name := range a.names {
		kernels.AdamW(values[name], grads[name], a.m[name], a.v[name], nil, kernels.AdamWParams{
			Rate: rate, Beta1: 0.9, Beta2: 0.999, Eps: 1e-8, Step: a.t, Clip: clip,
		})
	}
}
