package graph

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/ebb-go/ebb/ode"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// array is what the plain Go references compute with.
type array struct {
	s []int
	v []float64
}

// at is the element at an index; axes of length 1 may be given any index.
func (a array) at(ix ...int) float64 {
	k := 0
	for i, d := range a.s {
		j := ix[i]
		if d == 1 {
			j = 0
		}
		k = k*d + j
	}
	return a.v[k]
}

// each fills an array of the given shape from a formula of the index.
func each(shape []int, f func(ix []int) float64) array {
	a := array{shape, make([]float64, prod(shape))}
	ix := make([]int, len(shape))
	for k := range a.v {
		rest := k
		for i := len(shape) - 1; i >= 0; i-- {
			ix[i], rest = rest%shape[i], rest/shape[i]
		}
		a.v[k] = f(ix)
	}
	return a
}

func (a array) mapped(f func(float64) float64) array {
	return each(a.s, func(ix []int) float64 { return f(a.at(ix...)) })
}

// rows applies f to each row of the last axis.
func (a array) rows(f func(row []float64) []float64) array {
	n := a.s[len(a.s)-1]
	out := array{s: slices.Clone(a.s)}
	for i := 0; i < len(a.v); i += n {
		out.v = append(out.v, f(a.v[i:i+n])...)
	}
	out.s[len(out.s)-1] = len(out.v) * n / len(a.v)
	return out
}

func sumOf(x []float64) (s float64) {
	for _, v := range x {
		s += v
	}
	return s
}

func with(ix []int, axis, v int) []int {
	ix = slices.Clone(ix)
	ix[axis] = v
	return ix
}

// How far an op is differentiated.
const (
	twice    = iota // first and second derivatives
	once            // first derivatives only
	backward        // reverse mode only, once
	constant        // the derivative is zero
)

type opCase struct {
	name     string
	reason   string
	shapes   [][]int
	build    func(b *Builder, x []*Node) *Node
	want     func(x []array) array
	order    int
	positive bool // inputs above zero
}

// cases is every op of the package, those that only derivatives are made of included.
func cases() []opCase {
	var table []opCase
	add := func(c opCase) { table = append(table, c) }
	dims := [][]int{{1}, {7}, {3, 1}, {1, 5}, {2, 3, 4}, {2, 1, 3, 2}, {2, 1, 2, 3, 1}}

	for f := range funcs {
		add(opCase{name: f.String(), reason: "vector tails and both sides of zero", shapes: [][]int{{19}}, positive: f == Log || f == Sqrt,
			build: func(b *Builder, x []*Node) *Node { return b.Map(f, x[0]) },
			want:  func(x []array) array { return x[0].mapped(func(v float64) float64 { return plain(f, v) }) }})
		for order := 1; order < maxOrders; order++ {
			upTo := twice
			if order == maxOrders-1 {
				upTo = once
			}
			add(opCase{name: fmt.Sprintf("%v derivative %d times", f, order), reason: "what derivatives of elementwise functions are made of",
				shapes: [][]int{{2, 5}, {2, 5}}, positive: f == Log || f == Sqrt, order: upTo,
				build: func(b *Builder, x []*Node) *Node { return b.Apply(unary{f, order, true}, x...) }})
		}
	}
	for _, s := range dims {
		add(opCase{name: "combine", reason: "more coefficients than a kernel may unroll", shapes: [][]int{s, s, s, s, s},
			build: func(b *Builder, x []*Node) *Node { return b.Combine([]float64{1, -2, 0.5, 0, 3}, x...) },
			want: func(x []array) array {
				return each(s, func(ix []int) float64 {
					return x[0].at(ix...) - 2*x[1].at(ix...) + 0.5*x[2].at(ix...) + 3*x[4].at(ix...)
				})
			}})
		add(opCase{name: "mul", reason: "elementwise on every number of axes", shapes: [][]int{s, s},
			build: func(b *Builder, x []*Node) *Node { return b.Mul(x[0], x[1]) },
			want: func(x []array) array {
				return each(s, func(ix []int) float64 { return x[0].at(ix...) * x[1].at(ix...) })
			}})
		add(opCase{name: "div", reason: "elementwise on every number of axes", shapes: [][]int{s, s}, positive: true,
			build: func(b *Builder, x []*Node) *Node { return b.Div(x[0], x[1]) },
			want: func(x []array) array {
				return each(s, func(ix []int) float64 { return x[0].at(ix...) / x[1].at(ix...) })
			}})
		for axis := range s {
			add(opCase{name: "sum", reason: "each axis of each number of axes", shapes: [][]int{s},
				build: func(b *Builder, x []*Node) *Node { return b.Sum(x[0], axis) },
				want: func(x []array) array {
					return each(with(s, axis, 1), func(ix []int) (v float64) {
						for j := range s[axis] {
							v += x[0].at(with(ix, axis, j)...)
						}
						return v
					})
				}})
			add(opCase{name: "mean", reason: "each axis of each number of axes", shapes: [][]int{s},
				build: func(b *Builder, x []*Node) *Node { return b.Mean(x[0], axis) },
				want: func(x []array) array {
					return each(with(s, axis, 1), func(ix []int) (v float64) {
						for j := range s[axis] {
							v += x[0].at(with(ix, axis, j)...) / float64(s[axis])
						}
						return v
					})
				}})
			add(opCase{name: "slice", reason: "up to the end of each axis, an axis of 1 included", shapes: [][]int{s},
				build: func(b *Builder, x []*Node) *Node { return b.Slice(x[0], axis, s[axis]/2, s[axis]) },
				want: func(x []array) array {
					from := s[axis] / 2
					return each(with(s, axis, s[axis]-from), func(ix []int) float64 {
						if s[axis] == 1 {
							return x[0].at(ix...)
						}
						return x[0].at(with(ix, axis, ix[axis]+from)...)
					})
				}})
			add(opCase{name: "pad", reason: "on both sides of each axis", shapes: [][]int{s},
				build: func(b *Builder, x []*Node) *Node { return b.Pad(x[0], axis, 1, 2) },
				want: func(x []array) array {
					return each(with(s, axis, s[axis]+3), func(ix []int) float64 {
						if j := ix[axis] - 1; j >= 0 && j < s[axis] {
							return x[0].at(with(ix, axis, j)...)
						}
						return 0
					})
				}})
			add(opCase{name: "expand", reason: "each axis of length 1", shapes: [][]int{with(s, axis, 1)},
				build: func(b *Builder, x []*Node) *Node { return b.Expand(x[0], axis, 3) },
				want: func(x []array) array {
					return each(with(s, axis, 3), func(ix []int) float64 { return x[0].at(with(ix, axis, 0)...) })
				}})
			add(opCase{name: "concat", reason: "parts of different lengths along each axis", shapes: [][]int{s, with(s, axis, 2), with(s, axis, 1)},
				build: func(b *Builder, x []*Node) *Node { return b.Concat(axis, x...) },
				want: func(x []array) array {
					return each(with(s, axis, s[axis]+3), func(ix []int) float64 {
						switch j := ix[axis]; {
						case j < s[axis]:
							return x[0].at(ix...)
						case j < s[axis]+2:
							return x[1].at(with(ix, axis, j-s[axis])...)
						}
						return x[2].at(with(ix, axis, 0)...)
					})
				}})
		}
		add(opCase{name: "zeros", reason: "a gradient that Gorgonia wants as a node", shapes: [][]int{s}, order: constant,
			build: func(b *Builder, x []*Node) *Node { return b.zeros(x[0]) },
			want:  func(x []array) array { return each(s, func([]int) float64 { return 0 }) }})
		add(opCase{name: "softmax", reason: "a scale that is not 1, rows of one element", shapes: [][]int{s},
			build: func(b *Builder, x []*Node) *Node { return b.Softmax(0.7, x[0]) },
			want:  func(x []array) array { return x[0].rows(func(r []float64) []float64 { return softmaxOf(0.7, r) }) }})
		add(opCase{name: "softmaxGrad", reason: "the fused derivative, as a function of both inputs", shapes: [][]int{s, s},
			build: func(b *Builder, x []*Node) *Node { return b.Apply(softmaxGrad{0.7}, x...) }})
		add(opCase{name: "logSumExp", reason: "the axis stays", shapes: [][]int{s},
			build: func(b *Builder, x []*Node) *Node { return b.LogSumExp(x[0]) },
			want: func(x []array) array {
				return x[0].rows(func(r []float64) []float64 {
					s := 0.0
					for _, v := range r {
						s += math.Exp(v)
					}
					return []float64{math.Log(s)}
				})
			}})
		for _, rms := range []bool{false, true} {
			norm := normalize{1e-2, rms}
			add(opCase{name: norm.String(), reason: "eps that shows, rows of one element", shapes: [][]int{s},
				build: func(b *Builder, x []*Node) *Node {
					if rms {
						return b.RMSNorm(1e-2, x[0])
					}
					return b.LayerNorm(1e-2, x[0])
				},
				want: func(x []array) array {
					return x[0].rows(func(r []float64) []float64 {
						mean, square, out := sumOf(r)/float64(len(r)), 0.0, make([]float64, len(r))
						if rms {
							mean = 0
						}
						for _, v := range r {
							square += (v - mean) * (v - mean) / float64(len(r))
						}
						for i, v := range r {
							out[i] = (v - mean) / math.Sqrt(square+1e-2)
						}
						return out
					})
				}})
			add(opCase{name: norm.String() + "Grad", reason: "the fused derivative, as a function of both inputs", shapes: [][]int{s, s},
				build: func(b *Builder, x []*Node) *Node { return b.Apply(normalizeGrad(norm), x...) }})
		}
		add(opCase{name: "shift", reason: "a constant", shapes: [][]int{s},
			build: func(b *Builder, x []*Node) *Node { return b.Shift(0.3, x[0]) },
			want:  func(x []array) array { return x[0].mapped(func(v float64) float64 { return v + 0.3 }) }})
		add(opCase{name: "static clip", reason: "elements on both sides of the limit", shapes: [][]int{s}, order: once,
			build: func(b *Builder, x []*Node) *Node { return b.Clip(ode.Clipping{Max: 0.6}, x[0]) },
			want: func(x []array) array {
				return x[0].mapped(func(v float64) float64 { return max(-0.6, min(0.6, v)) })
			}})
		if len(s) > 1 && s[0] > 1 && prod(s[1:]) > 2 {
			add(opCase{name: "dynamic clip", reason: "a limit that is a quantile of the sample", shapes: [][]int{s}, order: backward,
				build: func(b *Builder, x []*Node) *Node { return b.Clip(ode.Clipping{Max: 0.1, Quantile: 0.75}, x[0]) }})
		}
	}
	for _, s := range []struct{ from, to []int }{{[]int{6}, []int{2, 3}}, {[]int{2, 3, 4}, []int{4, 6}}, {[]int{1}, []int{1, 1, 1}}, {[]int{2, 1, 6, 1}, []int{3, 2, 2}}} {
		add(opCase{name: "reshape", reason: "a view in a program, a copy for the TapeMachine", shapes: [][]int{s.from},
			build: func(b *Builder, x []*Node) *Node { return b.Map(Square, b.Reshape(x[0], s.to...)) },
			want: func(x []array) array {
				return array{s.to, x[0].v}.mapped(func(v float64) float64 { return v * v })
			}})
	}
	for _, p := range [][]int{{0}, {1, 0}, {0, 2, 1}, {2, 0, 1}, {1, 0, 2}, {0, 2, 1, 3}, {3, 1, 0, 2}, {4, 2, 0, 1, 3}, {0, 1, 2, 3, 4}} {
		s := []int{2, 3, 1, 4, 2}[:len(p)]
		add(opCase{name: fmt.Sprintf("permute%v", p), reason: "runs that stay together, runs that do not, an axis of 1", shapes: [][]int{s},
			build: func(b *Builder, x []*Node) *Node { return b.Permute(x[0], p...) },
			want: func(x []array) array {
				to := make([]int, len(p))
				for i, a := range p {
					to[i] = s[a]
				}
				return each(to, func(ix []int) float64 {
					from := make([]int, len(p))
					for i, a := range p {
						from[a] = ix[i]
					}
					return x[0].at(from...)
				})
			}})
	}
	for _, m := range []struct {
		batch   []int
		m, n, k int
	}{{nil, 3, 4, 5}, {nil, 1, 1, 1}, {nil, 1, 3, 7}, {[]int{3}, 2, 1, 3}, {[]int{2, 1}, 3, 2, 1}, {[]int{2, 1, 2}, 1, 3, 2}} {
		for _, t := range [][2]bool{{}, {true, false}, {false, true}, {true, true}} {
			a, c := append(slices.Clone(m.batch), m.m, m.k), append(slices.Clone(m.batch), m.k, m.n)
			d := len(m.batch)
			if t[0] {
				a[d], a[d+1] = a[d+1], a[d]
			}
			if t[1] {
				c[d], c[d+1] = c[d+1], c[d]
			}
			add(opCase{name: fmt.Sprintf("matmul %v", t), reason: "every transposition, batches of one and two axes, lengths of 1", shapes: [][]int{a, c},
				build: func(b *Builder, x []*Node) *Node { return b.MatMul(x[0], x[1], t[0], t[1]) },
				want: func(x []array) array {
					return each(append(slices.Clone(m.batch), m.m, m.n), func(ix []int) (v float64) {
						for l := range m.k {
							i, j := append(slices.Clone(ix[:d]), ix[d], l), append(slices.Clone(ix[:d]), l, ix[d+1])
							if t[0] {
								i[d], i[d+1] = i[d+1], i[d]
							}
							if t[1] {
								j[d], j[d+1] = j[d+1], j[d]
							}
							v += x[0].at(i...) * x[1].at(j...)
						}
						return v
					})
				}})
		}
	}
	linearOf := func(x []array, transposed bool) array {
		d := len(x[0].s) - 1
		n := x[1].s[1]
		if transposed {
			n = x[1].s[0]
		}
		return each(append(slices.Clone(x[0].s[:d]), n), func(ix []int) (v float64) {
			for l := range x[0].s[d] {
				var w float64
				if transposed {
					w = x[1].at(ix[d], l)
				} else {
					w = x[1].at(l, ix[d])
				}
				v += x[0].at(with(ix, d, l)...) * w
			}
			if len(x) == 3 {
				v += x[2].at(ix[d])
			}
			return v
		})
	}
	for _, lead := range [][]int{nil, {4}, {2, 3}, {1, 2, 1}, {2, 1, 1, 2}} {
		x := append(slices.Clone(lead), 5)
		y := append(slices.Clone(lead), 3)
		add(opCase{name: "linear with bias", reason: "any leading axes", shapes: [][]int{x, {5, 3}, {3}},
			build: func(b *Builder, x []*Node) *Node { return b.Linear(x[0], x[1], x[2]) },
			want:  func(x []array) array { return linearOf(x, false) }})
		add(opCase{name: "linear", reason: "without bias, to one column", shapes: [][]int{x, {5, 1}},
			build: func(b *Builder, x []*Node) *Node { return b.Linear(x[0], x[1], nil) },
			want:  func(x []array) array { return linearOf(x, false) }})
		add(opCase{name: "linear transposed", reason: "the derivative by the input", shapes: [][]int{y, {5, 3}},
			build: func(b *Builder, x []*Node) *Node { return b.Apply(linear{true}, x...) },
			want:  func(x []array) array { return linearOf(x, true) }})
		add(opCase{name: "rowSum", reason: "the derivative by the bias", shapes: [][]int{y},
			build: func(b *Builder, x []*Node) *Node { return b.Apply(rowSum{}, x...) },
			want: func(x []array) array {
				return each([]int{3}, func(ix []int) (v float64) {
					for r := range prod(lead) {
						v += x[0].v[r*3+ix[0]]
					}
					return v
				})
			}})
		add(opCase{name: "contract", reason: "the derivative by the weight", shapes: [][]int{x, y},
			build: func(b *Builder, x []*Node) *Node { return b.Apply(contract{}, x...) },
			want: func(x []array) array {
				return each([]int{5, 3}, func(ix []int) (v float64) {
					for r := range prod(lead) {
						v += x[0].v[r*5+ix[0]] * x[1].v[r*3+ix[1]]
					}
					return v
				})
			}})
	}
	for _, s := range [][]int{{3, 4}, {2, 3, 5}, {1, 1, 4}, {2, 2, 3, 1}} {
		row := []int{s[0], s[len(s)-1]}
		rowAt := func(a array, ix []int) float64 { return a.at(ix[0], ix[len(ix)-1]) }
		add(opCase{name: "gate", reason: "with and without tokens between", shapes: [][]int{s, row},
			build: func(b *Builder, x []*Node) *Node { return b.Gate(x[0], x[1]) },
			want: func(x []array) array {
				return each(s, func(ix []int) float64 { return x[0].at(ix...) * rowAt(x[1], ix) })
			}})
		add(opCase{name: "gate[1]", reason: "the derivative of modulate", shapes: [][]int{s, row},
			build: func(b *Builder, x []*Node) *Node { return b.Apply(gate{one: true}, x...) },
			want: func(x []array) array {
				return each(s, func(ix []int) float64 { return x[0].at(ix...) * (1 + rowAt(x[1], ix)) })
			}})
		add(opCase{name: "modulate", reason: "with and without tokens between", shapes: [][]int{s, row, row},
			build: func(b *Builder, x []*Node) *Node { return b.Modulate(x[0], x[1], x[2]) },
			want: func(x []array) array {
				return each(s, func(ix []int) float64 { return x[0].at(ix...)*(1+rowAt(x[1], ix)) + rowAt(x[2], ix) })
			}})
		add(opCase{name: "gatedAdd", reason: "with and without tokens between", shapes: [][]int{s, s, row},
			build: func(b *Builder, x []*Node) *Node { return b.GatedAdd(x[0], x[1], x[2]) },
			want: func(x []array) array {
				return each(s, func(ix []int) float64 { return x[0].at(ix...) + x[1].at(ix...)*rowAt(x[2], ix) })
			}})
		add(opCase{name: "tokenDot", reason: "the derivative by the gate", shapes: [][]int{s, s},
			build: func(b *Builder, x []*Node) *Node { return b.Apply(tokenDot{}, x...) },
			want: func(x []array) array {
				tokens, w := prod(s[1:len(s)-1]), s[len(s)-1]
				return each(row, func(ix []int) (v float64) {
					for t := range tokens {
						k := (ix[0]*tokens+t)*w + ix[1]
						v += x[0].v[k] * x[1].v[k]
					}
					return v
				})
			}})
		add(opCase{name: "meanSquare", reason: "one number a sample", shapes: [][]int{s, s},
			build: func(b *Builder, x []*Node) *Node { return b.MeanSquare(x[0], x[1]) },
			want: func(x []array) array {
				n := prod(s[1:])
				return each(s[:1], func(ix []int) (v float64) {
					for j := range n {
						d := x[0].v[ix[0]*n+j] - x[1].v[ix[0]*n+j]
						v += d * d / float64(n)
					}
					return v
				})
			}})
	}
	for _, s := range [][]int{{3, 4}, {1, 1}, {2, 7}} {
		add(opCase{name: "crossEntropy", reason: "the target is differentiated too", shapes: [][]int{s, s},
			build: func(b *Builder, x []*Node) *Node { return b.CrossEntropy(x[0], x[1]) },
			want: func(x []array) array {
				return each(s[:1], func(ix []int) float64 {
					z, dot := 0.0, 0.0
					for j := range s[1] {
						z += math.Exp(x[0].at(ix[0], j))
						dot += x[0].at(ix[0], j) * x[1].at(ix[0], j)
					}
					return math.Log(z) - dot
				})
			}})
	}
	freqs := []float64{0, 0.5, 1, 3}
	for _, n := range []int{1, 5} {
		for order := range 3 {
			add(opCase{name: fmt.Sprintf("sinusoid of order %d", order), reason: "a frequency of 0, derivatives in t", shapes: [][]int{{n}},
				build: func(b *Builder, x []*Node) *Node { return b.Apply(sinusoid{freqs, order}, x...) },
				want: func(x []array) array {
					return each([]int{n, 8}, func(ix []int) float64 {
						f, shift := freqs[ix[1]%4], float64(order)*math.Pi/2
						if ix[1] < 4 {
							return math.Pow(f, float64(order)) * math.Cos(f*x[0].at(ix[0])+shift)
						}
						return math.Pow(f, float64(order)) * math.Sin(f*x[0].at(ix[0])+shift)
					})
				}})
		}
	}
	add(opCase{name: "sinusoid", reason: "as users call it", shapes: [][]int{{3}},
		build: func(b *Builder, x []*Node) *Node { return b.Sinusoid(x[0], []float64{1, 2}) },
		want: func(x []array) array {
			return each([]int{3, 4}, func(ix []int) float64 {
				f := float64(1 + ix[1]%2)
				if ix[1] < 2 {
					return math.Cos(f * x[0].at(ix[0]))
				}
				return math.Sin(f * x[0].at(ix[0]))
			})
		}})
	for _, s := range []struct{ b, c, h, w, p int }{{2, 3, 4, 6, 2}, {1, 1, 3, 3, 3}, {1, 2, 2, 1, 1}} {
		patch := func(ix []int) (c, y, x int) { // of element ix of the patches
			return ix[2] % s.c, ix[1]/(s.w/s.p)*s.p + ix[2]/s.c/s.p, ix[1]%(s.w/s.p)*s.p + ix[2]/s.c%s.p
		}
		patches, image := []int{s.b, s.h / s.p * (s.w / s.p), s.p * s.p * s.c}, []int{s.b, s.c, s.h, s.w}
		add(opCase{name: "patchify", reason: "sides that differ, a patch of the whole, a patch of one", shapes: [][]int{image}, order: once,
			build: func(b *Builder, x []*Node) *Node { return b.Patchify(x[0], s.p) },
			want: func(x []array) array {
				return each(patches, func(ix []int) float64 {
					c, y, w := patch(ix)
					return x[0].at(ix[0], c, y, w)
				})
			}})
		add(opCase{name: "unpatchify", reason: "the inverse", shapes: [][]int{patches}, order: once,
			build: func(b *Builder, x []*Node) *Node { return b.Unpatchify(x[0], s.p, s.c, s.h, s.w) },
			want: func(x []array) array {
				out := array{image, make([]float64, prod(image))}
				each(patches, func(ix []int) float64 {
					c, y, w := patch(ix)
					out.v[((ix[0]*s.c+c)*s.h+y)*s.w+w] = x[0].at(ix...)
					return 0
				})
				return out
			}})
	}
	for _, s := range []struct{ b, t, n, d int }{{2, 3, 2, 2}, {1, 1, 1, 3}, {1, 4, 3, 1}} {
		w := s.n * s.d
		add(opCase{name: "attention", reason: "several heads, one token, heads of width 1", shapes: [][]int{{s.b, s.t, 3 * w}},
			build: func(b *Builder, x []*Node) *Node { return b.Attention(x[0], s.n) },
			want: func(x []array) array {
				return each([]int{s.b, s.t, w}, func(ix []int) (v float64) {
					h := ix[2] / s.d * s.d
					score := make([]float64, s.t)
					for j := range score {
						for l := range s.d {
							score[j] += x[0].at(ix[0], ix[1], h+l) * x[0].at(ix[0], j, w+h+l)
						}
					}
					for j, p := range softmaxOf(1/math.Sqrt(float64(s.d)), score) {
						v += p * x[0].at(ix[0], j, 2*w+ix[2])
					}
					return v
				})
			}})
		add(opCase{name: "attentionGrad", reason: "the fused derivative, as a function of both inputs", shapes: [][]int{{s.b, s.t, 3 * w}, {s.b, s.t, w}}, order: once,
			build: func(b *Builder, x []*Node) *Node { return b.Apply(attentionGrad{s.n}, x...) }})
	}
	add(opCase{name: "clipGrad", reason: "linear in the cotangent", shapes: [][]int{{2, 5}, {2, 5}}, order: once,
		build: func(b *Builder, x []*Node) *Node { return b.Apply(clipGrad{ode.Clipping{Max: 0.6}}, x...) },
		want: func(x []array) array {
			return each([]int{2, 5}, func(ix []int) float64 {
				if math.Abs(x[0].at(ix...)) > 0.6 {
					return 0
				}
				return x[1].at(ix...)
			})
		}})
	return append(table, imageCases()...)
}

func plain(f Func, x float64) float64 {
	sigmoid := 1 / (1 + math.Exp(-x))
	switch f {
	case Exp:
		return math.Exp(x)
	case Log:
		return math.Log(x)
	case Sqrt:
		return math.Sqrt(x)
	case Square:
		return x * x
	case Inverse:
		return 1 / x
	case Tanh:
		return math.Tanh(x)
	case Sigmoid:
		return sigmoid
	case SiLU:
		return x * sigmoid
	case GELU:
		return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
	case Softplus:
		return math.Log(1 + math.Exp(x))
	case ReLU:
		return max(0, x)
	case Sin:
		return math.Sin(x)
	}
	return math.Cos(x)
}

func softmaxOf(scale float64, r []float64) []float64 {
	out, sum := make([]float64, len(r)), 0.0
	for i, v := range r {
		out[i] = math.Exp(scale * v)
		sum += out[i]
	}
	for i := range out {
		out[i] /= sum
	}
	return out
}

// draw returns n numbers between 0.25 and 1.25, of either sign unless positive, that float32 holds exactly: away from
// the kinks at 0, and from those that clip has at 0.6.
func draw(rng *rand.Rand, n int, positive bool) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = 0.25 + rng.Float64()
		if math.Abs(x[i]-0.6) < 0.1 {
			x[i] += 0.2
		}
		if !positive && rng.IntN(2) == 0 {
			x[i] = -x[i]
		}
		x[i] = float64(float32(x[i]))
	}
	return x
}

// bench is a graph whose inputs have values.
type bench struct {
	b      *Builder
	x      []*Node
	values map[string][]float64
	rng    *rand.Rand
}

func newBench[T Float](shapes [][]int, positive bool) *bench {
	s := &bench{b: NewBuilder[T](), values: map[string][]float64{}, rng: rand.New(rand.NewPCG(1, 2))}
	for i, shape := range shapes {
		s.x = append(s.x, s.input(fmt.Sprintf("x%d", i), shape, positive))
	}
	return s
}

func (s *bench) input(name string, shape []int, positive bool) *Node {
	s.values[name] = draw(s.rng, prod(shape), positive)
	return s.b.Input(name, shape...)
}

// sources are the inputs that a node depends on, but those that have their value from Gorgonia.
func sources(n *Node) []*Node {
	var in []*Node
	for _, n := range order([]*Node{n}, nil) {
		if n.Op() == nil && n.Value() == nil {
			in = append(in, n)
		}
	}
	return in
}

// flat puts nodes one after the other in a vector; nil if there are none.
func (s *bench) flat(nodes []*Node) *Node {
	var parts []*Node
	for _, n := range nodes {
		if n != nil {
			parts = append(parts, s.b.Reshape(n, n.Shape().TotalSize()))
		}
	}
	if len(parts) == 0 {
		return nil
	}
	return s.b.Concat(0, parts...)
}

// pulled is the VJP of y to all its inputs as one vector; its cotangent is a new input.
func (s *bench) pulled(y *Node, name string) *Node {
	in := sources(y)
	return s.flat(s.b.Gradient([]*Node{y}, []*Node{s.input(name, y.Shape(), false)}, in))
}

// pushed is the JVP of y from directions that are new inputs.
func (s *bench) pushed(y *Node, name string) *Node {
	in := sources(y)
	dirs := make([]*Node, len(in))
	for i, n := range in {
		dirs[i] = s.input(name+n.Name(), n.Shape(), false)
	}
	return s.b.Tangent([]*Node{y}, in, dirs)[0]
}

// run computes nodes.
func run[T Float](t *testing.T, values map[string][]float64, outs ...*Node) [][]float64 {
	t.Helper()
	p, err := Compile[T](outs...)
	require.NoError(t, err)
	for _, name := range p.Inputs() {
		if values[name] == nil {
			continue // bound by Let
		}
		data := make([]T, len(values[name]))
		for i, v := range values[name] {
			data[i] = T(v)
		}
		require.NoError(t, p.Bind(name, data))
	}
	require.NoError(t, p.Run())
	res := make([][]float64, len(outs))
	for i := range outs {
		for _, v := range p.Output(i) {
			res[i] = append(res[i], float64(v))
		}
	}
	return res
}

// near requires |got − want| ≤ tol·max(|want|), or tol where all of want is smaller than 1e-3.
func near(t *testing.T, want, got []float64, tol float64, msg string) {
	t.Helper()
	require.Len(t, got, len(want), msg)
	scale := 1e-3
	for _, v := range want {
		scale = max(scale, math.Abs(v))
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tol*scale) {
			require.Failf(t, "far apart", "%s: element %d is %.17g, want %.17g (tolerance %g of %g)", msg, i, got[i], want[i], tol, scale)
		}
	}
}

func largest(x []float64) (m float64) {
	for _, v := range x {
		m = max(m, math.Abs(v))
	}
	return m
}

func dot(a, b []float64) (s float64) {
	for i := range a {
		s += a[i] * b[i]
	}
	return s
}

// slope is the derivative at 0 of each element of f by differences of fourth order, at the step from which the next one
// differs least.
func slope(f func(eps float64) []float64) []float64 {
	var best, least, last []float64
	for _, h := range []float64{3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4} {
		a, b, c, d := f(-2*h), f(-h), f(h), f(2*h)
		now := make([]float64, len(a))
		for k := range now {
			now[k] = ((a[k] - d[k]) + 8*(c[k]-b[k])) / (12 * h)
		}
		if last == nil {
			best, least = slices.Clone(now), slices.Repeat([]float64{math.Inf(1)}, len(now))
		}
		for k := range last {
			if diff := math.Abs(now[k] - last[k]); diff < least[k] {
				best[k], least[k] = now[k], diff
			}
		}
		last = now
	}
	return best
}

// differentiated requires both derivatives of y to be right, to every input: the VJP against differences of each element,
// the JVP against differences along the direction, and each as the other's transpose.
func (s *bench) differentiated(t *testing.T, y *Node, name string, upTo int) {
	t.Helper()
	if y.Dims() == 0 {
		y = s.b.Reshape(y, 1)
	}
	in := sources(y)
	u := s.input("u:"+name, y.Shape(), false)
	values := map[string][]float64{}
	dirs := make([]*Node, len(in))
	for i, n := range in {
		values[n.Name()] = s.values[n.Name()]
		dirs[i] = s.input("v:"+name+n.Name(), n.Shape(), false)
	}
	worst, err := CheckGradient(s.b, y, s.values["u:"+name], values)
	require.NoError(t, err, name)
	for input, e := range worst {
		require.LessOrEqual(t, e, 1e-8, "%s: gradient to %s", name, input)
	}
	if upTo == backward {
		return
	}
	tangent := s.b.Tangent([]*Node{y}, in, dirs)[0]
	grads := s.b.Gradient([]*Node{y}, []*Node{u}, in)
	require.NoError(t, s.b.Err(), name)

	p, err := Compile[float64](y)
	require.NoError(t, err)
	moved := make([][]float64, len(in))
	for i, n := range in {
		moved[i] = make([]float64, n.Shape().TotalSize())
		require.NoError(t, p.Bind(n.Name(), moved[i]))
	}
	differences := slope(func(eps float64) []float64 {
		for i, n := range in {
			for j, x := range s.values[n.Name()] {
				moved[i][j] = x + eps*s.values["v:"+name+n.Name()][j]
			}
		}
		require.NoError(t, p.Run())
		return slices.Clone(p.Output(0))
	})
	exact := make([]float64, len(differences))
	if tangent != nil {
		exact = run[float64](t, s.values, tangent)[0]
	}
	near(t, differences, exact, 1e-8, name+": tangent")

	forward, reverse, size := dot(s.values["u:"+name], exact), 0.0, 0.0
	for i, g := range grads {
		if g != nil {
			grad, v := run[float64](t, s.values, g)[0], s.values["v:"+name+in[i].Name()]
			reverse += dot(grad, v)
			for k := range v {
				size += math.Abs(grad[k] * v[k])
			}
		}
	}
	require.InDelta(t, forward, reverse, 1e-12*max(size, 1), "%s: ⟨u, Jv⟩ and ⟨Jᵀu, v⟩", name)
}

func TestOpsAreWhatPlainGoComputes(t *testing.T) {
	for _, c := range cases() {
		if c.want == nil {
			continue // a fused derivative: see TestFusedOpsAreTheirDecomposition
		}
		s := newBench[float64](c.shapes, c.positive)
		y := c.build(s.b, s.x)
		require.NoError(t, s.b.Err(), "%s %v", c.name, c.shapes)
		in := make([]array, len(s.x))
		for i, n := range s.x {
			in[i] = array{c.shapes[i], s.values[n.Name()]}
		}
		want := c.want(in)
		require.Equal(t, want.s, []int(y.Shape()), "%s %v: shape", c.name, c.shapes)
		near(t, want.v, run[float64](t, s.values, y)[0], 1e-13, fmt.Sprintf("%s %v (%s)", c.name, c.shapes, c.reason))
	}
}

func TestOpsDifferentiate(t *testing.T) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			s := newBench[float64](c.shapes, c.positive)
			y := c.build(s.b, s.x)
			require.NoError(t, s.b.Err())
			s.differentiated(t, y, fmt.Sprintf("%v", c.shapes), c.order)
		})
	}
}

func TestOpsDifferentiateTwice(t *testing.T) {
	for _, c := range cases() {
		if c.order != twice {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			s := newBench[float64](c.shapes, c.positive)
			y := c.build(s.b, s.x)
			if pull := s.pulled(y, "u"); pull != nil {
				s.differentiated(t, pull, fmt.Sprintf("VJP %v", c.shapes), once)
			}
			if push := s.pushed(y, "v"); push != nil {
				s.differentiated(t, push, fmt.Sprintf("JVP %v", c.shapes), once)
			}
			require.NoError(t, s.b.Err())
		})
	}
}

func TestOpsTakeOneNodeTwice(t *testing.T) {
	for _, c := range cases() {
		for i := range c.shapes {
			for j := range i {
				if !slices.Equal(c.shapes[i], c.shapes[j]) {
					continue
				}
				t.Run(c.name, func(t *testing.T) {
					s := newBench[float64](c.shapes, c.positive)
					x := slices.Clone(s.x)
					x[i] = x[j]
					y := c.build(s.b, x)
					require.NoError(t, s.b.Err())
					s.differentiated(t, y, fmt.Sprintf("%v", c.shapes), c.order)
					if c.order == twice {
						pull := s.pulled(y, "u")
						if pull == nil || largest(run[float64](t, s.values, pull)[0]) < 1e-12 {
							return // x·(1/x) is constant: its VJP is rounding alone
						}
						s.differentiated(t, pull, fmt.Sprintf("VJP %v", c.shapes), once)
					}
				})
			}
		}
	}
}

// derivatives are all that is compiled of an op: value, VJP, JVP and the VJP of the VJP.
func (s *bench) derivatives(c opCase) []*Node {
	y := c.build(s.b, s.x)
	outs := []*Node{y}
	pull := s.pulled(y, "u")
	if pull == nil {
		return outs
	}
	outs = append(outs, pull)
	if c.order != backward {
		outs = append(outs, s.pushed(y, "v"))
	}
	if c.order == twice {
		if second := s.pulled(pull, "w"); second != nil {
			outs = append(outs, second)
		}
	}
	return outs
}

func TestOpsInFloat32AgreeWithFloat64(t *testing.T) {
	for _, c := range cases() {
		double := newBench[float64](c.shapes, c.positive)
		want := run[float64](t, double.values, double.derivatives(c)...)
		single := newBench[float32](c.shapes, c.positive)
		got := run[float32](t, single.values, single.derivatives(c)...)
		require.NoError(t, single.b.Err(), c.name)
		require.Len(t, got, len(want))
		for k := range want {
			// Inputs are exact. Each result is a sum of at most 48 products of a few rounded factors: 64 roundings of 2⁻²⁴
			// are 4e-6, of terms that are at most 8 times the largest result.
			near(t, want[k], got[k], 8*64*0x1p-24, fmt.Sprintf("%s %v: %s", c.name, c.shapes, []string{"value", "VJP", "JVP", "second"}[k]))
		}
	}
}

func TestFusedOpsAreTheirDecomposition(t *testing.T) {
	fused := map[string]bool{}
	for _, c := range cases() {
		s := newBench[float64](c.shapes, c.positive)
		y := c.build(s.b, s.x)
		op, ok := opOf(y)
		require.True(t, ok)
		d, ok := op.(decomposer)
		if !ok {
			continue
		}
		fused[fmt.Sprintf("%T", op)] = true
		simple := d.decompose(s.b, args(y))
		require.NoError(t, s.b.Err(), c.name)
		res := run[float64](t, s.values, y, simple)
		near(t, res[1], res[0], 1e-13, fmt.Sprintf("%s %v", c.name, c.shapes))
	}
	require.Len(t, fused, 4, "attention, attentionGrad, softmaxGrad, normalizeGrad: %v", fused)
}

// tape runs nodes on Gorgonia's own machine.
func tape(t *testing.T, s *bench, outs ...*Node) [][]float64 {
	t.Helper()
	for _, n := range s.b.Graph().AllNodes() {
		if n.Op() == nil {
			data := slices.Clone(s.values[n.Name()])
			require.NoError(t, gorgonia.Let(n, tensor.New(tensor.WithShape(n.Shape()...), tensor.WithBacking(data))), n.Name())
		}
	}
	read := make([]gorgonia.Value, len(outs))
	for i, n := range outs {
		gorgonia.Read(n, &read[i])
	}
	m := gorgonia.NewTapeMachine(s.b.Graph())
	defer m.Close()
	res := make([][]float64, len(outs))
	for range 2 {
		require.NoError(t, m.RunAll())
		for i, v := range read {
			data, err := elements[float64](v)
			require.NoError(t, err)
			if res[i] != nil {
				require.Equal(t, res[i], data, "a second run differs")
			}
			res[i] = slices.Clone(data)
		}
		m.Reset()
	}
	return res
}

func TestGorgoniasMachineAndGradientAgreeWithProgram(t *testing.T) {
	for _, c := range cases() {
		if c.order == constant {
			continue
		}
		s := newBench[float64](c.shapes, c.positive)
		y := c.build(s.b, s.x)
		u := s.input("u", y.Shape(), false)
		ours := s.b.Gradient([]*Node{y}, []*Node{u}, s.x)
		theirs, err := gorgonia.Backpropagate(gorgonia.Nodes{y}, gorgonia.Nodes{u}, s.x)
		require.NoError(t, err, c.name)
		require.NoError(t, s.b.Err(), c.name)
		outs := append([]*Node{y}, theirs...)
		program, machine := run[float64](t, s.values, outs...), tape(t, s, outs...)
		for k := range outs {
			near(t, program[k], machine[k], 1e-12, fmt.Sprintf("%s %v: output %d of the TapeMachine", c.name, c.shapes, k))
		}
		for i, g := range ours {
			want := make([]float64, s.x[i].Shape().TotalSize())
			if g != nil {
				want = run[float64](t, s.values, g)[0]
			}
			near(t, want, program[1+i], 1e-12, fmt.Sprintf("%s %v: Backpropagate to input %d", c.name, c.shapes, i))
		}
	}
}
