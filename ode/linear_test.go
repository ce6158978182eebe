package ode

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// linear is the network s·((A + t B) x + D V), with the tap V = C x. It is linear in everything, so that a whole plan is
// a matrix, and differences of any step are exact up to rounding.
type linear struct {
	dim, tap   int
	scale      float64
	a, b, c, d []float64 // row-major
	calls      int
}

func newLinear(dim, tap int) *linear {
	r := rand.New(rand.NewPCG(1, 2))
	m := func(n int) []float64 {
		v := make([]float64, n)
		for i := range v {
			v[i] = r.NormFloat64() / 2
		}
		return v
	}
	return &linear{dim: dim, tap: tap, scale: .8, a: m(dim * dim), b: m(dim * dim), c: m(tap * dim), d: m(dim * tap)}
}

func (f *linear) TapLen(name string) (int, bool) { return f.tap, name == "V" }

// addMul adds s·M x, or with transposed s·Mᵀ x, to dst.
func addMul(dst, m, x []float64, s float64, transposed bool) {
	for i := range len(dst) {
		for j := range len(x) {
			if transposed {
				dst[i] += s * m[j*len(dst)+i] * x[j]
			} else {
				dst[i] += s * m[i*len(x)+j] * x[j]
			}
		}
	}
}

func timeOf(c Call[float64], b int) float64 { return c.T[min(b, len(c.T)-1)] }

// raw is one sample of the network before the scale.
func (f *linear) raw(dst, v, x []float64, t float64, given []float64) {
	clear(dst)
	addMul(dst, f.a, x, 1, false)
	addMul(dst, f.b, x, t, false)
	clear(v)
	if given != nil {
		copy(v, given)
	} else {
		addMul(v, f.c, x, 1, false)
	}
	addMul(dst, f.d, v, 1, false)
}

func (f *linear) given(c Call[float64], b int) []float64 {
	if len(c.In) == 0 {
		return nil
	}
	return c.In[0].Data[b*f.tap : (b+1)*f.tap]
}

func (f *linear) Eval(dst, x []float64, c Call[float64]) error {
	f.calls++
	for b := range c.Batch {
		y, v := dst[b*f.dim:(b+1)*f.dim], make([]float64, f.tap)
		f.raw(y, v, x[b*f.dim:(b+1)*f.dim], timeOf(c, b), f.given(c, b))
		for i := range y {
			y[i] *= f.scale
		}
		for _, out := range c.Out {
			copy(out.Data[b*f.tap:], v)
		}
	}
	return nil
}

func (f *linear) VJP(g *Tangent[float64], cotangent, x []float64, c Call[float64]) error {
	f.calls++
	for b := range c.Batch {
		row := func(v []float64, n int) []float64 { return v[b*n : (b+1)*n] }
		y, v := make([]float64, f.dim), make([]float64, f.tap)
		f.raw(y, v, row(x, f.dim), timeOf(c, b), f.given(c, b))
		cot := row(cotangent, f.dim)
		if g.Value != nil {
			for i := range y {
				g.Value[b*f.dim+i] = f.scale * y[i]
			}
		}
		if s := g.Params["scale"]; s != nil {
			for i := range y {
				s[0] += cot[i] * y[i]
			}
		}
		if g.T != nil {
			g.T[b] = 0
			bx := make([]float64, f.dim)
			addMul(bx, f.b, row(x, f.dim), f.scale, false)
			for i := range bx {
				g.T[b] += cot[i] * bx[i]
			}
		}
		toV := make([]float64, f.tap)
		addMul(toV, f.d, cot, f.scale, true)
		for _, out := range g.Out {
			for i, w := range row(out.Data, f.tap) {
				toV[i] += w
			}
		}
		dx := make([]float64, f.dim)
		addMul(dx, f.a, cot, f.scale, true)
		addMul(dx, f.b, cot, f.scale*timeOf(c, b), true)
		if len(c.In) > 0 {
			copy(row(g.In[0].Data, f.tap), toV)
		} else {
			addMul(dx, f.c, toV, 1, true)
		}
		if g.X != nil {
			copy(row(g.X, f.dim), dx)
		}
	}
	return nil
}

func (f *linear) JVP(_, _ []float64, _ Call[float64], _ *Tangent[float64]) error { panic("not used") }
func (f *linear) Parameters(int) []Parameter                                     { return []Parameter{{Name: "scale", Shape: []int{1}}} }
func (f *linear) Load(string, []float64) error                                   { return nil }
func (f *linear) Store(string, []float64) error                                  { return nil }

const (
	handBatch = 2
	handDim   = 3
	handTap   = 4
)

// handPlan has every kind of instruction, term and port. Without clip it is affine in its inputs and draws.
func handPlan(t testing.TB, clipped bool) *Plan {
	t.Helper()
	samples, elements := []float64{.5, -1.5}, []float64{1, 2, -.5}
	code := []Instr{
		{Op: Evaluate, Dst: 3, Src: 0, T: .9, Index: 0},
		{Op: Draw, Dst: 4, Index: 0, From: .9, To: .5},
		{Op: Combine, Dst: 5, Bias: []float64{.1, .2, .3}, Terms: []Term{
			{Reg: 0, C: .5}, {Reg: 3, C: 1, Elements: elements}, {Reg: 4, C: -.7, Samples: samples}, {Reg: 1, C: 1}}},
		{Op: Evaluate, Dst: 6, Src: 5, T: .5, Times: []float64{.45, .55}, Index: 1, Step: 1},
		{Op: Draw, Dst: 7, Index: 1, From: .5, To: .1, Step: 1},
		{Op: Combine, Dst: 8, Step: 1, Terms: []Term{{Reg: 5, C: 1}}},
		{Op: Combine, Dst: 9, Step: 1, Terms: []Term{
			{Reg: 6, C: .2, Elements: elements, Samples: samples}, {Reg: 8, C: 1.1}, {Reg: 7, C: .4}, {Reg: 0, C: -.25}}},
		{Op: Evaluate, Dst: 10, Src: 9, T: .2, Index: 2, Step: 1},
		{Op: Combine, Dst: 11, Step: 1, Terms: []Term{{Reg: 9, C: .9}, {Reg: 10, C: .4}, {Reg: 8, C: 0}}},
	}
	last := Reg(11)
	if clipped {
		code = append(code, Instr{Op: Clip, Dst: 12, Src: 11, Step: 1, Clip: Clipping{Max: .3, Quantile: .6}})
		last = 12
	}
	p := &Plan{
		Name: "hand", Schedule: Flow{}, Raw: FlowVelocity, Order: 1, Regs: 13,
		Inputs:  []Port{{"x", 0}, {"y", 1}, {"idle", 2}},
		Outputs: []Port{{"x", last}, {"y", 8}},
		Code:    code,
		Knots:   []Knot{{.9, 0}, {.5, 5}, {.1, last}},
	}
	p, err := p.Share(Share{"V", 0, 2}, Share{"V", -1, 1}, Share{"V", 1, -1}, Share{"V", 0, -1})
	require.NoError(t, err)
	require.NoError(t, p.Verify())
	return p
}

// ports returns random values for ports, 1 to 2 standard deviations of the states this plan meets.
func randomPorts(ports []Port, seed uint64) map[string][]float64 {
	r := rand.New(rand.NewPCG(seed, 7))
	values := map[string][]float64{}
	for _, p := range ports {
		n := handBatch * handDim
		if TapOfPort(p.Name) != "" {
			n = handBatch * handTap
		}
		values[p.Name] = make([]float64, n)
		for i := range values[p.Name] {
			values[p.Name][i] = r.NormFloat64()
		}
	}
	return values
}

func outputsOf(r *Runner[float64], p *Plan) map[string][]float64 {
	values := map[string][]float64{}
	for _, out := range p.Outputs {
		values[out.Name] = slices.Clone(r.Output(out.Name))
	}
	return values
}

// forwardRun runs a forward plan with its draws given as ports named noise[k], and gives the state at a knot as knot[k].
func forwardRun(t testing.TB, p *Plan, f Field[float64], in map[string][]float64) map[string][]float64 {
	t.Helper()
	keep := make([]Reg, len(p.Knots))
	for i, k := range p.Knots {
		keep[i] = k.Reg
	}
	r, err := NewRunner[float64](p, handBatch, handDim, keep...)
	require.NoError(t, err)
	ports := map[string][]float64{}
	noise := make(Given[float64], p.Draws())
	for k := range noise {
		noise[k] = in[fmt.Sprintf("noise[%d]", k)]
	}
	for _, port := range p.Inputs {
		ports[port.Name] = in[port.Name]
	}
	require.NoError(t, r.Run(context.Background(), f, Inputs[float64]{Ports: ports, Noise: noise}))
	out := outputsOf(r, p)
	for i, k := range p.Knots {
		out[fmt.Sprintf("knot[%d]", i)] = slices.Clone(r.Reg(k.Reg))
	}
	return out
}

// handInputs gives a value for everything handPlan takes, draws included.
func handInputs(p *Plan, seed uint64) map[string][]float64 {
	ports := slices.Clone(p.Inputs)
	for k := range p.Draws() {
		ports = append(ports, Port{Name: fmt.Sprintf("noise[%d]", k)})
	}
	return randomPorts(ports, seed)
}

// transposedRun runs the transposed plan at the forward run's values.
func transposedRun(t testing.TB, p, q *Plan, f Field[float64], in map[string][]float64, back Inputs[float64]) map[string][]float64 {
	t.Helper()
	forward, err := NewRunner[float64](p, handBatch, handDim, q.Needs(true)...)
	require.NoError(t, err)
	ports := map[string][]float64{}
	noise := make(Given[float64], p.Draws())
	for k := range noise {
		noise[k] = in[fmt.Sprintf("noise[%d]", k)]
	}
	for _, port := range p.Inputs {
		ports[port.Name] = in[port.Name]
	}
	require.NoError(t, forward.Run(context.Background(), f, Inputs[float64]{Ports: ports, Noise: noise}))
	r, err := NewRunner[float64](q, handBatch, handDim)
	require.NoError(t, err)
	back.Forward = forward.Reg
	require.NoError(t, r.Run(context.Background(), f, back))
	return outputsOf(r, q)
}
