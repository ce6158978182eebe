package command

import (
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
)

// Again is a line for a POSIX shell that starts this program as it was started, by go run or by its file, with the arguments.
func Again(args ...string) string {
	words := []string{os.Args[0]}
	if info, ok := debug.ReadBuildInfo(); ok && temporary(os.Args[0]) {
		words = []string{"go", "run", packageOf(info)}
	}
	return Line(append(words, args...)...)
}

// Line is a line for a POSIX shell of a program and its arguments.
func Line(words ...string) string {
	line := make([]string, len(words))
	for i, w := range words {
		line[i] = quoted(w)
	}
	return strings.Join(line, " ")
}

// temporary says whether a program lies where go run builds it.
func temporary(program string) bool { return strings.Contains(filepath.ToSlash(program), "/go-build") }

// packageOf is how go run is told of the program: from the top folder of its module by the folder, else by the import path.
func packageOf(info *debug.BuildInfo) string {
	if folder, ok := strings.CutPrefix(info.Path, info.Main.Path+"/"); ok {
		if _, err := os.Stat(filepath.Join(filepath.FromSlash(folder), "main.go")); err == nil {
			return "./" + folder
		}
	}
	return info.Path
}

// quoted is a word as a POSIX shell reads it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-./,:=+@%", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
