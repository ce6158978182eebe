package ode

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/internal/rng"
)

// A DrawCall says which Gaussian of a plan a [NoiseSource] is asked for.
type DrawCall struct {
	Index int // number of the draw in the plan, from 0; −1 is the latent, see [Latent]
	Batch int // number of samples

	// From and To are the times between which the draw is the increment of a Wiener process, scaled to variance one.
	From, To float64
}

// A NoiseSource fills dst with standard normal values, Batch samples one after the other. Asked again it must give the
// same values: gradients rerun plans.
type NoiseSource[T Float] interface {
	Draw(dst []T, c DrawCall) error
}

// Seed is noise made on demand: every value is a function of Key, the draw, the number of the sample and the place in
// it. So a sample has the same noise in whatever batch it is.
type Seed[T Float] struct {
	Key   uint64
	First int // number of the batch's first sample
}

// Draw implements [NoiseSource].
func (s Seed[T]) Draw(dst []T, c DrawCall) error {
	if c.Index < -1 || c.Batch < 1 || len(dst)%c.Batch != 0 || s.First < 0 {
		return fmt.Errorf("ode: Seed: draw %d for %d samples from %d on in %d values", c.Index, c.Batch, s.First, len(dst))
	}
	dim := len(dst) / c.Batch
	for b := range c.Batch {
		rng.Normal(dst[b*dim:(b+1)*dim], s.Key, uint64(c.Index+1), uint64(s.First+b))
	}
	return nil
}

// Given is noise read from the caller's slices, by the number of the draw.
type Given[T Float] [][]T

// Draw implements [NoiseSource].
func (g Given[T]) Draw(dst []T, c DrawCall) error {
	if c.Index < 0 || c.Index >= len(g) {
		return fmt.Errorf("ode: Given has %d draws, the plan asks for draw %d", len(g), c.Index)
	}
	if len(g[c.Index]) != len(dst) {
		return fmt.Errorf("ode: Given has %d values for draw %d, the plan needs %d", len(g[c.Index]), c.Index, len(dst))
	}
	copy(dst, g[c.Index])
	return nil
}

// Latent returns where sampling starts: Gaussian noise for batch samples of dim values, with the standard deviation σ of
// the plan's first knot.
func Latent[T Float](p *Plan, noise NoiseSource[T], batch, dim int) ([]T, error) {
	if len(p.Knots) == 0 {
		return nil, fmt.Errorf("ode: Latent: plan %q has no knots", p.Name)
	}
	if batch < 1 || dim < 1 || batch > math.MaxInt/dim {
		return nil, fmt.Errorf("ode: Latent: batch %d of %d values; both must be positive", batch, dim)
	}
	x := make([]T, batch*dim)
	if err := noise.Draw(x, DrawCall{Index: -1, Batch: batch}); err != nil {
		return nil, err
	}
	sigma := T(p.Schedule.At(p.Knots[0].T).Sigma)
	for i := range x {
		x[i] *= sigma
	}
	return x, nil
}
