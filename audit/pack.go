package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// A pack holds the records of several segments, one behind the other in the chain, in the
// room that they take when their columns are laid out together; and of each segment what
// it is proven by. It stands in the store in their place, under the key of the first.
// Numbers are big-endian; times are nanoseconds since 1970-01-01 UTC.
//
//	offset size
//	     0    4  "WEIP"
//	     4    2  version of the format, 1
//	     6    2  flags, 0, or 4 if its segments have that, all or none; a reader refuses what it does not know
//	     8    8  number of the first segment in the chain
//	    16    8  sequence number of the first record
//	    24    4  records, 1 to 65536
//	    28    4  octets of all columns when decompressed, at most 32 MiB
//	    32    8  events lost: the sum of the gap records
//	    40    8  time of the earliest record
//	    48    8  time of the latest record
//	    56    8  time of the latest record here or in any segment before
//	    64   32  SHA-256 of the segment before
//	    96    4  segments s, 1 to as many as there are records
//	   100    4  octets of the fronts f
//	   104    f  fronts, one zstd frame (RFC 8878)
//	 104+f    n  columns
//	     +   64  signature of the SHA-256 of all octets before
//	     +   32  SHA-256 of all octets before
//
// The signature is one of Ed25519 by the log's key, of "weir audit pack", a line feed and that
// SHA-256.
//
// Decompressed, the fronts are the first 64 octets of the segments' headers (all but the
// SHA-256 of the segment before), in planes: that octet of every segment, then the next
// one; then of each segment the root of its rows' tree (32), its SHA-256 (32) and its
// signature (64). A segment's leaf in the log's tree is made of these as it was when its
// payload was beside them; the SHA-256 is of that payload, which is gone, and proves
// nothing any more but that the leaf is what it was. What proves the records is the root.
//
// The columns are those of the table below, in its order. A column is
//
//	values  how many, a varint
//	width   octets of the widest value, 0 to 8; with 0 all values are 0 and nothing follows
//	planes  as many as its width: the lowest octet of every value, then the next one
//
// and a plane is a varint of length<<1, with 1 added if what follows is a zstd frame of the
// plane and not the plane itself, and that many octets.
//
// Rows are parted into what depends on who asked, what on what was asked, and the rest: an
// asker and a question stand once for all rows that have them. A reference is 0 for the
// entry that is used for the first time, in the order of the entries, else the entry's place
// counted from one. A number of a text or reason is its place counted from one, 0 is none.
//
//	names      0 labels       octets of the labels: of each its length and itself
//	           1 odd          names that are no labels: of each its length (a varint) and itself
//	           2 fresh        of each name: how many of its labels are new, before an end that was there
//	           3 end          of each name: 0 nothing, 1 the root, else the place counted from two of an end
//	           4 label        of each new label: reference to a label
//	addresses  5 clients      of each: its octets, 0, 4 or 16
//	           6 answers      of each: its octets
//	           7 short        of each with 4 octets, clients first: these as a number
//	           8 long         octets of those with 16
//	texts      9 texts        of each its length (a varint) and itself, printable
//	          10 reasons      of each the numbers of five texts: group, policy, rule, category, list
//	askers    11 client       of each asker: reference to a client
//	          12 transport
//	          13 bits         of the query
//	          14 UDP size     0 without EDNS
//	          15 version
//	questions 16 name         of each question: reference to a name
//	          17 type
//	          18 class
//	          19 flags
//	          20 on
//	          21 offset
//	          22 scope
//	          23 which
//	          24 rcode
//	          25 EDE
//	          26 answer size  less 11 with EDNS, modulo 65536
//	          27 bits         of the answer
//	          28 aliases      how many
//	          29 addresses    how many
//	          30 alias        each alias: reference to a name
//	          31 address      each address: reference to an answer
//	rows      32 kind         of each record
//	          33 time         zigzag, since the record before; the first: since the header's earliest
//	          34 asker        of each query: reference to an asker
//	          35 question     of each query: reference to a question
//	          36 reason       of each query: number of a reason
//	          37 observed     of each query: number of a reason
//	          38 source       of each query
//	          39 upstream     of each query: number of a text
//	          40 duration     of each query: microseconds
//	          41 revision     of each query: zigzag difference to the query before, at first to 0
//	          42 ID           of each query
//	          43 port         of each query
//	          44 query size   of each query: as in a segment
//	          45 text         of each change: number of a text
//	          46 action       of each change: number of a text
//	          47 actor        of each change: number of a text
//	          48 lost         of each gap
//	          49 from         of each gap: zigzag, before the record's time
//	          50 cause        of each gap
//
// A name is its new labels and then the end that it shares. Each new label begins an end of
// its own, which has the next place, the last label of the name first. A name with 0 for its
// end and no new labels is the next of the odd ones. The values are those of a segment's
// columns of the same name where nothing is said.
const (
	packMagic   = "WEIP"
	packVersion = 1
	packHeader  = headerSize + 8
	packTail    = signatureSize + digestSize

	keptHeader = headerSize - digestSize // octets of a segment's header in its front
	frontSize  = keptHeader + 2*digestSize + signatureSize
)

// A packedFront is what a pack keeps of a segment beside its records.
type packedFront struct {
	header    header
	root      hash
	digest    [digestSize]byte
	signature [signatureSize]byte
}

// tail returns the front in the form of what stands behind a segment's payload.
func (f *packedFront) tail() tail {
	return tail{root: f.root[:], digest: f.digest, signature: f.signature[:]}
}

// leaf returns the segment's leaf in the log's tree.
func (f *packedFront) leaf() []byte {
	t := f.tail()
	return t.leaf(f.header.append(nil))
}

// frontOf returns the front of a segment, whose header is h.
func frontOf(h *header, segment []byte) packedFront {
	t := readTail(h, segment)
	return packedFront{*h, hash(t.root), t.digest, [signatureSize]byte(t.signature)}
}

// appendFronts appends the fronts of a pack, not compressed.
func appendFronts(b []byte, fronts []packedFront) []byte {
	from := len(b)
	b = append(b, make([]byte, keptHeader*len(fronts))...)
	var kept []byte
	for i := range fronts {
		kept = fronts[i].header.append(kept[:0])
		for k := range keptHeader {
			b[from+k*len(fronts)+i] = kept[k]
		}
	}
	for i := range fronts {
		f := &fronts[i]
		b = append(append(append(b, f.root[:]...), f.digest[:]...), f.signature[:]...)
	}
	return b
}

// fronts reads those of a pack whose header is h. They fit each other and the header.
func (u *unpacker) fronts(h *header, pack []byte) ([]packedFront, error) {
	stored, _, err := packParts(pack)
	if err != nil {
		return nil, err
	}
	n := int(h.segments)
	b, err := u.z.DecodeAll(stored, make([]byte, 0, frontSize*n))
	if err != nil || len(b) != frontSize*n {
		return nil, fmt.Errorf("its fronts are not those of %d segments", n)
	}
	fronts := make([]packedFront, n)
	prev, next := h.prev, *h
	next.count = 0
	var sum header
	for i := range fronts {
		f := &fronts[i]
		var kept [headerSize + 2*digestSize + signatureSize]byte // as long as a segment must be
		for k := range keptHeader {
			kept[k] = b[k*n+i]
		}
		copy(kept[keptHeader:], prev[:])
		if f.header, err = readHeader(kept[:]); err != nil {
			return nil, fmt.Errorf("front %d: %w", i, err)
		}
		rest := b[keptHeader*n+i*(frontSize-keptHeader):]
		f.root = hash(rest)
		f.digest = [digestSize]byte(rest[digestSize:])
		f.signature = [signatureSize]byte(rest[2*digestSize:])
		switch {
		case f.header.packed || !f.header.proven || f.header.masked != h.masked:
			return nil, fmt.Errorf("front %d is none of a segment that can be packed with the others", i)
		case f.header.number != h.number+uint64(i) || f.header.first != next.first:
			return nil, fmt.Errorf("front %d does not follow the one before", i)
		}
		sum.add(&f.header, i == 0)
		prev, next.first = f.digest, f.header.last()+1
	}
	if sum.count != h.count || sum.lost != h.lost || sum.min != h.min || sum.max != h.max || sum.high != h.high {
		return nil, errors.New("its header does not fit its fronts")
	}
	return fronts, nil
}

// add adds up the headers of neighbouring segments.
func (h *header) add(next *header, first bool) {
	if first {
		h.number, h.first, h.prev, h.min, h.max, h.masked = next.number, next.first, next.prev, next.min, next.max, next.masked
	}
	h.segments++
	h.count += next.count
	h.lost += next.lost
	h.min, h.max, h.high = min(h.min, next.min), max(h.max, next.max), next.high
}

// packParts finds the fronts and the columns of a pack.
func packParts(pack []byte) (fronts, columns []byte, err error) {
	n := binary.BigEndian.Uint32(pack[headerSize+4:])
	rest := pack[packHeader : len(pack)-packTail]
	if uint64(n) > uint64(len(rest)) {
		return nil, nil, errors.New("its fronts are cut short")
	}
	return rest[:n], rest[n:], nil
}

// checkPack proves the checksum of a pack.
func checkPack(pack []byte) error {
	end := len(pack) - digestSize
	if sha256.Sum256(pack[:end]) != [digestSize]byte(pack[end:]) {
		return errPackSum
	}
	return nil
}

var errPackSum = errors.New("its checksum does not match its content")

// lastPacked returns the header and the digest of the last segment of a pack.
func lastPacked(h *header, pack []byte) (last header, digest [digestSize]byte, err error) {
	u, err := newUnpacker()
	if err != nil {
		return last, digest, err
	}
	defer u.z.Close()
	fronts, err := u.fronts(h, pack)
	if err != nil {
		return last, digest, err
	}
	f := &fronts[len(fronts)-1]
	return f.header, f.digest, nil
}

// signedAs proves the checksum of a pack, and returns what its signature is of, and that. Its octets
// are hashed once for both.
func signedAs(pack []byte) (body hash, signature []byte, err error) {
	at, end := len(pack)-packTail, len(pack)-digestSize
	sum := sha256.New()
	sum.Write(pack[:at])
	sum.Sum(body[:0])
	sum.Write(pack[at:end])
	if signature = pack[at:end]; [digestSize]byte(sum.Sum(nil)) != [digestSize]byte(pack[end:]) {
		err = errPackSum
	}
	return body, signature, err
}

func isPack(value []byte) bool {
	return len(value) >= len(packMagic) && string(value[:len(packMagic)]) == packMagic
}

// openBlock reads a segment or a pack up to its rows into b, after proving its checksum. The
// payload of a segment is in buf's memory, if that is large enough, and is returned; it and
// value must stay as they are while the block is in use.
func (u *unpacker) openBlock(b *block, value, buf []byte) (payload []byte, digest [digestSize]byte, err error) {
	if !isPack(value) {
		var h header
		if h, digest, payload, err = u.open(value, buf); err != nil {
			b.header = h
			return buf, digest, err
		}
		return payload, digest, b.dictionaries(h, payload)
	}
	h, err := readHeader(value)
	if err == nil {
		err = checkPack(value)
	}
	if err == nil {
		err = b.unpack(u, h, value)
	}
	return buf, digest, err
}
