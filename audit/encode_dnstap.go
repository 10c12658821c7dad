package audit

import (
	"encoding/binary"
	"io"
	"strconv"
	"time"
)

// dnstap writes a Frame Streams file (github.com/farsightsec/fstrm) of dnstap
// messages (dnstap.info): of each query one for what the client asked and one for
// what it was answered, if it was. The messages in them are made from the record.
//
// A control frame is a length of 0, its own length, its type, and for START the
// type of the content; a data frame is its length and its octets. All lengths are
// 4 octets, big-endian.
type dnstap struct {
	w      io.Writer
	begun  bool
	buf    []byte // what one call writes
	inner  []byte // a Message
	packet []byte // a DNS message
}

func newDnstap(w io.Writer) Encoder { return &dnstap{w: w} }

// Numbers of Frame Streams.
const (
	frameStart       = 2
	frameStop        = 3
	frameContentType = 1
	dnstapContent    = "protobuf:dnstap.Dnstap"
)

// Numbers of dnstap.proto.
const (
	tapExtra   = 3 // fields of Dnstap
	tapMessage = 14
	tapType    = 15

	tapMessageType  = 1 // fields of Message
	tapFamily       = 2
	tapProtocol     = 3
	tapClient       = 4
	tapQuerySec     = 8
	tapQueryNsec    = 9
	tapQuery        = 10
	tapResponseSec  = 12
	tapResponseNsec = 13
	tapResponse     = 14
	tapPolicy       = 15

	tapPolicyType   = 1 // fields of Policy
	tapPolicyRule   = 2
	tapPolicyAction = 3
	tapPolicyMatch  = 4
	tapPolicyValue  = 5

	tapClientQuery    = 5 // values of the message's type
	tapClientResponse = 6
	tapInet           = 1 // of the family
	tapInet6          = 2
	tapPass           = 3 // of the action
	tapDrop           = 4
)

// The words of a Record that dnstap.proto has numbers for.
var (
	tapProtocols = map[string]uint64{"udp": 1, "tcp": 2}
	tapMatches   = map[string]uint64{"name": 1, "address": 3}
	tapDenials   = map[string]uint64{"NXDOMAIN": 1} // of the action, by response code
)

func (d *dnstap) Write(r *Record) error {
	if r.Kind != KindQuery.String() {
		return ErrLeftOut
	}
	d.start()
	d.packet = appendQuestion(d.packet[:0], r)
	d.common(r, tapClientQuery)
	d.inner = protoOctets(d.inner, tapQuery, d.packet)
	if r.Dropped {
		d.policy(r)
	}
	d.frame(r)
	if !r.Dropped {
		d.common(r, tapClientResponse)
		d.time(tapResponseSec, tapResponseNsec, r.answered())
		d.packet = appendResponse(d.packet[:0], r)
		d.inner = protoOctets(d.inner, tapResponse, d.packet)
		d.policy(r)
		d.frame(r)
	}
	return d.write()
}

// Close writes the frame that ends the file.
func (d *dnstap) Close() error {
	d.start()
	d.buf = append(d.buf, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, frameStop)
	return d.write()
}

func (d *dnstap) write() error {
	_, err := d.w.Write(d.buf)
	d.buf = d.buf[:0]
	return err
}

// start begins the file, once.
func (d *dnstap) start() {
	if d.begun {
		return
	}
	d.begun = true
	d.buf = append(d.buf, 0, 0, 0, 0, 0, 0, 0, byte(12+len(dnstapContent)), 0, 0, 0, frameStart, 0, 0, 0, frameContentType)
	d.buf = binary.BigEndian.AppendUint32(d.buf, uint32(len(dnstapContent)))
	d.buf = append(d.buf, dnstapContent...)
}

// common begins a Message with what both kinds have.
func (d *dnstap) common(r *Record, kind uint64) {
	d.inner = protoNumber(d.inner[:0], tapMessageType, kind)
	if family := r.Client.family(); family != 0 {
		d.inner = protoNumber(d.inner, tapFamily, map[int]uint64{4: tapInet, 6: tapInet6}[family])
	}
	if a, ok := r.Client.Addr(); ok {
		d.inner = protoOctets(d.inner, tapClient, a.AsSlice())
	}
	if p := tapProtocols[r.Transport]; p != 0 {
		d.inner = protoNumber(d.inner, tapProtocol, p)
	}
	d.time(tapQuerySec, tapQueryNsec, r.Time)
}

func (d *dnstap) time(sec, nsec uint64, t time.Time) {
	d.inner = protoNumber(d.inner, sec, uint64(t.Unix()))
	d.inner = appendFixed32(d.inner, nsec, uint32(t.Nanosecond()))
}

// policy appends what decided.
func (d *dnstap) policy(r *Record) {
	if r.Policy == "" && r.Rule == "" {
		return
	}
	p := protoOctets(nil, tapPolicyType, []byte("weir"))
	p = protoOctets(p, tapPolicyRule, []byte(r.Policy+"/"+r.Rule))
	action := tapDenials[r.Rcode]
	switch {
	case r.Dropped:
		action = tapDrop
	case r.Verdict == "allow":
		action = tapPass
	}
	if action != 0 {
		p = protoNumber(p, tapPolicyAction, action)
	}
	if m := tapMatches[r.MatchedOn]; m != 0 {
		p = protoNumber(p, tapPolicyMatch, m)
	}
	if r.Entry != "" {
		p = protoOctets(p, tapPolicyValue, []byte(r.Entry))
	}
	d.inner = protoOctets(d.inner, tapPolicy, p)
}

// frame puts the Message into a Dnstap and that into a frame.
func (d *dnstap) frame(r *Record) {
	start := len(d.buf)
	d.buf = append(d.buf, 0, 0, 0, 0)
	d.buf = protoOctets(d.buf, tapExtra, strconv.AppendUint([]byte("seq="), r.Seq, 10))
	d.buf = protoOctets(d.buf, tapMessage, d.inner)
	d.buf = protoNumber(d.buf, tapType, 1)
	binary.BigEndian.PutUint32(d.buf[start:], uint32(len(d.buf)-start-4))
}

// The three kinds of protobuf fields that dnstap.proto has
// (protobuf.dev/programming-guides/encoding).

func protoNumber(b []byte, field, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, field<<3), v)
}

func protoOctets(b []byte, field uint64, v []byte) []byte {
	b = binary.AppendUvarint(b, field<<3|2)
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendFixed32(b []byte, field uint64, v uint32) []byte {
	return binary.LittleEndian.AppendUint32(binary.AppendUvarint(b, field<<3|5), v)
}
