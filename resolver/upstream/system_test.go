package upstream

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSystem(t *testing.T) {
	at := func(addrs ...string) (self []netip.AddrPort) {
		for _, a := range addrs {
			self = append(self, netip.MustParseAddrPort(a))
		}
		return self
	}
	for _, tc := range []struct {
		name    string
		text    string
		self    []netip.AddrPort
		want    []string // servers
		skipped []string // "line: part of the reason"
		err     string   // part of it
	}{
		{
			name: "as usual",
			text: "# made by hand\nsearch corp.example\nnameserver 192.0.2.53\nnameserver\t2001:db8::53 \noptions edns0\n; end",
			want: []string{"udp://192.0.2.53:53", "udp://[2001:db8::53]:53"},
		},
		{
			name: "link-local, CRLF, no last newline, twice, words behind",
			text: "nameserver fe80::1%lo\r\nnameserver 192.0.2.53 # router\r\nnameserver ::ffff:192.0.2.53",
			want: []string{"udp://[fe80::1%lo]:53", "udp://192.0.2.53:53"},
		},
		{
			name: "unspecified means loopback",
			text: "nameserver 0.0.0.0\nnameserver ::\n",
			want: []string{"udp://127.0.0.1:53", "udp://[::1]:53"},
		},
		{
			name:    "ourselves",
			text:    "nameserver 127.0.0.1\nnameserver 192.0.2.53\nnameserver ::1\n",
			self:    at("127.0.0.1:53", "[::1]:53"),
			want:    []string{"udp://192.0.2.53:53"},
			skipped: []string{"1: 127.0.0.1:53 is this resolver", "3: [::1]:53 is this resolver"},
		},
		{
			name: "ourselves on another port",
			text: "nameserver 127.0.0.1\n",
			self: at("127.0.0.1:5300", "0.0.0.0:5300"),
			want: []string{"udp://127.0.0.1:53"},
		},
		{
			name:    "we listen everywhere on IPv4",
			text:    "nameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.53\n",
			self:    at("0.0.0.0:53"),
			want:    []string{"udp://[::1]:53", "udp://192.0.2.53:53"},
			skipped: []string{"1: 127.0.0.53:53 is this resolver"},
		},
		{
			name:    "we listen everywhere",
			text:    "nameserver 127.0.0.53\nnameserver ::1\nnameserver 192.0.2.53\n",
			self:    at("[::]:53"),
			want:    []string{"udp://192.0.2.53:53"},
			skipped: []string{"1: 127.0.0.53:53 is this resolver", "2: [::1]:53 is this resolver"},
		},
		{
			name:    "unreadable lines",
			text:    "nameserver\nnameserver dns.example\nnameserver 224.0.0.251\nnameservers 192.0.2.1\nnameserver 192.0.2.53\n",
			want:    []string{"udp://192.0.2.53:53"},
			skipped: []string{"1: nameserver without", "2: \"dns.example\" is not", "3: \"224.0.0.251\" is not"},
		},
		{name: "empty", err: "names no server"},
		{
			name:    "nobody but us",
			text:    "nameserver 127.0.0.1\n",
			self:    at("127.0.0.1:53"),
			skipped: []string{"1: 127.0.0.1:53 is this resolver"},
			err:     "names no usable server",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "resolv.conf")
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			servers, skipped, err := System(path, tc.self)
			if d := cmp.Diff(tc.want, servers); d != "" {
				t.Errorf("servers (-want +got):\n%s", d)
			}
			for i, s := range skipped {
				if i >= len(tc.skipped) || !strings.HasPrefix(s, path+":"+tc.skipped[i]) {
					t.Errorf("skipped %q, want %q", skipped, tc.skipped)
				}
			}
			if len(skipped) != len(tc.skipped) {
				t.Errorf("skipped %q, want %q", skipped, tc.skipped)
			}
			if tc.err == "" && err != nil || tc.err != "" && (err == nil || !strings.Contains(err.Error(), tc.err)) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
			for _, s := range servers {
				if x, err := Open(s, Options{}); err != nil || x.String() != s {
					t.Errorf("Open(%q) = %v, %v", s, x, err)
				}
			}
		})
	}
	if _, _, err := System(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: error %v", err)
	}
}
