// Package exact offers models of which everything is known in closed form. They are what samplers, gradients and
// fits are measured against: no training, no approximation, microseconds an evaluation.
//
//   - [Gaussian]: independent elements, each with its own mean and variance. Its flow is known as a formula.
//   - [Mixture]: isotropic Gaussian components; variances of 0 make it the ideal denoiser of a finite data set, for Gaussian noise or for
//     that of PFGM++.
//   - [Bumped]: a Gaussian with a bounded nonlinear bump. Not the field of a distribution, but nonlinear, with an
//     unsymmetric Jacobian, equally tame at every noise level, and its flow is known too.
//
// All of them are given by the two conditional means x̂_0 = E[x_0 | x_t] and ε̂ = E[ε | x_t] at a point (α, σ) of a
// schedule. Any prediction is A·x̂_0 + B·ε̂, which is formed component by component so that nothing is divided by α or
// σ: values stay accurate for α → 0 and σ → 0.
//
// The methods of the models work on float64 slices: [Mixture.Predict], [Mixture.PosteriorVariance],
// [Mixture.LogDensity], [Mixture.Sample], [Gaussian.Flow]. [NewField] makes an [ode.Differentiable] of a model, a
// schedule and a prediction, for either element type; inside, it computes in float64.
package exact
