package blocklist

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// listText returns a list of n random names as a format writes them.
func listText(format string, n int) []byte {
	line := map[string]string{
		"adblock": "||%s^", "dnsmasq": "address=/%s/#", "unbound": `local-zone: "%s." always_null`, "hosts": "0.0.0.0 %s",
		"rpz": "%s CNAME .", "domains": "%s",
	}[format]
	var text bytes.Buffer
	if format == "rpz" {
		text.WriteString("$TTL 60\n@ SOA a. b. 1 2 3 4 5\n")
	}
	r := rand.New(rand.NewPCG(5, 6))
	for range n {
		name, a, b, c := NameString(randomName(r)), r.IntN(256), r.IntN(256), r.IntN(256)
		if format == "cidr" {
			fmt.Fprintf(&text, "%d.%d.%d.0/24\n", a, b, c)
		} else {
			fmt.Fprintf(&text, line+"\n", name)
		}
	}
	return text.Bytes()
}

// TestReadingAllocatesNothing holds that what a list of plain names takes does not grow with its lines.
func TestReadingAllocatesNothing(t *testing.T) {
	for i := range formats {
		form := formats[i]
		text := listText(form.name, 2000)
		if n := testing.AllocsPerRun(3, func() {
			r := newReader(&List{}, func(int, uint16, []byte, Scope, bool) error { return nil })
			r.network = func(int, netip.Prefix, bool) error { return nil }
			if err := readBytes(text, &form, r); err != nil {
				t.Fatal(err)
			}
		}); n > 50 {
			t.Errorf("%s: %v allocations for 2000 lines", form.name, n)
		}
	}
}

// BenchmarkRead reads lists of each format without keeping what they hold, and reports the time of a line.
func BenchmarkRead(b *testing.B) {
	for i := range formats {
		form := formats[i]
		b.Run(form.name, func(b *testing.B) {
			const lines = 100_000
			text := listText(form.name, lines)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				l := &List{}
				r := newReader(l, func(int, uint16, []byte, Scope, bool) error { return nil })
				r.network = func(int, netip.Prefix, bool) error { return nil }
				if err := readBytes(text, &form, r); err != nil || l.Entries+l.Networks != lines {
					b.Fatal(err, l)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/lines, "ns/line")
		})
	}
}
