// Package measure says how good generated images are, and how far two sets of
// samples lie apart. All arithmetic is float64; whatever is random is a function
// of a seed; results do not depend on the number of processors.
//
// Sets are [Features]: one row a sample, which may be pixels or, better, what a
// classifier that took no part in the training sees in them.
//
//	Frechet, Moments  distance of two Gaussians fitted to the sets; 0 is best
//	SlicedW2          Wasserstein distance averaged over directions
//	MMD, MMDGradient  kernel distance, also as a training loss
//	MMDTest           are these two sets from one distribution? a p-value
//	Agreement         does a judge see the class that was asked for?
//	Coverage          share of the reference the samples reach, and their density
//	Nearest           distance to the nearest reference: copies betray themselves
//	Diversity         mean distance between samples: collapse betrays itself
//	Reference         Fréchet, agreement, coverage and copies at once, of images
//
// No one number tells enough. Samples of one perfect image a class have agreement 1
// and no coverage; a net that repeats its training set has a perfect Fréchet
// distance and nearest-neighbour distances of zero. And a number needs its
// floor: put beside it what held-out real data score, at the same sample size.
package measure
