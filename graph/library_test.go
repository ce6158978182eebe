package graph

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// libraryCase is one of Gorgonia's ops in one use.
type libraryCase struct {
	name     string
	reason   string
	shapes   [][]int
	build    func(x []*Node) (*Node, error)
	want     func(x []array) array
	order    int
	positive bool
}

// nonStable builds without Gorgonia's rewriting for the time of a test.
func nonStable(t *testing.T) {
	gorgonia.UseNonStable()
	t.Cleanup(gorgonia.UseStabilization)
}

func elementwise(name string, f func(*Node) (*Node, error), g func(float64) float64, positive bool, order int) []libraryCase {
	var table []libraryCase
	for _, s := range [][]int{{7}, {1}, {1, 1}, {3, 1}, {2, 3, 4}} {
		table = append(table, libraryCase{name: name, reason: "elementwise", shapes: [][]int{s}, positive: positive, order: order,
			build: func(x []*Node) (*Node, error) { return f(x[0]) },
			want:  func(x []array) array { return x[0].mapped(g) }})
	}
	return table
}

func constantOf(x *Node, v float64) *Node {
	if x.Dtype() == tensor.Float32 {
		return gorgonia.NewConstant(float32(v))
	}
	return gorgonia.NewConstant(v)
}

// scalar makes a scalar node of a tensor of one element.
func scalar(x *Node) (*Node, error) { return gorgonia.Sum(x) }

func subsets(n int) [][]int {
	var all [][]int
	for bits := 1; bits < 1<<n; bits++ {
		var s []int
		for i := range n {
			if bits>>i&1 == 1 {
				s = append(s, i)
			}
		}
		all = append(all, s)
	}
	return all
}

// without drops axes from a shape.
func without(s, axes []int) []int {
	var out []int
	for i, d := range s {
		if !slices.Contains(axes, i) {
			out = append(out, d)
		}
	}
	return out
}

// reduced folds a over some axes, which disappear.
func (a array) reduced(axes []int, start float64, fold func(acc, v float64) float64) array {
	kept := without(a.s, axes)
	out := array{kept, slices.Repeat([]float64{start}, prod(kept))}
	each(a.s, func(ix []int) float64 {
		k := 0
		for i, d := range a.s {
			if !slices.Contains(axes, i) {
				k = k*d + ix[i]
			}
		}
		out.v[k] = fold(out.v[k], a.at(ix...))
		return 0
	})
	return out
}

func rightCases() []libraryCase {
	var table []libraryCase
	add := func(c ...libraryCase) { table = append(table, c...) }
	add(elementwise("Abs", gorgonia.Abs, math.Abs, false, twice)...)
	add(elementwise("Neg", gorgonia.Neg, func(v float64) float64 { return -v }, false, twice)...)
	add(elementwise("Square", gorgonia.Square, func(v float64) float64 { return v * v }, false, twice)...)
	add(elementwise("Cube", gorgonia.Cube, func(v float64) float64 { return v * v * v }, false, twice)...)
	add(elementwise("Inverse", gorgonia.Inverse, func(v float64) float64 { return 1 / v }, false, twice)...)
	add(elementwise("Exp", gorgonia.Exp, math.Exp, false, twice)...)
	add(elementwise("Log", gorgonia.Log, math.Log, true, twice)...)
	add(elementwise("Log1p", gorgonia.Log1p, math.Log1p, true, twice)...)
	add(elementwise("Expm1", gorgonia.Expm1, math.Expm1, false, twice)...)
	add(elementwise("Sqrt", gorgonia.Sqrt, math.Sqrt, true, twice)...)
	add(elementwise("Sin", gorgonia.Sin, math.Sin, false, twice)...)
	add(elementwise("Cos", gorgonia.Cos, math.Cos, false, twice)...)
	add(elementwise("Tanh", gorgonia.Tanh, math.Tanh, false, twice)...)
	add(elementwise("Sigmoid", gorgonia.Sigmoid, func(v float64) float64 { return plain(Sigmoid, v) }, false, twice)...)
	add(elementwise("Softplus", gorgonia.Softplus, func(v float64) float64 { return plain(Softplus, v) }, false, twice)...)
	add(elementwise("Rectify", gorgonia.Rectify, func(v float64) float64 { return max(v, 0) }, false, twice)...)
	add(elementwise("LeakyRelu", func(x *Node) (*Node, error) { return gorgonia.LeakyRelu(x, 0.1) },
		func(v float64) float64 { return max(v, 0.1*v) }, false, twice)...)
	add(elementwise("Mish", gorgonia.Mish, func(v float64) float64 { return v * math.Tanh(plain(Softplus, v)) }, false, twice)...)
	add(elementwise("SiLU", func(x *Node) (*Node, error) {
		s, err := gorgonia.Sigmoid(x)
		if err != nil {
			return nil, err
		}
		return gorgonia.HadamardProd(x, s)
	}, func(v float64) float64 { return plain(SiLU, v) }, false, twice)...)
	add(elementwise("Log(1+x)", func(x *Node) (*Node, error) {
		s, err := gorgonia.Add(x, constantOf(x, 1))
		if err != nil {
			return nil, err
		}
		return gorgonia.Log(s)
	}, math.Log1p, true, twice)...)
	add(elementwise("Sign", gorgonia.Sign, func(v float64) float64 { return math.Copysign(1, v) }, false, constant)...)
	add(elementwise("mask", func(x *Node) (*Node, error) {
		m, err := gorgonia.Gt(x, constantOf(x, 0.5), true)
		if err != nil {
			return nil, err
		}
		return gorgonia.HadamardProd(x, m)
	}, func(v float64) float64 {
		if v > 0.5 {
			return v
		}
		return 0
	}, false, twice)...)

	binary := []struct {
		name string
		f    func(a, b *Node) (*Node, error)
		g    func(a, b float64) float64
	}{
		{"Add", gorgonia.Add, func(a, b float64) float64 { return a + b }},
		{"Sub", gorgonia.Sub, func(a, b float64) float64 { return a - b }},
		{"HadamardProd", gorgonia.HadamardProd, func(a, b float64) float64 { return a * b }},
		{"HadamardDiv", gorgonia.HadamardDiv, func(a, b float64) float64 { return a / b }},
		{"Pow", gorgonia.Pow, math.Pow},
	}
	for _, op := range binary {
		for _, s := range [][]int{{5}, {1}, {1, 1}, {2, 3}, {2, 3, 4}} {
			add(libraryCase{name: op.name, reason: "tensor and tensor", shapes: [][]int{s, s}, positive: true,
				build: func(x []*Node) (*Node, error) { return op.f(x[0], x[1]) },
				want: func(x []array) array {
					return each(s, func(ix []int) float64 { return op.g(x[0].at(ix...), x[1].at(ix...)) })
				}})
			add(libraryCase{name: op.name + " of one node", reason: "x∘x", shapes: [][]int{s}, positive: true,
				build: func(x []*Node) (*Node, error) { return op.f(x[0], x[0]) },
				want:  func(x []array) array { return x[0].mapped(func(v float64) float64 { return op.g(v, v) }) }})
			add(libraryCase{name: op.name + " by a constant", reason: "constants to the right", shapes: [][]int{s}, positive: true,
				build: func(x []*Node) (*Node, error) { return op.f(x[0], constantOf(x[0], 3)) },
				want:  func(x []array) array { return x[0].mapped(func(v float64) float64 { return op.g(v, 3) }) }})
			add(libraryCase{name: op.name + " of a constant", reason: "constants to the left", shapes: [][]int{s}, positive: true,
				build: func(x []*Node) (*Node, error) { return op.f(constantOf(x[0], 3), x[0]) },
				want:  func(x []array) array { return x[0].mapped(func(v float64) float64 { return op.g(3, v) }) }})
			add(libraryCase{name: op.name + " by a scalar node", reason: "a time that scales an image", shapes: [][]int{s, {1}}, positive: true,
				build: func(x []*Node) (*Node, error) {
					v, err := scalar(x[1])
					if err != nil {
						return nil, err
					}
					return op.f(x[0], v)
				},
				want: func(x []array) array {
					return x[0].mapped(func(v float64) float64 { return op.g(v, x[1].v[0]) })
				}})
			add(libraryCase{name: op.name + " of a scalar node", reason: "the scalar to the left", shapes: [][]int{s, {1}}, positive: true,
				build: func(x []*Node) (*Node, error) {
					v, err := scalar(x[1])
					if err != nil {
						return nil, err
					}
					return op.f(v, x[0])
				},
				want: func(x []array) array {
					return x[0].mapped(func(v float64) float64 { return op.g(x[1].v[0], v) })
				}})
		}
	}
	broadcasts := []struct {
		name string
		f    func(a, b *Node, l, r []byte) (*Node, error)
		g    func(a, b float64) float64
	}{
		{"BroadcastAdd", gorgonia.BroadcastAdd, func(a, b float64) float64 { return a + b }},
		{"BroadcastSub", gorgonia.BroadcastSub, func(a, b float64) float64 { return a - b }},
		{"BroadcastHadamardProd", gorgonia.BroadcastHadamardProd, func(a, b float64) float64 { return a * b }},
		{"BroadcastHadamardDiv", gorgonia.BroadcastHadamardDiv, func(a, b float64) float64 { return a / b }},
		{"BroadcastPow", gorgonia.BroadcastPow, math.Pow},
	}
	for _, op := range broadcasts {
		for d := 2; d <= 4; d++ {
			s := []int{2, 3, 4, 2}[:d]
			for axis := range d {
				if d == 4 && axis == 2 {
					continue // its gradient reduces axis 2 of four: refused
				}
				small := with(s, axis, 1)
				for side := range 2 {
					add(libraryCase{name: op.name, reason: fmt.Sprintf("axis %d of %d, side %d", axis, d, side), shapes: [][]int{s, small}, positive: true,
						build: func(x []*Node) (*Node, error) {
							if side == 0 {
								return op.f(x[0], x[1], nil, []byte{byte(axis)})
							}
							return op.f(x[1], x[0], []byte{byte(axis)}, nil)
						},
						want: func(x []array) array {
							return each(s, func(ix []int) float64 {
								if side == 0 {
									return op.g(x[0].at(ix...), x[1].at(ix...))
								}
								return op.g(x[1].at(ix...), x[0].at(ix...))
							})
						}})
				}
			}
		}
	}
	add(libraryCase{name: "BroadcastAdd of a vector", reason: "a bias", shapes: [][]int{{3, 4}, {4}},
		build: func(x []*Node) (*Node, error) { return gorgonia.BroadcastAdd(x[0], x[1], nil, []byte{0}) },
		want: func(x []array) array {
			return each([]int{3, 4}, func(ix []int) float64 { return x[0].at(ix...) + x[1].at(ix[1]) })
		}})
	add(libraryCase{name: "Auto", reason: "equal numbers of axes", shapes: [][]int{{3, 4}, {3, 1}},
		build: func(x []*Node) (*Node, error) { return gorgonia.Auto(gorgonia.BroadcastHadamardProd, x[0], x[1]) },
		want: func(x []array) array {
			return each([]int{3, 4}, func(ix []int) float64 { return x[0].at(ix...) * x[1].at(ix...) })
		}})

	for _, m := range [][3]int{{2, 3, 4}, {1, 3, 2}, {3, 1, 2}, {2, 3, 1}, {1, 1, 1}} {
		add(libraryCase{name: "Mul of matrices", reason: "lengths of 1", shapes: [][]int{{m[0], m[2]}, {m[2], m[1]}},
			build: func(x []*Node) (*Node, error) { return gorgonia.Mul(x[0], x[1]) },
			want: func(x []array) array {
				return each([]int{m[0], m[1]}, func(ix []int) (v float64) {
					for l := range m[2] {
						v += x[0].at(ix[0], l) * x[1].at(l, ix[1])
					}
					return v
				})
			}})
	}
	add(libraryCase{name: "Mul of matrix and vector", reason: "its gradient is an outer product, whose own is wrong", shapes: [][]int{{2, 3}, {3}}, order: backward,
		build: func(x []*Node) (*Node, error) { return gorgonia.Mul(x[0], x[1]) },
		want: func(x []array) array {
			return each([]int{2}, func(ix []int) (v float64) {
				for l := range 3 {
					v += x[0].at(ix[0], l) * x[1].at(l)
				}
				return v
			})
		}})
	add(libraryCase{name: "Mul of vector and matrix", reason: "its gradient is an outer product, whose own is wrong", shapes: [][]int{{2}, {2, 3}}, order: backward,
		build: func(x []*Node) (*Node, error) { return gorgonia.Mul(x[0], x[1]) },
		want: func(x []array) array {
			return each([]int{3}, func(ix []int) (v float64) {
				for l := range 2 {
					v += x[0].at(l) * x[1].at(l, ix[0])
				}
				return v
			})
		}})
	add(libraryCase{name: "Mul of vectors", reason: "an inner product", shapes: [][]int{{4}, {4}},
		build: func(x []*Node) (*Node, error) { return gorgonia.Mul(x[0], x[1]) },
		want:  func(x []array) array { return array{nil, []float64{dot(x[0].v, x[1].v)}} }})
	for _, lead := range [][]int{{3}, {2, 3}} {
		for _, t := range [][2]bool{{}, {true, false}, {false, true}, {true, true}} {
			a, c := append(slices.Clone(lead), 2, 4), append(slices.Clone(lead), 4, 3)
			d := len(lead)
			if t[0] {
				a[d], a[d+1] = a[d+1], a[d]
			}
			if t[1] {
				c[d], c[d+1] = c[d+1], c[d]
			}
			add(libraryCase{name: "BatchedMatMul", reason: fmt.Sprint("transposed ", t), shapes: [][]int{a, c},
				build: func(x []*Node) (*Node, error) { return gorgonia.BatchedMatMul(x[0], x[1], t[0], t[1]) },
				want: func(x []array) array {
					return each(append(slices.Clone(lead), 2, 3), func(ix []int) (v float64) {
						for l := range 4 {
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
	add(libraryCase{name: "Tensordot", reason: "one axis of each", shapes: [][]int{{2, 3, 4}, {4, 5}},
		build: func(x []*Node) (*Node, error) { return gorgonia.Tensordot([]int{2}, []int{0}, x[0], x[1]) },
		want: func(x []array) array {
			return each([]int{2, 3, 5}, func(ix []int) (v float64) {
				for l := range 4 {
					v += x[0].at(ix[0], ix[1], l) * x[1].at(l, ix[2])
				}
				return v
			})
		}})

	reductions := []struct {
		name  string
		f     func(a *Node, along ...int) (*Node, error)
		start float64
		fold  func(acc, v float64) float64
		mean  bool
	}{
		{"Sum", gorgonia.Sum, 0, func(a, v float64) float64 { return a + v }, false},
		{"Mean", gorgonia.Mean, 0, func(a, v float64) float64 { return a + v }, true},
		{"Max", gorgonia.Max, math.Inf(-1), func(a, v float64) float64 { return max(a, v) }, false},
	}
	for _, op := range reductions {
		for d := 1; d <= 4; d++ {
			s := []int{3, 4, 2, 5}[:d]
			for _, axes := range subsets(d) {
				if d == 4 && slices.Contains(axes, 2) && len(axes) < 4 {
					continue // refused
				}
				upTo := twice
				if op.name == "Max" && len(axes) == 4 {
					upTo = backward // its second derivative reduces axis 2 of four: refused
				}
				add(libraryCase{name: op.name, reason: fmt.Sprintf("axes %v of %d", axes, d), shapes: [][]int{s}, order: upTo,
					build: func(x []*Node) (*Node, error) { return op.f(x[0], slices.Clone(axes)...) },
					want: func(x []array) array {
						r := x[0].reduced(axes, op.start, op.fold)
						if op.mean {
							n := float64(prod(s) / len(r.v))
							r = r.mapped(func(v float64) float64 { return v / n })
						}
						return r
					}})
			}
		}
	}
	for _, p := range []int{2, 3} {
		add(libraryCase{name: "Norm", reason: fmt.Sprint("p = ", p), shapes: [][]int{{3, 4}}, positive: true,
			build: func(x []*Node) (*Node, error) { return gorgonia.Norm(x[0], 1, p) },
			want: func(x []array) array {
				r := x[0].reduced([]int{1}, 0, func(a, v float64) float64 { return a + math.Pow(v, float64(p)) })
				return r.mapped(func(v float64) float64 { return math.Pow(v, 1/float64(p)) })
			}})
	}
	slicings := []struct {
		reason string
		shape  []int
		slices []tensor.Slice
		to     []int
		from   func(ix []int) []int
	}{
		{"a range of a vector", []int{7}, []tensor.Slice{gorgonia.S(2, 5)}, []int{3}, func(ix []int) []int { return []int{ix[0] + 2} }},
		{"one row", []int{4, 3}, []tensor.Slice{gorgonia.S(2)}, []int{3}, func(ix []int) []int { return []int{2, ix[0]} }},
		{"rows", []int{4, 3}, []tensor.Slice{gorgonia.S(1, 3)}, []int{2, 3}, func(ix []int) []int { return []int{1 + ix[0], ix[1]} }},
		{"columns", []int{4, 3}, []tensor.Slice{nil, gorgonia.S(1, 3)}, []int{4, 2}, func(ix []int) []int { return []int{ix[0], 1 + ix[1]} }},
		{"one column", []int{4, 3}, []tensor.Slice{nil, gorgonia.S(1)}, []int{4}, func(ix []int) []int { return []int{ix[0], 1} }},
		{"one element", []int{4, 3}, []tensor.Slice{gorgonia.S(3), gorgonia.S(1)}, nil, func([]int) []int { return []int{3, 1} }},
		{"steps", []int{8}, []tensor.Slice{gorgonia.S(1, 7, 2)}, []int{3}, func(ix []int) []int { return []int{1 + 2*ix[0]} }},
		{"three axes", []int{4, 3, 5}, []tensor.Slice{gorgonia.S(1, 3), nil, gorgonia.S(0, 4)}, []int{2, 3, 4}, func(ix []int) []int { return []int{1 + ix[0], ix[1], ix[2]} }},
		{"an axis of 256", []int{256}, []tensor.Slice{gorgonia.S(250, 256)}, []int{6}, func(ix []int) []int { return []int{250 + ix[0]} }},
	}
	for _, c := range slicings {
		add(libraryCase{name: "Slice", reason: c.reason, shapes: [][]int{c.shape},
			build: func(x []*Node) (*Node, error) { return gorgonia.Slice(x[0], c.slices...) },
			want: func(x []array) array {
				return each(c.to, func(ix []int) float64 { return x[0].at(c.from(ix)...) })
			}})
	}
	for axis := range 3 {
		s := []int{2, 3, 2}
		add(libraryCase{name: "Concat", reason: fmt.Sprintf("axis %d, a part of length 1", axis), shapes: [][]int{s, with(s, axis, 1), with(s, axis, 4)},
			build: func(x []*Node) (*Node, error) { return gorgonia.Concat(axis, x...) },
			want: func(x []array) array {
				return each(with(s, axis, s[axis]+5), func(ix []int) float64 {
					switch j := ix[axis] - s[axis]; {
					case j < 0:
						return x[0].at(ix...)
					case j < 1:
						return x[1].at(with(ix, axis, 0)...)
					default:
						return x[2].at(with(ix, axis, j-1)...)
					}
				})
			}})
	}
	add(libraryCase{name: "Concat of one node", reason: "it is its input, under another name", shapes: [][]int{{2, 3}},
		build: func(x []*Node) (*Node, error) { return gorgonia.Concat(0, x[0]) },
		want:  func(x []array) array { return x[0] }})
	add(libraryCase{name: "Concat of a node with itself", reason: "two cotangents for one node", shapes: [][]int{{2, 3}},
		build: func(x []*Node) (*Node, error) { return gorgonia.Concat(0, x[0], x[0]) },
		want:  func(x []array) array { return array{[]int{4, 3}, append(slices.Clone(x[0].v), x[0].v...)} }})
	add(libraryCase{name: "Unconcat", reason: "the second of three parts", shapes: [][]int{{6, 2}},
		build: func(x []*Node) (*Node, error) {
			parts, err := gorgonia.Unconcat(x[0], 0, 3)
			if err != nil {
				return nil, err
			}
			return parts[1], nil
		},
		want: func(x []array) array { return array{[]int{2, 2}, x[0].v[4:8]} }})
	add(libraryCase{name: "Reshape", reason: "TapeMachine overwrites its source; a program must not", shapes: [][]int{{2, 6}},
		build: func(x []*Node) (*Node, error) {
			y, err := gorgonia.Add(x[0], x[0])
			if err != nil {
				return nil, err
			}
			r, err := gorgonia.Reshape(y, tensor.Shape{3, 4})
			if err != nil {
				return nil, err
			}
			square, err := gorgonia.HadamardProd(r, r)
			if err != nil {
				return nil, err
			}
			back, err := gorgonia.Reshape(square, tensor.Shape{2, 6})
			if err != nil {
				return nil, err
			}
			return gorgonia.Add(back, y)
		},
		want: func(x []array) array { return x[0].mapped(func(v float64) float64 { return 4*v*v + 2*v }) }})
	add(libraryCase{name: "Ravel", reason: "a reshape", shapes: [][]int{{2, 3}},
		build: func(x []*Node) (*Node, error) { return gorgonia.Ravel(x[0]) },
		want:  func(x []array) array { return array{[]int{6}, x[0].v} }})
	add(libraryCase{name: "KeepDims", reason: "a mean that stays", shapes: [][]int{{3, 4}},
		build: func(x []*Node) (*Node, error) {
			return gorgonia.KeepDims(x[0], false, func(a *Node) (*Node, error) { return gorgonia.Mean(a, 1) })
		},
		want: func(x []array) array {
			return each([]int{3, 1}, func(ix []int) float64 { return sumOf(x[0].v[4*ix[0]:][:4]) / 4 })
		}})
	for _, p := range [][]int{{1, 0}, {0, 2, 1}, {2, 0, 1}, {2, 1, 0}, {0, 2, 1, 3}, {3, 1, 0, 2}} {
		s := []int{2, 3, 4, 2}[:len(p)]
		add(libraryCase{name: "Transpose", reason: fmt.Sprint(p), shapes: [][]int{s},
			build: func(x []*Node) (*Node, error) { return gorgonia.Transpose(x[0], slices.Clone(p)...) },
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
	add(libraryCase{name: "MinBetween", reason: "elementwise", shapes: [][]int{{3, 4}, {3, 4}},
		build: func(x []*Node) (*Node, error) { return gorgonia.MinBetween(x[0], x[1]) },
		want: func(x []array) array {
			return each([]int{3, 4}, func(ix []int) float64 { return min(x[0].at(ix...), x[1].at(ix...)) })
		}})
	add(libraryCase{name: "MaxBetween", reason: "elementwise", shapes: [][]int{{3, 4}, {3, 4}},
		build: func(x []*Node) (*Node, error) { return gorgonia.MaxBetween(x[0], x[1]) },
		want: func(x []array) array {
			return each([]int{3, 4}, func(ix []int) float64 { return max(x[0].at(ix...), x[1].at(ix...)) })
		}})
	for axis := range 3 {
		add(libraryCase{name: "SoftMax", reason: fmt.Sprint("axis ", axis), shapes: [][]int{{2, 3, 4}},
			build: func(x []*Node) (*Node, error) { return gorgonia.SoftMax(x[0], axis) },
			want: func(x []array) array {
				e := x[0].mapped(math.Exp)
				z := e.reduced([]int{axis}, 0, func(a, v float64) float64 { return a + v })
				return each(e.s, func(ix []int) float64 { return e.at(ix...) / z.at(slices.Delete(slices.Clone(ix), axis, axis+1)...) })
			}})
	}
	for _, s := range [][]int{{5}, {3, 4}} {
		add(libraryCase{name: "SoftMax", reason: "the default axis", shapes: [][]int{s},
			build: func(x []*Node) (*Node, error) { return gorgonia.SoftMax(x[0]) },
			want:  func(x []array) array { return x[0].rows(func(r []float64) []float64 { return softmaxOf(1, r) }) }})
	}
	for _, c := range []struct{ k, pad, stride int }{{3, 1, 1}, {1, 0, 1}, {3, 0, 2}} {
		out := (5+2*c.pad-c.k)/c.stride + 1
		add(libraryCase{name: "Conv2d", reason: fmt.Sprintf("kernel %d, pad %d, stride %d", c.k, c.pad, c.stride), shapes: [][]int{{2, 3, 5, 5}, {4, 3, c.k, c.k}},
			build: func(x []*Node) (*Node, error) {
				return gorgonia.Conv2d(x[0], x[1], tensor.Shape{c.k, c.k}, []int{c.pad, c.pad}, []int{c.stride, c.stride}, []int{1, 1})
			},
			want: func(x []array) array {
				return each([]int{2, 4, out, out}, func(ix []int) (v float64) {
					for ch := range 3 {
						for i := range c.k {
							for j := range c.k {
								y, w := ix[2]*c.stride+i-c.pad, ix[3]*c.stride+j-c.pad
								if y >= 0 && y < 5 && w >= 0 && w < 5 {
									v += x[0].at(ix[0], ch, y, w) * x[1].v[((ix[1]*3+ch)*c.k+i)*c.k+j]
								}
							}
						}
					}
					return v
				})
			}})
	}
	add(libraryCase{name: "Conv1d", reason: "kernel 3, pad 1", shapes: [][]int{{2, 2, 1, 6}, {3, 2, 1, 3}},
		build: func(x []*Node) (*Node, error) { return gorgonia.Conv1d(x[0], x[1], 3, 1, 1, 1) },
		want: func(x []array) array {
			return each([]int{2, 3, 1, 6}, func(ix []int) (v float64) {
				for ch := range 2 {
					for i := range 3 {
						if y := ix[3] + i - 1; y >= 0 && y < 6 {
							v += x[0].at(ix[0], ch, 0, y) * x[1].at(ix[1], ch, 0, i)
						}
					}
				}
				return v
			})
		}})
	add(libraryCase{name: "Upsample2D", reason: "twice the size", shapes: [][]int{{2, 2, 3, 2}},
		build: func(x []*Node) (*Node, error) { return gorgonia.Upsample2D(x[0], 2) },
		want: func(x []array) array {
			return each([]int{2, 2, 6, 4}, func(ix []int) float64 { return x[0].at(ix[0], ix[1], ix[2]/2, ix[3]/2) })
		}})
	add(libraryCase{name: "MaxPool2D", reason: "windows of 2", shapes: [][]int{{2, 2, 4, 6}}, order: backward,
		build: func(x []*Node) (*Node, error) {
			return gorgonia.MaxPool2D(x[0], tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
		},
		want: func(x []array) array {
			return pooled(x[0], math.Inf(-1), func(a, v float64) float64 { return max(a, v) })
		}})
	for _, s := range [][]int{{4, 3}, {2, 3, 2, 2}} {
		add(libraryCase{name: "BatchNorm", reason: "statistics of the batch", shapes: [][]int{s}, order: backward,
			build: func(x []*Node) (*Node, error) {
				ones := tensor.Ones(x[0].Dtype(), with(onesLike(s), 1, s[1])...)
				scale := gorgonia.NewTensor(x[0].Graph(), x[0].Dtype(), len(s), gorgonia.WithShape(ones.Shape()...), gorgonia.WithName("γ"), gorgonia.WithValue(ones))
				zeros := tensor.New(tensor.Of(x[0].Dtype()), tensor.WithShape(ones.Shape()...))
				bias := gorgonia.NewTensor(x[0].Graph(), x[0].Dtype(), len(s), gorgonia.WithShape(ones.Shape()...), gorgonia.WithName("β"), gorgonia.WithValue(zeros))
				y, _, _, _, err := gorgonia.BatchNorm(x[0], scale, bias, 0.9, 1e-2)
				return y, err
			}})
	}
	add(libraryCase{name: "BinaryXent", reason: "a loss of several ops", shapes: [][]int{{3, 4}, {3, 4}}, positive: true,
		build: func(x []*Node) (*Node, error) {
			p, err := gorgonia.Sigmoid(x[0])
			if err != nil {
				return nil, err
			}
			return gorgonia.BinaryXent(p, x[1])
		},
		want: func(x []array) array {
			return each([]int{3, 4}, func(ix []int) float64 {
				p, y := plain(Sigmoid, x[0].at(ix...)), x[1].at(ix...)
				return -(y*math.Log(p) + (1-y)*math.Log(1-p))
			})
		}})
	return table
}

func onesLike(s []int) []int { return slices.Repeat([]int{1}, len(s)) }

func pooled(a array, start float64, fold func(acc, v float64) float64) array {
	s := []int{a.s[0], a.s[1], a.s[2] / 2, a.s[3] / 2}
	return each(s, func(ix []int) float64 {
		v := start
		for i := range 2 {
			for j := range 2 {
				v = fold(v, a.at(ix[0], ix[1], 2*ix[2]+i, 2*ix[3]+j))
			}
		}
		return v
	})
}

func TestRightLibraryOpsInFloat32(t *testing.T) {
	nonStable(t)
	for _, c := range rightCases() {
		compute := func(s *bench) (outs []*Node) {
			y, err := c.build(s.x)
			require.NoError(t, err, c.name)
			if y.Dims() == 0 {
				y = s.b.Reshape(y, 1)
			}
			outs = append(outs, y)
			if pull := s.pulled(y, "u"); pull != nil {
				outs = append(outs, pull)
			}
			if c.order < backward {
				if push := s.pushed(y, "v"); push != nil {
					outs = append(outs, push)
				}
			}
			require.NoError(t, s.b.Err(), c.name)
			return outs
		}
		double, single := newBench[float64](c.shapes, c.positive), newBench[float32](c.shapes, c.positive)
		want := run[float64](t, double.values, compute(double)...)
		got := run[float32](t, single.values, compute(single)...)
		for k := range want {
			if largest(want[k]) < 1e-12 {
				continue // x−x and x/x are constant
			}
			// Sums of at most 120 terms of a few roundings of 2⁻²⁴ each, of terms up to twice the result: 512 roundings.
			near(t, want[k], got[k], 512*0x1p-24, fmt.Sprintf("%s %s: %d", c.name, c.reason, k))
		}
	}
}

// TestLibraryOpsDifferentiateTwice is for the ops whose derivatives are ops that are right themselves.
func TestLibraryOpsDifferentiateTwice(t *testing.T) {
	nonStable(t)
	once := []string{"Conv2d", "Conv1d", "SoftMax", "Upsample2D"}
	seen := map[string]int{}
	for _, c := range rightCases() {
		// Two uses of each will do; a slice of 256 takes long, and repeats along axis 2 of four are refused.
		if seen[c.name]++; c.order != twice || slices.Contains(once, c.name) || seen[c.name] > 2 {
			continue
		}
		t.Run(c.name+" "+c.reason, func(t *testing.T) {
			s := newBench[float64](c.shapes, c.positive)
			y, err := c.build(s.x)
			require.NoError(t, err)
			if y.Dims() == 0 {
				y = s.b.Reshape(y, 1)
			}
			pull := s.pulled(y, "u")
			if largest(run[float64](t, s.values, pull)[0]) > 1e-12 { // x/x and x−x are constant
				s.differentiated(t, pull, "", backward)
			}
		})
	}
}

func TestRightLibraryOps(t *testing.T) {
	nonStable(t)
	for _, c := range rightCases() {
		t.Run(c.name+" "+c.reason, func(t *testing.T) {
			s := newBench[float64](c.shapes, c.positive)
			y, err := c.build(s.x)
			require.NoError(t, err)
			before := map[string][]float64{}
			for name, v := range s.values {
				before[name] = slices.Clone(v)
			}
			if c.want != nil {
				in := make([]array, len(s.x))
				for i, n := range s.x {
					in[i] = array{c.shapes[i], s.values[n.Name()]}
				}
				want := c.want(in)
				require.Equal(t, prod(want.s), y.Shape().TotalSize())
				near(t, want.v, run[float64](t, s.values, y)[0], 1e-12, "value")
			}
			s.differentiated(t, y, "", c.order)
			for name, v := range before {
				require.Equal(t, v, s.values[name], "the program wrote to input %s", name)
			}
		})
	}
}

// Where a wrong op is refused.
const (
	atCompile    = iota // its value is wrong
	atDerivative        // its value is right, its derivatives are not
	atSecond            // only its second derivative is wrong
)

type refusedCase struct {
	name   string
	reason string
	shapes [][]int
	build  func(x []*Node) (*Node, error)
	where  int
	says   string // the replacement that the error names
	want   func(x array) array
}

func refusedCases() []refusedCase {
	table := []refusedCase{
		{"Log2", "gradient off by ln²2", [][]int{{5}}, func(x []*Node) (*Node, error) { return gorgonia.Log2(x[0]) }, atDerivative, "Log(x)·(1/ln 2)",
			func(x array) array { return x.mapped(math.Log2) }},
		{"InverseSqrt", "wrong gradient", [][]int{{5}}, func(x []*Node) (*Node, error) { return gorgonia.InverseSqrt(x[0]) }, atDerivative, "Inverse(Sqrt(x))",
			func(x array) array { return x.mapped(func(v float64) float64 { return 1 / math.Sqrt(v) }) }},
		{"OuterProd", "wrong gradient", [][]int{{3}, {2}}, func(x []*Node) (*Node, error) { return gorgonia.OuterProd(x[0], x[1]) }, atDerivative, "(m, 1) and (1, n)", nil},
		{"matrix·vector", "its gradient is an OuterProd", [][]int{{2, 3}, {3}}, func(x []*Node) (*Node, error) { return gorgonia.Mul(x[0], x[1]) }, atSecond, "(k, 1) matrix", nil},
		{"LogSumExp", "wrong value", [][]int{{4}}, func(x []*Node) (*Node, error) { return gorgonia.LogSumExp(x[0], 0) }, atCompile, "Builder.LogSumExp", nil},
		{"AveragePool2D", "wrong gradient", [][]int{{1, 2, 4, 4}}, func(x []*Node) (*Node, error) {
			return gorgonia.AveragePool2D(x[0], tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
		}, atDerivative, "Mean", func(x array) array { return pooled(x, 0, func(a, v float64) float64 { return a + v/4 }) }},
		{"GlobalAveragePool2D", "panic when differentiated", [][]int{{2, 2, 4, 4}}, func(x []*Node) (*Node, error) { return gorgonia.GlobalAveragePool2D(x[0]) }, atDerivative, "Builder.Mean",
			func(x array) array {
				return x.reduced([]int{2, 3}, 0, func(a, v float64) float64 { return a + v/16 })
			}},
		{"Dropout", "gradient divides by p", [][]int{{6}}, func(x []*Node) (*Node, error) { return gorgonia.Dropout(x[0], 0.3) }, atCompile, "mask that is an input", nil},
		{"At", "fails when run", [][]int{{6}}, func(x []*Node) (*Node, error) { return gorgonia.At(x[0], 2) }, atCompile, "Builder.Slice", nil},
		{"GroupNorm", "prints on every backward run", [][]int{{2, 4, 3, 3}}, func(x []*Node) (*Node, error) {
			one := func(name string) *Node {
				return gorgonia.NewTensor(x[0].Graph(), x[0].Dtype(), 4, gorgonia.WithShape(1, 4, 1, 1), gorgonia.WithName(name), gorgonia.WithValue(tensor.Ones(x[0].Dtype(), 1, 4, 1, 1)))
			}
			return gorgonia.GroupNorm(x[0], one("scale"), one("bias"), 2, 4, 1e-5)
		}, atDerivative, "Builder.LayerNorm", nil},
		{"LogSoftMax", "merged with SoftMax", [][]int{{3, 4}}, func(x []*Node) (*Node, error) { return gorgonia.LogSoftMax(x[0]) }, atCompile, "Builder.LogSumExp", nil},
		{"long Slice", "merged with one 256 further on", [][]int{{300}}, func(x []*Node) (*Node, error) { return gorgonia.Slice(x[0], gorgonia.S(256, 258)) }, atCompile, "Builder.Slice", nil},
		{"GaussianRandomNode", "two are one", [][]int{{3}}, func(x []*Node) (*Node, error) {
			return gorgonia.Add(x[0], gorgonia.GaussianRandomNode(x[0].Graph(), x[0].Dtype(), 0, 1, 3))
		}, atCompile, "make the noise an input", nil},
		{"UniformRandomNode", "two are one", [][]int{{3}}, func(x []*Node) (*Node, error) {
			return gorgonia.Add(x[0], gorgonia.UniformRandomNode(x[0].Graph(), x[0].Dtype(), 0, 1, 3))
		}, atCompile, "make the noise an input", nil},
		{"BinomialRandomNode", "two are one", [][]int{{3}}, func(x []*Node) (*Node, error) {
			return gorgonia.Add(x[0], gorgonia.BinomialRandomNode(x[0].Graph(), x[0].Dtype(), 3, 0.5, 3))
		}, atCompile, "make the noise an input", nil},
		{"tensor constant", "merged with what prints alike", [][]int{{3}}, func(x []*Node) (*Node, error) {
			return gorgonia.Add(x[0], gorgonia.NewConstant(tensor.Ones(x[0].Dtype(), 3)))
		}, atCompile, "make it an input", nil},
		{"Sparsemax", "never verified", [][]int{{3, 4}}, func(x []*Node) (*Node, error) { return gorgonia.Sparsemax(x[0]) }, atCompile, "Op of your own", nil},
		{"MaxPool2D", "no second derivative", [][]int{{1, 1, 4, 4}}, func(x []*Node) (*Node, error) {
			return gorgonia.MaxPool2D(x[0], tensor.Shape{2, 2}, []int{0, 0}, []int{2, 2})
		}, atSecond, "no derivative of it", nil},
		{"SoftMax", "no second derivative", [][]int{{3, 4}}, func(x []*Node) (*Node, error) { return gorgonia.SoftMax(x[0]) }, atSecond, "ops of this package", nil},
		{"Conv2d", "a second derivative that panics in a goroutine", [][]int{{1, 2, 4, 4}, {3, 2, 3, 3}}, func(x []*Node) (*Node, error) {
			return gorgonia.Conv2d(x[0], x[1], tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1})
		}, atSecond, "forward mode", nil},
	}
	for _, axes := range [][]int{{2}, {2, 3}, {1, 2}, {0, 2}} {
		table = append(table,
			refusedCase{fmt.Sprintf("Sum over %v of four axes", axes), "wrong value", [][]int{{2, 3, 4, 5}}, func(x []*Node) (*Node, error) { return gorgonia.Sum(x[0], slices.Clone(axes)...) }, atCompile, "Builder.Sum", nil},
			refusedCase{fmt.Sprintf("Max over %v of four axes", axes), "wrong value", [][]int{{2, 3, 4, 5}}, func(x []*Node) (*Node, error) { return gorgonia.Max(x[0], slices.Clone(axes)...) }, atCompile, "at most three axes", nil})
	}
	return table
}

func TestWrongLibraryOpsAreRefused(t *testing.T) {
	nonStable(t)
	for _, c := range refusedCases() {
		t.Run(c.name, func(t *testing.T) {
			s := newBench[float64](c.shapes, true)
			y, err := c.build(s.x)
			require.NoError(t, err)
			_, err = Compile[float64](y)
			if c.where == atCompile {
				require.ErrorContains(t, err, c.says)
				return
			}
			require.NoError(t, err)
			value := run[float64](t, s.values, y)[0]
			if c.want != nil {
				near(t, c.want(array{c.shapes[0], s.values["x0"]}).v, value, 1e-12, "the value, which is right")
			}
			if y.Dims() == 0 {
				y = s.b.Reshape(y, 1)
			}
			pull := s.pulled(y, "u")
			if c.where == atSecond {
				require.NoError(t, s.b.Err())
				s.pulled(pull, "w")
				require.ErrorContains(t, s.b.Err(), c.says)
				return
			}
			require.ErrorContains(t, s.b.Err(), c.says)
			require.ErrorContains(t, s.b.Err(), "ops_test.go:", "the line of the call")

			forward := newBench[float64](c.shapes, true)
			y, err = c.build(forward.x)
			require.NoError(t, err)
			forward.pushed(y, "v")
			require.ErrorContains(t, forward.b.Err(), c.says)
		})
	}
}

// TestRefusalsAreJustified runs what is refused, past the refusal: when Gorgonia mends an op, this fails, and the op can
// be let in.
func TestRefusalsAreJustified(t *testing.T) {
	nonStable(t)
	for _, axes := range [][]int{{2}, {2, 3}} {
		x := tensor.New(tensor.WithShape(2, 3, 4, 5), tensor.WithBacking(tensor.Range(tensor.Float64, 0, 120)))
		got, err := x.Sum(slices.Clone(axes)...)
		require.NoError(t, err)
		want := array{[]int{2, 3, 4, 5}, x.Float64s()}.reduced(axes, 0, func(a, v float64) float64 { return a + v })
		require.NotEqual(t, want.v, got.Float64s(), "sum over %v", axes)
	}
	g := gorgonia.NewGraph()
	x := gorgonia.NewVector(g, tensor.Float64, gorgonia.WithShape(600), gorgonia.WithName("x"))
	a, err := gorgonia.Slice(x, gorgonia.S(0, 2))
	require.NoError(t, err)
	b, err := gorgonia.Slice(x, gorgonia.S(256, 258))
	require.NoError(t, err)
	require.Same(t, a, b, "slices that differ by 256 are one node")
	p, err := gorgonia.SoftMax(x)
	require.NoError(t, err)
	l, err := gorgonia.LogSoftMax(x)
	require.NoError(t, err)
	require.Same(t, p, l, "SoftMax and LogSoftMax are one node")
	for name, build := range map[string]func(*Node) (*Node, error){"Log2": gorgonia.Log2, "InverseSqrt": gorgonia.InverseSqrt} {
		s := newBench[float64]([][]int{{3}}, true)
		y, err := build(s.x[0])
		require.NoError(t, err)
		d, err := y.Op().(gorgonia.SDOp).SymDiff(gorgonia.Nodes{s.x[0]}, y, s.input("u", []int{3}, true))
		require.NoError(t, err)
		got := run[float64](t, s.values, d[0])[0]
		want := slope(func(eps float64) []float64 {
			out := make([]float64, 3)
			for i, v := range s.values["x0"] {
				if v += eps; name == "Log2" {
					out[i] = math.Log2(v) * s.values["u"][i]
				} else {
					out[i] = s.values["u"][i] / math.Sqrt(v)
				}
			}
			return out
		})
		require.Greater(t, math.Abs(got[0]-want[0]), 1e-2, name)
	}
}

func TestStabilisationThatBreaksAGraphIsNamed(t *testing.T) {
	// Gorgonia replaces Log(1+x) by Log1p(x) and takes the sum out of the graph although y needs it. It does so where the
	// constant is its own 1, which any gradient brings in.
	b := NewBuilder[float64]()
	x := b.Input("x", 3)
	square, err := gorgonia.Square(x)
	require.NoError(t, err)
	cost, err := gorgonia.Sum(square)
	require.NoError(t, err)
	_, err = gorgonia.Grad(cost, x)
	require.NoError(t, err)
	sum, err := gorgonia.Add(x, gorgonia.NewConstant(1.0))
	require.NoError(t, err)
	y, err := gorgonia.Square(sum)
	require.NoError(t, err)
	z, err := gorgonia.Log(sum)
	require.NoError(t, err)
	w, err := gorgonia.Add(y, z)
	require.NoError(t, err)
	_, err = Compile[float64](w)
	require.ErrorContains(t, err, "UseNonStable")
	require.Nil(t, b.Gradient([]*Node{w}, []*Node{b.Input("u", 3)}, []*Node{x})[0])
	require.ErrorContains(t, b.Err(), "UseNonStable")

	nonStable(t)
	s := newBench[float64]([][]int{{3}}, true)
	sum, err = gorgonia.Add(s.x[0], gorgonia.NewConstant(1.0))
	require.NoError(t, err)
	y, err = gorgonia.Square(sum)
	require.NoError(t, err)
	z, err = gorgonia.Log(sum)
	require.NoError(t, err)
	w, err = gorgonia.Add(y, z)
	require.NoError(t, err)
	s.differentiated(t, w, "", twice)
}

func TestEmbeddingByIndices(t *testing.T) {
	s := newBench[float64]([][]int{{4, 3}}, false)
	indices := gorgonia.NewVector(s.b.Graph(), tensor.Int, gorgonia.WithShape(3), gorgonia.WithName("indices"))
	y, err := gorgonia.ByIndices(s.x[0], indices, 0)
	require.NoError(t, err)
	p, err := Compile[float64](y)
	require.NoError(t, err)
	require.NoError(t, p.Bind("x0", s.values["x0"]))
	require.ErrorContains(t, p.Bind("indices", make([]float64, 3)), "gorgonia.Let")
	require.ErrorContains(t, p.Run(), "indices")
	require.NoError(t, gorgonia.Let(indices, tensor.New(tensor.WithBacking([]int{2, 0, 2}))))
	require.NoError(t, p.Run())
	require.Equal(t, slices.Concat(s.values["x0"][6:9], s.values["x0"][0:3], s.values["x0"][6:9]), p.Output(0))
	s.differentiated(t, y, "", once)
	require.NoError(t, gorgonia.Let(indices, tensor.New(tensor.WithBacking([]int{1, 1, 3}))))
	require.NoError(t, p.Run())
	require.Equal(t, s.values["x0"][3:6], p.Output(0)[:3], "a new Let counts")
}

func TestValuesFromLet(t *testing.T) {
	build := func(v gorgonia.Value, shape ...int) *Program[float64] {
		g := gorgonia.NewGraph()
		x := gorgonia.NewTensor(g, tensor.Float64, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName("x"), gorgonia.WithValue(v))
		y, err := gorgonia.Add(x, x)
		require.NoError(t, err)
		p, err := Compile[float64](y)
		require.NoError(t, err)
		return p
	}
	base := func() *tensor.Dense {
		return tensor.New(tensor.WithShape(3, 4), tensor.WithBacking(tensor.Range(tensor.Float64, 0, 12)))
	}
	p := build(base(), 3, 4)
	require.NoError(t, p.Run())
	require.Equal(t, 22.0, p.Output(0)[11])

	view, err := base().Slice(nil, tensor.S(1, 3))
	require.NoError(t, err)
	require.ErrorContains(t, build(view.(*tensor.Dense), 3, 2).Run(), "not contiguous")

	columns := tensor.New(tensor.WithShape(3, 4), tensor.AsFortran(make([]float64, 12)))
	require.ErrorContains(t, build(columns, 3, 4).Run(), "row-major")

	transposed := base()
	require.NoError(t, transposed.T())
	require.ErrorContains(t, build(transposed, 4, 3).Run(), "row-major")

	g := gorgonia.NewGraph()
	a := gorgonia.NewScalar(g, tensor.Float64, gorgonia.WithName("a"))
	y, err := gorgonia.Tanh(a)
	require.NoError(t, err)
	q, err := Compile[float64](y)
	require.NoError(t, err)
	require.ErrorContains(t, q.Run(), `"a"`, "an input without a value is named")
	v := gorgonia.NewF64(0.5)
	require.NoError(t, gorgonia.Let(a, v))
	require.NoError(t, q.Run())
	require.Equal(t, []float64{math.Tanh(0.5)}, q.Output(0))
	*v = 2
	require.NoError(t, q.Run())
	require.Equal(t, []float64{math.Tanh(2)}, q.Output(0), "a scalar is changed in place")
	require.NoError(t, q.Bind("a", []float64{3}))
	require.NoError(t, q.Run())
	require.Equal(t, []float64{math.Tanh(3)}, q.Output(0))
	require.NoError(t, gorgonia.Let(a, float32(2)), "Gorgonia takes it")
	r, err := Compile[float64](y)
	require.NoError(t, err)
	require.ErrorContains(t, r.Run(), "float32")

	m := gorgonia.NewMatrix(g, tensor.Float64, gorgonia.WithShape(2, 2), gorgonia.WithName("m"))
	z, err := gorgonia.Add(m, m)
	require.NoError(t, err)
	require.NoError(t, gorgonia.Let(m, 2.0), "Gorgonia takes it")
	w, err := Compile[float64](z)
	require.NoError(t, err)
	require.ErrorContains(t, w.Run(), "1 elements")
}

func TestLibraryAndOwnOpsMix(t *testing.T) {
	nonStable(t)
	s := newBench[float64]([][]int{{3, 4}, {4, 4}, {4}}, false)
	h := s.b.Map(SiLU, s.b.Linear(s.x[0], s.x[1], s.x[2]))
	r, err := gorgonia.Reshape(h, tensor.Shape{4, 3}) // a library op may keep its input
	require.NoError(t, err)
	e, err := gorgonia.Tanh(r)
	require.NoError(t, err)
	k := s.b.Add(s.b.Map(Square, h), s.b.Reshape(e, 3, 4)) // in place of a value that the reshape shares
	norm := s.b.LayerNorm(1e-3, k)
	cost, err := gorgonia.Mean(norm)
	require.NoError(t, err)
	y := s.b.Add(s.b.Reshape(cost, 1), s.b.Reshape(s.b.Sum(s.b.Sum(s.b.Mul(norm, s.b.Reshape(r, 3, 4)), 0), 1), 1))
	require.NoError(t, s.b.Err())
	s.differentiated(t, y, "y", twice)
	s.differentiated(t, s.pulled(y, "u"), "pull", backward)

	p, err := Compile[float64](y, h)
	require.NoError(t, err)
	require.Equal(t, 7, p.Stats().Library, "reshape, tanh, and what a mean is made of")
}

func TestLibraryOutputsAreCopies(t *testing.T) {
	s := newBench[float64]([][]int{{6}}, false)
	r, err := gorgonia.Reshape(s.x[0], tensor.Shape{2, 3})
	require.NoError(t, err)
	one, err := gorgonia.Concat(0, s.x[0])
	require.NoError(t, err)
	p, err := Compile[float64](r, one, gorgonia.NewConstant(2.0, gorgonia.In(s.b.Graph())))
	require.NoError(t, err)
	require.NoError(t, p.Bind("x0", s.values["x0"]))
	require.NoError(t, p.Run())
	require.Equal(t, s.values["x0"], p.Output(0))
	p.Output(0)[0], p.Output(1)[0], p.Output(2)[0] = -9, -9, -9
	require.NotEqual(t, -9.0, s.values["x0"][0], "an output is the caller's to change, an input is not")
	require.NoError(t, p.Run())
	require.Equal(t, s.values["x0"], p.Output(0))
	require.Equal(t, []float64{2}, p.Output(2), "a constant stays what it is")
}

func TestResultsInAnyLayoutAreRead(t *testing.T) {
	base := func() *tensor.Dense {
		return tensor.New(tensor.WithShape(2, 3), tensor.WithBacking([]float64{0, 1, 2, 3, 4, 5}))
	}
	transposed := base()
	require.NoError(t, transposed.T())
	columns, err := base().Slice(nil, tensor.S(1, 3))
	require.NoError(t, err)
	fortran := tensor.New(tensor.WithShape(2, 3), tensor.AsFortran([]float64{0, 1, 2, 3, 4, 5}))
	require.NotEqual(t, []float64{0, 1, 2, 3, 4, 5}, fortran.Float64s(), "stored by columns")
	for _, c := range []struct {
		v    gorgonia.Value
		want []float64
	}{
		{base(), []float64{0, 1, 2, 3, 4, 5}},
		{transposed, []float64{0, 3, 1, 4, 2, 5}},
		{columns.(*tensor.Dense), []float64{1, 2, 4, 5}},
		{fortran, []float64{0, 1, 2, 3, 4, 5}},
		{gorgonia.NewF64(7), []float64{7}},
		{tensor.New(tensor.FromScalar(8.0)), []float64{8}},
	} {
		got, err := contiguous[float64](c.v)
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	_, err = contiguous[float32](base())
	require.ErrorContains(t, err, "[]float64")
	_, err = contiguous[float32](transposed)
	require.Error(t, err)
}

func TestForwardModeThroughLibraryDerivatives(t *testing.T) {
	nonStable(t)
	s := newBench[float64]([][]int{{1, 2, 4, 4}, {3, 2, 3, 3}}, false)
	y, err := gorgonia.Conv2d(s.x[0], s.x[1], tensor.Shape{3, 3}, []int{1, 1}, []int{1, 1}, []int{1, 1})
	require.NoError(t, err)
	pull := s.pulled(y, "u")
	tangent := s.b.Tangent([]*Node{pull}, s.x[:1], []*Node{s.input("v", []int{1, 2, 4, 4}, false)})[0]
	require.NoError(t, s.b.Err(), "forward over reverse is a Hessian product, which reverse over reverse cannot give here")
	p, err := Compile[float64](pull)
	require.NoError(t, err)
	moved := make([]float64, 32)
	for _, name := range p.Inputs() {
		require.NoError(t, p.Bind(name, s.values[name]))
	}
	require.NoError(t, p.Bind("x0", moved))
	want := slope(func(eps float64) []float64 {
		for i, x := range s.values["x0"] {
			moved[i] = x + eps*s.values["v"][i]
		}
		require.NoError(t, p.Run())
		return slices.Clone(p.Output(0))
	})
	near(t, want, run[float64](t, s.values, tangent)[0], 1e-8, "tangent of the gradient of a convolution")
}

func TestGradientOfBatchNormStandsAlone(t *testing.T) {
	for _, training := range []bool{true, false} {
		for _, shape := range [][]int{{4, 3}, {2, 3, 2, 2}} {
			s := newBench[float64]([][]int{shape}, false)
			ones := tensor.Ones(tensor.Float64, with(onesLike(shape), 1, 3)...)
			scale := gorgonia.NewTensor(s.b.Graph(), tensor.Float64, len(shape), gorgonia.WithShape(ones.Shape()...), gorgonia.WithName("γ"), gorgonia.WithValue(ones))
			bias := gorgonia.NewTensor(s.b.Graph(), tensor.Float64, len(shape), gorgonia.WithShape(ones.Shape()...), gorgonia.WithName("β"), gorgonia.WithValue(ones))
			y, _, _, op, err := gorgonia.BatchNorm(s.x[0], scale, bias, 0.9, 1e-2)
			require.NoError(t, err)
			pull := s.pulled(y, "u")
			require.NoError(t, s.b.Err())
			run[float64](t, s.values, y) // fills the running statistics
			require.NoError(t, op.SetTraining(training))
			if !training && len(shape) == 4 {
				p, err := Compile[float64](pull)
				require.NoError(t, err)
				require.NoError(t, p.Bind("x0", s.values["x0"]))
				require.NoError(t, p.Bind("u", s.values["u"]))
				require.ErrorContains(t, p.Run(), "not training")
				continue
			}
			alone := run[float64](t, s.values, pull)[0]
			mean, variance := op.Stats()
			mean, variance = mean.Clone().(tensor.Tensor), variance.Clone().(tensor.Tensor)
			other := map[string][]float64{"x0": draw(s.rng, prod(shape), true)}
			run[float64](t, other, y) // leaves its statistics behind
			require.NoError(t, op.SetStats(mean, variance))
			require.Equal(t, alone, run[float64](t, s.values, pull)[0], "training %v", training)
			p, err := Compile[float64](y)
			require.NoError(t, err)
			x := slices.Clone(s.values["x0"])
			require.NoError(t, p.Bind("x0", x))
			for i := range x {
				d, err := differentiate(&x[i], s.values["u"], func(dst []float64) error {
					err := p.Run()
					copy(dst, p.Output(0))
					return errors.Join(err, op.SetStats(mean, variance))
				})
				require.NoError(t, err)
				require.InDelta(t, d, alone[i], 1e-8, "training %v, shape %v", training, shape)
			}
		}
	}
}
