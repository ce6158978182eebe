package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// chunk is how many bytes are converted at a time; a multiple of every element size.
const chunk = 1 << 16

// Info describes a tensor.
type Info struct {
	Dtype Dtype
	Shape []int // outermost first; empty for a scalar
	Bytes int64 // size in the file
}

// Len is the number of elements: the product of the shape, 1 for a scalar. It never exceeds eight times Bytes.
func (i Info) Len() int {
	n := 1
	for _, d := range i.Shape {
		n *= d
	}
	return n
}

// File is an open safetensors file, of which the header has been read and checked. It is safe for concurrent use.
type File struct {
	source   io.ReaderAt
	closer   io.Closer
	data     int64 // where the tensors' bytes begin
	entries  map[string]entry
	names    []string
	metadata map[string]string
}

// Open opens the file at path, reading its header. The caller closes it.
//
// Errors: whatever the system says of path, and everything [NewReader] refuses.
func Open(path string) (*File, error) {
	opened, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	f, err := openFile(opened)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("safetensors: %s: %w", path, err), opened.Close())
	}
	f.closer = opened
	return f, nil
}

func openFile(opened *os.File) (*File, error) {
	stat, err := opened.Stat()
	if err != nil {
		return nil, err
	}
	if !stat.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	return newFile(opened, stat.Size())
}

// NewReader reads the header of a file of the given size from r, which must stay usable as long as the File is.
//
// Errors: a header that is longer than the file or than 100 MB, is no JSON object of the format's form, or repeats a
// key; a shape that overflows, has more than 64 dimensions, or does not agree with the dtype and the offsets; tensors
// that overlap, lie outside the file or leave bytes to no tensor. An unknown dtype is an error only when that tensor is read.
func NewReader(r io.ReaderAt, size int64) (*File, error) {
	f, err := newFile(r, size)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	return f, nil
}

func newFile(r io.ReaderAt, size int64) (*File, error) {
	if size < prefixLength {
		return nil, fmt.Errorf("truncated file: %d bytes cannot hold the %d of the header length", size, prefixLength)
	}
	var prefix [prefixLength]byte
	if err := readAt(r, prefix[:], 0); err != nil {
		return nil, fmt.Errorf("reading the header length: %w", err)
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	if length > maxHeaderLength {
		return nil, fmt.Errorf("not a safetensors file: header length %d exceeds the format's limit of %d bytes", length, maxHeaderLength)
	}
	if length > uint64(size-prefixLength) {
		return nil, fmt.Errorf("truncated, or not a safetensors file: header length %d exceeds the %d bytes that follow it", length, size-prefixLength)
	}
	text := make([]byte, length)
	if err := readAt(r, text, prefixLength); err != nil {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	data := prefixLength + int64(length)
	h, err := parseHeader(text, size-data)
	if err != nil {
		return nil, err
	}
	f := &File{source: r, data: data, metadata: h.metadata, entries: make(map[string]entry, len(h.entries))}
	for _, e := range h.entries {
		f.entries[e.name] = e
	}
	f.names = slices.Sorted(maps.Keys(f.entries))
	return f, nil
}

// Names lists the tensors, sorted.
func (f *File) Names() []string { return slices.Clone(f.names) }

// Info describes the named tensor, if the file has it.
func (f *File) Info(name string) (info Info, ok bool) {
	e, ok := f.entries[name]
	e.Shape = slices.Clone(e.Shape)
	return e.Info, ok
}

// Metadata is the text the writer left beside the tensors, nil if none.
func (f *File) Metadata() map[string]string { return maps.Clone(f.metadata) }

// Close closes the file that [Open] opened; a File from [NewReader] has nothing to close.
func (f *File) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

// Read converts the named tensor into dst, which must have exactly its number of elements ([Info.Len]), in row-major
// order. F64 read as float32 is rounded to nearest; every other conversion is exact.
//
// Errors: a name the file does not have, a dst of the wrong length, a dtype that is no number of up to 64 bits, an
// integer that T does not hold exactly, a finite F64 beyond float32, a failed read. What dst holds is then undefined.
func Read[T float32 | float64](f *File, name string, dst []T) error {
	e, ok := f.entries[name]
	if !ok {
		return fmt.Errorf("safetensors: no tensor %.100q among the file's %d; Names lists them", name, len(f.names))
	}
	if err := read(f, e, dst); err != nil {
		return fmt.Errorf("safetensors: tensor %.100q: %w", name, err)
	}
	return nil
}

func read[T float32 | float64](f *File, e entry, dst []T) error {
	width := e.Dtype.width()
	if width == 0 {
		return fmt.Errorf("dtype %.40q cannot be read; %s can", e.Dtype, readable)
	}
	if len(dst) != e.Len() {
		return fmt.Errorf("shape %v has %d elements, dst has %d", e.Shape, e.Len(), len(dst))
	}
	buffer := make([]byte, min(e.Bytes, chunk))
	for done := 0; done < len(dst); {
		n := min(len(dst)-done, len(buffer)/width)
		raw := buffer[:n*width]
		if err := readAt(f.source, raw, f.data+e.begin+int64(done)*int64(width)); err != nil {
			return err
		}
		if at, err := decode(dst[done:done+n], raw, e.Dtype); err != nil {
			return fmt.Errorf("element %d: %w", done+at, err)
		}
		done += n
	}
	return nil
}

// readAt fills b from r; a reader may say io.EOF beside a full b.
func readAt(r io.ReaderAt, b []byte, offset int64) error {
	n, err := r.ReadAt(b, offset)
	switch {
	case n == len(b):
		return nil
	case err == nil || err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("%d of %d bytes at byte %d: %w", n, len(b), offset, err)
}
