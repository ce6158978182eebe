package main

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/models"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// mixtureCourse is samples of a mixture of eight Gaussians in sixteen dimensions on a VP-linear schedule.
func mixtureCourse(samples int, seed uint64) (*course[float64], error) {
	const components, dim = 8, 16
	r := rand.New(rand.NewPCG(seed, 1))
	var m exact.Mixture
	for range components {
		mean := make([]float64, dim)
		for i := range mean {
			mean[i] = r.NormFloat64()
		}
		m.Means = append(m.Means, mean)
		m.Weights = append(m.Weights, 0.5+r.Float64())
		m.Variances = append(m.Variances, 0.02+0.1*r.Float64())
	}
	c := &course[float64]{problem: ode.Problem{Schedule: ode.VPLinear{}, Raw: ode.Noise}, rules: rules(false), dim: dim, x: make([]float64, samples*dim)}
	c.field = func() (ode.Field[float64], error) {
		return exact.NewField[float64](m, c.problem.Schedule, c.problem.Raw)
	}
	return c, ode.Seed[float64]{Key: seed}.Draw(c.x, ode.DrawCall{Batch: samples})
}

// A network is a loaded model of images.
type network struct {
	spec    graph.Spec
	weights *graph.Weights[float32]
	cell    *graph.Cell[float32]
}

func openNetwork(path string, given bool) (*network, error) {
	m, w, _, err := models.Load[float32](path)
	if err != nil {
		return nil, command.Missing(err, "model", given)
	}
	spec := m.Spec()
	if spec.Schedule == nil || len(spec.Inputs[0].Shape) != 3 {
		return nil, fmt.Errorf("%s is a %s, which makes no images", path, strings.TrimPrefix(fmt.Sprintf("%T", m), "*models."))
	}
	cell, err := graph.NewCell(m, w)
	return &network{spec, w, cell}, err
}

// classes is how many the network knows; 0 if it has no condition.
func (n *network) classes() int {
	if _, conditional := n.spec.Input(graph.Condition); !conditional {
		return 0
	}
	classes := 0
	for ; ; classes++ {
		if _, err := models.Lookup(n.weights, []int{classes}); err != nil {
			return classes
		}
	}
}

// labels are all classes in turn; nil if the network has none.
func (n *network) labels(samples int) (labels []int) {
	if k := n.classes(); k > 0 {
		for i := range samples {
			labels = append(labels, i%k)
		}
	}
	return labels
}

// course is samples of the network, of the classes that labels say, if it is conditional.
func (n *network) course(samples int, labels []int, seed uint64) (*course[float32], error) {
	_, flow := n.spec.Schedule.(ode.Flow)
	c := &course[float32]{problem: ode.Problem{Schedule: n.spec.Schedule, Raw: n.spec.Prediction}, rules: rules(flow), dim: n.spec.Inputs[0].Len()}
	var condition []float32
	var err error
	if labels != nil {
		if condition, err = models.Lookup(n.weights, labels); err != nil {
			return nil, err
		}
	}
	c.field = func() (ode.Field[float32], error) { return graph.NewField(n.cell, condition) }
	// The noise is scaled like that of any plan from there.
	start, err := ode.DDIM{}.Plan(ode.Problem{Schedule: n.spec.Schedule, Raw: n.spec.Prediction, Steps: 1})
	if err != nil {
		return nil, err
	}
	c.x, err = ode.Latent(start, ode.Seed[float32]{Key: seed}, samples, c.dim)
	return c, err
}
