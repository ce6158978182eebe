package measure

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func cover(t *testing.T, reference, generated Features, k int) (coverage, density float64) {
	t.Helper()
	c, d, err := Coverage(reference, generated, k)
	require.NoError(t, err)
	return c, d
}

func TestCoverageByHand(t *testing.T) {
	// Radii of the reference to its first neighbour: 1, 1, 2, 5.
	reference := Features{Data: []float64{0, 1, 3, 8}, N: 4, D: 1}
	generated := Features{Data: []float64{0.5, 2.5, 100}, N: 3, D: 1}
	c, d := cover(t, reference, generated, 1)
	// 0.5 lies in the balls of 0 and 1, 2.5 in that of 3 only (it is 5.5 from 8), 100 in none.
	require.Equal(t, 0.75, c)
	require.InDelta(t, 3/(1*3.0), d, 1e-15)
}

func TestCoverageOfASetByItselfAndByOthers(t *testing.T) {
	x := normal(80, 3, 1)
	for _, k := range []int{1, 5, 79} {
		c, d := cover(t, x, reversed(x), k)
		require.Equal(t, 1.0, c)
		require.InDelta(t, 1, d, 1e-12)
	}
	c, d := cover(t, x, moved(x, []float64{100, 0, 0}), 5)
	require.Zero(t, c)
	require.Zero(t, d)

	// One good sample over and over is dense and covers nothing.
	one := clone(x)
	for i := range one.N {
		copy(one.Row(i), []float64{0, 0, 0})
	}
	c, d = cover(t, x, one, 5)
	require.Less(t, c, 0.5)
	require.Greater(t, d, 1.0)

	r := rotation(3, 4)
	y := normal(60, 3, 2)
	c, d = cover(t, x, y, 5)
	c2, d2 := cover(t, scaled(mapped(x, r), 3), scaled(mapped(y, r), 3), 5)
	require.Equal(t, []float64{c, d}, []float64{c2, d2})
	// Of one law, the k nearest of all 140 are reference with chance (80/140)^k, and then the ball is empty.
	// 80 balls know the share .94 to .027 if independent; four of them.
	require.InDelta(t, 1-math.Pow(80.0/140, 5), c, 0.11)

	for _, k := range []int{0, 80} {
		_, _, err := Coverage(x, y, k)
		require.ErrorContains(t, err, "k goes from 1 to 79")
	}
}

// Searches look at few distances; that changes nothing, ties, far-off sets and huge numbers included.
func TestSearchesFindWhatWholeDistancesSay(t *testing.T) {
	for _, row := range []struct {
		d, n        int
		size, shift float64
	}{
		{1, 60, 1, 0}, {17, 60, 1, 0}, {37, 600, 1, 0}, // more than a block of both
		{3, 90, 1, 1e8},           // lengths that hide the distances between them
		{3, 90, 1e153, 3e153},     // lengths that overflow, distances that do not
		{3, 90, 0x1p-534, 0},      // lengths that underflow
		{3, 90, 1, math.MaxInt16}, // ties at a distance
	} {
		d := row.d
		x, y := normal(row.n, d, 1), normal(row.n-10, d, 2)
		for _, f := range []Features{x, y} {
			for i, v := range f.Data { // few values, so many equal distances
				f.Data[i] = math.Round(v)*row.size + row.shift
			}
		}
		const k = 4
		covered, balls := 0.0, 0.0
		for i := range x.N {
			var others []float64
			for j := range x.N {
				if j != i {
					others = append(others, squaredDistance(x.Row(i), x.Row(j)))
				}
			}
			slices.Sort(others)
			inside := 0.0
			for j := range y.N {
				if squaredDistance(x.Row(i), y.Row(j)) < others[k-1] {
					inside++
				}
			}
			covered, balls = covered+min(1, inside), balls+inside
		}
		c, density := cover(t, x, y, k)
		require.Equal(t, []float64{covered / float64(x.N), balls / float64(k*y.N)}, []float64{c, density}, "%v", row)

		distance, index, err := Nearest(x, y)
		require.NoError(t, err)
		for i := range x.N {
			best, at := math.Inf(1), 0
			for j := range y.N {
				if v := squaredDistance(x.Row(i), y.Row(j)); v < best {
					best, at = v, j
				}
			}
			require.Equal(t, at, index[i])
			require.Equal(t, math.Sqrt(best), distance[i], "%v", row)
		}
	}
}

// Ten thousand against ten thousand, of 64 values.
func BenchmarkCoverage(b *testing.B) {
	x, y := normal(10_000, 64, 1), normal(10_000, 64, 2)
	for b.Loop() {
		if _, _, err := Coverage(x, y, 5); err != nil {
			b.Fatal(err)
		}
	}
}

func TestNearestAndLeaveOneOut(t *testing.T) {
	reference := Features{Data: []float64{0, 0, 3, 4, 3, 4}, N: 3, D: 2}
	x := Features{Data: []float64{0, 1, 3, 4}, N: 2, D: 2}
	d, at, err := Nearest(x, reference)
	require.NoError(t, err)
	require.Equal(t, []float64{1, 0}, d)
	require.Equal(t, []int{0, 1}, at)
	d, at, err = LeaveOneOut(reference)
	require.NoError(t, err)
	require.Equal(t, []float64{5, 0, 0}, d)
	require.Equal(t, []int{1, 2, 1}, at)

	copies, held := normal(50, 4, 1), normal(50, 4, 2)
	d, _, err = Nearest(copies, copies)
	require.NoError(t, err)
	require.Equal(t, make([]float64, 50), d, "copies betray themselves")
	d, _, err = Nearest(held, copies)
	require.NoError(t, err)
	for _, v := range d {
		require.Positive(t, v)
	}
	d, at, err = Nearest(Features{Data: []float64{1e300}, N: 1, D: 1}, Features{Data: []float64{-1e300}, N: 1, D: 1})
	require.NoError(t, err)
	require.Equal(t, 0, at[0], "an overflowing distance still has an owner")
	require.True(t, math.IsInf(d[0], 1))
}

func TestDiversity(t *testing.T) {
	line := Features{Data: []float64{0, 1, 3}, N: 3, D: 1}
	d, err := Diversity(line)
	require.NoError(t, err)
	require.InEpsilon(t, 2.0, d, 1e-15)
	r, err := DiversityRatio(moved(scaled(line, 0.5), []float64{7}), line)
	require.NoError(t, err)
	require.InEpsilon(t, 0.5, r, 1e-15)
	one := Features{Data: []float64{4, 4}, N: 2, D: 1}
	r, err = DiversityRatio(one, line)
	require.NoError(t, err)
	require.Zero(t, r)
	_, err = DiversityRatio(line, one)
	require.ErrorContains(t, err, "no diversity to compare with")
}
