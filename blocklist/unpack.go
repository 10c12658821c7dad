package blocklist

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A list file may be compressed: gzip (RFC 1952, several members one after the other are one text), zstd (RFC 8878,
// frames likewise) or xz (streams likewise). It is known by its first octets, not by its name, and read as a stream.
// What its text says of a place, line and column, is of the text unpacked.

const (
	maxUnpacked = 4 << 30   // octets of text; more is taken for an attack, whatever the ratio
	maxWindow   = 128 << 20 // octets that zstd or xz data may make its reader hold, as zstd(1) allows without being asked
)

// packings are the ways of compression that are read.
var packings = [...]struct {
	name   string
	begins string
	open   func(in *bufio.Reader) (io.Reader, func(), error)
}{
	{"gzip", "\x1f\x8b", openGzip},
	{"zstd", "\x28\xb5\x2f\xfd", openZstd},
	{"xz", xzMagic[:5], openXZ},
}

var (
	errForeign = errors.New("something that is not read here")
	errWindow  = errors.New("too large a window")
)

func openGzip(in *bufio.Reader) (io.Reader, func(), error) {
	z, err := gzip.NewReader(in)
	return z, func() {}, err
}

func openZstd(in *bufio.Reader) (io.Reader, func(), error) {
	z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), // then it has no goroutines
		zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
	if err != nil {
		return nil, nil, err
	}
	return z, z.Close, nil
}

// unpack returns the text of the file that packed gives, and how it is compressed, "" for not at all. The text is at
// most limit octets. close must be called after the last Read.
func unpack(ctx context.Context, packed *countingReader, limit int64) (text io.Reader, packing string, close func(), err error) {
	in := bufio.NewReaderSize(packed, sampleSize)
	begin, err := in.Peek(5)
	if err != nil && err != io.EOF {
		return nil, "", nil, err
	}
	for _, p := range packings {
		if len(begin) < len(p.begins) || string(begin[:len(p.begins)]) != p.begins {
			continue
		}
		u := &unpacker{ctx: ctx, packing: p.name, packed: packed, limit: limit}
		from, close, err := p.open(in)
		if err != nil {
			return nil, "", nil, u.wrong(err)
		}
		u.from = from
		return u, p.name, close, nil
	}
	return in, "", func() {}, nil
}

// unpacker reads compressed text, and says where it is wrong.
type unpacker struct {
	ctx     context.Context
	from    io.Reader
	packing string
	packed  *countingReader
	limit   int64
	n       int64 // octets read
}

func (u *unpacker) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := u.from.Read(p)
	if u.n += int64(n); u.n > u.limit {
		return 0, fmt.Errorf("is %s data that holds more than %d octets of text; split it, or unpack it if it is no mistake", u.packing, u.limit)
	}
	if err != nil && err != io.EOF {
		err = u.wrong(err)
	}
	return n, err
}

// wrong returns what err says of the compressed data, with the place up to which it was read.
func (u *unpacker) wrong(err error) error {
	switch at := u.packed.n; {
	case u.packed.err != nil: // it is not the data
		return u.packed.err
	case errors.Is(err, io.ErrUnexpectedEOF), err == io.EOF:
		return fmt.Errorf("is %s data that is cut off at octet %d; fetch it again", u.packing, at)
	case errors.Is(err, errForeign):
		return fmt.Errorf("is %s data with %w; unpack it first", u.packing, err)
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded), errors.Is(err, errWindow):
		return fmt.Errorf("is %s data that takes more than %d MiB of memory to unpack; unpack it first", u.packing, maxWindow>>20)
	default:
		return fmt.Errorf("is damaged %s data, before octet %d: %w; fetch it again", u.packing, at, err)
	}
}

// countingReader reads a file: it counts its octets and ends with ctx.
type countingReader struct {
	ctx  context.Context
	from io.Reader
	n    int64
	err  error // of from or ctx; not io.EOF
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := 0, c.ctx.Err()
	if err == nil {
		n, err = c.from.Read(p)
	}
	c.n += int64(n)
	if err != nil && err != io.EOF {
		c.err = err
	}
	return n, err
}
