package customize

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/adjoint"
	"github.com/ebb-go/ebb/train/measure"
)

// sample is the output x of a run and where its gradient goes.
func sample[T Float](s, g adjoint.States[T]) (x, gx []T, err error) {
	x, gx = s.Outputs["x"], g.Outputs["x"]
	if x == nil || gx == nil {
		return nil, nil, errNoX
	}
	return x, gx, nil
}

// Margin is the mean over the batch of softplus(margin − m), where m is the logit of the label above the log-sum-exp of all
// others: near zero where the critic sees the label clearly, and smooth, as its gradient's certificate needs. labels is
// read at every call, so that its elements may change.
func Margin[T Float](c *Critic[T], labels []int, margin float64) adjoint.Loss[T] {
	return byLogits(c, labels, func(row, grad []T, label int, share float64) float64 {
		others := logSumExp(row, label)
		short := margin - (float64(row[label]) - others)
		slope := share / (1 + math.Exp(-short))
		for k, v := range row {
			grad[k] = T(slope * math.Exp(float64(v)-others))
		}
		grad[label] = T(-slope)
		return max(short, 0) + math.Log1p(math.Exp(-math.Abs(short)))
	})
}

// CrossEntropy is the mean over the batch of −ln p(label) of the critic. labels is read at every call.
func CrossEntropy[T Float](c *Critic[T], labels []int) adjoint.Loss[T] {
	return byLogits(c, labels, func(row, grad []T, label int, share float64) float64 {
		all := logSumExp(row, -1)
		for k, v := range row {
			grad[k] = T(share * math.Exp(float64(v)-all))
		}
		grad[label] -= T(share)
		return all - float64(row[label])
	})
}

// byLogits is the mean over the batch of a function of the critic's logits and the label, which also writes share times
// its gradient.
func byLogits[T Float](c *Critic[T], labels []int, f func(row, grad []T, label int, share float64) float64) adjoint.Loss[T] {
	var grad, pulled []T
	return func(s, g adjoint.States[T]) (float64, error) {
		x, gx, err := sample(s, g)
		if err != nil {
			return 0, err
		}
		batch, logits, _, err := c.look(x)
		if err != nil {
			return 0, err
		}
		if err := c.checkLabels(labels, batch); err != nil {
			return 0, err
		}
		grad, pulled = sized(grad, len(logits)), sized(pulled, len(x))
		sum, share := 0.0, 1/float64(batch)
		for i, label := range labels {
			from, to := i*c.classes, (i+1)*c.classes
			sum += share * f(logits[from:to], grad[from:to], label, share)
		}
		if err := c.pull(x, pulled, grad, nil); err != nil {
			return 0, err
		}
		addTo(gx, pulled)
		return sum, nil
	}
}

// logSumExp is ln Σ exp of a row, without one element if that is not negative.
func logSumExp[T Float](row []T, without int) float64 {
	top, total := math.Inf(-1), 0.0
	for k, v := range row {
		if k != without {
			top = max(top, float64(v))
		}
	}
	for k, v := range row {
		if k != without {
			total += math.Exp(float64(v) - top)
		}
	}
	return top + math.Log(total)
}

// Stay is the mean squared difference of the samples from a reference of the same size.
func Stay[T Float](reference []T) adjoint.Loss[T] {
	return func(s, g adjoint.States[T]) (float64, error) {
		x, gx, err := sample(s, g)
		if err != nil {
			return 0, err
		}
		if len(x) != len(reference) {
			return 0, fmt.Errorf("customize: a reference of %d elements for samples of %d", len(reference), len(x))
		}
		sum, n := 0.0, float64(len(x))
		for i, v := range x {
			d := float64(v - reference[i])
			sum += d * d / n
			gx[i] += T(2 * d / n)
		}
		return sum, nil
	}
}

// Ink is a smooth measure of how much of an image is inked: the mean over pixels of sigmoid((x − Threshold)/Width).
type Ink struct{ Threshold, Width float64 }

// Of is the ink of each image of dim pixels.
func (k Ink) Of(x []float64, dim int) []float64 {
	ink := make([]float64, len(x)/dim)
	for i, v := range x {
		ink[i/dim] += k.at(v) / float64(dim)
	}
	return ink
}

func (k Ink) at(v float64) float64 { return 1 / (1 + math.Exp(-(v-k.Threshold)/k.Width)) }

// InkTarget is the mean over the batch of (ink − target of the sample)². target is read at every call.
func InkTarget[T Float](k Ink, target []float64) adjoint.Loss[T] {
	return func(s, g adjoint.States[T]) (float64, error) {
		x, gx, err := sample(s, g)
		if err != nil {
			return 0, err
		}
		batch := len(target)
		if batch == 0 || len(x)%batch != 0 {
			return 0, fmt.Errorf("customize: %d targets for samples of %d elements in all", batch, len(x))
		}
		dim := len(x) / batch
		loss := 0.0
		for i, want := range target {
			ink := 0.0
			for _, v := range x[i*dim : (i+1)*dim] {
				ink += k.at(float64(v)) / float64(dim)
			}
			loss += (ink - want) * (ink - want) / float64(batch)
			c := 2 * (ink - want) / float64(batch*dim) / k.Width
			for j := i * dim; j < (i+1)*dim; j++ {
				p := k.at(float64(x[j]))
				gx[j] += T(c * p * (1 - p))
			}
		}
		return loss, nil
	}
}

// A Look turns images into what they are compared by, and pulls a gradient back.
type Look[T Float] struct {
	Of   func(x []T) (measure.Features, error)
	Pull func(g, x, features []T) error // adds to g
}

// CriticLook compares images by a critic's features.
func CriticLook[T Float](c *Critic[T]) Look[T] {
	var pulled []T
	return Look[T]{c.Features, func(g, x, features []T) error {
		pulled = sized(pulled, len(x))
		if err := c.pull(x, pulled, nil, features); err != nil {
			return err
		}
		addTo(g, pulled)
		return nil
	}}
}

// PixelLook compares images of height×width pixels by the means of blocks of pool×pool.
func PixelLook[T Float](height, width, pool int) (Look[T], error) {
	if height < 1 || width < 1 || pool < 1 || height%pool != 0 || width%pool != 0 {
		return Look[T]{}, fmt.Errorf("customize: blocks of %d pixels do not divide an image of %d×%d", pool, height, width)
	}
	across := width / pool
	blocks, size := height/pool*across, height*width
	block := func(i int) int { return i/size*blocks + i%size/width/pool*across + i%width/pool }
	return Look[T]{
		func(x []T) (measure.Features, error) {
			if len(x) == 0 || len(x)%size != 0 {
				return measure.Features{}, fmt.Errorf("customize: %d elements are no images of %d×%d", len(x), height, width)
			}
			f := measure.Features{Data: make([]float64, len(x)/size*blocks), N: len(x) / size, D: blocks}
			for i, v := range x {
				f.Data[block(i)] += float64(v) / float64(pool*pool)
			}
			return f, nil
		},
		func(g, x, features []T) error {
			for i := range x {
				g[i] += features[block(i)] / T(pool*pool)
			}
			return nil
		},
	}, nil
}

// Match is the squared maximum mean discrepancy (Gretton et al. 2012) between the samples and reference images as a Look
// sees them, unbiased, with Gaussian kernels of ½, 1 and 2 times the median distance of the reference. What keeps the samples
// apart is multiplied by apart, as in [measure.MMDGradient]: 1 matches the reference, less, such as 0.7, comes nearer to a few
// pictures of a concept.
func Match[T Float](look Look[T], reference []T, apart float64) (adjoint.Loss[T], error) {
	ref, err := look.Of(reference)
	if err != nil {
		return nil, err
	}
	// The critic reuses its memory.
	ref.Data = append([]float64(nil), ref.Data...)
	kernel, err := measure.MedianKernel(ref)
	if err != nil {
		return nil, fmt.Errorf("customize: %w", err)
	}
	var gf []T
	return func(s, g adjoint.States[T]) (float64, error) {
		x, gx, err := sample(s, g)
		if err != nil {
			return 0, err
		}
		f, err := look.Of(x)
		if err != nil {
			return 0, err
		}
		v, grad, err := measure.MMDGradient(kernel, f, ref, apart)
		if err != nil {
			return 0, err
		}
		gf = sized(gf, len(grad.Data))
		for i, d := range grad.Data {
			gf[i] = T(d)
		}
		return v, look.Pull(gx, x, gf)
	}, nil
}

func sized[T Float](s []T, n int) []T {
	if len(s) != n {
		return make([]T, n)
	}
	return s
}

func addTo[T Float](dst, src []T) {
	for i, v := range src {
		dst[i] += v
	}
}
