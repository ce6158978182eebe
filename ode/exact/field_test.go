package exact

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/ebb-go/ebb/ode"
)

func newField(t testing.TB, m Model, s ode.Schedule, want ode.Prediction) *Field[float64] {
	t.Helper()
	f, err := NewField[float64](m, s, want)
	require.NoError(t, err)
	return f
}

// jacobian is ∂raw/∂x, row by row, from JVP.
func jacobian(t *testing.T, m Model, s ode.Schedule, at float64, want ode.Prediction, x []float64) [][]float64 {
	t.Helper()
	f := newField(t, m, s, want)
	n := len(x)
	rows := make([][]float64, n)
	for i := range rows {
		rows[i] = make([]float64, n)
	}
	column := make([]float64, n)
	for j := range n {
		unit := make([]float64, n)
		unit[j] = 1
		require.NoError(t, f.JVP(column, x, call(1, at), &ode.Tangent[float64]{X: unit}))
		for i := range n {
			rows[i][j] = column[i]
		}
	}
	return rows
}

func call(batch int, times ...float64) ode.Call[float64] {
	return ode.Call[float64]{Batch: batch, T: times}
}

// coordinates are the time and sample a field of the prediction is called with.
func coordinates(s ode.Schedule, t float64, x []float64, want ode.Prediction) (float64, []float64) {
	if want != ode.Denoiser {
		return t, x
	}
	at := s.At(t)
	scaled := make([]float64, len(x))
	for i := range x {
		scaled[i] = x[i] / at.Alpha
	}
	return at.Sigma / at.Alpha, scaled
}

func along(x, direction []float64, h float64) []float64 {
	y := make([]float64, len(x))
	for i := range x {
		y[i] = x[i] + h*direction[i]
	}
	return y
}

// room is how far a difference in time may go: on ode.Discrete to the next kink, else with the scale of time.
func room(s ode.Schedule, t float64, want ode.Prediction) float64 {
	if _, noise := s.Domain(); want != ode.Denoiser && !math.IsInf(noise, 1) {
		return min(t, noise-t, .25)
	}
	return t
}

// 2e-9 is what a five-point difference reaches on functions that lose up to three digits (σ = 0.1 on a mixture of
// deviations 0.16, and d/dt at small t): (1e-16·1e3)^(4/5) = 6e-11 times constants of some tens.
const byDifferences = 2e-9

func TestEveryDerivativeAgreesWithDifferences(t *testing.T) {
	for _, m := range models() {
		for _, p := range points() {
			for _, want := range predictions {
				f := newField(t, m.model, p.s, want)
				time, x := coordinates(p.s, p.t, typical(m.model, p.s.At(p.t), 6), want)
				value := func(x []float64, time float64) []float64 {
					dst := make([]float64, len(x))
					require.NoError(t, f.Eval(dst, x, call(1, time)))
					return dst
				}
				jvp := func(d ode.Tangent[float64]) []float64 {
					dst := make([]float64, len(x))
					require.NoError(t, f.JVP(dst, x, call(1, time), &d))
					return dst
				}
				claim := func(to string, worst float64) {
					t.Helper()
					require.Less(t, worst, byDifferences, "%s, %v, %T at %v, with respect to %s", m.name, want, p.s, p.t, to)
				}

				d := normals(len(x), 1)
				at := p.s.At(p.t)
				claim("x", differs(func(h float64) []float64 { return value(along(x, d, h), time) }, jvp(ode.Tangent[float64]{X: d}), at.Sigma+.1*at.Alpha))
				claim("t", differs(func(h float64) []float64 { return value(x, time+h) }, jvp(ode.Tangent[float64]{T: []float64{1}}), room(p.s, time, want)))
				for _, q := range f.Parameters(1) {
					now := make([]float64, q.Len())
					require.NoError(t, f.Load(q.Name, now))
					d := normals(q.Len(), 2)
					for i := range d {
						// Relative, so that variances stay positive; a point mass has no room below.
						if q.Name != "mean" && q.Name != "means" {
							d[i] *= now[i]
						}
					}
					analytic := jvp(ode.Tangent[float64]{Params: map[string][]float64{q.Name: d}})
					claim(q.Name, differs(func(h float64) []float64 {
						require.NoError(t, f.Store(q.Name, along(now, d, h)))
						return value(x, time)
					}, analytic, .3))
					require.NoError(t, f.Store(q.Name, now))
				}
			}
		}
	}
}

func TestVJPIsTheTransposeOfJVP(t *testing.T) {
	const batch = 3
	for _, m := range models() {
		for _, p := range points() {
			for _, want := range predictions {
				f := newField(t, m.model, p.s, want)
				n := m.model.Dim()
				c := ode.Call[float64]{Batch: batch}
				var x []float64
				for i := range batch { // a time a sample, the noise end among them
					_, end := p.s.Domain()
					if math.IsInf(end, 1) || want == ode.Denoiser { // whose coordinates put α = 0 infinitely far
						end = .5 * p.t
					}
					own := []float64{p.t, .7 * p.t, end}[i]
					time, sample := coordinates(p.s, own, typical(m.model, p.s.At(own), uint64(i)), want)
					c.T, x = append(c.T, time), append(x, sample...)
				}
				d := ode.Tangent[float64]{X: normals(batch*n, 1), T: normals(batch, 2), Params: map[string][]float64{}}
				g := ode.Tangent[float64]{X: make([]float64, batch*n), T: make([]float64, batch), Params: map[string][]float64{}}
				for _, q := range f.Parameters(batch) {
					d.Params[q.Name] = normals(q.Len(), 3)
					g.Params[q.Name] = make([]float64, q.Len())
				}
				u, forward := normals(batch*n, 4), make([]float64, batch*n)
				require.NoError(t, f.JVP(forward, x, c, &d))
				require.NoError(t, f.VJP(&g, u, x, c))
				terms := []float64{dot(g.X, d.X), dot(g.T, d.T)}
				for name := range d.Params {
					terms = append(terms, dot(g.Params[name], d.Params[name]))
				}
				var sum, size float64
				for _, v := range terms {
					sum, size = sum+v, size+math.Abs(v)
				}
				require.InDelta(t, 0, (dot(u, forward)-sum)/size, 1e-12, "%s, %v, %v", m.name, want, p)
			}
		}
	}
}

func TestTheNoiseOfADistributionHasASymmetricJacobian(t *testing.T) {
	for _, m := range []Model{mixture2(), mixture5()} {
		j := jacobian(t, m, ode.VPLinear{}, .3, ode.Noise, typical(m, ode.VPLinear{}.At(.3), 1))
		for r := range j {
			for c := range r {
				require.InDelta(t, j[r][c], j[c][r], 1e-14)
			}
		}
	}
	b := models()[4].model
	j := jacobian(t, b, ode.VPLinear{}, .3, ode.Noise, typical(b, ode.VPLinear{}.At(.3), 1))
	require.Zero(t, j[0][1])
	require.Greater(t, math.Abs(j[1][0]), .01, "the bump would not tell a matrix from its transpose")
}

// curved is ode.VPLinear with its second derivatives.
type curved struct{ ode.VPLinear }

func (c curved) Curvature(t float64) (ddAlpha, ddSigma float64) {
	pt := c.At(t)
	rate, drate := -(19.9*t+.1)/2, -19.9/2 // of ln α
	ddAlpha = pt.Alpha * (rate*rate + drate)
	// From α² + σ² = 1 differentiated twice.
	return ddAlpha, -(pt.DAlpha*pt.DAlpha + pt.Alpha*ddAlpha + pt.DSigma*pt.DSigma) / pt.Sigma
}

func TestDifferencesStandInForCurvature(t *testing.T) {
	for _, at := range []float64{1e-5, 1e-3, .1, .5, .99, 1} {
		a, s := curved{}.Curvature(at)
		da, ds := curvature(ode.VPLinear{}, at)
		size := 1e-10 * (math.Abs(a) + math.Abs(s))
		require.InDelta(t, a, da, size, "α'' at %v", at)
		require.InDelta(t, s, ds, size, "σ'' at %v", at)
	}
	for _, at := range []float64{0, .3, 1} {
		da, ds := curvature(ode.Flow{}, at)
		require.Zero(t, da)
		require.Zero(t, ds)
	}
	da, ds := curvature(ode.EDM{}, 0)
	require.Zero(t, da)
	require.Zero(t, ds)
	a, s := curved{}.Curvature(.5)
	da, ds = curvature(curved{}, .5)
	require.Equal(t, [2]float64{a, s}, [2]float64{da, ds}, "what a schedule knows is not approximated")
}

func TestAFieldIsThePredictionOfItsModel(t *testing.T) {
	m := mixture2()
	for _, want := range predictions {
		f := newField(t, m, ode.VPLinear{}, want)
		x := typical(m, ode.VPLinear{}.At(.4), 1)
		time, scaled := coordinates(ode.VPLinear{}, .4, x, want)
		got := make([]float64, 2)
		require.NoError(t, f.Eval(got, scaled, call(1, time)))
		require.InDeltaSlice(t, predicted(t, m, scaled, ode.VPLinear{}.At(.4), want), got, 1e-14)
	}
}

func TestASampleDoesNotDependOnItsBatch(t *testing.T) {
	m := mixture5()
	f := newField(t, m, ode.VPLinear{}, ode.FlowVelocity)
	x := normals(3*5, 1)
	times := []float64{.2, .9, .2}
	whole, g := make([]float64, 15), ode.Tangent[float64]{X: make([]float64, 15), T: make([]float64, 3)}
	require.NoError(t, f.Eval(whole, x, call(3, times...)))
	require.NoError(t, f.VJP(&g, x, x, call(3, times...)))
	for i := range 3 {
		part := x[i*5 : (i+1)*5]
		alone, own := make([]float64, 5), ode.Tangent[float64]{X: make([]float64, 5), T: make([]float64, 1)}
		require.NoError(t, f.Eval(alone, part, call(1, times[i])))
		require.NoError(t, f.VJP(&own, part, part, call(1, times[i])))
		require.Equal(t, whole[i*5:(i+1)*5], alone)
		require.Equal(t, g.X[i*5:(i+1)*5], own.X)
		require.Equal(t, g.T[i], own.T[0])
	}
	shared := make([]float64, 15)
	require.NoError(t, f.Eval(whole, x, call(3, .3, .3, .3)))
	require.NoError(t, f.Eval(shared, x, call(3, .3)))
	require.Equal(t, whole, shared)
}

func TestTangentsAreWrittenAsDocumented(t *testing.T) {
	m := mixture2()
	f := newField(t, m, ode.VPLinear{}, ode.Noise)
	x, u := normals(4, 1), normals(4, 2)
	c := call(2, .3)
	value := make([]float64, 4)
	require.NoError(t, f.Eval(value, x, c))

	g := ode.Tangent[float64]{X: make([]float64, 4), T: make([]float64, 2), Value: make([]float64, 4), Params: map[string][]float64{"means": make([]float64, 6), "weights": nil}}
	require.NoError(t, f.VJP(&g, u, x, c))
	require.Equal(t, value, g.Value)
	once := append([]float64(nil), g.Params["means"]...)
	onceX := append([]float64(nil), g.X...)
	require.NoError(t, f.VJP(&g, u, x, c))
	require.Equal(t, onceX, g.X, "X is overwritten")
	for i := range once {
		require.Equal(t, 2*once[i], g.Params["means"][i], "parameters are added to")
	}

	d := ode.Tangent[float64]{Value: make([]float64, 4)}
	still := normals(4, 3)
	require.NoError(t, f.JVP(still, x, c, &d))
	require.Equal(t, make([]float64, 4), still, "nil directions are zero")
	require.Equal(t, value, d.Value)
}

func TestStoreChangesTheModel(t *testing.T) {
	m := mixture2()
	f := newField(t, m, ode.VPLinear{}, ode.Score)
	x := normals(2, 1)
	before, got := make([]float64, 2), make([]float64, 2)
	require.NoError(t, f.Eval(before, x, call(1, .3)))

	m.Means[0] = []float64{0, 0}
	require.NoError(t, f.Eval(got, x, call(1, .3)))
	require.Equal(t, before, got, "the field holds a copy")

	require.NoError(t, f.Store("means", []float64{0, 0, .979, 2.241, 1.868, -.977}))
	require.NoError(t, f.Store("weights", []float64{1, 2, 3}))
	require.NoError(t, f.Store("variances", []float64{1, .5, 2}))
	m.Weights, m.Variances = []float64{1, 2, 3}, []float64{1, .5, 2}
	require.NoError(t, f.Eval(got, x, call(1, .3)))
	require.Equal(t, predicted(t, m, x, ode.VPLinear{}.At(.3), ode.Score), got)

	require.ErrorContains(t, f.Store("weights", []float64{1, -2, 3}), "weights[1] is -2")
	require.ErrorContains(t, f.Store("variances", []float64{1, -2, 3}), "variances[1] is -2")
	require.ErrorContains(t, f.Store("means", make([]float64, 5)), "want 6, of shape [3 2]")
	require.ErrorContains(t, f.Store("mean", nil), `no parameter "mean"; want one of ["means" "weights" "variances"]`)
	weights := make([]float64, 3)
	require.NoError(t, f.Load("weights", weights))
	require.Equal(t, []float64{1, 2, 3}, weights, "a refused value leaves the old one")
}

func TestFloat32IsFloat64Rounded(t *testing.T) {
	m := mixture2()
	f, err := NewField[float32](m, ode.VPLinear{}, ode.Velocity)
	require.NoError(t, err)
	x := []float32{.25, -.5, 1, 2}
	got := make([]float32, 4)
	require.NoError(t, f.Eval(got, x, ode.Call[float32]{Batch: 2, T: []float32{.5}}))
	want := predicted(t, m, []float64{.25, -.5, 1, 2}, ode.VPLinear{}.At(.5), ode.Velocity)
	for i := range got {
		require.Equal(t, float32(want[i]), got[i])
	}
}

// An end of the domain that is not a float32 may round to a time outside.
func TestFloat32ReachesTheEndOfTheDomain(t *testing.T) {
	f, err := NewField[float32](gaussian3(), short{}, ode.Data)
	require.NoError(t, err)
	for _, end := range []float32{.1, .7} {
		require.NoError(t, f.Eval(make([]float32, 3), make([]float32, 3), ode.Call[float32]{Batch: 1, T: []float32{end}}))
	}
	require.Error(t, f.Eval(make([]float32, 3), make([]float32, 3), ode.Call[float32]{Batch: 1, T: []float32{.7001}}))
}

type short struct{ ode.VPLinear }

func (short) Domain() (float64, float64) { return .1, .7 }

func (s short) At(t float64) ode.Point {
	if t < .1 || t > .7 {
		panic("outside the domain")
	}
	return s.VPLinear.At(t)
}

func TestMisuseOfAFieldIsNamed(t *testing.T) {
	m := mixture2()
	_, err := NewField[float64](nil, ode.VPLinear{}, ode.Noise)
	require.ErrorContains(t, err, "no model")
	_, err = NewField[float64](m, nil, ode.Noise)
	require.ErrorContains(t, err, "no schedule")
	_, err = NewField[float64](m, ode.VPLinear{}, -1)
	require.ErrorContains(t, err, "Prediction(-1) is not a prediction")
	_, err = NewField[float64](m, nil, ode.Denoiser)
	require.NoError(t, err)

	f := newField(t, m, ode.VPLinear{}, ode.Noise)
	x, y := make([]float64, 4), make([]float64, 4)
	tap := []ode.Tap[float64]{{Name: "v"}}
	for _, row := range []struct {
		reason string
		err    error
		want   string
	}{
		{"no samples", f.Eval(y, x, call(0, .5)), "batch of 0"},
		{"x of three samples", f.Eval(y, x, call(3, .5)), "want 3 samples of 2"},
		{"dst too short", f.Eval(y[:2], x, call(2, .5)), "dst has 2 elements and x 4"},
		{"no time", f.Eval(y, x, call(2)), "0 times for a batch of 2"},
		{"too many times", f.Eval(y, x, call(2, .1, .2, .3)), "3 times for a batch of 2"},
		{"after the domain", f.Eval(y, x, call(2, 1.5)), "time 1.5"},
		{"σ' is infinite", f.VJP(&ode.Tangent[float64]{T: y[:2]}, y, x, call(2, 0)), "derivative with respect to time at t = 0"},
		{"not a number", f.Eval(y, x, call(2, math.NaN())), "time NaN"},
		{"taps", f.Eval(y, x, ode.Call[float64]{Batch: 2, T: []float64{.5}, Out: tap}), "have none"},
		{"no tangent", f.VJP(nil, y, x, call(2, .5)), "no Tangent"},
		{"no direction", f.JVP(y, x, call(2, .5), nil), "no Tangent"},
		{"cotangent", f.VJP(&ode.Tangent[float64]{}, y[:2], x, call(2, .5)), "cotangent has 2"},
		{"X", f.VJP(&ode.Tangent[float64]{X: y[:3]}, y, x, call(2, .5)), "tangent X has 3"},
		{"T once for the batch", f.JVP(y, x, call(2, .5), &ode.Tangent[float64]{T: y[:1]}), "tangent T has 1"},
		{"Value", f.JVP(y, x, call(2, .5), &ode.Tangent[float64]{Value: y[:1]}), "tangent Value has 1"},
		{"parameter", f.VJP(&ode.Tangent[float64]{Params: map[string][]float64{"scale": y}}, y, x, call(2, .5)), `no parameter "scale"`},
		{"its length", f.VJP(&ode.Tangent[float64]{Params: map[string][]float64{"means": y}}, y, x, call(2, .5)), "given with 4 elements"},
		{"taps in the tangent", f.VJP(&ode.Tangent[float64]{In: tap}, y, x, call(2, .5)), "have none"},
	} {
		require.ErrorContains(t, row.err, row.want, row.reason)
	}
	point := newField(t, Mixture{Weights: []float64{1}, Means: [][]float64{{0, 0}}, Variances: []float64{0}}, ode.Flow{}, ode.Data)
	require.ErrorContains(t, point.Eval(y, x, call(2, 0)), "σ > 0")
	require.NoError(t, point.Eval(y, x, call(2, .5)), "an error leaves the field usable")
}

func TestProductsDoNotAllocate(t *testing.T) {
	for _, m := range models() {
		f := newField(t, m.model, ode.VPLinear{}, ode.FlowVelocity)
		n := 4 * m.model.Dim()
		x, y := normals(n, 1), make([]float64, n)
		g := &ode.Tangent[float64]{X: make([]float64, n), T: make([]float64, 4), Value: make([]float64, n), Params: map[string][]float64{}}
		for _, q := range f.Parameters(4) {
			g.Params[q.Name] = make([]float64, q.Len())
		}
		c := call(4, .2, .3, .4, .5)
		require.Zero(t, testing.AllocsPerRun(10, func() {
			if f.Eval(y, x, c) != nil || f.VJP(g, x, x, c) != nil || f.JVP(y, x, c, g) != nil {
				panic("an error")
			}
		}), m.name)
	}
}

func BenchmarkMixture(b *testing.B) {
	f := newField(b, mixture2(), ode.VPLinear{}, ode.Noise)
	x, y := normals(2, 1), make([]float64, 2)
	g := &ode.Tangent[float64]{X: make([]float64, 2)}
	times := []float64{.3, .4}
	b.Run("Eval", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_ = f.Eval(y, x, ode.Call[float64]{Batch: 1, T: times[i&1 : i&1+1]})
		}
	})
	b.Run("EvalSameTime", func(b *testing.B) {
		for b.Loop() {
			_ = f.Eval(y, x, ode.Call[float64]{Batch: 1, T: times[:1]})
		}
	})
	b.Run("VJP", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			_ = f.VJP(g, y, x, ode.Call[float64]{Batch: 1, T: times[i&1 : i&1+1]})
		}
	})
}
