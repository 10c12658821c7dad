package main

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"weir/audit"
	"weir/resolver"
)

func TestTable(t *testing.T) {
	got := table([][]string{
		{"NAME", "TYPE", "WHERE"},
		{"a", "AAAA", "x"},
		{"名前.example", "", ""},
		{"only"},
		{"", "", "last"},
	}, "  ")
	want := "" +
		"  NAME          TYPE  WHERE\n" +
		"  a             AAAA  x\n" +
		"  名前.example\n" +
		"  only\n" +
		"                      last\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := table(nil, ""); got != "" {
		t.Errorf("no rows: %q", got)
	}
}

func TestParseTime(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.Local)
	for text, want := range map[string]time.Time{
		"90m":                       now.Add(-90 * time.Minute),
		"1h30m":                     now.Add(-90 * time.Minute),
		"0s":                        now,
		"7d":                        now.AddDate(0, 0, -7),
		"0d":                        now,
		"2026-01-02":                time.Date(2026, 1, 2, 0, 0, 0, 0, time.Local),
		"2026-01-02 03:04":          time.Date(2026, 1, 2, 3, 4, 0, 0, time.Local),
		"2026-01-02 03:04:05":       time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local),
		"2026-01-02 03:04:05.006":   time.Date(2026, 1, 2, 3, 4, 5, 6e6, time.Local),
		"2026-01-02T03:04:05":       time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local),
		"2026-01-02T03:04:05Z":      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05+02:00": time.Date(2026, 1, 2, 1, 4, 5, 0, time.UTC),
	} {
		if got, err := parseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "-1d", "1.5d", "1 d", "7dd", "7d2h", "-1h", "yesterday", "12", "2026-13-01", "2026-01-02 25:00"} {
		if got, err := parseTime(text, now); err == nil || !strings.Contains(err.Error(), "write a span") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	// What the verbs print can be given back to them.
	rapid.Check(t, func(t *rapid.T) {
		want := time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "time"))
		if got, err := parseTime(want.UTC().Format(time.RFC3339Nano), now); err != nil || !got.Equal(want) {
			t.Fatalf("%v: %v, %v", want, got, err)
		}
	})
}

func TestParseNetwork(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1":        "192.0.2.1/32",
		"192.0.2.9/24":     "192.0.2.0/24",
		"2001:db8::1":      "2001:db8::1/128",
		"2001:db8::1/32":   "2001:db8::/32",
		"::ffff:192.0.2.1": "192.0.2.1/32",
		"fe80::1%eth0":     "fe80::1/128",
		"0.0.0.0/0":        "0.0.0.0/0",
	} {
		if got, err := parseNetwork(text); err != nil || got.String() != want {
			t.Errorf("%q: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "host", "192.0.2", "192.0.2.1/33", "192.0.2.1/", "/8"} {
		if got, err := parseNetwork(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestParseType(t *testing.T) {
	for text, want := range map[string]uint16{"A": 1, "aaaa": 28, "https": 65, "TYPE65": 65, "type65535": 65535, "ANY": 255, "TYPE0": 0} {
		if got, err := parseType(text); err != nil || got != want {
			t.Errorf("%q: %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "TYPE", "TYPE65536", "TYPE-1", "TYPE1x", "NOTYPE", "65"} {
		if got, err := parseType(text); err == nil || !strings.Contains(err.Error(), "TYPE65") {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
}

// TestRecordText asserts what a record looks like as a line, and that nothing in one can act on a terminal.
func TestRecordText(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	for _, c := range []struct {
		record audit.Record
		want   string
	}{
		{
			audit.Record{
				Kind: "query", Client: audit.ClientOf(netip.MustParseAddr("192.0.2.1")), Name: "ads.track.example", Type: "A", Verdict: "block", Policy: "staff", Rule: "1",
				Category: "ads", List: "ads.txt", Entry: "track.example", MatchedOn: "name", Source: "sinkhole", Rcode: "NXDOMAIN",
			},
			`192.0.2.1        block  ads.track.example              A      sinkhole NXDOMAIN  [staff, rule 1, ads, ads.txt, track.example]`,
		},
		{
			audit.Record{
				Kind: "query", Client: audit.ClientOf(netip.MustParseAddr("2001:db8::1")), Name: `\027[2J\010.example`, Type: "TYPE65280", Verdict: "allow", Policy: "staff", Rule: "default",
				MatchedOn: "alias", Source: "cache", Rcode: "NOERROR", Dropped: true, Answers: []string{"cdn.example", "192.0.2.7"},
				Observed: &audit.Reason{Policy: "staff", Rule: "2", Category: "new", List: "new.txt"},
			},
			`2001:db8::1      allow  \027[2J\010.example            TYPE65280  cache NOERROR (no answer)  [staff, default, on alias]` +
				`  would block: policy staff, rule 2, category new, list new.txt  cdn.example 192.0.2.7`,
		},
		{
			audit.Record{
				Kind: "query", Client: audit.ClientOf(netip.MustParseAddr("192.0.2.1")), Name: "www.shop.example", Type: "HTTPS", Verdict: "allow", Policy: "staff", Rule: "2",
				Source: "cache", Rcode: "NOERROR", Stripped: true,
			},
			`192.0.2.1        allow  www.shop.example               HTTPS  cache NOERROR stripped  [staff, rule 2]`,
		},
		{audit.Record{Kind: "query", Client: audit.ClientOf(netip.MustParseAddr("192.0.2.1")), Source: "error", Rcode: "FORMERR"}, `192.0.2.1        -                                            error FORMERR`},
		{audit.Record{Kind: "change", Text: "reload: \x1b[31m\u202eevil"}, `change  reload: \x1b[31m\u202eevil`},
		{audit.Record{Kind: "gap", Lost: 1, From: at, To: at}, `gap     1 event lost between 2026-01-02 03:04:05.000 and 2026-01-02 03:04:05.000`},
	} {
		if diff := cmp.Diff(c.want, recordText(&c.record, false)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		r := audit.Record{
			Kind: rapid.SampledFrom([]string{"query", "change"}).Draw(t, "kind"), Text: text.Draw(t, "text"),
			Policy: text.Draw(t, "policy"), Rule: "1", Category: text.Draw(t, "category"), List: text.Draw(t, "list"),
			Observed: &audit.Reason{List: text.Draw(t, "observed")},
		}
		if got := recordText(&r, false); shown(got) != got {
			t.Fatalf("not printable: %q", got)
		}
	})
}

func TestPalette(t *testing.T) {
	t.Setenv("NO_COLOR", "")
	var out bytes.Buffer
	for _, c := range []struct {
		mode, word, want string
	}{
		{"auto", "blocked", "blocked"}, // a buffer is no terminal
		{"never", "blocked", "blocked"},
		{"always", "blocked", "\x1b[31mblocked\x1b[0m"},
		{"always", "allow", "\x1b[32mallow\x1b[0m"},
		{"always", "would block", "\x1b[33mwould block\x1b[0m"},
	} {
		if got := (&global{color: c.mode}).palette(&out).verdict(c.word); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.mode, c.word, got, c.want)
		}
	}
}

func TestBindHint(t *testing.T) {
	addr := netip.MustParseAddrPort("192.0.2.1:53")
	for errno, want := range map[error]string{
		syscall.EADDRINUSE:    "udp 192.0.2.1:53 is taken by another program (run as root to see which); stop it, or choose another port in [server] listen",
		syscall.EACCES:        "CAP_NET_BIND_SERVICE",
		syscall.EADDRNOTAVAIL: "this machine does not have that address",
		syscall.EAFNOSUPPORT:  "no support for that address family",
		syscall.EIO:           "listen on udp 192.0.2.1:53: input/output error",
		os.NewSyscallError("bind", syscall.EACCES): "CAP_NET_BIND_SERVICE",
	} {
		if got := bindHint(&resolver.BindError{Network: "udp", Addr: addr, Err: errno}).Error(); !strings.Contains(got, want) {
			t.Errorf("%v: %q, want %q", errno, got, want)
		}
	}
	if other := errors.New("other"); bindHint(other) != other {
		t.Error("an error of another kind was changed")
	}
}

func TestOpenHint(t *testing.T) {
	for err, want := range map[error]string{
		audit.ErrLocked: "another weir", os.ErrPermission: "let the user that runs weir", syscall.ENOSPC: "free space",
	} {
		if got := openHint(err); !errors.Is(got, err) || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: %v, want %q", err, got, want)
		}
	}
}
