package house_test

import (
	"encoding/json"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root   = "../.."
	module = "github.com/ebb-go/ebb/"
)

type listed struct {
	ImportPath, Dir, Name string
	Imports               []string
	TestImports           []string
	XTestImports          []string
	GoFiles               []string
}

func packages(t *testing.T) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-json", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	require.NoError(t, err)
	var list []listed
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return list
		} else {
			require.NoError(t, err)
		}
		list = append(list, p)
	}
}

// mayImport lists, for each part of the tree, the parts of the tree it stands on. The longest prefix counts.
var mayImport = []struct {
	part   string
	on     []string
	reason string
}{
	{"internal/picture", nil, "drawing knows nothing of sampling"},
	{"internal", []string{"internal"}, "kernels, noise and formats are below everything"},
	{"ode", []string{"internal", "ode"}, "solvers need no graph"},
	{"graph", []string{"internal", "ode"}, "the only package that knows how Gorgonia behaves"},
	{"adjoint", []string{"internal", "ode", "graph"}, "gradients of runs of any field"},
	{"models", []string{"internal", "ode", "graph"}, "networks are graphs"},
	{"train/data", []string{"internal"}, "readers know nothing of networks"},
	{"train/measure", []string{"internal"}, "measures look at numbers"},
	{"train", []string{"internal", "ode", "graph", "adjoint", "models", "train"}, "training stands on all of it"},
	{"examples", []string{"internal", "ode", "graph", "adjoint", "models", "train", "examples"}, "examples may use everything"},
}

func under(path, part string) bool { return path == part || strings.HasPrefix(path, part+"/") }

func TestImportOrder(t *testing.T) {
	for _, p := range packages(t) {
		here := strings.TrimPrefix(p.ImportPath, module)
		i := slices.IndexFunc(mayImport, func(r struct {
			part   string
			on     []string
			reason string
		}) bool {
			return under(here, r.part)
		})
		require.GreaterOrEqual(t, i, 0, "%s is in no part of the tree; say in mayImport what it may import", here)
		rule := mayImport[i]
		for _, path := range p.Imports {
			if !strings.HasPrefix(path, module) {
				// Only graph and what stands on it may see Gorgonia.
				if under(here, "ode") || under(here, "internal") {
					require.False(t, strings.HasPrefix(path, "gorgonia.org/"), "%s imports %s", here, path)
				}
				continue
			}
			path = strings.TrimPrefix(path, module)
			require.True(t, slices.ContainsFunc(rule.on, func(on string) bool { return under(path, on) }),
				"%s imports %s, but may only import %v: %s", here, path, rule.on, rule.reason)
			require.False(t, under(path, "examples") && !under(here, "examples"), "%s imports an example", here)
		}
	}
}

// Examples are documentation: what they import, a reader can import.
func TestExamplesUseWhatIsPublic(t *testing.T) {
	seen := 0
	for _, p := range packages(t) {
		if here := strings.TrimPrefix(p.ImportPath, module); under(here, "internal") || p.Name == "main" {
			continue
		}
		files, err := filepath.Glob(filepath.Join(p.Dir, "*example*_test.go"))
		require.NoError(t, err)
		for _, name := range files {
			f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
			require.NoError(t, err)
			seen++
			for _, i := range f.Imports {
				require.NotContains(t, i.Path.Value, "/internal/", "%s imports what only this module can", name)
			}
		}
	}
	require.Positive(t, seen)
}

// Every exported name has a doc comment, and every package a doc comment of its own.
func TestEverythingExportedIsDocumented(t *testing.T) {
	for _, p := range packages(t) {
		if p.Name == "main" || len(p.GoFiles) == 0 {
			continue
		}
		fset := token.NewFileSet()
		var files []*ast.File
		for _, name := range p.GoFiles {
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
			require.NoError(t, err)
			files = append(files, f)
		}
		d, err := doc.NewFromFiles(fset, files, p.ImportPath)
		require.NoError(t, err)
		require.NotEmpty(t, d.Doc, "package %s has no doc comment", p.ImportPath)
		missing := func(kind, name, text string) {
			require.NotEmpty(t, strings.TrimSpace(text), "%s: %s %s has no doc comment", p.ImportPath, kind, name)
		}
		funcs := func(list []*doc.Func, of string) {
			for _, f := range list {
				missing("func", of+f.Name, f.Doc)
			}
		}
		values := func(list []*doc.Value) {
			for _, v := range list {
				for _, s := range v.Decl.Specs {
					s := s.(*ast.ValueSpec)
					if slices.ContainsFunc(s.Names, (*ast.Ident).IsExported) {
						missing("value", s.Names[0].Name, v.Doc+s.Doc.Text()+s.Comment.Text())
					}
				}
			}
		}
		funcs(d.Funcs, "")
		values(d.Consts)
		values(d.Vars)
		for _, typ := range d.Types {
			missing("type", typ.Name, typ.Doc)
			funcs(typ.Funcs, "")
			for _, m := range typ.Methods {
				if !wellKnown[m.Name] {
					missing("method", typ.Name+"."+m.Name, m.Doc)
				}
			}
			values(typ.Consts)
			values(typ.Vars)
		}
	}
}

// wellKnown methods implement an interface of the standard library or one whose doc says it all.
var wellKnown = map[string]bool{"String": true, "Error": true, "Unwrap": true, "MarshalJSON": true, "UnmarshalJSON": true,
	"Len": true, "Less": true, "Swap": true}

func readme(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	return string(b)
}

// The program in the README compiles.
func TestReadmeProgram(t *testing.T) {
	_, rest, ok := strings.Cut(readme(t), "```go\n")
	require.True(t, ok)
	program, _, ok := strings.Cut(rest, "```")
	require.True(t, ok)
	dir, err := os.MkdirTemp(filepath.Join(root, "internal/house"), "readme-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.WriteFile(filepath.Join(dir, "main.go"), []byte(program), 0o644))
	cmd := exec.Command("go", "vet", ".")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

var (
	command = regexp.MustCompile(`(?m)^\$ go (?:run|test|build) .*$`)
	target  = regexp.MustCompile(`\./[\w./-]+`)
	link    = regexp.MustCompile(`\]\(([\w./-]+)\)`)
	flag    = regexp.MustCompile(` -([a-z][a-z-]*)`)
)

// The commands, links and flags that the documents show exist.
func TestDocumentsNameWhatExists(t *testing.T) {
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "testdata/README.md"} {
		b, err := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, err)
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			_, err := os.Stat(filepath.Join(root, filepath.Dir(name), m[1]))
			require.NoError(t, err, "%s links to %s", name, m[1])
		}
		for _, line := range command.FindAllString(string(b), -1) {
			for _, path := range target.FindAllString(line, -1) {
				path = strings.TrimSuffix(path, "/...")
				_, err := os.Stat(filepath.Join(root, path))
				require.NoError(t, err, "%s shows %q", name, line)
				if !strings.HasPrefix(line, "$ go run ./examples/") || !strings.HasPrefix(path, "./examples/") {
					continue
				}
				source := sources(t, path)
				for _, f := range flag.FindAllStringSubmatch(line, -1) {
					require.Contains(t, source, `"`+f[1]+`"`, "%s shows %q, but %s has no flag %s", name, line, path, f[1])
				}
			}
		}
	}
}

func sources(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") {
			return err
		}
		text, err := os.ReadFile(path)
		b.Write(text)
		return err
	}))
	return b.String()
}
