package ode

import "fmt"

// Interrupted is the error of a run that has begun and was not completed. It wraps the cause: the error of the context,
// of the network, of Noise or of Observe, or a [NumericError].
type Interrupted[T Float] struct {
	Step int     // the first step that was not completed
	NFE  int     // network evaluations completed
	T    float64 // the knot the step starts from
	X    []T     // the state there, in the runner's memory until its next run; nil in transposed plans
	Err  error
}

// Error implements error.
func (e *Interrupted[T]) Error() string {
	return fmt.Sprintf("ode: stopped at step %d after %s: %v", e.Step, counted(e.NFE, "network evaluation"), e.Err)
}

// Unwrap returns the cause.
func (e *Interrupted[T]) Unwrap() error { return e.Err }

// NumericError says where a run met a value that is not finite.
type NumericError struct {
	Step       int
	Evaluation int     // −1 if the value is not of an evaluation
	Knot       int     // the knot that the step starts from
	T          float64 // the time the network was given, or that of the knot
	Quantity   string  // what is not finite
	Sample     int     // first sample it was found in
}

// Error implements error.
func (e *NumericError) Error() string {
	if e.Evaluation >= 0 {
		return fmt.Sprintf("%s of evaluation %d (step %d, from knot %d, t=%g) is not finite in sample %d", e.Quantity, e.Evaluation, e.Step, e.Knot, e.T, e.Sample)
	}
	return fmt.Sprintf("%s (step %d, knot %d, t=%g) is not finite in sample %d", e.Quantity, e.Step, e.Knot, e.T, e.Sample)
}
