package main

import (
	"context"
	"math"
	"slices"

	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/ode"
)

// A course is what solvers are run on: samples from noise to data under one field.
type course[T ode.Float] struct {
	problem ode.Problem // without Grid and Steps
	rules   []rule
	dim     int
	x       []T // where the samples start
	end     []T // where the ODE takes them
	field   func() (ode.Field[T], error)
}

func (c *course[T]) batch() int { return len(c.x) / c.dim }

// plan is the longest of a solver that takes no more than nfe evaluations, and not much less; nil if there is none.
func (c *course[T]) plan(s ode.Solver, g ode.Grid, nfe int) (*ode.Plan, error) {
	p := c.problem
	p.Grid = g
	for p.Steps = nfe; p.Steps > 0; p.Steps-- {
		plan, err := s.Plan(p)
		if err != nil {
			return nil, err
		}
		if got := plan.NFE(); got <= nfe {
			if 10*got < 7*nfe {
				return nil, nil
			}
			return plan, nil
		}
	}
	return nil, nil
}

// solve runs a plan from the start.
func (c *course[T]) solve(ctx context.Context, f ode.Field[T], plan *ode.Plan, noise ode.NoiseSource[T]) ([]T, error) {
	r, err := ode.NewRunner[T](plan, c.batch(), c.dim)
	if err != nil {
		return nil, err
	}
	err = r.Run(ctx, f, ode.Inputs[T]{Ports: map[string][]T{"x": c.x}, Noise: noise})
	return r.Output("x"), err
}

// finish makes the reference, by the classical Runge–Kutta method.
func (c *course[T]) finish(ctx context.Context, g ode.Grid, steps int, p *command.Progress) error {
	pending := c.problem
	pending.Grid, pending.Steps = g, steps
	plan, err := ode.RK{Tableau: ode.RK4()}.Plan(pending)
	if err != nil {
		return err
	}
	f, err := c.field()
	if err != nil {
		return err
	}
	r, err := ode.NewRunner[T](plan, c.batch(), c.dim)
	if err != nil {
		return err
	}
	err = r.Run(ctx, f, ode.Inputs[T]{Ports: map[string][]T{"x": c.x}, Observe: func(ode.Step[T]) error {
		p.Add(4, "the reference")
		return nil
	}})
	c.end = r.Output("x")
	return err
}

// distance is how far samples are from the reference: the median over them of the root mean square over their elements. A mean would tell
// of the one sample that went to another mode.
func (c *course[T]) distance(x []T) float64 {
	each := make([]float64, c.batch())
	for i := range each {
		sum := 0.0
		for j := i * c.dim; j < (i+1)*c.dim; j++ {
			d := float64(x[j]) - float64(c.end[j])
			sum += d * d
		}
		each[i] = math.Sqrt(sum / float64(c.dim))
	}
	slices.Sort(each)
	return (each[len(each)/2] + each[(len(each)-1)/2]) / 2
}
