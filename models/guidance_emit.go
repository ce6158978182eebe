package models

import "github.com/ebb-go/ebb/graph"

var _ graph.Emittable[float64] = (*Guided[float64])(nil)

// Emit implements [graph.Emittable], if the network does.
func (g *Guided[T]) Emit(b *graph.Builder, params map[string]*graph.Node, e *graph.Evaluation) *graph.Node {
	inner, ok := g.inner.(graph.Emittable[T])
	if !ok {
		return b.Fail("guidance of %T, which cannot be written as a graph", g.inner)
	}
	k := 0
	if len(g.scale) > 1 {
		if k = e.Index; k >= len(g.scale) {
			return b.Fail("evaluation %d has no guidance scale: %d are given; give one for each evaluation of the plan, or one for all", k, len(g.scale))
		}
	}
	batch, n := e.X.Shape()[0], e.X.Shape()[1]
	width := len(g.null)
	twice := func(x *graph.Node, n int) *graph.Node { // every sample two times, one after the other
		return b.Expand(b.Reshape(x, batch, 1, n), 1, 2)
	}
	null := b.Expand(b.Reshape(params[Null], 1, 1, width), 0, batch)
	pairs := b.Concat(1, b.Reshape(params[graph.Condition], batch, 1, width), null)
	of := map[string]*graph.Node{graph.Condition: b.Reshape(pairs, 2*batch, width)}
	for name, p := range params {
		if name != graph.Condition && name != Null && name != Guidance {
			of[name] = p
		}
	}
	call := &graph.Evaluation{Index: e.Index, X: b.Reshape(twice(e.X, n), 2*batch, n), T: b.Reshape(twice(e.T, 1), 2*batch),
		Use: map[string]*graph.Node{}, Offer: e.Offer, Offered: map[string]*graph.Node{}}
	for name, x := range e.Use {
		call.Use[name] = b.Reshape(x, 2*batch, x.Shape().TotalSize()/(2*batch))
	}
	raw := b.Reshape(inner.Emit(b, of, call), batch, 2, n)
	for name, x := range call.Offered {
		e.Offered[name] = b.Reshape(x, batch, x.Shape().TotalSize()/batch)
	}
	c := b.Reshape(b.Slice(raw, 1, 0, 1), batch, n)
	u := b.Reshape(b.Slice(raw, 1, 1, 2), batch, n)
	w := b.Reshape(b.Slice(params[Guidance], 0, k, k+1), 1, 1)
	return b.Add(u, b.Mul(b.Expand(b.Expand(w, 0, batch), 1, n), b.Sub(c, u)))
}
