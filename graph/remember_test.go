package graph_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// passage is a few evaluations and then their products, the last first: what a gradient through a run asks for.
type passage struct {
	field   *graph.Field[float32]
	batch   int
	between func(k int, x []float32) // before product k, or nil
	taps    bool
	later   float32 // by how much the times of the products differ from those of the evaluations
	kept    []bool
	y       [][]float32
	g       []ode.Tangent[float32]
}

func (p *passage) run(t *testing.T, n int, names ...string) {
	const dim = 12
	p.y, p.g, p.kept = nil, nil, nil
	call := func(k int) ode.Call[float32] {
		c := ode.Call[float32]{Index: k, Batch: p.batch, T: []float32{0.2 * float32(k+1)}}
		if p.taps {
			c.Out = []ode.Tap[float32]{{Name: "inner", Data: make([]float32, p.batch*dim)}}
		}
		return c
	}
	var states [][]float32
	for k := range n {
		states = append(states, normal[float32](p.batch*dim, uint64(10+k)))
		p.y = append(p.y, make([]float32, p.batch*dim))
		require.NoError(t, p.field.Eval(p.y[k], states[k], call(k)))
		p.g = append(p.g, ode.Tangent[float32]{X: make([]float32, p.batch*dim), T: make([]float32, p.batch), Params: map[string][]float32{}})
		for _, name := range names {
			for _, q := range p.field.Parameters(p.batch) {
				if q.Name == name {
					p.g[k].Params[name] = make([]float32, q.Len())
				}
			}
		}
	}
	for k := n - 1; k >= 0; k-- {
		if p.between != nil {
			p.between(k, states[k])
		}
		p.kept = append([]bool{p.field.Kept(k)}, p.kept...)
		at := call(k)
		at.T[0] += p.later
		require.NoError(t, p.field.VJP(&p.g[k], normal[float32](p.batch*dim, uint64(20+k)), states[k], at))
		require.False(t, p.field.Kept(k), "what is kept serves once")
	}
}

// With and without a memory the values and all gradients have the same bits, in the first run, which learns, and in those that
// remember; at batches with and without a rest, at any number of workers, and after a change of what is asked for.
func TestSameBitsWithAMemory(t *testing.T) {
	for _, batch := range []int{1, 4, 8, 11} {
		for _, workers := range []int{1, 2, 3} {
			plain := &passage{field: newField[float32](t, batch, workers), batch: batch}
			kept := &passage{field: newField[float32](t, batch, workers), batch: batch}
			kept.field.Remember(1 << 20)
			for _, names := range [][]string{nil, {"qkv", graph.Condition}, {"time", "bias", "unused"}} {
				for round := range 3 {
					plain.run(t, 3, names...)
					kept.run(t, 3, names...)
					require.Equal(t, plain.y, kept.y)
					require.Equal(t, plain.g, kept.g)
					if round > 0 {
						require.Equal(t, []bool{true, true, true}, kept.kept)
					}
				}
			}
		}
	}
}

// What is kept is not used at another point.
func TestAMemoryIsOfItsPointOnly(t *testing.T) {
	const batch = 6
	changes := map[string]func(f *graph.Field[float32], k int, x []float32){
		"time":  nil,
		"state": func(_ *graph.Field[float32], _ int, x []float32) { x[len(x)-1]++ },
		"condition": func(f *graph.Field[float32], k int, _ []float32) {
			require.NoError(t, f.SetCondition(normal[float32](2*batch, uint64(30+k))))
		},
		"weights": func(f *graph.Field[float32], k int, _ []float32) {
			require.NoError(t, f.Store("time", normal[float32](16, uint64(40+k))))
		},
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			plain := &passage{field: newField[float32](t, batch, 2), batch: batch}
			kept := &passage{field: newField[float32](t, batch, 2), batch: batch}
			kept.field.Remember(1 << 20)
			for _, p := range []*passage{plain, kept} {
				p.run(t, 2, "qkv")
				if change != nil {
					p.between = func(k int, x []float32) { change(p.field, k, x) }
				} else {
					p.later = 0.1
				}
				p.run(t, 2, "qkv")
			}
			require.Equal(t, []bool{true, true}, kept.kept)
			require.Equal(t, plain.y, kept.y)
			require.Equal(t, plain.g, kept.g)
			kept.between, kept.later = nil, 0
			kept.run(t, 2, "qkv")
			require.Equal(t, []bool{true, true}, kept.kept, "and the next run remembers again")
		})
	}
}

// A value that is asked for with the product is the one that was kept.
func TestAMemoryKnowsItsValue(t *testing.T) {
	const batch, dim = 5, 12
	f := newField[float32](t, batch, 2)
	f.Remember(1 << 20)
	x, y := normal[float32](batch*dim, 1), make([]float32, batch*dim)
	c := ode.Call[float32]{Batch: batch, T: []float32{0.4}}
	for range 2 {
		require.NoError(t, f.Eval(y, x, c))
		g := ode.Tangent[float32]{X: make([]float32, batch*dim), Value: make([]float32, batch*dim)}
		require.NoError(t, f.VJP(&g, normal[float32](batch*dim, 2), x, c))
		require.Equal(t, y, g.Value)
	}
}

// What does not fit is the error that it is without a memory, and spoils nothing.
func TestAMemoryTakesNoWrongLengths(t *testing.T) {
	const batch, dim = 5, 12
	f := newField[float32](t, batch, 2)
	f.Remember(1 << 20)
	x, y := normal[float32](batch*dim, 1), make([]float32, batch*dim)
	c := ode.Call[float32]{Batch: batch, T: []float32{0.4}}
	g := ode.Tangent[float32]{X: make([]float32, batch*dim)}
	for range 3 {
		require.ErrorContains(t, f.Eval(y[1:], x, c), "got 59 elements")
		require.NoError(t, f.Eval(y, x, c))
		short := ode.Tangent[float32]{X: g.X, Value: y[1:]}
		require.ErrorContains(t, f.VJP(&short, x, x, c), "got 59 elements")
		require.ErrorContains(t, f.VJP(&g, x[1:], x, c), "got 59 elements")
		require.NoError(t, f.Eval(y, x, c))
		require.NoError(t, f.VJP(&g, x, x, c))
	}
	require.NoError(t, f.Eval(y, x, c))
	require.True(t, f.Kept(0))
}

// The memory stays in its bounds, counts itself, and is given back.
func TestAMemoryKeepsToItsBytes(t *testing.T) {
	const batch = 6
	p := &passage{field: newField[float32](t, batch, 2), batch: batch}
	p.run(t, 3)
	plain := p.field.Bytes()

	p.field.Remember(1 << 20)
	p.run(t, 3)
	learned := p.field.Bytes() // the programs that compute the value first
	p.run(t, 3)
	one := (p.field.Bytes() - learned) / 3
	require.Greater(t, one, int64(0))

	p.field.Remember(2*one + one/2)
	for range 3 {
		p.run(t, 3)
	}
	require.Equal(t, []bool{true, true, false}, p.kept)
	require.Equal(t, learned+2*one, p.field.Bytes())

	p.field.Remember(0)
	p.run(t, 3)
	require.Equal(t, []bool{false, false, false}, p.kept)
	require.Equal(t, learned, p.field.Bytes())
	require.Less(t, plain, learned)

	p.field.Remember(2*one + one/2)
	// What another product needs takes the place of what is not asked for any more.
	for range 4 {
		p.run(t, 3, "time")
	}
	require.Equal(t, 2, count(p.kept))
	for range 4 {
		p.run(t, 3)
	}
	require.Equal(t, 2, count(p.kept))
}

func count(kept []bool) (n int) {
	for _, k := range kept {
		if k {
			n++
		}
	}
	return n
}

func TestAMemoryDoesNotAllocateOnceItIsThere(t *testing.T) {
	const batch, dim = 9, 12
	settled := func(limit int64) (once func(), bytes int64) {
		f := newField[float32](t, batch, 2)
		f.Remember(limit)
		x, y := normal[float32](batch*dim, 1), make([]float32, batch*dim)
		times := []float32{0.4}
		g := ode.Tangent[float32]{X: make([]float32, batch*dim), Params: map[string][]float32{"qkv": make([]float32, 48)}}
		once = func() {
			for k := range 2 {
				if f.Eval(y, x, ode.Call[float32]{Index: k, Batch: batch, T: times}) != nil {
					t.FailNow()
				}
			}
			for k := range 2 {
				if f.VJP(&g, y, x, ode.Call[float32]{Index: k, Batch: batch, T: times}) != nil {
					t.FailNow()
				}
			}
		}
		once() // learns
		learned := f.Bytes()
		once() // makes room
		return once, f.Bytes() - learned
	}
	_, both := settled(1 << 20)
	// Room for both evaluations, for none, for all but a shard of the first or of the second.
	for _, limit := range []int64{both, 1, both/2 - 1, both - 1} {
		once, bytes := settled(limit)
		require.Equal(t, limit/(both/2)*(both/2), bytes)
		require.Zero(t, testing.AllocsPerRun(10, once), "%d of %d bytes", limit, both)
	}
}

// Evaluations with taps, and those of a cell that is watched, are not kept.
func TestWhatIsNotRemembered(t *testing.T) {
	p := &passage{field: newField[float32](t, 6, 2), batch: 6}
	p.field.Remember(1 << 20)
	p.taps = true
	for range 2 {
		p.run(t, 2)
	}
	require.Equal(t, []bool{false, false}, p.kept)
	p.taps = false
	for range 2 {
		p.run(t, 2)
	}
	require.Equal(t, []bool{true, true}, p.kept)
	require.NoError(t, p.field.Cell().Watch(true))
	p.run(t, 2)
	require.Equal(t, []bool{false, false}, p.kept)
}
