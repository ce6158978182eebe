package measure

import (
	"fmt"
	"math/rand/v2"

	"github.com/ebb-go/ebb/internal/rng"
)

// maxPooled keeps the kernel matrix of a test below 512 MiB.
const maxPooled = 8192

// MMDTest asks whether x and y come from one distribution. The statistic is
// [MMD]; the p-value is the share of random relabellings, the given one included,
// whose statistic is at least as large. Under the hypothesis P(p ≤ α) ≤ α holds
// exactly at any sample size. The smallest possible p is 1/(permutations+1):
// 199 permutations are enough to reject at 1 %.
//
// The kernel is [MedianKernel] of both sets together: made of one set alone it
// would depend on the labels, and the p-value would not be exact.
//
// Errors: as MMD, fewer than one permutation, more than 8192 samples together.
//
// Source: Gretton et al., 2012; p-value with the observed statistic counted,
// Phipson and Smyth, 2010.
func MMDTest(x, y Features, permutations int, seed uint64) (statistic, p float64, err error) {
	if err := checkPair("first set", x, 2, "second set", y, 2); err != nil {
		return 0, 0, err
	}
	if permutations < 1 {
		return 0, 0, fmt.Errorf("measure: %d permutations: at least 1 is needed, 199 or more are usual", permutations)
	}
	total := x.N + y.N
	if total > maxPooled {
		return 0, 0, fmt.Errorf("measure: a test of %d samples: at most %d are possible together, take a subset", total, maxPooled)
	}
	pooled := Features{Data: append(append(make([]float64, 0, total*x.D), x.Data...), y.Data...), N: total, D: x.D}
	kernel, err := MedianKernel(pooled)
	if err != nil {
		return 0, 0, err
	}
	matrix := make([]float64, total*total) // the diagonal stays 0
	rowSum := make([]float64, total)
	eachRow(total, func(i int) {
		for j := range total {
			if j != i {
				matrix[i*total+j], _ = kernel.at(squaredDistance(pooled.Row(i), pooled.Row(j)))
				rowSum[i] += matrix[i*total+j]
			}
		}
	})
	all := 0.0
	for _, v := range rowSum {
		all += v
	}

	n, m := float64(x.N), float64(y.N)
	// estimate is the statistic when x holds the given samples: what they do not share is y's.
	estimate := func(inX []int) float64 {
		xx, fromX := 0.0, 0.0
		for a, i := range inX {
			fromX += rowSum[i]
			for _, j := range inX[:a] {
				xx += matrix[i*total+j]
			}
		}
		xx *= 2
		xy := fromX - xx
		yy := all - fromX - xy
		return xx/(n*(n-1)) + yy/(m*(m-1)) - 2*xy/(n*m)
	}
	order := make([]int, total)
	for i := range order {
		order[i] = i
	}
	statistic = estimate(order[:x.N])

	// A relabelling that only reorders the given sets is a tie, whatever the rounding: N²
	// terms of size len(kernel), added and divided by about N², are good to about N·ε of it.
	tie := float64(total) * 0x1p-52 * float64(len(kernel))
	atLeast := make([]bool, permutations)
	eachRow(permutations, func(k int) {
		shuffled := make([]int, total)
		copy(shuffled, order)
		rand.New(rng.NewSource(seed, uint64(k))).Shuffle(total, func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		atLeast[k] = estimate(shuffled[:x.N]) >= statistic-tie
	})
	count := 1
	for _, yes := range atLeast {
		if yes {
			count++
		}
	}
	return statistic, float64(count) / float64(permutations+1), nil
}
