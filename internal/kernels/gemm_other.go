//go:build !amd64 && !arm64

package kernels

func gemmFast[T Float](_, _ bool, _, _, _ int, _ []T, _ int, _ []T, _ int, _ []T, _ int, _ []T, _ int, _ []T) bool {
	return false
}

func gemmPackedSize[T Float](_, _ int) int                        { return 0 }
func gemmPack[T Float](_ []T, _ bool, _, _ int, _ []T, _ int)     {}
func gemmFastScratch[T Float](_, _ bool, _, _, _ int) (int, bool) { return 0, false }
