package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// arrows says which of our own packages each package may import: downwards
// only. A package that is not here may not exist.
var arrows = map[string][]string{
	"weir/cmd/weir":                {"weir/cmd/internal/admin", "weir/cmd/internal/exceptions", "weir/cmd/internal/history", "weir/cmd/internal/hosts", "weir/cmd/internal/humbly", "weir/audit", "weir/blocklist", "weir/resolver", "weir/resolver/upstream"},
	"weir/cmd/internal/exceptions": nil,
	"weir/cmd/internal/history":    nil,
	"weir/cmd/internal/hosts":      nil,
	"weir/cmd/internal/humbly":     nil,
	"weir/cmd/internal/admin":      {"weir/cmd/internal/humbly", "weir/audit", "weir/resolver", "weir/resolver/upstream"},
	"weir/resolver":                {"weir/audit", "weir/blocklist", "weir/resolver/cache", "weir/resolver/upstream", "weir/resolver/wire"},
	"weir/resolver/upstream":       {"weir/resolver/wire"},
	"weir/resolver/cache":          {"weir/blocklist", "weir/resolver/wire"},
	"weir/resolver/wire":           nil,
	"weir/blocklist":               nil,
	"weir/audit":                   nil,
	"weir/lists":                   nil,
	"weir/integration":             {"weir/audit", "weir/resolver"}, // tests only, to read what the binary wrote
	"weir/docs/verify":             {"weir/audit"},                  // its test only: see TestReliesOnNothing there
}

// sources parses every Go file of the project, by package path.
func sources(t *testing.T) map[string]map[string]*ast.File {
	t.Helper()
	out := map[string]map[string]*ast.File{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.ImportsOnly)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := "weir/" + filepath.ToSlash(rel)
		if out[pkg] == nil {
			out[pkg] = map[string]*ast.File{}
		}
		out[pkg][path] = file
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestImportsPointDown(t *testing.T) {
	for pkg, files := range sources(t) {
		allowed, known := arrows[pkg]
		if !known {
			t.Errorf("%s has no room in the house: name it in arrows with what it may import", pkg)
		}
		for path, file := range files {
			for _, spec := range file.Imports {
				target, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasPrefix(target, "weir/") && !slices.Contains(allowed, target) {
					t.Errorf("%s imports %s: arrows point down only", path, target)
				}
			}
		}
	}
}

func TestEveryPackageTellsItsStory(t *testing.T) {
	for pkg, files := range sources(t) {
		tests, told := true, false
		for path, file := range files {
			tests = tests && strings.HasSuffix(path, "_test.go")
			told = told || file.Doc != nil && !strings.HasSuffix(path, "_test.go")
		}
		if !tests && !told {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}

func TestHotPathImportsNoDecoder(t *testing.T) {
	for path, file := range sources(t)["weir/resolver"] {
		if filepath.Base(path) != "answer.go" {
			continue
		}
		for _, spec := range file.Imports {
			if strings.Contains(spec.Path.Value, "miekg/dns") || strings.Contains(spec.Path.Value, "log") {
				t.Errorf("%s imports %s", path, spec.Path.Value)
			}
		}
		return
	}
	t.Error("answer.go is gone")
}

// TestTimeZonesAreInTheBinary holds that schedules work where no time zone database is installed.
func TestTimeZonesAreInTheBinary(t *testing.T) {
	for path, file := range sources(t)["weir/cmd/weir"] {
		for _, spec := range file.Imports {
			if spec.Path.Value == `"time/tzdata"` && !strings.HasSuffix(path, "_test.go") {
				return
			}
		}
	}
	t.Error("cmd/weir does not import time/tzdata")
}

func TestTopLevelStaysAsItIs(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	rooms := []string{
		"cmd", "resolver", "blocklist", "audit", "config.toml", "lists", "integration", "go.mod", "go.sum", "README.md",
		"LICENSE", ".ci", ".git", ".gitignore", "packaging", "docs",
		"weir", "weir-data", // what running it leaves; ignored by git
	}
	for _, e := range entries {
		if !slices.Contains(rooms, e.Name()) {
			t.Errorf("%s is new at the top: find it a room", e.Name())
		}
	}
}

// TestDependenciesAreExplained holds README's table against go.mod.
func TestDependenciesAreExplained(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mod)) {
		path, version, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "require "), " ")
		if !ok || !strings.HasPrefix(version, "v") || strings.Contains(line, "// indirect") {
			continue
		}
		if !strings.Contains(string(readme), "| `"+path+"` |") {
			t.Errorf("README's table does not say what %s is for", path)
		}
	}
}

// TestConfigSamplesLoad reads every configuration in README: a whole one must
// load, a part must load after the tables that every configuration has.
func TestConfigSamplesLoad(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(readme), "\n```")
	found := 0
	for i := 1; i < len(parts); i += 2 {
		sample, ok := strings.CutPrefix(parts[i], "toml\n")
		if !ok {
			continue
		}
		found++
		if !strings.Contains(sample, "version = 1") {
			sample = "version = 1\n" + sample
		}
		if !strings.Contains(sample, "[upstream.default]") {
			sample += "\n[upstream.default]\nservers = [\"system\"]\n"
		}
		if !strings.Contains(sample, `["any"]`) {
			sample += "\n[[policy]]\nname = \"sample\"\nclients = [\"any\"]\ndefault = \"allow\"\n"
		}
		_, problems := parseConfig("README.md", []byte(sample))
		if countErrors(problems) > 0 {
			t.Errorf("sample %d:\n%s\n%s", found, sample, renderProblems(problems, ""))
		}
	}
	if found == 0 {
		t.Error("README has no configuration sample")
	}
}
