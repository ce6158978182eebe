// Command sample draws images from a trained network and writes them as one picture.
//
//	go run ./examples/sample                                        all ten digits, 8 of each, to sheet.png
//	go run ./examples/sample -class 3 -n 64 -guidance 3 -steps 8 -solver unipc -out threes.png
//	go run ./examples/sample -condition found.safetensors -n 16     a condition that customization found
//
// -model takes any file that models.Save wrote. -latent, -condition and -delta take files of models.SaveArtifact.
// How good the images are is what examples/quality measures.
package main

import (
	"context"
	"os"

	"github.com/ebb-go/ebb/internal/command"
)

func main() {
	command.Main("sample", "; nothing was written", func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	})
}
