//go:build !amd64 && !arm64

package kernels

func best() path { return pathGo }
