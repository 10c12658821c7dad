package hosts

import (
	"bytes"
	"time"
)

// dnsmasq's lease file, as it writes it (lease.c): a line for each lease,
//
//	EXPIRY HARDWARE ADDRESS HOSTNAME CLIENTID
//
// with EXPIRY in seconds since 1970 or 0 for never, and "*" for no HOSTNAME or CLIENTID. HARDWARE is a MAC address, or
// "06-" and such and an address of that kind. A line "duid ID" comes before the leases of IPv6, which have an IAID in
// the place of HARDWARE, with "T" before it if the address is a temporary one. The interface that a DUID was made of
// need not be the one that the lease is used on, so it gives no MAC address.

func claimsDnsmasq(line []byte) bool {
	f := bytes.Fields(line)
	if len(f) == 2 {
		return string(f[0]) == "duid"
	}
	if len(f) != 5 {
		return false
	}
	_, err := seconds(f[0])
	return err == nil
}

func readDnsmasq(r *reader) error {
	for line, ok := r.next(); ok; line, ok = r.next() {
		f := bytes.Fields(line)
		if len(f) == 0 || len(f) == 2 && string(f[0]) == "duid" {
			continue
		}
		if len(f) != 5 {
			r.problem("%s: wants time, hardware address, address, name and client", quote(line))
			continue
		}
		until, err := seconds(f[0])
		if err != nil {
			r.problem("%s: %v", quote(f[0]), err)
			continue
		}
		if until.Unix() == 0 {
			until = time.Time{}
		}
		addr, ok := r.addr(f[2])
		if !ok {
			continue
		}
		h := Host{Addr: addr, Until: until}
		if addr.Is4() && !otherHardware(f[1]) {
			h.MAC = r.mac(f[1])
		}
		if string(f[3]) != "*" {
			h.Name = r.name(f[3])
		}
		r.take(h)
	}
	return nil
}

// otherHardware says whether text is an address of a kind that it names, as in "06-" and octets with ":" between.
func otherHardware(text []byte) bool {
	return len(text) >= 3 && text[2] == '-' && bytes.Count(text, []byte("-")) == 1
}
