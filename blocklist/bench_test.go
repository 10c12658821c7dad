package blocklist

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// bigPolicy is a policy over lists of n random names in four lists of two categories, with inline domains as in
// real configurations, and names that it blocks and allows.
func bigPolicy(t testing.TB, n int, exceptions bool) (p *Policy, hits, misses [][]byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(7, uint64(n)))
	b := NewBuilder()
	for i := range n {
		name := randomName(r)
		if err := b.Add(i%4, name, Self|Below, false); err != nil {
			t.Fatal(err)
		}
		if i%(n/1024) == 0 {
			hits = append(hits, append([]byte("\x03www"), name...))
		}
	}
	for range 1024 {
		misses = append(misses, fmt.Appendf(nil, "\x03www\x06h%05d\x0anot-t%05d\x04test\x00", r.IntN(100_000), r.IntN(100_000)))
	}
	if exceptions {
		for _, name := range misses {
			if err := b.Add(0, name, Self, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	lists := []*List{{Name: "a", Category: "one"}, {Name: "b", Category: "one"}, {Name: "c", Category: "two"}, {Name: "d", Category: "two"}}
	categories := []Category{{Name: "one", Lists: lists[:2]}, {Name: "two", Lists: lists[2:]}}
	p, err := Compile([]PolicyConfig{
		{Name: "staff", Clients: Members{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.20.0.0/16")}}, Rules: []RuleConfig{
			{Action: ActionAllow, Domains: []string{"*.corp.example", "=proxy.example"}},
			{Action: ActionBlock, Categories: []string{"two", "one"}},
		}},
		{Name: "rest", Any: true, Default: Block},
	}, newLists(b.Build(), whole(lists), lists, categories), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return p, hits, misses
}

var client = netip.MustParseAddr("10.20.30.40")

func TestDecideAllocatesNothing(t *testing.T) {
	for _, exceptions := range []bool{false, true} {
		p, hits, misses := bigPolicy(t, 4096, exceptions)
		i := 0
		f := &Facts{} // is in the heap, as those of an answer in memory are
		judged := func(aliases [][]byte) Decision {
			f.Aliases = aliases
			f.sight.Store(nil)
			l := ask(misses[0], 1, client)
			return p.DecideFacts(l, p.Decide(l), f)
		}
		if n := testing.AllocsPerRun(1000, func() {
			d := p.Decide(ask(hits[i%len(hits)], 1, client))
			if d.Verdict != Block {
				t.Fatal("a listed name is allowed")
			}
			if d = judged(misses[:2]); d.Verdict != Allow {
				t.Fatal("an unlisted name is blocked")
			}
			if d = judged(hits[:2]); d.Verdict != Block {
				t.Fatal("a listed alias is allowed")
			}
			i++
		}); n != 0 {
			t.Errorf("exceptions %v: %v allocations per decision, want 0", exceptions, n)
		}
	}
}

func BenchmarkDecide(b *testing.B) {
	const names = 500_000
	for _, exceptions := range []bool{false, true} {
		p, hits, misses := bigPolicy(b, names, exceptions)
		run := func(what string, names [][]byte, want Verdict) {
			if exceptions {
				what += "Exception"
			}
			b.Run(what, func(b *testing.B) {
				b.ReportAllocs()
				l := ask(nil, 1, client)
				for i := 0; b.Loop(); i++ {
					if l.Name = names[i&1023]; p.Decide(l).Verdict != want {
						b.Fatal("wrong verdict")
					}
				}
			})
		}
		run("Miss", misses, Allow)
		if exceptions {
			return
		}
		run("Hit", hits, Block)
		b.ReportMetric(float64(p.lists.matcher.Bytes())/float64(p.lists.matcher.Names()), "B/name")
	}
}

func BenchmarkLoad(b *testing.B) {
	const names = 1_000_000
	var text bytes.Buffer
	r := rand.New(rand.NewPCG(3, 4))
	for range names {
		fmt.Fprintln(&text, NameString(randomName(r)))
	}
	dir := lay(b, map[string]string{"list": text.String()})
	b.ReportAllocs()
	for b.Loop() {
		lists, err := Load(context.Background(), LoadConfig{Categories: []CategoryConfig{{Name: "a", Sources: Sources("list")}}, Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(lists.Matcher().Bytes())/float64(lists.Matcher().Names()), "B/name")
	}
}

func BenchmarkCompile(b *testing.B) {
	p, _, _ := bigPolicy(b, 500_000, false)
	cfg := []PolicyConfig{*p.policies[0].cfg, *p.policies[1].cfg}
	for b.Loop() {
		if _, err := Compile(cfg, p.lists, time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
}
