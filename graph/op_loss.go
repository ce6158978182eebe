package graph

import "slices"

// MeanSquare returns the mean of (x − y)² over all axes but the batch: shape (batch).
func (b *Builder) MeanSquare(x, y *Node) *Node {
	d := b.Map(Square, b.Sub(x, y))
	if b.err != nil {
		return b.harmless()
	}
	n := d.Shape()[0]
	return b.Reshape(b.Mean(b.Reshape(d, n, d.Shape().TotalSize()/n), 1), n)
}

// CrossEntropy returns, for each sample, ln Σ_j exp logits_j − Σ_j target_j·logits_j: logits and target (batch, classes),
// the rows of target sum to one. Shape (batch).
func (b *Builder) CrossEntropy(logits, target *Node) *Node {
	if !b.given("crossEntropy", logits, target) {
		return b.harmless()
	}
	if logits.Dims() != 2 || !slices.Equal(logits.Shape(), target.Shape()) {
		return b.Fail("crossEntropy: logits %v, target %v; two equal shapes (batch, classes) are needed", logits.Shape(), target.Shape())
	}
	n := logits.Shape()[0]
	return b.Reshape(b.Sub(b.LogSumExp(logits), b.Sum(b.Mul(target, logits), 1)), n)
}
