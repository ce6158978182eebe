package main

import (
	"math"
	"slices"

	"github.com/ebb-go/ebb/train/customize"
	"github.com/ebb-go/ebb/train/measure"
)

// realness, of a subject whose training images are at hand, tells real images from what only looks good to a classifier or a property: an image is plausible if its
// nearest training image is no further than for 95 % of the training images, each of which has the others.
type realness[T customize.Float] struct {
	s     *study[T]
	train measure.Features
	limit float64
}

func (s *study[T]) realness() (*realness[T], error) {
	x, err := pixels[T](s.train)
	if err != nil {
		return nil, err
	}
	train, err := measure.Rows(x, len(x)/s.dim, s.dim)
	if err != nil {
		return nil, err
	}
	d, _, err := measure.LeaveOneOut(train)
	if err != nil {
		return nil, err
	}
	slices.Sort(d)
	return &realness[T]{s, train, d[len(d)*95/100]}, nil
}

// share is the part of the images that are plausible and of the class asked for, by the judge.
func (r *realness[T]) share(x []T, asked []int) (float64, error) {
	f, err := measure.Rows(x, len(x)/r.s.dim, r.s.dim)
	if err != nil {
		return 0, err
	}
	d, _, err := measure.Nearest(f, r.train)
	if err != nil {
		return 0, err
	}
	seen, err := r.s.judge.Classify(x)
	if err != nil {
		return 0, err
	}
	n := 0
	for i, v := range d {
		if v <= r.limit && seen[i] == asked[i] {
			n++
		}
	}
	return float64(n) / float64(len(d)), nil
}

// nearestOf is, for each image, the distance to the nearest training image of a class; without limit if there are none at
// hand.
func (s *study[T]) nearestOf(x []T, classes []int) ([]float64, error) {
	d := make([]float64, len(classes))
	for i, class := range classes {
		if s.train == nil {
			d[i] = math.Inf(1)
			continue
		}
		of := ofClass(s.train, class)
		y, err := pixels[T](s.train, of...)
		if err != nil {
			return nil, err
		}
		ref, err := measure.Rows(y, len(of), s.dim)
		if err != nil {
			return nil, err
		}
		one, err := measure.Rows(x[i*s.dim:(i+1)*s.dim], 1, s.dim)
		if err != nil {
			return nil, err
		}
		near, _, err := measure.Nearest(one, ref)
		if err != nil {
			return nil, err
		}
		d[i] = near[0]
	}
	return d, nil
}

// sound is the share of images that are of the class asked for, by the judge, and plausible where that can be told.
func (s *study[T]) sound(x []T, asked []int) (float64, error) {
	if s.train == nil {
		return s.share(x, asked)
	}
	r, err := s.realness()
	if err != nil {
		return 0, err
	}
	return r.share(x, asked)
}
