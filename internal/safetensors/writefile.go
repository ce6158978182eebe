package safetensors

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile writes a safetensors file at path, whole or not at all: a reader, or a machine that loses power, finds the
// old file or the new one. The new file is made beside it, synced, and renamed. It keeps the permissions of the
// file it replaces; a symbolic link is followed.
//
// Errors: those of [Write], a path that names something other than a regular file, a folder that does not exist or
// cannot be written to, a full disk. On any error nothing is left behind and an existing file is untouched.
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
	temporary, err := os.OpenFile(filepath.Join(folder, ".safetensors-"+rand.Text()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("safetensors: cannot write %s, since folder %s takes no new file: %w", path, folder, err)
	}
	if err := f.replace(path, temporary, old); err != nil {
		// Close fails if the file was closed already, and Remove has nothing else to say; err is what matters.
		_ = temporary.Close()
		return errors.Join(fmt.Errorf("safetensors: %s: %w", path, err), os.Remove(temporary.Name()))
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
	return os.Rename(temporary.Name(), path)
}
