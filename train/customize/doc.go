// Package customize optimizes what a sampler starts from or consists of, by the exact gradient of a loss of its samples:
// the latents of single samples ([Latent]), a condition vector that stands for a concept ([Condition]), or weights
// ([Weights]).
//
// Each takes a [Sampler] (a field and the plan that runs it), any [adjoint.Loss], and [Options], and returns the best
// iterate, the curve of the loss, and a [Verdict]: the optimum is run again with at least three times the evaluations,
// because an optimizer is as ready to exploit the errors of a coarse solver as to solve the task. A loss that fell is not
// yet a success; judge the samples by something the loss has not seen.
//
// Where there is memory for the activations of a whole run, [graph.Field.Remember] saves the gradients a quarter to a third of their
// time.
//
// Optimizations can be watched (Observe), previewed, stopped by their context, which returns what was reached, and resumed
// from a checkpoint to the same bits.
package customize
