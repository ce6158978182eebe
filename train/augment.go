package train

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/train/data"
)

// Augment changes images at random before they are used. The zero value leaves them alone.
type Augment struct {
	// Shift moves an image by up to so many pixels along each axis, every whole number equally likely. What comes in at
	// the border repeats the border.
	Shift int
	// Share of the images that are moved, the others being left as they are; 0 means all.
	Share float64
	// Flip exchanges left and right in half of the images.
	Flip bool
	// Noise is the standard deviation of Gaussian noise added to each value.
	Noise float64
}

func (a Augment) check(d *data.Images) error {
	switch {
	case a.Shift < 0 || a.Shift >= min(d.Height, d.Width) && a.Shift > 0:
		return fmt.Errorf("train: Augment.Shift is %d; images of %d×%d can be moved by 0 to %d", a.Shift, d.Height, d.Width, min(d.Height, d.Width)-1)
	case !(a.Share >= 0 && a.Share <= 1):
		return fmt.Errorf("train: Augment.Share is %v; it is a share from 0 to 1, and 0 means all", a.Share)
	case !(a.Noise >= 0) || math.IsInf(a.Noise, 0):
		return fmt.Errorf("train: Augment.Noise is %v; it must be finite and at least 0", a.Noise)
	}
	return nil
}

// An addresser gives the random numbers of one sample of one step.
type addresser struct{ seed, step, sample uint64 }

// Streams of their own keep what is drawn here apart from weights and orders drawn from the same seed: those number
// their streams by weight and by epoch.
const (
	choices  = 1 << 60 // times, dropout, shifts, flips
	noise    = 2 << 60 // ε
	blurring = 3 << 60 // of Augment
)

func (s Sample) address() addresser { return addresser{s.Seed, uint64(s.Step), uint64(s.Place)} }

func (a addresser) uniform(dst []float64) {
	rng.Uniform(dst, a.seed, choices|a.step, a.sample)
	for i, u := range dst {
		dst[i] = max(u, 0x1p-54) // quantile functions are asked inside of (0, 1)
	}
}

// image writes one image to dst: channel by channel if planar, else as it is stored. u are two uniform numbers for the
// shift, one for whether there is one, and one for the flip.
func (a Augment) image(dst []float64, d *data.Images, i int, planar bool, key addresser, u []float64) {
	dy, dx := 0, 0
	if a.Shift > 0 && (a.Share == 0 || u[2] < a.Share) {
		dy, dx = int(u[0]*float64(2*a.Shift+1))-a.Shift, int(u[1]*float64(2*a.Shift+1))-a.Shift
	}
	if a.Noise > 0 {
		rng.Normal(dst, key.seed, blurring|key.step, key.sample)
	}
	flip := a.Flip && u[3] < 0.5
	src := d.Image(i)
	for y := range d.Height {
		for x := range d.Width {
			from := min(max(x-dx, 0), d.Width-1)
			if flip {
				from = d.Width - 1 - from
			}
			at := (min(max(y-dy, 0), d.Height-1)*d.Width + from) * d.Channels
			for c := range d.Channels {
				to := (y*d.Width+x)*d.Channels + c
				if planar {
					to = (c*d.Height+y)*d.Width + x
				}
				v := float64(src[at+c])
				if a.Noise > 0 {
					v += a.Noise * dst[to]
				}
				dst[to] = v
			}
		}
	}
}

func (a addresser) noise(dst []float64) { rng.Normal(dst, a.seed, noise|a.step, a.sample) }
