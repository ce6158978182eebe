package picture

import (
	"image"
	"image/color"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryPixelOfATileIsASquare(t *testing.T) {
	s := Sheet{
		Tiles:  [][]float32{{-1, 1, 0, 9, -9, float32(math.NaN())}, nil, {-1, 1, 1, 1, 1, 1}},
		Height: 2, Width: 3, Across: 2, Scale: 5,
	}
	img := render(t, s)
	const frameWidth, pitchX, pitchY = 1, 3*5 + 2 + 6, 2*5 + 2 + 6
	require.Equal(t, image.Pt(2*pitchX-6, 2*pitchY-6), img.Bounds().Size())
	grey := func(v uint8) color.RGBA { return color.RGBA{v, v, v, 255} }
	want := []color.RGBA{grey(0), grey(255), grey(128), grey(255), grey(0), {255, 0, 255, 255}}
	for p, c := range want {
		for y := range 5 {
			for x := range 5 {
				require.Equal(t, c, img.RGBAAt(frameWidth+p%3*5+x, frameWidth+p/3*5+y), "pixel %d", p)
			}
		}
	}
	require.Equal(t, frame, img.RGBAAt(0, 0))
	require.Equal(t, frame, img.RGBAAt(16, 11))
	require.True(t, inked(img, image.Rect(pitchX, 0, 2*pitchX-6, pitchY)).Empty(), "a nil tile leaves its place empty")
	require.Equal(t, grey(0), img.RGBAAt(frameWidth, pitchY+frameWidth), "the third tile starts the second row")

	s.Range = [2]float64{1, -1}
	img = render(t, s)
	require.Equal(t, grey(255), img.RGBAAt(1, 1))
	require.Equal(t, grey(0), img.RGBAAt(6, 1))
}

func TestColourTiles(t *testing.T) {
	img := render(t, Sheet{Tiles: [][]float32{{1, -1, 0, float32(math.NaN()), 0, 0}}, Height: 1, Width: 2, Channels: 3, Scale: 3})
	require.Equal(t, color.RGBA{255, 0, 128, 255}, img.RGBAAt(1, 1))
	require.Equal(t, color.RGBA{255, 0, 255, 255}, img.RGBAAt(4, 1))
}

func TestCaptionsStandBesideWhatTheyName(t *testing.T) {
	bare := Sheet{Tiles: tiles(6, 16), Height: 4, Width: 4, Across: 3, Scale: 12}
	tile, pitch := 4*12+2, 4*12+2+6

	s := bare
	s.Columns = []string{"0", "1", "8"}
	img := render(t, s)
	head := img.Bounds().Dy() - render(t, bare).Bounds().Dy()
	for c := range 3 {
		text := inked(img, image.Rect(c*pitch, 0, c*pitch+tile, head))
		require.False(t, text.Empty())
		// Centred to the width of a side bearing.
		require.InDelta(t, c*pitch+tile/2, float64(text.Min.X+text.Max.X)/2, 2)
		require.Greater(t, text.Dy(), 9, "large enough to read")
	}

	s = bare
	s.Rows = []string{"source", "a much longer\ncaption"}
	img = render(t, s)
	side := img.Bounds().Dx() - render(t, bare).Bounds().Dx()
	for r := range 2 {
		text := inked(img, image.Rect(0, r*pitch, side, r*pitch+tile))
		require.InDelta(t, r*pitch+tile/2, float64(text.Min.Y+text.Max.Y)/2, 4)
		require.InDelta(t, side-12, text.Max.X, 2, "aligned at the right")
	}

	s = bare
	s.Captions = []string{"a", "b", "a caption wider than its tile", "d", "e", ""}
	img = render(t, s)
	require.Greater(t, img.Bounds().Dx(), 3*pitch, "columns widen for their captions")
	require.Equal(t, frame, img.RGBAAt((img.Bounds().Dx()-2*12-2*6)/3/2, 0)) // the tile stands in the middle of its column
}

func TestTitleAndNoteAreWrappedToTheGrid(t *testing.T) {
	long := strings.Repeat("some words that go on ", 20)
	s := Sheet{Title: long, Note: long, Tiles: tiles(40, 16), Height: 4, Width: 4, Across: 10, Scale: 12}
	width := 10*(4*12+2+6) - 6
	img := render(t, s)
	require.Equal(t, width, img.Bounds().Dx())
	s.Across = 1
	require.LessOrEqual(t, render(t, s).Bounds().Dx(), 360, "a narrow grid gets text of a readable width")
}

func TestSignsTheFontLacksAreBoxes(t *testing.T) {
	f, err := newFaces()
	require.NoError(t, err)
	require.Equal(t, "σ ≤ 10□⁵ → λ², □\nx", f.note.shown("σ ≤ 10⁻⁵ → λ², 中\nx"))
}

func TestWrapBreaksAtSpacesOnly(t *testing.T) {
	f, err := newFaces()
	require.NoError(t, err)
	require.Equal(t, "one\ntwo\nthree-and-longer\n\nfour", f.note.wrap("one two three-and-longer\n\nfour", 30))
	for _, line := range strings.Split(f.note.wrap(strings.Repeat("ab cde ", 50), 200), "\n") {
		require.LessOrEqual(t, f.note.width(line), 200)
	}
}

func TestTilesCutsABatch(t *testing.T) {
	require.Equal(t, [][]float32{{1, 2}, {3, 4}}, Tiles([]float64{1, 2, 3, 4, 5}, 2))
	require.Nil(t, Tiles([]float32{1}, 0))
}

func TestASheetSaysWhatIsWrongWithIt(t *testing.T) {
	good := Sheet{Title: "T", Tiles: tiles(6, 16), Height: 4, Width: 4, Across: 3}
	for message, change := range map[string]func(*Sheet){
		"has no tiles":                   func(s *Sheet) { s.Tiles = nil },
		"tile 0 has 16 values, 4×5×1":    func(s *Sheet) { s.Width = 5 },
		"sides go from 1 to 4096":        func(s *Sheet) { s.Height = 0 },
		"channels are 1 or 3":            func(s *Sheet) { s.Channels = 2 },
		"-1 columns":                     func(s *Sheet) { s.Across = -1 },
		"2 column captions for 3 places": func(s *Sheet) { s.Columns = []string{"a", "b"} },
		"3 row captions for 2 places":    func(s *Sheet) { s.Rows = []string{"a", "b", "c"} },
		"1 tile captions for 6 places":   func(s *Sheet) { s.Captions = []string{"a"} },
		"scale -1":                       func(s *Sheet) { s.Scale = -1 },
		"two different finite values":    func(s *Sheet) { s.Range = [2]float64{1, 1} },
		"too many":                       func(s *Sheet) { s.Across, s.Scale = 1<<40, 1 },
		"a picture of":                   func(s *Sheet) { s.Across, s.Scale = 1<<20, 1<<4 },
	} {
		s := good
		change(&s)
		_, err := s.Render()
		require.ErrorContains(t, err, message)
	}
	for tilesAcross, change := range map[int]func(*Sheet){
		6: func(s *Sheet) { s.Columns = []string{"0", "1", "2", "3", "4", "5"} },
		2: func(s *Sheet) { s.Rows = []string{"a", "b", "c"} },
		3: func(*Sheet) {},
	} {
		s := good
		s.Across = 0
		change(&s)
		s, err := s.resolved()
		require.NoError(t, err)
		require.Equal(t, tilesAcross, s.Across)
	}
}
