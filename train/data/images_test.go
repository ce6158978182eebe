package data

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// counted makes n images of 1×2 whose pixels tell the index, of classes in turn.
func counted(n, classes int) *Images {
	m := &Images{N: n, Height: 1, Width: 2, Channels: 1, Classes: classes}
	for i := range n {
		v := float32(i) / float32(n)
		m.Pixels = append(m.Pixels, v, -v)
		m.Labels = append(m.Labels, i%classes)
	}
	return m
}

func TestSelectCopiesImagesAndLabelsInTheOrderAsked(t *testing.T) {
	m := counted(6, 3)
	s, err := m.Select([]int{5, 0, 5})
	require.NoError(t, err)
	require.Equal(t, 3, s.Len())
	require.Equal(t, []int{2, 0, 2}, s.Labels)
	require.Equal(t, 3, s.Classes)
	require.Equal(t, m.Image(5), s.Image(0))
	require.Equal(t, m.Image(0), s.Image(1))
	s.Image(0)[0] = 9
	require.NotEqual(t, float32(9), m.Image(5)[0], "a selection owns its pixels")
	require.Equal(t, 2, cap(m.Image(0)), "appending to one image cannot reach the next")

	_, err = m.Select([]int{0, 6})
	require.ErrorContains(t, err, "index 6 (position 1) is outside the 6 images")
	_, err = m.Select([]int{-1})
	require.Error(t, err)
}

func TestGatherFillsABatchOfEitherPrecisionWithoutAllocating(t *testing.T) {
	m := counted(6, 3)
	dst := make([]float64, 4)
	indices := []int{4, 1}
	require.Zero(t, testing.AllocsPerRun(10, func() { _ = Gather(dst, m, indices) }))
	for p, v := range append(slices.Clone(m.Image(4)), m.Image(1)...) {
		require.Equal(t, float64(v), dst[p])
	}
	require.ErrorContains(t, Gather(dst[:3], m, indices), "4 values, not 3")
}

func TestSplitIsDisjointStratifiedAndAFunctionOfTheSeed(t *testing.T) {
	// Very unequal classes: 60 %, 30 %, 9 %, 1 % of 1000.
	m := &Images{N: 1000, Height: 1, Width: 1, Channels: 1, Pixels: make([]float32, 1000), Classes: 4}
	share := []float64{0.6, 0.3, 0.09, 0.01}
	for c, s := range share {
		for range int(math.Round(s * 1000)) {
			m.Labels = append(m.Labels, c)
		}
	}
	parts, err := m.Split(7, 200, 333, 0, 450)
	require.NoError(t, err)
	seen := map[int]bool{}
	for k, n := range []int{200, 333, 0, 450} {
		require.Len(t, parts[k], n)
		require.True(t, slices.IsSorted(parts[k]))
		var count [4]int
		for _, i := range parts[k] {
			require.False(t, seen[i], "image %d in two parts", i)
			seen[i] = true
			count[m.Labels[i]]++
		}
		for c, s := range share {
			require.InDelta(t, s*float64(n), count[c], 2)
		}
	}
	again, err := m.Split(7, 200, 333, 0, 450)
	require.NoError(t, err)
	require.Equal(t, parts, again)
	other, err := m.Split(8, 200, 333, 0, 450)
	require.NoError(t, err)
	require.NotEqual(t, parts, other)
}

func TestRareClassesAreSpreadOverTheParts(t *testing.T) {
	// 400 classes of one image each: a fair cut gives each half about 200.
	m := &Images{N: 1200, Height: 1, Width: 1, Channels: 1, Pixels: make([]float32, 1200), Classes: 401}
	for i := range 1200 {
		m.Labels = append(m.Labels, min(i, 400))
	}
	parts, err := m.Split(3, 600, 600)
	require.NoError(t, err)
	rare := 0
	for _, i := range parts[0] {
		if m.Labels[i] < 400 {
			rare++
		}
	}
	// Binomial(400, ½) has standard deviation 10; five of them.
	require.InDelta(t, 200, rare, 50)
}

func TestSplitRefusesWhatCannotBeCut(t *testing.T) {
	m := counted(10, 2)
	for _, sizes := range [][]int{{11}, {5, 6}, {-1}, {math.MaxInt, math.MaxInt}} {
		_, err := m.Split(1, sizes...)
		require.ErrorContains(t, err, "cannot be cut from 10 images")
	}
	m.Labels[3] = 2
	_, err := m.Split(1, 5)
	require.ErrorContains(t, err, "label 2 of image 3 is outside [0, 2)")
	m.Labels = m.Labels[:9]
	_, err = m.Split(1, 5)
	require.ErrorContains(t, err, "9 labels for 10 images")
	m.Pixels = m.Pixels[:9]
	_, err = m.Split(1, 5)
	require.ErrorContains(t, err, "need 20 pixels, there are 9")
}

func TestUnlabelledImagesSplitAsOneClass(t *testing.T) {
	m := counted(10, 2)
	m.Labels, m.Classes = nil, 0
	parts, err := m.Split(1, 4, 6)
	require.NoError(t, err)
	all := slices.Concat(parts...)
	slices.Sort(all)
	require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, all)
}

func TestOrderIsAPermutationThatDependsOnSeedAndEpochAlone(t *testing.T) {
	a := Order(50, 3, 2)
	require.Equal(t, a, Order(50, 3, 2))
	require.NotEqual(t, a, Order(50, 3, 3))
	require.NotEqual(t, a, Order(50, 4, 2))
	slices.Sort(a)
	for i, v := range a {
		require.Equal(t, i, v)
	}
}

func TestBatchesAreTheEndlessRowOfOrders(t *testing.T) {
	for _, shape := range [][2]int{
		{10, 5}, // batches that end with the epoch
		{10, 4}, // batches across an epoch's end
		{3, 10}, // batches of several epochs
		{1, 1},
	} {
		n, size := shape[0], shape[1]
		var row []int
		for epoch := range 60 {
			row = append(row, Order(n, 5, epoch)...)
		}
		b, err := NewBatches(n, size, 5)
		require.NoError(t, err)
		for step := range len(row) / size {
			got, err := b.At(step)
			require.NoError(t, err)
			require.Equal(t, row[step*size:(step+1)*size], got, "n=%d size=%d step %d", n, size, step)
			require.Equal(t, step*size/n, b.Epoch(step))
		}
	}
}

func TestAResumedRunSeesTheSameBatches(t *testing.T) {
	whole, err := NewBatches(97, 8, 1)
	require.NoError(t, err)
	var want []int
	for step := range 40 {
		got, err := whole.At(step)
		require.NoError(t, err)
		want = slices.Clone(got)
	}
	resumed, err := NewBatches(97, 8, 1)
	require.NoError(t, err)
	got, err := resumed.At(39)
	require.NoError(t, err)
	require.Equal(t, want, got)
	_, err = resumed.At(-1)
	require.ErrorContains(t, err, "steps count from 0")
	_, err = NewBatches(0, 8, 1)
	require.Error(t, err)
	_, err = NewBatches(8, 0, 1)
	require.Error(t, err)
}
