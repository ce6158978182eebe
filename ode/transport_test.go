package ode_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// cloud is n targets round 3, of spread 2.
func cloud(n, dim int) []float64 {
	y := gaussians(n, dim, 5)
	for i := range y {
		y[i] = 3 + 2*y[i]
	}
	return y
}

func gaussians(n, dim int, key uint64) []float64 {
	z := make([]float64, n*dim)
	if err := (ode.Seed[float64]{Key: key}).Draw(z, ode.DrawCall{Batch: n}); err != nil {
		panic(err)
	}
	return z
}

func fit(t testing.TB, y []float64, dim int, o ode.TransportOptions[float64]) *ode.TransportFit[float64] {
	t.Helper()
	got, err := ode.FitTransport(t.Context(), y, dim, o)
	require.NoError(t, err)
	return got
}

// In one dimension the map is known: it is rising, and the borders of its cells are the quantiles of the source at the sums of the weights.
func TestTransportOfOneDimensionIsTheQuantiles(t *testing.T) {
	y, weights := []float64{2, -1, 0, 5, 2.5}, []float64{2, 1, 3, 1, 3}
	for _, uniform := range []bool{false, true} {
		got := fit(t, y, 1, ode.TransportOptions[float64]{Weights: weights, Uniform: uniform, Tolerance: .02, Draws: 5000})
		order, sum, last := []int{1, 2, 0, 4, 3}, 0., math.Inf(-1)
		for k := range 4 {
			i, j := order[k], order[k+1]
			border := (got.Heights[i] - got.Heights[j]) / (y[j] - y[i])
			require.Greater(t, border, last)
			last = border
			sum += weights[i] / 10
			below := border
			if !uniform {
				below = math.Erfc(-border/math.Sqrt2) / 2
			}
			// k+1 errors of volumes, the root of whose squares is the tolerance and four standard deviations of what draws tell
			require.InDelta(t, sum, below, math.Sqrt(float64(k+1))*(.02+4/math.Sqrt(5000)))
		}
	}
}

// Fresh draws find each cell to be as large as it should.
func TestTransportGivesEachTargetItsWeight(t *testing.T) {
	for _, c := range []struct {
		n, dim  int
		uniform bool
	}{{24, 2, false}, {24, 2, true}, {12, 20, false}} {
		weights := make([]float64, c.n)
		for i := range weights {
			weights[i] = 1 + float64(i%3)
		}
		got := fit(t, cloud(c.n, c.dim), c.dim, ode.TransportOptions[float64]{Weights: weights, Uniform: c.uniform})
		const draws = 20000
		w, err := got.Transport.Volumes(t.Context(), draws, 9)
		require.NoError(t, err)
		worst, norm := 0., 0.
		for i := range w {
			require.InDelta(t, weights[i]/float64(2*c.n), got.Weights[i], 1e-15)
			worst = max(worst, math.Abs(w[i]-got.Weights[i]))
			norm += got.Weights[i] * got.Weights[i]
		}
		// A volume is off by less than all of them, a tenth of ‖ν‖; four standard deviations of either estimate come on top.
		top := 3 / float64(2*c.n)
		require.Less(t, worst, math.Sqrt(norm)/10+4*(math.Sqrt(top/draws)+math.Sqrt(top/float64(got.Draws))), c)
		require.Less(t, got.Distance, math.Sqrt(norm)/10)
		require.Zero(t, got.Empty)
		sum := 0.
		for _, w := range got.Volumes {
			sum += w
		}
		require.InDelta(t, 1, sum, 1e-12)
	}
}

// No other way to hand out the same targets to the same points is cheaper, by trying all.
func TestTransportIsOptimal(t *testing.T) {
	got := fit(t, cloud(6, 2), 2, ode.TransportOptions[float64]{})
	const n = 7
	seen := map[int]bool{}
	for key := range uint64(20) {
		z, x, index := gaussians(n, 2, 100+key), make([]float64, 2*n), make([]int, n)
		require.NoError(t, got.Map(x, z))
		require.NoError(t, got.Index(index, z))
		cost := func(order []int) (sum float64) {
			for b, k := range order {
				sum += math.Pow(z[2*b]-x[2*k], 2) + math.Pow(z[2*b+1]-x[2*k+1], 2)
			}
			return sum
		}
		order := []int{0, 1, 2, 3, 4, 5, 6}
		least := cost(order)
		other := math.Inf(1)
		permutations(order, n, func() { other = min(other, cost(order)) })
		require.InDelta(t, other, least, 1e-12)
		for b, k := range index {
			require.Equal(t, got.Targets[2*k:2*k+2], x[2*b:2*b+2])
			seen[k] = true
		}
	}
	require.Len(t, seen, 6)
}

// permutations calls f with the first n in every order.
func permutations(order []int, n int, f func()) {
	if n == 1 {
		f()
	}
	for i := range n {
		order[i], order[n-1] = order[n-1], order[i]
		permutations(order, n-1, f)
		order[i], order[n-1] = order[n-1], order[i]
	}
}

// Heights to start from that are all the same leave most to the targets far out; the guess has less to mend, in few dimensions and in many, and
// whatever the place and scale of the targets.
func TestTransportStartsFromAGoodGuess(t *testing.T) {
	errStop := errors.New("stop")
	first := func(y []float64, dim int, o ode.TransportOptions[float64]) (distance float64) {
		o.Progress = func(f ode.TransportFit[float64]) error { distance = f.Distance; return errStop }
		_, err := ode.FitTransport(t.Context(), y, dim, o)
		require.ErrorIs(t, err, errStop)
		return distance
	}
	for _, dim := range []int{1, 2, 64} {
		y := cloud(64, dim)
		even := make([]float64, 64)
		for _, uniform := range []bool{false, true} {
			o := ode.TransportOptions[float64]{Uniform: uniform, Tolerance: 1e-2}
			guess := first(y, dim, o)
			o.Heights = even
			// a cube in 64 dimensions is as good as a ball, but has its middle elsewhere, where even heights are at a loss
			require.Less(t, guess, .6*first(y, dim, o), "%d dimensions, uniform %t", dim, uniform)
		}
		far := slices.Clone(y)
		for i := range far {
			far[i] = 1e3 + 1e2*far[i]
		}
		o := ode.TransportOptions[float64]{Tolerance: 1e-2}
		require.InDelta(t, first(y, dim, o), first(far, dim, o), 1e-3) // rounding moves a few draws of 6400
	}
}

func TestTransportIsTheSameBits(t *testing.T) {
	y := cloud(16, 3)
	a, b := fit(t, y, 3, ode.TransportOptions[float64]{Key: 1}), fit(t, y, 3, ode.TransportOptions[float64]{Key: 1})
	require.Equal(t, a, b)
	require.NotEqual(t, a.Heights, fit(t, y, 3, ode.TransportOptions[float64]{Key: 2}).Heights)
	require.NotEqual(t, a.Heights, fit(t, y, 3, ode.TransportOptions[float64]{Key: 1, Rate: .03}).Heights)

	all, err := a.Latent(ode.Seed[float64]{Key: 4}, 300)
	require.NoError(t, err)
	part, err := a.Latent(ode.Seed[float64]{Key: 4, First: 170}, 5)
	require.NoError(t, err)
	require.Equal(t, all[170*3:175*3], part)
	z := make([]float64, 900)
	require.NoError(t, ode.Seed[float64]{Key: 4}.Draw(z, ode.DrawCall{Index: -1, Batch: 300}))
	require.NoError(t, a.Map(z, z))
	require.Equal(t, z, all, "the noise is that of a latent")

	y32 := make([]float32, len(y))
	for i := range y {
		y32[i] = float32(y[i])
	}
	single, err := ode.FitTransport(t.Context(), y32, 3, ode.TransportOptions[float32]{Key: 1})
	require.NoError(t, err)
	x, err := single.Latent(ode.Seed[float32]{Key: 4}, 2)
	require.NoError(t, err)
	require.Contains(t, slices.Collect(slices.Chunk(y32, 3)), x[3:])
}

func TestTransportFitsThatDoNotEnd(t *testing.T) {
	y := cloud(16, 2)
	cause := errors.New("cause")
	ctx, cancel := context.WithCancel(t.Context())
	iterations := 0
	for what, o := range map[string]ode.TransportOptions[float64]{
		"cause":               {Progress: func(f ode.TransportFit[float64]) error { return cause }},
		"canceled":            {Tolerance: 5e-3, Draws: 3000, Progress: func(ode.TransportFit[float64]) error { cancel(); return nil }},
		"Limit is reached":    {Tolerance: 5e-3, Draws: 3000, Limit: 2},
		"no better by 12000":  {Tolerance: 1e-2, Draws: 3000, Doublings: 2, Rate: 20, Patience: 3, Progress: func(ode.TransportFit[float64]) error { iterations++; return nil }},
		"no better by 10000 ": {Tolerance: 1e-2, Draws: 10000, Doublings: -1, Rate: 20, Patience: 3},
	} {
		got, err := ode.FitTransport(ctx, y, 2, o)
		var e *ode.TransportError
		require.ErrorAs(t, err, &e, what)
		require.ErrorContains(t, err, what)
		require.Equal(t, []any{got.Distance, got.Empty}, []any{e.Distance, e.Empty})
		require.Greater(t, e.Distance, e.Tolerance)
		require.NoError(t, got.Map(make([]float64, 2), make([]float64, 2)), "what was reached can be used")
		if what == "canceled" {
			require.ErrorIs(t, err, context.Canceled)
			ctx = t.Context()
		}
	}
	require.Greater(t, iterations, 9, "three times the patience")
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	_, err := ode.FitTransport(ctx, y, 2, ode.TransportOptions[float64]{})
	require.ErrorIs(t, err, context.Canceled)
}

func TestTransportRefuses(t *testing.T) {
	y := cloud(4, 2)
	ones := []float64{1, 1, 1, 1}
	for want, c := range map[string]struct {
		y []float64
		o ode.TransportOptions[float64]
	}{
		"7 values of targets":               {y: y[:7]},
		"0 values of targets":               {},
		"target 1 has the value NaN":        {y: []float64{1, 2, 3, math.NaN()}},
		"targets 0 and 2 are the same":      {y: []float64{1, 2, 3, 4, 1, 2}},
		"3 Weights and 0 Heights for 4":     {y, ode.TransportOptions[float64]{Weights: ones[:3]}},
		"0 Weights and 1 Heights":           {y, ode.TransportOptions[float64]{Heights: ones[:1]}},
		"Weights[1] is 0":                   {y, ode.TransportOptions[float64]{Weights: []float64{1, 0, 1, 1}}},
		"Heights[3] is +Inf":                {y, ode.TransportOptions[float64]{Heights: []float64{0, 0, 0, math.Inf(1)}}},
		"Tolerance is -1":                   {y, ode.TransportOptions[float64]{Tolerance: -1}},
		"Rate NaN":                          {y, ode.TransportOptions[float64]{Rate: math.NaN()}},
		"Doublings -2":                      {y, ode.TransportOptions[float64]{Doublings: -2}},
		"about 0.0433 in 400 draws":         {y, ode.TransportOptions[float64]{Tolerance: 1e-3, Doublings: -1}},
		"which is all that 400 Draws and 4": {y, ode.TransportOptions[float64]{Tolerance: 1e-3}},
	} {
		_, err := ode.FitTransport(t.Context(), c.y, 2, c.o)
		require.ErrorContains(t, err, want)
	}
	got := ode.Transport[float64]{Targets: y, Weights: ones, Heights: ones}
	require.ErrorContains(t, got.Map(make([]float64, 3), make([]float64, 3)), "samples of 2")
	require.ErrorContains(t, got.Map(make([]float64, 4), make([]float64, 2)), "2 values of noise to 4")
	require.ErrorContains(t, got.Index(make([]int, 3), make([]float64, 4)), "4 values of noise for 3 samples")
	_, err := got.Latent(ode.Seed[float64]{}, 0)
	require.ErrorContains(t, err, "latent of 0 samples")
	_, err = got.Volumes(t.Context(), 0, 1)
	require.ErrorContains(t, err, "by 0 draws")
	got.Weights = nil
	_, err = got.Volumes(t.Context(), 1, 1)
	require.ErrorContains(t, err, "4 Heights, 0 Weights and 8 values")
}

// A single target gets everything.
func TestTransportToOneTarget(t *testing.T) {
	got := fit(t, []float64{1, 2}, 2, ode.TransportOptions[float64]{})
	x, err := got.Latent(ode.Seed[float64]{}, 2)
	require.NoError(t, err)
	require.Equal(t, []float64{1, 2, 1, 2}, x)
}

// Two evaluations from noise are too few for this data. Spent on the way from t = 0.3 alone, where the map arrives at once, they will do.
func ExampleFitTransport() {
	ctx, schedule := context.Background(), ode.VPLinear{}
	data := exact.Mixture{Weights: []float64{1, 3}, Means: [][]float64{{-2, 0}, {1, 1}}, Variances: []float64{.01, .01}}
	network, err := exact.NewField[float64](data, schedule, ode.Noise)
	if err != nil {
		log.Fatal(err)
	}
	states := make([]float64, 2*40) // data that is perturbed, as one has it for training
	if err := data.Sample(states, schedule.At(.3), 7); err != nil {
		log.Fatal(err)
	}
	fit, err := ode.FitTransport(ctx, states, 2, ode.TransportOptions[float64]{})
	if err != nil {
		log.Fatal(err)
	}
	const batch = 1000
	for _, from := range []float64{1, .3} {
		plan, err := ode.DPMpp{Order: 2}.Plan(ode.Problem{Schedule: schedule, Raw: ode.Noise, From: from, To: .001, Steps: 2})
		if err != nil {
			log.Fatal(err)
		}
		x, err := fit.Latent(ode.Seed[float64]{Key: 1}, batch)
		if from == 1 {
			x, err = ode.Latent(plan, ode.Seed[float64]{Key: 1}, batch, 2)
		}
		if err != nil {
			log.Fatal(err)
		}
		if x, err = ode.Sample(ctx, plan, network, x, batch); err != nil {
			log.Fatal(err)
		}
		near := 0
		for b := range batch {
			for _, mean := range data.Means {
				if math.Hypot(x[2*b]-mean[0], x[2*b+1]-mean[1]) < .3 { // three standard deviations, which 99 in 100 are
					near++
				}
			}
		}
		fmt.Printf("from t = %g: %d in 10 are data\n", from, (near+batch/20)*10/batch)
	}
	// Output:
	// from t = 1: 4 in 10 are data
	// from t = 0.3: 10 in 10 are data
}
