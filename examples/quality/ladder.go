package main

import (
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/train/data"
	"github.com/ebb-go/ebb/train/measure"
)

// A rung is real images, as they are or spoilt: what gives the figures of samples a meaning.
type rung struct {
	name  string
	whole bool // the images are others than the held-out ones, so neighbours and copies mean something
	made  func() measure.Labelled
}

// The names of the rungs that others are held to.
const (
	floorRung = "training"
	realRung  = "held out"
	noiseRung = "held out + noise 0.1"
)

// ladder has as many images a rung as there are samples, if there are so many.
func (s *subject) ladder() []rung {
	held := labelled(s.held).First(s.samples)
	spoilt := func(name string, f func(x []float32)) rung {
		return rung{name, false, func() measure.Labelled {
			x := append([]float32(nil), held.Pixels...)
			f(x)
			return measure.Labelled{Pixels: x, Labels: held.Labels}
		}}
	}
	return []rung{
		{floorRung, true, func() measure.Labelled { return labelled(s.train).First(s.samples) }},
		spoilt(realRung, func([]float32) {}),
		spoilt("held out + noise 0.05", func(x []float32) { addNoise(x, 1, 0.05, s.seed) }),
		spoilt(noiseRung, func(x []float32) { addNoise(x, 1, 0.1, s.seed) }),
		spoilt("held out, blurred 3×3", func(x []float32) { blur(x, s.held) }),
		spoilt("noise", func(x []float32) { addNoise(x, 0, 1, s.seed) }),
	}
}

// addNoise adds Gaussian noise of a standard deviation to a share of x.
func addNoise(x []float32, share, sigma float32, seed uint64) {
	e := make([]float32, len(x))
	rng.Normal(e, seed, 1, 0)
	for i, v := range e {
		x[i] = share*x[i] + sigma*v
	}
}

// blur puts the mean of a pixel and its neighbours, eight or what there are, in its place.
func blur(x []float32, d *data.Images) {
	h, w := d.Height, d.Width
	from := make([]float32, h*w)
	for at := 0; at < len(x); at += h * w {
		image := x[at : at+h*w]
		copy(from, image)
		for i := range h {
			for j := range w {
				sum, n := float32(0), float32(0)
				for y := max(0, i-1); y <= min(h-1, i+1); y++ {
					for x := max(0, j-1); x <= min(w-1, j+1); x++ {
						sum, n = sum+from[y*w+x], n+1
					}
				}
				image[i*w+j] = sum / n
			}
		}
	}
}
