package kernels

import "math"

// Softmax sets each row of dst (rows × cols) to softmax(scale·x). A row whose maximum is infinite gives NaN.
func Softmax[T Float](dst, x []T, rows, cols int, scale T) {
	if n := rows * cols; n == 0 || softmaxFast(fit(dst, n), fit(x, n), rows, cols, scale) {
		return
	}
	for r := range rows {
		softmaxRow(dst[r*cols:(r+1)*cols], x[r*cols:(r+1)*cols], scale)
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
// scale·y·(g − Σ y·g).
func SoftmaxGrad[T Float](dst, y, g []T, rows, cols int, scale T) {
	if n := rows * cols; n == 0 || softmaxGradFast(fit(dst, n), fit(y, n), fit(g, n), rows, cols, scale) {
		return
	}
	for r := range rows {
		y, g, d := y[r*cols:(r+1)*cols], g[r*cols:(r+1)*cols], dst[r*cols:(r+1)*cols]
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
