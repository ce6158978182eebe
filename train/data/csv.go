package data

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const (
	// A CSV file announces no count, so what it may expand to has its own,
	// smaller bound: the 60 000 images of MNIST are a third of it.
	maxCSVPixels = 1 << 27

	maxLabel = 1<<16 - 1
)

// CSV reads one image a line: height × width whole numbers 0…white in row-major
// order, then the label, all between commas. 0 maps to −1 and white to 1. There
// is no heading line; the stream may be gzip. Classes is one more than the
// largest label.
//
// Errors: a line with more or fewer numbers, a number outside its range (labels
// go to 65535), no line at all, more than 2²⁷ pixels.
func CSV(r io.Reader, height, width, white int) (*Images, error) {
	return readCSV("CSV", r, height, width, white)
}

// CSVFile reads a file as [CSV] does.
func CSVFile(path string, height, width, white int) (m *Images, err error) {
	err = open(path, func(r io.Reader) error {
		m, err = readCSV(path, r, height, width, white)
		return err
	})
	return m, err
}

func readCSV(name string, r io.Reader, height, width, white int) (*Images, error) {
	if height < 1 || width < 1 || white < 1 || height > 1<<12 || width > 1<<12 {
		return nil, fmt.Errorf("data: CSV images of %d×%d with values 0…%d: sizes go from 1 to 4096, the largest value is at least 1",
			height, width, white)
	}
	m := &Images{Height: height, Width: width, Channels: 1, Labels: []int{}}
	// Room for a number, its comma and a space or two; a longer line is no image.
	s, err := newSource(name, r, max(chunk, 24*(height*width+1)))
	if err != nil {
		return nil, err
	}
	for line := 1; ; line++ {
		text, err := s.r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, s.fail(nil, "line %d: expected %d numbers, but no line end within %d bytes", line, height*width+1, len(text))
		}
		if err != nil && err != io.EOF {
			return nil, s.fail(err, "line %d", line)
		}
		if len(bytes.TrimSpace(text)) > 0 {
			if len(m.Pixels) > maxCSVPixels-height*width {
				return nil, s.fail(nil, "line %d: expected the end: a CSV file may hold 2²⁷ pixels", line)
			}
			if err := s.csvLine(m, text, line, white); err != nil {
				return nil, err
			}
		}
		s.offset += int64(len(text))
		if err == io.EOF {
			break
		}
	}
	if m.N == 0 {
		return nil, s.fail(nil, "expected at least one line of %d numbers", height*width+1)
	}
	return m, nil
}

func (s *source) csvLine(m *Images, text []byte, line, white int) error {
	start := s.offset
	defer func() { s.offset = start }()
	size := m.Size()
	for k := range size + 1 {
		field, rest, more := bytes.Cut(text, []byte{','})
		if more != (k < size) {
			if more {
				return s.fail(nil, "line %d: expected %d numbers, there are more", line, size+1)
			}
			return s.fail(nil, "line %d: expected %d numbers, found %d", line, size+1, k+1)
		}
		limit, what := white, "pixel"
		if k == size {
			limit, what = maxLabel, "label"
		}
		trimmed := bytes.TrimSpace(field)
		v, err := strconv.Atoi(string(trimmed))
		if err != nil || v < 0 || v > limit {
			return s.fail(nil, "line %d, number %d: expected a %s 0…%d, found %.20q", line, k+1, what, limit, trimmed)
		}
		if k == size {
			m.Labels = append(m.Labels, v)
			m.Classes = max(m.Classes, v+1)
		} else {
			m.Pixels = append(m.Pixels, float32(2*float64(v)/float64(white)-1))
		}
		s.offset += int64(len(field)) + 1
		text = rest
	}
	m.N++
	return nil
}
