package blocklist

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Settle says which version of a list the matcher holds now, and which is held back, and why; nil, or a version without
// a digest, is none. What was in force before becomes the previous version if it is another one. An approval that inForce
// makes use of ends.
func (s *Store) Settle(name string, inForce, held *Copy, why string) error {
	err := s.change(name, func(l *storedList, st *listState) error {
		next := l.known(st, inForce)
		st.Held = l.known(st, held)
		if old := st.InForce; old != nil && (next == nil || next.Digest != old.Digest) {
			st.Previous = old
		}
		st.InForce, st.Why = next, plain(why)
		if next != nil && next.Digest == st.Approved {
			st.Approved = none
		}
		l.fresh = nil
		return nil
	})
	return s.said(name, err)
}

// known returns c with the file that the store has of it, if it has one, and not with another.
func (l *storedList) known(st *listState, c *Copy) *Copy {
	if c == nil || c.Digest == none {
		return nil
	}
	found := *c
	found.File, found.Packed, found.size = "", false, 0
	has := st.find(c.Digest)
	if has == nil || has.File == "" {
		has = l.fresh[fileOf(l.dir, c.Digest)]
	}
	if has != nil && has.Digest == c.Digest {
		found.File, found.Packed, found.size = has.File, has.Packed, has.size
	}
	return &found
}

// said adds the list to an error.
func (s *Store) said(name string, err error) error {
	if err != nil {
		return fmt.Errorf("list %s: %w", Redacted(name), err)
	}
	return nil
}

// Approve lets the version that is held come in force.
func (s *Store) Approve(name string) error {
	return s.said(name, s.change(name, func(_ *storedList, st *listState) error {
		if st.Held == nil {
			return errors.New("no version of it is held, so there is nothing to approve")
		}
		st.Approved = st.Held.Digest
		if st.Refused == st.Approved {
			st.Refused = none
		}
		return nil
	}))
}

// Reject refuses the version that is held, and removes it.
func (s *Store) Reject(name string) error {
	return s.said(name, s.change(name, func(_ *storedList, st *listState) error {
		if st.Held == nil {
			return errors.New("no version of it is held, so there is nothing to reject")
		}
		st.refuse(st.Held.Digest)
		st.Held, st.Why = nil, ""
		return nil
	}))
}

// Rollback makes the previous version that in force, and refuses and removes the one that was.
func (s *Store) Rollback(name string) error {
	return s.said(name, s.change(name, func(_ *storedList, st *listState) error {
		if st.Previous == nil {
			return errors.New("there is no version of it before the one in force, so there is nothing to roll back to")
		}
		if st.Previous.File == "" {
			return errors.New("the text of the version before the one in force is not kept, so it cannot be rolled back to")
		}
		old := st.InForce
		st.InForce, st.Previous = st.Previous, nil
		if old != nil && old.Digest != st.InForce.Digest {
			st.refuse(old.Digest)
		}
		return nil
	}))
}

// refuse makes the version one that no longer comes in force. Its file goes, unless it is that in force.
func (st *listState) refuse(digest [32]byte) {
	st.Refused = digest
	if st.Approved == digest {
		st.Approved = none
	}
	if st.InForce == nil || st.InForce.Digest != digest {
		st.drop(digest)
	}
}

// arrived takes what the origin gave, at the time of c.Taken, as the latest version. It is false when that is none
// to load: the one before, or one that was refused. next is when to ask again. The caller discards the draft.
func (s *Store) arrived(name string, d *draft, c Copy, from originState, next time.Time) (changed bool, err error) {
	err = s.change(name, func(l *storedList, st *listState) error {
		has, now := st.find(c.Digest), c.Taken
		switch {
		case c.Digest == st.Refused:
		case has != nil && has.File != "":
			changed = st.Latest == nil || st.Latest.Digest != c.Digest
			c.File, c.Packed, c.size, c.Entries = has.File, has.Packed, has.size, has.Entries
			if !changed {
				c.Taken = st.Latest.Taken
			}
		default:
			if err := l.publish(d, &c); err != nil {
				return effect(err)
			}
			changed = true
		}
		st.Latest = &c
		st.answered(now, from, next)
		return nil
	})
	if err != nil {
		return false, err
	}
	return changed, nil
}

// same takes note that the origin has nothing newer than the latest version.
func (s *Store) same(name string, now time.Time, from originState, next time.Time) error {
	return s.change(name, func(_ *storedList, st *listState) error {
		st.answered(now, from, next)
		return nil
	})
}

func (st *listState) answered(now time.Time, from originState, next time.Time) {
	st.origin, st.Checked, st.Failure, st.Failures, st.Next = from, now, "", 0, next
}

// failed takes note that asking the origin failed. It counts even when it cannot be written down.
func (s *Store) failed(name, failure string, next time.Time) error {
	note := func(st *listState) { st.Failure, st.Failures, st.Next = plain(failure), st.Failures+1, next }
	err := s.change(name, func(_ *storedList, st *listState) error {
		note(st)
		return nil
	})
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lists[name] == nil {
			s.lists[name] = &storedList{dir: filepath.Join(s.dir, folderOf(name)), state: &listState{Kept: Kept{Name: name}}}
		}
		note(s.lists[name].state)
	}
	return err
}

// forgotten is for how long the configuration must not have named a list for Forget to drop it.
const forgotten = 7 * 24 * time.Hour

// Forget drops every list that is not in names, once it has not been in them for 7 days.
func (s *Store) Forget(names map[string]bool) error {
	var errs []error
	known := map[string]bool{} // by folder
	for name := range maps.Keys(names) {
		known[folderOf(name)] = true
	}
	for _, k := range s.All() {
		known[folderOf(k.Name)] = true
		unnamed, now := s.state(k.Name).unnamed, s.now().Truncate(time.Second)
		switch {
		case names[k.Name]:
			errs = append(errs, s.mark(k.Name, unnamed, time.Time{}))
		case unnamed.IsZero() || unnamed.After(now):
			errs = append(errs, s.mark(k.Name, unnamed, now))
		case now.Sub(unnamed) >= forgotten:
			errs = append(errs, s.remove(folderOf(k.Name), k.Name))
		}
	}
	// A folder without a state is left from a first download that ended with the program, or from a damaged state.
	folders, err := os.ReadDir(s.dir)
	errs = append(errs, err)
	for _, folder := range folders {
		info, err := folder.Info()
		if err == nil && folder.IsDir() && isHash(folder.Name()) && !known[folder.Name()] && s.now().Sub(info.ModTime()) >= forgotten {
			errs = append(errs, s.remove(folder.Name(), ""))
		}
	}
	return errors.Join(errs...)
}

// mark writes down since when the configuration has not named the list.
func (s *Store) mark(name string, was, since time.Time) error {
	if was.Equal(since) {
		return nil
	}
	return s.said(name, s.change(name, func(_ *storedList, st *listState) error {
		st.unnamed = since
		return nil
	}))
}

// remove removes the folder of a list, as far as it holds what a store writes.
func (s *Store) remove(folder, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	delete(s.lists, name)
	dir := filepath.Join(s.dir, folder)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries { // the state first: it names the others
		if e.Name() == stateFile || strings.HasPrefix(e.Name(), damagedFile) {
			if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := errors.Join(sweepDrafts(dir, entries), sweepLists(dir, entries, nil)); err != nil {
		return err
	}
	_ = os.Remove(dir) // what somebody else put there stays
	return nil
}
