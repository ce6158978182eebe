package data

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// FormatError says what is wrong with a file, and where.
type FormatError struct {
	File    string // as given, or what the reader was given as
	Offset  int64  // byte in the data, after decompression when Gzip is set
	Gzip    bool
	Problem string // what was expected there, and what was found
	Err     error  // the cause, when reading itself failed
}

// Error implements error.
func (e *FormatError) Error() string {
	unit := "byte"
	if e.Gzip {
		unit = "decompressed byte"
	}
	msg := fmt.Sprintf("data: %s: at %s %d: %s", e.File, unit, e.Offset, e.Problem)
	if e.Err != nil {
		msg += ": " + e.Err.Error()
	}
	return msg
}

// Unwrap is the cause, when reading itself failed.
func (e *FormatError) Unwrap() error { return e.Err }

// source reads a plain or gzip stream and knows where it is.
type source struct {
	name   string
	r      *bufio.Reader
	offset int64
	gzip   bool
}

func newSource(name string, r io.Reader, buffer int) (*source, error) {
	s := &source{name: name, r: bufio.NewReaderSize(r, buffer)}
	head, err := s.r.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, s.fail(err, "expected data")
	}
	if !bytes.Equal(head, []byte{0x1f, 0x8b}) {
		return s, nil
	}
	z, err := gzip.NewReader(s.r)
	if err != nil {
		return nil, s.fail(err, "expected a gzip header")
	}
	s.gzip = true
	s.r = bufio.NewReaderSize(z, buffer)
	return s, nil
}

func (s *source) fail(cause error, format string, args ...any) error {
	return &FormatError{File: s.name, Offset: s.offset, Gzip: s.gzip, Problem: fmt.Sprintf(format, args...), Err: cause}
}

// fill reads all of p, which is the next len(p) bytes of what is described.
func (s *source) fill(p []byte, what string) error {
	n, err := io.ReadFull(s.r, p)
	s.offset += int64(n)
	switch {
	case err == nil:
		return nil
	case n < len(p) && (err == io.EOF || err == io.ErrUnexpectedEOF):
		return s.fail(nil, "expected %s, but the data end %d bytes short", what, len(p)-n)
	default:
		return s.fail(err, "expected %s", what)
	}
}

// end demands that nothing follows; a gzip stream checks its sum here.
func (s *source) end(after string) error {
	_, err := s.r.ReadByte()
	switch err {
	case io.EOF:
		return nil
	case nil:
		return s.fail(nil, "expected the end after %s, but more data follow", after)
	default:
		return s.fail(err, "expected the end after %s", after)
	}
}

// open calls read with the file's content.
func open(path string, read func(io.Reader) error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	return read(f)
}

// VerifySHA256 compares a file's SHA-256 sum with the 64 hexadecimal digits
// given, in either case.
func VerifySHA256(path, want string) error {
	if sum, err := hex.DecodeString(want); err != nil || len(sum) != sha256.Size {
		return fmt.Errorf("data: %q is not a SHA-256 sum: give 64 hexadecimal digits", want)
	}
	return open(path, func(r io.Reader) error {
		h := sha256.New()
		if _, err := io.Copy(h, r); err != nil {
			return fmt.Errorf("data: %s: %w", path, err)
		}
		if got := hex.EncodeToString(h.Sum(nil)); !strings.EqualFold(got, want) {
			return fmt.Errorf("data: %s has SHA-256 %s, expected %s: the file is damaged or another one", path, got, strings.ToLower(want))
		}
		return nil
	})
}
