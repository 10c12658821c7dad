package resolver

import (
	"crypto/rand"
	"time"

	"weir/audit"
	"weir/resolver/wire"
)

// cookieDay is how long a secret that was not configured makes cookies, in
// nanoseconds. They are taken for as long again.
const cookieDay = int64(24 * time.Hour)

// secrets are what cookies are made from and were made from before. They are
// never changed once others can see them.
type secrets struct {
	made        int64 // nanoseconds on the resolver's own clock
	now, before wire.CookieSecret
}

// newSecrets follow before. The random source does not fail (crypto/rand).
func newSecrets(made int64, before wire.CookieSecret) *secrets {
	s := &secrets{made: made, before: before}
	_, _ = rand.Read(s.now[:])
	return s
}

// cookieSecrets returns the secret that makes cookies at the time now, and the
// other that is good.
func (r *Resolver) cookieSecrets(l *limits, now int64) (current, other *wire.CookieSecret) {
	if n := len(l.CookieSecrets); n > 0 {
		return &l.CookieSecrets[0], &l.CookieSecrets[n-1]
	}
	s := r.secrets.Load()
	if now-s.made > cookieDay && r.secrets.CompareAndSwap(s, newSecrets(now, s.now)) {
		s = r.secrets.Load()
	}
	return &s.now, &s.before
}

// cookie reads the query's cookie, prepares the reply's and notes whether the
// client is known to be where it says. It is false for a malformed one.
func (r *Resolver) cookie(s *scratch, from *origin) bool {
	c := &s.query.Cookie
	if c.Kind == wire.NoCookie || !s.limits.Cookies {
		return true
	}
	if c.Kind == wire.BadCookie {
		return false
	}
	current, other := r.cookieSecrets(s.limits, from.mono)
	now := uint32(from.wall / int64(time.Second))
	fresh := c.Valid(current, from.client, now)
	if s.good = fresh || c.Valid(other, from.client, now); s.good {
		s.proven = true
		s.event.Bits |= audit.CookieValid
	}
	s.cookie = c.Append(s.room[:0], fresh, current, from.client, now)
	return true
}

// bare answers a query without a question: the cookie in it is what was asked for,
// and a server cookie with it must be one of ours (RFC 7873 §5.4).
func (r *Resolver) bare(s *scratch, msg []byte, from *origin) []byte {
	s.event.Source = audit.SourceLocal
	if s.query.Cookie.Kind == wire.BothCookies && !s.good {
		return r.finish(s, msg, from, &replyEmpty, wire.Finish{Rcode: wire.RcodeBadCookie})
	}
	return r.finish(s, msg, from, &replyEmpty, wire.Finish{})
}
