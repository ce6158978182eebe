package data

import (
	"encoding/binary"
	"fmt"
	"io"
)

const (
	idxImages = 0x00000803 // unsigned bytes, three dimensions
	idxLabels = 0x00000801 // unsigned bytes, one dimension

	// maxPixels bounds what a header may claim: 1.3 million images of 28×28.
	maxPixels = 1 << 30

	chunk = 1 << 16
)

// IDX reads images, and labels unless that reader is nil, in the IDX format of
// MNIST: unsigned bytes, 0…255 mapped to [−1, 1]. Either stream may be gzip.
// Classes is one more than the largest label.
//
// Errors: anything but the header and exactly the bytes it announces; other
// counts of images and labels; more than 2³⁰ pixels.
func IDX(images, labels io.Reader) (*Images, error) {
	return readIDX("IDX images", images, "IDX labels", labels)
}

// IDXFiles reads the images, and the labels unless that path is empty, as [IDX] does.
func IDXFiles(images, labels string) (m *Images, err error) {
	err = open(images, func(x io.Reader) error {
		if labels == "" {
			m, err = readIDX(images, x, "", nil)
			return err
		}
		return open(labels, func(y io.Reader) error {
			m, err = readIDX(images, x, labels, y)
			return err
		})
	})
	return m, err
}

func readIDX(imagesName string, images io.Reader, labelsName string, labels io.Reader) (*Images, error) {
	x, err := newSource(imagesName, images, chunk)
	if err != nil {
		return nil, err
	}
	dims, err := x.idxHeader(idxImages, "images", 3)
	if err != nil {
		return nil, err
	}
	n, h, w := uint64(dims[0]), uint64(dims[1]), uint64(dims[2])
	if n == 0 || h == 0 || w == 0 || h*w > maxPixels || n > maxPixels/(h*w) {
		return nil, x.fail(nil, "expected 1 to 2³⁰ pixels, but the header announces %d images of %d×%d", n, h, w)
	}
	m := &Images{N: int(n), Height: int(h), Width: int(w), Channels: 1}

	// Labels first: they are few, and a count that disagrees is found before the pixels are read.
	if labels != nil {
		y, err := newSource(labelsName, labels, chunk)
		if err != nil {
			return nil, err
		}
		dims, err := y.idxHeader(idxLabels, "labels", 1)
		if err != nil {
			return nil, err
		}
		if uint64(dims[0]) != n {
			return nil, y.fail(nil, "expected a count of %d labels, one for each image of %s, but the header announces %d", n, imagesName, dims[0])
		}
		err = y.bytes(m.N, "labels", func(part []byte) {
			for _, b := range part {
				m.Labels = append(m.Labels, int(b))
				m.Classes = max(m.Classes, int(b)+1)
			}
		})
		if err != nil {
			return nil, err
		}
	}

	err = x.bytes(int(n*h*w), "pixels", func(part []byte) {
		for _, b := range part {
			m.Pixels = append(m.Pixels, float32(b)/127.5-1)
		}
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

func (s *source) idxHeader(magic uint32, what string, dims int) ([]uint32, error) {
	head := make([]byte, 4+4*dims)
	if err := s.fill(head[:4], fmt.Sprintf("the magic number %#08x of IDX %s", magic, what)); err != nil {
		return nil, err
	}
	if got := binary.BigEndian.Uint32(head); got != magic {
		s.offset = 0
		return nil, s.fail(nil, "expected the magic number %#08x of IDX %s, found %#08x", magic, what, got)
	}
	if err := s.fill(head[4:], fmt.Sprintf("%d sizes of IDX %s", dims, what)); err != nil {
		return nil, err
	}
	sizes := make([]uint32, dims)
	for k := range sizes {
		sizes[k] = binary.BigEndian.Uint32(head[4+4*k:])
	}
	return sizes, nil
}

// bytes hands the next n bytes on in parts, so that memory grows with what is
// there and not with what was announced, and demands the end after them.
func (s *source) bytes(n int, what string, use func(part []byte)) error {
	buf := make([]byte, min(n, chunk))
	for done := 0; done < n; {
		part := buf[:min(n-done, len(buf))]
		if err := s.fill(part, fmt.Sprintf("%d bytes of %s, %d of them from here", n, what, n-done)); err != nil {
			return err
		}
		use(part)
		done += len(part)
	}
	return s.end(fmt.Sprintf("%d bytes of %s", n, what))
}
