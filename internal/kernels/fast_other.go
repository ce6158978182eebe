//go:build !amd64 && !arm64

package kernels

func gemmFast[T Float](_, _ bool, _, _, _ int, _ []T, _ int, _ []T, _ int, _ []T, _ int, _ []T, _ int, _ []T) bool {
	return false
}

func gemmPackedSize[T Float](_, _ int) int                        { return 0 }
func gemmPack[T Float](_ []T, _ bool, _, _ int, _ []T, _ int)     {}
func gemmFastScratch[T Float](_, _ bool, _, _, _ int) (int, bool) { return 0, false }

func unaryFast[T Float](unary, []T, []T) bool                            { return false }
func binaryFast[T Float](binary, []T, []T, []T) bool                     { return false }
func scalarFast[T Float](scalar, []T, T, []T) bool                       { return false }
func combineFast[T Float]([]T, []T, [][]T) bool                          { return false }
func adamWFast[T Float](_, _, _, _, _ []T, _ *adamW[T]) bool             { return false }
func sumFast[T Float](*lanes, []T) bool                                  { return false }
func dotFast[T Float](*lanes, []T, []T) bool                             { return false }
func columnsFast[T Float](_ *lanes, _ []T, _, _, _, _ int) bool          { return false }
func softmaxFast[T Float](_, _ []T, _, _, _ int, _ T) bool               { return false }
func softmaxGradFast[T Float](_, _, _ []T, _, _, _ int, _ T) bool        { return false }
func logSumExpFast[T Float]([]T) (T, T, bool)                            { return 0, 0, false }
func normalizeFast[T Float](_, _ []T, _, _ int, _ T, _ bool, _ []T) bool { return false }
func normalizeGradFast[T Float](_, _, _ []T, _, _ int, _ T, _ bool) bool { return false }
func gateFast[T Float](gating, []T, []T, []T, []T, []T) bool             { return false }
