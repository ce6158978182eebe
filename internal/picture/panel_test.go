package picture

import (
	"errors"
	"image"
	"image/color"
	"image/png"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// inked is the smallest rectangle inside r that holds everything not white.
func inked(img image.Image, r image.Rectangle) image.Rectangle {
	var out image.Rectangle
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			if color.RGBAModel.Convert(img.At(x, y)) != white {
				out = out.Union(image.Rect(x, y, x+1, y+1))
			}
		}
	}
	return out
}

func tiles(n, size int) [][]float32 {
	out := make([][]float32, n)
	for i := range out {
		out[i] = make([]float32, size)
		for k := range out[i] {
			out[i][k] = float32(2*((i+k)%3))/2 - 1
		}
	}
	return out
}

func render(t *testing.T, p Panel) *image.RGBA {
	t.Helper()
	img, err := p.Render()
	require.NoError(t, err)
	return img
}

func TestWriteMakesTheSameFileWithEvenMargins(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "sheet.png")
	s := Sheet{Tiles: tiles(6, 16), Height: 4, Width: 4, Across: 3}
	require.NoError(t, os.WriteFile(path, []byte("old"), 0o644))
	require.NoError(t, Write(path, s))
	first, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, Write(path, s))
	second, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, first, second)

	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	img, err := png.Decode(f)
	require.NoError(t, err)
	// Without captions the frames of the tiles touch the margin on the left and top; the text
	// width that a sheet reserves is not there without text.
	require.Equal(t, img.Bounds().Inset(margin), inked(img, img.Bounds()))

	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1, "no temporary file stays")
}

func TestWriteSaysWhichFolderTakesNoFile(t *testing.T) {
	s := Sheet{Tiles: tiles(1, 16), Height: 4, Width: 4}
	missing := filepath.Join(t.TempDir(), "missing", "a.png")
	err := Write(missing, s)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "since folder "+filepath.Dir(missing)+" takes no new file")

	dir := t.TempDir()
	require.Error(t, Write(dir, s), "a folder is not replaced")
	taken := filepath.Join(dir, "folder.png")
	require.NoError(t, os.Mkdir(taken, 0o755))
	require.Error(t, Write(taken, s))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1, "a failed write leaves nothing behind")

	locked := filepath.Join(dir, "locked")
	require.NoError(t, os.Mkdir(locked, 0o555))
	if err := Write(filepath.Join(locked, "a.png"), s); err != nil { // root may write anywhere
		require.ErrorIs(t, err, fs.ErrPermission)
		require.ErrorContains(t, err, "since folder "+locked+" takes no new file")
	}
	require.ErrorContains(t, Write(filepath.Join(dir, "a.png"), Sheet{}), "has no tiles")
}

type broken struct{}

func (broken) Render() (*image.RGBA, error) { return nil, errors.New("broken panel") }

func TestPagePlacesPanelsInAGrid(t *testing.T) {
	small := Sheet{Tiles: tiles(1, 16), Height: 4, Width: 4, Scale: 10}
	large := Sheet{Tiles: tiles(4, 16), Height: 4, Width: 4, Scale: 10}
	a, b := render(t, small), render(t, large)
	page := render(t, Page{Panels: []Panel{small, large, large}, Columns: 2})
	w, h := b.Bounds().Dx(), b.Bounds().Dy()
	require.Equal(t, image.Pt(2*w+32, 2*h+32), page.Bounds().Size(), "columns and rows are as large as their largest panel")
	for _, c := range []struct {
		part *image.RGBA
		x, y int
	}{{a, 0, 0}, {b, w + 32, 0}, {b, 0, h + 32}} {
		at := c.part.Bounds().Add(image.Pt(c.x, c.y))
		for y := range at.Dy() {
			for x := range at.Dx() {
				require.Equal(t, c.part.RGBAAt(x, y), page.RGBAAt(c.x+x, c.y+y))
			}
		}
	}
	require.True(t, inked(page, image.Rect(w+32, h+32, 2*w+32, 2*h+32)).Empty(), "the last place is empty")

	titled := render(t, Page{Title: "A title", Note: "A note", Panels: []Panel{large}})
	require.Greater(t, titled.Bounds().Dy(), h+2*noteSize)

	for message, p := range map[string]Page{
		"has no panels":  {},
		"panel 1 is nil": {Panels: []Panel{small, nil}},
		"broken panel":   {Panels: []Panel{broken{}}},
		"-1 columns":     {Panels: []Panel{small}, Columns: -1},
	} {
		_, err := p.Render()
		require.ErrorContains(t, err, message)
	}
}
