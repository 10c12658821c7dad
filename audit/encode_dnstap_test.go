package audit

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// keptDnstap is what dnstap has of a query: answers as far as links can tell them.
func keptDnstap(r *Record) *Record {
	if r.Kind != "query" {
		return nil
	}
	k := &Record{
		Seq: r.Seq, Kind: "query", Time: r.Time, Client: withAddress(r.Client), Name: r.Name, Type: r.Type, Class: r.Class, Dropped: r.Dropped,
	}
	if r.Transport == "udp" || r.Transport == "tcp" {
		k.Transport = r.Transport
	}
	if r.Policy != "" || r.Rule != "" {
		k.Policy, k.Entry = r.Policy+"/"+r.Rule, r.Entry
		if r.MatchedOn != "alias" {
			k.MatchedOn = r.MatchedOn
		}
	}
	if r.Dropped {
		return k
	}
	rcode, _ := numberOf(rcodeNumbers, r.Rcode, "RCODE")
	k.Rcode, k.EDE, k.Duration = rcodeString(rcode&0xfff), r.EDE, r.answered().Sub(r.Time).Microseconds()
	if r.sent() != nil {
		for _, l := range r.links() {
			if l.typ == "CNAME" {
				l.data = plainName(l.data)
			}
			k.Answers = append(k.Answers, plainName(l.owner)+" "+l.typ+" "+l.data)
		}
	}
	return k
}

// plainName is a name without the escape that keeps it from reading like an address.
func plainName(text string) string {
	name, _ := appendName(nil, text)
	return nameString(name)
}

// frames splits a Frame Streams file, which has to be whole.
func frames(t testing.TB, out []byte) (data [][]byte) {
	t.Helper()
	ended := false
	next := func() []byte {
		n := binary.BigEndian.Uint32(out)
		v := out[4 : 4+n]
		out = out[4+n:]
		return v
	}
	for first := true; len(out) > 0; first = false {
		v := next()
		if len(v) > 0 {
			if first || ended {
				t.Fatal("a frame outside")
			}
			data = append(data, v)
			continue
		}
		control := next()
		switch kind := binary.BigEndian.Uint32(control); {
		case kind == 2 && first:
			if binary.BigEndian.Uint32(control[4:]) != 1 || string(control[12:]) != "protobuf:dnstap.Dnstap" {
				t.Fatalf("%q", control)
			}
		case kind == 3 && !first && len(control) == 4:
			ended = true
		default:
			t.Fatalf("a control frame of type %d", kind)
		}
	}
	if !ended {
		t.Fatal("no end")
	}
	return data
}

// fields reads a protobuf message, whose fields are each there once: varints and
// fixed numbers as numbers, others as octets.
func fields(t testing.TB, b []byte) (numbers map[uint64]uint64, octets map[uint64][]byte) {
	t.Helper()
	numbers, octets = map[uint64]uint64{}, map[uint64][]byte{}
	varint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			t.Fatal("a varint is cut")
		}
		b = b[n:]
		return v
	}
	for len(b) > 0 {
		tag := varint()
		field := tag >> 3
		if _, twice := numbers[field]; twice || octets[field] != nil {
			t.Fatalf("field %d is there twice", field)
		}
		switch tag & 7 {
		case 0:
			numbers[field] = varint()
		case 2:
			n := varint()
			octets[field] = b[:n:n]
			b = b[n:]
		case 5:
			numbers[field] = uint64(binary.LittleEndian.Uint32(b))
			b = b[4:]
		default:
			t.Fatalf("wire type %d", tag&7)
		}
	}
	return numbers, octets
}

// readDnstap reads a file of pairs; DNS messages are read by miekg/dns.
func readDnstap(t testing.TB, out []byte) (records []*Record) {
	t.Helper()
	for _, frame := range frames(t, out) {
		kind, outer := fields(t, frame)
		if kind[15] != 1 {
			t.Fatal("no MESSAGE")
		}
		n, o := fields(t, outer[14])
		seq := readNumber(t, strings.TrimPrefix(string(outer[3]), "seq="))
		at := time.Unix(int64(n[8]), int64(n[9])).UTC()
		switch n[1] {
		case 5:
			r := &Record{
				Seq: seq, Kind: "query", Time: at, Dropped: true,
				Transport: map[uint64]string{1: "udp", 2: "tcp"}[n[3]],
			}
			if a, ok := netip.AddrFromSlice(o[4]); ok {
				r.Client = ClientOf(a)
				if a.Is4() != (n[2] == 1) {
					t.Error("the family is another")
				}
			}
			readQuestion(t, r, o[10])
			readPolicy(t, r, o[15])
			records = append(records, r)
		case 6:
			r := records[len(records)-1]
			if r.Seq != seq || r.Time != at {
				t.Fatal("a response to nothing")
			}
			r.Dropped = false
			r.Duration = time.Unix(int64(n[12]), int64(n[13])).Sub(at).Microseconds()
			readQuestion(t, r, o[14])
			readResponse(t, r, o[14])
			readPolicy(t, r, o[15])
		default:
			t.Fatalf("message type %d", n[1])
		}
	}
	return records
}

func unpack(t testing.TB, packet []byte) *dns.Msg {
	t.Helper()
	m := new(dns.Msg)
	if err := m.Unpack(packet); err != nil {
		t.Fatalf("%v in %x", err, packet)
	}
	return m
}

// shownName is a name of miekg/dns's as a Record has it.
func shownName(t testing.TB, name string) string {
	t.Helper()
	wire := make([]byte, 256)
	n, err := dns.PackDomainName(name, wire, 0, nil, false)
	if err != nil {
		t.Fatal(err)
	}
	return nameString(wire[:n])
}

func readQuestion(t testing.TB, r *Record, packet []byte) {
	t.Helper()
	m := unpack(t, packet)
	for _, q := range m.Question {
		r.Name, r.Type, r.Class = shownName(t, q.Name), typeString(q.Qtype), classString(q.Qclass)
	}
}

func readResponse(t testing.TB, r *Record, packet []byte) {
	t.Helper()
	m := unpack(t, packet)
	if !m.Response {
		t.Error("no response")
	}
	rcode := m.Rcode
	if opt := m.IsEdns0(); opt != nil {
		rcode |= opt.ExtendedRcode() &^ 0xf
		for _, o := range opt.Option {
			code := int32(o.(*dns.EDNS0_EDE).InfoCode)
			r.EDE = &code
		}
	}
	r.Rcode = rcodeString(uint16(rcode))
	for _, rr := range m.Answer {
		data := ""
		switch rr := rr.(type) {
		case *dns.CNAME:
			data = shownName(t, rr.Target)
		case *dns.A:
			data = netip.AddrFrom4([4]byte(rr.A.To4())).String()
		case *dns.AAAA:
			data = netip.AddrFrom16([16]byte(rr.AAAA.To16())).String()
		}
		r.Answers = append(r.Answers, shownName(t, rr.Header().Name)+" "+dns.TypeToString[rr.Header().Rrtype]+" "+data)
	}
}

func readPolicy(t testing.TB, r *Record, b []byte) {
	t.Helper()
	if b == nil {
		return
	}
	n, o := fields(t, b)
	r.Policy, r.Entry, r.MatchedOn = string(o[2]), string(o[5]), map[uint64]string{1: "name", 3: "address"}[n[4]]
	if string(o[1]) != "weir" {
		t.Errorf("policy of type %q", o[1])
	}
}
