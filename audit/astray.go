package audit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A file that somebody removes, or puts another in the place of, stays open: what is
// written to it succeeds, and is gone when the process ends. So before each step the
// writer looks whether the files that it writes to are still those of their names. If not,
// it begins a new file, or a new folder, with all that it has in memory. What was in the
// store's files that are gone is lost: a gap counts it, a change tells of it, and a signed
// note has Verify call it what it is.

// lookEvery is how often the writer looks when there is nothing to be written.
const lookEvery = time.Second

// whyAstray is what the operator reads.
const whyAstray = "it was removed or replaced while weir has it open"

// An astray is what is left to be done since a file was found not to be there.
type astray struct {
	damage  *DamageError
	removal Removal // the records that are lost
	lost    bool    // there are some
	told    bool    // a note says so
	file    string  // of the store, that was the newest; empty if it is there
}

// there says that path is still the open file. A disk that fails says nothing of that.
func there(f *os.File, path string) bool {
	open, err := f.Stat()
	if err != nil {
		return true
	}
	named, err := os.Stat(path)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR)
	}
	return os.SameFile(open, named)
}

// astray returns the path of a file that the log writes to and that is not there, empty
// if all are.
func (l *Log) astray(s *store) string {
	if b := s.newest(); b != nil && !there(b.file, b.path) {
		return b.path
	}
	if path := filepath.Join(l.cfg.Dir, walFile); l.wal.file != nil && !there(l.wal.file, path) {
		return path
	}
	if path := filepath.Join(l.cfg.Dir, lockFile); s.lock != nil && !there(s.lock, path) {
		return path
	}
	return ""
}

// looks says that the writer has to do something about its files.
func (w *writer) looks() bool {
	s := w.log.store.Load()
	return s != nil && w.log.ready() && (w.astray != nil || w.log.astray(s) != "")
}

// mend makes again what is not there. After an error it may be called again.
func (w *writer) mend() error {
	l, s := w.log, w.log.store.Load()
	if s == nil {
		return nil
	}
	if w.astray == nil {
		path := l.astray(s)
		if path == "" {
			return nil
		}
		w.astray = &astray{damage: &DamageError{path, "looking for it", whyAstray}}
		_ = w.report(w.astray.damage)
	}
	w.giveUp(s)
	if l.cfg.OnError == Fail {
		return w.astray.damage
	}
	if err := w.makeAgain(s); err != nil {
		defer l.announce() // who waits for a record hears of it
		return w.report(fmt.Errorf("%v; %w", w.astray.damage, err))
	}
	text := w.astray.damage.Error() + "; no record is lost by that"
	if r := &w.astray.removal; w.astray.lost {
		text = fmt.Sprintf("%v; records %d to %d are lost, and a new file begins", w.astray.damage, r.Records[0], r.Records[1])
	}
	l.cfg.Logger.Error("the audit store goes on without files that are gone", "error", text)
	l.note(text)
	w.astray, w.rollup = nil, nil
	l.sealer.close() // the frames of its records may be gone: they are committed now
	return nil
}

// giveUp takes the newest file out of the store, and those before it, as far as they are
// not there, and counts what was in them as lost.
func (w *writer) giveUp(s *store) {
	l, b := w.log, s.newest()
	if b == nil || there(b.file, b.path) {
		return
	}
	var value []byte
	l.status.Lock()
	from := l.status.begins
	l.status.Unlock()
	if _, ok, err := b.following(0, nil, &value); err == nil && ok && len(s.all()) > 1 {
		h, _ := readHeader(value)
		from = h.min
	}
	path := b.path
	w.astray.file = path
	s.discard()
	for files := s.all(); len(files) > 0; files = s.all() {
		f := files[len(files)-1]
		if _, err := os.Lstat(f.path); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		path = f.path
		s.remove(f)
	}
	l.surveyOldest(s)
	r, ok := l.removal(s, path, Astray, l.continuing(), l.sealer.closed)
	if !ok {
		return
	}
	n := r.Records[1] - r.Records[0] + 1
	w.astray.removal, w.astray.lost = r, true
	l.status.Lock()
	l.status.missing += n
	l.status.Unlock()
	now := r.Time.UnixNano()
	l.mu.Lock()
	l.mapping.owe(now, n)
	l.gaps = append(l.gaps, gap{cause: CauseDisk, lost: n, from: min(from, now), to: now})
	l.mu.Unlock()
	l.arm()
}

// continuing returns the number of the first record that is not in the store.
func (l *Log) continuing() uint64 {
	if closed := l.sealer.closed; len(closed) > 0 {
		return closed[0].header.first
	}
	return l.sealer.next
}

// makeAgain makes the folder, and in it what is not there.
func (w *writer) makeAgain(s *store) error {
	l, dir := w.log, w.log.cfg.Dir
	if err := os.MkdirAll(dir, filesPrivate); err != nil {
		return err
	}
	if s.lock != nil && !there(s.lock, filepath.Join(dir, lockFile)) {
		lock, err := lockStore(dir, false)
		if err != nil {
			return err
		}
		s.lock.Close()
		s.lock = lock
	}
	if err := l.notary.makeAgain(); err != nil {
		return err
	}
	w.closeHead()
	w.head = nil
	l.shelterAgain()
	l.texts.leave()
	if _, _, err := l.syncTexts(); err != nil {
		return err
	}
	if l.wal.file != nil && !there(l.wal.file, filepath.Join(dir, walFile)) {
		l.wal.file.Close()
		l.wal.file, l.wal.end = nil, 0
		if err := l.wal.make(); err != nil {
			return err
		}
	}
	if s.newest() != nil {
		return nil
	}
	if _, err := os.Lstat(w.astray.file); err == nil { // another's, which may be of use
		moved, err := moveAside(w.astray.file, l.cfg.Now())
		if err != nil {
			return err
		}
		l.note("what was put in the place of a file of the store was moved to " + filepath.Base(moved))
	}
	if w.astray.lost && !w.astray.told {
		l.tell(w.astray.removal)
		w.astray.told = true
	}
	return s.begin(l.continuing(), l.cfg.Now())
}

// leave closes the file of texts if it is not there, so that it is made anew.
func (t *texts) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil && !there(t.file, filepath.Join(t.dir, textFile)) {
		t.file.Close()
		t.file = nil
	}
}

// shelterAgain has the folder lead to the slabs again, if they lie in memory, or says
// what it costs that their file is gone.
func (l *Log) shelterAgain() {
	own := filepath.Join(l.cfg.Dir, slabsFile)
	if _, err := os.Lstat(own); err == nil || l.mapping == nil {
		return
	}
	path, err := memoryPath(l.cfg.Memory, l.cfg.Dir)
	if err == nil && path == "" {
		err = fs.ErrNotExist
	}
	if err == nil {
		if _, err = os.Lstat(path); err == nil {
			err = lead(own, path)
		}
	}
	if err != nil {
		l.sheltered(nil, err)
	}
}

// makeAgain makes the files of the key again if both are gone, and leaves those that are
// not there, to be made when they are next written.
func (n *notary) makeAgain() error {
	dir := n.log.cfg.Dir
	key, public := filepath.Join(dir, keyFile), filepath.Join(dir, publicFile)
	if _, err := os.Lstat(public); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(key); errors.Is(err, fs.ErrNotExist) {
			if err := writeWhole(key, []byte(n.key.text()+"\n")); err != nil {
				return err
			}
		}
		if err := writeWhole(public, []byte(n.key.public+"\n")); err != nil {
			return err
		}
	}
	if n.file != nil && !there(n.file, filepath.Join(dir, checkpointFile)) {
		n.file.Close()
		n.file = nil
	}
	if n.tree != nil && !there(n.tree.file, filepath.Join(dir, treeFile)) {
		n.leave()
	}
	return nil
}
