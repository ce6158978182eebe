package ode

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/internal/rng"
)

// PFGM is the noise of PFGM++: the field of charges in D more dimensions than the data has. With n the elements of a sample and r = σ √D, it
// adds to a point of data R u,
//
//	R = r √(b/(1−b)),  b ~ Beta(n/2, D/2),  u uniform on the sphere,   so that  p(x | y) ∝ (|x−y|² + r²)^{−(n+D)/2}
//
// which is Student's: R u = σ z √(D/χ²_D), z standard Gaussian. That is how it is made, with the z of [Seed]: as D grows, each draw tends to
// that of the Seed. D = 1 is PFGM, and its noise has no variance, which is D/(D−2) σ² an element for D above 2.
//
// Nothing else of sampling changes. In σ the field's ODE is dx/dσ = (x − x̂_0)/σ, that of [EDM], so that any solver of that schedule
// integrates it, from a latent of this source:
//
//	x, err := ode.Latent(plan, ode.PFGM[float64]{D: 128, Key: 1}, batch, dim)
//
// and the release's sampler is [RK] on [Karras] levels. The ideal denoiser is exact.Mixture with the same D.
//
// Noise of this kind does not add up to noise of this kind, as Gaussian noise does. So there is a latent only: solvers that draw are refused,
// and so are Brownian paths.
//
// Each value depends on Key, the number of the sample and the place in it, not on the batch.
//
// Errors: D that is not at least 1 and finite; any draw but the latent.
//
// Source: Xu et al. 2023, arXiv 2302.04265.
//
// Differs from reference: b is not clipped; the release trains with b in [10⁻³, 1 − 10⁻³], which is of no account for images, where n/(n+D) is
// far from both ends, and else makes the noise too large. Any schedule with both α and σ will do, x = α y + R u.
type PFGM[T Float] struct {
	D     float64 // extra dimensions, 1 or more
	Key   uint64
	First int // number of the batch's first sample
}

// Draw implements [NoiseSource], for the latent.
func (p PFGM[T]) Draw(dst []T, c DrawCall) error {
	if c.Index != -1 {
		return fmt.Errorf("ode: PFGM: draw %d of a plan; steps of noise do not add up to its kernel, so it makes latents only: use a solver of the ODE", c.Index)
	}
	if err := p.check(len(dst), c.Batch); err != nil {
		return err
	}
	p.draw(dst, c.Batch)
	return nil
}

// Perturb replaces the points of data in x, Batch samples one after the other, by samples of p(x | y) at noise levels σ: one for all, or one a
// sample. The noise is that of the latent, times σ.
func (p PFGM[T]) Perturb(x []T, batch int, sigma ...float64) error {
	if err := p.check(len(x), batch); err != nil {
		return err
	}
	if len(sigma) != 1 && len(sigma) != batch {
		return fmt.Errorf("ode: PFGM: %d noise levels for %d samples; want one, or one a sample", len(sigma), batch)
	}
	for i, s := range sigma {
		if !(s >= 0) || math.IsInf(s, 0) {
			return fmt.Errorf("ode: PFGM: noise level %d is %v; want it finite, 0 or more", i, s)
		}
	}
	noise, dim := make([]T, len(x)), len(x)/batch
	p.draw(noise, batch)
	for i, z := range noise {
		x[i] += T(sigma[min(i/dim, len(sigma)-1)]) * z
	}
	return nil
}

func (p PFGM[T]) check(values, batch int) error {
	switch {
	case !(p.D >= 1) || math.IsInf(p.D, 0):
		return fmt.Errorf("ode: PFGM.D is %v; it is 1 or more and finite (for Gaussian noise, which it tends to, use a Seed)", p.D)
	case batch < 1 || values%batch != 0 || p.First < 0:
		return fmt.Errorf("ode: PFGM: %d samples from %d on in %d values", batch, p.First, values)
	}
	return nil
}

// tailStream is away from the small numbers of draws.
const tailStream = 0x7066676d

func (p PFGM[T]) draw(dst []T, batch int) {
	dim := len(dst) / batch
	for b := range batch {
		sample := uint64(p.First + b)
		z := dst[b*dim : (b+1)*dim]
		rng.Normal(z, p.Key, 0, sample)
		heavy := T(math.Sqrt(p.D / 2 / rng.Gamma(p.D/2, p.Key, tailStream, sample)))
		for i := range z {
			z[i] *= heavy
		}
	}
}
