//go:build !amd64

package kernels

func best() path { return pathGo }
