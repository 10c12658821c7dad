package blocklist

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/miekg/dns"
)

// A zone is asked for what has changed since the copy (IXFR, RFC 1995), which is also how to ask whether anything has;
// without a copy, or when that leads nowhere, for all of it (AXFR, RFC 5936). Either way over TCP, and what
// comes counts only when all of it has come, to the SOA record at its end, and its signatures are right.

// transfer asks a primary for a zone.
func (f *Fetcher) transfer(ctx context.Context, r *remote, st *listState) (*arrival, error) {
	t := &transfer{ctx: ctx, remote: r, dial: f.dial}
	if st.origin.asked == r.asked && st.Latest != nil {
		t.since, t.serial = st.Latest, st.origin.serial
		a, err := f.takeZone(t, st)
		var other *otherWayError
		if !errors.As(err, &other) {
			return a, err
		}
		f.logger().Debug("no increments", "list", Redacted(st.Name), "error", err)
		t = &transfer{ctx: ctx, remote: r, dial: f.dial, size: t.size}
	}
	return f.takeZone(t, st)
}

// takeZone makes one transfer, and of it a version.
func (f *Fetcher) takeZone(t *transfer, st *listState) (*arrival, error) {
	z := &zoneText{apex: t.zone, since: t.since, serial: t.serial, limit: maxTextFactor * t.maxSize}
	z.lines.open = func() (*draft, error) { return f.Store.draft(st.Name) }
	defer z.lines.discard()
	if err := t.run(z.take); err != nil {
		return nil, err
	}
	from := originState{
		asked: t.asked, serial: z.soa.Serial,
		refresh: time.Duration(z.soa.Refresh) * time.Second, retry: time.Duration(z.soa.Retry) * time.Second,
	}
	if z.same {
		return &arrival{from: from}, nil
	}
	a := &arrival{from: from}
	var err error
	if a.draft, err = f.Store.draft(st.Name); err != nil {
		return nil, err
	}
	if a.copy.Digest, a.copy.Bytes, err = z.write(t.ctx, a.draft); err != nil {
		a.draft.discard()
		if a.draft.err != nil {
			err = effect(a.draft.err)
		}
		if late := ended(t.ctx, t.remote, "it came, and was being put in order"); late != nil {
			err = late
		}
		return nil, err
	}
	return a, nil
}

// otherWayError is why increments lead nowhere, while all of the zone may.
type otherWayError struct{ error }

// transfer is one connection on which a zone comes.
type transfer struct {
	ctx context.Context
	*remote
	dial   func(ctx context.Context, network, addr string) (net.Conn, error)
	since  *Copy  // ask for what has changed since; nil is for all
	serial uint32 // of since

	conn     net.Conn
	in       *bufio.Reader
	query    *dns.Msg
	signed   *signedTransfer // nil without a key
	size     int64           // octets that came
	messages int
	records  int
}

// run asks, and gives each record to take until that is done.
func (t *transfer) run(take func(dns.RR) (done bool, err error)) error {
	dial := t.dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: connectTimeout}).DialContext
	}
	conn, err := dial(t.ctx, "tcp", t.server.String())
	if err == nil {
		defer conn.Close()
		stop := context.AfterFunc(t.ctx, func() { conn.Close() })
		defer stop()
		t.conn, t.in = conn, bufio.NewReaderSize(conn, sampleSize)
		if err = t.ask(); err == nil {
			err = t.receive(take)
		}
	}
	if late := ended(t.ctx, t.remote, fmt.Sprintf("%d octets came", t.size)); late != nil && err != nil {
		return late
	}
	return err
}

// ask sends the query.
func (t *transfer) ask() error {
	t.query = new(dns.Msg)
	t.query.SetAxfr(t.zone)
	if t.since != nil {
		t.query.SetIxfr(t.zone, t.serial, ".", ".")
	}
	t.query.Id = uint16(rand.Uint32())
	wire, err := t.query.Pack()
	if t.key != nil {
		t.signed = &signedTransfer{key: t.key}
		wire, err = t.signed.sign(t.query)
	}
	if err != nil {
		return err
	}
	if err := t.conn.SetDeadline(time.Now().Add(t.timeout / 2)); err != nil {
		return err
	}
	_, err = t.conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...))
	return err
}

// receive reads messages until take is done.
func (t *transfer) receive(take func(dns.RR) (done bool, err error)) error {
	for {
		m, err := t.next()
		if err != nil {
			return err
		}
		for i, rr := range m.Answer {
			done, err := take(rr)
			if err != nil {
				return err
			}
			t.records++
			if !done {
				continue
			}
			if i+1 < len(m.Answer) {
				return errors.New("is sent records after its end; it is not used")
			}
			return t.signed.whole()
		}
	}
}

// next returns the next message, which has at least one answer.
func (t *transfer) next() (*dns.Msg, error) {
	wire, err := t.read()
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		return nil, fmt.Errorf("is sent a message that is none: %w", err)
	}
	first := t.messages == 0
	t.messages++
	if m.Id != t.query.Id || !m.Response || m.Opcode != dns.OpcodeQuery || len(m.Question) > 1 ||
		len(m.Question) == 1 && !sameQuestion(m.Question[0], t.query.Question[0]) {
		return nil, errors.New("is answered by a message that is no answer to the query")
	}
	if err := t.signed.verify(wire, m); err != nil {
		return nil, err
	}
	if m.Rcode != dns.RcodeSuccess || len(m.Answer) == 0 {
		return nil, t.refused(m, first)
	}
	return m, nil
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && dns.CanonicalName(a.Name) == dns.CanonicalName(b.Name)
}

// refused returns what an answer without a zone says.
func (t *transfer) refused(m *dns.Msg, first bool) error {
	code := dns.RcodeToString[m.Rcode]
	if code == "" {
		code = fmt.Sprintf("RCODE %d", m.Rcode)
	}
	if m.Rcode == dns.RcodeSuccess {
		code = "an empty answer"
	}
	err := fmt.Errorf("its server answers with %s; it must serve the zone, and allow this host to transfer it", code)
	if t.since != nil && first {
		return &otherWayError{err}
	}
	return err
}

// read reads a message as it is on the wire (RFC 1035 §4.2.2).
func (t *transfer) read() ([]byte, error) {
	patience := t.timeout / 2
	if err := t.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	var length [2]byte
	_, err := io.ReadFull(t.in, length[:])
	if err != nil {
		return nil, t.broken(err, patience)
	}
	wire := make([]byte, binary.BigEndian.Uint16(length[:]))
	if t.size += int64(len(length) + len(wire)); t.size > t.maxSize {
		return nil, fmt.Errorf("is longer than the %d octets of max_size", t.maxSize)
	}
	if _, err := io.ReadFull(t.in, wire); err != nil {
		return nil, t.broken(err, patience)
	}
	return wire, nil
}

// broken returns what to say of a connection that ends before the zone does.
func (t *transfer) broken(err error, patience time.Duration) error {
	got := fmt.Sprintf("%d records came", t.records)
	var timeout net.Error
	switch {
	case err == io.EOF, errors.Is(err, io.ErrUnexpectedEOF):
		err = fmt.Errorf("was cut off: %s; it is asked for again later", got)
	case errors.As(err, &timeout) && timeout.Timeout():
		err = fmt.Errorf("stalled: %s, and nothing more for %v, half of its timeout", got, patience)
	default:
		err = fmt.Errorf("%w, when %s", err, got)
	}
	if t.since != nil && t.records <= 1 { // some servers do not answer IXFR, or with one SOA record, as over UDP
		return &otherWayError{err}
	}
	return err
}
