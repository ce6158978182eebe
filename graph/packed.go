package graph

import (
	"unsafe"

	"github.com/ebb-go/ebb/internal/kernels"
)

// A packing says how an op that multiplies by its source 1 would have it copied: the op(b) of k rows and n columns of
// [kernels.Pack].
type packing struct {
	transposed bool
	n, k       int
}

// A pack is the copy of a weight that all workers of a Cell multiply by, made once and kept while the weights' version stands. It
// costs as much memory as the weight, and as much again if the products with its transpose are wanted too.
type pack[T Float] struct {
	packing
	weight int // position in the Spec
	data   []T
}

// pack finds or makes the copy of a weight; nil if the kernels have no use for one.
func (c *Cell[T]) pack(weight int, p packing) *pack[T] {
	for _, have := range c.packs {
		if have.weight == weight && have.packing == p {
			return have
		}
	}
	size := kernels.PackedSize[T](p.n, p.k)
	if size == 0 {
		return nil
	}
	made := &pack[T]{p, weight, aligned[T](size)}
	c.packs, c.fresh = append(c.packs, made), false
	return made
}

// refresh brings the copies up to date. The weights must not change meanwhile.
func (c *Cell[T]) refresh() error {
	v := c.weights.version.Load()
	if c.fresh && c.packedAt == v {
		return nil
	}
	c.packedAt, c.fresh = v, true
	return c.pool.Run(len(c.packs), c.repack)
}

func (c *Cell[T]) packOne(_, i int) {
	p := c.packs[i]
	w := c.spec.Weights[p.weight]
	kernels.Pack(p.data, p.transposed, p.n, p.k, c.weights.data[w.Name], w.Shape[1])
}

// packedBytes is the memory of the copies.
func (c *Cell[T]) packedBytes() (n int64) {
	var x T
	for _, p := range c.packs {
		n += int64(len(p.data)) * int64(unsafe.Sizeof(x))
	}
	return n
}

// share makes the products of a program with weights use the Cell's copies.
func (c *Cell[T]) share(p *Program[T], bind map[*Node]binding) {
	for i := range p.steps {
		s := &p.steps[i]
		if s.packing == nil {
			continue
		}
		if what, ok := bind[p.values[s.in[1]].node]; ok && what.role == roleWeight {
			s.pack = c.pack(what.i, *s.packing)
		}
	}
}
