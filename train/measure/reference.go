package measure

import "fmt"

// A Judge is a classifier that took no part in the making of the images it sees:
// the likeliest class of each, and what it computes before it decides.
type Judge interface {
	Classify(images []float32) ([]int, error)
	Features(images []float32) (Features, error)
}

// Labelled is images of one size, one after the other in the order of values that
// the judge takes, each with the class that it has or was asked for.
type Labelled struct {
	Pixels []float32
	Labels []int
}

// First is the first n images, or all if there are fewer.
func (l Labelled) First(n int) Labelled {
	n = min(n, len(l.Labels))
	size := len(l.Pixels) / max(1, len(l.Labels))
	return Labelled{l.Pixels[:n*size], l.Labels[:n]}
}

const (
	neighbours = 5   // of Coverage in a Reference
	copyProbes = 500 // images that a Reference looks for among those of training
)

// A Reference measures images against real ones: against held-out images, which
// they should resemble, and against training images, which they should not repeat.
// Like its judge it is not safe for concurrent use.
type Reference struct {
	judge       Judge
	size        int
	train, held Labelled
	seen        Features // what the judge sees in held
	moments     Moments
	distance    []float64 // of the first held images to the nearest of train
}

// NewReference makes a reference of at least six held-out images and one training
// image, all of size values. The images are not copied.
func NewReference(judge Judge, size int, train, held Labelled) (*Reference, error) {
	r := &Reference{judge: judge, size: size, train: train, held: held}
	if err := r.check("training images", train, 1); err != nil {
		return nil, err
	}
	if err := r.check("held-out images", held, neighbours+1); err != nil {
		return nil, err
	}
	var err error
	if r.seen, err = judge.Features(held.Pixels); err != nil {
		return nil, err
	}
	if r.moments, err = MomentsOf(r.seen); err != nil {
		return nil, err
	}
	r.distance, err = r.fromTraining(held.First(copyProbes))
	return r, err
}

func (r *Reference) check(name string, l Labelled, least int) error {
	if n := len(l.Labels); r.size < 1 || n < least || len(l.Pixels) != n*r.size {
		return fmt.Errorf("measure: %s: %d values and %d labels for images of %d values; at least %d labelled images are needed",
			name, len(l.Pixels), n, r.size, least)
	}
	return nil
}

// Score is what a [Reference] says of N images.
type Score struct {
	N       int
	Frechet float64 // of the judge's features, to all held-out images
	Agreed

	// Of the first Compared images and as many held-out ones, by the judge's
	// features and five neighbours: see [Coverage].
	Compared          int
	Coverage, Density float64

	// Of the first Searched images: the mean distance to the nearest training
	// image, by pixels, over that of as many held-out images. Copies have 0, and
	// what is well below 1 repeats training images.
	Searched int
	Nearest  float64
}

// Look takes the Fréchet distance and the agreement, and leaves the rest of the
// score zero. It needs two images.
func (r *Reference) Look(images Labelled) (Score, error) {
	s, _, err := r.look(images)
	return s, err
}

func (r *Reference) look(images Labelled) (s Score, seen Features, err error) {
	if err := r.check("images", images, 2); err != nil {
		return s, seen, err
	}
	s.N = len(images.Labels)
	classes, err := r.judge.Classify(images.Pixels)
	if err != nil {
		return s, seen, err
	}
	if s.Agreed, err = Agreement(classes, images.Labels); err != nil {
		return s, seen, err
	}
	if seen, err = r.judge.Features(images.Pixels); err != nil {
		return s, seen, err
	}
	m, err := MomentsOf(seen)
	if err != nil {
		return s, seen, err
	}
	s.Frechet, err = m.Frechet(r.moments)
	return s, seen, err
}

// Score measures images. Six are the least: coverage has five neighbours.
func (r *Reference) Score(images Labelled) (Score, error) {
	if err := r.check("images", images, neighbours+1); err != nil {
		return Score{}, err
	}
	s, seen, err := r.look(images)
	if err != nil {
		return s, err
	}
	first := func(f Features, n int) Features { return Features{Data: f.Data[:n*f.D], N: n, D: f.D} }
	s.Compared = min(seen.N, r.seen.N)
	if s.Coverage, s.Density, err = Coverage(first(r.seen, s.Compared), first(seen, s.Compared), neighbours); err != nil {
		return s, err
	}
	s.Searched = min(s.N, len(r.distance))
	distance, err := r.fromTraining(images.First(s.Searched))
	if err != nil {
		return s, err
	}
	if real := mean(r.distance[:s.Searched]); real > 0 {
		s.Nearest = mean(distance) / real
	} else {
		err = fmt.Errorf("measure: the first %d held-out images are training images: there is no distance to compare with", s.Searched)
	}
	return s, err
}

// fromTraining is the distance of each image to the nearest training image.
func (r *Reference) fromTraining(images Labelled) ([]float64, error) {
	x, err := Rows(images.Pixels, len(images.Labels), r.size)
	if err != nil {
		return nil, err
	}
	var nearest []float64
	const part = 4096 // training images that are held in float64 at a time
	for at := 0; at < len(r.train.Labels); at += part {
		n := min(part, len(r.train.Labels)-at)
		real, err := Rows(r.train.Pixels[at*r.size:(at+n)*r.size], n, r.size)
		if err != nil {
			return nil, err
		}
		distance, _, err := Nearest(x, real)
		if err != nil {
			return nil, err
		}
		if nearest == nil {
			nearest = distance
		}
		for i, d := range distance {
			nearest[i] = min(nearest[i], d)
		}
	}
	return nearest, nil
}

func mean(v []float64) (sum float64) {
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}
