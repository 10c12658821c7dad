package hosts

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
)

// A File is one lease file.
type File struct {
	Path   string
	Format string // one of Formats; empty: the one that its content shows
}

// keaBefore are the endings of files that Kea's cleanup makes, in the order in which they are read; those after the first
// only where there is not the first (Memfile_LeaseMgr::loadLeasesFromFiles).
var keaBefore = [...]string{".completed", ".2", ".1"}

// A leaseFile is what is known of one File. It is Run's, or Load's before.
type leaseFile struct {
	File
	hosts []Host

	doubt   bool                   // it may not be as it was read
	read    map[string]fs.FileInfo // what was read, by path; nil: nothing was
	restive int                    // readings one after the other during which it changed
	said    string                 // why it cannot be read, as said last; empty: it can
	shown   map[string]bool        // problems of the last reading
}

// paths returns the files that it may be made of, in the order in which they are read.
func (f *leaseFile) paths() []string {
	var paths []string
	if f.Format == "" || f.Format == "kea" {
		for _, ending := range keaBefore {
			paths = append(paths, f.Path+ending)
		}
	}
	return append(paths, f.Path)
}

// glance returns what is there by path.
func (f *leaseFile) glance() map[string]fs.FileInfo {
	is := make(map[string]fs.FileInfo)
	for _, path := range f.paths() {
		if info, err := os.Stat(path); err == nil {
			is[path] = info
		}
	}
	return is
}

// differs says whether it is not as it was when it was read.
func (f *leaseFile) differs() bool { return !sameGlance(f.glance(), f.read) }

func sameGlance(a, b map[string]fs.FileInfo) bool {
	if len(a) != len(b) {
		return false
	}
	for path, x := range a {
		y := b[path]
		if y == nil || x.Size() != y.Size() || !x.ModTime().Equal(y.ModTime()) || x.Mode() != y.Mode() || !os.SameFile(x, y) {
			return false
		}
	}
	return true
}

// maxRestive is how often a file that changes while it is read is read anew before it is taken as it was.
const maxRestive = 5

// load reads it, if it is whole: not ok is a file that changed meanwhile, to be read anew. What cannot be read leaves
// what was known, and that is said once.
func (f *leaseFile) load(logger *slog.Logger) (ok bool) {
	before := f.glance()
	hosts, problems, err := f.parse(before)
	after := f.glance()
	if f.restive++; !sameGlance(before, after) && f.restive < maxRestive {
		return false
	}
	f.doubt, f.restive, f.read = false, 0, before
	if err != nil {
		f.say(logger, err)
		return true
	}
	if f.said != "" {
		f.said = ""
		logger.Info("lease file can be read", "file", f.Path, "hosts", len(hosts))
	}
	logger.Debug("lease file read", "file", f.Path, "hosts", len(hosts), "problems", len(problems))
	f.hosts = hosts
	shown := make(map[string]bool, len(problems))
	for _, p := range problems {
		if shown[p.What] = true; !f.shown[p.What] {
			logger.Warn("lease cannot be used", "file", p.path, "line", p.Line, "problem", p.What)
		}
	}
	f.shown = shown
	return true
}

// say says once why it cannot be read.
func (f *leaseFile) say(logger *slog.Logger, err error) {
	why := err.Error()
	if f.said == why {
		return
	}
	f.said = why
	switch {
	case !errors.Is(err, fs.ErrNotExist):
		logger.Warn("lease file cannot be read; what it said before is kept", "file", f.Path, "hosts", len(f.hosts), "error", err)
	case f.hosts == nil:
		logger.Warn("lease file is not there yet; it is read when it comes", "file", f.Path)
	default:
		logger.Warn("lease file is gone; what it said is kept until it comes back", "file", f.Path, "hosts", len(f.hosts))
	}
}

// A placedProblem is one with its file.
type placedProblem struct {
	path string
	Problem
}

// parse reads the files that are there.
func (f *leaseFile) parse(there map[string]fs.FileInfo) ([]Host, []placedProblem, error) {
	if f.Format != "kea" {
		r := newReader()
		format, err := readLeases(r, f.Path, f.Format)
		if err != nil {
			return nil, nil, err
		}
		if format != "kea" {
			return r.sorted(), f.placed(r, f.Path), nil
		}
	}
	r := newReader()
	var problems []placedProblem
	for i, path := range f.paths() {
		if path != f.Path && (there[path] == nil || i > 0 && there[f.paths()[0]] != nil) {
			continue
		}
		if _, err := readLeases(r, path, "kea"); err != nil {
			return nil, nil, err
		}
		problems = append(problems, f.placed(r, path)...)
	}
	return r.sorted(), problems, nil
}

// placed returns the problems of what r read last.
func (f *leaseFile) placed(r *reader, path string) []placedProblem {
	var placed []placedProblem
	for _, p := range r.list() {
		placed = append(placed, placedProblem{path, p})
	}
	return placed
}

// readLeases has r read one file, and returns its format.
func readLeases(r *reader, path, format string) (string, error) {
	info, err := os.Stat(path) // before it is opened: a pipe would wait for its writer
	switch {
	case err != nil:
		return "", err
	case !info.Mode().IsRegular():
		return "", fmt.Errorf("%s is no ordinary file", path)
	case info.Size() > maxFile:
		return "", fmt.Errorf("%s %w", path, errTooLarge)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if format, err = r.file(file, format); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return format, nil
}

// folders returns those whose events tell of it, and the paths that the events name.
func (f *leaseFile) folders() (folders []string, files []string) {
	for _, path := range f.paths() {
		files = append(files, path)
		if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
			files = append(files, real)
		}
	}
	for _, path := range files {
		if folder := filepath.Dir(path); !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	return folders, files
}
