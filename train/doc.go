// Package train trains networks: rectified flows and denoisers on any schedule, and classifiers.
//
//	Diffusion, Classification   objectives: they join a network and data to a Task
//	Uniform, LogitNormal, …     distributions of training times
//	AdamW                       the optimizer, its rate, clipping and the average of the weights
//	Trainer                     runs a Task: progress, cancellation, checkpoints
//
// Readers of data are in train/data, measures of what was learned in train/measure.
//
// # Same bits
//
// Every random number (noise, times, dropped labels, shifts, the order of the data) is a function of the seed, the step and
// the position in the batch, and none is drawn from a running generator. A checkpoint therefore holds weights, their
// average, the optimizer's two moments and the number of steps, and a run that was killed and resumed ends with the bits of
// one that was not, on any number of workers. Another batch size, another kernel path of the processor or another build may
// round otherwise.
package train
