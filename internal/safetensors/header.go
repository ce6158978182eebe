package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	prefixLength    = 8
	maxHeaderLength = 100_000_000 // the reference implementation's limit
	metadataKey     = "__metadata__"
)

// entry is a tensor of a header; begin and end are relative to the data.
type entry struct {
	Info
	name       string
	begin, end int64
}

// header is the checked content of a header: entries lie one after another and fill the data.
type header struct {
	entries  []entry
	metadata map[string]string
}

// parseHeader reads and checks a header that is followed by dataSize bytes.
func parseHeader(text []byte, dataSize int64) (header, error) {
	if len(text) == 0 || text[0] != '{' {
		return header{}, errors.New("not a safetensors file: header must begin with '{'")
	}
	if !utf8.Valid(text) {
		return header{}, fmt.Errorf("header is not valid UTF-8 at byte %d", prefixLength+invalidUTF8(text))
	}
	p := parser{json.NewDecoder(bytes.NewReader(text))}
	p.UseNumber()
	h, err := p.header()
	if err != nil {
		return header{}, fmt.Errorf("header, before byte %d: %w", prefixLength+p.InputOffset(), err)
	}
	for i := range h.entries {
		if err := h.entries[i].check(dataSize); err != nil {
			return header{}, fmt.Errorf("tensor %.100q: %w", h.entries[i].name, err)
		}
	}
	return h, h.checkTiling(dataSize)
}

func invalidUTF8(text []byte) int {
	at := 0
	for {
		r, n := utf8.DecodeRune(text[at:])
		if r == utf8.RuneError && n <= 1 {
			return at
		}
		at += n
	}
}

// check compares an entry with its own shape and with the size of the data.
func (e *entry) check(dataSize int64) error {
	if e.begin > e.end {
		return fmt.Errorf("data_offsets [%d, %d] are reversed", e.begin, e.end)
	}
	if e.end > dataSize {
		return fmt.Errorf("data_offsets [%d, %d] reach past the end of the data, which has %d bytes; the file is truncated or wrong", e.begin, e.end, dataSize)
	}
	n, err := count(e.Shape)
	if err != nil {
		return err
	}
	e.Bytes = e.end - e.begin
	width := e.Dtype.bits()
	if width == 0 {
		// A dtype of the future; but no dtype packs two elements in a bit, and a caller may allocate by the shape.
		if uint64(n) > 8*uint64(e.Bytes) {
			return fmt.Errorf("shape %v has %d elements, more than fit in the %d bytes of data_offsets [%d, %d] (dtype %.40q)", e.Shape, n, e.Bytes, e.begin, e.end, e.Dtype)
		}
		return nil
	}
	hi, size := bits.Mul64(uint64(n), width)
	if hi != 0 {
		return fmt.Errorf("shape %v of %s overflows: its size in bits exceeds 64 bits", e.Shape, e.Dtype)
	}
	if size != 8*uint64(e.Bytes) {
		return fmt.Errorf("shape %v of %s takes %s bytes, but data_offsets [%d, %d] hold %d", e.Shape, e.Dtype, eighths(size), e.begin, e.end, e.Bytes)
	}
	return nil
}

// eighths writes a number of bits in bytes, which are fractional for odd counts of elements of less than a byte.
func eighths(bits uint64) string {
	if bits%8 == 0 {
		return strconv.FormatUint(bits/8, 10)
	}
	return fmt.Sprintf("%d+%d/8", bits/8, bits%8)
}

// checkTiling sorts the entries by place and wants each to begin where the one before ends: bytes that two tensors
// share, or that belong to none, let two readers see two files in one.
func (h *header) checkTiling(dataSize int64) error {
	slices.SortFunc(h.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end), cmp.Compare(a.name, b.name))
	})
	var at int64
	for i, e := range h.entries {
		switch {
		case e.begin < at:
			return fmt.Errorf("tensors %.100q and %.100q overlap: the first ends at %d of the data and the second begins at %d", h.entries[i-1].name, e.name, at, e.begin)
		case e.begin > at:
			return fmt.Errorf("gap before tensor %.100q: bytes %d to %d of the data belong to no tensor", e.name, at, e.begin)
		}
		at = e.end
	}
	if at != dataSize {
		return fmt.Errorf("%d trailing bytes: the tensors end at %d of the data, which has %d bytes", dataSize-at, at, dataSize)
	}
	return nil
}

// parser walks the tokens of a header. Decoding into structs would take the last of two equal keys, and match keys
// without regard to case.
type parser struct{ *json.Decoder }

func (p parser) header() (header, error) {
	var h header
	err := p.object("the header", func(key string) error {
		if key == metadataKey {
			var err error
			h.metadata, err = p.metadata()
			return err
		}
		e, err := p.tensor(key)
		h.entries = append(h.entries, e)
		return err
	})
	if err != nil {
		return header{}, err
	}
	if _, err := p.Token(); err != io.EOF {
		return header{}, errors.New("not valid JSON: only spaces may follow the closing '}'")
	}
	return h, nil
}

func (p parser) metadata() (map[string]string, error) {
	m := map[string]string{}
	return m, p.object(metadataKey, func(key string) error {
		var err error
		m[key], err = p.text(fmt.Sprintf("%s entry %.100q", metadataKey, key))
		return err
	})
}

func (p parser) tensor(name string) (entry, error) {
	what := fmt.Sprintf("tensor %.100q", name)
	e := entry{name: name}
	var hasDtype, hasShape, hasOffsets bool
	err := p.object(what, func(key string) error {
		switch key {
		case "dtype":
			hasDtype = true
			d, err := p.text("dtype of " + what)
			e.Dtype = Dtype(d)
			return err
		case "shape":
			hasShape = true
			dims, err := p.integers("shape of "+what, maxRank, math.MaxInt)
			e.Shape = make([]int, len(dims))
			for i, d := range dims {
				e.Shape[i] = int(d)
			}
			return err
		case "data_offsets":
			hasOffsets = true
			offsets, err := p.integers("data_offsets of "+what, 2, math.MaxInt64)
			if err != nil {
				return err
			}
			if len(offsets) != 2 {
				return fmt.Errorf("data_offsets of %s has %d numbers, want 2", what, len(offsets))
			}
			e.begin, e.end = offsets[0], offsets[1]
			return nil
		}
		// The reference implementation passes over keys it does not know.
		var skipped json.RawMessage
		return p.wrap(p.Decode(&skipped))
	})
	switch {
	case err != nil:
		return e, err
	case !hasDtype:
		return e, fmt.Errorf("%s has no dtype", what)
	case !hasShape:
		return e, fmt.Errorf("%s has no shape", what)
	case !hasOffsets:
		return e, fmt.Errorf("%s has no data_offsets", what)
	}
	return e, nil
}

// object reads an object, calling member, which must consume the value, after each key.
func (p parser) object(what string, member func(key string) error) error {
	if err := p.delim('{', what, "an object"); err != nil {
		return err
	}
	seen := map[string]struct{}{}
	for p.More() {
		key, err := p.text("key in " + what)
		if err != nil {
			return err
		}
		if _, ok := seen[key]; ok {
			return fmt.Errorf("duplicate key %.100q in %s", key, what)
		}
		seen[key] = struct{}{}
		if err := member(key); err != nil {
			return err
		}
	}
	return p.delim('}', what, "an object")
}

// integers reads an array of at most so many integers from 0 to most.
func (p parser) integers(what string, atMost int, most uint64) ([]int64, error) {
	if err := p.delim('[', what, "an array of integers"); err != nil {
		return nil, err
	}
	var out []int64
	for p.More() {
		t, err := p.token()
		if err != nil {
			return nil, err
		}
		n, ok := t.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%s must hold integers, not %s", what, show(t))
		}
		v, err := strconv.ParseUint(string(n), 10, 64)
		if err != nil || v > most {
			return nil, fmt.Errorf("%s holds %.40s, want an integer from 0 to %d", what, n, most)
		}
		if len(out) == atMost {
			return nil, fmt.Errorf("%s has more than %d numbers", what, atMost)
		}
		out = append(out, int64(v))
	}
	return out, p.delim(']', what, "an array of integers")
}

func (p parser) text(what string) (string, error) {
	t, err := p.token()
	if err != nil {
		return "", err
	}
	s, ok := t.(string)
	if !ok {
		return "", fmt.Errorf("%s must be a string, not %s", what, show(t))
	}
	return s, nil
}

func (p parser) delim(want json.Delim, what, kind string) error {
	t, err := p.token()
	if err != nil {
		return err
	}
	if t != want {
		return fmt.Errorf("%s must be %s, not %s", what, kind, show(t))
	}
	return nil
}

func (p parser) token() (json.Token, error) {
	t, err := p.Token()
	return t, p.wrap(err)
}

func (p parser) wrap(err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return fmt.Errorf("not valid JSON: %w", err)
	}
	return nil
}

// show names a token in an error.
func show(t json.Token) string {
	switch t := t.(type) {
	case nil:
		return "null"
	case string:
		return fmt.Sprintf("%.40q", t)
	default:
		return fmt.Sprintf("%.40v", t)
	}
}
