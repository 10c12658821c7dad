package main

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A glance is what one source of lists leads to at one moment.
type glance struct {
	files   map[string]fs.FileInfo // what is read, or would be, by the path that leads there
	real    map[string]bool        // the files among them, by their paths without links
	folders map[string]*interest   // that the way leads through, or ends in, without links
}

// An interest is which names in a folder decide what a source leads to.
type interest struct {
	names    map[string]bool
	patterns []string // of globs
	all      bool     // every name that a list may have
	// near says that lists lie here, or a link to them, or that the way ends here: more than that it leads through.
	near bool
}

func (in *interest) matters(name string) bool {
	if in.names[name] || in.all && isListName(name) {
		return true
	}
	return slices.ContainsFunc(in.patterns, func(pattern string) bool {
		ok, _ := filepath.Match(pattern, name)
		return ok
	})
}

// isListName says whether a file of that name in a folder of lists is one, as package blocklist reads folders.
func isListName(name string) bool {
	return !strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "README") && !strings.HasPrefix(name, "LICENSE") && name != "global_usage"
}

const globLetters = `*?[`

// glanceAt looks at a source, an absolute path of a file or a folder, or a glob.
func glanceAt(path string) *glance {
	g := &glance{files: make(map[string]fs.FileInfo), real: make(map[string]bool), folders: make(map[string]*interest)}
	if real, info := g.follow(path); info != nil {
		g.list(path, real, info)
	} else if strings.ContainsAny(path, globLetters) {
		g.glob(path)
	}
	return g
}

// maxLinks is how many symbolic links one path may hold, as on Linux (path_resolution(7)).
const maxLinks = 40

// follow goes along path name by name, as the kernel does, and takes note of every folder on the way: what replaces
// one of them, or a link in it, changes where the path leads. It returns the path without links and what is there; nil if
// it leads nowhere.
func (g *glance) follow(path string) (string, fs.FileInfo) {
	here, rest := pathParts(path)
	links := 0
	for i := 0; i < len(rest); i++ {
		name := rest[i]
		if name == ".." { // from a link's target
			here = filepath.Dir(here)
			continue
		}
		in := g.folder(here)
		in.names[name] = true
		full := filepath.Join(here, name)
		info, err := os.Lstat(full)
		switch {
		case err != nil:
			in.near = true
			return "", nil
		case info.Mode()&fs.ModeSymlink != 0:
			in.near = true
			target, err := os.Readlink(full)
			if links++; err != nil || links > maxLinks {
				return "", nil
			}
			if filepath.IsAbs(target) {
				here = filepath.VolumeName(target) + string(filepath.Separator)
			}
			rest, i = append(names(target), rest[i+1:]...), -1
		case i == len(rest)-1:
			in.near = true
			return full, info
		case !info.IsDir():
			in.near = true
			return "", nil
		default:
			here = full
		}
	}
	info, err := os.Stat(here)
	if err != nil {
		return "", nil
	}
	return here, info
}

// pathParts takes an absolute path apart.
func pathParts(path string) (root string, rest []string) {
	volume := filepath.VolumeName(path)
	return volume + string(filepath.Separator), names(path[len(volume):])
}

func names(path string) []string {
	return slices.DeleteFunc(strings.Split(filepath.ToSlash(path), "/"), func(name string) bool { return name == "" || name == "." })
}

func (g *glance) folder(path string) *interest {
	in := g.folders[path]
	if in == nil {
		in = &interest{names: make(map[string]bool)}
		g.folders[path] = in
	}
	return in
}

// list takes what a source leads to: a file, or a folder with all its files.
func (g *glance) list(path, real string, info fs.FileInfo) {
	g.files[path] = info
	if !info.IsDir() {
		g.real[real] = true
		return
	}
	in := g.folder(real)
	in.all, in.near = true, true
	entries, _ := os.ReadDir(real) // one that cannot be read holds nothing; reading the lists says why
	for _, e := range entries {
		if !isListName(e.Name()) {
			continue
		}
		if real, info := g.follow(filepath.Join(real, e.Name())); info != nil {
			g.files[filepath.Join(path, e.Name())] = info
			if !info.IsDir() {
				g.real[real] = true
			}
		}
	}
}

// glob takes everything that matches, level by level: a folder that comes later may match too.
func (g *glance) glob(path string) {
	root, parts := pathParts(path)
	type folder struct{ path, real string } // two paths to one folder are two lists for each file in it
	here := []folder{{root, root}}
	for i, part := range parts {
		var next []folder
		for _, dir := range here {
			for _, name := range g.matching(dir.real, part) {
				path := filepath.Join(dir.path, name)
				real, info := g.follow(filepath.Join(dir.real, name))
				switch {
				case info == nil:
				case i < len(parts)-1 && info.IsDir():
					next = append(next, folder{path, real})
				case i == len(parts)-1 && isListName(name):
					g.list(path, real, info)
				}
			}
		}
		here = next
	}
}

// matching returns the names in a folder that one part of a glob means.
func (g *glance) matching(dir, part string) []string {
	if !strings.ContainsAny(part, globLetters+`\`) {
		return []string{part}
	}
	in := g.folder(dir)
	in.near = true
	if !slices.Contains(in.patterns, part) {
		in.patterns = append(in.patterns, part)
	}
	var matching []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if ok, _ := filepath.Match(part, e.Name()); ok {
			matching = append(matching, e.Name())
		}
	}
	return matching
}

// differs returns the first path at which two looks at a source saw something else; empty if they saw the same.
func (g *glance) differs(old *glance) string {
	paths := maps.Clone(g.files)
	maps.Copy(paths, old.files)
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		if !sameFile(g.files[path], old.files[path]) {
			return path
		}
	}
	return ""
}

// sameFile says whether nothing was done to a file between two looks at it. What is done to a folder shows in its files.
func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil || a.Mode() != b.Mode() || !os.SameFile(a, b) {
		return a == nil && b == nil
	}
	return a.IsDir() || a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
