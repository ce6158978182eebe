package graph

import (
	"errors"
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"time"
	"unsafe"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// ErrBusy is returned when something that is not safe for concurrent use is used by two goroutines at once.
var ErrBusy = errors.New("graph: already in use by another goroutine")

// errTurn ends a program because another one that adds to the same outputs has failed.
var errTurn = errors.New("graph: another shard failed")

// A Program computes some nodes of a graph: only the nodes they depend on, in buffers planned beforehand by liveness,
// without allocating. It is not safe for concurrent use and says so with [ErrBusy]; compile one a goroutine, or use a
// [Cell].
type Program[T Float] struct {
	steps   []step[T]
	vals    [][]T            // by value index: where each value lives in this run
	boxed   []gorgonia.Value // by value index: the values between library ops that are not of type T
	let     []gorgonia.Value // by value index: what vals was taken from, if not from Bind
	values  []value
	inputs  []int
	names   map[string]int // inputs by name → position in inputs
	outs    []int
	copies  []int // outputs that must be copied: −1, or the value they are copied from
	made    []int // by output: the step that computes it, or what it is copied from; −1 for an input
	at      []int // by value index: its place in the arena, or −1
	arena   []T
	scratch []T
	owned   int // elements of outputs that no caller gave
	live    int // largest number of elements of the arena alive at once
	busy    atomic.Bool
	watch   *watch

	queue  *queue // where steps that add wait
	number int64  // of this program in it
}

// value is what compiling knows of a node.
type value struct {
	node    *Node // nil in programs of a Cell, which let go of the graph
	name    string
	dtype   tensor.Dtype
	shape   Shape
	size    int
	input   bool
	output  bool // written where the caller reads it
	view    bool // of another value
	library bool // the result of a library op, which lives where that op likes
}

type step[T Float] struct {
	run     func(dst []T, src [][]T, scratch []T)
	add     func(dst []T, src [][]T, scratch []T) // or nil
	adds    bool                                  // add is to be used, in turn
	turn    int                                   // which is that of this output of the queue
	packing *packing
	packed  func(dst []T, src [][]T, packed, scratch []T)
	pack    *pack[T] // which packed is given, or nil
	lib     *library[T]
	src     [][]T
	boxed   []gorgonia.Value // sources of a library op that are not of type T
	in      []int
	out     int
	view    bool
	scratch int
	flops   int64
	name    string
}

// Compile plans a program for the given outputs, whose order is kept. Inputs are the leaves they depend on; bind each
// with [Program.Bind] before the first run.
func Compile[T Float](outs ...*Node) (*Program[T], error) { return compile[T](outs, true) }

// compile without sharing gives every value a buffer of its own: what tests compare with.
func compile[T Float](outs []*Node, sharing bool) (*Program[T], error) {
	if len(outs) == 0 {
		return nil, errors.New("graph: a program needs at least one output")
	}
	p := &Program[T]{names: map[string]int{}}
	index := map[*Node]int{}
	var kernels []Kernel
	for i, o := range outs {
		if o == nil {
			return nil, fmt.Errorf("graph: output %d is nil", i)
		}
		if o.Type() == nil {
			return nil, fmt.Errorf("graph: output %d is the statement %v; make the node it reads an output", i, o.Op())
		}
		if o.Dtype() != dtype[T]() {
			return nil, fmt.Errorf("graph: output %d is %v; this program computes %v", i, o.Dtype(), dtype[T]())
		}
	}
	if err := checkLibrary(outs); err != nil {
		return nil, err
	}
	for _, n := range order(outs, nil) {
		v := value{node: n, name: trimName(n.Name()), dtype: n.Dtype(), shape: n.Shape(), size: n.Shape().TotalSize()}
		index[n] = len(p.values)
		if n.Op() == nil {
			v.input = true
			if _, twice := p.names[v.name]; twice {
				return nil, fmt.Errorf("graph: two inputs are named %q; give each a name of its own", v.name)
			}
			p.names[v.name] = len(p.inputs)
			p.inputs = append(p.inputs, len(p.values))
			p.values = append(p.values, v)
			continue
		}
		s := step[T]{out: len(p.values), name: n.Op().String()}
		in := args(n)
		for _, c := range in {
			k, ok := index[c]
			if !ok {
				return nil, fmt.Errorf("graph: %v depends on itself: Gorgonia took two nodes of equal hash for one; rename an input", n.Op())
			}
			s.in = append(s.in, k)
		}
		s.src = make([][]T, len(in))
		var k Kernel
		if op, ok := opOf(n); ok {
			k = op.Bind(shapes(in))
			s.view, s.scratch, s.flops = k.View, k.Scratch, k.FLOPs
			s.run, s.add = kernelOf[T](k.F32, k.F64), kernelOf[T](k.add32, k.add64)
			s.packing, s.packed = k.packing, packedOf[T](k)
		} else {
			var err error
			if s.lib, err = newLibrary[T](n, in); err != nil {
				return nil, err
			}
			s.boxed = make([]gorgonia.Value, len(in))
		}
		v.view, v.library = s.view, s.lib != nil
		p.values = append(p.values, v)
		p.steps = append(p.steps, s)
		kernels = append(kernels, k)
	}
	p.outs, p.copies = make([]int, len(outs)), make([]int, len(outs))
	for i, o := range outs {
		p.outs[i] = index[o]
	}
	p.lay(kernels, sharing)
	p.vals = make([][]T, len(p.values))
	p.boxed, p.let = make([]gorgonia.Value, len(p.values)), make([]gorgonia.Value, len(p.values))
	n := 0
	for _, s := range p.steps {
		n = max(n, s.scratch)
	}
	p.scratch = aligned[T](n)
	p.settle()
	return p, nil
}

// settle gives the values their places in the arena.
func (p *Program[T]) settle() {
	for i, v := range p.values {
		if at := p.at[i]; at >= 0 {
			p.vals[i] = p.arena[at : at+v.size : at+v.size]
		}
	}
}

// kernelOf is the function of the element type.
func kernelOf[T Float](f32 func(dst []float32, src [][]float32, scratch []float32), f64 func(dst []float64, src [][]float64, scratch []float64)) func(dst []T, src [][]T, scratch []T) {
	if f, ok := any(f32).(func(dst []T, src [][]T, scratch []T)); ok {
		return f
	}
	return any(f64).(func(dst []T, src [][]T, scratch []T))
}

func packedOf[T Float](k Kernel) func(dst []T, src [][]T, packed, scratch []T) {
	if f, ok := any(k.packed32).(func(dst []T, src [][]T, packed, scratch []T)); ok {
		return f
	}
	return any(k.packed64).(func(dst []T, src [][]T, packed, scratch []T))
}

// forget lets go of the graph. Inputs must be bound then.
func (p *Program[T]) forget() {
	for i := range p.values {
		p.values[i].node = nil
	}
}

// aligned returns n elements that begin at a cache line.
func aligned[T Float](n int) []T {
	var x T
	pad := 64 / int(unsafe.Sizeof(x))
	s := make([]T, n+pad)
	k := 0
	for uintptr(unsafe.Pointer(&s[k]))%64 != 0 {
		k++
	}
	return s[k : k+n : k+n]
}

// Inputs are the names of the inputs, in the order of [Program.BindAt].
func (p *Program[T]) Inputs() []string {
	names := make([]string, len(p.inputs))
	for i, v := range p.inputs {
		names[i] = p.values[v].name
	}
	return names
}

// Bind makes data the value of the input of the given name for the runs to come. It is read, never written or copied.
func (p *Program[T]) Bind(name string, data []T) error {
	i, ok := p.names[name]
	if !ok {
		return fmt.Errorf("graph: no input %q; there are %q", name, p.Inputs())
	}
	return p.BindAt(i, data)
}

// BindAt is Bind by position in [Program.Inputs].
func (p *Program[T]) BindAt(i int, data []T) error {
	if i < 0 || i >= len(p.inputs) {
		return fmt.Errorf("graph: no input %d; there are %d", i, len(p.inputs))
	}
	v := p.inputs[i]
	if t := p.values[v].dtype; t != dtype[T]() {
		return fmt.Errorf("graph: input %q is %v; bind it with gorgonia.Let", p.values[v].name, t)
	}
	if len(data) != p.values[v].size {
		return fmt.Errorf("graph: input %q of shape %v needs %d elements, got %d", p.values[v].name, p.values[v].shape, p.values[v].size, len(data))
	}
	p.vals[v], p.let[v] = data, nil
	return nil
}

// BindOutput makes the program write output i to data, which must not overlap an input.
func (p *Program[T]) BindOutput(i int, data []T) error {
	if i < 0 || i >= len(p.outs) {
		return fmt.Errorf("graph: no output %d; there are %d", i, len(p.outs))
	}
	v := p.outs[i]
	if len(data) != p.values[v].size {
		return fmt.Errorf("graph: output %d of shape %v has %d elements, got %d", i, p.values[v].shape, p.values[v].size, len(data))
	}
	p.vals[v] = data
	return nil
}

// adding makes output i, if its op can, add to what it is bound to, when it is the turn of p.number at place turn of the queue.
// It cannot if anything else of the program reads the output: a later step, a view, or another output that copies it would find
// the sum of all shards so far there.
func (p *Program[T]) adding(i, turn int) bool {
	v := p.outs[i]
	if slices.Contains(p.copies, v) {
		return false
	}
	var adds *step[T]
	for t := range p.steps {
		s := &p.steps[t]
		if slices.Contains(s.in, v) {
			return false
		}
		if s.out == v && s.add != nil {
			adds = s
		}
	}
	if adds == nil {
		return false
	}
	adds.adds, adds.turn = true, turn
	return true
}

// own gives output i memory, unless it has some.
func (p *Program[T]) own(i int) {
	if v := p.outs[i]; p.vals[v] == nil {
		p.vals[v] = aligned[T](p.values[v].size)
		p.owned += p.values[v].size
	}
}

// Output is the value of output i of the last run; nil if there is none.
func (p *Program[T]) Output(i int) []T {
	if i < 0 || i >= len(p.outs) {
		return nil
	}
	return p.vals[p.outs[i]]
}

// Run computes the outputs. Inputs that were not bound to a slice take the value that Gorgonia's Let gave them. A panic
// of an op comes back as an error that names the op.
func (p *Program[T]) Run() error { return p.run(0, len(p.steps), len(p.outs)) }

// RunTo computes the first n outputs. [Program.RunFrom] with the same n goes on from there: so the
// elements of an input that is bound but not yet used, such as a cotangent, may depend on earlier outputs.
func (p *Program[T]) RunTo(n int) error {
	end, err := p.end(n)
	if err != nil {
		return err
	}
	return p.run(0, end, n)
}

// RunFrom computes what [Program.RunTo] has left.
func (p *Program[T]) RunFrom(n int) error {
	end, err := p.end(n)
	if err != nil {
		return err
	}
	return p.run(end, len(p.steps), len(p.outs))
}

// end is the number of steps, all at the front, that the first n outputs need.
func (p *Program[T]) end(n int) (end int, err error) {
	if n < 0 || n > len(p.outs) {
		return 0, fmt.Errorf("graph: the first %d outputs; there are %d", n, len(p.outs))
	}
	for _, t := range p.made[:n] {
		end = max(end, t+1)
	}
	return end, nil
}

// run takes the steps in [from, to), after which the first n outputs are there.
func (p *Program[T]) run(from, to, n int) (err error) {
	if !p.busy.CompareAndSwap(false, true) {
		return fmt.Errorf("program: %w", ErrBusy)
	}
	at := -1
	defer func() {
		if r := recover(); r != nil {
			name := "outputs"
			if at >= 0 && at < len(p.steps) {
				name = p.steps[at].name
			}
			err = fmt.Errorf("graph: panic in %s: %v\n%s", name, r, debug.Stack())
		}
		p.busy.Store(false)
	}()
	for _, v := range p.inputs {
		if p.vals[v] == nil || p.let[v] != nil {
			if err := p.bindLet(v); err != nil {
				return err
			}
		}
	}
	for i := range p.outs {
		// A later output may be computed on the way, or be what an earlier one is made of.
		if i < n || p.copies[i] < 0 && p.made[i] < to {
			p.own(i)
		}
	}
	var began time.Time
	if p.watch != nil {
		began = time.Now()
	}
	for i := from; i < to; i++ {
		s := &p.steps[i]
		at = i
		for k, v := range s.in {
			s.src[k] = p.vals[v]
		}
		switch {
		case s.lib != nil:
			for k, v := range s.in {
				s.boxed[k] = p.boxed[v]
			}
			if p.vals[s.out], p.boxed[s.out], err = s.lib.do(s.src, s.boxed); err != nil {
				return fmt.Errorf("graph: %s: %w", s.name, err)
			}
		case s.view:
			p.vals[s.out] = s.src[0]
		case s.pack != nil:
			s.packed(p.vals[s.out], s.src, s.pack.data, p.scratch)
		case s.adds:
			if !p.queue.enter(s.turn, p.number) {
				return errTurn
			}
			if p.watch != nil {
				began = time.Now() // waiting is no work
			}
			s.add(p.vals[s.out], s.src, p.scratch)
			p.queue.leave(s.turn)
		default:
			s.run(p.vals[s.out], s.src, p.scratch)
		}
		if p.watch != nil {
			now := time.Now()
			p.watch.steps[i].tally(now.Sub(began))
			began = now
		}
	}
	at = -1
	for i, from := range p.copies[:n] {
		if from >= 0 {
			copy(p.vals[p.outs[i]], p.vals[from])
		}
	}
	return nil
}

// bindLet takes the value that was given to an input of a user's graph by gorgonia.Let or WithValue.
func (p *Program[T]) bindLet(v int) error {
	n := p.values[v].node
	if n == nil {
		return fmt.Errorf("graph: no value for input %q; call Bind", p.values[v].name)
	}
	val := n.Value()
	if val == nil {
		return fmt.Errorf("graph: no value for input %q; call Bind", n.Name())
	}
	if val == p.let[v] {
		return nil
	}
	if d, ok := val.(tensor.Tensor); ok && (d.RequiresIterator() || !d.DataOrder().IsRowMajor()) {
		return fmt.Errorf("graph: the value of input %q is not contiguous and row-major; clone it first", n.Name())
	}
	if val.Dtype() != n.Dtype() {
		return fmt.Errorf("graph: the value of input %q is %v, its node %v", n.Name(), val.Dtype(), n.Dtype())
	}
	if n.Dtype() != dtype[T]() {
		p.boxed[v], p.let[v] = val, val
		return nil
	}
	data, err := elements[T](val)
	if err != nil {
		return err
	}
	if len(data) != p.values[v].size {
		return fmt.Errorf("graph: the value of input %q has %d elements, its node %v", n.Name(), len(data), n.Shape())
	}
	p.vals[v], p.let[v] = data, val
	return nil
}

// Stats describes a compiled program.
type Stats struct {
	Steps   int   // ops run
	Library int   // of them, ops of Gorgonia, which allocate
	Bytes   int64 // owned: arena, scratch, and outputs that are not bound to the caller's slices
	Arena   int64 // of them, the buffers of inner values
	Live    int64 // the largest total of inner values alive at once, in bytes: what the arena must hold at least
	FLOPs   int64 // floating-point operations of the products
}

// Stats describes the program.
func (p *Program[T]) Stats() Stats {
	var x T
	size := int64(unsafe.Sizeof(x))
	s := Stats{Steps: len(p.steps), Live: int64(p.live) * size, Arena: int64(len(p.arena)) * size, Bytes: int64(len(p.arena)+len(p.scratch)+p.owned) * size}
	for _, t := range p.steps {
		if t.lib != nil {
			s.Library++
		}
		s.FLOPs = min(s.FLOPs, math.MaxInt64-t.flops) + t.flops
	}
	return s
}

func trimName(s string) string {
	for len(s) > 0 && s[len(s)-1] == ' ' {
		s = s[:len(s)-1]
	}
	return s
}
