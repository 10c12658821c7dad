package audit

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
)

// An office makes events of the shape of a month's traffic, from a seed: 5,000 clients, most queries by few of them;
// 2,000,000 names, most queries for few of these (Zipf, 1.1), with labels of words, of numbers and of random octets;
// a name's answers are the same until its TTL has passed, and then another part of its addresses; A and AAAA of one
// name come together; four of ten names have aliases; ports and IDs are random over all that there are, which is more
// than most clients use.
type office struct {
	r        *rand.Rand
	names    *rand.Zipf
	clients  *rand.Zipf
	reasons  [4][]uint32 // by group, then kind
	groups   []uint32
	upstream []uint32
	at       int64
	gap      float64 // nanoseconds between lookups, on average
	cached   map[uint64]int64
	waiting  []Event
}

const officeNames = 2_000_000

func newOffice(l *Log, perSecond float64) *office {
	o := &office{r: rand.New(rand.NewPCG(7, 11)), at: epoch.UnixNano(), cached: make(map[uint64]int64)}
	o.names = rand.NewZipf(o.r, 1.1, 10, officeNames-1)
	o.clients = rand.NewZipf(o.r, 1.2, 40, 4999)
	o.gap = 1e9 / perSecond * 1.65 // events of one lookup
	for g := range o.reasons {
		group := []string{"staff", "guests", "servers", "phones"}[g]
		o.groups = append(o.groups, l.Label(group))
		for i := range 12 {
			o.reasons[g] = append(o.reasons[g], l.Intern(Reason{group, group, fmt.Sprint(i), fmt.Sprint("category-", i), fmt.Sprint("lists/", i, ".txt")}))
		}
		o.reasons[g] = append(o.reasons[g], l.Intern(Reason{Group: group, Policy: group, Rule: "default"}))
	}
	for _, s := range []string{"tls://192.0.2.53:853", "tls://198.51.100.53:853"} {
		o.upstream = append(o.upstream, l.Label(s))
	}
	return o
}

// mixed spreads a number over all 64 bits.
func mixed(v uint64) uint64 {
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}

// officeWord is a word of syllables.
func officeWord(v uint64) string {
	parts := [...]string{"an", "be", "cor", "dal", "en", "fi", "gra", "hol", "in", "ka", "lu", "mer", "no", "or", "pel", "ra", "sun", "tor", "ul", "ver", "wi", "net", "tech", "shop"}
	s := ""
	for n := 2 + v%3; n > 0; n-- {
		v = mixed(v)
		s += parts[v%uint64(len(parts))]
	}
	return s
}

func (o *office) name(k uint64) []byte {
	h := mixed(k)
	tld := []string{"com", "net", "org", "io", "de", "co.uk", "fr", "app"}[h>>8%8&7]
	site := officeWord(mixed(k/9+1)) + fmt.Sprint(k/9%97)
	switch h % 20 {
	case 0, 1, 2:
		return wire(fmt.Sprintf("%x.cloud-%d.cdn.net", mixed(h)>>16, h>>20%200))
	case 3, 4:
		return wire(fmt.Sprintf("e%d.dsc%c.edgekey.net", h>>30%100000, 'a'+h>>25%26))
	case 5:
		return wire(fmt.Sprintf("%08x-%04x-4%03x.telemetry.%s.%s", uint32(h), uint16(h>>32), h>>50%4096, officeWord(h%300), tld))
	default:
		host := []string{"www", "api", "img", "static", "cdn", "login", "mail", "app", "assets", "m", "events", "ws"}[h>>12%12]
		return wire(host + "." + site + "." + tld)
	}
}

// answers appends what name number k has for a type at a time.
func (o *office) answers(e *Event, k uint64, at int64) {
	h := mixed(k ^ 0xabcdef)
	ttl := []int64{60, 60, 300, 300, 3600, 86400}[h%6]
	if h>>8%10 < 4 {
		for i := range 1 + h>>12%2 {
			e.Aliases = append(e.Aliases, wire(fmt.Sprintf("%s-%d.edge-%d.cdn.net", officeWord(h%5000), h>>20%100, (h>>30+i)%50)))
		}
	}
	turn := uint64(0)
	if h>>16%10 < 4 { // its addresses take turns
		turn = uint64(at / (ttl * 1e9))
	}
	n, pool := 1+h>>40%4, 4+h>>44%8
	switch {
	case e.Type == 1:
		for i := range n {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], uint32(mixed(h>>48)%4000)<<8+0x17000000+uint32((turn*n+i)%pool)*3)
			e.Addrs = append(e.Addrs, netip.AddrFrom4(a))
		}
	case e.Type == 28 && h>>50%2 == 0:
		for i := range n {
			a := [16]byte{0x2a, 0x02, byte(h >> 48), byte(h >> 56)}
			binary.BigEndian.PutUint64(a[8:], (turn*n+i)%pool)
			e.Addrs = append(e.Addrs, netip.AddrFrom16(a))
		}
	}
}

// next returns the next event.
func (o *office) next() Event {
	for len(o.waiting) == 0 {
		o.lookup()
	}
	e := o.waiting[0]
	o.waiting = o.waiting[1:]
	return e
}

func (o *office) lookup() {
	r := o.r
	o.at += int64(r.ExpFloat64() * o.gap)
	k, c := o.names.Uint64(), o.clients.Uint64()
	who := mixed(c)
	client := netip.AddrFrom4([4]byte{10, 20, byte(c >> 8), byte(c)})
	if who%5 == 0 {
		client = netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 6: byte(c >> 8), 7: byte(c), 8: byte(who >> 8), 9: byte(who >> 16), 10: byte(who >> 24), 11: 0xff, 12: 0xfe, 13: byte(who >> 40), 14: byte(who >> 48), 15: byte(who >> 56)})
	}
	group := int(who>>16) % 4
	types := []uint16{1}
	switch n := r.IntN(100); {
	case n < 35:
		types = []uint16{1, 28}
	case n < 50:
		types = []uint16{65, 1, 28}
	case n < 53:
		types = []uint16{16}
	case n < 55:
		types = []uint16{12}
	}
	at := o.at
	for _, typ := range types {
		at += 20_000 + r.Int64N(150_000)
		e := Event{
			Time: at, Client: client, Group: o.groups[group], Transport: UDP, Name: o.name(k), Type: typ, Class: 1,
			Source: SourceCache, EDE: -1, Revision: 7, Reason: o.reasons[group][12], Duration: int64(math.Exp(9 + 0.5*r.NormFloat64())),
			Port: uint16(1024 + r.IntN(64512)), ID: uint16(r.IntN(1 << 16)), Bits: QueryRD,
		}
		if who>>20%3 == 0 {
			e.Bits, e.UDPSize = e.Bits|QueryEDNS, 1232
			if who>>24%4 == 0 {
				e.Bits, e.UDPSize = e.Bits|QueryDO|QueryAD, 4096
			}
		}
		e.QuerySize = uint16(plainSize(len(e.Name), e.Bits))
		e.AnswerSize = e.QuerySize
		switch kind := mixed(k+99) % 100; {
		case kind < 15:
			e.Blocked, e.Reason, e.Source, e.EDE, e.On, e.EntryScope, e.Rcode = true, o.reasons[group][kind%12], SourceSinkhole, 15, OnName, 3, 3
			e.EntryOff = e.Name[0] + 1
		case kind < 19:
			e.Rcode = 3
		default:
			o.answers(&e, k, at)
		}
		if !e.Blocked {
			key := k*4 + uint64(typ)%4
			if o.cached[key] < at {
				ttl := []int64{60, 60, 300, 300, 3600, 86400}[mixed(k^0xabcdef)%6]
				o.cached[key] = at + ttl*1e9
				e.Source, e.Upstream, e.Duration = SourceUpstream, o.upstream[r.IntN(2)], int64(math.Exp(16.5+0.6*r.NormFloat64()))
			}
		}
		for _, a := range e.Aliases {
			e.AnswerSize += uint16(12 + len(a))
		}
		for _, a := range e.Addrs {
			e.AnswerSize += uint16(12 + a.BitLen()/8)
		}
		e.Time += e.Duration / 1000 // answers, not questions, are in order
		o.waiting = append(o.waiting, e)
	}
}
