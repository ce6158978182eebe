package data

import "fmt"

// Images is a set of images of one size.
type Images struct {
	// Pixels holds N × Height × Width × Channels values in [−1, 1], row-major.
	Pixels                     []float32
	N, Height, Width, Channels int
	// Labels holds one class in [0, Classes) an image; nil when there are none.
	Labels  []int
	Classes int
}

// Len is the number of images.
func (m *Images) Len() int { return m.N }

// Size is the number of values an image has: Height × Width × Channels.
func (m *Images) Size() int { return m.Height * m.Width * m.Channels }

// Image is the i-th image, Height × Width × Channels row-major: a view of Pixels,
// not a copy. Like a slice index, an i outside [0, Len) panics.
func (m *Images) Image(i int) []float32 {
	size := m.Size()
	return m.Pixels[i*size : (i+1)*size : (i+1)*size]
}

// Select copies the images at the given indices, in that order; an index may
// repeat. Classes stays what it was. An index outside [0, Len) is an error.
func (m *Images) Select(indices []int) (*Images, error) {
	size := m.Size()
	out := &Images{
		Pixels: make([]float32, len(indices)*size),
		N:      len(indices), Height: m.Height, Width: m.Width, Channels: m.Channels,
		Classes: m.Classes,
	}
	if err := Gather(out.Pixels, m, indices); err != nil {
		return nil, err
	}
	if m.Labels != nil {
		out.Labels = make([]int, len(indices))
		for k, i := range indices {
			out.Labels[k] = m.Labels[i]
		}
	}
	return out, nil
}

// Gather copies the images at the given indices into dst, which holds
// len(indices) × Size values: how a batch reaches a network's input without an
// allocation. A dst of another length or an index outside [0, Len) is an error.
func Gather[T float32 | float64](dst []T, m *Images, indices []int) error {
	size := m.Size()
	if len(dst) != len(indices)*size {
		return fmt.Errorf("data: %d images of %d values need a destination of %d values, not %d",
			len(indices), size, len(indices)*size, len(dst))
	}
	for k, i := range indices {
		if i < 0 || i >= m.N {
			return fmt.Errorf("data: index %d (position %d) is outside the %d images", i, k, m.N)
		}
		row := dst[k*size : (k+1)*size]
		for p, v := range m.Image(i) {
			row[p] = T(v)
		}
	}
	return nil
}

// check refuses a hand-made Images whose parts do not fit together.
func (m *Images) check() error {
	if m.N < 0 || m.Height < 1 || m.Width < 1 || m.Channels < 1 {
		return fmt.Errorf("data: %d images of %d×%d×%d: sizes must be positive", m.N, m.Height, m.Width, m.Channels)
	}
	if len(m.Pixels) != m.N*m.Size() {
		return fmt.Errorf("data: %d images of %d×%d×%d need %d pixels, there are %d",
			m.N, m.Height, m.Width, m.Channels, m.N*m.Size(), len(m.Pixels))
	}
	if m.Labels == nil {
		return nil
	}
	if len(m.Labels) != m.N {
		return fmt.Errorf("data: %d labels for %d images", len(m.Labels), m.N)
	}
	for i, c := range m.Labels {
		if c < 0 || c >= m.Classes {
			return fmt.Errorf("data: label %d of image %d is outside [0, %d)", c, i, m.Classes)
		}
	}
	return nil
}
