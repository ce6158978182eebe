package kernels

import "math"

// Softmax sets each row of dst (rows × cols) to softmax(scale·x). Rows begin ld elements apart in both. A row whose maximum
// is infinite gives NaN.
//
// dst may be x. Where the stride is a multiple of a cache line, no row then waits for the last, masked store of the row
// before it: in place, rows of 49 take a third of the time at a stride of 64 of what they take at 49.
func Softmax[T Float](dst, x []T, rows, cols, ld int, scale T) {
	if rows*cols == 0 {
		return
	}
	n := (rows-1)*ld + cols
	if softmaxFast(fit(dst, n), fit(x, n), rows, cols, ld, scale) {
		return
	}
	for r := range rows {
		softmaxRow(dst[r*ld:][:cols], x[r*ld:][:cols], scale)
	}
}

func softmaxRow[T Float](dst, x []T, scale T) {
	top := T(math.Inf(-1))
	for i, v := range x {
		dst[i] = scale * v
		top = max(top, dst[i]) // the builtin keeps NaN
	}
	sum := 0.0
	for i, v := range dst {
		e := exp[T](float64(v - top))
		dst[i] = T(e)
		sum += e
	}
	inv := T(1 / sum)
	for i := range dst {
		dst[i] *= inv
	}
}

// SoftmaxGrad sets each row of dst to the gradient to x of y = softmax(scale·x) when g is that to y:
// scale·y·(g − Σ y·g). Rows begin ld elements apart in all three.
func SoftmaxGrad[T Float](dst, y, g []T, rows, cols, ld int, scale T) {
	if rows*cols == 0 {
		return
	}
	n := (rows-1)*ld + cols
	if softmaxGradFast(fit(dst, n), fit(y, n), fit(g, n), rows, cols, ld, scale) {
		return
	}
	for r := range rows {
		y, g, d := y[r*ld:][:cols], g[r*ld:][:cols], dst[r*ld:][:cols]
		dot := T(Dot(y, g))
		for i := range d {
			d[i] = scale * y[i] * (g[i] - dot)
		}
	}
}

// LogSumExp sets dst[r] = log Σ e^x over row r of x (rows × cols). A row of −∞ only gives −∞, and any +∞ gives +∞.
func LogSumExp[T Float](dst, x []T, rows, cols int) {
	for r := range rows {
		row := x[r*cols : (r+1)*cols]
		if top, sum, ok := logSumExpFast(row); ok {
			dst[r] = T(float64(top) + math.Log(float64(sum)))
			continue
		}
		top := T(math.Inf(-1))
		for _, v := range row {
			top = max(top, v)
		}
		if math.IsInf(float64(top), 0) {
			dst[r] = top
			continue
		}
		sum := 0.0
		for _, v := range row {
			sum += exp[T](float64(v - top))
		}
		dst[r] = T(float64(top) + math.Log(sum))
	}
}
