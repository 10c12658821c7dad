package resolver

import (
	"math"

	"weir/audit"
	"weir/resolver/wire"
)

// What the record says of packets is written down where they are at hand: of the
// query's header before anything else, of its options when they are parsed, and of
// the answer when it is whole.

// Octets and bits of a header, RFC 1035 §4.1.1 and RFC 4035 §3.2.
const (
	headerAA = 0x04 // of the third octet
	headerTC = 0x02
	headerRD = 0x01
	headerAD = 0x20 // of the fourth
	headerCD = 0x10
)

// noteArrival writes down the packet and what its header says, as far as there is one.
func noteArrival(ev *audit.Event, msg []byte, from *origin) {
	ev.Port, ev.QuerySize = from.peer.Port(), uint16(min(len(msg), math.MaxUint16))
	if len(msg) >= 2 {
		ev.ID = uint16(msg[0])<<8 | uint16(msg[1])
	}
	if len(msg) < 4 {
		return
	}
	if msg[2]&headerRD != 0 {
		ev.Bits |= audit.QueryRD
	}
	if msg[3]&headerAD != 0 {
		ev.Bits |= audit.QueryAD
	}
	if msg[3]&headerCD != 0 {
		ev.Bits |= audit.QueryCD
	}
}

// noteEDNS writes down what the query's OPT record says.
func noteEDNS(ev *audit.Event, q *wire.Query) {
	if !q.EDNS {
		return
	}
	ev.Bits |= audit.QueryEDNS
	ev.UDPSize, ev.Version = q.UDPSize, q.Version
	if q.DO {
		ev.Bits |= audit.QueryDO
	}
	if q.Cookie.Kind != wire.NoCookie {
		ev.Bits |= audit.QueryCookie
	}
	if q.ECS {
		ev.Bits |= audit.QueryECS
	}
}

// noteAnswer writes down the answer, which has a header.
func noteAnswer(ev *audit.Event, out []byte) {
	ev.AnswerSize = uint16(min(len(out), math.MaxUint16))
	if out[2]&headerAA != 0 {
		ev.Bits |= audit.AnswerAA
	}
	if out[2]&headerTC != 0 {
		ev.Bits |= audit.AnswerTC
	}
}
