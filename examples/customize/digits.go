package main

import (
	"fmt"
	"path/filepath"

	"github.com/ebb-go/ebb/train/customize"
	"github.com/ebb-go/ebb/train/data"
)

const digitsFile = "digits.csv.gz"

// openDigits makes the small subject: it takes seconds, and tests are made of it.
func openDigits(dir string) (*subject, error) {
	all, err := data.Digits(filepath.Join(dir, digitsFile))
	if err != nil {
		return nil, err
	}
	parts, err := data.DigitsParts(all)
	if err != nil {
		return nil, err
	}
	s := &subject{
		things: "digits", scale: 8, asked: -1,
		// A digit into one that shares strokes with it.
		edit:    edit{pairs: [][2]int{{3, 8}, {9, 4}, {1, 7}, {5, 6}, {7, 9}, {4, 9}, {6, 8}, {8, 3}}, each: 3, runs: 60, inside: 8, margin: 4, staying: 5, rate: 0.03},
		concept: concept{class: 1, name: "ones on a foot", trait: "a foot", has: foot, shown: 12, batch: 48, runs: 120, inside: 6, rate: 0.05, apart: 1, test: 200},
		bold:    bold{ink: customize.Ink{Threshold: 0, Width: 0.2}, batch: 20, runs: 50, inside: 12, rate: 2e-4, pull: 200, keep: 0.1, last: 100, test: 400},
		audit:   audit{samples: 100, runs: 10, inside: 8, radius: 0.3, rate: 0.1},
	}
	for c := range all.Classes {
		s.classes = append(s.classes, fmt.Sprint(c))
	}
	if s.held, err = all.Select(parts.Held); err != nil {
		return nil, err
	}
	if s.train, err = all.Select(parts.Train); err != nil {
		return nil, err
	}
	s.pictures, err = s.train.Select(s.concept.among(s.train))
	return s, err
}

// footWidth inked pixels of one of the two lowest rows make a foot. 13 % of the ones have it.
const footWidth = 5

// foot is a fixed rule for images of 8×8: at least footWidth inked pixels (above half) in one of the two lowest rows.
func foot(x []float64) bool {
	for row := 6; row < 8; row++ {
		inked := 0
		for _, v := range x[row*8 : (row+1)*8] {
			if v > 0 {
				inked++
			}
		}
		if inked >= footWidth {
			return true
		}
	}
	return false
}
