package hosts

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// fuzzFormat feeds a format with the golden files and with what the engine makes of them. naive, if there is one, is a
// second reader.
func fuzzFormat(f *testing.F, format string, naive func(text string) map[netip.Addr]Host) {
	files, err := filepath.Glob("testdata/" + format + "*.leases")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		for line := range bytes.Lines(text) { // small ones too
			f.Add(slices.Clone(line))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		hosts, problems, err := Parse(bytes.NewReader(text), format)
		for _, h := range hosts {
			checkHost(t, h)
		}
		if !slices.IsSortedFunc(hosts, compareHosts) || len(hosts) != len(slices.CompactFunc(slices.Clone(hosts), func(a, b Host) bool { return a.Addr == b.Addr })) {
			t.Errorf("not one host for each address, by address: %v", hosts)
		}
		lines := bytes.Count(text, []byte("\n")) + 1
		if len(problems) > maxProblems+1 || slices.ContainsFunc(problems, func(p Problem) bool { return p.Line < 1 || p.Line > lines }) {
			t.Errorf("problems %v", problems)
		}
		if len(text) >= maxLine/2 {
			return // longer lines are refused, in this form or that
		}

		same := func(what string, other []byte) {
			t.Helper()
			again, _, _ := Parse(bytes.NewReader(other), format)
			if !slices.Equal(hosts, again) {
				t.Errorf("%s: %v, before %v", what, again, hosts)
			}
		}
		same("other line ends", bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")))
		if end := bytes.LastIndexByte(text, '\n') + 1; err == nil && end > 0 {
			whole := text[:end:end]
			same("without what is not ended", whole)
			for _, garbage := range []string{"\x00\xff\n", "no lease at all\n", "1795687200 02:00:5e:10:00:01\n", ",,,\n", "lease {\n", "\"\n", "{{{{\n"} {
				same("garbage after it", append(whole, garbage...))
			}
		}
		if naive != nil && err == nil {
			got := make(map[netip.Addr]Host)
			for _, h := range hosts {
				got[h.Addr] = h
			}
			if want := naive(string(bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")))); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%v, the naive reader says %v", got, want)
			}
		}
	})
}

var goodName = regexp.MustCompile(`^[a-z0-9_-]{0,63}$`)

func checkHost(t *testing.T, h Host) {
	t.Helper()
	addr, ok := clientAddr(h.Addr)
	if !ok || addr != h.Addr || !goodName.MatchString(h.Name) || h.MAC[0]&1 != 0 || h.Until.Location() != time.UTC || h.Until.Year() > 9999 {
		t.Errorf("bad host %+v", h)
	}
}

func FuzzDnsmasq(f *testing.F) { fuzzFormat(f, "dnsmasq", naiveDnsmasq) }
func FuzzKea(f *testing.F)     { fuzzFormat(f, "kea", naiveKea) }
func FuzzISC(f *testing.F)     { fuzzFormat(f, "isc", nil) }

var naiveMAC = regexp.MustCompile(`(?i)^([0-9a-f]{2})[:-]([0-9a-f]{2})[:-]([0-9a-f]{2})[:-]([0-9a-f]{2})[:-]([0-9a-f]{2})[:-]([0-9a-f]{2})$`)

// naiveHost makes a host of text.
func naiveHost(addr netip.Addr, mac, name, until string) Host {
	h := Host{Addr: addr}
	if parts := naiveMAC.FindStringSubmatch(mac); parts != nil && (strings.Count(mac, ":") == 5 || strings.Count(mac, "-") == 5) {
		for i, p := range parts[1:] {
			n, _ := strconv.ParseUint(p, 16, 8)
			h.MAC[i] = byte(n)
		}
	} else if parts := strings.Split(mac, "."); len(parts) == 3 && len(mac) == 14 && len(parts[0]) == 4 && len(parts[1]) == 4 {
		n, err := strconv.ParseUint(strings.Join(parts, ""), 16, 48)
		for i := range h.MAC {
			if err == nil {
				h.MAC[i] = byte(n >> (40 - 8*i))
			}
		}
	}
	if h.MAC[0]%2 == 1 {
		h.MAC = MAC{}
	}
	name, _, _ = strings.Cut(name, ".")
	if lower := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 32
		}
		return r
	}, name); goodName.MatchString(lower) {
		h.Name = lower
	}
	if until != "" {
		n, _ := strconv.ParseInt(until, 10, 64)
		h.Until = time.Unix(n, 0).UTC()
	}
	return h
}

func naiveAddr(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.Zone() != "" {
		return addr, false
	}
	addr = addr.Unmap()
	return addr, !addr.IsUnspecified() && !addr.IsLoopback() && !addr.IsMulticast() && addr.String() != "255.255.255.255"
}

func naiveTime(text string) bool {
	n, err := strconv.ParseInt(text, 10, 64)
	return err == nil && n >= 0 && n <= 253402300799 && regexp.MustCompile(`^[0-9]+$`).MatchString(text)
}

func naiveDnsmasq(text string) map[netip.Addr]Host {
	out := make(map[netip.Addr]Host)
	lines := strings.Split(text, "\n")
	for _, line := range lines[:len(lines)-1] {
		f := strings.Fields(line)
		if len(f) != 5 || !naiveTime(f[0]) {
			continue
		}
		addr, ok := naiveAddr(f[2])
		if !ok {
			continue
		}
		if regexp.MustCompile("^0+$").MatchString(f[0]) {
			f[0] = ""
		}
		if f[3] == "*" {
			f[3] = ""
		}
		if addr.Is6() {
			f[1] = ""
		}
		out[addr] = naiveHost(addr, f[1], f[3], f[0])
	}
	return out
}

func naiveKea(text string) map[netip.Addr]Host {
	out := make(map[netip.Addr]Host)
	lines := strings.Split(text, "\n")
	var header []string
	for _, line := range lines[:len(lines)-1] {
		f := strings.Split(strings.TrimRight(line, "\r"), ",")
		if strings.HasPrefix(line, "address,") {
			header = f
			continue
		}
		row := make(map[string]string)
		for i := len(header) - 1; i >= 0 && len(f) == len(header); i-- {
			row[header[i]] = f[i]
		}
		addr, ok := naiveAddr(row["address"])
		lifetime, err := strconv.ParseUint(row["valid_lifetime"], 10, 32)
		if !ok || err != nil || row["lease_type"] == "2" {
			continue
		}
		if lifetime == 1<<32-1 {
			row["expire"] = ""
		} else if !naiveTime(row["expire"]) {
			continue
		}
		state := uint64(0)
		if slices.Contains(header, "state") {
			if state, err = strconv.ParseUint(row["state"], 10, 32); err != nil {
				continue
			}
		}
		if delete(out, addr); state == 0 && lifetime > 0 {
			name := regexp.MustCompile(`&#x[0-9a-fA-F]{2}`).ReplaceAllStringFunc(row["hostname"], func(s string) string {
				n, _ := strconv.ParseUint(s[3:], 16, 8)
				return string([]byte{byte(n)})
			})
			out[addr] = naiveHost(addr, row["hwaddr"], name, row["expire"])
		}
	}
	return out
}

// TestISCModel writes lease files as dhcpd does and asserts what is read in them.
func TestISCModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var text strings.Builder
		want := make(map[netip.Addr]Host)
		for range rapid.IntRange(0, 30).Draw(t, "blocks") {
			h := Host{Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(rapid.IntRange(1, 5).Draw(t, "addr"))})}
			v6 := rapid.Bool().Draw(t, "v6")
			if v6 {
				b := h.Addr.As4()
				h.Addr = netip.AddrFrom16([16]byte{0: 0xfd, 15: b[3]})
			}
			active := rapid.Bool().Draw(t, "active")
			statements := []string{
				"binding state " + map[bool]string{true: "active", false: "free"}[active] + ";",
				"next binding state active;",
				"starts 4 2026/11/26 09:00:00;",
				`uid "\001{};\"lease";`,
				"cltt epoch 5; # } lease",
			}
			at := time.Unix(rapid.Int64Range(1, 1<<33).Draw(t, "ends"), 0).UTC()
			ends := rapid.SampledFrom([]string{"never", "epoch", "date", "none"}).Draw(t, "how")
			switch ends {
			case "never":
				statements = append(statements, "ends never;")
			case "epoch":
				h.Until = at
				statements = append(statements, fmt.Sprintf("ends epoch %d; # %s", at.Unix(), at.Format(time.ANSIC)))
			case "date":
				h.Until = at
				statements = append(statements, fmt.Sprintf("ends %d %s;", at.Weekday(), at.Format("2006/01/02 15:04:05")))
			}
			if h.MAC[5] = byte(rapid.IntRange(0, 3).Draw(t, "mac")); h.MAC != (MAC{}) {
				statements = append(statements, "hardware ethernet "+h.MAC.String()+";")
			}
			name := rapid.SampledFrom([]string{"", "Erika", "door.lan", "no name", `"`, `\`, "{", "x;"}).Draw(t, "name")
			if name != "" {
				quoted := strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(name)
				if rapid.Bool().Draw(t, "octal") {
					quoted = strings.ReplaceAll(quoted, "r", `\162`)
				}
				statements = append(statements, fmt.Sprintf("client-hostname \"%s\";", quoted))
			}
			h.Name = map[string]string{"Erika": "erika", "door.lan": "door"}[name]
			if rapid.Bool().Draw(t, "event") {
				statements = append(statements, "on expiry {", "binding state active;", `if exists "a" { ends never; }`, "}")
			} else {
				statements = rapid.Permutation(statements).Draw(t, "order")
			}

			open, end := "lease "+h.Addr.String()+" {\n", "}\n"
			if v6 {
				open = "ia-na \"\\001x\" {\n  cltt 4 2026/11/26 09:00:00;\n  iaaddr " + h.Addr.String() + " {\n"
				end = "  }\n}\n"
			}
			block := open
			for _, s := range statements {
				block += "    " + s + "\n"
			}
			if rapid.IntRange(0, 9).Draw(t, "cut") == 0 { // dhcpd was killed, and the next one appends
				at := rapid.IntRange(len("lease "), len(block)).Draw(t, "at")
				text.WriteString(block[:at] + "\n")
				text.WriteString("lease 10.9.9.9 {\n  binding state free;\n}\n")
				continue
			}
			text.WriteString(block + end)
			if delete(want, h.Addr); active && ends != "none" {
				want[h.Addr] = h
			}
		}
		hosts, _, err := Parse(strings.NewReader(text.String()), "isc")
		if err != nil {
			t.Fatal(err)
		}
		list := make([]Host, 0, len(want))
		for _, h := range want {
			list = append(list, h)
		}
		slices.SortFunc(list, func(a, b Host) int { return cmp.Or(a.Addr.Compare(b.Addr)) })
		if !slices.Equal(hosts, list) {
			t.Fatalf("%s\nread:\n%swritten:\n%s", text.String(), render(hosts), render(list))
		}
	})
}
