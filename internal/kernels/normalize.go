package kernels

import "math"

// Normalize sets each row of dst (rows × cols) to (x − mean)/√(var + eps), or with rms to x/√(mean x² + eps), without
// affine part; var is the mean square deviation. If stats is not nil it must hold 2·rows values and receives the mean
// (0 with rms) and the factor 1/√(…) of each row in turn. Assembly sums squares in T: a row whose sum overflows, from about
// 1e18 an element in float32, becomes zeros there.
func Normalize[T Float](dst, x []T, rows, cols int, eps T, rms bool, stats []T) {
	if stats != nil {
		stats = fit(stats, 2*rows)
	}
	if n := rows * cols; n == 0 || normalizeFast(fit(dst, n), fit(x, n), rows, cols, eps, rms, stats) {
		return
	}
	for r := range rows {
		row, d := x[r*cols:(r+1)*cols], dst[r*cols:(r+1)*cols]
		mean, inv := moments(row, eps, rms)
		for i, v := range row {
			d[i] = (v - mean) * inv
		}
		if stats != nil {
			stats[2*r], stats[2*r+1] = mean, inv
		}
	}
}

// NormalizeGrad sets each row of dst to the gradient to x of [Normalize] when g is that to its result y:
// (g − mean g − y·mean(g·y))/√(var + eps), or with rms (g − y·mean(g·y))/√(mean x² + eps).
func NormalizeGrad[T Float](dst, x, g []T, rows, cols int, eps T, rms bool) {
	if n := rows * cols; n == 0 || normalizeGradFast(fit(dst, n), fit(x, n), fit(g, n), rows, cols, eps, rms) {
		return
	}
	for r := range rows {
		row, g, d := x[r*cols:(r+1)*cols], g[r*cols:(r+1)*cols], dst[r*cols:(r+1)*cols]
		mean, inv := moments(row, eps, rms)
		var sum, dot float64
		for i, v := range row {
			sum += float64(g[i])
			dot += float64(g[i]) * float64((v-mean)*inv)
		}
		if rms {
			sum = 0
		}
		mg, mgy := T(sum/float64(cols)), T(dot/float64(cols))
		for i, v := range row {
			d[i] = (g[i] - mg - (v-mean)*inv*mgy) * inv
		}
	}
}

// moments takes the variance from the deviations, in a second pass: mean x² − mean² would cancel.
func moments[T Float](row []T, eps T, rms bool) (mean, inv T) {
	n := float64(len(row))
	if !rms {
		mean = T(Sum(row) / n)
	}
	square := 0.0
	for _, v := range row {
		d := float64(v - mean)
		square += d * d
	}
	return mean, T(1 / math.Sqrt(square/n+float64(eps)))
}
