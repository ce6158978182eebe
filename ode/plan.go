package ode

import "slices"

// Reg names a value of a Plan. A register is written once, by an input port or by one instruction, and read after that;
// how many buffers a run really needs is found by liveness, see [Plan.Live].
type Reg int

// Op is the kind of an instruction.
type Op uint8

// The instructions of a plan. A solver emits the first four; Pull and PullClip stand in transposed plans only.
const (
	_        Op = iota
	Combine     // dst = bias + Σ c_k reg_k
	Evaluate    // dst = network(src, t)
	Draw        // dst = the Index-th standard Gaussian
	Clip        // dst = thresholded src
	Solve       // reserved for fixed points of a sub-plan; refused by Verify
	Pull        // dst = (∂network/∂x at register At, time T)ᵀ src
	PullClip    // dst = (∂clip/∂x at register At)ᵀ src
)

// A Term is one summand of a Combine: C·reg, where C may be spread by a factor an element or a factor a sample.
type Term struct {
	Reg Reg
	C   float64

	Elements []float64 // one factor an element of a sample (empirical statistics); nil is all ones
	Samples  []float64 // one factor a sample of the batch (realized controllers); nil is all ones
}

// A Port is a named register at the border of a plan or of an evaluation. At the border of a plan, a name of the form
// tap@index is that of a tap of an evaluation, see [Share]; every other port holds a state.
type Port struct {
	Name string
	Reg  Reg
}

// A Knot is a time a plan stops at, and the register that holds the state there.
type Knot struct {
	T   float64
	Reg Reg
}

// An Instr is one instruction. Which fields count depends on Op.
type Instr struct {
	Op   Op
	Dst  Reg
	Step int // the step this belongs to, from 0

	Terms []Term    // Combine
	Bias  []float64 // Combine: a constant an element, or nil

	Src   Reg       // Evaluate, Clip: the argument. Pull, PullClip: the cotangent
	At    Reg       // Pull, PullClip: the argument, a register of the forward plan
	AtIn  []Port    // Pull: the taps the evaluation used, registers of the forward plan
	T     float64   // Evaluate, Pull: the time the network is given
	Times []float64 // Evaluate, Pull: one time a sample instead of T (realized controllers)
	Index int       // Evaluate, Pull: number of the evaluation. Draw: number of the draw
	In    []Port    // Evaluate: taps used. Pull: their cotangents, written, in the order of AtIn
	Out   []Port    // Evaluate: taps offered, written. Pull: the cotangents of those that take part

	From, To float64  // Draw: the interval of time its increment belongs to
	Clip     Clipping // Clip, PullClip
}

// Clipping is the thresholding of a data prediction.
//
// Static (Quantile 0): clamp to [−Max, Max]. Dynamic: q is the given quantile of |x̂_0| over one sample (linear
// interpolation), raised to Max; the result is clamp(x̂_0, −q, q)·Max/q (Saharia et al. 2022, arXiv 2205.11487, §2.3).
// The gradient is exact almost everywhere, that of the quantile included unless Stop is set.
type Clipping struct {
	Max      float64
	Quantile float64
	Stop     bool
}

// A Plan is what a solver compiles to: straight-line code over registers that any runner can execute, transpose or
// print. It is not changed after it has been made and may be shared between goroutines.
type Plan struct {
	Name     string // the solver and its options
	Schedule Schedule
	Raw      Prediction
	Order    int  // theoretical order of convergence
	Exact    bool // the coefficients of x_0 and ε reproduce (α, σ) at every knot; Verify then checks it

	Regs    int // number of registers
	Inputs  []Port
	Outputs []Port
	Code    []Instr
	Knots   []Knot // of the sampling direction; knot i+1 ends step i

	params []Param

	// Set in transposed plans only, by Transpose.
	of       *Plan     // the forward plan
	cot      []Reg     // cotangent of each forward register, noReg if it takes no part
	products []product // what the gradient of the forward plan's Table is made of, by position in the code
}

// A Param is a named vector of numbers that the coefficients of a plan are functions of.
type Param struct {
	Name  string // "knots", or the solver's own
	Value []float64

	// Rebuild compiles the same code, instruction for instruction, for another value.
	Rebuild func(value []float64) (*Plan, error)
	// Lower and Upper bound each value (±Inf if free, nil if all are): derivatives are one-sided there. A value whose
	// bounds both equal it is fixed and has derivative zero.
	Lower, Upper []float64
	// Pull, if not nil, adds the product of the transposed derivative of Table with cotangent to dst by formula.
	// Otherwise it is taken by fourth-order differences of Table.
	Pull func(dst, cotangent []float64)
}

// NFE returns how many times the plan evaluates the network.
func (p *Plan) NFE() int { return p.count(Evaluate) }

// Draws returns how many Gaussians the plan draws.
func (p *Plan) Draws() int { return p.count(Draw) }

func (p *Plan) count(op Op) int {
	n := 0
	for i := range p.Code {
		if p.Code[i].Op == op {
			n++
		}
	}
	return n
}

// Input returns the register of the named input, and false if there is none.
func (p *Plan) Input(name string) (Reg, bool) { return find(p.Inputs, name) }

// Output returns the register of the named output, and false if there is none.
func (p *Plan) Output(name string) (Reg, bool) { return find(p.Outputs, name) }

const noReg Reg = -1

func find(ports []Port, name string) (Reg, bool) {
	i := slices.IndexFunc(ports, func(p Port) bool { return p.Name == name })
	if i < 0 {
		return noReg, false
	}
	return ports[i].Reg, true
}

// Table returns the numbers of a plan in one flat order, that of the code: a Combine gives the C of each of its terms,
// an Evaluate or a Pull gives its T, and the others give nothing. Fields of coefficients (Elements, Samples, Bias,
// Times) are data, not part of the table.
func (p *Plan) Table() []float64 {
	table := make([]float64, 0, p.tableLen())
	for i := range p.Code {
		switch in := &p.Code[i]; in.Op {
		case Combine:
			for _, t := range in.Terms {
				table = append(table, t.C)
			}
		case Evaluate, Pull:
			table = append(table, in.T)
		}
	}
	return table
}

func (p *Plan) tableLen() int {
	n := 0
	for i := range p.Code {
		n += p.Code[i].slots()
	}
	return n
}

// slots is how many numbers of the table are the instruction's.
func (in *Instr) slots() int {
	switch in.Op {
	case Combine:
		return len(in.Terms)
	case Evaluate, Pull:
		return 1
	}
	return 0
}

// reads calls f with every register the instruction reads.
func (in *Instr) reads(f func(Reg)) {
	switch in.Op {
	case Combine:
		for k := range in.Terms {
			f(in.Terms[k].Reg)
		}
	case Evaluate:
		f(in.Src)
		for _, p := range in.In {
			f(p.Reg)
		}
	case Clip, PullClip:
		f(in.Src)
	case Pull:
		f(in.Src)
		for _, p := range in.Out {
			f(p.Reg)
		}
	}
}

// writes calls f with every register the instruction writes.
func (in *Instr) writes(f func(Reg)) {
	f(in.Dst)
	switch in.Op {
	case Evaluate:
		for _, p := range in.Out {
			f(p.Reg)
		}
	case Pull:
		for _, p := range in.In {
			f(p.Reg)
		}
	}
}
