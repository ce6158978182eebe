package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
)

const images = 16 // of a sampling run

// sampler is the transformer with labels looked up, and the plan of 20 evaluations.
type sampler struct {
	field *graph.Field[float32]
	plan  *ode.Plan
	x     []float32
}

func newSampler(threads, batch int) (*sampler, error) {
	m, w, err := dit()
	if err != nil {
		return nil, err
	}
	labels := make([]int, batch)
	for i := range labels {
		labels[i] = i % 10
	}
	condition, err := models.Lookup(w, labels)
	if err != nil {
		return nil, err
	}
	plan, err := ode.RK{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Grid: ode.UniformTime{}, Steps: 10})
	if err != nil {
		return nil, err
	}
	if plan.NFE() != 20 {
		return nil, fmt.Errorf("the plan has %d evaluations, not 20", plan.NFE())
	}
	c, err := graph.NewCell(m, w, graph.Workers(threads))
	if err != nil {
		return nil, err
	}
	f, err := graph.NewField(c, condition)
	if err != nil {
		c.Close()
		return nil, err
	}
	return &sampler{f, plan, normal(batch*pixels, 1)}, nil
}

func (s *sampler) close() { s.field.Cell().Close() }

func openSample(threads, batch int) (*job, error) {
	s, err := newSampler(threads, batch)
	if err != nil {
		return nil, err
	}
	r, err := ode.NewRunner[float32](s.plan, batch, pixels)
	if err != nil {
		s.close()
		return nil, err
	}
	in := ode.Inputs[float32]{Ports: map[string][]float32{"x": s.x}}
	release := s.field.Cell().Hold()
	return &job{
		do:    func(ctx context.Context) error { return r.Run(ctx, s.field, in) },
		cell:  s.field.Cell(),
		scale: 1,
		close: func() { release(); s.close() },
	}, nil
}

func openGradient(threads, batch int) (*job, error) {
	s, err := newSampler(threads, batch)
	if err != nil {
		return nil, err
	}
	a, err := adjoint.New(adjoint.Problem[float32]{Plan: s.plan, Field: s.field, Batch: batch, Dim: pixels, Wrt: []string{"x"}})
	if err != nil {
		s.close()
		return nil, err
	}
	in, loss := adjoint.From(s.x), adjoint.Dot(normal(batch*pixels, 2))
	release := s.field.Cell().Hold()
	return &job{
		do: func(ctx context.Context) error {
			_, err := a.Gradient(ctx, in, loss)
			return err
		},
		cell:  s.field.Cell(),
		scale: 1,
		close: func() { release(); s.close() },
	}, nil
}

// gradientPeak returns by how much the resident set grows in the first two calls of a fresh gradient, its compilation included.
// Another gradient has been taken and dropped before, so that code and runtime are resident already.
func gradientPeak(ctx context.Context, threads, batch int) (float64, error) {
	once := func(calls int) error {
		j, err := openGradient(threads, batch)
		if err != nil {
			return err
		}
		defer j.close()
		for range calls {
			if err := j.do(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	if err := once(1); err != nil {
		return 0, err
	}
	debug.FreeOSMemory()
	base, err := resident()
	if err != nil {
		return 0, err
	}
	peak, stop := base, make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				now, _ := resident()
				peak = max(peak, now)
			}
		}
	})
	err = once(2)
	close(stop)
	watching.Wait()
	if now, _ := resident(); err == nil {
		peak = max(peak, now)
	}
	return float64(peak - base), err
}

// resident is the resident set of this process in bytes.
func resident() (int64, error) {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("the resident set is not known on this system: %w", err)
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0, errors.New("/proc/self/statm is not as expected")
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	return pages * int64(os.Getpagesize()), err
}

// idle is a field that costs next to nothing.
type idle struct{}

func (idle) Eval(dst, x []float32, _ ode.Call[float32]) error { copy(dst, x); return nil }

func openSolver(_, batch int) (*job, error) {
	const steps = 20
	p, err := ode.DPMpp{}.Plan(ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise, Steps: steps})
	if err != nil {
		return nil, err
	}
	r, err := ode.NewRunner[float32](p, batch, pixels)
	if err != nil {
		return nil, err
	}
	in := ode.Inputs[float32]{Ports: map[string][]float32{"x": normal(batch*pixels, 1)}}
	return &job{
		do:    func(ctx context.Context) error { return r.Run(ctx, idle{}, in) },
		scale: steps,
		close: func() {},
	}, nil
}
