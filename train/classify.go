package train

import (
	"fmt"
	"slices"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/train/data"
)

const logits = "logits"

// Classification trains a network to tell classes, by the cross-entropy of its logits.
type Classification struct {
	// Smoothing is the share of the target that is spread evenly over all classes (Szegedy et al. 2015, arXiv
	// 1512.00567, section 7), below 1.
	Smoothing float64

	Augment Augment
}

// Task joins the objective to a network and data. The network takes one input, shaped like an image (channel by channel
// if its shape is (channels, height, width)), and gives one logit a class: its only output, or the one named "logits".
//
// Errors name what does not fit.
func (o Classification) Task(m graph.Model, d *data.Images) (*Task, error) {
	s := m.Spec()
	at := 0
	if len(s.Outputs) > 1 {
		at = slices.IndexFunc(s.Outputs, func(p graph.Port) bool { return p.Name == logits })
	}
	if len(s.Inputs) != 1 || len(s.Outputs) == 0 || at < 0 || len(s.Outputs[at].Shape) != 1 {
		return nil, fmt.Errorf("train: a classifier takes one input and gives one vector %q; this network takes %s and gives %s", logits, names(s.Inputs), names(s.Outputs))
	}
	planar, err := fits(d, s.Inputs[0])
	if err != nil {
		return nil, err
	}
	if err := o.Augment.check(d); err != nil {
		return nil, err
	}
	switch {
	case !(o.Smoothing >= 0 && o.Smoothing < 1):
		return nil, fmt.Errorf("train: Classification.Smoothing is %v; it is a share from 0 to below 1", o.Smoothing)
	case d.Labels == nil:
		return nil, fmt.Errorf("train: a classifier cannot be trained on images without labels")
	case s.Outputs[at].Len() != d.Classes:
		return nil, fmt.Errorf("train: the network has %d logits, the images have %d classes", s.Outputs[at].Len(), d.Classes)
	}
	fill := func(in [][]float64, s Sample) error {
		var u [4]float64
		from := s.address()
		from.uniform(u[:])
		o.Augment.image(in[0], d, s.Index, planar, from, u[:])
		want := in[1]
		for c := range want {
			want[c] = o.Smoothing / float64(d.Classes)
		}
		want[d.Labels[s.Index]] += 1 - o.Smoothing
		return nil
	}
	return &Task{
		Loss: lossOf(m, at, "cross-entropy", graph.Port{Name: target, Shape: s.Outputs[at].Shape}, func(b *graph.Builder, out, want *graph.Node) *graph.Node {
			return b.CrossEntropy(out, want)
		}),
		Samples: d.N,
		Fill:    fill,
		About:   map[string]string{"objective": fmt.Sprintf("%#v", o), "data": digest(d)},
	}, nil
}
