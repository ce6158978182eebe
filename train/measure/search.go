package measure

import (
	"math"

	"github.com/ebb-go/ebb/internal/kernels"
)

// search calls visit for every sample i of x and sample j of y whose squared
// distance d is below limit[i], in ascending j for each i and on all processors.
// visit may lower limit[i], and may write to what belongs to i alone.
//
// The distances are those of squaredDistance, to the last bit. Most pairs do not
// get that far: |x|² + |y|² − 2 x·y, whose products are one of matrices, says
// that they are too far apart even if it is wrong by all that rounding may do.
func search(x, y Features, limit []float64, visit func(i, j int, d float64)) {
	const rows, columns = 64, 512
	// A sum of D products is wrong by at most D·2⁻⁵³ of the sum of their sizes, which is below half of |x|² + |y|².
	// That makes (2D + 4)·2⁻⁵³ (|x|² + |y|²) at most of all three terms and their sum, and (D + 2)·2⁻⁵³ of itself of
	// the exact distance, which limit is compared with; this is twice as much.
	doubt := float64(4*x.D+8) * 0x1p-53
	lowX, lowY := lowNorms(x, doubt), lowNorms(y, doubt)
	eachRow((x.N+rows-1)/rows, func(block int) {
		first := block * rows
		m := min(rows, x.N-first)
		products := make([]float64, m*columns)
		scratch := make([]float64, kernels.GemmScratch[float64](false, true, m, columns, x.D))
		for at := 0; at < y.N; at += columns {
			n := min(columns, y.N-at)
			kernels.Gemm(false, true, m, n, x.D, x.Data[first*x.D:], x.D, y.Data[at*x.D:], x.D, products, columns, false, scratch)
			for r := range m {
				i := first + r
				for c, p := range products[r*columns : r*columns+n] {
					if lowX[i]+lowY[at+c]-2*p > limit[i]*(1+doubt) {
						continue
					}
					if d := squaredDistance(x.Row(i), y.Row(at+c)); d < limit[i] {
						visit(i, at+c, d)
					}
				}
			}
		}
	})
}

// lowNorms are the squared lengths of samples, less what is in doubt, underflow included. A length too large for float64
// tells nothing: −Inf keeps all its pairs.
func lowNorms(f Features, doubt float64) []float64 {
	low := make([]float64, f.N)
	eachRow(f.N, func(i int) {
		for _, v := range f.Row(i) {
			low[i] += v * v
		}
		if low[i] = low[i]*(1-doubt) - 0x1p-1000; math.IsInf(low[i], 1) {
			low[i] = math.Inf(-1)
		}
	})
	return low
}

// unlimited is a limit for search that all finite distances are below.
func unlimited(n int) []float64 {
	limit := make([]float64, n)
	for i := range limit {
		limit[i] = math.Inf(1)
	}
	return limit
}
