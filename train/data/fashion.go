package data

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The files of an MNIST-like folder, training images first. Each may end in .gz.
var idxNames = [4]string{"train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}

// fashionSHA256 are the sums of the compressed files of Fashion-MNIST: training
// images and labels, test images and labels.
var fashionSHA256 = [4]string{
	"b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7",
	"0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056",
	"cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa",
	"8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05",
}

// FashionClasses names the ten classes of Fashion-MNIST.
func FashionClasses() []string {
	return []string{"t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"}
}

// IDXFolder reads a folder in which MNIST and the sets made after it come: the
// files train-images-idx3-ubyte, train-labels-idx1-ubyte and the same with t10k,
// plain or with .gz. A folder without the first is [fs.ErrNotExist].
func IDXFolder(dir string) (train, test *Images, err error) {
	paths, err := idxPaths(dir)
	if err != nil {
		return nil, nil, err
	}
	if train, err = IDXFiles(paths[0], paths[1]); err != nil {
		return nil, nil, err
	}
	if test, err = IDXFiles(paths[2], paths[3]); err != nil {
		return nil, nil, err
	}
	if train.Height != test.Height || train.Width != test.Width {
		return nil, nil, fmt.Errorf("data: %s: training images are %d×%d, test images %d×%d", dir, train.Height, train.Width, test.Height, test.Width)
	}
	train.Classes = max(train.Classes, test.Classes)
	test.Classes = train.Classes
	return train, test, nil
}

func idxPaths(dir string) (paths [4]string, err error) {
	for i, name := range idxNames {
		path := filepath.Join(dir, name)
		for _, p := range []string{path + ".gz", path} {
			if _, err := os.Stat(p); err == nil {
				paths[i] = p
				break
			} else if !errors.Is(err, fs.ErrNotExist) {
				return paths, fmt.Errorf("data: %w", err)
			}
		}
		if paths[i] == "" && i == 0 {
			return paths, fmt.Errorf("data: %s[.gz]: %w", path, fs.ErrNotExist)
		}
		if paths[i] == "" {
			return paths, fmt.Errorf("data: %s[.gz] is missing; a folder of IDX files has %v", path, idxNames)
		}
	}
	return paths, nil
}

// Fashion reads Fashion-MNIST from a folder of its four compressed files: 60 000
// training and 10 000 test images of 28×28, in ten classes ([FashionClasses]).
// Files with other sums are an error; [IDXFolder] reads those.
//
// On Debian the folder is made by
//
//	apt-get download dataset-fashion-mnist && dpkg-deb -x dataset-fashion-mnist_*.deb fashion
//
// below fashion/usr/share/datasets/fashion-mnist.
//
// Source: Xiao, Rasul and Vollgraf, 2017, arXiv 1708.07747; MIT licence.
func Fashion(dir string) (train, test *Images, err error) {
	paths, err := idxPaths(dir)
	if err != nil {
		return nil, nil, err
	}
	for i, p := range paths {
		if err := VerifySHA256(p, fashionSHA256[i]); err != nil {
			return nil, nil, err
		}
	}
	return IDXFolder(dir)
}

const fashionSeed = 2017 // the year the images were published; any number would do

// FashionParts is the one split of the training images of Fashion-MNIST that
// every figure in this project refers to: two halves of 30 000, and none held
// out, because there are test images. Other images are an error.
func FashionParts(train *Images) (Parts, error) {
	if train.N != 60_000 || train.Size() != 784 || train.Classes != 10 {
		return Parts{}, fmt.Errorf("data: %d images of %d values in %d classes are not the 60000 of 784 in 10: use Partition",
			train.N, train.Size(), train.Classes)
	}
	return train.Partition(fashionSeed, 0)
}
