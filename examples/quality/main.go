// Command quality answers: how good are the samples of a flow, by how many evaluations of the network, at which guidance, with which solver?
//
//	go run ./examples/quality                                             the digits: 4, 10, 20, 50 evaluations, guidance 1, 2, 3
//	go run ./examples/quality -evaluations 20 -guidance 1 -solver midpoint,ab2,ab3,dpmpp,unipc
//	go run ./examples/quality -evaluations 5 -solver ab2 -shift 1,1.5,2,3
//	go run ./examples/quality -data fashion/usr/share/datasets/fashion-mnist -samples 10000 -json out/report.json -sheet out/sheet.png
//
// -data is testdata/digits, or a folder of Fashion-MNIST's four files, which .ci/fashion fetches on Debian (data.Fashion says from where). A classifier that the network was
// not trained with is the judge. Each line is compared with real images that were held out:
//
//	Fréchet   distance between what the judge sees in samples and in all held-out images; 0 is best
//	agrees    how often the judge sees the class that was asked for, and the class in which it does least often
//	coverage  share of held-out images with a sample among their 5 nearest, by what the judge sees; falls when kinds are missing
//	density   how many samples are that near, over 5; falls when samples lie where no images are
//	nearest   distance to the nearest training image by pixels, over that of held-out images; well below 1, training images are repeated
//
// Above them stands what the same measures say of real images, as they are, with noise and blurred. The training images are the floor for
// samples: like them they are others than the held-out images, and have a distance from being few. Guidance other than 1 makes two predictions an
// evaluation. Everything but the seconds is a function of the flags.
package main

import (
	"context"
	"os"

	"github.com/ebb-go/ebb/internal/command"
)

func main() {
	command.Main("quality", "; what was measured until then stands above", func(ctx context.Context) error {
		return run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	})
}
