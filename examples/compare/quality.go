package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/train/customize"
	"github.com/ebb-go/ebb/train/data"
	"github.com/ebb-go/ebb/train/measure"
)

// stochastic solvers end elsewhere than the ODE, so only their images can be compared.
func stochastic() []contestant {
	return []contestant{
		{"stochastic", "DDIM, η = 1", ode.DDIM{Eta: 1}, false},
		{"stochastic", "DPM-Solver++ 2M SDE", ode.DPMppSDE{}, false},
		{"stochastic", "DPM-Solver++ 3M SDE", ode.DPMppSDE{Order: 3}, false},
		{"stochastic", "DPM-Solver++ SDE", ode.DPMppSDE{Single: true}, false},
		{"stochastic", "2S ancestral", ode.Ancestral{}, false},
	}
}

// A grade is how good the images of a solver are with a budget; no evaluations, no grade.
type grade struct {
	nfe                int
	frechet, agreement float64
}

// A judged row is a solver with a grade for each of the budgets.
type judged struct {
	curve
	grades []grade
}

// judgement is all rows, the best Fréchet distance first, and what real images get.
type judgement struct {
	rows []judged
	real grade
}

// A judge grades images against held-out ones, as many of both.
type judge struct {
	*measure.Reference
	train, held measure.Labelled
	close       func()
}

func (j judge) grade(images measure.Labelled) (grade, error) {
	s, err := j.Look(images)
	return grade{frechet: s.Frechet, agreement: s.Overall}, err
}

// judge opens what -quality needs.
func (n *network) judge(o options) (j judge, err error) {
	train, held, err := data.DigitsSets(o.data)
	if err != nil {
		return j, command.Missing(err, "data", o.set["data"])
	}
	j.train, j.held = measure.Labelled{Pixels: train.Pixels, Labels: train.Labels}.First(o.samples), measure.Labelled{Pixels: held.Pixels, Labels: held.Labels}.First(o.samples)
	if got := n.spec.Inputs[0].Shape; !slices.Equal(got, []int{1, held.Height, held.Width}) {
		return j, fmt.Errorf("the network makes images of %v (channels, height, width), the digits are [1 %d %d]", got, held.Height, held.Width)
	}
	if n.classes() == 0 {
		return j, fmt.Errorf("-quality needs a network with classes, for a judge to see them")
	}
	m, w, _, err := models.Load[float32](o.judge)
	if err != nil {
		return j, command.Missing(err, "judge", o.set["judge"])
	}
	cell, err := graph.NewCell(m, w)
	if err != nil {
		return j, err
	}
	j.close = cell.Close
	critic, err := customize.NewCritic(cell)
	if err == nil {
		j.Reference, err = measure.NewReference(critic, held.Size(), j.train, j.held)
	}
	if err != nil {
		cell.Close()
		return j, fmt.Errorf("-judge %s: %w", o.judge, err)
	}
	return j, nil
}

// quality grades the images of all solvers, each on the grid that suited it best.
func (n *network) quality(ctx context.Context, o options, j judge, race *result, p *command.Progress) (*judgement, error) {
	labels := j.held.Labels
	c, err := n.course(len(labels), labels, o.seed+1)
	if err != nil {
		return nil, err
	}
	f, err := c.field()
	if err != nil {
		return nil, err
	}
	var out judgement
	if out.real, err = j.grade(j.train); err != nil {
		return nil, err
	}
	all := slices.Clone(race.curves)
	for _, k := range stochastic() {
		all = append(all, curve{contestant: k, rule: c.rules[len(c.rules)-1]})
	}
	for _, v := range all {
		if v.adaptive {
			continue // its budgets are not its own
		}
		row := judged{curve: v, grades: make([]grade, len(o.qualityBudgets))}
		for i, b := range o.qualityBudgets {
			plan, err := c.plan(v.solver, v.rule.grid, b)
			if err != nil || plan == nil {
				continue
			}
			x, err := c.solve(ctx, f, plan, ode.Seed[float32]{Key: o.seed + 2})
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			if err != nil {
				continue // it blew up
			}
			if row.grades[i], err = j.grade(measure.Labelled{Pixels: x, Labels: labels}); err != nil {
				return nil, err
			}
			row.grades[i].nfe = plan.NFE()
		}
		p.Add(total(o.qualityBudgets)*o.samples/o.images, "images by "+v.name)
		out.rows = append(out.rows, row)
	}
	out.sort(o.gradedBy())
	return &out, nil
}

// sort goes by one of the budgets; who has no grade there comes last.
func (j *judgement) sort(at int) {
	slices.SortStableFunc(j.rows, func(a, b judged) int {
		x, y := a.grades[at], b.grades[at]
		switch {
		case x.nfe == 0 || y.nfe == 0:
			return min(1, y.nfe) - min(1, x.nfe)
		case x.frechet < y.frechet:
			return -1
		case x.frechet > y.frechet:
			return 1
		}
		return 0
	})
}
