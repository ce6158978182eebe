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
	return moments(a).Frechet(moments(b))
}

// Moments are what [Frechet] looks at in a set, and can be kept in its place: for
// a set of N samples of D numbers its mean, and a root R of its (n−1) covariance,
// RᵀR, of at most D rows of D, row-major.
type Moments struct {
	N, D       int
	Mean, Root []float64
}

// MomentsOf takes the moments of at least two samples.
func MomentsOf(f Features) (Moments, error) {
	if err := f.check("set", 2); err != nil {
		return Moments{}, err
	}
	return moments(f), nil
}

// Frechet is the distance to another set, as [Frechet] defines it. Moments of
// other shapes or dimensions than they claim, or with values that are not finite,
// are an error.
func (m Moments) Frechet(o Moments) (float64, error) {
	if err := errors.Join(m.check(), o.check()); err != nil {
		return 0, err
	}
	if m.D != o.D {
		return 0, fmt.Errorf("measure: moments of %d and of %d dimensions cannot be compared", m.D, o.D)
	}
	a, b := mat.NewDense(len(m.Root)/m.D, m.D, m.Root), mat.NewDense(len(o.Root)/o.D, o.D, o.Root)
	var cross mat.Dense
	cross.Mul(a, b.T())
	var svd mat.SVD
	if !svd.Factorize(&cross, mat.SVDNone) {
		return 0, errors.New("measure: Fréchet distance: the singular values did not converge; scale the features to ordinary size")
	}
	overlap := 0.0
	for _, s := range svd.Values(nil) {
		overlap += s
	}
	d := squaredDistance(m.Mean, o.Mean) + squaredNorm(a) + squaredNorm(b) - 2*overlap
	if math.IsNaN(d) || math.IsInf(d, 0) {
		return 0, fmt.Errorf("measure: Fréchet distance is %v: the features are too large for float64", d)
	}
	return max(0, d), nil
}

func (m Moments) check() error {
	if m.D < 1 || len(m.Mean) != m.D || len(m.Root) == 0 || len(m.Root)%m.D != 0 {
		return fmt.Errorf("measure: moments of %d dimensions have a mean of %d and a root of %d numbers", m.D, len(m.Mean), len(m.Root))
	}
	for _, part := range [][]float64{m.Mean, m.Root} {
		for _, v := range part {
			if v-v != 0 {
				return fmt.Errorf("measure: moments with the value %v", v)
			}
		}
	}
	return nil
}

func moments(f Features) Moments {
	m := Moments{N: f.N, D: f.D, Mean: make([]float64, f.D)}
	for i := range f.N {
		for k, v := range f.Row(i) {
			m.Mean[k] += v
		}
	}
	for k := range m.Mean {
		m.Mean[k] /= float64(f.N)
	}
	centred := mat.NewDense(f.N, f.D, nil)
	scale := 1 / math.Sqrt(float64(f.N-1))
	for i := range f.N {
		row := centred.RawRowView(i)
		for k, v := range f.Row(i) {
			row[k] = (v - m.Mean[k]) * scale
		}
	}
	if f.N > f.D {
		var qr mat.QR
		qr.Factorize(centred)
		var r mat.Dense
		qr.RTo(&r)
		centred = mat.DenseCopyOf(r.Slice(0, f.D, 0, f.D))
	}
	m.Root = centred.RawMatrix().Data
	return m
}

func squaredNorm(m *mat.Dense) float64 {
	n := mat.Norm(m, 2)
	return n * n
}
