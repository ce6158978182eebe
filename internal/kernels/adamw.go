package kernels

import "math"

// AdamWParams are the numbers of one [AdamW] step.
type AdamWParams struct {
	Rate         float64 // learning rate
	Beta1, Beta2 float64 // decay of the two moments, in [0, 1)
	Eps          float64 // added to √v̂
	Decay        float64 // decoupled weight decay, multiplied by Rate
	Step         int     // of this update, from 1: the moments are divided by 1 − β^Step
	Clip         float64 // multiplies the gradient: 1, or less where its norm is clipped
	Average      float64 // decay of the running average of the weights, if one is kept
}

// AdamW makes one step of Adam (Kingma and Ba, 2014, arXiv:1412.6980) with decoupled weight decay (Loshchilov and
// Hutter, 2017, arXiv:1711.05101) in one pass over weights w, gradient g, moments m and v, and ema, which may be nil:
//
//	m ← m + (1−β₁)(Clip·g − m)
//	v ← v + (1−β₂)((Clip·g)² − v)
//	w ← w − Rate·(Decay·w + m̂/(√v̂ + Eps)),  m̂ = m/(1−β₁^Step), v̂ = v/(1−β₂^Step)
//	ema ← ema + (1−Average)(w − ema)
func AdamW[T Float](w, g, m, v, ema []T, p AdamWParams) {
	if p.Step < 1 {
		panic("kernels: AdamW: steps count from 1")
	}
	c := adamWConstants[T](p)
	g, m, v = fit(g, len(w)), fit(m, len(w)), fit(v, len(w))
	if ema != nil {
		ema = fit(ema, len(w))
	}
	if adamWFast(w, g, m, v, ema, &c) {
		return
	}
	for i := range w {
		g := c.clip * g[i]
		m[i] += c.m * (g - m[i])
		v[i] += c.v * (g*g - v[i])
		root := T(math.Sqrt(float64(v[i])))
		w[i] = w[i]*c.keep - c.rate*m[i]/(root*c.root+c.eps)
	}
	if ema != nil {
		for i := range w {
			ema[i] += c.ema * (w[i] - ema[i])
		}
	}
}

// adamW holds what a step needs of its parameters, rounded once: the order is that of the assembly's argument.
type adamW[T Float] struct {
	clip, m, v, keep, rate, root, eps, ema T
}

func adamWConstants[T Float](p AdamWParams) adamW[T] {
	step := float64(p.Step)
	return adamW[T]{
		clip: T(p.Clip),
		m:    T(1 - p.Beta1),
		v:    T(1 - p.Beta2),
		keep: T(1 - p.Rate*p.Decay),
		rate: T(p.Rate / (1 - math.Pow(p.Beta1, step))),
		root: T(1 / math.Sqrt(1-math.Pow(p.Beta2, step))),
		eps:  T(p.Eps),
		ema:  T(1 - p.Average),
	}
}
