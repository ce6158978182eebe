// Package graph builds, differentiates and runs networks. Gorgonia gives the expression graph and its types; the ops, the
// derivatives and the execution are this package's.
//
// # How data goes through it
//
// A [Builder] writes a graph. Its methods are ops ([Builder.Linear], [Builder.Attention], …) on [Node]s, which have a
// row-major [Shape] and one element type, float32 or float64. Graph code has no error handling: the Builder keeps the
// first error with the line that caused it, and [Builder.Err] tells.
//
// [Builder.Gradient] adds reverse-mode derivatives to the graph, [Builder.Tangent] forward-mode ones. They are nodes like
// all others and can be differentiated again. [CheckGradient] compares them with differences.
//
// [Compile] makes a [Program] of the nodes one wants: only what they depend on is computed, in an order that keeps little
// alive, buffers are shared by liveness, and a run allocates nothing. Bind slices to inputs, run, read outputs.
//
//	Builder → Ops → Program
//
// For a whole network there is the second floor. A [Model] says what it takes and gives (its [Spec]) and builds itself
// for any batch size; [Weights] are its named tensors; a [Cell] compiles the network with its VJP and JVP, shares a batch
// among its workers in shards, and a [Field] makes of it what the solvers of package ode call.
//
//	Model + Weights → Cell → Field
//
// Both say where their time goes when asked, op by op, and what memory they own: [Cell.Watch] and [Cell.Profile].
//
// # An op of one's own
//
// An [Op] is five methods: a name, the shape of the result, the computation for given shapes ([Kernel], for both element
// types), the VJP and the JVP. It is stateless. Where a derivative needs a value, it takes the node: the inputs, or the
// result, or another op applied to them. So the derivative is part of the graph, buffers can be planned, and the second
// derivative needs nothing more. The example of Op is complete.
//
// A kernel is told where to write. It may not keep what it is given, and may not write to sources, except dst where
// InPlace lets it be one of them. Programs of one graph may run it at the same time.
//
// # Gorgonia's own ops
//
// A graph may hold ops of Gorgonia's, written with its own functions on the graph of a Builder ([Builder.Graph]), or
// before it ([Wrap]). Programs run them, Gradient and Tangent go through them. They allocate on every run
// ([Stats].Library counts them), and two Programs of one graph must not run them at once. Scalars, which they have, are
// tensors of one element here: [Builder.Reshape] goes both ways.
//
// What Gorgonia v0.9.18 computes right is tested here against differences. What it computes wrong is refused, by Compile,
// or by Gradient and Tangent where only the derivative is wrong, in an error that says what to use instead:
//
//   - LogSumExp, At, Dropout, LogSoftMax, the random nodes, and tensor constants: always;
//   - Sum, Mean, Max over axis 2 of a tensor of four axes; Slice of an axis longer than 256: always;
//   - Log2, InverseSqrt, OuterProd, AveragePool2D, GlobalAveragePool2D, GroupNorm: when differentiated;
//   - matrix·vector products, SoftMax, MaxPool2D, Conv2d, BatchNorm, Upsample2D, ByIndices: when differentiated twice;
//     MaxPool2D and matrix·vector products in forward mode too;
//   - ops that nobody has verified: always. Ops of other packages are run as they are.
//
// Gorgonia rewrites Log(1+x), 1−Sigmoid(x) and their like while a graph is built, and may take nodes out that others
// need. Such a graph is refused: call gorgonia.UseNonStable before building. Gorgonia also takes nodes of equal 32-bit
// hash for one node. The ops of this package are safe from that; between its own ops it happens to one pair in 2³².
//
// # Same bits
//
// A Program gives the same bits in every run, at every GOMAXPROCS, and in every other Program of the same nodes, as long
// as it is of this package's ops and the kernel path is the same.
//
// # Concurrency
//
// Builder, Program, Cell and Field are for one goroutine at a time; Program and Cell notice and return [ErrBusy].
// Different Builders may be used at once, and one finished graph may be compiled by many goroutines.
package graph
