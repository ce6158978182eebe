package main

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math"
	"os"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	plotWidth   = 11.5 * vg.Inch
	panelHeight = 4.8 * vg.Inch
	legendWidth = 3.4 * vg.Inch
)

// colours tell families apart, by people with any colour vision as far as ten can (Okabe, Ito 2008, and two more).
var colours = []color.RGBA{
	{0, 0, 0, 255}, {230, 159, 0, 255}, {0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255},
	{204, 121, 167, 255}, {86, 180, 233, 255}, {120, 94, 40, 255}, {240, 228, 66, 255}, {150, 150, 150, 255},
}

// families are in the order of the contestants.
func families() (names []string) {
	for _, k := range contestants() {
		if !slices.Contains(names, k.family) {
			names = append(names, k.family)
		}
	}
	return names
}

func colourOf(family string) color.RGBA {
	return colours[slices.Index(families(), family)%len(colours)]
}

// drawPlot writes both panels to path.png and path.svg.
func drawPlot(path string, r report) error {
	type panel struct {
		title string
		*result
	}
	panels := []panel{{"Gaussian mixture", r.mixture}, {r.imagesTitle(), r.images}}
	height := panelHeight * vg.Length(len(panels))
	paint := func(canvas vg.CanvasSizer) error {
		dc := draw.New(canvas)
		dc.SetColor(color.White)
		dc.Fill(dc.Rectangle.Path())
		for i, pn := range panels {
			top := dc.Max.Y - vg.Length(i)*panelHeight
			area := draw.Canvas{Canvas: dc.Canvas, Rectangle: vg.Rectangle{Min: vg.Point{X: dc.Min.X, Y: top - panelHeight}, Max: vg.Point{X: dc.Max.X, Y: top}}}
			if err := drawPanel(area, pn.title, pn.result); err != nil {
				return err
			}
		}
		return nil
	}
	bitmap := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(plotWidth, height), vgimg.UseDPI(110))}
	if err := paint(bitmap); err != nil {
		return err
	}
	if err := write(path+".png", bitmap); err != nil {
		return err
	}
	vector := vgsvg.New(plotWidth, height)
	if err := paint(vector); err != nil {
		return err
	}
	return write(path+".svg", vector)
}

func write(path string, w io.WriterTo) error {
	var b bytes.Buffer
	if _, err := w.WriteTo(&b); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o666)
}

// drawPanel draws the best of each family bold, with a name, and the others thin.
func drawPanel(area draw.Canvas, title string, r *result) error {
	p := plot.New()
	p.Title.Text = title + ": distance to the solution of the ODE"
	p.Title.TextStyle.Font.Size = vg.Points(12)
	p.X.Label.Text = "evaluations of the network" // and none for Y: gonum/plot misplaces it on a logarithmic axis
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.ConstantTicks(budgetTicks(r.budgets)), decades{}
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{225}, color.Gray{225}
	p.Add(grid)

	legend := plot.NewLegend()
	legend.Top, legend.Left = true, true
	legend.ThumbnailWidth = 0.35 * vg.Inch
	legend.TextStyle.Font.Size, legend.Padding = vg.Points(10), vg.Points(3)
	var bold []plot.Plotter // over the thin ones
	seen := map[string]bool{}
	for _, v := range r.curves {
		line, err := plotter.NewLine(v.xys())
		if err != nil {
			return fmt.Errorf("drawing %s: %w", v.name, err)
		}
		c := colourOf(v.family)
		line.Color, line.Width = color.NRGBA{c.R, c.G, c.B, 75}, vg.Points(0.6)
		if seen[v.family] {
			p.Add(line)
			continue
		}
		seen[v.family] = true
		line.Color, line.Width = c, vg.Points(2.4)
		dots, err := plotter.NewScatter(v.xys())
		if err != nil {
			return fmt.Errorf("drawing %s: %w", v.name, err)
		}
		dots.GlyphStyle = draw.GlyphStyle{Color: c, Radius: vg.Points(3), Shape: draw.CircleGlyph{}}
		bold = append(bold, line, dots)
		legend.Add(fmt.Sprintf("%s, %s", v.name, v.rule.name), line, dots)
	}
	slices.Reverse(bold) // the best on top
	p.Add(bold...)
	p.X.Min, p.X.Max = 0.95*float64(r.budgets[0]), 1.05*float64(r.budgets[len(r.budgets)-1])
	p.Y.Max = math.Min(p.Y.Max, 1)

	inner := area
	inner.Min.X, inner.Max.X = inner.Min.X+vg.Points(8), inner.Max.X-legendWidth
	inner.Min.Y, inner.Max.Y = inner.Min.Y+vg.Points(10), inner.Max.Y-vg.Points(10)
	p.Draw(inner)

	side := area
	side.Min.X, side.Max.Y = area.Max.X-legendWidth+vg.Points(10), area.Max.Y-vg.Points(44)
	heading := p.Title.TextStyle
	heading.Font.Size, heading.XAlign, heading.YAlign = vg.Points(10), draw.XLeft, draw.YTop
	side.FillText(heading, vg.Point{X: side.Min.X, Y: side.Max.Y + vg.Points(22)}, "best of each family, with its best grid;\nthe nearest first. Thin: the others")
	side.Max.Y -= vg.Points(12)
	legend.Draw(side)
	return nil
}

// xys are the points that were reached; those of equal evaluations are one.
func (v curve) xys() plotter.XYs {
	var xys plotter.XYs
	for _, p := range v.points {
		if p.nfe > 0 && (len(xys) == 0 || float64(p.nfe) > xys[len(xys)-1].X) {
			xys = append(xys, plotter.XY{X: float64(p.nfe), Y: p.error})
		}
	}
	return xys
}

func budgetTicks(budgets []int) (ticks []plot.Tick) {
	for _, b := range budgets {
		ticks = append(ticks, plot.Tick{Value: float64(b), Label: strconv.Itoa(b)})
	}
	return ticks
}

// decades are ticks at powers of ten, and unlabelled ones between.
type decades struct{}

// Ticks implements [plot.Ticker].
func (decades) Ticks(lo, hi float64) (ticks []plot.Tick) {
	for e := int(math.Floor(math.Log10(lo))); e <= int(math.Ceil(math.Log10(hi))); e++ {
		for m := 1.; m < 10; m++ {
			t := plot.Tick{Value: m * math.Pow(10, float64(e))}
			if m == 1 {
				t.Label = strconv.FormatFloat(t.Value, 'g', 3, 64)
			}
			if t.Value >= lo && t.Value <= hi {
				ticks = append(ticks, t)
			}
		}
	}
	return ticks
}
