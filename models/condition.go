package models

import (
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/graph"
)

const (
	// Labels is the weight that holds one condition vector a class and, as its last row, the one that stands for no class.
	Labels = "labels"
	// Label is the input that [Labelled] puts in the place of the condition.
	Label = "label"
)

// Lookup returns the condition vectors of the given labels, one after the other, from the weight "labels" of shape
// (classes+1, length). −1 and classes both mean no class.
//
// The network itself does not read the table: its gradient through a sampler is zero unless it is chained with
// [PullLookup]. So a condition can be learned with the table held still, and the other way round.
func Lookup[T graph.Float](w *graph.Weights[T], labels []int) ([]T, error) {
	table, n, err := labelTable(w)
	if err != nil {
		return nil, err
	}
	condition := make([]T, 0, len(labels)*n)
	for i, label := range labels {
		row, err := labelRow(i, label, len(table)/n-1)
		if err != nil {
			return nil, err
		}
		condition = append(condition, table[row*n:(row+1)*n]...)
	}
	return condition, nil
}

// PullLookup is the transpose of [Lookup]: it adds the cotangent of each looked-up vector to the row of its label in dst,
// a gradient shaped like the table.
func PullLookup[T graph.Float](dst []T, w *graph.Weights[T], labels []int, cotangent []T) error {
	table, n, err := labelTable(w)
	if err != nil {
		return err
	}
	if len(dst) != len(table) {
		return fmt.Errorf("models: the gradient of the label table has %d elements; the table has %d", len(dst), len(table))
	}
	if len(cotangent) != len(labels)*n {
		return fmt.Errorf("models: a cotangent of %d elements for %d labels; %d a label are needed", len(cotangent), len(labels), n)
	}
	for i, label := range labels { // nothing is added unless all labels are right
		if _, err := labelRow(i, label, len(table)/n-1); err != nil {
			return err
		}
	}
	for i, label := range labels {
		row, _ := labelRow(i, label, len(table)/n-1)
		for j, v := range cotangent[i*n : (i+1)*n] {
			dst[row*n+j] += v
		}
	}
	return nil
}

// labelTable returns the label table and the length of its rows.
func labelTable[T graph.Float](w *graph.Weights[T]) ([]T, int, error) {
	list := w.List()
	i := slices.IndexFunc(list, func(d graph.Weight) bool { return d.Name == Labels && len(d.Shape) == 2 })
	if i < 0 {
		return nil, 0, fmt.Errorf("models: no weight %q (classes+1, length): this network was made without classes", Labels)
	}
	return w.Data(Labels), list[i].Shape[1], nil
}

func labelRow(i, label, classes int) (int, error) {
	if label < -1 || label > classes {
		return 0, fmt.Errorf("models: label %d of sample %d; the classes are 0 to %d, and -1 is none", label, i, classes-1)
	}
	if label == -1 {
		return classes, nil
	}
	return label, nil
}

// Labelled returns a conditional network of this package as one that is given classes: the input "label", a weight for
// each row of the label table (one-hot for a class, the last for none), stands in the place of "condition", and the
// table takes part in the network. This is what training uses. The weights are the same.
//
// Of a network without a label table, or not of this package, the result fails when it is built, and says so.
func Labelled(m graph.Model) graph.Model {
	spec := m.Spec()
	table := slices.IndexFunc(spec.Weights, func(w graph.Weight) bool { return w.Name == Labels })
	at := slices.IndexFunc(spec.Inputs, func(p graph.Port) bool { return p.Name == graph.Condition })
	if _, ours := m.(savable); !ours || table < 0 || at < 0 {
		return graph.ModelFunc{Describe: spec, Network: func(b *graph.Builder, _ *graph.Inputs) []*graph.Node {
			return []*graph.Node{b.Fail("models: Labelled: %T has no label table; make an MLP or a DiT with Classes", m)}
		}}
	}
	spec.Inputs = slices.Clone(spec.Inputs)
	spec.Inputs[at] = graph.Port{Name: Label, Shape: []int{spec.Weights[table].Shape[0]}}
	return graph.ModelFunc{Describe: spec, Network: m.Build}
}

// condition is the condition vector, given or looked up; nil for an unconditional network.
func condition(b *graph.Builder, in *graph.Inputs) *graph.Node {
	switch {
	case in.Has(Label):
		return b.Linear(in.Input(Label), in.Weight(Labels), nil)
	case in.Has(graph.Condition):
		return in.Input(graph.Condition)
	}
	return nil
}

// diffusionInputs are the ports of a diffusion network.
func diffusionInputs(shape []int, condition int) []graph.Port {
	ports := []graph.Port{{Name: graph.X, Shape: slices.Clone(shape)}, {Name: graph.Time}}
	if condition > 0 {
		ports = append(ports, graph.Port{Name: graph.Condition, Shape: []int{condition}})
	}
	return ports
}

// table adds the label table.
func (l *weightList) table(classes, length int) {
	if classes > 0 {
		*l = append(*l, graph.Weight{Name: Labels, Shape: []int{classes + 1, length}, Std: 1})
	}
}
