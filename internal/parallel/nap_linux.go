package parallel

import "syscall"

// nap gives the processor to whoever wants it, for about a tenth of a millisecond: the kernel adds its timer slack. A sleep
// of Go's would take a whole millisecond of a program that has nothing else to do.
func nap() {
	ts := syscall.Timespec{Nsec: 50_000}
	syscall.Nanosleep(&ts, nil)
}
