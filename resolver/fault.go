package resolver

import (
	"fmt"
	"runtime/debug"

	"github.com/miekg/dns"

	"weir/audit"
	"weir/resolver/wire"
)

// catchFaults makes a read of mapped memory that is not there any more, of names
// whose file somebody has cut short, a panic that costs one query, where it
// would end the process. It is called by each goroutine that decides by policy.
func catchFaults() { debug.SetPanicOnFault(true) }

// caught turns v, what recover returned for the query msg, into a counter, a
// log line with the packet, a record unless there is one, and SERVFAIL.
func (r *Resolver) caught(v any, s *scratch, msg []byte, from *origin) []byte {
	r.panics.Add(1)
	if f, ok := v.(interface{ Addr() uintptr }); ok { // see debug.SetPanicOnFault
		v = fmt.Sprintf("no memory at %#x; was the file of the compiled names cut short? a reload makes it again", f.Addr())
	}
	packet := "not shown, for who asked could be in it"
	if !r.log.Masks() {
		packet = fmt.Sprintf("%x", msg[:min(len(msg), 512)])
	}
	r.logger.Error("a query could not be answered", "client", r.log.AddressText(from.client), "panic", v,
		"packet", packet, "stack", string(debug.Stack()))
	s.waiting = false
	out := wire.AppendError(nil, msg, wire.RcodeServFail)
	if !s.recorded {
		s.event.Source, s.event.Rcode, s.event.EDE = audit.SourceError, wire.RcodeServFail, -1
		noteAnswer(&s.event, out)
		r.record(s)
	}
	return out
}

// repacked is a reply that caused a panic in hexadecimal digits, as far as it can
// be had once more.
func repacked(m *dns.Msg) (digits string) {
	defer func() {
		if v := recover(); v != nil {
			digits = fmt.Sprintf("panics again: %v", v)
		}
	}()
	if m == nil {
		return ""
	}
	packet, err := m.Pack()
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%x", packet[:min(len(packet), maxQuery)])
}
