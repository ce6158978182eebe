package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// convolution is the form that Conv2D and its derivatives come from, by its definition: f is told every place of y, w and
// x that are multiplied, as indices into their elements.
func convolution(x, w []int, stride, padding int, f func(y, w, x int)) (result []int) {
	oh, ow := (x[2]+2*padding-w[2])/stride+1, (x[3]+2*padding-w[3])/stride+1
	result = []int{x[0], w[0], oh, ow}
	each(append(append([]int{}, result...), w[1:]...), func(ix []int) float64 {
		b, o, p, q, c, i, j := ix[0], ix[1], ix[2], ix[3], ix[4], ix[5], ix[6]
		if y, z := p*stride+i-padding, q*stride+j-padding; y >= 0 && y < x[2] && z >= 0 && z < x[3] {
			f(((b*w[0]+o)*oh+p)*ow+q, ((o*x[1]+c)*w[2]+i)*w[3]+j, ((b*x[1]+c)*x[2]+y)*x[3]+z)
		}
		return 0
	})
	return result
}

// windows calls f with each place of the result of a pooling and what of the image its window sees, in order.
func windows(s []int, o pool, f func(at int, seen []int)) (result []int) {
	oh, ow := (s[2]+2*o.padding-o.size)/o.stride+1, (s[3]+2*o.padding-o.size)/o.stride+1
	at := 0
	each([]int{s[0], s[1], oh, ow}, func(ix []int) float64 {
		var seen []int
		for y := ix[2]*o.stride - o.padding; y < ix[2]*o.stride-o.padding+o.size; y++ {
			for x := ix[3]*o.stride - o.padding; x < ix[3]*o.stride-o.padding+o.size; x++ {
				if y >= 0 && y < s[2] && x >= 0 && x < s[3] {
					seen = append(seen, ((ix[0]*s[1]+ix[1])*s[2]+y)*s[3]+x)
				}
			}
		}
		f(at, seen)
		at++
		return 0
	})
	return []int{s[0], s[1], oh, ow}
}

// imageCases are the ops on images.
func imageCases() []opCase {
	var table []opCase
	for _, s := range []struct {
		x, w            []int
		stride, padding int
		reason          string
	}{
		{[]int{2, 2, 4, 3}, []int{3, 2, 3, 3}, 1, 1, "as most networks have it: the result is as large as the image"},
		{[]int{1, 2, 3, 4}, []int{2, 2, 2, 3}, 1, 0, "an even kernel, no padding"},
		{[]int{2, 1, 5, 4}, []int{2, 1, 3, 2}, 2, 1, "a stride, sides that differ, a rest"},
		{[]int{1, 2, 3, 7}, []int{1, 2, 1, 2}, 3, 0, "a stride longer than the kernel: what is never seen"},
		{[]int{2, 3, 2, 3}, []int{2, 3, 1, 1}, 1, 0, "1×1: the image is its own columns"},
		{[]int{2, 2, 3, 3}, []int{2, 2, 1, 1}, 2, 0, "1×1 with a stride"},
		{[]int{1, 1, 2, 2}, []int{2, 1, 1, 1}, 1, 1, "1×1 in a frame of zeros"},
		{[]int{2, 2, 3, 2}, []int{2, 2, 3, 2}, 1, 0, "the kernel is the image, so that both may be one node"},
		{[]int{1, 1, 2, 1}, []int{1, 1, 5, 5}, 1, 2, "the kernel is wider than the image on both sides"},
		{[]int{1, 1, 1, 2}, []int{1, 1, 2, 2}, 1, 3, "windows that see padding alone"},
		{[]int{1, 1, 2, 3}, []int{1, 1, 3, 7}, 1, 3, "as wide as the image, kernel wider: whole columns wrap round"},
		{[]int{1, 1, 6, 6}, []int{1, 1, 3, 3}, 2, 2, "stride and padding of 2"},
	} {
		y := convolution(s.x, s.w, s.stride, s.padding, func(int, int, int) {})
		c := conv{s.stride, s.padding}
		form := func(shape []int, f func(out []float64, y, w, x int)) array {
			a := array{shape, make([]float64, prod(shape))}
			convolution(s.x, s.w, s.stride, s.padding, func(y, w, x int) { f(a.v, y, w, x) })
			return a
		}
		value := func(in []array) array {
			return form(y, func(out []float64, y, w, x int) { out[y] += in[1].v[w] * in[0].v[x] })
		}
		table = append(table,
			opCase{name: "conv2D", reason: s.reason, shapes: [][]int{s.x, s.w},
				build: func(b *Builder, x []*Node) *Node { return b.Conv2D(x[0], x[1], nil, s.stride, s.padding) },
				want:  value},
			opCase{name: "conv2D with bias", reason: s.reason, shapes: [][]int{s.x, s.w, {s.w[0]}},
				build: func(b *Builder, x []*Node) *Node { return b.Conv2D(x[0], x[1], x[2], s.stride, s.padding) },
				want: func(in []array) array {
					a := value(in)
					return each(y, func(ix []int) float64 { return a.at(ix...) + in[2].v[ix[1]] })
				}},
			opCase{name: "conv2DInput", reason: s.reason, shapes: [][]int{y, s.w},
				build: func(b *Builder, x []*Node) *Node { return b.Apply(conv2DInput{c, s.x[2], s.x[3]}, x...) },
				want: func(in []array) array {
					return form(s.x, func(out []float64, y, w, x int) { out[x] += in[0].v[y] * in[1].v[w] })
				}},
			opCase{name: "conv2DWeight", reason: s.reason, shapes: [][]int{s.x, y},
				build: func(b *Builder, x []*Node) *Node { return b.Apply(conv2DWeight{c, s.w[2], s.w[3]}, x...) },
				want: func(in []array) array {
					return form(s.w, func(out []float64, y, w, x int) { out[w] += in[0].v[x] * in[1].v[y] })
				}})
	}
	for _, s := range []struct {
		x      []int
		o      pool
		reason string
	}{
		{[]int{2, 2, 4, 6}, pool{2, 2, 0}, "as most networks have it"},
		{[]int{1, 2, 5, 3}, pool{2, 2, 0}, "a rest that nothing sees"},
		{[]int{2, 1, 5, 4}, pool{3, 2, 1}, "windows that overlap, and are cut at the border"},
		{[]int{1, 2, 3, 4}, pool{3, 1, 1}, "as large as the image"},
		{[]int{1, 1, 5, 4}, pool{1, 3, 0}, "windows of one, far apart"},
		{[]int{2, 1, 2, 2}, pool{2, 1, 1}, "corners that see one pixel"},
		{[]int{1, 3, 3, 3}, pool{3, 1, 0}, "one window"},
		{[]int{1, 1, 1, 1}, pool{3, 2, 2}, "a padding longer than the image"},
	} {
		y := windows(s.x, s.o, func(int, []int) {})
		over := func(shape []int, f func(out []float64, at int, seen []int)) array {
			a := array{shape, make([]float64, prod(shape))}
			windows(s.x, s.o, func(at int, seen []int) { f(a.v, at, seen) })
			return a
		}
		best := func(x array, seen []int) int {
			at := seen[0]
			for _, k := range seen {
				if x.v[k] > x.v[at] {
					at = k
				}
			}
			return at
		}
		table = append(table,
			opCase{name: "averagePool", reason: s.reason, shapes: [][]int{s.x},
				build: func(b *Builder, x []*Node) *Node { return b.AveragePool2D(x[0], s.o.size, s.o.stride, s.o.padding) },
				want: func(in []array) array {
					return over(y, func(out []float64, at int, seen []int) {
						for _, k := range seen {
							out[at] += in[0].v[k] / float64(len(seen))
						}
					})
				}},
			opCase{name: "averagePoolGrad", reason: s.reason, shapes: [][]int{y},
				build: func(b *Builder, x []*Node) *Node { return b.Apply(averagePoolGrad{s.o, s.x[2], s.x[3]}, x...) },
				want: func(in []array) array {
					return over(s.x, func(out []float64, at int, seen []int) {
						for _, k := range seen {
							out[k] += in[0].v[at] / float64(len(seen))
						}
					})
				}},
			opCase{name: "maxPool", reason: s.reason, shapes: [][]int{s.x},
				build: func(b *Builder, x []*Node) *Node { return b.MaxPool2D(x[0], s.o.size, s.o.stride, s.o.padding) },
				want: func(in []array) array {
					return over(y, func(out []float64, at int, seen []int) { out[at] = in[0].v[best(in[0], seen)] })
				}},
			opCase{name: "maxPool of another", reason: "what the tangent is made of: " + s.reason, shapes: [][]int{s.x, s.x},
				build: func(b *Builder, x []*Node) *Node { return b.Apply(maxPool{s.o}, x...) },
				want: func(in []array) array {
					return over(y, func(out []float64, at int, seen []int) { out[at] = in[1].v[best(in[0], seen)] })
				}},
			opCase{name: "maxPoolGrad", reason: s.reason, shapes: [][]int{s.x, y},
				build: func(b *Builder, x []*Node) *Node { return b.Apply(maxPoolGrad{s.o}, x...) },
				want: func(in []array) array {
					return over(s.x, func(out []float64, at int, seen []int) { out[best(in[0], seen)] += in[1].v[at] })
				}})
	}
	for _, s := range [][]int{{2, 3, 4, 5}, {1, 1, 1, 1}} {
		table = append(table, opCase{name: "globalAveragePool", reason: "a mean of all, a mean of one", shapes: [][]int{s},
			build: func(b *Builder, x []*Node) *Node { return b.GlobalAveragePool2D(x[0]) },
			want: func(in []array) array {
				return each(s[:2], func(ix []int) (v float64) {
					for k := range s[2] * s[3] {
						v += in[0].v[(ix[0]*s[1]+ix[1])*s[2]*s[3]+k] / float64(s[2]*s[3])
					}
					return v
				})
			}})
	}
	return table
}

// Shapes at random, large enough for several bands of columns: value and both derivatives are the plain sums.
func TestConvolutionsOfAllShapesAreThePlainSums(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	several := 0
	for range 150 {
		stride, padding := 1+rng.IntN(3), rng.IntN(4)
		w := []int{1 + rng.IntN(4), 1 + rng.IntN(3), 1 + rng.IntN(5), 1 + rng.IntN(5)}
		x := []int{1 + rng.IntN(3), w[1], w[2] + rng.IntN(9), w[3] + rng.IntN(9)}
		if rng.IntN(50) == 0 {
			w, x = []int{2, 24, 5, 5}, []int{1, 24, 11 + rng.IntN(9), 18 + rng.IntN(9)}
			stride, padding = 1, rng.IntN(4)
		}
		about := fmt.Sprintf("%v by %v, stride %d, padding %d", x, w, stride, padding)
		s := newBench[float64]([][]int{x, w}, false)
		y := s.b.Conv2D(s.x[0], s.x[1], nil, stride, padding)
		u := s.input("u", y.Shape(), false)
		g := s.b.Gradient([]*Node{y}, []*Node{u}, s.x)
		require.NoError(t, s.b.Err(), about)
		d, err := conv{stride, padding}.dims(x, w)
		require.NoError(t, err)
		if d.rows < d.oh {
			several++
		}
		want := [][]float64{make([]float64, prod(y.Shape())), make([]float64, prod(x)), make([]float64, prod(w))}
		xs, ws, us := s.values["x0"], s.values["x1"], s.values["u"]
		convolution(x, w, stride, padding, func(i, j, k int) {
			want[0][i] += ws[j] * xs[k]
			want[1][k] += us[i] * ws[j]
			want[2][j] += us[i] * xs[k]
		})
		got := run[float64](t, s.values, y, g[0], g[1])
		for i, what := range []string{"value", "gradient to the image", "gradient to the weight"} {
			near(t, want[i], got[i], 1e-13, about+": "+what)
		}
	}
	require.Positive(t, several, "none of several bands")
}

// What was computed for a sample is what would have been computed for it alone.
func TestImageOpsKeepSamplesApart(t *testing.T) {
	const batch = 3
	sample := func(k int) *bench {
		from, to := 0, batch
		if k >= 0 {
			from, to = k, k+1
		}
		s := newBench[float32](nil, false)
		x, w := draw(rand.New(rand.NewPCG(1, 1)), batch*2*81, false), draw(rand.New(rand.NewPCG(2, 2)), 4*2*9, false)
		s.values["x"], s.values["w"] = x[from*2*81:to*2*81], w
		y := s.b.Conv2D(s.b.Input("x", to-from, 2, 9, 9), s.b.Input("w", 4, 2, 3, 3), nil, 1, 1)
		z := s.b.MaxPool2D(s.b.AveragePool2D(y, 2, 2, 0), 3, 1, 1)
		s.x = append(s.b.Gradient([]*Node{z}, []*Node{s.b.Map(Square, z)}, []*Node{s.b.Named("x")}), z)
		require.NoError(t, s.b.Err())
		return s
	}
	all := sample(-1)
	together := run[float32](t, all.values, all.x...)
	for k := range batch {
		one := sample(k)
		for i, alone := range run[float32](t, one.values, one.x...) {
			require.Equal(t, together[i][k*len(alone):(k+1)*len(alone)], alone)
		}
	}
}

func TestMaxPoolTakesTheFirstOfEqualsAndNaN(t *testing.T) {
	values := map[string][]float64{"x": {2, 2, 1, 2, 1, math.NaN(), 3, math.NaN()}, "u": {10, 20}}
	b := NewBuilder[float64]()
	x := b.Input("x", 1, 2, 2, 2)
	y := b.MaxPool2D(x, 2, 2, 0)
	g := b.Gradient([]*Node{y}, []*Node{b.Input("u", 1, 2, 1, 1)}, []*Node{x})
	require.NoError(t, b.Err())
	got := run[float64](t, values, y, g[0])
	require.Equal(t, 2., got[0][0])
	require.True(t, math.IsNaN(got[0][1]))
	require.Equal(t, []float64{10, 0, 0, 0, 0, 20, 0, 0}, got[1])
}

// An infinity or NaN reaches what sees it and nothing else, though rows of the columns run into each other.
func TestConvolutionKeepsNaNWhereItIsSeen(t *testing.T) {
	for _, at := range []int{0, 4, 5, 24} {
		b := NewBuilder[float64]()
		x := make([]float64, 25)
		x[at] = math.NaN()
		y := b.Conv2D(b.Input("x", 1, 1, 5, 5), b.Input("w", 1, 1, 3, 3), nil, 1, 1)
		back := b.Apply(conv2DInput{conv{1, 1}, 5, 5}, b.Named("x"), b.Named("w"))
		require.NoError(t, b.Err())
		for _, got := range run[float64](t, map[string][]float64{"x": x, "w": make([]float64, 9)}, y, back) {
			for k, v := range got {
				seen := max(k/5-at/5, at/5-k/5) <= 1 && max(k%5-at%5, at%5-k%5) <= 1
				require.Equal(t, seen, math.IsNaN(v), "NaN at %d, result %d", at, k)
			}
		}
	}
}

func TestImageOpsAllocateNothing(t *testing.T) {
	b := NewBuilder[float32]()
	x, w, bias := b.Input("x", 2, 2, 8, 8), b.Input("w", 3, 2, 3, 3), b.Input("bias", 3)
	y := b.GlobalAveragePool2D(b.MaxPool2D(b.AveragePool2D(b.Conv2D(x, w, bias, 1, 1), 2, 2, 0), 3, 1, 1))
	g := b.Gradient([]*Node{y}, []*Node{b.Map(Square, y)}, []*Node{x, w, bias})
	require.NoError(t, b.Err())
	p, err := Compile[float32](append(g, y)...)
	require.NoError(t, err)
	for _, name := range p.Inputs() {
		require.NoError(t, p.Bind(name, make([]float32, b.Named(name).Shape().TotalSize())))
	}
	require.NoError(t, p.Run())
	require.Zero(t, testing.AllocsPerRun(20, func() { require.NoError(t, p.Run()) }))
}

func TestImageOpsRefuseWhatDoesNotFit(t *testing.T) {
	for _, c := range []struct {
		build func(b *Builder, x *Node) *Node // x is (2, 3, 5, 4)
		want  string
	}{
		{func(b *Builder, x *Node) *Node { return b.Conv2D(x, b.Input("w", 3, 9), nil, 1, 0) }, "image (2, 3, 5, 4), weight (3, 9): (batch, channels, height, width) and (out, channels, height, width) are needed"},
		{func(b *Builder, x *Node) *Node { return b.Conv2D(x, b.Input("w", 2, 2, 3, 3), nil, 1, 0) }, "the image has 3 channels, the weight takes 2"},
		{func(b *Builder, x *Node) *Node { return b.Conv2D(x, b.Input("w", 2, 3, 3, 5), nil, 1, 0) }, "the kernel is larger than the image with its padding of 0"},
		{func(b *Builder, x *Node) *Node { return b.Conv2D(x, b.Input("w", 2, 3, 3, 3), nil, 0, 0) }, "stride 0, padding 0: at least 1 and 0 are needed"},
		{func(b *Builder, x *Node) *Node { return b.Conv2D(x, b.Input("w", 2, 3, 3, 3), nil, 1, -1) }, "stride 1, padding -1"},
		{func(b *Builder, x *Node) *Node {
			return b.Conv2D(x, b.Input("w", 2, 3, 3, 3), b.Input("bias", 3), 1, 0)
		}, "the bias must have shape (2)"},
		{func(b *Builder, x *Node) *Node {
			return b.Apply(conv2DInput{conv{1, 0}, 5, 5}, x, b.Input("w", 3, 2, 2, 2))
		}, "cotangent of shape (2, 3, 5, 4) for a result of shape (2, 3, 4, 4)"},
		{func(b *Builder, x *Node) *Node { return b.Apply(conv2DInput{conv{1, 0}, 5, 5}, x, b.Input("w", 3)) }, "both need four axes"},
		{func(b *Builder, x *Node) *Node {
			return b.Apply(conv2DWeight{conv{1, 0}, 2, 2}, x, b.Input("y", 2, 1, 5, 4))
		}, "cotangent of shape (2, 1, 5, 4) for a result of shape (2, 1, 4, 3)"},
		{func(b *Builder, x *Node) *Node { return b.Apply(conv2DWeight{conv{1, 0}, 2, 2}, x, b.Input("y", 2)) }, "both need four axes"},
		{func(b *Builder, x *Node) *Node { return b.AveragePool2D(b.Reshape(x, 6, 20), 2, 2, 0) }, "shape (6, 20); (batch, channels, height, width) is needed"},
		{func(b *Builder, x *Node) *Node { return b.AveragePool2D(x, 0, 1, 0) }, "size 0, stride 1: at least 1 is needed"},
		{func(b *Builder, x *Node) *Node { return b.MaxPool2D(x, 2, 0, 0) }, "size 2, stride 0"},
		{func(b *Builder, x *Node) *Node { return b.MaxPool2D(x, 2, 2, 2) }, "padding 2 for windows of size 2: 0 to 1 is possible"},
		{func(b *Builder, x *Node) *Node { return b.MaxPool2D(x, 5, 1, 0) }, "windows of size 5 are larger than the image with its padding of 0"},
		{func(b *Builder, x *Node) *Node { return b.Apply(maxPool{pool{2, 2, 0}}, x, b.Input("v", 2, 3, 4, 4)) }, "differ"},
		{func(b *Builder, x *Node) *Node {
			return b.Apply(maxPoolGrad{pool{2, 2, 0}}, x, b.Input("v", 2, 3, 4, 4))
		}, "cotangent of shape (2, 3, 4, 4) for a result of shape (2, 3, 2, 2)"},
		{func(b *Builder, x *Node) *Node { return b.Apply(averagePoolGrad{pool{2, 2, 0}, 5, 5}, x) }, "cotangent of shape (2, 3, 5, 4) for a result of shape (2, 3, 2, 2)"},
		{func(b *Builder, x *Node) *Node {
			return b.Apply(averagePoolGrad{pool{2, 2, 0}, 5, 5}, b.Reshape(x, 120))
		}, "(batch, channels, height, width) is needed"},
		{func(b *Builder, x *Node) *Node { return b.GlobalAveragePool2D(b.Reshape(x, 120)) }, "shape (120); (batch, channels, height, width) is needed"},
		{func(b *Builder, _ *Node) *Node { return b.GlobalAveragePool2D(nil) }, "is nil"},
	} {
		b := NewBuilder[float64]()
		c.build(b, b.Input("x", 2, 3, 5, 4))
		require.ErrorContains(t, b.Err(), c.want)
		require.ErrorContains(t, b.Err(), "op_conv_test.go:")
	}
}

// The table moves all inputs at once; directions of some must do as well, and none of them is what another brings.
func TestTangentsOfImageOpsAreSumsOverTheirInputs(t *testing.T) {
	for _, c := range imageCases() {
		s := newBench[float64](c.shapes, false)
		y := c.build(s.b, s.x)
		dirs := make([]*Node, len(s.x))
		for i, n := range s.x {
			dirs[i] = s.input("v:"+n.Name(), n.Shape(), false)
		}
		sum := make([]float64, prod(y.Shape()))
		for i := range s.x {
			if d := s.b.Tangent([]*Node{y}, s.x[i:i+1], dirs[i:i+1])[0]; d != nil {
				for k, v := range run[float64](t, s.values, d)[0] {
					sum[k] += v
				}
			}
		}
		all := s.b.Tangent([]*Node{y}, s.x, dirs)[0]
		require.NoError(t, s.b.Err())
		near(t, run[float64](t, s.values, all)[0], sum, 1e-13, c.name)
	}
}
