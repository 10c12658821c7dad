package audit

import (
	"errors"
	"os"
	"slices"

	"go.etcd.io/bbolt"
)

// A store is read as if it were one file.

// all returns the files, by number.
func (s *store) all() []*file {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files
}

// tail proves the newest segments of the newest file that has any, and returns the last
// one's header and digest.
func (s *store) tail() (h header, digest [digestSize]byte, err error) {
	files := s.all()
	for i := len(files) - 1; i >= 0 && h.number == 0; i-- {
		b, err := s.use(files[i])
		if err != nil {
			return h, digest, err
		}
		h, digest, err = b.tail()
		s.leave(files[i])
		if err != nil {
			return h, digest, err
		}
	}
	return h, digest, nil
}

// lastWhole returns the last segment's header and digest of the newest file that has
// one and is whole at its end.
func (s *store) lastWhole() (h header, digest [digestSize]byte) {
	files := s.all()
	for i := len(files) - 1; i >= 0; i-- {
		b, err := s.use(files[i])
		if err != nil {
			continue // whoever reads it will say so
		}
		h, digest, err := b.tail()
		s.leave(files[i])
		if err == nil && h.number > 0 {
			return h, digest
		}
	}
	return header{}, digest
}

// oldest returns the header of the oldest segment that can be read.
func (s *store) oldest() (h header, ok bool) {
	var value []byte
	for at := uint64(0); ; {
		key, ok, err := s.following(at, nil, &value)
		if err != nil {
			if at, ok = s.beyond(err, true); !ok {
				return h, false
			}
			continue
		}
		if !ok {
			return h, false
		}
		if h, err := readHeader(value); err == nil {
			return h, true
		}
		at = key + 1
	}
}

// previous copies to value, whose memory it reuses, the newest segment whose key
// is below before and that want accepts (nil accepts all), and returns its key.
// ok is false when there is none. A header that cannot be read is accepted, so
// that its damage is found.
func (s *store) previous(before uint64, want func(*header) bool, value *[]byte) (key uint64, ok bool, err error) {
	files := s.all()
	for i := len(files) - 1; i >= 0; i-- {
		if files[i].first >= before {
			continue
		}
		b, err := s.use(files[i])
		if errors.Is(err, errGone) {
			continue
		}
		if err == nil {
			key, ok, err = b.previous(before, want, value)
			s.leave(files[i])
		}
		if ok || err != nil {
			return key, ok, err
		}
	}
	return 0, false, nil
}

// following is like previous for the oldest segment that has a record at or
// above from.
func (s *store) following(from uint64, want func(*header) bool, value *[]byte) (key uint64, ok bool, err error) {
	files := s.all()
	for i, f := range files {
		if i+1 < len(files) && files[i+1].first <= from {
			continue
		}
		b, err := s.use(f)
		if errors.Is(err, errGone) {
			continue
		}
		if err == nil {
			key, ok, err = b.following(from, want, value)
			s.leave(f)
		}
		if ok || err != nil {
			return key, ok, err
		}
	}
	return 0, false, nil
}

// A position is where step is in a store.
type position struct {
	file       *file
	key, value []byte
	last       uint64 // sequence number of the last record that was handed out
	over       bool   // nothing is left in file
}

// step copies to at what is behind it, whatever its key is. ok is false at the
// end. After a DamageError it goes on with the next file.
func (s *store) step(at *position) (ok bool, err error) {
	for {
		if at.file == nil || at.over {
			f := s.after(at.file)
			if f == nil {
				return false, nil
			}
			at.file, at.key, at.over = f, at.key[:0], false
		}
		b, err := s.use(at.file)
		if err == nil {
			ok, err = b.step(at)
			s.leave(at.file)
		}
		if at.over = !ok; ok || err != nil && !errors.Is(err, errGone) {
			return ok, err
		}
	}
}

// after returns the file behind f, or the first if f is nil; nil if there is none.
func (s *store) after(f *file) *file {
	for _, next := range s.all() {
		if f == nil || next.first > f.first || next.first == f.first && next.path > f.path {
			return next
		}
	}
	return nil
}

// beyond says where reading goes on behind a file that err says is damaged: before or
// from that number. ok is false if it does not.
func (s *store) beyond(err error, oldest bool) (at uint64, ok bool) {
	var damage *DamageError
	if !errors.As(err, &damage) {
		return 0, false
	}
	files := s.all()
	for i, f := range files {
		switch {
		case f.path != damage.File:
		case !oldest:
			return f.first, i > 0
		case i+1 < len(files):
			return files[i+1].first, true
		}
	}
	return 0, false
}

// has says whether the file that err says is damaged is still in the store.
func (s *store) has(err error) bool {
	var damage *DamageError
	if !errors.As(err, &damage) {
		return true
	}
	return slices.ContainsFunc(s.all(), func(f *file) bool { return f.path == damage.File })
}

// path returns the file that the segment with that key is in.
func (s *store) path(key uint64) string {
	files := s.all()
	for i := len(files) - 1; i >= 0; i-- {
		if files[i].first <= key || i == 0 {
			return files[i].path
		}
	}
	return s.dir
}

// hits reads the roll-up's hours beginning with from. The error is one of the store
// itself.
func (s *store) hits(from int64) (kept keptHits, err error) {
	files := s.all()
	for i := len(files) - 1; i >= 0; i-- {
		b, err := s.use(files[i])
		if errors.Is(err, errGone) {
			continue
		}
		if err != nil {
			return kept, err
		}
		kept, err = b.hits(from)
		s.leave(files[i])
		if err != nil || kept.some {
			return kept, err
		}
	}
	return kept, nil
}

// size returns how many octets the store's files have; of the newest, those in use, for
// it is larger than that.
func (s *store) size() (n int64) {
	b := s.newest()
	for _, f := range s.all() {
		if b != nil && f.path == b.path {
			_ = b.view("measuring it", func(c *bbolt.Cursor) error {
				n += c.Bucket().Tx().Size()
				return nil
			})
		} else if info, err := os.Stat(f.path); err == nil {
			n += info.Size()
		}
	}
	return n
}
