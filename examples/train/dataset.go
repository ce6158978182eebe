package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/ebb-go/ebb/internal/command"
	"github.com/ebb-go/ebb/train/data"
)

// dataset is what is trained on and what is held out.
type dataset struct {
	train, held *data.Images
}

// source is what the flags name: images, those that come apart as a test set if any do, and how the images are cut.
type source struct {
	images, test *data.Images
	cut          func(*data.Images) (data.Parts, error)
}

// load reads the images that the flags name and takes the part that the network may see.
func load(o options, out io.Writer) (dataset, error) {
	from, err := read(o, out)
	if err != nil {
		return dataset{}, err
	}
	parts, err := from.cut(from.images)
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
	all, set := from.images, dataset{held: from.test}
	if set.train, err = all.Select(use); err != nil {
		return dataset{}, err
	}
	if set.held == nil {
		if set.held, err = all.Select(parts.Held); err != nil {
			return dataset{}, err
		}
	}
	fmt.Fprintf(out, "%d images of %d×%d, %d channels, %d classes: %d to train on, %d held out\n",
		all.N, all.Height, all.Width, all.Channels, all.Classes, set.train.N, set.held.N)
	return set, nil
}

// random holds out -held images, or a fifth.
func (o options) random(all *data.Images) (data.Parts, error) {
	held := o.held
	if held == 0 {
		held = all.N / 5
	}
	if held >= all.N {
		return data.Parts{}, misuse("-held is %d of %d images; some must be left to train on", held, all.N)
	}
	return all.Partition(o.seed, held)
}

func read(o options, out io.Writer) (source, error) {
	info, err := os.Stat(o.data)
	if err != nil {
		return source{}, fmt.Errorf("-data: %w", err)
	}
	var height, width int
	if o.size != "" {
		if n, err := fmt.Sscanf(o.size, "%dx%d", &height, &width); n != 2 || err != nil || height < 1 || width < 1 || fmt.Sprintf("%dx%d", height, width) != o.size {
			return source{}, misuse("-size is %q; height and width are written as 8x8", o.size)
		}
	}
	csv := strings.HasSuffix(strings.TrimSuffix(o.data, ".gz"), ".csv")
	if o.labels != "" && (csv || info.IsDir()) {
		return source{}, misuse("-labels is for IDX files alone; CSV files have labels in their lines, folders in their names")
	}
	switch {
	case info.IsDir():
		from, err := readMNIST(o, out)
		if !errors.Is(err, fs.ErrNotExist) {
			return from, err
		}
		return readPictures(o, height, width, out)
	case csv:
		return readCSV(o, height, width)
	}
	if err := o.refuse("an IDX file", "size", "white"); err != nil {
		return source{}, err
	}
	m, err := data.IDXFiles(o.data, o.labels)
	return source{images: m, cut: o.random}, err
}

// readPictures reads a folder of PNG files.
func readPictures(o options, height, width int, out io.Writer) (source, error) {
	if err := o.refuse("PNG files", "white"); err != nil {
		return source{}, err
	}
	m, fit, err := data.PNGFolder(o.data, data.FitOptions{Height: height, Width: width})
	switch {
	case err == nil:
		fmt.Fprintln(out, fit)
	case !hasPictures(o.data):
		err = fmt.Errorf("-data %s has no PNG files, nor is it %s", o.data, command.Fashion)
	}
	return source{images: m, cut: o.random}, err
}

// hasPictures says whether a folder, or one in it, has PNG files.
func hasPictures(dir string) bool {
	for _, pattern := range []string{"*", "*/*"} {
		names, _ := fs.Glob(os.DirFS(dir), pattern)
		if slices.ContainsFunc(names, func(name string) bool { return strings.EqualFold(path.Ext(name), ".png") }) {
			return true
		}
	}
	return false
}

// readCSV reads the digits, or another file, of images of the given size.
func readCSV(o options, height, width int) (source, error) {
	m, err := data.Digits(o.data)
	if err == nil {
		return source{images: m, cut: data.DigitsParts}, o.refuse("the UCI digits, which are 8×8 and have their fixed 360 held out", "size", "white", "held")
	}
	if o.size == "" {
		return source{}, misuse("-size is missing: a CSV file does not tell height and width; and it is not the UCI digits: %w", err)
	}
	m, err = data.CSVFile(o.data, height, width, o.white)
	return source{images: m, cut: o.random}, err
}

// readMNIST reads a folder of four IDX files, whose test images are those held out.
func readMNIST(o options, out io.Writer) (source, error) {
	fashion := true
	train, test, err := data.Fashion(o.data)
	if err != nil {
		fashion = false
		train, test, err = data.IDXFolder(o.data)
	}
	if err == nil {
		err = o.refuse("a folder of IDX files, whose test images are held out", "size", "white", "held")
	}
	if err != nil {
		return source{}, err
	}
	if fashion {
		fmt.Fprintln(out, "Fashion-MNIST, by the sums of its files")
		return source{train, test, data.FashionParts}, nil
	}
	return source{train, test, func(m *data.Images) (data.Parts, error) { return m.Partition(o.seed, 0) }}, nil
}
