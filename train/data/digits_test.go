package data

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const digitsPath = "../../testdata/digits/digits.csv.gz"

func TestDigitsAreTheWellKnownOnes(t *testing.T) {
	m, err := Digits(digitsPath)
	require.NoError(t, err)
	require.Equal(t, []int{1797, 8, 8, 1, 10}, []int{m.N, m.Height, m.Width, m.Channels, m.Classes})
	require.Equal(t, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, m.Labels[:10])
	var sum float64
	for _, v := range m.Pixels {
		sum += (float64(v) + 1) * 8
	}
	// The published mean, 4.884, is rounded to three decimals.
	require.InDelta(t, 4.884, sum/float64(len(m.Pixels)), 5e-4)
}

func TestDigitsSetsAreTheParts(t *testing.T) {
	train, held, err := DigitsSets(digitsPath)
	require.NoError(t, err)
	m, err := Digits(digitsPath)
	require.NoError(t, err)
	p, err := DigitsParts(m)
	require.NoError(t, err)
	require.Equal(t, []int{1437, 360}, []int{train.N, held.N})
	require.Equal(t, m.Image(p.Train[7]), train.Image(7))
	require.Equal(t, m.Image(p.Held[7]), held.Image(7))
	_, _, err = DigitsSets("digits.go")
	require.ErrorContains(t, err, "damaged or another one")
}

func TestDigitsPartsNeverChange(t *testing.T) {
	m, err := Digits(digitsPath)
	require.NoError(t, err)
	p, err := DigitsParts(m)
	require.NoError(t, err)
	require.Len(t, p.Held, 360)
	require.Len(t, p.A, 719)
	require.Len(t, p.B, 718)
	ab := slices.Concat(p.A, p.B)
	slices.Sort(ab)
	require.Equal(t, ab, p.Train)
	all := slices.Concat(p.Held, p.Train)
	slices.Sort(all)
	require.Equal(t, all, slices.Compact(slices.Clone(all)), "an image is in one part only")
	require.Len(t, all, 1797)

	total := make([]int, 10)
	for _, c := range m.Labels {
		total[c]++
	}
	for _, part := range [][]int{p.Held, p.A, p.B} {
		count := make([]int, 10)
		for _, i := range part {
			count[m.Labels[i]]++
		}
		for c := range count {
			require.InDelta(t, float64(total[c]*len(part))/1797, count[c], 2)
		}
	}

	// Every published figure refers to this split: it must survive new Go releases.
	h := sha256.New()
	for _, part := range [][]int{p.Held, p.A, p.B} {
		for _, i := range part {
			require.NoError(t, binary.Write(h, binary.LittleEndian, uint32(i)))
		}
	}
	require.Equal(t, "8787eb2eda9b443200b8730a2538a4c970248694c177f6b893a831a548cdef62", hex.EncodeToString(h.Sum(nil)))

	_, err = DigitsParts(counted(10, 2))
	require.ErrorContains(t, err, "use Partition")
}

func TestADamagedDigitsFileIsRefused(t *testing.T) {
	b, err := os.ReadFile(digitsPath)
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), "digits.csv.gz")
	b[1000] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o644))
	_, err = Digits(path)
	require.ErrorContains(t, err, path)
	require.ErrorContains(t, err, "expected "+DigitsSHA256)
}

func TestVerifySHA256(t *testing.T) {
	require.NoError(t, VerifySHA256(digitsPath, DigitsSHA256))
	require.NoError(t, VerifySHA256(digitsPath, strings.ToUpper(DigitsSHA256)))
	require.ErrorContains(t, VerifySHA256(digitsPath, "46ab"), "give 64 hexadecimal digits")
	require.ErrorContains(t, VerifySHA256(digitsPath, strings.Repeat("z", 64)), "give 64 hexadecimal digits")
	require.ErrorContains(t, VerifySHA256(digitsPath, strings.Repeat("0", 64)), "damaged or another one")
	require.ErrorIs(t, VerifySHA256("nowhere", DigitsSHA256), os.ErrNotExist)
}
