package measure

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/mat"
)

// Frechet is the squared Fréchet distance between the Gaussians with the sets'
// means and (n−1) covariances:
//
//	|μ_a − μ_b|² + tr(C_a + C_b − 2 (C_a C_b)^½)
//
// It is symmetric, does not change when both sets are moved or turned together,
// and may have rank-deficient covariances (fewer samples than dimensions). At
// few samples it is biased upward: compare sets of equal sizes only, and give
// the value of held-out data beside it.
//
// The trace of the root is the sum of the singular values of R_a R_bᵀ, where
// C = RᵀR comes from the centred data directly. No root of a nearly singular
// matrix is taken, so identical sets give 0 to rounding at any rank.
//
// Errors: fewer than two samples in a set, different dimensions, values that
// are not finite.
//
// Source: Dowson and Landau, 1982; Heusel et al., 2017, arXiv:1706.08500 (there
// of Inception features, to whose figures these do not compare).
func Frechet(a, b Features) (float64, error) {
	if err := checkPair("first set", a, 2, "second set", b, 2); err != nil {
		return 0, err
	}
	meanA, rootA := moments(a)
	meanB, rootB := moments(b)
	var cross mat.Dense
	cross.Mul(rootA, rootB.T())
	var svd mat.SVD
	if !svd.Factorize(&cross, mat.SVDNone) {
		return 0, errors.New("measure: Fréchet distance: the singular values did not converge; scale the features to ordinary size")
	}
	overlap := 0.0
	for _, s := range svd.Values(nil) {
		overlap += s
	}
	d := squaredDistance(meanA, meanB) + squaredNorm(rootA) + squaredNorm(rootB) - 2*overlap
	if math.IsNaN(d) || math.IsInf(d, 0) {
		return 0, fmt.Errorf("measure: Fréchet distance is %v: the features are too large for float64", d)
	}
	return max(0, d), nil
}

// moments gives the mean and a root R of the covariance, RᵀR = C, of at most D rows.
func moments(f Features) (mean []float64, root *mat.Dense) {
	mean = make([]float64, f.D)
	for i := range f.N {
		for k, v := range f.Row(i) {
			mean[k] += v
		}
	}
	for k := range mean {
		mean[k] /= float64(f.N)
	}
	centred := mat.NewDense(f.N, f.D, nil)
	scale := 1 / math.Sqrt(float64(f.N-1))
	for i := range f.N {
		row := centred.RawRowView(i)
		for k, v := range f.Row(i) {
			row[k] = (v - mean[k]) * scale
		}
	}
	if f.N <= f.D {
		return mean, centred
	}
	var qr mat.QR
	qr.Factorize(centred)
	var r mat.Dense
	qr.RTo(&r)
	return mean, mat.DenseCopyOf(r.Slice(0, f.D, 0, f.D))
}

func squaredNorm(m *mat.Dense) float64 {
	n := mat.Norm(m, 2)
	return n * n
}
