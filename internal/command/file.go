package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Writable says before the work whether a file can be written after it. Its folder is made if need be.
func Writable(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder; give the name of a file", path)
	}
	var probe *os.File
	err := os.MkdirAll(filepath.Dir(path), 0o777)
	if err == nil {
		probe, err = os.CreateTemp(filepath.Dir(path), ".writable-*")
	}
	if inner := new(fs.PathError); errors.As(err, &inner) { // which names the probe or a folder
		err = inner.Err
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// Missing adds to an error of reading a file that is not there where the default of its flag is found, unless the flag was given.
func Missing(err error, flag string, given bool) error {
	if given || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return fmt.Errorf("%w (the default of -%s is found from the top folder of ebb; elsewhere give -%s)", err, flag, flag)
}

// PNG refuses the name of a picture that does not end as those of PNG files do.
func PNG(flag, path string) error {
	if strings.EqualFold(filepath.Ext(path), ".png") {
		return nil
	}
	return Usage(fmt.Errorf("-%s is %q; pictures are PNG files, so give a name that ends in .png", flag, path))
}

// Fashion tells users of a flag that takes such a folder what it is, and how to get one.
const Fashion = "a folder of four IDX files (train-images-idx3-ubyte and so on), such as that of Fashion-MNIST, which .ci/fashion DIR fetches on Debian and prints"
