package data

import "math"

// ring sums the outermost pixels of a picture by channel, a row at a time.
type ring struct {
	sum [3]float64
	n   int
}

// add takes the next row of a picture, of c channels; its first or last one has no other pixels.
func (r *ring) add(row []float32, c int, whole bool) {
	w := len(row) / c
	for x := range w {
		if whole || x == 0 || x == w-1 {
			r.n++
			for k := range c {
				r.sum[k] += float64(row[x*c+k])
			}
		}
	}
}

// fitInside scales an h×w picture of three channels to the largest size of its
// shape inside H×W and centres it on the mean of its border. It asks for each
// row once, in order.
func fitInside(row func(y int) []float32, h, w, H, W int) []float32 {
	s := min(float64(H)/float64(h), float64(W)/float64(w))
	ih, iw := min(H, max(1, int(math.Round(s*float64(h))))), min(W, max(1, int(math.Round(s*float64(w)))))
	var border ring
	inner := resize(func(y int) []float32 {
		r := row(y)
		border.add(r, 3, y == 0 || y == h-1)
		return r
	}, h, w, ih, iw)
	out := make([]float32, 3*H*W)
	for i := range out {
		out[i] = float32(border.sum[i%3] / float64(border.n))
	}
	top, left := (H-ih)/2, (W-iw)/2
	for y := range ih {
		copy(out[((y+top)*W+left)*3:], inner[y*iw*3:(y+1)*iw*3])
	}
	return out
}

// resize scales three channels with a triangle filter as wide as the coarser of
// the two grids: linear interpolation upward, an average downward. It asks for
// each row once, in order.
func resize(row func(y int) []float32, h, w, H, W int) []float32 {
	rows := make([]float64, H*w*3)
	vertical := taps(h, H)
	begin := 0 // of the targets that a row, and those below it, are in
	for from := range h {
		for begin < H && vertical[begin].first+len(vertical[begin].weights) <= from {
			begin++
		}
		p := row(from)
		for y := begin; y < H && vertical[y].first <= from; y++ {
			weight := vertical[y].weights[from-vertical[y].first]
			for i, v := range p {
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
