package models

import (
	"fmt"
	"math"

	"github.com/ebb-go/ebb/ode"
)

const (
	output           = "prediction" // what a diffusion network gives
	normEps          = 1e-6         // as in the original of DiT
	defaultFrequency = 50           // radians per unit of time, see DiT
	maxTaps          = 64           // that a graph.Cell keeps apart when it differentiates
)

// defaults puts a default in the place of zero.
func defaults[V int | float64](v *V, value V) {
	if *v == 0 {
		*v = value
	}
}

func product(s []int) int {
	n := 1
	for _, d := range s {
		n *= d
	}
	return n
}

// fields checks the fields of a configuration and keeps the first error. The upper limits are far above any network;
// they keep the products of sizes that a file claims from overflowing.
type fields struct {
	model string
	err   error
}

func (f *fields) check(ok bool, format string, v ...any) bool {
	if !ok && f.err == nil {
		f.err = fmt.Errorf("models: "+f.model+": "+format, v...)
	}
	return ok
}

func (f *fields) between(name string, v, low, high int) {
	f.check(v >= low && v <= high, "%s is %d; %d to %d are possible", name, v, low, high)
}

// shape is limited to what a vector network or a mixture can be meant for.
func (f *fields) shape(shape []int) {
	if !f.check(len(shape) > 0 && len(shape) <= 8, "Shape is %v; one to eight axes are needed", shape) {
		return
	}
	size := 1
	for i, n := range shape {
		f.between(fmt.Sprintf("Shape[%d]", i), n, 1, 1<<20)
		if f.err == nil {
			size *= n
			f.check(size <= 1<<20, "Shape is %v; up to %d elements are possible", shape, 1<<20)
		}
	}
}

func (f *fields) image(channels, height, width, patch int) {
	f.between("Channels", channels, 1, 1<<12)
	f.between("Height", height, 1, 1<<12)
	f.between("Width", width, 1, 1<<12)
	f.between("Patch", patch, 1, 1<<12)
	f.check(f.err != nil || height%patch == 0 && width%patch == 0, "Patch is %d, which does not divide Height %d and Width %d", patch, height, width)
}

func (f *fields) diffusion(condition, classes, features int, frequency float64, p ode.Prediction, s ode.Schedule, shard int) {
	f.between("Condition", condition, 0, 1<<16)
	f.between("Classes", classes, 0, 1<<20)
	f.check(classes == 0 || condition > 0, "Classes is %d and Condition 0; the label table needs the length of a condition", classes)
	f.between("TimeFeatures", features, 2, 1<<14)
	f.check(features%2 == 0, "TimeFeatures is %d; each frequency has a cosine and a sine, so it must be even", features)
	f.check(frequency > 0 && !math.IsInf(frequency, 0), "MaxFrequency is %v; it must be above 0 and finite", frequency)
	f.target(p, s, shard)
}

func (f *fields) target(p ode.Prediction, s ode.Schedule, shard int) {
	f.check(p >= 0 && p <= ode.Denoiser, "Prediction is %v; the predictions are Noise to Denoiser", p)
	f.check(s != nil, "Schedule is missing; give the one the network is trained on, such as ode.Flow{}")
	f.between("Shard", shard, 0, 1<<16)
}
