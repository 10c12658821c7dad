package hosts

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// Kea's memfile: comma-separated values, without quotes; a header names the columns, which differ with the version and
// between IPv4 and IPv6. Each change of a lease appends a row, so the last one of an address counts. A row with a
// valid_lifetime of 0, or a state other than 0 (declined, reclaimed, released), ends the lease. In text a comma or other
// octet may stand as "&#x" and two hexadecimal digits.

func claimsKea(line []byte) bool { return bytes.HasPrefix(line, []byte("address,")) }

// keaForever is a valid_lifetime without end (RFC 2131 §3.3, RFC 8415 §7.7).
const keaForever = math.MaxUint32

// keaPrefix is the lease_type of a delegated prefix, which is no client's address.
const keaPrefix = "2"

// keaColumns says where in a row things are; -1 is nowhere.
type keaColumns struct {
	count                                               int
	address, hwaddr, lifetime, expire, name, state, use int
}

func keaHeader(line []byte) (keaColumns, error) {
	names := bytes.Split(line, []byte(","))
	at := func(name string) int {
		return slices.IndexFunc(names, func(n []byte) bool { return string(n) == name })
	}
	c := keaColumns{
		len(names),
		at("address"), at("hwaddr"), at("valid_lifetime"), at("expire"), at("hostname"), at("state"), at("lease_type"),
	}
	if c.lifetime < 0 || c.expire < 0 {
		return c, fmt.Errorf("header %s has no columns valid_lifetime and expire", quote(line))
	}
	return c, nil
}

func readKea(r *reader) error {
	var c keaColumns
	for line, ok := r.next(); ok; line, ok = r.next() {
		switch {
		case len(bytes.TrimSpace(line)) == 0:
		case claimsKea(line):
			var err error
			if c, err = keaHeader(line); err != nil {
				return fmt.Errorf("line %d: %w", r.number, err)
			}
		case c.count == 0:
			return fmt.Errorf("line %d: %s is no header with the names of columns", r.number, quote(line))
		default:
			r.keaRow(c, line)
		}
	}
	return nil
}

func (r *reader) keaRow(c keaColumns, line []byte) {
	f := bytes.Split(line, []byte(","))
	if len(f) != c.count {
		r.problem("%s has %d columns; the header has %d", quote(line), len(f), c.count)
		return
	}
	if c.use >= 0 && string(f[c.use]) == keaPrefix {
		return
	}
	addr, ok := r.addr(f[c.address])
	if !ok {
		return
	}
	lifetime, err := strconv.ParseUint(string(f[c.lifetime]), 10, 32)
	if err != nil {
		r.problem("valid_lifetime %s is no number of seconds", quote(f[c.lifetime]))
		return
	}
	var until time.Time
	if lifetime != keaForever {
		if until, err = seconds(f[c.expire]); err != nil {
			r.problem("expire %s: %v", quote(f[c.expire]), err)
			return
		}
	}
	if c.state >= 0 {
		state, err := strconv.ParseUint(string(f[c.state]), 10, 32)
		if err != nil {
			r.problem("state %s is no number", quote(f[c.state]))
			return
		}
		if state != 0 {
			lifetime = 0
		}
	}
	if lifetime == 0 {
		r.drop(addr)
		return
	}
	h := Host{Addr: addr, Until: until}
	if c.hwaddr >= 0 && len(f[c.hwaddr]) > 0 {
		h.MAC = r.mac(f[c.hwaddr])
	}
	if c.name >= 0 {
		h.Name = r.name(keaText(f[c.name]))
	}
	r.take(h)
}

// keaText undoes Kea's way of writing octets that would end a column.
func keaText(text []byte) []byte {
	tag := []byte("&#x")
	i := bytes.Index(text, tag)
	if i < 0 {
		return text
	}
	out := slices.Clone(text[:i])
	for text = text[i:]; len(text) > 0; {
		if bytes.HasPrefix(text, tag) && len(text) >= 5 {
			if c, err := strconv.ParseUint(string(text[3:5]), 16, 8); err == nil {
				out, text = append(out, byte(c)), text[5:]
				continue
			}
		}
		out, text = append(out, text[0]), text[1:]
	}
	return out
}
