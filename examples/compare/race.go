package main

import (
	"context"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/ode"
)

// A point is what a solver reached with a number of evaluations; 0 of them if it cannot do with the budget.
type point struct {
	nfe   int
	error float64
}

// A curve is a contestant on the grid that suited it best.
type curve struct {
	contestant
	rule   rule
	points []point // one a budget
	score  float64 // how many digits it is behind the best of all, in the mean over the budgets it can do with
}

// result is how a race ended.
type result struct {
	budgets []int
	curves  []curve // the best first
	refused map[string]error
}

// race runs all contestants on all grids with all budgets. The field is one at a time, or one for each processor.
func (c *course[T]) race(ctx context.Context, ks []contestant, budgets []int, parallel bool, p *command.Progress) (*result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r := &result{budgets: budgets, refused: map[string]error{}}
	var all []curve
	for _, k := range ks {
		rules := c.rules
		if k.adaptive {
			rules = []rule{{"adaptive", nil}}
		}
		for _, g := range rules {
			all = append(all, curve{contestant: k, rule: g, points: make([]point, len(budgets))})
		}
	}
	refused := make([]error, len(all))
	next := make(chan int)
	var wait sync.WaitGroup
	workers := 1
	if parallel {
		workers = runtime.GOMAXPROCS(0)
	}
	for range workers {
		wait.Go(func() {
			f, err := c.field()
			if err != nil {
				cancel(err)
			}
			for i := range next {
				if ctx.Err() == nil {
					refused[i] = c.lap(ctx, f, &all[i], budgets)
				}
				p.Add(total(budgets), all[i].name)
			}
		})
	}
	for i := range all {
		next <- i
	}
	close(next)
	wait.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r.rank(all, refused)
	return r, nil
}

func total(budgets []int) (n int) {
	for _, b := range budgets {
		n += b
	}
	return n
}

// lap runs one contestant on one grid. An error is that it cannot run there at all.
func (c *course[T]) lap(ctx context.Context, f ode.Field[T], v *curve, budgets []int) error {
	if v.adaptive {
		return c.adapt(ctx, f, v, budgets)
	}
	var refused error
	reached := false
	for i, b := range budgets {
		plan, err := c.plan(v.solver, v.rule.grid, b)
		if err != nil {
			refused = err
			continue
		}
		if plan == nil {
			continue
		}
		x, err := c.solve(ctx, f, plan, nil)
		if err != nil { // it blew up, or was interrupted
			refused = err
			continue
		}
		v.points[i] = point{plan.NFE(), c.distance(x)}
		reached = true
	}
	if reached {
		return nil
	}
	return refused
}

// adapt runs an adaptive contestant with smaller and smaller tolerances, and gives each budget the smallest that it pays for.
func (c *course[T]) adapt(ctx context.Context, f ode.Field[T], v *curve, budgets []int) error {
	most := budgets[len(budgets)-1]
	for tolerance := 2.; tolerance > 1e-6; tolerance /= 1.5 {
		a := ode.Adaptive[T]{Of: v.solver, Relative: tolerance, Absolute: tolerance / 6}
		run, err := a.Run(ctx, c.problem, f, c.batch(), ode.Inputs[T]{Ports: map[string][]T{"x": c.x}})
		if err != nil {
			return err
		}
		if run.NFE > most {
			break
		}
		for i, b := range budgets {
			if run.NFE <= b && 10*run.NFE >= 7*b {
				v.points[i] = point{run.NFE, c.distance(run.X)}
			}
		}
	}
	return nil
}

// rank keeps the best grid of each contestant, and sorts.
func (r *result) rank(all []curve, refused []error) {
	best := make([]float64, len(r.budgets))
	for i := range best {
		best[i] = math.Inf(1)
		for _, v := range all {
			if v.points[i].nfe > 0 {
				best[i] = min(best[i], v.points[i].error)
			}
		}
	}
	kept := map[string]curve{}
	for n, v := range all {
		done := 0.0
		for i, p := range v.points {
			if p.nfe > 0 {
				v.score += math.Log10(p.error / best[i])
				done++
			}
		}
		if done == 0 {
			if refused[n] != nil {
				r.refused[v.name] = refused[n]
			}
			continue
		}
		v.score /= done
		if old, ok := kept[v.name]; !ok || v.score < old.score {
			kept[v.name] = v
		}
	}
	for name, v := range kept {
		delete(r.refused, name)
		r.curves = append(r.curves, v)
	}
	slices.SortFunc(r.curves, func(a, b curve) int {
		if a.score != b.score {
			if a.score < b.score {
				return -1
			}
			return 1
		}
		return slices.Compare([]byte(a.name), []byte(b.name))
	})
}

// best are the n contestants that came nearest with a budget.
func (r *result) best(budget, n int) []curve {
	at := slices.Index(r.budgets, budget)
	if at < 0 {
		return nil
	}
	var able []curve
	for _, v := range r.curves {
		if v.points[at].nfe > 0 {
			able = append(able, v)
		}
	}
	slices.SortStableFunc(able, func(a, b curve) int {
		switch d := a.points[at].error - b.points[at].error; {
		case d < 0:
			return -1
		case d > 0:
			return 1
		}
		return 0
	})
	return able[:min(n, len(able))]
}
