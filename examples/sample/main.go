// Command sample draws images from a trained network and writes them as one picture, or measures how good they are.
//
//	go run ./examples/sample                                        all ten digits, 8 of each, to sheet.png
//	go run ./examples/sample -class 3 -n 64 -guidance 3 -steps 8 -solver unipc -out threes.png
//	go run ./examples/sample -condition found.safetensors -n 16     a condition that customization found
//	go run ./examples/sample -evaluate -json report.json            2000 samples against held-out images and a judge
//
// -model takes any file that models.Save wrote. -latent, -condition and -delta take files of models.SaveArtifact.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second interrupt does not wait
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(os.Stderr, "sample: interrupted; nothing was written")
		os.Exit(130)
	}
	fmt.Fprintln(os.Stderr, "sample:", err)
	if errors.As(err, new(usageError)) {
		fmt.Fprintln(os.Stderr, "-h lists the flags")
		os.Exit(2)
	}
	os.Exit(1)
}
