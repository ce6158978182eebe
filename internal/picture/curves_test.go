package picture

import (
	"image"
	"image/color"
	"math"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot"
)

// count is how many pixels have exactly this colour.
func count(img *image.RGBA, r image.Rectangle, c color.RGBA) (n int) {
	for y := r.Min.Y; y < r.Max.Y; y++ {
		for x := r.Min.X; x < r.Max.X; x++ {
			if img.RGBAAt(x, y) == c {
				n++
			}
		}
	}
	return n
}

func TestCurvesDrawEachLineAndNameIt(t *testing.T) {
	c := Curves{
		Title: "Loss", XLabel: "step", YLabel: "loss",
		Lines: []Line{{Name: "first", Y: []float64{1, 2, 1}}, {Name: "second", X: []float64{0, 2}, Y: []float64{2, 1}, Marks: true}},
	}
	img := render(t, c)
	require.Equal(t, 720, img.Bounds().Dx())
	plotTop := img.Bounds().Dy() - 360
	for k := range c.Lines {
		require.Greater(t, count(img, image.Rect(0, plotTop, 720, plotTop+360), palette[k]), 300, "line %d", k)
		require.Greater(t, count(img, image.Rect(0, 0, 720, plotTop), palette[k]), 50, "its name")
	}
	require.Equal(t, img.Pix, render(t, c).Pix)

	unnamed := render(t, Curves{Lines: []Line{{Y: []float64{1, 2}}}, Width: 300, Height: 200})
	require.Equal(t, image.Pt(300, 200), unnamed.Bounds().Size(), "no title, no legend, no room for them")
}

func TestCurvesPutValuesWhereTheyBelong(t *testing.T) {
	// On a logarithmic scale 1, 10, 100 is a straight line: its middle is the middle point.
	at := func(c Curves) image.Rectangle {
		c.Width, c.Height = 400, 400
		img := render(t, c)
		mid := image.Rectangle{}
		for y := range 400 {
			for x := range 400 {
				if img.RGBAAt(x, y) == palette[1] {
					mid = mid.Union(image.Rect(x, y, x+1, y+1))
				}
			}
		}
		require.False(t, mid.Empty())
		return mid
	}
	line := Line{Y: []float64{1, 10, 100}}
	point := func(x, y float64) Line { return Line{X: []float64{x}, Y: []float64{y}} }
	onLog := at(Curves{Lines: []Line{line, point(1, 10)}, LogY: true})
	halfway := at(Curves{Lines: []Line{{Y: []float64{0, 1, 2}}, point(1, 1)}})
	require.InDelta(t, halfway.Min.Y, onLog.Min.Y, 6)
	low := at(Curves{Lines: []Line{line, point(1, 10)}})
	require.Greater(t, low.Min.Y, onLog.Min.Y+100)
}

func TestManyLinesStayApart(t *testing.T) {
	var lines []Line
	for k := range 9 {
		lines = append(lines, Line{Name: "a line with a name " + strconv.Itoa(k), Y: []float64{float64(k), float64(k)}})
	}
	img := render(t, Curves{Lines: lines})
	plotTop := img.Bounds().Dy() - 360
	area := image.Rect(0, plotTop, 720, plotTop+360)
	// The eighth line has the first one's colour, but in dashes: rows on which the colour starts anew again and again.
	most := 0
	for y := area.Min.Y; y < area.Max.Y; y++ {
		runs := 0
		for x := area.Min.X + 1; x < area.Max.X; x++ {
			if img.RGBAAt(x, y) == palette[0] && img.RGBAAt(x-1, y) != palette[0] {
				runs++
			}
		}
		most = max(most, runs)
	}
	require.Greater(t, most, 30)
	require.Greater(t, plotTop, 40, "the legend takes several rows")
}

func TestCurvesSayWhatIsWrong(t *testing.T) {
	for message, c := range map[string]Curves{
		"has no lines": {},
		`line 0 ("a") has 0 values of x and 0 of y`:               {Lines: []Line{{Name: "a"}}},
		`has 1 values of x and 2 of y`:                            {Lines: []Line{{X: []float64{1}, Y: []float64{1, 2}}}},
		`line 1 ("b"), point 1: y is NaN`:                         {Lines: []Line{{Y: []float64{1}}, {Name: "b", Y: []float64{1, math.NaN()}}}},
		`point 0: y is 0, which has no place on this scale`:       {Lines: []Line{{Y: []float64{0, 1}}}, LogY: true},
		`point 0: x is 0, which has no place on this scale`:       {Lines: []Line{{Y: []float64{1, 1}}}, LogX: true},
		"of 10×360 pixels: it goes from 120×90 to 8192×8192":      {Lines: []Line{{Y: []float64{1}}}, Width: 10},
		"of 720×1000000 pixels: it goes from 120×90 to 8192×8192": {Lines: []Line{{Y: []float64{1}}}, Height: 1000000},
	} {
		_, err := c.Render()
		require.ErrorContains(t, err, message)
	}
}

func TestDegenerateCurvesAreDrawn(t *testing.T) {
	for why, c := range map[string]Curves{
		"one point":         {Lines: []Line{{Y: []float64{3}}}},
		"one point on logs": {Lines: []Line{{X: []float64{2}, Y: []float64{3}}}, LogX: true, LogY: true},
		"a level line":      {Lines: []Line{{Y: []float64{1e-300, 1e-300}}}, LogY: true},
		"hardly any span":   {Lines: []Line{{Y: []float64{1, math.Nextafter(1, 2)}}}},
		"hardly any on log": {Lines: []Line{{Y: []float64{1, math.Nextafter(1, 2)}}}, LogY: true},
		"huge span":         {Lines: []Line{{Y: []float64{1e-300, 1e300}}}, LogY: true},
		"largest":           {Lines: []Line{{Y: []float64{math.MaxFloat64}}}},
		"smallest on log":   {Lines: []Line{{Y: []float64{math.SmallestNonzeroFloat64}}}, LogY: true},
		"all zero":          {Lines: []Line{{Y: []float64{0, 0}}}},
	} {
		t.Run(why, func(t *testing.T) { render(t, c) })
	}
}

func TestTicksAreFewInOrderAndSayTheirValue(t *testing.T) {
	check := func(t *testing.T, ticks []plot.Tick, low, high float64, precision float64) {
		labels := 0
		seen := map[string]bool{}
		for i, tick := range ticks {
			require.True(t, tick.Value >= low-precision && tick.Value <= high+precision, "%v outside [%v, %v]", tick.Value, low, high)
			if i > 0 {
				require.Greater(t, tick.Value, ticks[i-1].Value)
			}
			if tick.Label == "" {
				continue
			}
			labels++
			require.False(t, seen[tick.Label], "%v..%v: %q twice", low, high, tick.Label)
			seen[tick.Label] = true
			said, err := strconv.ParseFloat(tick.Label, 64)
			require.NoError(t, err)
			require.InDelta(t, tick.Value, said, precision, "label %q", tick.Label)
		}
		require.GreaterOrEqual(t, labels, 2, "%v..%v", low, high)
		require.LessOrEqual(t, labels, 10, "%v..%v", low, high)
	}
	for _, low := range []float64{0, -3, 0.137, -1e-7, 4.2e6, -1234, 0.999} {
		for span := 1e-6; span < 1e9; span *= 1.37 {
			check(t, rounds{}.Ticks(low, low+span), low, low+span, span/100)
		}
	}
	for low := 1e-9; low < 1e7; low *= 3.3 {
		for ratio := 1.05; ratio < 1e12; ratio *= 1.9 {
			// Labels of one digit are exact; those of a linear scale differ by rounding.
			check(t, decades{}.Ticks(low, low*ratio), low, low*ratio, low*(ratio-1)/100)
		}
	}
	require.Equal(t, "3e-5", scientific(3e-5, 1))
	require.Equal(t, "1.5e7", scientific(1.5e7, 3))
	require.Equal(t, "0", scientific(0, 3))
	require.Equal(t, "-1e0", scientific(-1, 3))
}
