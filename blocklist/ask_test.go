package blocklist

import "net/netip"

// ask is a lookup by the client of that address, before any exception ends.
func ask(name []byte, qtype uint16, client netip.Addr) *Lookup {
	return &Lookup{Name: name, Type: qtype, Client: Client{Addr: client}}
}

// judged is what becomes of d by an answer that leads to these names and addresses.
func (p *Policy) judged(d Decision, l *Lookup, aliases [][]byte, addrs ...netip.Addr) Decision {
	return p.DecideFacts(l, d, &Facts{Aliases: aliases, Addrs: addrs})
}
