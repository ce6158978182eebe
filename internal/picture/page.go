package picture

import (
	"fmt"
	"image"

	xfont "golang.org/x/image/font"
)

// Page puts panels into one picture: in a grid of so many columns, row by row,
// each at the left top of its place.
type Page struct {
	Title   string // larger than the panels' titles
	Note    string // at the foot
	Panels  []Panel
	Columns int // 0 means 1: one below the other
}

// Render draws the page. A nil panel, or none, is an error, as is what the panels refuse.
func (p Page) Render() (*image.RGBA, error) {
	if len(p.Panels) == 0 {
		return nil, fmt.Errorf("picture: page %q has no panels", p.Title)
	}
	across := max(1, p.Columns)
	if p.Columns < 0 {
		return nil, fmt.Errorf("picture: page %q: %d columns", p.Title, p.Columns)
	}
	across = min(across, len(p.Panels))
	rows := (len(p.Panels) + across - 1) / across
	widths, heights := make([]int, across), make([]int, rows)
	parts := make([]*image.RGBA, len(p.Panels))
	for i, panel := range p.Panels {
		if panel == nil {
			return nil, fmt.Errorf("picture: page %q: panel %d is nil", p.Title, i)
		}
		part, err := panel.Render()
		if err != nil {
			return nil, err
		}
		parts[i] = part
		widths[i%across] = max(widths[i%across], part.Bounds().Dx())
		heights[i/across] = max(heights[i/across], part.Bounds().Dy())
	}
	const apart = 32
	body, err := blank(sum(widths)+apart*(across-1), sum(heights)+apart*(rows-1))
	if err != nil {
		return nil, err
	}
	for i, part := range parts {
		x := sum(widths[:i%across]) + apart*(i%across)
		y := sum(heights[:i/across]) + apart*(i/across)
		paste(body, x, y, part)
	}
	f, err := newFaces()
	if err != nil {
		return nil, err
	}
	if f.title, err = sans(1.35*titleSize, xfont.WeightBold); err != nil {
		return nil, err
	}
	return framed(f, p.Title, p.Note, body)
}

func sum(v []int) (total int) {
	for _, n := range v {
		total += n
	}
	return total
}
