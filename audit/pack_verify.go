package audit

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errUnlike says that records are not those that a segment's signature is about.
var errUnlike = errors.New("its records are not those that it was signed for")

// A packExam is what was found out about a pack by itself, and about each of its segments.
type packExam struct {
	header   header
	whole    error // what is wrong with its checksum
	err      error // with the pack, so that its segments are not known
	unread   error // with its columns, so that its records are not
	signed   bool  // the pack
	segments []packedExam
}

type packedExam struct {
	front  packedFront
	leaf   hash
	astray error // what the log's tree says
	signed bool
	unlike bool // its records are not those of its root
}

// examinePack finds out what a pack says by itself. The records of each of its segments are held
// against what that is proven by, so that a change is located, unless a key of the log has
// signed the pack as it is and there is hurry. Where octets of the pack were changed that is done all
// the same, as far as its columns can be read.
func (v *verifier) examinePack(x *exam) {
	p := &packExam{}
	x.pack, x.err = p, nil
	if p.header, p.err = readHeader(x.value); p.err != nil {
		return
	}
	body, signature, err := signedAs(x.value)
	p.whole = err
	fronts, err := v.unpacker.fronts(&p.header, x.value)
	if err != nil {
		p.err = err
		return
	}
	p.signed = p.whole == nil && v.signedPack(body, signature)
	read := !v.quick || !p.signed
	if read {
		if p.unread = x.block.unpack(v.unpacker, p.header, x.value); p.unread == nil {
			p.unread = x.rows.read(&x.block)
		}
	}
	for i := range fronts {
		f := &fronts[i]
		leaf := leafHash(f.leaf())
		e := packedExam{front: *f, leaf: leaf, astray: v.prove(&f.header, leaf), signed: v.signed(&f.header, leaf, f.signature[:])}
		e.unlike = read && p.unread == nil && x.rows.root(&f.header) != f.root
		p.segments = append(p.segments, e)
	}
}

// followPack tells what was found out about a pack, and checks that each of its segments
// follows the one before it. Those with records up to number seen, if that is not 0, have been
// checked before they were packed.
func (v *verifier) followPack(x *exam, place string, seen uint64) {
	v.report.Segments-- // each is counted below
	p, h := x.pack, &x.pack.header
	err := p.err
	if err == nil && h.first != binary.BigEndian.Uint64(x.key) {
		err = fmt.Errorf("it holds the segments of key %d", h.first)
	}
	if err != nil {
		v.before = header{}
		v.report.Segments++
		v.problem("%s: %v", place, errors.Join(p.whole, err))
		return
	}
	pack := fmt.Sprintf("it is the first of a pack of the segments number %d to %d", h.number, h.lastNumber())
	switch {
	case p.whole != nil:
		v.problem("%s: %s: %v", place, pack, p.whole)
	case p.unread != nil:
		v.problem("%s: %s: %v", place, pack, p.unread)
	case !p.signed && len(v.proof.keys) > 0:
		v.problem("%s: %s: no key of this log has signed it", place, pack)
	}
	for i := range p.segments {
		if e := &p.segments[i]; e.front.header.first > seen {
			v.followPacked(e, p.unread)
		}
	}
}

// followPacked is follow for a segment of a pack.
func (v *verifier) followPacked(e *packedExam, unread error) {
	v.report.Segments++
	h := &e.front.header
	place := segmentPlace(h.first)
	before := v.before
	v.before = header{}
	if e.astray != nil {
		v.problem("%s: %v", place, e.astray)
	}
	v.countUnsigned(h, e.signed)
	switch {
	case unread != nil:
		v.problem("%s: its records cannot be read", place)
	case e.unlike:
		v.problem("%s: %v", place, errUnlike)
	default:
		v.link(place, before, *h, e.front.digest)
	}
}

// signedPack says that a key of the log has signed a pack as it is.
func (v *verifier) signedPack(body hash, signature []byte) bool {
	for i := len(v.proof.keys) - 1; i >= 0; i-- {
		if v.proof.keys[i].signedPack(body, signature) {
			return true
		}
	}
	return false
}
