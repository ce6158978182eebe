package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/arch/arm64/arm64asm"
)

func generate(group string) (assembly, stubs []byte) {
	var a asm
	groups[group](&a)
	return a.source()
}

// The committed assembly and stubs are what this program writes, but for the line that names the command.
func TestCommittedFilesAreUpToDate(t *testing.T) {
	for group := range groups {
		assembly, stubs := generate(group)
		for name, want := range map[string][]byte{"z" + group + "_arm64.s": assembly, "z" + group + "_arm64.go": stubs} {
			text, err := os.ReadFile(filepath.Join("..", "..", name))
			if err != nil {
				t.Fatal(err)
			}
			if _, rest, _ := bytes.Cut(text, []byte("\n")); !bytes.Equal(rest, want) {
				t.Errorf("%s is stale: run go generate in internal/kernels", name)
			}
		}
	}
}

// A disassembler reads every word as the comment beside it.
func TestWordsAreWhatTheirCommentsSay(t *testing.T) {
	word := regexp.MustCompile(`WORD \$0x([0-9a-f]{8}) // (.*)`)
	for group := range groups {
		assembly, _ := generate(group)
		seen := map[string]bool{}
		for _, m := range word.FindAllSubmatch(assembly, -1) {
			n, err := strconv.ParseUint(string(m[1]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			inst, err := arm64asm.Decode(binary.LittleEndian.AppendUint32(nil, uint32(n)))
			if err != nil {
				t.Fatalf("%s: %v", m[0], err)
			}
			if got := arm64asm.GNUSyntax(inst); got != string(m[2]) {
				t.Fatalf("%s: reads %s", m[0], got)
			}
			name, _, _ := strings.Cut(string(m[2]), " ")
			seen[name] = true
		}
		if len(seen) < 10 {
			t.Errorf("%s has words of %d instructions only: has their form changed?", group, len(seen))
		}
	}
}

// R18 belongs to the system on some, and R26 to R30 to Go.
func TestReservedRegistersAreLeftAlone(t *testing.T) {
	reserved := regexp.MustCompile(`\b[Rx](1[678]|2[6-9]|30)\b`)
	for group := range groups {
		assembly, _ := generate(group)
		if used := reserved.Find(assembly); used != nil {
			t.Errorf("%s uses %s", group, used)
		}
	}
}

// In the loop that products spend their time in there is at most one other instruction to three that multiply. Most processors have
// more room beside their multipliers than that, but the text is all that could be measured: there was no such machine.
func TestInnerLoopMultiplies(t *testing.T) {
	assembly, _ := generate("gemm")
	for _, c := range []struct {
		name                 string
		products, loads, all int
	}{ // 4 steps of 6 rows of 4 vectors; 4·2 pairs of b, and of a as many vectors as it takes
		{"tileRow32neonx6", 96, 14, 117},
		{"tileCol32neonx6", 96, 16, 122},
		{"tileRow64neonx6", 96, 20, 124},
		{"tileCol64neonx6", 96, 20, 126},
	} {
		_, text, _ := bytes.Cut(assembly, []byte("TEXT ·"+c.name+"(SB)"))
		_, text, _ = bytes.Cut(text, []byte("\nloop:\n"))
		text, _, _ = bytes.Cut(text, []byte("BGE loop\n"))
		products, loads, all := bytes.Count(text, []byte("fmla")), bytes.Count(text, []byte("// ld")), bytes.Count(text, []byte("\n"))+1
		if products != c.products || loads != c.loads || all != c.all {
			t.Errorf("%s: %d products, %d loads, %d instructions", c.name, products, loads, all)
		}
	}
}
