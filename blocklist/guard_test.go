package blocklist

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// many returns a list of n names, the first of which has the number from.
func many(from, n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "n%d.example\n", from+i)
	}
	return b.String()
}

func TestGuard(t *testing.T) {
	policies := []PolicyConfig{
		{Name: "staff", Any: true, Rules: []RuleConfig{{Action: ActionBlock, Categories: []string{"x"}}}},
		{Name: "build", Default: Block, Rules: []RuleConfig{{Action: ActionAllow, Domains: []string{"needed.test", "*.below.test"}}}},
	}
	policies[1].Clients.Prefixes = append(policies[1].Clients.Prefixes, netip.MustParsePrefix("10.0.0.0/8"))
	for _, c := range []struct {
		what, before, after, why string
	}{
		{"half is enough", many(0, 100), many(0, 50), ""},
		{"less is not", many(0, 100), many(0, 49), "49 names instead of 100, less than max_shrink lets it have"},
		{"three times is not too much", many(0, 100), many(0, 300), ""},
		{"more is", many(0, 100), many(0, 301), "301 names instead of 100, more than max_growth lets it have"},
		{"a small list may grow by a few", many(0, 1), many(0, 21), ""},
		{"all others", many(0, 100), many(500, 100), ""},
		{"a public suffix", many(0, 10), many(0, 10) + "co.uk\n", "names the public suffix co.uk"},
		{"what was there is no news", many(0, 10) + "co.uk\n", many(0, 11) + "co.uk\n", ""},
		{"a suffix of a company's", many(0, 10), many(0, 10) + "github.io\n", ""},
		{"a top-level name", many(0, 10), many(0, 10) + "com\n", "names a top-level domain or the root"},
		{"the root", many(0, 10), many(0, 10) + ".\n", "names a top-level domain or the root"},
		{"a name that is allowed", many(0, 10), many(0, 10) + "needed.test\n", `would block needed.test, which policy "build" allows by name`},
		{"one above it", many(0, 10) + "x.test\n", many(0, 10) + "x.test\n=other.test\n", ""},
		{"one below it", many(0, 10), many(0, 10) + "www.needed.test\n", `would block www.needed.test, which policy "build" allows by name`},
		{"one above a part of it", many(0, 10), many(0, 10) + "below.test\n", `would block x.below.test, which policy "build" allows by name`},
		{"one that was blocked before", many(0, 10) + "needed.test\n", many(0, 11) + "needed.test\n=needed.test\n", ""},
		{"an exception", many(0, 10), "@@||needed.test^\n" + strings.NewReplacer("n", "||n", "\n", "^\n").Replace(many(0, 10)), ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			s := newState(t, map[string]string{"a.txt": "", "b.txt": "b.example\n"},
				CategoryConfig{Name: "x", Sources: Sources("a.txt", "b.txt"), MaxShrink: 0.5, MaxGrowth: 3})
			s.policies = policies
			s.write("a.txt", c.before)
			first := s.load(nil)
			s.write("a.txt", c.after)
			s.write("b.txt", "b.example\nc.example\n")
			next := s.load(first)
			l := next.lists[0]
			if c.why == "" {
				if l.Held != nil || l.Kept != "" {
					t.Fatalf("held: %+v, %s", l.Held, l.Kept)
				}
				return
			}
			if l.Held == nil || l.Held.Why != c.why || l.Kept != "held: "+c.why {
				t.Fatalf("%+v, kept %q, want %q", l.Held, l.Kept, c.why)
			}
			if l.Entries != first.lists[0].Entries || says(next, "c.example") != "x/b.txt:c.example:true" {
				t.Errorf("%d names, want %d; the other list says %q", l.Entries, first.lists[0].Entries, says(next, "c.example"))
			}
			// It stays held, also over a restart, until the file is another one.
			for _, old := range []*Lists{next, nil} {
				again := s.load(old)
				if l := again.lists[0]; l.Held == nil || l.Held.Why != c.why || l.Entries != first.lists[0].Entries {
					t.Fatalf("again: %+v", l)
				}
			}
			s.write("a.txt", c.before+"\n")
			if l := s.load(nil).lists[0]; l.Held != nil || l.Kept != "" {
				t.Fatalf("another file: %+v, %s", l.Held, l.Kept)
			}
		})
	}
}

// TestGuardTakesWhatAnOperatorWants lets held versions in, turns them away, and goes back, by the store.
func TestGuardTakesWhatAnOperatorWants(t *testing.T) {
	s := newState(t, map[string]string{"a.txt": ""}, CategoryConfig{Name: "x", Sources: Sources("a.txt"), MaxShrink: 0.5})
	store, err := OpenStore(s.state)
	if err != nil {
		t.Fatal(err)
	}
	s.store = store
	s.write("a.txt", many(0, 100))
	lists := s.load(nil)
	step := func(what string, do func() error, entries int, kept string) {
		t.Helper()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for _, old := range []*Lists{lists, nil} {
			lists = s.load(old)
			if l := lists.lists[0]; l.Entries != entries || !strings.HasPrefix(l.Kept, kept) || kept == "" && l.Kept != "" {
				t.Fatalf("%s: %d names, want %d; kept %q, want %q", what, l.Entries, entries, l.Kept, kept)
			}
		}
	}
	write := func(text string) func() error {
		return func() error { s.write("a.txt", text); return nil }
	}
	const name = "a.txt"
	step("held", write(many(0, 10)), 100, "held: ")
	step("approved", func() error { return store.Approve(name) }, 10, "")
	step("held again", write(many(0, 4)), 10, "held: ")
	step("rejected", func() error { return store.Reject(name) }, 10, "the version of the source was rejected")
	step("another", write(many(0, 20)), 20, "")
	step("rolled back", func() error { return store.Rollback(name) }, 10, "the version of the source was rejected or rolled back")
	step("newer", write(many(0, 21)), 21, "")
	if err := store.Approve(name); err == nil {
		t.Error("approved what is not held")
	}
}

// TestRefusedRemoteVersionStaysOut rejects and rolls back versions of a fetched list: what is left of them, a digest
// without a text, is not taken for a list that was never fetched.
func TestRefusedRemoteVersionStaysOut(t *testing.T) {
	texts := make(chan string, 1)
	texts <- many(0, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text := <-texts
		texts <- text
		_, _ = io.WriteString(w, text)
	}))
	defer server.Close()
	src := SourceConfig{From: server.URL + "/list.txt", Name: "feed"}
	s := newState(t, nil, CategoryConfig{Name: "x", Sources: []SourceConfig{src}, MaxShrink: 0.5})
	var err error
	if s.store, err = OpenStore(s.state); err != nil {
		t.Fatal(err)
	}
	f := &Fetcher{Store: s.store}
	fetch := func(text string) {
		t.Helper()
		<-texts
		texts <- text
		if _, err := f.Fetch(t.Context(), &src); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string, entries int, kept string) {
		t.Helper()
		if l := s.load(nil).lists[0]; l.Entries != entries || !strings.HasPrefix(l.Kept, kept) || kept == "" && l.Kept != "" {
			t.Fatalf("%s: %d names, want %d; kept %q, want %q", what, l.Entries, entries, l.Kept, kept)
		}
	}
	fetch(many(0, 100))
	check("first", 100, "")
	fetch(many(0, 10))
	check("held", 100, "held: ")
	if err := s.store.Reject("feed"); err != nil {
		t.Fatal(err)
	}
	check("rejected", 100, "the version of the source was rejected")
	fetch(many(0, 120))
	check("another", 120, "")
	if err := s.store.Rollback("feed"); err != nil {
		t.Fatal(err)
	}
	check("rolled back", 100, "the version of the source was rejected or rolled back")
	fetch(many(0, 120))
	check("the same again", 100, "the version of the source was rejected or rolled back")
}
