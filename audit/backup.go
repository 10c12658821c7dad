package audit

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/mod/sumdb/tlog"
)

// A backup is a tar file of what the folder of a log has at one checkpoint: the files of
// the store, audit.tree and audit.checkpoints up to there, audit.pub, audit.head,
// audit.holds and audit.removed, and, if asked for, audit.key and audit.clients. Unpacked into an empty folder
// it is a stopped store.
//
// For a running log the writer seals what is open, signs, and begins a new file with its
// next commit. So all files that are copied are such as do not change any more, and no
// transaction is held, however long the copying takes. A file that retention removes
// meanwhile is left out; audit.removed is copied last, and says so.

// Backup writes a backup of the running log. progress, if not nil, is told how many octets
// of how many are written.
func (l *Log) Backup(ctx context.Context, out io.Writer, withKey bool, progress func(done, total int64)) error {
	var (
		b      backup
		failed error
		done   = make(chan struct{})
	)
	ask := func(w *writer) {
		defer close(done)
		b, failed = w.snapshot()
	}
	select {
	case l.asking <- ask:
	case <-l.over:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	if failed != nil {
		return fmt.Errorf("back up the audit store: %w", failed)
	}
	b.withKey, b.progress = withKey, progress
	return b.write(ctx, out)
}

// Backup writes a backup of the stopped log.
func (r *Reader) Backup(ctx context.Context, out io.Writer, withKey bool, progress func(done, total int64)) error {
	b := backup{dir: r.dir, store: r.own, files: r.own.all(), now: time.Now(), withKey: withKey, progress: progress}
	for _, name := range []string{treeFile, checkpointFile, headFile, walFile, textFile, slabsFile} {
		part, err := wholePart(r.dir, name)
		if err != nil {
			return fmt.Errorf("back up the audit store: %w", err)
		}
		b.parts = append(b.parts, part...)
	}
	return b.write(ctx, out)
}

// A backup is what is to be copied.
type backup struct {
	dir      string
	store    *store
	files    []*file
	parts    []part
	now      time.Time
	withKey  bool
	progress func(done, total int64)

	done, total int64
}

// A part is the beginning of a file of the folder, or what would be in it.
type part struct {
	name    string
	size    int64
	content []byte // in place of the file
}

func wholePart(dir, name string) ([]part, error) {
	info, err := os.Stat(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return []part{{name: name, size: info.Size()}}, nil
}

// snapshot makes all that is recorded part of files that will not change any more.
func (w *writer) snapshot() (b backup, err error) {
	l := w.log
	if err := w.seal(false); err != nil {
		return b, err
	}
	if _, ok := l.notary.due(time.Now()); ok {
		l.notary.checkpoint(l.cfg.Now())
	}
	st := l.store.Load()
	b = backup{dir: l.cfg.Dir, store: st, files: st.all(), now: l.cfg.Now()}
	if st.turn = st.current != 0; st.turn {
		st.newest().shrink()
	} else { // the newest has nothing yet
		b.files = b.files[:max(len(b.files)-1, 0)]
	}
	if tree := l.notary.tree; tree != nil {
		b.parts = append(b.parts, part{name: treeFile, size: treeHeaderSize + tlog.StoredHashCount(tree.size)*tlog.HashSize})
	}
	if l.notary.file != nil {
		b.parts = append(b.parts, part{name: checkpointFile, size: l.notary.size})
	} else if more, err := wholePart(b.dir, checkpointFile); err == nil {
		b.parts = append(b.parts, more...)
	}
	last := l.sealer.last
	if last.number > 0 {
		h := head{last.last(), last.number, l.sealer.digest}.bytes()
		b.parts = append(b.parts, part{name: headFile, size: int64(len(h)), content: h})
	}
	return b, nil
}

func (b *backup) write(ctx context.Context, out io.Writer) error {
	for _, f := range b.files {
		if info, err := os.Stat(f.path); err == nil {
			b.total += info.Size()
		}
	}
	for i := range b.parts {
		b.total += b.parts[i].size
	}
	aside, err := filepath.Glob(filepath.Join(escapeGlob(b.dir), filePrefix+"*"+fileSuffix+damagedInfix+"*"))
	if err != nil {
		return fmt.Errorf("back up the audit store: %w", err)
	}
	for _, path := range aside {
		if info, err := os.Stat(path); err == nil {
			b.total += info.Size()
		}
	}
	t := tar.NewWriter(out)
	for _, f := range b.files {
		err := b.file(ctx, t, filepath.Base(f.path), -1)
		if errors.Is(err, fs.ErrNotExist) && f.removed(b.store) {
			continue
		}
		if err != nil {
			return fmt.Errorf("back up the audit store: %w", err)
		}
	}
	for i := range b.parts {
		p := &b.parts[i]
		var err error
		if p.content != nil {
			err = b.entry(t, p.name, p.size)
			if err == nil {
				_, err = t.Write(p.content)
			}
		} else {
			err = b.file(ctx, t, p.name, p.size)
		}
		if err != nil {
			return fmt.Errorf("back up the audit store: %w", err)
		}
	}
	names := []string{publicFile, holdFile, removalFile}
	if b.withKey {
		names = append(names, keyFile, ClientKeysFile)
	}
	for _, path := range aside { // Verify asks for them
		names = append(names, filepath.Base(path))
	}
	for _, name := range names {
		if err := b.file(ctx, t, name, -1); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("back up the audit store: %w", err)
		}
	}
	if err := t.Close(); err != nil {
		return fmt.Errorf("back up the audit store: %w", err)
	}
	return nil
}

// removed says that retention has taken the file.
func (f *file) removed(s *store) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.gone
}

func (b *backup) entry(t *tar.Writer, name string, size int64) error {
	return t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: b.now.Truncate(time.Second)})
}

// file copies the first size octets of a file; below zero all of it.
func (b *backup) file(ctx context.Context, t *tar.Writer, name string, size int64) error {
	f, err := os.Open(filepath.Join(b.dir, name))
	if err != nil {
		return err
	}
	defer f.Close()
	if size < 0 {
		info, err := f.Stat()
		if err != nil {
			return err
		}
		size = info.Size()
	}
	if err := b.entry(t, name, size); err != nil {
		return err
	}
	const turn = 1 << 20
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(t, f, min(left, turn))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		left -= n
		if b.done += n; b.progress != nil {
			b.progress(b.done, b.total)
		}
	}
	return nil
}
