package main

import (
	"context"
	"fmt"
	"time"

	"github.com/ebb-go/ebb/graph"
)

// A job is one thing to measure, ready to be called again and again.
type job struct {
	do    func(ctx context.Context) error
	cell  *graph.Cell[float32] // what evaluates a network, if one is
	scale float64              // what a call counts for: seconds are divided by it
	close func()
}

// An entry is a row of the table.
type entry struct {
	key, work string
	flops     float64 // of a product, whose figure is GFLOP/s
	batch     int     // of images or rows, where there are some
	open      func(threads, batch int) (*job, error)
	network   bool // a Cell evaluates, which can be profiled
}

// table is all that can be measured.
func table() []entry {
	var t []entry
	for _, s := range [][3]int{{256, 256, 256}, {512, 512, 512}, {1024, 1024, 1024}, {3136, 128, 384}, {3136, 128, 512}, {3136, 512, 128}, {3136, 128, 128}} {
		m, k, n := s[0], s[1], s[2]
		name := fmt.Sprintf("gemm_f32_%dx%dx%d", m, k, n)
		if m == k && k == n {
			name = fmt.Sprintf("gemm_f32_%d", n)
		}
		t = append(t, entry{key: name, work: fmt.Sprintf("product of %d×%d and %d×%d", m, k, k, n), flops: 2 * float64(m) * float64(k) * float64(n),
			open: func(threads, _ int) (*job, error) { return openGemm(threads, m, k, n) }})
	}
	return append(t,
		entry{key: "mlp_forward", work: "65→256→256→256→64, SiLU, batch 256", batch: 256, open: openMLP(false), network: true},
		entry{key: "mlp_vjp", work: "the same, forward and VJP to input and weights", batch: 256, open: openMLP(true), network: true},
		entry{key: "dit_forward", work: "DiT of 28×28 images, batch 64", batch: 64, open: openDiT(nothing), network: true},
		entry{key: "dit_vjp_latent", work: "the same, forward and VJP to x alone", batch: 64, open: openDiT(latent), network: true},
		entry{key: "dit_vjp", work: "the same, forward and VJP to x and weights", batch: 64, open: openDiT(everything), network: true},
		entry{key: "dit_train_step", work: "flow loss, gradient, AdamW with average, batch 64", batch: 64, open: openTrainer, network: true},
		entry{key: "sample20", work: "Heun, 10 steps, 20 evaluations, batch 16", batch: images, open: openSample, network: true},
		entry{key: "gradient20", work: "the same and its exact gradient to the latent, checkpointed", batch: images, open: openGradient, network: true},
		entry{key: "gradient20_peak_bytes", work: "growth of the resident set over two such calls", batch: images},
		entry{key: "solver_step", work: "a step of DPM-Solver++ 2M without the network, 16×1×28×28", batch: images, open: openSolver},
	)
}

func keys() []string {
	var names []string
	for _, e := range table() {
		names = append(names, e.key)
	}
	return names
}

func find(key string) entry {
	for _, e := range table() {
		if e.key == key {
			return e
		}
	}
	panic("benchmark: no key " + key)
}

func work(key string) string { return find(key).work }

// measure returns the figure of a key: the best of o.repeat.
func measure(ctx context.Context, key string, o options) (float64, error) {
	e := find(key)
	if o.batch > 0 {
		e.batch = o.batch
	}
	if e.open == nil {
		return gradientPeak(ctx, o.threads, e.batch)
	}
	j, err := e.open(o.threads, e.batch)
	if err != nil {
		return 0, err
	}
	defer j.close()
	best, err := j.time(ctx, o.repeat, o.least)
	if err != nil {
		return 0, err
	}
	if e.flops > 0 {
		return e.flops / best / 1e9, nil
	}
	return best, nil
}

// time returns the seconds of a call, the least of so many repetitions of at least so long.
func (j *job) time(ctx context.Context, repeat int, least time.Duration) (float64, error) {
	calls := 1
	for warm := range 2 { // the first call compiles, the second one says how long a call is
		began := time.Now()
		if err := j.do(ctx); err != nil {
			return 0, err
		}
		if warm == 1 {
			calls = max(1, int(least/max(time.Since(began), 1)))
		}
	}
	best := 0.0
	for r := range repeat {
		began := time.Now()
		for range calls {
			if err := j.do(ctx); err != nil {
				return 0, err
			}
		}
		if t := time.Since(began).Seconds() / float64(calls) / j.scale; r == 0 || t < best {
			best = t
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	return best, nil
}
