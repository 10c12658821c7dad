package upstream

import (
	"strings"
	"testing"
)

// onePin is a pin as it stands in a URL.
var onePin = "pin=sha256/" + strings.Repeat("A", 42) + "E="

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

		{"tls://192.0.2.53#dns.example", "tls://192.0.2.53:853#dns.example"},
		{"TLS://192.0.2.53:8853#DNS.Example.", "tls://192.0.2.53:8853#dns.example"},
		{"tls://[2001:db8::53]#dns.example", "tls://[2001:db8::53]:853#dns.example"},
		{"tls://[2001:db8::53]?" + onePin, "tls://[2001:db8::53]:853?" + onePin},
		{"tls://192.0.2.53?" + onePin + "&" + onePin + "#dns.example", "tls://192.0.2.53:853?" + onePin + "&" + onePin + "#dns.example"},
		{"tls://192.0.2.53#192.0.2.53", "tls://192.0.2.53:853"},
		{"tls://dns.example", "tls://dns.example:853"},
		{"tls://dns.example:8853?" + onePin, "tls://dns.example:8853?" + onePin},
		{"tls://192.0.2.53", "error: write tls://192.0.2.53#NAME"},
		{"tls://192.0.2.53#", "error: behind # is not a host name"},
		{"tls://192.0.2.53#-dns.example", "error: behind # is not a host name"},
		{"tls://dns.example#dns.other", "error: two names"},
		{"tls://192.0.2.53/#dns.example", "error: write tls://192.0.2.53"},
		{"tls://192.0.2.53/dns-query", "error: https://"},
		{"tls://192.0.2.53?pin=abc", "error: not sha256/ and 32 octets"},
		{"tls://192.0.2.53?pin=sha256/abc", "error: not sha256/ and 32 octets"},
		{"tls://192.0.2.53?spki=1", "error: write ?pin=sha256/BASE64"},
		{"tls://me@192.0.2.53#dns.example", "error: a user"},
		{"tls://2001:db8::53#dns.example", "error: brackets: [2001:db8::53]"},
		{"tls://192.0.2.256#dns.example", "error: not an address and port"},
		{"tls://dns.example:0", "error: not a port"},
		{"tls://dns_example..test", "error: neither an address nor a host name"},
		{"tls://", "error: not an address"},

		{"https://192.0.2.53/dns-query", "https://192.0.2.53:443/dns-query"},
		{"https://192.0.2.53/dns-query#dns.example", "https://192.0.2.53:443/dns-query#dns.example"},
		{"HTTPS://[2001:db8::53]:8443/a/b#DNS.Example", "https://[2001:db8::53]:8443/a/b#dns.example"},
		{"https://dns.example/a%20b", "error: '%' in a path"},
		{"https://DNS.Example/dns-query", "https://dns.example:443/dns-query"},
		{"https://dns.example:8443/dns-query", "https://dns.example:8443/dns-query"},
		{"https://dns.example", "error: https://dns.example/dns-query"},
		{"https://dns.example/", "error: https://dns.example/dns-query"},
		{"https://dns.example/dns-query{?dns}", "error: write https://dns.example/dns-query"},
		{"https://dns.example/dns-query?dns=", "error: write https://dns.example/dns-query"},
		{"https://dns.example/a b", "error: ' ' in a path"},
		{"https://dns.example/dns-query#dns.other", "error: two names"},
		{"https://me:secret@dns.example/dns-query", "error: a user"},
		{"https:///dns-query", "error: not an address"},

		{"quic://192.0.2.1", "error: unknown transport \"quic\""},
	} {
		got := ""
		if x, err := Open(tc.url, Options{Bootstrap: []string{"udp://192.0.2.1"}}); err != nil {
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

// FuzzURL holds that a URL that can be opened is spelled in a way that opens the
// same server, and that no certificate goes unexamined.
func FuzzURL(f *testing.F) {
	for _, url := range []string{
		"udp://192.0.2.53", "tcp://[2001:db8::53]:5353", "tls://192.0.2.53#dns.example", "tls://[fe80::1%lo]?" + onePin,
		"https://dns.example/dns-query", "https://192.0.2.53/dns-query#dns.example", "https://[2001:db8::53]:8443/a//b",
		"tls://dns.example:8853?" + onePin + "&" + onePin, "tls://192.0.2.53?pin=#x", "system", "tls://192.0.2.53/#",
	} {
		f.Add(url)
	}
	opt := Options{Bootstrap: []string{"udp://192.0.2.1"}}
	f.Fuzz(func(t *testing.T, url string) {
		x, err := Open(url, opt)
		if err != nil {
			return
		}
		again, err := Open(x.String(), opt)
		if err != nil {
			t.Fatalf("%q is %s, and that: %v", url, x, err)
		}
		if x.String() != again.String() {
			t.Fatalf("%q is %s, and that is %s", url, x, again)
		}
		if h, ok := x.(*https); ok && (h.conns.transport.TLSClientConfig.InsecureSkipVerify || h.conns.transport.TLSClientConfig.ServerName == "") {
			t.Fatalf("%q: nothing of the certificate is verified", url)
		}
		if s, ok := x.(*tlsStreams); ok && s.config.InsecureSkipVerify == (s.config.VerifyConnection == nil) && s.config.ServerName == "" {
			t.Fatalf("%q: nothing of the certificate is verified", url)
		}
	})
}
