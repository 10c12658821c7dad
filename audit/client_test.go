package audit

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

// A client's text is what it is read back from, and no address but its own kind.
func TestClientsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := ClientOf(netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "octets"))))
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 4: // what looks like one that stands for another
			b := c.kept.As16()
			b[0], b[1], b[2] = 0xff, rapid.SampledFrom([]byte{keptPseudonym, keptNetwork4, keptNetwork6}).Draw(t, "mark"), b[2]%80
			copy(b[3+rapid.IntRange(0, 13).Draw(t, "from"):], make([]byte, 16))
			c = ClientOf(netip.AddrFrom16(b))
		case 1:
			c = Client{pseudonym{uint16(rapid.IntRange(0, 3000).Draw(t, "month")), [8]byte(rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "tells"))}.kept()}
		case 2:
			p, _ := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4"))).Prefix(rapid.IntRange(0, 32).Draw(t, "bits"))
			c = Client{keptNetwork(p)}
		case 3:
			p, _ := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "v6"))).Prefix(rapid.IntRange(0, 64).Draw(t, "bits"))
			c = Client{keptNetwork(p)}
		}
		_, address := c.Addr()
		_, network := c.Network()
		if n := map[bool]int{true: 1}; n[address]+n[network]+n[c.IsPseudonym()] != 1 {
			t.Fatalf("%s: address %t, network %t, pseudonym %t", c, address, network, c.IsPseudonym())
		}
		text, err := c.MarshalText()
		var got Client
		if err := errors.Join(err, got.UnmarshalText(text)); err != nil || got != c {
			t.Fatalf("%s comes back as %s: %v", text, got, err)
		}
	})
	for _, text := range []string{
		"client-", "client-2026-03-", "client-2026-13-0123456789abcdef", "client-2026-03-0123456789ABCDEF", "client-2026-03-0000000000000000",
		"client-2026-03-0123456789abcde", "10.0.0.1/24", "2001:db8::/65", "fff1::1", "nobody",
	} {
		if c, err := ParseClient(text); err == nil {
			t.Errorf("%q is read as %s", text, c)
		}
	}
}

// What is read, of a text or of an entry with a key, is what is written.
func FuzzClient(f *testing.F) {
	k := clientKey{state: entryHeld, client: netip.MustParseAddr("192.0.2.7"), pseudonym: pseudonym{month: 651}}
	k.pseudonym = k.tell()
	f.Add(k.append(nil))
	for _, text := range []string{"10.0.4.0/24", "client-2026-03-0123456789abcdef", "client-2026-03-others", "2001:db8::7"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseClient(string(b)); err == nil {
			again, err := ParseClient(c.String())
			if err != nil || again != c || c.IsPseudonym() && c.String() != string(b) {
				t.Errorf("%q is %s is %s: %v", b, c, again, err)
			}
		}
		if len(b) != clientEntry {
			return
		}
		if k, ok := readClientKey(b); ok && k.held() && !bytes.Equal(k.append(nil), b) {
			t.Errorf("%x comes back as %x", b, k.append(nil))
		}
	})
}
