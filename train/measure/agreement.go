package measure

import (
	"fmt"
	"math"
)

// Agreed says how often a judge saw the class that was asked for.
type Agreed struct {
	Overall  float64   // share of all samples
	PerClass []float64 // share by the class asked; NaN for a class nobody asked for
	Asked    []int     // samples by the class asked
	Worst    int       // the class with the smallest share, the first of equals
}

// Agreement compares a judge's classes with those asked for, sample by sample.
// The judge is a classifier that the samples were not optimized against. Classes
// go from 0 to the largest one asked for.
//
// Errors: no samples, unequal lengths, a class below 0, one asked for above 65535.
func Agreement(predicted, asked []int) (Agreed, error) {
	if len(asked) == 0 || len(predicted) != len(asked) {
		return Agreed{}, fmt.Errorf("measure: %d predictions for %d samples: both must be equal and at least 1", len(predicted), len(asked))
	}
	classes := 0
	for i, c := range asked {
		if c < 0 || predicted[i] < 0 || c > 65535 {
			return Agreed{}, fmt.Errorf("measure: sample %d was asked for class %d and judged %d: classes go from 0 to 65535", i, c, predicted[i])
		}
		classes = max(classes, c+1)
	}
	a := Agreed{PerClass: make([]float64, classes), Asked: make([]int, classes)}
	for i, c := range asked {
		a.Asked[c]++
		if predicted[i] == c {
			a.PerClass[c]++
			a.Overall++
		}
	}
	a.Overall /= float64(len(asked))
	least := math.Inf(1)
	for c, n := range a.Asked {
		a.PerClass[c] /= float64(n)
		if a.PerClass[c] < least {
			a.Worst, least = c, a.PerClass[c]
		}
	}
	return a, nil
}
