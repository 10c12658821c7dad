package resolver

import (
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"weir/audit"
	"weir/resolver/wire"
)

// TestPacketsOnRecord: what client and server sent, beside the question.
func TestPacketsOnRecord(t *testing.T) {
	set := town(t)
	set.limits = Limits{Cookies: true}
	w := newWorld(t, set)
	var want []*audit.Packet
	ask := func(p audit.Packet, edit ...func(*dns.Msg)) []byte {
		t.Helper()
		msg := query(t, "www.lab.example. A", edit...)
		out := w.exchange("", msg)
		p.Port, p.ID = 4053, uint16(msg[0])<<8|uint16(msg[1])
		p.QuerySize, p.AnswerSize = uint16(len(msg)), uint16(len(out))
		want = append(want, &p)
		return out
	}
	ask(audit.Packet{RD: true, AA: true})
	ask(audit.Packet{AA: true, AD: true, CD: true}, func(m *dns.Msg) {
		m.RecursionDesired, m.AuthenticatedData, m.CheckingDisabled = false, true, true
	})
	ask(audit.Packet{RD: true, AA: true, EDNS: &audit.EDNS{UDPSize: wire.MaxUDP, DO: true}}, dnssec)
	ask(audit.Packet{RD: true, EDNS: &audit.EDNS{UDPSize: wire.MaxUDP, Version: 7}}, edns, func(m *dns.Msg) { m.IsEdns0().SetVersion(7) })
	ask(audit.Packet{RD: true, AA: true, EDNS: &audit.EDNS{UDPSize: wire.MaxUDP, ECS: true}}, edns, func(m *dns.Msg) {
		m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_SUBNET{
			Code: dns.EDNS0SUBNET, Family: 1, SourceNetmask: 24, Address: net.IPv4(192, 0, 2, 0),
		})
	})
	withIt := func(cookie string) func(*dns.Msg) {
		return func(m *dns.Msg) {
			m.SetEdns0(512, false)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &dns.EDNS0_COOKIE{Code: dns.EDNS0COOKIE, Cookie: cookie})
		}
	}
	mine := func(cookie string) audit.Packet {
		return audit.Packet{RD: true, AA: true, EDNS: &audit.EDNS{UDPSize: 512, Cookie: cookie}}
	}
	out := ask(mine("client"), withIt("0123456789abcdef"))
	good := cookieIn(t, out)
	ask(mine("valid"), withIt(good))
	ask(mine("client"), withIt(good[:46]+map[bool]string{false: "00", true: "01"}[good[46:] == "00"]))

	var got []*audit.Packet
	for _, e := range w.events() {
		got = append(got, e.Packet)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestEveryPacketIsAnEvent: whatever comes by either transport, when it is over
// each packet is an event, or counted as one that was lost.
func TestEveryPacketIsAnEvent(t *testing.T) {
	set := town(t)
	set.limits = Limits{Rate: 60, Responses: 3, Waiting: 2}
	w := newWorld(t, set)
	w.listen()
	response := query(t, www)
	response[2] |= 0x80
	packets := [][]byte{
		{},
		{1},
		[]byte("too short"), response, query(t, www), query(t, www, edns), query(t, "x.track.example. A"),
		query(t, "hole.example. A"), query(t, www)[:14], append([]byte{1, 2, 2 << 3, 0}, make([]byte, 8)...),
		query(t, "example. SOA", func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify }), query(t, "unknown.example. A"),
		query(t, "www.example. ANY"), query(t, "www.lab.example. A"), query(t, www, edns, func(m *dns.Msg) { m.IsEdns0().SetVersion(3) }),
	}
	udp := w.dial("udp")
	sent := uint64(0)
	const rounds = 20
	for range rounds { // so that limits are passed
		for _, p := range packets {
			if _, err := udp.Write(p); err != nil {
				t.Fatal(err)
			}
			sent++
		}
	}
	for _, p := range packets {
		c := w.dial("tcp")
		if _, err := c.Write(framed(p)); err != nil {
			t.Fatal(err)
		}
		if err := c.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		for { // until the server has done with it
			if _, err := unframe(c); err != nil {
				break
			}
		}
		sent++
	}
	// A message that was cut off is none.
	c := w.dial("tcp")
	if _, err := c.Write(framed(query(t, www))[:20]); err != nil {
		t.Fatal(err)
	}
	c.Close()
	for limit := time.Now().Add(patience); w.Stats().Received < sent || w.Stats().Inflight > 0; {
		if time.Now().After(limit) {
			t.Fatalf("%d of %d packets received", w.Stats().Received, sent)
		}
	}
	w.Resolver.inflight.Wait()
	events := uint64(len(w.events()))
	got := w.Stats()
	if got.Limited == 0 || got.Alike == 0 || got.Ignored != 4*(rounds+1) {
		t.Errorf("the mix does not pass every way: %+v", got)
	}
	if got.Received != sent || events != sent {
		t.Errorf("%d packets sent, %d received, %d on record", sent, got.Received, events)
	}
}
