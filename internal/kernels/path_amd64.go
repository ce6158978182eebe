package kernels

import "golang.org/x/sys/cpu"

// The generated code has the number of this path in it.
var _ [2]struct{} = [pathAVX512]struct{}{}

func best() path {
	switch x := &cpu.X86; {
	case x.HasAVX512F && x.HasAVX512DQ && x.HasAVX512BW && x.HasAVX512VL && x.HasFMA && x.HasBMI2:
		return pathAVX512
	case x.HasAVX2 && x.HasFMA:
		return pathAVX2
	}
	return pathGo
}
