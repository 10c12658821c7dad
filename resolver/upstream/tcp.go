package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// tcp asks over a connection of its own for each query.
type tcp struct{ server }

func openTCP(host string, _ Options) (Exchanger, error) {
	t := new(tcp)
	if err := t.open("tcp", host); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *tcp) Exchange(ctx context.Context, q *dns.Msg) (*dns.Msg, error) {
	return t.exchange(ctx, q, t)
}

func (t *tcp) ask(ctx context.Context, a *attempt) (*dns.Msg, finding, error) {
	return t.askTCP(ctx, a)
}

// askTCP sends the query over a new connection and reads messages until one
// settles it. Messages that are no reply are read past, as by UDP.
func (s *server) askTCP(ctx context.Context, a *attempt) (*dns.Msg, finding, error) {
	dialer := net.Dialer{Deadline: a.deadline, KeepAlive: -1}
	conn, err := dialer.DialTCP(ctx, "tcp", netip.AddrPort{}, s.addr)
	if err != nil {
		return nil, foreign, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(a.deadline); err != nil {
		return nil, foreign, err
	}
	defer a.watch(ctx, conn).end()

	if _, err := conn.Write(a.framed()); err != nil {
		return nil, foreign, err
	}
	s.sent.Add(1)
	for {
		packet, err := readMessage(conn)
		if err != nil {
			return nil, foreign, err
		}
		switch reply, found := accept(&a.query, packet, dns.MaxMsgSize); found {
		case foreign, deadly:
			s.ignore(found)
		case cut:
			return nil, found, errors.New("reply by TCP is truncated")
		default:
			return reply, found, nil
		}
	}
}

// readMessage reads a message behind its length of two octets (RFC 1035 §4.2.2),
// in however many pieces it comes.
func readMessage(r io.Reader) ([]byte, error) {
	var length [prefixLen]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, unexpected(err)
	}
	packet := make([]byte, binary.BigEndian.Uint16(length[:]))
	if _, err := io.ReadFull(r, packet); err != nil {
		return nil, unexpected(err)
	}
	return packet, nil
}

// unexpected makes plain that a connection which ended in good order did so too
// early.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return errors.New("connection closed before the reply was complete")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("connection closed in the middle of a reply")
	}
	return err
}
