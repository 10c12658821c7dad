package blocklist

import (
	"context"
	"fmt"
	"net/netip"
	"os"
)

// Formats returns the names of the formats, as List.Format and CheckFile have them.
func Formats() []string {
	var names []string
	for _, f := range formats {
		names = append(names, f.name)
	}
	return append(names, formatUT1.name)
}

func formatNamed(name string) (format, bool) {
	if name == formatUT1.name {
		return formatUT1, true
	}
	for _, f := range formats {
		if f.name == name {
			return f, true
		}
	}
	return format{}, false
}

// CheckFile reads the list file at path, or the UT1 directory, as Load would, and gives each of its problems to problem
// as it comes to it, in order of lines but for a record of a zone file that spans several; problem may be nil. An
// empty format means that the file tells which it is. The List is what Load would make of the file, without a
// category; an error means that Load would use nothing of it, whatever problems were given before.
func CheckFile(path, format string, problem func(Problem)) (*List, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	src := source{name: path, path: path, ut1: info.IsDir() && isUT1(path), format: format}
	switch {
	case info.IsDir() && !src.ut1:
		return nil, fmt.Errorf("list %s: is a directory; name the files in it", path)
	case !info.IsDir() && !info.Mode().IsRegular():
		return nil, fmt.Errorf("list %s: is neither a file nor a directory", path)
	}
	l := &List{Name: path}
	build := NewBuilder()
	r := newReader(l, func(_ int, part uint16, name []byte, scope Scope, exception bool) error {
		return build.Add(int(part), name, scope, exception)
	})
	r.network = func(int, netip.Prefix, bool) error { return nil }
	r.problem = problem
	if err := readSource(context.Background(), src, r); err != nil {
		return nil, fmt.Errorf("list %s: %w", path, err)
	}
	holders := make([]holder, 1+len(l.parts))
	for i := range holders {
		holders[i].list = l
	}
	l.Mentions = l.Entries
	newLists(build.Build(), holders, []*List{l}, []Category{{Lists: []*List{l}}}) // counts distinct names
	return l, nil
}
