package upstream

import (
	"strings"
	"testing"
)

func TestOpen(t *testing.T) {
	for _, tc := range []struct{ url, want string }{
		{"udp://192.0.2.53", "udp://192.0.2.53:53"},
		{"UDP://192.0.2.53:5353", "udp://192.0.2.53:5353"},
		{"tcp://[2001:db8::53]", "tcp://[2001:db8::53]:53"},
		{"tcp://[2001:db8::53]:5353", "tcp://[2001:db8::53]:5353"},
		{"udp://[fe80::1%lo]:53", "udp://[fe80::1%lo]:53"},
		{"udp://[::ffff:192.0.2.53]", "udp://192.0.2.53:53"},

		{"192.0.2.1", "error: write udp://192.0.2.1"},
		{"192.0.2.1:53", "error: write udp://192.0.2.1:53"},
		{"2001:db8::1", "error: write udp://[2001:db8::1]"},
		{"[2001:db8::1]:53", "error: write udp://[2001:db8::1]:53"},
		{"dns.example", "error: write udp://ADDRESS"},
		{"", "error: write udp://ADDRESS"},
		{"system", "error: resolv.conf"},
		{"udp://2001:db8::1", "error: brackets: [2001:db8::1]"},
		{"udp://dns.example", "error: host names are not resolved"},
		{"udp://dns.example:53", "error: host names are not resolved"},
		{"udp://192.0.2.1/", "error: beside the address"},
		{"udp://user@192.0.2.1", "error: beside the address"},
		{"udp://192.0.2.1:0", "error: no server can have"},
		{"udp://192.0.2.1:70000", "error: not an address and port"},
		{"udp://192.0.2.1:", "error: not an address and port"},
		{"udp://192.0.2.256", "error: not an address and port"},
		{"udp://[192.0.2.1]", "error: not an address and port"},
		{"udp://[2001:db8::1", "error: not an address and port"},
		{"udp://0.0.0.0", "error: no server can have"},
		{"udp://[ff02::fb]:5353", "error: no server can have"},
		{"udp://", "error: not an address"},
		{"quic://192.0.2.1", "error: unknown transport \"quic\""},
	} {
		got := ""
		if x, err := Open(tc.url, Options{}); err != nil {
			got = "error: " + err.Error()
		} else {
			got = x.String()
		}
		if want, isError := strings.CutPrefix(tc.want, "error: "); isError {
			if !strings.HasPrefix(got, "error: ") || !strings.Contains(got, want) || !strings.Contains(got, `"`+tc.url+`"`) {
				t.Errorf("Open(%q) = %s, want an error with the URL and %q", tc.url, got, want)
			}
		} else if got != tc.want {
			t.Errorf("Open(%q) = %s, want %s", tc.url, got, tc.want)
		}
	}
}
