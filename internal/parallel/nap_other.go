//go:build !linux

package parallel

import "runtime"

func nap() { runtime.Gosched() }
