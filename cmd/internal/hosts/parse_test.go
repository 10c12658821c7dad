package hosts

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	gocmp "github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// render writes hosts as the golden files and tables of tests have them: a line each, "-" for what is not known.
func render(hosts []Host) string {
	var b strings.Builder
	for _, h := range hosts {
		mac, name, until := "-", "-", "-"
		if h.MAC != (MAC{}) {
			mac = h.MAC.String()
		}
		if h.Name != "" {
			name = h.Name
		}
		if !h.Until.IsZero() {
			until = h.Until.Format("2006-01-02T15:04:05Z07:00")
		}
		fmt.Fprintln(&b, h.Addr, mac, name, until)
	}
	return b.String()
}

func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.leases")
	if err != nil || len(files) != 5 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			hosts, problems, err := Parse(strings.NewReader(string(text)), "")
			if err != nil {
				t.Fatal(err)
			}
			got := render(hosts)
			for _, p := range problems {
				got += p.String() + "\n"
			}
			golden := strings.TrimSuffix(file, ".leases") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := gocmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}

			// Named, with other line ends, a mark before it, and in small pieces, it is the same file.
			format := strings.TrimRight(strings.TrimSuffix(filepath.Base(file), ".leases"), "46")
			windows := "\xef\xbb\xbf" + strings.ReplaceAll(string(text), "\n", "\r\n")
			for _, in := range []io.Reader{strings.NewReader(windows), iotest.OneByteReader(strings.NewReader(string(text)))} {
				again, problems2, err := Parse(in, format)
				if err != nil || render(again) != render(hosts) || len(problems2) != len(problems) {
					t.Errorf("%v: %s", err, gocmp.Diff(render(hosts), render(again)))
				}
			}
		})
	}
}

// TestRefused asserts what is no lease file, and that the error says why.
func TestRefused(t *testing.T) {
	broken := errors.New("the disk is on fire")
	large := io.MultiReader(strings.NewReader("1 02:00:5e:10:00:01 10.0.0.1 a *\n"), io.LimitReader(zeros{}, maxFile))
	for _, c := range []struct {
		name, format string
		in           io.Reader
		want         string
	}{
		{"other text", "", strings.NewReader("# leases\nhello world\n"), `is no lease file of dnsmasq, kea or isc: it begins with "hello world"`},
		{"one long line", "", io.LimitReader(zeros{}, 1<<20), "is no lease file"},
		{"unknown format", "dhcpcd", strings.NewReader(""), `no format "dhcpcd"; there are dnsmasq, kea and isc`},
		{"Kea without a header", "kea", strings.NewReader("10.0.0.1,,\n"), "line 1: \"10.0.0.1,,\" is no header"},
		{"Kea with another header", "", strings.NewReader("address,hwaddr\n"), "line 1: header \"address,hwaddr\" has no columns"},
		{"too large", "", large, "is larger than 64 MiB"},
		{"unreadable", "", iotest.ErrReader(broken), broken.Error()},
		{"unreadable later", "dnsmasq", io.MultiReader(strings.NewReader("0 * 10.0.0.1 a *\n"), iotest.ErrReader(broken)), broken.Error()},
	} {
		t.Run(c.name, func(t *testing.T) {
			hosts, _, err := Parse(c.in, c.format)
			if err == nil || !strings.Contains(err.Error(), c.want) || hosts != nil {
				t.Errorf("%v %v, want an error with %q", hosts, err, c.want)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// TestNothingYet asserts that a file that is not begun yet is none that is wrong.
func TestNothingYet(t *testing.T) {
	for _, text := range []string{"", "\n", "\r\n", "# written by dhcpd\n\n", "1795687200 02:00:5e:10:00:01 192.168.7.21 erika *", "address,hwaddr,cl"} {
		if hosts, problems, err := Parse(strings.NewReader(text), ""); err != nil || len(hosts)+len(problems) > 0 {
			t.Errorf("%q: %v %v %v", text, hosts, problems, err)
		}
	}
}

func TestTooManyHosts(t *testing.T) {
	r := newReader()
	r.most = 2
	text := "0 * 10.0.0.1 a *\n0 * 10.0.0.2 a *\n0 * 10.0.0.1 b *\n"
	if _, err := r.file(strings.NewReader(text), "dnsmasq"); err != nil || len(r.hosts) != 2 {
		t.Error(len(r.hosts), err)
	}
	_, err := r.file(strings.NewReader("0 * 10.0.0.3 a *\n"), "dnsmasq")
	if err == nil || err.Error() != "holds leases of more than 2 addresses" {
		t.Error(err)
	}
}

func TestProblemsAreBounded(t *testing.T) {
	text := strings.Repeat("x\n", 100) + "0 * 10.0.0.1 a *\n" + strings.Repeat("y", 3*maxLine) + "\n0 02:00:5e:10:00:01 10.0.0.2 b *\n"
	hosts, problems, err := Parse(strings.NewReader(text), "dnsmasq")
	want := "line 102: the last of 82 problems more" // the hardware address "*" is one, too
	if err != nil || len(hosts) != 2 || len(problems) != maxProblems+1 || problems[maxProblems].String() != want {
		t.Errorf("%v %v %v", hosts, problems, err)
	}
}

func TestHostName(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		{"", "", true},
		{"Erikas-Laptop", "erikas-laptop", true},
		{"a_b.corp.example.", "a_b", true},
		{"laptop.", "laptop", true},
		{"x.<b>", "x", true}, // what is cut off is not looked at
		{strings.Repeat("a", 63), strings.Repeat("a", 63), true},
		{strings.Repeat("a", 64), "", false},
		{".", "", false},
		{".laptop", "", false},
		{"two words", "", false},
		{"caf\u00e9", "", false},
		{"\u212aelvin", "", false}, // KELVIN SIGN, which is "k" in lower case
		{"a\x00b", "", false},
		{"\x1b[2J", "", false},
		{"*", "", false},
	} {
		if name, ok := hostName([]byte(c.text)); name != c.want || ok != c.ok {
			t.Errorf("%q: %q %v", c.text, name, ok)
		}
	}
}

func TestParseMAC(t *testing.T) {
	for _, text := range []string{"02:00:5e:10:00:01", "02-00-5E-10-00-01", "0200.5e10.0001"} {
		if m, err := ParseMAC(text); err != nil || m.String() != "02:00:5e:10:00:01" {
			t.Errorf("%s: %v %v", text, m, err)
		}
	}
	for text, want := range map[string]string{
		"":                        "write it as 02:00:5e:10:00:01",
		"02:00:5e:10:00":          "write it as 02:00:5e:10:00:01",
		"02:00:5e:10:00:01:02:03": "of 8 octets",
		"00:00:00:00:00:00":       "not of one interface",
		"01:00:5e:00:00:fb":       "not of one interface",
	} {
		if m, err := ParseMAC(text); err == nil || !strings.Contains(err.Error(), want) || m != (MAC{}) {
			t.Errorf("%s: %v %v", text, m, err)
		}
	}
}

func benchmarkParse(b *testing.B, format, before, line string) {
	var text strings.Builder
	text.WriteString(before)
	const hosts = 10000
	for i := range hosts {
		fmt.Fprintf(&text, line, i>>8, i&0xff)
	}
	b.SetBytes(int64(text.Len()))
	b.ReportAllocs()
	for b.Loop() {
		if got, _, err := Parse(strings.NewReader(text.String()), format); err != nil || len(got) != hosts {
			b.Fatal(len(got), err)
		}
	}
}

func BenchmarkDnsmasq(b *testing.B) {
	benchmarkParse(b, "dnsmasq", "", "1795687200 02:00:5e:10:00:01 10.0.%d.%d Erikas-Laptop 01:02:00:5e:10:00:01\n")
}

func BenchmarkKea(b *testing.B) {
	benchmarkParse(b, "kea", "address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,state,user_context,pool_id\n",
		"10.0.%d.%d,02:00:5e:20:00:01,01:02:00:5e:20:00:01,3600,1795687200,1,0,0,erika.corp.example,0,,0\n")
}

func BenchmarkISC(b *testing.B) {
	benchmarkParse(b, "isc", "", "lease 10.0.%d.%d {\n  starts 4 2026/11/26 09:00:00;\n  ends 4 2026/11/26 10:00:00;\n  cltt 4 2026/11/26 09:00:00;\n"+
		"  binding state active;\n  next binding state free;\n  hardware ethernet 02:00:5e:30:00:01;\n  uid \"\\001\\002\\000^0\\000\\001\";\n  client-hostname \"erika\";\n}\n")
}
