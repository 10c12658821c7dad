package blocklist

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Keep keeps the text of a version of a local list, compressed unless it is already. It reads text to its end, and
// fails if its digest is not c's: then the list has changed since it was loaded. c gets the file. A version that is kept
// already is not read again. Until the next Settle of the list it stays without being the state's.
func (s *Store) Keep(name string, c *Copy, text io.Reader) error {
	return s.said(name, s.keep(name, c, text))
}

func (s *Store) keep(name string, c *Copy, text io.Reader) error {
	if has := s.state(name).find(c.Digest); has != nil && has.File != "" {
		c.File, c.Packed, c.size = has.File, has.Packed, has.size
		return nil
	}
	d, err := s.draft(name)
	if err != nil {
		return err
	}
	defer d.discard()
	packed, err := packCopy(d, c, text)
	if d.err != nil {
		return effect(d.err)
	}
	if err != nil {
		return err
	}
	return s.change(name, func(l *storedList, st *listState) error {
		found := *c
		found.Packed = packed
		if err := l.publish(d, &found); err != nil {
			return effect(err)
		}
		if same := st.find(c.Digest); same != nil {
			same.File, same.Packed, same.size = found.File, found.Packed, found.size
		}
		if l.fresh == nil {
			l.fresh = map[string]*Copy{}
		}
		l.fresh[found.File] = &found
		*c = found
		return nil
	})
}

// packCopy copies text to out, compressed unless it is already, and proves that it is the text of c.
func packCopy(out io.Writer, c *Copy, text io.Reader) (packed bool, err error) {
	in := bufio.NewReaderSize(io.LimitReader(text, c.Bytes+1), sampleSize)
	begin, err := in.Peek(4)
	if err != nil && err != io.EOF {
		return false, err
	}
	packed = true
	for _, p := range packings {
		packed = packed && !strings.HasPrefix(string(begin), p.begins)
	}
	digest := sha256.New()
	var n int64
	if packed {
		z, err := zstd.NewWriter(out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(512<<10), zstd.WithLowerEncoderMem(true), zstd.WithZeroFrames(true))
		if err != nil {
			return false, err
		}
		n, err = io.Copy(io.MultiWriter(z, digest), in)
		if closed := z.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return false, err
		}
	} else if n, err = io.Copy(io.MultiWriter(out, digest), in); err != nil {
		return false, err
	}
	if n != c.Bytes || [32]byte(digest.Sum(nil)) != c.Digest {
		return false, errors.New("changed while a copy of it was made; it is copied when it is loaded again")
	}
	return packed, nil
}

// Open returns the text of a version as it came from the origin.
func (s *Store) Open(c *Copy) (io.ReadCloser, error) {
	if c.File == "" {
		return nil, errors.New("no file of this version is kept")
	}
	file, err := os.Open(c.File)
	if err != nil || !c.Packed {
		return file, err
	}
	text, _, stop, err := unpack(context.Background(), &countingReader{ctx: context.Background(), from: file}, maxUnpacked)
	if err != nil {
		file.Close()
		return nil, err
	}
	return &opened{text, func() error {
		stop()
		return file.Close()
	}}, nil
}

type opened struct {
	io.Reader
	close func() error
}

func (o *opened) Close() error { return o.close() }
