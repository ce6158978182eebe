package data

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func writePNG(t *testing.T, path string, img image.Image) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
}

// blot is a picture of one shade with a spot of another in the middle.
func blot(h, w int, paper, ink color.Color) image.Image {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for y := range h {
		for x := range w {
			c := paper
			if y > 0 && y < h-1 && x > 0 && x < w-1 {
				c = ink
			}
			img.Set(x, y, c)
		}
	}
	return img
}

func TestPNGFolderReadsSubfoldersAsClasses(t *testing.T) {
	dir := t.TempDir()
	black, white := color.Gray{0}, color.Gray{255}
	writePNG(t, filepath.Join(dir, "bag", "1.png"), blot(3, 4, black, white))
	writePNG(t, filepath.Join(dir, "bag", "2.PNG"), blot(3, 4, black, color.Gray{51}))
	writePNG(t, filepath.Join(dir, "coat", "a.png"), blot(3, 4, black, white))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "coat", "notes.txt"), []byte("x"), 0o644))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "empty"), 0o755))

	m, fit, err := PNGFolder(dir, FitOptions{})
	require.NoError(t, err)
	require.Equal(t, []int{3, 3, 4, 1, 2}, []int{m.N, m.Height, m.Width, m.Channels, m.Classes})
	require.Equal(t, []int{0, 0, 1}, m.Labels)
	require.Equal(t, []string{"bag", "coat"}, fit.Classes)
	require.Equal(t, []float32{-1, -1, -1, -1, -1, 1, 1, -1, -1, -1, -1, -1}, m.Image(0))
	require.InDelta(t, -0.6, m.Image(1)[5], 1e-6)
	require.Equal(t,
		"3 pictures of 3×4 read as grey, light and dark kept (the border's mean is -1.00), 2 classes: bag, coat, 1 other file ignored",
		fit.String())
}

func TestInkOnPaperIsInvertedUnlessForbidden(t *testing.T) {
	dir := t.TempDir()
	writePNG(t, filepath.Join(dir, "1.png"), blot(3, 3, color.White, color.Black))
	m, fit, err := PNGFolder(dir, FitOptions{})
	require.NoError(t, err)
	require.Nil(t, m.Labels)
	require.Nil(t, fit.Classes)
	require.True(t, fit.Inverted)
	require.Equal(t, []float32{-1, -1, -1, -1, 1, -1, -1, -1, -1}, m.Image(0))
	require.Contains(t, fit.String(), "light and dark exchanged (the border's mean was +1.00), no classes")

	m, fit, err = PNGFolder(dir, FitOptions{Invert: InvertNever})
	require.NoError(t, err)
	require.False(t, fit.Inverted)
	require.Equal(t, float32(1), m.Image(0)[0])

	dark := t.TempDir()
	writePNG(t, filepath.Join(dark, "1.png"), blot(3, 3, color.Black, color.White))
	m, _, err = PNGFolder(dark, FitOptions{Invert: InvertAlways})
	require.NoError(t, err)
	require.Equal(t, float32(1), m.Image(0)[0])
}

func TestColourStaysColourUnlessGreyIsAsked(t *testing.T) {
	dir := t.TempDir()
	red := color.NRGBA{255, 0, 0, 255}
	writePNG(t, filepath.Join(dir, "1.png"), blot(3, 3, color.White, red))
	writePNG(t, filepath.Join(dir, "2.png"), blot(3, 3, color.White, color.Black))
	m, fit, err := PNGFolder(dir, FitOptions{})
	require.NoError(t, err)
	require.Equal(t, 3, m.Channels)
	require.False(t, fit.Inverted, "light colour pictures stay as they are")
	require.Equal(t, []float32{1, -1, -1}, m.Image(0)[12:15])
	m, fit, err = PNGFolder(dir, FitOptions{Channels: 1})
	require.NoError(t, err)
	require.Equal(t, 1, m.Channels)
	require.True(t, fit.Inverted)
	require.InDelta(t, -(2*0.299 - 1), m.Image(0)[4], 1e-6)
}

func TestTransparentPartsLieOnWhite(t *testing.T) {
	dir := t.TempDir()
	writePNG(t, filepath.Join(dir, "1.png"), blot(3, 3, color.Transparent, color.Black))
	writePNG(t, filepath.Join(dir, "2.png"), blot(3, 3, color.White, color.Black))
	m, fit, err := PNGFolder(dir, FitOptions{Invert: InvertNever})
	require.NoError(t, err)
	require.True(t, fit.Transparent)
	require.Equal(t, []float32{1, 1, 1, 1, -1, 1, 1, 1, 1}, m.Image(0))
}

func TestFittingKeepsShapeAndMean(t *testing.T) {
	dir := t.TempDir()
	writePNG(t, filepath.Join(dir, "1.png"), blot(20, 40, color.Black, color.White))
	m, fit, err := PNGFolder(dir, FitOptions{Height: 10, Width: 10})
	require.NoError(t, err)
	require.True(t, fit.Scaled)
	require.Equal(t, []int{10, 10}, []int{m.Height, m.Width})
	// 20×40 fits as 5×10; rows 0, 1 and 7… are the border's shade.
	for _, y := range []int{0, 1, 7, 8, 9} {
		for x := range 10 {
			require.Equal(t, float32(-1), m.Image(0)[y*10+x], "row %d", y)
		}
	}
	require.Equal(t, float32(1), m.Image(0)[4*10+5])
	require.Contains(t, fit.String(), "scaled to 10×10")
}

func TestBorderIsTheOutermostPixels(t *testing.T) {
	dir := t.TempDir()
	img := image.NewGray(image.Rect(0, 0, 3, 4))
	copy(img.Pix, []uint8{255, 255, 255, 0, 255, 0, 255, 255, 0, 0, 0, 0}) // 4 of 10 are white
	writePNG(t, filepath.Join(dir, "1.png"), img)
	_, fit, err := PNGFolder(dir, FitOptions{})
	require.NoError(t, err)
	require.InDelta(t, -0.2, fit.Border, 1e-12)
	m, _, err := PNGFolder(dir, FitOptions{Height: 4, Width: 5})
	require.NoError(t, err)
	require.InDelta(t, -0.2, m.Pixels[0], 1e-6, "beside the picture")
}

// Pictures of several sizes come out as each does alone.
func TestPicturesOfSeveralSizesAreFitted(t *testing.T) {
	all := t.TempDir()
	var want []float32
	for k, size := range [][2]int{{20, 40}, {10, 10}, {7, 5}, {6000, 3}, {1, 5000}} {
		one := t.TempDir()
		img := blot(size[0], size[1], color.Gray{uint8(10 * k)}, color.NRGBA{200, 100, uint8(10 * k), 255})
		writePNG(t, filepath.Join(one, "a.png"), img)
		writePNG(t, filepath.Join(all, fmt.Sprint(k, ".png")), img)
		m, fit, err := PNGFolder(one, FitOptions{Height: 10, Width: 10, Channels: 1})
		require.NoError(t, err)
		require.Equal(t, size != [2]int{10, 10}, fit.Scaled)
		require.Contains(t, fit.String(), fmt.Sprintf("1 picture of %d×%d read", size[0], size[1]))
		want = append(want, m.Pixels...)
	}
	m, fit, err := PNGFolder(all, FitOptions{Height: 10, Width: 10, Channels: 1})
	require.NoError(t, err)
	require.Equal(t, want, m.Pixels)
	require.Equal(t, 5, fit.Sizes)
	require.True(t, fit.Scaled)
	require.Contains(t, fit.String(), "5 pictures of 5 sizes (the first 20×40) read as grey, scaled to 10×10")
}

// Sides do not matter, only what there is to decode.
func TestPicturesOfACameraAreRead(t *testing.T) {
	dir := t.TempDir()
	img := image.NewGray(image.Rect(0, 0, 6000, 4000))
	for i := range img.Pix {
		img.Pix[i] = uint8(255 * (i % 6000 / 3000)) // the right half is white
	}
	writePNG(t, filepath.Join(dir, "1.png"), img)
	m, fit, err := PNGFolder(dir, FitOptions{Height: 4, Width: 6, Invert: InvertNever})
	require.NoError(t, err)
	require.Equal(t, []int{4000, 6000}, []int{fit.FileHeight, fit.FileWidth})
	require.InDeltaSlice(t, []float32{-1, -1, -0.75, 0.75, 1, 1}, m.Pixels[:6], 1e-3, "a triangle's side that hangs over is an eighth")
}

func TestResizeIsExactWhereItMustBe(t *testing.T) {
	ramp := make([]float32, 4*6*3)
	for y := range 4 {
		for x := range 6 {
			for c := range 3 {
				ramp[(y*6+x)*3+c] = float32(y)/8 + float32(x)/16 - float32(c)/4
			}
		}
	}
	rows := func(p []float32, w int) func(int) []float32 {
		return func(y int) []float32 { return p[y*w*3 : (y+1)*w*3] }
	}
	require.Equal(t, ramp, resize(rows(ramp, 6), 4, 6, 4, 6), "the same size changes nothing")
	double := resize(rows(ramp, 6), 4, 6, 8, 12)
	for y := 1; y < 7; y++ {
		for x := 1; x < 11; x++ {
			want := ((float64(y)+0.5)/2-0.5)/8 + ((float64(x)+0.5)/2-0.5)/16
			require.InDelta(t, want, double[(y*12+x)*3], 1e-6, "inside, a ramp stays a ramp")
		}
	}
	flat := make([]float32, 30*30*3)
	for i := range flat {
		flat[i] = 0.25
	}
	for _, v := range resize(rows(flat, 30), 30, 30, 7, 11) {
		require.InDelta(t, 0.25, v, 1e-6)
	}
}

func TestPNGFolderRefusesWithTheFilesName(t *testing.T) {
	one := func(t *testing.T, name string, b []byte) string {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), b, 0o644))
		return dir
	}
	t.Run("nothing there", func(t *testing.T) {
		_, _, err := PNGFolder(one(t, "photo.jpg", []byte("x")), FitOptions{})
		require.ErrorContains(t, err, "hold no file named *.png (1 other files)")
		_, _, err = PNGFolder(filepath.Join(t.TempDir(), "nowhere"), FitOptions{})
		require.ErrorIs(t, err, os.ErrNotExist)
	})
	t.Run("two sizes", func(t *testing.T) {
		dir := t.TempDir()
		writePNG(t, filepath.Join(dir, "1.png"), blot(3, 3, color.White, color.Black))
		writePNG(t, filepath.Join(dir, "2.png"), blot(3, 4, color.White, color.Black))
		_, _, err := PNGFolder(dir, FitOptions{})
		require.ErrorContains(t, err, "2.png is 3×4, but ")
		require.ErrorContains(t, err, "1.png is 3×3")
	})
	t.Run("files beside folders", func(t *testing.T) {
		dir := t.TempDir()
		writePNG(t, filepath.Join(dir, "1.png"), blot(3, 3, color.White, color.Black))
		writePNG(t, filepath.Join(dir, "sub", "2.png"), blot(3, 3, color.White, color.Black))
		_, _, err := PNGFolder(dir, FitOptions{})
		require.ErrorContains(t, err, "(1.png) and so does its subfolder sub")
	})
	t.Run("not a PNG", func(t *testing.T) {
		_, _, err := PNGFolder(one(t, "bad.png", []byte("GIF89a")), FitOptions{})
		require.ErrorContains(t, err, "bad.png: expected a PNG header")
	})
	t.Run("cut off", func(t *testing.T) {
		var b bytes.Buffer
		require.NoError(t, png.Encode(&b, blot(9, 9, color.White, color.Black)))
		_, _, err := PNGFolder(one(t, "cut.png", b.Bytes()[:b.Len()-20]), FitOptions{})
		require.ErrorContains(t, err, "cut.png: expected a whole PNG picture of 9×9")
	})
	t.Run("claims a terabyte", func(t *testing.T) {
		head := binary.BigEndian.AppendUint32([]byte("IHDR"), 1<<19)
		head = binary.BigEndian.AppendUint32(head, 1<<19)
		head = append(head, 8, 6, 0, 0, 0)
		b := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), head...)
		b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(head))
		_, _, err := PNGFolder(one(t, "claim.png", b), FitOptions{})
		require.ErrorContains(t, err, "claim.png announces 524288×524288, 274877 megapixels: at most 100 are read")
	})
	t.Run("options", func(t *testing.T) {
		for _, opt := range []FitOptions{{Height: 3}, {Height: -1, Width: -1}, {Height: 1 << 20, Width: 1 << 20}, {Channels: 2}, {Invert: 9}} {
			_, _, err := PNGFolder(t.TempDir(), opt)
			require.Error(t, err)
			require.NotContains(t, err.Error(), "no file")
		}
	})
}
