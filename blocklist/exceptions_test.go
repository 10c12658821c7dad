package blocklist

import (
	"net/netip"
	"testing"
	"time"
)

// What a category with NeverExcept holds is told with the category's name, names and addresses alike.
func TestNeverExcepted(t *testing.T) {
	dir := lay(t, map[string]string{
		"ads.txt": "track.example\n", "ads-nets.txt": "192.0.2.0/24\n",
		"evil.txt": "evil.example\n=only.example\n", "evil-nets.txt": "198.51.100.0/24\n2001:db8:bad::/48\n",
	})
	lists := load(t, dir,
		CategoryConfig{Name: "ads", Sources: Sources("ads.txt", "ads-nets.txt")},
		CategoryConfig{Name: "malware", Sources: Sources("evil.txt", "evil-nets.txt"), NeverExcept: true},
	)
	p, err := Compile([]PolicyConfig{{Name: "all", Any: true}}, lists, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"evil.example": "malware", "www.evil.example": "malware", "only.example": "malware", "www.only.example": "", "example": "", "track.example": "",
	} {
		if got := p.NeverExcepted(hostName(name), 1); got != want {
			t.Errorf("%s is in %q, want %q", name, got, want)
		}
	}
	for addr, want := range map[string]string{
		"198.51.100.1": "malware", "::ffff:198.51.100.1": "malware", "2001:db8:bad::1": "malware", "192.0.2.1": "", "2001:db8::1": "",
	} {
		if got := p.NeverExceptedAddr(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is in %q, want %q", addr, got, want)
		}
	}
}
