package picture

import (
	"math"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
)

// rounds marks a linear axis at multiples of 1, 2 or 5 times a power of ten.
type rounds struct{}

func (rounds) Ticks(low, high float64) []plot.Tick {
	const most = 7
	span := high - low
	if !(span > 0) || math.IsInf(span, 1) {
		return []plot.Tick{{Value: low, Label: strconv.FormatFloat(low, 'g', 4, 64)}}
	}
	exponent := int(math.Floor(math.Log10(span / most)))
	step, digits := 0.0, 0
	for _, m := range []float64{1, 2, 5, 10, 20} {
		step = m * math.Pow10(exponent)
		if digits = -exponent; m >= 10 {
			digits--
		}
		if span/step <= most-1 {
			break
		}
	}
	first, last := math.Ceil(low/step-1e-9), math.Floor(high/step+1e-9)
	if math.Abs(first) > 1e9 || math.Abs(last) > 1e9 {
		// The span is lost in the size of the values: name the ends in full.
		return []plot.Tick{
			{Value: low, Label: strconv.FormatFloat(low, 'g', -1, 64)},
			{Value: high, Label: strconv.FormatFloat(high, 'g', -1, 64)},
		}
	}
	var ticks []plot.Tick
	for k := first; k <= last; k++ {
		v := k*step + 0 // never −0
		label := strconv.FormatFloat(v, 'f', max(0, digits), 64)
		if size := max(math.Abs(low), math.Abs(high)); size >= 1e7 || size < 1e-4 {
			label = scientific(v, 3)
		}
		ticks = append(ticks, plot.Tick{Value: v, Label: label})
	}
	return ticks
}

// decades marks a logarithmic axis: powers of ten, and 2 and 5 times them when
// few powers are in sight.
type decades struct{}

func (decades) Ticks(low, high float64) []plot.Tick {
	span := math.Log10(high) - math.Log10(low)
	if !(low > 0) || span < 0.3 {
		return rounds{}.Ticks(low, high)
	}
	every := max(1, int(math.Ceil(span/8)))
	var ticks []plot.Tick
	for e := int(math.Floor(math.Log10(low))); e <= int(math.Ceil(math.Log10(high))); e++ {
		for m := 1; m <= 9; m++ {
			v := float64(m) * math.Pow10(e)
			if v < low*(1-1e-12) || v > high*(1+1e-12) {
				continue
			}
			named := m == 1 && e%every == 0 || span < 2 && (m == 2 || m == 5) || span < 0.7
			switch {
			case named && low >= 0.999e-3 && high < 1e6:
				ticks = append(ticks, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'f', max(0, -e), 64)})
			case named:
				ticks = append(ticks, plot.Tick{Value: v, Label: scientific(v, 1)})
			case span < 4:
				ticks = append(ticks, plot.Tick{Value: v})
			}
		}
	}
	return ticks
}

// scientific writes 3e-5 for 0.00003, with at most so many digits before the e.
func scientific(v float64, digits int) string {
	if v == 0 {
		return "0"
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(v, 'e', digits-1, 64), "e")
	if strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	sign, digit := strings.TrimPrefix(exponent[:1], "+"), exponent[1:]
	if digit[0] == '0' { // Go writes at least two
		digit = digit[1:]
	}
	return mantissa + "e" + sign + digit
}
