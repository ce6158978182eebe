package models

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

func smallMLP(t testing.TB) *MLP {
	t.Helper()
	m, err := NewMLP(MLPConfig{Shape: []int{2, 3}, Width: 8, Depth: 2, Condition: 4, Classes: 3, TimeFeatures: 6, MaxFrequency: 10, Schedule: ode.Flow{}, Prediction: ode.FlowVelocity, Shard: 3})
	require.NoError(t, err)
	return m
}

func smallDiT(t testing.TB, condition int) *DiT {
	t.Helper()
	classes := 0
	if condition > 0 {
		classes = 3
	}
	m, err := NewDiT(DiTConfig{Channels: 2, Height: 4, Width: 6, Patch: 2, Hidden: 8, Depth: 2, Heads: 2, Ratio: 2, Condition: condition, Classes: classes,
		TimeFeatures: 6, MaxFrequency: 10, Prediction: ode.Noise, Schedule: ode.VPCosine{}, Shard: 2})
	require.NoError(t, err)
	return m
}

func networks(t testing.TB) map[string]graph.Model {
	return map[string]graph.Model{
		"MLP":                              smallMLP(t),
		"DiT":                              smallDiT(t, 8),
		"DiT, condition of another length": smallDiT(t, 5),
		"DiT, unconditional":               smallDiT(t, 0),
	}
}

func conditionOf[T graph.Float](m graph.Model, batch int) []T {
	p, ok := m.Spec().Input(graph.Condition)
	if !ok {
		return nil
	}
	return normal[T](batch*p.Len(), 21)
}

func TestNetworkDerivatives(t *testing.T) {
	const batch = 3
	for name, m := range networks(t) {
		t.Run(name, func(t *testing.T) {
			f := newField(t, m, perturbed(t, m), conditionOf[float64](m, batch))
			x := normal[float64](batch*m.Spec().Inputs[0].Len(), 22)
			checkDerivatives(t, f, x, ode.Call[float64]{Batch: batch, T: []float64{0.1, 0.4, 0.9}})
		})
	}
}

// A network that starts as nothing would pass every derivative test and learn nothing.
func TestEveryWeightMatters(t *testing.T) {
	const batch = 3
	for name, m := range networks(t) {
		f := newField(t, m, perturbed(t, m), conditionOf[float64](m, batch))
		n := batch * m.Spec().Inputs[0].Len()
		g := ode.Tangent[float64]{Params: map[string][]float64{}}
		for _, p := range f.Parameters(batch) {
			g.Params[p.Name] = make([]float64, p.Len())
		}
		require.NoError(t, f.VJP(&g, normal[float64](n, 31), normal[float64](n, 22), ode.Call[float64]{Batch: batch, T: []float64{0.3}}))
		for p, grad := range g.Params {
			if p == Labels { // looked up outside of the network
				require.Zero(t, dot(grad, grad))
				continue
			}
			if strings.HasSuffix(p, "qkv.bias") { // softmax does not see a shift of all keys
				d := len(grad) / 3
				require.Less(t, dot(grad[d:2*d], grad[d:2*d]), 1e-20)
				grad = append(slices.Clone(grad[:d]), grad[2*d:]...)
			}
			zeros := 0
			for _, v := range grad {
				if v == 0 {
					zeros++
				}
			}
			require.Zero(t, zeros, "%s: entries of %s that do nothing", name, p)
		}
	}
}

func TestDiTTaps(t *testing.T) {
	const batch = 3
	m := smallDiT(t, 8)
	f := newField(t, m, perturbed(t, m), conditionOf[float64](m, batch))
	x := normal[float64](batch*48, 22)
	call := ode.Call[float64]{Batch: batch, T: []float64{0.1, 0.4, 0.9}}
	plain := make([]float64, len(x))
	require.NoError(t, f.Eval(plain, x, call))

	for _, name := range []string{"value0", "value1", "block0", "block1"} {
		t.Run(name, func(t *testing.T) {
			n, ok := f.TapLen(name)
			require.True(t, ok)
			require.Equal(t, 6*8, n)
			inner := make([]float64, batch*n)
			read := call
			read.Out = []ode.Tap[float64]{{Name: name, Data: inner}}
			y := make([]float64, len(x))
			require.NoError(t, f.Eval(y, x, read))
			require.Equal(t, plain, y, "reading a tap changes nothing")

			given := call
			given.In = []ode.Tap[float64]{{Name: name, Data: inner}}
			require.NoError(t, f.Eval(y, x, given))
			require.Equal(t, plain, y, "a value put back where it came from changes nothing")

			copy(inner, normal[float64](len(inner), 23))
			require.NoError(t, f.Eval(y, x, given))
			require.NotEqual(t, plain, y)
			checkDerivatives(t, f, x, given)
		})
	}
}

// The last tap of the deepest network is as good as the first.
func TestDiTDeepestTap(t *testing.T) {
	m, err := NewDiT(DiTConfig{Channels: 1, Height: 4, Width: 4, Patch: 2, Hidden: 4, Depth: maxTaps / 2, Heads: 2, TimeFeatures: 4, Schedule: ode.Flow{}})
	require.NoError(t, err)
	f := newField(t, m, perturbed(t, m), nil)
	name := value(maxTaps/2 - 1)
	g := ode.Tangent[float64]{In: []ode.Tap[float64]{{Name: name, Data: make([]float64, 16)}}}
	inner, x := normal[float64](16, 2), normal[float64](16, 1)
	call := ode.Call[float64]{Batch: 1, T: []float64{0.5}, In: []ode.Tap[float64]{{Name: name, Data: inner}}}
	require.NoError(t, f.VJP(&g, x, x, call))
	y := make([]float64, 16)
	for i := range inner {
		fd := difference(&inner[i], 1e-3, func() float64 { require.NoError(t, f.Eval(y, x, call)); return dot(x, y) })
		require.InDelta(t, fd, g.In[0].Data[i], 1e-8*(1+math.Abs(fd)))
	}
	require.Greater(t, dot(g.In[0].Data, g.In[0].Data), 1e-6)
}

// With one and the same v at every token, attention returns it, whatever q and k are.
func TestDiTValueTapIsTheValue(t *testing.T) {
	const batch = 2
	m := smallDiT(t, 8)
	f := newField(t, m, perturbed(t, m), conditionOf[float64](m, batch))
	same := make([]float64, batch*6*8)
	for i := range same {
		same[i] = float64(i % 8)
	}
	x := normal[float64](batch*48, 22)
	g := ode.Tangent[float64]{Params: map[string][]float64{"blocks.1.qkv.bias": make([]float64, 24), "blocks.0.qkv.bias": make([]float64, 24)}}
	require.NoError(t, f.VJP(&g, x, x, ode.Call[float64]{Batch: batch, T: []float64{0.4}, In: []ode.Tap[float64]{{Name: "value1", Data: same}}}))
	require.InDeltaSlice(t, make([]float64, 24), g.Params["blocks.1.qkv.bias"], 1e-12)
	require.Greater(t, dot(g.Params["blocks.0.qkv.bias"], g.Params["blocks.0.qkv.bias"]), 1e-3)
}

func TestFloat32FollowsFloat64(t *testing.T) {
	const batch = 3
	for name, m := range networks(t) {
		w := perturbed(t, m)
		n := batch * m.Spec().Inputs[0].Len()
		f64 := newField(t, m, w, conditionOf[float64](m, batch))
		f32 := newField(t, m, graph.ConvertWeights[float32](w), conditionOf[float32](m, batch))
		y64, y32 := make([]float64, n), make([]float32, n)
		require.NoError(t, f64.Eval(y64, normal[float64](n, 22), ode.Call[float64]{Batch: batch, T: []float64{0.3}}))
		require.NoError(t, f32.Eval(y32, normal[float32](n, 22), ode.Call[float32]{Batch: batch, T: []float32{0.3}}))
		for i := range y64 {
			// A dozen layers of roundings of 6e-8 on values near 1.
			require.InDelta(t, y64[i], y32[i], 1e-5, name)
		}
	}
}

func TestSampleDoesNotDependOnItsBatch(t *testing.T) {
	const batch = 7
	for name, m := range networks(t) {
		w := graph.ConvertWeights[float32](perturbed(t, m))
		n := m.Spec().Inputs[0].Len()
		cond := conditionOf[float32](m, batch)
		x, times := normal[float32](batch*n, 22), []float32{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6}
		all := make([]float32, batch*n)
		require.NoError(t, newField(t, m, w, cond).Eval(all, x, ode.Call[float32]{Batch: batch, T: times}))
		for i := range batch {
			one := make([]float32, n)
			c := len(cond) / batch
			require.NoError(t, newField(t, m, w, cond[i*c:(i+1)*c:(i+1)*c]).Eval(one, x[i*n:(i+1)*n], ode.Call[float32]{Batch: 1, T: times[i : i+1]}))
			require.Equal(t, all[i*n:(i+1)*n], one, "%s, sample %d", name, i)
		}
	}
}

// The weights of a DiT count what those of its reference definition count: 28×28, patches of 4, width 128, 6 blocks, 4
// heads, 256 features of time, 10 classes and one for none.
func TestDiTParameterCount(t *testing.T) {
	m, err := NewDiT(digits28)
	require.NoError(t, err)
	n := 0
	for _, w := range m.Spec().Weights {
		n += w.Len()
	}
	require.Equal(t, 1_875_344, n)
}

var digits28 = DiTConfig{Channels: 1, Height: 28, Width: 28, Patch: 4, Hidden: 128, Depth: 6, Heads: 4, Condition: 128, Classes: 10, Schedule: ode.Flow{}, Prediction: ode.FlowVelocity}

func TestDiTStartsAsZero(t *testing.T) {
	m := smallDiT(t, 8)
	w, err := graph.NewWeights[float64](m.Spec().Weights, 1)
	require.NoError(t, err)
	y := normal[float64](48, 1)
	require.NoError(t, newField(t, m, w, normal[float64](8, 2)).Eval(y, normal[float64](48, 3), ode.Call[float64]{Batch: 1, T: []float64{0.5}}))
	require.Equal(t, make([]float64, 48), y)
}

func TestNetworkConfigErrors(t *testing.T) {
	dit := digits28
	mlp := MLPConfig{Shape: []int{2}, Width: 8, Depth: 1, Schedule: ode.Flow{}}
	for _, row := range []struct {
		want string
		dit  func(c *DiTConfig)
		mlp  func(c *MLPConfig)
	}{
		{"DiT: Channels is 0", func(c *DiTConfig) { c.Channels = 0 }, nil},
		{"DiT: Height is -1", func(c *DiTConfig) { c.Height = -1 }, nil},
		{"DiT: Patch is 5, which does not divide Height 28 and Width 28", func(c *DiTConfig) { c.Patch = 5 }, nil},
		{"DiT: Hidden is 128, which is not a multiple of Heads, 3", func(c *DiTConfig) { c.Heads = 3 }, nil},
		{"DiT: Heads is 0", func(c *DiTConfig) { c.Heads = 0 }, nil},
		{"DiT: Depth is 33; 1 to 32 are possible", func(c *DiTConfig) { c.Depth = 33 }, nil},
		{"DiT: Ratio is -1", func(c *DiTConfig) { c.Ratio = -1 }, nil},
		{"Classes is 10 and Condition 0", func(c *DiTConfig) { c.Condition = 0 }, nil},
		{"TimeFeatures is 7", func(c *DiTConfig) { c.TimeFeatures = 7 }, nil},
		{"MaxFrequency is -1", func(c *DiTConfig) { c.MaxFrequency = -1 }, nil},
		{"Prediction is Prediction(9)", func(c *DiTConfig) { c.Prediction = 9 }, nil},
		{"Schedule is missing", func(c *DiTConfig) { c.Schedule = nil }, nil},
		{"Shard is -1", func(c *DiTConfig) { c.Shard = -1 }, nil},
		{"MLP: Shape is []", nil, func(c *MLPConfig) { c.Shape = nil }},
		{"MLP: Shape[1] is 0", nil, func(c *MLPConfig) { c.Shape = []int{1, 0} }},
		{"up to 1048576 elements", nil, func(c *MLPConfig) { c.Shape = []int{1 << 20, 2} }},
		{"MLP: Width is 0", nil, func(c *MLPConfig) { c.Width = 0 }},
		{"MLP: Depth is 0", nil, func(c *MLPConfig) { c.Depth = 0 }},
		{"MLP: Condition is -2", nil, func(c *MLPConfig) { c.Condition = -2 }},
	} {
		var err error
		if row.dit != nil {
			c := dit
			row.dit(&c)
			_, err = NewDiT(c)
		} else {
			c := mlp
			row.mlp(&c)
			_, err = NewMLP(c)
		}
		require.ErrorContains(t, err, row.want)
	}
}

func TestLookup(t *testing.T) {
	m := smallDiT(t, 8)
	w := perturbed(t, m)
	labels := []int{2, -1, 0, 3, 2}
	cond, err := Lookup(w, labels)
	require.NoError(t, err)
	table := w.Data(Labels)
	for i, row := range []int{2, 3, 0, 3, 2} {
		require.Equal(t, table[row*8:(row+1)*8], cond[i*8:(i+1)*8])
	}
	// ⟨lookup, cotangent⟩ = ⟨table, pulled⟩ since it is linear in the table.
	ct := normal[float64](len(cond), 1)
	grad := make([]float64, len(table))
	require.NoError(t, PullLookup(grad, w, labels, ct))
	require.InDelta(t, dot(cond, ct), dot(table, grad), 1e-12)

	_, err = Lookup(w, []int{0, 4})
	require.ErrorContains(t, err, "label 4 of sample 1; the classes are 0 to 2, and -1 is none")
	_, err = Lookup(w, []int{-2})
	require.ErrorContains(t, err, "label -2 of sample 0")
	before := slices.Clone(grad)
	require.ErrorContains(t, PullLookup(grad, w, []int{0, 9, 0, 0, 0}, ct), "label 9 of sample 1")
	require.Equal(t, before, grad)
	require.ErrorContains(t, PullLookup(grad[1:], w, labels, ct), "31 elements; the table has 32")
	require.ErrorContains(t, PullLookup(grad, w, labels[1:], ct), "40 elements for 4 labels")
	_, err = Lookup(perturbed(t, smallDiT(t, 0)), []int{0})
	require.ErrorContains(t, err, "made without classes")
}

// Labelled is the network after a lookup: the same value, and a gradient to the table that is the lookup's transpose of
// the gradient to the condition.
func TestLabelled(t *testing.T) {
	labels := []int{1, 3, 0, 1}
	for name, m := range map[string]graph.Model{"MLP": smallMLP(t), "DiT": smallDiT(t, 8)} {
		t.Run(name, func(t *testing.T) {
			w := perturbed(t, m)
			spec := m.Spec()
			n := len(labels) * spec.Inputs[0].Len()
			cond, err := Lookup(w, labels)
			require.NoError(t, err)
			x, times, ct := normal[float64](n, 1), normal[float64](len(labels), 2), normal[float64](n, 3)
			gradient := func(m graph.Model, third []float64) (y, dthird []float64, dw map[string][]float64) {
				c := newCell(t, m, w)
				y, dthird, dw = make([]float64, n), make([]float64, len(third)), map[string][]float64{}
				for _, d := range spec.Weights {
					dw[d.Name] = make([]float64, d.Len())
				}
				require.NoError(t, c.VJP(len(labels), &graph.Values[float64]{Inputs: [][]float64{x, times, third}, Outputs: [][]float64{y}},
					&graph.Values[float64]{Inputs: [][]float64{nil, nil, dthird}, Outputs: [][]float64{ct}, Weights: dw}))
				return y, dthird, dw
			}
			y, dcond, dw := gradient(m, cond)
			require.NoError(t, PullLookup(dw[Labels], w, labels, dcond))

			hot := make([]float64, len(labels)*4)
			for i, l := range labels {
				hot[i*4+l] = 1
			}
			labelled := Labelled(m)
			require.Equal(t, spec.Weights, labelled.Spec().Weights)
			y2, _, dw2 := gradient(labelled, hot)
			require.InDeltaSlice(t, y, y2, 1e-13)
			for _, d := range spec.Weights {
				require.InDeltaSlice(t, dw[d.Name], dw2[d.Name], 1e-11, d.Name)
			}
		})
	}
	for _, m := range []graph.Model{smallDiT(t, 0), graph.ModelFunc{Describe: smallMLP(t).Spec()}} {
		w := perturbed(t, m)
		_, err := graph.NewCell(Labelled(m), w)
		require.ErrorContains(t, err, fmt.Sprintf("%T has no label table", m))
	}
}

func TestMapsOfNamesAreNotShared(t *testing.T) {
	m := smallMLP(t)
	m.Spec().Inputs[0].Shape[0] = 99
	m.Config().Shape[0] = 99
	require.Equal(t, []int{2, 3}, m.Spec().Inputs[0].Shape)
}
