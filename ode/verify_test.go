package ode

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// euler is DDIM of two steps on Flow for a flow velocity, written out.
func euler() *Plan {
	return &Plan{
		Name: "euler", Schedule: Flow{}, Raw: FlowVelocity, Order: 1, Exact: true, Regs: 5,
		Inputs: []Port{{"x", 0}}, Outputs: []Port{{"x", 4}},
		Code: []Instr{
			{Op: Evaluate, Dst: 1, Src: 0, T: .9},
			{Op: Combine, Dst: 2, Terms: []Term{{Reg: 0, C: 1}, {Reg: 1, C: .5 - .9}}},
			{Op: Evaluate, Dst: 3, Src: 2, T: .5, Index: 1, Step: 1},
			{Op: Combine, Dst: 4, Step: 1, Terms: []Term{{Reg: 2, C: 1}, {Reg: 3, C: .1 - .5}}},
		},
		Knots: []Knot{{.9, 0}, {.5, 2}, {.1, 4}},
	}
}

func TestVerifyNamesEveryFault(t *testing.T) {
	require.NoError(t, euler().Verify())
	nan, inf := math.NaN(), math.Inf(1)
	for _, c := range []struct {
		reason string
		spoil  func(*Plan)
		want   string
	}{
		{"no schedule to check times with", func(p *Plan) { p.Schedule = nil }, "Schedule is nil"},
		{"fewer registers than none", func(p *Plan) { p.Regs = -1 }, "there are -1 registers"},
		{"nothing to compute", func(p *Plan) { p.Outputs = nil }, "no output"},
		{"a port nobody can name", func(p *Plan) { p.Inputs[0].Name = "" }, "input has no name"},
		{"an output nobody can name", func(p *Plan) { p.Outputs[0].Name = "" }, "output has no name"},
		{"ports that cannot be told apart", func(p *Plan) { p.Outputs = append(p.Outputs, Port{"x", 2}) }, `two outputs have the name "x"`},
		{"a port outside the registers", func(p *Plan) { p.Outputs[0].Reg = 5 }, `output "x" is register 5 of 5`},
		{"two inputs in one register", func(p *Plan) { p.Inputs = append(p.Inputs, Port{"y", 0}) }, "the inputs: writes register 0 a second time"},
		{"an output never written", func(p *Plan) { p.Regs = 6; p.Outputs[0].Reg = 5 }, "nothing writes"},
		{"a second assignment", func(p *Plan) { p.Code[1].Dst = 1 }, "instruction 1 (combine, step 0) writes register 1 a second time"},
		{"an input overwritten", func(p *Plan) { p.Code[1].Dst = 0 }, "writes register 0 a second time"},
		{"a register outside", func(p *Plan) { p.Code[1].Dst = 9 }, "writes register 9 of 5"},
		{"a read of the future", func(p *Plan) { p.Code[1].Terms[1].Reg = 3 }, "reads register 3 before it is written"},
		{"a read outside", func(p *Plan) { p.Code[0].Src = -1 }, "reads register -1 of 5"},
		{"a read of itself", func(p *Plan) { p.Code[1].Terms[1].Reg = 2 }, "reads register 2 before"},
		{"evaluations out of order", func(p *Plan) { p.Code[2].Index = 2 }, "is evaluation 2, next in order is 1"},
		{"a coefficient that is no number", func(p *Plan) { p.Code[1].Terms[0].C = nan }, "has coefficient NaN"},
		{"an infinite element factor", func(p *Plan) { p.Code[1].Terms[0].Elements = []float64{1, inf} }, "has element factor +Inf"},
		{"an infinite sample factor", func(p *Plan) { p.Code[1].Terms[0].Samples = []float64{inf} }, "has sample factor +Inf"},
		{"a bias that is no number", func(p *Plan) { p.Code[1].Bias = []float64{nan} }, "has bias NaN"},
		{"a time that is no number", func(p *Plan) { p.Code[0].T = nan }, "calls the network at NaN"},
		{"a time outside the domain", func(p *Plan) { p.Code[0].T = 1.5 }, "calls the network at 1.5, outside the domain of the schedule [0, 1]"},
		{"a sample's time outside the domain", func(p *Plan) { p.Code[0].Times = []float64{.5, -1} }, "calls the network at -1"},
		{"a nominal time that is no number", func(p *Plan) { p.Code[0].Times, p.Code[0].T = []float64{.5}, nan }, "has time NaN"},
		{"the zero Op", func(p *Plan) { p.Code[1].Op = 0 }, "unknown Op 0"},
		{"an Op from elsewhere", func(p *Plan) { p.Code[1].Op = 77 }, "unknown Op 77"},
		{"the reserved Op", func(p *Plan) { p.Code[1].Op = Solve }, "reserved"},
		{"a knot outside the registers", func(p *Plan) { p.Knots[1].Reg = -1 }, "knot 1 is register -1 of 5"},
		{"a knot never written", func(p *Plan) { p.Regs = 6; p.Knots[1].Reg = 5 }, "knot 1 is register 5, which nothing writes"},
		{"a knot outside the domain", func(p *Plan) { p.Knots[1].T = -.5 }, "knot 1 is at -0.5, outside the domain"},
		{"a knot that is reached late", func(p *Plan) { p.Knots[1].Reg = 4 }, "knot 1 is register 4, which is not written by the end of step 0"},
		{"a step there is no knot for", func(p *Plan) { p.Code[3].Step = 2 }, "instruction 3 is of step 2, there are 3 knots"},
		{"a step before the first", func(p *Plan) { p.Code[0].Step = -1 }, "instruction 0 is of step -1"},
		{"steps out of order", func(p *Plan) { p.Code[0].Step = 1 }, "instruction 1 is of step 0 and follows step 1"},
		{"an evaluation for nothing", func(p *Plan) { p.Code[3].Terms[1].Reg = 1 }, "evaluation 1 (instruction 2) takes part in no output and no knot"},
		{"a draw out of order", func(p *Plan) { p.Code[0] = Instr{Op: Draw, Dst: 1, Index: 1} }, "is draw 1, next in order is 0"},
		{"a draw over no interval", func(p *Plan) { p.Code[0] = Instr{Op: Draw, Dst: 1, To: inf} }, "has interval end +Inf"},
		{"a clip to nothing", func(p *Plan) { p.Code[1] = Instr{Op: Clip, Dst: 2, Src: 1} }, "clips to Max 0"},
		{"a quantile past the largest", func(p *Plan) { p.Code[1] = Instr{Op: Clip, Dst: 2, Src: 1, Clip: Clipping{Max: 1, Quantile: 2}} }, "clips at the quantile 2"},
		{"a tap without a name", func(p *Plan) { p.Code[0].Out = []Port{{"", 5}}; p.Regs = 6 }, `has a tap named ""`},
		{"a tap twice", func(p *Plan) { p.Code[0].Out = []Port{{"V", 5}, {"V", 6}}; p.Regs = 7 }, `has the tap "V" twice`},
		{"a tap used as a state", func(p *Plan) { p.Code[0].Out = []Port{{"V", 5}}; p.Regs = 6; p.Code[1].Terms[1].Reg = 5 }, `a register that holds the tap "V"`},
		{"a tap used as another", func(p *Plan) { p.Code[0].Out = []Port{{"V", 5}}; p.Regs = 6; p.Code[2].In = []Port{{"K", 5}} }, `needs the tap "K"`},
		{"a state given out as a tap", func(p *Plan) { p.Outputs = append(p.Outputs, Port{"V@1", 2}) }, `output "V@1" is to hold the tap "V", its register holds a state`},
		{"pulls in the order of the evaluations", func(p *Plan) { p.Code[0].Op, p.Code[2].Op = Pull, Pull }, "pulls evaluation 1 after 0"},
		{"a pull at no register", func(p *Plan) { p.Code[0].Op, p.Code[0].At = Pull, -1 }, "is at forward register -1"},
		{"a pull that lost a tap", func(p *Plan) { p.Code[0].Op, p.Code[0].AtIn = Pull, []Port{{"V", 0}} }, "has 1 taps at and 0 cotangents"},
		{"a clip pulled at no register", func(p *Plan) { p.Code[0] = Instr{Op: PullClip, Dst: 1, At: -1, Clip: Clipping{Max: 1}} }, "is at forward register -1"},
		{"an exact plan with statistics", func(p *Plan) { p.Code[1].Bias = []float64{1} }, "instruction 1 has fields of coefficients"},
		{"an exact plan with a time a sample", func(p *Plan) { p.Code[0].Times = []float64{.9} }, "evaluation 0 has a time for each sample"},
		{"an exact plan with pulls", func(p *Plan) { p.Code[1] = Instr{Op: PullClip, Dst: 2, Src: 1, Clip: Clipping{Max: 1}} }, "instruction 1 is pullclip"},
		{"an infinite prediction", func(p *Plan) { p.Raw, p.Code[0].T = Score, 0 }, "evaluation 0 at 0"},
	} {
		p := euler()
		c.spoil(p)
		require.ErrorContains(t, p.Verify(), c.want, c.reason)
	}
}

// A wrong number anywhere in the table is caught at construction, and the error says where.
func TestTheKnotCheckCatchesEveryWrongCoefficient(t *testing.T) {
	for i, in := range euler().Code {
		for k := range in.Terms {
			p := euler()
			p.Code[i].Terms[k].C *= 1.01
			require.ErrorContains(t, p.KnotError(), "knot check: at knot", "instruction %d, term %d", i, k)
			p.Exact = false
			require.NoError(t, p.Verify())
		}
	}
	p := euler()
	p.Code[1].Terms[1].C *= 1 + 1e-8
	require.EqualError(t, p.KnotError(), "knot check: at knot 1 (t=0.5) the coefficient of x_0 is 0.500000004, but α is 0.5")
	p = euler()
	p.Code[1].Terms = []Term{{Reg: 0, C: 1}, {Reg: 1, C: -.4}, {Reg: 4, C: .01}}
	p.Code = slices.Insert(p.Code, 1, Instr{Op: Draw, Dst: 4})
	p.Code[4].Dst, p.Regs, p.Outputs[0].Reg, p.Knots[2].Reg = 5, 6, 5, 5
	require.EqualError(t, p.KnotError(), "knot check: at knot 1 (t=0.5) the variance of the noise is 0.2501, but σ² is 0.25")
}

// A Denoiser is called at noise levels, in coordinates where α is 1.
func TestADenoiserIsCalledOutsideTheDomain(t *testing.T) {
	p := &Plan{Name: "denoiser", Schedule: Flow{}, Raw: Denoiser, Exact: true, Regs: 4, Inputs: []Port{{"x", 0}}, Outputs: []Port{{"x", 3}},
		Code: []Instr{
			{Op: Combine, Dst: 1, Terms: []Term{{Reg: 0, C: 1 / (1 - .9)}}},
			{Op: Evaluate, Dst: 2, Src: 1, T: .9 / (1 - .9)},
			{Op: Combine, Dst: 3, Terms: []Term{{Reg: 0, C: .5 / .9}, {Reg: 2, C: .5 - .1*.5/.9}}},
		},
		Knots: []Knot{{.9, 0}, {.5, 3}}}
	require.NoError(t, p.Verify())
	p.Raw = Data
	require.ErrorContains(t, p.Verify(), "outside the domain")
}

// No code, however wrong, makes Verify or String panic, and what Verify accepts can be transposed and laid out.
func FuzzVerify(f *testing.F) {
	f.Add(uint64(1), uint8(5))
	f.Add(uint64(77), uint8(0))
	f.Fuzz(func(t *testing.T, seed uint64, size uint8) {
		checkRandomPlan(seed, int(size%12))
	})
}

func TestRandomCodeNeverPanics(t *testing.T) {
	accepted := 0
	for seed := range uint64(20000) {
		if checkRandomPlan(seed, int(seed%6)) {
			accepted++
		}
	}
	require.Greater(t, accepted, 100, "the test has to reach what comes after Verify")
}

func checkRandomPlan(seed uint64, size int) bool {
	r := rand.New(rand.NewPCG(seed, 3))
	wild := r.IntN(3) == 0
	next := 0
	reg := func() Reg {
		if wild {
			return Reg(r.IntN(12) - 2)
		}
		return Reg(r.IntN(max(1, next)))
	}
	fresh := func() Reg {
		if wild {
			return reg()
		}
		next++
		return Reg(next - 1)
	}
	number := func() float64 {
		return []float64{0, 1, -1, .5, .1, math.NaN(), math.Inf(1)}[r.IntN(map[bool]int{true: 7, false: 5}[wild])]
	}
	ports := func(reg func() Reg) []Port {
		var list []Port
		for range r.IntN(2) * r.IntN(3) {
			list = append(list, Port{[]string{"V", "K", "", "V@1"}[r.IntN(map[bool]int{true: 4, false: 2}[wild])], reg()})
		}
		return list
	}
	p := &Plan{Schedule: Flow{}, Raw: Prediction(r.IntN(6)), Exact: r.IntN(2) == 0, Inputs: []Port{{"x", fresh()}}}
	for range size {
		in := Instr{Op: Op(r.IntN(9)), Src: reg(), At: reg(), T: math.Abs(number()), Index: r.IntN(2), From: number(), To: number(), Step: r.IntN(2) * r.IntN(2)}
		if !wild {
			in.Op, in.Index, in.Step = []Op{Combine, Combine, Evaluate, Draw, Clip}[r.IntN(5)], 0, 0
			in.Index = p.count(in.Op)
		}
		in.Clip = Clipping{Max: math.Abs(number()) + .1, Quantile: math.Abs(number())}
		for range r.IntN(4) {
			t := Term{Reg: reg(), C: number()}
			if r.IntN(6) == 0 {
				t.Elements = []float64{number()}
			}
			in.Terms = append(in.Terms, t)
		}
		in.In, in.AtIn = ports(reg), ports(reg)
		in.Dst = fresh()
		in.Out = ports(fresh)
		p.Code = append(p.Code, in)
	}
	p.Regs = next
	if wild {
		p.Regs = r.IntN(12)
	}
	p.Outputs = []Port{{"x", reg()}, {"y", reg()}}
	for range r.IntN(3) {
		p.Knots = append(p.Knots, Knot{number(), reg()})
	}
	_ = p.String()
	if p.Verify() != nil {
		return false
	}
	p.Live()
	if q, err := p.Transpose(); err == nil {
		_ = q.String()
		if err := q.Verify(); err != nil {
			panic("the transpose of a good plan is not one: " + err.Error() + "\n" + p.String() + q.String())
		}
		q.Live()
	}
	return true
}
