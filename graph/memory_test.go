package graph_test

import (
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// heap is what lives on it.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// wide is a perceptron whose buffers are large beside everything else.
func wide() graph.Model {
	const n = 256
	s := graph.Spec{Inputs: []graph.Port{{Name: "x", Shape: []int{n}}}, Outputs: []graph.Port{{Name: "y", Shape: []int{n}}}, Shard: 256}
	for _, name := range []string{"a", "b", "c"} {
		s.Weights = append(s.Weights, graph.Weight{Name: name, Shape: []int{n, n}, Std: 0.1})
	}
	return graph.ModelFunc{Describe: s, Network: func(b *graph.Builder, in *graph.Inputs) []*graph.Node {
		h := in.Input("x")
		for _, w := range s.Weights {
			// The gradient of a sum of two uses is not one product: it has a buffer of its own.
			h = b.Add(b.Map(graph.Tanh, b.Linear(h, in.Weight(w.Name), nil)), b.Linear(h, in.Weight(w.Name), nil))
		}
		return []*graph.Node{h}
	}}
}

func TestACellOwnsWhatItSays(t *testing.T) {
	m := wide()
	w, err := graph.NewWeights[float32](m.Spec().Weights, 1)
	require.NoError(t, err)
	const batch = 300 // a whole shard and a rest
	n := batch * m.Spec().Inputs[0].Len()
	v := &graph.Values[float32]{Inputs: [][]float32{make([]float32, n)}, Outputs: [][]float32{make([]float32, n)}}
	d := &graph.Values[float32]{Inputs: [][]float32{make([]float32, n)}, Outputs: [][]float32{make([]float32, n)}, Weights: map[string][]float32{}}
	for _, l := range w.List() {
		d.Weights[l.Name] = make([]float32, l.Len())
	}
	c, err := graph.NewCell(m, w, graph.Workers(2))
	require.NoError(t, err)
	defer c.Close()
	before := heap()
	require.NoError(t, c.Eval(batch, v))
	require.NoError(t, c.VJP(batch, v, d))
	require.NoError(t, c.VJP(batch, v, d))
	grown := heap() - before
	runtime.KeepAlive(v)
	runtime.KeepAlive(d)
	t.Logf("%d bytes counted, the heap has grown by %d", c.Bytes(), grown)
	require.Greater(t, c.Bytes(), int64(4<<20), "of a size at which the rest does not matter")
	// The runtime gives whole pages of 8 KiB: to the arena, the scratch and three gradients of each of eight programs (whole
	// shard and rest, values and gradients, two workers), and to the copies of three weights and their transposes; where a size is
	// a whole number of pages and the little for alignment, all of a page is lost. The steps themselves take some tens of KiB; any
	// one buffer of a weight's size takes 256.
	require.InDelta(t, c.Bytes(), grown, (5*8+2*3)*8<<10+96<<10)
}

// With EBB_LONG_RUNS set to a number, so many.
func TestManyRunsLeaveNothingBehind(t *testing.T) {
	runs := 300
	if s := os.Getenv("EBB_LONG_RUNS"); s != "" {
		var err error
		runs, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	const batch, dim = 11, 12
	f := newField[float32](t, batch, 2)
	x, y := normal[float32](batch*dim, 2), make([]float32, batch*dim)
	c := ode.Call[float32]{Batch: batch, T: []float32{0.3}}
	g := ode.Tangent[float32]{X: make([]float32, batch*dim), Params: map[string][]float32{"qkv": make([]float32, 48), graph.Condition: make([]float32, 2*batch)}}
	once := func() {
		require.NoError(t, f.Eval(y, x, c))
		require.NoError(t, f.VJP(&g, y, x, c))
	}
	once()
	routines := runtime.NumGoroutine()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	objects := m.Mallocs
	for range runs {
		if f.Eval(y, x, c) != nil || f.VJP(&g, y, x, c) != nil {
			t.FailNow()
		}
	}
	runtime.ReadMemStats(&m)
	require.Equal(t, routines, runtime.NumGoroutine())
	// The runtime's own goroutines allocate now and then; one object a run would be at least so many.
	require.Less(t, m.Mallocs-objects, uint64(runs), "objects in %d runs", runs)
}

// The same bits at any GOMAXPROCS, twice in a row, and for one sample alone.
func TestCellSameBitsAtAnyGOMAXPROCS(t *testing.T) {
	const batch, dim = 64, 12
	type result struct{ y, gx, gw []float32 }
	run := func(f *graph.Field[float32], n int) result {
		cond := normal[float32](2*batch, 1)
		require.NoError(t, f.SetCondition(cond[:2*n]))
		r := result{make([]float32, n*dim), make([]float32, n*dim), make([]float32, 48)}
		c := ode.Call[float32]{Batch: n, T: []float32{0.3}}
		x := normal[float32](batch*dim, 2)[:n*dim]
		require.NoError(t, f.Eval(r.y, x, c))
		g := ode.Tangent[float32]{X: r.gx, Params: map[string][]float32{"qkv": r.gw}}
		require.NoError(t, f.VJP(&g, normal[float32](batch*dim, 5)[:n*dim], x, c))
		return r
	}
	want := run(newField[float32](t, batch, 1), batch)
	for _, processors := range []int{1, 2, 8} {
		old := runtime.GOMAXPROCS(processors)
		f := newField[float32](t, batch, processors)
		first, second := run(f, batch), run(f, batch)
		one := run(f, 1)
		runtime.GOMAXPROCS(old)
		require.Equal(t, want, first, "GOMAXPROCS %d", processors)
		require.Equal(t, want, second, "GOMAXPROCS %d, again", processors)
		require.Equal(t, want.y[:dim], one.y)
		require.Equal(t, want.gx[:dim], one.gx)
	}
}
