package graph

import (
	"slices"

	"gorgonia.org/gorgonia"
)

// order returns the nodes that outs depend on, outs included, each after its inputs. It does not look behind leaves.
func order(outs []*Node, leaves map[*Node]bool) []*Node {
	type frame struct {
		n    *Node
		in   []*Node
		next int
	}
	inputs := func(n *Node) []*Node {
		if leaves[n] {
			return nil
		}
		return args(n)
	}
	var sorted []*Node
	seen := map[*Node]bool{}
	for _, o := range outs {
		if o == nil || seen[o] {
			continue
		}
		seen[o] = true
		stack := []frame{{n: o, in: inputs(o)}}
		for len(stack) > 0 {
			f := &stack[len(stack)-1]
			if f.next == len(f.in) {
				sorted = append(sorted, f.n)
				stack = stack[:len(stack)-1]
				continue
			}
			c := f.in[f.next]
			f.next++
			if !seen[c] {
				seen[c] = true
				stack = append(stack, frame{n: c, in: inputs(c)})
			}
		}
	}
	return sorted
}

// Gradient adds the reverse-mode derivative: for each of wrt, Σ_k (∂outs[k]/∂wrt)ᵀ cotangents[k]. An entry is nil
// where no output depends on the node, so that the caller can tell an exact zero. A wrt may be any node, inner ones
// included; only what the wanted gradients need is added. The result can be differentiated again.
func (b *Builder) Gradient(outs, cotangents, wrt []*Node) []*Node {
	return b.gradient(outs, cotangents, wrt, nil)
}

func (b *Builder) gradient(outs, cotangents, wrt []*Node, leaves map[*Node]bool) []*Node {
	grads := make([]*Node, len(wrt))
	if b.err != nil {
		return grads
	}
	if len(outs) != len(cotangents) {
		b.Fail("gradient: %d outputs and %d cotangents", len(outs), len(cotangents))
		return grads
	}
	if !b.paired("gradient", "output", "cotangent", outs, cotangents, leaves) || !b.usable("gradient: input", wrt) {
		return grads
	}
	wanted := map[*Node]bool{}
	for _, n := range wrt {
		wanted[n] = true
	}
	sorted := order(outs, leaves)
	depends := map[*Node]bool{}
	for _, n := range sorted {
		depends[n] = wanted[n]
		if leaves[n] {
			continue
		}
		for _, c := range args(n) {
			depends[n] = depends[n] || depends[c]
		}
	}
	parts := map[*Node][]*Node{}
	for k, o := range outs {
		parts[o] = append(parts[o], cotangents[k])
	}
	total := map[*Node]*Node{}
	for i := len(sorted) - 1; i >= 0 && b.err == nil; i-- {
		n := sorted[i]
		if !depends[n] || len(parts[n]) == 0 {
			continue
		}
		ct := b.sum(parts[n])
		delete(parts, n)
		if wanted[n] {
			total[n] = ct
		}
		if leaves[n] {
			continue
		}
		in := args(n)
		want := make([]bool, len(in))
		some := false
		for j, c := range in {
			want[j] = depends[c]
			some = some || want[j]
		}
		if !some {
			continue
		}
		for j, g := range b.pull(n, in, want, ct) {
			if g == nil || j >= len(in) || !want[j] {
				continue
			}
			if b.err == nil && !slices.Equal(g.Shape(), in[j].Shape()) {
				b.Fail("gradient of %v: input %d has shape %v, its gradient %v", n.Op(), j, in[j].Shape(), g.Shape())
			}
			parts[in[j]] = append(parts[in[j]], g)
		}
	}
	for i, n := range wrt {
		grads[i] = total[n]
	}
	return grads
}

// pull is the VJP of one node, ours or the library's.
func (b *Builder) pull(n *Node, in []*Node, want []bool, ct *Node) []*Node {
	if op, ok := opOf(n); ok {
		return op.VJP(b, want, in, n, ct)
	}
	wrt := b.differentiable(n, in)
	some := false
	for j := range want {
		want[j] = want[j] && j < len(wrt) && wrt[j] // by a step function, or an index, the derivative is zero
		some = some || want[j]
	}
	if !some {
		return make([]*Node, len(in))
	}
	b.lock()
	defer b.unlock()
	nodes, err := n.Op().(gorgonia.SDOp).SymDiff(in, n, ct)
	if err != nil {
		b.Fail("gradient of %v: %w", n.Op(), err)
		return nil
	}
	res := make([]*Node, len(in))
	for j := range min(len(nodes), len(in)) {
		if want[j] && nodes[j] != nil {
			res[j] = b.fit(nodes[j], in[j].Shape())
		}
	}
	return res
}

// differentiable says by which inputs a library op can be differentiated; it fails if the op is refused.
func (b *Builder) differentiable(n *Node, in []*Node) []bool {
	if why := refusedGradient(n); why != "" {
		b.Fail("gradient of %v: %s", n.Op(), why)
		return nil
	}
	op, ok := n.Op().(gorgonia.SDOp)
	if !ok {
		b.Fail("gradient of %v: the op has no symbolic derivative", n.Op())
		return nil
	}
	if opName(op) == "sliceIncrOp" {
		// It is the derivative of a slice. Gorgonia says the opposite, which makes second derivatives zero.
		return []bool{false, true}
	}
	return op.DiffWRT(len(in))
}

// fit gives a node the shape of the same size that is wanted: Gorgonia takes (n), (n, 1) and (1, n) for equal, and a
// scalar for a tensor of one element.
func (b *Builder) fit(n *Node, s Shape) *Node {
	if slices.Equal(n.Shape(), s) {
		return n
	}
	return b.Reshape(n, s...)
}

// paired checks that nodes and what belongs to them are usable and of equal shapes.
func (b *Builder) paired(what, name, other string, nodes, others []*Node, leaves map[*Node]bool) bool {
	if !b.usable(what+": "+name, nodes) || !b.usable(what+": "+other, others) {
		return false
	}
	for k, n := range nodes {
		if !slices.Equal(n.Shape(), others[k].Shape()) {
			b.Fail("%s: %s %d has shape %v, its %s %v", what, name, k, n.Shape(), other, others[k].Shape())
			return false
		}
	}
	return what != "gradient" || leaves != nil || b.whole(nodes)
}

// usable checks that nodes are values of this graph.
func (b *Builder) usable(what string, nodes []*Node) bool {
	for k, n := range nodes {
		if why := b.unusable(n); why != "" {
			b.Fail("%s %d %s", what, k, why)
			return false
		}
	}
	return true
}

// whole checks that what outs depend on has not been rewritten by Gorgonia.
func (b *Builder) whole(outs []*Node) bool {
	if err := checkWhole(outs); err != nil {
		b.Fail("%w", err)
		return false
	}
	return true
}

// sum adds nodes of one shape, in the order given.
func (b *Builder) sum(nodes []*Node) *Node {
	if len(nodes) == 1 {
		return nodes[0]
	}
	if nodes[0].Dims() > 0 {
		return b.Add(nodes...)
	}
	b.lock()
	defer b.unlock()
	s := nodes[0]
	for _, n := range nodes[1:] {
		var err error
		if s, err = gorgonia.Add(s, n); err != nil {
			return b.Fail("sum of cotangents: %w", err)
		}
	}
	return s
}

// Tangent adds the forward-mode derivative: for each of outs, Σ_k ∂out/∂wrt[k] · tangents[k]. An entry is nil where it
// is zero because the output depends on none of wrt. Tangent is the transpose of [Builder.Gradient] for every wrt: the
// direction of an inner node is added to what the nodes behind it bring.
func (b *Builder) Tangent(outs, wrt, tangents []*Node) []*Node {
	return b.tangent(outs, wrt, tangents, nil)
}

func (b *Builder) tangent(outs, wrt, tangents []*Node, leaves map[*Node]bool) []*Node {
	res := make([]*Node, len(outs))
	if b.err != nil {
		return res
	}
	if len(wrt) != len(tangents) {
		b.Fail("tangent: %d nodes and %d directions", len(wrt), len(tangents))
		return res
	}
	if !b.paired("tangent", "input", "direction", wrt, tangents, nil) || !b.usable("tangent: output", outs) || (leaves == nil && !b.whole(outs)) {
		return res
	}
	seeds := map[*Node][]*Node{}
	for k, n := range wrt {
		seeds[n] = append(seeds[n], tangents[k])
	}
	d := map[*Node]*Node{}
	for _, n := range order(outs, leaves) {
		if b.err != nil {
			return res
		}
		if leaves[n] {
			if len(seeds[n]) > 0 {
				d[n] = b.sum(seeds[n])
			}
			continue
		}
		in := args(n)
		dirs := make([]*Node, len(in))
		some := false
		for j, c := range in {
			dirs[j] = d[c]
			some = some || dirs[j] != nil
		}
		parts := seeds[n]
		if some {
			if t := b.push(n, in, dirs); t != nil {
				parts = append(parts, t)
			}
		}
		if len(parts) > 0 && b.err == nil {
			d[n] = b.sum(parts)
		}
	}
	for i, o := range outs {
		res[i] = d[o]
	}
	return res
}

// push is the JVP of one node.
func (b *Builder) push(n *Node, in, dirs []*Node) *Node {
	if op, ok := opOf(n); ok {
		return op.JVP(b, in, n, dirs)
	}
	if name := opName(n.Op()); slices.Contains(linearOps, name) {
		if dirs[0] == nil {
			return nil
		}
		b.lock()
		defer b.unlock()
		t, err := gorgonia.ApplyOp(n.Op(), append([]*Node{dirs[0]}, in[1:]...)...)
		if err != nil {
			return b.Fail("tangent of %v: %w", n.Op(), err)
		}
		return t
	} else if slices.Contains(symmetricOps, name) {
		if res := b.pull(n, in, []bool{true}, dirs[0]); res != nil {
			return res[0]
		}
		return nil
	}
	wrt := b.differentiable(n, in)
	dirs = slices.Clone(dirs)
	for j := range dirs {
		if j >= len(wrt) || !wrt[j] { // by a size, or an index, the derivative is zero
			dirs[j] = nil
		}
	}
	if b.err != nil || !slices.ContainsFunc(dirs, func(d *Node) bool { return d != nil }) {
		return nil
	}
	return b.doubleVJP(n, in, dirs)
}

// productRule is the JVP of an op that is linear in each of its inputs: a term for each, with its tangent in its place.
func (b *Builder) productRule(op Op, in, d []*Node) *Node {
	var parts []*Node
	for i, v := range d {
		if v != nil {
			with := slices.Clone(in)
			with[i] = v
			parts = append(parts, b.Apply(op, with...))
		}
	}
	return b.sum(parts)
}

// doubleVJP is the JVP of a node by its VJP alone: u ↦ ⟨VJP(u), d⟩ is linear in u, and its gradient is J d. The value
// of u does not matter; zeros of the right shape are always at hand.
func (b *Builder) doubleVJP(n *Node, in, dirs []*Node) *Node {
	want := make([]bool, len(in))
	for j, d := range dirs {
		want[j] = d != nil
	}
	u := b.zeros(n)
	pulled := b.pull(n, in, want, u)
	if b.err != nil {
		return nil
	}
	var outs, cots []*Node
	for j, p := range pulled {
		if want[j] && p != nil {
			outs, cots = append(outs, p), append(cots, dirs[j])
		}
	}
	if len(outs) == 0 {
		return nil
	}
	leaves := leafSet(in)
	leaves[n], leaves[u] = true, true
	return b.gradient(outs, cots, []*Node{u}, leaves)[0]
}

// A decomposer is an op that can be written with simpler ones. Fused ops get from it the derivatives that are too rare
// to be fused: second ones, and tangents.
type decomposer interface {
	Op
	decompose(b *Builder, in []*Node) *Node
}

func leafSet(in []*Node) map[*Node]bool {
	leaves := make(map[*Node]bool, len(in))
	for _, n := range in {
		leaves[n] = true
	}
	return leaves
}

// simpleVJP is the VJP of a fused op through its decomposition.
func simpleVJP(b *Builder, o decomposer, want []bool, in []*Node, ct *Node) []*Node {
	var wrt []*Node
	var at []int
	for i, n := range in {
		// A node that stands in two places gets the sum of both once.
		if want[i] && !leafSet(wrt)[n] {
			wrt, at = append(wrt, n), append(at, i)
		}
	}
	res := make([]*Node, len(in))
	if len(wrt) == 0 {
		return res
	}
	for i, g := range b.gradient([]*Node{o.decompose(b, in)}, []*Node{ct}, wrt, leafSet(in)) {
		res[at[i]] = g
	}
	return res
}

// simpleJVP is the JVP of a fused op through its decomposition.
func simpleJVP(b *Builder, o decomposer, in, d []*Node) *Node {
	var wrt, dirs []*Node
	for i, n := range in {
		if d[i] != nil && !leafSet(wrt)[n] {
			wrt, dirs = append(wrt, n), append(dirs, d[i])
		}
	}
	return b.tangent([]*Node{o.decompose(b, in)}, wrt, dirs, leafSet(in))[0]
}
