package blocklist

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// source is one list that a source of a category leads to.
type source struct {
	name   string // for display: the path as the operator wrote it, or a path below it
	path   string // the file, or the UT1 directory
	ut1    bool
	format string // one of Formats; empty means that the file tells
}

// resolve returns the lists that one source leads to, in order of their names: a file is itself; a UT1 directory is
// one list; of another directory every regular file is a list; a glob is all that it matches. Directories and globs pass
// over files that noList names. Relative paths begin at dir.
func resolve(text, dir string) ([]source, error) {
	if text == "" {
		return nil, errors.New("is empty; name a file, a directory or a glob")
	}
	if strings.Contains(text, "://") {
		return nil, errors.New("is a URL; download the list and name its file")
	}
	path := text
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, text)
	}
	info, err := os.Stat(path)
	switch {
	case err == nil:
		return resolvePath(text, path, info)
	case !errors.Is(err, fs.ErrNotExist):
		return nil, hinted(err)
	case !strings.ContainsAny(text, `*?[`):
		return nil, errors.New("does not exist; check the path, it begins at the configuration's folder")
	}

	matches, err := filepath.Glob(path)
	if err != nil {
		return nil, fmt.Errorf("is no valid glob: %w", err)
	}
	var all []source
	for _, match := range matches {
		if noList(filepath.Base(match)) {
			continue
		}
		info, err := os.Stat(match)
		if err != nil {
			return nil, fmt.Errorf("match %s: %w", match, hinted(err))
		}
		below, err := resolvePath(displayName(text, dir, match), match, info)
		if err != nil {
			return nil, fmt.Errorf("match %s: %w", match, err)
		}
		all = append(all, below...)
	}
	if len(all) == 0 {
		return nil, errors.New("matches no file")
	}
	return all, nil
}

// displayName returns the name to show for what a glob matched: from dir where the glob was.
func displayName(glob, dir, match string) string {
	if !filepath.IsAbs(glob) {
		if rel, err := filepath.Rel(dir, match); err == nil {
			return rel
		}
	}
	return match
}

// resolvePath is resolve for one existing path.
func resolvePath(name, path string, info fs.FileInfo) ([]source, error) {
	if info.Mode().IsRegular() {
		if dir := aliasOf(path, info); dir != "" {
			return []source{{name: name, path: dir, ut1: true}}, nil
		}
		return []source{{name: name, path: path}}, nil
	}
	if !info.IsDir() {
		return nil, errors.New("is neither a file nor a directory")
	}
	if isUT1(path) {
		return []source{{name: name, path: path, ut1: true}}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, hinted(err)
	}
	var all []source
	for _, e := range entries {
		base := e.Name()
		if noList(base) {
			continue
		}
		full := filepath.Join(path, base)
		info, err := os.Stat(full)
		if err != nil {
			return nil, fmt.Errorf("file %s: %w", base, hinted(err))
		}
		if info.IsDir() {
			return nil, fmt.Errorf("holds the directory %s, which would not be read; name directories by a glob such as %q",
				base, filepath.Join(name, "*"))
		}
		if info.Mode().IsRegular() {
			all = append(all, source{name: filepath.Join(name, base), path: full})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("holds no file")
	}
	return all, nil
}

// noList says whether a file of that name stands beside lists without being one: a hidden file, a README, a LICENSE,
// or UT1's description of its collection.
func noList(base string) bool {
	return strings.HasPrefix(base, ".") || strings.HasPrefix(base, "README") || strings.HasPrefix(base, "LICENSE") ||
		base == "global_usage"
}

// aliasOf returns the UT1 directory beside the file that the file names, "" for none. UT1's aliases are symbolic links,
// and where a system or a copy knows none, files that hold what the link would lead to.
func aliasOf(path string, info fs.FileInfo) string {
	if info.Size() == 0 || info.Size() > maxName {
		return ""
	}
	text, err := os.ReadFile(path)
	target := strings.TrimSpace(string(text))
	if err != nil || target == "" || strings.ContainsAny(target, "./\\\n") {
		return ""
	}
	dir := filepath.Join(filepath.Dir(path), target)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() || !isUT1(dir) {
		return ""
	}
	return dir
}

// isUT1 says whether the directory is one category of a UT1 collection: it has a domains file, or a usage file
// beside its urls or expressions.
func isUT1(dir string) bool {
	has := func(base string) bool {
		info, err := os.Stat(filepath.Join(dir, base))
		return err == nil && info.Mode().IsRegular()
	}
	return has("domains") || has("usage") && (has("urls") || has("expressions"))
}

// hinted adds what to do to an error of the file system.
func hinted(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; let the program's user read it", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w; check the path, it begins at the configuration's folder", err)
	}
	return err
}
