package ode

import (
	"fmt"
	"math"
)

// NoiseScale divides the noise prediction: ε̂ ← ε̂/s, with s linear in the number of the step from First to Last. Networks see states in sampling
// that lie further out than those they were trained on, and answer with too large a noise; s a little above 1 takes that back.
//
// First 0 and Last 0 is no scaling; Last 0 means First throughout. A data prediction becomes (x − σ ε̂/s)/α, and others likewise, so that every
// solver heeds the scale. Where α = 0 the state is noise alone and nothing is scaled. Plans are not Exact then, nor converge to the flow of the
// network.
//
// Source: Ning et al. 2023, arXiv 2308.15321; values there are 1.001 to 1.02, for some samplers rising linearly.
type NoiseScale struct{ First, Last float64 }

func (s NoiseScale) check() error {
	if s == (NoiseScale{}) {
		return nil
	}
	if !(s.First > 0 && s.Last >= 0) || math.IsInf(s.First+s.Last, 0) {
		return fmt.Errorf("ode: Problem.Scale is from %v to %v; both must be positive and finite, or Last 0 for First throughout", s.First, s.Last)
	}
	return nil
}

// at is the scale in step i of n.
func (s NoiseScale) at(i, n int) float64 {
	switch {
	case s == NoiseScale{}:
		return 1
	case s.Last == 0 || s.Last == s.First || n < 2: // to the bit, whatever n
		return s.First
	}
	f := float64(min(i, n-1)) / float64(n-1)
	return (1-f)*s.First + f*s.Last
}

// rescaled returns u and v with want = u·x + v·raw after the noise was divided by scale. α is not 0.
func rescaled(raw, want Prediction, at Point, scale float64) (u, v float64, err error) {
	u, v, err = Convert(raw, Noise, at)
	if err != nil {
		return 0, 0, err
	}
	x0, eps, err := want.Of(at)
	if err != nil {
		return 0, 0, err
	}
	eps = (eps - x0*at.Sigma/at.Alpha) / scale
	return x0/at.Alpha + eps*u, eps * v, nil
}
