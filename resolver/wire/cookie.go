package wire

import (
	"crypto/subtle"
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// OptionCookie is the EDNS option by which client and server know each other
// again (RFC 7873 §4).
const OptionCookie = 10

// CookieSize is the length of an encoded option with both cookies, in octets.
const CookieSize = 4 + bothCookies

const (
	clientCookie = 8
	bothCookies  = 24
	longCookie   = 40

	// Server cookies are taken for an hour, and for five minutes if another
	// server of a group is ahead; after half an hour there is a new one
	// (RFC 9018 §4.3). In seconds.
	cookieLife  = 3600
	cookieAhead = 300
	cookieRenew = 1800
)

// A CookieSecret is what a server's cookies are made from.
type CookieSecret [16]byte

// CookieKind is what a query's cookie is by its length.
type CookieKind uint8

// NoCookie is no option, ClientCookie one that asks for a server cookie or has
// one that is not of our kind, BothCookies one that may be of ours. BadCookie is
// malformed, and so the query is (RFC 7873 §5.2.2).
const (
	NoCookie CookieKind = iota
	ClientCookie
	BothCookies
	BadCookie
)

// Cookie is the COOKIE option of a query. Of several the first counts
// (RFC 7873 §5.2).
type Cookie struct {
	Kind   CookieKind
	octets [bothCookies]byte
}

// Read takes the data of a COOKIE option, unless there was one before.
func (c *Cookie) Read(data []byte) {
	if c.Kind != NoCookie {
		return
	}
	switch n := len(data); {
	case n == bothCookies:
		c.Kind = BothCookies
	case n == clientCookie, n >= 2*clientCookie && n <= longCookie:
		c.Kind = ClientCookie
	default:
		c.Kind = BadCookie
		return
	}
	copy(c.octets[:], data)
}

// Valid says whether the server cookie was made with the secret for the client,
// and is neither old nor of the future; now is in seconds since 1970. Time is
// compared as serial numbers are (RFC 1982).
func (c *Cookie) Valid(secret *CookieSecret, client netip.Addr, now uint32) bool {
	if c.Kind != BothCookies || c.octets[clientCookie] != 1 {
		return false
	}
	if age := c.age(now); age > cookieLife || age < -cookieAhead {
		return false
	}
	var want [8]byte
	c.sum(&want, secret, client)
	return subtle.ConstantTimeCompare(want[:], c.octets[16:]) == 1
}

func (c *Cookie) age(now uint32) int32 { return int32(now - binary.BigEndian.Uint32(c.octets[12:])) }

// Append encodes the option for the reply: with the same server cookie if it is
// current, which is for the caller to say, and not half spent, else with a new one.
func (c *Cookie) Append(dst []byte, current bool, secret *CookieSecret, client netip.Addr, now uint32) []byte {
	answer := *c
	if !current || c.age(now) > cookieRenew {
		binary.BigEndian.PutUint32(answer.octets[8:], 1<<24) // version 1, reserved
		binary.BigEndian.PutUint32(answer.octets[12:], now)
		var sum [8]byte
		answer.sum(&sum, secret, client)
		copy(answer.octets[16:], sum[:])
	}
	dst = append(dst, 0, OptionCookie, 0, bothCookies)
	return append(dst, answer.octets[:]...)
}

// sum is the hash of a server cookie: SipHash-2-4 over client cookie, version,
// reserved octets, time and the client's address (RFC 9018 §4.4).
func (c *Cookie) sum(sum *[8]byte, secret *CookieSecret, client netip.Addr) {
	var in [32]byte
	n := copy(in[:], c.octets[:16])
	if client.Is4() {
		a := client.As4()
		n += copy(in[n:], a[:])
	} else {
		a := client.As16()
		n += copy(in[n:], a[:])
	}
	binary.LittleEndian.PutUint64(sum[:], sipHash((*[16]byte)(secret), in[:n]))
}

// sipHash is SipHash-2-4 with an output of 64 bits, by its authors' paper
// (Aumasson and Bernstein, 2012).
func sipHash(key *[16]byte, p []byte) uint64 {
	k0, k1 := binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
	v := [4]uint64{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	last := uint64(len(p)) << 56
	for ; len(p) >= 8; p = p[8:] {
		m := binary.LittleEndian.Uint64(p)
		v[3] ^= m
		sipRounds(&v, 2)
		v[0] ^= m
	}
	for i, b := range p {
		last |= uint64(b) << (8 * i)
	}
	v[3] ^= last
	sipRounds(&v, 2)
	v[0] ^= last
	v[2] ^= 0xff
	sipRounds(&v, 4)
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

func sipRounds(v *[4]uint64, n int) {
	a, b, c, d := v[0], v[1], v[2], v[3]
	for range n {
		a += b
		c += d
		b = bits.RotateLeft64(b, 13) ^ a
		d = bits.RotateLeft64(d, 16) ^ c
		a = bits.RotateLeft64(a, 32)
		c += b
		a += d
		b = bits.RotateLeft64(b, 17) ^ c
		d = bits.RotateLeft64(d, 21) ^ a
		c = bits.RotateLeft64(c, 32)
	}
	*v = [4]uint64{a, b, c, d}
}
