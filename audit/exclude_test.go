package audit

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// A name is excluded if it is a pattern's name or below it, as the pattern says.
func TestExcludedNames(t *testing.T) {
	label := rapid.SampledFrom([]string{"a", "b", "corp", "example"})
	name := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(label, 1, 5).Draw(t, "labels"), ".") })
	rapid.Check(t, func(t *rapid.T) {
		var ex Exclude
		var texts []string
		for range rapid.IntRange(1, 5).Draw(t, "patterns") {
			text := name.Draw(t, "pattern")
			ex.Names = append(ex.Names, NameScope{wire(text), rapid.Uint8Range(1, 3).Draw(t, "scope")})
			texts = append(texts, text)
		}
		var x excluded
		x.set(ex)
		asked := name.Draw(t, "asked")
		want := false
		for i, n := range ex.Names {
			want = want || n.Scope&ScopeSelf != 0 && asked == texts[i] || n.Scope&ScopeBelow != 0 && strings.HasSuffix(asked, "."+texts[i])
		}
		if got := x.name(wire(asked)); got != want {
			t.Fatalf("%s: %t, want %t: %v", asked, got, want, texts)
		}
	})
	var x excluded
	x.set(Exclude{Names: []NameScope{{wire("corp.example"), ScopeSelf | ScopeBelow}}})
	for _, odd := range [][]byte{nil, {0}, {63}, {200, 1, 2}, append(wire("www.corp.example"), 7, 7)} {
		if x.name(odd) {
			t.Errorf("%x is excluded", odd)
		}
	}
}

// excluding leaves out names below corp.example, and a network of clients.
func excluding() Exclude {
	return Exclude{Names: []NameScope{{wire("corp.example"), ScopeBelow}}, Clients: []netip.Prefix{netip.MustParsePrefix("192.0.2.128/25")}}
}

// tell has the log decide about ten queries: three are excluded by name, one of them
// blocked, and two by their client.
func tell(l *Log, at time.Time) {
	for i := range 10 {
		client, name := "192.0.2.1", "www.example"
		if i < 5 {
			name = "www.corp.example"
		}
		if i < 2 {
			client = "192.0.2.200"
		}
		e := query(i, client, name)
		e.Time, e.Blocked = at.UnixNano(), i == 4
		if !l.Exclude(e) {
			l.Record(e)
		}
	}
}

// What is left out is counted at once, said each hour and at the end, and in the
// checkpoint: received is recorded and lost and excluded.
func TestExcludedQueriesAreCounted(t *testing.T) {
	dir, clock := t.TempDir(), clockAt(epoch)
	l, stop := start(t, Config{Dir: dir, Exclude: excluding(), Now: clock.now})
	tell(l, clock.now())
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := ExcludedCount{Names: 3, NamesBlocked: 1, Clients: 2}
	if s := l.Stats(); s.Excluded != want || s.Recorded-s.Changes != 5 || s.Lost != 0 {
		t.Errorf("%+v", s)
	}
	if n := len(search(t, l.Reader(), Query{Kind: KindChange})); n != 0 {
		t.Errorf("%d changes before the hour is over", n)
	}
	clock.add(time.Hour)
	tell(l, clock.now())
	if err := l.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	said := search(t, l.Reader(), Query{Kind: KindChange})
	const text = "excluded: 6 queries by exclude_domains, 2 of them blocked; 4 by exclude_clients, 0 of them blocked; since 2024-05-01T12:00:00Z"
	if len(said) != 1 || said[0].Text != text || said[0].Action != ActionExcluded {
		t.Fatalf("%+v", said)
	}
	tell(l, clock.now())
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	total, err := openStopped(t, dir, false).Totals(t.Context(), Query{})
	if err != nil || total.Recorded != 15 || total.Excluded != 15 || total.Received != 30 {
		t.Errorf("%+v, %v", total, err)
	}
	notes, _, err := readCheckpoints(dir)
	if err != nil || len(notes) == 0 {
		t.Fatalf("%d checkpoints, %v", len(notes), err)
	}
	keys, err := PublicKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	c, err := OpenCheckpoint(notes[len(notes)-1], keys...)
	if err != nil || c.Excluded != 15 || c.Received != c.Recorded+c.Lost+c.Excluded {
		t.Errorf("%+v, %v", c, err)
	}
	all(t, dir)
}

// A kill loses no count: what no change has said yet is said at the next start.
func TestAKillLosesNoCount(t *testing.T) {
	dir, clock := t.TempDir(), clockAt(epoch)
	l, stop := start(t, Config{Dir: dir, Interval: time.Hour, Exclude: excluding(), Now: clock.now})
	if l.mapping == nil {
		t.Skip("slabs are plain memory here")
	}
	tell(l, clock.now())
	left := copied(t, dir)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	_, stop = start(t, Config{Dir: left, Now: clock.now})
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	total, err := openStopped(t, left, false).Totals(t.Context(), Query{})
	if err != nil || total.Recorded != 5 || total.Excluded != 5 {
		t.Errorf("%+v, %v", total, err)
	}
}

// What the log says of excluded queries is what Totals reads.
func TestExcludedTextComesBack(t *testing.T) {
	want := ExcludedCount{1, 2, 3, 1 << 60}
	if got, ok := parseExcluded(want.text(epoch.UnixNano())); !ok || got != want {
		t.Errorf("%+v, %t", got, ok)
	}
	if _, ok := parseExcluded("excluded: none"); ok {
		t.Error("reads what it has not written")
	}
}
