package blocklist

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// A list is asked for as it is ("Accept-Encoding: identity"), and taken as it comes: its digest and its signature are
// of the octets of the body, so they are those of the file on the server. A server that sends gzip or zstd unasked, as
// some do for files whose names end in .gz, does no harm, since lists may be compressed anyhow.

const (
	maxRedirects   = 5
	maxHeader      = 64 << 10
	connectTimeout = 10 * time.Second
)

// download asks for a list over HTTP (RFC 9110).
func (f *Fetcher) download(ctx context.Context, r *remote, st *listState) (*arrival, error) {
	header := f.header()
	known := st.origin.asked == r.asked && st.Latest != nil && (st.Latest.File != "" || st.Latest.Digest == st.Refused)
	if known && st.origin.etag != "" {
		header.Set("If-None-Match", st.origin.etag)
	}
	if known && st.origin.modified != "" {
		header.Set("If-Modified-Since", st.origin.modified)
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	resp, err := f.get(ctx, r, r.url, header)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotModified && known {
		return &arrival{from: st.origin}, nil
	}
	if err := f.checkHeader(resp, r.maxSize); err != nil {
		return nil, err
	}
	a := &arrival{from: originState{
		asked: r.asked, etag: validator(resp.Header.Get("ETag")), modified: validator(resp.Header.Get("Last-Modified")),
	}}
	if at, err := http.ParseTime(a.from.modified); err == nil {
		a.copy.Modified = at
	}
	if a.draft, err = f.Store.draft(st.Name); err != nil {
		return nil, err
	}
	if err := f.receive(ctx, stop, r, resp, a); err != nil {
		a.draft.discard()
		return nil, err
	}
	return a, nil
}

// receive takes the list that is the body of an answer, and checks it.
func (f *Fetcher) receive(ctx context.Context, stop context.CancelCauseFunc, r *remote, resp *http.Response, a *arrival) error {
	digest := sha256.New()
	n, err := readBody(ctx, stop, r, resp, io.MultiWriter(a.draft, digest), r.maxSize)
	if a.draft.err != nil {
		return effect(a.draft.err)
	}
	if err != nil {
		return err
	}
	a.copy.Bytes, a.copy.Digest = n, [32]byte(digest.Sum(nil))
	if err := checkBegin(ctx, a.draft.File); err != nil {
		return err
	}
	err = f.prove(ctx, stop, r, a)
	if encoding := resp.Header.Get("Content-Encoding"); err != nil && encoding != "" {
		return fmt.Errorf("%w (it was sent as Content-Encoding %q, which was not asked for)", err, plain(encoding))
	}
	return err
}

// validator returns what a server said, to be said again to it, if it can be.
func validator(text string) string {
	if len(text) > 1024 || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
		return ""
	}
	return text
}

// prove asks for what a download must have, and checks it.
func (f *Fetcher) prove(ctx context.Context, stop context.CancelCauseFunc, r *remote, a *arrival) error {
	if err := r.proofs.checkDigest(a.copy.Digest); err != nil {
		return err
	}
	for _, kind := range [...]struct {
		suffix string
		asked  bool
		check  func(signature []byte) error
	}{
		{".minisig", r.proofs.minisign != nil, func(signature []byte) error {
			return checkMinisign(*r.proofs.minisign, signature, a.draft.File, a.copy.Bytes)
		}},
		{".sig", r.proofs.ed25519 != nil, func(signature []byte) error {
			return checkEd25519(r.proofs.ed25519, signature, a.draft.File, a.copy.Bytes)
		}},
	} {
		if !kind.asked {
			continue
		}
		signature, err := f.signature(ctx, stop, r, kind.suffix)
		if err == nil {
			err = kind.check(signature)
		}
		if err != nil {
			return fmt.Errorf("its signature (%s): %w", kind.suffix, err)
		}
	}
	return nil
}

// signature asks for the file beside the list's.
func (f *Fetcher) signature(ctx context.Context, stop context.CancelCauseFunc, r *remote, suffix string) ([]byte, error) {
	beside := *r.url
	beside.Path += suffix
	if beside.RawPath != "" {
		beside.RawPath += suffix
	}
	resp, err := f.get(ctx, r, &beside, f.header())
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := f.checkHeader(resp, maxSignature); err != nil {
		return nil, err
	}
	var text bytes.Buffer
	_, err = readBody(ctx, stop, r, resp, &text, maxSignature)
	return text.Bytes(), err
}

func (f *Fetcher) header() http.Header {
	return http.Header{"Accept-Encoding": {"identity"}, "Accept": {"*/*"}, "User-Agent": {cmp.Or(f.UserAgent, "weir")}}
}

// get asks for what is at u, or where that leads. The caller closes the body.
func (f *Fetcher) get(ctx context.Context, r *remote, u *url.URL, header http.Header) (*http.Response, error) {
	w := &way{private: f.private}
	if w.private == nil {
		w.private = func(a netip.Addr) bool { return private(a) != 0 }
	}
	for hops := 0; ; hops++ {
		w.followed.Store(hops > 0)
		bare := *u
		bare.User = nil
		req := (&http.Request{Method: http.MethodGet, URL: &bare, Host: bare.Host, Header: header.Clone()}).WithContext(ctx)
		if u.User != nil {
			password, _ := u.User.Password()
			req.SetBasicAuth(u.User.Username(), password)
		}
		speaker, err := f.roundTripper(u, w)
		if err != nil {
			return nil, err
		}
		resp, err := speaker.RoundTrip(req)
		if err != nil {
			if late := ended(ctx, r, "there was no answer"); late != nil {
				err = late
			}
			return nil, err
		}
		switch resp.StatusCode {
		case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		default:
			return resp, nil
		}
		resp.Body.Close()
		if hops == maxRedirects {
			return nil, fmt.Errorf("leads on and on, after %d redirects to %s; check the URL", hops, place(u))
		}
		if u, err = redirected(u, resp.Header.Get("Location")); err != nil {
			return nil, err
		}
	}
}

// redirected returns where a redirect from u leads.
func redirected(u *url.URL, location string) (*url.URL, error) {
	to, err := u.Parse(location)
	switch {
	case err != nil || location == "" || to.Host == "":
		return nil, errors.New("answers with a redirect to what is no URL; ask whoever runs the server")
	case to.Scheme != "https" && to.Scheme != "http":
		return nil, fmt.Errorf("is redirected to %s, which is not of http or https", place(to))
	case u.Scheme == "https" && to.Scheme != "https":
		return nil, fmt.Errorf("is redirected from https to %s, where anybody on the way could change it; it is not followed", place(to))
	case to.User == nil && to.Scheme == u.Scheme && to.Host == u.Host:
		to.User = u.User
	}
	return to, nil
}

// place returns what of a URL may be shown.
func place(u *url.URL) string { return plain(Redacted(u.String())) }

// checkHeader says what of an answer shows that its body is no list.
func (f *Fetcher) checkHeader(resp *http.Response, most int64) error {
	if resp.StatusCode != http.StatusOK {
		err := fmt.Errorf("the server answers %d %s; %s", resp.StatusCode, http.StatusText(resp.StatusCode), statusHint(resp.StatusCode))
		return &busyError{err, retryAfter(resp.Header.Get("Retry-After"), f.now())}
	}
	switch encoding := strings.ToLower(strings.TrimSpace(resp.Header.Get("Content-Encoding"))); encoding {
	case "", "identity", "gzip", "x-gzip", "zstd":
	default:
		return fmt.Errorf("is sent as Content-Encoding %q, which was not asked for and is not read", plain(encoding))
	}
	if resp.ContentLength > most {
		return fmt.Errorf("is of %d octets, more than the %d of max_size", resp.ContentLength, most)
	}
	return nil
}

func statusHint(code int) string {
	switch {
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return "it wants credentials, or others than those in the URL"
	case code == http.StatusNotFound, code == http.StatusGone:
		return "check the URL: the list is not there, or no more"
	case code == http.StatusProxyAuthRequired:
		return "the proxy that the environment names wants credentials"
	case code == http.StatusTooManyRequests:
		return "it is asked too often; make refresh longer"
	case code == http.StatusNotModified, code == http.StatusPartialContent:
		return "that is no answer to what was asked"
	case code >= 500:
		return "it is in trouble, and is asked again later"
	}
	return "check the URL"
}

// retryAfter returns the time for which a server wants to be left alone (RFC 9110 §10.2.3).
func retryAfter(text string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}

// readBody copies the body of an answer, at most that many octets, to out. A server that sends nothing for half of the
// timeout is not waited for: stop ends ctx.
func readBody(ctx context.Context, stop context.CancelCauseFunc, r *remote, resp *http.Response, out io.Writer, most int64) (int64, error) {
	silence := time.AfterFunc(r.timeout/2, func() { stop(errStalled) })
	defer silence.Stop()
	n, err := io.Copy(out, io.LimitReader(readerFunc(func(p []byte) (int, error) {
		n, err := resp.Body.Read(p)
		silence.Reset(r.timeout / 2)
		return n, err
	}), most+1))
	got := fmt.Sprintf("%d octets came", n)
	if resp.ContentLength >= 0 {
		got = fmt.Sprintf("%d octets of %d came", n, resp.ContentLength)
	}
	late := ended(ctx, r, got)
	switch {
	case err == nil && n > most:
		return n, fmt.Errorf("is longer than the %d octets of max_size", most)
	case err == nil && n == 0:
		return n, errors.New("is empty")
	case err == nil:
		return n, nil
	case late != nil:
		return n, late
	case errors.Is(err, io.ErrUnexpectedEOF):
		return n, fmt.Errorf("was cut off: %s; it is asked for again later", got)
	}
	return n, fmt.Errorf("%w, when %s", err, got)
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// checkBegin says why a download is no list, as far as its beginning tells.
func checkBegin(ctx context.Context, file *os.File) error {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	text, _, stop, err := unpack(ctx, &countingReader{ctx: ctx, from: file}, maxUnpacked)
	if err != nil {
		return err
	}
	defer stop()
	sample := make([]byte, sampleSize)
	n, err := io.ReadFull(text, sample)
	switch {
	case err == io.EOF:
		return errors.New("is empty")
	case err != nil && err != io.ErrUnexpectedEOF:
		return err
	}
	return refuse(sample[:n])
}
