// Command sample draws images from a trained network and writes them as one picture.
//
//	go run ./examples/sample                                        all ten digits, 8 of each, to out/sample/sheet.png
//	go run ./examples/sample -class 3 -n 64 -guidance 3 -steps 8 -solver unipc -out out/threes.png
//	go run ./examples/sample -condition found.safetensors -n 16     a condition that customization found
//	go run ./examples/sample -latent out/customize/latent.safetensors -model testdata/fashion/flow.safetensors
//
// -model takes any file that models.Save wrote. -latent, -condition and -delta take files of models.SaveArtifact. A file of latents that
// has their conditions too is drawn with these, an image a latent; under classes or other conditions, -class or -condition, all of its
// latents are drawn in each row. Knots are at the quantiles of a beta distribution on a flow (ode.Beta), else where the solver has them.
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
