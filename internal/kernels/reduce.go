package kernels

// Sums run in float64 over 32 lanes: lane j takes the elements j, j+32, j+64, …, and the lanes are then added in halves.
// Every path keeps to this tree, so the bits depend on the values and their number alone.
type lanes [32]float64

func (s *lanes) total() float64 {
	for half := len(s) / 2; half > 0; half /= 2 {
		for j := range half {
			s[j] += s[j+half]
		}
	}
	return s[0]
}

// Sum returns Σ x, accumulated in float64. All paths give the same bits.
func Sum[T Float](x []T) float64 {
	var s lanes
	if sumFast(&s, x) {
		return s.total()
	}
	for ; len(x) >= len(s); x = x[len(s):] {
		for j := range s {
			s[j] += float64(x[j])
		}
	}
	for j, v := range x {
		s[j] += float64(v)
	}
	return s.total()
}

// Dot returns Σ a·b over two slices of one length, accumulated in float64. All paths give the same bits.
func Dot[T Float](a, b []T) float64 {
	if len(a) != len(b) {
		panic("kernels: Dot: lengths differ")
	}
	var s lanes
	if dotFast(&s, a, b) {
		return s.total()
	}
	for ; len(a) >= len(s); a, b = a[len(s):], b[len(s):] {
		for j := range s {
			// The conversion forbids a fused product, which only some architectures would make.
			s[j] += float64(float64(a[j]) * float64(b[j]))
		}
	}
	for j, v := range a {
		s[j] += float64(float64(v) * float64(b[j]))
	}
	return s.total()
}

// RowSum sets dst[r] to the [Sum] of row r of x (rows × cols).
func RowSum[T Float](dst, x []T, rows, cols int) {
	for r := range rows {
		dst[r] = T(Sum(x[r*cols : (r+1)*cols]))
	}
}

// ColSum sets dst, or with add adds to it, the sum of each column of x (rows × cols), accumulated in float64 from the
// first row on. dst must not overlap x. All paths give the same bits.
func ColSum[T Float](dst, x []T, rows, cols int, add bool) {
	for j := 0; j < cols; j += len(lanes{}) {
		var s lanes
		w := min(len(s), cols-j)
		if !columnsFast(&s, fit(x, rows*cols), j, rows, cols, w) {
			for r := range rows {
				for i, v := range x[r*cols+j : r*cols+j+w] {
					s[i] += float64(v)
				}
			}
		}
		for i, v := range s[:w] {
			if add {
				v += float64(dst[j+i])
			}
			dst[j+i] = T(v)
		}
	}
}
