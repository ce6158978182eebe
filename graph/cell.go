package graph

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/ebb-go/ebb/internal/parallel"
	"github.com/ebb-go/ebb/ode"
)

// Values are the values of a network's ports for one batch, or directions in them, or gradients with respect to them:
// inputs and outputs in the order of the [Spec], each the samples one after the other. A nil entry is absent: a zero
// direction or cotangent, or a result that is not wanted, and is then not computed.
type Values[T Float] struct {
	Inputs  [][]T
	Outputs [][]T
	Weights map[string][]T // directions, or gradients, which are added to
	In      []ode.Tap[T]   // inner values that replace the network's own; gradients and directions are to those that do
	Out     []ode.Tap[T]   // inner values that are read
}

// A Cell evaluates a network and its products with the Jacobian. It cuts the batch into shards of the size that the
// Spec fixes and gives them to its workers, compiles what it is asked for once for every shard size, and does not
// allocate after that. Results do not depend on the number of workers, and those of one sample not on its batch.
//
// A Cell is not safe for concurrent use ([ErrBusy]); a Model makes as many as one wants, on the same Weights. Close it.
type Cell[T Float] struct {
	model    Model
	spec     Spec
	weights  *Weights[T]
	pool     *parallel.Pool
	variants []*variant[T]
	asked    []bool // scratch: weights asked for
	job      job[T]
	run      func(worker, i int)
	packs    []*pack[T]
	packedAt uint64 // version of the weights that packs are copies of,
	fresh    bool   // if that is still all of them
	repack   func(worker, i int)
	busy     atomic.Bool
	watched  time.Time    // when the watch began, or zero
	shared   []sharedWork // while watched
}

// sharedWork is what [Cell.Share] has measured of one name, by worker.
type sharedWork struct {
	name string
	by   []OpProfile
}

type kind uint8

const (
	forward kind = iota
	pullback
	pushforward
)

// A variant is the network compiled for one kind of question.
type variant[T Float] struct {
	kind       kind
	size       int
	inputs     uint64 // gradients wanted, or directions given
	outputs    uint64 // cotangents given
	values     uint64 // outputs written
	use, offer uint64 // taps replaced, taps read
	tapsIn     uint64 // replaced taps of which the same is wanted or given
	tapsOut    uint64 // and taps read
	weights    []bool // gradients wanted, or directions given

	nodes    []*Node // outputs of the programs
	bind     []binding
	zero     []bool        // for each output, that it is exactly zero
	adds     []bool        // for each output, that its op adds it to the caller's gradient of a weight
	out      []binding     // what each output is
	programs []*Program[T] // one a worker
}

// binding says what an input or output of a program stands for: a port, a weight, or a tap, or a direction in one.
type binding struct {
	role role
	i    int // position in the Spec
	n    int // elements a sample; 0 for weights
}

type role uint8

const (
	roleInput role = iota
	roleWeight
	roleUse
	roleInputTangent
	roleWeightTangent
	roleUseTangent
	roleOutputCotangent
	roleOfferCotangent
	roleOutput
	roleOffer
	roleOutputTangent
	roleOfferTangent
)

// job is what the workers share during a call.
type job[T Float] struct {
	v, d   *Values[T]
	batch  int
	full   *variant[T]
	rest   *variant[T]
	shards int64
	next   atomic.Int64 // the next shard nobody has taken
	queue  queue        // for adding to the gradients of the weights, in the order of the shards
	memory *memory[T]   // or nil: what is to be kept, or is kept
	first  bool         // of it only what comes before the values
	err    atomic.Pointer[error]
}

// A CellOption changes how a Cell works, not what it computes.
type CellOption func(*cellOptions)

type cellOptions struct{ workers int }

// Workers sets the number of workers; the default is GOMAXPROCS when the Cell is made.
func Workers(n int) CellOption { return func(o *cellOptions) { o.workers = n } }

// NewCell returns a Cell of a network with weights that match it.
func NewCell[T Float](m Model, w *Weights[T], options ...CellOption) (*Cell[T], error) {
	spec := m.Spec()
	if err := spec.check(); err != nil {
		return nil, err
	}
	if w == nil {
		return nil, errors.New("graph: a cell needs weights; for a network without any, NewWeights of an empty list")
	}
	if err := w.Match(spec.Weights); err != nil {
		return nil, err
	}
	if spec.Shard == 0 {
		spec.Shard = defaultShard
	}
	o := cellOptions{workers: runtime.GOMAXPROCS(0)}
	for _, f := range options {
		f(&o)
	}
	if o.workers < 1 {
		return nil, fmt.Errorf("graph: %d workers; at least 1 is needed", o.workers)
	}
	c := &Cell[T]{model: m, spec: spec, weights: w, pool: parallel.New(o.workers), asked: make([]bool, len(spec.Weights))}
	c.run, c.repack = c.work, c.packOne
	c.job.queue.next = make([]atomic.Int64, len(spec.Weights))
	// Building once tells at once what is wrong with the network.
	if _, err := build[T](m, 1, 0, 0); err != nil {
		c.pool.Close()
		return nil, err
	}
	return c, nil
}

// Close ends the workers.
func (c *Cell[T]) Close() { c.pool.Close() }

// Spec is the network's.
func (c *Cell[T]) Spec() Spec { return c.spec }

// Weights are those the Cell computes with.
func (c *Cell[T]) Weights() *Weights[T] { return c.weights }

// Hold keeps the workers awake until the function it returns is called: for the length of a sampling run, say. Who calls that
// twice may let workers sleep that another has held, which costs time alone.
func (c *Cell[T]) Hold() (release func()) {
	c.pool.Hold()
	return c.pool.Release
}

// Bytes is the memory that compiled programs own, all workers together, and that of the copies of weights they share.
func (c *Cell[T]) Bytes() int64 {
	n := c.packedBytes()
	for _, v := range c.variants {
		for _, p := range v.programs {
			if p != nil {
				n += p.Stats().Bytes
			}
		}
	}
	return n
}

// Share calls f(worker, i) for every i in [0, n) on the Cell's workers: what is to be done beside the network by the same cores.
// Calls of one worker never overlap. The name is for a [Profile].
func (c *Cell[T]) Share(name string, n int, f func(worker, i int)) error {
	if !c.busy.CompareAndSwap(false, true) {
		return fmt.Errorf("cell: %w", ErrBusy)
	}
	defer c.busy.Store(false)
	if !c.watched.IsZero() {
		f = c.measured(name, f)
	}
	return c.pool.Run(n, f)
}

// measured is f with its time taken.
func (c *Cell[T]) measured(name string, f func(worker, i int)) func(worker, i int) {
	k := slices.IndexFunc(c.shared, func(s sharedWork) bool { return s.name == name })
	if k < 0 {
		k = len(c.shared)
		c.shared = append(c.shared, sharedWork{name, make([]OpProfile, c.pool.Workers())})
	}
	by := c.shared[k].by
	return func(worker, i int) {
		began := time.Now()
		f(worker, i)
		by[worker].tally(time.Since(began))
	}
}

// Watch begins to measure each op of the calls to come, from zero, or stops to. Calls that are not watched cost nothing more.
func (c *Cell[T]) Watch(on bool) error {
	if !c.busy.CompareAndSwap(false, true) {
		return fmt.Errorf("cell: %w", ErrBusy)
	}
	defer c.busy.Store(false)
	c.shared, c.watched = nil, time.Time{}
	if on {
		c.watched = time.Now()
	}
	for _, v := range c.variants {
		for _, p := range v.programs {
			if p == nil {
				continue
			}
			if err := p.Watch(on); err != nil {
				return err
			}
		}
	}
	return nil
}

// Profile says what has been measured, all programs and workers together. While nothing is watched it has no times.
func (c *Cell[T]) Profile() Profile {
	r := Profile{Programs: c.Stats(), Bytes: c.Bytes()}
	if c.watched.IsZero() {
		return r
	}
	r.Wall, r.Busy = time.Since(c.watched), make([]time.Duration, c.pool.Workers())
	index := map[string]int{}
	for _, v := range c.variants {
		for w, p := range v.programs {
			if p != nil {
				r.Busy[w] += p.record(&r, index)
			}
		}
	}
	for _, s := range c.shared {
		for w, o := range s.by {
			if o.Op = s.name; o.Count > 0 {
				r.Busy[w] += o.Time
				r.add(o, index)
			}
		}
	}
	r.sort()
	return r
}

// Stats describes every program compiled so far, one worker's each.
func (c *Cell[T]) Stats() []Stats {
	var s []Stats
	for _, v := range c.variants {
		if len(v.programs) > 0 && v.programs[0] != nil {
			s = append(s, v.programs[0].Stats())
		}
	}
	return s
}

// Eval computes v.Outputs and v.Out from v.Inputs and v.In.
func (c *Cell[T]) Eval(batch int, v *Values[T]) error { return c.do(forward, batch, v, nil) }

// VJP computes the gradients d.Inputs and d.In, and adds to d.Weights, from the cotangents d.Outputs and d.Out, at
// v.Inputs and v.In. Entries of v.Outputs that are not nil receive the values.
func (c *Cell[T]) VJP(batch int, v, d *Values[T]) error { return c.do(pullback, batch, v, d) }

// JVP computes the derivatives d.Outputs and d.Out in the direction d.Inputs, d.In and d.Weights, at v.Inputs and v.In.
// Entries of v.Outputs that are not nil receive the values.
func (c *Cell[T]) JVP(batch int, v, d *Values[T]) error { return c.do(pushforward, batch, v, d) }

func (c *Cell[T]) do(k kind, batch int, v, d *Values[T]) error {
	if !c.busy.CompareAndSwap(false, true) {
		return fmt.Errorf("cell: %w", ErrBusy)
	}
	defer c.busy.Store(false)
	if batch < 1 {
		return fmt.Errorf("graph: batch of %d samples; at least 1 is needed", batch)
	}
	if v == nil || d == nil && k != forward {
		return errors.New("graph: nil Values; an evaluation needs a point, and a product with the Jacobian directions or cotangents too")
	}
	if err := c.check(batch, v, d); err != nil {
		return err
	}
	full, rest, err := c.pair(k, batch, v, d)
	if err != nil {
		return err
	}
	return c.call(batch, v, d, full, rest)
}

// pair finds or compiles what computes whole shards of a batch and what computes the rest, either nil if there is none.
func (c *Cell[T]) pair(k kind, batch int, v, d *Values[T]) (full, rest *variant[T], err error) {
	if batch >= c.spec.Shard {
		if full, err = c.variant(k, c.spec.Shard, v, d); err != nil {
			return nil, nil, err
		}
	}
	if r := batch % c.spec.Shard; r > 0 {
		rest, err = c.variant(k, r, v, d)
	}
	return full, rest, err
}

// call computes all shards of a batch.
func (c *Cell[T]) call(batch int, v, d *Values[T], full, rest *variant[T]) error {
	if !c.weights.use.TryRLock() {
		return fmt.Errorf("cell: the weights are being written: %w", ErrBusy)
	}
	defer c.weights.use.RUnlock()
	j := &c.job
	j.v, j.d, j.batch, j.full, j.rest = v, d, batch, full, rest
	j.next.Store(0)
	j.queue.reset()
	j.err.Store(nil)
	j.shards = int64((batch + c.spec.Shard - 1) / c.spec.Shard)
	if m := j.memory; m != nil {
		if j.first {
			m.version = c.weights.version.Load()
		} else if m.version != c.weights.version.Load() {
			return errStale
		}
	}
	err := c.refresh()
	if err != nil {
		return err
	}
	err = c.pool.Run(min(c.pool.Workers(), int(j.shards)), c.run)
	if e := j.err.Load(); e != nil {
		err = *e
	}
	j.v, j.d = nil, nil
	return err
}

func (c *Cell[T]) check(batch int, v, d *Values[T]) error {
	if len(v.Inputs) != len(c.spec.Inputs) {
		return fmt.Errorf("graph: %d inputs for a network of %d", len(v.Inputs), len(c.spec.Inputs))
	}
	for i, p := range c.spec.Inputs {
		if v.Inputs[i] == nil {
			return fmt.Errorf("graph: input %q is missing", p.Name)
		}
	}
	for _, s := range [2]*Values[T]{v, d} {
		if s == nil {
			continue
		}
		if err := checkPorts(c.spec.Inputs, s.Inputs, batch, "input"); err != nil {
			return err
		}
		if err := checkPorts(c.spec.Outputs, s.Outputs, batch, "output"); err != nil {
			return err
		}
		for _, taps := range [2][]ode.Tap[T]{s.In, s.Out} {
			for i, t := range taps {
				p, ok := port(c.spec.Taps, t.Name)
				if !ok {
					return fmt.Errorf("graph: the network has no tap %q", t.Name)
				}
				if slices.ContainsFunc(taps[:i], func(s ode.Tap[T]) bool { return s.Name == t.Name }) {
					return fmt.Errorf("graph: tap %q is listed twice", t.Name)
				}
				if t.Data != nil && len(t.Data) != batch*p.Len() {
					return fmt.Errorf("graph: tap %q needs %d samples of %d elements, got %d elements", t.Name, batch, p.Len(), len(t.Data))
				}
			}
		}
	}
	if d == nil {
		return nil
	}
	for _, t := range d.In {
		if t.Data != nil && tap(v.In, t.Name) == nil {
			return fmt.Errorf("graph: a gradient to tap %q, or a direction in it, and nothing replaces the network's own there", t.Name)
		}
	}
	for name, x := range d.Weights {
		w := c.weights.data[name]
		if w == nil {
			return fmt.Errorf("graph: no weight %q", name)
		}
		if x != nil && len(x) != len(w) {
			return fmt.Errorf("graph: weight %q has %d elements, got %d", name, len(w), len(x))
		}
	}
	return nil
}

func checkPorts[T Float](ports []Port, data [][]T, batch int, what string) error {
	if len(data) > len(ports) {
		return fmt.Errorf("graph: %d %ss for a network of %d", len(data), what, len(ports))
	}
	for i, x := range data {
		if x != nil && len(x) != batch*ports[i].Len() {
			return fmt.Errorf("graph: %s %q needs %d samples of %d elements, got %d elements", what, ports[i].Name, batch, ports[i].Len(), len(x))
		}
	}
	return nil
}

func present[T Float](data [][]T) (bits uint64) {
	for i, x := range data {
		if x != nil {
			bits |= 1 << i
		}
	}
	return bits
}

func (c *Cell[T]) tapBits(taps []ode.Tap[T]) (bits uint64) {
	for _, t := range taps {
		for i, p := range c.spec.Taps {
			if p.Name == t.Name && t.Data != nil {
				bits |= 1 << i
			}
		}
	}
	return bits
}

// variant finds or compiles what is asked for.
func (c *Cell[T]) variant(k kind, size int, v, d *Values[T]) (*variant[T], error) {
	ask := variant[T]{kind: k, size: size, values: present(v.Outputs), use: c.tapBits(v.In), offer: c.tapBits(v.Out), weights: c.asked}
	clear(c.asked)
	if d != nil {
		ask.inputs, ask.outputs = present(d.Inputs), present(d.Outputs)
		ask.tapsIn, ask.tapsOut = c.tapBits(d.In), c.tapBits(d.Out)
		for i, w := range c.spec.Weights {
			c.asked[i] = d.Weights[w.Name] != nil
		}
	}
	for _, have := range c.variants {
		if have.kind == k && have.size == size && have.inputs == ask.inputs && have.outputs == ask.outputs && have.values == ask.values &&
			have.use == ask.use && have.offer == ask.offer && have.tapsIn == ask.tapsIn && have.tapsOut == ask.tapsOut && slices.Equal(have.weights, ask.weights) {
			return have, nil
		}
	}
	made := new(variant[T])
	*made = ask
	made.weights = slices.Clone(c.asked)
	if err := c.compile(made); err != nil {
		return nil, err
	}
	c.variants = append(c.variants, made)
	return made, nil
}

// compile makes a program a worker.
func (c *Cell[T]) compile(v *variant[T]) error {
	v.programs = make([]*Program[T], c.pool.Workers())
	var bind map[*Node]binding
	for w := range v.programs {
		// Ops of Gorgonia's keep state: with any of them, every worker has a graph of its own.
		if w == 0 || v.programs[0].Stats().Library > 0 {
			var err error
			if bind, err = c.write(v); err != nil {
				return err
			}
			v.adds = make([]bool, len(v.out))
		}
		var live []*Node
		for _, n := range v.nodes {
			if n != nil {
				live = append(live, n)
			}
		}
		if len(live) == 0 {
			return nil
		}
		p, err := Compile[T](live...)
		if err != nil {
			return err
		}
		v.programs[w] = p
		p.queue = &c.job.queue
		c.share(p, bind)
		if !c.watched.IsZero() {
			if err := p.Watch(true); err != nil {
				return err
			}
		}
		k := 0
		for o, what := range v.out {
			if v.zero[o] {
				continue
			}
			if what.role == roleWeightTangent {
				v.adds[o] = p.adding(k, what.i)
			}
			k++
		}
		v.claim(p)
		for _, i := range p.inputs {
			what, ok := bind[p.values[i].node]
			if !ok {
				return fmt.Errorf("graph: the network depends on input %q, which its Spec does not list", p.values[i].name)
			}
			if w == 0 {
				v.bind = append(v.bind, what)
			}
		}
	}
	for _, p := range v.programs {
		p.forget() // now that all are made: a graph is as large as a small arena
	}
	v.nodes = nil
	return nil
}

// claim gives a program the gradients of weights that it does not add itself: now, and not when it has its first shard, so that
// Bytes is the same after every call.
func (v *variant[T]) claim(p *Program[T]) {
	k := 0
	for o, what := range v.out {
		if v.zero[o] {
			continue
		}
		if what.role == roleWeightTangent && !v.adds[o] {
			p.own(k)
		}
		k++
	}
}

// write builds the network, and its derivative if one is asked for. It returns what each input is.
func (c *Cell[T]) write(v *variant[T]) (map[*Node]binding, error) {
	offer := v.offer | v.tapsOut
	net, err := build[T](c.model, v.size, v.use, offer)
	if err != nil {
		return nil, err
	}
	b := net.b
	v.nodes, v.out, v.zero = nil, nil, nil
	bind := map[*Node]binding{}
	for i, n := range net.inputs {
		bind[n] = binding{roleInput, i, c.spec.Inputs[i].Len()}
	}
	for i, n := range net.weights {
		bind[n] = binding{roleWeight, i, 0}
	}
	for i, p := range c.spec.Taps {
		if n := net.use[p.Name]; n != nil {
			bind[n] = binding{roleUse, i, p.Len()}
		}
		if offer>>i&1 != 0 {
			if n := net.tapped[p.Name]; n == nil {
				return nil, fmt.Errorf("graph: the Spec lists tap %q, but the network never offers it", p.Name)
			} else if n.Shape().TotalSize() != v.size*p.Len() {
				return nil, fmt.Errorf("graph: tap %q: the Spec gives %v a sample, the network %v in all", p.Name, p.Shape, n.Shape())
			}
		}
	}
	add := func(n *Node, what binding) {
		v.nodes, v.out = append(v.nodes, n), append(v.out, what)
		v.zero = append(v.zero, n == nil)
	}
	for i, n := range net.outputs {
		if v.values>>i&1 != 0 {
			add(n, binding{roleOutput, i, c.spec.Outputs[i].Len()})
		}
	}
	for i, p := range c.spec.Taps {
		if v.offer>>i&1 != 0 {
			add(net.tapped[p.Name], binding{roleOffer, i, p.Len()})
		}
	}
	// The nodes of which d holds something, in the order inputs, weights, taps.
	var wrt []*Node
	var what []binding
	for i, n := range net.inputs {
		if v.inputs>>i&1 != 0 {
			wrt, what = append(wrt, n), append(what, binding{roleInputTangent, i, c.spec.Inputs[i].Len()})
		}
	}
	for i, n := range net.weights {
		if v.weights[i] {
			wrt, what = append(wrt, n), append(what, binding{roleWeightTangent, i, 0})
		}
	}
	for i, p := range c.spec.Taps {
		if v.tapsIn>>i&1 != 0 && net.use[p.Name] != nil {
			wrt, what = append(wrt, net.use[p.Name]), append(what, binding{roleUseTangent, i, p.Len()})
		}
	}
	var outs []*Node
	var outWhat []binding
	for i, n := range net.outputs {
		if v.outputs>>i&1 != 0 {
			outs, outWhat = append(outs, n), append(outWhat, binding{roleOutputCotangent, i, c.spec.Outputs[i].Len()})
		}
	}
	for i, p := range c.spec.Taps {
		if v.tapsOut>>i&1 != 0 {
			outs, outWhat = append(outs, net.tapped[p.Name]), append(outWhat, binding{roleOfferCotangent, i, p.Len()})
		}
	}
	err = b.guard(func() {
		switch v.kind {
		case pullback:
			cots := make([]*Node, len(outs))
			for i, o := range outs {
				cots[i] = b.Input(fmt.Sprint("cotangent ", i), o.Shape()...)
				bind[cots[i]] = outWhat[i]
			}
			for i, g := range b.Gradient(outs, cots, wrt) {
				add(g, what[i])
			}
		case pushforward:
			dirs := make([]*Node, len(wrt))
			for i, n := range wrt {
				dirs[i] = b.Input(fmt.Sprint("tangent ", i), n.Shape()...)
				bind[dirs[i]] = what[i]
			}
			for i, g := range b.Tangent(outs, wrt, dirs) {
				if outWhat[i].role == roleOutputCotangent {
					outWhat[i].role = roleOutputTangent
				} else {
					outWhat[i].role = roleOfferTangent
				}
				add(g, outWhat[i])
			}
		}
	})
	return bind, err
}

// work computes shards, taken in order, until none is left.
func (c *Cell[T]) work(worker, _ int) {
	finished := false
	defer func() {
		if !finished { // a panic, or an op that ends its goroutine: its turn will not come
			c.job.queue.broken.Store(true)
		}
	}()
	for i := c.job.next.Add(1) - 1; i < c.job.shards; i = c.job.next.Add(1) - 1 {
		c.shard(worker, int(i))
	}
	finished = true
}

// shard computes one shard on one worker.
func (c *Cell[T]) shard(worker, i int) {
	j := &c.job
	v := j.full
	from := i * c.spec.Shard
	if j.batch-from < c.spec.Shard {
		v = j.rest
	}
	p := v.programs[worker]
	if j.memory != nil {
		p = j.memory.program(i, p)
	}
	if err := c.runShard(v, p, i, from); err != nil {
		c.fail(err)
		return
	}
	if v.kind == pullback && !j.first {
		c.addWeights(v, p, int64(i))
	}
}

func (c *Cell[T]) runShard(v *variant[T], p *Program[T], shard, from int) error {
	for k, what := range v.bind {
		if err := p.BindAt(k, c.slice(what, from, v.size)); err != nil {
			return err
		}
	}
	k, values := 0, 0
	for o, what := range v.out {
		if value := what.role == roleOutput || what.role == roleOffer; value {
			values++
		} else if c.job.first {
			break
		}
		dst := c.slice(what, from, v.size)
		switch {
		case v.zero[o]:
			if what.role != roleWeightTangent {
				clear(dst)
			}
			continue
		case what.role != roleWeightTangent || v.adds[o]:
			if err := p.BindOutput(k, dst); err != nil {
				return err
			}
		}
		k++
	}
	if p == nil {
		return nil
	}
	p.number = int64(shard)
	switch {
	case c.job.memory == nil:
		return p.Run()
	case c.job.first:
		return p.RunTo(values)
	}
	return p.RunFrom(values)
}

func (c *Cell[T]) fail(err error) {
	if err != errTurn { // the cause is told by the one who broke the queue
		c.job.err.CompareAndSwap(nil, &err)
	}
	c.job.queue.broken.Store(true)
}

// slice is the part of the caller's data that belongs to a shard.
func (c *Cell[T]) slice(what binding, from, size int) []T {
	v, d := c.job.v, c.job.d
	var x []T
	switch what.role {
	case roleInput:
		x = v.Inputs[what.i]
	case roleWeight:
		return c.weights.data[c.spec.Weights[what.i].Name]
	case roleUse:
		x = tap(v.In, c.spec.Taps[what.i].Name)
	case roleInputTangent:
		x = d.Inputs[what.i]
	case roleWeightTangent:
		return d.Weights[c.spec.Weights[what.i].Name]
	case roleUseTangent:
		x = tap(d.In, c.spec.Taps[what.i].Name)
	case roleOutputCotangent, roleOutputTangent:
		x = d.Outputs[what.i]
	case roleOfferCotangent, roleOfferTangent:
		x = tap(d.Out, c.spec.Taps[what.i].Name)
	case roleOutput:
		x = v.Outputs[what.i]
	case roleOffer:
		x = tap(v.Out, c.spec.Taps[what.i].Name)
	}
	return x[from*what.n : (from+size)*what.n]
}

func tap[T Float](taps []ode.Tap[T], name string) []T {
	for _, t := range taps {
		if t.Name == name {
			return t.Data
		}
	}
	return nil
}

// addWeights adds those gradients of a shard that their ops did not add themselves.
func (c *Cell[T]) addWeights(v *variant[T], p *Program[T], shard int64) {
	k := 0
	for o, what := range v.out {
		if what.role == roleWeightTangent && !v.adds[o] {
			if !c.job.queue.enter(what.i, shard) {
				return
			}
			if !v.zero[o] {
				kernels.Axpy(c.slice(what, 0, 0), 1, p.Output(k))
			}
			c.job.queue.leave(what.i)
		}
		if !v.zero[o] {
			k++
		}
	}
}
