package data

import "math"

// ring sums the outermost pixels of one picture by channel.
func ring(p []float32, h, w, c int) (sum [3]float64, n int) {
	for y := range h {
		for x := range w {
			if y == 0 || y == h-1 || x == 0 || x == w-1 {
				n++
				for k := range c {
					sum[k] += float64(p[(y*w+x)*c+k])
				}
			}
		}
	}
	return sum, n
}

// fitInside scales an h×w picture of three channels to the largest size of its
// shape inside H×W and centres it on the mean of its border.
func fitInside(p []float32, h, w, H, W int) []float32 {
	s := min(float64(H)/float64(h), float64(W)/float64(w))
	ih, iw := min(H, max(1, int(math.Round(s*float64(h))))), min(W, max(1, int(math.Round(s*float64(w)))))
	inner := resize(p, h, w, ih, iw)
	sum, n := ring(p, h, w, 3)
	out := make([]float32, 3*H*W)
	for i := range out {
		out[i] = float32(sum[i%3] / float64(n))
	}
	top, left := (H-ih)/2, (W-iw)/2
	for y := range ih {
		copy(out[((y+top)*W+left)*3:], inner[y*iw*3:(y+1)*iw*3])
	}
	return out
}

// resize scales three channels with a triangle filter as wide as the coarser of
// the two grids: linear interpolation upward, an average downward.
func resize(p []float32, h, w, H, W int) []float32 {
	rows := make([]float64, H*w*3)
	for y, t := range taps(h, H) {
		for k, weight := range t.weights {
			for i, v := range p[(t.first+k)*w*3 : (t.first+k+1)*w*3] {
				rows[y*w*3+i] += weight * float64(v)
			}
		}
	}
	out := make([]float32, H*W*3)
	for x, t := range taps(w, W) {
		for y := range H {
			for c := range 3 {
				sum := 0.0
				for k, weight := range t.weights {
					sum += weight * rows[(y*w+t.first+k)*3+c]
				}
				out[(y*W+x)*3+c] = float32(min(1, max(-1, sum)))
			}
		}
	}
	return out
}

// tap is the run of source pixels that one target pixel is the weighted mean of.
type tap struct {
	first   int
	weights []float64
}

func taps(n, N int) []tap {
	scale := float64(n) / float64(N)
	radius := max(scale, 1)
	out := make([]tap, N)
	for i := range out {
		centre := (float64(i)+0.5)*scale - 0.5
		first, last := max(0, int(math.Ceil(centre-radius))), min(n-1, int(math.Floor(centre+radius)))
		t := tap{first: first}
		sum := 0.0
		for j := first; j <= last; j++ {
			weight := 1 - math.Abs(float64(j)-centre)/radius
			t.weights = append(t.weights, weight)
			sum += weight
		}
		for k := range t.weights {
			t.weights[k] /= sum
		}
		out[i] = t
	}
	return out
}
