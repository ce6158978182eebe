package measure

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
)

// Features is a set of N samples of D numbers each, row-major: sample i is
// Data[i·D : (i+1)·D].
type Features struct {
	Data []float64
	N, D int
}

// Rows makes Features of n rows of d values each. Float64 data are kept, not
// copied. A length other than n·d is an error.
func Rows[T float32 | float64](data []T, n, d int) (Features, error) {
	if n < 0 || d < 1 || len(data) != n*d {
		return Features{}, fmt.Errorf("measure: %d samples of %d values need %d values, there are %d", n, d, n*d, len(data))
	}
	if same, ok := any(data).([]float64); ok {
		return Features{Data: same, N: n, D: d}, nil
	}
	f := Features{Data: make([]float64, len(data)), N: n, D: d}
	for i, v := range data {
		f.Data[i] = float64(v)
	}
	return f, nil
}

// Row is sample i, a view.
func (f Features) Row(i int) []float64 { return f.Data[i*f.D : (i+1)*f.D : (i+1)*f.D] }

// check refuses sets of fewer than least samples, of other shapes than they claim, or not finite.
func (f Features) check(name string, least int) error {
	if f.D < 1 || f.N < 0 || len(f.Data) != f.N*f.D {
		return fmt.Errorf("measure: %s: %d samples of %d values need %d values, there are %d", name, f.N, f.D, f.N*f.D, len(f.Data))
	}
	if f.N < least {
		return fmt.Errorf("measure: %s has %d samples, at least %d are needed", name, f.N, least)
	}
	for i, v := range f.Data {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("measure: %s: value %d of sample %d is %v", name, i%f.D, i/f.D, v)
		}
	}
	return nil
}

// checkPair refuses two sets that cannot be compared.
func checkPair(nameA string, a Features, leastA int, nameB string, b Features, leastB int) error {
	if err := a.check(nameA, leastA); err != nil {
		return err
	}
	if err := b.check(nameB, leastB); err != nil {
		return err
	}
	if a.D != b.D {
		return fmt.Errorf("measure: %s has %d values a sample, %s has %d", nameA, a.D, nameB, b.D)
	}
	return nil
}

func squaredDistance(a, b []float64) float64 {
	b = b[:len(a)]
	// Two sums keep the processor busy; one would wait for each addition.
	var s, t float64
	i := 0
	for ; i+1 < len(a); i += 2 {
		d, e := a[i]-b[i], a[i+1]-b[i+1]
		s += d * d
		t += e * e
	}
	if i < len(a) {
		d := a[i] - b[i]
		s += d * d
	}
	return s + t
}

// eachRow calls f for 0…n−1 on all processors. f writes to what belongs to i
// alone; whoever sums over i does so afterwards, in order.
func eachRow(n int, f func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var next atomic.Int64
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				f(int(i))
			}
		})
	}
	wait.Wait()
}

// sumRows adds f(0) … f(n−1), computed on all processors, in that order.
func sumRows(n int, f func(i int) float64) float64 {
	part := make([]float64, n)
	eachRow(n, func(i int) { part[i] = f(i) })
	total := 0.0
	for _, v := range part {
		total += v
	}
	return total
}
