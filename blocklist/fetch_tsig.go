package blocklist

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/miekg/dns"
)

// transferKey is a TSIG key (RFC 8945) that can be used.
type transferKey struct {
	name      string // canonical
	algorithm string // canonical
	hash      func() hash.Hash
	secret    []byte
}

func parseKey(key *TSIG) (*transferKey, error) {
	k := &transferKey{name: dns.CanonicalName(key.Name), algorithm: dns.CanonicalName(key.Algorithm)}
	if _, ok := dns.IsDomainName(key.Name); !ok || k.name == "." {
		return nil, fmt.Errorf("the TSIG key's name %q is no domain name", key.Name)
	}
	switch k.algorithm {
	case dns.HmacSHA256:
		k.hash = sha256.New
	case dns.HmacSHA384:
		k.hash = sha512.New384
	case dns.HmacSHA512:
		k.hash = sha512.New
	default:
		return nil, fmt.Errorf("the TSIG key's algorithm %q is none of hmac-sha256, hmac-sha384, hmac-sha512", key.Algorithm)
	}
	var err error
	if k.secret, err = base64.StdEncoding.DecodeString(key.Secret); err != nil || len(k.secret) == 0 {
		return nil, errors.New("the TSIG key's secret is not base64")
	}
	return k, nil
}

// maxUnsigned is how many messages in turn may come without a signature of their own (RFC 8945 §5.3.1).
const maxUnsigned = 99

// signedTransfer signs a query and checks its answers. Each signature covers the one before, and the messages between
// them that have none: they count once that signature is right.
type signedTransfer struct {
	key      *transferKey
	mac      string // the last, in hexadecimal digits
	begun    bool   // there was an answer
	unsigned int
	between  []byte // the messages without a signature since the last
}

// sign packs q with a signature.
func (s *signedTransfer) sign(q *dns.Msg) (wire []byte, err error) {
	const fudge = 300 // seconds that clocks may differ (RFC 8945 §10)
	q.SetTsig(s.key.name, s.key.algorithm, fudge, time.Now().Unix())
	wire, s.mac, err = dns.TsigGenerateWithProvider(q, s, "", false)
	return wire, err
}

// verify checks the next message, which m is unpacked. It writes into wire.
func (s *signedTransfer) verify(wire []byte, m *dns.Msg) error {
	if s == nil {
		return nil
	}
	sig := m.IsTsig()
	if sig == nil && m.Rcode != dns.RcodeSuccess && !s.begun {
		return fmt.Errorf("its server answers with %s and without a signature, so perhaps it does not know the TSIG key %s",
			dns.RcodeToString[m.Rcode], s.key.name)
	}
	if sig == nil && s.begun {
		if s.unsigned++; s.unsigned <= maxUnsigned {
			s.between = append(s.between, wire...)
			return nil
		}
	}
	if sig == nil {
		return errUnsigned
	}
	if m.Rcode == dns.RcodeNotAuth {
		return fmt.Errorf("its server answers with NOTAUTH: %s; %s", dns.RcodeToString[int(sig.Error)], keyHint(int(sig.Error)))
	}
	err := dns.TsigVerifyWithProvider(wire, s, s.mac, s.begun)
	if err == dns.ErrTime {
		return fmt.Errorf("is signed at %v, and it is %v here; set the clocks", time.Unix(int64(sig.TimeSigned), 0).UTC().Format(time.RFC3339),
			time.Now().UTC().Format(time.RFC3339))
	}
	if err != nil {
		return fmt.Errorf("has a wrong TSIG signature: %w; compare the key's secret and algorithm, and who is on the way", err)
	}
	s.mac, s.begun, s.unsigned, s.between = sig.MAC, true, 0, s.between[:0]
	return nil
}

func keyHint(code int) string {
	switch code {
	case dns.RcodeBadKey:
		return "it does not know the key, or not by that name"
	case dns.RcodeBadTime:
		return "set the clocks"
	}
	return "compare the key's name, secret and algorithm"
}

// errUnsigned says that what must be signed is not.
var errUnsigned = errors.New("is sent without a TSIG signature; it is not used")

// whole says whether all that came was signed.
func (s *signedTransfer) whole() error {
	if s != nil && len(s.between) > 0 {
		return errUnsigned
	}
	return nil
}

// Generate implements dns.TsigProvider.
func (s *signedTransfer) Generate(msg []byte, _ *dns.TSIG) ([]byte, error) {
	h := hmac.New(s.key.hash, s.key.secret)
	h.Write(msg)
	return h.Sum(nil), nil
}

// Verify implements dns.TsigProvider. msg begins with the signature before, after which the messages belong that had
// none (RFC 8945 §5.3.1).
func (s *signedTransfer) Verify(msg []byte, t *dns.TSIG) error {
	if dns.CanonicalName(t.Hdr.Name) != s.key.name || dns.CanonicalName(t.Algorithm) != s.key.algorithm {
		return dns.ErrKeyAlg
	}
	before := 2 + hex.DecodedLen(len(s.mac))
	want, err := s.Generate(bytes.Join([][]byte{msg[:before], s.between, msg[before:]}, nil), t)
	if err != nil {
		return err
	}
	mac, err := hex.DecodeString(t.MAC)
	if err != nil || !hmac.Equal(mac, want) {
		return dns.ErrSig
	}
	return nil
}
