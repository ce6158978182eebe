package data

import "fmt"

// Order is the permutation of 0…n−1 in which an epoch visits the data. It
// depends on n, the seed and the epoch alone, not on what was drawn before.
func Order(n int, seed uint64, epoch int) []int {
	order := make([]int, n)
	fillOrder(order, seed, epoch)
	return order
}

func fillOrder(order []int, seed uint64, epoch int) {
	for i := range order {
		order[i] = i
	}
	// The top bit keeps epochs apart from the classes that Split shuffles.
	generator(seed, 1<<63|uint64(epoch)).Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
}

// Batches deals 0…n−1 out in batches of one size, epoch after epoch: batch k is
// made of positions k·size … (k+1)·size−1 of the endless row of [Order] 0, 1, 2, …
// So every image is seen once an epoch whether or not size divides n, and a batch
// is known from its number alone.
//
// A Batches keeps the order of one epoch and is not safe for concurrent use.
type Batches struct {
	size  int
	seed  uint64
	epoch int
	order []int
	batch []int
}

// NewBatches deals n images out in batches of the given size. Both must be positive.
func NewBatches(n, size int, seed uint64) (*Batches, error) {
	if n < 1 || size < 1 {
		return nil, fmt.Errorf("data: batches of %d out of %d images: both must be at least 1", size, n)
	}
	return &Batches{size: size, seed: seed, epoch: 0, order: Order(n, seed, 0), batch: make([]int, size)}, nil
}

// At is the batch of training step ≥ 0: indices of images, valid until the next
// call. A step below zero is an error.
func (b *Batches) At(step int) ([]int, error) {
	if step < 0 {
		return nil, fmt.Errorf("data: step %d: steps count from 0", step)
	}
	n := len(b.order)
	// step·size/n without the product, which a long run of large batches could overflow.
	epoch := step/n*b.size + step%n*b.size/n
	at := step % n * b.size % n
	for k := range b.batch {
		if at == n {
			epoch, at = epoch+1, 0
		}
		if epoch != b.epoch {
			b.epoch = epoch
			fillOrder(b.order, b.seed, epoch)
		}
		b.batch[k] = b.order[at]
		at++
	}
	return b.batch, nil
}

// Epoch is how many whole passes over the data lie before the given step.
func (b *Batches) Epoch(step int) int {
	n := len(b.order)
	return step/n*b.size + step%n*b.size/n
}
