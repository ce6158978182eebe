package ode

import (
	"math"
	"math/big"
	"testing"

	"github.com/stretchr/testify/require"
)

// bigPhi sums Σ z^j/(j+k)! in 600 bits: at |z| = 60 the terms reach 2^86, so hundreds of bits are left.
func bigPhi(k int, z float64) float64 {
	num := func(x float64) *big.Float { return new(big.Float).SetPrec(600).SetFloat64(x) }
	term := num(1)
	for j := 2; j <= k; j++ {
		term.Quo(term, num(float64(j)))
	}
	sum := num(0)
	for j := 0; j < 300; j++ {
		sum.Add(sum, term)
		term.Mul(term, num(z))
		term.Quo(term, num(float64(j+k+1)))
	}
	f, _ := sum.Float64()
	return f
}

func TestPhiIsRightToTheLastDigits(t *testing.T) {
	zs := []float64{0, 16, -16, 15.999, -15.999, 60, -60}
	for e := -12.0; e < 1.7; e += .1 { // to |z| = 50
		zs = append(zs, math.Pow(10, e), -math.Pow(10, e))
	}
	for k := range 7 {
		for _, z := range zs {
			want := bigPhi(k, z)
			require.InEpsilon(t, want, phi(k, z), 1e-15, "φ_%d(%v)", k, z)
			some := make([]float64, 4)
			phis(some, k, z)
			require.InEpsilon(t, want, some[0], 1e-15, "φ_%d(%v), with those behind it", k, z)
		}
	}
}

func TestMonomialsReproducePolynomials(t *testing.T) {
	u := []float64{0, -.7, -1.9, 1}
	w := monomials(u)
	c := []float64{.3, -1.2, 2.5, .8}
	for k := range c {
		got := 0.0
		for j, x := range u {
			got += w[k][j] * (c[0] + x*(c[1]+x*(c[2]+x*c[3])))
		}
		require.InDelta(t, c[k], got, 1e-14, "coefficient %d", k)
	}
}
