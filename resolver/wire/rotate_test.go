package wire

import (
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// records are those of a packed message's sections, as text.
func sections(t rapid.TB, msg []byte) (out [3][]string) {
	var m dns.Msg
	if err := m.Unpack(msg); err != nil {
		t.Fatalf("%v: % x", err, msg)
	}
	for i, section := range [][]dns.RR{m.Answer, m.Ns, m.Extra} {
		for _, rr := range section {
			if rr.Header().Rrtype != dns.TypeOPT {
				out[i] = append(out[i], rr.String())
			}
		}
	}
	return out
}

// TestRotation: whatever the message, a turn moves on the addresses of one set, the
// others of which it may have in other places stay; all else is as it was.
func TestRotation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := new(dns.Msg)
		m.SetQuestion("www.Example.test.", dns.TypeA)
		m.Response, m.Compress = true, rapid.Bool().Draw(t, "compressed")
		owner := "www.Example.test."
		for range rapid.IntRange(0, 3).Draw(t, "aliases") {
			next := rapid.SampledFrom([]string{"a.example.test.", "b.Example.test.", "other.", "www.example.test."}).Draw(t, "target")
			m.Answer = append(m.Answer, rr(t, owner+" 60 CNAME "+next))
			owner = next
		}
		for i := range rapid.IntRange(0, 6).Draw(t, "records") {
			text := rapid.SampledFrom([]string{
				"%o 60 A 192.0.2.%i", "%o 60 A 192.0.2.%i", "%o 30 A 192.0.2.%i", "%o 60 AAAA 2001:db8::%i", "%o 60 MX %i mx%i.other.",
				"%o 60 RRSIG A 8 2 60 20300101000000 20200101000000 %i test. aaaa", "else.test. 60 A 192.0.2.%i", "%o 60 TXT %i",
			}).Draw(t, "record")
			m.Answer = append(m.Answer, rr(t, strings.NewReplacer("%o", owner, "%i", string(rune('1'+i))).Replace(text)))
		}
		m.Ns = []dns.RR{rr(t, owner+" 60 NS ns.other."), rr(t, owner+" 60 A 192.0.2.99")}
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		rep, err := Freeze(packed)
		if err != nil {
			t.Fatal(err)
		}
		ask := new(dns.Msg)
		ask.SetQuestion("www.Example.test.", dns.TypeA)
		msg, _ := ask.Pack()
		var q Query
		if err := q.Parse(msg); err != nil {
			t.Fatal(err)
		}
		whole := sections(t, rep.Append(nil, msg, &q, Finish{Limit: MaxTCP, Age: 7}))
		turn, n := rapid.Uint32().Draw(t, "turn"), int(rep.set.n)
		var wants [][]string // of each set of n addresses that stand together
		if n <= 1 {
			wants = append(wants, whole[0])
		}
		for i := 0; n > 1 && i+n <= len(whole[0]); i++ {
			// A set of a name that nobody asked for begins with one that is spelled out, which stays.
			part := i > 0 && alike(whole[0][i-1:i+1]) && !strings.HasPrefix(whole[0][i], "else.")
			if part || !alike(whole[0][i:i+n]) {
				continue
			}
			want := slices.Clone(whole[0])
			for k := range n {
				want[i+(k+int(turn%uint32(n)))%n] = whole[0][i+k]
			}
			wants = append(wants, want)
		}
		if len(wants) == 0 {
			t.Fatalf("no %d addresses stand together in %q", n, whole[0])
		}
		got := sections(t, rep.Append(nil, msg, &q, Finish{Limit: MaxTCP, Age: 7, Turn: turn}))
		turned := slices.ContainsFunc(wants, func(want []string) bool { return slices.Equal(got[0], want) })
		if !turned || !slices.Equal(got[1], whole[1]) || !slices.Equal(got[2], whole[2]) {
			t.Fatalf("turned by %d:\n%q\nwas\n%q\nwant one of\n%q", turn, got, whole, wants)
		}
	})
}

// alike reports whether records, as text, have one owner and one type of address.
func alike(records []string) bool {
	of := func(s string) string {
		f := strings.Fields(s)
		return f[0] + " " + f[3]
	}
	for _, s := range records {
		if of(s) != of(records[0]) || !strings.HasPrefix(strings.Fields(s)[3], "A") {
			return false
		}
	}
	return true
}

func rr(t rapid.TB, text string) dns.RR {
	rr, err := dns.NewRR(text)
	if err != nil {
		t.Fatal(err)
	}
	return rr
}

// TestRotationFindsTheAddresses: the sets that answers usually have can be turned.
func TestRotationFindsTheAddresses(t *testing.T) {
	for _, c := range []struct {
		records string
		want    uint16
	}{
		{"www.example.test. 60 A 192.0.2.1", 1},
		{"www.example.test. 60 A 192.0.2.1; www.example.test. 60 A 192.0.2.2; www.example.test. 60 A 192.0.2.3", 3},
		{"www.example.test. 60 AAAA 2001:db8::1; www.example.test. 60 AAAA 2001:db8::2", 2},
		{"www.example.test. 60 CNAME a.test.; a.test. 60 A 192.0.2.1; a.test. 60 A 192.0.2.2", 2},
		{"www.example.test. 60 A 192.0.2.1; www.example.test. 60 A 192.0.2.2; www.example.test. 60 RRSIG A 8 2 60 20300101000000 20200101000000 1 test. aaaa", 2},
		{"www.example.test. 60 MX 1 a.test.; www.example.test. 60 MX 2 b.test.", 0},
	} {
		m := new(dns.Msg)
		m.SetQuestion("www.example.test.", dns.TypeA)
		m.Response, m.Compress = true, true
		for text := range strings.SplitSeq(c.records, "; ") {
			m.Answer = append(m.Answer, rr(t, text))
		}
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		rep, err := Freeze(packed)
		if err != nil || rep.set.n != c.want {
			t.Errorf("%s: a set of %d, want %d; %v", c.records, rep.set.n, c.want, err)
		}
	}
	var rep Reply
	for i := range 3 {
		rep.AddRR(&rep.An, SelfPointer, TypeA, 60, []byte{192, 0, 2, byte(i)})
	}
	if rep.set.n != 3 {
		t.Errorf("built here: a set of %d, want 3", rep.set.n)
	}
}
