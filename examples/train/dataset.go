package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ebb-go/ebb/train/data"
)

// dataset is what is trained on and what is held out.
type dataset struct {
	train, held *data.Images
	digits      bool
}

// load reads the images that the flags name and takes the part that the network may see.
func load(o options, out io.Writer) (dataset, error) {
	all, digits, err := read(o, out)
	if err != nil {
		return dataset{}, err
	}
	var parts data.Parts
	if digits {
		parts, err = data.DigitsParts(all)
	} else {
		if o.held == 0 {
			o.held = all.N / 5
		}
		if o.held >= all.N {
			return dataset{}, fmt.Errorf("train: -held is %d of %d images; some must be left to train on", o.held, all.N)
		}
		parts, err = all.Partition(o.seed, o.held)
	}
	if err != nil {
		return dataset{}, err
	}
	use := parts.Train
	switch o.classifier {
	case "a":
		use = parts.A
	case "b":
		use = parts.B
	}
	set := dataset{digits: digits}
	if set.train, err = all.Select(use); err != nil {
		return dataset{}, err
	}
	if set.held, err = all.Select(parts.Held); err != nil {
		return dataset{}, err
	}
	fmt.Fprintf(out, "%d images of %d×%d, %d channels, %d classes: %d to train on, %d held out\n",
		all.N, all.Height, all.Width, all.Channels, all.Classes, set.train.N, set.held.N)
	return set, nil
}

func read(o options, out io.Writer) (m *data.Images, digits bool, err error) {
	info, err := os.Stat(o.data)
	if err != nil {
		return nil, false, fmt.Errorf("train: -data: %w", err)
	}
	var height, width int
	if o.size != "" {
		if n, err := fmt.Sscanf(o.size, "%dx%d", &height, &width); n != 2 || err != nil || height < 1 || width < 1 || fmt.Sprintf("%dx%d", height, width) != o.size {
			return nil, false, fmt.Errorf("train: -size is %q; height and width are written as 8x8", o.size)
		}
	}
	csv := strings.HasSuffix(strings.TrimSuffix(o.data, ".gz"), ".csv")
	if o.labels != "" && (csv || info.IsDir()) {
		return nil, false, errors.New("train: -labels is for IDX files alone; CSV files have labels in their lines, folders in their names")
	}
	switch {
	case info.IsDir():
		m, fit, err := data.PNGFolder(o.data, data.FitOptions{Height: height, Width: width})
		if err == nil {
			fmt.Fprintln(out, fit)
		}
		return m, false, err
	case !csv:
		m, err := data.IDXFiles(o.data, o.labels)
		return m, false, err
	}
	if m, err := data.Digits(o.data); err == nil {
		return m, true, nil
	} else if o.size == "" {
		return nil, false, fmt.Errorf("train: -size is missing: a CSV file does not tell height and width; and it is not the UCI digits: %w", err)
	}
	m, err = data.CSVFile(o.data, height, width, o.white)
	return m, false, err
}
