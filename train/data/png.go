package data

import (
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Inversion says whether dark and light are exchanged when pictures are read.
type Inversion int

const (
	// InvertAuto inverts grey pictures whose borders are light on average, such
	// as scanned ink on paper; colour stays as it is.
	InvertAuto   Inversion = iota
	InvertNever            // keeps light and dark as they are
	InvertAlways           // exchanges light and dark
)

// FitOptions says what pictures from elsewhere are made to fit. The zero value
// keeps their size and chooses the rest.
type FitOptions struct {
	// Height and Width, both or neither, are the size wanted, whatever the
	// files' are. A picture is scaled to fit inside, keeping its shape, and the
	// rest is filled with the mean of its border.
	Height, Width int
	// Channels is 1 for grey, 3 for colour; 0 is grey when every picture is grey.
	Channels int
	Invert   Inversion
}

// Fit says what was done to the pictures of a folder.
type Fit struct {
	Files                         int
	Sizes                         int // different ones among the files
	FileHeight, FileWidth         int // of the first file
	Height, Width, Channels       int
	Border                        float64 // mean of the outermost pixels before inversion, in [−1, 1]
	Inverted, Scaled, Transparent bool
	Ignored                       int      // other files, which were not read
	Classes                       []string // names of the subfolders in the order of the labels; nil for a flat folder
}

// String tells it in a sentence, for a log or the screen.
func (f Fit) String() string {
	kind := "grey"
	if f.Channels == 3 {
		kind = "colour"
	}
	var b strings.Builder
	if f.Sizes > 1 {
		fmt.Fprintf(&b, "%d pictures of %d sizes (the first %d×%d) read as %s", f.Files, f.Sizes, f.FileHeight, f.FileWidth, kind)
	} else {
		fmt.Fprintf(&b, "%s of %d×%d read as %s", number(f.Files, "picture", "pictures"), f.FileHeight, f.FileWidth, kind)
	}
	if f.Scaled {
		fmt.Fprintf(&b, ", scaled to %d×%d", f.Height, f.Width)
	}
	if f.Transparent {
		b.WriteString(", transparent parts laid on white")
	}
	if f.Inverted {
		fmt.Fprintf(&b, ", light and dark exchanged (the border's mean was %+.2f)", f.Border)
	} else {
		fmt.Fprintf(&b, ", light and dark kept (the border's mean is %+.2f)", f.Border)
	}
	if f.Classes == nil {
		b.WriteString(", no classes")
	} else {
		fmt.Fprintf(&b, ", %s: %s", number(len(f.Classes), "class", "classes"), strings.Join(f.Classes, ", "))
	}
	if f.Ignored > 0 {
		fmt.Fprintf(&b, ", %s ignored", number(f.Ignored, "other file", "other files"))
	}
	return b.String()
}

func number(n int, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", more)
}

const (
	maxSide = 1 << 12     // of what pictures are fitted to
	maxFile = 100_000_000 // pixels of a file, told from its header: a few bytes can decode to any number
)

// PNGFolder reads the PNG files of a folder, in the order of their names: either
// those in the folder itself, which have no labels, or those in its subfolders,
// a class each. Pictures are grey or colour, of any depth and size; all of one
// size where they keep it. Dark is −1 and light 1 unless inverted. What was done
// to them is the second result; show it to the user.
//
// Errors: no PNG file, files both beside and in subfolders, pictures of two sizes
// (the error names both files) with none to be fitted to, a damaged file, one of
// more than 100 megapixels, more than 2³⁰ values, impossible options.
func PNGFolder(dir string, opt FitOptions) (*Images, Fit, error) {
	if opt.Height < 0 || opt.Width < 0 || (opt.Height == 0) != (opt.Width == 0) || opt.Height > maxSide || opt.Width > maxSide {
		return nil, Fit{}, fmt.Errorf("data: pictures cannot be fitted to %d×%d: give both sides, 1 to %d, or neither to keep the files' size",
			opt.Height, opt.Width, maxSide)
	}
	if opt.Channels != 0 && opt.Channels != 1 && opt.Channels != 3 {
		return nil, Fit{}, fmt.Errorf("data: %d channels: 1 is grey, 3 is colour, 0 chooses", opt.Channels)
	}
	if opt.Invert < InvertAuto || opt.Invert > InvertAlways {
		return nil, Fit{}, fmt.Errorf("data: unknown inversion %d: use InvertAuto, InvertNever or InvertAlways", opt.Invert)
	}
	files, fit, err := listPNG(dir)
	if err != nil {
		return nil, Fit{}, err
	}
	m, err := fit.read(files, opt)
	if err != nil {
		return nil, Fit{}, err
	}
	return m, fit, nil
}

type pngFile struct {
	path  string
	class int
}

// listPNG finds the files and their classes; it fills in Files, Classes and Ignored.
func listPNG(dir string) ([]pngFile, Fit, error) {
	var fit Fit
	folder := func(name string) (pictures, folders []string, err error) {
		entries, err := os.ReadDir(name)
		if err != nil {
			return nil, nil, fmt.Errorf("data: %w", err)
		}
		for _, e := range entries {
			full := filepath.Join(name, e.Name())
			switch {
			case strings.HasPrefix(e.Name(), "."):
			case e.IsDir():
				folders = append(folders, full)
			case strings.EqualFold(filepath.Ext(full), ".png"):
				pictures = append(pictures, full)
			default:
				fit.Ignored++
			}
		}
		return pictures, folders, nil
	}
	flat, folders, err := folder(dir)
	if err != nil {
		return nil, fit, err
	}
	var files []pngFile
	for _, name := range flat {
		files = append(files, pngFile{path: name})
	}
	for _, sub := range folders {
		pictures, _, err := folder(sub)
		if err != nil {
			return nil, fit, err
		}
		if len(pictures) == 0 {
			continue
		}
		if len(flat) > 0 {
			return nil, fit, fmt.Errorf("data: %s holds PNG files (%s) and so does its subfolder %s: use one or the other",
				dir, filepath.Base(flat[0]), filepath.Base(sub))
		}
		for _, name := range pictures {
			files = append(files, pngFile{path: name, class: len(fit.Classes)})
		}
		fit.Classes = append(fit.Classes, filepath.Base(sub))
	}
	if len(files) == 0 {
		return nil, fit, fmt.Errorf("data: %s and its subfolders hold no file named *.png (%d other files)", dir, fit.Ignored)
	}
	fit.Files = len(files)
	return files, fit, nil
}

func (f *Fit) read(files []pngFile, opt FitOptions) (*Images, error) {
	grey := true
	var rgb []float32 // three channels until it is known whether colour occurs
	sizes := map[image.Point]bool{}
	for k, file := range files {
		img, err := decodePNG(file.path)
		if err != nil {
			return nil, err
		}
		size := img.Bounds().Size()
		h, w := size.Y, size.X
		sizes[size] = true
		if k == 0 {
			f.FileHeight, f.FileWidth = h, w
			f.Height, f.Width = h, w
			if opt.Height > 0 {
				f.Height, f.Width = opt.Height, opt.Width
			}
			if f.Height*f.Width > maxPixels/3/len(files) {
				return nil, fmt.Errorf("data: %d pictures of %d×%d are too many to hold: fit them to a smaller size", len(files), f.Height, f.Width)
			}
			rgb = make([]float32, 0, len(files)*f.Height*f.Width*3)
		} else if opt.Height == 0 && len(sizes) > 1 {
			return nil, fmt.Errorf("data: %s is %d×%d, but %s is %d×%d: all must have one size, or be fitted to one",
				file.path, h, w, files[0].path, f.FileHeight, f.FileWidth)
		}
		c := canvas{img: img, row: make([]float32, 3*w), grey: grey, transparent: f.Transparent}
		if h != f.Height || w != f.Width {
			f.Scaled = true
			rgb = append(rgb, fitInside(c.next, h, w, f.Height, f.Width)...)
		} else {
			for y := range h {
				rgb = append(rgb, c.next(y)...)
			}
		}
		grey, f.Transparent = c.grey, c.transparent
	}
	f.Sizes = len(sizes)

	f.Channels = opt.Channels
	if f.Channels == 0 {
		f.Channels = 3
		if grey {
			f.Channels = 1
		}
	}
	m := &Images{Pixels: rgb, N: len(files), Height: f.Height, Width: f.Width, Channels: f.Channels}
	if f.Channels == 1 {
		m.Pixels = make([]float32, len(rgb)/3)
		for i := range m.Pixels {
			r, g, b := rgb[3*i], rgb[3*i+1], rgb[3*i+2]
			if r == g && g == b {
				m.Pixels[i] = r
			} else {
				m.Pixels[i] = 0.299*r + 0.587*g + 0.114*b // luma of ITU-R BT.601
			}
		}
	}
	f.Border = border(m)
	f.Inverted = opt.Invert == InvertAlways || opt.Invert == InvertAuto && f.Channels == 1 && f.Border > 0
	if f.Inverted {
		for i, v := range m.Pixels {
			m.Pixels[i] = -v
		}
	}
	if f.Classes != nil {
		m.Classes = len(f.Classes)
		for _, file := range files {
			m.Labels = append(m.Labels, file.class)
		}
	}
	return m, nil
}

// decodePNG looks at the size before it decodes: a header of a few bytes can claim gigabytes.
func decodePNG(name string) (image.Image, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	defer f.Close()
	config, err := png.DecodeConfig(f)
	if err != nil {
		return nil, fmt.Errorf("data: %s: expected a PNG header: %w", name, err)
	}
	if area := int64(config.Height) * int64(config.Width); area > maxFile {
		return nil, fmt.Errorf("data: %s announces %d×%d, %d megapixels: at most %d are read", name, config.Height, config.Width,
			area/1_000_000, maxFile/1_000_000)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	img, err := png.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("data: %s: expected a whole PNG picture of %d×%d: %w", name, config.Height, config.Width, err)
	}
	return img, nil
}

// A canvas is a picture laid on white, in [−1, 1] and three channels: a row at a
// time, for all of them take many times the room of the file. Decoded pictures
// begin at (0, 0).
type canvas struct {
	img               image.Image
	row               []float32
	grey, transparent bool // all of it, and any of it
}

// next is row y, until the next call.
func (c *canvas) next(y int) []float32 {
	for x := range len(c.row) / 3 {
		r, g, b, a := c.img.At(x, y).RGBA()
		c.grey = c.grey && r == g && g == b
		c.transparent = c.transparent || a != 0xffff
		for k, v := range [3]uint32{r, g, b} {
			c.row[3*x+k] = float32(v+0xffff-a)/32767.5 - 1
		}
	}
	return c.row
}

// border is the mean of all images' outermost pixels.
func border(m *Images) float64 {
	sum, count := 0.0, 0
	for i := range m.N {
		var r ring
		for y := range m.Height {
			r.add(m.Image(i)[y*m.Width*m.Channels:(y+1)*m.Width*m.Channels], m.Channels, y == 0 || y == m.Height-1)
		}
		for _, v := range r.sum {
			sum += v
		}
		count += r.n * m.Channels
	}
	return sum / float64(count)
}
