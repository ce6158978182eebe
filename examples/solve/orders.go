package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/ebb-go/ebb/ode"
)

// A variant is a solver as a problem gives it, on the schedule that its order is measured on.
type variant struct {
	solver string
	flow   bool // on flow, from noise to data; else on vp-linear

	steps func(n int) string // what stands for … in solver, by the number of steps
	order int                // in theory, where the plan does not know it
}

// variants are all solvers with all options that bear on the order.
func variants() (all []variant) {
	add := func(name string, options ...string) {
		if len(options) == 0 {
			options = []string{""}
		}
		for _, o := range options {
			if o != "" {
				o = "," + o
			}
			all = append(all, variant{solver: fmt.Sprintf(`{"name":%q%s}`, name, o)})
		}
	}
	with := func(field string, values ...string) (options []string) {
		for _, v := range values {
			options = append(options, fmt.Sprintf("%q:%q", field, v))
		}
		return options
	}
	order := func(orders ...int) (options []string) {
		for _, o := range orders {
			options = append(options, fmt.Sprintf(`"order":%d`, o))
		}
		return options
	}
	// each is every one of a together with every one of b.
	each := func(a, b []string) (options []string) {
		for _, x := range a {
			for _, y := range b {
				options = append(options, strings.Trim(x+","+y, ","))
			}
		}
		return options
	}

	add("ddim", "", `"eta":0.5`, `"eta":1`)
	types := []string{`"correction":"midpoint"`, `"correction":"taylor"`}
	for _, name := range []string{"dpm", "dpmpp"} {
		add(name, `"order":1`)
		add(name, each(order(2, 3), types)...)
		add(name, `"order":3,"published":true`, `"order":2,"lower-final":true`, `"order":3,"lower-final":true`)
		add(name, each(order(2, 3), each([]string{`"single":true`}, types))...)
		add(name, each(order(1, 2, 3), []string{`"fast":true`})...)
	}
	add("dpm-sde", `"order":1`, `"order":2`, `"order":2,"correction":"taylor"`, `"order":2,"eta":0.5`)
	add("dpmpp-sde", `"order":1`, `"order":2`, `"order":2,"correction":"taylor"`, `"order":2,"eta":0.5`, `"order":3`, `"order":3,"eta":0.5`,
		`"order":3,"published":true,"eta":0.5`, `"single":true`, `"single":true,"eta":0.5`)
	add("euler-maruyama", "", `"eta":0.5`)
	add("predictor-corrector", "")
	add("ancestral", "", `"eta":0.5`, `"noise":true`, `"noise":true,"eta":0.5`)
	add("unipc", each(order(1, 2, 3, 4), []string{"", `"b":"b1"`, `"b":"vary"`, `"noise":true`})...)
	add("unipc", each(order(1, 2, 3, 4), []string{`"no-corrector":true`})...)
	add("unipc", each(order(2, 3), []string{`"b":"vary","published":true`, `"lower-final":true`, `"uncorrected":[0,2]`})...)
	add("unipc", `"order":2,"b":"b1","no-corrector":true`, `"order":2,"b":"vary","no-corrector":true`)
	add("dpmv3", each(order(1, 2, 3), []string{""})...)
	add("dpmv3", `"order":3,"pseudo":true`, `"order":2,"corrector":true`, `"order":3,"corrector":true`, `"order":3,"pseudo":true,"corrector":true`,
		`"order":1,"pseudo-corrector":true`, `"order":2,"pseudo-corrector":true`, `"order":3,"pseudo-corrector":true`)
	add("dc", each(order(1, 2, 3, 4), []string{""})...)
	add("dc", `"points":2`, `"points":4`)
	all = append(all, variant{solver: `{"name":"dc","ratios":[1,1,…]}`, steps: func(n int) string {
		return "1.1" + strings.Repeat(",1.1", n-3)
	}})
	for _, d := range []struct {
		of    ode.Solver
		what  string
		order int
	}{
		{ode.DDIM{}, "those of DDIM", 1}, {ode.DPMpp{Order: 3}, "those of DPM-Solver++ 3M", 3},
		{ode.UniPC{Order: 3}, "those of UniPC-3", 4},
	} {
		all = append(all, variant{solver: `{"name":"usf","decisions":…}, ` + d.what, order: d.order, steps: func(n int) string {
			u, err := ode.USFOf(d.of, ode.Problem{Steps: n})
			if err != nil {
				panic(fmt.Sprintf("solve: decisions of %T on %d steps: %v", d.of, n, err))
			}
			text, _ := json.Marshal(u.Decisions)
			return string(text)
		}})
	}
	add("deis", order(1, 2, 3, 4)...)
	add("lms", order(1, 2, 3, 4)...)
	add("pndm", order(1, 2, 3, 4)...)
	add("pndm", `"order":2,"start":"spndm"`, `"order":4,"start":"spndm"`, `"order":4,"start":"fpndm"`)
	rks := with("tableau", "euler", "heun", "midpoint", "ralston", "kutta", "ralston3", "heun3", "van-der-houwen3", "ssprk3", "rk4", "bogacki-shampine", "dormand-prince")
	add("rk", each(rks, []string{`"in":"ratio"`})...)
	add("rk", each(rks, []string{`"in":"time"`})...)
	add("churn-rk", each(rks[:3], []string{""})...)
	add("churn-rk", each(rks[:2], []string{`"churn":5`})...)
	add("obelm")
	add("bdia", "", `"gamma":0.5`)
	add("edict")
	add("alf", "", `"eta":0.8`)
	add("coupled", each(with("tableau", "euler", "heun", "midpoint", "kutta", "rk4"), []string{""})...)
	add("coupled", `"tableau":"heun","zeta":0.9`)
	add("adaptive", `"of":{"name":"dpm","single":true}`, `"of":{"name":"dpm","single":true,"order":3}`, `"of":{"name":"dpmpp","single":true}`,
		`"of":{"name":"dpmpp","single":true,"order":3}`, `"of":{"name":"rk","tableau":"bogacki-shampine"}`, `"of":{"name":"rk","tableau":"dormand-prince"}`)
	add("time-shift", "", `"published":true`)
	add("normalize-variance")
	n := len(all)
	add("flow-ab", order(1, 2, 3, 4)...)
	add("rk", rks...)
	for i := n; i < len(all); i++ {
		all[i].flow = true
	}
	return all
}

// orders prints what -orders prints: for every solver, and every option that bears on its order, what it keeps of its promises.
func orders(ctx context.Context, out io.Writer) error {
	ms, err := measureAll(ctx, variants())
	if err != nil {
		return err
	}
	return table(out, ms)
}

func table(out io.Writer, ms []measurement) error {
	number := func(v float64) string {
		if math.IsNaN(v) {
			return "—"
		}
		return fmt.Sprintf("%.2f", v)
	}
	var b strings.Builder
	b.WriteString(`Order is that of theory, and the slopes are log₂ of how much the error falls from 72 to 144 steps (fewer, where it would come near to rounding).
The exact start gives as many states of the ODE as a solver looks back to, so that only its own order is left; a cold start begins with lower orders.
Exact is the highest degree of polynomials that a solver integrates without error, and what these are polynomials of.
Solvers that draw noise have the slope of mean and variance, on a Gaussian; adaptive ones that of the error by the steps they took.

| solver | order | slope, exact start | slope, cold start | states looked back to | exact to degree | in |
|---|---|---|---|---|---|---|
`)
	for _, m := range ms {
		degree, in := "—", "—"
		if m.degree >= 0 {
			degree, in = fmt.Sprint(m.degree), m.in
		}
		fmt.Fprintf(&b, "| `%s` | %d | %s | %s | %d | %s | %s |\n", m.name, m.order, number(m.exact), number(m.cold), m.history, degree, in)
	}
	b.WriteString(`
Each number of a step, in the order of the code, made wrong by a hundredth in every step, and what finds it: k the knot check, before anything
runs; o the order; r the round trip; m the moments; ! nothing.

| solver | numbers | found by |
|---|---|---|
`)
	for _, m := range ms {
		if m.slots != "" {
			fmt.Fprintf(&b, "| `%s` | %d | %s |\n", m.name, len(m.slots), m.slots)
		}
	}
	_, err := io.WriteString(out, b.String())
	return err
}

// measureAll measures on all processors.
func measureAll(ctx context.Context, vs []variant) ([]measurement, error) {
	ms, errs := make([]measurement, len(vs)), make([]error, len(vs))
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				k := int(next.Add(1)) - 1
				if k >= len(vs) || ctx.Err() != nil {
					return
				}
				ms[k], errs[k] = vs[k].measure(true)
			}
		})
	}
	wg.Wait()
	for k, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", vs[k].solver, err)
		}
	}
	return ms, ctx.Err()
}
