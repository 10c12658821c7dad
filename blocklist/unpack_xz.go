package blocklist

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// xz data (The .xz File Format, version 1.2.1): streams one after the other, with padding between. A stream is a
// header, blocks, an index of the blocks and a footer, and all of it has checksums. A block is text that LZMA2 has
// compressed; other filters are for programs and are not read. The container is read here and only LZMA2 by the
// library, because each block says how much memory its reader shall take, and because the index takes none.

const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
	maxXZWindows  = 64 << 30 // octets of memory that all blocks of one file may take one after the other; it has to be cleared
)

// Mistakes of xz data that is whole, or may be.
var (
	errXZHeader  = errors.New("bad stream header")
	errXZBlock   = errors.New("bad block header")
	errXZPadding = errors.New("padding that is not zero")
	errXZCheck   = errors.New("wrong checksum of a block")
	errXZSize    = errors.New("wrong size of a block")
	errXZIndex   = errors.New("bad index")
	errXZFooter  = errors.New("bad footer")
	errXZNumber  = errors.New("bad number")
	errXZAfter   = errors.New("something that is not xz data after its end")
)

// xzReader reads the text of xz data.
type xzReader struct {
	in    xzInput
	err   error // that ended it
	flags [2]byte
	check hash.Hash // of the block's text; nil for none

	block   io.Reader // the block's text; nil between blocks
	begun   int64     // where the block begins, in in
	data    int64     // where its data begins
	header  int64     // octets of its header
	packed  int64     // octets of its data as the header has it, -1 where it does not say
	text    int64     // likewise of its text
	got     int64     // octets of its text so far
	windows int64     // octets of memory that blocks took

	blocks uint64 // of the stream so far
	index  hash.Hash
}

func openXZ(in *bufio.Reader) (io.Reader, func(), error) {
	x := &xzReader{in: xzInput{from: in}}
	err := x.guard(func() error { return x.beginStream() })
	return x, func() {}, err
}

// Read reads text, none of which is good before io.EOF.
func (x *xzReader) Read(p []byte) (n int, err error) {
	for x.err == nil && n == 0 && len(p) > 0 {
		x.err = x.guard(func() error {
			if x.block == nil {
				return x.next()
			}
			var err error
			n, err = x.block.Read(p)
			x.got += int64(n)
			if x.check != nil {
				x.check.Write(p[:n])
			}
			if err == io.EOF {
				err = x.endBlock()
			}
			return err
		})
	}
	if n > 0 {
		return n, nil
	}
	return 0, x.err
}

// guard does something that reads, and makes of its error, or its panic, one that tells whether the data ended early.
// io.EOF stays what it is.
func (x *xzReader) guard(do func() error) (err error) {
	defer func() {
		if wrong := recover(); wrong != nil {
			err = fmt.Errorf("cannot be read: %v", wrong)
		}
		switch {
		case err == nil || x.in.err != nil && x.in.err != io.EOF:
		case x.in.err == io.EOF && !(err == io.EOF && x.in.done):
			err = io.ErrUnexpectedEOF
		case err == io.ErrUnexpectedEOF || err == io.EOF && !x.in.done:
			err = errXZSize // a part of the data says that it is shorter than it is
		}
	}()
	return do()
}

// beginStream reads a stream's header.
func (x *xzReader) beginStream() error {
	var head [12]byte
	if err := x.in.full(head[:]); err != nil {
		return err
	}
	if string(head[:6]) != xzMagic || crc32.ChecksumIEEE(head[6:8]) != binary.LittleEndian.Uint32(head[8:]) {
		return errXZHeader
	}
	x.flags = [2]byte(head[6:8])
	switch {
	case x.flags == [2]byte{0, 0}:
		x.check = nil
	case x.flags == [2]byte{0, 1}:
		x.check = crc32.NewIEEE()
	case x.flags == [2]byte{0, 4}:
		x.check = crc64.New(crc64.MakeTable(crc64.ECMA))
	case x.flags == [2]byte{0, 10}:
		x.check = sha256.New()
	default:
		return fmt.Errorf("%w: a checksum of kind %d", errForeign, x.flags[1])
	}
	x.blocks, x.index = 0, sha256.New()
	return nil
}

// next begins the next block, or ends the stream and begins the next one. io.EOF is the end of all.
func (x *xzReader) next() error {
	x.begun = x.in.n
	size, err := x.in.ReadByte()
	if err != nil {
		return err
	}
	if size > 0 {
		return x.beginBlock(size)
	}
	if err := x.endStream(); err != nil {
		return err
	}
	for {
		more, err := x.in.padding()
		if err != nil {
			return err
		}
		if !more {
			return x.beginStream()
		}
	}
}

// beginBlock reads a block's header, of which size is the first octet.
func (x *xzReader) beginBlock(size byte) error {
	x.header = 4 * (int64(size) + 1)
	head := make([]byte, x.header)
	head[0] = size
	if err := x.in.full(head[1:]); err != nil {
		return err
	}
	body, sum := head[:len(head)-4], head[len(head)-4:]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(sum) {
		return errXZBlock
	}
	flags := body[1]
	rest := bytes.NewReader(body[2:])
	short := false
	number := func() int64 {
		n, err := xzNumber(rest)
		short = short || err != nil
		return n
	}
	x.packed, x.text = -1, -1
	if flags&0x40 != 0 {
		x.packed = number()
	}
	if flags&0x80 != 0 {
		x.text = number()
	}
	if filter := number(); flags&0x3f != 0 || filter != 0x21 {
		return fmt.Errorf("%w: a filter other than LZMA2", errForeign)
	}
	length, bits := number(), number()
	if short || length != 1 || bits > 40 || !allZero(body[len(body)-rest.Len():]) {
		return errXZBlock
	}
	window := int64(1)<<32 - 1
	if bits < 40 {
		window = int64(2|bits&1) << (bits/2 + 11)
	}
	if x.text >= 0 {
		window = min(window, max(x.text, lzma.MinDictCap)) // more is never looked at
	}
	if window > maxWindow {
		return errWindow
	}
	if x.windows += window; x.windows > maxXZWindows {
		return fmt.Errorf("%w: blocks that take %d GiB of memory one after the other", errForeign, x.windows>>30)
	}
	x.data = x.in.n
	x.got = 0
	if x.check != nil {
		x.check.Reset()
	}
	block, err := lzma.Reader2Config{DictCap: int(window)}.NewReader2(&x.in)
	if err != nil {
		return err
	}
	x.block = block
	return nil
}

// endBlock checks the block that has been read.
func (x *xzReader) endBlock() error {
	packed := x.in.n - x.data
	if x.packed >= 0 && packed != x.packed || x.text >= 0 && x.got != x.text {
		return errXZSize
	}
	if err := x.in.align(packed); err != nil {
		return err
	}
	unpadded := x.header + packed
	if x.check != nil {
		sum := make([]byte, x.check.Size())
		if err := x.in.full(sum); err != nil {
			return err
		}
		want := x.check.Sum(nil)
		if x.flags[1] != 10 { // CRCs come the other way round
			for i, j := 0, len(want)-1; i < j; i, j = i+1, j-1 {
				want[i], want[j] = want[j], want[i]
			}
		}
		if !bytes.Equal(sum, want) {
			return errXZCheck
		}
		unpadded += int64(len(sum))
	}
	x.blocks++
	writeXZRecord(x.index, unpadded, x.got)
	x.block = nil
	return nil
}

func writeXZRecord(index hash.Hash, unpadded, text int64) {
	var record [16]byte
	binary.LittleEndian.PutUint64(record[:8], uint64(unpadded))
	binary.LittleEndian.PutUint64(record[8:], uint64(text))
	index.Write(record[:])
}

// endStream reads the index, of which the first octet has been read, and the footer.
func (x *xzReader) endStream() error {
	x.in.sum = crc32.NewIEEE()
	x.in.sum.Write([]byte{0})
	blocks, err := xzNumber(&x.in)
	if err != nil {
		return err
	}
	if uint64(blocks) != x.blocks {
		return errXZIndex
	}
	index := sha256.New()
	for range blocks {
		unpadded, err := xzNumber(&x.in)
		if err != nil {
			return err
		}
		text, err := xzNumber(&x.in)
		if err != nil {
			return err
		}
		writeXZRecord(index, unpadded, text)
	}
	if !bytes.Equal(index.Sum(nil), x.index.Sum(nil)) {
		return errXZIndex
	}
	if err := x.in.align(x.in.n - x.begun); err != nil {
		return err
	}
	sum := x.in.sum.Sum32()
	x.in.sum = nil
	var tail [16]byte // the index's checksum and the footer
	if err := x.in.full(tail[:]); err != nil {
		return err
	}
	size := x.in.n - 12 - x.begun
	foot := tail[4:]
	switch {
	case binary.LittleEndian.Uint32(tail[:4]) != sum:
		return errXZIndex
	case binary.LittleEndian.Uint32(foot[:4]) != crc32.ChecksumIEEE(foot[4:10]),
		4*(int64(binary.LittleEndian.Uint32(foot[4:8]))+1) != size,
		[2]byte(foot[8:10]) != x.flags,
		string(foot[10:]) != xzFooterMagic:
		return errXZFooter
	}
	return nil
}
