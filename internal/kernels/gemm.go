package kernels

import "fmt"

// Gemm sets c = op(a)·op(b), or with add adds the product to c. Matrices are row-major with row strides lda, ldb, ldc;
// op(a) is m×k and is stored k×m if ta, op(b) is k×n and is stored n×k if tb, c is m×n. Sizes may be zero: k = 0 gives
// zeros, or with add leaves c alone. c must not overlap a, b or scratch, whose contents are lost; scratch has at least
// [GemmScratch] elements.
//
// Every element of c adds its k products in an order that depends on ta, tb, k and T alone, so any split of the rows and
// columns of c in several calls gives the same bits.
func Gemm[T Float](ta, tb bool, m, n, k int, a []T, lda int, b []T, ldb int, c []T, ldc int, add bool, scratch []T) {
	if m <= 0 || n <= 0 {
		return
	}
	fits("c", len(c), m, n, ldc)
	if k <= 0 {
		for i := 0; i < m && !add; i++ {
			clear(c[i*ldc : i*ldc+n])
		}
		return
	}
	var d []T
	if add {
		d = c
	}
	gemm(ta, tb, m, n, k, a, lda, b, ldb, d, ldc, c, ldc, scratch)
}

// GemmBias is [Gemm] of op(a)·op(b) plus a row of n elements, which is added to every row of c without a pass of its own.
func GemmBias[T Float](ta, tb bool, m, n, k int, a []T, lda int, b []T, ldb int, bias, c []T, ldc int, scratch []T) {
	if m <= 0 || n <= 0 {
		return
	}
	fits("c", len(c), m, n, ldc)
	bias = fit(bias, n)
	if k <= 0 {
		for i := range m {
			copy(c[i*ldc:i*ldc+n], bias)
		}
		return
	}
	gemm(ta, tb, m, n, k, a, lda, b, ldb, bias, 0, c, ldc, scratch)
}

// PackedSize is the number of elements that [Pack] writes of an operand op(b) of k×n; 0 if the path in use has no packed
// operands.
func PackedSize[T Float](n, k int) int {
	if n <= 0 || k <= 0 {
		return 0
	}
	return gemmPackedSize[T](n, k)
}

// Pack copies op(b), k×n and stored n×k if tb, to dst in the order in which [GemmPacked] reads it. dst has at least
// [PackedSize] elements, of which there are some.
func Pack[T Float](dst []T, tb bool, n, k int, b []T, ldb int) {
	if tb {
		fits("b", len(b), n, k, ldb)
	} else {
		fits("b", len(b), k, n, ldb)
	}
	gemmPack(fit(dst, PackedSize[T](n, k)), tb, n, k, b, ldb)
}

// GemmPacked is [GemmBias] of a·op(b), or without a bias [Gemm], to the same bits, where b was packed from op(b) before: for
// operands that many products share.
func GemmPacked[T Float](m, n, k int, a []T, lda int, b, bias, c []T, ldc int, scratch []T) {
	if m <= 0 || n <= 0 {
		return
	}
	fits("c", len(c), m, n, ldc)
	fits("a", len(a), m, k, lda)
	b = fit(b, PackedSize[T](n, k))
	switch {
	case bias != nil && k <= 0:
		GemmBias(false, false, m, n, 0, a, lda, b, n, bias, c, ldc, scratch)
		return
	case k <= 0:
		Gemm(false, false, m, n, 0, a, lda, b, n, c, ldc, false, scratch)
		return
	case len(b) == 0:
		panic("kernels: GemmPacked: there are no packed operands on this path")
	}
	if bias != nil {
		bias = fit(bias, n)
	}
	gemmFast(false, false, m, n, k, a, lda, b, 0, bias, 0, c, ldc, scratch)
}

// gemm sets c = d + op(a)·op(b) where d is nothing, c, or, with ldd = 0, one row for all.
func gemm[T Float](ta, tb bool, m, n, k int, a []T, lda int, b []T, ldb int, d []T, ldd int, c []T, ldc int, scratch []T) {
	if ta {
		fits("a", len(a), k, m, lda)
	} else {
		fits("a", len(a), m, k, lda)
	}
	if tb {
		fits("b", len(b), n, k, ldb)
	} else {
		fits("b", len(b), k, n, ldb)
	}
	if need := GemmScratch[T](ta, tb, m, n, k); len(scratch) < need {
		panic(fmt.Sprintf("kernels: Gemm: scratch has %d elements, needs %d", len(scratch), need))
	}
	if gemmFast(ta, tb, m, n, k, a, lda, b, ldb, d, ldd, c, ldc, scratch) {
		return
	}
	for i := 0; i < m && d != nil && ldd == 0; i++ {
		copy(c[i*ldc:i*ldc+n], d)
	}
	gemmGo(ta, tb, m, n, k, a, lda, b, ldb, c, ldc, d != nil, scratch)
}

func fits(name string, have, rows, cols, ld int) {
	if ld < cols || have < (rows-1)*ld+cols {
		panic(fmt.Sprintf("kernels: Gemm: %s has %d elements at stride %d, needs %d×%d", name, have, ld, rows, cols))
	}
}

// GemmScratch returns how many elements of scratch a [Gemm] of this shape needs. It never falls as m, n or k rise, so
// scratch for the whole product does for any part of it.
func GemmScratch[T Float](ta, tb bool, m, n, k int) int {
	if m <= 0 || n <= 0 || k <= 0 {
		return 0
	}
	if need, ok := gemmFastScratch[T](ta, tb, m, n, k); ok {
		return need
	}
	return gemmGoScratch(n, k)
}
