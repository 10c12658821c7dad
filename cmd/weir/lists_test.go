package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/cmd/internal/admin"
)

// TestListsText asserts the whole of what `weir lists` prints, hostile text among it.
func TestListsText(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	got := listsText([]admin.List{
		{
			Category: "ads", Name: "lists/ads.txt", Format: "adblock", Origin: "file", State: "ok",
			Entries: 1200, Networks: 3, Added: 10, Removed: 2, Unreadable: 1, Shared: 1190, SharedWith: &admin.Overlap{List: "feed", Entries: 1100},
			Hits24h: 77, Modified: ago(73 * time.Hour), Taken: ago(time.Hour), Digest: "0123456789abcdef",
			Ignored:  map[string]int{"rule of a page": 5, "address": 2},
			Notes:    map[string]int{"rpz-drop: is blocked": 4},
			Problems: []string{"lists/ads.txt:7:3: empty label: a..b"},
		},
		{
			Category: "ads", Name: "a feed\x1b[31m", Format: "domains", Origin: "url", State: "held: 2 of 8 names", Entries: 8,
			Taken: ago(59 * time.Minute), Digest: "89abcdef01234567", Previous: "00",
			SharedWith: &admin.Overlap{List: "lists/ads.txt", Entries: 7},
			Held:       &admin.Held{Digest: "fedcba9876543210", Entries: 2, Since: ago(5 * time.Hour), Why: "2 of 8 names\x07"},
			Failure:    "GET: 503\nService", Next: now.Add(26 * time.Hour),
		},
		{Category: "malware", Name: "gone", Origin: "transfer", State: "missing: not yet fetched", Next: ago(time.Second)},
	}, now)
	want := "" +
		"CATEGORY  LIST            FORMAT   NAMES  ADDED  REMOVED  UNUSED  UNREADABLE  SHARED  HITS/24h  AGE  DIGEST    STATE\n" +
		"ads       lists/ads.txt   adblock  1200   10     2        7       1           1190    77        3d   01234567  ok\n" +
		"ads       a feed\\x1b[31m  domains  8      0      0        0       0           0       0         59m  89abcdef  held: 2 of 8 names\n" +
		"malware   gone            -        0      0      0        0       0           0       0         -    -         missing: not yet fetched\n" +
		"\n" +
		"lists/ads.txt: 3 networks of addresses\n" +
		"lists/ads.txt: 1100 of 1200 names are on feed too\n" +
		"lists/ads.txt: 2 left out: address\n" +
		"lists/ads.txt: 4 noted: rpz-drop: is blocked\n" +
		"lists/ads.txt: 5 left out: rule of a page\n" +
		"lists/ads.txt:7:3: empty label: a..b\n" +
		"a feed\\x1b[31m: version fedcba98 with 2 names waits for 5h: 2 of 8 names\\x07\n" +
		"a feed\\x1b[31m: `weir lists approve 'a feed\\x1b[31m'` puts it in force, `weir lists reject 'a feed\\x1b[31m'` drops it\n" +
		"a feed\\x1b[31m: GET: 503\\x0aService; asked again in 1d\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAge(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 59 * time.Second: "59s", time.Minute: "1m", time.Hour - 1: "59m", 23*time.Hour + 59*time.Minute: "23h",
		24 * time.Hour: "1d", 400 * 24 * time.Hour: "400d",
	} {
		if got := age(now.Add(-d), now); got != want {
			t.Errorf("%v ago is %q, want %q", d, got, want)
		}
	}
	if got := age(time.Time{}, now); got != "-" {
		t.Errorf("no time is %q", got)
	}
}

// TestArgument asserts that a list's name can be copied from what is printed into a shell.
func TestArgument(t *testing.T) {
	for text, want := range map[string]string{
		"lists/ads.txt":                  "lists/ads.txt",
		"axfr://[2001:db8::53]/rpz":      "'axfr://[2001:db8::53]/rpz'",
		"https://feeds.example/a?b=c&d":  "'https://feeds.example/a?b=c&d'",
		"it's":                           `'it'\''s'`,
		"":                               "''",
		"-x":                             "'-x'",
		"https://feeds.example/ads.txt":  "https://feeds.example/ads.txt",
		"lists/$(reboot).txt; `reboot`.": "'lists/$(reboot).txt; `reboot`.'",
	} {
		if got := argument(text); got != want {
			t.Errorf("%q is %s, want %s", text, got, want)
		}
	}
}

// TestListsCheck asserts what is said of a list's networks, and of a file whose name is hostile.
func TestListsCheck(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a\x1b.txt")
	if err := os.WriteFile(file, []byte("one.example\ntwo words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	networks := filepath.Join(dir, "rpz")
	zone := "$ORIGIN rpz.example.\n@ 60 SOA ns h 1 60 60 60 60\n@ 60 NS ns\nbad.example CNAME .\n24.0.2.0.192.rpz-ip CNAME .\n32.1.2.0.192.rpz-ip CNAME .\n"
	if err := os.WriteFile(networks, []byte(zone), 0o600); err != nil {
		t.Fatal(err)
	}
	var out, talk bytes.Buffer
	if code := run([]string{"lists", "check", file, networks}, &out, &talk); code != exitFailure {
		t.Errorf("exit %d, %s", code, &talk)
	}
	for _, want := range []string{
		"a\\x1b.txt:2:4: ", "a\\x1b.txt: domains, 1 name, 0 duplicates, 1 line unreadable\n",
		"rpz: rpz, 1 name, 2 networks, 0 duplicates, 0 lines unreadable\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, &out)
		}
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Errorf("a control character got through: %q", &out)
	}
}
