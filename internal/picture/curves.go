package picture

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
)

// Line is one curve. X may be nil for 0, 1, 2, …
type Line struct {
	Name string // in the legend; none when empty
	X, Y []float64
	// Marks draws a dot at each point.
	Marks bool
}

// Curves is a plot of lines: a training loss, the progress of an optimization, an
// error against a number of steps.
type Curves struct {
	Title, Note    string
	XLabel, YLabel string
	Lines          []Line
	LogX, LogY     bool // scales on which equal ratios are equal lengths
	// Width and Height of the plot in pixels without title and note; 0 means 720 and 360.
	Width, Height int
}

// palette of Okabe and Ito (2008), which readers of all kinds of colour vision tell apart.
var palette = [...]color.RGBA{
	{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255},
	{86, 180, 233, 255}, {230, 159, 0, 255}, {60, 60, 60, 255},
}

// dpi of the plot: at 72 a point is a pixel, as in the rest of the picture.
const dpi = 72

// Render draws the plot.
//
// Errors: no lines, a line without points or with X and Y of different lengths,
// a value that is not finite, one that is not positive on a logarithmic scale.
func (c Curves) Render() (*image.RGBA, error) {
	if len(c.Lines) == 0 {
		return nil, fmt.Errorf("picture: plot %q has no lines", c.Title)
	}
	if c.Width == 0 {
		c.Width = 720
	}
	if c.Height == 0 {
		c.Height = 360
	}
	if c.Width < 120 || c.Height < 90 || c.Width > 1<<13 || c.Height > 1<<13 {
		return nil, fmt.Errorf("picture: plot %q of %d×%d pixels: it goes from 120×90 to 8192×8192", c.Title, c.Width, c.Height)
	}
	f, err := newFaces()
	if err != nil {
		return nil, err
	}
	c.XLabel, c.YLabel = f.caption.shown(c.XLabel), f.caption.shown(c.YLabel)
	p := plot.New()
	c.style(p)
	for k, l := range c.Lines {
		points, err := c.points(k, l)
		if err != nil {
			return nil, err
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return nil, fmt.Errorf("picture: plot %q, line %q: %w", c.Title, l.Name, err)
		}
		line.Color, line.Width, line.Dashes = look(k)
		p.Add(line)
		if l.Marks || len(points) == 1 {
			marks, err := plotter.NewScatter(points)
			if err != nil {
				return nil, fmt.Errorf("picture: plot %q, line %q: %w", c.Title, l.Name, err)
			}
			marks.Shape, marks.Color, marks.Radius = draw.CircleGlyph{}, line.Color, 3.5
			p.Add(marks)
		}
	}
	widen(&p.X, c.LogX)
	widen(&p.Y, c.LogY)
	legend, err := c.legend(f.caption)
	if err != nil {
		return nil, err
	}
	top := legend.Bounds().Dy()
	img, err := blank(c.Width, top+c.Height)
	if err != nil {
		return nil, err
	}
	area := vgimg.NewWith(vgimg.UseWH(vg.Length(c.Width), vg.Length(c.Height)), vgimg.UseDPI(dpi))
	p.Draw(draw.New(area))
	paste(img, 0, 0, legend)
	paste(img, 0, top, area.Image())
	return framed(f, c.Title, c.Note, img)
}

func (c Curves) points(k int, l Line) (plotter.XYs, error) {
	if len(l.Y) == 0 || l.X != nil && len(l.X) != len(l.Y) {
		return nil, fmt.Errorf("picture: plot %q, line %d (%q) has %d values of x and %d of y", c.Title, k, l.Name, len(l.X), len(l.Y))
	}
	points := make(plotter.XYs, len(l.Y))
	for i, y := range l.Y {
		x := float64(i)
		if l.X != nil {
			x = l.X[i]
		}
		for _, v := range []struct {
			name  string
			value float64
			log   bool
		}{{"x", x, c.LogX}, {"y", y, c.LogY}} {
			if math.IsNaN(v.value) || math.IsInf(v.value, 0) || v.log && v.value <= 0 {
				return nil, fmt.Errorf("picture: plot %q, line %d (%q), point %d: %s is %v, which has no place on this scale",
					c.Title, k, l.Name, i, v.name, v.value)
			}
		}
		points[i].X, points[i].Y = x, y
	}
	return points, nil
}

// widen gives an axis on which all values are one an extent round that value.
func widen(a *plot.Axis, log bool) {
	switch {
	case a.Min < a.Max:
	case log:
		a.Min, a.Max = max(a.Min/2, math.SmallestNonzeroFloat64), min(2*a.Max, math.MaxFloat64)
	default:
		room := math.Abs(a.Min) / 2
		if room == 0 {
			room = 1
		}
		a.Min, a.Max = a.Min-room, min(a.Max+room, math.MaxFloat64)
	}
}

// look is how the k-th line is drawn: colours first, then the same colours dashed.
func look(k int) (color.Color, vg.Length, []vg.Length) {
	var dashes []vg.Length
	if k/len(palette)%2 == 1 {
		dashes = []vg.Length{6, 4}
	}
	return palette[k%len(palette)], 2.5, dashes
}

func (c Curves) style(p *plot.Plot) {
	sans := func(s *text.Style, size font.Length) {
		s.Font = font.Font{Typeface: "Liberation", Variant: "Sans", Size: size}
		s.Color = ink
	}
	p.BackgroundColor = white
	p.X.Label.Text, p.Y.Label.Text = c.XLabel, c.YLabel
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		sans(&a.Label.TextStyle, captionSize)
		sans(&a.Tick.Label, noteSize)
		a.Label.Padding = 6
		a.LineStyle.Color, a.Tick.LineStyle.Color = quiet, quiet
		a.LineStyle.Width, a.Tick.LineStyle.Width = 1, 1
		a.Tick.Length = 6
		a.Padding = 4
	}
	p.X.Tick.Marker, p.Y.Tick.Marker = rounds{}, rounds{}
	if c.LogX {
		p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, decades{}
	}
	if c.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decades{}
	}
	grid := plotter.NewGrid()
	faint := draw.LineStyle{Color: color.RGBA{228, 228, 232, 255}, Width: 1}
	grid.Horizontal, grid.Vertical = faint, faint
	p.Add(grid)
}

// legend is a row of the lines' colours and names above the plot, where it hides nothing.
func (c Curves) legend(t typeface) (*image.RGBA, error) {
	const swatch, near, far, below = 28, 8, 26, 8
	type entry struct {
		line, x, y int
	}
	var entries []entry
	x, y := 0, 0
	for k, l := range c.Lines {
		if l.Name == "" {
			continue
		}
		w := swatch + near + t.width(l.Name)
		if x > 0 && x+w > c.Width {
			x, y = 0, y+t.height
		}
		entries = append(entries, entry{k, x, y})
		x += w + far
	}
	if len(entries) == 0 {
		return image.NewRGBA(image.Rectangle{}), nil
	}
	img, err := blank(c.Width, y+t.height+below)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		colour := palette[e.line%len(palette)]
		middle := e.y + t.height/2
		bar := image.Rect(e.x, middle-1, e.x+swatch, middle+2)
		fill(img, bar, colour)
		if _, _, dashes := look(e.line); dashes != nil {
			for gap := bar.Min.X + 6; gap < bar.Max.X; gap += 11 {
				fill(img, image.Rect(gap, bar.Min.Y, gap+5, bar.Max.Y), white)
			}
		}
		t.draw(img, e.x+swatch+near, e.y, 0, left, c.Lines[e.line].Name, ink)
	}
	return img, nil
}
