package ode

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// A chain of first-order steps needs the state and the network's output, however long it is; the input is a port and
// keeps its buffer.
func TestAChainNeedsThreeBuffers(t *testing.T) {
	p := &Plan{Name: "chain", Schedule: Flow{}, Raw: FlowVelocity, Inputs: []Port{{"x", 0}}, Regs: 1, Knots: []Knot{{1, 0}}}
	const n = 50
	x := Reg(0)
	for i := range n {
		m, y := p.register(), p.register()
		p.Code = append(p.Code,
			Instr{Op: Evaluate, Dst: m, Src: x, T: 1 - float64(i)/n, Index: i, Step: i},
			Instr{Op: Combine, Dst: y, Terms: []Term{{Reg: x, C: 1}, {Reg: m, C: -1. / n}}, Step: i})
		p.Knots = append(p.Knots, Knot{1 - float64(i+1)/n, y})
		x = y
	}
	p.Outputs = []Port{{"x", x}}
	p.Exact = true
	require.NoError(t, p.Verify())
	require.Equal(t, 3, p.Live().Buffers())
	require.Equal(t, 4, p.Live(p.Knots[n/2].Reg).Buffers())

	r, err := NewRunner[float32](p, 5, 7)
	require.NoError(t, err)
	require.Equal(t, 4*(3*5*7+n*3), r.Bytes(), "buffers, and two coefficients and a time a step")

	q, err := p.Transpose()
	require.NoError(t, err)
	require.LessOrEqual(t, q.Live().Buffers(), 4)
}

// Sharing buffers changes no value: a run that keeps every register gives the same as one that keeps none.
func TestSharingBuffersChangesNothing(t *testing.T) {
	for _, clipped := range []bool{false, true} {
		p := handPlan(t, clipped)
		q, err := p.Transpose(1)
		require.NoError(t, err)
		f, in := newLinear(handDim, handTap), handInputs(p, 21)
		noise := Given[float64]{in["noise[0]"], in["noise[1]"]}
		delete(in, "noise[0]")
		delete(in, "noise[1]")
		var forward func(Reg) []float64
		for _, c := range []struct {
			plan *Plan
			in   Inputs[float64]
		}{
			{p, Inputs[float64]{Ports: in, Noise: noise}},
			{q, Inputs[float64]{Ports: randomPorts(q.Inputs, 22), Table: make([]float64, len(p.Table()))}},
		} {
			var all []Reg
			for reg, at := range c.plan.definitions() {
				if at != undefined {
					all = append(all, Reg(reg))
				}
			}
			whole, err := NewRunner[float64](c.plan, handBatch, handDim, all...)
			require.NoError(t, err)
			lean, err := NewRunner[float64](c.plan, handBatch, handDim)
			require.NoError(t, err)
			require.Less(t, lean.layout.Buffers(), whole.layout.Buffers())
			c.in.Forward = forward
			require.NoError(t, whole.Run(t.Context(), f, c.in))
			want := outputsOf(whole, c.plan)
			table := slices.Clone(c.in.Table)
			clear(c.in.Table)
			require.NoError(t, lean.Run(t.Context(), f, c.in))
			require.Equal(t, want, outputsOf(lean, c.plan))
			require.Equal(t, table, c.in.Table)
			forward = whole.Reg
		}
	}
}

// A register that nothing reads frees its buffer again, whether it is a state at the last knot or the half of a pair that
// is not an output: what is written next must not land on something alive.
func TestARegisterNobodyReadsHoldsItsBufferWhileItIsWritten(t *testing.T) {
	p := euler()
	p.Exact = false
	p.Regs = 8
	p.Code = append(p.Code,
		Instr{Op: Combine, Dst: 5, Step: 1, Terms: []Term{{Reg: 2, C: 3}}},
		Instr{Op: Combine, Dst: 6, Step: 1, Terms: []Term{{Reg: 2, C: 5}}},
		Instr{Op: Combine, Dst: 7, Step: 1, Terms: []Term{{Reg: 2, C: 7}, {Reg: 4, C: 1}}})
	p.Outputs = []Port{{"x", 7}}
	require.NoError(t, p.Verify())
	l := p.Live()
	require.NotContains(t, l.Slot, -1)
	require.NotEqual(t, l.Slot[2], l.Slot[5])
	require.NotEqual(t, l.Slot[4], l.Slot[6])
	got, err := Sample(t.Context(), p, decay, []float64{1}, 1)
	require.NoError(t, err)
	require.InDelta(t, 7*.6+.36, got[0], 1e-15)

	p = euler()
	p.Outputs = []Port{{"x", 2}}
	p.Code[3].Terms = p.Code[3].Terms[:1]
	p.Code = slices.Delete(p.Code, 2, 3)
	p.Exact = false
	require.NoError(t, p.Verify())
	require.GreaterOrEqual(t, p.Live().Slot[4], 0, "the last knot is nobody's but the observer's")
	_, err = Sample(t.Context(), p, decay, []float64{1}, 1)
	require.NoError(t, err)
}
