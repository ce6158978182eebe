package measure

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// bright sees the first two values of an image, and class 1 where they add to more than 0.
type bright struct {
	size int
	err  error
}

func (b bright) Classify(x []float32) ([]int, error) {
	classes := make([]int, len(x)/b.size)
	for i := range classes {
		if x[i*b.size]+x[i*b.size+1] > 0 {
			classes[i] = 1
		}
	}
	return classes, b.err
}

func (b bright) Features(x []float32) (Features, error) {
	f := Features{N: len(x) / b.size, D: 2}
	for i := range f.N {
		f.Data = append(f.Data, float64(x[i*b.size]), float64(x[i*b.size+1]))
	}
	return f, b.err
}

// images are n noisy ones of four values, the first two brighter in every second one.
func images(n int, seed uint64) Labelled {
	var l Labelled
	for i, v := range normal(n, 4, seed).Data {
		if i%4 == 0 {
			l.Labels = append(l.Labels, i/4%2)
		}
		if i%4 < 2 {
			v += float64(4*(i/4%2) - 2)
		}
		l.Pixels = append(l.Pixels, float32(v))
	}
	return l
}

func TestScore(t *testing.T) {
	train, held := images(5000, 1), images(300, 2)
	r, err := NewReference(bright{size: 4}, 4, train, held)
	require.NoError(t, err)

	fresh, err := r.Score(images(400, 3))
	require.NoError(t, err)
	require.Equal(t, []int{400, 300, 300}, []int{fresh.N, fresh.Compared, fresh.Searched})
	want, _ := bright{size: 4}.Features(images(400, 3).Pixels)
	seen, _ := bright{size: 4}.Features(held.Pixels)
	d, err := Frechet(want, seen)
	require.NoError(t, err)
	require.Equal(t, d, fresh.Frechet)
	want.N, want.Data = 300, want.Data[:600]
	coverage, density, err := Coverage(seen, want, 5)
	require.NoError(t, err)
	require.Equal(t, []float64{coverage, density}, []float64{fresh.Coverage, fresh.Density})
	require.Greater(t, fresh.Overall, 0.95)
	// Two means of 300 distances that scatter by about a third of themselves: 0.03 of 1 is one standard deviation.
	require.InDelta(t, 1, fresh.Nearest, 0.12)

	copies, err := r.Score(train.First(300))
	require.NoError(t, err)
	require.Zero(t, copies.Nearest)
	last, err := r.Score(Labelled{train.Pixels[4*4700:], train.Labels[4700:]})
	require.NoError(t, err)
	require.Zero(t, last.Nearest, "all training images are searched")

	look, err := r.Look(images(400, 3))
	require.NoError(t, err)
	require.Equal(t, Score{N: 400, Frechet: fresh.Frechet, Agreed: fresh.Agreed}, look)
}

func TestScoreRefusesWhatCannotBeCompared(t *testing.T) {
	held := images(10, 1)
	for want, bad := range map[string]Labelled{
		"held-out images: 20 values and 5 labels for images of 4 values; at least 6": held.First(5),
		"held-out images: 39 values and 10 labels":                                   {held.Pixels[1:], held.Labels},
	} {
		_, err := NewReference(bright{size: 4}, 4, held, bad)
		require.ErrorContains(t, err, want)
	}
	_, err := NewReference(bright{size: 4}, 4, Labelled{}, held)
	require.ErrorContains(t, err, "training images: 0 values")
	blind := errors.New("blind")
	_, err = NewReference(bright{4, blind}, 4, held, held)
	require.ErrorIs(t, err, blind)
	r, err := NewReference(bright{size: 4}, 4, held, held)
	require.NoError(t, err)
	_, err = r.Score(held.First(5))
	require.ErrorContains(t, err, "at least 6")
	_, err = r.Look(held.First(1))
	require.ErrorContains(t, err, "at least 2")
	_, err = r.Score(held)
	require.ErrorContains(t, err, "are training images")
}
