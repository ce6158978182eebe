package measure

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Kernel is a sum of Gaussians, one of each bandwidth:
//
//	k(x, y) = Σ_σ exp(−|x−y|² / 2σ²)
type Kernel []float64

// MedianKernel has bandwidths ½, 1 and 2 times the median distance between
// different samples of the reference. Of more than 1000 samples, 1000 spaced
// evenly are looked at. A median of zero (most samples equal) is an error.
func MedianKernel(reference Features) (Kernel, error) {
	if err := reference.check("reference", 2); err != nil {
		return nil, err
	}
	n := min(reference.N, 1000)
	row := func(i int) []float64 { return reference.Row(i * reference.N / n) }
	distances := make([]float64, 0, n*(n-1)/2)
	for i := range n {
		for j := range i {
			distances = append(distances, squaredDistance(row(i), row(j)))
		}
	}
	slices.Sort(distances)
	mid := len(distances) / 2
	median := math.Sqrt(distances[mid])
	if len(distances)%2 == 0 {
		median = (median + math.Sqrt(distances[mid-1])) / 2
	}
	if math.IsInf(median, 1) {
		return nil, errors.New("measure: the median distance of the reference is infinite: scale the features to ordinary size")
	}
	if median == 0 {
		return nil, fmt.Errorf("measure: the median distance of the %d reference samples is 0: give a Kernel of your own", reference.N)
	}
	return Kernel{median / 2, median, 2 * median}, nil
}

func (k Kernel) check() error {
	if len(k) == 0 {
		return errors.New("measure: the kernel has no bandwidth: use MedianKernel")
	}
	for i, s := range k {
		if !(s > 0) || math.IsInf(s, 1) {
			return fmt.Errorf("measure: bandwidth %d is %v, it must be positive and finite", i, s)
		}
	}
	return nil
}

// at gives the kernel and minus twice its derivative, both at a squared distance.
func (k Kernel) at(squared float64) (value, slope float64) {
	for _, s := range k {
		precision := 1 / (s * s)
		e := math.Exp(-0.5 * squared * precision)
		value += e
		slope += e * precision
	}
	return value, slope
}

// MMD is the unbiased estimate of the squared maximum mean discrepancy, in which
// no sample meets itself:
//
//	Σ_{i≠j} k(x_i,x_j)/n(n−1) + Σ_{i≠j} k(y_i,y_j)/m(m−1) − 2 Σ k(x_i,y_j)/nm
//
// Its mean is 0 when both sets come from one distribution, so it is then
// negative about half the time.
//
// Errors: a kernel without bandwidths or with one that is not positive, fewer
// than two samples in a set, different dimensions, values that are not finite.
//
// Source: Gretton et al., 2012, "A Kernel Two-Sample Test", eq. 3.
func MMD(k Kernel, x, y Features) (float64, error) {
	if err := checkMMD(k, x, y); err != nil {
		return 0, err
	}
	n, m := float64(x.N), float64(y.N)
	cross := sumRows(x.N, func(i int) float64 {
		sum := 0.0
		for j := range y.N {
			v, _ := k.at(squaredDistance(x.Row(i), y.Row(j)))
			sum += v
		}
		return sum
	})
	return k.within(x)/(n*(n-1)) + k.within(y)/(m*(m-1)) - 2*cross/(n*m), nil
}

// within sums the kernel over ordered pairs of different samples.
func (k Kernel) within(f Features) float64 {
	return 2 * sumRows(f.N, func(i int) float64 {
		sum := 0.0
		for j := range i {
			v, _ := k.at(squaredDistance(f.Row(i), f.Row(j)))
			sum += v
		}
		return sum
	})
}

// MMDGradient is [MMD] and its gradient with respect to x, in the shape of x,
// where the first sum, in which the samples of x keep each other at a distance, is
// multiplied by apart. 1 is the discrepancy. Less draws x to where y is densest:
// a few samples y stand for a distribution whose width they do not show.
// The kernel is held constant, so a Kernel made of x gives another gradient than
// the whole function has: make it of y.
func MMDGradient(k Kernel, x, y Features, apart float64) (value float64, gradient Features, err error) {
	if err := checkMMD(k, x, y); err != nil {
		return 0, Features{}, err
	}
	if !(apart >= 0) || math.IsInf(apart, 1) {
		return 0, Features{}, fmt.Errorf("measure: apart is %v, it must be finite and not negative", apart)
	}
	n, m := float64(x.N), float64(y.N)
	gradient = Features{Data: make([]float64, len(x.Data)), N: x.N, D: x.D}
	value = sumRows(x.N, func(i int) float64 {
		sum := 0.0
		xi, g := x.Row(i), gradient.Row(i)
		// pull adds a pair's share of the value, and to g that of the gradient, whose
		// weight counts a pair inside x twice: once from either end.
		pull := func(other []float64, weight, ends float64) {
			v, slope := k.at(squaredDistance(xi, other))
			sum += weight * v
			for d, o := range other {
				g[d] -= ends * weight * slope * (xi[d] - o)
			}
		}
		for j := range x.N {
			if j != i {
				pull(x.Row(j), apart/(n*(n-1)), 2)
			}
		}
		for j := range y.N {
			pull(y.Row(j), -2/(n*m), 1)
		}
		return sum
	})
	return value + k.within(y)/(m*(m-1)), gradient, nil
}

func checkMMD(k Kernel, x, y Features) error {
	if err := k.check(); err != nil {
		return err
	}
	return checkPair("first set", x, 2, "second set", y, 2)
}
