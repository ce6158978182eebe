package exact

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/ode"
)

// Streams of this package, away from the small numbers under which samplers draw: the same seed may be used for both.
const (
	dataStream  = 0x6578616374 + iota // x_0
	noiseStream                       // ε
	tailStream                        // χ²
)

// sample fills dst with samples of x_t; place turns standard normals, or Student's of extra degrees of freedom, into an x_0, given a uniform
// number.
func sample(dst []float64, dim int, at ode.Point, seed uint64, extra float64, place func(x0 []float64, uniform float64)) error {
	if len(dst)%dim != 0 {
		return fmt.Errorf("exact: dst has %d elements; want a multiple of the dimension %d", len(dst), dim)
	}
	if _, err := coefficientsAt(at, ode.Noise); err != nil {
		return err
	}
	noise := make([]float64, dim)
	var uniform [1]float64
	for i := range len(dst) / dim {
		x := dst[i*dim : (i+1)*dim]
		rng.Normal(x, seed, dataStream, uint64(i))
		rng.Normal(noise, seed, noiseStream, uint64(i))
		if extra != 0 {
			heavy := math.Sqrt(extra / 2 / rng.Gamma(extra/2, seed, tailStream, uint64(i)))
			for j := range x {
				x[j], noise[j] = heavy*x[j], heavy*noise[j]
			}
		}
		rng.Uniform(uniform[:], seed, dataStream, uint64(i))
		place(x, uniform[0])
		for j := range x {
			x[j] = at.Alpha*x[j] + at.Sigma*noise[j]
		}
	}
	return nil
}
