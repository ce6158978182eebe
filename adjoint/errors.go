package adjoint

import (
	"errors"
	"fmt"
)

// ErrNotFinite is in the chain of the error for a loss, its gradient, or a result that is not finite. Where a run itself
// meets such a number, an [github.com/ebb-go/ebb/ode.NumericError] says where.
var ErrNotFinite = errors.New("not finite")

// Interrupted is the error of a gradient that was begun and not completed, with what it had reached. It wraps the cause:
// the error of the context, of the network, of noise or of Observe, or an ode.NumericError. The [Adjoint] can be
// used again.
type Interrupted[T Float] struct {
	Backward bool // the solve was over and its loss known
	Step     int  // the step that was not completed
	NFE      int  // network evaluations completed
	VJP      int  // products with the network's Jacobian completed

	Loss   float64   // going back: of the solve
	States States[T] // going back: what the loss was asked of, valid until the next run

	// Err is, going forward, an *[github.com/ebb-go/ebb/ode.Interrupted], which has the state that was reached.
	Err error
}

// Error implements error.
func (e *Interrupted[T]) Error() string {
	if e.Backward {
		return fmt.Sprintf("adjoint: stopped on the way back at step %d, after %d products with the Jacobian: %v", e.Step, e.VJP, e.Err)
	}
	return fmt.Sprintf("adjoint: stopped on the way forward: %v", e.Err)
}

// Unwrap returns the cause.
func (e *Interrupted[T]) Unwrap() error { return e.Err }
