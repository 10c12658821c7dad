package blocklist

import (
	"bufio"
	"hash"
	"io"
)

// xzNumber reads a multibyte integer of up to 63 bits.
func xzNumber(in io.ByteReader) (int64, error) {
	n := int64(0)
	for shift := 0; shift < 63; shift += 7 {
		c, err := in.ReadByte()
		if err != nil {
			return 0, err
		}
		n |= int64(c&0x7f) << shift
		if c < 0x80 {
			if c == 0 && shift > 0 {
				break
			}
			return n, nil
		}
	}
	return 0, errXZNumber
}

func allZero(octets []byte) bool {
	for _, c := range octets {
		if c != 0 {
			return false
		}
	}
	return true
}

// xzInput reads the data, counts its octets, and remembers how it ended.
type xzInput struct {
	from *bufio.Reader
	n    int64
	sum  hash.Hash32 // of what is read; nil for none
	err  error
	done bool // err is io.EOF, and the data may end there
}

func (in *xzInput) Read(p []byte) (int, error) {
	n, err := in.from.Read(p)
	in.n += int64(n)
	if err != nil {
		in.err = err
	}
	if in.sum != nil {
		in.sum.Write(p[:n])
	}
	return n, err
}

func (in *xzInput) ReadByte() (byte, error) {
	c, err := in.from.ReadByte()
	if err != nil {
		in.err = err
		return 0, err
	}
	in.n++
	if in.sum != nil {
		in.sum.Write([]byte{c})
	}
	return c, nil
}

// full fills p.
func (in *xzInput) full(p []byte) error {
	_, err := io.ReadFull(in, p)
	return err
}

// align reads the zeros that follow n octets up to a multiple of four.
func (in *xzInput) align(n int64) error {
	var zeros [3]byte
	pad := zeros[:-n&3]
	if err := in.full(pad); err != nil {
		return err
	}
	if !allZero(pad) {
		return errXZPadding
	}
	return nil
}

// padding reads four octets of padding between streams and after the last. It is false when a stream follows.
func (in *xzInput) padding() (more bool, err error) {
	next, err := in.from.Peek(6)
	switch {
	case err != nil && err != io.EOF:
		in.err = err
		return false, err
	case len(next) == 0:
		in.err, in.done = io.EOF, true
		return false, io.EOF
	case len(next) >= 4 && allZero(next[:4]):
		return true, in.full(make([]byte, 4))
	case allZero(next), len(next) < len(xzMagic) && string(next) == xzMagic[:len(next)]:
		in.err = io.EOF
		return false, io.ErrUnexpectedEOF
	case string(next) != xzMagic:
		return false, errXZAfter
	}
	return false, nil
}
