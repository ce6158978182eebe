package picture

import (
	"fmt"
	"image"
	"image/color"
	"math"
)

// Sheet is a grid of small images, each pixel drawn as a square of its own.
type Sheet struct {
	Title string // above the grid, wrapped
	Note  string // below it, smaller and wrapped

	// Tiles are the images row by row, each Height × Width × Channels row-major. A
	// nil tile leaves its place empty. [Tiles] cuts a batch into tiles.
	Tiles         [][]float32
	Height, Width int
	Channels      int // 1 grey, 3 colour; 0 means 1

	// Across is the number of columns; 0 means that of Columns, or a grid about square.
	Across int
	// Columns are captions above the columns, Rows left of the rows, Captions
	// below the tiles; each as many as there are, or none. They may have several lines.
	Columns, Rows, Captions []string

	// Scale is how many pixels wide a square is; 0 makes tiles of about 72 pixels.
	Scale int
	// Range holds the values drawn black and white; the zero value means −1 and 1.
	// Range {1, −1} draws ink dark on light. What lies outside is cut off; what is
	// not a number is drawn in magenta.
	Range [2]float64
}

// Tiles cuts values into images of the given size (height × width × channels).
// Values left over are dropped; a size below 1 gives none.
func Tiles[T float32 | float64](values []T, size int) [][]float32 {
	if size < 1 {
		return nil
	}
	tiles := make([][]float32, len(values)/size)
	for i := range tiles {
		tiles[i] = make([]float32, size)
		for k, v := range values[i*size : (i+1)*size] {
			tiles[i][k] = float32(v)
		}
	}
	return tiles
}

// resolved fills in what was left to choose, or says what is wrong.
func (s Sheet) resolved() (Sheet, error) {
	n := len(s.Tiles)
	if n == 0 {
		return s, fmt.Errorf("picture: sheet %q has no tiles", s.Title)
	}
	if s.Channels == 0 {
		s.Channels = 1
	}
	if s.Height < 1 || s.Width < 1 || s.Height > 1<<12 || s.Width > 1<<12 || s.Channels != 1 && s.Channels != 3 {
		return s, fmt.Errorf("picture: sheet %q: tiles of %d×%d×%d: sides go from 1 to 4096, channels are 1 or 3", s.Title, s.Height, s.Width, s.Channels)
	}
	for i, t := range s.Tiles {
		if t != nil && len(t) != s.Height*s.Width*s.Channels {
			return s, fmt.Errorf("picture: sheet %q: tile %d has %d values, %d×%d×%d need %d",
				s.Title, i, len(t), s.Height, s.Width, s.Channels, s.Height*s.Width*s.Channels)
		}
	}
	if s.Across == 0 {
		s.Across = len(s.Columns)
	}
	if s.Across == 0 && len(s.Rows) > 0 {
		s.Across = (n + len(s.Rows) - 1) / len(s.Rows)
	}
	if s.Across == 0 {
		s.Across = int(math.Ceil(math.Sqrt(float64(n))))
	}
	if s.Across < 1 {
		return s, fmt.Errorf("picture: sheet %q: %d columns", s.Title, s.Across)
	}
	for _, c := range []struct {
		name       string
		have, need int
	}{
		{"column captions", len(s.Columns), s.Across},
		{"row captions", len(s.Rows), s.down()},
		{"tile captions", len(s.Captions), n},
	} {
		if c.have != 0 && c.have != c.need {
			return s, fmt.Errorf("picture: sheet %q: %d %s for %d places", s.Title, c.have, c.name, c.need)
		}
	}
	if s.Scale == 0 {
		s.Scale = max(1, 72/max(s.Height, s.Width))
	}
	if s.Scale < 1 || s.Scale > 1<<10 {
		return s, fmt.Errorf("picture: sheet %q: scale %d: it goes from 1 to 1024", s.Title, s.Scale)
	}
	if s.Range == [2]float64{} {
		s.Range = [2]float64{-1, 1}
	}
	if width := s.Range[1] - s.Range[0]; width == 0 || math.IsNaN(width) || math.IsInf(width, 0) {
		return s, fmt.Errorf("picture: sheet %q: range %v: two different finite values are needed", s.Title, s.Range)
	}
	return s, nil
}

func (s Sheet) down() int { return (len(s.Tiles) + s.Across - 1) / s.Across }

// Render draws the sheet.
//
// Errors: no tiles, a tile of another length than the sizes say, captions of
// another number than places, an impossible scale or range.
func (s Sheet) Render() (*image.RGBA, error) {
	s, err := s.resolved()
	if err != nil {
		return nil, err
	}
	f, err := newFaces()
	if err != nil {
		return nil, err
	}
	const gap, rowGap = 6, 12                               // between tiles, and between row captions and tiles
	tile := image.Pt(s.Width*s.Scale+2, s.Height*s.Scale+2) // with its frame

	columnWidth, head := largest(f.caption, s.Columns)
	labelWidth, foot := largest(f.note, s.Captions)
	side, _ := largest(f.caption, s.Rows)
	pitch := image.Pt(tile.X+gap, tile.Y+gap)
	if w := max(columnWidth, labelWidth); w > tile.X {
		pitch.X = w + 2*gap
	}
	if head > 0 {
		head += gap / 2
	}
	if foot > 0 {
		pitch.Y += foot + gap
	}
	if side > 0 {
		side += rowGap
	}
	inset := (pitch.X - gap - tile.X) / 2 // of a tile in its column
	if pitch.X*s.Across > maxArea || pitch.Y*s.down() > maxArea {
		return nil, fmt.Errorf("picture: sheet %q: %d×%d tiles of %d×%d pixels are too many", s.Title, s.down(), s.Across, tile.Y, tile.X)
	}
	img, err := blank(side+pitch.X*s.Across-gap, head+pitch.Y*s.down()-gap)
	if err != nil {
		return nil, err
	}

	for c, text := range s.Columns {
		_, h := f.caption.size(text)
		f.caption.draw(img, side+c*pitch.X, head-gap/2-h, pitch.X-gap, centre, text, ink)
	}
	for r, text := range s.Rows {
		_, h := f.caption.size(text)
		f.caption.draw(img, 0, head+r*pitch.Y+(tile.Y-h)/2, side-rowGap, right, text, ink)
	}
	for i, values := range s.Tiles {
		x, y := side+i%s.Across*pitch.X, head+i/s.Across*pitch.Y
		if s.Captions != nil {
			f.note.draw(img, x, y+tile.Y+gap/2, pitch.X-gap, centre, s.Captions[i], ink)
		}
		if values == nil {
			continue
		}
		fill(img, image.Rect(x+inset, y, x+inset+tile.X, y+tile.Y), frame)
		s.paint(img, x+inset+1, y+1, values)
	}
	return framed(f, s.Title, s.Note, img)
}

// largest is the size of the widest and of the highest of some texts.
func largest(t typeface, texts []string) (width, height int) {
	for _, text := range texts {
		w, h := t.size(text)
		width, height = max(width, w), max(height, h)
	}
	return width, height
}

func (s Sheet) paint(img *image.RGBA, x, y int, values []float32) {
	for p := range s.Height * s.Width {
		v := values[p*s.Channels : (p+1)*s.Channels]
		c := color.RGBA{A: 255}
		if r, ok := s.shade(v[0]); s.Channels == 1 {
			c.R, c.G, c.B = r, r, r
			if !ok {
				c = color.RGBA{255, 0, 255, 255}
			}
		} else {
			g, okG := s.shade(v[1])
			b, okB := s.shade(v[2])
			c.R, c.G, c.B = r, g, b
			if !ok || !okG || !okB {
				c = color.RGBA{255, 0, 255, 255}
			}
		}
		left, top := x+p%s.Width*s.Scale, y+p/s.Width*s.Scale
		fill(img, image.Rect(left, top, left+s.Scale, top+s.Scale), c)
	}
}

func (s Sheet) shade(v float32) (shade uint8, ok bool) {
	at := (float64(v) - s.Range[0]) / (s.Range[1] - s.Range[0])
	if math.IsNaN(at) {
		return 0, false
	}
	return uint8(math.Round(255 * min(1, max(0, at)))), true
}
