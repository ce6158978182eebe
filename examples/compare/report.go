package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
)

// A report is what all races came to.
type report struct {
	options
	mixture, images *result
	quality         *judgement // nil if not asked for
}

func (r report) imagesTitle() string {
	if !r.set["model"] {
		return "digits, rectified flow"
	}
	return "images of " + filepath.Base(r.model)
}

// short is the answer in a few lines.
func (r report) short() string {
	var b strings.Builder
	for _, part := range []struct {
		title string
		*result
	}{{"Gaussian mixture", r.mixture}, {r.imagesTitle(), r.images}} {
		fmt.Fprintf(&b, "%s\n", part.title)
		for _, budget := range r.shown() {
			fmt.Fprintf(&b, "  %3d evaluations:", budget)
			for i, v := range part.best(budget, 3) {
				fmt.Fprintf(&b, "%s %s (%s)", []string{"", ",", ","}[i], v.name, v.rule.name)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// shown are the budgets with a column in tables.
func (r report) shown() []int {
	var shown []int
	for _, b := range r.budgets {
		if slices.Contains([]int{5, 8, 10, 16, 20, 32, 50}, b) {
			shown = append(shown, b)
		}
	}
	if len(shown) == 0 {
		return r.budgets
	}
	return shown
}

func (r report) markdown() string {
	var b strings.Builder
	name := filepath.Base(r.out)
	fmt.Fprintf(&b, "# Which sampler?\n\nDistance to the solution of the ODE after so many evaluations of the network, for each solver on the grid that suits it best. "+
		"It is the median over samples of the root mean square over elements.\n\n![distance against evaluations](%s.png)\n\n", name)
	b.WriteString("## The nearest three\n\n| evaluations | Gaussian mixture | " + r.imagesTitle() + " |\n|---:|---|---|\n")
	for _, budget := range r.shown() {
		cell := func(res *result) string {
			var names []string
			for _, v := range res.best(budget, 3) {
				names = append(names, fmt.Sprintf("%s (%s) %s", v.name, v.rule.name, number(v.points[slices.Index(res.budgets, budget)].error)))
			}
			return strings.Join(names, "<br>")
		}
		fmt.Fprintf(&b, "| %d | %s | %s |\n", budget, cell(r.mixture), cell(r.images))
	}
	r.table(&b, "Gaussian mixture", fmt.Sprintf("Eight components in 16 dimensions, VP-linear schedule from t = 1 to 0.001, float64, %d samples. Solved with %d steps of the classical "+
		"Runge-Kutta method for reference.", r.samplesOfMixture, r.reference), r.mixture)
	r.table(&b, r.imagesTitle(), fmt.Sprintf("%s, float32, %d images. Solved with %d steps of the classical Runge-Kutta method for reference.", r.model, r.options.images, r.reference), r.images)
	if r.quality != nil {
		r.grades(&b)
	}
	b.WriteString("\nLeft out: DPM-Solver-v3, which needs statistics of the model, and solvers that draw noise, which end elsewhere than the ODE.\n")
	return b.String()
}

// table has a row for each contestant, the best first.
func (r report) table(b *strings.Builder, title, note string, res *result) {
	fmt.Fprintf(b, "\n## %s\n\n%s Rows are sorted by how many digits a solver is behind the best, in the mean over all budgets; columns are budgets, which some solvers "+
		"cannot use up.\n\n| solver | family | grid | behind |", title, note)
	for _, budget := range r.shown() {
		fmt.Fprintf(b, " %d |", budget)
	}
	b.WriteString("\n|---|---|---|---:|" + strings.Repeat("---:|", len(r.shown())) + "\n")
	for _, v := range res.curves {
		fmt.Fprintf(b, "| %s | %s | %s | %.2f |", v.name, v.family, v.rule.name, v.score)
		for _, budget := range r.shown() {
			p, cell := v.points[slices.Index(res.budgets, budget)], "–"
			if p.nfe > 0 {
				cell = number(p.error)
			}
			fmt.Fprintf(b, " %s |", cell)
		}
		b.WriteByte('\n')
	}
	for _, name := range slices.Sorted(maps.Keys(res.refused)) {
		fmt.Fprintf(b, "\n%s is not in the table: %v\n", name, res.refused[name])
	}
}

func (r report) grades(b *strings.Builder) {
	fmt.Fprintf(b, "\n## Quality of the images\n\n%d images of each solver: the Fréchet distance to held-out images in features of the judge, and how often the judge sees the class asked for. "+
		"As many real images from the training set get %.3g and %.1f %%. Rows are sorted by the distance with %d evaluations.\n\n| solver | grid |",
		r.samples, r.quality.real.frechet, 100*r.quality.real.agreement, r.qualityBudgets[r.gradedBy()])
	for _, budget := range r.qualityBudgets {
		fmt.Fprintf(b, " Fréchet, %d | agrees, %d |", budget, budget)
	}
	b.WriteString("\n|---|---|" + strings.Repeat("---:|---:|", len(r.qualityBudgets)) + "\n")
	for _, row := range r.quality.rows {
		fmt.Fprintf(b, "| %s | %s |", row.name, row.rule.name)
		for _, g := range row.grades {
			if g.nfe == 0 {
				b.WriteString(" – | – |")
				continue
			}
			fmt.Fprintf(b, " %.3g | %.1f %% |", g.frechet, 100*g.agreement)
		}
		b.WriteByte('\n')
	}
}

// number is an error with two digits.
func number(v float64) string { return fmt.Sprintf("%.1e", v) }
