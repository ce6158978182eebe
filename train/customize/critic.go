package customize

import (
	"errors"
	"fmt"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/train/measure"
)

// A Critic is a classifier that losses look through. Let the judge of a result be another classifier than the one a loss
// has used. It is not safe for concurrent use.
type Critic[T Float] struct {
	cell                   *graph.Cell[T]
	dim, classes, features int
	v, d                   graph.Values[T]
	logits, seen           []T
}

// NewCritic returns a critic on a cell of a classifier: one input "x", outputs "logits" and "features".
func NewCritic[T Float](c *graph.Cell[T]) (*Critic[T], error) {
	s := c.Spec()
	if len(s.Inputs) != 1 || len(s.Outputs) != 2 || s.Outputs[0].Name != models.Logits || s.Outputs[1].Name != models.Features {
		return nil, fmt.Errorf("customize: a critic needs a network of one input with the outputs %q and %q; this one has %v and %v", models.Logits, models.Features, s.Inputs, s.Outputs)
	}
	return &Critic[T]{cell: c, dim: s.Inputs[0].Len(), classes: s.Outputs[0].Len(), features: s.Outputs[1].Len()}, nil
}

// Classes is the number of classes.
func (c *Critic[T]) Classes() int { return c.classes }

// look evaluates the classifier. The results are valid until the next call.
func (c *Critic[T]) look(x []T) (batch int, logits, features []T, err error) {
	batch = len(x) / c.dim
	if batch < 1 || len(x)%c.dim != 0 {
		return 0, nil, nil, fmt.Errorf("customize: %d elements are no images of %d", len(x), c.dim)
	}
	if len(c.logits) != batch*c.classes {
		c.logits, c.seen = make([]T, batch*c.classes), make([]T, batch*c.features)
		c.v = graph.Values[T]{Inputs: make([][]T, 1), Outputs: [][]T{c.logits, c.seen}}
		c.d = graph.Values[T]{Inputs: make([][]T, 1), Outputs: make([][]T, 2)}
	}
	c.v.Inputs[0] = x
	c.v.Outputs[0], c.v.Outputs[1] = c.logits, c.seen
	return batch, c.logits, c.seen, c.cell.Eval(batch, &c.v)
}

// pull writes to g the gradient by x from those by the logits and the features, of which either may be nil.
func (c *Critic[T]) pull(x, g, logits, features []T) error {
	c.v.Inputs[0], c.v.Outputs[0], c.v.Outputs[1] = x, nil, nil
	c.d.Inputs[0], c.d.Outputs[0], c.d.Outputs[1] = g, logits, features
	return c.cell.VJP(len(x)/c.dim, &c.v, &c.d)
}

// Classify returns the most likely class of each image.
func (c *Critic[T]) Classify(x []T) ([]int, error) {
	batch, logits, _, err := c.look(x)
	if err != nil {
		return nil, err
	}
	classes := make([]int, batch)
	for i := range classes {
		row := logits[i*c.classes : (i+1)*c.classes]
		for k, v := range row {
			if v > row[classes[i]] {
				classes[i] = k
			}
		}
	}
	return classes, nil
}

// Features returns the classifier's features of each image.
func (c *Critic[T]) Features(x []T) (measure.Features, error) {
	batch, _, features, err := c.look(x)
	if err != nil {
		return measure.Features{}, err
	}
	return measure.Rows(features, batch, c.features)
}

func (c *Critic[T]) checkLabels(labels []int, batch int) error {
	if len(labels) != batch {
		return fmt.Errorf("customize: %d labels for %d samples", len(labels), batch)
	}
	for i, k := range labels {
		if k < 0 || k >= c.classes {
			return fmt.Errorf("customize: label %d of sample %d is not one of the %d classes", k, i, c.classes)
		}
	}
	return nil
}

var errNoX = errors.New("customize: the plan has no output x")
