package graph

import (
	"cmp"
	"math"
	"slices"
)

// group is a buffer: one value, or several that share it.
type group struct {
	size, first, last int // steps at which it is first written and last read
	offset            int
	outside           bool // of the arena: an input, an output, or the result of a library op
	shared            bool // read by a library op, which may keep a reference
}

// layout is where the values live, for one order of the steps.
type layout struct {
	groups []group
	of     []int // by value: its group
	live   int   // elements alive at the worst step: no arena can be smaller
	size   int   // of the arena
}

// whole is a number of elements in whole cache lines of either element type.
func whole(n int) int { return (n + 15) / 16 * 16 }

// lay chooses the order of the steps and the places of all values, and makes the arena. Without sharing every value has
// a place of its own.
func (p *Program[T]) lay(kernels []Kernel, sharing bool) {
	p.copyOutputs()
	l := p.layout(kernels, sharing)
	if sharing {
		steps, written := p.steps, l
		order := p.eager()
		other := make([]Kernel, len(kernels))
		p.steps = make([]step[T], len(steps))
		for i, t := range order {
			p.steps[i], other[i] = steps[t], kernels[t]
		}
		if l = p.layout(other, true); l.live > written.live {
			p.steps, l = steps, written
		}
	}
	p.made = make([]int, len(p.outs))
	for i, v := range p.outs {
		if p.copies[i] >= 0 {
			v = p.copies[i]
		}
		p.made[i] = slices.IndexFunc(p.steps, func(s step[T]) bool { return s.out == v })
	}
	l.place()
	p.live = l.live
	p.arena = aligned[T](l.size)
	p.at = make([]int, len(p.values))
	for i := range p.values {
		p.at[i] = -1
		if g := l.groups[l.of[i]]; !g.outside {
			p.at[i] = g.offset
		}
	}
}

// copyOutputs gives outputs that cannot be written where the caller reads them a value of their own: those that are an input,
// a view, a library op's or asked for twice.
func (p *Program[T]) copyOutputs() {
	for i, v := range p.outs {
		x := &p.values[v]
		if p.copies[i] = -1; x.output || x.input || x.view || x.library {
			p.copies[i] = v
			p.outs[i] = len(p.values)
			p.values = append(p.values, value{node: x.node, shape: x.shape, size: x.size, output: true})
			continue
		}
		x.output = true
	}
}

// layout decides which values share a buffer: a view and what it shows, and a result and a source that is not needed any
// more, if the op can work in place.
func (p *Program[T]) layout(kernels []Kernel, sharing bool) layout {
	l := layout{groups: make([]group, len(p.values)), of: make([]int, len(p.values))}
	for i, v := range p.values {
		l.of[i] = i
		l.groups[i] = group{size: v.size, first: -1, last: -1, outside: v.input || v.output || v.library}
	}
	end := len(p.steps)
	for t, s := range p.steps {
		for _, i := range s.in {
			l.groups[i].last = t
			l.groups[i].shared = l.groups[i].shared || s.lib != nil
		}
		l.groups[s.out].first = t
		l.groups[s.out].last = max(l.groups[s.out].last, t)
	}
	for _, from := range p.copies {
		if from >= 0 {
			l.groups[from].last = end
		}
	}
	for t, s := range p.steps {
		g := &l.groups[s.out]
		switch {
		case s.view:
			from := l.of[s.in[0]]
			f := &l.groups[from]
			f.last, f.shared = max(f.last, g.last), f.shared || g.shared
			l.of[s.out] = from
		case sharing && !g.outside:
			for _, k := range kernels[t].InPlace {
				from := l.of[s.in[k]]
				f := &l.groups[from]
				if f.last == t && !f.outside && !f.shared && f.size == g.size && l.alone(s.in, k, kernels[t].InPlace) {
					f.last, f.shared = g.last, g.shared
					l.of[s.out] = from
					break
				}
			}
		}
	}
	delta := make([]int, end+2)
	for i := range l.groups {
		g := &l.groups[i]
		if g.outside || l.of[i] != i {
			continue
		}
		if !sharing {
			g.first = 0
		}
		if g.shared || !sharing {
			g.last = end
		}
		delta[g.first] += whole(g.size)
		delta[g.last+1] -= whole(g.size)
	}
	now := 0
	for _, d := range delta {
		now += d
		l.live = max(l.live, now)
	}
	return l
}

// alone reports whether no other source lies in the buffer of source k, which the step may overwrite, unless it may
// overwrite that source too.
func (l *layout) alone(in []int, k int, inPlace []int) bool {
	for j, v := range in {
		if j != k && l.of[v] == l.of[in[k]] && !slices.Contains(inPlace, j) {
			return false
		}
	}
	return true
}

// phases tell of every step which outputs must come before it: inputs that the first outputs do not need may be bound when
// those are known ([Program.RunTo]). A step is of the phase of the last of its inputs, an input of that of the first output
// that depends on it.
func (p *Program[T]) phases() []int {
	of := make([]int, len(p.values))
	phase := make([]int, len(p.steps))
	// Values stand in the order in which the outputs, one after the other, need them.
	t, seen := 0, 0
	for k, v := range p.outs {
		if p.copies[k] >= 0 {
			v = p.copies[k]
		}
		for ; seen <= v; seen++ {
			if p.values[seen].input {
				of[seen] = k
				continue
			}
			for _, i := range p.steps[t].in {
				phase[t] = max(phase[t], of[i])
			}
			of[seen] = phase[t]
			t++
		}
	}
	return phase
}

// eager is the order in which the steps are written, except that a step that does not raise the number of elements alive
// comes as soon as it can. So the derivative by a weight is taken when its factors are there; left to the end, where it is
// asked for, it would keep the factors of all layers alive, and find none of them in the cache.
func (p *Program[T]) eager() []int {
	phase := p.phases()
	n := len(p.values)
	root := make([]int, n) // what a view shows
	kept := make([]bool, n)
	users := make([][]int, n) // by value, and by root: who reads it
	left := make([]int, n)    // by root: of them, those yet to come
	made := make([]bool, n)
	sources := make([][]int, len(p.steps)) // by step: its roots, each once
	for v, x := range p.values {
		root[v] = v
		kept[v] = x.input || x.output || x.library // not in the arena
		made[v] = x.input
	}
	for t, s := range p.steps {
		if s.view {
			root[s.out] = root[s.in[0]]
		}
		for _, v := range s.in {
			r := root[v]
			if kept[r] = kept[r] || s.lib != nil; !slices.Contains(sources[t], r) {
				sources[t] = append(sources[t], r)
				users[r] = append(users[r], t)
				left[r]++
			}
			if v != r {
				users[v] = append(users[v], t)
			}
		}
	}
	for _, v := range p.copies {
		if v >= 0 {
			kept[root[v]] = true // to the end
		}
	}
	done := make([]bool, len(p.steps))
	order := make([]int, 0, len(p.steps))
	now := 0
	cheap := func(t int) bool { // it can run, and raises nothing
		s := &p.steps[t]
		if done[t] || phase[t] > now {
			return false
		}
		grown := 0
		if !s.view && !kept[s.out] {
			grown = whole(p.values[s.out].size)
		}
		for _, v := range s.in {
			if !made[v] {
				return false
			}
		}
		for _, r := range sources[t] {
			if !kept[r] && left[r] == 1 {
				grown -= whole(p.values[r].size)
			}
		}
		return grown <= 0
	}
	var queue []int
	for last := slices.Max(append(phase, 0)); now <= last; now++ {
		for t := range p.steps {
			if phase[t] != now {
				continue
			}
			for queue = append(queue, t); len(queue) > 0; {
				u := queue[0]
				if queue = queue[1:]; done[u] || u != t && !cheap(u) {
					continue
				}
				done[u] = true
				order = append(order, u)
				s := &p.steps[u]
				made[s.out] = true
				queue = append(queue, users[s.out]...)
				for _, r := range sources[u] {
					if left[r]--; left[r] == 1 {
						queue = append(queue, users[r]...)
					}
				}
			}
		}
	}
	return order
}

// place gives every buffer an offset. Packing is a search: buffers take turns at the lowest place that is free over their whole
// life, the largest first, or the longest-lived; those that come to lie above the mark of what is alive then go earlier, as
// long as there is something to win.
func (l *layout) place() {
	var turn []int
	for i, g := range l.groups {
		if !g.outside && l.of[i] == i {
			turn = append(turn, i)
		}
	}
	best := make([]int, len(l.groups))
	l.size = math.MaxInt
	try := func() {
		if size := l.pack(turn); size < l.size {
			l.size = size
			for _, i := range turn {
				best[i] = l.groups[i].offset
			}
		}
	}
	size := func(i int) int { return l.groups[i].size }
	life := func(i int) int { return l.groups[i].last - l.groups[i].first + 1 }
	// About 10⁷ comparisons at most: a tenth of a second.
	rounds := min(50, 3_000_000/(1+len(turn)*len(turn)))
	for _, weight := range []func(i int) int{size, func(i int) int { return size(i) * life(i) }, life} {
		slices.SortStableFunc(turn, func(a, b int) int { return cmp.Compare(weight(b), weight(a)) })
		try()
		for r := 0; r < rounds && l.size > l.live; r++ {
			for k, i := range turn {
				if g := l.groups[i]; g.offset+whole(g.size) > l.live {
					to := k * (r % 4) / 4 // to the front, or some of the way
					copy(turn[to+1:k+1], turn[to:k])
					turn[to] = i
				}
			}
			try()
		}
	}
	for _, i := range turn {
		l.groups[i].offset = best[i]
	}
}

// pack places buffers one after the other, each at the lowest offset that is free over its whole life, and returns the size of
// the arena.
func (l *layout) pack(turn []int) int {
	var placed []int // by offset
	total := 0
	for _, i := range turn {
		g := &l.groups[i]
		at := 0
		for _, q := range placed {
			o := &l.groups[q]
			if o.last < g.first || g.last < o.first {
				continue
			}
			if at+whole(g.size) <= o.offset {
				break
			}
			at = max(at, o.offset+whole(o.size))
		}
		g.offset = at
		total = max(total, at+whole(g.size))
		k, _ := slices.BinarySearchFunc(placed, at, func(q, at int) int { return cmp.Compare(l.groups[q].offset, at) })
		placed = slices.Insert(placed, k, i)
	}
	return total
}
