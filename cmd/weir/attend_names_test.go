package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// says returns the rcode and the data of the records in the answer.
func (w *attended) says(name string, qtype uint16) string {
	w.t.Helper()
	conn := w.dial("127.0.0.1")
	defer conn.Close()
	if err := conn.WriteMsg(new(dns.Msg).SetQuestion(name, qtype)); err != nil {
		w.t.Fatal(err)
	}
	m, err := conn.ReadMsg()
	if err != nil {
		w.t.Fatal(err)
	}
	out := dns.RcodeToString[m.Rcode]
	for _, rr := range m.Answer {
		out += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
	}
	return out
}

// TestLeaseNamesEnd: a name is there as long as its lease is, by the clock of
// the server, and goes with it though no file changes; a renewal alone puts no
// other state in force.
func TestLeaseNamesEnd(t *testing.T) {
	begin := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	lease := func(until time.Time, octet int, name string) string {
		return fmt.Sprintf("%d 02:00:5e:10:00:%02x 10.0.0.%d %s *\n", until.Unix(), octet, octet, name)
	}
	both := lease(begin.Add(time.Hour), 20, "laptop") + lease(begin.Add(2*time.Hour), 21, "phone")
	w := newAttended(t, begin.Format(time.RFC3339), attendedZone+`
[clients]
leases = ["dnsmasq.leases"]
[leases]
domain = "lan.example"
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
`, map[string]string{"dnsmasq.leases": both})
	look := func(when, laptop, phone string) {
		t.Helper()
		w.watcher().Load()
		w.review(true)
		for _, q := range []struct {
			name string
			typ  uint16
			want string
		}{
			{"laptop.lan.example.", dns.TypeA, laptop},
			{"phone.lan.example.", dns.TypeA, phone},
			{"20.0.0.10.in-addr.arpa.", dns.TypePTR, map[bool]string{true: "NXDOMAIN", false: "NOERROR laptop.lan.example."}[laptop == "NXDOMAIN"]},
		} {
			if got := w.says(q.name, q.typ); got != q.want {
				t.Errorf("%s: %s is %s, want %s", when, q.name, got, q.want)
			}
		}
	}
	look("at first", "NOERROR 10.0.0.20", "NOERROR 10.0.0.21")
	w.clock.pass(time.Hour - time.Second)
	look("a second before", "NOERROR 10.0.0.20", "NOERROR 10.0.0.21")
	w.write("dnsmasq.leases", both+lease(begin.Add(3*time.Hour), 20, "laptop"))
	named := w.resolver.State().Local
	look("renewed", "NOERROR 10.0.0.20", "NOERROR 10.0.0.21")
	if w.resolver.State().Local != named {
		t.Error("a renewal made the names anew")
	}
	w.clock.pass(time.Hour + time.Second)
	look("the phone's is over", "NOERROR 10.0.0.20", "NXDOMAIN")
	w.clock.pass(time.Hour)
	look("all are over", "NXDOMAIN", "NXDOMAIN")
	// A file that goes takes no name with it before its time.
	w.write("dnsmasq.leases", lease(begin.Add(6*time.Hour), 21, "phone"))
	look("another", "NXDOMAIN", "NOERROR 10.0.0.21")
}

// TestOnlyGivenNames: an address that the neighbour table shows beside a lease
// has its policy, and no name in the DNS; nor has a link-local one.
func TestOnlyGivenNames(t *testing.T) {
	w := newAttended(t, "2026-03-02T09:00:00Z", attendedZone+`
[clients]
leases = ["dnsmasq.leases"]
[leases]
domain = "lan.example"
[[policy]]
name = "all"
clients = ["any"]
default = "allow"
`, map[string]string{"dnsmasq.leases": "0 02:00:5e:10:00:01 10.0.0.20 laptop *\n0 02:00:5e:10:00:01 10.0.0.21 * *\n0 02:00:5e:10:00:02 169.254.0.9 link *\n"})
	if got := w.says("laptop.lan.example.", dns.TypeA); got != "NOERROR 10.0.0.20" {
		t.Error(got)
	}
	for _, h := range w.watcher().Hosts() {
		if h.Addr.String() == "10.0.0.21" && h.Name != "laptop" {
			t.Errorf("10.0.0.21 is not known as the laptop's: %+v", h)
		}
	}
	for name, want := range map[string]string{"21.0.0.10.in-addr.arpa.": "NXDOMAIN", "9.0.254.169.in-addr.arpa.": "NXDOMAIN"} {
		if got := w.says(name, dns.TypePTR); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	if got := w.says("link.lan.example.", dns.TypeA); got != "NXDOMAIN" {
		t.Errorf("link: %s", got)
	}
}
