package ode

import (
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The transposed plan is the transposed matrix, entry by entry, for every kind of instruction, term, port, draw, knot and
// tap.
func TestTransposeIsTheTransposedMatrix(t *testing.T) {
	p := handPlan(t, false)
	q, err := p.Transpose(1)
	require.NoError(t, err)
	require.NoError(t, q.Verify())
	f := newLinear(handDim, handTap)

	zeros := handInputs(p, 1)
	for _, v := range zeros {
		clear(v)
	}
	at0 := forwardRun(t, p, f, zeros)
	wanted := map[string]bool{}
	for _, port := range q.Inputs {
		wanted[port.Name] = true
	}

	type entry struct {
		to   string
		i    int
		from string
		j    int
	}
	matrix := map[entry]float64{}
	for _, from := range slices.Sorted(maps.Keys(zeros)) {
		for j := range zeros[from] {
			zeros[from][j] = 1
			for to, out := range forwardRun(t, p, f, zeros) {
				for i := range out {
					if wanted[to] {
						matrix[entry{to, i, from, j}] = out[i] - at0[to][i]
					}
				}
			}
			zeros[from][j] = 0
		}
	}

	at := handInputs(p, 3)
	cotangents := randomPorts(q.Inputs, 1)
	for _, v := range cotangents {
		clear(v)
	}
	nonzero := map[string]bool{}
	for to := range cotangents {
		for i := range cotangents[to] {
			cotangents[to][i] = 1
			got := transposedRun(t, p, q, f, at, Inputs[float64]{Ports: cotangents})
			require.ElementsMatch(t, slices.Collect(maps.Keys(zeros)), slices.Collect(maps.Keys(got)))
			for from := range got {
				for j := range got[from] {
					want := matrix[entry{to, i, from, j}]
					require.InDelta(t, want, got[from][j], 1e-12, "∂%s[%d]/∂%s[%d]", to, i, from, j)
					if want != 0 {
						nonzero[to], nonzero[from] = true, true
					}
				}
			}
			cotangents[to][i] = 0
		}
	}
	for _, name := range []string{"x", "y", "V@0", "V@1", "knot[1]", "noise[0]", "noise[1]"} {
		require.True(t, nonzero[name], "the test has nothing to say about %s", name)
	}
	require.False(t, nonzero["idle"], "an input that takes no part has gradient zero")
}

// The gradient of every number in the table, of the times and of a network parameter, and of the input through a dynamic
// clip, agrees with central differences. All but the clip's curvature is polynomial of low degree in each of them.
func TestGradientsOfTheTableAgreeWithDifferences(t *testing.T) {
	p := handPlan(t, true)
	q, err := p.Transpose(1, 2)
	require.NoError(t, err)
	f := newLinear(handDim, handTap)
	in := handInputs(p, 11)
	w := randomPorts(q.Inputs, 12)
	loss := func(p *Plan) float64 {
		sum := 0.0
		out := forwardRun(t, p, f, in)
		for name, c := range w {
			for i := range c {
				sum += c[i] * out[name][i]
			}
		}
		return sum
	}
	slope := func(x *float64, h float64, p *Plan) float64 {
		v := *x
		at := func(d float64) float64 {
			*x = v + d*h
			return loss(p)
		}
		d := (8*(at(1)-at(-1)) - (at(2) - at(-2))) / (12 * h)
		*x = v
		return d
	}

	table := make([]float64, len(p.Table()))
	times := make([]float64, p.NFE()*handBatch)
	scale := make([]float64, 1)
	got := transposedRun(t, p, q, f, in, Inputs[float64]{Ports: w, Table: table, Times: times, Params: map[string][]float64{"scale": scale}})

	const tolerance, h = 1e-9, 1e-3
	slot := 0
	for i := range p.Code {
		moved := *p
		moved.Code = slices.Clone(p.Code)
		in := &moved.Code[i]
		switch in.Op {
		case Combine:
			in.Terms = slices.Clone(in.Terms)
			for k := range in.Terms {
				require.InDelta(t, slope(&in.Terms[k].C, h, &moved), table[slot], tolerance, "instruction %d, term %d", i, k)
				slot++
			}
		case Evaluate:
			if in.Times == nil {
				d := slope(&in.T, h, &moved)
				require.InDelta(t, d, table[slot], tolerance, "time of evaluation %d", in.Index)
				require.InDelta(t, d, times[in.Index*handBatch]+times[in.Index*handBatch+1], tolerance)
				require.NotZero(t, d)
			} else {
				in.Times = slices.Clone(in.Times)
				for b := range in.Times {
					require.InDelta(t, slope(&in.Times[b], h, &moved), times[in.Index*handBatch+b], tolerance)
				}
				require.Zero(t, table[slot], "a time that is given a sample is not in the table")
			}
			slot++
		}
	}
	require.Equal(t, len(table), slot)
	require.InDelta(t, slope(&f.scale, h, p), scale[0], tolerance)
	for name, v := range in {
		for i := range v {
			require.InDelta(t, slope(&v[i], h, p), got[name][i], tolerance, "%s[%d]", name, i)
		}
	}
}

// In a transposed chain every register's cotangent is one sum, and a sum of one thing with factor one is that thing.
func TestTransposeEmitsOneCombinePerRegister(t *testing.T) {
	p := handPlan(t, false)
	q, err := p.Transpose()
	require.NoError(t, err)
	require.NoError(t, q.Verify())
	zeros := 0
	for _, in := range q.Code {
		if in.Op != Combine {
			continue
		}
		if len(in.Terms) == 0 {
			zeros++
		}
		if len(in.Terms) == 1 {
			require.False(t, in.plain() && in.Terms[0].C == 1, "a copy")
		}
	}
	require.Equal(t, 1, zeros, "only the idle input needs zeros")
	alias, ok := q.Cotangent(4)
	require.True(t, ok)
	noise, _ := q.Output("noise[0]")
	require.Equal(t, noise, alias)
	_, ok = q.Cotangent(2)
	require.False(t, ok, "an input that takes no part has no cotangent register")
}

func TestTransposeSkipsWhatTakesNoPart(t *testing.T) {
	p := &Plan{Name: "two", Schedule: Flow{}, Raw: FlowVelocity, Regs: 4, Inputs: []Port{{"x", 0}}, Outputs: []Port{{"x", 2}},
		Code: []Instr{
			{Op: Evaluate, Dst: 1, Src: 0, T: .5},
			{Op: Combine, Dst: 2, Terms: []Term{{Reg: 0, C: 2}, {Reg: 1, C: 1}}},
			{Op: Evaluate, Dst: 3, Src: 2, T: .4, Index: 1, Step: 1},
		},
		Knots: []Knot{{.5, 0}, {.4, 2}, {.3, 3}}}
	require.NoError(t, p.Verify())
	q, err := p.Transpose()
	require.NoError(t, err)
	require.Equal(t, 1, q.count(Pull), "the last evaluation only serves a knot")

	x := map[string][]float64{"x": make([]float64, handBatch*handDim)}
	times := []float64{1, 1, 1, 1}
	transposedRun(t, p, q, newLinear(handDim, handTap), x, Inputs[float64]{Ports: x, Times: times})
	require.Equal(t, []float64{0, 0, 0, 0}, times, "what is not pulled has gradient zero, whatever was there")

	q, err = p.Transpose(2)
	require.NoError(t, err)
	require.Equal(t, 2, q.count(Pull))
}

func TestOnlyDropsWhatServedOtherOutputs(t *testing.T) {
	p := handPlan(t, false)
	q, err := p.Transpose(1)
	require.NoError(t, err)
	one, err := q.Only("y")
	require.NoError(t, err)
	require.NoError(t, one.Verify())
	require.Less(t, len(one.Code), len(q.Code))
	require.Equal(t, q.count(Pull), one.count(Pull))

	f := newLinear(handDim, handTap)
	in, w := handInputs(p, 5), randomPorts(q.Inputs, 6)
	whole, some := make([]float64, len(p.Table())), make([]float64, len(p.Table()))
	want := transposedRun(t, p, q, f, in, Inputs[float64]{Ports: w, Table: whole})
	got := transposedRun(t, p, one, f, in, Inputs[float64]{Ports: w, Table: some})
	require.Equal(t, want["y"], got["y"])
	require.Equal(t, whole, some)
	require.Len(t, got, 1)

	// Dropping a draw's cotangent in every step shifts the code by more than one evaluation.
	sde, err := DDIM{Eta: .7}.Plan(Problem{Schedule: VPLinear{}, Raw: Velocity, Knots: []float64{.9, .8, .7, .6, .5, .4, .3}})
	require.NoError(t, err)
	all, err := sde.Transpose()
	require.NoError(t, err)
	one, err = all.Only("x")
	require.NoError(t, err)
	in, w = handInputs(sde, 7), randomPorts(all.Inputs, 8)
	whole, some = make([]float64, len(sde.Table())), make([]float64, len(sde.Table()))
	transposedRun(t, sde, all, f, in, Inputs[float64]{Ports: w, Table: whole})
	transposedRun(t, sde, one, f, in, Inputs[float64]{Ports: w, Table: some})
	require.Equal(t, whole, some)

	// The cotangent of 2·x serves nothing but the dropped x and the gradient of 2.
	p = &Plan{Name: "products", Schedule: Flow{}, Regs: 4, Inputs: []Port{{"x", 0}, {"y", 1}}, Outputs: []Port{{"x", 3}},
		Code: []Instr{
			{Op: Combine, Dst: 2, Terms: []Term{{Reg: 0, C: 2}}},
			{Op: Combine, Dst: 3, Terms: []Term{{Reg: 2, C: 3}, {Reg: 1, C: 5}}},
		}}
	require.NoError(t, p.Verify())
	q, err = p.Transpose()
	require.NoError(t, err)
	for _, outputs := range [][]string{{"x", "y"}, {"y"}, {"x"}, {}} {
		one, err = q.Only(outputs...)
		require.NoError(t, err)
		in := map[string][]float64{"x": {1, 1, 1, 1, 1, 1}, "y": {7, 0, 0, 0, 0, 0}}
		table := make([]float64, 3)
		got := transposedRun(t, p, one, f, in, Inputs[float64]{Ports: map[string][]float64{"x": {1, 0, 0, 0, 0, 1}}, Table: table})
		require.Equal(t, []float64{6, 4, 7}, table)
		require.Len(t, got, len(outputs))
	}

	_, err = q.Only("z")
	require.ErrorContains(t, err, `no output "z"`)
	_, err = p.Only("x")
	require.ErrorContains(t, err, "not a transposed plan")
}

func TestTransposeNamesWhatIsWrong(t *testing.T) {
	p := handPlan(t, false)
	for _, c := range []struct {
		knots []int
		want  string
	}{{[]int{3}, "knot 3 is not one of the 3"}, {[]int{-1}, "knot -1"}, {[]int{1, 1}, "twice"}} {
		_, err := p.Transpose(c.knots...)
		require.ErrorContains(t, err, c.want)
	}
	q, err := p.Transpose()
	require.NoError(t, err)
	_, err = q.Transpose()
	require.ErrorContains(t, err, "has no transpose")
}
