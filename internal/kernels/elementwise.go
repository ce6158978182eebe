package kernels

// Fill sets every element of dst to v.
func Fill[T Float](dst []T, v T) {
	for i := range dst {
		dst[i] = v
	}
}

// Add sets dst = a + b.
func Add[T Float](dst, a, b []T) {
	a, b = fit(a, len(dst)), fit(b, len(dst))
	if binaryFast(binaryAdd, dst, a, b) {
		return
	}
	for i := range dst {
		dst[i] = a[i] + b[i]
	}
}

// Sub sets dst = a − b.
func Sub[T Float](dst, a, b []T) {
	a, b = fit(a, len(dst)), fit(b, len(dst))
	if binaryFast(binarySub, dst, a, b) {
		return
	}
	for i := range dst {
		dst[i] = a[i] - b[i]
	}
}

// Mul sets dst = a·b.
func Mul[T Float](dst, a, b []T) {
	a, b = fit(a, len(dst)), fit(b, len(dst))
	if binaryFast(binaryMul, dst, a, b) {
		return
	}
	for i := range dst {
		dst[i] = a[i] * b[i]
	}
}

// Div sets dst = a / b.
func Div[T Float](dst, a, b []T) {
	a, b = fit(a, len(dst)), fit(b, len(dst))
	if binaryFast(binaryDiv, dst, a, b) {
		return
	}
	for i := range dst {
		dst[i] = a[i] / b[i]
	}
}

// Scale sets dst = c·x.
func Scale[T Float](dst []T, c T, x []T) {
	x = fit(x, len(dst))
	if scalarFast(scalarScale, dst, c, x) {
		return
	}
	for i := range dst {
		dst[i] = c * x[i]
	}
}

// Axpy adds c·x to dst.
func Axpy[T Float](dst []T, c T, x []T) {
	x = fit(x, len(dst))
	if scalarFast(scalarAxpy, dst, c, x) {
		return
	}
	for i := range dst {
		dst[i] += c * x[i]
	}
}

// MulAdd adds a·b to dst.
func MulAdd[T Float](dst, a, b []T) {
	a, b = fit(a, len(dst)), fit(b, len(dst))
	if binaryFast(binaryMulAdd, dst, a, b) {
		return
	}
	for i := range dst {
		dst[i] += a[i] * b[i]
	}
}

// Combine sets dst = Σ c[k]·src[k] in one pass, summed from the first term on; no term at all gives zero. dst may be
// any of the sources.
func Combine[T Float](dst []T, c []T, src [][]T) {
	if len(c) != len(src) {
		panic("kernels: Combine: coefficients and sources differ in number")
	}
	if len(src) == 0 {
		Fill(dst, 0)
		return
	}
	for _, s := range src {
		_ = fit(s, len(dst))
	}
	if combineFast(dst, c, src) {
		return
	}
	for i := range dst {
		sum := c[0] * src[0][i]
		for k := 1; k < len(c); k++ {
			sum += c[k] * src[k][i]
		}
		dst[i] = sum
	}
}

// AddRow adds row to each of the rows of dst, which are as long as row and follow one another.
func AddRow[T Float](dst, row []T, rows int) {
	for r := range rows {
		d := dst[r*len(row) : (r+1)*len(row)]
		Add(d, d, row)
	}
}
