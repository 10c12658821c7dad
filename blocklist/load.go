package blocklist

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
)

// Lists are all lists of all categories, read into one matcher. They are immutable and safe for concurrent use.
type Lists struct {
	lists      []*List
	categories []Category
	matcher    *Matcher
}

// Load reads the lists of all categories; relative sources begin at dir. It reads each file once, a line at a time.
// Lines that cannot be used are counted in their List. All mistakes are reported at once, joined, each a *ConfigError:
// sources that do not exist or hold no list, categories without sources, and names given twice.
func Load(ctx context.Context, categories []CategoryConfig, dir string) (*Lists, error) {
	l := &loader{dir: dir, build: NewBuilder()}
	var all []Category
	for _, c := range categories {
		if c.Name == "" {
			l.fail(c.Pos, "category without a name")
		}
		if slices.ContainsFunc(all, func(other Category) bool { return other.Name == c.Name }) {
			l.fail(c.Pos, "second category named %q", c.Name)
			continue
		}
		all = append(all, Category{Name: c.Name, Lists: l.category(ctx, c)})
		if ctx.Err() != nil {
			return nil, fmt.Errorf("load lists: %w", ctx.Err())
		}
	}
	if len(l.errs) > 0 {
		return nil, errors.Join(l.errs...)
	}
	return newLists(l.build, l.lists, all), nil
}

// loader gathers what Load reads.
type loader struct {
	dir   string
	build *Builder
	lists []*List
	errs  []error
}

func (l *loader) fail(pos, format string, args ...any) {
	l.errs = append(l.errs, &ConfigError{Pos: pos, What: fmt.Sprintf(format, args...)})
}

// category reads the lists of one category, each file once: a union is not changed by naming a list twice.
func (l *loader) category(ctx context.Context, c CategoryConfig) []*List {
	if len(c.Sources) == 0 {
		l.fail(c.Pos, "category %q has no sources", c.Name)
	}
	var lists []*List
	read := map[string]bool{}
	for _, from := range c.Sources {
		text := from.From
		sources, err := resolve(text, l.dir)
		if err != nil {
			l.fail(c.Pos, "category %q: source %q: %v", c.Name, text, err)
			continue
		}
		for _, src := range sources {
			file, err := filepath.EvalSymlinks(src.path)
			if err == nil && read[file] {
				continue
			}
			read[file] = true
			list := &List{Name: src.name, Category: c.Name, id: len(l.lists)}
			l.lists, lists = append(l.lists, list), append(lists, list)
			err = readSource(ctx, src, newReader(list, func(_ int, name []byte, scope Scope, exception bool) error {
				return l.build.Add(list.id, name, scope, exception)
			}))
			if ctx.Err() != nil {
				return lists
			}
			if err != nil {
				l.fail(c.Pos, "category %q: source %q: %v", c.Name, src.name, err)
			}
		}
	}
	return lists
}

// newLists builds the matcher and counts the distinct names of lists and categories.
func newLists(build *Builder, lists []*List, categories []Category) *Lists {
	named := make([]int, len(build.values)) // names per value
	for _, n := range build.nodes {
		named[n.value]++
	}
	l := &Lists{lists: lists, categories: categories, matcher: build.Build()}
	entries := make([]int, len(lists))
	position := make([]int, len(lists)) // of each list's category
	for i := range categories {
		for _, list := range categories[i].Lists {
			position[list.id] = i
		}
	}
	seenList := make([]int, len(lists)) // by the value that counted last
	seenCategory := make([]int, len(categories))
	for v := range named {
		if named[v] == 0 {
			continue
		}
		value := l.matcher.values[v]
		for _, set := range [...]uint32{value.self, value.below} {
			for _, m := range l.matcher.sets.of(set) {
				if seenList[m.list()] != v {
					seenList[m.list()] = v
					entries[m.list()] += named[v]
				}
				if i := position[m.list()]; !m.exception() && seenCategory[i] != v {
					seenCategory[i] = v
					categories[i].Names += named[v]
				}
			}
		}
	}
	for i, list := range lists {
		list.Duplicates = list.Entries - entries[i]
		list.Entries = entries[i]
	}
	return l
}

// All returns the lists in the order of their categories and sources. The caller must not change them.
func (l *Lists) All() []*List { return l.lists }

// Categories returns the categories in the order of Load. The caller must not change them.
func (l *Lists) Categories() []Category { return l.categories }

// Matcher returns the matcher of all lists, whose list numbers are places in All.
func (l *Lists) Matcher() *Matcher { return l.matcher }

// Find returns the entries of all lists that cover the wire name, the most specific first, whether or not a policy
// uses them.
func (l *Lists) Find(name []byte) []Holding {
	var all []Holding
	for _, listed := range l.matcher.Lists(name) {
		entry := Entry(name, uint8(listed.Off), listed.Scope)
		if listed.Exception {
			entry = exceptionMark + entry
		}
		all = append(all, Holding{
			List: l.lists[listed.List], Entry: entry, Off: listed.Off,
			Scope: listed.Scope, Exception: listed.Exception, Effective: listed.Effective,
		})
	}
	return all
}

// exceptionMark stands before the entry of an exception.
const exceptionMark = "@@"

// Locate returns the line, from 1, of the first mention of entry, as Holding.Entry writes it, in the list's text.
// It reads the file again, which takes a while; an error says that the entry is no longer there.
func (l *Lists) Locate(list *List, entry string) (line int, err error) {
	text := []byte(entry)
	wantException := len(entry) > len(exceptionMark) && entry[:len(exceptionMark)] == exceptionMark
	if wantException {
		text = text[len(exceptionMark):]
	}
	want, wantScope, _, reason := appendEntry(nil, text)
	if reason != "" {
		return 0, fmt.Errorf("entry %q: %s", entry, reason)
	}
	format, ok := formatNamed(list.Format)
	if !ok || list.File == "" {
		return 0, fmt.Errorf("list %s has no file", list.Name)
	}
	r := newReader(&List{}, func(at int, name []byte, scope Scope, exception bool) error {
		if string(name) == string(want) && scope&wantScope != 0 && exception == wantException {
			line = at
			return errFound
		}
		return nil
	})
	err = readFile(context.Background(), list.File, &format, r)
	if line > 0 {
		return line, nil
	}
	if err == nil {
		err = errors.New("it has changed since it was loaded")
	}
	return 0, fmt.Errorf("entry %q is not in %s: %w", entry, list.File, err)
}

// category returns the category of that name, or nil.
func (l *Lists) category(name string) *Category {
	for i := range l.categories {
		if l.categories[i].Name == name {
			return &l.categories[i]
		}
	}
	return nil
}

// nearest returns a hint that names the category most like name.
func (l *Lists) nearest(name string) string {
	best, distance := "", 3
	for _, c := range l.categories {
		if d := editDistance(name, c.Name); d < distance {
			best, distance = c.Name, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// editDistance counts the octets to insert, remove or replace between a and b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0]++
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
