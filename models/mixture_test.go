package models

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

var threeBlobs = exact.Mixture{
	Weights:   []float64{1, 2, 0.5},
	Means:     [][]float64{{-1, 0.5}, {1.5, 0}, {0, -2}},
	Variances: []float64{0.3, 0.05, 0.2},
}

func newMixture(t testing.TB, p ode.Prediction, s ode.Schedule) *Mixture {
	t.Helper()
	m, err := NewMixture(MixtureConfig{Shape: []int{2}, Components: 3, Prediction: p, Schedule: s, Shard: 4})
	require.NoError(t, err)
	return m
}

// Value and gradients (x, t, every parameter) are those of the closed forms, for every prediction and schedule.
func TestMixtureIsTheExactMixture(t *testing.T) {
	const batch = 6
	for _, s := range []ode.Schedule{ode.VPLinear{}, ode.VPLinear{Beta0: 0.5, Beta1: 12}, ode.VPCosine{}, ode.VPCosine{Offset: 0.02}, ode.EDM{}, ode.Flow{}} {
		times := []float64{1e-3, 0.02, 0.2, 0.5, 0.8, 0.97}
		if s == (ode.EDM{}) {
			times = []float64{0.002, 0.1, 0.5, 2, 10, 80}
		}
		for p := ode.Noise; p <= ode.Denoiser; p++ {
			t.Run(fmt.Sprintf("%T%v %v", s, s, p), func(t *testing.T) {
				w, err := MixtureWeights[float64](threeBlobs)
				require.NoError(t, err)
				f := newField(t, newMixture(t, p, s), w, nil)
				e, err := exact.NewField[float64](threeBlobs, s, p)
				require.NoError(t, err)
				x := make([]float64, 2*batch)
				for i, at := range times {
					require.NoError(t, threeBlobs.Sample(x[2*i:2*i+2], s.At(at), uint64(i)))
				}
				call := ode.Call[float64]{Batch: batch, T: times}
				gradient := func(f ode.Differentiable[float64], ct []float64) ode.Tangent[float64] {
					g := ode.Tangent[float64]{X: make([]float64, 2*batch), T: make([]float64, batch), Value: make([]float64, 2*batch), Params: map[string][]float64{}}
					for _, p := range f.Parameters(batch) {
						g.Params[p.Name] = make([]float64, p.Len())
					}
					require.NoError(t, f.VJP(&g, ct, x, call))
					return g
				}
				ct := normal[float64](2*batch, 3)
				got, want := gradient(f, ct), gradient(e, ct)
				close := func(name string, want, got []float64, tolerance float64) {
					t.Helper()
					size := 1.0
					for _, v := range want {
						size = max(size, math.Abs(v))
					}
					for i := range want {
						require.InDelta(t, want[i], got[i], tolerance*size, "%s[%d]", name, i)
					}
				}
				close("value", want.Value, got.Value, 1e-12)
				close("x", want.X, got.X, 1e-12)
				for name, v := range want.Params {
					close(name, v, got.Params[name], 1e-12)
				}
				rate := 1e-12
				if p == ode.FlowVelocity {
					rate = 1e-9 // the other side differentiates α' and σ' numerically, to 1e-10
				}
				close("t", want.T, got.T, rate)
			})
		}
	}
}

func TestMixtureDerivatives(t *testing.T) {
	w, err := MixtureWeights[float64](threeBlobs)
	require.NoError(t, err)
	for _, s := range []ode.Schedule{ode.VPLinear{}, ode.VPCosine{}, ode.EDM{}, ode.Flow{}} {
		f := newField(t, newMixture(t, ode.FlowVelocity, s), w.Clone(), nil)
		checkDerivatives(t, f, normal[float64](6, 2), ode.Call[float64]{Batch: 3, T: []float64{0.3, 0.5, 0.8}})
	}
}

func TestMixtureErrors(t *testing.T) {
	discrete, err := ode.DiscreteFromBetas([]float64{0.1, 0.2, 0.3})
	require.NoError(t, err)
	for want, c := range map[string]MixtureConfig{
		"Shape is []":             {Components: 1, Schedule: ode.Flow{}},
		"Components is 0":         {Shape: []int{2}, Schedule: ode.Flow{}},
		"Schedule is missing":     {Shape: []int{2}, Components: 1},
		"VPLinear, VPCosine, EDM": {Shape: []int{2}, Components: 1, Schedule: discrete},
		"Prediction is":           {Shape: []int{2}, Components: 1, Schedule: ode.Flow{}, Prediction: -1},
	} {
		_, err := NewMixture(c)
		require.ErrorContains(t, err, want)
	}
	_, err = NewMixture(MixtureConfig{Shape: []int{2}, Components: 1, Schedule: discrete, Prediction: ode.Denoiser})
	require.NoError(t, err)
	bad := threeBlobs
	bad.Variances = []float64{1, -1, 1}
	_, err = MixtureWeights[float32](bad)
	require.ErrorContains(t, err, "variance")
	_, err = graph.NewCell(newMixture(t, ode.Noise, ode.Flow{}), &graph.Weights[float32]{})
	require.ErrorContains(t, err, `missing "means" [3 2]`)
	heavy := threeBlobs
	heavy.D = 3
	_, err = MixtureWeights[float32](heavy)
	require.ErrorContains(t, err, "leave D 0, or use exact.NewField")
}
