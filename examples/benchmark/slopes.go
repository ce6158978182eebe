package main

import (
	"context"
	"fmt"
	"io"
	"math"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
)

// A line is a quantity in proportion to which time and memory should grow.
type line struct {
	name  string
	sizes []int
	open  func(n, threads int) (j *job, owned func() int64, err error)
}

func lines() []line {
	return []line{
		{"batch, DiT forward and VJP to x and weights", []int{16, 32, 64, 128}, func(n, threads int) (*job, func() int64, error) {
			return openGrowing(28, n, threads)
		}},
		// The products of attention grow with the square of the tokens: at 196 they are a quarter of the others.
		{"tokens, the same, batch 16", []int{16, 49, 100, 196}, func(n, threads int) (*job, func() int64, error) {
			return openGrowing(4*int(math.Sqrt(float64(n))), 16, threads)
		}},
		{"steps, gradient by checkpoints, batch 16", []int{5, 10, 20, 40}, openSteps},
	}
}

// openGrowing is the VJP of the transformer on images of so many pixels a side.
func openGrowing(side, batch, threads int) (*job, func() int64, error) {
	m, err := models.NewDiT(models.DiTConfig{
		Channels: 1, Height: side, Width: side, Patch: 4, Hidden: 128, Depth: 6, Heads: 4,
		Prediction: ode.FlowVelocity, Schedule: ode.Flow{},
	})
	if err != nil {
		return nil, nil, err
	}
	w, err := graph.NewWeights[float32](m.Spec().Weights, 1)
	if err != nil {
		return nil, nil, err
	}
	x := normal(batch*side*side, 1)
	j, err := openCell(threads, m, w, batch, [][]float32{x, uniform(batch, 2)}, everything)
	if err != nil {
		return nil, nil, err
	}
	// What the caller holds: the batch, its output, its cotangent and its gradient.
	return j, func() int64 { return j.cell.Bytes() + 4*4*int64(len(x)) }, nil
}

// openSteps is the gradient of a run of so many steps to its latent.
func openSteps(n, threads int) (*job, func() int64, error) {
	s, err := newSampler(threads, images)
	if err != nil {
		return nil, nil, err
	}
	plan, err := ode.RK{}.Plan(ode.Problem{Schedule: ode.Flow{}, Raw: ode.FlowVelocity, Grid: ode.UniformTime{}, Steps: n})
	if err != nil {
		s.close()
		return nil, nil, err
	}
	s.plan = plan
	a, err := adjoint.New(adjoint.Problem[float32]{Plan: plan, Field: s.field, Batch: images, Dim: pixels, Wrt: []string{"x"}})
	if err != nil {
		s.close()
		return nil, nil, err
	}
	in, loss := adjoint.From(s.x), adjoint.Dot(normal(images*pixels, 2))
	release := s.field.Cell().Hold()
	bytes := int64(0)
	do := func(ctx context.Context) error {
		r, err := a.Gradient(ctx, in, loss)
		if err == nil {
			bytes = r.Bytes
		}
		return err
	}
	return &job{do: do, cell: s.field.Cell(), scale: 1, close: func() { release(); s.close() }}, func() int64 { return bytes }, nil
}

// growth prints, for each line, time and memory by size, and their slopes: what one more sample, token or step costs.
func growth(ctx context.Context, o options, out io.Writer) error {
	for i, l := range lines() {
		if i > 0 {
			fmt.Fprintln(out)
		}
		if _, err := fmt.Fprintf(out, "| %s | ms | ms each | MB | kB each |\n|---|---|---|---|---|\n", l.name); err != nil {
			return err
		}
		var n, t, b []float64
		for _, size := range l.sizes {
			j, bytes, err := l.open(size, o.threads)
			if err != nil {
				return fmt.Errorf("%s: %d: %w", l.name, size, err)
			}
			seconds, err := j.time(ctx, o.repeat, o.least)
			owned := bytes()
			j.close()
			if err != nil {
				return fmt.Errorf("%s: %d: %w", l.name, size, err)
			}
			n, t, b = append(n, float64(size)), append(t, seconds), append(b, float64(owned))
			fmt.Fprintf(out, "| %d | %.2f | %.4f | %.2f | %.1f |\n", size, seconds*1e3, seconds*1e3/float64(size), float64(owned)/1e6, float64(owned)/1e3/float64(size))
		}
		if _, err := fmt.Fprintf(out, "| slope | | %.4f | | %.1f |\n", 1e3*slope(n, t), slope(n, b)/1e3); err != nil {
			return err
		}
	}
	return nil
}

// slope is that of the straight line with the least squares through points: what one more costs.
func slope(x, y []float64) float64 {
	mx, my := 0.0, 0.0
	for i := range x {
		mx, my = mx+x[i]/float64(len(x)), my+y[i]/float64(len(x))
	}
	up, down := 0.0, 0.0
	for i := range x {
		up, down = up+(x[i]-mx)*(y[i]-my), down+(x[i]-mx)*(x[i]-mx)
	}
	return up / down
}
