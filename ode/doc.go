// Package ode compiles diffusion samplers to plans, and runs, transposes and differentiates the plans.
//
// A diffusion model is sampled by solving an ODE (or SDE) from noise to data with a network in its right-hand side. Here a
// [Solver] is not a loop around the network but a compiler: it turns a [Problem] into a [Plan], straight-line code with a
// handful of instructions. A plan can be printed, checked before anything runs, run on host slices by a [Runner], and
// transposed, which gives the exact gradient of what was computed: with respect to where it started, the noise it drew, the
// network's parameters, every time and every coefficient. Package exact, below this one, has models with closed-form
// answers to try all of it on.
//
// # Which solver
//
// All are structs of options whose zero value works; "go run ./examples/compare" draws what the advice rests on.
//
//	rectified flow                       [FlowAB] of order 2 up to 8 evaluations and 3 beyond, on the grid [Beta] or [Shift]
//	variance-preserving diffusion        [DEIS] or [DPM] of order 3 on [QuadraticTime] or [LogSNR]; from 30 evaluations [UniPC]
//	to start with, at any schedule       [DPMpp] of order 2, or [DDIM], the first-order one
//	an image's own latent, exactly       [ALF], [OBELM]; also [BDIA], [EDICT], [Coupled]
//	noise on the way                     [EulerMaruyama], [Ancestral], [DPMSDE], [DPMppSDE], [ChurnRK], [PredictorCorrector]
//	Runge–Kutta, linear multistep        [RK] with any [Tableau], [LMS], [PNDM]
//	with statistics or learned numbers   [DPMv3], [DC], [USF]
//	steps by an error estimate           [Adaptive]
//
// # Conventions
//
// These hold in all packages of the module.
//
//   - Time rises from data to noise: x_0 is data, and sampling walks t downward.
//   - A schedule is α and σ as functions of time, x_t = α x_0 + σ ε with ε standard Gaussian. Both are standard deviations;
//     what other texts call ᾱ is α². A rectified flow is the schedule α = 1−t, σ = t, and its velocity is
//     dx/dt = ε − x_0: time and sign are those of diffusion, the opposite of some flow papers.
//   - λ = ln(α/σ) is half the logarithm of the signal-to-noise ratio. It rises as noise falls, and a sampling step from
//     s to t has h = λ_t − λ_s > 0. At α = 0 and at σ = 0 it is infinite: steps from the one and to the other have a
//     closed form of first order, and no history is carried over them.
//   - Whatever a network predicts stands for a combination of x_0 and ε, see [Prediction]; any two are converted through
//     that, by [Convert].
//   - A schedule has a domain, outside which it is not defined, and a range inside it, where sampling starts and stops unless
//     told otherwise. Knots and the times the network is called at may be anywhere in the domain.
//   - Words. Knots are the times a run stops at; n steps have n+1 knots. A grid is a rule that makes knots. A plan is what is
//     run. NFE is the number of network evaluations.
//   - Coefficients are computed in float64 whatever the data is, and cast once when a [Runner] is made.
//   - Batches are slices with one sample after the other. A sample's result does not depend on the batch it is in.
//
// # Instructions
//
// A plan works on registers, each written once. Most hold a state, some a [Tap] of the network.
//
//	combine    dst = bias + Σ c_k reg_k     c_k a number, times a factor an element or a sample if need be
//	evaluate   dst = network(reg, t)        the only place the network is called; numbered
//	draw       dst = noise[k]               standard Gaussian, made on demand by a [NoiseSource]
//	clip       dst = clip(reg)              thresholding of a data prediction, see [Clipping]
//	pull       dst = (∂network/∂x)ᵀ reg     in transposed plans, at a register of the forward plan
//	pullclip   dst = (∂clip/∂x)ᵀ reg        likewise
//	solve                                   reserved
//
// Everything between evaluations is affine, so two numbers tell what a register holds in terms of x_0 and ε, and one more for
// each draw. [Plan.Verify] carries them through the code: at every knot they must be α, σ and nothing else. A wrong
// coefficient seldom survives that. Methods that do not keep to the marginals at their knots (Runge–Kutta in t away from
// flows, statistics of the data) are not Exact and are held to their order by tests.
//
// # Reading a plan
//
// [Plan.String] prints it, see the package example. x0, x1, … are the states at the knots, m0, m1, … what the network gave, z0,
// z1, … draws, v anything else. The numbers are rounded to four digits; [Plan.Table] has all of them in full, in the order of
// the code. What they are functions of (the knots, say) is kept as [Param], with a way to compile the same code for other
// values.
//
// # Gradients
//
// [Plan.Transpose] walks the code backwards. The result is a plan again: its inputs are the cotangents of the forward outputs
// and, if asked for, of the states at knots; its outputs are the cotangents of the forward inputs and of the noise. Running
// it needs a few values of the forward run ([Plan.Needs]), which [Inputs.Forward] supplies: from a runner that kept
// them, or recomputed. Along the way it adds up the gradients of the network's parameters ([Inputs.Params]), of the times
// ([Inputs.Times]) and of the table ([Inputs.Table]); [Plan.PullTable] takes the last on to a parameter of the plan.
//
//	back, err := plan.Transpose()
//	forward, err := ode.NewRunner[float64](plan, batch, dim, back.Needs(false)...)
//	err = forward.Run(ctx, field, ode.Inputs[float64]{Ports: map[string][]float64{"x": noise}})
//	adjoint, err := ode.NewRunner[float64](back, batch, dim)
//	err = adjoint.Run(ctx, field, ode.Inputs[float64]{Ports: map[string][]float64{"x": lossGradient}, Forward: forward.Reg})
//	gradient := adjoint.Output("x")
//
// # Options of problems, and controllers
//
// What is not a matter of one solver is a field of [Problem]: thresholding (Clip), a scale for the noise (Scale), a last data
// prediction (Denoise), a multistep run's start (SingleStart, History) and end (LowerFinal). A solver that cannot heed one returns an error.
//
// Methods whose coefficients depend on what they meet on the way are a [Controller]: [Adaptive] steps, [TimeShift],
// [NormalizeVariance], [LangevinGibbs]. They run, and return the plan they turned out to be, which is differentiated like any
// other, with its coefficients held. [Brownian] noise makes stochastic runs with different steps follow one path.
//
// A run may start late: [Problem].From is any time, [Transport] maps noise to states there, and [PerSample] has a time for
// each sample.
//
// # Writing a solver
//
// A solver is a struct of options whose zero value works, and a method Plan that calls [Assemble] with a function that walks
// the knots. The [Assembler] knows the schedule at each knot, asks the network ([Assembler.Predict]), and has the steps that
// solvers share: [Assembler.First] is the first-order one and holds at both ends of the schedule, [Assembler.Slopes] adds
// the higher orders, [Weight] has their integrals. What shapes the code and depends on a number goes through
// [Assembler.Decide], so that the plan can be rebuilt for knots nearby. [DDIM] is the shortest example. Verification, printing,
// gradients, memory planning and rebuilding then need no line of their own.
package ode
