package blocklist

import (
	"bytes"
	"net/netip"
)

// The hosts format: an address and the names that it shall have, as in hosts(5). A name with an unspecified or
// loopback address is listed, by itself and not what is below, since that is what a hosts file can say. "#" begins a
// comment, anywhere.

func claimsHosts(line []byte) bool {
	first, rest := cutField(line)
	return len(rest) > 0 && rest[0] != '#' && address(first)
}

func readHosts(r *reader, line []byte) {
	if i := bytes.IndexByte(line, '#'); i >= 0 {
		line = bytes.TrimRight(line[:i], " \t")
	}
	if len(line) == 0 {
		r.comment()
		return
	}
	first, rest := cutField(line)
	addr, ok := r.hostAddr(first)
	if !ok {
		r.unreadable(first, 0, "no address before the name")
		return
	}
	if len(rest) == 0 {
		r.unreadable(first, 0, "no name after the address")
		return
	}
	elsewhere := !addr.IsUnspecified() && !addr.IsLoopback()
	if n := r.plain(rest); n > 0 && !elsewhere && !ownHost(rest) { // one name, as most have
		r.entry(r.buf[:n], Self, false)
		return
	}
	for len(rest) > 0 {
		var name []byte
		name, rest = cutField(rest)
		switch {
		case ownHost(name):
			r.ignore("name of the host itself")
		case elsewhere:
			r.ignore(ignoredReal)
		default:
			r.name(name, Self, false)
		}
	}
}

// hostAddr reads the address of a line of a hosts file: one with a zone too, and that of the line before at a glance.
func (r *reader) hostAddr(text []byte) (netip.Addr, bool) {
	if len(text) > 0 && string(text) == string(r.lastHost) {
		return r.lastAddr, true
	}
	addr, ok := parseIPv4(text)
	if !ok {
		addr, ok = parseIPv6(text)
	}
	if ok {
		r.lastHost, r.lastAddr = append(r.lastHost[:0], text...), addr
	}
	return addr, ok
}

// ownHost says whether name is one of those that hosts files give to the host itself and its links.
func ownHost(name []byte) bool {
	var room [24]byte
	if len(name) > len(room) || bytes.IndexByte([]byte("lbi0"), lower(name[0])) < 0 {
		return false
	}
	for i, c := range name {
		room[i] = lower(c)
	}
	switch string(room[:len(name)]) {
	case "localhost", "localhost.localdomain", "localhost4", "localhost6", "localhost4.localdomain4",
		"localhost6.localdomain6", "local", "broadcasthost", "ip6-localhost", "ip6-loopback", "ip6-localnet",
		"ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts", "0.0.0.0":
		return true
	}
	return false
}
