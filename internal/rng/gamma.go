package rng

import "math"

// Gamma returns a value of the gamma distribution of a shape, above 0, and of scale 1: a function of shape, seed, stream and sample. Half of a
// χ² of k degrees of freedom is of shape k/2. The method is that of Marsaglia and Tsang ("A simple method for generating gamma variables",
// 2000): a block of the generator gives a normal and a uniform value, and nineteen in twenty are accepted or more.
func Gamma(shape float64, seed, stream, sample uint64) float64 {
	k, next := key(seed, stream, gammas), uint64(0)
	lift := 1.0
	if shape < 1 { // a value of shape + 1 times a power of a uniform one
		b := philox(block{next, sample}, k)
		next++
		lift = math.Pow(inner(b[0]), 1/shape)
		shape++
	}
	d := shape - 1./3
	c := 1 / math.Sqrt(9*d)
	for ; ; next++ {
		b := philox(block{next, sample}, k)
		x := normal(b[0])
		v := 1 + c*x
		v *= v * v
		if v > 0 && math.Log(inner(b[1])) < x*x/2+d*(1-v+math.Log(v)) {
			return d * v * lift
		}
	}
}

// inner is the middle of one of 2^52 cells of (0, 1): never 0.
func inner(word uint64) float64 { return (float64(word>>12) + .5) * 0x1p-52 }
