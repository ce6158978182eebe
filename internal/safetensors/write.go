package safetensors

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// Tensor is a tensor to be written: its values, row-major, in one of Float32 and Float64, converted to Dtype on the way.
type Tensor struct {
	Name    string
	Dtype   Dtype // F64, F32, BF16 or F16
	Shape   []int // outermost first; empty for a scalar
	Float32 []float32
	Float64 []float64
}

// Write writes a safetensors file. Values are rounded to the nearest number of the tensor's dtype, ties to even, and
// NaN stays NaN. Equal arguments give equal bytes, whatever the order of tensors and of the map.
//
// Errors, all found before the first byte is written: names that are not unique, not UTF-8 or reserved; a dtype that
// cannot be written; a shape that does not agree with the number of values; a finite value that would become
// infinite. After these, only what w returns.
func Write(w io.Writer, metadata map[string]string, tensors []Tensor) error {
	f, err := layout(metadata, tensors)
	if err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	if err := f.write(w); err != nil {
		return fmt.Errorf("safetensors: %w", err)
	}
	return nil
}

// written is a file ready to be written: tensors in the order of their data.
type written struct {
	header  []byte
	tensors []Tensor
}

func layout(metadata map[string]string, tensors []Tensor) (written, error) {
	for k, v := range metadata {
		if !utf8.ValidString(k) || !utf8.ValidString(v) {
			return written{}, fmt.Errorf("metadata %.100q: %.100q is not valid UTF-8", k, v)
		}
	}
	names := make(map[string]struct{}, len(tensors))
	for _, t := range tensors {
		if _, ok := names[t.Name]; ok {
			return written{}, fmt.Errorf("two tensors are named %.100q", t.Name)
		}
		names[t.Name] = struct{}{}
		if err := t.check(); err != nil {
			return written{}, fmt.Errorf("tensor %.100q: %w", t.Name, err)
		}
	}
	f := written{tensors: slices.Clone(tensors)}
	slices.SortFunc(f.tensors, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(a.Dtype.rank(), b.Dtype.rank()), cmp.Compare(a.Name, b.Name))
	})
	var err error
	f.header, err = formatHeader(metadata, f.tensors)
	return f, err
}

func (t *Tensor) check() error {
	if t.Name == metadataKey {
		return errors.New("the name is reserved by the format")
	}
	if !utf8.ValidString(t.Name) {
		return errors.New("the name is not valid UTF-8")
	}
	if t.Dtype.rank() == 0 {
		return fmt.Errorf("dtype %.40q cannot be written; %s can", t.Dtype, writable)
	}
	if len(t.Float32) > 0 && len(t.Float64) > 0 {
		return errors.New("both Float32 and Float64 are given; give one")
	}
	n, err := count(t.Shape)
	if err != nil {
		return err
	}
	if given := t.len(); given != n {
		return fmt.Errorf("shape %v has %d elements, but %d values are given", t.Shape, n, given)
	}
	return cmp.Or(checkRange(t.Float32, t.Dtype), checkRange(t.Float64, t.Dtype))
}

// len is the number of values; at most one slice holds any.
func (t *Tensor) len() int { return len(t.Float32) + len(t.Float64) }

// formatHeader writes the header of tensors that follow each other in this order, with its length before it, padded so
// that the data begins at a multiple of eight.
func formatHeader(metadata map[string]string, tensors []Tensor) ([]byte, error) {
	b := make([]byte, prefixLength)
	separator := byte('{')
	key := func(k string) {
		b = append(b, separator)
		b = append(appendJSON(b, k), ':')
		separator = ','
	}
	if len(metadata) > 0 {
		key(metadataKey)
		separator = '{'
		for _, k := range slices.Sorted(maps.Keys(metadata)) {
			key(k)
			b = appendJSON(b, metadata[k])
		}
		b = append(b, '}')
	}
	var end int64
	for _, t := range tensors {
		begin := end
		end += int64(t.len()) * int64(t.Dtype.width())
		key(t.Name)
		b = append(b, `{"dtype":"`+string(t.Dtype)+`","shape":[`...)
		for i, d := range t.Shape {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, int64(d), 10)
		}
		b = append(b, `],"data_offsets":[`...)
		b = strconv.AppendInt(b, begin, 10)
		b = append(b, ',')
		b = strconv.AppendInt(b, end, 10)
		b = append(b, "]}"...)
	}
	if separator == '{' {
		b = append(b, '{')
	}
	b = append(b, '}')
	for len(b)%8 != 0 {
		b = append(b, ' ')
	}
	length := len(b) - prefixLength
	if length > maxHeaderLength {
		return nil, fmt.Errorf("the header would take %d bytes, more than the format's limit of %d", length, maxHeaderLength)
	}
	binary.LittleEndian.PutUint64(b, uint64(length))
	return b, nil
}

// appendJSON appends s as a JSON string, leaving <, > and & as they are.
func appendJSON(b []byte, s string) []byte {
	var quoted bytes.Buffer
	encoder := json.NewEncoder(&quoted)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		panic("safetensors: a string did not encode: " + err.Error())
	}
	return append(b, bytes.TrimSuffix(quoted.Bytes(), []byte("\n"))...)
}

func (f written) write(w io.Writer) error {
	out := bufio.NewWriterSize(w, chunk)
	if _, err := out.Write(f.header); err != nil {
		return fmt.Errorf("writing the header: %w", err)
	}
	buffer := make([]byte, chunk)
	for _, t := range f.tensors {
		err := writeValues(out, t.Float32, t.Dtype, buffer)
		if err == nil {
			err = writeValues(out, t.Float64, t.Dtype, buffer)
		}
		if err != nil {
			return fmt.Errorf("writing tensor %.100q: %w", t.Name, err)
		}
	}
	return out.Flush()
}

func writeValues[S float32 | float64](w io.Writer, values []S, d Dtype, buffer []byte) error {
	width := d.width()
	for part := range slices.Chunk(values, len(buffer)/width) {
		raw := buffer[:len(part)*width]
		encode(raw, part, d)
		if _, err := w.Write(raw); err != nil {
			return err
		}
	}
	return nil
}
