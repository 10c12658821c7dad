package upstream

import (
	"net"
	"net/http"
	"testing"
)

// authentic is answer with AD set.
func authentic(query []byte) []byte {
	b := answer(query)
	b[3] |= 0x20
	return b
}

// TestAuthenticity: AD is asked for and handed on where nobody on the way can
// have set it, and where the operator says so (RFC 4035 §4.9.3, RFC 6840 §5.7).
func TestAuthenticity(t *testing.T) {
	clear := honest()
	clear.udp = func(_ int, query []byte, send func([]byte)) { send(authentic(query)) }
	clear.tcp = func(_ int, query []byte, conn net.Conn) { conn.Write(frame(authentic(query))) }
	clear.start(t)
	encrypted := honest()
	encrypted.tcp, encrypted.tls = clear.tcp, serve(authority().issue(certificate{}))
	encrypted.start(t)
	s := (&web{script: func(w http.ResponseWriter, _ int, query []byte) { give(w, authentic(query)) }}).start(t)
	for _, tc := range []struct {
		name string
		x    Exchanger
		want bool
	}{
		{"udp", clear.open(t, "udp", Options{}), false},
		{"tcp", clear.open(t, "tcp", Options{}), false},
		{"udp, trusted", clear.open(t, "udp", Options{TrustAD: true}), true},
		{"tcp, trusted", clear.open(t, "tcp", Options{TrustAD: true}), true},
		{"tls", encrypted.open(t, "tls", Options{}), true},
		{"https", s.open(t, Options{}), true},
	} {
		m, err := tc.x.Exchange(within(t, patient), ask("www.example.test."))
		checkAnswer(t, m, err)
		if m.AuthenticatedData != tc.want {
			t.Errorf("%s: AD %v, want %v", tc.name, m.AuthenticatedData, tc.want)
		}
	}
	for i, q := range clear.seen(t) {
		if q.AuthenticatedData != (i >= 2) {
			t.Errorf("query %d asked for AD: %v", i, q.AuthenticatedData)
		}
	}
	if q := encrypted.seen(t)[0]; !q.AuthenticatedData {
		t.Error("by tls AD was not asked for")
	}
	if q := parse(t, s.queries[0]); !q.AuthenticatedData {
		t.Error("by https AD was not asked for")
	}
}
