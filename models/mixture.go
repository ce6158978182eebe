package models

import (
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/graph"
	"github.com/ebb-go/ebb/ode"
	"github.com/ebb-go/ebb/ode/exact"
)

// MixtureConfig says what a [Mixture] is made of.
type MixtureConfig struct {
	Shape      []int // of one sample
	Components int

	Prediction ode.Prediction
	Schedule   ode.Schedule // VPLinear, VPCosine, EDM or Flow
	Shard      int          // see [graph.Spec]
}

// Mixture is the exact answer for data of isotropic Gaussian components, the formulas of [exact.Mixture] as a graph:
// what trained networks, gradients of every kind, and everything that needs second derivatives is tried on. α and σ are
// nodes too, so the derivative with respect to time is exact.
//
// Its weights are "means" (Components, elements), "weights" (Components), above 0 and of any sum, and "variances"
// (Components), 0 or more. [MixtureWeights] makes them. The derivative to t is infinite where that of σ is: at t = 0 of
// VPLinear and VPCosine.
//
// With the prediction [ode.Denoiser] the time is the noise level, and the schedule does not matter.
type Mixture struct{ config MixtureConfig }

// NewMixture returns the network. Errors name the field that is wrong.
func NewMixture(c MixtureConfig) (*Mixture, error) {
	c.Shape = slices.Clone(c.Shape)
	f := fields{model: "Mixture"}
	f.shape(c.Shape)
	f.between("Components", c.Components, 1, 1<<20)
	f.target(c.Prediction, c.Schedule, c.Shard)
	switch c.Schedule.(type) {
	case nil, ode.VPLinear, ode.VPCosine, ode.EDM, ode.Flow:
	default:
		f.check(c.Prediction == ode.Denoiser, "Schedule is %T, whose α and σ are not known as formulas here; VPLinear, VPCosine, EDM and Flow are", c.Schedule)
	}
	if f.err != nil {
		return nil, f.err
	}
	return &Mixture{c}, nil
}

// MixtureWeights returns the weights that make a [Mixture] the given one.
func MixtureWeights[T graph.Float](m exact.Mixture) (*graph.Weights[T], error) {
	if _, err := exact.NewField[float64](m, nil, ode.Denoiser); err != nil {
		return nil, fmt.Errorf("models: MixtureWeights: %w", err)
	}
	if m.D != 0 {
		return nil, fmt.Errorf("models: MixtureWeights: the mixture has D = %v extra dimensions; the graph is that of Gaussian noise, so leave D 0, or use exact.NewField", m.D)
	}
	w, err := graph.NewWeights[float64](mixtureWeights(len(m.Means), m.Dim()), 0)
	if err != nil {
		return nil, err
	}
	for name, data := range map[string][]float64{means: slices.Concat(m.Means...), weights: m.Weights, variances: m.Variances} {
		if err := w.Set(name, data); err != nil {
			return nil, err
		}
	}
	return graph.ConvertWeights[T](w), nil
}

const means, weights, variances = "means", "weights", "variances"

func mixtureWeights(components, size int) []graph.Weight {
	return []graph.Weight{
		{Name: means, Shape: []int{components, size}, Std: 1},
		{Name: weights, Shape: []int{components}, Mean: 1},
		{Name: variances, Shape: []int{components}, Mean: 1},
	}
}

// Config returns the configuration.
func (m *Mixture) Config() MixtureConfig {
	c := m.config
	c.Shape = slices.Clone(c.Shape)
	return c
}

// Spec implements [graph.Model].
func (m *Mixture) Spec() graph.Spec {
	c := m.config
	return graph.Spec{
		Inputs:  diffusionInputs(c.Shape, 0),
		Outputs: []graph.Port{{Name: output, Shape: slices.Clone(c.Shape)}},
		Weights: mixtureWeights(c.Components, product(c.Shape)), Prediction: c.Prediction, Schedule: c.Schedule, Shard: c.Shard,
	}
}

// Build implements [graph.Model]. With V = α²c + σ² and d = x − αμ of each component, and responsibilities
// r ∝ w·V^(−n/2)·exp(−|d|²/2V), the prediction A·x̂_0 + B·ε̂ is Σ r (A·μ + (A·α·c + B·σ)/V·d).
func (m *Mixture) Build(b *graph.Builder, in *graph.Inputs) []*graph.Node {
	batch, k, n := in.Batch(), m.config.Components, product(m.config.Shape)
	column := func(v *graph.Node) *graph.Node { return b.Reshape(v, batch, 1) }
	row := func(name string) *graph.Node { return b.Reshape(in.Weight(name), 1, k) }
	// outer is v_i·w_j of one number a sample and one a component; spread is v_i.
	outer := func(v, w *graph.Node) *graph.Node { return b.Linear(column(v), w, nil) }
	spread := func(v *graph.Node) *graph.Node { return b.Expand(column(v), 1, k) }

	at := m.at(b, in.Input(graph.Time))
	data, noise := at.coefficients(b, m.config.Prediction)
	x := b.Expand(b.Reshape(in.Input(graph.X), batch, 1, n), 1, k)
	mu := in.Weight(means)
	diff := b.Sub(x, b.Reshape(outer(at.alpha, b.Reshape(mu, 1, k*n)), batch, k, n))
	marginal := b.Add(outer(b.Map(graph.Square, at.alpha), row(variances)), spread(b.Map(graph.Square, at.sigma)))
	square := b.Reshape(b.Sum(b.Map(graph.Square, diff), 2), batch, k)
	logits := b.Combine([]float64{1, -float64(n) / 2, -0.5}, b.Expand(b.Map(graph.Log, row(weights)), 0, batch), b.Map(graph.Log, marginal), b.Div(square, marginal))
	share := b.Softmax(1, logits)
	gain := b.Div(b.Add(outer(b.Mul(data, at.alpha), row(variances)), spread(noise)), marginal)
	y := b.Reshape(b.MatMul(b.Reshape(b.Mul(share, gain), batch, 1, k), diff, false, false), batch, n)
	y = b.Add(y, b.Mul(b.Expand(column(data), 1, n), b.Linear(share, mu, nil)))
	return []*graph.Node{b.Reshape(y, append([]int{batch}, m.config.Shape...)...)}
}

// point is [ode.Point] as nodes. sigmaRate is σ·σ', which is finite where σ' is not.
type point struct{ t, alpha, sigma, alphaRate, sigmaRate *graph.Node }

func (m *Mixture) at(b *graph.Builder, t *graph.Node) point {
	zero := b.Scale(0, t)
	one := b.Shift(1, zero)
	s := m.config.Schedule
	if m.config.Prediction == ode.Denoiser {
		s = ode.EDM{}
	}
	switch s := s.(type) {
	case ode.VPLinear:
		b0, b1 := s.Beta0, s.Beta1
		if s == (ode.VPLinear{}) {
			b0, b1 = 0.1, 20
		}
		l := b.Combine([]float64{(b1 - b0) / 4, b0 / 2}, b.Map(graph.Square, t), t) // −ln α
		rate := b.Shift(b0/2, b.Scale((b1-b0)/2, t))
		alpha := b.Map(graph.Exp, b.Scale(-1, l))
		// 1 − exp(−2l) without cancellation.
		sigma2 := b.Mul(b.Map(graph.Tanh, l), b.Shift(1, b.Map(graph.Square, alpha)))
		return point{t, alpha, b.Map(graph.Sqrt, sigma2), b.Scale(-1, b.Mul(alpha, rate)), b.Mul(b.Map(graph.Square, alpha), rate)}
	case ode.VPCosine:
		c := s.Offset
		if c == 0 {
			c = 0.008
		}
		w := math.Pi / 2 / (1 + c)
		a, norm := w*c, 1/math.Cos(w*c)
		rest := b.Scale(w, b.Shift(1, b.Scale(-1, t))) // what is left to a right angle
		alpha := b.Scale(norm, b.Map(graph.Sin, rest))
		angle := b.Scale(w, t)
		// 1 − α² as a product, which does not cancel near t = 0.
		sigma2 := b.Mul(b.Map(graph.Sin, b.Shift(2*a, angle)), b.Map(graph.Sin, angle))
		rate := b.Scale(-w*norm, b.Map(graph.Cos, rest))
		return point{t, alpha, b.Scale(norm, b.Map(graph.Sqrt, sigma2)), rate, b.Scale(-1, b.Mul(alpha, rate))}
	case ode.EDM:
		return point{t, one, t, zero, t}
	default: // NewMixture lets nothing else through than Flow
		return point{t, b.Sub(one, t), t, b.Scale(-1, one), t}
	}
}

// coefficients are A and B·σ of a prediction A·x̂_0 + B·ε̂.
func (p point) coefficients(b *graph.Builder, want ode.Prediction) (data, noise *graph.Node) {
	zero := b.Scale(0, p.t)
	one := b.Shift(1, zero)
	switch want {
	case ode.Noise:
		return zero, p.sigma
	case ode.Velocity:
		return b.Scale(-1, p.sigma), b.Mul(p.alpha, p.sigma)
	case ode.FlowVelocity:
		return p.alphaRate, p.sigmaRate
	case ode.Score:
		return zero, b.Scale(-1, one)
	default: // Data, Denoiser
		return one, zero
	}
}

type (
	mixturePlain MixtureConfig
	mixtureJSON  struct {
		mixturePlain
		Prediction predictionJSON
		Schedule   scheduleJSON
	}
)

func (c mixtureJSON) config() MixtureConfig {
	c.mixturePlain.Prediction, c.mixturePlain.Schedule = ode.Prediction(c.Prediction), c.Schedule.Schedule
	return MixtureConfig(c.mixturePlain)
}

func (m *Mixture) kind() string { return "Mixture" }
func (m *Mixture) written() any {
	return mixtureJSON{mixturePlain(m.config), predictionJSON(m.config.Prediction), scheduleJSON{m.config.Schedule}}
}
