package safetensors

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
)

// WriteFile writes a safetensors file at path, whole or not at all: a reader, or a machine that loses power, finds the
// old file or the new one. The new file is made beside it, synced, and renamed. It keeps the permissions of the
// file it replaces; a symbolic link is followed.
//
// Errors: those of [Write], a path that names something other than a regular file, a folder that does not exist or
// cannot be written to, a full disk. On any error nothing is left behind and an existing file is untouched, except that a folder
// that cannot be synced has the new file already. A process that is killed may leave a file: see [RemoveUnfinished].
func WriteFile(path string, metadata map[string]string, tensors []Tensor) error {
	f, err := layout(metadata, tensors)
	if err != nil {
		return fmt.Errorf("safetensors: %s: %w", path, err)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	var old fs.FileInfo
	if stat, err := os.Stat(path); err == nil {
		if !stat.Mode().IsRegular() {
			return fmt.Errorf("safetensors: %s is not a regular file and will not be replaced; use Write to write to a device or pipe", path)
		}
		old = stat
	}
	folder := filepath.Dir(path)
	temporary, err := os.OpenFile(filepath.Join(folder, unfinished(path)+rand.Text()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("safetensors: cannot write %s, since folder %s takes no new file: %w", path, folder, err)
	}
	if err := f.replace(path, temporary, old); err != nil {
		// Close fails if the file was closed already, and err is what matters.
		_ = temporary.Close()
		if e := os.Remove(temporary.Name()); !errors.Is(e, fs.ErrNotExist) { // it may be in its place
			err = errors.Join(err, e)
		}
		return fmt.Errorf("safetensors: %s: %w", path, err)
	}
	return nil
}

// replace fills the temporary file and puts it in the place of path, where old, nil if none, stood.
func (f written) replace(path string, temporary *os.File, old fs.FileInfo) error {
	if err := f.write(temporary); err != nil {
		return err
	}
	if old != nil {
		if err := temporary.Chmod(old.Mode().Perm()); err != nil {
			return err
		}
	}
	if err := temporary.Sync(); err != nil {
		return err
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	if err := os.Rename(temporary.Name(), path); err != nil {
		return err
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("syncing the folder: %w", err)
	}
	return nil
}

// syncFolder makes a rename last, where folders can be synced.
func syncFolder(path string) (err error) {
	if runtime.GOOS == "windows" || runtime.GOOS == "plan9" {
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	if err := d.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}

// unfinished is how the names of files begin that are to become the file at path; 26 letters and digits follow.
func unfinished(path string) string { return "." + filepath.Base(path) + "-" }

var random = regexp.MustCompile(`^[A-Z2-7]{26}$`)

// RemoveUnfinished removes what [WriteFile] calls for this path have left because their process was killed. No other process may be
// writing to the path.
func RemoveUnfinished(path string) error {
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	files, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	for _, f := range files {
		if rest, ours := strings.CutPrefix(f.Name(), unfinished(path)); ours && random.MatchString(rest) && f.Type().IsRegular() {
			if err := os.Remove(filepath.Join(filepath.Dir(path), f.Name())); err != nil {
				return fmt.Errorf("safetensors: %w", err)
			}
		}
	}
	return nil
}
