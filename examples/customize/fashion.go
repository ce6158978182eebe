package main

import (
	"fmt"
	"path/filepath"

	"github.com/ebb-go/ebb/train/customize"
	"github.com/ebb-go/ebb/train/data"
)

// The images of the fashion folder: 64 test images and their labels, and the pictures of the concept.
const (
	testImages, testLabels = "test-images-idx3-ubyte.gz", "test-labels-idx1-ubyte.gz"
	bagImages, bagLabels   = "bag-images-idx3-ubyte.gz", "bag-labels-idx1-ubyte.gz"
)

// fashion is what is asked of Fashion-MNIST.
func fashion() *subject {
	return &subject{
		things: "garments", classes: data.FashionClasses(), scale: 3, asked: -1,
		edit:    edit{pairs: [][2]int{{7, 9}, {0, 3}, {2, 4}, {9, 7}, {1, 3}, {4, 2}, {5, 7}, {3, 0}}, each: 3, runs: 25, inside: 8, margin: 2, staying: 10, rate: 0.03},
		concept: concept{class: 8, name: "bags with a handle", trait: "a handle", has: handle, shown: 8, batch: 16, runs: 60, inside: 4, rate: 0.05, apart: 0.75, reach: 0.3, test: 200},
		bold:    bold{ink: customize.Ink{Threshold: -0.4, Width: 0.1}, batch: 16, runs: 50, inside: 4, rate: 6e-5, pull: 200, keep: 0.5, last: 75, test: 200},
		audit:   audit{samples: 40, runs: 20, inside: 5, radius: 0.1, rate: 0.05},
	}
}

// openFashion makes the subject of what ships: the networks and few of the images.
func openFashion(dir string) (*subject, error) {
	s := fashion()
	var err error
	if s.held, err = data.IDXFiles(filepath.Join(dir, testImages), filepath.Join(dir, testLabels)); err != nil {
		return nil, err
	}
	if s.pictures, err = data.IDXFiles(filepath.Join(dir, bagImages), filepath.Join(dir, bagLabels)); err != nil {
		return nil, err
	}
	if s.held.Size() != 784 || s.pictures.Size() != 784 {
		return nil, fmt.Errorf("%s holds images of %d and %d values; they are of 28×28", dir, s.held.Size(), s.pictures.Size())
	}
	s.held.Classes, s.pictures.Classes = len(s.classes), len(s.classes)
	return s, nil
}

// handle is a fixed rule for bags of 28×28: something in the top two rows, little below it, and a body that is filled. 38 %
// of the bags have one.
func handle(x []float64) bool {
	const ink = 2*0.12 - 1
	covered := func(top, bottom, left, right int) float64 {
		n := 0
		for row := top; row <= bottom; row++ {
			for _, v := range x[row*28+left : row*28+right+1] {
				if v > ink {
					n++
				}
			}
		}
		return float64(n) / float64((bottom-top+1)*(right-left+1))
	}
	return covered(0, 1, 0, 27) > 0 && covered(3, 8, 9, 19) < 0.6 && covered(14, 24, 6, 22) > 0.9
}
