package data

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCSVReadsPixelsThenLabel(t *testing.T) {
	want := &Images{
		N: 2, Height: 1, Width: 3, Channels: 1,
		Pixels: []float32{-1, 0, 1, 1, 0.5, -1}, Labels: []int{3, 0}, Classes: 4,
	}
	for why, text := range map[string]string{
		"plain":               "0,8,16,3\n16,12,0,0\n",
		"no last line end":    "0,8,16,3\n16,12,0,0",
		"CR LF and spaces":    "0, 8, 16, 3\r\n16,12 ,0,0\r\n",
		"empty lines between": "\n0,8,16,3\n\n16,12,0,0\n\n",
	} {
		t.Run(why, func(t *testing.T) {
			m, err := CSV(strings.NewReader(text), 1, 3, 16)
			require.NoError(t, err)
			require.Equal(t, want, m)
			m, err = CSV(bytes.NewReader(zipped(t, []byte(text))), 1, 3, 16)
			require.NoError(t, err)
			require.Equal(t, want, m)
		})
	}
}

func TestCSVNamesLineByteAndExpectation(t *testing.T) {
	for _, c := range []struct {
		why, text, message string
		offset             int64
	}{
		{"no data", "", "expected at least one line of 4 numbers", 0},
		{"heading", "a,b,c,label\n", `line 1, number 1: expected a pixel 0…16, found "a"`, 0},
		{"too few", "1,2,3,4\n1,2,3\n", "line 2: expected 4 numbers, found 3", 12},
		{"too many", "1,2,3,4,5\n", "line 1: expected 4 numbers, there are more", 6},
		{"above white", "1,2,17,4\n", `number 3: expected a pixel 0…16, found "17"`, 4},
		{"negative", "1,-2,3,4\n", `found "-2"`, 2},
		{"fraction", "1,2.5,3,4\n", `found "2.5"`, 2},
		{"not a number", "1,NaN,3,4\n", `found "NaN"`, 2},
		{"past an int", "99999999999999999999999,2,3,4\n", "number 1: expected a pixel", 0},
		{"huge label", "1,2,3,65536\n", "number 4: expected a label 0…65535", 6},
		{"endless line", strings.Repeat("1", 200000), "no line end within", 0},
	} {
		t.Run(c.why, func(t *testing.T) {
			_, err := CSV(strings.NewReader(c.text), 1, 3, 16)
			var format *FormatError
			require.True(t, errors.As(err, &format), "%v", err)
			require.ErrorContains(t, err, c.message)
			require.Equal(t, c.offset, format.Offset, "%v", err)
		})
	}
	for _, shape := range [][3]int{{0, 3, 16}, {3, -1, 16}, {3, 3, 0}, {1 << 20, 1 << 20, 16}} {
		_, err := CSV(strings.NewReader("1\n"), shape[0], shape[1], shape[2])
		require.ErrorContains(t, err, "sizes go from 1 to 4096")
	}
}

func FuzzCSV(f *testing.F) {
	f.Add([]byte("0,8,16,3\n16,12,0,0\n"))
	f.Add(zipped(f, []byte("0,8,16,3\r\n\n16,12,0,0")))
	f.Add([]byte("1,2,3\n,,,,"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := CSV(bytes.NewReader(b), 1, 3, 16)
		if err != nil {
			var format *FormatError
			require.True(t, errors.As(err, &format), "%v", err)
			return
		}
		requireSound(t, m)
	})
}
