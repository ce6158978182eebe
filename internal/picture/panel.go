package picture

import (
	"crypto/rand"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"os"
	"path/filepath"
)

// Panel is something that can be drawn.
type Panel interface {
	// Render draws the panel on white, without a margin around it. It says what is
	// wrong with the panel's fields instead of drawing less than was asked.
	Render() (*image.RGBA, error)
}

const (
	margin = 28 // around the whole picture

	titleSize   = 20.0
	captionSize = 16.0
	noteSize    = 15.0

	// maxArea bounds a picture's pixels: 400 MB in memory.
	maxArea = 100 << 20
)

var (
	white = color.RGBA{255, 255, 255, 255}
	ink   = color.RGBA{28, 28, 30, 255}
	quiet = color.RGBA{92, 92, 98, 255}
	frame = color.RGBA{190, 190, 196, 255}
)

// Write draws the panel, with a margin on all sides, into a PNG file. The file
// appears whole or not at all; one that was there is replaced.
//
// Errors: those of the panel, a folder that is missing or cannot be written to.
func Write(path string, p Panel) error {
	body, err := p.Render()
	if err != nil {
		return err
	}
	size := body.Bounds().Size()
	img, err := blank(size.X+2*margin, size.Y+2*margin)
	if err != nil {
		return err
	}
	paste(img, margin, margin, body)

	folder := filepath.Dir(path)
	f, err := os.OpenFile(filepath.Join(folder, ".picture-"+rand.Text()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return fmt.Errorf("picture: cannot write %s, since folder %s takes no new file: %w", path, folder, err)
	}
	err = png.Encode(f, img)
	if err := errors.Join(err, f.Close()); err != nil {
		return errors.Join(fmt.Errorf("picture: %s: %w", path, err), os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return errors.Join(fmt.Errorf("picture: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// blank is a white image of positive size.
func blank(width, height int) (*image.RGBA, error) {
	if width < 1 || height < 1 || width > maxArea/height {
		return nil, fmt.Errorf("picture: a picture of %d×%d pixels: the area goes from 1 to %d", width, height, maxArea)
	}
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	fill(img, img.Bounds(), white)
	return img, nil
}

func fill(img *image.RGBA, r image.Rectangle, c color.RGBA) {
	draw.Draw(img, r, image.NewUniform(c), image.Point{}, draw.Src)
}

func paste(img *image.RGBA, x, y int, part image.Image) {
	b := part.Bounds()
	draw.Draw(img, image.Rect(x, y, x+b.Dx(), y+b.Dy()), part, b.Min, draw.Src)
}
