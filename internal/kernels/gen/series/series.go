// Package series holds the numbers of the exponentials, which every instruction set computes alike.
package series

import "math"

// Series is what exponentials need at one width. Polynomials are given from the highest degree down.
type Series struct {
	Hi, Lo       float64   // ln 2 = Hi + Lo, Hi short enough for n·Hi to be exact
	Low, High    float64   // e^x is 0 and infinite beyond these
	Over, Finite float64   // 2^Over is infinite and 2^−Over zero; 2^Finite and its inverse are neither
	One          float64   // tanh is ±1 from here on
	E            []float64 // e^r, |r| ≤ ln2/2
	Two          []float64 // 2^f, |f| ≤ 1/2
	M1           []float64 // (e^r − 1 − r)/r²
}

// Single has minimax polynomials of relative error, their coefficients rounded one after the other.
var Single = Series{
	Hi: 0x1.62e4p-1, Lo: 0x1.7f7d1cp-20, Low: -105, High: 89, Over: 150, Finite: 120, One: 9.2,
	E:   []float64{0x1.6a5056p-10, 0x1.123974p-7, 0x1.5558acp-5, 0x1.555492p-3, 0x1.fffffcp-2, 1, 1},
	Two: []float64{0x1.416b5ap-13, 0x1.5f083p-10, 0x1.3b2dep-7, 0x1.c6af7cp-5, 0x1.ebfbdcp-3, 0x1.62e43p-1, 1},
	M1:  []float64{0x1.9e0812p-13, 0x1.6d4388p-10, 0x1.111308p-7, 0x1.5554fp-5, 0x1.555554p-3, 0.5},
}

// Double has Taylor polynomials to degree 13: the next term is 4e-18 of the sum.
var Double = Series{
	Hi: 6.93147180369123816490e-01, Lo: 1.90821492927058770002e-10, Low: -746, High: 710, Over: 1100, Finite: 1000, One: 19.5,
	E: taylor(0, 1), Two: taylor(0, math.Ln2), M1: taylor(2, 1),
}

// taylor returns the coefficients base^i/i! for i from 13 down to from.
func taylor(from int, base float64) (c []float64) {
	for i := 13; i >= from; i-- {
		v := 1.0
		for j := 1; j <= i; j++ {
			v *= base / float64(j)
		}
		c = append(c, v)
	}
	return c
}

// gelu(x) = x / (1 + 2^(x·(GELU1 + GELU3·x²)))
const (
	GELU1 = -2 * 0.79788456080286535587989211986876 * math.Log2E
	GELU3 = GELU1 * 0.044715
)

// Flat is where gelu′ has become 0 or 1, on either side.
const Flat = 30
