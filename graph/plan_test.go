package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// No arena can be smaller than what is alive at the worst step; packing is a search and may need a little more.
func requireTight(t *testing.T, s Stats, name string) {
	t.Helper()
	require.GreaterOrEqual(t, s.Arena, s.Live, name)
	require.LessOrEqual(t, float64(s.Arena), 1.05*float64(s.Live), name)
}

func TestArenaIsBarelyMoreThanWhatIsAlive(t *testing.T) {
	for _, c := range []struct {
		name  string
		build func() (*Builder, []*Node)
	}{
		{"transformer block", func() (*Builder, []*Node) { return block[float32](8, 16, 32) }},
		{"odd transformer block", func() (*Builder, []*Node) { return block[float32](3, 17, 44) }},
		{"perceptron of 3 layers", func() (*Builder, []*Node) { return perceptron[float32](3, 64, 64) }},
		{"perceptron of 20 layers", func() (*Builder, []*Node) { return perceptron[float32](20, 16, 32) }},
	} {
		b, outs := c.build()
		require.NoError(t, b.Err())
		p, err := Compile[float32](outs...)
		require.NoError(t, err)
		s := p.Stats()
		t.Logf("%s: %d steps, alive %d bytes, arena %d, %.3f", c.name, s.Steps, s.Live, s.Arena, float64(s.Arena)/float64(s.Live))
		requireTight(t, s, c.name)
	}
}

func TestArenasOfRandomGraphsAreBarelyMoreThanWhatIsAlive(t *testing.T) {
	worst := 1.0
	for seed := range uint64(400) {
		s := newBench[float64]([][]int{{3, 40}, {2, 3, 40}, {120}, {7, 11}}, false)
		s.rng = rand.New(rand.NewPCG(seed, 8))
		outs := wander(s, 3+int(seed%80), false)
		require.NoError(t, s.b.Err(), "graph %d", seed)
		p, err := Compile[float64](outs...)
		require.NoError(t, err)
		requireTight(t, p.Stats(), fmt.Sprint("graph ", seed))
		worst = max(worst, float64(p.Stats().Arena)/max(1, float64(p.Stats().Live)))
	}
	t.Logf("at worst %.3f", worst)
}

// Asked for last, the derivatives by the weights are still taken where their factors are at hand.
func TestOrderOfStepsSparesMemory(t *testing.T) {
	b, outs := perceptron[float32](10, 16, 32)
	require.NoError(t, b.Err())
	p, err := Compile[float32](outs...)
	require.NoError(t, err)
	// 10 layers before their activation and 9 behind it are needed for the way back, and nothing is in the end.
	require.LessOrEqual(t, p.Stats().Live, int64(10+9)*16*32*4)
}

// Inputs that the first outputs do not need may be bound when those are known, whatever the order of the steps.
func TestRunToLeavesLaterInputsAlone(t *testing.T) {
	for seed := range uint64(100) {
		s := newBench[float64]([][]int{{3, 4}, {2, 3, 4}}, false)
		s.rng = rand.New(rand.NewPCG(seed, 9))
		outs := wander(s, 3+int(seed%40), false)
		require.NoError(t, s.b.Err())
		p, err := Compile[float64](outs...)
		require.NoError(t, err)
		whole := bits(t, p, s.values)
		const first = 3 // before the gradients, which need the cotangent
		late, ok := p.names["cotangent"]
		if !ok {
			continue
		}
		right := p.vals[p.inputs[late]]
		wrong := make([]float64, len(right))
		require.NoError(t, p.BindAt(late, wrong))
		for i := range wrong {
			wrong[i] = math.NaN()
		}
		require.NoError(t, p.RunTo(first))
		copy(wrong, right)
		require.NoError(t, p.RunFrom(first))
		for i, want := range whole {
			for k, v := range p.Output(i) {
				require.Equal(t, want[k], math.Float64bits(v), "graph %d, output %d", seed, i)
			}
		}
	}
}
