// Package adjoint takes exact gradients of a whole sampling run.
//
// A [Problem] is a plan, a field, and the names of what the gradient is wanted for. [New] prepares it; [Adjoint.Gradient]
// runs the plan, asks a [Loss] of the states, and pulls its gradient back to those names. What is not listed is not
// computed, and what takes no part has gradient exactly zero.
//
// A loss is a Go function, a network ([CellLoss]), or a weighted [Sum] of losses. A run that is stopped returns an
// [Interrupted] with what it had reached, and numbers that went bad are an error that names them.
//
// The strategies compute the same numbers, to rounding, and differ in what they keep:
//
//	Strategy     memory                                          network runs beyond the solve
//	Checkpoint   the states the network saw + 1 × activations    NFE
//	Unrolled     NFE × activations                               0
//
// A graph.Field that may [graph.Field.Remember] activations spares Checkpoint as many of those runs as it has memory for.
//
// A gradient to knots keeps every state that enters a combination, too, and compiles the plan anew four times a knot.
//
// Use Checkpoint, the default; Unrolled for a few steps of a small network, for second derivatives, and as a reference.
//
// These are gradients of what was computed, the discrete solve, and not approximations of the continuous adjoint: with few
// steps the two differ by their norm, their direction, or even their sign. Coefficients of a realized plan (from a step-size
// controller, say) are held constant. [Adjoint.Certify] returns a gradient
// together with its comparison with finite differences of the same run.
package adjoint
