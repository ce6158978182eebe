package graph

// refusedGradient says why the gradient of a library op is refused, or nothing.
func refusedGradient(n *Node) string { return "" }

// checkLibrary refuses graphs that Gorgonia computes wrongly.
func checkLibrary(outs []*Node) error { return nil }

// library runs one of Gorgonia's own ops.
type library[T Float] struct{}

func newLibrary[T Float](n *Node, in []*Node) (*library[T], error) { return &library[T]{}, nil }

func (l *library[T]) do(src [][]T, dst []T) ([]T, error) { return dst, nil }
