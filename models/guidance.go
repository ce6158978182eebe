package models

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"unsafe"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
)

// The parameters that [Guided] adds to those of the network.
const (
	Guidance = "guidance" // the scale: one, or one an evaluation
	Null     = "null"     // the condition vector that stands for no condition
)

// Guided is classifier-free guidance (Ho, Salimans 2022, arXiv 2207.12598) of a conditional network: with c the
// prediction under the condition and u the one under the null vector,
//
//	u + w·(c − u)
//
// so w = 0 ignores the condition, w = 1 is the conditional network, and w > 1 exaggerates. The paper, and some code,
// count w from there: their c + w'·(c − u) is w = 1 + w'. Every prediction is affine in every other at equal x and t, so
// it does not matter which one the network makes.
//
// Both predictions are one evaluation of a batch of twice the size, at w = 1 too: where w is 1 throughout, use the
// network itself.
//
// Parameters: "guidance", one scale or one for each evaluation of the plan (chosen by Call.Index), "condition" (one
// vector a sample), "null" (one vector), and all others of the network. A tap of a sample has those of its conditional
// evaluation and then those of its null evaluation: it is twice as long as the network's.
//
// A Guided sets the condition of the network it was given, which nothing else should do meanwhile. Like the network it
// is not safe for concurrent use, and does not allocate after the first calls.
type Guided[T graph.Float] struct {
	inner                  ode.Differentiable[T]
	condition, null, scale []T
	pair                   []T // conditions of the network: of each sample its own, then the null vector

	// Samples of the network's batch, two for each of ours.
	x, dx, y, dy []T
	t, dt        []T
	pulled       []T // like pair
	params       map[string][]T
	tangent      ode.Tangent[T]
}

var (
	_ ode.Differentiable[float32] = (*Guided[float32])(nil)
	_ ode.Tapped                  = (*Guided[float32])(nil)
	_ ode.Trained                 = (*Guided[float32])(nil)
)

// NewGuided guides a network with a parameter "condition", such as a [graph.Field] of a conditional network. condition
// has a vector for each sample, null is one vector (the last row of the label table: [Lookup] of −1), and scale is one
// number or one for each evaluation. All are copied.
func NewGuided[T graph.Float](inner ode.Differentiable[T], condition, null []T, scale ...T) (*Guided[T], error) {
	g := &Guided[T]{inner: inner, null: slices.Clone(null), scale: slices.Clone(scale), params: map[string][]T{}}
	if len(scale) == 0 {
		return nil, fmt.Errorf("models: guidance without a scale; give one, or one for each evaluation")
	}
	if len(null) == 0 {
		return nil, fmt.Errorf("models: guidance without a null vector; Lookup of label -1 is the one of a network with classes")
	}
	if err := finiteScale(scale); err != nil {
		return nil, err
	}
	for _, p := range inner.Parameters(2) {
		switch p.Name {
		case Guidance, Null:
			return nil, fmt.Errorf("models: the network has a parameter %q: it is guided already", p.Name)
		case graph.Condition:
			if p.Len() != 2*len(null) {
				return nil, fmt.Errorf("models: a null vector of %d elements for a network whose condition has %d", len(null), p.Len()/2)
			}
			return g, g.SetCondition(condition)
		}
	}
	return nil, fmt.Errorf("models: %T has no parameter %q, so there is nothing to guide", inner, graph.Condition)
}

func finiteScale[T graph.Float](scale []T) error {
	for i, w := range scale {
		if math.IsNaN(float64(w)) || math.IsInf(float64(w), 0) {
			return fmt.Errorf("models: guidance scale %d is %v; it must be finite", i, w)
		}
	}
	return nil
}

// SetCondition replaces the condition, and with it the batch that the field is for.
func (g *Guided[T]) SetCondition(condition []T) error {
	n := len(g.null)
	if len(condition) == 0 || len(condition)%n != 0 {
		return fmt.Errorf("models: a condition of %d elements; %d a sample are needed", len(condition), n)
	}
	if len(condition) != len(g.condition) {
		g.condition, g.pair, g.pulled = make([]T, len(condition)), make([]T, 2*len(condition)), make([]T, 2*len(condition))
	}
	copy(g.condition, condition)
	return g.tell()
}

// tell gives the network its conditions.
func (g *Guided[T]) tell() error {
	n := len(g.null)
	for i := 0; i < len(g.condition); i += n {
		copy(g.pair[2*i:], g.condition[i:i+n])
		copy(g.pair[2*i+n:], g.null)
	}
	if f, ok := g.inner.(interface{ SetCondition([]T) error }); ok { // whose batch may change
		return f.SetCondition(g.pair)
	}
	return g.inner.Store(graph.Condition, g.pair)
}

// double puts every sample twice into dst.
func double[T graph.Float](dst, src []T, batch int) {
	n := len(src) / batch
	for i := 0; i < len(src); i += n {
		copy(dst[2*i:], src[i:i+n])
		copy(dst[2*i+n:], src[i:i+n])
	}
}

// begin makes the network's call: two samples for each. It returns the scale, and its number.
func (g *Guided[T]) begin(x []T, c ode.Call[T], more ...int) (w T, k int, inner ode.Call[T], err error) {
	if c.Batch < 1 || c.Batch*len(g.null) != len(g.condition) {
		return 0, 0, inner, fmt.Errorf("models: the condition is for %d samples, the state for %d", len(g.condition)/len(g.null), c.Batch)
	}
	if len(x) == 0 || len(x)%c.Batch != 0 {
		return 0, 0, inner, fmt.Errorf("models: %d elements for %d samples", len(x), c.Batch)
	}
	for _, n := range more {
		if n != len(x) {
			return 0, 0, inner, fmt.Errorf("models: %d elements for a state of %d", n, len(x))
		}
	}
	if len(c.T) != 1 && len(c.T) != c.Batch {
		return 0, 0, inner, fmt.Errorf("models: %d times for %d samples; one, or one a sample, is needed", len(c.T), c.Batch)
	}
	if len(g.scale) > 1 {
		if k = c.Index; k < 0 || k >= len(g.scale) {
			return 0, 0, inner, fmt.Errorf("models: evaluation %d has no guidance scale: %d are given; give one for each evaluation of the plan, or one for all", k, len(g.scale))
		}
	}
	if len(g.x) != 2*len(x) {
		g.x, g.dx, g.y, g.dy = make([]T, 2*len(x)), make([]T, 2*len(x)), make([]T, 2*len(x)), make([]T, 2*len(x))
	}
	if len(g.t) != 2*c.Batch {
		g.t, g.dt = make([]T, 2*c.Batch), make([]T, 2*c.Batch)
	}
	double(g.x, x, c.Batch)
	inner = c
	inner.Batch = 2 * c.Batch
	if len(c.T) == c.Batch {
		double(g.t, c.T, c.Batch)
		inner.T = g.t
	}
	return g.scale[k], k, inner, nil
}

// mix writes u + w·(c − u) of pairs to dst.
func mix[T graph.Float](dst, pairs []T, w T, batch int) {
	n := len(dst) / batch
	for i := 0; i < len(dst); i += n {
		c, u := pairs[2*i:2*i+n], pairs[2*i+n:2*i+2*n]
		for j := range n {
			dst[i+j] = u[j] + w*(c[j]-u[j])
		}
	}
}

// Eval implements [ode.Field].
func (g *Guided[T]) Eval(dst, x []T, c ode.Call[T]) error {
	w, _, inner, err := g.begin(x, c, len(dst))
	if err != nil {
		return err
	}
	if err := g.inner.Eval(g.y, g.x, inner); err != nil {
		return err
	}
	mix(dst, g.y, w, c.Batch)
	return nil
}

// sort fills g.params with what the network is to be asked for and returns what is ours.
func (g *Guided[T]) sort(params map[string][]T) (condition, null, scale []T, err error) {
	clear(g.params)
	for name, p := range params {
		if p == nil {
			continue
		}
		want := 0
		switch name {
		case graph.Condition:
			condition, want = p, len(g.condition)
		case Null:
			null, want = p, len(g.null)
		case Guidance:
			scale, want = p, len(g.scale)
		default:
			g.params[name] = p
			continue
		}
		if len(p) != want {
			return nil, nil, nil, fmt.Errorf("models: parameter %q has %d elements, got %d", name, want, len(p))
		}
	}
	if condition != nil || null != nil {
		g.params[graph.Condition] = g.pulled
	}
	return condition, null, scale, nil
}

// VJP implements [ode.Differentiable].
func (g *Guided[T]) VJP(d *ode.Tangent[T], cotangent, x []T, c ode.Call[T]) error {
	if d == nil {
		return errors.New("models: a VJP without a Tangent, which says what gradients are wanted")
	}
	w, k, inner, err := g.begin(x, c, len(cotangent))
	if err != nil {
		return err
	}
	condition, null, scale, err := g.sort(d.Params)
	if err != nil {
		return err
	}
	n := len(x) / c.Batch
	for i := 0; i < len(x); i += n {
		for j, v := range cotangent[i : i+n] {
			g.dy[2*i+j], g.dy[2*i+n+j] = w*v, (1-w)*v
		}
	}
	clear(g.pulled)
	g.tangent = ode.Tangent[T]{In: d.In, Out: d.Out, Params: g.params}
	if d.X != nil {
		g.tangent.X = g.dx
	}
	if d.T != nil {
		g.tangent.T = g.dt
	}
	if d.Value != nil || scale != nil {
		g.tangent.Value = g.y
	}
	if err := g.inner.VJP(&g.tangent, g.dy, g.x, inner); err != nil {
		return err
	}
	if d.X != nil {
		halve(d.X, g.dx, n)
	}
	if d.T != nil {
		halve(d.T, g.dt, 1)
	}
	if d.Value != nil {
		mix(d.Value, g.y, w, c.Batch)
	}
	if scale != nil {
		s := 0.0
		for i := 0; i < len(x); i += n {
			for j, v := range cotangent[i : i+n] {
				s += float64(v) * (float64(g.y[2*i+j]) - float64(g.y[2*i+n+j]))
			}
		}
		scale[k] += T(s)
	}
	m := len(g.null)
	for i := 0; i < len(g.condition); i += m {
		if condition != nil {
			add(condition[i:i+m], g.pulled[2*i:])
		}
		if null != nil {
			add(null, g.pulled[2*i+m:])
		}
	}
	return nil
}

func add[T graph.Float](dst, src []T) {
	for i := range dst {
		dst[i] += src[i]
	}
}

// halve adds the two samples of n elements of each pair.
func halve[T graph.Float](dst, pairs []T, n int) {
	for i := 0; i < len(dst); i += n {
		for j := range n {
			dst[i+j] = pairs[2*i+j] + pairs[2*i+n+j]
		}
	}
}

// JVP implements [ode.Differentiable].
func (g *Guided[T]) JVP(dst, x []T, c ode.Call[T], d *ode.Tangent[T]) error {
	if d == nil {
		return errors.New("models: a JVP without a Tangent, which says the direction")
	}
	w, k, inner, err := g.begin(x, c, len(dst))
	if err != nil {
		return err
	}
	condition, null, scale, err := g.sort(d.Params)
	if err != nil {
		return err
	}
	clear(g.pulled)
	m := len(g.null)
	for i := 0; i < len(g.condition); i += m {
		if condition != nil {
			copy(g.pulled[2*i:], condition[i:i+m])
		}
		copy(g.pulled[2*i+m:2*i+2*m], null)
	}
	g.tangent = ode.Tangent[T]{In: d.In, Out: d.Out, Params: g.params}
	if d.X != nil {
		double(g.dx, d.X, c.Batch)
		g.tangent.X = g.dx
	}
	if d.T != nil {
		double(g.dt, d.T, c.Batch)
		g.tangent.T = g.dt
	}
	if d.Value != nil || scale != nil {
		g.tangent.Value = g.y
	}
	if err := g.inner.JVP(g.dy, g.x, inner, &g.tangent); err != nil {
		return err
	}
	mix(dst, g.dy, w, c.Batch)
	if scale != nil {
		n := len(x) / c.Batch
		for i := 0; i < len(x); i += n {
			for j := range n {
				dst[i+j] += scale[k] * (g.y[2*i+j] - g.y[2*i+n+j])
			}
		}
	}
	if d.Value != nil {
		mix(d.Value, g.y, w, c.Batch)
	}
	return nil
}

// Parameters implements [ode.Differentiable].
func (g *Guided[T]) Parameters(batch int) []ode.Parameter {
	list := []ode.Parameter{
		{Name: Guidance, Shape: []int{len(g.scale)}},
		{Name: graph.Condition, Shape: []int{batch, len(g.null)}},
		{Name: Null, Shape: []int{len(g.null)}},
	}
	for _, p := range g.inner.Parameters(2 * batch) {
		if p.Name != graph.Condition {
			list = append(list, p)
		}
	}
	return list
}

func (g *Guided[T]) own(name string) []T {
	switch name {
	case Guidance:
		return g.scale
	case graph.Condition:
		return g.condition
	case Null:
		return g.null
	}
	return nil
}

// Load implements [ode.Differentiable].
func (g *Guided[T]) Load(name string, dst []T) error {
	src := g.own(name)
	if src == nil {
		return g.inner.Load(name, dst)
	}
	if len(dst) != len(src) {
		return fmt.Errorf("models: parameter %q has %d elements, got %d", name, len(src), len(dst))
	}
	copy(dst, src)
	return nil
}

// Store implements [ode.Differentiable].
func (g *Guided[T]) Store(name string, src []T) error {
	dst := g.own(name)
	if dst == nil {
		return g.inner.Store(name, src)
	}
	if len(dst) != len(src) {
		return fmt.Errorf("models: parameter %q has %d elements, got %d", name, len(dst), len(src))
	}
	if name == Guidance {
		if err := finiteScale(src); err != nil {
			return err
		}
		copy(dst, src)
		return nil
	}
	copy(dst, src)
	return g.tell()
}

// Bytes is the memory that the guidance and its network own, weights not counted.
func (g *Guided[T]) Bytes() int64 {
	n := len(g.condition) + len(g.null) + len(g.scale) + len(g.pair) + len(g.x) + len(g.dx) + len(g.y) + len(g.dy) + len(g.t) + len(g.dt) + len(g.pulled)
	var v T
	bytes := int64(n) * int64(unsafe.Sizeof(v))
	if b, ok := g.inner.(interface{ Bytes() int64 }); ok {
		bytes += b.Bytes()
	}
	return bytes
}

// Trained implements [ode.Trained], by the guided network.
func (g *Guided[T]) Trained() (ode.Schedule, ode.Prediction) {
	if f, ok := g.inner.(ode.Trained); ok {
		return f.Trained()
	}
	return nil, 0
}

// TapLen implements [ode.Tapped].
func (g *Guided[T]) TapLen(name string) (int, bool) {
	f, ok := g.inner.(ode.Tapped)
	if !ok {
		return 0, false
	}
	n, ok := f.TapLen(name)
	return 2 * n, ok
}
