package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// profile prints where the time of a key goes: how long the first call takes, which compiles, and then, op by op, as many calls as
// fit into o.least.
func profile(ctx context.Context, key string, o options, out io.Writer) error {
	e := find(key)
	j, err := e.open(o.threads, e.batch)
	if err != nil {
		return err
	}
	defer j.close()
	began := time.Now()
	if err := j.do(ctx); err != nil {
		return err
	}
	first := time.Since(began)
	if err := j.cell.Watch(true); err != nil {
		return err
	}
	calls := 0
	for began = time.Now(); calls == 0 || time.Since(began) < o.least; calls++ {
		if err := j.do(ctx); err != nil {
			return err
		}
	}
	p := j.cell.Profile()
	if _, err := fmt.Fprintf(out, "%s: %s\n%d calls of %.3g ms, the first with compilation %.3g ms\n",
		key, work(key), calls, p.Wall.Seconds()*1e3/float64(calls), first.Seconds()*1e3); err != nil {
		return err
	}
	return p.Write(out)
}

// watchable are the keys that evaluate a network.
func watchable() []string {
	var names []string
	for _, e := range table() {
		if e.network {
			names = append(names, e.key)
		}
	}
	return names
}
