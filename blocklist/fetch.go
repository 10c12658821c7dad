package blocklist

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Fetcher brings remote lists into a Store: it asks their origins whether there is something newer, and what passes
// every check becomes the list's latest version. Whether that comes in force is not for the Fetcher to say. Its fields
// are to be set before any use.
type Fetcher struct {
	Store     *Store
	Logger    *slog.Logger     // nil is silent
	Now       func() time.Time // nil is time.Now
	Rand      func() float64   // at least 0, below 1; nil is that of math/rand
	Client    *http.Client     // its Transport is used; nil is one of its own, with the proxy that the environment names
	UserAgent string           // empty is "weir"

	dial    func(ctx context.Context, network, addr string) (net.Conn, error) // for transfers; nil is net.Dialer's
	private func(netip.Addr) bool                                             // says which addresses are not public; nil is private

	schedule
}

// Values of a SourceConfig that does not say, and the bounds of what a SOA record may say in its place.
const (
	defaultRefresh = 24 * time.Hour
	defaultTimeout = 30 * time.Second
	defaultMaxSize = 256 << 20

	minZoneRefresh = time.Minute
	maxZoneRefresh = 30 * 24 * time.Hour
)

// Fetch asks the origin of a list once. It is true when the list has a new latest version. An error has been taken note
// of in the Store, but for one that ctx brought about, and leaves everything else as it was.
func (f *Fetcher) Fetch(ctx context.Context, src *SourceConfig) (changed bool, err error) {
	changed, _, err = f.fetch(ctx, src)
	return changed, err
}

// arrival is what an origin answered.
type arrival struct {
	draft *draft // of the version; nil when there is nothing newer
	copy  Copy   // without its time
	from  originState
}

// fetch is Fetch. It also says when the origin is to be asked again.
func (f *Fetcher) fetch(ctx context.Context, src *SourceConfig) (changed bool, next time.Time, err error) {
	name := src.ListName()
	st := f.Store.state(name)
	if changed, next, err = f.try(ctx, src, st); err == nil {
		return changed, next, nil
	}
	if ctx.Err() != nil {
		return false, time.Time{}, f.Store.said(name, ctx.Err())
	}
	every, retry := src.intervals(st.origin)
	now := f.now()
	next = nextCheck(now, every, retry, st.Failures+1, f.random())
	var busy *busyError
	if errors.As(err, &busy) {
		next = later(next, now.Add(min(busy.after, every)))
	}
	return false, next, f.Store.said(name, errors.Join(err, f.Store.failed(name, err.Error(), next)))
}

// try asks the origin, and takes what it gives.
func (f *Fetcher) try(ctx context.Context, src *SourceConfig, st *listState) (changed bool, next time.Time, err error) {
	r, err := parseRemote(src)
	if err != nil {
		return false, next, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, r.timeout, errLate)
	defer cancel()
	ask := f.download
	if r.url == nil {
		ask = f.transfer
	}
	a, err := ask(limited, r, st)
	if err != nil {
		if r.place != Redacted(st.Name) {
			err = fmt.Errorf("%s: %w", r.place, err)
		}
		return false, next, err
	}
	defer a.draft.discard()
	now := f.now()
	every, _ := src.intervals(a.from)
	next = nextCheck(now, every, 0, 0, f.random())
	if a.draft == nil {
		return false, next, f.Store.same(st.Name, now, a.from, next)
	}
	a.copy.Taken = now
	changed, err = f.Store.arrived(st.Name, a.draft, a.copy, a.from, next)
	return changed, next, err
}

// intervals returns how often the origin is asked, and after what time once more when that failed, zero for the
// usual. A zone says so itself where the source does not.
func (s *SourceConfig) intervals(from originState) (every, retry time.Duration) {
	if s.Refresh > 0 || from.refresh == 0 {
		return cmp.Or(s.Refresh, defaultRefresh), 0
	}
	return clampZone(from.refresh), clampZone(from.retry)
}

func clampZone(d time.Duration) time.Duration { return min(max(d, minZoneRefresh), maxZoneRefresh) }

// Why a fetch ended early.
var (
	errLate    = errors.New("timeout")
	errStalled = errors.New("stalled")
)

// ended returns why ctx ended, nil when it goes on. got says what came until then.
func ended(ctx context.Context, r *remote, got string) error {
	switch cause := context.Cause(ctx); cause {
	case nil:
		return nil
	case errLate:
		return fmt.Errorf("did not end within its timeout of %v: %s; its server is slow, or the timeout short", r.timeout, got)
	case errStalled:
		return fmt.Errorf("stalled: %s, and nothing more for %v, half of its timeout", got, r.timeout/2)
	default:
		return cause
	}
}

// busyError is the answer of a server that wants to be left alone for a time.
type busyError struct {
	error
	after time.Duration
}

func (f *Fetcher) now() time.Time {
	if f.Now != nil {
		return f.Now()
	}
	return time.Now()
}

func (f *Fetcher) random() float64 {
	if f.Rand != nil {
		return f.Rand()
	}
	return rand.Float64()
}

func (f *Fetcher) logger() *slog.Logger {
	if f.Logger != nil {
		return f.Logger
	}
	return slog.New(slog.DiscardHandler)
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// remote is a remote source as it was understood.
type remote struct {
	place   string // for messages, without credentials
	host    string // asked by one fetch at a time
	asked   string // see originState
	timeout time.Duration
	maxSize int64

	url    *url.URL // nil for a zone transfer
	proofs proofs

	transferOrigin
	key *transferKey // nil is unsigned
}

// transferOrigin is where a zone comes from.
type transferOrigin struct {
	server netip.AddrPort
	zone   string // canonical
}

// CheckRemote says what is wrong with a remote source, nil if nothing is.
func (s *SourceConfig) CheckRemote() error {
	_, err := parseRemote(s)
	return err
}

func parseRemote(src *SourceConfig) (*remote, error) {
	r := &remote{
		place:   Redacted(src.From),
		timeout: cmp.Or(max(src.Timeout, 0), defaultTimeout),
		maxSize: cmp.Or(max(src.MaxSize, 0), defaultMaxSize),
	}
	u, err := url.Parse(src.From)
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("%s is no URL", r.place)
	}
	r.host = strings.ToLower(u.Hostname())
	switch u.Scheme {
	case "http", "https":
		if src.TSIG != nil {
			return nil, errors.New("tsig is for zone transfers (axfr://)")
		}
		u.Fragment, u.RawFragment = "", ""
		r.url = u
		r.proofs, err = parseProofs(src)
	case "axfr":
		if src.SHA256 != "" || src.Minisign != "" || src.Ed25519 != "" {
			return nil, errors.New("sha256, minisign and ed25519 are for files; sign a zone transfer with tsig")
		}
		if r.transferOrigin, err = parseTransfer(u); err == nil && src.TSIG != nil {
			r.key, err = parseKey(src.TSIG)
		}
	default:
		return nil, fmt.Errorf("%s is not of http, https or axfr", r.place)
	}
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256([]byte(strings.Join([]string{src.From, strings.ToLower(src.SHA256), src.Minisign, src.Ed25519}, "\n")))
	r.asked = hex.EncodeToString(hash[:16])
	return r, nil
}

// parseTransfer reads axfr://SERVER[:PORT]/ZONE.
func parseTransfer(u *url.URL) (transferOrigin, error) {
	const hint = "write axfr://SERVER/ZONE with the server's address, such as axfr://192.0.2.53/rpz.example"
	addr, err := netip.ParseAddr(u.Hostname())
	port, portErr := strconv.ParseUint(cmp.Or(u.Port(), "53"), 10, 16)
	zone := strings.TrimPrefix(u.Path, "/")
	_, isName := dns.IsDomainName(zone)
	switch {
	case err != nil:
		return transferOrigin{}, fmt.Errorf("the server is not given by its address; %s", hint)
	case portErr != nil || port == 0:
		return transferOrigin{}, fmt.Errorf("the server's port is none; %s", hint)
	case zone == "" || !isName || strings.Contains(zone, "/"):
		return transferOrigin{}, fmt.Errorf("the zone is no name; %s", hint)
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return transferOrigin{}, fmt.Errorf("there is more than a server and a zone; %s", hint)
	}
	return transferOrigin{netip.AddrPortFrom(addr.Unmap(), uint16(port)), dns.CanonicalName(zone)}, nil
}

// Redacted returns a URL without what may be secret in it: its user, its password and its query. Other text is itself.
func Redacted(text string) string {
	scheme, rest, isURL := strings.Cut(text, "://")
	if !isURL {
		return text
	}
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	host, path := rest[:end], rest[end:]
	path, _, _ = strings.Cut(path, "#")
	path, _, query := strings.Cut(path, "?")
	if query {
		path += "?..."
	}
	return scheme + "://" + host[strings.LastIndexByte(host, '@')+1:] + path
}
