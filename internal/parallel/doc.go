// Package parallel hands small pieces of work to a few workers that stay awake.
//
// A goroutine that is parked takes tens of microseconds to start on another core, which is as long as a whole layer of a
// small network. The workers of a [Pool] therefore spin for about a millisecond after a job, or for as long as the pool
// is held, and take the next one within a fraction of a microsecond; after that they park and cost nothing. Who waits for
// longer than is usual naps between looks, so that other programs on a crowded machine do not starve this one's workers.
package parallel
