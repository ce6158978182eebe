package measure

import (
	"fmt"
	"math"
	"slices"
)

// Coverage is the share of reference samples that have a generated sample closer
// than their own k-th nearest reference neighbour; density is how many such balls
// a generated sample lies in on average, over k. Both are 1 for a set against
// itself; coverage falls when modes are missing, density when samples lie where
// no data are. Coverage saturates: k = 5 wants about as many generated as
// reference samples. The two sets may differ in size.
//
// Errors: k outside 1…N−1 of the reference, no generated sample, different
// dimensions, values that are not finite.
//
// Source: Naeem et al., 2020, arXiv:2002.09797, eq. 4 and 5, with open balls as in
// the code its authors released.
func Coverage(reference, generated Features, k int) (coverage, density float64, err error) {
	if err := checkPair("reference", reference, 2, "generated set", generated, 1); err != nil {
		return 0, 0, err
	}
	if k < 1 || k >= reference.N {
		return 0, 0, fmt.Errorf("measure: %d neighbours of %d reference samples: k goes from 1 to %d", k, reference.N, reference.N-1)
	}
	radius := unlimited(reference.N)
	near := make([]float64, reference.N*k) // of each, the k smallest so far, ascending
	for i := range near {
		near[i] = math.Inf(1)
	}
	search(reference, reference, radius, func(i, j int, d float64) {
		if i == j {
			return
		}
		mine := near[i*k : (i+1)*k]
		at, _ := slices.BinarySearch(mine, d)
		copy(mine[at+1:], mine[at:k-1])
		mine[at] = d
		radius[i] = mine[k-1]
	})
	inside := make([]int, reference.N)
	search(reference, generated, radius, func(i, _ int, _ float64) { inside[i]++ })
	for _, n := range inside {
		if n > 0 {
			coverage++
		}
		density += float64(n)
	}
	return coverage / float64(reference.N), density / (float64(k) * float64(generated.N)), nil
}

// Nearest is, for each sample of x, the distance to the nearest reference sample
// and that sample's index, the first of equals. Against the training set it
// shows copies: compare with [LeaveOneOut] of the training set, and with Nearest
// of held-out data.
func Nearest(x, reference Features) (distance []float64, index []int, err error) {
	if err := checkPair("set", x, 0, "reference", reference, 1); err != nil {
		return nil, nil, err
	}
	distance, index = nearest(x, reference, false)
	return distance, index, nil
}

// LeaveOneOut is, for each sample, the distance to the nearest other sample of
// the same set and that sample's index. It needs two samples.
func LeaveOneOut(x Features) (distance []float64, index []int, err error) {
	if err := x.check("set", 2); err != nil {
		return nil, nil, err
	}
	distance, index = nearest(x, x, true)
	return distance, index, nil
}

func nearest(x, reference Features, others bool) (distance []float64, index []int) {
	distance, index = unlimited(x.N), make([]int, x.N)
	if others {
		index[0] = 1
	}
	search(x, reference, distance, func(i, j int, d float64) {
		if !others || i != j {
			distance[i], index[i] = d, j
		}
	})
	for i, d := range distance {
		distance[i] = math.Sqrt(d)
	}
	return distance, index
}

// Diversity is the mean distance between two different samples of a set, which
// needs two. It costs N²·D/2 operations.
func Diversity(x Features) (float64, error) {
	if err := x.check("set", 2); err != nil {
		return 0, err
	}
	return diversity(x), nil
}

func diversity(x Features) float64 {
	total := sumRows(x.N, func(i int) float64 {
		sum := 0.0
		for j := range i {
			sum += math.Sqrt(squaredDistance(x.Row(i), x.Row(j)))
		}
		return sum
	})
	return total / (float64(x.N) * float64(x.N-1) / 2)
}

// DiversityRatio is the [Diversity] of a set over that of a base: 1 when nothing
// was lost, 0 when all samples are one. A base of equal samples is an error.
func DiversityRatio(x, base Features) (float64, error) {
	if err := checkPair("set", x, 2, "base", base, 2); err != nil {
		return 0, err
	}
	d := diversity(base)
	if d == 0 {
		return 0, fmt.Errorf("measure: all %d samples of the base are equal: there is no diversity to compare with", base.N)
	}
	return diversity(x) / d, nil
}
