//go:build !linux

package kernels_test

import (
	"testing"

	"github.com/ebb-go/ebb/internal/kernels"
)

func guarded[T kernels.Float](_ testing.TB, n int, _ bool) []T { return make([]T, n) }
