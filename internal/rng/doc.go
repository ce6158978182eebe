// Package rng generates noise that is addressed instead of drawn: a value depends on a seed, a stream, a sample and an
// index, and on nothing that was generated before it. A sampler can so recompute any of its noise, in any order, on any
// number of workers and in any batch, and never has to store it.
//
// The generator is Philox4x32-10 of Salmon, Moraes, Dror and Shaw ("Parallel random numbers: as easy as 1, 2, 3", 2011).
// The key is the first half of the block that the seed encrypts at counter (stream, purpose); the counter of a block of
// data is its number and the sample. So different purposes (normals, uniforms, words, gammas) never share blocks.
package rng
