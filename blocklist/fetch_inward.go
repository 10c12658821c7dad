package blocklist

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync/atomic"
	"syscall"

	"golang.org/x/net/http/httpproxy"
)

// A way is that of one list, through its redirects. It keeps who serves a list from having this program ask inside its
// own network, where others cannot: from a public address no redirect is followed to one that is not. A list from inside
// may lead anywhere.
type way struct {
	private  func(netip.Addr) bool
	public   atomic.Bool // the list comes from a public address, or by a proxy
	followed atomic.Bool // a redirect is
}

var errInward = errors.New("a redirect from a public address leads there, into a private network; if that is wanted, name that place in the configuration")

// control is of a net.Dialer. It sees the address that is asked, whatever its name stands for the next time.
func (w *way) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	switch {
	case err != nil:
		return err
	case !w.followed.Load() && !w.private(at.Addr()):
		w.public.Store(true)
	case w.followed.Load() && w.public.Load() && w.private(at.Addr()):
		return errInward
	}
	return nil
}

// roundTripper returns what speaks HTTP with u's server, or with the proxy that the environment names, whose business it
// is where it asks. http.ProxyFromEnvironment would do for the proxy, but reads the environment once in the life of the
// process, which no test could tell. Lists are asked for too seldom to keep connections.
func (f *Fetcher) roundTripper(u *url.URL, w *way) (http.RoundTripper, error) {
	if f.Client != nil && f.Client.Transport != nil {
		return f.Client.Transport, nil
	}
	proxy, err := httpproxy.FromEnvironment().ProxyFunc()(u)
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: connectTimeout}
	if proxy == nil {
		dialer.Control = w.control
	} else {
		w.public.Store(true) // as far as anybody here knows
	}
	return &http.Transport{
		Proxy:                  http.ProxyURL(proxy),
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    connectTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableKeepAlives:      true,
		DisableCompression:     true,
		ForceAttemptHTTP2:      true,
	}, nil
}
