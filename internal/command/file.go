package command

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Writable says before the work whether a file can be written after it.
func Writable(path string) error {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return fmt.Errorf("%s is a folder; give the name of a file", path)
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".writable-*")
	if inner := new(fs.PathError); errors.As(err, &inner) { // which names the probe
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
