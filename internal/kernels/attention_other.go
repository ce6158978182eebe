//go:build !amd64

package kernels

func attentionFastScratch[T Float](Heads) (int, bool)                  { return 0, false }
func attentionFast[T Float](_ Heads, _, _ []T, _ T, _ []T) bool        { return false }
func attentionGradFast[T Float](_ Heads, _, _, _ []T, _ T, _ []T) bool { return false }
