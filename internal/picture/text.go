package picture

import (
	"fmt"
	"image"
	"image/color"
	"strings"

	xfont "golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/font/liberation"
)

// typeface measures and draws text of one size. It is not safe for concurrent use.
type typeface struct {
	outlines       *opentype.Font
	face           xfont.Face
	ascent, height int // of a line, in pixels
}

// sans is the sans-serif face of so many pixels.
func sans(pixels float64, weight xfont.Weight) (typeface, error) {
	parsed := font.NewCache(liberation.Collection()).Lookup(font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight}, 0)
	face, err := opentype.NewFace(parsed.Face, &opentype.FaceOptions{Size: pixels, DPI: 72, Hinting: xfont.HintingNone})
	if err != nil {
		return typeface{}, fmt.Errorf("picture: font: %w", err)
	}
	m := face.Metrics()
	return typeface{outlines: parsed.Face, face: face, ascent: m.Ascent.Ceil(), height: (m.Ascent + m.Descent).Ceil() + int(pixels/8)}, nil
}

// faces are those a panel needs.
type faces struct{ title, caption, note typeface }

func newFaces() (f faces, err error) {
	if f.title, err = sans(titleSize, xfont.WeightBold); err != nil {
		return f, err
	}
	if f.caption, err = sans(captionSize, xfont.WeightNormal); err != nil {
		return f, err
	}
	f.note, err = sans(noteSize, xfont.WeightNormal)
	return f, err
}

func (t typeface) width(line string) int { return xfont.MeasureString(t.face, t.shown(line)).Ceil() }

// shown puts a box in the place of signs the font does not have, which would
// otherwise vanish: 10⁻⁵ without its minus is another number.
func (t typeface) shown(text string) string {
	var buffer sfnt.Buffer
	return strings.Map(func(r rune) rune {
		if glyph, err := t.outlines.GlyphIndex(&buffer, r); r != '\n' && (err != nil || glyph == 0) {
			return '□'
		}
		return r
	}, text)
}

// size is that of text whose lines are separated by line ends; nothing has size 0.
func (t typeface) size(text string) (width, height int) {
	if text == "" {
		return 0, 0
	}
	lines := strings.Split(text, "\n")
	for _, line := range lines {
		width = max(width, t.width(line))
	}
	return width, t.height * len(lines)
}

// wrap breaks text at spaces so that its lines fit the width; a longer word keeps its line.
func (t typeface) wrap(text string, width int) string {
	var out []string
	for _, paragraph := range strings.Split(text, "\n") {
		line := ""
		for _, word := range strings.Fields(paragraph) {
			switch longer := line + " " + word; {
			case line == "":
				line = word
			case t.width(longer) <= width:
				line = longer
			default:
				out = append(out, line)
				line = word
			}
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// align says where a line stands in the width given to it.
type align int

const (
	left align = iota
	centre
	right
)

// draw writes lines from the top left corner (x, y) down, each aligned in the width.
func (t typeface) draw(img *image.RGBA, x, y, width int, a align, text string, c color.RGBA) {
	if text == "" {
		return
	}
	for k, line := range strings.Split(text, "\n") {
		at := x
		switch a {
		case centre:
			at += (width - t.width(line)) / 2
		case right:
			at += width - t.width(line)
		}
		d := xfont.Drawer{Dst: img, Src: image.NewUniform(c), Face: t.face, Dot: fixed.P(at, y+t.ascent+k*t.height)}
		d.DrawString(t.shown(line))
	}
}

// framed puts a title above a body and a note below it. Text is wrapped to the
// body's width, or to a readable one when the body is narrow.
func framed(f faces, title, note string, body *image.RGBA) (*image.RGBA, error) {
	const least, gap = 360, 10
	size := body.Bounds().Size()
	limit := max(size.X, least)
	if title != "" {
		title = f.title.wrap(title, limit)
	}
	if note != "" {
		note = f.note.wrap(note, limit)
	}
	titleWidth, top := f.title.size(title)
	noteWidth, bottom := f.note.size(note)
	if top > 0 {
		top += gap
	}
	if bottom > 0 {
		bottom += gap
	}
	img, err := blank(max(size.X, titleWidth, noteWidth), top+size.Y+bottom)
	if err != nil {
		return nil, err
	}
	f.title.draw(img, 0, 0, 0, left, title, ink)
	paste(img, 0, top, body)
	f.note.draw(img, 0, top+size.Y+gap, 0, left, note, quiet)
	return img, nil
}
