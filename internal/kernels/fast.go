//go:build amd64 || arm64

package kernels

import (
	"math"
	"unsafe"
)

//go:generate go -C gen run . -group elementwise -out ../zelementwise_amd64.s -stubs ../zelementwise_amd64.go -pkg kernels
//go:generate go -C gen run ./neon -group elementwise -out ../zelementwise_arm64.s -stubs ../zelementwise_arm64.go
//go:generate go -C gen run . -group rows -out ../zrows_amd64.s -stubs ../zrows_amd64.go -pkg kernels
//go:generate go -C gen run ./neon -group rows -out ../zrows_arm64.s -stubs ../zrows_arm64.go

// stretch is the number of elements of one call of assembly, which the scheduler cannot interrupt: a few microseconds.
const stretch = 1 << 14

// The functions below do what their portable namesakes do and report true, or report false on a path without assembly
// for them. What they call is generated, and on amd64 jumps to its variant for the path: a table of functions would make the
// operands escape to the heap.

func p32[T Float](x []T) *float32 { return (*float32)(unsafe.Pointer(unsafe.SliceData(x))) }
func p64[T Float](x []T) *float64 { return (*float64)(unsafe.Pointer(unsafe.SliceData(x))) }

func unaryFast[T Float](f unary, dst, x []T) bool {
	if active == pathGo {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), stretch)
		if is32[T]() {
			switch f {
			case unaryExp:
				exp32(n, p32(dst), p32(x))
			case unaryTanh:
				tanh32(n, p32(dst), p32(x))
			case unarySigmoid:
				sigmoid32(n, p32(dst), p32(x))
			case unarySilu:
				silu32(n, p32(dst), p32(x))
			case unaryGelu:
				gelu32(n, p32(dst), p32(x))
			}
		} else {
			switch f {
			case unaryExp:
				exp64(n, p64(dst), p64(x))
			case unaryTanh:
				tanh64(n, p64(dst), p64(x))
			case unarySigmoid:
				sigmoid64(n, p64(dst), p64(x))
			case unarySilu:
				silu64(n, p64(dst), p64(x))
			case unaryGelu:
				gelu64(n, p64(dst), p64(x))
			}
		}
		dst, x = dst[n:], x[n:]
	}
	return true
}

func binaryFast[T Float](f binary, dst, a, b []T) bool {
	if active == pathGo {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), stretch)
		if is32[T]() {
			switch f {
			case binaryAdd:
				add32(n, p32(dst), p32(a), p32(b))
			case binarySub:
				sub32(n, p32(dst), p32(a), p32(b))
			case binaryMul:
				mul32(n, p32(dst), p32(a), p32(b))
			case binaryDiv:
				div32(n, p32(dst), p32(a), p32(b))
			case binaryMulAdd:
				mulAdd32(n, p32(dst), p32(a), p32(b))
			case binarySiluGrad:
				siluGrad32(n, p32(dst), p32(a), p32(b))
			case binaryGeluGrad:
				geluGrad32(n, p32(dst), p32(a), p32(b))
			}
		} else {
			switch f {
			case binaryAdd:
				add64(n, p64(dst), p64(a), p64(b))
			case binarySub:
				sub64(n, p64(dst), p64(a), p64(b))
			case binaryMul:
				mul64(n, p64(dst), p64(a), p64(b))
			case binaryDiv:
				div64(n, p64(dst), p64(a), p64(b))
			case binaryMulAdd:
				mulAdd64(n, p64(dst), p64(a), p64(b))
			case binarySiluGrad:
				siluGrad64(n, p64(dst), p64(a), p64(b))
			case binaryGeluGrad:
				geluGrad64(n, p64(dst), p64(a), p64(b))
			}
		}
		dst, a, b = dst[n:], a[n:], b[n:]
	}
	return true
}

func scalarFast[T Float](f scalar, dst []T, c T, x []T) bool {
	if active == pathGo {
		return false
	}
	for len(dst) > 0 {
		n := min(len(dst), stretch)
		if is32[T]() {
			switch f {
			case scalarScale:
				scale32(n, p32(dst), p32(x), float32(c))
			case scalarAxpy:
				axpy32(n, p32(dst), p32(x), float32(c))
			}
		} else {
			switch f {
			case scalarScale:
				scale64(n, p64(dst), p64(x), float64(c))
			case scalarAxpy:
				axpy64(n, p64(dst), p64(x), float64(c))
			}
		}
		dst, x = dst[n:], x[n:]
	}
	return true
}

func combineFast[T Float](dst []T, c []T, src [][]T) bool {
	if active == pathGo {
		return false
	}
	for at := 0; at < len(dst); at += stretch {
		n := min(len(dst)-at, stretch)
		if is32[T]() {
			combine32(n, p32(dst[at:]), len(c), p32(c), (*[]float32)(unsafe.Pointer(&src[0])), 4*at)
		} else {
			combine64(n, p64(dst[at:]), len(c), p64(c), (*[]float64)(unsafe.Pointer(&src[0])), 8*at)
		}
	}
	return true
}

func adamWFast[T Float](w, g, m, v, ema []T, c *adamW[T]) bool {
	if active == pathGo {
		return false
	}
	for len(w) > 0 {
		n := min(len(w), stretch)
		if ema == nil {
			if is32[T]() {
				adamW32(n, (*float32)(unsafe.Pointer(c)), p32(w), p32(g), p32(m), p32(v))
			} else {
				adamW64(n, (*float64)(unsafe.Pointer(c)), p64(w), p64(g), p64(m), p64(v))
			}
		} else {
			if is32[T]() {
				adamWAverage32(n, (*float32)(unsafe.Pointer(c)), p32(w), p32(g), p32(m), p32(v), p32(ema))
			} else {
				adamWAverage64(n, (*float64)(unsafe.Pointer(c)), p64(w), p64(g), p64(m), p64(v), p64(ema))
			}
			ema = ema[n:]
		}
		w, g, m, v = w[n:], g[n:], m[n:], v[n:]
	}
	return true
}

func sumFast[T Float](s *lanes, x []T) bool {
	if active == pathGo {
		return false
	}
	for len(x) > 0 {
		n := min(len(x), stretch)
		if is32[T]() {
			sum32(n, &s[0], p32(x))
		} else {
			sum64(n, &s[0], p64(x))
		}
		x = x[n:]
	}
	return true
}

func dotFast[T Float](s *lanes, a, b []T) bool {
	if active == pathGo {
		return false
	}
	for len(a) > 0 {
		n := min(len(a), stretch)
		if is32[T]() {
			dot32(n, &s[0], p32(a), p32(b))
		} else {
			dot64(n, &s[0], p64(a), p64(b))
		}
		a, b = a[n:], b[n:]
	}
	return true
}

func columnsFast[T Float](s *lanes, x []T, j, rows, cols, w int) bool {
	if active == pathGo {
		return false
	}
	for r := 0; r < rows; r += stretch / len(s) {
		n := min(rows-r, stretch/len(s))
		if is32[T]() {
			columns32(n, &s[0], p32(x[r*cols+j:]), 4*cols, 1<<w-1)
		} else {
			columns64(n, &s[0], p64(x[r*cols+j:]), 8*cols, 1<<w-1)
		}
	}
	return true
}

func softmaxFast[T Float](dst, x []T, rows, cols, ld int, scale T) bool {
	if active == pathGo {
		return false
	}
	for r, step := 0, max(1, stretch/cols); r < rows; r += step {
		n := min(rows-r, step)
		switch {
		case is32[T]() && cols <= 64:
			softmaxShort32(n, cols, ld, p32(dst[r*ld:]), p32(x[r*ld:]), float32(scale))
		case is32[T]():
			softmax32(n, cols, ld, p32(dst[r*ld:]), p32(x[r*ld:]), float32(scale))
		case cols <= 16:
			softmaxShort64(n, cols, ld, p64(dst[r*ld:]), p64(x[r*ld:]), float64(scale))
		default:
			softmax64(n, cols, ld, p64(dst[r*ld:]), p64(x[r*ld:]), float64(scale))
		}
	}
	return true
}

func softmaxGradFast[T Float](dst, y, g []T, rows, cols, ld int, scale T) bool {
	if active == pathGo {
		return false
	}
	for r, step := 0, max(1, stretch/cols); r < rows; r += step {
		n := min(rows-r, step)
		if is32[T]() {
			softmaxGrad32(n, cols, ld, p32(dst[r*ld:]), p32(y[r*ld:]), p32(g[r*ld:]), float32(scale))
		} else {
			softmaxGrad64(n, cols, ld, p64(dst[r*ld:]), p64(y[r*ld:]), p64(g[r*ld:]), float64(scale))
		}
	}
	return true
}

// logSumExpFast returns the maximum of a row and the sum of e^(x − maximum).
func logSumExpFast[T Float](row []T) (top, sum T, ok bool) {
	if active == pathGo {
		return 0, 0, false
	}
	if is32[T]() {
		logSumExp32(len(row), p32(row), (*float32)(unsafe.Pointer(&top)), (*float32)(unsafe.Pointer(&sum)))
	} else {
		logSumExp64(len(row), p64(row), (*float64)(unsafe.Pointer(&top)), (*float64)(unsafe.Pointer(&sum)))
	}
	return top, sum, !math.IsInf(float64(top), 0) // which would leave NaN in doubt
}

func normalizeFast[T Float](dst, x []T, rows, cols int, eps T, rms bool, stats []T) bool {
	if active == pathGo {
		return false
	}
	root := 0
	if rms {
		root = 1
	}
	for r, step := 0, max(1, stretch/cols); r < rows; r += step {
		n := min(rows-r, step)
		if is32[T]() {
			var at *float32
			if stats != nil {
				at = p32(stats[2*r:])
			}
			normalize32(n, cols, p32(dst[r*cols:]), p32(x[r*cols:]), at, 1/float32(cols), float32(eps), root)
		} else {
			var at *float64
			if stats != nil {
				at = p64(stats[2*r:])
			}
			normalize64(n, cols, p64(dst[r*cols:]), p64(x[r*cols:]), at, 1/float64(cols), float64(eps), root)
		}
	}
	return true
}

func normalizeGradFast[T Float](dst, x, g []T, rows, cols int, eps T, rms bool) bool {
	if active == pathGo {
		return false
	}
	root := 0
	if rms {
		root = 1
	}
	for r, step := 0, max(1, stretch/cols); r < rows; r += step {
		n := min(rows-r, step)
		if is32[T]() {
			normalizeGrad32(n, cols, p32(dst[r*cols:]), p32(x[r*cols:]), p32(g[r*cols:]), 1/float32(cols), float32(eps), root)
		} else {
			normalizeGrad64(n, cols, p64(dst[r*cols:]), p64(x[r*cols:]), p64(g[r*cols:]), 1/float64(cols), float64(eps), root)
		}
	}
	return true
}

// gateFast does what f says with h, x and t, as far as it has use for them.
func gateFast[T Float](f gating, dst, h, x, s, t []T) bool {
	if active == pathGo {
		return false
	}
	cols := len(s)
	for step := max(1, stretch/cols) * cols; len(dst) > 0; {
		n := min(len(dst), step)
		rows := n / cols
		if is32[T]() {
			switch f {
			case gatePlain:
				gate32(rows, cols, p32(dst), p32(x), p32(s))
			case gateAdd:
				gateAdd32(rows, cols, p32(dst), p32(h), p32(x), p32(s))
			case gateModulate:
				modulate32(rows, cols, p32(dst), p32(x), p32(s), p32(t))
			}
		} else {
			switch f {
			case gatePlain:
				gate64(rows, cols, p64(dst), p64(x), p64(s))
			case gateAdd:
				gateAdd64(rows, cols, p64(dst), p64(h), p64(x), p64(s))
			case gateModulate:
				modulate64(rows, cols, p64(dst), p64(x), p64(s), p64(t))
			}
		}
		dst, x = dst[n:], x[n:]
		if f == gateAdd {
			h = h[n:]
		}
	}
	return true
}
