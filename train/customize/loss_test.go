package customize_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/rng"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/train/customize"
)

const images, side = 5, 4

func critic(t *testing.T) *customize.Critic[float64] {
	t.Helper()
	m, err := models.NewClassifier(models.ClassifierConfig{Channels: 1, Height: side, Width: side, Patch: 2, Hidden: 6, Features: 7, Depth: 1, Classes: 3})
	require.NoError(t, err)
	w, err := graph.NewWeights[float64](m.Spec().Weights, 2)
	require.NoError(t, err)
	c, err := graph.NewCell(m, w)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	k, err := customize.NewCritic(c)
	require.NoError(t, err)
	return k
}

func noise(n int, stream uint64) []float64 {
	x := make([]float64, n)
	rng.Normal(x, 11, stream, 0)
	return x
}

// The gradient of every loss agrees with finite differences, and is added to what is there.
func TestLossGradients(t *testing.T) {
	k := critic(t)
	pixels, err := customize.PixelLook[float64](side, side, 2)
	require.NoError(t, err)
	match := func(l customize.Look[float64]) adjoint.Loss[float64] {
		loss, err := customize.Match(l, noise(9*side*side, 4), 0.7)
		require.NoError(t, err)
		return loss
	}
	labels := []int{0, 2, 1, 1, 0}
	for name, loss := range map[string]adjoint.Loss[float64]{
		"margin":        customize.Margin(k, labels, 2),
		"cross-entropy": customize.CrossEntropy(k, labels),
		"stay":          customize.Stay(noise(images*side*side, 5)),
		"ink":           customize.InkTarget[float64](customize.Ink{Threshold: -0.2, Width: 0.3}, []float64{.1, .2, .3, .4, .9}),
		"match critic":  match(customize.CriticLook(k)),
		"match pixels":  match(pixels),
	} {
		t.Run(name, func(t *testing.T) {
			x := noise(images*side*side, 3)
			at := func() (float64, []float64) {
				g := make([]float64, len(x))
				for i := range g {
					g[i] = 1
				}
				v, err := loss(adjoint.States[float64]{Outputs: map[string][]float64{"x": x}}, adjoint.States[float64]{Outputs: map[string][]float64{"x": g}})
				require.NoError(t, err)
				for i := range g {
					g[i]--
				}
				return v, g
			}
			_, g := at()
			some := false
			for i := range x {
				const h = 1e-4
				f := func(d float64) float64 {
					old := x[i]
					x[i] = old + d
					v, _ := at()
					x[i] = old
					return v
				}
				fd := (8*(f(h)-f(-h)) - (f(2*h) - f(-2*h))) / (12 * h)
				// Fourth-order differences of values near 1 err by about 1e-16/h = 1e-12, times the curvature.
				require.InDelta(t, fd, g[i], 1e-9)
				some = some || g[i] != 0
			}
			require.True(t, some)
		})
	}
}

func TestLossErrors(t *testing.T) {
	k := critic(t)
	x := noise(images*side*side, 3)
	at := func(loss adjoint.Loss[float64], x []float64) error {
		_, err := loss(adjoint.States[float64]{Outputs: map[string][]float64{"x": x}}, adjoint.States[float64]{Outputs: map[string][]float64{"x": make([]float64, len(x))}})
		return err
	}
	require.ErrorContains(t, at(customize.Margin(k, []int{0}, 1), x), "1 labels for 5 samples")
	require.ErrorContains(t, at(customize.CrossEntropy(k, []int{0, 1, 2, 3, 0}), x), "label 3 of sample 3 is not one of the 3 classes")
	require.ErrorContains(t, at(customize.Stay(x[1:]), x), "a reference of 79 elements for samples of 80")
	require.ErrorContains(t, at(customize.Margin(k, nil, 1), x[1:]), "79 elements are no images of 16")
	_, err := customize.PixelLook[float64](4, 4, 3)
	require.ErrorContains(t, err, "blocks of 3 pixels do not divide an image of 4×4")
}

// What keeps samples apart weighs as much as was asked for.
func TestMatchWeighsWhatKeepsSamplesApart(t *testing.T) {
	pixels, err := customize.PixelLook[float64](side, side, 2)
	require.NoError(t, err)
	value := func(apart float64) float64 {
		loss, err := customize.Match(pixels, noise(9*side*side, 4), apart)
		require.NoError(t, err)
		x := noise(images*side*side, 3)
		states := func(x []float64) adjoint.States[float64] {
			return adjoint.States[float64]{Outputs: map[string][]float64{"x": x}}
		}
		v, err := loss(states(x), states(make([]float64, len(x))))
		require.NoError(t, err)
		return v
	}
	all, half, none := value(1), value(0.5), value(0)
	require.Greater(t, all, half)
	require.InDelta(t, half, (all+none)/2, 1e-12, "linearly")
}
