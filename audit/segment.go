package audit

import (
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

const (
	segmentMagic   = "WEIR"
	segmentVersion = 2 // that is written; those from 1 are read

	headerSize    = 96
	digestSize    = sha256.Size
	signatureSize = ed25519.SignatureSize

	maxRows    = 1 << 16   // records in one segment
	sealRows   = 1 << 14   // records for which a segment is closed: whoever reads one has all of it in memory
	blockBytes = 512 << 10 // of payload, for which a block is committed before it is due: some 200 KiB when compressed
	sealBytes  = 8 << 20   // a segment is closed when its payload passes this
	maxPayload = 32 << 20  // what one more record beyond sealBytes can never reach
	maxSegment = maxPayload + headerSize + 2*digestSize + signatureSize
)

// What a segment has.
const (
	flagProven  = 1 << iota // the root of its rows' tree and a signature
	flagGrouped             // the rows in that tree are grouped; those that are written since
	flagMasked              // clients that stand for networks, or are pseudonyms; see Client
	flagLight               // the payload is an S2 block and not a zstd frame: it is soon to be packed
)

// A header is the fixed front of a segment; doc.go has its layout.
type header struct {
	version uint16
	number  uint64 // of this segment in its chain, from one
	first   uint64 // sequence number of its first record
	count   uint32 // records, at least one
	size    uint32 // octets of the payload before compression
	lost    uint64 // events that the gap records in it count
	min     int64  // earliest and latest time of a record, in nanoseconds since 1970
	max     int64
	high    int64 // latest time of a record in this or any earlier segment
	prev    [digestSize]byte
	proven  bool // it has a root of its rows and a signature
	grouped bool // that root is over groups of rows
	masked  bool // it has clients that are no addresses
	light   bool // its payload is an S2 block

	packed   bool   // it is that of a pack, whose segments are all proven
	segments uint32 // in the pack
}

// last returns the sequence number of the segment's last record.
func (h *header) last() uint64 { return h.first + uint64(h.count) - 1 }

// lastNumber returns the number of the segment, of a pack that of its last.
func (h *header) lastNumber() uint64 { return h.number + uint64(max(h.segments, 1)) - 1 }

func (h *header) append(b []byte) []byte {
	be := binary.BigEndian
	magic := segmentMagic
	if h.packed {
		magic = packMagic
	}
	b = append(b, magic...)
	b = be.AppendUint16(b, h.version)
	b = be.AppendUint16(b, h.flags())
	b = be.AppendUint64(b, h.number)
	b = be.AppendUint64(b, h.first)
	b = be.AppendUint32(b, h.count)
	b = be.AppendUint32(b, h.size)
	b = be.AppendUint64(b, h.lost)
	b = be.AppendUint64(b, uint64(h.min))
	b = be.AppendUint64(b, uint64(h.max))
	b = be.AppendUint64(b, uint64(h.high))
	return append(b, h.prev[:]...)
}

func (h *header) flags() (f uint16) {
	if h.proven {
		f |= flagProven
	}
	if h.grouped {
		f |= flagGrouped
	}
	if h.masked {
		f |= flagMasked
	}
	if h.light {
		f |= flagLight
	}
	return f
}

// readHeader reads the front of a segment or of a pack. It does not look at the checksum.
func readHeader(b []byte) (h header, err error) {
	if len(b) < headerSize+digestSize {
		return h, fmt.Errorf("%d octets are too few for a segment", len(b))
	}
	known, knownFlags := uint16(segmentVersion), uint16(flagProven|flagGrouped|flagMasked|flagLight)
	packed := string(b[:4]) == packMagic
	if packed {
		known, knownFlags = packVersion, flagMasked
	} else if string(b[:4]) != segmentMagic {
		return h, errors.New("it does not begin like a segment")
	}
	be := binary.BigEndian
	version := be.Uint16(b[4:])
	if version == 0 || version > known {
		return h, fmt.Errorf("its format version is %d, this program reads those up to %d", version, known)
	}
	flags := be.Uint16(b[6:])
	if flags&^knownFlags != 0 || flags&(flagProven|flagGrouped) == flagGrouped {
		return h, fmt.Errorf("it has unknown flags %#x", flags)
	}
	h = header{
		version: version,
		number:  be.Uint64(b[8:]),
		first:   be.Uint64(b[16:]),
		count:   be.Uint32(b[24:]),
		size:    be.Uint32(b[28:]),
		lost:    be.Uint64(b[32:]),
		min:     int64(be.Uint64(b[40:])),
		max:     int64(be.Uint64(b[48:])),
		high:    int64(be.Uint64(b[56:])),
		prev:    [digestSize]byte(b[64:]),
		proven:  flags&flagProven != 0,
		grouped: flags&flagGrouped != 0,
		masked:  flags&flagMasked != 0,
		light:   flags&flagLight != 0,
		packed:  packed,
	}
	if packed {
		if len(b) < packHeader+packTail {
			return h, fmt.Errorf("%d octets are too few for a pack", len(b))
		}
		if h.segments = be.Uint32(b[headerSize:]); h.segments == 0 || h.segments > h.count || h.number+uint64(h.segments)-1 < h.number {
			return h, fmt.Errorf("it claims %d segments", h.segments)
		}
	}
	switch {
	case h.proven && len(b) < headerSize+2*digestSize+signatureSize:
		return h, fmt.Errorf("%d octets are too few for a segment with proofs", len(b))
	case h.number == 0 || h.first == 0 || h.last() < h.first:
		return h, errors.New("its numbers are out of range")
	case h.count == 0 || h.count > maxRows:
		return h, fmt.Errorf("it claims %d records", h.count)
	case h.size > maxPayload:
		return h, fmt.Errorf("it claims a payload of %d octets", h.size)
	case h.min > h.max || h.max > h.high:
		return h, errors.New("its times contradict each other")
	}
	return h, nil
}

// A tail is what stands behind a segment's payload. root and signature are those of a
// proven segment only.
type tail struct {
	root      []byte // of the tree of its rows
	digest    [digestSize]byte
	signature []byte // of its leaf in the log's tree
	begin     int    // where in the segment the tail begins
}

func readTail(h *header, b []byte) (t tail) {
	end := len(b)
	if h.proven {
		end -= signatureSize
		t.signature = b[end:]
	}
	end -= digestSize
	t.digest = [digestSize]byte(b[end:])
	if h.proven {
		end -= digestSize
		t.root = b[end:][:digestSize]
	}
	t.begin = end
	return t
}

// leaf returns the segment's leaf in the log's tree: header, root of the rows, digest;
// of a segment that is not proven, without that root.
func (t *tail) leaf(b []byte) []byte {
	leaf := append(make([]byte, 0, headerSize+2*digestSize), b[:headerSize]...)
	leaf = append(leaf, t.root...)
	return append(leaf, t.digest[:]...)
}

// leafHash returns the hash of a leaf (RFC 6962 §2.1).
func leafHash(leaf []byte) hash { return sha256.Sum256(append([]byte{leafPrefix}, leaf...)) }

// checkSegment reads the header and proves the checksum, which it returns unless it is that
// of a pack.
func checkSegment(b []byte) (h header, digest [digestSize]byte, err error) {
	if h, err = readHeader(b); err != nil {
		return h, digest, err
	}
	if h.packed {
		return h, digest, checkPack(b)
	}
	t := readTail(&h, b)
	digest = sha256.Sum256(b[:t.begin+len(t.root)])
	if t.digest != digest {
		return h, digest, errors.New("its checksum does not match its content")
	}
	return h, digest, nil
}

// An appender turns payloads into segments. It is not safe for concurrent use.
type appender struct {
	z     *zstd.Encoder
	light bool // segments are soon to be packed
	room  []byte
}

func newAppender() (*appender, error) {
	// The segment's own digest covers the payload, so zstd's checksum would be a second one.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &appender{z: z}, nil
}

// append returns a new segment, its digest and the hash of its leaf in the log's tree.
// root is that of the tree of its rows; without a key, as for who only reads, the
// segment has neither that nor a signature.
func (a *appender) append(h *header, payload []byte, root hash, key *signingKey) (segment []byte, digest [digestSize]byte, leaf hash) {
	h.size, h.proven, h.grouped, h.light = uint32(len(payload)), key != nil, key != nil, a.light
	segment = h.append(a.room[:0])
	if h.light {
		segment = slices.Grow(segment, s2.MaxEncodedLen(len(payload)))
		block := s2.Encode(segment[headerSize:cap(segment)], payload)
		segment = segment[:headerSize+len(block)]
	} else {
		segment = a.z.EncodeAll(payload, segment)
	}
	t := tail{}
	if h.proven {
		segment = append(segment, root[:]...)
		t.root = root[:]
	}
	digest = sha256.Sum256(segment)
	t.digest = digest
	leaf = leafHash(t.leaf(segment))
	segment = append(segment, digest[:]...)
	if h.proven {
		segment = append(segment, key.signSegment(leaf)...)
	}
	a.room = segment
	return slices.Clone(segment), digest, leaf
}

// unpackSlack is how many octets behind what it unpacks zstd can use to copy faster.
const unpackSlack = 16

// An unpacker reads segments. It is safe for concurrent use.
type unpacker struct {
	z     *zstd.Decoder
	pages sync.Pool // whose memory the next question uses
}

// page returns a page with nothing in it that means anything.
func (u *unpacker) page() *page {
	if p, ok := u.pages.Get().(*page); ok {
		return p
	}
	return new(page)
}

// leave takes back a page that is not in use any more.
func (u *unpacker) leave(p *page) {
	p.view, p.prey, p.marks = nil, prey{}, marks{}
	u.pages.Put(p)
}

func newUnpacker() (*unpacker, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(maxPayload),
		zstd.WithDecodeAllCapLimit(true), zstd.IgnoreChecksum(true))
	if err != nil {
		return nil, fmt.Errorf("zstd: %w", err)
	}
	return &unpacker{z: z}, nil
}

// open proves the segment's checksum and returns its header, its digest and its
// payload, in buf's memory if that is large enough.
func (u *unpacker) open(segment, buf []byte) (h header, digest [digestSize]byte, payload []byte, err error) {
	if h, digest, err = checkSegment(segment); err != nil {
		return h, digest, nil, err
	}
	giveWay()
	if cap(buf) < int(h.size)+unpackSlack {
		buf = make([]byte, 0, int(h.size)+unpackSlack)
	}
	t := readTail(&h, segment)
	stored := segment[headerSize:t.begin]
	if h.light {
		payload, err = unpackLight(stored, buf[:h.size])
	} else {
		payload, err = u.z.DecodeAll(stored, buf[:0:int(h.size)+unpackSlack])
	}
	if err != nil {
		return h, digest, nil, fmt.Errorf("its payload: %w", err)
	}
	giveWay()
	if len(payload) != int(h.size) {
		return h, digest, nil, fmt.Errorf("its payload has %d octets instead of %d", len(payload), h.size)
	}
	return h, digest, payload, nil
}

// unpackLight unpacks an S2 block into the memory of dst, which is as long as it has to become.
func unpackLight(block, dst []byte) ([]byte, error) {
	n, err := s2.DecodedLen(block)
	if err != nil || n > len(dst) {
		return nil, cmp.Or(err, s2.ErrTooLarge)
	}
	return s2.Decode(dst, block)
}
