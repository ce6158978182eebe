package kernels

// The functions below treat rows of n = len(s) elements alike, as many as dst has; dst may be any of the operands of its
// size.

// Gate sets each row of dst to x ⊙ s.
func Gate[T Float](dst, x, s []T) {
	whole(dst, len(s))
	if gateFast(gatePlain, dst, nil, fit(x, len(dst)), s, nil) {
		return
	}
	for i, n := 0, len(s); i < len(dst); i += n {
		Mul(dst[i:i+n], x[i:i+n], s)
	}
}

// GateAdd sets each row of dst to h + x ⊙ s, with one rounding where the CPU has it.
func GateAdd[T Float](dst, h, x, s []T) {
	whole(dst, len(s))
	if gateFast(gateAdd, dst, fit(h, len(dst)), fit(x, len(dst)), s, nil) {
		return
	}
	for i := range dst {
		dst[i] = h[i] + x[i]*s[i%len(s)]
	}
}

// Modulate sets each row of dst to x + x ⊙ s + t.
func Modulate[T Float](dst, x, s, t []T) {
	whole(dst, len(s))
	if gateFast(gateModulate, dst, nil, fit(x, len(dst)), s, fit(t, len(s))) {
		return
	}
	for i := range dst {
		j := i % len(s)
		dst[i] = x[i] + x[i]*s[j] + t[j]
	}
}

// whole panics unless x is made of rows of n.
func whole[T Float](x []T, n int) {
	if n == 0 || len(x)%n != 0 {
		panic("kernels: an operand is not made of whole rows")
	}
}
