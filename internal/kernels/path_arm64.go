package kernels

import "golang.org/x/sys/cpu"

// Every system of this kind that Go runs on has ASIMD: only the environment takes it away.
func best() path {
	if cpu.ARM64.HasASIMD {
		return pathNEON
	}
	return pathGo
}
