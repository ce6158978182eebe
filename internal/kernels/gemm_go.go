package kernels

// The portable product: tiles of goRows×goCols, both operands packed and padded to whole tiles, so that every element
// of c comes out of the same few instructions.
const (
	goRows  = 2
	goCols  = 4
	goDepth = 256 // of a block of k
)

func gemmGoScratch(n, k int) int {
	return min(k, goDepth) * ((n+goCols-1)/goCols*goCols + goRows)
}

func gemmGo[T Float](ta, tb bool, m, n, k int, a []T, lda int, b []T, ldb int, c []T, ldc int, add bool, scratch []T) {
	for p := 0; p < k; p += goDepth {
		depth := min(goDepth, k-p)
		panelA, panels := scratch[:goRows*depth], scratch[goRows*depth:]
		for j := 0; j < n; j += goCols {
			packGo(panels[j*depth:(j+goCols)*depth], goCols, b, ldb, j, min(goCols, n-j), p, tb)
		}
		for i := 0; i < m; i += goRows {
			rows := min(goRows, m-i)
			packGo(panelA, goRows, a, lda, i, rows, p, !ta)
			for j := 0; j < n; j += goCols {
				tile := tileGo(panelA, panels[j*depth:(j+goCols)*depth])
				for r := range rows {
					dst := c[(i+r)*ldc+j:]
					dst = dst[:min(goCols, n-j)]
					for q := range dst {
						if add || p > 0 {
							dst[q] += tile[r*goCols+q]
						} else {
							dst[q] = tile[r*goCols+q]
						}
					}
				}
			}
		}
	}
}

// packGo sets dst[l·width + q] to element (p+l, j+q) of a k-major matrix, or of the transpose of x, for q < w; the lanes
// from w on are zero.
func packGo[T Float](dst []T, width int, x []T, ld, j, w, p int, transposed bool) {
	sk, sq := ld, 1
	if transposed {
		sk, sq = 1, ld
	}
	at := p*sk + j*sq
	for l := 0; l < len(dst); l += width {
		for q := range width {
			dst[l+q] = 0
			if q < w {
				dst[l+q] = x[at+q*sq]
			}
		}
		at += sk
	}
}

func tileGo[T Float](a, b []T) [goRows * goCols]T {
	var s00, s01, s02, s03, s10, s11, s12, s13 T
	for len(a) >= goRows && len(b) >= goCols {
		a0, a1, b0, b1, b2, b3 := a[0], a[1], b[0], b[1], b[2], b[3]
		s00 += a0 * b0
		s01 += a0 * b1
		s02 += a0 * b2
		s03 += a0 * b3
		s10 += a1 * b0
		s11 += a1 * b1
		s12 += a1 * b2
		s13 += a1 * b3
		a, b = a[goRows:], b[goCols:]
	}
	return [...]T{s00, s01, s02, s03, s10, s11, s12, s13}
}
