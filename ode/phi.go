package ode

import "math"

// phi is φ_k(z) = ∫₀¹ e^{(1−u)z} u^{k−1}/(k−1)! du, φ_0(z) = e^z: the weights of an exponential integrator. It is right
// to 1e-15 relative.
//
// Below 16 it is a series of positive terms, for either sign of z: φ_k is Kummer's M(1, k+1, z)/k!, and Kummer's
// transformation M(1, k+1, z) = e^z M(k, k+1, −z) turns the alternating series of a negative z into a positive one. From
// 16 on the recurrence φ_{k+1} = (φ_k − 1/k!)/z has nothing to cancel.
func phi(k int, z float64) float64 {
	switch {
	case k == 0:
		return math.Exp(z)
	case z == 0:
		return 1 / factorial(k)
	case k == 1:
		return math.Expm1(z) / z
	case math.Abs(z) >= 16:
		p := math.Expm1(z) / z
		for j := 1; j < k; j++ {
			p = (p - 1/factorial(j)) / z
		}
		return p
	}
	size := math.Abs(z)
	terms := math.Floor(min(12+12*size, 24+4*size)) // size^terms/terms! < 1e-19
	sum, n := 1.0, float64(k)
	if z > 0 {
		for j := terms; j > 0; j-- {
			sum = 1 + z/(n+j)*sum
		}
		return sum / factorial(k)
	}
	// Σ_j k/(k+j) h^j/j! by Horner's rule: the ratio of successive terms is h (k+j−1)/(j (k+j)).
	for j := terms; j > 0; j-- {
		sum = 1 - z*(n+j-1)/(j*(n+j))*sum
	}
	return math.Exp(z) * sum / factorial(k)
}

// phis are φ_k, φ_{k+1}, … at z. Where z is small, φ_k = 1/k! + z φ_{k+1} has nothing to cancel, so that one series does for all.
func phis(dst []float64, k int, z float64) {
	last := len(dst) - 1
	for j := last; j >= 0; j-- {
		if j < last && math.Abs(z) < 1 {
			dst[j] = 1/factorial(k+j) + z*dst[j+1]
		} else {
			dst[j] = phi(k+j, z)
		}
	}
}

func factorial(k int) float64 {
	f := 1.0
	for j := 2; j <= k; j++ {
		f *= float64(j)
	}
	return f
}

// monomials returns w with Σ_k u^k Σ_j w[k][j] f(u_j) the polynomial through the given points: row k holds the weights of
// its k-th derivative at 0, divided by k!.
func monomials(u []float64) [][]float64 {
	w, all := make([][]float64, len(u)), make([]float64, len(u)*len(u))
	for k := range w {
		w[k] = all[k*len(u) : (k+1)*len(u) : (k+1)*len(u)]
	}
	var c []float64
	for j := range u {
		c = lagrange(c, u, j)
		for k := range w {
			w[k][j] = c[k]
		}
	}
	return w
}

// lagrange are the coefficients of the polynomial that is 1 at u_j and 0 at the other points, in the room of c.
func lagrange(c, u []float64, j int) []float64 {
	c = append(c[:0], 1) // Π_{l≠j} (u − u_l)/(u_j − u_l), multiplied out factor by factor
	scale := 1.0
	for l := range u {
		if l == j {
			continue
		}
		scale *= u[j] - u[l]
		c = append(c, 0)
		for k := len(c) - 1; k > 0; k-- {
			c[k] = c[k-1] - u[l]*c[k]
		}
		c[0] *= -u[l]
	}
	for k := range c {
		c[k] /= scale
	}
	return c
}
