package main

import (
	"context"

	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/ebb-go/ebb/internal/parallel"
	"github.com/ebb-go/ebb/internal/rng"
)

const (
	// chunks is the number of parts of a product for each worker: so that one that the operating system puts aside does not hold
	// up the rest.
	chunks = 2
	// panel is what columns are split by: a multiple of every kernel's width.
	panel = 32
)

// A product is one that all workers share.
type product struct {
	a, b, c []float32
	scratch [][]float32
	pool    *parallel.Pool
	parts   int
	share   func(worker, part int)
}

// newProduct splits the columns, of which every worker packs its own; the rows, if there are many more of them. Neither changes the
// bits.
func newProduct(workers, m, k, n int) *product {
	p := &product{a: uniform(m*k, 1), b: uniform(k*n, 2), scratch: make([][]float32, workers), pool: parallel.New(workers), parts: chunks * workers}
	for i := range p.scratch {
		p.scratch[i] = make([]float32, kernels.GemmScratch[float32](false, false, m, n, k))
	}
	panels := (n + panel - 1) / panel
	p.share = func(worker, part int) {
		from, to := part*panels/p.parts*panel, min(n, (part+1)*panels/p.parts*panel)
		if from < to {
			kernels.Gemm(false, false, m, to-from, k, p.a, k, p.b[from:], n, p.c[from:], n, false, p.scratch[worker])
		}
	}
	if m > 4*n {
		p.share = func(worker, part int) {
			from, to := part*m/p.parts, (part+1)*m/p.parts
			kernels.Gemm(false, false, to-from, n, k, p.a[from*k:], k, p.b, n, p.c[from*n:], n, false, p.scratch[worker])
		}
	}
	p.pool.Hold()
	return p
}

func (p *product) multiply(c []float32) error {
	p.c = c
	return p.pool.Run(p.parts, p.share)
}

func (p *product) close() {
	p.pool.Release()
	p.pool.Close()
}

func openGemm(threads, m, k, n int) (*job, error) {
	p, c := newProduct(threads, m, k, n), make([]float32, m*n)
	return &job{do: func(context.Context) error { return p.multiply(c) }, scale: 1, close: p.close}, nil
}

// uniform is n numbers in (−½, ½).
func uniform(n int, seed uint64) []float32 {
	x := make([]float32, n)
	rng.Uniform(x, seed, 0, 0)
	for i := range x {
		x[i] -= 0.5
	}
	return x
}

func normal(n int, seed uint64) []float32 {
	x := make([]float32, n)
	rng.Normal(x, seed, 0, 0)
	return x
}
