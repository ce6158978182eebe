package train

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/graph"
)

// AdamW is the optimizer: Adam with decoupled weight decay, the gradient clipped by its norm, a rate that rises and falls,
// and a running average of the weights. Zero values of fields with a default mean the default.
//
//	g ← g · min(1, Clip/|g|),  over all weights
//	m ← β₁ m + (1−β₁) g,  v ← β₂ v + (1−β₂) g²
//	w ← w − rate·(Decay·w + m̂/(√v̂ + Eps)),  m̂ = m/(1−β₁ᵏ), v̂ = v/(1−β₂ᵏ) in step k = 1, 2, …
//	average ← d·average + (1−d)·w,  d = min(Average, k/(k+9))
//
// The rate rises in a line from Rate/Warmup at the first step to Rate at step Warmup, and then follows half a cosine down to
// Floor·Rate at the last step.
//
// Source: Kingma, Ba 2014, arXiv 1412.6980; Loshchilov, Hutter 2017, arXiv 1711.05101 and, for the cosine, 1608.03983. The
// average is that of diffusion models ("EMA"); its warm-up is that of TensorFlow's ExponentialMovingAverage.
type AdamW struct {
	Rate         float64 // highest rate; 1e-3 by default
	Warmup       int     // steps
	Floor        float64 // last rate, as a share of Rate
	Beta1, Beta2 float64 // 0.9 and 0.99 by default
	Eps          float64 // 1e-8 by default

	// Decay applies to weights of two axes or more, so not to biases and gains. Those named in Keep, or whose name ends in
	// a dot and that, do not decay either; nil means the tables "labels" and "position".
	Decay float64
	Keep  []string

	Clip    float64 // largest norm of the gradient; 0 means any
	Average float64 // decay of the average; 0.999 by default
}

func (o AdamW) withDefaults() AdamW {
	for _, d := range []struct {
		v     *float64
		value float64
	}{{&o.Rate, 1e-3}, {&o.Beta1, 0.9}, {&o.Beta2, 0.99}, {&o.Eps, 1e-8}, {&o.Average, 0.999}} {
		if *d.v == 0 {
			*d.v = d.value
		}
	}
	if o.Keep == nil {
		o.Keep = []string{"labels", "position"}
	}
	return o
}

// check reports all fields that are wrong.
func (o AdamW) check() error {
	var errs []error
	demand := func(ok bool, name string, v any, allowed string) {
		if !ok {
			errs = append(errs, fmt.Errorf("train: AdamW.%s is %v; it must be %s", name, v, allowed))
		}
	}
	finite := func(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }
	demand(o.Rate > 0 && finite(o.Rate), "Rate", o.Rate, "above 0 and finite")
	demand(o.Warmup >= 0, "Warmup", o.Warmup, "at least 0")
	demand(o.Floor >= 0 && o.Floor <= 1, "Floor", o.Floor, "from 0 to 1")
	demand(o.Beta1 > 0 && o.Beta1 < 1, "Beta1", o.Beta1, "between 0 and 1")
	demand(o.Beta2 > 0 && o.Beta2 < 1, "Beta2", o.Beta2, "between 0 and 1")
	demand(o.Eps > 0 && finite(o.Eps), "Eps", o.Eps, "above 0 and finite")
	demand(o.Decay >= 0 && finite(o.Decay), "Decay", o.Decay, "at least 0 and finite")
	demand(o.Clip >= 0 && finite(o.Clip), "Clip", o.Clip, "at least 0 and finite, where 0 means no limit")
	demand(o.Average > 0 && o.Average < 1, "Average", o.Average, "between 0 and 1")
	return errors.Join(errs...)
}

// rate is the rate of a step, from 0, of so many.
func (o AdamW) rate(step, steps int) float64 {
	if step < o.Warmup {
		return o.Rate * float64(step+1) / float64(o.Warmup)
	}
	// The first step after the rise, or the last of it, is at the top; the last step is at the floor.
	begin, end := max(o.Warmup-1, 0), steps-1
	if end <= begin {
		return o.Rate
	}
	done := float64(step-begin) / float64(end-begin)
	return o.Rate * (o.Floor + (1-o.Floor)*(1+math.Cos(math.Pi*min(done, 1)))/2)
}

// averaging is the decay of the average in step k, from 1.
func (o AdamW) averaging(k int) float64 { return min(o.Average, float64(k)/float64(k+9)) }

// decays says whether a weight decays.
func (o AdamW) decays(w graph.Weight) bool {
	return len(w.Shape) > 1 && !slices.ContainsFunc(o.Keep, func(name string) bool {
		return w.Name == name || strings.HasSuffix(w.Name, "."+name)
	})
}

// clipping is what the gradient is multiplied with.
func (o AdamW) clipping(norm float64) float64 {
	if o.Clip == 0 || norm <= o.Clip {
		return 1
	}
	return o.Clip / norm
}
