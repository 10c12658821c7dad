package hosts

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// A Host is one address of a client, with what is known of the client.
type Host struct {
	Addr  netip.Addr // of one machine, never mapped or with a zone
	MAC   MAC        // zero: not known
	Name  string     // the first label of what the client calls itself, in lower case; empty: not known
	Given bool       // Name is of the lease of Addr itself, and not of another with its MAC
	Until time.Time  // when the lease ends, in UTC; zero: never, or known from the neighbour table alone
}

func compareHosts(a, b Host) int {
	return cmp.Or(a.Addr.Compare(b.Addr), b.end().Compare(a.end()))
}

// never is later than the end of any lease.
var never = time.Unix(maxTime+1, 0).UTC()

func (h Host) end() time.Time {
	if h.Until.IsZero() {
		return never
	}
	return h.Until
}

// A MAC is the address of one Ethernet interface.
type MAC [6]byte

// ParseMAC reads a MAC address as people and programs write it: 02:00:5e:10:00:01, 02-00-5E-10-00-01 or 0200.5e10.0001.
func ParseMAC(text string) (MAC, error) {
	octets, err := net.ParseMAC(text)
	if err != nil {
		return MAC{}, errors.New("is no MAC address; write it as 02:00:5e:10:00:01")
	}
	if len(octets) != len(MAC{}) {
		return MAC{}, fmt.Errorf("is an address of %d octets; a MAC address has 6", len(octets))
	}
	m := MAC(octets)
	if !m.single() {
		return MAC{}, errors.New("is the MAC address of a group or of nobody, not of one interface")
	}
	return m, nil
}

// String writes m as 02:00:5e:10:00:01.
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// single says whether m is of one interface.
func (m MAC) single() bool { return m != MAC{} && m[0]&1 == 0 }

// clientAddr returns addr as Host has it, if it can be one client's.
func clientAddr(addr netip.Addr) (netip.Addr, bool) {
	addr = addr.Unmap().WithZone("")
	ok := addr.IsValid() && !addr.IsUnspecified() && !addr.IsLoopback() && !addr.IsMulticast() &&
		addr != netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return addr, ok
}

const maxName = 63 // octets of a label

// hostName returns the name in what a client calls itself; not ok if there is none in it that a policy could use.
func hostName(text []byte) (name string, ok bool) {
	var room [maxName]byte
	n := 0
	for _, c := range text {
		if c == '.' {
			break
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if n == len(room) || (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return "", false
		}
		room[n] = c
		n++
	}
	return string(room[:n]), n > 0 || len(text) == 0
}
