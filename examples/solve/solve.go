package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// A setup is what schedule, knots, solver and statistics make.
type setup struct {
	problem ode.Problem
	plan    *ode.Plan // nil for a controller, which makes one in each run
	control any       // an ode.Controller[float64]; nil for others
	silent  bool      // a published solver whose noise is zero by its name
}

// plans keeps setups, and starts, by how they were written, since most problems share theirs with others.
type plans struct {
	mu   sync.Mutex
	made map[string]setup
	fits map[string]*ode.TransportFit[float64]
}

// mostKept bounds what is kept; beyond it everything is forgotten.
const mostKept = 256

// key is what the named fields were written as.
func (p *problem) key(names ...string) string {
	var b strings.Builder
	for _, n := range names {
		b.Write(p.fields[n])
		b.WriteByte(0)
	}
	return b.String()
}

func (s *plans) of(p *problem) (setup, error) {
	key := p.key("schedule", "knots", "solver", "statistics")
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, ok := s.made[key]; ok {
		return u, nil
	}
	u, err := compile(p)
	if err != nil {
		return u, err
	}
	if s.made == nil || len(s.made) >= mostKept {
		s.made = map[string]setup{}
	}
	s.made[key] = u
	return u, nil
}

func compile(p *problem) (u setup, err error) {
	schedule, raw, err := parseSchedule(p.fields["schedule"])
	if err != nil {
		return u, err
	}
	if p.fields["knots"] == nil {
		return u, fmt.Errorf("knots are missing; give a list of times, or a grid such as {\"grid\": \"time-uniform\", \"steps\": 20}")
	}
	asked, err := parseKnots(p.fields["knots"], schedule)
	if err != nil {
		return u, err
	}
	solver, err := u.solver(p, &asked)
	if err != nil {
		return u, err
	}
	asked.Raw = raw
	u.problem = asked
	s, isSolver := solver.(ode.Solver)
	if _, adaptive := solver.(ode.Adaptive[float64]); !adaptive && asked.Knots == nil && asked.Steps == 0 {
		_, err := one("knots.grid", nil, gridNames()...)
		return u, err
	}
	if !isSolver {
		u.control = solver
		return u, nil
	}
	u.plan, err = s.Plan(asked)
	return u, err
}

// solver reads what solves the problem, and may put its knots in another form.
func (u *setup) solver(p *problem, asked *ode.Problem) (s any, err error) {
	var fields map[string]json.RawMessage
	raw := inFull("name", p.fields["solver"])
	if err := value("solver", raw, &fields); err != nil {
		return nil, err
	}
	if release, ok := fields["published"]; ok && release[0] == '"' {
		s, err = u.release(fields, asked)
	} else {
		var also shared
		s, err = parseNative("solver", raw, &also)
		also.apply(asked)
	}
	if err != nil {
		return nil, err
	}
	return withStatistics(s, p.fields["statistics"])
}

// release reads a published solver.
func (u *setup) release(fields map[string]json.RawMessage, asked *ode.Problem) (ode.Solver, error) {
	for name := range fields {
		if name != "published" {
			return nil, unknown("a published solver has the field", name, []string{"published"})
		}
	}
	all := publishedSolvers()
	var names []string
	for _, r := range all {
		names = append(names, r.name)
	}
	name, err := one("solver.published", fields["published"], names...)
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(name, "/append_zero") && !endsAtZero(*asked) {
		return nil, fmt.Errorf("solver.published is %s, but the last knot is not 0; append it, or use the name without /append_zero", name)
	}
	u.silent = strings.Contains(name, "_zero_noise")
	for _, r := range all {
		if r.name == name {
			if r.grid {
				*asked = evenly(*asked)
			} else if asked.Grid != nil { // points inside of steps are uniform in λ, whatever the knots are
				asked.Raw = ode.Velocity // which any knots will do for
				p, err := ode.DDIM{}.Plan(*asked)
				if err != nil {
					return nil, err
				}
				*asked = ode.Problem{Schedule: asked.Schedule}
				for _, k := range p.Knots {
					asked.Knots = append(asked.Knots, k.T)
				}
			}
			return r.solver(asked), nil
		}
	}
	return nil, nil
}

// withStatistics gives a solver the statistics it needs.
func withStatistics(s any, raw json.RawMessage) (any, error) {
	v := reflect.New(reflect.TypeOf(s)).Elem()
	v.Set(reflect.ValueOf(s))
	var dst reflect.Value
	for i := range v.NumField() {
		if v.Field(i).Type() == reflect.TypeFor[ode.Statistics]() {
			dst = v.Field(i)
		}
	}
	switch {
	case !dst.IsValid() && raw != nil:
		return nil, fmt.Errorf("statistics are given, which this solver does not use; leave them out, or use dpmv3 or usf")
	case raw == nil:
		return s, nil // and the solver says so if it cannot do without
	}
	o, err := object("statistics", raw, "lambda", "l", "s", "b")
	if err != nil {
		return nil, err
	}
	var m ode.Statistics
	for _, f := range []struct {
		name string
		dst  any
	}{{"lambda", &m.Lambda}, {"l", &m.L}, {"s", &m.S}, {"b", &m.B}} {
		if err := value("statistics."+f.name, o[f.name], f.dst); err != nil {
			return nil, err
		}
	}
	dst.Set(reflect.ValueOf(m))
	return v.Interface(), nil
}

// A worker solves problems one after the other, and keeps what it made for them.
type worker struct {
	plans   *plans
	engines map[string]engine
}

// An engine solves problems that differ in numbers alone.
type engine interface {
	solve(ctx context.Context, p *problem) (answer, error)
	close()
}

// An answer is in the memory of its engine.
type answer struct {
	batch, components int
	x0, latent, means []float64 // the latter two nil without a gradient
	nfe, vjp          int
}

func (w *worker) close() {
	for _, e := range w.engines {
		e.close()
	}
	w.engines = nil
}

// answer solves a line. A fault of ebb's own must not take the other lines with it.
func (w *worker) answer(ctx context.Context, line []byte) (out []byte, failed bool) {
	a, err := w.guarded(ctx, line)
	if err != nil {
		out, _ = json.Marshal(map[string]string{"error": err.Error()})
		return out, true
	}
	return a.json(), false
}

func (w *worker) guarded(ctx context.Context, line []byte) (a answer, err error) {
	defer func() {
		if fault := recover(); fault != nil {
			w.engines = nil // one of them is in an unknown state
			err = fmt.Errorf("a fault in ebb, please report it with this line: %v", fault)
		}
	}()
	return w.solve(ctx, line)
}

func (w *worker) solve(ctx context.Context, line []byte) (a answer, err error) {
	p, err := parse(line)
	if err != nil {
		return a, err
	}
	u, err := w.plans.of(&p)
	if err != nil {
		return a, err
	}
	if err := u.checkNoise(&p); err != nil {
		return a, err
	}
	start, err := w.plans.mapping(ctx, &p)
	if err != nil {
		return a, err
	}
	if start != nil {
		if err := start.Map(p.x, p.x); err != nil {
			return a, err
		}
	}
	key := fmt.Sprint(p.key("schedule", "knots", "solver", "statistics", "model"), p.batch, p.dim, p.cotangent != nil, p.strategy, p.float32)
	e, ok := w.engines[key]
	if !ok {
		if e, err = newEngine(&p, u); err != nil {
			return a, err
		}
		if w.engines == nil || len(w.engines) >= mostKept {
			w.close()
			w.engines = map[string]engine{}
		}
		w.engines[key] = e
	}
	a, err = e.solve(ctx, &p)
	if start != nil {
		clear(a.latent) // the map is constant round x
	}
	return a, err
}

func (u setup) checkNoise(p *problem) error {
	draws := 0
	if u.plan != nil {
		draws = u.plan.Draws()
	}
	switch {
	case u.silent && (p.noise != nil || p.seed != nil):
		return fmt.Errorf("the published solver has zero noise by its name; leave noise and seed out, or use a native solver")
	case p.noise != nil && len(p.noise) != draws:
		return fmt.Errorf("noise has %d draws, this solver makes %d with these knots", len(p.noise), draws)
	}
	return nil
}

func newEngine(p *problem, u setup) (engine, error) {
	m, err := parseModel(p.fields["model"])
	if err != nil {
		return nil, err
	}
	if p.float32 {
		return newPrepared[float32](p, u, m)
	}
	return newPrepared[float64](p, u, m)
}

// strategyNames are the values of gradient; the first is the default.
func strategyNames() []string { return []string{"checkpoint", "unrolled"} }

// prepared is the engine of an element type.
type prepared[T ode.Float] struct {
	setup
	field  ode.Differentiable[T]
	runner *ode.Runner[T]      // of a plan, without a gradient
	pulled *adjoint.Adjoint[T] // of a plan, with one
	loss   adjoint.Loss[T]
	x, c   []T
	cell   *graph.Cell[T] // of strategies that need a graph
	answer answer
}

func newPrepared[T ode.Float](p *problem, u setup, m exact.Mixture) (engine, error) {
	r := &prepared[T]{setup: u, x: make([]T, len(p.x)), c: make([]T, len(p.x))}
	r.answer = answer{batch: p.batch, components: len(m.Means)}
	r.loss = adjoint.Dot(r.c)
	field, err := exact.NewField[T](m, u.problem.Schedule, u.problem.Raw)
	if err != nil {
		return nil, err
	}
	if p.dim != m.Dim() {
		return nil, fmt.Errorf("x has %d columns, the model %d dimensions", p.dim, m.Dim())
	}
	r.field = field
	if p.strategy == "unrolled" {
		if r.field, err = r.graph(m); err != nil {
			return nil, err
		}
	}
	switch {
	case u.plan == nil:
	case p.cotangent == nil:
		r.runner, err = ode.NewRunner[T](u.plan, p.batch, p.dim)
	default:
		r.pulled, err = r.newAdjoint(p, u.plan)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *prepared[T]) newAdjoint(p *problem, plan *ode.Plan) (*adjoint.Adjoint[T], error) {
	asked := adjoint.Problem[T]{Plan: plan, Field: r.field, Batch: p.batch, Dim: p.dim, Wrt: []string{"x", "means"}}
	if p.strategy == "unrolled" {
		asked.Strategy = adjoint.Unrolled{}
	}
	return adjoint.New(asked)
}

// graph is the model as a network.
func (r *prepared[T]) graph(m exact.Mixture) (ode.Differentiable[T], error) {
	network, err := models.NewMixture(models.MixtureConfig{Shape: []int{m.Dim()}, Components: len(m.Means), Prediction: r.problem.Raw, Schedule: r.problem.Schedule})
	if err != nil {
		return nil, err
	}
	weights, err := models.MixtureWeights[T](m)
	if err != nil {
		return nil, err
	}
	if r.cell, err = graph.NewCell(network, weights); err != nil {
		return nil, err
	}
	return graph.NewField(r.cell, nil)
}

func (r *prepared[T]) close() {
	if r.cell != nil {
		r.cell.Close()
	}
}

func (r *prepared[T]) solve(ctx context.Context, p *problem) (answer, error) {
	convert(r.x, p.x)
	if p.cotangent != nil {
		convert(r.c, p.cotangent)
	}
	in := adjoint.From(r.x)
	if r.plan != nil && r.plan.Draws() > 0 {
		in.Noise = source[T](p, r.plan)
	}
	var err error
	switch {
	case r.plan == nil:
		err = r.controlled(ctx, p, in)
	case r.pulled != nil:
		err = r.differentiate(ctx, r.pulled, in)
	default:
		err = r.runner.Run(ctx, r.field, ode.Inputs[T]{Ports: in.Ports, Noise: in.Noise})
		r.answer.nfe, r.answer.x0 = r.plan.NFE(), widen(r.answer.x0, r.runner.Output("x"))
	}
	return r.answer, err
}

// controlled lets a controller find its plan, which is then differentiated like any other.
func (r *prepared[T]) controlled(ctx context.Context, p *problem, in adjoint.Inputs[T]) error {
	run, err := controller[T](r.control).Run(ctx, r.problem, r.field, p.batch, ode.Inputs[T]{Ports: in.Ports})
	if err != nil {
		return err
	}
	a := &r.answer
	if p.cotangent != nil {
		pulled, err := r.newAdjoint(p, run.Plan)
		if err != nil {
			return err
		}
		if err := r.differentiate(ctx, pulled, in); err != nil {
			return err
		}
	}
	a.nfe, a.x0 = run.NFE, widen(a.x0, run.X)
	return nil
}

// controller is the controller of a row for another element type.
func controller[T ode.Float](c any) ode.Controller[T] {
	switch c := c.(type) {
	case ode.Adaptive[float64]:
		return ode.Adaptive[T](c)
	case ode.TimeShift[float64]:
		return ode.TimeShift[T](c)
	case ode.NormalizeVariance[float64]:
		return ode.NormalizeVariance[T](c)
	}
	panic(fmt.Sprintf("solve: a row of natives has a %T, which controller does not know", c))
}

func (r *prepared[T]) differentiate(ctx context.Context, pulled *adjoint.Adjoint[T], in adjoint.Inputs[T]) error {
	g, err := pulled.Gradient(ctx, in, r.loss)
	if err != nil {
		return err
	}
	a := &r.answer
	a.x0, a.latent, a.means = widen(a.x0, g.States.X()), widen(a.latent, g.Gradients["x"]), widen(a.means, g.Gradients["means"])
	a.nfe, a.vjp = g.NFE, g.VJP
	return nil
}

// silence is noise that is zero.
type silence[T ode.Float] struct{}

// Draw implements [ode.NoiseSource].
func (silence[T]) Draw(dst []T, _ ode.DrawCall) error {
	clear(dst)
	return nil
}

// source is the noise of a plan. A seed is a path, so that more steps follow the same one; only churn and Langevin steps, which do not go down in time, cannot have one.
func source[T ode.Float](p *problem, plan *ode.Plan) ode.NoiseSource[T] {
	switch {
	case p.seed != nil:
		span := plan.Knots[0].T
		if _, hi := plan.Schedule.Domain(); !math.IsInf(hi, 0) {
			span = hi
		}
		for _, in := range plan.Code {
			if in.Op == ode.Draw && in.From <= in.To {
				return ode.Seed[T]{Key: *p.seed}
			}
		}
		return ode.Brownian[T]{Key: *p.seed, Span: span}
	case p.noise == nil:
		return silence[T]{}
	}
	given := make(ode.Given[T], len(p.noise))
	for i, d := range p.noise {
		given[i] = make([]T, len(d))
		convert(given[i], d)
	}
	return given
}

func convert[T ode.Float](dst []T, src []float64) {
	for i, v := range src {
		dst[i] = T(v)
	}
}

// widen copies src to dst, which is made if need be.
func widen[T ode.Float](dst []float64, src []T) []float64 {
	if dst == nil {
		dst = make([]float64, len(src))
	}
	for i, v := range src {
		dst[i] = float64(v)
	}
	return dst
}

// json writes all numbers with 17 digits, which is what a float64 needs.
func (a answer) json() []byte {
	b := append([]byte(`{"x0":`), ""...)
	b = rows(b, a.x0, a.batch)
	if a.latent != nil {
		b = append(rows(append(b, `,"gradient":{"latent":`...), a.latent, a.batch), `,"means":`...)
		b = append(rows(b, a.means, a.components), '}')
	}
	b = strconv.AppendInt(append(b, `,"nfe":`...), int64(a.nfe), 10)
	b = strconv.AppendInt(append(b, `,"vjp":`...), int64(a.vjp), 10)
	return append(b, '}')
}

func rows(b []byte, values []float64, n int) []byte {
	dim := len(values) / n
	b = append(b, '[')
	for i, v := range values {
		switch {
		case i%dim == 0 && i > 0:
			b = append(b, "],["...)
		case i%dim == 0:
			b = append(b, '[')
		default:
			b = append(b, ',')
		}
		b = strconv.AppendFloat(b, v, 'g', 17, 64)
	}
	return append(b, "]]"...)
}
