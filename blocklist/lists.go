package blocklist

import (
	"context"
	"errors"
	"fmt"
)

// Lists are all lists of all categories, read into one matcher. They are immutable and safe for concurrent use.
type Lists struct {
	lists      []*List
	categories []Category
	holders    []holder // by the numbers that the matcher knows
	matcher    *Matcher
	nets       []network // of the holders, for addresses in answers
	networks   *networks // the same, to look up
	pending    *pending  // what Commit or Discard has to do

	// Compiled says where the names are: "mapped" as compiled before, "built" anew, or "in memory".
	Compiled string
	// Trouble says why they are not where they could be; empty for no reason.
	Trouble string
}

// holder is what holds names, as the matcher knows it: a list, or of a list the entries that are for some types only.
type holder struct {
	list *List
	part part
}

// newLists joins lists to the matcher that was built of them, and counts the distinct names of lists and categories.
// The matcher's numbers are those of holders.
func newLists(matcher *Matcher, holders []holder, lists []*List, categories []Category) *Lists {
	l := &Lists{lists: lists, categories: categories, holders: holders, matcher: matcher}
	l.networks, _ = newNetworks(nil) // none do not fail
	position := map[*List]int{}      // of each list's category
	for i := range categories {
		for _, list := range categories[i].Lists {
			position[list] = i
		}
	}
	for _, list := range lists {
		list.Mentions = max(list.Mentions, list.Entries)
		list.Entries, list.Shared, list.SharedWith, list.SharedMost = 0, 0, "", 0
	}
	together := map[[2]*List]int{} // names that two lists have
	for v, named := range matcher.named {
		if named == 0 {
			continue
		}
		var on, listing []*List // lists that have the name, and that list it
		for _, set := range [...]uint32{matcher.values[v].self, matcher.values[v].below} {
			for _, m := range matcher.sets.of(set) {
				list := holders[m.list()].list
				on = addList(on, list)
				if !m.exception() {
					listing = addList(listing, list)
				}
			}
		}
		counted := map[int]bool{}
		for _, list := range listing {
			if i := position[list]; !counted[i] {
				counted[i] = true
				categories[i].Names += named
			}
		}
		for i, list := range on {
			list.Entries += named
			if len(on) > 1 {
				list.Shared += named
			}
			for _, other := range on[i+1:] {
				together[[2]*List{list, other}] += named
				together[[2]*List{other, list}] += named
			}
		}
	}
	for _, list := range lists {
		for _, other := range lists {
			if n := together[[2]*List{list, other}]; n > list.SharedMost {
				list.SharedWith, list.SharedMost = other.Name, n
			}
		}
		list.Duplicates = max(0, list.Mentions-list.Entries)
	}
	return l
}

// addNetworks gives the lists their networks.
func (l *Lists) addNetworks(nets []network) (err error) {
	l.nets = nets
	l.networks, err = newNetworks(nets)
	return err
}

// addList adds list to those in all if it is not among them.
func addList(all []*List, list *List) []*List {
	for _, l := range all {
		if l == list {
			return all
		}
	}
	return append(all, list)
}

// All returns the lists in the order of their categories and sources. The caller must not change them.
func (l *Lists) All() []*List { return l.lists }

// Categories returns the categories in the order of Load. The caller must not change them.
func (l *Lists) Categories() []Category { return l.categories }

// Matcher returns the matcher of all lists.
func (l *Lists) Matcher() *Matcher { return l.matcher }

// Find returns the entries of all lists that cover the wire name, the most specific first, whether or not a policy
// uses them.
func (l *Lists) Find(name []byte) []Holding {
	var all []Holding
	for _, listed := range l.matcher.Lists(name) {
		by := &l.holders[listed.List]
		h := Holding{
			List: by.list, Entry: Entry(name, uint8(listed.Off), listed.Scope), Off: listed.Off,
			Scope: listed.Scope, Exception: listed.Exception, Effective: true, part: by.part,
		}
		if listed.Exception {
			h.Entry = exceptionMark + h.Entry
		}
		if !by.part.every() {
			h.Types = by.part.String()
		}
		all = append(all, h)
	}
	for i := range all {
		h := &all[i]
		for _, over := range all {
			wins := over.Off < h.Off || over.Off == h.Off && over.Exception && !h.Exception
			if over.List == h.List && wins && h.part.without(over.part).none() {
				h.Effective = false
			}
		}
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
	r := newReader(&List{}, func(at int, _ uint16, name []byte, scope Scope, exception bool) error {
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
