// Command train trains a small image model from a file or a folder of images: a diffusion transformer that samples them
// (a rectified flow), or, with -classifier, a network that tells their classes.
//
//	go run ./examples/train -data testdata/digits/digits.csv.gz -out /tmp/digits
//	go run ./examples/train -data testdata/digits/digits.csv.gz -out /tmp/judge -classifier b
//	go run ./examples/train -data fashion/usr/share/datasets/fashion-mnist -out /tmp/fashion
//	go run ./examples/train -data t10k-images-idx3-ubyte.gz -labels t10k-labels-idx1-ubyte.gz -out /tmp/few
//	go run ./examples/train -data my/pictures -size 16x16 -out /tmp/mine
//
// Fashion-MNIST is not here; on Debian .ci/fashion fashion fetches it and prints the folder. What is written is model.safetensors
// (which models.Load reads), checkpoint.safetensors, losses.csv, loss.png and, for a flow, samples.png. Interrupt it, and -resume
// goes on as if nothing had happened, to the same bits. With -judge, a classifier that was trained on other images, the end is a
// report of how good the samples are.
package main

import (
	"context"
	"os"

	"github.com/ebb-go/ebb/internal/command"
)

func main() {
	command.Main("train", "", func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.Stdout)
	})
}
