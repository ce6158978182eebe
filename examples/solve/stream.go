package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
)

// A job is a line that is being worked on.
type job struct {
	line   []byte
	answer chan []byte // gets one
	failed bool        // to be read after the answer
}

// stream answers the lines of in, on as many workers as there are processors, in order. Answers are written as soon as they are there, so
// that a program can ask, wait and ask again.
func stream(ctx context.Context, in io.Reader, out io.Writer) (failed, lines int, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	workers := runtime.GOMAXPROCS(0)
	jobs, inOrder := make(chan *job), make(chan *job, 64*workers)
	readErr := make(chan error, 1)
	go func() { // blocks in a read of a terminal for as long as it likes, so nobody waits for it
		readErr <- read(ctx, in, jobs, inOrder)
		close(jobs)
		close(inOrder)
	}()
	shared := &plans{}
	for range workers {
		go func() {
			w := &worker{plans: shared}
			defer w.close()
			for j := range jobs {
				var answer []byte
				answer, j.failed = w.answer(ctx, j.line)
				j.answer <- answer
			}
		}()
	}
	w := bufio.NewWriter(out)
	for {
		if len(inOrder) == 0 {
			if err := w.Flush(); err != nil {
				return failed, lines, err
			}
		}
		select {
		case <-ctx.Done():
			return failed, lines, errors.Join(w.Flush(), ctx.Err())
		case j, more := <-inOrder:
			if !more {
				return failed, lines, errors.Join(w.Flush(), <-readErr)
			}
			select {
			case <-ctx.Done():
				return failed, lines, errors.Join(w.Flush(), ctx.Err())
			case answer := <-j.answer:
				lines++
				if j.failed {
					failed++
				}
				if _, err := w.Write(append(answer, '\n')); err != nil {
					return failed, lines, err
				}
			}
		}
	}
}

// read hands out the lines that are not blank.
func read(ctx context.Context, in io.Reader, jobs, inOrder chan<- *job) error {
	r := bufio.NewReaderSize(in, 1<<16)
	for {
		line, err := r.ReadBytes('\n')
		if line = bytes.TrimSpace(line); len(line) > 0 {
			j := &job{line: line, answer: make(chan []byte, 1)}
			for _, to := range []chan<- *job{inOrder, jobs} {
				select {
				case to <- j:
				case <-ctx.Done():
					return nil
				}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading problems: %w", err)
		}
	}
}
