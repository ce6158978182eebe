package kernels_test

import (
	"os"
	"syscall"
	"testing"
	"unsafe"

	"github.com/ebb-go/ebb/internal/kernels"
	"github.com/stretchr/testify/require"
)

// guarded returns n elements that end right before, or begin right after, a page that faults when touched.
func guarded[T kernels.Float](t testing.TB, n int, atEnd bool) []T {
	t.Helper()
	var zero T
	page, size := os.Getpagesize(), n*int(unsafe.Sizeof(zero))
	room := (size + page - 1) / page * page
	mem, err := syscall.Mmap(-1, 0, room+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { _ = syscall.Munmap(mem) })
	require.NoError(t, syscall.Mprotect(mem[:page], syscall.PROT_NONE))
	require.NoError(t, syscall.Mprotect(mem[page+room:], syscall.PROT_NONE))
	if n == 0 {
		return nil
	}
	at := page
	if atEnd {
		at += room - size
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[at])), n)
}
