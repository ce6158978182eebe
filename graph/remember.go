package graph

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"gorgonia.org/gorgonia"

	"github.com/ebb-go/ebb/ode"
)

// Remember lets the field keep, in at most so many bytes, what evaluations compute on the way to their values, for the product
// with the Jacobian that is asked for later: a gradient through a run then does not evaluate the network a second time, which is
// a quarter to a third of its work. 0, as at first, keeps nothing.
//
// Evaluations are told apart by the Index of their call. What will be asked of one is learned from the first product, so that
// the first run keeps nothing. What is kept serves only where batch, state, time, condition and weights are the same then; results
// have the same bits as without. Evaluations with taps are not kept, nor those of a [Cell] that is watched, or that runs ops of
// Gorgonia's.
func (f *Field[T]) Remember(bytes int64) {
	f.limit, f.kept, f.memories = bytes, 0, nil
}

// remembered bounds the indices that are remembered.
const remembered = 1 << 12

// memory is an evaluation that has stopped between its value and its product.
type memory[T Float] struct {
	batch      int
	full, rest *variant[T]   // what computes both
	programs   []*Program[T] // one a shard
	v          Values[T]     // where it was evaluated, and the value
	d          Values[T]     // stands in for the cotangent until that is known
	version    uint64        // of the weights
	ready      bool
}

// errStale says that the weights have changed between the value and the product.
var errStale = errors.New("graph: the weights have changed")

// program is that of a shard, made ready for the worker to whom p belongs.
func (m *memory[T]) program(shard int, p *Program[T]) *Program[T] {
	own := m.programs[shard]
	own.scratch = p.scratch
	return own
}

// memory is that of an evaluation; nil if there is none.
func (f *Field[T]) memory(c *ode.Call[T]) *memory[T] {
	if c.Index < 0 || c.Index >= len(f.memories) || len(c.In) > 0 || len(c.Out) > 0 || !f.cell.watched.IsZero() {
		return nil
	}
	return f.memories[c.Index]
}

// learn notes which product was asked for at an evaluation, and compiles what computes its value first.
func (f *Field[T]) learn(c *ode.Call[T]) error {
	if f.limit <= 0 || c.Index < 0 || c.Index >= remembered || len(c.In) > 0 || len(c.Out) > 0 {
		return nil
	}
	for len(f.memories) <= c.Index {
		f.memories = append(f.memories, nil)
	}
	m := f.memories[c.Index]
	if m == nil {
		m = new(memory[T])
		f.memories[c.Index] = m
	}
	value := f.v.Outputs[0]
	f.v.Outputs[0] = f.v.Inputs[0] // any: that it is wanted is what counts
	full, rest, err := f.cell.ask(c.Batch, &f.v, &f.d)
	f.v.Outputs[0] = value
	if err != nil || m.batch == c.Batch && m.full == full && m.rest == rest {
		return err
	}
	f.kept -= m.bytes()
	*m = memory[T]{batch: c.Batch, full: full, rest: rest}
	return nil
}

// twins are programs like those of the variants, one for each shard of the batch; none if they cannot be had in so many bytes.
func (m *memory[T]) twins(shard int, bytes int64) []*Program[T] {
	var x T
	of := func(from int) *variant[T] {
		if m.batch-from < shard {
			return m.rest
		}
		return m.full
	}
	// Before any is made: where there is no room, every evaluation asks anew.
	for from := 0; from < m.batch; from += shard {
		p := of(from).programs[0]
		if p == nil || p.Stats().Library > 0 {
			return nil
		}
		if bytes -= p.Stats().Bytes - int64(len(p.scratch))*int64(unsafe.Sizeof(x)); bytes < 0 {
			return nil
		}
	}
	var list []*Program[T]
	for from := 0; from < m.batch; from += shard {
		v := of(from)
		q := v.programs[0].twin()
		v.claim(q)
		list = append(list, q)
	}
	return list
}

// bytes is the memory of the values kept.
func (m *memory[T]) bytes() (n int64) {
	var x T
	for _, p := range m.programs {
		n += int64(len(p.arena)+p.owned) * int64(unsafe.Sizeof(x)) // the scratch is a worker's
	}
	for _, list := range [][][]T{m.v.Inputs, m.v.Outputs, m.d.Outputs} {
		for _, s := range list {
			n += int64(len(s)) * int64(unsafe.Sizeof(x))
		}
	}
	return n
}

// begin evaluates at f's point and keeps what it takes. It reports false, and does nothing, if there is no room, or if the ordinary
// way has an error to tell.
func (f *Field[T]) begin(m *memory[T], batch int, dst []T) (bool, error) {
	if m.ready = false; m.batch != batch || len(dst) != batch*f.dim {
		return false, nil
	}
	if m.programs == nil {
		point := 2 * len(dst)
		for _, x := range f.v.Inputs {
			point += len(x)
		}
		room := f.limit - f.kept - int64(point)*int64(unsafe.Sizeof(dst[0]))
		if m.programs = m.twins(f.cell.spec.Shard, room); m.programs == nil {
			return false, nil
		}
		m.v = Values[T]{Inputs: make([][]T, len(f.v.Inputs)), Outputs: [][]T{make([]T, len(dst))}}
		m.d = Values[T]{Outputs: [][]T{make([]T, len(dst))}}
		for i, x := range f.v.Inputs {
			m.v.Inputs[i] = make([]T, len(x))
		}
		f.kept += m.bytes()
	}
	for i, x := range f.v.Inputs {
		copy(m.v.Inputs[i], x)
	}
	if err := f.cell.half(m, &m.d, true); err != nil {
		return true, err
	}
	m.ready = true
	copy(dst, m.v.Outputs[0])
	return true, nil
}

// finish takes the product that f.d asks for from what was kept. It reports false, and does nothing, if that is of another
// point or for another product.
func (f *Field[T]) finish(m *memory[T], batch int, value []T) (bool, error) {
	if !m.ready || m.batch != batch || value != nil && len(value) != batch*f.dim {
		return false, nil
	}
	m.ready = false
	for i, x := range f.v.Inputs {
		if !slices.Equal(x, m.v.Inputs[i]) {
			return false, nil
		}
	}
	if full, rest, err := f.cell.ask(batch, &m.v, &f.d); err != nil || full != m.full || rest != m.rest {
		return false, err
	}
	switch err := f.cell.half(m, &f.d, false); {
	case err == errStale:
		return false, nil
	case err != nil:
		return true, err
	}
	if value != nil {
		copy(value, m.v.Outputs[0])
	}
	return true, nil
}

// ask finds or compiles what computes a product.
func (c *Cell[T]) ask(batch int, v, d *Values[T]) (full, rest *variant[T], err error) {
	if !c.busy.CompareAndSwap(false, true) {
		return nil, nil, fmt.Errorf("cell: %w", ErrBusy)
	}
	defer c.busy.Store(false)
	return c.pair(pullback, batch, v, d)
}

// half computes the values of a memory, or the product that follows.
func (c *Cell[T]) half(m *memory[T], d *Values[T], first bool) error {
	if !c.busy.CompareAndSwap(false, true) {
		return fmt.Errorf("cell: %w", ErrBusy)
	}
	defer c.busy.Store(false)
	if err := c.check(m.batch, &m.v, d); err != nil {
		return err
	}
	c.job.memory, c.job.first = m, first
	defer func() { c.job.memory, c.job.first = nil, false }()
	return c.call(m.batch, &m.v, d, m.full, m.rest)
}

// twin is a program that computes the same with values of its own. It has no scratch.
func (p *Program[T]) twin() *Program[T] {
	q := &Program[T]{values: p.values, inputs: p.inputs, names: p.names, outs: p.outs, copies: p.copies, made: p.made, at: p.at, live: p.live, queue: p.queue}
	q.steps = slices.Clone(p.steps)
	for i := range q.steps {
		q.steps[i].src = make([][]T, len(p.steps[i].src))
	}
	q.vals, q.boxed, q.let = make([][]T, len(p.vals)), make([]gorgonia.Value, len(p.boxed)), make([]gorgonia.Value, len(p.let))
	q.arena = aligned[T](len(p.arena))
	q.settle()
	return q
}
