package measure

import (
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/internal/rng"
)

// SlicedW2 is the sliced Wasserstein-2 distance: the root of the mean, over
// random unit directions, of the squared distance W₂² between the sets projected
// on the direction. The sets may have different sizes. A shift by s measures
// about |s|/√D, exactly |s| when D is 1. 128 directions are usual.
//
// Errors: an empty set, different dimensions, values that are not finite, fewer
// than one direction.
//
// Source: Rabin, Peyré, Delon and Bernot, 2011; Bonneel et al., 2015.
func SlicedW2(a, b Features, directions int, seed uint64) (float64, error) {
	if err := checkPair("first set", a, 1, "second set", b, 1); err != nil {
		return 0, err
	}
	if directions < 1 {
		return 0, fmt.Errorf("measure: %d directions: at least 1 is needed, 128 are usual", directions)
	}
	total := sumRows(directions, func(k int) float64 {
		u := direction(a.D, seed, uint64(k))
		return squaredW2(project(a, u), project(b, u))
	})
	return math.Sqrt(total / float64(directions)), nil
}

// direction is the k-th unit vector of a seed, uniform on the sphere.
func direction(d int, seed, k uint64) []float64 {
	u := make([]float64, d)
	rng.Normal(u, seed, 0, k)
	norm := 0.0
	for _, v := range u {
		norm += v * v
	}
	norm = math.Sqrt(norm)
	for i := range u {
		u[i] /= norm
	}
	return u
}

// project gives the sorted coordinates of a set along a direction.
func project(f Features, u []float64) []float64 {
	out := make([]float64, f.N)
	for i := range out {
		for k, v := range f.Row(i) {
			out[i] += v * u[k]
		}
	}
	slices.Sort(out)
	return out
}

// squaredW2 is W₂² of two sorted samples: the integral of the squared difference
// of their quantile functions, which step at the multiples of 1/n and 1/m.
func squaredW2(x, y []float64) float64 {
	n, m := len(x), len(y)
	total, at := 0, 0.0
	for i, j := 0, 0; i < n && j < m; {
		d := x[i] - y[j]
		// Quantiles are counted in units of 1/(nm), so that steps meet exactly.
		next := min((i+1)*m, (j+1)*n)
		at += d * d * float64(next-total)
		total = next
		if next == (i+1)*m {
			i++
		}
		if next == (j+1)*n {
			j++
		}
	}
	return at / (float64(n) * float64(m))
}
