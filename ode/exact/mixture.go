package exact

import (
	"fmt"
	"math"
	"slices"

	"github.com/ebb-go/ebb/ode"
)

// Mixture is data of isotropic Gaussian components. With n elements, V_k = α²·c_k + σ², d_k = x − α·μ_k and the responsibilities
// r_k ∝ w_k·V_k^{−n/2}·exp(−|d_k|²/2V_k),
//
//	x̂_0 = Σ r_k (μ_k + (α·c_k/V_k)·d_k)        ε̂ = Σ r_k (σ/V_k)·d_k        ∇ log p = −Σ r_k d_k/V_k
//
// Responsibilities are formed in logarithms, so far tails and σ → 0 neither overflow nor divide by 0; their logarithms
// are exact to 1e-16·|d_k|²/V_k. Components of variance 0 at the points of a data set give its ideal denoiser, for σ > 0.
//
// With D it is the ideal denoiser of PFGM++ (Xu et al. 2023, arXiv 2302.04265), whose noise [ode.PFGM] is Student's: the means then are the
// data set, and
//
//	r_k ∝ w_k·V_k^{−n/2}·(1 + |d_k|²/(D·V_k))^{−(n+D)/2}
//
// of which the kernel of the paper, (|d_k|² + σ²·D)^{−(n+D)/2}, is the case c_k = 0. Components of other variances keep the formulas of x̂_0
// and ε̂ if their spread shares its χ² with the noise, as [Mixture.Sample] has it: x_0 and ε are then jointly Student's. As D grows all of it
// tends to the Gaussian as 1/D. The score stays −ε̂/σ, as the ODE has it; it is no longer the gradient of the log-density.
//
// Its parameters as a [Field] are "means" [K, n], "weights" [K] and "variances" [K], the same numbers as the fields:
// gradients with respect to weights are of weights as given (positive, any sum), not of their logarithms.
type Mixture struct {
	Weights   []float64   // one a component, above 0; any sum
	Means     [][]float64 // one vector a component
	Variances []float64   // one a component, 0 or more
	D         float64     // the extra dimensions of PFGM++, 1 or more; 0 means no end of them, which is Gaussian
}

// Dim is the number of elements of one sample.
func (m Mixture) Dim() int {
	if len(m.Means) == 0 {
		return 0
	}
	return len(m.Means[0])
}

// Predict writes the wanted prediction; see [Model].
func (m Mixture) Predict(dst, x []float64, at ode.Point, want ode.Prediction) error {
	return predict(m, dst, x, at, want)
}

func (m Mixture) check() error {
	if len(m.Means) == 0 || len(m.Means[0]) == 0 {
		return fmt.Errorf("exact: Mixture without Means; want one vector a component, of one element or more")
	}
	if len(m.Weights) != len(m.Means) || len(m.Variances) != len(m.Means) {
		return fmt.Errorf("exact: Mixture with %d means, %d weights, %d variances; want as many of each", len(m.Means), len(m.Weights), len(m.Variances))
	}
	for i, mean := range m.Means {
		if len(mean) != len(m.Means[0]) {
			return fmt.Errorf("exact: Means[%d] has %d elements and Means[0] %d; want the same", i, len(mean), len(m.Means[0]))
		}
		if err := checkFinite(fmt.Sprintf("Means[%d]", i), mean); err != nil {
			return err
		}
	}
	if err := checkPositive("Weights", m.Weights); err != nil {
		return err
	}
	if m.D != 0 && !(m.D >= 1 && finite(m.D)) {
		return fmt.Errorf("exact: Mixture.D is %v; want 1 or more extra dimensions, or 0 for Gaussian noise", m.D)
	}
	return checkVariances("Variances", m.Variances)
}

func (m Mixture) kernel() (kernel, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	n := len(m.Means)
	scratch := make([]float64, 9*n)
	cut := func() []float64 {
		s := scratch[:n:n]
		scratch = scratch[n:]
		return s
	}
	k := &mixture{
		n:       m.Dim(),
		extra:   m.D,
		means:   slices.Concat(m.Means...),
		weights: slices.Clone(m.Weights), variances: slices.Clone(m.Variances),
		logWeights: cut(), marginal: cut(), gain: cut(), base: cut(),
		share: cut(), square: cut(), pull: cut(), slope: cut(), dgain: cut(),
	}
	k.refresh()
	return k, nil
}

// PosteriorVariance writes Var(x_0 | x_t) of each element of each sample to dst: the mean of the components' variances
// c_k·σ²/V_k and the variance of their means. With D the former are (D + |d_k|²/V_k)/(D+n−2) times as great.
func (m Mixture) PosteriorVariance(dst, x []float64, at ode.Point) error {
	kn, err := preparedAt(m, at, ode.Data)
	if err != nil {
		return err
	}
	k := kn.(*mixture)
	if err := checkSamples(k.n, dst, x); err != nil {
		return err
	}
	data := make([]float64, k.n)
	for n := k.n; len(x) > 0; dst, x = dst[n:], x[n:] {
		k.eval(data, x[:n])
		clear(dst[:n])
		for j, r := range k.share {
			within := k.variances[j] * (at.Sigma / k.marginal[j]) * at.Sigma
			if k.extra != 0 {
				within *= (k.extra + k.square[j]/k.marginal[j]) / (k.extra + float64(k.n) - 2)
			}
			for i, mean := range k.mean(j) {
				diff := mean + k.gain[j]*(x[i]-at.Alpha*mean) - data[i]
				dst[i] += r * (within + diff*diff)
			}
		}
	}
	return nil
}

// LogDensity is log p_t(x) of one sample.
func (m Mixture) LogDensity(x []float64, at ode.Point) (float64, error) {
	kn, err := preparedAt(m, at, ode.Noise)
	if err != nil {
		return 0, err
	}
	k := kn.(*mixture)
	if len(x) != k.n {
		return 0, fmt.Errorf("exact: x has %d elements; want one sample of %d", len(x), k.n)
	}
	var total float64
	for _, w := range k.weights {
		total += w
	}
	n := float64(k.n)
	if d := k.extra; d != 0 {
		above, _ := math.Lgamma((n + d) / 2)
		below, _ := math.Lgamma(d / 2)
		return k.shares(x) - math.Log(total) + above - below - n/2*math.Log(math.Pi*d), nil
	}
	return k.shares(x) - math.Log(total) - n/2*math.Log(2*math.Pi), nil
}

// LevelPosterior writes the probability that each sample of x is of each of the levels, times of the schedule, if all are as likely before x is
// seen: len(levels) values a sample, p_t(x) over their sum.
func (m Mixture) LevelPosterior(dst, x []float64, s ode.Schedule, levels []float64) error {
	n := m.Dim()
	if len(levels) == 0 || n == 0 || len(x)%n != 0 || len(dst)*n != len(x)*len(levels) {
		return fmt.Errorf("exact: posterior of %d levels in %d values for %d values of x in samples of %d; want a value for each level of each sample",
			len(levels), len(dst), len(x), n)
	}
	for l, t := range levels {
		kn, err := preparedAt(m, s.At(t), ode.Noise)
		if err != nil {
			return err
		}
		k := kn.(*mixture)
		for b := range len(x) / n {
			dst[b*len(levels)+l] = k.shares(x[b*n : (b+1)*n])
		}
	}
	for ; len(dst) > 0; dst = dst[len(levels):] {
		ps, sum := dst[:len(levels)], 0.0
		top := slices.Max(ps)
		for l, p := range ps {
			ps[l] = math.Exp(p - top)
			sum += ps[l]
		}
		for l := range ps {
			ps[l] /= sum
		}
	}
	return nil
}

// Sample fills dst with exact samples of x_t = α·x_0 + σ·ε, one after the other. The i-th depends on seed and i alone,
// and its x_0 and ε are the same at every point: {Alpha: 1} gives x_0.
func (m Mixture) Sample(dst []float64, at ode.Point, seed uint64) error {
	if err := m.check(); err != nil {
		return err
	}
	upto := make([]float64, len(m.Weights))
	var total float64
	for i, w := range m.Weights {
		total += w
		upto[i] = total
	}
	return sample(dst, m.Dim(), at, seed, m.D, func(x0 []float64, uniform float64) {
		j := 0
		for j < len(upto)-1 && uniform*total >= upto[j] {
			j++
		}
		deviation := math.Sqrt(m.Variances[j])
		for i, normal := range x0 {
			x0[i] = m.Means[j][i] + deviation*normal
		}
	})
}

type mixture struct {
	n                         int
	extra                     float64
	means, weights, variances []float64
	logWeights                []float64
	c                         coefficients

	// V_k, P_k = (A·α·c_k + B·σ)/V_k, log w_k − n/2·log V_k: of the present time.
	marginal, gain, base []float64
	// r_k, |d_k|², −2 ∂(log r_k)/∂|d_k|² but for the normalization, and scratch: of the present sample.
	share, square, pull, slope, dgain []float64
}

func (k *mixture) dim() int { return k.n }

func (k *mixture) mean(j int) []float64 { return k.means[j*k.n : (j+1)*k.n] }

func (k *mixture) parameters() []parameter {
	n := len(k.weights)
	return []parameter{
		{"means", []int{n, k.n}, k.means, func(v []float64) error { return checkFinite("means", v) }},
		{"weights", []int{n}, k.weights, func(v []float64) error { return checkPositive("weights", v) }},
		{"variances", []int{n}, k.variances, func(v []float64) error { return checkVariances("variances", v) }},
	}
}

func (k *mixture) refresh() {
	for j, w := range k.weights {
		k.logWeights[j] = math.Log(w)
	}
}

func (k *mixture) prepare(c coefficients) error {
	k.c = c
	for j, variance := range k.variances {
		v := c.alpha*c.alpha*variance + c.sigma*c.sigma
		if err := checkMarginal(v, c); err != nil {
			return err
		}
		k.marginal[j] = v
		k.gain[j] = (c.data*c.alpha*variance + c.noise) / v
		k.base[j] = k.logWeights[j] - float64(k.n)/2*math.Log(v)
	}
	return nil
}

// shares computes r_k, |d_k|² and pull, and returns log Σ w_k·V_k^{−n/2}·exp(−|d_k|²/2V_k), or that with Student's tails.
func (k *mixture) shares(x []float64) float64 {
	top := math.Inf(-1)
	for j := range k.share {
		var square float64
		for i, mean := range k.mean(j) {
			d := x[i] - k.c.alpha*mean
			square += d * d
		}
		k.square[j] = square
		l := k.base[j]
		if v := k.marginal[j]; k.extra == 0 {
			l -= square / (2 * v)
			k.pull[j] = 1 / v
		} else {
			tails := float64(k.n) + k.extra
			l -= tails / 2 * math.Log1p(square/(k.extra*v))
			k.pull[j] = tails / (k.extra*v + square)
		}
		k.share[j] = l
		top = max(top, l)
	}
	var sum float64
	for j, l := range k.share {
		e := math.Exp(l - top)
		k.share[j] = e
		sum += e
	}
	for j := range k.share {
		k.share[j] /= sum
	}
	return top + math.Log(sum)
}

func (k *mixture) eval(dst, x []float64) {
	k.shares(x)
	clear(dst)
	for j, r := range k.share {
		if r == 0 { // most of a large data set, at low noise
			continue
		}
		// A·μ + P·(x − α·μ)
		onMean, onX := r*(k.c.data-k.gain[j]*k.c.alpha), r*k.gain[j]
		for i, mean := range k.mean(j) {
			dst[i] += onMean*mean + onX*x[i]
		}
	}
}

func (k *mixture) jvp(dst, x []float64, d *direction) {
	c := k.c
	k.shares(x)
	var average float64
	for j := range k.share {
		var dvariance float64
		if p := d.params[2]; p != nil {
			dvariance = p[j]
		}
		v, variance := k.marginal[j], k.variances[j]
		dmarginal := 2*c.alpha*variance*d.rate.alpha + 2*c.sigma*d.rate.sigma + c.alpha*c.alpha*dvariance
		k.dgain[j] = (d.rate.data*c.alpha*variance + c.data*(d.rate.alpha*variance+c.alpha*dvariance) + d.rate.noise -
			k.gain[j]*dmarginal) / v
		var inner float64 // ⟨d_k, its derivative⟩
		for i, mean := range k.mean(j) {
			inner += (x[i] - c.alpha*mean) * k.diffRate(i, j, mean, d)
		}
		slope := (k.square[j]*k.pull[j]-float64(k.n))*dmarginal/(2*v) - inner*k.pull[j]
		if p := d.params[1]; p != nil {
			slope += p[j] / k.weights[j]
		}
		k.slope[j] = slope
		average += k.share[j] * slope
	}
	clear(dst)
	for j, r := range k.share {
		dr := r * (k.slope[j] - average)
		for i, mean := range k.mean(j) {
			diff := x[i] - c.alpha*mean
			f := c.data*mean + k.gain[j]*diff
			df := d.rate.data*mean + k.dgain[j]*diff + k.gain[j]*k.diffRate(i, j, mean, d)
			if p := d.params[0]; p != nil {
				df += c.data * p[j*k.n+i]
			}
			dst[i] += dr*f + r*df
		}
	}
}

// diffRate is the derivative of element i of d_j.
func (k *mixture) diffRate(i, j int, mean float64, d *direction) float64 {
	rate := -d.rate.alpha * mean
	if d.x != nil {
		rate += d.x[i]
	}
	if p := d.params[0]; p != nil {
		rate -= k.c.alpha * p[j*k.n+i]
	}
	return rate
}

func (k *mixture) vjp(g *gradient, cotangent, x []float64) {
	c := k.c
	k.shares(x)
	var average float64
	for j := range k.share {
		var onMean, onDiff float64
		for i, mean := range k.mean(j) {
			onMean += cotangent[i] * mean
			onDiff += cotangent[i] * (x[i] - c.alpha*mean)
		}
		k.slope[j] = c.data*onMean + k.gain[j]*onDiff
		k.dgain[j] = onDiff
		average += k.share[j] * k.slope[j]
	}
	g.rate = coefficients{}
	if g.x != nil {
		clear(g.x)
	}
	for j, r := range k.share {
		v, variance := k.marginal[j], k.variances[j]
		ulogit := r * (k.slope[j] - average)
		ugain := r * k.dgain[j] / v // of the numerator of the gain
		umarginal := ulogit*(k.square[j]*k.pull[j]-float64(k.n))/(2*v) - ugain*k.gain[j]
		g.rate.alpha += c.data*variance*ugain + 2*c.alpha*variance*umarginal
		g.rate.sigma += 2 * c.sigma * umarginal
		g.rate.data += c.alpha * variance * ugain
		g.rate.noise += ugain
		if p := g.params[1]; p != nil {
			p[j] += ulogit / k.weights[j]
		}
		if p := g.params[2]; p != nil {
			p[j] += c.alpha * (c.alpha*umarginal + c.data*ugain)
		}
		onCotangent, onDiff := r*k.gain[j], -ulogit*k.pull[j]
		for i, mean := range k.mean(j) {
			udiff := onCotangent*cotangent[i] + onDiff*(x[i]-c.alpha*mean)
			if g.x != nil {
				g.x[i] += udiff
			}
			if p := g.params[0]; p != nil {
				p[j*k.n+i] += c.data*r*cotangent[i] - c.alpha*udiff
			}
			g.rate.alpha -= mean * udiff
			g.rate.data += r * mean * cotangent[i]
		}
	}
}
