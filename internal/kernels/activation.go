package kernels

import "math"

// gelu(x) = x·sigmoid(x·(gelu1 + gelu3·x²)), the tanh form of Hendrycks and Gimpel (2016, arXiv:1606.08415).
const (
	gelu1 = 2 * 0.79788456080286535587989211986876 // 2·√(2/π)
	gelu3 = gelu1 * 0.044715
)

// Exp sets dst = e^x: to 1 ulp (2 in float64) everywhere, subnormal results and both infinities included.
func Exp[T Float](dst, x []T) {
	x = fit(x, len(dst))
	if unaryFast(unaryExp, dst, x) {
		return
	}
	for i, v := range x {
		dst[i] = T(exp[T](float64(v)))
	}
}

// Tanh sets dst = tanh x, to 3 ulp.
func Tanh[T Float](dst, x []T) {
	x = fit(x, len(dst))
	if unaryFast(unaryTanh, dst, x) {
		return
	}
	for i, v := range x {
		dst[i] = T(math.Tanh(float64(v)))
	}
}

// Sigmoid sets dst = 1/(1+e^−x), to 2.5 ulp, with gradual underflow for very negative x.
func Sigmoid[T Float](dst, x []T) {
	x = fit(x, len(dst))
	if unaryFast(unarySigmoid, dst, x) {
		return
	}
	for i, v := range x {
		e := exp[T](-math.Abs(float64(v)))
		if v < 0 {
			dst[i] = T(e / (1 + e))
		} else {
			dst[i] = T(1 / (1 + e))
		}
	}
}

// SiLU sets dst = x·sigmoid(x). Minus infinity gives NaN, as −∞·0 does.
func SiLU[T Float](dst, x []T) {
	x = fit(x, len(dst))
	if unaryFast(unarySilu, dst, x) {
		return
	}
	for i, v := range x {
		dst[i] = T(float64(v) / (1 + exp[T](-float64(v))))
	}
}

// GELU sets dst = x·sigmoid(√(8/π)·(x + 0.044715 x³)), the tanh form. Minus infinity gives NaN, as −∞·0 does.
func GELU[T Float](dst, x []T) {
	x = fit(x, len(dst))
	if unaryFast(unaryGelu, dst, x) {
		return
	}
	for i, v := range x {
		v := float64(v)
		dst[i] = T(v / (1 + exp[T](-v*(gelu1+gelu3*v*v))))
	}
}

// SiLUGrad sets dst = g·silu′(x). An infinite x has the limit as derivative: 1, or 0 to within 1e-30.
func SiLUGrad[T Float](dst, x, g []T) {
	x, g = fit(x, len(dst)), fit(g, len(dst))
	if binaryFast(binarySiluGrad, dst, x, g) {
		return
	}
	for i, v := range x {
		v := clamp(float64(v), 700)
		dst[i] = g[i] * T(sigmoidGrad[T](v, v))
	}
}

// GELUGrad sets dst = g·gelu′(x). An infinite x has the limit as derivative: 1, or 0 to within 1e-30.
func GELUGrad[T Float](dst, x, g []T) {
	x, g = fit(x, len(dst)), fit(g, len(dst))
	if binaryFast(binaryGeluGrad, dst, x, g) {
		return
	}
	for i, v := range x {
		v := clamp(float64(v), 30)
		dst[i] = g[i] * T(sigmoidGrad[T](v*(gelu1+gelu3*v*v), v*(gelu1+3*gelu3*v*v)))
	}
}

// sigmoidGrad returns d(x·s)/dx = s·(1 + (1−s)·x·t′) for s = sigmoid(t) and xdt = x·t′.
func sigmoidGrad[T Float](t, xdt float64) float64 {
	e := exp[T](-clamp(t, 700)) // finite, so that 1−s = e·s loses nothing
	s := 1 / (1 + e)
	return s * (1 + e*s*xdt)
}

// clamp keeps NaN.
func clamp(x, limit float64) float64 {
	switch {
	case x > limit:
		return limit
	case x < -limit:
		return -limit
	}
	return x
}

// exp returns e^x with an error that does not show in a float32 and is about an ulp of a float64.
func exp[T Float](x float64) float64 {
	if !is32[T]() {
		if x > 709 { // math.Exp on amd64 is infinite from 709.44 on, e^x from 709.78
			return math.Exp(x-1) * math.E
		}
		return math.Exp(x)
	}
	switch { // far past the range of float32, just inside that of the exponent below
	case x > 700:
		return math.Inf(1)
	case x < -700:
		return 0
	}
	const shift = 0x1.8p52 // adding it leaves the nearest integer in the low bits
	k := x*math.Log2E + shift
	r := x - (k-shift)*math.Ln2
	// Taylor to degree 8: 2e-10 relative at |r| = ln2/2.
	p := 1 + r*(1+r*(1./2+r*(1./6+r*(1./24+r*(1./120+r*(1./720+r*(1./5040+r*(1./40320))))))))
	return p * math.Float64frombits((math.Float64bits(k)+1023)<<52)
}
