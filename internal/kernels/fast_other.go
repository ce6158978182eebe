//go:build !amd64

package kernels

func gemmFast[T Float](_, _ bool, _, _, _ int, _ []T, _ int, _ []T, _ int, _ []T, _ int, _ bool, _ []T) bool {
	return false
}

func gemmFastScratch[T Float](_, _ bool, _, _, _ int) (int, bool) { return 0, false }
