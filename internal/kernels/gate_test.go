package kernels_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/internal/kernels"
)

func TestGates(t *testing.T) {
	onEveryPath(t, func(t *testing.T) {
		testGates[float32](t)
		testGates[float64](t)
	})
}

func testGates[T kernels.Float](t *testing.T) {
	r := rand.New(rand.NewPCG(31, 32))
	for _, cols := range widths {
		for _, rows := range []int{1, 3} {
			n := rows * cols
			h, x := noise(r, guarded[T](t, n, cols%2 == 0)), noise(r, guarded[T](t, n, cols%2 == 0))
			s, shift := noise(r, guarded[T](t, cols, true)), noise(r, guarded[T](t, cols, true))
			var gate, add, modulate []float64
			for i := range x {
				v, j := float64(x[i]), i%cols
				gate = append(gate, v*float64(s[j]))
				add = append(add, float64(h[i])+v*float64(s[j]))
				modulate = append(modulate, v+v*float64(s[j])+float64(shift[j]))
			}
			agree := func(want []float64, got []T, name string) {
				t.Helper()
				for i, v := range want { // three roundings of numbers below 1.25
					require.InDelta(t, v, float64(got[i]), 4*epsilon[T](), "%s %d×%d at %d", name, rows, cols, i)
				}
			}
			dst := guarded[T](t, n, cols%2 == 0)
			kernels.Gate(dst, x, s)
			agree(gate, dst, "gate")
			kernels.GateAdd(dst, h, x, s)
			agree(add, dst, "gateAdd")
			kernels.Modulate(dst, x, s, shift)
			agree(modulate, dst, "modulate")

			copy(dst, h)
			kernels.GateAdd(dst, dst, x, s)
			agree(add, dst, "gateAdd in place")
			copy(dst, x)
			kernels.GateAdd(dst, h, dst, s)
			agree(add, dst, "gateAdd in the place of x")
			copy(dst, x)
			kernels.Modulate(dst, dst, s, shift)
			agree(modulate, dst, "modulate in place")
			kernels.Gate(x, x, s)
			agree(gate, x, "gate in place")
		}
	}
	require.Panics(t, func() { kernels.Gate(make([]T, 7), make([]T, 7), make([]T, 2)) }, "seven elements are no rows of two")
	require.Panics(t, func() { kernels.Gate(make([]T, 4), make([]T, 2), make([]T, 2)) })
}

func TestLongGatesAreCutInRows(t *testing.T) {
	const rows, cols = 300, 129 // more than one call of assembly
	x, s, dst := make([]float32, rows*cols), make([]float32, cols), make([]float32, rows*cols)
	for i := range x {
		x[i] = float32(i % 1000)
	}
	for j := range s {
		s[j] = float32(j)
	}
	kernels.GateAdd(dst, x, x, s)
	for i := range dst {
		require.Equal(t, x[i]*(1+s[i%cols]), dst[i])
	}
}
