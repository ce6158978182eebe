package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// content is a file of this header and data.
func content(header string, data ...byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func open(t testing.TB, b []byte) *File {
	t.Helper()
	f, err := NewReader(bytes.NewReader(b), int64(len(b)))
	require.NoError(t, err)
	return f
}

func encoded(t testing.TB, metadata map[string]string, tensors ...Tensor) []byte {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, Write(&b, metadata, tensors))
	return b.Bytes()
}

// hostile files: every row is refused with these words, at the cost of little memory.
var hostile = []struct {
	reason string
	file   []byte
	want   string
}{
	{"empty file", nil, "truncated file: 0 bytes cannot hold the 8 of the header length"},
	{"cut in the header length", []byte{2, 0, 0}, "truncated file: 3 bytes"},
	{"header beyond the file", content("{}")[:9], "truncated, or not a safetensors file: header length 2 exceeds the 1 bytes that follow"},
	{"header of 99 MB claimed by a short file", binary.LittleEndian.AppendUint64(nil, 99_000_000), "truncated, or not a safetensors file: header length 99000000"},
	{"header length above the limit", binary.LittleEndian.AppendUint64(nil, 100_000_001), "not a safetensors file: header length 100000001 exceeds the format's limit of 100000000"},
	{"header length above int64", binary.LittleEndian.AppendUint64(nil, math.MaxUint64), "not a safetensors file: header length 18446744073709551615 exceeds the format's limit"},
	{"text", []byte("one two three\n"), "not a safetensors file: header length 2337218072272006767 exceeds"},
	{"no header", content(""), "not a safetensors file: header must begin with '{'"},
	{"header not an object", content("[]"), "not a safetensors file: header must begin with '{'"},
	{"space before the header", content(" {}"), "not a safetensors file: header must begin with '{'"},
	{"not UTF-8", content("{\"a\xff\":1}"), "header is not valid UTF-8 at byte 11"},
	{"not JSON", content(`{nonsense}`), "header, before byte 9: not valid JSON: invalid character 'n'"},
	{"cut in the JSON", content(`{"a":{"dtype":"F32"`), "not valid JSON: unexpected EOF"},
	{"cut after a key", content(`{"a"`), "not valid JSON"},
	{"trailing comma", content(`{"__metadata__":{},}`), "not valid JSON"},
	{"missing comma", content(`{"__metadata__":{"a":"b" "c":"d"}}`), "not valid JSON"},
	{"text after the header's object", content(`{}{}`), "only spaces may follow"},
	{"zero bytes as padding", content("{}\x00\x00"), "only spaces may follow"},
	{"deep nesting", content(`{"a":` + strings.Repeat("[", 100_000)), `tensor "a" must be an object, not [`},
	{"deep nesting in a key that is skipped", content(`{"a":{"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}}`), "not valid JSON: invalid character '[' exceeded max depth"},

	{"two tensors of one name", content(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`), `duplicate key "a" in the header`},
	{"two tensors of one name, spelled differently", content(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`), `duplicate key "a" in the header`},
	{"duplicate metadata object", content(`{"__metadata__":{},"__metadata__":{}}`), `duplicate key "__metadata__"`},
	{"duplicate metadata key", content(`{"__metadata__":{"k":"1","k":"2"}}`), `duplicate key "k" in __metadata__`},
	{"duplicate key in a tensor", content(`{"a":{"dtype":"U8","dtype":"I8","shape":[0],"data_offsets":[0,0]}}`), `duplicate key "dtype" in tensor "a"`},
	{"metadata not an object", content(`{"__metadata__":["a"]}`), "__metadata__ must be an object, not ["},
	{"metadata not text", content(`{"__metadata__":{"step":3}}`), `__metadata__ entry "step" must be a string, not 3`},

	{"tensor not an object", content(`{"a":3}`), `tensor "a" must be an object, not 3`},
	{"no dtype", content(`{"a":{"shape":[0],"data_offsets":[0,0]}}`), `tensor "a" has no dtype`},
	{"no shape", content(`{"a":{"dtype":"U8","data_offsets":[0,0]}}`), `tensor "a" has no shape`},
	{"no offsets", content(`{"a":{"dtype":"U8","shape":[0]}}`), `tensor "a" has no data_offsets`},
	{"keys in capitals", content(`{"a":{"DTYPE":"U8","shape":[0],"data_offsets":[0,0]}}`), `tensor "a" has no dtype`},
	{"dtype not text", content(`{"a":{"dtype":null,"shape":[0],"data_offsets":[0,0]}}`), `dtype of tensor "a" must be a string, not null`},
	{"shape not an array", content(`{"a":{"dtype":"U8","shape":"x","data_offsets":[0,0]}}`), `shape of tensor "a" must be an array of integers, not "x"`},
	{"negative dimension", content(`{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}}`), `shape of tensor "a" holds -1, want an integer from 0`},
	{"fractional dimension", content(`{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,0]}}`), `shape of tensor "a" holds 1.5`},
	{"dimension with an exponent", content(`{"a":{"dtype":"U8","shape":[1e0],"data_offsets":[0,1]}}`, 0), `shape of tensor "a" holds 1e0`},
	{"dimension above int64", content(`{"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,0]}}`), `holds 18446744073709551615`},
	{"dimension in a string", content(`{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}`, 0), `shape of tensor "a" must hold integers, not "1"`},
	{"overflowing product", content(`{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`), `shape [4294967296 4294967296] overflows`},
	{"product that wraps to the size given", content(`{"a":{"dtype":"U8","shape":[4294967297,4294967297],"data_offsets":[0,1]}}`, 0), `overflows`},
	{"overflowing size", content(`{"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}}`), `shape [2305843009213693952] of F64 overflows`},
	{"size beyond the shape", content(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}`, make([]byte, 8)...), `shape [1] of F32 takes 4 bytes, but data_offsets [0, 8] hold 8`},
	{"size short of the shape", content(`{"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,8]}}`, make([]byte, 8)...), `shape [2 3] of F16 takes 12 bytes, but data_offsets [0, 8] hold 8`},
	{"half a byte", content(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,1]}}`, 0), `shape [3] of F4 takes 1+4/8 bytes, but data_offsets [0, 1] hold 1`},
	{"many dimensions", content(`{"a":{"dtype":"U8","shape":[2`+strings.Repeat(",1", 5000)+`],"data_offsets":[0,1]}}`, 0), `shape of tensor "a" has more than 64 numbers`},
	{"unknown dtype with a shape to allocate by", content(`{"a":{"dtype":"Q0","shape":[1000000000000],"data_offsets":[0,1]}}`, 0), "1000000000000 elements, more than fit in the 1 bytes"},

	{"negative offset", content(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[-1,0]}}`), `data_offsets of tensor "a" holds -1`},
	{"one offset", content(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}}`), `data_offsets of tensor "a" has 1 numbers, want 2`},
	{"three offsets", content(`{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}`), `data_offsets of tensor "a" has more than 2 numbers`},
	{"reversed offsets", content(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}`, 0), `tensor "a": data_offsets [1, 0] are reversed`},
	{"offsets beyond the file", content(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 0), `tensor "a": data_offsets [0, 2] reach past the end of the data, which has 1 bytes`},
	{"offsets at the end of int64", content(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775806,9223372036854775807]}}`, 0), `reach past the end`},
	{"offset above int64", content(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,9223372036854775808]}}`, 0), `data_offsets of tensor "a" holds 9223372036854775808`},
	{"overlap", content(`{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}`, 0, 0, 0), `tensors "a" and "b" overlap: the first ends at 2 of the data and the second begins at 1`},
	{"two tensors in one place", content(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 0), `tensors "a" and "b" overlap`},
	{"empty tensor inside another", content(`{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}}`, 0, 0), `tensors "a" and "b" overlap`},
	{"gap at the start", content(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 0, 0), `gap before tensor "a": bytes 0 to 1 of the data belong to no tensor`},
	{"gap between tensors", content(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[3,4]}}`, 0, 0, 0, 0), `gap before tensor "b": bytes 1 to 3`},
	{"trailing bytes", content(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 0, 0, 0), `2 trailing bytes: the tensors end at 1 of the data, which has 3 bytes`},
	{"data without tensors", content(`{}`, 0), `1 trailing bytes`},
}

func TestHostileFilesAreErrorsThatSayWhatIsWrong(t *testing.T) {
	for _, c := range hostile {
		t.Run(c.reason, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := NewReader(bytes.NewReader(c.file), int64(len(c.file)))
			runtime.ReadMemStats(&after)

			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, err, "safetensors: ")
			require.Less(t, len(err.Error()), 500)
			// Tokens, keys and the header itself take a small multiple of the file; the rest is the error.
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<10+20*len(c.file)))
		})
	}
}

func TestEveryTruncationIsAnError(t *testing.T) {
	whole := encoded(t, map[string]string{"k": "v"},
		Tensor{Name: "a", Dtype: F32, Shape: []int{2}, Float32: []float32{1, 2}},
		Tensor{Name: "b", Dtype: F16, Shape: []int{3}, Float32: []float32{1, 2, 3}})
	for n := range whole {
		_, err := NewReader(bytes.NewReader(whole[:n]), int64(n))
		require.Error(t, err, "the first %d of %d bytes", n, len(whole))
	}
	open(t, whole)
}

func TestWhatTheFormatAllowsIsRead(t *testing.T) {
	for _, c := range []struct {
		reason string
		file   []byte
		names  []string
	}{
		{"no tensors", content(`{}`), nil},
		{"padding", content("{}      \n"), nil},
		{"empty metadata", content(`{"__metadata__":{}}`), nil},
		{"white space", content("{\n \"a\" : {\"dtype\":\t\"U8\", \"shape\" : [ ] , \"data_offsets\":[0,1]} }", 7), []string{"a"}},
		{"data in another order than the header", content(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}`, 0, 0), []string{"a", "b"}},
		{"empty tensors anywhere between others", content(`{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F64","shape":[3,0],"data_offsets":[1,1]},"c":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"d":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}`, 0, 0), []string{"a", "b", "c", "d"}},
		{"keys the format does not know", content(`{"a":{"dtype":"U8","x":{"y":[1,{}]},"shape":[1],"data_offsets":[0,1]}}`, 0), []string{"a"}},
		{"names that look like something else", content(`{"":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"dtype":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}`), []string{"", "dtype"}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			require.Equal(t, c.names, open(t, c.file).Names())
		})
	}
}

func TestAnUnreadableDtypeIsListedAndRefusedOnlyWhenRead(t *testing.T) {
	for _, d := range []string{"F8_E4M3", "BOOL", "Q3", ""} {
		f := open(t, content(fmt.Sprintf(`{"new":{"dtype":%q,"shape":[2],"data_offsets":[1,3]},"old":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}`, d), 7, 0, 0))
		info, ok := f.Info("new")
		require.True(t, ok)
		require.Equal(t, Info{Dtype: Dtype(d), Shape: []int{2}, Bytes: 2}, info)
		require.EqualError(t, Read(f, "new", make([]float32, 2)), fmt.Sprintf(`safetensors: tensor "new": dtype %q cannot be read; %s can`, d, readable))

		old := make([]float32, 1)
		require.NoError(t, Read(f, "old", old))
		require.Equal(t, []float32{7}, old)
	}
}

func TestReadRefusesWhatItCannotGive(t *testing.T) {
	file := encoded(t, nil,
		Tensor{Name: "w", Dtype: F32, Shape: []int{2, 3}, Float32: make([]float32, 6)},
		Tensor{Name: "huge", Dtype: F64, Shape: []int{3}, Float64: []float64{1, math.Inf(-1), -1e39}})
	f := open(t, file)
	for _, n := range []int{0, 5, 7} {
		require.EqualError(t, Read(f, "w", make([]float64, n)), fmt.Sprintf(`safetensors: tensor "w": shape [2 3] has 6 elements, dst has %d`, n))
	}
	require.EqualError(t, Read(f, "v", []float32{0}), `safetensors: no tensor "v" among the file's 2; Names lists them`)
	require.EqualError(t, Read(f, "huge", make([]float32, 3)), `safetensors: tensor "huge": element 2: -1e+39 is beyond the range of float32; read it as float64`)
	require.NoError(t, Read(f, "huge", make([]float64, 3)))

	_, ok := f.Info("v")
	require.False(t, ok)
}

func TestAnInexactIntegerIsNamed(t *testing.T) {
	values := make([]byte, 8*20_000)
	at := 12_345 // in the second chunk
	inexact := int64(-(1<<24 + 1))
	binary.LittleEndian.PutUint64(values[8*at:], uint64(inexact))
	f := open(t, content(`{"ids":{"dtype":"I64","shape":[20000],"data_offsets":[0,160000]}}`, values...))
	require.EqualError(t, Read(f, "ids", make([]float32, 20_000)), `safetensors: tensor "ids": element 12345: integer -16777217 cannot be held exactly in a float32`)

	doubles := make([]float64, 20_000)
	require.NoError(t, Read(f, "ids", doubles))
	require.Equal(t, float64(inexact), doubles[at])
}

func TestBitsOfSignalingNaNSurviveSameTypeReading(t *testing.T) {
	f := open(t, content(`{"n":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, 1, 0, 0x80, 0xff))
	n := make([]float32, 1)
	require.NoError(t, Read(f, "n", n))
	require.Equal(t, uint32(0xff800001), math.Float32bits(n[0]))
}

// logged records the byte ranges that are read.
type logged struct {
	io.ReaderAt
	ranges [][2]int64
}

func (l *logged) ReadAt(b []byte, offset int64) (int, error) {
	l.ranges = append(l.ranges, [2]int64{offset, offset + int64(len(b))})
	return l.ReaderAt.ReadAt(b, offset)
}

func TestReadingIsLazy(t *testing.T) {
	file := encoded(t, nil,
		Tensor{Name: "a", Dtype: F32, Shape: []int{100}, Float32: make([]float32, 100)},
		Tensor{Name: "b", Dtype: F32, Shape: []int{10}, Float32: make([]float32, 10)})
	log := &logged{ReaderAt: bytes.NewReader(file)}
	f, err := NewReader(log, int64(len(file)))
	require.NoError(t, err)
	data := int64(len(file) - 440)
	require.Equal(t, [][2]int64{{0, 8}, {8, data}}, log.ranges, "opening reads the header alone")

	log.ranges = nil
	require.NoError(t, Read(f, "b", make([]float32, 10)))
	require.Equal(t, [][2]int64{{data + 400, data + 440}}, log.ranges, "reading a tensor reads its bytes alone")
}

func TestAFileThatShrinksAfterOpeningIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.safetensors")
	require.NoError(t, WriteFile(path, nil, []Tensor{{Name: "w", Dtype: F64, Shape: []int{4}, Float64: make([]float64, 4)}}))
	f, err := Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	stat, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(path, stat.Size()-3))
	err = Read(f, "w", make([]float64, 4))
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.ErrorContains(t, err, `tensor "w": 29 of 32 bytes at byte`)
}

func TestOpenSaysWhichFile(t *testing.T) {
	folder := t.TempDir()
	_, err := Open(filepath.Join(folder, "absent"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "absent")

	_, err = Open(folder)
	require.EqualError(t, err, "safetensors: "+folder+": not a regular file")

	bad := filepath.Join(folder, "bad")
	require.NoError(t, os.WriteFile(bad, []byte("GGUF"), 0o600))
	_, err = Open(bad)
	require.EqualError(t, err, "safetensors: "+bad+": truncated file: 4 bytes cannot hold the 8 of the header length")
}

func TestAClosedFileIsAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	require.NoError(t, WriteFile(path, nil, []Tensor{{Name: "w", Dtype: F32, Float32: []float32{1}}}))
	f, err := Open(path)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.ErrorIs(t, Read(f, "w", make([]float32, 1)), os.ErrClosed)
}

type failing struct{ error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.error }

func TestAReadersErrorIsKept(t *testing.T) {
	broken := errors.New("disk on fire")
	_, err := NewReader(failing{broken}, 100)
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "reading the header length")
}

func TestAnswersAreTheCallersToChange(t *testing.T) {
	f := open(t, encoded(t, map[string]string{"k": "v"}, Tensor{Name: "w", Dtype: F32, Shape: []int{1}, Float32: []float32{1}}))
	f.Names()[0] = "x"
	f.Metadata()["k"] = "x"
	info, _ := f.Info("w")
	info.Shape[0] = 1 << 30
	require.Equal(t, []string{"w"}, f.Names())
	require.Equal(t, map[string]string{"k": "v"}, f.Metadata())
	require.NoError(t, Read(f, "w", make([]float32, 1)))
	require.NoError(t, f.Close())
	require.NoError(t, Read(f, "w", make([]float32, 1)), "a File of a reader has nothing to close")
}

func TestConcurrentReadsAgree(t *testing.T) {
	values := make([]float32, 50_000)
	for i := range values {
		values[i] = float32(i)
	}
	f := open(t, encoded(t, nil, Tensor{Name: "w", Dtype: F32, Shape: []int{50_000}, Float32: values}))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			got := make([]float32, len(values))
			if err := Read(f, "w", got); err != nil {
				t.Error(err)
			}
			if got[49_999] != 49_999 {
				t.Errorf("last value is %v", got[49_999])
			}
		})
	}
	group.Wait()
}
