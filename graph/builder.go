package graph

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// building serialises what Gorgonia does not: its constants cache hashes and its collision counters are global.
var building sync.Mutex

// A Builder writes a Gorgonia graph. It keeps the first error, with the file and line of the call that made it, and
// returns harmless nodes from then on, so that network code reads as formulas; ask for [Builder.Err] at the end.
// A Builder is not safe for concurrent use.
type Builder struct {
	g     *gorgonia.ExprGraph
	dt    tensor.Dtype
	ids   uint64
	err   error
	names map[string]*Node
	dummy *Node
	held  int // how many calls of this Builder are inside building
}

// NewBuilder returns a Builder of an empty graph whose values are all of type T.
func NewBuilder[T Float]() *Builder {
	return Wrap[T](gorgonia.NewGraph())
}

// Wrap returns a Builder that goes on with a graph that was begun with Gorgonia alone.
func Wrap[T Float](g *gorgonia.ExprGraph) *Builder {
	b := &Builder{g: g, dt: dtype[T](), names: map[string]*Node{}}
	for _, n := range g.AllNodes() {
		if n.Op() == nil {
			b.names[n.Name()] = n
		}
	}
	return b
}

func dtype[T Float]() tensor.Dtype {
	var x T
	if _, ok := any(x).(float32); ok {
		return tensor.Float32
	}
	return tensor.Float64
}

// Graph is the graph being written.
func (b *Builder) Graph() *gorgonia.ExprGraph { return b.g }

// Dtype is the element type of the graph.
func (b *Builder) Dtype() tensor.Dtype { return b.dt }

// Err is the first error, or nil.
func (b *Builder) Err() error { return b.err }

// Fail records an error unless there is one already, and returns a node to go on with.
func (b *Builder) Fail(format string, v ...any) *Node {
	if b.err == nil {
		b.err = fmt.Errorf("%s: %w", caller(), fmt.Errorf(format, v...))
	}
	return b.harmless()
}

// caller is the nearest file:line outside this package.
func caller() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if !strings.Contains(f.Function, "/ebb/graph.") || strings.HasSuffix(f.File, "_test.go") {
			if i := strings.LastIndexByte(f.File, '/'); i >= 0 {
				f.File = f.File[strings.LastIndexByte(f.File[:i], '/')+1:]
			}
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if !more {
			return "graph"
		}
	}
}

func (b *Builder) harmless() *Node {
	if b.dummy == nil {
		b.lock()
		defer b.unlock()
		b.dummy = gorgonia.NewTensor(b.g, b.dt, 1, gorgonia.WithShape(1), gorgonia.WithName("failed"))
	}
	return b.dummy
}

// lock enters building, unless this Builder is inside already: a derivative of Gorgonia's calls back into the Builder.
func (b *Builder) lock() {
	if b.held == 0 {
		building.Lock()
	}
	b.held++
}

func (b *Builder) unlock() {
	b.held--
	if b.held == 0 {
		building.Unlock()
	}
}

// Input adds an input of the given shape, at least one axis, under a name that is new in this graph.
func (b *Builder) Input(name string, shape ...int) *Node {
	if b.err != nil {
		return b.harmless()
	}
	switch {
	case name == "" || strings.HasSuffix(name, " "):
		return b.Fail("an input needs a name that does not end with a space, not %q", name)
	case len(shape) == 0:
		return b.Fail("input %q: a shape of at least one axis is needed; a scalar is shape 1", name)
	case b.names[name] != nil:
		return b.Fail("input %q exists already with shape %v; give this one of shape %v another name", name, b.names[name].Shape(), shape)
	}
	for _, d := range shape {
		if d < 1 {
			return b.Fail("input %q: shape %v has an axis below 1", name, shape)
		}
	}
	b.lock()
	defer b.unlock()
	// A name whose hash collides with another node would return that node: spaces at the end change the hash only.
	for hidden := name; ; hidden += " " {
		before := len(b.g.AllNodes())
		n := gorgonia.NewTensor(b.g, b.dt, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName(hidden))
		if len(b.g.AllNodes()) > before {
			b.names[name] = n
			return n
		}
	}
}

// Named returns the input of the given name, or nil.
func (b *Builder) Named(name string) *Node { return b.names[name] }

// unusable says why a node cannot be an operand here, or nothing.
func (b *Builder) unusable(n *Node) string {
	switch {
	case n == nil:
		return "is nil"
	case n.Graph() != b.g:
		return "belongs to another graph"
	case n.Type() == nil:
		return "is a statement of Gorgonia's; use the node it reads"
	case n.Dtype() != b.dt:
		return fmt.Sprintf("is %v in a graph of %v", n.Dtype(), b.dt)
	}
	return ""
}

// Apply adds an op. Errors of shape name the op, all shapes and the caller's line.
func (b *Builder) Apply(op Op, in ...*Node) *Node {
	if b.err != nil {
		return b.harmless()
	}
	a := &adapter{op: op, b: b}
	for i, n := range in {
		if why := b.unusable(n); why != "" {
			return b.Fail("%s: input %d %s", op, i, why)
		}
		if _, reshapes := op.(reshape); n.Dims() == 0 && !reshapes {
			return b.Fail("%s: input %d is a scalar; Reshape it to shape 1 first", op, i)
		}
		a.in = append(a.in, n.Dims())
	}
	if len(in) == 0 {
		return b.Fail("%s: no inputs", op)
	}
	shape, err := op.Shape(shapes(in))
	if err != nil {
		return b.Fail("%s: %w", op, err)
	}
	if _, reshapes := op.(reshape); (len(shape) == 0 && !reshapes) || (len(shape) > 0 && slices.Min(shape) < 1) {
		return b.Fail("%s: result of shape %v from inputs %v", op, shape, shapes(in))
	}
	a.shape = shape
	b.lock()
	defer b.unlock()
	for {
		b.ids++
		a.id = b.ids
		before := len(b.g.AllNodes())
		n, err := gorgonia.ApplyOp(a, in...)
		if err != nil {
			return b.Fail("%s of %v: %w", op, shapes(in), err)
		}
		// Gorgonia knows nodes by a 32-bit hash: a collision returns an older node. A new id changes the hash.
		if len(b.g.AllNodes()) > before {
			return n
		}
	}
}

// guard turns a panic of network code after a failed call (on the shape of a harmless node, say) into that failure.
func (b *Builder) guard(f func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			if b.err == nil {
				b.err = fmt.Errorf("graph: panic while building: %v (at %s)", r, panicSite())
			}
			err = b.err
		}
	}()
	f()
	return b.err
}

func panicSite() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "runtime.") && !strings.HasPrefix(f.Function, "gorgonia.org/") && !strings.Contains(f.Function, "/ebb/graph.") {
			return fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		if !more {
			return "unknown"
		}
	}
}
